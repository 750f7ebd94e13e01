"""What a worker does with some experiments: it exports them, imports them, and returns what it knows of them."""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from mlflow_parity.cluster import worker
from mlflow_parity.cluster.asking import Asking
from mlflow_parity.cluster.shared_place import packed
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import make_inside, write_json
from mlflow_parity.migrating.export.exporting import Exporter, discard
from mlflow_parity.migrating.opening import Ends
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.migrating.workers.job import (
    BYTES,
    JOURNAL,
    MANIFEST,
    SNAPSHOT,
    TOLD,
    TOOL_FILES,
    Piece,
    read_job,
)
from mlflow_parity.migrating.workers.journals import SharedJournal, read_lines
from mlflow_parity.migrating.write.ordering import import_batch
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.slowing import Limiter
from mlflow_parity.snapshot import PARTS

PLACE_OPTION = "--dask-dir"


def move(place: str, job: str, checksum: str, connections: int, piece: Mapping[str, Any]) -> dict[str, Any]:
    """Move some experiments, in a worker; as :func:`~mlflow_parity.cluster.worker.do`."""
    return worker.do(_opened, worker.Job(place, PLACE_OPTION, job, checksum, connections), piece)


def _opened(opening: worker.Opening) -> Mover:
    settings, leave = read_job(opening.files, opening.scratch, opening.job.connections)
    return Mover(settings, opening, leave=leave)


class Mover(Ends):
    """Both ends of a migration as a worker has them; its work folder holds the experiments of one piece at a time."""

    def __init__(self, settings: Settings, opening: worker.Opening, *, leave: bool) -> None:
        super().__init__(settings)
        self._shared = opening.shared
        self._job = opening.job.name
        self._counts: dict[SideName, Counter[str]] = {"source": Counter(), "target": Counter()}
        self._counting = Lock()
        self._said: list[str] = []
        make_inside(self.folder.snapshot_root)
        shutil.copyfile(opening.files / MANIFEST, self.folder.snapshot_root / MANIFEST)
        read_lines(opening.files / JOURNAL, self.journal)
        self._exporter = Exporter(
            self.source,
            self.folder,
            include_deleted=settings.include_deleted,
            log=settings.logs / "export.log",
            keep=False,
            count=self._count,
            leave=leave,
        )

    @cached_property
    def journal(self) -> SharedJournal:
        """What the one journal says of what this worker needs."""
        # it has no types
        client: Any = importlib.import_module("distributed").get_client()
        journal = SharedJournal(self.settings.work / "journal.sqlite", Asking(self._job, client))
        self._stack.callback(journal.close)
        return journal

    def limiters(self) -> Mapping[SideName, Limiter]:
        """Return what limits the requests to each server."""
        return {"source": self.source.session.limiter, "target": self.importing.writer.limiter}

    def do(self, piece: Mapping[str, Any], path: Path) -> None:
        """Move some experiments, and write what is known of them to ``path``."""
        mine = Piece.of(piece)
        ids = set(mine.experiments)
        experiments = [one for one in self.folder.snapshot.experiments if one.experiment_id in ids]
        if len(experiments) != len(ids):
            raise UsageProblem(f"{mine} is not in this migration")
        self._take(mine)
        try:
            self._exporter.batch(experiments)
            import_batch(self.importing, experiments)
            # those that are not whole on the target are tried again: their bytes are still needed
            discard(self.folder, self.journal, ids)
            write_json(self.settings.work / TOLD, self._told_of(ids))
            packed(self._files(ids), path)
        finally:
            self._clear(ids)

    def close(self) -> None:
        """Disconnect."""
        self._stack.close()

    def _take(self, piece: Piece) -> None:
        name, checksum = self.journal.take(piece.number)
        lines = self.settings.work / JOURNAL
        self._shared.get(name, lines, checksum)
        read_lines(lines, self.journal)

    def _told_of(self, ids: set[str]) -> dict[str, Any]:
        late = self.importing.late_traces
        said, self._said = self._said, []
        with self._counting:
            counts = {side: dict(counts) for side, counts in self._counts.items()}
            for one in self._counts.values():
                one.clear()
        return {
            "counts": counts,
            "said": said,
            "copied": {} if self.copied is None else self.copied.taken_out(),
            "late": {place: sorted(late[place]) for place in sorted(ids) if late.get(place)},
        }

    def _files(self, ids: set[str]) -> dict[str, Path]:
        found = {TOLD: self.settings.work / TOLD, BYTES: self.folder.blobs.root}
        for place in ids:
            folder, tool = self.folder.snapshot.folder(place), self.folder.experiment_dir(place)
            found[f"{SNAPSHOT}/{folder.name}"] = folder
            found[f"{TOOL_FILES}/{tool.name}"] = tool
        return {name: path for name, path in found.items() if path.exists()}

    def _clear(self, ids: set[str]) -> None:
        """Keep nothing of what was moved: the disk holds one piece at a time."""
        for place in ids:
            for part in PARTS:
                self.folder.snapshot.forget(place, part)
            for folder in (self.folder.snapshot.folder(place), self.folder.experiment_dir(place)):
                shutil.rmtree(folder, ignore_errors=True)
            self.importing.late_traces.pop(place, None)
        shutil.rmtree(self.folder.blobs.root, ignore_errors=True)

    def say(self, line: str) -> None:
        """Have it said by the process that gave this one its work."""
        self._said.append(line)

    def _count(self, **counts: int) -> None:
        self._add("source", counts)

    def _told(self, *, runs: int = 0, points: int = 0, files: int = 0, size: int = 0, objects: int = 0) -> None:
        self._add("target", {"runs": runs, "points": points, "artifacts": files, "size": size, "objects": objects})

    def _add(self, side: SideName, counts: Mapping[str, int]) -> None:
        with self._counting:
            self._counts[side].update(counts)
