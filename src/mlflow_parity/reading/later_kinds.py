"""What MLflow's servers of 2026 hold beside the rest: issues, review queues, the AI gateway, the MCP registry.

An object's ``definition`` is all that the list tells of it but ids, times and who touched it on that server: what a
later version adds is compared without being named here. What it names by the server's own ids is named by its name.
Secrets are told by the names of their keys alone, and what is configured beside them by a digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.core.digests import digest
from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.core.records import Entity, Experiment
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.endpoints import Endpoint
from mlflow_parity.reading.transport.listing import Entry, each_once, made, pages, text, whole
from mlflow_parity.reading.transport.session import Session

_PAGE = 100
#: Ids, times and users that each server gives itself.
_OWN = frozenset({
    "created_at", "created_by", "created_timestamp", "creation_time_ms", "creation_timestamp", "last_update_time_ms",
    "last_updated_at", "last_updated_by", "last_updated_timestamp", "workspace",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Listing:
    """How the objects of one kind are listed, and what is made of an entry."""

    endpoint: Endpoint
    name: str
    identity: str
    make: Callable[[Later, Entry], tuple[str, dict[str, Any]]]
    """Name and facets of an entry."""
    paged: bool = True


@dataclass(frozen=True, slots=True)
class Later:
    """Reads these kinds of one server; ``experiments`` are asked for only where a list is one of an experiment."""

    session: Session
    pool: ThreadPoolExecutor
    at_once: int
    experiments: Callable[[], Iterable[Experiment]]
    page: int | None = None
    _names: dict[str, str] = field(default_factory=dict)

    def read(self, kind: str) -> Iterator[list[Entity]]:
        """Yield every object of a kind, each once.

        Raises:
            ReadError: a list cannot be read in full.
        """
        self._names.clear()
        if kind == "review_queue":
            active = [one.experiment_id for one in self.experiments() if one.lifecycle_stage != "deleted"]
            yield from drained(self.pool, self._queues, active, self.at_once)
            return
        listing = LISTINGS[kind]
        query = {"max_results": self.page or _PAGE} if listing.paged else {}

        def make(entry: Entry) -> tuple[str, Entry]:
            return str(entry[listing.identity]), entry

        found = each_once(
            lambda: pages(self.session, listing.endpoint, query, listing.name),
            make,
            lambda one: one[0],
            f"the {listing.name.replace('_', ' ')}",
        )
        for batch in found:
            # an MCP server or a gateway's endpoint has lists of its own, which are asked for out of the pool
            yield [made(lambda one: self._entity(kind, one), entry) for _, entry in batch]

    def _entity(self, kind: str, entry: Entry) -> Entity:
        listing = LISTINGS[kind]
        name, facets = listing.make(self, entry)
        return Entity(kind, str(entry[listing.identity]), name, "", _created(entry), facets)

    def endpoint_name(self, identity: str) -> str:
        """Return the name of a gateway endpoint by its id; some versions give the name at once."""
        if not self._names:
            listed = self.every(endpoints.GATEWAY_ENDPOINTS, {}, "endpoints")
            self._names.update({one["endpoint_id"]: one["name"] for one in listed})
        return self._names.get(identity, identity)

    def every(self, endpoint: Endpoint, query: Mapping[str, Any], name: str, below: str = "") -> list[Entry]:
        """Return a whole list that belongs to one object."""
        found = pages(self.session, endpoint, query, name, below=below)
        return [entry for page in found for entry in page]

    def _queues(self, experiment: str) -> list[Entity]:
        query = {"experiment_id": experiment, "max_results": self.page or _PAGE}
        return [
            made(self._queue, entry) for entry in self.every(endpoints.REVIEW_QUEUES, query, "review_queues")
        ]  # fmt: skip

    def _queue(self, entry: Entry) -> Entity:
        schemas = []
        for schema in entry.get("schema_ids", []):
            # one by one: MLflow's list of label schemas makes the default one, and an audit writes nothing
            answer = self.session.get(endpoints.LABEL_SCHEMA, {"schema_id": schema})
            schemas.append(plain(answer["label_schema"], "schema_id", "experiment_id"))
        query = {"queue_id": entry["queue_id"], "max_results": self.page or _PAGE}
        items = self.every(endpoints.REVIEW_ITEMS, query, "items")
        return Entity(
            kind="review_queue",
            entity_id=str(entry["queue_id"]),
            name=entry.get("name", ""),
            container="",
            created=_created(entry),
            facets={
                "definition": {
                    **plain(entry, "queue_id", "experiment_id", "schema_ids"),
                    "label_schemas": _sorted(schemas),
                },
                "experiment": text(entry.get("experiment_id")),
                "items": _sorted(plain(item, "queue_id", "creation_time_ms", "completed_time_ms") for item in items),
            },
        )


def plain(entry: Entry, *less: str) -> dict[str, Any]:
    """Return what an entry tells, without what is each server's own and ``less``; what is empty says nothing."""
    return {
        key: value
        for key, value in entry.items()
        if key not in _OWN and key not in less and value not in (None, "", [], {})
    }


