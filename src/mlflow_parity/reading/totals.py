"""How many objects a list has, told by a few requests for one object each; and some of them, from all over it.

A page token of MLflow's own stores is an offset: ``{"offset": 20}`` in base64, that of logged models with the query
beside it. With one that was moved a list is asked at any place, and where it ends is found by halving. A token of
another form is not touched: such a list is turned page by page.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mlflow_parity.core.errors import MalformedAnswer, RequestRefused

T = TypeVar("T")
#: Asks for so many entries from a token on; returns them and the next token.
Ask = Callable[[str | None, int], tuple[Sequence[Any], str | None]]
#: Halving ends where this share of a list is not decided.
NEAR = 1 / 64
#: A list is not longer than that.
_LONGEST = 1 << 40
#: Entries to a page where a list is turned page by page.
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Total:
    """How long a list is. ``at_least``: there may be more, which was not looked at."""

    count: int
    at_least: bool = False


class Paged:
    """One list, as its server gives it.

    Raises:
        ReadError: by each method, when a page cannot be had.
    """

    def __init__(self, ask: Ask, page: int = _PAGE) -> None:
        self._ask, self._page = ask, page
        self._form: dict[str, Any] | None = None

    def total(self, *, near: float = 0.0, most_pages: int | None = None) -> Total:
        """Return how many entries there are; not exact by the share ``near`` of them.

        ``most_pages``: so many pages are turned at most where the tokens are of another form.
        """
        first, token = self._ask(None, 2)
        if len(first) < 2 or not token:
            return Total(len(first))
        self._form = form_of(token, offset=2)
        if self._form is None or not self._moves(first[1]):
            self._form = None
            return self._turned(most_pages)
        low, high = 2, 8
        while self.at(high - 1, 1):
            low, high = high, high * 8
            if high > _LONGEST:
                raise MalformedAnswer("a list does not end")
        # there are at least `low`, and fewer than `high`
        while high - low > max(1, int(near * low)):
            middle = (low + high) // 2
            low, high = (middle, high) if self.at(middle - 1, 1) else (low, middle)
        return Total((low + high - 1) // 2)

    def at(self, offset: int, most: int) -> Sequence[Any]:
        """Return entries from an offset on; none where the tokens are of another form."""
        if self._form is None:
            return ()
        return self._ask(token_at(self._form, offset) if offset else None, most)[0]

    def some(self, total: int, pages: int, size: int) -> list[Any]:
        """Return so many pages of so many entries, from all over the list."""
        if self._form is None or total <= pages * size:
            return list(self._ask(None, pages * size)[0])
        step = (total - size) / max(pages - 1, 1)
        return [entry for number in range(pages) for entry in self.at(int(number * step), size)]

    def _moves(self, second: Any) -> bool:
        """Whether the server takes a token that was moved, and goes there."""
        try:
            return list(self.at(1, 1)) == [second]
        except RequestRefused:
            return False

    def _turned(self, most: int | None) -> Total:
        count, turned, token = 0, 0, None
        seen: set[str] = set()
        while most is None or turned < most:
            page, token = self._ask(token, self._page)
            count, turned = count + len(page), turned + 1
            if not token or not page:
                return Total(count)
            if token in seen:
                raise MalformedAnswer("a list repeats a page token")
            seen.add(token)
        return Total(count, at_least=True)


def form_of(token: str, *, offset: int) -> dict[str, Any] | None:
    """Return what a page token says, if it is one that holds this offset; ``None``: it is of another form."""
    try:
        found = json.loads(base64.b64decode(token, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("offset") != offset or isinstance(found["offset"], bool):
        return None
    return found


def token_at(form: Mapping[str, Any], offset: int) -> str:
    """Return the page token of another offset."""
    return base64.b64encode(json.dumps({**form, "offset": offset}).encode()).decode()


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return so many of them, from all over."""
    if len(items) <= most:
        return list(items)
    return [items[int(number * len(items) / most)] for number in range(most)]
