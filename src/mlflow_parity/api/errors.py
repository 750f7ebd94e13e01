"""How an error leaves this package: one line, no secret in it, and nothing behind it that holds one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from mlflow_parity.api.given import in_python
from mlflow_parity.core.errors import ParityError, ReadError, no_space
from mlflow_parity.core.redaction import Redactor, defect

_T = TypeVar("_T")


class Saying:
    """What errors are told with: learns the passwords of the locations once they are known."""

    def __init__(self, names: Collection[str]) -> None:
        self.redact = Redactor.from_environment()
        self.names = names
        """Options as they are called in Python."""

    def __call__(self, error: Exception) -> ParityError:
        """Return what is to be raised in the place of an error."""
        known = error if isinstance(error, ParityError) else no_space(error)
        if known is None:
            return ParityError(f"internal error (a bug in mlflow-parity), and no result:\n{defect(error, self.redact)}")
        known.args = (in_python(self.redact(str(known)), self.names),)
        if isinstance(known, ReadError):
            known.said, known.fix = self.redact(known.said), self.redact(known.fix)
        # what a library said is not shown, and may hold an address with a password
        known.__cause__ = known.__context__ = None
        return known.with_traceback(None)


def in_one_line(say: Saying, work: Callable[[], _T]) -> _T:
    """Do it, and let an error out as one line; being interrupted stays what it is, with nothing of ours behind it.

    No context manager: what is raised at the end of one has what came before it as its context.
    """
    ended: BaseException
    try:
        return work()
    except KeyboardInterrupt:
        ended = KeyboardInterrupt()
    except Exception as error:
        ended = say(error)
    raise ended
