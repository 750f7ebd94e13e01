"""The commands that README and ``docs/`` show: the one place that finds them. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_FENCE = re.compile(r"^ *```(?P<language>.*)$")
_STATUS = re.compile(r"\s*Exit status (?P<status>\d)")


@dataclass(frozen=True, slots=True)
class Block:
    """One shell block of a page; ``status`` is the exit status that the text after it promises (``None``: no word)."""

    page: str
    line: int
    text: str
    status: int | None

    @property
    def label(self) -> str:
        """Where it stands, as editors write it."""
        return f"{self.page}:{self.line}"

    @property
    def installs(self) -> bool:
        """It says how to install the package."""
        return all(line.startswith("pip install ") for line in self.text.splitlines())


def pages(root: Path = ROOT) -> list[str]:
    """Return README and the pages of ``docs/``, by their names below ``root``."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (root / "docs").glob("*.md"))]


def blocks(page: str, root: Path = ROOT) -> list[Block]:
    """Return the shell blocks of a page, in order.

    Raises:
        ValueError: a block does not say what language it is in, so nobody knows whether it is a command.
    """
    lines = (root / page).read_text(encoding="utf-8").splitlines(keepends=True)
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if opened is None:
            opened = number, fence["language"].strip()
            if not opened[1]:
                raise ValueError(f"{page}:{number}: a block without a language; say sh, or text for what is no command")
            continue
        start, language = opened
        opened = None
        if language == "sh":
            promise = _STATUS.match("".join(lines[number:]))
            text = "".join(lines[start : number - 1])
            found.append(Block(page, start, text, int(promise["status"]) if promise else None))
    return found


def every_block(root: Path = ROOT) -> list[Block]:
    """Return the shell blocks of all pages."""
    return [block for page in pages(root) for block in blocks(page, root)]