def _sorted(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(entries, key=lambda one: digest(dict(one)))


def _created(entry: Entry) -> int | None:
    names = ("created_at", "created_timestamp", "creation_time_ms", "creation_timestamp")
    return next((whole(entry[name]) for name in names if entry.get(name) is not None), None)


def _issue(_: Later, entry: Entry) -> tuple[str, dict[str, Any]]:
    less = ("issue_id", "experiment_id", "source_run_id", "trace_count")
    return entry.get("name", ""), {
        "definition": {**plain(entry, *less), **plain({"author": entry.get("created_by")})},
        "experiment": text(entry.get("experiment_id")),
        "run": text(entry.get("source_run_id")),
    }


def _secret(_: Later, entry: Entry) -> tuple[str, dict[str, Any]]:
    # not even what the server shows of a secret goes on, and what is configured beside it may be one
    config = {key: digest(value).hex() for key, value in (entry.get("auth_config") or {}).items()}
    return entry["secret_name"], {
        "definition": {
            **plain(entry, "secret_id", "masked_values", "auth_config"),
            "keys": sorted(entry.get("masked_values") or {}),
            "auth_config": config,
        }
    }


def _model(_: Later, entry: Entry) -> tuple[str, dict[str, Any]]:
    return entry.get("name", ""), {"definition": plain(entry, "model_definition_id", "secret_id")}


def _endpoint(later: Later, entry: Entry) -> tuple[str, dict[str, Any]]:
    less = ("endpoint_id", "model_mappings", "experiment_id", "tags")
    mappings = [
        {
            **plain(one, "mapping_id", "endpoint_id", "model_definition_id", "model_definition"),
            "model": (one.get("model_definition") or {}).get("name"),
        }
        for one in entry.get("model_mappings", [])
    ]
    guarded = _guarded(later, entry["endpoint_id"])
    bound = later.every(endpoints.GATEWAY_BINDINGS, {"endpoint_id": entry["endpoint_id"]}, "bindings")
    return entry.get("name", ""), {
        "definition": {
            **plain(entry, *less),
            "models": _sorted(mappings),
            **plain({"guardrails": guarded}),
            "tags": {one["key"]: one.get("value", "") for one in entry.get("tags", [])},
            # whom it serves is named by ids of the server; names are told of those that are there
            "bindings": _sorted(plain(one, "endpoint_id", "resource_id") for one in bound),
        },
        "experiment": text(entry.get("experiment_id")),
    }


def _guarded(later: Later, endpoint_id: str) -> list[dict[str, Any]]:
    """Return the guardrails of an endpoint by their names, in their order."""
    try:
        configs = later.session.get(endpoints.GATEWAY_GUARDED, {"endpoint_id": endpoint_id}).get("configs", [])
    except RequestRefused as error:
        if error.status == 404:
            # a version with endpoints and without guardrails; a later one that hides them has no list of them either
            return []
        raise
    found = [
        {
            **plain(one, "endpoint_id", "guardrail_id", "guardrail"),
            "guardrail": (one.get("guardrail") or {}).get("name"),
        }
        for one in configs
    ]
    return sorted(found, key=lambda one: (one.get("execution_order", 0), str(one["guardrail"])))


def _guardrail(later: Later, entry: Entry) -> tuple[str, dict[str, Any]]:
    scorer = entry.get("scorer") or {}
    # the scorer itself is an object of its own, and is compared there
    named = {"scorer": scorer.get("scorer_name"), "version": scorer.get("scorer_version")}
    less = ("guardrail_id", "scorer", "action_endpoint_id")
    acts = entry.get("action_endpoint_id")
    named["action_endpoint"] = later.endpoint_name(acts) if acts else None
    return entry.get("name", ""), {
        "definition": {**plain(entry, *less), **plain(named)},
        "experiment": text(scorer.get("experiment_id")),
    }


def _budget(later: Later, entry: Entry) -> tuple[str, dict[str, Any]]:
    span = entry.get("duration") or {}
    scope, target = entry.get("target_scope", ""), entry.get("target_value")
    if scope == "ENDPOINT" and target:
        target = later.endpoint_name(target)
    name = f"{scope} {target + ' ' if target else ''}{span.get('value', '')} {span.get('unit', '')}"
    return name, {"definition": {**plain(entry, "budget_policy_id"), **plain({"target_value": target})}}


def _mcp_server(later: Later, entry: Entry) -> tuple[str, dict[str, Any]]:
    query = {"max_results": later.page or _PAGE}
    versions = later.every(endpoints.MCP_SERVER, query, "mcp_server_versions", f"{entry['name']}/versions")
    open_at = [
        plain(one, "id", "server_name", "resolved_version", "tools") for one in entry.get("access_endpoints", [])
    ]
    return entry["name"], {
        "definition": {
            **plain(entry, "name", "access_endpoints", "aliases"),
            "aliases": {one["alias"]: one["version"] for one in entry.get("aliases", [])},
        },
        "versions": _sorted(plain(one, "name", "aliases") for one in versions),
        "endpoints": _sorted(open_at),
    }


LISTINGS: Mapping[str, _Listing] = {
    "issue": _Listing(endpoints.ISSUES, "issues", "issue_id", _issue),
    "gateway_secret": _Listing(endpoints.GATEWAY_SECRETS, "secrets", "secret_id", _secret, paged=False),
    "gateway_model": _Listing(
        endpoints.GATEWAY_MODELS, "model_definitions", "model_definition_id", _model, paged=False
    ),
    "gateway_endpoint": _Listing(endpoints.GATEWAY_ENDPOINTS, "endpoints", "endpoint_id", _endpoint, paged=False),
    "gateway_guardrail": _Listing(endpoints.GATEWAY_GUARDRAILS, "guardrails", "guardrail_id", _guardrail),
    "gateway_budget": _Listing(endpoints.GATEWAY_BUDGETS, "budget_policies", "budget_policy_id", _budget),
    "mcp_server": _Listing(endpoints.MCP_SERVERS, "mcp_servers", "name", _mcp_server),
}
#: Every kind that is read here.
KINDS: Sequence[str] = (*LISTINGS, "review_queue")
