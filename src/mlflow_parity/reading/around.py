"""A reader around another one: what it says nothing of is the other's, to ask and to set."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading import Reader


class AroundReader:
    """Answers as the reader that it wraps.

    What is set on it has to get there too: on the wrapper alone nobody would read it.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    @property
    def evidence(self) -> Evidence:
        """Which checksums that stores state stand for the bytes of files."""
        return self._reader.evidence

    @evidence.setter
    def evidence(self, evidence: Evidence) -> None:
        self._reader.evidence = evidence
