"""What of a snapshot is incomplete: one answer for whoever takes one, exports one or rests a decision on one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from mlflow_parity.kinds import KINDS, singular_of
from mlflow_parity.snapshot import FILES_PART, PARTS, SERVER, SERVER_PARTS, Part

if TYPE_CHECKING:
    from mlflow_parity.core.records import ArtifactTree, Experiment
    from mlflow_parity.snapshot.store import PlaceObjects, Snapshot, SnapshotView
import json
from collections.abc import Mapping

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlflow_parity.core.identity.sums import identity
from mlflow_parity.core.text import noun
from mlflow_parity.snapshot.moved import came_since
from mlflow_parity.snapshot.store import Snapshot

#: Parts that hang on runs, which :class:`SnapshotView` answers for.
_OF_RUNS: tuple[Part, ...] = ("runs", "metrics", "artifacts")
#: Parts in which everything is listed: what is left out hangs on an object that one of these names.
LISTS: tuple[Part, ...] = ("runs", "logged_models", "traces", "scorers")
SERVER_LISTS: tuple[Part, ...] = tuple(part for part in SERVER_PARTS if part != "version_files")
#: Lines that tell of each kind; the rest is counted.
_LINES = 20


@dataclass(frozen=True, slots=True)
class Unread:
    """Something of the source that is not in the snapshot, and why; ``source_id`` is empty for a whole listing."""

    kind: str
    source_id: str
    name: str
    why: str

    def __str__(self) -> str:
        if self.kind == "server":
            return f"{self.name} of the server: {self.why}"
        return f'{singular_of(self.kind)} "{self.name}" ({self.source_id}): {self.why}'


def incomplete(
    snapshot: Snapshot, experiments: Iterable[Experiment] | None = None, *, include_deleted: bool
) -> Iterator[Unread]:
    """Yield everything in scope that was not read, or not in full; nothing: the snapshot can stand for the server.

    ``experiments`` are those in scope, where it holds others.
    """
    if snapshot.origin.hidden:
        yield Unread("server", "", "what this user may not see", snapshot.origin.hidden)
    here = snapshot.experiments if experiments is None else list(experiments)
    yield from of_moved(snapshot, snapshot.moved.came if experiments is None else (), here)
    for experiment in here:
        yield from of_experiment(snapshot, experiment, include_deleted=include_deleted)
    yield from of_server(snapshot)


def of_moved(snapshot: Snapshot, came: Iterable[Experiment], experiments: Iterable[Experiment]) -> Iterator[Unread]:
    """Yield what moved on the server while it was read, of those that ``came`` and of those that were there."""
    for late in came:
        yield Unread("experiment", late.experiment_id, late.name, came_since())
    for experiment in experiments:
        for why in snapshot.moved.of.get(experiment.experiment_id, {}).values():
            yield Unread("experiment", experiment.experiment_id, experiment.name, why)


def of_experiment(snapshot: Snapshot, experiment: Experiment, *, include_deleted: bool) -> Iterator[Unread]:
    """Yield what is not there of an experiment; whole lists first, which are told as the experiment's."""
    yield from _parts_of(snapshot, experiment, PARTS)
    yield from _of_runs(snapshot.view(experiment), include_deleted=include_deleted)
    yield from _of_objects(snapshot.objects(experiment.experiment_id), of_experiments=True)


def of_server(snapshot: Snapshot) -> Iterator[Unread]:
    """Yield what is not there of that which belongs to no experiment."""
    yield from _parts_of_server(snapshot, SERVER_PARTS)
    yield from _of_objects(snapshot.objects(SERVER), of_experiments=False)


def unlisted(snapshot: Snapshot, experiments: Iterable[Experiment]) -> Iterator[Unread]:
    """Yield the lists that were not read, where only lists were asked for: all of :data:`LISTS`."""
    for experiment in experiments:
        yield from _parts_of(snapshot, experiment, LISTS)
    yield from _parts_of_server(snapshot, SERVER_LISTS)


def _parts_of(snapshot: Snapshot, experiment: Experiment, parts: Iterable[Part]) -> Iterator[Unread]:
    place = experiment.experiment_id
    view, objects = snapshot.view(experiment), snapshot.objects(place)
    for part in parts:
        problem = view.problem(part) if part in _OF_RUNS else objects.problem(part)
        # no server lists the scorers of a deleted experiment
        if problem is not None and (part != "scorers" or experiment.lifecycle_stage != "deleted"):
            yield Unread("experiment", place, experiment.name, f"its {part} could not be read: {problem}")


def _parts_of_server(snapshot: Snapshot, parts: Iterable[Part]) -> Iterator[Unread]:
    objects = snapshot.objects(SERVER)
    for part in parts:
        problem = objects.problem(part)
        if problem is not None:
            yield Unread("server", "", part, problem)


def told(found: Iterable[Unread]) -> list[str]:
    """Return a line for each object and list, and of what is many a count."""
    lines: list[str] = []
    count = Counter[str]()
    # each list of an experiment has a line of its own; all that one object lacks comes together
    for _, of_one in groupby(found, key=_together):
        first, *rest = of_one
        count[first.kind] += 1
        if count[first.kind] <= _LINES:
            lines.append(f"{first} (and {len(rest):,} more of it)" if rest else str(first))
    more = {kind: number - _LINES for kind, number in count.items() if number > _LINES}
    return lines + [f"… and {number:,} more of the kind {kind}" for kind, number in more.items()]


