"""The few fields of a run by which it is paired, the digest of what it holds, and the source tags of earlier hops."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_parity.core.identity.digests import digest, inputs_digest
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
        return _hops(self.origin)

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
        empty=not (run.params or run.metrics or run.inputs or run.tags.get(NOTE_TAG) or any(map(_is_own, tags))),
        content=digest([run.name, run.params, tags, latest, inputs_digest(run.inputs)]),
    )


def _is_own(tag: str) -> bool:
    """Whether a tag is a user's: clients write those of MLflow by themselves."""
    return not tag.startswith("mlflow.")


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """What pairing needs of an object; see :mod:`mlflow_parity.kinds.schema.base` for the digests."""

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
        return _hops(self.origin)


def _hops(origin: str | None) -> tuple[str, ...]:
    """Return the ids that a key keeps in one text, a line each."""
    return tuple(origin.split("\n")) if origin else ()


#: A longer number is no hop of anybody's: it would cost memory by its size.
_HOP = re.compile(re.escape(EXIM_PREFIX) + r"hop([1-9][0-9]?)\.(.*)", re.DOTALL)
_EARLIER = EXIM_PREFIX + "hop"
_LONGEST_KEY = 250


def is_hop(key: str) -> bool:
    """Whether a tag is of an earlier hop."""
    return _HOP.fullmatch(key) is not None


def carried(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the source tags of a source, as its copy keeps them beside its own."""
    found = {}
    for key, value in tags.items():
        hop = _HOP.fullmatch(key)
        number, rest = (int(hop[1]) + 1, hop[2]) if hop else (1, key.removeprefix(EXIM_PREFIX))
        name = f"{EXIM_PREFIX}hop{number}.{rest}"
        # formatted times are no evidence
        if key.startswith(EXIM_PREFIX) and not rest.rpartition(".")[2].startswith("_") and len(name) <= _LONGEST_KEY:
            found[name] = value
    return found


def next_tags(tags: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a copy: the source's, the source tags of this hop (``own``), and those of the hops before."""
    return {**{key: value for key, value in tags.items() if not is_hop(key)}, **own, **carried(tags)}


def layers(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the source tags hop by hop, that of the copy itself first, each as if it were the only one."""
    found: dict[int, dict[str, str]] = {}
    for key, value in tags.items():
        if key.startswith(EXIM_PREFIX):
            hop = _HOP.fullmatch(key)
            number, name = (int(hop[1]), EXIM_PREFIX + hop[2]) if hop else (0, key)
            found.setdefault(number, {})[name] = value
    return [found.get(number, {}) for number in range(max(found, default=-1) + 1)]


def as_copy_of(tags: Mapping[str, str], source: Mapping[str, str], named: Mapping[str, str]) -> Mapping[str, str]:
    """Return the tags of a copy with the source tags of the hop that began at the source.

    ``source`` are the source's own tags, ``named`` the source tags that name it. Where no earlier hop began there, the
    tags are as they are.
    """
    if not any(key.startswith(_EARLIER) for key in tags):
        return tags
    kept = layers(tags)
    # which hop it is tells how many the source has seen itself
    hop = len(kept) - len(layers(source)) - 1
    if hop < 1 or any(kept[hop].get(key) != value for key, value in named.items()):
        return tags
    found = {key: value for key, value in tags.items() if not key.startswith(EXIM_PREFIX)}
    found.update(kept[hop])
    for number, layer in enumerate(kept[hop + 1 :], 1):
        found.update({f"{EXIM_PREFIX}hop{number}.{key.removeprefix(EXIM_PREFIX)}": layer[key] for key in layer})
    return found


def chain(tags: Mapping[str, str], *keys: str) -> list[str]:
    """Return the ids that the source tags name, hop by hop, a slash between the values of several keys."""
    found = []
    for layer in layers(tags):
        if any(key not in layer for key in keys):
            break
        found.append("/".join(layer[key] for key in keys))
    return found
