"""What a look before a migration found: one record per finding, worst first, safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import shorten, visible

#: ``error``: nothing is begun; ``warning``: something will not be moved, or may differ; ``note``: good to know.
Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
#: Objects that a finding names; the rest is counted.
NAMED = 10
_NAME = 80


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. ``code`` is its stable name, ``fix`` what to do about it (empty: nothing needs to be done)."""

    level: Level
    code: str
    what: str
    why: str = ""
    fix: str = ""


def named(names: Sequence[str], count: int | None = None) -> str:
    """Return the first names, quoted and shortened, and how many more there are; ``count`` of all of them."""
    whole = len(names) if count is None else count
    shown = ", ".join(repr(shorten(visible(name), _NAME)) for name in names[:NAMED])
    more = whole - min(len(names), NAMED)
    return f"{shown} and {more:,} more" if more > 0 else shown


def ordered(found: Iterable[Found]) -> list[Found]:
    """Return findings, the worst first, otherwise in their order."""
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def findings_text(found: Iterable[Found], redact: Redactor) -> list[str]:
    """Return the lines that a terminal shows."""
    lines = []
    for one in ordered(found):
        lines.append(f"{one.level:<8} {one.what}")
        lines += [f"{'':<8}   {label}: {text}" for label, text in (("why", one.why), ("fix", one.fix)) if text]
    return [visible(redact(line)) for line in lines]


def json_of(found: Iterable[Found], redact: Redactor) -> list[dict[str, Any]]:
    """Return findings as plain values."""
    return [{key: redact(value) for key, value in asdict(one).items()} for one in ordered(found)]
