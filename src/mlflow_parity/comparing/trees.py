"""Artifact trees of a pair of runs: paths, sizes, hashes; ``MLmodel`` as YAML through the pairing."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.comparing.file_evidence import FileEvidence, facts, told_bytes
from mlflow_parity.core.identity.sums import BY_CONTENT, BY_SIZE
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds.conventions.logged_images import newer_names

RULE = "run.artifacts"
MLMODEL_RULE = "run.artifacts.mlmodel"
IMAGE_RULE = "run.artifacts.images"
#: More nodes than this in one MLmodel is a bomb (aliases that multiply), not a model.
_MAX_NODES = 200_000
#: PyYAML's parser in C overflows the stack, and the process dies, where a document is nested deeply enough.
_MAX_DEPTH = 200
#: A number of more digits than this takes Python long to read, or cannot be printed.
_HUGE_NUMBER = re.compile(r"[-+]?[0-9.][0-9a-fA-FxXo_:.]{1000,}")
_MODEL_ID_KEYS = ("model_id", "model_uuid")
#: Places or ids of the source, each with the one that its copy has.
Places = Sequence[tuple[str, str]]


class Owner(Protocol):
    """Whose files are compared: a run, or a logged model or model version with the run that it belongs to."""

    @property
    def run_id(self) -> str:
        """Id of the run; empty when there is none."""
        ...

    @property
    def artifact_uri(self) -> str:
        """Where the files are."""
        ...


class ModelIds:
    """Model ids within one experiment: each source id must stand for one target id and the other way round.

    ``pairs`` are the logged models whose copies are known.
    """

    def __init__(self, pairs: Mapping[str, str] | None = None) -> None:
        self._to_target: dict[tuple[str, str], str] = {}
        self._to_source: dict[tuple[str, str], str] = {}
        self._known = frozenset(pairs or ())
        for source, target in (pairs or {}).items():
            self._to_target["model_id", source] = target
            self._to_source["model_id", target] = source

    @property
    def learned(self) -> dict[tuple[str, str], str]:
        """Ids of the target by key and id of the source, those that were not known from the start."""
        known = self._known
        return {at: one for at, one in self._to_target.items() if at[0] != "model_id" or at[1] not in known}

    def agree(self, key: str, source: str, target: str) -> bool:
        """Record a pair of ids; false when either already stands for another one."""
        return (
            self._to_target.setdefault((key, source), target) == target
            and self._to_source.setdefault((key, target), source) == source
        )


def compare_trees(
    source: ArtifactTree,
    target: ArtifactTree,
    source_run: Owner,
    target_run: Owner,
    pairs: Mapping[str, str],
    models: ModelIds,
    *,
    hashed: bool,
    rule: str = RULE,
    places: Places = (),
    images: bool = False,
    evidence: FileEvidence | None = None,
) -> list[Difference]:
    """Compare two artifact trees. ``hashed`` is false at depth ``listing``, where sizes are all there is.

    ``rule`` is the contract's rule for these files; that for ``MLmodel`` files is ``<rule>.mlmodel``. ``places`` are
    further places of the source that an ``MLmodel`` may name, each with that of its copy. ``images``: those that
    ``log_image`` made may have their newer names on the target. ``evidence`` says what proves that files are equal,
    and gets what did.
    """
    evidence = FileEvidence() if evidence is None else evidence
    renamed, target = _images(source, target) if images and rule == RULE else ({}, target)
    found = _compare_trees(source, target, source_run, target_run, pairs, models, places, evidence, hashed=hashed)
    wrong = {one.key for one in found}
    found += [
        Difference(path, State.EXPECTED, IMAGE_RULE, source=path, target=name)
        for path, name in renamed.items()
        if path not in wrong
    ]
    return found if rule == RULE else [replace(one, rule=one.rule.replace(RULE, rule, 1)) for one in found]


def _images(source: ArtifactTree, target: ArtifactTree) -> tuple[dict[str, str], ArtifactTree]:
    """Return old names whose files have their newer name on the target, and the target as if it had the old ones."""
    there = {file.path for file in target.files}
    names = newer_names([file.path for file in source.files])
    found = {path: name for path, name in names.items() if name in there and path not in there}
    old = {name: path for path, name in found.items()}
    files = (replace(file, path=old.get(file.path, file.path)) for file in target.files)
    return found, replace(target, files=tuple(files)) if found else target


def _compare_trees(
    source: ArtifactTree,
    target: ArtifactTree,
    source_run: Owner,
    target_run: Owner,
    pairs: Mapping[str, str],
    models: ModelIds,
    places: Places,
    evidence: FileEvidence,
    *,
    hashed: bool,
) -> list[Difference]:
    unread = [
        Difference("", State.UNVERIFIED, RULE, note=f"the {side}'s artifacts could not be listed: {tree.error}")
        for side, tree in (("source", source), ("target", target))
        if tree.error is not None
    ]
    if unread:
        return unread
    ours = {file.path: file for file in source.files}
    theirs = {file.path: file for file in target.files}
    found = [
        Difference(path, State.UNVERIFIED, RULE, note=f"on the {side}: {file.error}")
        for side, files in (("source", ours), ("target", theirs))
        for path, file in files.items()
        if file.is_folder
    ]
    # nothing is known of what is in a folder that one side could not list
    unknown = tuple(one.key for one in found)
    for path in sorted(ours.keys() | theirs.keys()):
        if path.startswith(unknown):
            continue
        mine, copy = ours.get(path), theirs.get(path)
        if copy is None and mine is not None:
            found.append(Difference(path, State.MISSING, RULE, source=facts(mine)))
        elif mine is None and copy is not None:
            found.append(Difference(path, State.EXTRA, RULE, target=facts(copy)))
        elif mine is not None and copy is not None:
            found += _compare_files(mine, copy, source_run, target_run, pairs, models, places, evidence, hashed=hashed)
    return found


def _compare_files(
    mine: Artifact,
    copy: Artifact,
    source_run: Owner,
    target_run: Owner,
    pairs: Mapping[str, str],
    models: ModelIds,
    places: Places,
    evidence: FileEvidence,
    *,
    hashed: bool,
) -> list[Difference]:
    path = mine.path
    is_mlmodel = posixpath.basename(path) == "MLmodel"
    errors = [
        Difference(path, State.UNVERIFIED, RULE, note=f"the {side}'s file could not be read: {file.error}")
        for side, file in (("source", mine), ("target", copy))
        if file.error is not None
    ]
    if errors:
        return errors
    if not hashed:
        if mine.size is None or copy.size is None:
            return [Difference(path, State.UNVERIFIED, RULE, note="a size is not known; use --parity-depth digest")]
        if mine.size == copy.size:
            evidence.add(BY_SIZE, path)
            return []
        if is_mlmodel:
            note = "MLmodel is written again by the tool; only --parity-depth digest can compare it"
            return [Difference(path, State.UNVERIFIED, MLMODEL_RULE, note=note)]
        return [Difference(path, State.MISMATCH, RULE, facts(mine), facts(copy))]
    if is_mlmodel and mine.content is not None and copy.content is not None:
        # also when the bytes are equal: a verbatim copy names the source's run id, which is wrong there
        found = compare_mlmodel(path, mine.content, copy.content, source_run, target_run, pairs, models, places)
        if all(one.state.green for one in found):
            evidence.add(BY_CONTENT, path)
        return found
    return evidence.compare(mine, copy, RULE)


def compare_mlmodel(
    path: str,
    mine: bytes,
    copy: bytes,
    source_run: Owner,
    target_run: Owner,
    pairs: Mapping[str, str],
    models: ModelIds,
    places: Places = (),
) -> list[Difference]:
    """Compare two ``MLmodel`` files as YAML, ids through the pairing."""
    import yaml

    try:
        ours, theirs = load_mlmodel(mine), load_mlmodel(copy)
        moved = [(source_run.artifact_uri, target_run.artifact_uri), *places, (source_run.run_id, target_run.run_id)]
        expected = _through(ours, [(old, new) for old, new in moved if old], _Budget())
        actual = _through(theirs, (), _Budget())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if mine == copy:
            return []
        note = f"bytes differ and it cannot be compared as YAML: {_reason(error)}"
        sizes = f"{len(mine)} bytes", f"{len(copy)} bytes"
        return [Difference(path, State.MISMATCH, RULE, *sizes, note, (told_bytes(mine), told_bytes(copy)))]
    if not (isinstance(expected, dict) and isinstance(actual, dict)):
        return [] if mine == copy else [Difference(path, State.MISMATCH, RULE, expected, actual)]
    found = _compare_ids(path, expected, actual, source_run, target_run, pairs, models)
    for key in sorted(expected.keys() | actual.keys()):
        if key not in actual:
            found.append(Difference(f"{path}: {key}", State.MISSING, MLMODEL_RULE, source=expected[key]))
        elif key not in expected:
            found.append(Difference(f"{path}: {key}", State.EXTRA, MLMODEL_RULE, target=actual[key]))
        elif not _same(expected[key], actual[key]):
            found.append(Difference(f"{path}: {key}", State.MISMATCH, MLMODEL_RULE, expected[key], actual[key]))
    if not found and mine != copy:
        return [Difference(path, State.EXPECTED, MLMODEL_RULE, note="equal as YAML through the pairing")]
    return found


def _compare_ids(
    path: str,
    expected: dict[str, Any],
    actual: dict[str, Any],
    source_run: Owner,
    target_run: Owner,
    pairs: Mapping[str, str],
    models: ModelIds,
) -> list[Difference]:
    """Compare and take out the ids at the top level; the tool adds ``run_id`` where there was none."""
    found: list[Difference] = []
    original, copied = expected.pop("run_id", None), actual.pop("run_id", None)
    if original is None:
        wanted: Any = target_run.run_id
    elif original == source_run.run_id:
        wanted = pairs.get(str(original), target_run.run_id)
    else:
        wanted = pairs.get(str(original), original)
    if copied != wanted and not (original is None and copied is None):
        state = State.MISSING if copied is None else State.MISMATCH
        found.append(Difference(f"{path}: run_id", state, MLMODEL_RULE, wanted, copied, "not the copy of its run"))
    for key in _MODEL_ID_KEYS:
        mine, copy = expected.pop(key, None), actual.pop(key, None)
        if (mine is None) != (copy is None):
            state = State.MISSING if copy is None else State.EXTRA
            found.append(Difference(f"{path}: {key}", state, MLMODEL_RULE, mine, copy))
        elif mine is not None and not models.agree(key, str(mine), str(copy)):
            note = "ids do not map one to one within the experiment"
            found.append(Difference(f"{path}: {key}", State.MISMATCH, MLMODEL_RULE, mine, copy, note))
    return found


@lru_cache(maxsize=1)
def _loader() -> Any:
    """Return the safe loader, guarded against merge keys (``<<``) that double with each level."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]  # which base there is depends on how PyYAML was built
        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            if len(node.value) > _MAX_NODES:
                raise ValueError(f"more than {_MAX_NODES} nodes")

    return Loader


