"""The differences for the HTML report: grouped by experiment and object, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from mlflow_parity.core.text import distinct, shorten, shorten_pair, visible
from mlflow_parity.core.verdict import SEVERITY, Finding
from mlflow_parity.reporting.report import Report

#: Bytes of HTML that the differences may take.
MAX_FINDING_BYTES = 4_000_000
#: Objects whose differences are unfolded at once.
OPEN_GROUPS = 40
_MAX_VALUE = 2_000
_MAX_EXPLANATION = 4_000
#: Markup around one difference and its group, generously.
_FRAME_BYTES = 900


@dataclass(slots=True)
class Shown:
    """One finding, ready to print."""

    finding: Finding
    source: str | None
    target: str | None
    explanation: str
    size: int


@dataclass(slots=True)
class Group:
    """The findings of one object."""

    first: Finding
    unfolded: bool
    items: list[Shown] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """The findings of one experiment."""

    name: str
    anchor: str
    groups: list[Group] = field(default_factory=list)


def sections(report: Report, order: Sequence[str]) -> tuple[list[Section], int]:
    """Group the findings by experiment and object, worst first, as many as the budget of bytes allows."""
    rank = {name: number for number, name in enumerate(order)}
    # a finding of an experiment without coverage comes first: it is not in the table
    ordered = sorted(
        report.findings,
        key=lambda finding: (
            rank.get(finding.experiment, -1),
            finding.experiment,
            finding.kind != "experiment",
            finding.name,
            finding.source_id or "",
            finding.target_id or "",
            SEVERITY.index(finding.state),
            finding.facet,
            finding.key,
        ),
    )
    found: list[Section] = []
    groups: dict[tuple[str, str, str, str | None, str | None], Group] = {}
    spent = shown = 0
    for item in _fitting(ordered):
        spent += item.size
        if spent > MAX_FINDING_BYTES:
            break
        shown += 1
        finding = item.finding
        if not found or found[-1].name != finding.experiment:
            found.append(Section(finding.experiment, f"experiment-{len(found) + 1}"))
        identity = (finding.experiment, finding.kind, finding.name, finding.source_id, finding.target_id)
        group = groups.get(identity)
        if group is None:
            group = groups[identity] = Group(finding, unfolded=len(groups) < OPEN_GROUPS)
            found[-1].groups.append(group)
        group.items.append(item)
    return found, len(ordered) - shown


def _fitting(findings: Sequence[Finding]) -> Iterator[Shown]:
    for finding in findings:
        source, target = distinct(finding.source, finding.target, multiline=True)
        if source is not None and target is not None:
            source, target = shorten_pair(source, target, _MAX_VALUE)
        elif source is not None:
            source = shorten(source, _MAX_VALUE)
        elif target is not None:
            target = shorten(target, _MAX_VALUE)
        explanation = shorten(visible(finding.explanation, multiline=True), _MAX_EXPLANATION)
        texts = (source, target, explanation, *(visible(text or "")[:_MAX_VALUE] for text in _names(finding)))
        size = _FRAME_BYTES + sum(len(escape(text or "").encode("utf-8")) for text in texts)
        yield Shown(finding, source, target, explanation, size)


def _names(finding: Finding) -> tuple[str | None, ...]:
    # the experiment's and the run's names are printed for each group, so they are counted twice
    ids = (finding.source_id, finding.target_id)
    return finding.experiment, finding.name, finding.experiment, finding.facet, finding.key, finding.rule, *ids
