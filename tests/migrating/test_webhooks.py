"""Webhooks are written last and disabled: no receiver hears of what a migration writes, until somebody enables them."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.looking import between
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import server_of

from mlflow_parity.standin.http import Handler, LoopbackServer
from mlflow_parity.standin.servers import Server

#: MLflow sends nothing to a loopback address, and over plain HTTP, unless it is told to; and asks for webhooks again.
_LOOPBACK = {
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",
}
#: What the preflight and the mark of a migration make on every target, and take away again.
_OWN = "mlflow-parity-"


@contextmanager
def receiver() -> Iterator[tuple[str, list[str]]]:
    """Run what webhooks call; gives its address, and the names of all that it was told of."""
    heard: list[str] = []

    class Receiver(Handler):
        def do_POST(self) -> None:
            with self.received() as (_, body):
                heard.append(str(json.loads(body.read())["data"]["name"]))
            self.answer_json(200, {})

    server = LoopbackServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers whose webhooks reach the loopback address."""
    folder = tmp_path_factory.mktemp("webhooks")
    with (
        server_of("newest", folder / "a", env=_LOOPBACK) as one,
        server_of("newest", folder / "b", env=_LOOPBACK) as two,
    ):
        yield one, two


def _model(server: Server, name: str) -> None:
    Seeder(server.uri).call("POST", "registered-models/create", {"name": name})


def _hooks(server: Server) -> dict[str, str]:
    """Status of each webhook, by its name."""
    found: list[dict[str, Any]] = Seeder(server.uri).call("GET", "webhooks", {"max_results": 100})["webhooks"]
    return {str(one["name"]): str(one["status"]) for one in found}


def _until(heard: list[str], name: str) -> None:
    """Wait until a receiver was told of something: before that it was told of all that was written earlier."""
    end = time.monotonic() + 60
    while name not in heard:
        assert time.monotonic() < end, heard
        time.sleep(0.05)


@pytest.mark.long
def test_no_webhook_calls_while_the_migration_writes(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Disabled at first, counted by plan and at the end, green by a rule; enabled by the command that is told."""
    source, target = servers
    ends = [*between(source.uri, target.uri), "--work-dir", "work", "--report-dir", "reports"]
    with receiver() as (url, heard):
        seed = Seeder(source.uri)
        for name in ("churn", "spam"):
            _model(source, name)
        events = [{"entity": "REGISTERED_MODEL", "action": "CREATED"}]
        for name, status in (("active", "ACTIVE"), ("asleep", "DISABLED")):
            seed.call("POST", "webhooks", {"name": name, "url": url, "events": events, "status": status})
        planned = migrate_py(tmp_path, "plan", *ends)
        assert "the source has 2 webhooks, written last, and disabled" in planned.output
        done = migrate_py(tmp_path, "run", *ends)
        assert done.status == 0, done.output
        assert _hooks(target) == {"active": "DISABLED", "asleep": "DISABLED"}
        told = "Written, but disabled: 1 webhook. Set the secret on the target, then enable it: "
        [line] = [line for line in done.output.splitlines() if line.startswith(told)]
        outcome = json.loads((tmp_path / "work" / "outcome.json").read_text(encoding="utf-8"))
        assert outcome["webhooks_disabled"] == 1
        report = json.loads((tmp_path / "reports" / "report.json").read_text(encoding="utf-8"))
        assert report["verdict"] == "green"
        _model(target, "after the migration")
        time.sleep(1)
        assert heard == [], "the receiver of a disabled webhook"
        # as it is told, without the source
        command = shlex.split(line.removeprefix(told))
        command = command[command.index("import") :]
        assert "--enable-webhooks" in command
        done = migrate_py(tmp_path, *command)
        assert done.status == 0, done.output
        assert _hooks(target) == {"active": "ACTIVE", "asleep": "DISABLED"}
        assert "disabled: " not in done.output
        _model(target, "the receiver hears")
        _until(heard, "the receiver hears")
        assert [name for name in heard if not name.startswith(_OWN)] == ["the receiver hears"]
        # what a later run brings is no event for them either, and they stay as their owner has them
        _model(source, "new on the source")
        _until(heard, "new on the source")
        heard.clear()
        done = migrate_py(tmp_path, "run", *ends, "--into-existing", "--no-verify")
        assert done.status == 0, done.output
        assert _hooks(target) == {"active": "ACTIVE", "asleep": "DISABLED"}
        _model(target, "the end")
        _until(heard, "the end")
        assert [name for name in heard if not name.startswith(_OWN)] == ["the end"]
