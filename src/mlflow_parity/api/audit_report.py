"""What an audit concluded, as an object: verdict, reasons, tables, files; and how a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from mlflow_parity.api.tables import frame_of, table_of
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.text import crop, visible
from mlflow_parity.core.verdict import SEVERITY
from mlflow_parity.reporting.ledger import checked_dataset
from mlflow_parity.reporting.page.notebook_block import render
from mlflow_parity.reporting.report import Report, Verdict
from mlflow_parity.reporting.write import HTML_NAME, LEDGER_NAME

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Table = Literal["findings", "coverage", "ledger"]
_COLUMNS = 120
_FINDING = ("experiment", "kind", "name", "facet", "key", "state", "source", "target", "rule", "explanation",
            "source_id", "target_id")  # fmt: skip
_NAMES = ("experiment", "facet", "worst")
_COUNTS = ("total", "verified", "failed", "findings", *(state.value for state in SEVERITY))


class AuditReport:
    """The report of one audit. It has no truth value: ask :attr:`green`."""

    def __init__(self, report: Report, paths: Mapping[str, Path]) -> None:
        """Wrap a report that is redacted already, and the files that were written of it."""
        self._report = report
        self.paths = dict(paths)
        """``report.json``, ``report.html`` and ``ledger.parquet`` with where they were written; later audits that write
        to the same folder move them into a folder beside."""

    @property
    def green(self) -> bool:
        """Whether everything in scope was compared and is as the contract says; the files prove it."""
        return self._report.verdict == "green" and self._report.exit_status == 0

    @property
    def verdict(self) -> Verdict:
        """``green``, ``red``, or ``none``: nothing was compared."""
        return self._report.verdict

    @property
    def exit_status(self) -> int:
        """What the command would have ended with: 0 green, 1 red, 5 nothing was compared."""
        status = self._report.exit_status
        assert status is not None
        return status

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not green, one line each."""
        return self._report.reasons

    @property
    def in_common(self) -> tuple[str, ...]:
        """What the runs that differ have in common, a line each: a hint of the cause."""
        return self._report.in_common

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was not compared, one line each."""
        return self._report.scope.left_out

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known beside, one line each."""
        return self._report.notes

    @property
    def totals(self) -> dict[str, int]:
        """Comparisons (objects × facets) by state, worst first."""
        return self._report.totals

    def to_dict(self) -> dict[str, Any]:
        """Return all of the report, as ``report.json`` has it."""
        return self._report.to_dict()

    @property
    def findings(self) -> pa.Table:
        """The differences that the report keeps, as a table; ``max_findings`` says how many, the ledger counts all."""
        rows = [{**asdict(one), "state": one.state.value} for one in self._report.findings]
        return table_of(_FINDING, rows)

    @property
    def coverage(self) -> pa.Table:
        """One row for each facet of each experiment: how many objects are in which state."""
        rows = []
        for row in self._report.coverage:
            told = {"worst": row.worst.value, "total": row.total, "verified": row.verified, "failed": row.cell.failed}
            counts = {state.value: row.cell.counts[state] for state in SEVERITY}
            rows.append({"experiment": row.experiment, "facet": row.facet, "findings": row.findings, **told, **counts})
        return table_of((*_NAMES, *_COUNTS), rows, texts=_NAMES)

    @property
    def ledger(self) -> pa.Table:
        """The ledger, one row for each object and facet, read from its file: the evidence, as large as what it proves.

        Raises:
            UsageProblem: it was not written, or is not there any more as it was.
        """
        return checked_dataset(self.ledger_path).to_table()

    @property
    def ledger_path(self) -> Path:
        """Where this audit's ledger is now; it is known by its digest.

        Raises:
            UsageProblem: it was not written, or is not there any more as it was.
        """
        written = self.paths.get(LEDGER_NAME)
        if written is None or not self._report.ledger_digest:
            raise UsageProblem("there is no ledger: nothing was compared, or no report could be written")
        for path in (written, *sorted(written.parent.glob(f"earlier-*/{LEDGER_NAME}"))):
            if path.is_file() and file_sha256(path) == self._report.ledger_digest:
                return path
        raise UsageProblem(f"{written} is not this audit's ledger any more; audit again, with a report_dir of its own")

    def to_pandas(self, table: Table = "findings") -> pd.DataFrame:
        """Return ``findings``, ``coverage`` or ``ledger`` as a data frame of pandas.

        Raises:
            UsageProblem: pandas is not installed, or there is no table of that name.
        """
        if table not in ("findings", "coverage", "ledger"):
            raise UsageProblem(f"{table!r} is no table of a report; there are findings, coverage and ledger")
        return frame_of(lambda: getattr(self, table))

    def __bool__(self) -> NoReturn:
        raise TypeError("the report of an audit is neither true nor false; ask its .green")

    def __repr__(self) -> str:
        """Return two lines: the verdict with its counts, and why, or where the report is."""
        report = self._report
        first = f"mlflow-parity: {report.title}" + (f" · {report.figures}" if report.objects else "")
        why = "; ".join(self.reasons[:2])
        more = [why] if why else []
        more += [f"report: {self.paths[HTML_NAME]}"] if HTML_NAME in self.paths else []
        return "\n".join(crop(visible(line), _COLUMNS) for line in (first, f"  {' · '.join(more)}"))

    def _repr_html_(self) -> str:
        return render(self._report, str(self.paths.get(HTML_NAME, "")))
