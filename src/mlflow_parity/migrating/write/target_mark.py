"""The mark of a migration at work: one registered model on the target, made before anything else, removed at the end.

Two migrations into one target would make everything twice, and neither journal knows of the other. The server itself
decides who is first, for it makes one registered model of a name. A killed migration leaves its mark; the same work
folder finds its own and goes on. Readers leave the mark out (see :mod:`mlflow_parity.reading.registry`).
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from mlflow_parity.core.errors import ReadError, RequestRefused
from mlflow_parity.core.notice import Notice
from mlflow_parity.core.records import MIGRATION_MARK, MIGRATION_TAGS, MIGRATION_WORK_TAG
from mlflow_parity.migrating.write.batches import pairs
from mlflow_parity.reading.registry import read_mark
from mlflow_parity.reading.transport.listing import pairs as mapping

if TYPE_CHECKING:
    from mlflow_parity.migrating.write.writing import Writer
    from mlflow_parity.reading.transport.session import Session

_API = "/api/2.0/mlflow/registered-models/"
_TEXT = "mlflow-parity is migrating to this server. It removes this mark at its end."
#: Tries to be the one that makes the mark, where others come and go.
_TRIES = 5
_FIX = (
    "wait for its end; if it was interrupted, run its own command again with its work folder, or pass --take-over if "
    "that folder is lost"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark as it stands on a target: ``work`` is the id of the work folder."""

    work: str
    user: str
    host: str
    process: str
    since: str

    def __str__(self) -> str:
        """Return whose it is, since when, and whether that process is known to be gone."""
        told = f"{self.user}@{self.host}, process {self.process}, since {self.since}{self._age()}"
        gone = "; that process is not running any more" if self._is_gone() else ""
        return f"{told} (work folder {self.work[:8]}){gone}"

    def _age(self) -> str:
        with suppress(ValueError, TypeError):
            hours = (datetime.now(timezone.utc) - datetime.fromisoformat(self.since)).total_seconds() / 3600
            return f", {hours / 24:,.0f} days ago" if hours > 48 else f", {hours:,.0f} hours ago" if hours > 2 else ""
        return ""

    def _is_gone(self) -> bool:
        """Whether its process was one of this machine, and is not any more."""
        if self.host != socket.gethostname() or not self.process.isdigit():
            return False
        try:
            os.kill(int(self.process), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False


def look_for_mark(session: Session, ours: str, *, take_over: bool) -> list[Notice]:
    """Return what a mark on a target means for the migration ``ours``; reads alone."""
    try:
        tags = read_mark(session)
    except ReadError:
        # what cannot be listed is told where the target's models are
        return []
    mark = None if tags is None else _of(tags)
    if mark is None or mark.work == ours:
        return []
    if take_over:
        what = f"the mark of another migration is taken over (--take-over): {mark}"
        return [Notice("warning", "target.at-work", what, "if it still works, both make everything twice")]
    return [_at_work(mark)]


def _at_work(mark: Mark) -> Notice:
    why = "two migrations into one target make everything twice"
    return Notice("error", "target.at-work", f"another migration is at work on the target: {mark}", why, _FIX)


class TargetMark:
    """Makes the mark of one migration, and removes it."""

    def __init__(self, writer: Writer, work: str) -> None:
        self._writer = writer
        self.work = work
        self._held = False

    def hold(self, *, take_over: bool = False) -> list[Notice]:
        """Make the mark, or find it as this migration left it; return why it cannot be had.

        Raises:
            ReadError: the target does not answer.
        """
        for _ in range(_TRIES):
            try:
                mark = self._make()
            except RequestRefused as error:
                if error.code != "RESOURCE_ALREADY_EXISTS":
                    fix = "give these credentials the right to CreateRegisteredModel"
                    return [Notice("error", "target.write", "the target takes no writes", str(error), fix)]
                mark = self._there()
            if mark is None:
                # removed in between, or a registered model of somebody's
                continue
            if mark.work == self.work:
                self._held = True
                return []
            if not take_over:
                return [_at_work(mark)]
            self._remove()
        what = f"the target cannot be marked as being migrated to: it has a registered model {MIGRATION_MARK}"
        why = "it is no mark of a migration, or marks come and go at this moment"
        return [Notice("error", "target.at-work", what, why, "rename that model, or run it again")]

    def confirm(self) -> None:
        """Make sure that the target is still this migration's.

        Raises:
            ReadError: another migration took it over, or it does not answer.
        """
        if not self._held:
            return
        mark = self._there()
        if mark is not None and mark.work == self.work:
            return
        if mark is None and not self.hold():
            return
        self._held = False
        raise ReadError(f"another migration took over the target, and nothing more is written: {mark or self._there()}")

    def release(self) -> str:
        """Remove the mark, if it is there and ours; return why it could not be removed, else nothing."""
        if not self._held:
            return ""
        try:
            mark = self._there()
            if mark is not None and mark.work == self.work:
                self._remove()
        except ReadError as error:
            return (
                f"the mark of this migration, the registered model {MIGRATION_MARK}, could not be removed from the "
                f"target ({error}); the next run of the same command removes it"
            )
        self._held = False
        return ""

    def _make(self) -> Mark | None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        told = (_user(), socket.gethostname(), str(os.getpid()), now)
        tags = {MIGRATION_WORK_TAG: self.work, **dict(zip(MIGRATION_TAGS, told, strict=True))}
        return self._writer.create(
            f"{_API}create",
            {"name": MIGRATION_MARK, "description": _TEXT, "tags": pairs(tags)},
            find=self._there,
            made=lambda answer: _of(mapping(answer["registered_model"].get("tags"))),
        )

    def _there(self) -> Mark | None:
        tags = read_mark(self._writer)
        return None if tags is None else _of(tags)

    def _remove(self) -> None:
        try:
            self._writer.call("DELETE", f"{_API}delete", {"name": MIGRATION_MARK})
        except RequestRefused as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST" and error.status != 404:
                raise


def _of(tags: Mapping[str, str]) -> Mark:
    return Mark(tags.get(MIGRATION_WORK_TAG, ""), *(tags.get(name, "unknown") for name in MIGRATION_TAGS))


def _user() -> str:
    try:
        return getpass.getuser()
    except Exception:
        # a container's user may have no name
        return str(os.getuid())
