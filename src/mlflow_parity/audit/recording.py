"""Writes down what was judged: ledger rows, coverage and findings, after the waivers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mlflow_parity.audit.result import Result, RowSink
from mlflow_parity.audit.test_items import Item, ItemState
from mlflow_parity.audit.waivers.waived_values import told
from mlflow_parity.audit.waivers.waivers import WaiverBook, waivable
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.explain import Explainer, cleaned, shown
from mlflow_parity.comparing.stopping import Stop
from mlflow_parity.core.verdict import Finding, Row


@dataclass(frozen=True, slots=True)
class Judged:
    """A row after the waivers, with those of its findings that are kept."""

    row: Row
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Recorder:
    """Takes what was found into the result, and its rows into the ledger; ``most``: findings kept of each facet."""

    result: Result
    sink: RowSink
    waivers: WaiverBook
    most: int
    redact: Callable[[str], str]
    stop: Stop | None = None
    explainer: Explainer = field(default_factory=Explainer)
    rows: int = 0
    """Rows that were taken in."""

    def outcomes(self, item: Item, outcomes: Iterable[Outcome]) -> None:
        """Take in what was found of an item, if only that nothing was."""
        self._state(item)
        for outcome in outcomes:
            self.outcome(item, outcome)

    def outcome(self, item: Item, outcome: Outcome) -> Outcome:
        """Take in one row with its differences; return what became of it."""
        outcome = self.waivers.apply(outcome)
        self.rows += 1
        kept = self._take(item, outcome.row)
        for difference in outcome.differences:
            if difference.state.green or len(kept) >= self.most:
                continue
            row = outcome.row
            bound = (
                ()
                if difference.state not in waivable(row.kind) or row.facet == "presence"
                else tuple(told(value, self.redact) for value in difference.binding)
            )
            # before anything is cut short: half a secret could not be recognised
            difference = cleaned(difference, self.redact)
            kept.append(
                Finding(
                    experiment=row.experiment,
                    kind=row.kind,
                    name=row.name,
                    source_id=row.source_id,
                    target_id=row.target_id,
                    facet=row.facet,
                    key=difference.key,
                    state=difference.state,
                    rule=difference.rule,
                    source=shown(difference.source),
                    target=shown(difference.target),
                    explanation=self.explainer(difference),
                    bound=bound,
                )
            )
        return outcome

    def judged(self, item: Item, found: Iterable[Judged]) -> None:
        """Take in what another process has judged, waivers and findings included."""
        self._state(item)
        for one in found:
            kept = self._take(item, one.row)
            kept += one.findings[: max(self.most - len(kept), 0)]

    def findings(self, item: Item, row: Row) -> Sequence[Finding]:
        """Return the findings that are kept of a row's facet, the latest last."""
        return self._state(item).findings.get(f"{row.kind} {row.facet}", ())

    def _state(self, item: Item) -> ItemState:
        return self.result.states.setdefault(item.key, ItemState(item))

    def _take(self, item: Item, row: Row) -> list[Finding]:
        """Write one row down and count it; return the findings of its facet, to be added to."""
        state, result = self._state(item), self.result
        if self.stop is not None:
            self.stop.see(row)
        self.sink.add(row)
        result.totals[row.state] += 1
        result.evidence.update({proof: len(paths) for proof, paths in row.evidence})
        if (row.kind, row.facet) == ("run", "presence") and row.paired_by:
            result.paired_by[row.paired_by] += 1
        facet = f"{row.kind} {row.facet}"
        state.cell(facet).add(row)
        return state.findings.setdefault(facet, [])
