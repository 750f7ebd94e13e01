"""Registered models and prompts with their versions, by MLflow's public API.

The tool cannot be driven here: it asks whether a version's source is a local path or in S3, and loses all the others;
prompts it sends to the process-wide tracking URI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from mlflow_parity.core.errors import NotMoved, ParityError, RequestRefused
from mlflow_parity.core.records import Entity
from mlflow_parity.migrating.write.batches import pairs
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.link_state import is_settled, is_stale
from mlflow_parity.migrating.write.moving import Ending, Key, carry, noted
from mlflow_parity.migrating.write.objects.versions import API, Container, There, Versions, content_tags, state_of
from mlflow_parity.reading.histories import drained
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.store import PlaceObjects

_MARK = {"mlflow.prompt.is_prompt": "true"}


def import_registry(context: Import, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Bring every registered model and prompt with its versions to the target; ``wanted`` says which, by name."""
    objects = context.export.snapshot.objects(SERVER)
    if objects.problem("registry") is not None:
        return
    containers = [one for one in _containers(objects) if wanted(one.entity.name) and not _is_settled(context, one)]
    if not containers:
        return
    there = _read(context)
    importer = _Importer(context, Versions(context, objects, there), there)
    with ThreadPoolExecutor(context.workers, thread_name_prefix="parity-registry") as pool:

        def each(work: Callable[[Container], None], some: Iterable[Container]) -> None:
            for _ in drained(pool, work, some, 2 * context.workers):
                pass

        each(importer.container, containers)
        # a version may be made of another one, whose model comes later
        waiting = len(containers) + 1
        left = containers
        while left and len(left) < waiting:
            waiting = len(left)
            each(importer.versions, left)
            left = [one for one in left if importer.waits(one)]
        each(importer.rest, left)
        each(importer.aliases, containers)


def _containers(objects: PlaceObjects) -> Iterator[Container]:
    for kind, versions in (("registered_model", "model_version"), ("prompt", "prompt_version")):
        own: dict[str, list[Entity]] = {}
        for version in every(objects, versions):
            own.setdefault(version.container, []).append(version)
        for entity in every(objects, kind):
            found = own.get(entity.entity_id, [])
            yield Container(entity, sorted(found, key=lambda one: int(one.facets["number"])))


def _is_settled(context: Import, container: Container) -> bool:
    for entity in (container.entity, *container.versions):
        entry = context.journal.entry(entity.kind, entity.entity_id)
        state, links = state_of(context, entity)
        if entry is None or not is_settled(entry, state) or is_stale(entry, links):
            return False
    return True


def _read(context: Import) -> There:
    there = There({}, {})
    for batch in context.reader.registry():
        for entity in batch:
            if entity.container:
                there.versions.setdefault(entity.container, {})[int(entity.facets["number"])] = entity
            else:
                there.models[entity.entity_id] = entity
    return there


def _key(entity: Entity) -> Key:
    return Key(entity.kind, entity.entity_id, "", entity.name)


