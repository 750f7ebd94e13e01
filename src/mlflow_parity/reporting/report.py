"""The report: everything that any format shows, as one frozen data class without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

from mlflow_parity.audit.self_test_outcome import SelfTest
from mlflow_parity.core.scope import Evidence
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import SEVERITY, Cell, Deleted, Finding, State
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.other_reasons import OtherReason
from mlflow_parity.reporting.side_report import SideReport

FORMAT_VERSION = "1"
#: How the command begins that joins parts.
JOINING = ("mlflow-parity", "merge")
#: The location of a side of which nothing is known.
NOT_KNOWN = "(not known)"
#: ``none``: the audit is under way, or did not finish.
Verdict = Literal["green", "red", "none"]
#: The two keys of :attr:`Report.sides`.
SIDES: tuple[SideName, ...] = ("source", "target")
#: Fields with a closed vocabulary: no data of a server or user, so nothing to redact.
_CLOSED = frozenset({"format_version", "verdict", "depth", "profile", "evidence", "kind", "state", "of"})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scope:
    """What the audit was asked to compare.

    ``experiments``, ``excluded`` and ``models`` are the names or globs given (empty: all, none, all); ``facets`` and
    ``checks`` what was selected; ``partial`` whether less was compared than the tool can, ``left_out`` says what,
    one line each.
    """

    experiments: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    include_deleted: bool = False
    depth: Literal["listing", "digest", "full"] = "digest"
    facets: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    partial: bool = False
    left_out: tuple[str, ...] = ()
    profile: Literal["export-import", "same-store"] = "export-import"
    models: tuple[str, ...] = ()
    evidence: Evidence = "stores"
    """What could prove that files are equal."""


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """One facet of one experiment: how many objects are in which state."""

    experiment: str
    facet: str
    cell: Cell

    @property
    def counts(self) -> dict[str, int]:
        """Objects by state, worst state first, only those that occur."""
        return {state.value: self.cell.counts[state] for state in SEVERITY if self.cell.counts[state]}

    @property
    def total(self) -> int:
        """All objects that the scope names."""
        return self.cell.total

    @property
    def verified(self) -> int:
        """Objects that were read and judged on both sides."""
        return self.cell.verified

    @property
    def findings(self) -> int:
        """All differences, not only those kept in the report."""
        return self.cell.findings

    @property
    def worst(self) -> State:
        """The worst state among the objects."""
        return self.cell.worst


@dataclass(frozen=True, slots=True)
class Report:
    """What one audit concluded, and all the evidence that the formats show of it.

    ``created`` is an ISO 8601 time in UTC; ``reasons`` says in one line each why the verdict is red;
    ``findings`` are those kept (the audit caps them), ``findings_total`` counts all; ``explained`` counts the
    calls of deepdiff; ``command`` repeats the audit and holds no secret; ``timings`` are seconds by phase.

    Raises:
        ValueError: when a green verdict contradicts the evidence beside it. A report must not be able to say so.
    """

    tool_version: str
    created: str
    verdict: Verdict
    scope: Scope
    sides: Mapping[str, SideReport]
    warning: str = ""
    """The first line of every format: that the move looks like one of the other profile; empty when it does not."""
    reasons: tuple[str, ...] = ()
    other_reasons: tuple[OtherReason, ...] = ()
    """Those of them that do not follow from rows of the ledger."""
    in_common: tuple[str, ...] = ()
    """What the runs that differ have in common, a line each: a hint of the cause."""
    exit_status: int | None = None
    contract_digest: str = ""
    coverage: tuple[CoverageRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    findings_total: int = 0
    paired_by: Mapping[str, int] = field(default_factory=dict)
    evidence: Mapping[str, int] = field(default_factory=dict)
    """Files that are equal, by what proves it; the ledger names each."""
    explained: int = 0
    command: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Objects that changed on their server while the audit was running, one line each."""
    notes: tuple[str, ...] = ()
    waivers: tuple[Mapping[str, str], ...] = ()
    waivers_digest: str = ""
    self_test: SelfTest | None = None
    """What became of the faults that ``--parity-self-test`` planted; ``None``: it was not asked for."""
    not_green: tuple[str, ...] = ()
    """Checks whose part of the ledger is not green, as ``promise[item id]``; ``--parity-recheck`` judges them again."""
    timings: Mapping[str, float] = field(default_factory=dict)
    ledger_digest: str = ""
    """SHA-256 (hex) of the ``ledger.parquet`` from which all figures are counted; empty: there is none."""
    page_digest: str = ""
    """SHA-256 (hex) of ``report.html`` without what it states of ``report.json``; empty: that page states nothing."""
    subset: Mapping[str, Any] | None = None
    """What says of one part of several which it is, and what all of them must hold; ``None``: it is the whole."""
    earlier: str | None = None
    """Name of the folder beside this report with the one that stood in its place before; ``None``: none did."""
    format_version: str = FORMAT_VERSION

    def __post_init__(self) -> None:
        if set(self.sides) != set(SIDES):
            raise ValueError(f"a report has the sides source and target, not {sorted(self.sides)}")
        if self.verdict not in ("green", "red", "none"):
            raise ValueError(f"a verdict is green, red or none, not {self.verdict!r}")
        if self.verdict == "none" and (self.objects or self.ledger_digest):
            raise ValueError("no verdict although something was compared")
        if self.verdict == "green":
            if self.reasons:
                raise ValueError(f"green verdict with reasons against it: {self.reasons[0]}")
            if not self.objects:
                raise ValueError("green verdict although nothing was compared")
            if not all(row.cell.green for row in self.coverage):
                raise ValueError("green verdict although the coverage holds objects that are not green")
            if self.self_test is not None and self.self_test.red:
                raise ValueError("green verdict although the self-test found the audit blind")
            if any(not finding.state.green for finding in self.findings):
                raise ValueError("green verdict although there are findings that are not green")

    @property
    def totals(self) -> dict[str, int]:
        """Objects by state over all experiments and facets; every state is named, worst first."""
        counts: Counter[State] = Counter()
        for row in self.coverage:
            counts.update(row.cell.counts)
        return {state.value: counts[state] for state in SEVERITY}

    @property
    def objects(self) -> int:
        """All objects × facets that the scope names."""
        return sum(row.total for row in self.coverage)

    @property
    def verified(self) -> int:
        """Objects × facets that were read and judged on both sides."""
        return sum(row.verified for row in self.coverage)

    @property
    def failed(self) -> int:
        """Objects × facets that are not green."""
        return sum(row.cell.failed for row in self.coverage)

    @property
    def waived(self) -> int:
        """Objects × facets whose difference a waiver accepts."""
        return sum(row.cell.counts[State.WAIVED] for row in self.coverage)

    @property
    def title(self) -> str:
        """The verdict in words: ``RED (partial)``, ``GREEN (partial: part 1 of 2)``, ``NO VERDICT``."""
        if self.verdict == "none":
            return "NO VERDICT"
        what = f"partial: part {self.subset['part']} of {self.subset['of']}" if self.subset else "partial"
        return f"{self.verdict.upper()}{f' ({what})' if self.scope.partial else ''}"

    @property
    def figures(self) -> str:
        """What was compared, what failed and what waivers accepted, a word for each figure; in all formats alike."""
        if not self.objects:
            return "nothing was compared"
        told = f"compared {self.verified:,} of {self.objects:,} · {self.failed:,} failed"
        told += f" · {self.waived:,} waived" if self.waived else ""
        return told + (f" · {counted(self.findings_total, 'differences')}" if self.findings_total else "")

    @property
    def not_compared(self) -> tuple[str, ...]:
        """What was left out, a line each: what limits a partial audit, and deleted objects that are there."""
        found = [*self.scope.left_out] if self.scope.partial else []
        if self.scope.partial and not found:
            found.append("see report.html")
        if self.scope.include_deleted:
            return tuple(found)
        # an audit's own list may name them already, those that are none too
        sides = [self.sides[name].deleted for name in SIDES]
        told = zip(self.deleted, sides, strict=True)
        there = [line for line, known in told if known is None or not known.none]
        return (*(line for line in found if line not in self.deleted), *there)

    @property
    def red_rows(self) -> list[CoverageRow]:
        """The rows of the coverage that are not green: the experiments that are worst first, and of each its facets."""
        place = {name: number for number, name in enumerate(experiment_order(self.by_experiment()))}
        red = [row for row in self.coverage if not row.cell.green]
        return sorted(red, key=lambda row: (place[row.experiment], SEVERITY.index(row.worst), row.facet))

    @property
    def deleted(self) -> tuple[str, ...]:
        """What was left out for being deleted, a sentence for each side; none where deleted objects are in scope."""
        if self.scope.include_deleted:
            return ()
        unknown = Deleted(None, None, None)
        return tuple((self.sides[name].deleted or unknown).told(name) for name in SIDES)

    def by_facet(self) -> dict[str, Cell]:
        """Coverage summed over the experiments, in the order in which the facets first occur."""
        return self._summed("facet")

    def by_experiment(self) -> dict[str, Cell]:
        """Coverage summed over the facets, in the order in which the experiments first occur."""
        return self._summed("experiment")

    def _summed(self, name: Literal["facet", "experiment"]) -> dict[str, Cell]:
        sums: dict[str, Cell] = {}
        for row in self.coverage:
            cell = sums.setdefault(row.facet if name == "facet" else row.experiment, Cell())
            cell.counts.update(row.cell.counts)
            cell.findings += row.cell.findings
        return sums

    def redacted(self, redact: Callable[[str], str]) -> Report:
        """Return the report with every text in it, names of mappings included, passed through ``redact``."""
        return _redacted(self, redact)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists, strings and numbers, as ``report.schema.json`` describes."""
        found: dict[str, Any] = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        found["totals"] = self.totals
        found["objects"], found["verified"] = self.objects, self.verified
        return found


def unfinished(
    tool_version: str, created: str, sides: Mapping[str, SideReport] | None = None, command: tuple[str, ...] = ()
) -> Report:
    """Return what stands in a report's place until there is one; without ``sides`` it is not known of what."""
    unknown = SideReport(NOT_KNOWN, "http")
    return Report(
        tool_version,
        created,
        "none",
        Scope(),
        sides or dict.fromkeys(SIDES, unknown),
        reasons=("no verdict: did not finish",),
        command=command,
    )


