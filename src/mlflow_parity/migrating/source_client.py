"""What the tool's exporters are handed in place of MLflow's client: it answers from the snapshot; nothing is sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from mlflow_parity.migrating.target_client import settle_tool
from mlflow_parity.model import DatasetInput, Entity, Experiment, Run
from mlflow_parity.snapshot.store import PlaceObjects, SnapshotView

_PAGE = 500


class Shown:
    """An object as the tool looks at MLflow's entities: by attributes, and by ``__dict__`` with underscores."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update({f"_{name}": value for name, value in values.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__[f"_{name}"]
        except KeyError:
            raise AttributeError(name) from None


class Page(list[Any]):
    """One page of a search."""

    token: str | None = None


class SnapshotClient:
    """One experiment of a snapshot, as the tool's exporters ask for it.

    ``nowhere`` is an empty folder in which the tool finds no files: their bytes are kept elsewhere.
    """

    def __init__(self, view: SnapshotView, objects: PlaceObjects, nowhere: Path, *, include_deleted: bool) -> None:
        self._view = view
        self._objects = objects
        self._nowhere = nowhere
        self._runs: Iterator[Run] | None = None
        self._include_deleted = include_deleted

    def get_experiment_by_name(self, name: str) -> None:
        """Asked first, with an id: an experiment whose name is another's id must not pass for it."""

    def get_experiment(self, experiment_id: str) -> Shown:
        """The experiment."""
        found: Experiment = self._view.experiment
        return Shown(
            experiment_id=found.experiment_id,
            name=found.name,
            artifact_location=found.artifact_location,
            lifecycle_stage=found.lifecycle_stage,
            tags=dict(found.tags),
            creation_time=found.creation_time,
            last_update_time=found.last_update_time,
        )

    def search_runs(self, *_: Any, page_token: str | None = None, **__: Any) -> Page:
        """Runs in pages, in the order of the snapshot; each page is read once."""
        if page_token is None or self._runs is None:
            self._runs = self._view.all_runs()
        page = Page()
        for run in self._runs:
            if run.lifecycle_stage != "deleted" or self._include_deleted:
                page.append(Shown(info=_info(run)))
            if len(page) == _PAGE:
                page.token = run.run_id
                break
        return page

    def get_run(self, run_id: str) -> Shown:
        """A run with everything but histories; of one that is not here, no inputs."""
        try:
            [run] = self._view.runs([run_id])
        except KeyError:
            # the tool asks for the run of a logged model, which may be gone
            return Shown(inputs=Shown(dataset_inputs=[], model_inputs=[]))
        return Shown(
            info=_info(run),
            data=Shown(params=dict(run.params), tags=dict(run.tags), metrics=dict.fromkeys(run.metrics)),
            inputs=Shown(dataset_inputs=[_dataset(one) for one in run.inputs], model_inputs=_models(run.model_inputs)),
            outputs=Shown(model_outputs=_models(run.model_outputs)),
        )

    def get_metric_history(self, run_id: str, key: str) -> list[Shown]:
        """A whole history; a point that was logged twice is there twice."""
        series = self._view.points(run_id, key)
        if series.error is not None:
            raise RuntimeError(f"the history of {key!r} could not be read: {series.error}")
        columns = (series.values.tolist(), series.timestamps.tolist(), series.steps.tolist())
        return [
            Shown(key=key, value=value, timestamp=timestamp, step=step)
            for value, timestamp, step in zip(*columns, strict=True)
        ]

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[Any]:
        """None: the bytes were kept when they were read."""
        return []

    def search_logged_models(self, *_: Any, **__: Any) -> Page:
        """Every logged model, on one page."""
        if self._objects.problem("logged_models") is not None:
            return Page()
        return Page(self.get_logged_model(key.entity_id) for key in self._objects.keys("logged_model"))

    def get_logged_model(self, model_id: str) -> Shown:
        """A logged model."""
        [model] = self._objects.entities("logged_model", [model_id])
        return _logged_model(model, self._nowhere.resolve().as_uri())

    def search_traces(self, *_: Any, **__: Any) -> Page:
        """None: the tool cannot bring them back, so they are moved from the snapshot."""
        return Page()


def _info(run: Run) -> Shown:
    return Shown(
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        user_id=run.user_id,
        status=run.status,
        start_time=run.start_time,
        end_time=run.end_time,
        lifecycle_stage=run.lifecycle_stage,
        artifact_uri=run.artifact_uri,
        run_name=run.name,
    )


def _models(links: tuple[tuple[str, int], ...] | None) -> list[Shown]:
    return [Shown(model_id=model, step=step) for model, step in links or ()]


def _dataset(one: DatasetInput) -> Shown:
    dataset = Shown(
        name=one.name,
        digest=one.digest,
        source_type=one.source_type,
        source=one.source,
        schema=one.schema,
        profile=one.profile,
    )
    return Shown(dataset=dataset, tags=[Shown(key=key, value=value) for key, value in one.tags])


def _logged_model(model: Entity, nowhere: str) -> Shown:
    facets = model.facets
    points = facets.get("metrics") or ()

    class Elsewhere(Shown):
        """The tool writes down the real place of the files, and looks for them where there are none."""

        artifact_location = nowhere

    return Elsewhere(
        experiment_id=model.container,
        model_id=model.entity_id,
        name=model.name,
        artifact_location=model.artifact_uri,
        creation_timestamp=model.created,
        last_updated_timestamp=(facets.get("times") or {}).get("update"),
        model_type=facets.get("type"),
        source_run_id=facets.get("run"),
        status=(facets.get("status") or {}).get("status"),
        status_message=(facets.get("status") or {}).get("message"),
        tags=dict(facets.get("tags") or {}),
        params=dict(facets.get("params") or {}),
        metrics=[Shown(**{**point, "run_id": point["run"], "model_id": model.entity_id}) for point in points],
    )


@contextmanager
def tool_log(path: Path) -> Iterator[None]:
    """Send what the tool says to a file that only its owner can read, and to nowhere else.

    Its own set-up would turn on the whole process's DEBUG log, with what is signed in it.
    """
    settle_tool()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    output = path.open("a", encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(output)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("mlflow_export_import")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        # it prints tables and tracebacks as well
        with redirect_stdout(output), redirect_stderr(output):
            yield
    finally:
        logger.removeHandler(handler)
        output.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]
