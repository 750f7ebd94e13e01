"""Gives experiments out to the workers of a cluster, and takes back what they know of what they moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mlflow_parity.cluster.dask_cluster import ClusterFailed, DaskCluster, Given, Words
from mlflow_parity.cluster.shared_place import unpacked
from mlflow_parity.core.errors import ReadError, UsageProblem
from mlflow_parity.core.local.files import make_inside
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.workers.job import (
    BYTES,
    JOB,
    JOURNAL,
    MANIFEST,
    RENAMES,
    SNAPSHOT,
    TOLD,
    TOOL_FILES,
    Piece,
    write_job,
)
from mlflow_parity.migrating.workers.journals import Answers, lines_of_server
from mlflow_parity.migrating.workers.moving import move
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import PARTS

if TYPE_CHECKING:
    from mlflow_parity.migrating.opening import Ends

_AGAIN = "run the same command again"
_WORDS = Words(
    option="--",
    does="move",
    lost="the journal says how far it came",
    again=_AGAIN,
)
#: Pieces for each worker, at least: who is done first is not to wait for the others.
_EACH = 4


@dataclass(slots=True)
class Workers:
    """The workers of a migration; ``ends`` has the folder of the export, the journal and the target."""

    ends: Ends
    leave: bool
    """Whether bytes stay in the source's S3, which is to copy them."""
    _said: set[str] = field(default_factory=set)

    def moved(self, experiments: Sequence[Experiment]) -> Iterator[Sequence[Experiment]]:
        """Have experiments moved; yield those of a piece once they are on the target and in the export.

        Raises:
            UsageProblem: there are no workers, or one of them cannot move a piece.
            ReadError: a server does not answer a worker, or the cluster is gone.
        """
        settings = self.ends.settings
        given = Given(settings.dask_scheduler, settings.dask_dir, settings.workers)
        with Scratch() as scratch:
            answers = Answers(self.ends.journal, lambda lines: self._share(cluster, scratch, lines))
            cluster = DaskCluster[Piece](
                given, scratch, settings.redactor, _WORDS, move, lambda piece: piece.told, answers
            )
            with closing(cluster):
                try:
                    count = cluster.open(self._files(scratch))
                    pieces = _pieces(experiments, count, settings.batch_size)
                    answers.begin([piece.experiments for piece in pieces])
                    of = {one.experiment_id: one for one in experiments}
                    for piece, archive in cluster.work(pieces):
                        self._take_in(piece, archive, scratch / "moved")
                        yield [of[one] for one in piece.experiments]
                except ClusterFailed as error:
                    raise ReadError(str(error)) from None
                finally:
                    # whoever is at work stops before its next request
                    answers.hear_nobody()

    def _files(self, scratch: Path) -> dict[str, Path]:
        """Return what every worker needs, by the names under which it gets them."""
        job, lines = scratch / JOB, scratch / JOURNAL
        write_job(job, self.ends.settings, leave=self.leave)
        _write_lines(lines, lines_of_server(self.ends.journal))
        files = {JOB: job, JOURNAL: lines, MANIFEST: self.ends.folder.snapshot_root / MANIFEST}
        if self.ends.settings.rename is not None:
            files[RENAMES] = self.ends.settings.rename
        return files

    @staticmethod
    def _share(cluster: DaskCluster[Piece], scratch: Path, lines: Iterable[str]) -> tuple[str, str]:
        local = scratch / "entries"
        _write_lines(local, lines)
        return cluster.share(local)

    def _take_in(self, piece: Piece, archive: Path, folder: Path) -> None:
        """Take what a worker knows of a piece into the export; it is checked like what was read here.

        Raises:
            UsageProblem: it is damaged, or of something else.
        """
        shutil.rmtree(folder, ignore_errors=True)
        export, snapshot = self.ends.folder, self.ends.folder.snapshot
        try:
            unpacked(archive, folder)
            told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
            late, counts, copied = (
                _late(told, piece),
                _counts(told),
                {str(k): int(v) for k, v in told["copied"].items()},
            )
            said = dict.fromkeys(map(str, told["said"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageProblem(f"what a worker gave of {piece} is damaged ({error}); {_AGAIN}") from None
        finally:
            archive.unlink(missing_ok=True)
        for place in piece.experiments:
            for name, target in ((SNAPSHOT, snapshot.folder(place)), (TOOL_FILES, export.experiment_dir(place))):
                came = folder / name / target.name
                shutil.rmtree(target, ignore_errors=True)
                if came.is_dir():
                    make_inside(target.parent)
                    shutil.move(came, target)
            for part in PARTS:
                snapshot.check(place, part)
        for blob in sorted((folder / BYTES).glob("??/*")):
            if not export.blobs.take(blob):
                raise UsageProblem(f"what a worker gave of {piece} is damaged (the bytes of {blob.name}); {_AGAIN}")
        context = self.ends.importing
        context.late_traces.update(late)
        if self.ends.copied is not None:
            self.ends.copied.take_in(copied)
        for side, found in counts.items():
            self.ends.progress.add(side, **found)
        for line in said:
            if line not in self._said:
                self._said.add(line)
                self.ends.say(self.ends.settings.redactor(line))
        self.ends.mark.confirm()
        shutil.rmtree(folder, ignore_errors=True)


def _pieces(experiments: Sequence[Experiment], workers: int, most: int) -> list[Piece]:
    size = max(1, min(most, len(experiments) // (_EACH * workers)))
    groups = [experiments[first : first + size] for first in range(0, len(experiments), size)]
    return [Piece(number, tuple(one.experiment_id for one in group)) for number, group in enumerate(groups)]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _late(told: Mapping[str, Any], piece: Piece) -> dict[str, set[str]]:
    """Return the traces that wait for something of another experiment, by experiment."""
    return {place: set(map(str, told["late"][place])) for place in piece.experiments if place in told["late"]}


_COUNTED = ("experiments", "runs", "points", "artifacts", "size", "objects")


def _counts(told: Mapping[str, Any]) -> dict[SideName, dict[str, int]]:
    return {side: {name: int(told["counts"][side].get(name, 0)) for name in _COUNTED} for side in get_args(SideName)}
