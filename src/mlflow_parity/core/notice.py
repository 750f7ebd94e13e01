"""What is wrong, why, and what to do: one record for whoever has to say so, and how the program is called there."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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


_SCRIPT = "migrate.py"
_PACKAGE = __name__.partition(".")[0]


def program() -> str:
    """Return the program's name: ``mlflow-parity``, or ``python -m mlflow_parity`` where it was started so."""
    called = Path(sys.argv[0])
    return (
        f"python -m {_PACKAGE}" if (called.parent.name, called.name) == (_PACKAGE, "__main__.py") else "mlflow-parity"
    )


def migrate_command() -> str:
    """Return what begins a migration's command: ``mlflow-parity migrate``, or a checkout's ``migrate.py``."""
    return _SCRIPT if _is_script() else f"{program()} migrate"


def migrate_process() -> list[str]:
    """Return the command of a process that does the same, by this interpreter."""
    return [sys.executable, *([sys.argv[0]] if _is_script() else ["-m", _PACKAGE, "migrate"])]


def install_command(extra: str) -> str:
    """Return the command that installs an extra: from the index, or from the checkout that is in use."""
    if _is_script():
        return f"pip install -e {shlex.quote(f'{Path(sys.argv[0]).resolve().parent}[{extra}]')}"
    return f'pip install "mlflow-parity[{extra}]"'


def _is_script() -> bool:
    return Path(sys.argv[0]).name == _SCRIPT
