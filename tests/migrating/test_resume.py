"""``migrate.py run`` killed at random moments of export and import, again and again; run twice; run for what is new."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import warm
from support.audits import AuditRun
from support.migrations import ROOT, migrate_py
from support.proxy import Fault, proxying
from support.seed import EPOCH, Seeder
from support.seed_objects import HOOK
from support.seed_traps import seed_traps
from support.servers import FreshServer, counts_of

from mlflow_parity.standin.servers import Server, clean_environment


def _run(source: Server, target: Server) -> list[str]:
    arguments = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--include-deleted"]
    return [*arguments, "--work-dir", "work", "--report-dir", "reports"]


#: What the killed source holds.
_KINDS = {"experiment", "run", "logged_model", "trace", "scorer", "registered_model", "model_version", "prompt",
          "prompt_version", "evaluation_dataset", "webhook"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _State:
    """How far a migration has come, from its own notes: is the export whole, and how much of it is on the target."""

    exported: bool
    files: int
    done: int

    @classmethod
    def of(cls, work: Path) -> _State:
        note = work / "mlflow-parity-migration.json"
        exported = note.exists() and bool(json.loads(note.read_text())["exported"])
        # while it is read files come and go
        files = 0 if exported else sum(len(names) for _, _, names in os.walk(work / "export"))
        done = 0
        for journal in work.glob("journal-*.sqlite"):
            # killed before it had made its tables
            with suppress(sqlite3.OperationalError), closing(sqlite3.connect(journal, timeout=30)) as database:
                done = database.execute("SELECT count(*) FROM objects WHERE state = 'done'").fetchone()[0]
        return cls(exported, files, done)

    def moved_on(self, since: _State, steps: int) -> bool:
        """Whether it has made that many steps; where one phase ends the other begins."""
        if self.exported != since.exported:
            return True
        return self.done >= since.done + steps if self.exported else self.files >= since.files + steps


def _killed(folder: Path, command: list[str], chance: random.Random, *, reading: bool) -> _State | None:
    """Begin, and kill after some steps; ``None`` when it came to its end before.

    These are steps of the phase that it is in; where that is the export, and it is not to be killed ``reading`` any
    more, it is killed when that is over.
    """
    before = _State.of(folder / "work")
    process = warm.begin([str(ROOT / "migrate.py"), *command], kind="mlflow", cwd=folder, env=clean_environment())
    # a file is less than an object
    steps = chance.randint(1, 2) if before.exported else chance.randint(1, 20) if reading else 1_000_000
    while process.poll() is None and not _State.of(folder / "work").moved_on(before, steps):
        time.sleep(0.005)
    # between two notes too
    time.sleep(chance.uniform(0, 0.01))
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    return _State.of(folder / "work") if alive else None


@pytest.mark.long
def test_killed_again_and_again(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Every kind of object, SIGKILL at random moments; then green, nothing twice, and a further run changes nothing."""
    kills = 6
    source, target, undisturbed = fresh_server(), fresh_server(), fresh_server()
    seed_traps(source.uri)
    events = [{"entity": "MODEL_VERSION", "action": "CREATED"}]
    hook = {"name": "hook", "url": HOOK, "events": events, "status": "DISABLED"}
    Seeder(source.uri).call("POST", "webhooks", hook)
    assert migrate_py(tmp_path / "undisturbed", *_run(source, undisturbed), "--no-verify").status == 0
    whole = _State.of(tmp_path / "undisturbed" / "work").done
    chance = random.Random(20261123)
    folder = tmp_path / "killed"
    folder.mkdir()
    reading = writing = killed = attempts = 0
    while killed < kills:
        attempts += 1
        assert attempts < 2 * kills
        state = _killed(folder, [*_run(source, target), "--no-verify"], chance, reading=reading < kills / 3)
        if state is not None:
            killed += 1
            reading += not state.exported and state.files > 0
            writing += state.exported and 0 < state.done < whole
    assert reading >= kills // 10 + 1
    assert writing >= max(1, kills // 5)
    done = migrate_py(folder, *_run(source, target))
    assert done.status == 0, done.output[-4000:]
    assert "GREEN" in done.output
    found = AuditRun(done.status, done.output, folder / "reports").rows()
    assert {row.kind for row in found if row.facet == "presence"} >= _KINDS
    assert counts_of(target) == counts_of(undisturbed)
    again = migrate_py(folder, *_run(source, target), "--no-verify")
    assert again.status == 0, again.output[-4000:]
    assert counts_of(target) == counts_of(undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["registered model", "prompt"])
def test_killed_before_an_alias_is_set(fresh_server: FreshServer, tmp_path: Path, kind: str) -> None:
    """All versions are there, and are noted; the alias that comes after them is set by the next call."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    mark = [{"key": "mlflow.prompt.is_prompt", "value": "true"}] if kind == "prompt" else []
    text = [{"key": "mlflow.prompt.text", "value": "hi"}] if kind == "prompt" else []
    seed.call("POST", "registered-models/create", {"name": "churn", "tags": mark})
    run = seed.run(seed.experiment("one"), "trainer")
    seed.artifact(run, "model/MLmodel", b"flavors: {}\n")
    seed.end(run)
    place = seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"]
    made_of = {"source": "dummy-source"} if mark else {"source": f"{place}/model", "run_id": run}
    body = {"name": "churn", **made_of, "tags": [*mark, *text]}
    seed.call("POST", "model-versions/create", body)
    seed.call("POST", "registered-models/alias", {"name": "churn", "alias": "champion", "version": "1"})
    with proxying(target.uri) as proxy:
        command = ["run", "--source-uri", source.uri, "--target-uri", proxy.uri, "--work-dir", "work"]
        begun = warm.begin(
            [str(ROOT / "migrate.py"), *command, "--no-verify"], kind="mlflow", cwd=tmp_path, env=clean_environment()
        )

        def kill(*_: object) -> None:
            os.kill(begun.pid, signal.SIGKILL)

        proxy.faults.append(Fault("registered-models/alias", kill, early=True))
        assert begun.wait(120) != 0
        assert sum(proxy.spoilt.values()) == 1
        assert "aliases" not in Seeder(target.uri).call("GET", "registered-models/get", {"name": "churn"})
        proxy.heal()
        done = migrate_py(tmp_path, *command)
        assert done.status == 0, done.output
    found = Seeder(target.uri).call("GET", "registered-models/alias", {"name": "churn", "alias": "champion"})
    assert found["model_version"]["version"] == "1"


@pytest.mark.long
def test_what_is_new(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A run that went on, one that came and a file that changed since: a further run moves these, and ends green."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("growing")
    going = seed.run(experiment, "going on")
    seed.log(going, metrics=[("loss", 1.0, EPOCH, 0)])
    seed.artifact(going, "notes.txt", b"first\n")
    assert migrate_py(tmp_path, *_run(source, target)).status == 0
    before = counts_of(target)
    seed.log(going, params={"late": "1"}, metrics=[("loss", 0.5, EPOCH + 1, 1)])
    seed.artifact(going, "notes.txt", b"second\n")
    seed.end(going)
    seed.end(seed.run(experiment, "came later"))
    done = migrate_py(tmp_path, *_run(source, target))
    assert done.status == 0, done.output[-4000:]
    after = counts_of(target)
    assert {name: after[name] - before[name] for name in ("runs", "metrics", "params")} == {
        "runs": 1,
        "metrics": 1,
        "params": 1,
    }
