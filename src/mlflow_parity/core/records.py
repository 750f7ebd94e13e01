"""The records: what a tracking server holds, as frozen dataclasses without I/O.

Names and units are MLflow's own: times are milliseconds since the epoch, steps are integers, metric
values are IEEE 754 doubles, artifact paths are relative to the run's artifact root and use ``/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Tag under which MLflow keeps the note (description) of an experiment or run.
NOTE_TAG = "mlflow.note.content"
#: Tag under which MLflow keeps the parent run's id.
PARENT_TAG = "mlflow.parentRunId"
#: Metadata of a trace: the id of the gateway's endpoint that was called.
ENDPOINT_KEY = "mlflow.gateway.endpointId"
#: Facet of a model version: the place from which MLflow's clients load it.
STORAGE = "storage"
#: Before the name of what only the answer about a run's links to logged models tells.
LINKED = "links: "
#: Prefix of every source tag that the Export Import tool writes.
EXIM_PREFIX = "mlflow_exim."
#: Tag by which ``migrate repair`` marks a run that it replaced: the source run's id.
REPLACED_TAG = "mlflow_parity.replaced"
#: Name of the registered model by which a migration marks the target while it writes to it, and its tags: the id of
#: the work folder's journal, who, where, and since when.
MIGRATION_MARK = "mlflow-parity-migration-at-work"
MIGRATION_WORK_TAG = "mlflow_parity.work"
MIGRATION_TAGS = ("mlflow_parity.user", "mlflow_parity.host", "mlflow_parity.process", "mlflow_parity.since")


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment as ``experiments/search`` gives it."""

    experiment_id: str
    name: str
    lifecycle_stage: str
    artifact_location: str
    creation_time: int | None
    last_update_time: int | None
    tags: Mapping[str, str]
    other: Mapping[str, Any] = field(default_factory=dict)
    """What the server tells beside, by the way to it: nothing here knows what it is."""

    @property
    def kind(self) -> str:
        """The kind of object."""
        return "experiment"

    @property
    def entity_id(self) -> str:
        """Its id, as that of any object is called."""
        return self.experiment_id

    @property
    def order(self) -> tuple[str, str]:
        """Where it stands among others."""
        return self.name, self.experiment_id


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One point of a metric: ``step``, ``timestamp`` in ms, ``value`` as a double (NaN allowed)."""

    step: int
    timestamp: int
    value: float


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """One dataset that a run used; ``context`` is its ``mlflow.data.context`` tag, in ``tags`` as well."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: tuple[tuple[str, str], ...]

    @property
    def context(self) -> str:
        """The dataset's context in this run (``training``, …), empty when there is none."""
        return dict(self.tags).get("mlflow.data.context", "")


@dataclass(frozen=True, slots=True)
class Run:
    """One run as ``runs/search`` gives it: everything but metric histories and artifacts.

    ``metrics`` holds the *latest* point of each metric key (MLflow's own notion of latest).
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    start_time: int | None
    end_time: int | None
    user_id: str
    lifecycle_stage: str
    artifact_uri: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, MetricPoint]
    inputs: tuple[DatasetInput, ...]
    model_inputs: tuple[tuple[str, int], ...] | None = None
    """Logged models that the run used: (model id, step), sorted; step 0 where the server tells none; not asked for:
    ``None``."""
    model_outputs: tuple[tuple[str, int], ...] | None = None
    """Logged models that the run made, likewise."""
    other: Mapping[str, Any] = field(default_factory=dict)
    """What the server tells beside, by the way to it: nothing here knows what it is."""

    @property
    def kind(self) -> str:
        """The kind of object."""
        return "run"

    @property
    def entity_id(self) -> str:
        """Its id, as that of any object is called."""
        return self.run_id


@dataclass(frozen=True, slots=True)
class Entity:
    """Any object beside experiments and runs, its content as facets of plain JSON values.

    Which kinds there are, and the facets of each, stands in :mod:`mlflow_parity.kinds.schema.base`. Ids in a facet
    are those of the entity's own server. Times are milliseconds since the epoch.
    """

    kind: str
    entity_id: str
    """Its id on its own server: for registered models and prompts the name, for their versions ``name/number``."""
    name: str
    """What a person calls it."""
    container: str
    """Id of its experiment, name of its registered model or prompt; empty at server level."""
    created: int | None
    facets: Mapping[str, Any]
    artifact_uri: str | None = None
    """Where its files are (logged models; model versions: the resolved download URI)."""
    error: str | None = None
    """Why it could not be read in full; ``facets`` then hold what is known."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a server answered when it was asked for an alias of a registered model or prompt."""

    name: str
    alias: str
    version: str | None
    """Number of the version; ``None`` when the server knows no such alias, or no version behind it."""
    error: str | None = None
    """Why it could not be asked."""


@dataclass(frozen=True, slots=True)
class Series:
    """The complete history of one metric key of one run, in canonical order.

    ``steps`` and ``timestamps`` are int64, ``values`` float64, all of the same length, sorted by
    (step, timestamp, bits of the value). ``error`` is set instead when the history could not be read in
    full; the arrays are empty then.
    """

    run_id: str
    key: str
    steps: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact file of a run.

    ``size`` is in bytes (``None`` when the store does not tell and the file was not read), ``sha256`` the
    hex digest of its bytes (``None`` when not hashed, because the depth is ``listing`` or reading failed),
    ``content`` the bytes of a file named ``MLmodel`` (``None`` for every other file), ``error`` why this
    file could not be read. A folder that could not be listed is one of them, with a slash at its end.
    """

    path: str
    size: int | None
    sha256: str | None = None
    content: bytes | None = None
    error: str | None = None
    sums: str = ""
    """Checksums beside the SHA-256, stated or of its bytes: :mod:`mlflow_parity.core.identity.sums`."""

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder that could not be listed."""
        return self.error is not None and self.path.endswith("/")


@dataclass(frozen=True, slots=True)
class ArtifactTree:
    """Every artifact file of one run, logged model or model version, sorted by path.

    ``run_id`` is the id of the run or entity; ``error`` is set when the listing itself failed.
    """

    run_id: str
    files: tuple[Artifact, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one server can do, found by asking it once."""

    version: str | None
    """MLflow version, or ``None`` when the server does not tell."""
    history_bulk: bool
    """``/ajax-api/2.0/mlflow/metrics/get-history-bulk`` answers."""
    artifact_proxy: bool
    """``/api/2.0/mlflow-artifacts/artifacts`` answers."""
    get_artifact: bool
    """``/get-artifact`` answers (it is missing on SageMaker)."""
    presigned_only: bool = False
    """It sends and takes no file itself, but signs an address in its store for each (MLflow 3.18)."""


class Beside(NamedTuple):
    """The database that is read beside a server's API; empty: none is."""

    display: str = ""
    digest: str = ""
    """Tells databases apart that are shown alike."""
    instants: tuple[str, ...] = ()
    """When it was as it is read."""
