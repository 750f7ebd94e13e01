"""The demo: migrate a source server with the plain Export Import tool, then see what the audit says of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_parity.errors import ParityError, UsageProblem
from mlflow_parity.migrating.tool import DISTRIBUTION, Outcome, export_all, import_all, require_tool
from mlflow_parity.standin.sagemaker import StandIn, stand_in
from mlflow_parity.standin.servers import Server, clean_environment, serving

#: Tells a folder of ours from one that must not be emptied.
_MARKER = ".mlflow-parity-demo"
_SOURCE_TAG = "mlflow_exim.run_info.run_id"


class DemoFailed(ParityError):
    """The demo did not come out as documented; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it: the tool's own words, and the runs lost, as the servers and as the audit tell it.

    ``lost`` are the source runs (id → ``experiment / run``) without a copy on the target, found by asking both
    servers directly; ``named`` those that the audit's report calls missing.
    """

    exported: Outcome
    imported: Outcome
    runs: int
    lost: Mapping[str, str]
    named: Mapping[str, str]
    audit_exit: int
    verdict: str
    others: Mapping[str, int]
    """Objects beside experiments and runs that the audit calls missing, by the plural of their kind."""

    def problem(self) -> str | None:
        """Return why this is not what the demo promises, ``None`` when it is."""
        if self.imported.exit_code or self.imported.exceptions != 0:
            return "the tool did not say that all went well; see its log"
        if not self.lost:
            return "the tool lost no run"
        if self.audit_exit != 1 or self.verdict != "red":
            return f"the audit ended with exit status {self.audit_exit} and verdict {self.verdict}, not red"
        if self.named != self.lost:
            return (
                f"the audit names {sorted(self.named.values())} as missing, but lost are {sorted(self.lost.values())}"
            )
        return None


def run_demo(work: Path, reports: Path) -> int:
    """Run the whole demo in the folder ``work``; return 0 when the audit went red and named the lost runs.

    Raises:
        UsageProblem: ``work`` is somebody else's folder, or the tool is missing or the wrong one.
        ParityError: a server or a step failed.
    """
    started = time.monotonic()
    version = require_tool()
    work, reports = work.resolve(), reports.resolve()  # each step has a working folder of its own
    _prepare(work)
    with _both_servers(work) as (source, target):
        _say(f"Source: MLflow {source.version} at {source.uri}, three experiments of a small team")
        _say(f"Target: stand-in of a SageMaker MLflow App, {target.arn}")
        _step(f"Migrating with the plain Export Import tool ({DISTRIBUTION} {version}), as the public guide does it")
        exported, imported = _migrate(work, source, target)
        _step("Auditing")
        exit_status = _audit(source, target, reports)
        runs, lost = _lost(source, target)
    report = _read_report(reports)
    result = Result(
        exported, imported, runs, lost, _missing(report), exit_status, str(report.get("verdict")), _others(report)
    )
    _conclude(result, reports, time.monotonic() - started)
    return 0 if result.problem() is None else 1


def _prepare(work: Path) -> None:
    if work.exists() and not (work / _MARKER).exists():
        raise UsageProblem(f"{work} exists and is not a demo's folder; give another one with --work-dir")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / _MARKER).touch()


@contextmanager
def _both_servers(work: Path) -> Iterator[tuple[Server, StandIn]]:
    """Start both sides at once, and fill the source while the target still starts."""
    _step("Starting a source server and a stand-in SageMaker on loopback, and filling the source")
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        target_starting = pool.submit(lambda: stack.enter_context(stand_in(work / "target")))
        with serving(work / "source") as source:
            _run_module("mlflow_parity.migrating.demo_data", [source.uri], work / "fill.log")
            yield source, target_starting.result()


def _migrate(work: Path, source: Server, target: StandIn) -> tuple[Outcome, Outcome]:
    folder = work / "export"
    export_log, import_log = work / "export-all.log", work / "import-all.log"
    exported = export_all(folder, tracking_uri=source.uri, env=clean_environment(), log=export_log)
    _say(f"export-all: exit code {exported.exit_code} ({exported.seconds:.0f} s)")
    env = clean_environment(target.environment())
    imported = import_all(folder, tracking_uri=target.arn, env=env, log=import_log)
    summary = "no summary" if imported.exceptions is None else f'its summary says "exceptions": {imported.exceptions}'
    _say(f"import-all --import-source-tags True: exit code {imported.exit_code}, {summary} ({imported.seconds:.0f} s)")
    return exported, imported


def _audit(source: Server, target: StandIn, reports: Path) -> int:
    options = ["--source-uri", source.uri, "--target-arn", target.arn, "--report-dir", str(reports)]
    print(f"      pytest {' '.join(options)}\n", flush=True)
    env = clean_environment(target.environment())
    env.pop("PYTEST_ADDOPTS", None)
    (reports / "report.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, timeout=600).returncode


def _lost(source: Server, target: StandIn) -> tuple[int, dict[str, str]]:
    """Ask both servers, not the audit: the number of source runs, and those that no target run comes from."""
    copied = {run["tags"].get(_SOURCE_TAG) for run in _runs(target.server.uri)}
    runs = _runs(source.uri)
    return len(runs), {run["id"]: f"{run['experiment']} / {run['name']}" for run in runs if run["id"] not in copied}


def _runs(uri: str) -> list[dict[str, Any]]:
    import requests

    base = f"{uri}/api/2.0/mlflow"
    found = requests.post(f"{base}/experiments/search", json={"max_results": 1000}, timeout=60)
    names = {item["experiment_id"]: item["name"] for item in found.json()["experiments"]}
    body = {"experiment_ids": list(names), "max_results": 1000}
    runs = requests.post(f"{base}/runs/search", json=body, timeout=60).json().get("runs", [])
    return [
        {
            "id": run["info"]["run_id"],
            "name": run["info"]["run_name"],
            "experiment": names[run["info"]["experiment_id"]],
            "tags": {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])},
        }
        for run in runs
    ]


def _read_report(reports: Path) -> dict[str, Any]:
    file = reports / "report.json"
    if not file.exists():
        raise DemoFailed(f"the audit wrote no report to {reports}; what it printed above says why")
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def _missing(report: Mapping[str, Any]) -> dict[str, str]:
    return {
        finding["source_id"]: f"{finding['experiment']} / {finding['name']}"
        for finding in report.get("findings", ())
        if finding["kind"] == "run"
        and finding["state"] == "missing"
        and not finding["key"]
        and finding["target_id"] is None
    }


def _others(report: Mapping[str, Any]) -> dict[str, int]:
    """Count what else is missing, by kind."""
    from mlflow_parity.kinds import KINDS

    missing = (
        KINDS[finding["kind"]].plural
        for finding in report.get("findings", ())
        if finding["kind"] in KINDS and finding["facet"] == "presence" and finding["state"] == "missing"
    )
    return dict(Counter(missing))


def _conclude(result: Result, reports: Path, seconds: float) -> None:
    _step("What happened")
    _say(f"The tool ended well by its own account, and lost {len(result.lost)} of {result.runs} runs:")
    for identity, name in sorted(result.lost.items(), key=lambda item: item[1]):
        mark = "named by the audit" if identity in result.named else "NOT named by the audit"
        _say(f"    {name}  ({mark})")
    if result.others:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(result.others.items()))
        _say(f"The audit also misses on the target: {told}.")
    _say("A run that uses a logged model stops the tool's import of its experiment (KeyError: 'step'), which its")
    _say("summary does not count. The audit read both servers in full, so it cannot miss what is not there.")
    _say(f"Verdict {result.verdict}, exit status {result.audit_exit}. Report: {reports / 'report.html'}")
    _say(f"The tool's logs: {result.exported.log}, {result.imported.log}")
    problem = result.problem()
    _say(
        f"The demo took {seconds:.0f} s and " + ("came out as it should." if problem is None else f"FAILED: {problem}.")
    )


def _run_module(module: str, arguments: list[str], log: Path) -> None:
    """Run one of our modules in a process of its own, so that MLflow's global state is its own too."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", module, *arguments]
        env = clean_environment()
        code = subprocess.run(command, env=env, stdout=output, stderr=subprocess.STDOUT, timeout=300).returncode
    if code:
        raise DemoFailed(f"{module} failed:\n{log.read_text(errors='replace')[-2000:]}")


def _step(text: str) -> None:
    print(f"\n==> {text}", flush=True)


def _say(text: str) -> None:
    print(f"    {text}", flush=True)
