"""JSON of a server's texts and answers, nested no deeper than whatever handles it can go down.

What is deeper stays a text, and is compared as one: a tag of three thousand brackets is some bytes to a server, and the
end of any program that follows them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

#: Levels that are followed. Comparing takes two calls a level, explaining four, and Python has a thousand.
LEVELS = 100
#: Key under which the text of what is deeper stands, so that it is no text's twin.
DEEP = f"JSON of more than {LEVELS} levels"
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def parsed(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: it is none, or deeper than :data:`LEVELS`.
    """
    if _is_deep(text):
        raise ValueError(DEEP)
    return json.loads(text)


def or_text(value: object) -> Any:
    """Return what a JSON text says; one that is none stays as it is, and so does what is no text."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return {DEEP: value} if _is_deep(value) else json.loads(value)
    return value


def bounded(value: Any) -> Any:
    """Return a value of an answer; its text where it is deeper than :data:`LEVELS`."""
    return {DEEP: text_of(value)} if is_deep(value, LEVELS) else value


def is_deep(value: Any, levels: int) -> bool:
    """Whether a value of an answer has more levels than these."""
    level = [value]
    for _ in range(levels + 1):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _parts(outer)]
        if not level:
            return False
    return True


def written(value: Any) -> str:
    """Return the JSON text of a value that was read here: what was too deep stands in it as it was."""
    text = json.dumps(value)
    return text_of(value) if DEEP in text else text


def text_of(value: Any) -> str:
    """Return a value as JSON, however deep it is."""
    pieces: list[str] = []
    waiting: list[tuple[bool, Any]] = [(False, value)]
    while waiting:
        is_text, item = waiting.pop()
        if is_text:
            pieces.append(item)
        elif isinstance(item, dict) and item.keys() == {DEEP}:
            pieces.append(item[DEEP])
        elif isinstance(item, (dict, list)):
            waiting += reversed(_pieces(item))
        else:
            pieces.append(json.dumps(item, ensure_ascii=False))
    return "".join(pieces)


def _pieces(value: dict[str, Any] | list[Any]) -> list[tuple[bool, Any]]:
    """Return what a container is written as: texts, and the values between them."""
    is_map = isinstance(value, dict)
    pieces: list[tuple[bool, Any]] = [(True, "{" if is_map else "[")]
    for number, item in enumerate(value):
        pieces += [(True, ", ")] if number else []
        pieces += [(False, item), (True, ": "), (False, value[item])] if isinstance(value, dict) else [(False, item)]
    return [*pieces, (True, "}" if is_map else "]")]


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _is_deep(text: str) -> bool:
    """Whether a text goes down too far; brackets within its strings are none."""
    if text.count("[") + text.count("{") <= LEVELS:
        return False
    depth = 0
    for token in _TOKENS.finditer(text):
        letter = text[token.start()]
        depth += (letter in "[{") - (letter in "]}")
        if depth > LEVELS:
            return True
    return False


def whole(value: object) -> int | None:
    """Return an integer that protobuf's JSON may give as text."""
    return None if value is None else int(str(value))


def text(value: object) -> str | None:
    """Return a text, and None for an empty one: protobuf does not tell the two apart on every version."""
    return str(value) if value not in (None, "") else None
