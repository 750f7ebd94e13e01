"""What goes wrong midway: an odd object, an end that is gone, a full disk. The rest is moved, and all is told."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support import warm
from support.exported import export_from
from support.importer import Migration
from support.proxy import Exchange, Fault, break_off, proxying, reset
from support.seed import Seeder, pairs
from support.servers import FreshServer

from mlflow_parity.migrating.command import main
from mlflow_parity.migrating.write.objects import traces as import_traces
from mlflow_parity.migrating.write.ordering import import_batch, import_rest
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.standin.servers import clean_environment

_LIST = "mlflow.modelVersions"


def test_one_odd_object_does_not_end_the_others(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Somebody's own text in MLflow's tag, a time in nanoseconds: moved or named, and what is deleted is deleted."""
    source, target = fresh_server(), fresh_server()
    seed, there = Seeder(source.uri), Seeder(target.uri)
    one = seed.experiment("odd")
    tags = pairs({_LIST: "see the wiki"})
    seed.call("POST", "logged-models", {"experiment_id": one, "name": "noted", "tags": tags})
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": one}}
    info = {"trace_id": "tr-1", "trace_location": place, "request_time": "2026-01-01T00:00:00Z", "state": "OK"}
    seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")
    gone = seed.run(one, "gone")
    seed.end(gone)
    seed.delete_run(gone)
    # of such a trace there are no spans to read
    folder, _ = export_from(source.uri, tmp_path)
    [experiment] = [each for each in folder.snapshot.experiments if each.name == "odd"]
    objects = folder.snapshot.objects(one)
    [trace] = objects.entities("trace", [key.entity_id for key in objects.keys("trace")])
    migration = Migration(folder, target.uri, tmp_path / "journal")
    context = migration.context
    try:
        import_batch(context, [experiment])
        import_rest(context, [experiment])
        assert [entry.kind for entry in context.journal.entries() if entry.state != "done"] == ["trace"]
        # no server tells such a time, but a damaged database does
        times = {**trace.facets["times"], "request": 10**17}
        odd = replace(trace, entity_id="tr-2", facets={**trace.facets, "times": times})
        there_id = str(context.journal.target("experiment", one))
        import_traces._Importer(context, objects, there_id, set(), ours=True).one(odd)
        entry = context.journal.entry("trace", "tr-2")
        assert entry is not None
        assert (entry.state, (entry.reason or "")[:14]) == ("failed", "OverflowError:")
        copy = context.journal.target("run", gone)
        assert there.call("GET", "runs/get", {"run_id": copy})["run"]["info"]["lifecycle_stage"] == "deleted"
        [model] = context.journal.ids("logged_model").values()
        info = there.call("GET", f"logged-models/{model}", {})["model"]["info"]
        assert {"key": _LIST, "value": "see the wiki"} in info["tags"]
    finally:
        migration.close()


@pytest.mark.long
def test_a_target_that_is_gone_midway(
    fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first run on it takes no connection: exit status 1, what is not moved is listed, with the command."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    seed.end(seed.run(seed.experiment("one"), "lost"))
    seed.call("POST", "registered-models/create", {"name": "churn"})
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW", "AWS"))]:
        monkeypatch.delenv(name)
    # connect, read, call, tries, waits, slowest: as a user has them, but for the patience
    monkeypatch.setattr(Limits.__init__, "__defaults__", (10.0, 120.0, 600.0, 2, 0.01, 0.05, 100_000.0))
    with proxying(target.uri) as front:

        def gone(exchange: Exchange, *_: object) -> None:
            front.faults.append(Fault("/", reset, 10**9, early=True))
            break_off(exchange)

        front.faults.append(Fault("runs/create", gone, early=True))
        ends = ["--source-uri", source.uri, "--target-uri", front.uri, "--work-dir", "work", "--workers", "1"]
        status = main(["run", *ends])
    told = capsys.readouterr()
    assert (status, "Traceback" in told.err) == (1, False), told
    outcome = json.loads((tmp_path / "work" / "outcome.json").read_text())
    unmoved = {(one["kind"], one["name"]): one["fate"] for one in outcome["unmoved"]}
    assert unmoved["run", "lost"] == "failed"
    assert unmoved["registered_model", "churn"] == "waiting"
    [stopped] = [one for one in outcome["unmoved"] if one["kind"] == "server"]
    assert "this stopped the work" in stopped["reason"]
    assert "To try again" in told.out
    assert f"mlflow-parity migrate run --source-uri {source.uri}" in told.out
    # and it does
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    ends[3] = target.uri
    assert main(["run", *ends, "--no-verify", "--into-existing"]) == 0


#: As a disk that is full: no file grows beyond so many bytes.
_SMALL = "import resource, sys\nsys.dont_write_bytecode = True\n"
_SMALL += "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
_SMALL += "from mlflow_parity.migrating.command import main\nsys.exit(main(sys.argv[1:]))\n"


@pytest.mark.parametrize(("step", "what"), [("export", "no space left on the disk ("), ("run", "the journal of the")])
def test_a_full_disk(fresh_server: FreshServer, tmp_path: Path, step: str, what: str) -> None:
    """No room for the snapshot, or for the journal: one line that says what to do, and no traceback."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    seed.end(seed.run(seed.experiment("one"), "run", tags={f"tag {n}": "x" * 90 for n in range(90)}))
    ends = ["--source-uri", source.uri, "--work-dir", "work"]
    ends += ["--target-uri", target.uri, "--no-verify"] if step == "run" else []
    done = warm.run(["-c", _SMALL, step, *ends], kind="mlflow", cwd=tmp_path, env=clean_environment())
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("mlflow-parity migrate ")]
    assert what in line
    assert "make room and run the same command again" in line
