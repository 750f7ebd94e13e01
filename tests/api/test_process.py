"""Called from Python the audit is a guest: the process is left as it was, and Ctrl-C ends it with all connections."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.proxy import Exchange, Fault, proxying

from mlflow_parity.standin.servers import Server, clean_environment

#: What of a process an audit might change; printed as JSON after two audits, one of them red, beside other things.
_GUEST = """
import asyncio, json, logging, os, signal, sys, threading, warnings

def state():
    loggers = {name: (one.level, one.disabled, [str(h) for h in one.handlers])
               for name, one in logging.root.manager.loggerDict.items()
               if isinstance(one, logging.Logger) and one.handlers}
    os.umask(mask := os.umask(0))
    return {
        "environment": dict(os.environ), "folder": os.getcwd(), "umask": mask, "loggers": loggers,
        "root": (logging.root.level, [str(h) for h in logging.root.handlers]),
        "records": str(logging.getLogRecordFactory()),
        "signals": {int(one): str(signal.getsignal(one)) for one in signal.valid_signals()},
        "filters": [str(one) for one in warnings.filters],
        "checks": sorted(name for name in sys.modules if "checks" in name.split(".")),
        "path": list(sys.path), "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.displayhook)],
        "streams": [str(sys.stdout), str(sys.stderr)], "pytest": "_pytest.assertion.rewrite" in str(sys.meta_path),
        "threads": sorted(one.name for one in threading.enumerate()),
    }

source, target, again = sys.argv[1:]
# what libraries do to a process when they are loaded is theirs
import boto3, deepdiff, jinja2, pandas, pyarrow.dataset, pytest, requests
import mlflow_parity
before = state()
first = mlflow_parity.audit(source=source, target=target, report_dir="r")

async def cell():
    # as a cell of a notebook runs: in the thread of a loop that is running, and in one beside it
    inside = mlflow_parity.audit(source=source, target=again, report_dir="r")
    beside = await asyncio.to_thread(mlflow_parity.audit, source=source, target=target, report_dir="beside")
    return inside, beside

second, third = asyncio.run(cell())
after = state()
print(json.dumps({
    "changed": {name: [before[name], after[name]] for name in before if before[name] != after[name]},
    "verdicts": [one.verdict for one in (first, second, third)],
    "rows": [one.ledger.num_rows for one in (first, second, third)],
    "places": [str(one.ledger_path) for one in (first, second, third)],
}))
"""
_ENDED = """
import json, signal, sys, threading, time
import psutil
import mlflow_parity

# what a shell starts in the background ignores it
signal.signal(signal.SIGINT, signal.default_int_handler)
source, target = sys.argv[1:]
try:
    mlflow_parity.audit(source=source, target=target, report_dir="r", workers=2)
except KeyboardInterrupt as ended:
    behind = [str(ended.__cause__), str(ended.__context__)]
ports = {int(uri.rpartition(":")[2]) for uri in (source, target)}
found = [one for one in psutil.Process().net_connections() if one.raddr and one.raddr.port in ports]
print(json.dumps({"behind": behind, "open": [one.status for one in found if one.status == "ESTABLISHED"],
                  "threads": [one.name for one in threading.enumerate()]}))
"""


def _run(folder: Path, program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
def test_the_process_is_left_as_it_was(servers: tuple[Server, Server], fresh: Server, tmp_path: Path) -> None:
    """Three audits in one process, in a running loop and in a thread: nothing is changed, nothing is printed."""
    source, target = servers
    process = _run(tmp_path, _GUEST, source.uri, target.uri, fresh.uri)
    out, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, ""), errors
    # one line: our own
    told = json.loads(out)
    assert told["changed"] == {}, json.dumps(told["changed"], indent=1)
    assert told["verdicts"] == ["green", "red", "green"]
    # the second audit moved the first one's ledger aside; each object still reads its own
    assert told["rows"][0] == told["rows"][2]
    assert [Path(place).parent.name.partition("-")[0] for place in told["places"]] == ["earlier", "r", "beside"]


@pytest.fixture
def fresh(newest: Server) -> Server:
    """A server of which the source's objects are missing."""
    return newest


def test_ctrl_c_ends_it(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """While it reads: ``KeyboardInterrupt`` and nothing behind it, no connection is open, and the report says so."""
    source, target = servers
    asked, interrupted = threading.Event(), threading.Event()

    def slow(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        # however slow this machine is: the audit does not end before it is interrupted
        asked.set()
        interrupted.wait(60)
        exchange.answer(status, headers, body)

    with proxying(source.uri) as proxy:
        proxy.faults.append(Fault("runs/search", slow, times=1_000))
        process = _run(tmp_path, _ENDED, proxy.uri, target.uri)
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        # what is under way is waited for
        time.sleep(0.5)
        interrupted.set()
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    told = json.loads(out)
    assert told == {"behind": ["None", "None"], "open": [], "threads": ["MainThread"]}
    report = json.loads((tmp_path / "r" / "report.json").read_text(encoding="utf-8"))
    assert (report["verdict"], report["reasons"]) == ("none", ["no verdict: the audit was interrupted"])


def test_a_terminal_shows_a_line(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """On stderr, as the command does on a terminal, and it is cleared at the end; stdout is the program's own."""
    source, target = servers
    program = "import sys, mlflow_parity; print(mlflow_parity.audit(*sys.argv[1:], report_dir='r').verdict)"
    mine, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        # a terminal whose last user is gone is an error on Linux
        with suppress(OSError):
            while piece := os.read(mine, 65_536):
                shown.append(piece)

    reader = threading.Thread(target=read)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", program, source.uri, target.uri],
            cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=theirs, text=True,
        )  # fmt: skip
        os.close(theirs)
        reader.start()
        out, _ = process.communicate(timeout=120)
        reader.join(30)
    finally:
        os.close(mine)
    text = b"".join(shown).decode()
    assert out == "green\n"
    assert "reading" in text
    assert "source " in text
    assert text.endswith("\r")
    assert "\n" not in text
