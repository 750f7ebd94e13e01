"""What is wrong, why, and what to do: one record for whoever has to say so, worst first, safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import shorten, visible

#: ``error``: nothing is begun; ``warning``: something will not be moved, or may differ; ``note``: good to know.
Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
#: Objects that a notice names; the rest is counted.
NAMED = 10
_NAME = 80


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be said. ``code`` is its stable name, ``fix`` what to do (empty: nothing needs to be done)."""

    level: Level
    code: str
    what: str
    why: str = ""
    fix: str = ""

    def __str__(self) -> str:
        """Return it in one line."""
        return "; ".join(filter(None, [": ".join(filter(None, [self.what, self.why])), self.fix]))

    def lines(self) -> list[str]:
        """Return it in up to three lines, as a terminal shows it."""
        more = [f"{'':<8}   {label}: {text}" for label, text in (("why", self.why), ("fix", self.fix)) if text]
        return [f"{self.level:<8} {self.what}", *more]


def named(names: Sequence[str], count: int | None = None) -> str:
    """Return the first names, quoted and shortened, and how many more there are; ``count`` of all of them."""
    whole = len(names) if count is None else count
    shown = ", ".join(repr(shorten(visible(name), _NAME)) for name in names[:NAMED])
    more = whole - min(len(names), NAMED)
    return f"{shown} and {more:,} more" if more > 0 else shown


def ordered(found: Iterable[Notice]) -> list[Notice]:
    """Return them, the worst first, otherwise in their order."""
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def notices_text(found: Iterable[Notice], redact: Redactor) -> list[str]:
    """Return the lines that a terminal shows."""
    return [visible(redact(line)) for one in ordered(found) for line in one.lines()]


def notices_json(found: Iterable[Notice], redact: Redactor) -> list[dict[str, Any]]:
    """Return them as plain values."""
    return [{key: redact(value) for key, value in asdict(one).items()} for one in ordered(found)]
