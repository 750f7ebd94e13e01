"""Versions of registered models and prompts: each with its number, or with it in its source tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlflow_parity.audit.renames import Renames
from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.identity.keys import next_tags
from mlflow_parity.core.json_text import written
from mlflow_parity.core.records import EXIM_PREFIX, Entity
from mlflow_parity.kinds import is_copy
from mlflow_parity.migrating.known_losses import by_contract
from mlflow_parity.migrating.write.batches import pairs
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.link_state import FIXED, is_settled, is_stale, version_links
from mlflow_parity.migrating.write.moving import Ending, Key, carry
from mlflow_parity.migrating.write.objects.version_source import Source, Sources
from mlflow_parity.snapshot.store import PlaceObjects

API = "/api/2.0/mlflow/"
_FIELD = EXIM_PREFIX + "field."
_MARK = {"mlflow.prompt.is_prompt": "true"}
#: What MLflow's own client gives for the source of a prompt, which has no files.
_NO_SOURCE = "dummy-source"
#: In it the server lists the experiments in which a prompt was used, as ``,1,2,``.
_EXPERIMENTS = "_mlflow_experiment_ids"


@dataclass(frozen=True, slots=True)
class Container:
    """A registered model or prompt of the source, with its versions in the order of their numbers."""

    entity: Entity
    versions: Sequence[Entity]

    @property
    def is_prompt(self) -> bool:
        """Whether it is a prompt."""
        return self.entity.kind == "prompt"

    def name(self, renames: Renames) -> str:
        """Return its name on the target."""
        names = renames.prompts if self.is_prompt else renames.models
        return names.get(self.entity.entity_id, self.entity.entity_id)


@dataclass(frozen=True, slots=True)
class There:
    """The target's registry by name, as it is before the import; versions by their numbers."""

    models: dict[str, Entity]
    versions: dict[str, dict[int, Entity]]


