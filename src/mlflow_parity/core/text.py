"""The one place that makes data safe to print: invisible characters become visible, long texts short."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache

#: Everything that moves the cursor, turns the text around, or cannot be seen: controls (ANSI escapes begin
#: with one), every space but the plain one, zero-width and bidirectional marks, fillers, variation selectors
#: but the emoji one, tags, lone surrogates, non-characters.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u070f\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u2800\u3000\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000effff\U000f0000-\U0010ffff]"
)
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_WIDE = re.compile("[\u1100-\U0010ffff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: Characters shown before the first difference of two long values.
_LEAD = 12


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_in_block(found: re.Match[str]) -> str:
    return found[0] if found[0] in "\n\t" else _escape(found)


def visible(text: str, *, multiline: bool = False) -> str:
    r"""Return ``text`` with every character that cannot be seen, or that acts, written as an escape.

    Line breaks and tabs stay when ``multiline``. The result holds no control character otherwise, has no lone
    surrogate, and can be encoded as UTF-8.

    >>> visible("a\u202eb\x1b[31m")
    'a\\u202eb\\x1b[31m'
    """
    return _UNSEEN.sub(_escape_in_block if multiline else _escape, text)


def encodable(text: str) -> str:
    r"""Return ``text`` with lone surrogates written as ``\udXXX``, so that it can be encoded as UTF-8."""
    return _SURROGATES.sub(_escape, text)


def json_safe(document: str) -> str:
    """Escape what cannot be seen in a serialized JSON document without changing what it means.

    ``document`` must come from a JSON writer that indents with spaces: outside of strings there are only
    ASCII characters and line breaks, which stay as they are.
    """
    return _UNSEEN.sub(_escape_in_json, document)


def _escape_in_json(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\n":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def distinct(source: str | None, target: str | None, *, multiline: bool = False) -> tuple[str | None, str | None]:
    """Make two values visible so that they never *look* equal when they are not.

    Values that differ only in how they are composed (``é`` as one character or two), or only in an escape
    against the character it stands for, are written in ASCII with backslashes doubled.
    """
    shown = tuple(None if text is None else visible(text, multiline=multiline) for text in (source, target))
    if source is None or target is None or source == target:
        return shown[0], shown[1]
    first, second = (unicodedata.normalize("NFKC", text or "") for text in shown)
    if first != second:
        return shown[0], shown[1]
    return _ascii(source), _ascii(target)


def _ascii(text: str) -> str:
    return _NOT_ASCII.sub(_escape, text.replace("\\", "\\\\"))


def noun(count: int, plural: str) -> str:
    """Return a noun as its count wants it.

    >>> noun(1, "secrets of webhooks"), noun(1, "prompts"), noun(2, "users")
    ('secret of a webhook', 'prompt', 'users')
    """
    if count != 1:
        return plural
    what, _, whose = plural.partition(" of ")
    return f"{what.removesuffix('s')} of a {whose.removesuffix('s')}" if whose else plural.removesuffix("s")


def counted(count: int, plural: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "runs"), counted(2000, "runs")
    ('1 run', '2,000 runs')
    """
    return f"{count:,} {noun(count, plural)}"


def listed(counts: Mapping[str, int], by: str = ", ") -> str:
    """Return numbers with their nouns, given by plural; what there is none of is left out.

    >>> listed({"runs": 2, "prompts": 0, "scorers": 1})
    '2 runs, 1 scorer'
    """
    return by.join(counted(count, plural) for plural, count in counts.items() if count)


