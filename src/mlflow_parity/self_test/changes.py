"""Small changes of values: each returns the altered value, or ``None`` where there is nothing that it could alter."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any


def _other_case(text: str) -> str | None:
    return next((form for form in (text.upper(), text.lower()) if form != text), None)


def _other_form(text: str) -> str | None:
    forms = (unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    return next((form for form in forms if form != text), None)


#: How a text that is not empty can be damaged, by what reports call it.
TEXT: Mapping[str, Callable[[str], str | None]] = {
    "one character altered": lambda text: text[:-1] + ("x" if text[-1] != "x" else "y"),
    "cut short by one character": lambda text: text[:-1],
    "a blank behind it": lambda text: text + " ",
    "an invisible character in it": lambda text: text + "\u200b",
    "in another case": _other_case,
    "in another Unicode form": _other_form,
}


def altered(value: Any) -> Any:
    """Return a JSON value that differs in one leaf: a number by the least there is, a text by a character."""
    if value is None:
        return "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return ulp(value)
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [altered(value[0]), *value[1:]] if value else ["x"]
    if not value:
        return {"x": "x"}
    key = next(iter(value))
    return {**value, key: altered(value[key])}


def ulp(value: float) -> float:
    """Return the next double, towards nought where there is one."""
    if math.isnan(value):
        return 0.0
    return math.nextafter(value, 0.0) if value else 5e-324


def without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a mapping without a key."""
    return {name: value for name, value in mapping.items() if name != key}


def renamed(mapping: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return a mapping in which a key has another name."""
    return {new if name == old else name: value for name, value in mapping.items()}