def load_mlmodel(content: bytes) -> Any:
    """Load one YAML document; nothing in it can hang or kill the process.

    Raises:
        yaml.YAMLError: when it is not YAML.
        ValueError: when it is too deep or too large to be a model.
    """
    import yaml

    loader = _loader()
    depth = nodes = 0
    for event in yaml.parse(content, loader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        if nodes > _MAX_NODES:
            raise ValueError(f"more than {_MAX_NODES} nodes")
        scalar = event if isinstance(event, yaml.ScalarEvent) else None
        if scalar and (not scalar.style or scalar.tag) and _HUGE_NUMBER.fullmatch(scalar.value):
            raise ValueError("a number of more than 1,000 digits")
    return yaml.load(content, loader)  # noqa: S506  (a safe loader)


def parses(content: bytes) -> str | None:
    """Return why an ``MLmodel`` is no YAML mapping of a sane size, or ``None`` when it is one."""
    import yaml

    try:
        found = load_mlmodel(content)
        # aliases written out: a document of a few lines may stand for a billion nodes
        _through(found, (), _Budget())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return _reason(error)
    return None if isinstance(found, dict) else "it is not a mapping"


def _reason(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def without_ids(content: bytes, own: Sequence[str]) -> str:
    """Return an ``MLmodel`` as text that is the same for a model and its copy; ``own``: its place and ids."""
    import yaml

    try:
        found = load_mlmodel(content)
        if not isinstance(found, dict):
            return repr(content)
        for key in ("run_id", "artifact_path", *_MODEL_ID_KEYS):
            found.pop(key, None)
        text = str(yaml.safe_dump(found, width=1_000_000))
    except (yaml.YAMLError, RecursionError, ValueError):
        return repr(content)
    for one in own:
        text = text.replace(one, "")
    return text


class _Budget:
    """Counts nodes, so that a document of aliases cannot grow without end."""

    def __init__(self) -> None:
        self.left = _MAX_NODES

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {_MAX_NODES} nodes")


def _through(value: Any, moved: Places, budget: _Budget) -> Any:
    """Copy a document; the source's places and run id below the top level become the target's."""
    budget.spend()
    if isinstance(value, dict):
        items = {
            _key(key): item if key == "run_id" and isinstance(item, str) else _through(item, moved, budget)
            for key, item in value.items()
        }
        if len(items) < len(value):
            raise ValueError("keys of several types that look alike")
        return items
    if isinstance(value, list):
        return [_through(item, moved, budget) for item in value]
    if isinstance(value, str):
        for old, new in moved:
            value = value.replace(old, new)
    return value


def _key(key: Any) -> str:
    """Return a key as text that tells 1 from "1" and from true."""
    return key if isinstance(key, str) else f"!!{type(key).__name__} {key!r}"


def _same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from True and 1.0, and for which NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right or (left != left and right != right))
