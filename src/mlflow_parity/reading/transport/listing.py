"""Lists that come in pages: each object once, and an error for a list that cannot be whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.reading.transport.endpoints import Endpoint
from mlflow_parity.reading.transport.session import Session

T = TypeVar("T")
Entry = Mapping[str, Any]
#: Listings before it is given up that rows move while they are read.
_PASSES = 4
#: Keys with which front ends and gateways say that something failed, also with status 200.
_FAILED = frozenset(("detail", "error", "error_code", "errors", "exception", "fault", "message", "msg"))
#: Times in a row that a page may come again.
_SAME_PAGES = 3


def pages(
    session: Session, endpoint: Endpoint, query: Mapping[str, Any], name: str, *, below: str = ""
) -> Iterator[list[Any]]:
    """Page through a search whose answers hold a list called ``name``.

    Raises:
        ReadError: a page cannot be read, a token or a whole page repeats, or a page is empty before the end.
    """
    turning = Turning(endpoint.path)
    token: str | None = None
    while True:
        asked = {**query, **({"page_token": token} if token else {})}
        if endpoint.method == "POST":
            answer = session.post(endpoint, asked)
        else:
            answer = session.get(endpoint, asked, below=below)
        try:
            page = list_in(answer, name)
        except MalformedAnswer as error:
            raise MalformedAnswer(f"{endpoint.path}: {error}") from None
        yield page
        token = turning.after(answer, page)
        if token is None:
            return


def list_in(answer: Mapping[str, Any], name: str) -> list[Any]:
    """Return the list called ``name`` of an answer; MLflow leaves out one that is empty.

    What a later release tells beside it may stand alone then; what says that something failed is no empty list.

    Raises:
        MalformedAnswer: it is no list, or the answer says that something failed, and has no list.
    """
    if name not in answer and (other := sorted(key for key in answer if key.lower() in _FAILED)):
        raise MalformedAnswer(f"the answer holds {other[0]!r} and no {name!r}")
    found = answer.get(name, [])
    if not isinstance(found, list):
        raise MalformedAnswer(f"{name!r} is not a list")
    return found


class Turning:
    """Turns the pages of one list, and tells one that comes to an end from one that never would."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen: set[str] = set()
        self._before: Sequence[Any] = ()
        self._same = 0

    def after(self, answer: Mapping[str, Any], page: Sequence[Any]) -> str | None:
        """Return the token of the page after ``page``; ``None`` after the last one.

        Raises:
            MalformedAnswer: a token or a whole page repeats, or a page is empty before the end.
        """
        token = answer.get("next_page_token") or None
        if token is None:
            return None
        if token in self._seen:
            raise MalformedAnswer(f"{self._what} repeats a page token")
        if not page:
            raise MalformedAnswer(f"{self._what} gives an empty page before the end")
        # rows that move may bring a page once more; with a new token each time it would go on for ever
        self._same = self._same + 1 if page == self._before else 0
        if self._same == _SAME_PAGES:
            raise MalformedAnswer(f"{self._what} repeats a page")
        self._before = page
        self._seen.add(str(token))
        return str(token)


def each_once(
    listing: Callable[[], Iterator[list[Any]]],
    make: Callable[[Entry], T],
    identity: Callable[[T], str],
    what: str,
) -> Iterator[list[T]]:
    """Yield what a paged listing holds, page by page, each object once.

    Pages go by offset, so the order must not change while they are read. Where an object is seen twice all the same,
    rows were moved, and another listing brings what the first may have passed over. ``what`` names the list.

    Raises:
        ReadError: a page cannot be read, or rows moved during every one of the listings.
    """
    seen: set[str] = set()
    for _ in range(_PASSES):
        moved = False
        passed: set[str] = set()
        for page in listing():
            fresh: list[T] = []
            for entry in page:
                found = made(make, entry)
                key = identity(found)
                moved |= key in passed
                passed.add(key)
                if key not in seen:
                    seen.add(key)
                    fresh.append(found)
            if fresh:
                yield fresh
        if not moved:
            return
    raise MalformedAnswer(f"{what} moved during {_PASSES} listings, one after another")


def made(make: Callable[[Entry], T], entry: Entry) -> T:
    """Make a record of an answer's entry.

    Raises:
        MalformedAnswer: the entry is not what the API promises.
    """
    try:
        return make(entry)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        # the value that does not fit is the server's: it is not put into a message
        lacking = f" {error}" if isinstance(error, KeyError) else ""
        raise MalformedAnswer(f"an object cannot be read: {type(error).__name__}{lacking}") from None


def pairs(entries: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    """Return MLflow's list of key and value as a mapping."""
    return {entry["key"]: entry.get("value", "") for entry in entries or ()}
