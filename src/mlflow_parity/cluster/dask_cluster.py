"""Has pieces of work done by the workers of a Dask cluster, each of them once."""

from __future__ import annotations

import importlib
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from mlflow_parity import __version__
from mlflow_parity.audit.side import SIDES
from mlflow_parity.cluster import worker
from mlflow_parity.cluster.asking import Answering
from mlflow_parity.cluster.shared_place import SharedPlace, new_name, packed
from mlflow_parity.cluster.slowing import variable_of
from mlflow_parity.core.errors import ParityError, ReadError, UsageProblem
from mlflow_parity.core.notice import install_command
from mlflow_parity.core.text import counted

#: Seconds until a scheduler has to answer, and until a cluster without workers is given up.
_CONNECT, _NOBODY = 15, 60.0
_LOOK = 1.0
#: Protocols that Dask speaks.
_ADDRESS = re.compile(r"(?:tcp|tls|ws|wss|ucx|ucxx)://[^/\s@]+$")
_NAME, _CHECKSUM = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{64}")
Piece = TypeVar("Piece")


class ClusterFailed(ParityError):
    """The workers of a cluster, or its scheduler, are gone."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say of a cluster: the address of its scheduler (empty: workers are started on this machine), the
    place that all of them share (empty: a folder of this process), and how many connections they have in all.
    """

    scheduler: str
    place: str
    workers: int


@dataclass(frozen=True, slots=True)
class Words:
    """How a command calls what it does, and the options of a cluster."""

    option: str
    """What stands before the names of the options: ``--parity-``, or ``--``."""
    does: str
    """What workers do with a piece: ``judge``."""
    lost: str
    """What is not there when they do not come to an end."""
    again: str
    """What is to be done then."""

    @property
    def engine(self) -> str:
        """The option by which workers do the work."""
        return f"{self.option}engine dask"

    @property
    def scheduler(self) -> str:
        """The option that names the scheduler."""
        return f"{self.option}dask-scheduler"

    @property
    def place(self) -> str:
        """The option that names the shared place."""
        return f"{self.option}dask-dir"


