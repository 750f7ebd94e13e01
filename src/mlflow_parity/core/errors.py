"""The exception tree.

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
    │   ├── NotCopied           a file that was left in S3 did not come to the target (migrating/write)
    │   ├── PlaceNotAllowed         data names a place that nobody allowed to be read (reading/artifacts)
    │   └── DatabaseError           the database beside a server refused a query, or answers no more (reading/database)
    ├── ForbiddenRequest            a request that is not on the read-only allow-list
    ├── NoSpace                     a file cannot be written: there is no room
    ├── NotMoved                    one object is not on the target, and why
    ├── NotUploaded                 the same of one file (migrating/write)
    ├── NotRead                     a user's own check asks for what the audit did not read (pytest_api)
    ├── ClusterFailed               the workers of a cluster, or its scheduler, are gone (cluster)
    ├── DemoFailed                  a step of the demo failed (migrating)
    └── ServerFailed                a server of the demo or the tests did not start (standin)

``exit_status`` is what an audit, a snapshot and a draft of waivers end with, ``migrate_status`` what ``migrate`` does.
A ``ReadError`` makes the objects it concerns ``unverified``; it never passes silently. Beside the tree, never seen
outside: ``Unusable`` (the end of a sentence about a file that was given), ``Again`` (the request is sent once more),
``Refused`` and ``Fault`` (what the stand-in answers). ``Terminated`` is SIGTERM, as ``KeyboardInterrupt`` is Ctrl-C.
"""

from __future__ import annotations

import errno
from typing import ClassVar


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

    ``status`` is the HTTP status, ``code`` MLflow's ``error_code`` (or an empty string). ``in_doubt``: an earlier try
    of the same request had no answer, and may have been done all the same.
    """

    def __init__(self, message: str, *, status: int, code: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.code = code
        self.in_doubt = False


class MalformedAnswer(ReadError):
    """The server answered, but not with what its API promises."""


class TooLarge(MalformedAnswer):
    """An answer that is larger than any may be, or a file that is larger than it was listed."""


def may_be_done(error: ParityError) -> bool:
    """Whether a request that ended so may have been done all the same."""
    if isinstance(error, RequestRefused):
        return error.in_doubt or error.status >= 500
    return isinstance(error, TransportError | MalformedAnswer)


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
