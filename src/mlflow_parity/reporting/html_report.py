"""The report as one HTML file: no script, no outside asset, safe to open and to print."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.sums import counted_by
from mlflow_parity.core.text import shorten, visible
from mlflow_parity.core.verdict import SEVERITY, Cell, State
from mlflow_parity.reporting.report import SIDES, Report, SideReport, experiment_order, percent

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup
from collections.abc import Iterator
from dataclasses import dataclass, field

from mlflow_parity.core.text import distinct, shorten_pair
from mlflow_parity.core.verdict import Finding

#: Bytes of HTML that the rows of the coverage table may take; the rest is summarised. With the differences
#: and the lists the file stays below 10 MB whatever the servers hold.
MAX_TABLE_BYTES = 3_000_000
#: Facets with something wrong that have a column of their own, at most; facets that are counted by kind.
MAX_FACETS = 60
MAX_COUNTED = 500
_MAX_LINES = 80
#: Names in one list of the scope: there are fewer facets and checks.
_MAX_ITEMS = 500
_MAX_TEXT = 800
_MAX_NAME = 160
_MAX_COMMAND = 20_000
#: Markup around one state of one cell, one cell and one row.
_STATE_BYTES, _CELL_BYTES, _ROW_BYTES = 130, 90, 290

#: One sign per state, so that colour is never the only difference.
SIGNS: Mapping[State, str] = {
    State.MATCH: "✓",
    State.EXPECTED: "≈",
    State.WAIVED: "◇",
    State.MISMATCH: "≠",
    State.MISSING: "−",
    State.EXTRA: "+",
    State.DUPLICATE: "×",
    State.AMBIGUOUS: "?",
    State.UNVERIFIED: "○",
}
MEANINGS: Mapping[State, str] = {
    State.MATCH: "equal on both sides",
    State.EXPECTED: "differs as the contract says",
    State.WAIVED: "difference accepted by the user",
    State.MISMATCH: "differs",
    State.MISSING: "not on the target",
    State.EXTRA: "only on the target",
    State.DUPLICATE: "more than once on the target",
    State.AMBIGUOUS: "cannot be paired",
    State.UNVERIFIED: "not read or not compared",
}


def render(report: Report) -> str:
    """Return ``report`` (already redacted) as an HTML document of less than 10 MB that is valid UTF-8."""
    if report.verdict == "none":
        return template("no_verdict.html.j2").render(report=report, command=_command(report))
    cells = report.by_experiment()
    order = experiment_order(cells)
    by_facet = report.by_facet()
    red = [facet for facet, cell in by_facet.items() if not cell.green]
    facets = red[:MAX_FACETS]
    grid: dict[str, dict[str, Cell]] = {}
    for row in report.coverage:
        cell = grid.setdefault(row.experiment, {}).setdefault(row.facet, Cell())
        cell.counts.update(row.cell.counts)
    shown = order[: _rows_that_fit(order, cells, grid, facets)]
    hidden = order[len(shown) :]
    outside = _outside(report)
    shown_sections, left_out = sections(report, order)
    document = template().render(
        report=report,
        done=percent(report.verified, report.objects),
        bar=_bar(report),
        not_green=report.failed,
        facets=facets,
        facets_hidden=len(red) - len(facets),
        kinds=_by_kind(by_facet),
        kinds_hidden=max(len(by_facet) - MAX_COUNTED, 0),
        whole=_sum(cells.values()),
        states_in_order=[state for state in SEVERITY if state.green],
        by_facet=by_facet,
        experiments=[(name, cells[name], grid[name]) for name in shown],
        anchors={section.name: section.anchor for section in shown_sections},
        hidden=len(hidden),
        hidden_red=sum(not cells[name].green for name in hidden),
        sections=shown_sections,
        left_out=left_out,
        not_kept=max(report.findings_total - len(report.findings), 0),
        command=_command(report),
        facts=_facts(report),
        side_rows=_side_rows(report.sides["source"], report.sides["target"]),
        outside=outside,
        looked_outside=any(report.sides[name].outside for name in SIDES),
        # a partial audit names what was left out in a place of its own
        not_part=outside if report.scope.partial else [*report.scope.left_out, *outside],
        waivers=[", ".join(f"{key}: {text}" for key, text in waiver.items()) for waiver in report.waivers],
        states=[(state, SIGNS[state], MEANINGS[state], report.totals[state.value]) for state in SEVERITY],
        cell_states=_cell_states,
        signs=SIGNS,
        percent=percent,
        max_lines=_MAX_LINES,
        max_items=_MAX_ITEMS,
    )
    return document if document.endswith("\n") else document + "\n"


def _command(report: Report) -> str:
    return shorten(visible(shlex.join(report.command)), _MAX_COMMAND)


@lru_cache(maxsize=4)
def template(name: str = "report.html.j2") -> Template:
    """Return a template of this folder, which escapes and makes visible whatever it prints."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # every value that the template prints passes here, so none can be forgotten
        finalize=_printable,
    )
    environment.filters["number"] = lambda number: f"{number:,}"
    environment.filters["block"] = _block
    environment.filters["name"] = lambda name: shorten(visible(name), _MAX_NAME)
    source = files("mlflow_parity.reporting").joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(source)


def _printable(value: Any) -> Any:
    if hasattr(value, "__html__"):
        return value
    return shorten(visible(str(value)), _MAX_TEXT) if isinstance(value, str) else value


def _block(text: str) -> Markup:
    """Escape a text of several lines; it keeps its line breaks and is otherwise made visible."""
    from markupsafe import escape as markup

    return markup(visible(text, multiline=True))


