"""What tells objects of the same name and content apart when they are paired: every facet that a copy keeps, and files.

Objects that share a natural key are told apart by this before their order is asked. It is evidence, not a verdict:
comparing judges each pair afterwards.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from mlflow_parity.comparing.links import ObjectLinks
from mlflow_parity.comparing.object_fields import PLACE_TAGS, through
from mlflow_parity.comparing.registry_fields import EXPERIMENTS_TAG, VERSIONS_TAG
from mlflow_parity.comparing.trace_fields import judged, nameless, placed
from mlflow_parity.comparing.trees import without_ids
from mlflow_parity.core.identity.digests import combine, digest, encode
from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.identity.sums import alike
from mlflow_parity.core.records import Artifact, ArtifactTree, Entity
from mlflow_parity.kinds import FILES, KINDS, plain_tags

#: No evidence: judged from other facets, set by the server, the copy's own place, or given again (a version's number).
_NOT_KEPT = frozenset(
    {"presence", "order", "access", "loads", "number", "source", "storage", "source_tags", "digest", "last_updated_by",
     "aliases", "guardrails", *FILES.values()}
)  # fmt: skip
_SERVER_TAGS = frozenset({VERSIONS_TAG, EXPERIMENTS_TAG, *PLACE_TAGS})
_Pairs = Callable[[str], Mapping[str, str]]


class Objects(Protocol):
    """The objects of one place on one side."""

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Entity]:
        """Whole records, in the order asked for."""
        ...

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        """The files of a logged model or model version, the attachments of a trace."""
        ...


class Likeness:
    """The evidence of the objects of one side; give ``links`` for the source, whose ids then become their copies'."""

    def __init__(self, view: Objects, links: ObjectLinks | None = None) -> None:
        self._view = view
        self._pairs: _Pairs = (lambda kind: {}) if links is None else links.of
        self._known: dict[str, tuple[Hashable, ...]] = {}

    def __call__(self, key: ObjectKey) -> tuple[Hashable, ...]:
        """Return one digest per facet, in the same order on both sides; each object is read once."""
        if key.entity_id not in self._known:
            [entity] = self._view.entities(key.kind, [key.entity_id])
            kind = KINDS[key.kind]
            kept = [facet for facet in kind.facets if facet not in _NOT_KEPT]
            found: list[Hashable] = [
                self._facet(facet, entity) for facet in kept if facet != "times" or key.kind == "trace"
            ]
            if kind.files:
                found.append(_Files(entity, self._view.files(key.kind, key.entity_id)))
            self._known[key.entity_id] = tuple(found)
        return self._known[key.entity_id]

    def _facet(self, facet: str, entity: Entity) -> bytes:
        value = entity.facets.get(facet)
        if facet in ("run", "logged_model", "experiment"):
            value = self._pairs(facet).get(value or "", value)
        elif facet == "tags":
            value = {key: text for key, text in plain_tags(value or {}).items() if key not in _SERVER_TAGS}
        elif value and facet in _OWN:
            value = _OWN[facet](value, entity, self._pairs)
        return digest(value)


def _points(value: Any, _: Entity, pairs: _Pairs) -> bytes:
    return combine(encode({**point, "run": pairs("run").get(point.get("run") or "", point.get("run"))})
                   for point in value)  # fmt: skip


def _spans(value: Any, entity: Entity, _: _Pairs) -> bytes:
    return combine(map(encode, placed(nameless(value), entity.entity_id, "")))


def _assessments(value: Any, entity: Entity, pairs: _Pairs) -> bytes:
    return combine(map(encode, judged(list(value), entity, False, pairs("run"))))


def _experiments(value: Any, _: Entity, pairs: _Pairs) -> list[str]:
    return sorted(pairs("experiment").get(one, one) for one in value)


def _runs(value: Any, _: Entity, pairs: _Pairs) -> list[str]:
    return sorted(pairs("run").get(one, one) for one in value)


def _prompts(value: Any, _: Entity, pairs: _Pairs) -> list[str]:
    return sorted(pairs("prompt_version").get(one, one) for one in value)


def _records(value: Any, _: Entity, pairs: _Pairs) -> bytes:
    return combine(encode(through(record, pairs("trace"))) for record in value)


_OWN: Mapping[str, Callable[[Any, Entity, _Pairs], Any]] = {
    "metrics": _points,
    "spans": _spans,
    "assessments": _assessments,
    "experiments": _experiments,
    "run_links": _runs,
    "prompts": _prompts,
    "records": _records,
    "items": _records,
}


class _Files:
    """The files of an object as evidence: paths, sizes and bytes; of an ``MLmodel`` what is not its own id or place.

    Stores state checksums of several kinds, so the bytes of two are alike where no checksum that both have differs.
    """

    def __init__(self, entity: Entity, tree: ArtifactTree) -> None:
        facets = entity.facets
        named = (entity.artifact_uri, facets.get("run"), facets.get("logged_model"), entity.entity_id)
        own = [one for one in named if one]
        self._plain: list[Artifact] = []
        listed: list[bytes] = [] if tree.error is None else [digest("unread")]
        for file in () if tree.error is not None else sorted(tree.files, key=lambda file: file.path):
            if posixpath.basename(file.path) == "MLmodel":
                listed.append(encode([file.path, file.content and without_ids(file.content, own)]))
            else:
                listed.append(encode([file.path, file.size]))
                self._plain.append(Artifact(file.path, file.size, file.sha256, sums=file.sums))
        self._listed = combine(listed)

    def __hash__(self) -> int:
        return hash(self._listed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Files) or self._listed != other._listed:
            return NotImplemented if not isinstance(other, _Files) else False
        return all(alike(mine, its) for mine, its in zip(self._plain, other._plain, strict=True))
