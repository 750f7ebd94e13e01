"""What a waiver is bound to: the two values of a difference, each told so that a person can read it or nobody can."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

#: A value: text and whole numbers as they are, anything else by its digest, ``False`` for none on that side.
Told: TypeAlias = "str | int"
DIGEST = "sha256:"
_DIGEST = re.compile(rf"{DIGEST}[0-9a-f]{{64}}")
#: Characters of a text that is told as it is.
_LONG = 200


def digest_of(value: object) -> str:
    """Return the digest by which a value is told that cannot be written down."""
    text = value if isinstance(value, str) else f"json:{json.dumps(value, sort_keys=True, default=_plain)}"
    return DIGEST + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    return list(value) if isinstance(value, tuple) else str(value)


def told(value: object, redact: Callable[[str], str]) -> Told:
    """Tell a value; by its digest where it is long, or where a report would redact it."""
    if value is None:
        return False
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**63 else digest_of(value)
    if isinstance(value, str) and len(value) <= _LONG and redact(value) == value and _is_writable(value):
        return value
    return digest_of(value)


def _is_writable(text: str) -> bool:
    # a text that looks like a digest would be taken for one, and lone surrogates are no UTF-8
    return not _DIGEST.fullmatch(text) and not any("\ud800" <= letter <= "\udfff" for letter in text)


def is_told(entry: object) -> bool:
    """Whether an entry of a file tells a value."""
    return entry is False or (isinstance(entry, (str, int)) and not isinstance(entry, bool))


def is_value(entry: Told, value: object) -> bool:
    """Whether an entry tells this value."""
    if entry is False:
        return value is None
    if isinstance(entry, str) and _DIGEST.fullmatch(entry):
        return value is not None and digest_of(value) == entry
    return type(entry) is type(value) and entry == value


def shown(entries: Sequence[Told]) -> str:
    """Return a pair of values as reports show it."""
    return " → ".join(
        "(absent)" if one is False else repr(one) if isinstance(one, str) else str(one) for one in entries
    )
