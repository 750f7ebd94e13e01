"""Stores of experiments and runs that hypothesis makes, and what a restore or an import makes of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mlflow_parity.core.records import EXIM_PREFIX, DatasetInput, Experiment, MetricPoint, Run
from support.memory import Points, Store

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10)
KEY = st.sampled_from(["a", "b", "Loss", "loss", "größe", "x/y z"])
VALUE = st.floats(allow_nan=True, allow_infinity=True)
POINT = st.tuples(st.integers(-3, 9), st.integers(0, 2**41), VALUE)
INPUT = st.builds(
    DatasetInput,
    name=NAME,
    digest=NAME,
    source_type=st.just("local"),
    source=TEXT,
    schema=TEXT,
    profile=TEXT,
    tags=st.sampled_from([(), (("mlflow.data.context", "training"),), (("mlflow.data.context", "eval"), ("x", "y"))]),
)
SLOW = settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))


def _latest(points: Points) -> MetricPoint:
    step, timestamp, value = max(points, key=lambda p: (p[0], p[1], 0.0 if math.isnan(p[2]) else p[2]))
    return MetricPoint(step, timestamp, value)


@st.composite
def stores(draw: st.DrawFn, *, least: int = 1) -> Store:
    """A source: one or two experiments, runs that may hang on each other, everything filled at random."""
    store = Store()
    names = draw(st.lists(NAME, min_size=1, max_size=2, unique=True))
    for number, name in enumerate(names):
        tags = draw(st.dictionaries(KEY, TEXT, max_size=2))
        if draw(st.booleans()):
            tags["mlflow.note.content"] = "note"
        store.experiments.append(Experiment(str(number + 1), name, "active", f"mlflow-artifacts:/{number}", 5, 6, tags))
    for number in range(draw(st.integers(least, 4))):
        run_id = f"{number:032x}"
        experiment = draw(st.sampled_from(store.experiments)).experiment_id
        tags = draw(st.dictionaries(KEY, TEXT, max_size=2))
        tags["mlflow.user"] = draw(st.sampled_from(["ada", "béa"]))
        if number and draw(st.booleans()):
            tags["mlflow.parentRunId"] = f"{draw(st.integers(0, number - 1)):032x}"
        if draw(st.booleans()):
            tags["mlflow.note.content"] = draw(TEXT)
        metrics = {}
        for key in draw(st.lists(KEY, max_size=2, unique=True)):
            points: Points = tuple(draw(st.lists(POINT, min_size=1, max_size=5)))
            store.points[run_id, key] = points
            metrics[key] = _latest(points)
        for path in draw(st.lists(st.sampled_from(["a.txt", "d/e/b.bin", "größe"]), max_size=2, unique=True)):
            store.files[run_id, path] = draw(st.binary(max_size=8))
        ended = draw(st.booleans())
        store.runs.append(
            Run(
                run_id=run_id,
                experiment_id=experiment,
                # names differ, so that each finding can be told from the next
                name=f"{number}-{draw(NAME)}",
                status=draw(st.sampled_from(["FINISHED", "FAILED"])) if ended else "RUNNING",
                start_time=1_000 + number,
                end_time=2_000 + number if ended else None,
                user_id="ada",
                lifecycle_stage="active",
                artifact_uri=f"mlflow-artifacts:/{experiment}/{run_id}/artifacts",
                params=draw(st.dictionaries(KEY, TEXT, max_size=3)),
                tags=tags,
                metrics=metrics,
                inputs=tuple(draw(st.lists(INPUT, max_size=2))),
            )
        )
    return store


def imported(store: Store) -> Store:
    """A copy as the tool makes it: new ids and times, source tags, parents through the map of ids."""
    new = {run.run_id: f"f{run.run_id[1:]}" for run in store.runs}
    ids = {item.experiment_id: str(int(item.experiment_id) + 70) for item in store.experiments}
    copied = Store()
    for item in store.experiments:
        fields = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time")
        tags = {f"{EXIM_PREFIX}field.{name}": str(getattr(item, name)) for name in fields}
        tags |= {
            f"{EXIM_PREFIX}mlflow_tag.{k.removeprefix('mlflow.')}": v
            for k, v in item.tags.items()
            if k.startswith("mlflow.")
        }
        copied.experiments.append(
            replace(
                item,
                experiment_id=ids[item.experiment_id],
                tags={**item.tags, **tags},
                artifact_location=f"mlflow-artifacts:/{ids[item.experiment_id]}",
                creation_time=900_000,
                last_update_time=900_001,
            )
        )
    for run in store.runs:
        info = ("run_id", "experiment_id", "user_id", "status", "start_time", "end_time", "lifecycle_stage")
        tags = {f"{EXIM_PREFIX}run_info.{name}": str(getattr(run, name)) for name in (*info, "artifact_uri")}
        tags |= {
            f"{EXIM_PREFIX}mlflow_tag.{k.removeprefix('mlflow.')}": v
            for k, v in run.tags.items()
            if k.startswith("mlflow.")
        }
        tags = {**run.tags, **tags, "mlflow.user": "importer"}
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = new[run.tags["mlflow.parentRunId"]]
        experiment = ids[run.experiment_id]
        copied.runs.append(
            replace(
                run,
                run_id=new[run.run_id],
                experiment_id=experiment,
                start_time=900_100,
                end_time=900_200,
                user_id="unknown",
                tags=tags,
                artifact_uri=f"mlflow-artifacts:/{experiment}/{new[run.run_id]}/artifacts",
            )
        )
    copied.points = {(new[run], key): points for (run, key), points in store.points.items()}
    copied.files = {(new[run], path): content for (run, path), content in store.files.items()}
    return copied


def restored(store: Store) -> Store:
    """The same store elsewhere: a restored database."""
    return copy.deepcopy(store)


COPIES: dict[str, Callable[[Store], Store]] = {"imported": imported, "restored": restored}
