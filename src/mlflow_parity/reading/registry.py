"""Registered models and prompts with their versions: two searches each, whole pages, no call per object.

A prompt is a registered model with a tag. Servers from 2.21 on leave prompts out of a search without filter; older
ones know none, and list whatever carries the tag among the models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_parity.model import Entity
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.paging import complete, made, milliseconds, tags_of
from mlflow_parity.reading.session import Session

_IS_PROMPT = "mlflow.prompt.is_prompt"
PROMPTS = f"tags.`{_IS_PROMPT}` = 'true'"
_TEXT = "mlflow.prompt.text"
_TYPE = "_mlflow_prompt_type"
_FORMAT = "_mlflow_prompt_response_format"
_CONFIG = "_mlflow_prompt_model_config"
#: The server's own lists of experiments in which a prompt was used; ids of that server.
_EXPERIMENTS = "_mlflow_experiment_ids"
_MODELS_A_PAGE = 1_000
_VERSIONS_A_PAGE = 10_000


def read_registry(session: Session) -> Iterator[list[Entity]]:
    """Yield every registered model, model version, prompt and prompt version.

    Raises:
        ReadError: when a list cannot be read.
    """
    prompts: set[str] = set()
    for page in _search(session, endpoints.REGISTERED_MODELS, "registered_models", _MODELS_A_PAGE, prompts=True):
        prompts.update(str(entry["name"]) for entry in page)
        yield [made(_prompt, entry) for entry in page]
    for page in _search(session, endpoints.REGISTERED_MODELS, "registered_models", _MODELS_A_PAGE, prompts=False):
        yield [made(_model, entry) for entry in page if entry.get("name") not in prompts]
    for page in _search(session, endpoints.MODEL_VERSIONS, "model_versions", _VERSIONS_A_PAGE, prompts=True):
        yield [made(_prompt_version, entry) for entry in page]
    for page in _search(session, endpoints.MODEL_VERSIONS, "model_versions", _VERSIONS_A_PAGE, prompts=False):
        yield [made(_version, entry) for entry in page if entry.get("name") not in prompts]


def read_names(session: Session, kind: str) -> list[str]:
    """Names of all registered models or prompts.

    Raises:
        ReadError: when the list cannot be read.
    """
    prompts = [
        str(entry["name"])
        for page in _search(session, endpoints.REGISTERED_MODELS, "registered_models", _MODELS_A_PAGE, prompts=True)
        for entry in page
    ]
    if kind == "prompt":
        return prompts
    hidden = set(prompts)
    pages = _search(session, endpoints.REGISTERED_MODELS, "registered_models", _MODELS_A_PAGE, prompts=False)
    return [name for page in pages for entry in page if (name := str(entry["name"])) not in hidden]


def _search(
    session: Session, endpoint: endpoints.Endpoint, name: str, size: int, *, prompts: bool
) -> Iterator[list[dict[str, Any]]]:
    query: dict[str, Any] = {"max_results": size}
    if prompts:
        query["filter"] = PROMPTS
    yield from complete(session, endpoint, query, name, lambda entry: (entry["name"], str(entry.get("version", ""))))


def _times(entry: Mapping[str, Any]) -> dict[str, int | None]:
    return {
        "creation": milliseconds(entry.get("creation_timestamp")),
        "update": milliseconds(entry.get("last_updated_timestamp")),
    }


def _aliases(entry: Mapping[str, Any]) -> dict[str, str]:
    return {item["alias"]: str(item["version"]) for item in entry.get("aliases", [])}


def _model(entry: Mapping[str, Any]) -> Entity:
    facets = {
        "description": entry.get("description", ""),
        "tags": tags_of(entry.get("tags")),
        "aliases": _aliases(entry),
        "times": _times(entry),
    }
    return Entity("registered_model", entry["name"], entry["name"], "", facets["times"]["creation"], facets)


def _version(entry: Mapping[str, Any]) -> Entity:
    source = entry.get("source", "")
    logged = entry.get("model_id") or ""
    if not logged and source.startswith("models:/m-"):
        logged = source.removeprefix("models:/").split("/")[0]
    facets = {
        "number": int(entry["version"]),
        "status": {"status": entry.get("status", "READY"), "message": entry.get("status_message", "")},
        "description": entry.get("description", ""),
        "tags": tags_of(entry.get("tags")),
        "user": entry.get("user_id", ""),
        "stage": entry.get("current_stage"),
        "run": entry.get("run_id") or None,
        "logged_model": logged or None,
        "source": source,
        "times": _times(entry),
    }
    name = entry["name"]
    return Entity(
        "model_version",
        f"{name}/{facets['number']}",
        f"{name} version {facets['number']}",
        name,
        facets["times"]["creation"],
        facets,
    )


def _prompt(entry: Mapping[str, Any]) -> Entity:
    tags = tags_of(entry.get("tags"))
    for key in (_IS_PROMPT, _EXPERIMENTS):
        tags.pop(key, None)
    facets = {
        "description": entry.get("description", ""),
        "tags": tags,
        "aliases": {**_aliases(entry), **_old_aliases(tags)},
        "times": _times(entry),
    }
    return Entity("prompt", entry["name"], entry["name"], "", facets["times"]["creation"], facets)


def _old_aliases(tags: dict[str, str]) -> dict[str, str]:
    """2.21 kept a prompt's aliases in tags of their own."""
    prefix = "mlflow.prompt.alias."
    found = [key for key in tags if key.startswith(prefix)]
    return {key.removeprefix(prefix): tags.pop(key) for key in found}


def _prompt_version(entry: Mapping[str, Any]) -> Entity:
    tags = tags_of(entry.get("tags"))
    kind = tags.pop(_TYPE, "text")
    text = tags.pop(_TEXT, None)
    response_format, config = tags.pop(_FORMAT, None), tags.pop(_CONFIG, None)
    for key in (_IS_PROMPT, _EXPERIMENTS):
        tags.pop(key, None)
    facets = {
        "number": int(entry["version"]),
        "template": _json(text) if kind == "chat" else text,
        "commit_message": entry.get("description", ""),
        "tags": tags,
        "model_config": _json(config),
        "response_format": _json(response_format),
        "type": kind,
        "times": _times(entry),
    }
    name = entry["name"]
    return Entity(
        "prompt_version",
        f"{name}/{facets['number']}",
        f"{name} version {facets['number']}",
        name,
        facets["times"]["creation"],
        facets,
    )


def _json(text: str | None) -> Any:
    """Return JSON as a value, where it is JSON."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