def short(number: float) -> str:
    """Return a number with a unit, where it is large.

    >>> short(9_999), short(1_234_567)
    ('9,999', '1.2M')
    """
    for unit, size, by in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e4, 1e3)):
        if number >= size:
            return f"{number / by:,.1f}{unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def moment(text: str) -> datetime:
    """Return the time that a report tells, in UTC; ``ValueError``: it tells none."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def width(text: str) -> int:
    """Return the columns that visible ``text`` takes in a terminal at most (wide characters take two)."""
    if not _WIDE.search(text):
        return len(text)
    # below them Python calls characters wide that are not assigned
    return sum(2 if _WIDE.match(one) and unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def crop(text: str, columns: int) -> str:
    """Cut visible ``text`` at the right so that it takes at most ``columns``; an ellipsis tells."""
    if len(text) <= columns and width(text) <= columns:
        return text
    return _head(text, columns - 1) + "…" if columns > 0 else ""


def shorten(text: str, columns: int) -> str:
    """Cut visible ``text`` in the middle so that it takes at most ``columns``, and say how long it was.

    >>> shorten("x" * 1000, 30)
    'xxxxxx…[1,000 characters]…xxxx'
    """
    if len(text) <= columns and width(text) <= columns:
        return text
    middle = f"…[{len(text):,} characters]…"
    room = columns - len(middle)
    if room < 2:
        return crop(text, columns)
    tail = _tail(text, room // 2)
    return _head(text, room - width(tail)) + middle + tail


def quoted(text: str, columns: int = 60) -> str:
    """Return a name in quotes: made visible, and shortened to so many columns."""
    return f'"{shorten(visible(text), columns)}"'


def shorten_pair(source: str, target: str, columns: int) -> tuple[str, str]:
    """Shorten two visible values so that where they first differ can be seen."""
    short = shorten(source, columns), shorten(target, columns)
    if short[0] != short[1] and max(len(source), len(target)) <= columns:
        return short
    common = 0
    for common, (a, b) in enumerate(zip(source, target, strict=False)):  # noqa: B007 (used after the loop)
        if a != b:
            break
    else:
        common = min(len(source), len(target))
    if common <= columns // 3:
        return short
    skipped = common - _LEAD
    head = f"[{skipped:,} equal characters]…"
    if width(head) > columns // 2:
        return short
    return tuple(head + shorten(text[skipped:], columns - width(head)) for text in (source, target))  # type: ignore[return-value]


def _head(text: str, columns: int) -> str:
    taken = 0
    for end, character in enumerate(text[: max(columns, 0)]):
        taken += width(character)
        if taken > columns:
            return text[:end]
    return text[: max(columns, 0)]


def _tail(text: str, columns: int) -> str:
    return _head(text[-columns:][::-1], columns)[::-1] if columns > 0 else ""


def table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Set rows of visible cells below each other: the first ``left`` columns to the left, all others to the right.

    >>> table([("name", "runs"), ("a", "1,000")])
    ['  name   runs', '  a     1,000']
    """
    sizes = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        blanks = [" " * (size - width(text)) for text, size in zip(row, sizes, strict=True)]
        cells = zip(row, blanks, strict=True)
        told = (text + blank if number < left else blank + text for number, (text, blank) in enumerate(cells))
        lines.append("  " + "  ".join(told))
    return lines


def taken_for_one(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that MySQL and MariaDB take for one, each in the order given.

    The collations that they come with tell neither case nor accents nor blanks at the end apart.

    >>> taken_for_one(["Loss", "acc", "loss ", "lóss"])
    [('Loss', 'loss ', 'lóss')]
    """
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(_collated(name), {})[name] = None
    return [tuple(group) for group in groups.values() if len(group) > 1]


@lru_cache(1 << 16)
def _collated(name: str) -> str:
    if not name.isascii():
        name = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    return name.casefold().rstrip(" ")


def cleaner(redact: Callable[[str], str] | None) -> Callable[[str], str]:
    """Return what every text passes on its way into a ledger; names repeat a lot, so the latest are remembered."""
    if redact is None:
        return encodable
    cached = lru_cache(maxsize=8192)(lambda text: encodable(redact(text)))
    # long texts are notes: they do not repeat, and remembering them would cost memory
    return lambda text: cached(text) if len(text) <= 256 else encodable(redact(text))
