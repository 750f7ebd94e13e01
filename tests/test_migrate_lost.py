"""What goes wrong midway: an odd object, an end that is gone, a full disk. The rest is moved, and all is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.exported import export_from
from support.importer import Migration
from support.seed import Seeder, pairs
from support.servers import FreshServer

from mlflow_parity.migrating import import_traces
from mlflow_parity.migrating.ordering import import_batch, import_rest

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
        import_traces._Importer(context, str(context.journal.target("experiment", one))).one(odd)
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
