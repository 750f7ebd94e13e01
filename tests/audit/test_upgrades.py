"""Upgrades in place, over two releases each, with every kind of object: nothing but what was changed is red."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import warm
from support.audits import AuditRun, audit
from support.environments import python_of
from support.seed import Seeder, seed_small
from support.seed_objects import seed_objects
from support.seed_trace_states import seed_trace_states
from support.servers import server_of

from mlflow_parity.cli import main
from mlflow_parity.standin.servers import clean_environment

SAME = ("--parity-profile", "same-store", "--parity-include-deleted")
_ONE = "= (SELECT request_id FROM trace_info WHERE trace_name = '{}' LIMIT 1)"
#: Statements that change the upgraded database, and the findings that name it.
PLANTED = {
    f"UPDATE trace_info SET execution_time_ms = NULL WHERE request_id {_ONE.format('took no time')}": (
        "times", "duration", "mismatch", "took no time"
    ),
    f"UPDATE trace_info SET execution_time_ms = 7 WHERE request_id {_ONE.format('goes on')}": (
        "times", "duration", "mismatch", "goes on"
    ),
    "UPDATE trace_request_metadata SET value = 'other' WHERE key = 'mlflow.traceInputs' "
    f"AND request_id {_ONE.format('failed')}": ("metadata", "mlflow.traceInputs", "mismatch", "failed"),
}  # fmt: skip


@dataclass(slots=True)
class Store:
    """One server's store, served by one release after the other; what each held at its end is kept as a snapshot."""

    folder: Path
    before: dict[str, str] = field(default_factory=dict)
    database: Path = Path()

    def serve(self, version: str, *, last: bool = False) -> list[AuditRun]:
        """Upgrade a copy of the database to a release, audit it against all snapshots, and write more into it."""
        if self.before:
            kept, self.database = self.database, self.folder / "server" / f"{version}.db"
            shutil.copyfile(kept, self.database)
            command = ["-m", "mlflow", "db", "upgrade", f"sqlite:///{self.database}"]
            done = warm.run(command, kind="mlflow", cwd=self.folder, env=clean_environment(), python=python_of(version))
            assert done.returncode == 0, done.stdout + done.stderr
        database = f"sqlite:///{self.database}" if self.before else None
        with server_of(version, self.folder / "server", database=database) as server:
            self.database = server.database_path
            audits = [
                audit(self.folder / f"{old}-{version}", snapshot, server.uri, *SAME)
                for old, snapshot in self.before.items()
            ]
            if last:
                _execute(server.database_path, PLANTED)
                audits.append(audit(self.folder / "red", list(self.before.values())[-1], server.uri, *SAME))
                return audits
            if not self.before:
                # names that the artifact proxies of 2.16 to 3.4 cannot give back are another test's
                seed_small(server.uri, unicode_files=False)
            one = Seeder(server.uri).experiment(f"objects of {version}")
            seed_objects(server.uri, one, version=version, prefix=f"{version}-", reachable=True)
            seed_trace_states(server.uri, one)
            if version == "3.4.0":
                # each of these servers has a key of its own, and reads no secret that another one wrote
                _execute(server.database_path, ["UPDATE webhooks SET secret = NULL"])
            to = self.folder / f"snapshot-{version}"
            assert main(["snapshot", "--source-uri", server.uri, "--to", str(to)]) == 0
            self.before[version] = str(to / "source")
        return audits


def _execute(database: Path, statements: Iterable[str]) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount == 1, statement


def assert_upgraded(first: AuditRun, second: list[AuditRun]) -> set[str]:
    """Each hop is green, and two together but for what came between; return the rules of what is told otherwise."""
    over_both, over_one, red = second
    for one in (first, over_one):
        assert (one.status, one.findings()) == (0, set()), one.output[-3000:]
    # what was written after the first release is not in the snapshot of it, and nothing else is told
    assert {state for _, _, state, _ in over_both.findings()} == {"extra"}, over_both.output[-3000:]
    assert {facet for facet, _, _, _ in over_both.findings()} == {"presence"}
    planted = {*PLANTED.values()}
    assert red.status == 1
    assert planted <= red.findings()
    # the text that was changed is a preview of MLflow 2
    assert {(facet, name) for facet, _, _, name in red.findings() - planted} <= {("previews", "failed")}
    rows = [row for one in (first, over_one, over_both) for row in one.rows()]
    return {rule for row in rows for rule in row.rules if rule.startswith("trace.") and row.state.value == "expected"}


@pytest.mark.long
def test_from_2_16_over_2_22_to_the_newest(tmp_path: Path) -> None:
    """Traces without an end and the previews of MLflow 2 are told otherwise by MLflow 3, by named rules."""
    store = Store(tmp_path)
    assert store.serve("2.16.2") == []
    [first] = store.serve("2.22.5")
    rules = assert_upgraded(first, store.serve("newest", last=True))
    assert rules == {"trace.times.no-end", "trace.previews.of-metadata"}


@pytest.mark.long
def test_from_2_22_over_3_4_to_the_newest(tmp_path: Path) -> None:
    """MLflow 3.4 says of every trace that it is of schema 3."""
    store = Store(tmp_path)
    assert store.serve("2.22.5") == []
    [first] = store.serve("3.4.0")
    rules = assert_upgraded(first, store.serve("newest", last=True))
    assert rules == {"trace.times.no-end", "trace.previews.of-metadata", "trace.metadata.schema-version"}
