"""Facets of registered models, prompts and their versions, what their aliases resolve to, and what users may read."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.comparing.fields import FIELD, compare_hops
from mlflow_parity.comparing.file_evidence import facts, told_bytes
from mlflow_parity.comparing.links import untold
from mlflow_parity.core.identity.keys import as_copy_of
from mlflow_parity.core.json_text import parsed
from mlflow_parity.core.records import EXIM_PREFIX, STORAGE, Entity
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import VERSIONS, singular_of
from mlflow_parity.kinds.conventions.copy_places import is_relative, same_place

if TYPE_CHECKING:
    from mlflow_parity.comparing.links import ObjectLinks
from collections.abc import Iterable, Mapping, Set

from mlflow_parity.comparing.trees import parses
from mlflow_parity.core.records import ArtifactTree, Resolved

#: In it the server names the registered versions of a logged model.
VERSIONS_TAG = "mlflow.modelVersions"
#: In it the server lists the experiments in which a prompt was used, as ``,1,2,``.
EXPERIMENTS_TAG = "_mlflow_experiment_ids"
_MODELS = "models:/"
_RUN_IDS = re.compile(r"(?<![0-9A-Za-z-])[0-9a-f]{32}(?![0-9A-Za-z])")
_MODEL_IDS = re.compile(r"(?<![0-9A-Za-z-])m-[0-9a-f]{32}(?![0-9A-Za-z])")


def experiments_tag(ours: str | None, theirs: str | None, links: ObjectLinks, rule: str) -> list[Difference]:
    """Compare the experiments in which a prompt was used, through the pairing."""
    mine, copies = ({one for one in (text or "").split(",") if one} for text in (ours, theirs))
    if open_ones := untold(EXPERIMENTS_TAG, mine, "experiment", (ours, theirs), links, f"{rule}.experiments"):
        return open_ones
    dead = {one for one in mine if links.stage("experiment", one) in ("gone", "deleted")}
    wanted = {links.experiments.get(one, "") for one in mine - dead}
    # an id that is on no experiment of the source, or in its trash, may be that of its copy, go, or stay: but not where
    # it is the id of the copy of another one
    kept = {links.experiments.get(one, one) for one in dead}
    if wanted <= copies and copies - wanted <= kept - _taken(copies & dead, links.experiments):
        if ours == theirs:
            return []
        return [Difference(EXPERIMENTS_TAG, State.EXPECTED, f"{rule}.experiments", ours, theirs)]
    return [Difference(EXPERIMENTS_TAG, State.MISMATCH, rule, ours, theirs, "not the copies of these experiments")]


def _taken(gone: Set[str], pairs: Mapping[str, str]) -> set[str]:
    """Return which ids of objects that are gone are those of other ones' copies on the target."""
    return {copy for one, copy in pairs.items() if copy in gone and one not in gone} if gone else set()


def versions_tag(ours: str | None, theirs: str | None, links: ObjectLinks, rule: str) -> list[Difference]:
    """Compare the tag in which a logged model names its registered versions, through the pairing."""
    try:
        mine, copies = (
            sorted(
                f"{entry['name']}/{entry['version']}"
                for entry in parsed(text or "[]")
                # what is not in scope need not be on the target
                if links.is_wanted(entry["name"])
            )
            for text in (ours, theirs)
        )
    except (ValueError, TypeError, KeyError):
        return [] if ours == theirs else [Difference(VERSIONS_TAG, State.MISMATCH, rule, ours, theirs)]
    if open_ones := untold(VERSIONS_TAG, mine, "model_version", (ours, theirs), links, f"{rule}.versions"):
        return open_ones
    pairs = links.of("model_version")
    # a version that is on the source and has no copy cannot be named by its copy; one that is gone may stay, or go
    lost = [one for one in mine if one not in pairs and links.stage("model_version", one) == "active"]
    gone = [one for one in mine if one not in pairs and links.stage("model_version", one) == "gone"]
    wanted, named = Counter(pairs.get(one, one) for one in mine) - Counter(gone), Counter(copies)
    taken = _taken(set(gone) & named.keys(), pairs) - wanted.keys()
    if lost or wanted - named or named - wanted - Counter(one for one in gone if one not in taken):
        return [Difference(VERSIONS_TAG, State.MISMATCH, rule, ours, theirs, "not the copies of these versions")]
    return [] if ours == theirs else [Difference(VERSIONS_TAG, State.EXPECTED, f"{rule}.versions", ours, theirs)]


