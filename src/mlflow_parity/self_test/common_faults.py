"""Classes of faults that several kinds of object have: in texts, tags, links and files."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mlflow_parity.core.identity.sums import PARTS, alike, as_stated, of_other_bytes
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.core.scope import SAME_STORE, Depth
from mlflow_parity.kinds import FILES
from mlflow_parity.self_test.changes import TEXT, altered, renamed, without
from mlflow_parity.self_test.fault import MADE_UP, Fault, Scene

Texts = Callable[[Scene], tuple[Mapping[str, str], Mapping[str, str]]]
Put = Callable[[Scene, Mapping[str, str]], bool]
_MLMODEL = "MLmodel"


def text_faults(kind: str, facet: str, get: Callable[[Scene], Any], put: Callable[[Scene, Any], bool]) -> list[Fault]:
    """A text damaged in every way, lost, and made up where there is none; ``get`` gives the source's."""

    def damage(change: Callable[[str], str | None]) -> Callable[[Scene], bool]:
        def plant(scene: Scene) -> bool:
            text = get(scene)
            new = change(text) if isinstance(text, str) and text else None
            return new is not None and put(scene, new)

        return plant

    faults = [Fault(kind, facet, name, damage(change), "a text") for name, change in TEXT.items()]
    return [*faults, Fault(kind, facet, "lost", lambda scene: bool(get(scene)) and put(scene, ""), "a text")]


def value_faults(kind: str, facet: str, *, same_store_only: bool = False, lost: bool = True) -> list[Fault]:
    """A facet of JSON: one leaf altered; lost."""
    more = {"profiles": SAME_STORE} if same_store_only else {}
    faults = [
        Fault(kind, facet, "one value altered", lambda scene: scene.set_facet(facet, altered(scene.facet(facet)[0])),
              **more)  # type: ignore[arg-type]
    ]  # fmt: skip
    if lost:
        faults.append(
            Fault(kind, facet, "lost", lambda scene: bool(scene.facet(facet)[0]) and scene.set_facet(facet, None),
                  "a value", **more)  # type: ignore[arg-type]
        )  # fmt: skip
    return faults


def facet_text_faults(kind: str, facet: str) -> list[Fault]:
    """A facet that is one text."""
    return text_faults(
        kind, facet, lambda scene: scene.facet(facet)[0], lambda scene, text: scene.set_facet(facet, text)
    )


def name_faults(kind: str) -> list[Fault]:
    """The name of an object whose id is another: what it is called, and what it may be paired by."""

    def put(scene: Scene, text: str) -> bool:
        return scene.set_facet("name", text) and scene.change(name=text)

    return text_faults(kind, "name", lambda scene: scene.facet("name")[0], put)


def mapping_faults(kind: str, facet: str, get: Texts, put: Put, plain: Callable[[Scene, str], bool]) -> list[Fault]:
    """Tags or params: each of them may be lost, altered, renamed or swapped; ``plain`` says which are the facet's."""

    def first(scene: Scene, fits: Callable[[str], bool] = bool) -> str | None:
        ours, theirs = get(scene)
        shared = scene.keys(facet, (key for key in ours if key in theirs and plain(scene, key)))
        return next((key for key in shared if fits(ours[key])), None)

    def lost(scene: Scene) -> bool:
        key = first(scene, lambda _: True)
        return key is not None and put(scene, without(get(scene)[1], key))

    def value(change: Callable[[str], str | None]) -> Callable[[Scene], bool]:
        def plant(scene: Scene) -> bool:
            key = first(scene, lambda text: bool(text) and change(text) is not None)
            return key is not None and put(scene, {**get(scene)[1], key: change(get(scene)[0][key]) or ""})

        return plant

    def key_in(change: Callable[[str], str | None]) -> Callable[[Scene], bool]:
        def plant(scene: Scene) -> bool:
            ours, theirs = get(scene)
            for key in scene.keys(facet, ours):
                new = change(key) if key and key in theirs and plain(scene, key) else None
                if new is not None and new not in ours and new not in theirs:
                    return put(scene, renamed(theirs, key, new))
            return False

        return plant

    def swapped(scene: Scene) -> bool:
        ours, theirs = get(scene)
        keys = scene.keys(facet, (key for key in ours if key in theirs and plain(scene, key)))
        two = next(((one, two) for one in keys[:1] for two in keys[1:] if ours[one] != ours[two]), None)
        return two is not None and put(scene, {**theirs, two[0]: ours[two[1]], two[1]: ours[two[0]]})

    def extra(scene: Scene) -> bool:
        theirs = get(scene)[1]
        return "parity-self-test" not in theirs and put(scene, {**theirs, "parity-self-test": "x"})

    what = f"one of its {facet}"
    return [
        Fault(kind, facet, "one lost", lost, what),
        Fault(kind, facet, "one too many", extra),
        *(Fault(kind, facet, f"a value: {name}", value(change), what) for name, change in TEXT.items()),
        Fault(kind, facet, "a key in another case", key_in(TEXT["in another case"]), what),
        Fault(kind, facet, "a key in another Unicode form", key_in(TEXT["in another Unicode form"]), what),
        Fault(kind, facet, "two values swapped", swapped, "two that differ"),
    ]  # fmt: skip