def _together(one: Unread) -> tuple[str, str, str]:
    return one.kind, one.source_id or one.name, one.why if one.kind == "experiment" else ""


def _of_runs(view: SnapshotView, *, include_deleted: bool) -> Iterator[Unread]:
    if view.problem("runs") is not None:
        return
    histories, files = (view.problem(part) is None for part in ("metrics", "artifacts"))
    hashed = view.depth != "listing"
    for run in view.all_runs():
        if run.lifecycle_stage == "deleted" and not include_deleted:
            continue
        reasons: list[str] = []
        if histories:
            read = view.histories(run.run_id)
            reasons += [
                f"the history of {key!r} could not be read: {history.error}"
                for key, history in read.items()
                if history.error is not None
            ]
            reasons += [f"the history of {key!r} was not read" for key in run.metrics if key not in read]
        if files:
            reasons += _of_tree(view.artifacts(run.run_id), hashed=hashed)
        if run.model_inputs is None or run.model_outputs is None:
            cause = view.links_problem()
            because = "" if cause is None else f": {cause}"
            reasons.append(f"the logged models that it used and made could not be read{because}")
        for why in reasons:
            yield Unread("run", run.run_id, run.name, why)


def _of_objects(objects: PlaceObjects, *, of_experiments: bool) -> Iterator[Unread]:
    for kind in KINDS.values():
        if (kind.family == "experiment") is not of_experiments or objects.problem(kind.part) is not None:
            continue
        keys = objects.keys(kind.name)
        for key in keys:
            if key.error is not None:
                yield Unread(kind.name, key.entity_id, key.name, key.error)
        files = FILES_PART.get(kind.name)
        if files is None or objects.problem(files) is not None:
            continue
        hashed = objects.depth(files) != "listing"
        for key in keys:
            tree = objects.files(kind.name, key.entity_id)
            if key.error is not None:
                # said above: which attachments a trace has is not known without its spans
                tree = replace(tree, error=None)
            for why in _of_tree(tree, hashed=hashed):
                yield Unread(kind.name, key.entity_id, key.name, why)


def _of_tree(tree: ArtifactTree, *, hashed: bool) -> list[str]:
    whole = [] if tree.error is None else [f"its files could not be listed: {tree.error}"]
    found = [
        f"folder {file.path!r}: {file.error}"
        if file.is_folder
        else f"file {file.path!r} could not be read: {file.error}"
        for file in tree.files
        if file.error
    ]
    if hashed:
        found += [f"file {one.path!r} was not hashed" for one in tree.files if not one.error and identity(one) is None]
    return whole + found


#: Secrets, by the kind that has them.
_SECRETS: Mapping[str, str] = {
    "webhook": "secrets of webhooks",
    "gateway_secret": "values of gateway secrets",
}
_ARCHIVES = "archived traces"
_TAG, _ARCHIVED = "mlflow.trace.spansLocation", "ARCHIVE_REPO"


def by_hand(snapshot: Snapshot, experiments: list[str] | None = None) -> dict[str, int | None]:
    """Return the counts that are not zero, by plural; ``None``: there may be some, and nobody could count them.

    ``experiments`` are the ids of those in scope; all of the snapshot where they are not named.
    """
    found: dict[str, int | None] = dict(snapshot.origin.accounts)
    server = snapshot.objects(SERVER)
    for kind, plural in _SECRETS.items():
        part = KINDS[kind].part
        if server.problem(part) is None:
            found[plural] = server.counts().get(KINDS[kind].plural, 0)
    ids = [one.experiment_id for one in snapshot.experiments] if experiments is None else experiments
    found[_ARCHIVES] = sum(_archived(snapshot, place) for place in ids)
    return {plural: count for plural, count in found.items() if count != 0}


def sentence(counts: Mapping[str, int | None]) -> str:
    """Return the counts in words: ``3 users, 1 role, permissions (not counted)``."""
    return ", ".join(
        f"{plural} (not counted)" if count is None else f"{count:,} {noun(count, plural)}"
        for plural, count in counts.items()
    )


def _archived(snapshot: Snapshot, place: str) -> int:
    """Count the traces of an experiment whose spans were in an archive, batch by batch."""
    path = snapshot.folder(place) / f"{KINDS['trace'].part}.parquet"
    if snapshot.objects(place).problem(KINDS["trace"].part) is not None:
        return 0
    return sum(_is_archived(tags) for tags in _tags(str(path)))


def _tags(path: str) -> Iterator[str]:
    """Yield the tags, as JSON, of the traces that may be archived."""
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(columns=["facets"]):
        column = batch.column("facets")
        tags = pc.map_lookup(column, "tags", "first")
        yield from tags.filter(pc.match_substring(tags, _ARCHIVED)).to_pylist()


def _is_archived(tags: str) -> bool:
    return bool(json.loads(tags).get(_TAG) == _ARCHIVED)
