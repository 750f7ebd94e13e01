"""The exception tree, and the record that says what, why and how to fix it.

::

    ParityError                     anything this package raises on purpose
    ├── UsageProblem                bad input: one line saying what, why and the fix
    │   ├── LocationError           a URI, ARN or snapshot directory that cannot be used
    │   └── SnapshotError           a snapshot that is damaged, foreign or of another format
    ├── ReadError                   something could not be read from a server
    │   ├── TransportError          no usable answer within the time and number of tries allowed
    │   ├── RequestRefused          the server answered with an error (``status``, ``code``)
    │   ├── MalformedAnswer         the server answered, but not with what its API promises
    │   │   ├── Contradiction       two stores that should be one hold different things (reading/artifacts)
    │   │   └── TooLarge            with more than is read of any answer, or than a file was listed with
    │   └── PlaceNotAllowed         data names a place that nobody allowed to be read (reading/artifacts)
    ├── ForbiddenRequest            a request that is not on the read-only allow-list
    ├── NoSpace                     a file cannot be written: there is no room
    ├── NotMoved                    one object is not on the target, and why
    ├── NotUploaded                 the same of one file (migrating/write)
    ├── NotRead                     a user's own check asks for what the audit did not read (pytest_api)
    ├── DemoFailed                  a step of the demo failed (migrating)
    └── ServerFailed                a server of the demo or the tests did not start (standin)

``exit_status`` is what an audit, a snapshot and a draft of waivers end with, ``migrate_status`` what ``migrate`` does.
A ``ReadError`` makes the objects it concerns ``unverified``; it never passes silently. Beside the tree, never seen
outside: ``Unusable`` (the end of a sentence about a file that was given), ``Again`` (the request is sent once more),
``Refused`` and ``Fault`` (what the stand-in answers). ``Terminated`` is SIGTERM, as ``KeyboardInterrupt`` is Ctrl-C.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import shorten, visible


class ParityError(Exception):
    """Base of every error this package raises on purpose."""

    exit_status: ClassVar[int] = 4
    """That of a usage error of pytest: no verdict, and one line says why."""
    migrate_status: ClassVar[int] = 2
    """Refused: nothing was begun."""


class UsageProblem(ParityError):
    """Bad input; the message is one line saying what, why and how to fix it."""


class LocationError(UsageProblem):
    """A URI, ARN or snapshot directory that cannot be used."""


class SnapshotError(UsageProblem):
    """A snapshot that is damaged, foreign or of another format."""


class ReadError(ParityError):
    """Something could not be read from a server.

    ``fix`` is what to do about it, where that is known, and ``said`` the rest of the message.
    """

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.said = message
        self.fix = fix


class TransportError(ReadError):
    """No usable answer within the time and number of tries allowed."""


class RequestRefused(ReadError):
    """The server answered with an error.

    ``status`` is the HTTP status, ``code`` MLflow's ``error_code`` (or an empty string).
    """

    def __init__(self, message: str, *, status: int, code: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.code = code


class MalformedAnswer(ReadError):
    """The server answered, but not with what its API promises."""


class TooLarge(MalformedAnswer):
    """An answer that is larger than any may be, or a file that is larger than it was listed."""


class NoSpace(ParityError):
    """A file cannot be written because there is no room; whatever is under way ends here, and can be gone on with."""

    migrate_status = 1


def no_space(error: BaseException) -> NoSpace | None:
    """Return what an error means, where it means that there is no room for a file."""
    if isinstance(error, NoSpace):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        named = f" for {error.filename}" if error.filename else ""
        return NoSpace(f"no space left on the disk{named} ({error.strerror}); make room and run the same command again")
    return None


class ForbiddenRequest(ParityError):
    """A request that is not on the read-only allow-list."""


class NotMoved(ParityError):
    """An object could not be moved, or not all of it; ``for_good``: MLflow's API cannot write it at all."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


#: ``error``: nothing is begun; ``warning``: something will not be moved, or may differ; ``note``: good to know.
Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
#: Objects that a notice names; the rest is counted.
NAMED = 10
_NAME = 80


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be said. ``code`` is its stable name, ``fix`` what to do (empty: nothing needs to be done)."""

    level: Level
    code: str
    what: str
    why: str = ""
    fix: str = ""

    def __str__(self) -> str:
        """Return it in one line."""
        return "; ".join(filter(None, [": ".join(filter(None, [self.what, self.why])), self.fix]))

    def lines(self) -> list[str]:
        """Return it in up to three lines, as a terminal shows it."""
        more = [f"{'':<8}   {label}: {text}" for label, text in (("why", self.why), ("fix", self.fix)) if text]
        return [f"{self.level:<8} {self.what}", *more]


def named(names: Sequence[str], count: int | None = None) -> str:
    """Return the first names, quoted and shortened, and how many more there are; ``count`` of all of them."""
    whole = len(names) if count is None else count
    shown = ", ".join(repr(shorten(visible(name), _NAME)) for name in names[:NAMED])
    more = whole - min(len(names), NAMED)
    return f"{shown} and {more:,} more" if more > 0 else shown


def ordered(found: Iterable[Notice]) -> list[Notice]:
    """Return them, the worst first, otherwise in their order."""
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def notices_text(found: Iterable[Notice], redact: Redactor) -> list[str]:
    """Return the lines that a terminal shows."""
    return [visible(redact(line)) for one in ordered(found) for line in one.lines()]


def notices_json(found: Iterable[Notice], redact: Redactor) -> list[dict[str, Any]]:
    """Return them as plain values."""
    return [{key: redact(value) for key, value in asdict(one).items()} for one in ordered(found)]
