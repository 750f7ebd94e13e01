"""The exception tree.

::

    ParityError                     anything this package raises on purpose
    ├── UsageProblem                bad input: one line saying what, why and the fix
    │   ├── LocationError           a URI, ARN or snapshot directory that cannot be used
    │   └── SnapshotError           a snapshot that is damaged, foreign or of another format
    ├── ReadError                   something could not be read from a server
    │   ├── TransportError          no usable answer within the time and number of tries allowed
    │   ├── RequestRefused          the server answered with an error (``status``, ``code``)
    │   └── MalformedAnswer         the server answered, but not with what its API promises
    │       └── TooLarge            with more than is read of any answer, or than a file was listed with
    ├── ForbiddenRequest            a request that is not on the read-only allow-list
    └── NoSpace                     a file cannot be written for want of room

``UsageProblem`` becomes :class:`pytest.UsageError` (exit code 4) at the plugin's edge. A ``ReadError``
makes the objects it concerns ``unverified``; it never passes silently.
"""

from __future__ import annotations

import errno


class ParityError(Exception):
    """Base of every error this package raises on purpose."""


class UsageProblem(ParityError):
    """Bad input; the message is one line saying what, why and how to fix it."""


class LocationError(UsageProblem):
    """A URI, ARN or snapshot directory that cannot be used."""


class SnapshotError(UsageProblem):
    """A snapshot that is damaged, foreign or of another format."""


class ReadError(ParityError):
    """Something could not be read from a server."""


class TransportError(ReadError):
    """No usable answer within the time and number of tries allowed."""


class RequestRefused(ReadError):
    """The server answered with an error.

    ``status`` is the HTTP status, ``code`` MLflow's ``error_code`` (or an empty string).
    """

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MalformedAnswer(ReadError):
    """The server answered, but not with what its API promises."""


class TooLarge(MalformedAnswer):
    """An answer that is larger than any may be, or a file that is larger than it was listed."""


class NoSpace(ParityError):
    """A file cannot be written for want of room; whatever is under way ends here, and can be gone on with."""


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
