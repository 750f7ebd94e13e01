"""One part of several as its audit left it: ``report.json`` and ``ledger.parquet``, both untrusted.

Nothing of it is believed that the other file, or another part, contradicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import given_path
from mlflow_parity.core.subset import MOST_PARTS, SHORT, Subset, Tally
from mlflow_parity.core.text import moment
from mlflow_parity.core.verdict import Finding, Row, State
from mlflow_parity.kinds import SCOPE_KIND
from mlflow_parity.reporting.kept.schema_check import fits
from mlflow_parity.reporting.kept.waiver_drafts import ledger_of, read_report
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.reporting.write import JSON_NAME
from mlflow_parity.snapshot.tables import is_bounded

WHAT = "merge"
#: How pytest ends where there was nothing to judge.
NOTHING_RAN = 5


@dataclass(frozen=True, slots=True)
class Part:
    """One part: where it is, what its report says, and its ledger."""

    folder: Path
    report: Mapping[str, Any]
    ledger: Path
    subset: Subset

    @property
    def told(self) -> Mapping[str, Any]:
        """What the report says of its part."""
        found: Mapping[str, Any] = self.report["subset"]
        return found

    def __str__(self) -> str:
        return f"{self.subset} ({self.folder})"

    @property
    def findings(self) -> list[Finding]:
        """The differences that the report explains."""
        return [
            Finding(**{**one, "state": State(one["state"]), "bound": tuple(one["bound"])})
            for one in self.report["findings"]
        ]

    @property
    def empty(self) -> bool:
        """Whether nothing falls into it but what limits every part, and pytest said no more than that."""
        others = (one for one in self.report["coverage"] if not one["facet"].startswith(f"{SCOPE_KIND} "))
        nothing = not any(one["findings"] or any(one["counts"].values()) for one in others)
        return nothing and self.report["exit_status"] == NOTHING_RAN

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the ledger.

        Raises:
            UsageProblem: it is cut or damaged.
        """
        try:
            for row in read_rows(self.ledger, evidence=True):
                texts = (row.experiment, row.kind, row.name, row.facet, row.paired_by, row.note, *row.rules)
                ids = [one for one in (row.source_id, row.target_id) if one is not None]
                if not all(isinstance(one, str) for one in (*texts, *ids)) or type(row.findings) is not int:
                    raise TypeError("a row is texts and a count")
                proofs = [text for told, paths in row.evidence for text in (told, *paths)]
                if not all(isinstance(text, str) for text in proofs):
                    raise TypeError("evidence is texts")
                if row.findings < 0:
                    raise ValueError("a count is not negative")
                yield row
        except (ValueError, TypeError, KeyError, AttributeError, pa.ArrowException):
            raise UsageProblem(f"{WHAT}: {self.ledger} is damaged; audit {self.subset} again") from None

    def times(self, side: str) -> tuple[datetime, datetime]:
        """Return when a side was read, from when to when.

        Raises:
            UsageProblem: the report does not say.
        """
        told = self.report["sides"][side]
        try:
            began, ended = (moment(told[name]) for name in ("read_from", "read_to"))
            if began > ended:
                raise ValueError("it ended before it began")
        except ValueError:
            raise UsageProblem(f"{WHAT}: {self.folder} does not say when the {side} was read; audit it again") from None
        return began, ended


def folder_of(given: str) -> Path:
    """Return the folder of a part, given that, or a file in it.

    Raises:
        UsageProblem: it cannot be used.
    """
    path = given_path(given, WHAT, "give the folder that the audit of a part wrote", home=False)
    return path if path.is_dir() else path.parent


def load_part(given: str) -> Part:
    """Open one part, given its ledger, its report or the folder of both.

    Raises:
        UsageProblem: one line saying what is wrong, and what to do.
    """
    folder = folder_of(given)
    report = read_report(str(folder / JSON_NAME), WHAT)
    told = report.get("subset")
    if told is None:
        raise UsageProblem(f"{WHAT}: {folder} is no part of an audit; give those made with --parity-subset")
    again = "audit that part again"
    if not fits(report):
        raise UsageProblem(f"{WHAT}: {folder / JSON_NAME} is damaged: it is not of the shape of a report; {again}")
    subset = Subset.parsed(f"{told['part']}/{told['of']}")
    if subset is None:
        raise UsageProblem(f"{WHAT}: {folder} says to be part {told['part']} of {told['of']}; at most {MOST_PARTS:,}")
    ledger = ledger_of(report, str(folder / JSON_NAME), WHAT)
    if ledger is None:
        raise UsageProblem(f"{WHAT}: {folder} has no ledger.parquet; give the whole folder that the audit wrote")
    try:
        bounded = is_bounded(ledger)
    except (pa.ArrowException, OSError, ValueError):
        raise UsageProblem(f"{WHAT}: {ledger} is damaged; {again}") from None
    if not bounded:
        raise UsageProblem(f"{WHAT}: {ledger} unpacks to far more than it is: it was not written by mlflow-parity")
    if not _tally(told["objects"]) or not _models(told["models"]):
        raise UsageProblem(f"{WHAT}: {folder / JSON_NAME} is damaged; {again}")
    return Part(folder, report, ledger, subset)


def expected(part: Part) -> Tally:
    """Return what a part says that all of them must hold."""
    told = part.told["objects"]
    return Tally(
        {facet: one["objects"] for facet, one in told.items()},
        {facet: int(one["digest"], 16) for facet, one in told.items()},
    )


def _tally(told: Mapping[str, Any]) -> bool:
    return all(one["objects"] and _is_hex(one["digest"], 64) for one in told.values())


def _models(told: Mapping[str, Any]) -> bool:
    return all(_is_hex(pair, 2 * SHORT) for pairs in told.values() for pair in pairs)


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and set(text) <= set("0123456789abcdef")