def compare_aliases(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """An alias must point at the copy of the version that it points at on the source."""
    rule = f"{source.kind}.aliases"
    pairs = links.of(VERSIONS[source.kind])
    ours, theirs = source.facets.get("aliases") or {}, target.facets.get("aliases") or {}
    found = []
    for alias in sorted(ours.keys() | theirs.keys()):
        mine, copy = ours.get(alias), theirs.get(alias)
        if mine is None:
            found.append(Difference(alias, State.EXTRA, rule, target=copy))
        elif copy is None:
            found.append(Difference(alias, State.MISSING, rule, source=mine))
        else:
            wanted = pairs.get(f"{source.entity_id}/{mine}")
            if wanted is None:
                note = f"version {mine}, which it points at, has no copy"
                found.append(Difference(alias, State.MISMATCH, rule, mine, copy, note))
            elif wanted != f"{target.entity_id}/{copy}":
                note = f"points at the wrong copy: that of version {mine} is {wanted.rpartition('/')[2]}"
                found.append(Difference(alias, State.MISMATCH, rule, mine, copy, note))
    return found


def compare_number(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """A version number may be another one only where a source tag keeps the original."""
    ours, theirs = source.facets.get("number"), target.facets.get("number")
    if ours == theirs:
        return []
    kept = (target.facets.get("tags") or {}).get(FIELD + "version")
    if source.kind == "model_version" and kept == str(ours):
        note = f"original kept in {FIELD}version"
        return [Difference("number", State.EXPECTED, "model_version.number.import", ours, theirs, note)]
    note = "renumbered, and no source tag keeps the original" if kept is None else f"source tag says {kept}"
    return [Difference("number", State.MISMATCH, f"{source.kind}.number", ours, theirs, note)]


def version_of_hop(source: Entity, target: Entity) -> Entity:
    """Return a version's copy with the source tags of the hop that began at the source."""
    ours, theirs = source.facets.get("tags") or {}, target.facets.get("tags") or {}
    named = {FIELD + "name": source.container, FIELD + "version": str(source.facets.get("number"))}
    tags = as_copy_of(theirs, ours, named)
    return target if tags == theirs else replace(target, facets={**target.facets, "tags": tags})


def compare_source_tags(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """Source tags on a version: each that is there must be true; name, version and run id say which it was."""
    rule = "model_version.source_tags"
    own, earlier = _exim_tags(target), _exim_tags(source)
    if own == earlier:
        same = source.facets.get("number") == target.facets.get("number")
        rule = "model_version.source_tags.not-created"
        return [Difference("", State.EXPECTED, rule)] if same and not own else []
    facets = source.facets
    status, times = facets.get("status") or {}, facets.get("times") or {}
    truth = {
        "name": source.container,
        "version": facets.get("number"),
        "description": facets.get("description"),
        "current_stage": facets.get("stage"),
        "source": facets.get("source"),
        "run_id": facets.get("run"),
        "model_id": facets.get("logged_model"),
        "user_id": facets.get("user"),
        "status": status.get("status"),
        "status_message": status.get("message"),
        "creation_timestamp": times.get("creation"),
        "last_updated_timestamp": times.get("update"),
    }
    found = []
    for name, value in truth.items():
        wanted, given = str(value), own.get(FIELD + name)
        nothing = wanted in ("", "None")
        if given is None:
            if name in ("name", "version") or (name == "run_id" and not nothing):
                found.append(Difference(FIELD + name, State.MISSING, rule, source=wanted))
        elif given != wanted and not (nothing and given in ("", "None")) and not (
            # the server itself may name the logged model in the version's source only
            name == "model_id" and given in ("", "None")
        ):  # fmt: skip
            found.append(Difference(FIELD + name, State.MISMATCH, rule, wanted, given))
    return found + compare_hops(earlier, own, rule, {one.key for one in found})


def _exim_tags(entity: Entity) -> dict[str, str]:
    return {key: value for key, value in (entity.facets.get("tags") or {}).items() if key.startswith(EXIM_PREFIX)}


def compare_source(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """The copy's source must be its own place: never the source server's run, model or store."""
    rule = "model_version.source"
    ours, theirs = source.facets.get("source") or "", target.facets.get("source") or ""
    wrong = _named(ours, theirs, links) or _foreign(source, theirs, links) or _another(source, ours, theirs, links)
    wrong = wrong or links.copy_places.another_server(theirs) or _another_folder(ours, theirs, links)
    if not wrong and ours and ours == theirs and "://" in ours and not _same_store(source, target, links):
        wrong = "the copy's files are in the source's place: they go when the source goes"
    if not wrong and ours and not theirs:
        wrong = "the copy names no place"
    if wrong:
        return [Difference("source", State.MISMATCH, rule, ours, theirs, wrong)]
    mine, copy = _referred(ours), _referred(theirs)
    if ours == theirs or (mine and copy and mine[0] == copy[0]):
        # what both name is each other's copy
        return []
    return [Difference("source", State.EXPECTED, f"{rule}.own-place", ours, theirs)]


def compare_storage(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """A version is loaded from the place that its source names, which is its own: never another's, nor the source's."""
    rule = "model_version.storage"
    ours, theirs = source.facets.get(STORAGE), target.facets.get(STORAGE)
    for side, place in (("source", ours), ("target", theirs)):
        if not place:
            note = f"where the version is loaded from was not read from the {side}"
            return [Difference("storage_location", State.UNVERIFIED, rule, ours, theirs, note)]
    assert ours
    assert theirs
    wrong = _foreign(source, theirs, links) or _another(source, ours, theirs, links)
    if not wrong and same_place(ours, theirs) and not is_relative(ours) and not _same_store(source, target, links):
        wrong = "the copy is loaded from the source's place: it goes when the source goes"
    mine, copy = _named_places(source, target, links)
    if not wrong and copy and not same_place(copy, theirs) and (not mine or same_place(mine, ours)):
        whose = next((one for one, places in links.places.items() if same_place(places[1], theirs)), "")
        wrong = f"the version's source is at {copy}" + (f"; this is the place of the copy of {whose}" if whose else "")
    if not wrong and not same_place(ours, theirs):
        wrong = links.copy_places.wrong(source.kind, (source.entity_id, target.entity_id), ours, theirs)
    if wrong:
        wrong = f"models:/{target.container}/{target.facets.get('number')} is loaded from there: {wrong}"
        return [Difference("storage_location", State.MISMATCH, rule, ours, theirs, wrong)]
    return [] if ours == theirs else [Difference("storage_location", State.EXPECTED, f"{rule}.own-place", ours, theirs)]


def _named_places(source: Entity, target: Entity, links: ObjectLinks) -> tuple[str, str]:
    """Return the places that the sources of a version and of its copy name; empty: they name what is not in scope."""
    named = tuple(str(side.facets.get("source") or "") for side in (source, target))
    mine, copy = map(_referred, named)
    if mine and copy and mine[0] == copy[0] == "logged_model" and links.of("logged_model").get(mine[1]) == copy[1]:
        folders = (uri.removeprefix(_MODELS).partition("/")[2] for uri in named)
        roots = links.places.get(mine[1], ("", ""))
        ours, theirs = (
            root and posixpath.join(root, folder).rstrip("/") for root, folder in zip(roots, folders, strict=True)
        )
        return ours, theirs
    ours, theirs = ("" if uri.startswith((_MODELS, "runs:/")) else uri for uri in named)
    return ours, theirs


def _referred(uri: str) -> tuple[str, str] | None:
    """Return kind and id of the object that a source ``models:/…`` names."""
    if not uri.startswith(_MODELS):
        return None
    first, _, rest = uri.removeprefix(_MODELS).partition("/")
    if first.startswith("m-"):
        return "logged_model", first
    return ("model_version", f"{first}/{rest}") if rest.isdigit() else None


def _named(ours: str, theirs: str, links: ObjectLinks) -> str:
    """Say what is wrong where both sides name a logged model or another version."""
    mine, copy = _referred(ours), _referred(theirs)
    if mine is None or copy is None or mine[0] != copy[0]:
        return ""
    kind, one = mine
    wanted = links.of(kind).get(one)
    if wanted is None:
        return f"{one} has no copy on the target" if links.stage(kind, one) == "active" else ""
    fitting = {wanted, *links.copies.get(kind, {}).get(one, ())}
    return "" if copy[1] in fitting else f"the copy of {one} is {wanted}"


def _foreign(source: Entity, theirs: str, links: ObjectLinks) -> str:
    """Say which run, logged model or store of the source a place on the target names."""
    for kind, pattern in (("run", _RUN_IDS), ("logged_model", _MODEL_IDS)):
        mine = source.facets.get(kind)
        known = links.runs.known if kind == "run" else links.known.get(kind, ())
        named = {one for one in pattern.findall(theirs) if one in known} | (
            {mine} if mine and mine in theirs else set()
        )
        if any(links.of(kind).get(one) != one for one in named):
            return f"names the source's {singular_of(kind)}: it goes when the source goes"
    return "is in the source's store: it goes when the source goes" if links.copy_places.in_source(theirs) else ""


def _another(source: Entity, ours: str, theirs: str, links: ObjectLinks) -> str:
    """Say which run or logged model it should name where the source names its own and the copy another one's."""
    for kind, pattern in (("run", _RUN_IDS), ("logged_model", _MODEL_IDS)):
        further = links.runs.copies if kind == "run" else links.copies.get(kind, {})
        pairs = links.of(kind)
        own = {one for one in (source.facets.get(kind), *pattern.findall(ours)) if one and one in ours and one in pairs}
        fitting = {copy for one in own for copy in (pairs[one], *further.get(one, ()))}
        named = set(pattern.findall(theirs))
        if own and named and not named & fitting:
            return f"names another {singular_of(kind)}: the copy of its own is {' or '.join(sorted(fitting))}"
    return ""


def _another_folder(ours: str, theirs: str, links: ObjectLinks) -> str:
    """Say which folders a run or logged model and its copy are named with, where these are not the same."""
    for kind, pattern in (("run", _RUN_IDS), ("logged_model", _MODEL_IDS)):
        pairs = links.of(kind)
        further = links.runs.copies if kind == "run" else links.copies.get(kind, {})
        for mine in pattern.finditer(ours):
            fitting = {pairs.get(mine[0]), *further.get(mine[0], ())}
            for copy in pattern.finditer(theirs):
                here, there = _folder(ours[mine.end() :]), _folder(theirs[copy.end() :])
                if copy[0] in fitting and here != there:
                    names = f"names {there or 'no folder'} in the copy of its {singular_of(kind)}"
                    return f"{names}, and the source {here or 'no folder'}"
    return ""


def _folder(rest: str) -> str:
    """Return a path in the files of a run or logged model, of what follows on its id."""
    return unquote(rest.strip("/").removeprefix("artifacts").strip("/"))


def _same_store(source: Entity, target: Entity, links: ObjectLinks) -> bool:
    """Whether a version is itself: under its own id, made by a run and logged model that are themselves."""
    return source.entity_id == target.entity_id and all(
        not source.facets.get(kind) or links.of(kind).get(source.facets[kind]) == source.facets[kind]
        for kind in ("run", "logged_model")
    )


RULE = "model_version.access"
_MLMODEL = "MLmodel"


def compare_access(source: ArtifactTree, target: ArtifactTree) -> list[Difference]:
    """Judge the target's files by themselves; the source's only tell whether a fault was there before.

    A file that could not be read is ``unverified``: the auditor may lack a right that others have.
    """
    if target.error is not None:
        note = f"its files could not be listed: {target.error}"
        return [Difference("", State.UNVERIFIED, RULE, note=note)]
    found = [
        Difference(file.path, State.UNVERIFIED, RULE, note=f"cannot be downloaded: {file.error}")
        for file in target.files
        if file.error is not None
    ]
    ours, theirs = ({file.path: file for file in tree.files}.get(_MLMODEL) for tree in (source, target))
    if theirs is None:
        if ours is not None:
            note = "a version without it cannot be loaded"
            found.append(Difference(_MLMODEL, State.MISSING, RULE, note=note, bound=(facts(ours), None)))
    elif theirs.error is None:
        if theirs.content is None:
            found.append(Difference(_MLMODEL, State.UNVERIFIED, RULE, note="too large to be parsed"))
        elif (reason := parses(theirs.content)) is not None:
            before = ours is not None and ours.content is not None and parses(ours.content) is not None
            if not before:
                bound = (None, told_bytes(theirs.content))
                found.append(Difference(_MLMODEL, State.MISMATCH, RULE, note=f"does not parse: {reason}", bound=bound))
    return found


def compare_resolved(source: Entity, target: Entity, answers: Iterable[Resolved]) -> list[Difference]:
    """Judge what the target answered for the aliases of one registered model or prompt; each must be asked for.

    An alias that the target does not list and does not resolve is missing, which the facet ``aliases`` says.
    """
    rule = f"{target.kind}.resolves"
    listed = target.facets.get("aliases") or {}
    found: list[Difference] = []
    told = {answer.alias: answer for answer in answers}
    for alias in sorted({*listed, *(source.facets.get("aliases") or {})}):
        wanted, answer = listed.get(alias), told.get(alias)
        if answer is None or answer.error is not None:
            why = "it was not asked for" if answer is None else f"it cannot be asked for: {answer.error}"
            found.append(Difference(alias, State.UNVERIFIED, rule, wanted, note=why))
        elif answer.version is None and wanted is not None:
            found.append(
                Difference(alias, State.MISSING, rule, wanted, note="the server lists it and does not resolve it")
            )
        elif answer.version != wanted:
            note = "the server resolves it to another version than its list says"
            found.append(Difference(alias, State.MISMATCH, rule, wanted, answer.version, note))
    return found