def link_faults(kind: str, facet: str, to: str) -> list[Fault]:
    """A link to an object of the kind ``to``: wrong, the source's own, lost, made up."""
    fake = f"m-{MADE_UP}" if to == "logged_model" else MADE_UP

    def stale(scene: Scene) -> bool:
        ours = scene.facet(facet)[0]
        if not ours or scene.links.of(to).get(ours, ours) == ours:
            return False
        scene.set_facet(facet, ours)
        return True

    def lost(scene: Scene) -> bool:
        # a link to what is gone on the source may go
        ours = scene.facet(facet)[0]
        return bool(ours) and ours in scene.links.of(to) and scene.set_facet(facet, None)

    return [
        Fault(kind, facet, "to another one", lambda scene: bool(scene.facet(facet)[0]) and scene.set_facet(facet, fake),
              "a link"),
        Fault(kind, facet, "still to the source's", stale, "a link to an object with a new id"),
        Fault(kind, facet, "lost", lost, "a link"),
        Fault(kind, facet, "made up", lambda scene: not scene.facet(facet)[0] and scene.set_facet(facet, fake),
              "an object without such a link"),
    ]  # fmt: skip


def file_faults(kind: str, facet: str) -> list[Fault]:
    """Files of a run, logged model or model version."""

    def fault(name: str, change: Callable[[Scene, dict[str, Artifact]], bool], needs: str, depth: Depth = "listing",
              ) -> Fault:  # fmt: skip
        def plant(scene: Scene) -> bool:
            ours, theirs = scene.source.tree(kind, scene.one), scene.target.tree(kind, scene.copy)
            if ours.error is not None or theirs.error is not None:
                return False
            files = {file.path: file for file in theirs.files}
            done = change(scene, files)
            ordered = tuple(sorted(files.values(), key=lambda file: file.path))
            scene.target.trees[kind, scene.copy] = replace(theirs, files=ordered)
            return done

        return Fault(kind, facet, name, plant, needs, depth)

    def unlisted(scene: Scene) -> bool:
        scene.target.trees[kind, scene.copy] = ArtifactTree(scene.copy, (), "the self-test says so")
        return True

    return [
        fault("one lost", _lost, "a file"),
        fault("one too many", _extra, ""),
        fault("an empty one where there is none", _empty, ""),
        fault("one byte altered", _one_byte, "a file", "digest"),
        fault("other bytes by a checksum that its store states", _stated(_altered), "a file", "digest"),
        fault("other bytes of which its store states nothing", _stated(_silent), "a file", "digest"),
        fault("other bytes sent to its store in other parts", _stated(_in_other_parts), "a file", "digest"),
        fault("one byte short", _short, "a file that is not empty"),
        fault("a name in another case", _renamed(TEXT["in another case"]), "a file with letters in its name"),
        fault("a name in another Unicode form", _renamed(TEXT["in another Unicode form"]), "a file name with accents"),
        fault("two swapped", _swapped, "two files that differ"),
        fault("one that cannot be read", _unreadable, "a file"),
        fault("an MLmodel altered", _mlmodel(lambda text: text.rstrip() + b"\nparity_self_test: x\n"), "an MLmodel",
              "digest"),
        fault("an MLmodel that names another run", _other_run, "an MLmodel that names its run", "digest"),
        Fault(kind, facet, "not to be listed", unlisted),
    ]  # fmt: skip


def _plain(scene: Scene, files: Mapping[str, Artifact]) -> list[Artifact]:
    """Files of the copy that are known to be as they are on the source, but no ``MLmodel``."""
    ours = {file.path: file for file in scene.source.tree(scene.kind, scene.one).files}
    found = [
        file
        for path, file in files.items()
        if posixpath.basename(path) != _MLMODEL and path in ours and file.error is None and ours[path].error is None
        and file.size is not None and file.size == ours[path].size and alike(file, ours[path])
    ]  # fmt: skip
    facet = "artifacts" if scene.kind == "run" else FILES[scene.kind]
    return sorted(found, key=lambda file: scene.waived(facet, file.path))


def _altered(file: Artifact, *, size: int | None = None) -> Artifact:
    """Return a file as if it had other bytes: each of its checksums is another one, whoever told it."""
    sha256 = file.sha256 and hashlib.sha256(f"{file.sha256} altered".encode()).hexdigest()
    return replace(
        file, size=file.size if size is None else size, sha256=sha256, sums=of_other_bytes(file.sums), content=None
    )