class Versions:
    """Writes the versions of one container after the other; safe to use for several containers at once."""

    def __init__(self, context: Import, objects: PlaceObjects, there: There) -> None:
        self._context = context
        self._there = there
        self._sources = Sources(context, objects)
        #: Highest number that each name has given, as far as it is known.
        self._highest = {name: max(numbers) for name, numbers in there.versions.items()}

    def write(self, one: Container, *, last: bool) -> None:
        """Make the versions of a container, in the order of their numbers.

        One that is made of another version waits for it, and keeps back those after it, unless this is the ``last``
        call.
        """
        journal, name = self._context.journal, one.name(self._context.renames)
        present = self._there.versions.setdefault(name, {})
        self._remove_leftovers(one, name, present)
        for version in one.versions:
            entry, state, links = journal.entry(version.kind, version.entity_id), *state_of(self._context, version)
            there = entry is not None and is_settled(entry, state) and not is_stale(entry, links)
            if not there and not last and self._sources.waits(version):
                return
            carry(
                self._context,
                Key(version.kind, version.entity_id, "", version.name),
                partial(str, state),
                partial(self._version, name, version, present),
                links=partial(str, links),
            )

    def _remove_leftovers(self, one: Container, name: str, present: dict[int, Entity]) -> None:
        """Delete versions of ours that only took up a number when a kill came.

        What names the same source version may be somebody else's, unless this migration began to make that version.
        """
        if not one.versions or (one.is_prompt and not self._context.journal.ours("prompt", one.entity.entity_id)):
            # a prompt version carries no source tags: here it may be somebody else's
            return
        kept = {int(version.facets["number"]) for version in one.versions}
        known = set(self._context.journal.ids(one.versions[0].kind).values())
        for number, found in sorted(present.items()):
            if number in kept or found.entity_id in known:
                continue
            # one of a higher number, made where the source has a gap
            higher = [version for version in one.versions if int(version.facets["number"]) > number]
            if any(self._is_copy(found, version) and self._may_have_made(version) for version in higher):
                self._delete(name, number)
                del present[number]

    def _may_have_made(self, version: Entity) -> bool:
        """Whether this migration sent a request for a version whose end the journal does not know."""
        journal, which = self._context.journal, (version.kind, version.entity_id)
        entry = journal.entry(*which)
        return (entry is not None and entry.ours and entry.target_id is None) or journal.in_doubt(*which)

    def _is_copy(self, found: Entity, version: Entity) -> bool:
        if version.kind == "prompt_version":
            # it has no source tags
            same = found.facets.get("commit_message") == version.facets.get("commit_message")
            return same and stored_tags(found) == content_tags(self._context, version)
        return is_copy(found, version)

    def _delete(self, name: str, number: int) -> None:
        self._context.writer.call("DELETE", f"{API}model-versions/delete", {"name": name, "version": str(number)})

    def _version(self, name: str, version: Entity, present: Mapping[int, Entity], ending: Ending) -> None:
        """Make one version, or find it, and bring it up to date."""
        wanted, prompt = int(version.facets["number"]), version.kind == "prompt_version"
        tags = content_tags(self._context, version)
        tags = tags if prompt else next_tags(tags, _source_tags(version))
        description = version.facets.get("commit_message" if prompt else "description") or ""
        number, ours = self._find(version, present)
        source = Source(_NO_SOURCE) if prompt else self._sources.of(version)
        if number is None:
            body: dict[str, Any] = {"name": name, "source": source.uri, "tags": pairs(tags)}
            given = {"description": description, "run_id": source.run_id, "model_id": source.model_id}
            given["run_link"] = version.facets.get("run_link")
            body |= {key: value for key, value in given.items() if value}
            number = self._create(name, body, version, source)
            self._context.journal.created(version.kind, version.entity_id, f"{name}/{number}")
        else:
            # its source tags may be another tool's, and a prompt version's number and text anybody's
            self._context.journal.found(version.kind, version.entity_id, f"{name}/{number}")
            ours = ours and self._context.journal.ours(version.kind, version.entity_id)
            self._update(name, present[number], tags, description, ours=ours)
            if ours and (late := _late(present[number], source)):
                raise NotMoved(f"its {late} came to the target after it; {FIXED}")
        if source.is_own:
            self._sources.fill(version, source)
        problems = ending.problems.impossible
        if number != wanted and prompt:
            problems.append(f"its number is {number}: the target gave higher ones before, and gives none twice")
        if not prompt:
            problems += self._stage_and_status(name, number, version, present)

    def _stage_and_status(self, name: str, number: int, version: Entity, present: Mapping[int, Entity]) -> list[str]:
        stage = version.facets.get("stage") or "None"
        if stage != (present[number].facets.get("stage") or "None" if number in present else "None"):
            body: dict[str, Any] = {"name": name, "version": str(number), "stage": stage}
            body["archive_existing_versions"] = False
            self._context.writer.call("POST", f"{API}model-versions/transition-stage", body)
        told = version.facets.get("status") or {}
        status, message = told.get("status"), told.get("message")
        if status in (None, "READY") and not message:
            return []
        what = f"its status is {status}" + (f" ({message!r})" if message else "")
        return [by_contract("model_version.status.ready", f"{what}: MLflow's API makes versions READY")]

    def _find(self, version: Entity, present: Mapping[int, Entity]) -> tuple[int | None, bool]:
        """Return the number of a version's copy, and whether the journal knows it."""
        known = self._context.journal.target(version.kind, version.entity_id)
        if known is not None and int(known.rpartition("/")[2]) in present:
            return int(known.rpartition("/")[2]), True
        wanted = int(version.facets["number"])
        if version.kind == "prompt_version":
            # a prompt version has no source tags; its number is its name
            found = present.get(wanted)
            if found is not None and found.facets.get("template") == version.facets.get("template"):
                return wanted, False
            return (self._made_before(version, present) if self._may_have_made(version) else None), False
        found_number = next((number for number, one in sorted(present.items()) if self._is_copy(one, version)), None)
        return found_number, False

    def _made_before(self, version: Entity, present: Mapping[int, Entity]) -> int | None:
        """Return the number of a prompt version that was made before a kill, where its own was given away already."""
        taken, wanted = set(self._context.journal.ids(version.kind).values()), int(version.facets["number"])
        like = [number for number, one in present.items() if one.entity_id not in taken and self._is_copy(one, version)]
        # it came after all that was there; a lower one would only take up a number
        return max((number for number in like if number > wanted), default=None)

    def _create(self, name: str, body: Mapping[str, Any], version: Entity, source: Source) -> int:
        """Make a version with its number; lower ones that are given first are deleted: the source has a gap there."""
        writer, wanted = self._context.writer, int(version.facets["number"])
        journal, which = self._context.journal, (version.kind, version.entity_id)

        def find() -> int | None:
            batches = self._context.reader.registry()
            found = [int(one.facets["number"]) for batch in batches for one in batch
                     if one.container == name and self._is_copy(one, version)]  # fmt: skip
            # versions can be alike
            return max((number for number in found if number > self._highest.get(name, 0)), default=None)

        while True:
            try:
                # one that is there already stays ours, whatever is refused after it
                with journal.making(*which):
                    number = writer.create(
                        f"{API}model-versions/create",
                        body,
                        find=find,
                        made=lambda answer: int(answer["model_version"]["version"]),
                        doubt=lambda: journal.doubt(*which),
                    )
            except RequestRefused as error:
                raise self._sources.refused(source, error) from None
            self._highest[name] = number
            if number >= wanted:
                return number
            self._delete(name, number)

    def _update(self, name: str, present: Entity, tags: Mapping[str, str], description: str, *, ours: bool) -> None:
        writer, prompt = self._context.writer, present.kind == "prompt_version"
        of = {"name": name, "version": str(present.facets["number"])}
        has = stored_tags(present)
        for key, value in tags.items():
            if has.get(key) != value:
                writer.call("POST", f"{API}model-versions/set-tag", {**of, "key": key, "value": value})
        for key in has.keys() - tags.keys() if ours else ():
            writer.call("DELETE", f"{API}model-versions/delete-tag", {**of, "key": key})
        theirs = present.facets.get("commit_message" if prompt else "description") or ""
        if theirs != description and (description or ours):
            writer.call("PATCH", f"{API}model-versions/update", {**of, "description": description})