class _Importer:
    def __init__(self, context: Import, versions: Versions, there: There) -> None:
        self._context = context
        self._versions = versions
        self._there = there
        #: Containers that are on the target; each is done when its aliases are.
        self._made: set[tuple[str, str]] = set()

    def container(self, one: Container) -> None:
        """Make a registered model or prompt, or bring its description and tags up to date."""
        key = _key(one.entity)
        # its versions may be new, so it is gone on with whatever was written of it; its end is noted with its aliases
        self._context.journal.begin(key.kind, key.source_id, name=key.name)
        with noted(self._context, key):
            self._container(one)
            self._made.add((key.kind, key.source_id))

    def _container(self, one: Container) -> None:
        journal, entity, name = self._context.journal, one.entity, one.name(self._context.renames)
        tags = {**content_tags(self._context, entity), **(_MARK if one.is_prompt else {})}
        present = self._there.models.get(name)
        if present is None:
            with journal.making(entity.kind, entity.entity_id):
                self._create(name, tags, entity.facets.get("description") or "")
            journal.created(entity.kind, entity.entity_id, name)
        elif present.kind != entity.kind:
            raise NotMoved(f"the target has a {present.kind.replace('_', ' ')} of this name")
        else:
            journal.found(entity.kind, entity.entity_id, name)
            self._update(one, present, name, tags)

    def _create(self, name: str, tags: dict[str, str], description: str) -> None:
        writer = self._context.writer
        body = {"name": name, "tags": pairs(tags), **({"description": description} if description else {})}

        def find() -> str | None:
            try:
                writer.call("GET", f"{API}registered-models/get", query={"name": name})
            except RequestRefused as error:
                if error.status == 404:
                    return None
                raise
            return name

        writer.create(f"{API}registered-models/create", body, find=find, made=lambda _: name)

    def _update(self, one: Container, present: Entity, name: str, tags: dict[str, str]) -> None:
        writer, entity = self._context.writer, one.entity
        has = {**(present.facets.get("tags") or {}), **(_MARK if one.is_prompt else {})}
        for key, value in tags.items():
            if has.get(key) != value:
                writer.call("POST", f"{API}registered-models/set-tag", {"name": name, "key": key, "value": value})
        # what the target has by itself stays, unless all of it is ours
        ours = self._context.journal.ours(entity.kind, entity.entity_id)
        for key in has.keys() - tags.keys() if ours else ():
            writer.call("DELETE", f"{API}registered-models/delete-tag", {"name": name, "key": key})
        description = entity.facets.get("description") or ""
        if (present.facets.get("description") or "") != description and (description or ours):
            writer.call("PATCH", f"{API}registered-models/update", {"name": name, "description": description})

    def versions(self, one: Container) -> None:
        """Make the versions in the order of their numbers, up to the first that has to wait for another model's."""
        self._write(one, last=False)

    def rest(self, one: Container) -> None:
        """Make the other versions; what one waits for did not come."""
        self._write(one, last=True)

    def _write(self, one: Container, *, last: bool) -> None:
        journal, kind = self._context.journal, one.entity.kind
        if (kind, one.entity.entity_id) in self._made:
            with noted(self._context, _key(one.entity)):
                self._versions.write(one, last=last)
            return
        for version in one.versions:
            journal.begin(version.kind, version.entity_id, name=version.name)
            journal.failed(version.kind, version.entity_id, f"its {kind.replace('_', ' ')} is not on the target")

    def waits(self, one: Container) -> bool:
        """Whether some version has to wait for that of another model."""
        states = (self._context.journal.state(version.kind, version.entity_id) for version in one.versions)
        return None in states

    def aliases(self, one: Container) -> None:
        """Let each alias point at the copy of its version; with that a registered model or prompt is whole."""
        key = _key(one.entity)
        if (key.kind, key.source_id) in self._made:
            state, links = state_of(self._context, one.entity)
            carry(
                self._context,
                key,
                partial(str, state),
                partial(self._aliases, one),
                links=partial(str, links),
            )

    def _aliases(self, one: Container, ending: Ending) -> None:
        journal, entity = self._context.journal, one.entity
        name = one.name(self._context.renames)
        kind = "prompt_version" if one.is_prompt else "model_version"
        wanted = entity.facets.get("aliases") or {}
        present: dict[str, Any] = {}
        if name in self._there.models:
            present = self._there.models[name].facets.get("aliases") or {}
        problems = ending.problems
        for alias, number in wanted.items():
            version = f"{entity.entity_id}/{number}"
            copy = (journal.target(kind, version) or "").rpartition("/")[2]
            try:
                if not copy:
                    # an alias can be set as soon as its version is there, and never where that cannot be written
                    never = journal.state(kind, version) == "unmovable"
                    line = f"alias {alias!r}: version {number}, which it points at, is not on the target"
                    (problems.impossible if never else problems.failed).append(line)
                elif present.get(alias) != copy:
                    body = {"name": name, "alias": alias, "version": copy}
                    self._context.writer.call("POST", f"{API}registered-models/alias", body)
            except ParityError as error:
                problems.failed.append(f"alias {alias!r}: {error}")
        try:
            for alias in present.keys() - wanted.keys() if journal.ours(entity.kind, entity.entity_id) else ():
                self._context.writer.call("DELETE", f"{API}registered-models/alias", {"name": name, "alias": alias})
        except ParityError as error:
            problems.failed.append(str(error))
