"""What MLflow holds: one module per object, and here the table of them all, in the order in which reports show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mlflow_parity.core.identity.keys import chain
from mlflow_parity.core.records import EXIM_PREFIX, Entity
from mlflow_parity.kinds.evaluation_dataset import EVALUATION_DATASET
from mlflow_parity.kinds.experiment import EXPERIMENT
from mlflow_parity.kinds.gateway import (
    GATEWAY_BUDGET,
    GATEWAY_ENDPOINT,
    GATEWAY_GUARDRAIL,
    GATEWAY_MODEL,
    GATEWAY_SECRET,
)
from mlflow_parity.kinds.issue import ISSUE
from mlflow_parity.kinds.logged_model import LOGGED_MODEL
from mlflow_parity.kinds.mcp_server import MCP_SERVER
from mlflow_parity.kinds.prompt import PROMPT, PROMPT_VERSION
from mlflow_parity.kinds.registry import MODEL_VERSION, REGISTERED_MODEL
from mlflow_parity.kinds.review_queue import REVIEW_QUEUE
from mlflow_parity.kinds.run import RUN
from mlflow_parity.kinds.schema.base import Family, Kind, belonging
from mlflow_parity.kinds.scorer import SCORER
from mlflow_parity.kinds.server import SCOPE, WORKSPACE
from mlflow_parity.kinds.skill import SKILL
from mlflow_parity.kinds.trace import TRACE
from mlflow_parity.kinds.webhook import WEBHOOK

#: Every kind of object.
EVERY: tuple[Kind, ...] = (
    EXPERIMENT, RUN, LOGGED_MODEL, TRACE, SCORER, REGISTERED_MODEL, MODEL_VERSION, PROMPT, PROMPT_VERSION,
    EVALUATION_DATASET, WEBHOOK, ISSUE, REVIEW_QUEUE, GATEWAY_SECRET, GATEWAY_MODEL, GATEWAY_ENDPOINT,
    GATEWAY_GUARDRAIL, GATEWAY_BUDGET, MCP_SERVER, SKILL, WORKSPACE,
)  # fmt: skip
#: Every kind, by its name.
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in EVERY}
#: Those beside experiments and runs.
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in EVERY if kind not in (EXPERIMENT, RUN)}
#: The kind of the rows that are about no object: what limits an audit as a whole (:mod:`mlflow_parity.audit.limits`).
SCOPE_KIND = "server"
SCOPE_SIDES = tuple(belonging(facet, SCOPE_KIND, "server") for facet in SCOPE)
SCOPE_FACETS = tuple(facet.name for facet in SCOPE)
#: The facet that stands for the files of a kind.
FILES: Mapping[str, str] = {kind.name: kind.files for kind in KINDS.values() if kind.files is not None}
#: Facets that only a server itself can tell: of a snapshot they are not judged.
LIVE = frozenset((kind.name, facet.name) for kind in EVERY for facet in kind.sides if facet.live)
#: Facets that are judged only where an option asks for it.
OPTIONAL = frozenset((kind.name, facet.name) for kind in EVERY for facet in kind.sides if facet.optional)
#: The kind that holds all others of its family: without its copy nothing in it has one.
CONTAINERS: Mapping[Family, str] = {"experiment": "experiment", "model": "registered_model", "prompt": "prompt"}
#: The kind of the versions of a registered model or prompt.
VERSIONS: Mapping[str, Literal["model_version", "prompt_version"]] = {
    "registered_model": "model_version",
    "prompt": "prompt_version",
}


def family_of(kind: str) -> Family:
    """Return the family of a kind; runs belong to their experiment."""
    return KINDS[kind].family if kind in KINDS else "scope" if kind == SCOPE_KIND else "experiment"


def plural_of(kind: str) -> str:
    """Return the plural of a kind; experiments and runs are kinds, too."""
    return KINDS[kind].plural if kind in KINDS else f"{kind}s"


def singular_of(kind: str) -> str:
    """Return the name of one object of a kind."""
    return KINDS[kind].singular if kind in KINDS else kind


def of_family(family: Family) -> tuple[Kind, ...]:
    """Return the kinds of a family beside experiments and runs, containers first."""
    return tuple(kind for kind in KINDS.values() if kind.family == family)


def of_part(part: str) -> tuple[Kind, ...]:
    """Return the kinds that a part holds."""
    return tuple(kind for kind in KINDS.values() if kind.part == part)


def plain_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return tags without the source tags that the Export Import tool writes."""
    return {key: value for key, value in tags.items() if not key.startswith(EXIM_PREFIX)}


def origin(entity: Entity) -> str | None:
    """Return the id of the source object that an entity names in its source tags, if it does."""
    tags = entity.facets.get("tags") or {}
    name, version = tags.get(EXIM_PREFIX + "field.name"), tags.get(EXIM_PREFIX + "field.version")
    return f"{name}/{version}" if entity.kind == "model_version" and name and version else None


def is_copy(found: Entity, version: Entity) -> bool:
    """Whether the source tags of a model version name this one, and not that of its name and number on another server.

    When it was made and by which run tell, where both sides say so.
    """
    tags, facets = found.facets.get("tags") or {}, version.facets
    wanted = {"creation_timestamp": (facets.get("times") or {}).get("creation"), "run_id": facets.get("run")}
    said = [(str(value), tags.get(f"{EXIM_PREFIX}field.{key}")) for key, value in wanted.items()]
    return origin(found) == version.entity_id and all(
        ours == theirs or ours in ("", "None") or theirs in (None, "", "None") for ours, theirs in said
    )


def origins(entity: Entity) -> str | None:
    """Return the ids of the source objects that its source tags name, hop by hop, a line each."""
    tags = entity.facets.get("tags") or {}
    if entity.kind != "model_version":
        return None
    return "\n".join(chain(tags, EXIM_PREFIX + "field.name", EXIM_PREFIX + "field.version")) or None


def content(entity: Entity) -> list[Any]:
    """Return what tells an entity from its like, without ids, links, times and source tags."""
    return [
        plain_tags(entity.facets.get(facet) or {}) if facet == "tags" else entity.facets.get(facet)
        for facet in KINDS[entity.kind].content
    ]


def natural(entity: Entity) -> list[Any]:
    """Return the natural key of an entity within its container: what people tell it by."""
    facets = entity.facets
    if entity.kind == "trace":
        return [entity.name, (facets.get("times") or {}).get("request"), facets.get("client_request_id")]
    if entity.kind in ("scorer", "model_version", "prompt_version"):
        return [entity.name.rpartition("/")[0] or entity.name, facets.get("number")]
    if entity.kind == "logged_model":
        return [entity.name, facets.get("type")]
    return [entity.name]