def _size(number: int) -> str:
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _by_kind(by_facet: Mapping[str, Cell]) -> list[tuple[str, int, list[tuple[str, Cell]]]]:
    """Return each kind of object, how many there are of it, and its facets in the contract's order."""
    kinds: dict[str, list[tuple[str, Cell]]] = {}
    for name in list(by_facet)[:MAX_COUNTED]:
        kind, _, facet = name.rpartition(" ")
        kinds.setdefault(kind.replace("_", " ") or "object", []).append((facet, by_facet[name]))
    return [(kind, max(cell.total for _, cell in those), those) for kind, those in kinds.items()]


def _sum(cells: Iterable[Cell]) -> Cell:
    whole = Cell()
    for cell in cells:
        whole.counts.update(cell.counts)
    return whole


def _rows_that_fit(
    order: Sequence[str], cells: Mapping[str, Cell], grid: Mapping[str, Mapping[str, Cell]], facets: Sequence[str]
) -> int:
    """Return how many rows of the coverage table there is room for (at least one)."""
    spent = 0
    for number, name in enumerate(order):
        states = sum(state.green for state, count in cells[name].counts.items() if count)
        states += sum(len(_cell_states(grid[name][facet])) for facet in facets if facet in grid[name])
        text = len(escape(shorten(visible(name), _MAX_NAME)).encode())
        spent += _ROW_BYTES + text + _CELL_BYTES * len(facets) + _STATE_BYTES * states
        if spent > MAX_TABLE_BYTES:
            return max(number, 1)
    return len(order)


def _bar(report: Report) -> list[tuple[State, float]]:
    """Return the shares of the coverage bar in per cent; what occurs is wide enough to be seen."""
    present = [(state, report.totals[state.value]) for state in SEVERITY if report.totals[state.value]]
    shares = [(state, max(100 * count / report.objects, 1.0)) for state, count in present]
    whole = sum(share for _, share in shares)
    return [(state, round(100 * share / whole, 2)) for state, share in shares]


def _cell_states(cell: Cell) -> list[tuple[State, int]]:
    """Return what one cell says: the states not green, worst first, or how many are in order."""
    red = [(state, cell.counts[state]) for state in SEVERITY if cell.counts[state] and not state.green]
    return red or [(state, cell.counts[state]) for state in SEVERITY if cell.counts[state]]


def _facts(report: Report) -> list[tuple[str, str]]:
    paired = ", ".join(f"{visible(key)}: {count:,}" for key, count in report.paired_by.items())
    timings = ", ".join(f"{visible(key)} {seconds:,.1f} s" for key, seconds in report.timings.items())
    return [
        ("Tool", f"mlflow-parity {report.tool_version}"),
        ("Created", report.created),
        ("Profile", report.scope.profile),
        ("Exit status", "not known yet" if report.exit_status is None else str(report.exit_status)),
        ("Digest of the contract", report.contract_digest or "–"),
        ("Digest of the waivers", report.waivers_digest or "–"),
        ("SHA-256 of ledger.parquet", report.ledger_digest or "–"),
        ("Paired by", paired or "–"),
        ("Files", counted_by(report.evidence) or "–"),
        ("Explained by deepdiff", f"{report.explained:,}"),
        ("Time taken", timings or "–"),
        ("Report format", report.format_version),
    ]


def _side_rows(source: SideReport, target: SideReport) -> list[tuple[str, str, str]]:
    """Return the two sides beside each other: a label and both texts per row."""
    kinds = {
        "http": "tracking server",
        "app": "SageMaker MLflow App",
        "tracking-server": "SageMaker MLflow tracking server",
        "snapshot": "snapshot directory",
    }

    def texts(side: SideReport) -> list[tuple[str, str]]:
        capabilities = ", ".join(f"{name}: {_told(value)}" for name, value in side.capabilities.items())
        return [
            ("Location", side.location),
            ("Kind", kinds[side.kind]),
            ("Answered by", side.answered or ("–" if side.kind == "snapshot" else "its own address")),
            ("MLflow version", side.server_version or "not reported by the server"),
            ("Capabilities", capabilities or "–"),
            ("Read from (UTC)", side.read_from or "–"),
            ("Finished reading (UTC)", side.read_to or "–"),
            ("Requests", f"{side.requests:,}"),
            (
                "Parts resumed from an interrupted audit",
                f"{side.resumed_parts:,}" + (f", the oldest read at {side.resumed_from}" if side.resumed_from else ""),
            ),
            ("Experiments", f"{side.experiments:,}"),
            ("Runs", f"{side.runs:,}"),
            ("Metric points", f"{side.points:,}"),
            ("Artifact files", f"{side.artifacts:,} ({_size(side.artifact_bytes)})"),
            ("Digest of the snapshot", side.snapshot_digest or "–"),
            ("Snapshot kept at", side.snapshot_path or "not kept"),
        ]

    pairs = zip(texts(source), texts(target), strict=True)
    return [(label, first, second) for (label, first), (_, second) in pairs]


def _told(value: object) -> str:
    if value is None:
        return "unknown"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _outside(report: Report) -> list[str]:
    """Return what is there but not compared, one line per kind and side."""
    lines = []
    for name in SIDES:
        for kind, count in report.sides[name].outside.items():
            if count is None:
                lines.append(f"{kind}: cannot be counted on {name}")
            elif count:
                lines.append(f"{kind}: {count:,} on {name}")
    return lines


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
