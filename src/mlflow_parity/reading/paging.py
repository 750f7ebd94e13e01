"""Pages through a listing until its end, and says so when it has none."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from mlflow_parity.errors import MalformedAnswer
from mlflow_parity.reading.endpoints import Endpoint
from mlflow_parity.reading.session import Session

#: Listings before it is given up that rows move while they are read.
PASSES = 4


def pages(session: Session, endpoint: Endpoint, query: Mapping[str, Any], name: str) -> Iterator[list[Any]]:
    """Yield the pages of a search; a token that repeats or an empty page before the end is an error.

    Raises:
        ReadError: a page cannot be read, or makes no sense.
    """
    token: str | None = None
    seen: set[str] = set()
    while True:
        asked = {**query, **({"page_token": token} if token else {})}
        answer = session.post(endpoint, asked) if endpoint.method == "POST" else session.get(endpoint, asked)
        page = answer.get(name, [])
        if not isinstance(page, list):
            raise MalformedAnswer(f"{endpoint.path}: {name!r} is not a list")
        yield page
        token = answer.get("next_page_token") or None
        if token is None:
            return
        if token in seen:
            raise MalformedAnswer(f"{endpoint.path} repeats a page token")
        if not page:
            raise MalformedAnswer(f"{endpoint.path} gives an empty page before the end")
        seen.add(token)


def complete(
    session: Session, endpoint: Endpoint, query: Mapping[str, Any], name: str, key: Callable[[Any], Hashable]
) -> Iterator[list[Any]]:
    """Yield every object once. Pages go by offset: where one is seen twice rows moved, and a further pass is made.

    Raises:
        ReadError: as :func:`pages`; or the rows kept moving.
    """
    seen: set[Hashable] = set()
    for _ in range(PASSES):
        moved, passed = False, set[Hashable]()
        for page in pages(session, endpoint, query, name):
            fresh = []
            for entry in page:
                try:
                    identity = key(entry)
                except (KeyError, TypeError, AttributeError) as error:
                    raise MalformedAnswer(
                        f"{endpoint.path}: an object cannot be read: {type(error).__name__}"
                    ) from None
                moved |= identity in passed
                passed.add(identity)
                if identity not in seen:
                    seen.add(identity)
                    fresh.append(entry)
            if fresh:
                yield fresh
        if not moved:
            return
    raise MalformedAnswer(f"{endpoint.path}: the objects moved during {PASSES} listings, one after another")


def made(make: Callable[[Mapping[str, Any]], Any], entry: Mapping[str, Any]) -> Any:
    """Return ``make(entry)``; an answer that does not fit is an error of reading.

    Raises:
        MalformedAnswer: the entry lacks something or holds something else.
    """
    try:
        return make(entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # the value that does not fit is the server's: it is not put into a message
        lacking = f" {error}" if isinstance(error, KeyError) else ""
        raise MalformedAnswer(f"an object cannot be read: {type(error).__name__}{lacking}") from None


def tags_of(entries: Any) -> dict[str, str]:
    """Return a list of ``{key, value}`` as a dict."""
    return {entry["key"]: entry.get("value", "") for entry in entries or []}


def milliseconds(value: object) -> int | None:
    """Return a time that protobuf's JSON may give as text."""
    return None if value in (None, "") else int(str(value))
