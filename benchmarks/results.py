"""RESULTS.md, of which each benchmark rewrites the part under its own heading."""

from __future__ import annotations

import re
from pathlib import Path

_FILE = Path(__file__).parent / "RESULTS.md"


def write_part(heading: str, text: str) -> None:
    """Put ``text``, which begins with the line ``heading``, in the place of the part with that heading."""
    whole = _FILE.read_text(encoding="utf-8") if _FILE.exists() else "# Results\n"
    parts = re.split(r"(?m)^(?=## )", whole)
    kept = [part for part in parts if not part.startswith(heading)]
    place = next((number for number, part in enumerate(parts) if part.startswith(heading)), len(kept))
    kept.insert(place, text.rstrip() + "\n")
    _FILE.write_text("\n".join(part.rstrip() + "\n" for part in kept), encoding="utf-8")
