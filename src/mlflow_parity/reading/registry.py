"""The model registry: registered models and their versions, prompts and theirs.

MLflow keeps prompts as registered models with a marker tag. Servers from 2.21 on hide them from the plain searches,
older ones do not know them and list them like any model: so both searches are made, and the tag decides. The mark that
a migration puts on its target while it writes is a registered model, too, and no object of anybody's: it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow_parity.core.errors import ReadError, RequestRefused
from mlflow_parity.core.json_text import or_text, text, whole
from mlflow_parity.core.records import MIGRATION_MARK, MIGRATION_WORK_TAG, Entity, Resolved
from mlflow_parity.kinds.schema.unknown import PAIRS, Each, claims, facet
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import Entry, each_once, list_in, made, pages, pairs
from mlflow_parity.reading.transport.session import Session

_IS_PROMPT = "mlflow.prompt.is_prompt"
PROMPTS = f"tags.`{_IS_PROMPT}` = 'true'"
_TEXT = "mlflow.prompt.text"
#: Written since prompts have types; before, a prompt was a text.
_TYPE = "_mlflow_prompt_type"
_FORMAT = "_mlflow_prompt_response_format"
_CONFIG = "_mlflow_prompt_model_config"
#: Largest pages that every version since 2.16 gives; versions are small, and their cap is 200,000.
_MODELS = 1_000
#: What MLflow answers for an alias that is not there, and for one whose version is gone.
_NO_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_VERSIONS = 5_000
_MODEL = claims(
    "name creation_timestamp last_updated_timestamp description latest_versions",
    tags=PAIRS,
    aliases=Each(claims("alias version"), lambda entry: str(entry.get("alias", ""))),
)
_VERSION = claims(
    "name version creation_timestamp last_updated_timestamp description aliases status status_message user_id "
    "current_stage run_id run_link model_id source",
    tags=PAIRS,
)


def read_registry(session: Session, page: int | None = None) -> Iterator[list[Entity]]:
    """Yield every registered model and prompt, then every version of them, in pages, each once.

    Raises:
        ReadError: a list cannot be read in full.
    """
    prompts: set[str] = set()
    seen: set[str] = set()
    for query in ({}, {"filter": PROMPTS}):
        asked = {"max_results": page or _MODELS, "order_by": ["name ASC"], **query}
        listed = each_once(
            lambda asked=asked: pages(session, endpoints.REGISTERED_MODELS, asked, "registered_models"),  # type: ignore[misc]
            _model,
            lambda entity: entity.entity_id,
            "the registered models",
        )
        for found in listed:
            fresh = [entity for entity in found if entity.entity_id not in seen and not _is_mark(entity)]
            seen.update(entity.entity_id for entity in fresh)
            prompts.update(entity.entity_id for entity in fresh if entity.kind == "prompt")
            if fresh:
                yield fresh
    versions: set[str] = set()

    def version(entry: Entry) -> Entity:
        # a version is what its model is, whatever tags of its own say: by them the searches hide it
        return _prompt_version(entry) if entry["name"] in prompts else _model_version(entry)

    for query in ({}, {"filter": PROMPTS}):
        asked = {"max_results": page or _VERSIONS, "order_by": ["name ASC", "version_number ASC"], **query}
        listed = each_once(
            lambda asked=asked: pages(session, endpoints.MODEL_VERSIONS, asked, "model_versions"),  # type: ignore[misc]
            version,
            lambda entity: entity.entity_id,
            "the model versions",
        )
        for found in listed:
            fresh = [entity for entity in found if entity.entity_id not in versions]
            versions.update(entity.entity_id for entity in fresh)
            if fresh:
                yield fresh


def read_names(session: Session, kind: str, page: int | None = None) -> list[str]:
    """Names of all registered models (``registered_model``) or prompts (``prompt``), without their versions.

    Raises:
        ReadError: a list cannot be read in full.
    """
    found: dict[str, str] = {}
    for query in ({}, {"filter": PROMPTS}):
        asked = {"max_results": page or _MODELS, "order_by": ["name ASC"], **query}
        listed = each_once(
            lambda asked=asked: pages(session, endpoints.REGISTERED_MODELS, asked, "registered_models"),  # type: ignore[misc]
            _model,
            lambda entity: entity.entity_id,
            "the registered models",
        )
        found.update((one.entity_id, one.kind) for entities in listed for one in entities if not _is_mark(one))
    return sorted(name for name, found_kind in found.items() if found_kind == kind)


def read_first(session: Session, most: int) -> dict[str, int | None]:
    """Creation times of the first registered models and prompts, by name.

    Raises:
        ReadError: a list cannot be read.
    """
    found: dict[str, int | None] = {}
    for query in ({}, {"filter": PROMPTS}):
        asked = {"max_results": most, "order_by": ["name ASC"], **query}
        entries = list_in(session.get(endpoints.REGISTERED_MODELS, asked), "registered_models")
        models = [made(_model, entry) for entry in entries]
        found.update((entity.entity_id, entity.created) for entity in models if not _is_mark(entity))
    return found


def read_mark(session: Session) -> dict[str, str] | None:
    """Tags of the mark of a migration that is at work on the server; ``None``: there is none.

    Raises:
        ReadError: the registered models cannot be searched.
    """
    asked = {"filter": f"name = '{MIGRATION_MARK}'", "max_results": 1}
    listed = list_in(session.get(endpoints.REGISTERED_MODELS, asked), "registered_models")
    models = [model for entry in listed if _is_mark(model := made(_model, entry))]
    return dict(models[0].facets["tags"]) if models else None


def read_prompt_versions(session: Session, page: int | None = None) -> list[str]:
    """Ids of all prompt versions.

    Raises:
        ReadError: the list cannot be read in full.
    """
    asked = {"max_results": page or _VERSIONS, "order_by": ["name ASC", "version_number ASC"], "filter": PROMPTS}
    listed = pages(session, endpoints.MODEL_VERSIONS, asked, "model_versions")
    return sorted({made(_version_id, entry) for entries in listed for entry in entries})


def _version_id(entry: Entry) -> str:
    return f"{entry['name']}/{int(entry['version'])}"


def resolve_aliases(
    session: Session,
    pool: ThreadPoolExecutor,
    at_once: int,
    redact: Callable[[str], str],
    wanted: Iterable[tuple[str, str]],
) -> Iterator[Resolved]:
    """Ask for the version behind each alias (model or prompt, alias), one request each, in any order."""

    def one(asked: tuple[str, str]) -> Resolved:
        name, alias = asked
        try:
            return Resolved(name, alias, resolved(session, name, alias))
        except ReadError as error:
            return Resolved(name, alias, None, redact(str(error)))

    yield from drained(pool, one, wanted, at_once)


def resolved(session: Session, name: str, alias: str) -> str | None:
    """Return the number of the version behind an alias, as the server says; ``None``: it knows no such alias.

    Raises:
        ReadError: it cannot be asked for.
    """
    try:
        answer = session.get(endpoints.ALIAS, {"name": name, "alias": alias})
    except RequestRefused as error:
        if error.code in _NO_ALIAS:
            return None
        raise
    return made(lambda entry: str(entry["model_version"]["version"]), answer)


def _is_mark(entity: Entity) -> bool:
    return entity.entity_id == MIGRATION_MARK and MIGRATION_WORK_TAG in entity.facets["tags"]


def _model(entry: Entry) -> Entity:
    tags = pairs(entry.get("tags"))
    is_prompt = tags.get(_IS_PROMPT) == "true"
    created, updated = whole(entry.get("creation_timestamp")), whole(entry.get("last_updated_timestamp"))
    return Entity(
        kind="prompt" if is_prompt else "registered_model",
        entity_id=entry["name"],
        name=entry["name"],
        container="",
        created=created,
        facets={
            "description": entry.get("description", ""),
            # the mark is what makes it one
            "tags": _without(tags, _IS_PROMPT) if is_prompt else tags,
            "aliases": {alias["alias"]: str(alias["version"]) for alias in entry.get("aliases", [])},
            "times": {"creation": created, "update": updated},
            **facet(entry, _MODEL),
        },
    )


def _model_version(entry: Entry) -> Entity:
    stage = entry.get("current_stage")
    return _version(
        entry,
        "model_version",
        {
            "status": {"status": entry.get("status"), "message": text(entry.get("status_message"))},
            "description": entry.get("description", ""),
            "tags": pairs(entry.get("tags")),
            "user": text(entry.get("user_id")),
            "stage": text(stage),
            "run": text(entry.get("run_id")),
            "run_link": text(entry.get("run_link")),
            "logged_model": text(entry.get("model_id")) or _model_id(entry.get("source")),
            "source": entry.get("source", ""),
        },
        artifact_uri=text(entry.get("source")),
    )


def _prompt_version(entry: Entry) -> Entity:
    tags = pairs(entry.get("tags"))
    kind, template = tags.get(_TYPE), tags.get(_TEXT)
    return _version(
        entry,
        "prompt_version",
        {
            "template": or_text(template) if kind == "chat" else template,
            # MLflow keeps it as the version's description
            "commit_message": entry.get("description", ""),
            # servers list none without its mark among the versions of a prompt
            "tags": _without(tags, _IS_PROMPT, _TEXT, _TYPE, _FORMAT, _CONFIG),
            "model_config": or_text(tags.get(_CONFIG)),
            "response_format": or_text(tags.get(_FORMAT)),
            "type": kind or "text",
        },
    )


def _version(entry: Entry, kind: str, facets: Mapping[str, Any], artifact_uri: str | None = None) -> Entity:
    name, number = entry["name"], int(entry["version"])
    created, updated = whole(entry.get("creation_timestamp")), whole(entry.get("last_updated_timestamp"))
    return Entity(
        kind=kind,
        entity_id=f"{name}/{number}",
        name=f"{name} version {number}",
        container=name,
        created=created,
        facets={
            "number": number,
            **facets,
            "times": {"creation": created, "update": updated},
            **facet(entry, _VERSION),
        },
        artifact_uri=artifact_uri,
    )


def _model_id(source: object) -> str | None:
    """Return the logged model's id of a source ``models:/m-…``."""
    below = str(source).removeprefix("models:/") if str(source).startswith("models:/") else ""
    return below if below.startswith("m-") and "/" not in below else None


def _without(tags: Mapping[str, str], *keys: str) -> dict[str, str]:
    """Leave out the tags in which MLflow keeps what has a facet of its own."""
    return {key: value for key, value in tags.items() if key not in keys}
