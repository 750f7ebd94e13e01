"""What a Dask worker does: one piece of work after the other, the files of each job taken once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlflow_parity import __version__
from mlflow_parity.cluster.shared_place import SharedPlace, new_name, unpacked
from mlflow_parity.cluster.slowing import Slowing
from mlflow_parity.core.errors import ParityError, ReadError, no_space
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.redaction import Redactor, defect
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.slowing import Limiter

#: Name of what all workers get, below the job's own.
LISTS = "lists.zip"


class Work(Protocol):
    """What a worker has open of a job."""

    def limiters(self) -> Mapping[SideName, Limiter]:
        """Return what limits the requests to each server."""
        ...

    def do(self, piece: Mapping[str, Any], path: Path) -> None:
        """Do a piece of the work, and write what came of it to ``path``."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told of a job: its name, which is that of its folder in the shared place, and the SHA-256 of its
    files; how many connections to each server this process may have. ``option`` is the one that names the place.
    """

    place: str
    option: str
    name: str
    checksum: str
    connections: int


@dataclass(frozen=True, slots=True)
class Opening:
    """What a job is opened with: the shared place, and the folders of the job's files and of what is read."""

    job: Job
    shared: SharedPlace
    files: Path
    scratch: Path


@dataclass(slots=True)
class _Open:
    """The job that is at work in this process."""

    name: str
    work: Work
    scratch: Scratch
    slowing: Slowing

    def close(self) -> None:
        self.slowing.close()
        self.work.close()
        self.scratch.close()


#: One piece at a time: the servers' limit is shared among processes, not among a process's threads.
_TURN = threading.Lock()
_open: list[_Open] = []


def do(opener: Callable[[Opening], Work], job: Job, piece: Mapping[str, Any]) -> dict[str, Any]:
    """Do a piece of work; return under which name what came of it is, and its checksum, or why there is none.

    Nothing that is given or returned is a secret.
    """
    redact = Redactor.from_environment()
    try:
        with _TURN:
            return _done(opener, job, piece)
    except ReadError as error:
        return {"unread": redact(str(error))}
    except ParityError as error:
        return {"problem": redact(str(error))}
    except Exception as error:
        told = no_space(error)
        return {"problem": redact(str(told))} if told is not None else {"defect": defect(error, redact)}


def version() -> str:
    """Return the version of this package here."""
    return __version__


def _done(opener: Callable[[Opening], Work], job: Job, piece: Mapping[str, Any]) -> dict[str, Any]:
    shared = SharedPlace(job.place, job.option)
    opened = _opened(opener, job, shared)
    local = opened.scratch.folder / "part"
    try:
        opened.work.do(piece, local)
        # another try of the same piece has another name, so that neither is half of the other
        name = f"{job.name}/{new_name()}"
        return {"name": name, "checksum": shared.put(local, name)}
    finally:
        local.unlink(missing_ok=True)


def _opened(opener: Callable[[Opening], Work], job: Job, shared: SharedPlace) -> _Open:
    if _open and _open[0].name == job.name:
        return _open[0]
    while _open:
        _open.pop().close()
    scratch = Scratch()
    try:
        files = scratch.folder / "lists"
        archive = scratch.folder / LISTS
        shared.get(f"{job.name}/{LISTS}", archive, job.checksum)
        unpacked(archive, files)
        archive.unlink()
        work = opener(Opening(job, shared, files, scratch.folder / "read"))
    except BaseException:
        scratch.close()
        raise
    _open.append(_Open(job.name, work, scratch, Slowing(job.name, work.limiters())))
    return _open[0]


def forget() -> None:
    """Close the job that is open in this process, if any."""
    with _TURN:
        while _open:
            _open.pop().close()