class DaskCluster(Generic[Piece]):
    """The workers of one scheduler, or some that are started on this machine.

    ``scratch`` is a folder of this process: the shared place, where no scheduler is given. ``do`` is what a worker
    calls, by its name in a module, with what ``told_of`` says of a piece. ``answer`` answers what workers ask while
    they are at work.
    """

    def __init__(
        self,
        given: Given,
        scratch: Path,
        redact: Callable[[str], str],
        words: Words,
        do: Callable[..., Any],
        told_of: Callable[[Piece], dict[str, Any]],
        answer: Callable[[Any], Any] | None = None,
    ) -> None:
        self._given = given
        self._scratch = scratch
        self._redact = redact
        self._words = words
        self._do = do
        self._told_of = told_of
        self._answer = answer
        self._answering: Answering | None = None
        self._place = given.place or str(scratch / "shared")
        self._shared = SharedPlace(self._place, words.place)
        self._job = new_name()
        self._client: Any = None
        self._local: Any = None
        self._checksum = ""
        self._submitted = 0
        self._window = 1

    @property
    def _where(self) -> str:
        return self._given.scheduler or "the workers on this machine"

    def open(self, files: Mapping[str, Path]) -> int:
        """Connect, look whether the workers can take part, and give them the files; return how many there are.

        Raises:
            UsageProblem: no scheduler answers, it has no workers, or they have another version.
        """
        self._connect()
        versions = self._versions()
        odd = sorted({version for version in versions.values() if version != __version__})
        if odd:
            raise UsageProblem(
                f"{self._words.engine}: {counted(len(versions), 'workers')} of {self._where}, and some have "
                f"mlflow-parity {odd[0][:80]}, not {__version__}; install the same version on all of them"
            )
        self._window = min(len(versions), self._given.workers)
        archive = self._scratch / worker.LISTS
        packed(files, archive)
        try:
            self._checksum = self._shared.put(archive, f"{self._job}/{worker.LISTS}")
        finally:
            archive.unlink(missing_ok=True)
        distributed = _distributed(self._words)
        for side in SIDES:
            variable = distributed.Variable(variable_of(self._job, side), client=self._client)
            self._asked(partial(variable.set, ""))
        if self._answer is not None:
            self._answering = Answering(self._client, self._job, self._answer)
        return len(versions)

    def work(self, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Path]]:
        """Have pieces of work done; yield each with what was written of it.

        No more are given out at once than there are workers, so that all of them together keep to the limit of
        connections.

        Raises:
            UsageProblem: a worker cannot do one.
            ReadError: a worker was not answered by a server.
            ClusterFailed: nobody is there any more.
        """
        waiting, running = deque(pieces), dict[str, tuple[Piece, Any]]()
        ended: SimpleQueue[Any] = SimpleQueue()
        nobody: float | None = None
        try:
            while waiting or running:
                while waiting and len(running) < self._window:
                    piece = waiting.popleft()
                    future = self._submit(piece)
                    running[future.key] = piece, future
                    future.add_done_callback(ended.put)
                try:
                    future = ended.get(timeout=_LOOK)
                except Empty:
                    nobody = None if self._workers() else nobody or time.monotonic()
                    if nobody is not None and time.monotonic() - nobody > _NOBODY:
                        raise ClusterFailed(
                            f"{self._where}: no worker has been there for {_NOBODY:.0f} s; {self._words.lost}: "
                            f"start some and {self._words.again}"
                        ) from None
                    continue
                piece, _ = running.pop(future.key)
                yield piece, self._taken(piece, future)
        finally:
            with suppress(Exception):
                self._client.cancel([future for _, future in running.values()])

    def share(self, file: Path) -> tuple[str, str]:
        """Make a file known to all workers; return its name in the shared place, and its SHA-256."""
        name = f"{self._job}/{new_name()}"
        return name, self._shared.put(file, name)

    def close(self) -> None:
        """Disconnect, and remove what was in the shared place."""
        with suppress(Exception):
            if self._client is not None and self._client.status == "running":
                self._client.run(worker.forget)
        if self._answering is not None:
            self._answering.close()
        for one in (self._client, self._local):
            if one is not None:
                with suppress(Exception):
                    one.close()
        self._client = self._local = None
        self._shared.clear(self._job)

    def _connect(self) -> None:
        distributed = _distributed(self._words)
        # what it has to say of connections that end is said by us
        for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        address = self._given.scheduler
        try:
            if address and not _ADDRESS.match(address):
                raise ValueError("it does not begin with tcp:// or tls://")
            if (
                address.startswith("tls://")
                and distributed.Security().get_connection_args("client")["ssl_context"] is None
            ):
                # it would fail in a thread of its own, with a traceback
                raise ValueError("no certificates are configured")
            if not address:
                self._local = distributed.LocalCluster(
                    n_workers=max(1, min(os.cpu_count() or 1, self._given.workers)),
                    threads_per_worker=1,
                    processes=True,
                    # on a free port: nobody looks at it
                    dashboard_address="127.0.0.1:0",
                    host="127.0.0.1",
                )
            self._client = distributed.Client(address or self._local, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError, TypeError, LookupError, TimeoutError, RuntimeError) as error:
            raise UsageProblem(
                f"{self._words.scheduler}: {self._redact(address) or 'no workers could be started here'}: no Dask "
                f"scheduler answers ({self._redact(_line(error))}); give the address that `dask scheduler` prints, as "
                "tcp://HOST:8786 (tls:// with Dask's own configuration of certificates)"
            ) from None

    def _versions(self) -> dict[str, str]:
        """Return the version of mlflow-parity on each worker, by its address."""
        began = time.monotonic()
        while not self._workers():
            if time.monotonic() - began > _CONNECT:
                raise UsageProblem(
                    f"{self._words.scheduler}: {self._where} has no workers; start some with: dask worker ADDRESS"
                )
            time.sleep(_LOOK)
        answers: Mapping[str, Any] = self._asked(partial(self._client.run, worker.version, on_error="return"))
        return {
            name: answer if isinstance(answer, str) else f"not at all ({self._redact(_line(answer))})"
            for name, answer in answers.items()
        }

    def _workers(self) -> int:
        """Return how many workers there are.

        Raises:
            ClusterFailed: the scheduler does not tell.
        """
        if self._client.status != "running":
            raise self._gone(f"the connection is {self._client.status}")
        return len(self._asked(self._client.nthreads))

    def _asked(self, question: Callable[[], Any]) -> Any:
        """Return what the scheduler answers.

        Raises:
            ClusterFailed: it is gone.
        """
        try:
            return question()
        except Exception as error:
            raise self._gone(_line(error)) from None

    def _gone(self, why: str) -> ClusterFailed:
        return ClusterFailed(
            f"{self._where}: the scheduler is gone ({self._redact(why)}); {self._words.lost}: "
            f"start it and its workers, and {self._words.again}"
        )

    def _submit(self, piece: Piece) -> Any:
        self._submitted += 1
        submit = partial(
            self._client.submit,
            self._do,
            self._place,
            self._job,
            self._checksum,
            max(1, self._given.workers // self._window),
            self._told_of(piece),
            key=f"mlflow-parity-{self._job}-{self._submitted}",
            pure=False,
        )
        return self._asked(submit)

    def _taken(self, piece: Piece, future: Any) -> Path:
        """Return what was written of a piece, from the shared place."""
        if future.status == "error":
            error = self._asked(future.exception)
            if type(error).__name__ == "KilledWorker":
                raise ClusterFailed(
                    f"{self._where}: workers died again and again while they {self._words.does} {piece} "
                    f"(out of memory?); {self._words.lost}: give them more memory, and {self._words.again}"
                )
            raise ClusterFailed(
                f"{self._where}: a worker failed on {piece} ({self._redact(_line(error))}); {self._words.lost}"
            )
        if future.status != "finished":
            self._workers()
            raise ClusterFailed(
                f"{self._where}: {piece} was given up ({future.status}); {self._words.lost}: {self._words.again}"
            )
        answer = self._asked(future.result)
        future.release()
        return self._fetched(piece, answer)

    def _fetched(self, piece: Piece, answer: object) -> Path:
        told = answer if isinstance(answer, dict) else {}
        if isinstance(told.get("problem"), str):
            raise UsageProblem(f"a worker cannot {self._words.does} {piece}: {self._redact(told['problem'])}")
        if isinstance(told.get("unread"), str):
            raise ReadError(f"a worker cannot {self._words.does} {piece}: {self._redact(told['unread'])}")
        if isinstance(told.get("defect"), str):
            raise RuntimeError(f"a worker failed on {piece}:\n{self._redact(told['defect'])}")
        job, _, name = str(told.get("name")).partition("/")
        checksum = str(told.get("checksum"))
        if job != self._job or not _NAME.fullmatch(name) or not _CHECKSUM.fullmatch(checksum):
            raise ClusterFailed(
                f"{self._where}: what a worker said of {piece} is no answer; {self._words.lost}: {self._words.again}"
            )
        local = self._scratch / f"part-{name}"
        self._shared.get(f"{job}/{name}", local, checksum)
        return local


def _line(error: object) -> str:
    """Return the first line of what an error says, or its type."""
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def _distributed(words: Words) -> Any:
    try:
        # it has no types
        return importlib.import_module("distributed")
    except ImportError:
        fix = install_command("dask")
        raise UsageProblem(f"{words.engine} needs distributed, which is not installed: {fix}") from None
