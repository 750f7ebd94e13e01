"""Which kinds of objects a server can hold, by its version and by what it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow_parity.core.errors import ReadError, RequestRefused
from mlflow_parity.kinds import KINDS
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.capabilities import ABSENT_CODES, release

if TYPE_CHECKING:
    from mlflow_parity.reading.transport.session import Session

T = TypeVar("T")
#: The newest release of which every kind of object is known, read and compared. The only place that says so.
NEWEST = "3.17.2"
#: Every server that is read is of this release or newer.
_EVERY = (2, 0)


class Support:
    """What one server supports: known from its version, corrected by an endpoint that is not there."""

    def __init__(
        self,
        version: Callable[[], str | None],
        *,
        strict: bool = True,
        keeps_files: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Begin with what the version tells.

        ``strict``: a server of a version serves all that the version has (SageMaker may leave endpoints out).
        ``keeps_files`` tells of a kind whose list failed whether it is one of those that a file store cannot hold, and
        the server keeps its data in one (:func:`on_files`).
        """
        self._version = version
        self._strict = strict
        self._keeps_files = keeps_files
        self._absent: set[str] = set()
        self._present: set[str] = set()

    def supports(self, kind: str) -> bool | None:
        """Whether the server can hold objects of a kind; ``None`` when it cannot be told (yet).

        Raises:
            ValueError: no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"no such kind: {kind}")
        if kind in self._absent:
            return False
        if kind in self._present:
            return True
        version, first = release(self._version()), KINDS[kind].first
        if version == (0, 0) or first <= version < (KINDS[kind].surely or first):
            return None
        return version >= first

    def has(self, kind: str) -> bool | None:
        """Whether the endpoints of a kind are there for certain, so that one that is not is hidden and not absent."""
        return KINDS[kind].first < _EVERY or (self._strict and self.supports(kind))

    def lacks(self, kind: str) -> None:
        """Take in that the server itself says that it has no such kind."""
        self._absent.add(kind)

    def listed(self, kind: str, listing: Callable[[], Iterator[T]]) -> Iterator[T]:
        """Yield a listing; nothing, without a request, where the server cannot hold the kind.

        Raises:
            ReadError: the list cannot be read, for any other reason than that its endpoint is not there.
        """
        if self.supports(kind) is False:
            return
        try:
            for found in listing():
                # what has given something is there: if it vanishes, the list is not whole
                self._present.add(kind)
                yield found
        except RequestRefused as error:
            # what is hidden is no empty list
            hidden = not is_absent(error) or self.has(kind)
            if kind in self._present or (hidden and not (error.status == 500 and self._keeps_files(kind))):
                raise
            self._absent.add(kind)
        else:
            self._present.add(kind)


def is_newer(version: str | None) -> bool:
    """Whether a server's release is newer than :data:`NEWEST`, and may hold what nobody here knows of."""
    return _numbers(version or "") > _numbers(NEWEST)


def newer(side: str, version: str) -> str:
    """Return the sentence about a server of such a release."""
    return f"the {side} is MLflow {version}, newer than {NEWEST}, the newest known here: what it has beside is not read"


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a release; a release candidate counts as the release."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def is_absent(error: RequestRefused) -> bool:
    """Whether a refusal says that the endpoint itself is not there."""
    return error.status in (404, 405) and error.code in ABSENT_CODES


def is_gone(error: RequestRefused, *also: str) -> bool:
    """Whether MLflow itself says that what was asked for is not there: a front end's page with 404 says nothing of it.

    ``also`` are codes beside MLflow's usual one.
    """
    return error.status == 404 and error.code in ("RESOURCE_DOES_NOT_EXIST", *also)


#: What MLflow's file store says of such a name of a registered model; a database has no word against it.
_ODD, _REFUSED = "%", "Registered model name cannot contain '%' character"
#: Answers 500 are all that a file store has for these kinds; a plain reason stands in that of the datasets alone.
_NOT_IN_FILES = ("scorer", "evaluation_dataset")


def on_files(session: Session, info: Mapping[str, Any], kind: str) -> bool:
    """Whether a server keeps its data in files, as it says itself, and a kind is one that no file store can hold.

    ``info`` is what the server says of itself; of the store of registered models, in which webhooks are, it is silent.
    """
    if kind in _NOT_IN_FILES and "store_type" in info:
        return bool(info["store_type"] == "FileStore")
    try:
        if kind == "webhook":
            session.get(endpoints.ALIAS, {"name": _ODD, "alias": _ODD})
        elif kind in _NOT_IN_FILES:
            session.post(endpoints.DATASETS, {"max_results": 1})
    except RequestRefused as error:
        if kind == "webhook":
            return error.status == 400 and _REFUSED in str(error)
        return error.code == "FEATURE_DISABLED" and "not supported with FileStore" in str(error)
    except ReadError:
        # nothing is known by it
        return False
    return False
