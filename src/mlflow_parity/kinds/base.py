"""The kinds of object beside experiments and runs: where each belongs, which facets it has, what tells copies.

A *family* is what a test item stands for: an experiment with what is in it, a registered model with its versions,
a prompt with its versions, the server with what hangs on nothing else, or the scope of the audit as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlflow_parity.core.records import EXIM_PREFIX, Entity

Family = Literal["experiment", "model", "prompt", "server", "scope"]
#: Where the snapshot keeps a kind: parts of an experiment, or of the server.
ObjectPart = Literal[
    "logged_models", "traces", "scorers", "registry", "evaluation_datasets", "webhooks", "issues", "review_queues",
    "gateway_secrets", "gateway_models", "gateway_endpoints", "gateway_guardrails", "gateway_budgets", "mcp_servers",
    "workspaces",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. ``content`` are the facets that tell an object from its like; ids, links and times are not."""

    name: str
    plural: str
    family: Family
    part: ObjectPart
    facets: tuple[str, ...]
    content: tuple[str, ...]
    first: tuple[int, int]
    """The first MLflow release whose tracking server serves it (2.13 is the oldest that SageMaker offers)."""
    files: bool = False
    surely: tuple[int, int] | None = None
    """A release that serves it for certain, where the first is not known: in between, the server tells."""

    @property
    def title(self) -> str:
        """The plural as a heading has it."""
        return self.plural[0].upper() + self.plural[1:]

    @property
    def since(self) -> str:
        """The release that brought it, in words."""
        return f"{self.first[0]}.{self.first[1]}{'' if self.surely is None else ' or later'}"


_KINDS: tuple[Kind, ...] = (
    Kind("logged_model", "logged models", "experiment", "logged_models",
         ("presence", "name", "type", "status", "tags", "params", "metrics", "run", "times", "files"),
         ("type", "params", "tags"), (3, 0), files=True),
    Kind("trace", "traces", "experiment", "traces",
         ("presence", "state", "times", "client_request_id", "previews", "tags", "metadata", "run", "run_links",
          "logged_model", "prompts", "spans", "attachments", "assessments"),
         ("state", "client_request_id", "previews"), (2, 14), files=True),
    Kind("scorer", "scorers", "experiment", "scorers",
         ("presence", "number", "definition", "times"), ("definition",), (3, 4)),
    Kind("registered_model", "registered models", "model", "registry",
         ("presence", "description", "tags", "aliases", "resolves", "times"), ("description", "tags"), (1, 0)),
    Kind("model_version", "model versions", "model", "registry",
         ("presence", "number", "order", "status", "description", "tags", "source_tags", "user", "stage", "run",
          "run_link", "logged_model", "source", "storage", "times", "files", "access", "loads"),
         ("description", "tags", "status"), (1, 0), files=True),
    Kind("prompt", "prompts", "prompt", "registry",
         ("presence", "description", "tags", "aliases", "resolves", "times"), ("description", "tags"), (2, 21)),
    Kind("prompt_version", "prompt versions", "prompt", "registry",
         ("presence", "number", "template", "commit_message", "tags", "model_config", "response_format", "type",
          "times"),
         ("template", "commit_message", "tags"), (2, 21)),
    Kind("evaluation_dataset", "evaluation datasets", "server", "evaluation_datasets",
         ("presence", "name", "tags", "schema", "profile", "digest", "user", "last_updated_by",
          "experiments", "records", "times"),
         ("tags", "records"), (3, 4)),
    Kind("webhook", "webhooks", "server", "webhooks",
         ("presence", "name", "description", "url", "events", "status", "times"),
         ("url", "events", "description"), (3, 3)),
    Kind("issue", "issues", "server", "issues",
         ("presence", "definition", "experiment", "run"), ("definition",), (3, 11), surely=(3, 17)),
    Kind("review_queue", "review queues", "server", "review_queues",
         ("presence", "definition", "experiment", "items"), ("definition",), (3, 11), surely=(3, 17)),
    Kind("gateway_secret", "gateway secrets", "server", "gateway_secrets",
         ("presence", "definition"), ("definition",), (3, 5), surely=(3, 10)),
    Kind("gateway_model", "gateway model definitions", "server", "gateway_models",
         ("presence", "definition"), ("definition",), (3, 5), surely=(3, 10)),
    Kind("gateway_endpoint", "gateway endpoints", "server", "gateway_endpoints",
         ("presence", "definition", "experiment"), ("definition",), (3, 5), surely=(3, 10)),
    Kind("gateway_guardrail", "gateway guardrails", "server", "gateway_guardrails",
         ("presence", "definition", "experiment"), ("definition",), (3, 11), surely=(3, 17)),
    Kind("gateway_budget", "gateway budgets", "server", "gateway_budgets",
         ("presence", "definition"), ("definition",), (3, 11), surely=(3, 17)),
    Kind("mcp_server", "MCP servers", "server", "mcp_servers",
         ("presence", "definition", "versions", "endpoints"), ("definition",), (3, 15), surely=(3, 17)),
    Kind("workspace", "workspaces", "server", "workspaces",
         ("presence", "content"), ("content",), (3, 5), surely=(3, 10)),
)  # fmt: skip
#: The facet of what a server tells of an object and nothing here knows. Kinds of 2026 keep it in their definition.
OTHER = "other"
_KINDS = tuple(kind if kind.surely is not None else replace(kind, facets=(*kind.facets, OTHER)) for kind in _KINDS)
#: The facet that stands for the files of a kind.
FILES: Mapping[str, str] = {"logged_model": "files", "model_version": "files", "trace": "attachments"}
#: Facets that only a server itself can tell: of a snapshot they are not judged.
LIVE = frozenset({("registered_model", "resolves"), ("prompt", "resolves")})
#: Facets that are judged only where an option asks for it.
OPTIONAL = frozenset({("model_version", "loads")})
#: The kind of the rows that are about no object: what limits an audit as a whole (:mod:`mlflow_parity.audit.limits`).
SCOPE_KIND = "server"
SCOPE_FACETS = ("visibility", "release")
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}


#: The kind that holds all others of its family: without its copy nothing in it has one.
CONTAINERS: Mapping[Family, str] = {"experiment": "experiment", "model": "registered_model", "prompt": "prompt"}


def family_of(kind: str) -> Family:
    """Return the family of a kind; runs belong to their experiment."""
    return KINDS[kind].family if kind in KINDS else "scope" if kind == SCOPE_KIND else "experiment"


def of_family(family: Family) -> tuple[Kind, ...]:
    """Return the kinds of a family, containers first."""
    return tuple(kind for kind in _KINDS if kind.family == family)


def of_part(part: ObjectPart) -> tuple[Kind, ...]:
    """Return the kinds that a part holds."""
    return tuple(kind for kind in _KINDS if kind.part == part)


def plain_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return tags without the source tags that the Export Import tool writes."""
    return {key: value for key, value in tags.items() if not key.startswith(EXIM_PREFIX)}


def origin(entity: Entity) -> str | None:
    """Return the id of the source object that an entity names in its source tags, if it does."""
    tags = entity.facets.get("tags") or {}
    name, version = tags.get(EXIM_PREFIX + "field.name"), tags.get(EXIM_PREFIX + "field.version")
    return f"{name}/{version}" if entity.kind == "model_version" and name and version else None


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
