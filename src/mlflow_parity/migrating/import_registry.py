"""Registered models and prompts with their versions, by MLflow's public API.

The tool cannot be driven here: it asks whether a version's source is a local path or in S3, and loses all the others;
prompts it sends to the process-wide tracking URI.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_parity.digests import digest
from mlflow_parity.errors import ParityError, RequestRefused
from mlflow_parity.migrating.batches import pairs
from mlflow_parity.migrating.importing import Import
from mlflow_parity.migrating.run_writing import NotMoved
from mlflow_parity.migrating.version_source import Source, Sources
from mlflow_parity.model import EXIM_PREFIX, Entity
from mlflow_parity.reading.registry import read_registry
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.store import PlaceObjects

_API = "/api/2.0/mlflow/"
FIELD = EXIM_PREFIX + "field."
_IS_PROMPT = {"mlflow.prompt.is_prompt": "true"}
_NO_SOURCE = "dummy-source"
_CHUNK = 500
#: What a version must be named by on the target, whoever made it.
_ORIGIN = (FIELD + "name", FIELD + "version")


@dataclass(slots=True)
class _There:
    """The target's registry by name, as it is before the import."""

    models: dict[str, Entity]
    versions: dict[str, dict[int, Entity]]


def import_registry(context: Import, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Bring every registered model and prompt with its versions to the target; ``wanted`` says which, by name."""
    objects = context.export.snapshot.objects(SERVER)
    if objects.problem("registry") is not None:
        return
    there: _There | None = None
    later: list[tuple[Entity, list[Entity]]] = []
    for kind, versions in (("registered_model", "model_version"), ("prompt", "prompt_version")):
        by_name = _by_container(objects, versions)
        for model in _entities(objects, kind):
            own = by_name.get(model.entity_id, [])
            if not wanted(model.name) or _settled(context, model, own):
                continue
            if there is None:
                there = _read(context)
            _container(context, model, there)
            _versions(context, model, own, objects, there, last=False)
            later.append((model, own))
    if there is None:
        return
    # a version may be made of another one, whose model comes later
    for model, own in later:
        _versions(context, model, own, objects, there, last=True)
        _aliases(context, model, own)


def _entities(objects: PlaceObjects, kind: str) -> Iterator[Entity]:
    ids = [key.entity_id for key in objects.keys(kind)]
    for first in range(0, len(ids), _CHUNK):
        yield from objects.entities(kind, ids[first : first + _CHUNK])


def _by_container(objects: PlaceObjects, kind: str) -> dict[str, list[Entity]]:
    found: dict[str, list[Entity]] = {}
    for version in _entities(objects, kind):
        found.setdefault(version.container, []).append(version)
    return {name: sorted(own, key=lambda one: int(one.facets["number"])) for name, own in found.items()}


def _state(entity: Entity) -> str:
    return digest([entity.entity_id, dict(entity.facets)]).hex()


def _settled(context: Import, model: Entity, versions: list[Entity]) -> bool:
    for entity in (model, *versions):
        entry = context.journal.entry(entity.kind, entity.entity_id)
        if entry is None or entry.state not in ("done", "unmovable") or entry.digest != _state(entity):
            return False
    return True


def _read(context: Import) -> _There:
    there = _There({}, {})
    for batch in read_registry(context.reader.session):
        for entity in batch:
            if entity.container:
                there.versions.setdefault(entity.container, {})[int(entity.facets["number"])] = entity
            else:
                there.models[entity.entity_id] = entity
    return there


def new_name(context: Import, entity: Entity) -> str:
    """Return the target's name of a registered model or prompt, or of that which a version belongs to."""
    names = context.renames.prompts if entity.kind.startswith("prompt") else context.renames.models
    old = entity.container or entity.entity_id
    return names.get(old, old)


def _container(context: Import, model: Entity, there: _There) -> None:
    """Make a registered model or prompt, or bring its description and tags up to date."""
    journal, name = context.journal, new_name(context, model)
    ours = journal.target(model.kind, model.entity_id) is not None
    journal.begin(model.kind, model.entity_id, name=model.name)
    marks = _IS_PROMPT if model.kind == "prompt" else {}
    tags = {**(model.facets.get("tags") or {}), **marks}
    description = model.facets.get("description") or ""
    try:
        present = there.models.get(name)
        if present is None:
            body = {"name": name, "tags": pairs(tags), **({"description": description} if description else {})}

            def find() -> str | None:
                return name if name in _read(context).models else None

            context.writer.create(f"{_API}registered-models/create", body, find=find, made=lambda _: name)
            context.told(objects=1)
        elif present.kind != model.kind:
            raise NotMoved(f"the target has a {present.kind.replace('_', ' ')} of this name")
        else:
            has = {**(present.facets.get("tags") or {}), **marks}
            for key, value in tags.items():
                if has.get(key) != value:
                    body = {"name": name, "key": key, "value": value}
                    context.writer.call("POST", f"{_API}registered-models/set-tag", body)
            if ours:
                for key in has.keys() - tags.keys():
                    body = {"name": name, "key": key}
                    context.writer.call("DELETE", f"{_API}registered-models/delete-tag", body)
            if (present.facets.get("description") or "") != description:
                body = {"name": name, "description": description}
                context.writer.call("PATCH", f"{_API}registered-models/update", body)
        journal.created(model.kind, model.entity_id, name)
        journal.done(model.kind, model.entity_id, _state(model))
    except ParityError as error:
        journal.failed(model.kind, model.entity_id, str(error))


def _versions(
    context: Import, model: Entity, versions: list[Entity], objects: PlaceObjects, there: _There, *, last: bool
) -> None:
    """Make the versions in the order of their numbers; those of other versions only when ``last``."""
    journal = context.journal
    if journal.state(model.kind, model.entity_id) != "done":
        for version in versions:
            journal.begin(version.kind, version.entity_id, name=version.name)
            journal.failed(version.kind, version.entity_id, f"its {model.kind.replace('_', ' ')} is not on the target")
        return
    present = there.versions.setdefault(new_name(context, model), {})
    if not last:
        _remove_leftovers(context, model, versions, present)
    sources = Sources(context, objects)
    for version in versions:
        entry = journal.entry(version.kind, version.entity_id)
        state = _state(version)
        if entry is not None and entry.state in ("done", "unmovable") and entry.digest == state:
            continue
        if not last and entry is not None and entry.state == "failed" and entry.digest == state:
            continue
        # numbers are given in turn: what waits for another version keeps back those after it
        if not last and sources.waits(version):
            break
        journal.begin(version.kind, version.entity_id, name=version.name)
        try:
            number, problems = _version(context, model, version, sources, present)
            journal.created(version.kind, version.entity_id, f"{new_name(context, model)}/{number}")
            if problems:
                journal.unmovable(version.kind, version.entity_id, "; ".join(problems))
                journal.digested(version.kind, version.entity_id, state)
            else:
                journal.done(version.kind, version.entity_id, state)
        except NotMoved as error:
            (journal.unmovable if error.for_good else journal.failed)(version.kind, version.entity_id, str(error))
            journal.digested(version.kind, version.entity_id, state)
        except ParityError as error:
            journal.failed(version.kind, version.entity_id, str(error))
            journal.digested(version.kind, version.entity_id, state)


def _origin(entity: Entity) -> tuple[str, str] | None:
    tags = entity.facets.get("tags") or {}
    name, version = (tags.get(key) for key in _ORIGIN)
    return (name, version) if name and version else None


def _remove_leftovers(context: Import, model: Entity, versions: list[Entity], present: dict[int, Entity]) -> None:
    """Delete versions of ours that only took up a number when a kill came."""
    own = {int(version.facets["number"]) for version in versions}
    known = set(context.journal.ids(versions[0].kind).values()) if versions else set()
    for number, found in sorted(present.items()):
        origin = _origin(found)
        if origin is None or origin[0] != model.entity_id or found.entity_id in known:
            continue
        if int(origin[1]) in own and int(origin[1]) > number and number not in own:
            _delete(context, new_name(context, model), number)
            del present[number]


def _delete(context: Import, name: str, number: int) -> None:
    context.writer.call("DELETE", f"{_API}model-versions/delete", {"name": name, "version": str(number)})


def _version(
    context: Import, model: Entity, version: Entity, sources: Sources, present: dict[int, Entity]
) -> tuple[int, list[str]]:
    """Make one version, or find it, and bring it up to date; return its number and what cannot be written."""
    name, wanted = new_name(context, model), int(version.facets["number"])
    prompt = version.kind == "prompt_version"
    tags = _prompt_tags(version) if prompt else _version_tags(version)
    description = version.facets.get("commit_message" if prompt else "description") or ""
    number = _find(context, version, present)
    source = Source(_NO_SOURCE) if prompt else sources.of(version)
    if number is None:
        body: dict[str, Any] = {"name": name, "source": source.uri, "tags": pairs(tags)}
        body |= {"description": description} if description else {}
        body |= {"run_id": source.run_id} if source.run_id else {}
        body |= {"model_id": source.model_id} if source.model_id else {}
        number = _create(context, name, wanted, body, version)
        context.told(objects=1)
    else:
        _update(context, name, number, present[number], tags, description)
    problems = []
    if number != wanted and prompt:
        problems.append(f"its number is {number}: the target gave higher ones before, and gives none twice")
    stage = version.facets.get("stage")
    now = present[number].facets.get("stage") if number in present else "None"
    if not prompt and stage not in (None, "", "None") and stage != now:
        moved: dict[str, Any] = {"name": name, "version": str(number), "stage": stage}
        moved["archive_existing_versions"] = False
        context.writer.call("POST", f"{_API}model-versions/transition-stage", moved)
    status = (version.facets.get("status") or {}).get("status")
    if not prompt and status not in (None, "READY"):
        problems.append(f"its status is {status}: MLflow's API makes versions READY")
    return number, problems


def _find(context: Import, version: Entity, present: Mapping[int, Entity]) -> int | None:
    known = context.journal.target(version.kind, version.entity_id)
    if known is not None and int(known.rpartition("/")[2]) in present:
        return int(known.rpartition("/")[2])
    wanted = int(version.facets["number"])
    if version.kind == "prompt_version":
        # a prompt version has no source tags; its number is its name
        found = present.get(wanted)
        same = found is not None and found.facets.get("template") == version.facets.get("template")
        return wanted if same else None
    ours = (version.container, str(wanted))
    return next((number for number, one in sorted(present.items()) if _origin(one) == ours), None)


def _create(context: Import, name: str, wanted: int, body: Mapping[str, Any], version: Entity) -> int:
    """Make a version with its number; lower ones that are given first are deleted: the source has a gap there."""
    ours = (version.container, str(version.facets["number"]))

    def find() -> int | None:
        mine = _read(context).versions.get(name, {})
        if version.kind == "prompt_version":
            return wanted if wanted in mine else None
        return next((number for number, one in sorted(mine.items(), reverse=True) if _origin(one) == ours), None)

    while True:
        number = context.writer.create(
            f"{_API}model-versions/create",
            body,
            find=find,
            made=lambda answer: int(answer["model_version"]["version"]),
        )
        if number >= wanted:
            return number
        _delete(context, name, number)


def _update(
    context: Import, name: str, number: int, present: Entity, tags: Mapping[str, str], description: str
) -> None:
    prompt = present.kind == "prompt_version"
    of = {"name": name, "version": str(number)}
    has = _prompt_tags(present) if prompt else dict(present.facets.get("tags") or {})
    for key, value in tags.items():
        if has.get(key) != value:
            context.writer.call("POST", f"{_API}model-versions/set-tag", {**of, "key": key, "value": value})
    for key in has.keys() - tags.keys():
        context.writer.call("DELETE", f"{_API}model-versions/delete-tag", {**of, "key": key})
    if (present.facets.get("commit_message" if prompt else "description") or "") != description:
        context.writer.call("PATCH", f"{_API}model-versions/update", {**of, "description": description})


def _version_tags(version: Entity) -> dict[str, str]:
    """Return the tags of a model version's copy, with the source tags that the tool writes."""
    facets = version.facets
    told = {
        "name": version.container,
        "version": facets.get("number"),
        "creation_timestamp": (facets.get("times") or {}).get("creation"),
        "last_updated_timestamp": (facets.get("times") or {}).get("update"),
        "current_stage": facets.get("stage"),
        "source": facets.get("source"),
        "run_id": facets.get("run"),
        "status": (facets.get("status") or {}).get("status"),
        "user_id": facets.get("user"),
        "model_id": facets.get("logged_model"),
    }
    return {**(facets.get("tags") or {}), **{FIELD + key: str(value) for key, value in told.items()}}


def _prompt_tags(version: Entity) -> dict[str, str]:
    """Return the tags in which MLflow keeps a prompt version's content, and its own."""
    facets = version.facets
    template, kind = facets.get("template"), facets.get("type")
    tags = {**(facets.get("tags") or {}), **_IS_PROMPT}
    if template is not None:
        tags["mlflow.prompt.text"] = template if isinstance(template, str) else json.dumps(template)
    if kind:
        tags["_mlflow_prompt_type"] = str(kind)
    for key, name in (
        ("response_format", "_mlflow_prompt_response_format"),
        ("model_config", "_mlflow_prompt_model_config"),
    ):
        if facets.get(key) is not None:
            value = facets[key]
            tags[name] = value if isinstance(value, str) else json.dumps(value)
    return tags


def _aliases(context: Import, model: Entity, versions: list[Entity]) -> None:
    """Let each alias point at the copy of its version."""
    journal, name = context.journal, new_name(context, model)
    kind = "prompt_version" if model.kind == "prompt" else "model_version"
    present = _read_one(context, name)
    refused = []
    for alias, number in (model.facets.get("aliases") or {}).items():
        copy = journal.target(kind, f"{model.entity_id}/{number}")
        if copy is None:
            refused.append(f"alias {alias!r}: version {number}, which it points at, is not on the target")
        elif present.get(alias) != copy.rpartition("/")[2]:
            body = {"name": name, "alias": alias, "version": copy.rpartition("/")[2]}
            try:
                context.writer.call("POST", f"{_API}registered-models/alias", body)
            except RequestRefused as error:
                refused.append(f"alias {alias!r}: {error}")
    if refused and journal.state(model.kind, model.entity_id) == "done":
        journal.failed(model.kind, model.entity_id, "; ".join(refused))


def _read_one(context: Import, name: str) -> Mapping[str, str]:
    found = _read(context).models.get(name)
    return {} if found is None else found.facets.get("aliases") or {}
