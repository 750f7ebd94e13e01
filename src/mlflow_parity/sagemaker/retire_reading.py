"""Reads what a server that is to be retired, and its copy, hold now, as the audit of the report read them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow_parity.audit.renames import RenamedReader
from mlflow_parity.audit.side import Side
from mlflow_parity.core.errors import SnapshotError, UsageProblem
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.locations import Location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import visible
from mlflow_parity.kinds import KINDS
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.kept.evidence import Evidence
from mlflow_parity.reporting.progress import Progress
from mlflow_parity.sagemaker.retire_lists import Lists
from mlflow_parity.snapshot import PARTS, SERVER, SERVER_PARTS
from mlflow_parity.snapshot.incomplete import LISTS, SERVER_LISTS, incomplete, told, unlisted

if TYPE_CHECKING:
    from mlflow_parity.audit.renames import Renames
    from mlflow_parity.core.records import Experiment
    from mlflow_parity.reading import Reader

#: Statuses of runs that may still be written to, and how many of them are named.
_AT_WORK = ("RUNNING", "SCHEDULED")
_NAMED = 5
_COUNTS = {"runs": "runs", "points": "points", "artifacts": "files"}


@dataclass(frozen=True, slots=True)
class State:
    """A server as it is now; ``counts`` as in the report; ``trash`` counts what an audit without deleted ones omits."""

    digest: str
    counts: Mapping[str, int]
    trash: Mapping[str, int]
    unread: tuple[str, ...]
    running: tuple[str, ...] = ()
    """Names of runs that have not ended, the first of them."""
    all_running: int = 0


def read_state(
    server: Location, evidence: Evidence, workers: int, allowed: Sequence[str] = (), lists: Lists | None = None
) -> State:
    """Read the source as the audit did (same parts, depth and scope), into a folder that is removed again.

    What it lists is taken down in ``lists``.

    Raises:
        ReadError: it does not answer.
    """
    with _reading("source", server, open_reader(server, "source", workers, allowed), evidence, whole=True) as (
        side,
        experiments,
    ):
        if lists is not None:
            lists.add("source", side, experiments)
        return _state(side, experiments, include_deleted=evidence.include_deleted)


def read_target(
    target: Location,
    evidence: Evidence,
    renames: Renames,
    lists: Lists,
    *,
    workers: int,
    allowed: Sequence[str],
    whole: bool,
) -> State:
    """Read what the target lists, or with ``whole`` all of it as the audit did, and take down what it lists.

    The digest is empty, and points and files are not counted, where only lists are read.

    Raises:
        ReadError: it does not answer.
    """
    reader: Reader = open_reader(target, "target", workers, allowed)
    if renames:
        reader = RenamedReader(reader, renames)
    with _reading("target", target, reader, evidence, whole=whole) as (side, experiments):
        lists.add("target", side, experiments)
        if whole:
            return _state(side, experiments, include_deleted=evidence.include_deleted)
        found, snapshot = Counter[str](experiments=len(experiments)), side.snapshot
        redact = Redactor.from_environment(also=target.secrets)
        unread = told(unlisted(snapshot, experiments))
        for experiment in experiments:
            found["runs"] += int(side.view(experiment).counts().get("runs", 0))
        for place in (*(experiment.experiment_id for experiment in experiments), SERVER):
            found.update(snapshot.objects(place).counts())
        kinds = [kind.plural for kind in KINDS.values()]
        counts_by_kind = {name: found[name] for name in ("experiments", "runs", *kinds)}
        return State("", counts_by_kind, {}, tuple(visible(redact(line)) for line in unread))


@contextmanager
def _reading(
    name: SideName, location: Location, reader: Reader, evidence: Evidence, *, whole: bool
) -> Iterator[tuple[Side, list[Experiment]]]:
    """Read a side into a folder that is there for the length of a ``with`` block; yield what of it was read, too."""
    progress = Progress(sys.stderr.write, isatty=sys.stderr.isatty())
    reader.evidence = evidence.files
    try:
        side = Side(name, location, reader)
        experiments = [
            experiment
            for experiment in side.experiments()
            if evidence.include_deleted
            or experiment.lifecycle_stage != "deleted"
            # a deleted one whose copy is not
            or experiment.name in evidence.experiments
        ]
        progress.expect(name, len(experiments))
        with Scratch() as folder, progress:
            side.read(
                folder / name,
                experiments,
                # all that is promised rests on all parts, and a report without a promise was refused
                (*PARTS, *SERVER_PARTS) if whole else (*LISTS, *SERVER_LISTS),
                evidence.depth if whole else "listing",
                include_deleted=evidence.include_deleted,
                count=lambda **counts: progress.add(name, **counts),
                model_links=whole,
            )
            yield side, experiments
    except SnapshotError as error:
        raise UsageProblem(f"what was read could not be kept for comparing: {error}") from None
    finally:
        reader.close()


def _state(side: Side, experiments: Sequence[Experiment], *, include_deleted: bool) -> State:
    """Say what was read of the experiments and of the server."""
    snapshot, found, trash = side.snapshot, Counter[str](), Counter[str]()
    running: list[str] = []
    at_work = 0
    unread = told(incomplete(snapshot, experiments, include_deleted=include_deleted))
    read = {experiment.experiment_id for experiment in experiments}
    found["experiments"] = len(read)
    for place in (*read, SERVER):
        found.update(snapshot.objects(place).counts())
    for experiment in side.experiments():
        if experiment.experiment_id not in read:
            trash["experiments"] += 1
            continue
        view = side.view(experiment)
        counts = view.counts()
        found.update({name: int(counts.get(key, 0)) for name, key in _COUNTS.items()})
        if view.problem("runs") is None:
            keys = view.run_keys()
            trash["runs"] += sum(key.deleted for key in keys)
            open_ = [key for key in keys if key.status in _AT_WORK and not key.deleted]
            at_work += len(open_)
            running += [f"{experiment.name} / {key.name} ({key.entity_id})" for key in open_[: _NAMED - len(running)]]
    kinds = [kind.plural for kind in KINDS.values()]
    counts_by_kind = {name: found[name] for name in ("experiments", *_COUNTS, *kinds)}
    redact = Redactor.from_environment(also=side.location.secrets)
    names = tuple(visible(redact(name)) for name in running)
    return State(snapshot.digest, counts_by_kind, trash, tuple(redact(line) for line in unread), names, at_work)
