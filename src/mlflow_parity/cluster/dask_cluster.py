"""Has shards judged by the workers of a Dask cluster, each of them once."""

from __future__ import annotations

import importlib
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from mlflow_parity import __version__
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.shards.part import Shard
from mlflow_parity.cluster import worker
from mlflow_parity.cluster.shared_place import SharedPlace, new_name, packed
from mlflow_parity.cluster.slowing import variable_of
from mlflow_parity.core.errors import ParityError, UsageProblem
from mlflow_parity.core.notice import install_command
from mlflow_parity.core.text import counted

#: Seconds until a scheduler has to answer, and until a cluster without workers is given up.
_CONNECT, _NOBODY = 15, 60.0
_LOOK = 1.0
#: Protocols that Dask speaks.
_ADDRESS = re.compile(r"(?:tcp|tls|ws|wss|ucx|ucxx)://[^/\s@]+$")
_NAME, _CHECKSUM = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{64}")
_NO_VERDICT = "nothing is known of what was not judged, so there is no verdict"


class ClusterFailed(ParityError):
    """The workers of a cluster, or its scheduler, are gone."""


class DaskCluster:
    """The workers of one scheduler, or some that are started on this machine.

    ``scratch`` is a folder of this process: the shared place, where no scheduler is given.
    """

    def __init__(self, settings: Settings, scratch: Path, redact: Callable[[str], str]) -> None:
        self._settings = settings
        self._scratch = scratch
        self._redact = redact
        self._place = settings.dask_dir or str(scratch / "shared")
        self._shared = SharedPlace(self._place)
        self._audit = new_name()
        self._client: Any = None
        self._local: Any = None
        self._checksum = ""
        self._submitted = 0
        self._window = 1

    @property
    def _where(self) -> str:
        return self._settings.dask_scheduler or "the workers on this machine"

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
                f"--parity-engine dask: {counted(len(versions), 'workers')} of {self._where}, and some have "
                f"mlflow-parity {odd[0][:80]}, not {__version__}; install the same version on all of them"
            )
        self._window = min(len(versions), self._settings.workers)
        archive = self._scratch / worker.LISTS
        packed(files, archive)
        try:
            self._checksum = self._shared.put(archive, f"{self._audit}/{worker.LISTS}")
        finally:
            archive.unlink(missing_ok=True)
        distributed = _distributed()
        for side in ("source", "target"):
            variable = distributed.Variable(variable_of(self._audit, side), client=self._client)
            self._asked(partial(variable.set, ""))
        return len(versions)

    def work(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Path]]:
        """Have shards judged; yield each with what was written of it.

        No more are given out at once than there are workers, so that all of them together keep to the limit of
        connections.

        Raises:
            UsageProblem: a worker cannot judge one.
            ClusterFailed: nobody is there any more.
        """
        waiting, running = deque(shards), dict[str, tuple[Shard, Any]]()
        ended: SimpleQueue[Any] = SimpleQueue()
        nobody: float | None = None
        try:
            while waiting or running:
                while waiting and len(running) < self._window:
                    shard = waiting.popleft()
                    future = self._submit(shard)
                    running[future.key] = shard, future
                    future.add_done_callback(ended.put)
                try:
                    future = ended.get(timeout=_LOOK)
                except Empty:
                    nobody = None if self._workers() else nobody or time.monotonic()
                    if nobody is not None and time.monotonic() - nobody > _NOBODY:
                        raise ClusterFailed(
                            f"{self._where}: no worker has been there for {_NOBODY:.0f} s; {_NO_VERDICT}: start some "
                            "and audit again"
                        ) from None
                    continue
                shard, _ = running.pop(future.key)
                yield shard, self._taken(shard, future)
        finally:
            with suppress(Exception):
                self._client.cancel([future for _, future in running.values()])

    def close(self) -> None:
        """Disconnect, and remove what was in the shared place."""
        with suppress(Exception):
            if self._client is not None and self._client.status == "running":
                self._client.run(worker.forget)
        for one in (self._client, self._local):
            if one is not None:
                with suppress(Exception):
                    one.close()
        self._client = self._local = None
        self._shared.clear(self._audit)

    def _connect(self) -> None:
        distributed = _distributed()
        # what it has to say of connections that end is said by us
        for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        address = self._settings.dask_scheduler
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
                    n_workers=max(1, min(os.cpu_count() or 1, self._settings.workers)),
                    threads_per_worker=1,
                    processes=True,
                    # on a free port: nobody looks at it
                    dashboard_address="127.0.0.1:0",
                    host="127.0.0.1",
                )
            self._client = distributed.Client(address or self._local, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError, TypeError, LookupError, TimeoutError, RuntimeError) as error:
            raise UsageProblem(
                f"--parity-dask-scheduler: {self._redact(address) or 'no workers could be started here'}: no Dask "
                f"scheduler answers ({self._redact(_line(error))}); give the address that `dask scheduler` prints, as "
                "tcp://HOST:8786 (tls:// with Dask's own configuration of certificates)"
            ) from None

    def _versions(self) -> dict[str, str]:
        """Return the version of mlflow-parity on each worker, by its address."""
        began = time.monotonic()
        while not self._workers():
            if time.monotonic() - began > _CONNECT:
                raise UsageProblem(
                    f"--parity-dask-scheduler: {self._where} has no workers; start some with: dask worker ADDRESS"
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
            f"{self._where}: the scheduler is gone ({self._redact(why)}); {_NO_VERDICT}: start it and its workers, and "
            "audit again"
        )

    def _submit(self, shard: Shard) -> Any:
        self._submitted += 1
        submit = partial(
            self._client.submit,
            worker.judge,
            self._place,
            self._audit,
            self._checksum,
            max(1, self._settings.workers // self._window),
            worker.told_of(shard),
            key=f"mlflow-parity-{self._audit}-{self._submitted}",
            pure=False,
        )
        return self._asked(submit)

    def _taken(self, shard: Shard, future: Any) -> Path:
        """Return what was written of a shard, from the shared place."""
        if future.status == "error":
            error = self._asked(future.exception)
            if type(error).__name__ == "KilledWorker":
                raise ClusterFailed(
                    f"{self._where}: workers died again and again while they judged {shard} (out of memory?); "
                    f"{_NO_VERDICT}: give them more memory, and audit again"
                )
            raise ClusterFailed(
                f"{self._where}: a worker failed on {shard} ({self._redact(_line(error))}); {_NO_VERDICT}"
            )
        if future.status != "finished":
            self._workers()
            raise ClusterFailed(f"{self._where}: {shard} was given up ({future.status}); {_NO_VERDICT}: audit again")
        answer = self._asked(future.result)
        future.release()
        return self._fetched(shard, answer)

    def _fetched(self, shard: Shard, answer: object) -> Path:
        told = answer if isinstance(answer, dict) else {}
        if isinstance(told.get("problem"), str):
            raise UsageProblem(f"a worker cannot judge {shard}: {self._redact(told['problem'])}")
        if isinstance(told.get("defect"), str):
            raise RuntimeError(f"a worker failed on {shard}:\n{self._redact(told['defect'])}")
        audit, _, name = str(told.get("name")).partition("/")
        checksum = str(told.get("checksum"))
        if audit != self._audit or not _NAME.fullmatch(name) or not _CHECKSUM.fullmatch(checksum):
            raise ClusterFailed(
                f"{self._where}: what a worker said of {shard} is no answer; {_NO_VERDICT}: audit again"
            )
        local = self._scratch / f"part-{name}"
        self._shared.get(f"{audit}/{name}", local, checksum)
        return local


def _line(error: object) -> str:
    """Return the first line of what an error says, or its type."""
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def _distributed() -> Any:
    try:
        # it has no types
        return importlib.import_module("distributed")
    except ImportError:
        fix = install_command("dask")
        raise UsageProblem(f"--parity-engine dask needs distributed, which is not installed: {fix}") from None