def experiment_order(cells: Mapping[str, Cell]) -> list[str]:
    """Return the experiments worst first: by worst state, then by objects not green, findings and name."""

    def rank(name: str) -> tuple[int, int, int, str]:
        cell = cells[name]
        return SEVERITY.index(cell.worst), -cell.failed, -cell.findings, name

    return sorted(cells, key=rank)


def _plain(value: Any) -> Any:
    if isinstance(value, State):
        return value.value
    if isinstance(value, CoverageRow):
        return {
            "experiment": value.experiment,
            "facet": value.facet,
            "counts": value.counts,
            "total": value.total,
            "verified": value.verified,
            "findings": value.findings,
            "worst": value.worst.value,
        }
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _redacted(value: _T, redact: Callable[[str], str]) -> _T:
    found: Any = value
    if isinstance(value, (State, Cell)):
        return value
    if isinstance(value, str):
        found = redact(value)
    elif is_dataclass(value) and not isinstance(value, type):
        changes = {
            item.name: _redacted(getattr(value, item.name), redact)
            for item in fields(value)
            if item.name not in _CLOSED
        }
        found = replace(value, **changes)
    elif isinstance(value, Mapping):
        found = {redact(key) if isinstance(key, str) else key: _redacted(item, redact) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        found = type(value)(_redacted(item, redact) for item in value)
    elif isinstance(value, (set, frozenset)):
        found = sorted(_redacted(str(item), redact) for item in value)
    elif value is not None and not isinstance(value, (bool, int, float)):
        # capabilities may hold anything; what is not plain is written as text, so it is redacted as text
        found = redact(str(value))
    return found  # type: ignore[no-any-return]
