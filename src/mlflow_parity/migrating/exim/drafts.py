"""What the tool's importers are handed in place of MLflow's client: it takes down what they want to be written.

The tool writes a run's source tags last and repeats many calls, so a killed import leaves runs that nothing can be told
by. Here its functions read their own files and say what is in them, and ``objects.run_writing`` writes
all of it at once, in an order that survives a kill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow_parity.migrating.exim.tool import settle_tool

#: Key, value, timestamp in ms, step.
Point = tuple[str, float, int, int]


@dataclass(slots=True)
class Draft:
    """What the tool wants to write of one run, or of one logged model."""

    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    """As ``runs/log-inputs`` takes them."""
    model: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``create_logged_model``."""


class Recorder:
    """Answers the tool's calls for one object and writes nothing.

    ``endpoint`` is only shown to the tool; ``run_id`` is what a run is called that it creates.
    """

    def __init__(self, endpoint: str, experiment: str, run_id: str = "") -> None:
        creds = SimpleNamespace(host=endpoint, token=None)
        # where the tool looks for the server's address
        self._tracking_client = SimpleNamespace(store=SimpleNamespace(get_host_creds=lambda: creds))
        self._experiment = experiment
        self._run_id = run_id
        self.draft = Draft()

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> str:
        """The experiment is there already."""
        return self._experiment

    def get_experiment(self, experiment_id: str) -> Any:
        """The experiment, as far as the tool looks at it."""
        return SimpleNamespace(experiment_id=experiment_id, name="", artifact_location="")

    def create_run(self, experiment_id: str, *_: Any, **__: Any) -> Any:
        """A run that is not on the target yet."""
        return self.get_run(self._run_id)

    def get_run(self, run_id: str) -> Any:
        """The same."""
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def log_batch(
        self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = (), tags: Sequence[Any] = ()
    ) -> None:
        """Take down params, points and tags."""
        draft = self.draft
        draft.params.update((param.key, param.value) for param in params)
        draft.points += [(point.key, point.value, point.timestamp, point.step) for point in metrics]
        draft.tags.update((tag.key, tag.value) for tag in tags)

    def log_inputs(self, run_id: str, datasets: Sequence[Any] | None = None, models: Any = None) -> None:
        """Take down dataset inputs; links to logged models are written from the snapshot, which has their steps."""
        for one in datasets or ():
            dataset = {key: value for key, value in one.dataset.to_dictionary().items() if value is not None}
            tags = [{"key": tag.key, "value": tag.value} for tag in one.tags]
            self.draft.datasets.append({"dataset": dataset, "tags": tags})

    def log_outputs(self, run_id: str, models: Any) -> None:
        """Left to the snapshot as well."""

    def set_terminated(self, run_id: str | None, status: str | None = None, end_time: int | None = None) -> None:
        """Status and end are the snapshot's; the tool knows no end."""

    def delete_run(self, run_id: str) -> None:
        """Deleted last, when everything that hangs on the run was written."""

    def create_logged_model(self, **arguments: Any) -> Any:
        """Take down a logged model."""
        self.draft.model = arguments
        return SimpleNamespace(model_id="", source_run_id=arguments.get("source_run_id"), artifact_location="")

    def finalize_logged_model(self, model_id: str, status: Any) -> None:
        """The snapshot has the status, as REST names it."""


def run_draft(folder: Path, endpoint: str, experiment: str) -> Draft:
    """Return what the tool's ``import_run`` makes of an exported run.

    Raises:
        Exception: what the tool raises where the folder does not hold a run.
    """
    settle_tool()
    from mlflow_export_import.run.import_run import import_run

    client = Recorder(endpoint, experiment)
    import_run(
        input_dir=str(folder),
        experiment_name=experiment,
        import_source_tags=True,
        use_src_user_id=True,
        mlmodel_fix=False,
        import_logged_models=False,
        mlflow_client=client,
    )
    return client.draft


def model_draft(folder: Path, endpoint: str, experiment: str, run_id: str | None) -> Draft:
    """Return what the tool's ``import_logged_model`` makes of an exported logged model of the target run ``run_id``."""
    settle_tool()
    from mlflow_export_import.logged_model.import_logged_model import import_logged_model

    # without a run the tool would make one
    client = Recorder(endpoint, experiment, run_id or "")
    import_logged_model(
        input_dir=str(folder), experiment_name=experiment, run_id=run_id, mlmodel_fix=False, mlflow_client=client
    )
    return client.draft


def experiment_source_tags(fields: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the source tags that the tool's ``import_experiment`` writes."""
    settle_tool()
    from mlflow_export_import.common import source_tags

    found: dict[str, Any] = source_tags.mk_source_tags_mlflow_tag(tags)
    source_tags.set_source_tags_for_field(fields, found)
    for name in ("creation_time", "last_update_time"):
        source_tags.fmt_timestamps(name, fields, found)
    return {key: str(value) for key, value in found.items()}


def metric_points(exported: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Point]:
    """Return the points of an exported run's ``metrics``."""
    return [
        (key, float(one["value"]), one["timestamp"], one["step"]) for key, points in exported.items() for one in points
    ]
