"""The differences as the page shows them: altered values first, then lists of objects, as many as there is room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from mlflow_parity.core.text import distinct, shorten, shorten_pair, visible
from mlflow_parity.core.verdict import SEVERITY, Finding, State
from mlflow_parity.reporting.page.curves import Curves, Key, drawn
from mlflow_parity.reporting.page.ui_links import Page, Pages
from mlflow_parity.reporting.report import Report

if TYPE_CHECKING:
    from markupsafe import Markup

#: Bytes of HTML that the differences may take.
MAX_FINDING_BYTES = 4_000_000
#: Objects whose altered values are unfolded at once, and lists of objects that are so short that they are too.
OPEN_GROUPS, OPEN_LIST = 40, 10
_MAX_VALUE = 2_000
_MAX_EXPLANATION = 4_000
#: Markup around one difference and its group, generously.
_FRAME_BYTES = 1_100
#: The parts in their order: what was changed is seen at no other place, what is missing stands in the counts too.
ALTERED, OBJECTS, UNREAD, ACCEPTED = (
    "Altered values",
    "Missing, extra, duplicate and ambiguous objects",
    "Not read or not compared",
    "Accepted differences",
)
_PARTS = (ALTERED, OBJECTS, UNREAD, ACCEPTED)


@dataclass(slots=True)
class Shown:
    """One finding, ready to print."""

    finding: Finding
    source: str | None
    target: str | None
    explanation: str
    size: int
    links: tuple[tuple[str, Page], ...] = ()
    curves: tuple[Markup, Markup] | None = None
    """A metric's history on both sides, drawn."""


@dataclass(slots=True)
class Group:
    """The findings of one object."""

    first: Shown
    unfolded: bool
    items: list[Shown] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """The findings of one experiment in one part."""

    name: str
    anchor: str
    links: tuple[tuple[str, Page], ...]
    groups: list[Group] = field(default_factory=list)

    @property
    def items(self) -> list[Shown]:
        """All of its findings."""
        return [item for group in self.groups for item in group.items]

    @property
    def counts(self) -> list[tuple[State, int]]:
        """Its findings by state, worst first."""
        counts = Counter(item.finding.state for item in self.items)
        return [(state, counts[state]) for state in SEVERITY if counts[state]]


@dataclass(slots=True)
class PartShown:
    """What is wrong in one way, by experiment."""

    title: str
    anchor: str
    listed: bool
    """Whether its objects are a list, and have no values to be laid beside each other."""
    sections: list[Section] = field(default_factory=list)


def part_of(finding: Finding) -> str:
    """Return the title of the part that shows a finding."""
    if finding.state.green:
        return ACCEPTED
    if finding.state is State.UNVERIFIED:
        return UNREAD
    whole = finding.facet == "presence" or finding.state in (State.DUPLICATE, State.AMBIGUOUS)
    return OBJECTS if whole and finding.state is not State.MISMATCH else ALTERED


def shown_parts(
    report: Report, order: Sequence[str], pages: Pages, curves: Mapping[Key, Curves]
) -> tuple[list[PartShown], int]:
    """Group the findings by what is wrong, experiment and object, worst first; return how many there is no room for."""
    rank = {name: number for number, name in enumerate(order)}
    # a finding of an experiment without coverage comes first: it is not in the table
    ordered = sorted(
        report.findings,
        key=lambda finding: (
            _PARTS.index(part_of(finding)),
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
    parts: list[PartShown] = []
    groups: dict[tuple[str | None, ...], Group] = {}
    spent = shown = sections = 0
    for item in _fitting(ordered, pages, curves):
        spent += item.size
        if spent > MAX_FINDING_BYTES:
            break
        shown += 1
        finding, title = item.finding, part_of(item.finding)
        if not parts or parts[-1].title != title:
            parts.append(PartShown(title, f"part-{len(parts) + 1}", title == OBJECTS))
        found = parts[-1].sections
        if not found or found[-1].name != finding.experiment:
            sections += 1
            links = pages.experiment(finding.experiment)
            found.append(Section(finding.experiment, f"experiment-{sections}", links))
        identity = (title, finding.experiment, finding.kind, finding.name, finding.source_id, finding.target_id)
        group = groups.get(identity)
        if group is None:
            group = groups[identity] = Group(item, unfolded=title == ALTERED and len(groups) < OPEN_GROUPS)
            found[-1].groups.append(group)
        group.items.append(item)
    return parts, len(ordered) - shown


def _fitting(findings: Sequence[Finding], pages: Pages, curves: Mapping[Key, Curves]) -> Iterator[Shown]:
    for finding in findings:
        source, target = distinct(finding.source, finding.target, multiline=True)
        if source is not None and target is not None:
            source, target = shorten_pair(source, target, _MAX_VALUE)
        elif source is not None:
            source = shorten(source, _MAX_VALUE)
        elif target is not None:
            target = shorten(target, _MAX_VALUE)
        explanation = shorten(visible(finding.explanation, multiline=True), _MAX_EXPLANATION)
        links = pages.of(finding)
        texts = (source, target, explanation, *(visible(text or "")[:_MAX_VALUE] for text in _names(finding)))
        size = _FRAME_BYTES + sum(len(escape(text or "").encode("utf-8")) for text in texts)
        size += sum(
            len(page.path) + len(page.href or "") for _, page in (*links, *pages.experiment(finding.experiment))
        )
        history = (
            curves.get((finding.source_id, finding.target_id, finding.key)) if finding.facet == "metrics" else None
        )
        pictures = None if history is None else drawn(history)
        size += sum(map(len, pictures or ()))
        yield Shown(finding, source, target, explanation, size, links, pictures)


def _names(finding: Finding) -> tuple[str | None, ...]:
    # the experiment's and the run's names are printed for each group, so they are counted twice
    ids = (finding.source_id, finding.target_id)
    return finding.experiment, finding.name, finding.experiment, finding.facet, finding.key, finding.rule, *ids
