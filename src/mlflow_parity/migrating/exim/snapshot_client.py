"""What the tool's exporters are handed in place of MLflow's client: it answers from the snapshot; nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import DatasetInput, Entity, Experiment, Run, Series
from mlflow_parity.migrating.exim.tool import is_plain, tool_log
from mlflow_parity.snapshot.store import PlaceObjects, SnapshotView

_PAGE = 500
_MODELS = 100


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

    They ask for runs and logged models one by one, in the order in which they were listed; what is answered was read
    for many together. ``nowhere`` is an empty folder in which the tool finds no files: their bytes are kept elsewhere.
    """

    def __init__(self, view: SnapshotView, objects: PlaceObjects, nowhere: Path, *, include_deleted: bool) -> None:
        self._view = view
        self._objects = objects
        self.include_deleted = include_deleted
        self._listing: Iterator[Run] = iter(())
        self._runs: dict[str, Run] = {}
        self._coming: Iterator[dict[str, dict[str, Series]]] = iter(())
        self._histories: dict[str, dict[str, Series]] = {}
        self._models: dict[str, Entity] = {}
        self._makers: dict[str, Run] = {}

        class Elsewhere(Shown):
            """The tool writes down the real place of the files, and looks for them where there are none."""

            artifact_location = nowhere.resolve().as_uri()

        self._logged_model = Elsewhere

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
        if page_token is None:
            self._listing = (
                run for run in self._view.all_runs() if in_scope(run, include_deleted=self.include_deleted)
            )
        self._runs = {run.run_id: run for run in islice(self._listing, _PAGE)}
        self._coming, self._histories = self._view.series_of(list(self._runs)), {}
        page = Page(Shown(info=_info(run)) for run in self._runs.values())
        page.token = page[-1].info.run_id if len(page) == _PAGE else None
        return page

    def get_run(self, run_id: str) -> Shown:
        """A run with everything but histories; of one that is not here, no inputs."""
        run = self._runs.get(run_id) or self._makers.get(run_id)
        if run is None:
            # the tool asks for the run of a logged model, which may be gone
            return Shown(inputs=Shown(dataset_inputs=[], model_inputs=[]))
        return Shown(
            info=_info(run),
            data=Shown(params=dict(run.params), tags=dict(run.tags), metrics=dict.fromkeys(run.metrics)),
            inputs=Shown(dataset_inputs=[_dataset(one) for one in run.inputs], model_inputs=_links(run.model_inputs)),
            outputs=Shown(model_outputs=_links(run.model_outputs)),
        )

    def get_metric_history(self, run_id: str, key: str) -> list[Shown]:
        """A whole history; a point that was logged twice is there twice."""
        while run_id not in self._histories:
            self._histories = next(self._coming)
        series = self._histories[run_id].get(key)
        if series is None or series.error is not None:
            raise RuntimeError(
                f"the history of {key!r} could not be read: {series.error if series else 'it is not there'}"
            )
        columns = (series.values.tolist(), series.timestamps.tolist(), series.steps.tolist())
        return [
            Shown(key=key, value=value, timestamp=timestamp, step=step)
            for value, timestamp, step in zip(*columns, strict=True)
        ]

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[Any]:
        """None: the bytes were kept when they were read."""
        return []

    def search_logged_models(self, *_: Any, **__: Any) -> Page:
        """Every logged model, on one page, with no more than the tool looks at before it asks for each."""
        return Page(
            Shown(model_id=key.entity_id, name=key.name, experiment_id=key.container, source_run_id=key.run)
            for key in self.model_keys()
        )

    def model_keys(self) -> list[ObjectKey]:
        """The logged models that the tool is to write."""
        if self._objects.problem("logged_models") is not None:
            return []
        return [key for key in self._objects.keys("logged_model") if is_plain(key.entity_id)]

    def get_logged_model(self, model_id: str) -> Shown:
        """A logged model."""
        if model_id not in self._models:
            ids = [key.entity_id for key in self.model_keys()]
            first = ids.index(model_id)
            found = self._objects.entities("logged_model", ids[first : first + _MODELS])
            self._models = {model.entity_id: model for model in found}
            self._makers = self._view.find_runs({run for model in found if (run := model.facets.get("run"))})
        return self._logged_model(**_logged_model(self._models[model_id]))

    def search_traces(self, *_: Any, **__: Any) -> Page:
        """None: the tool cannot bring them back, so they are moved from the snapshot."""
        return Page()


def in_scope(run: Run, *, include_deleted: bool) -> bool:
    """Whether the tool is to write a run; one whose id is no name of a folder cannot be written."""
    return (include_deleted or run.lifecycle_stage != "deleted") and is_plain(run.run_id)


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


def _links(links: tuple[tuple[str, int], ...] | None) -> list[Shown]:
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


def _logged_model(model: Entity) -> dict[str, Any]:
    facets = model.facets
    points = facets.get("metrics") or ()
    return {
        "experiment_id": model.container,
        "model_id": model.entity_id,
        "name": model.name,
        "artifact_location": model.artifact_uri,
        "creation_timestamp": model.created,
        "last_updated_timestamp": (facets.get("times") or {}).get("update"),
        "model_type": facets.get("type"),
        "source_run_id": facets.get("run"),
        "status": (facets.get("status") or {}).get("status"),
        "status_message": (facets.get("status") or {}).get("message"),
        "tags": dict(facets.get("tags") or {}),
        "params": dict(facets.get("params") or {}),
        "metrics": [Shown(**{**point, "run_id": point["run"], "model_id": model.entity_id}) for point in points],
    }


def export_experiment(client: SnapshotClient, folder: Path, log: Path, source: str) -> None:
    """Let the tool write its files of the experiment into ``folder``; what it says goes to ``log``."""
    with tool_log(log, source):
        from mlflow_export_import.experiment import export_experiment as tool

        identity = client.get_experiment("").experiment_id
        tool.export_experiment(identity, str(folder), export_deleted_runs=client.include_deleted, mlflow_client=client)