def state_of(context: Import, entity: Entity) -> tuple[str, str]:
    """Return digests of what is to be written of a registered model, a prompt or a version, and of its links."""
    names = context.renames.prompts if entity.kind.startswith("prompt") else context.renames.models
    name = names.get(entity.container or entity.entity_id)
    content = digest([entity.entity_id, dict(entity.facets), content_tags(context, entity), name]).hex()
    return content, version_links(context, entity) if entity.kind == "model_version" else ""


def _late(present: Entity, source: Source) -> str:
    """Return what a copy should be linked to and can never be, because it was made before."""
    wanted = {"run": source.run_id, "logged_model": source.model_id}
    late = [
        kind.replace("_", " ") for kind, identity in wanted.items() if identity and present.facets[kind] != identity
    ]
    return " and ".join(late)


def _source_tags(version: Entity) -> dict[str, str]:
    """Return the source tags that the tool writes to a model version's copy."""
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
    return {_FIELD + key: str(value) for key, value in told.items()}


def content_tags(context: Import, entity: Entity) -> dict[str, str]:
    """Return the tags of a registered model, a prompt or a version as the target is to have them."""
    tags = stored_tags(entity)
    if entity.kind.startswith("prompt") and _EXPERIMENTS in tags:
        copies = (context.journal.target("experiment", one) for one in tags[_EXPERIMENTS].split(",") if one)
        listed = ",".join(filter(None, copies))
        tags[_EXPERIMENTS] = f",{listed}," if listed else ""
    return tags


def stored_tags(entity: Entity) -> dict[str, str]:
    """Return an entity's own tags, with those in which MLflow keeps the content of a prompt version."""
    facets = entity.facets
    tags = dict(facets.get("tags") or {})
    if entity.kind != "prompt_version":
        return tags
    tags |= _MARK
    template, kind = facets.get("template"), facets.get("type")
    if template is not None:
        tags["mlflow.prompt.text"] = template if isinstance(template, str) and kind != "chat" else written(template)
    if kind:
        tags["_mlflow_prompt_type"] = str(kind)
    for key in ("response_format", "model_config"):
        if facets.get(key) is not None:
            value = facets[key]
            tags[f"_mlflow_prompt_{key}"] = value if isinstance(value, str) else written(value)
    return tags
