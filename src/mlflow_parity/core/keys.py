"""The few fields of a run by which it is paired, and the digest of what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_parity.core.digests import digest, inputs_digest
from mlflow_parity.core.hops import chain
from mlflow_parity.core.records import EXIM_PREFIX, NOTE_TAG, PARENT_TAG, Run

SOURCE_RUN_TAG = EXIM_PREFIX + "run_info.run_id"
SOURCE_EXPERIMENT_TAG = EXIM_PREFIX + "field.experiment_id"
SOURCE_EXPERIMENT_NAME_TAG = EXIM_PREFIX + "field.name"

#: Tags that say who or what wrote the run, not what it is; they never take part in content pairing.
_NOT_CONTENT = frozenset({PARENT_TAG, "mlflow.user", "mlflow.runName"})


@dataclass(frozen=True, slots=True)
class RunKey:
    """What pairing knows of a run. ``content`` is the digest of what a copy of it must hold as well."""

    entity_id: str
    name: str
    status: str
    created: int | None
    lifecycle_stage: str
    origin: str | None
    """``mlflow_exim.run_info.run_id``: the run this one was imported from; earlier hops follow, a line each."""
    tagged: bool
    """Whether any source tag is there: they are written last, so their absence betrays half an import."""
    empty: bool
    """Nothing was logged to it: no params, metrics, inputs, note."""
    content: bytes

    @property
    def origins(self) -> tuple[str, ...]:
        """The runs that it is a copy of, the last hop first."""
        return tuple((self.origin or "").splitlines())

    @property
    def kind(self) -> str:
        """The kind of object, as that of all others is told."""
        return "run"

    @property
    def deleted(self) -> bool:
        """Whether it is in the trash."""
        return self.lifecycle_stage == "deleted"

    @property
    def order(self) -> tuple[int, str, str, str]:
        """Where it stands among others: the same on both sides as far as can be."""
        return (self.created or 0, self.status, self.lifecycle_stage, self.entity_id)


@dataclass(frozen=True, slots=True)
class HistoryKey:
    """Size and digest of one metric history; ``error`` when it could not be read in full."""

    points: int
    digest: bytes
    error: str | None = None
    row: int = 0
    """First row in ``points.parquet``."""


def run_key(run: Run) -> RunKey:
    """Reduce a run to what pairing needs."""
    tags = {
        key: value for key, value in run.tags.items() if key not in _NOT_CONTENT and not key.startswith(EXIM_PREFIX)
    }
    latest = {key: [point.step, point.timestamp, point.value] for key, point in run.metrics.items()}
    return RunKey(
        entity_id=run.run_id,
        name=run.name,
        status=run.status,
        created=run.start_time,
        lifecycle_stage=run.lifecycle_stage,
        origin="\n".join(chain(run.tags, SOURCE_RUN_TAG)) or None,
        tagged=any(key.startswith(EXIM_PREFIX) for key in run.tags),
        empty=not (run.params or run.metrics or run.inputs or run.tags.get(NOTE_TAG)),
        content=digest([run.name, run.params, tags, latest, inputs_digest(run.inputs)]),
    )


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """What pairing needs of an object; see :mod:`mlflow_parity.kinds.base` for the digests."""

    kind: str
    entity_id: str
    name: str
    container: str
    created: int | None
    run: str | None
    number: int | None
    origin: str | None
    """Id of the source object that its source tags name; those of earlier hops follow, a line each."""
    natural: bytes
    content: bytes
    error: str | None = None
    artifact_uri: str | None = None

    @property
    def order(self) -> tuple[int, int, str]:
        """Where it stands among others: by number, then by time."""
        return (self.number or 0, self.created or 0, self.entity_id)

    @property
    def origins(self) -> tuple[str, ...]:
        """The objects that it is a copy of, the last hop first."""
        return tuple((self.origin or "").split("\n")) if self.origin else ()
