"""What a Dask worker does: one shard after the other, each audit's lists taken once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_parity import __version__
from mlflow_parity.audit.shards.part import Shard
from mlflow_parity.cluster.opened import open_job
from mlflow_parity.cluster.shard_audit import ShardAudit
from mlflow_parity.cluster.shared_place import SharedPlace, new_name, unpacked
from mlflow_parity.cluster.slowing import Slowing
from mlflow_parity.core.errors import ParityError, no_space
from mlflow_parity.core.redaction import Redactor, defect
from mlflow_parity.core.scratch import Scratch
from mlflow_parity.core.subset import Subset

#: Name of what all workers get, below the audit's own.
LISTS = "lists.zip"


@dataclass(slots=True)
class _Open:
    """The audit that is at work in this process."""

    name: str
    audit: ShardAudit
    scratch: Scratch
    slowing: Slowing

    def close(self) -> None:
        self.slowing.close()
        self.audit.close()
        self.scratch.close()


#: One shard at a time: the servers' limit is shared among processes, not among a process's threads.
_TURN = threading.Lock()
_open: list[_Open] = []


def judge(place: str, audit: str, checksum: str, connections: int, shard: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a shard; return under which name its part is, and its checksum, or why there is none.

    ``audit`` is the name of the audit's folder in the shared ``place``, ``checksum`` that of its lists,
    ``connections`` how many to each server this process may have. Nothing that is given or returned is a secret.
    """
    redact = Redactor.from_environment()
    try:
        with _TURN:
            return _judged(place, audit, checksum, connections, _shard(shard))
    except ParityError as error:
        return {"problem": redact(str(error))}
    except Exception as error:
        told = no_space(error)
        return {"problem": redact(str(told))} if told is not None else {"defect": defect(error, redact)}


def version() -> str:
    """Return the version of this package here."""
    return __version__


def told_of(shard: Shard) -> dict[str, Any]:
    """Return a shard as plain data."""
    subset = shard.subset
    return {"id": shard.experiment_id, "label": shard.label, "part": subset.part, "of": subset.of}


def _shard(told: Mapping[str, Any]) -> Shard:
    return Shard(told["id"], told["label"], Subset(told["part"], told["of"]))


def _judged(place: str, audit: str, checksum: str, connections: int, shard: Shard) -> dict[str, Any]:
    shared = SharedPlace(place)
    opened = _opened(shared, audit, checksum, connections)
    local = opened.scratch.folder / "part"
    try:
        opened.audit.judge(shard, local)
        # another try of the same shard has another name, so that neither is half of the other
        name = f"{audit}/{new_name()}"
        return {"name": name, "checksum": shared.put(local, name)}
    finally:
        local.unlink(missing_ok=True)


def _opened(shared: SharedPlace, name: str, checksum: str, connections: int) -> _Open:
    if _open and _open[0].name == name:
        return _open[0]
    while _open:
        _open.pop().close()
    scratch = Scratch()
    try:
        lists = scratch.folder / "lists"
        archive = scratch.folder / LISTS
        shared.get(f"{name}/{LISTS}", archive, checksum)
        unpacked(archive, lists)
        archive.unlink()
        audit = open_job(lists, scratch.folder / "read", connections)
        audit.learn()
    except BaseException:
        scratch.close()
        raise
    _open.append(_Open(name, audit, scratch, Slowing(name, audit.limiters())))
    return _open[0]


def forget() -> None:
    """Close the audit that is open in this process, if any."""
    with _TURN:
        while _open:
            _open.pop().close()