def _lost(scene: Scene, files: dict[str, Artifact]) -> bool:
    found = _plain(scene, files)
    return bool(found) and files.pop(found[0].path) is not None


def _extra(scene: Scene, files: dict[str, Artifact]) -> bool:
    files["parity-self-test.bin"] = Artifact("parity-self-test.bin", 1, hashlib.sha256(b"x").hexdigest())
    return True


def _empty(scene: Scene, files: dict[str, Artifact]) -> bool:
    files["parity-self-test/empty"] = Artifact("parity-self-test/empty", 0, hashlib.sha256().hexdigest())
    return True


def _one_byte(scene: Scene, files: dict[str, Artifact]) -> bool:
    for file in _plain(scene, files):
        if file.size and (file.sha256 or file.sums):
            files[file.path] = _altered(file)
            return True
    return False


def _stated(change: Callable[[Artifact], Artifact]) -> Callable[[Scene, dict[str, Artifact]], bool]:
    """A file whose bytes nobody read: all that is known of it is what a store states, and that is changed."""

    def plant(scene: Scene, files: dict[str, Artifact]) -> bool:
        for file in _plain(scene, files):
            if file.size and (file.sha256 or file.sums):
                files[file.path] = change(replace(file, sums=as_stated(file.sums), content=None))
                return True
        return False

    return plant


def _silent(file: Artifact) -> Artifact:
    return replace(file, sha256=None, sums=as_stated(""))


def _in_other_parts(file: Artifact) -> Artifact:
    md5 = hashlib.md5(f"{file.path} in parts".encode(), usedforsecurity=False).hexdigest()
    return replace(file, sha256=None, sums=f"{as_stated('')} {PARTS}={md5}-2")


def _short(scene: Scene, files: dict[str, Artifact]) -> bool:
    for file in _plain(scene, files):
        if file.size:
            files[file.path] = _altered(file, size=file.size - 1)
            return True
    return False


def _renamed(change: Callable[[str], str | None]) -> Callable[[Scene, dict[str, Artifact]], bool]:
    def plant(scene: Scene, files: dict[str, Artifact]) -> bool:
        for file in _plain(scene, files):
            new = change(file.path)
            if new is not None and new not in files:
                del files[file.path]
                files[new] = replace(file, path=new)
                return True
        return False

    return plant


def _swapped(scene: Scene, files: dict[str, Artifact]) -> bool:
    found = _plain(scene, files)
    for one in found[:1]:
        for two in found[1:]:
            if one.size != two.size or not alike(one, two):
                files[one.path], files[two.path] = replace(two, path=one.path), replace(one, path=two.path)
                return True
    return False


def _unreadable(scene: Scene, files: dict[str, Artifact]) -> bool:
    for file in _plain(scene, files):
        files[file.path] = Artifact(file.path, file.size, error="the self-test says so")
        return True
    return False


def _mlmodel(change: Callable[[bytes], bytes]) -> Callable[[Scene, dict[str, Artifact]], bool]:
    def plant(scene: Scene, files: dict[str, Artifact]) -> bool:
        for path, file in files.items():
            if posixpath.basename(path) == _MLMODEL and file.content is not None and file.error is None:
                new = change(file.content)
                if new != file.content:
                    digest = hashlib.sha256(new).hexdigest()
                    files[path] = replace(file, content=new, size=len(new), sha256=digest, sums="")
                    return True
        return False

    return plant


def _other_run(scene: Scene, files: dict[str, Artifact]) -> bool:
    run = scene.copy if scene.kind == "run" else scene.facet("run")[1]
    if not run:
        return False
    return _mlmodel(lambda text: text.replace(f"run_id: {run}".encode(), f"run_id: {MADE_UP}".encode()))(scene, files)


def presence_faults(kind: str, *, duplicate: bool) -> list[Fault]:
    """The object itself (not experiments, runs and registered names): lost, one too many, twice."""

    def missing(scene: Scene) -> bool:
        scene.gone()
        return True

    def clone(scene: Scene, **fields: Any) -> bool:
        theirs = scene.entity[1]
        new = replace(theirs, entity_id=f"{theirs.entity_id}-{MADE_UP}", **fields)
        scene.target.entities[kind, new.entity_id] = new
        scene.target.stands_for[new.entity_id] = theirs.entity_id
        return True

    def extra(scene: Scene) -> bool:
        return clone(scene, name=f"{scene.entity[1].name} (parity-self-test)")

    faults = [Fault(kind, "presence", "lost", missing), Fault(kind, "presence", "one too many", extra)]
    return [*faults, Fault(kind, "presence", "there twice", clone)] if duplicate else faults
