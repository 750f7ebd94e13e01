"""The report in the terminal: at most 25 lines, the last ten of which are enough."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Callable, Sequence

from mlflow_parity.core.identity.sums import counted_by
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted, crop, noun, quoted, shorten, table, visible, width
from mlflow_parity.core.verdict import SEVERITY, Cell, State, follows
from mlflow_parity.kinds import SCOPE_KIND
from mlflow_parity.reporting.check_message import inside
from mlflow_parity.reporting.report import JOINING, SIDES, Report, experiment_order
from mlflow_parity.reporting.side_report import SideReport

#: Most lines of the summary, and of its last part.
SUMMARY_LINES, LAST_LINES = 25, 10
#: Columns that a line takes at most, and at least where the terminal is narrower.
COLUMNS, NARROW = 120, 60
#: Lines of the last part for what the runs that differ share, and for what was left out; the rest is for causes.
_IN_COMMON, _LEFT_OUT = 2, 2
_WORST, _WAIVERS, _CHANGED = 3, 3, 3
#: Columns of a facet's name: the longest is "experiment artifact_location".
_FACET = 28
#: Lines of each list where everything is wanted (``-v``).
_MANY = 1_000
Redact = Callable[[str], str]


def summary_lines(
    report: Report,
    *,
    report_dir: str | None = "reports",
    redact: Redact | None = None,
    columns: int = COLUMNS,
    verbosity: int = 0,
) -> list[str]:
    """Return the summary of an audit: at most 25 lines without control characters, the verdict in the last ten.

    ``report_dir`` is where the reports were written; ``None``: they could not be. ``columns`` are those of the
    terminal: no line has more than these, and none more than 120. ``verbosity`` is pytest's: below 0 only the last ten
    lines, above it every line that there is.
    """
    clean = redact or Redactor()
    report = report.redacted(clean)
    columns = min(max(columns, NARROW), COLUMNS)
    more = verbosity > 0
    last = _last_lines(report, None if report_dir is None else clean(report_dir), columns, more=more)
    head = [] if verbosity < 0 else _details(report, columns, more=more)
    room = _MANY if more else SUMMARY_LINES - len(head) - len(last)
    facets = [] if verbosity < 0 else _facet_lines(report, room, columns, more=more)
    return [crop(line, columns) for line in [*head, *facets, *last]]


def _details(report: Report, columns: int, *, more: bool) -> list[str]:
    """Return what was read and what is to be known beside: above the verdict."""
    lines = []
    for name in SIDES:
        lines += _side_lines(name, report.sides[name], columns)
    lines += _resumed_lines(report)
    if evidence := counted_by(report.evidence):
        lines.append(f"  {evidence}")
    lines += _outside_lines(report)
    if more:
        lines += [f"  {visible(line)}" for line in report.deleted]
        lines += [f"  note: {visible(line)}" for line in report.notes]
    lines += _waiver_lines(report, more=more)
    changed = [f"  changed during the audit: {visible(line)}" for line in report.changed]
    lines += _capped(changed, _CHANGED, "more that changed", more=more)
    if report.self_test is not None:
        lines.append(f"  self-test: {visible(report.self_test.summary)}")
    return lines + _worst_lines(report, more=more)


def _last_lines(report: Report, report_dir: str | None, columns: int, *, more: bool) -> list[str]:
    """Return the verdict, what is wrong by cause, what was left out, where the report is, and what to do next."""
    lines = [f"parity: {report.title} · {report.figures}"]
    if report.warning and report.warning not in report.reasons:
        lines.append(f"  {visible(report.warning)}")
    common = [f"  in common: {visible(line)}" for line in report.in_common]
    common = _fitted(common, _MANY if more else _IN_COMMON, columns, "more in common, see report.html")
    out = _left_out(report, columns, more=more)
    causes = [f"  - {visible(one)}" for one in report.reasons]
    room = LAST_LINES - len(lines) - len(common) - len(out) - 2
    lines += _fitted(causes, _MANY if more else room, columns, "more, see report.html")
    lines += [*common, *out]
    if report_dir is None:
        return [*lines, "  report: none was written", "  next: make room for the reports, repeat the audit"]
    where = f"  report: {inside(report_dir)}report.html"
    beside = " (beside it report.json, ledger.parquet)"
    return [*lines, where + (beside if width(where + beside) <= columns else ""), *_next_step(report, columns)]


def _left_out(report: Report, columns: int, *, more: bool) -> list[str]:
    """Return what was not compared, in two lines if it need not be each in its own."""
    # said once in a line
    told = [re.sub(" (was|were) left out: ", ": ", visible(line), count=1) for line in report.not_compared]
    if more:
        return _fitted([f"  left out: {line}" for line in told], _MANY, columns, "")
    if len(told) == _LEFT_OUT:
        return _fitted([f"  left out: {line}" for line in told], _LEFT_OUT, columns, "")
    first, others = told[:1], told[1:]
    count = f" (and {len(others):,} more, see report.html)" if others else ""
    room = _LEFT_OUT * columns - 2 * len("  left out: ") - width(count)
    return _fitted([f"  left out: {crop(line, room)}{count}" for line in first], _LEFT_OUT, columns, "")


def _fitted(found: Sequence[str], most: int, columns: int, rest: str) -> list[str]:
    """Return each text in one or two lines, as many as fit into ``most``; a last line counts the others."""
    if len(found) > most:
        # as many as can be are named: each in one line
        kept = [crop(line, columns) for line in found[: most - 1]]
        return [*kept, f"  … and {len(found) - most + 1:,} {rest}"]
    # the first ones say most, and have the second line
    spare = most - len(found)
    lines: list[str] = []
    for line in found:
        parts = textwrap.wrap(
            line, columns, subsequent_indent="    ", break_on_hyphens=False, max_lines=2, placeholder=" …"
        )
        if len(parts) > 1 and spare > 0:
            lines += parts
            spare -= 1
        else:
            lines.append(crop(line, columns))
    return lines


def _side_lines(name: str, side: SideReport, columns: int) -> list[str]:
    """Return one line, or two when the location is long: neither it nor a count may be cut; and what answered there."""
    version = f"MLflow {shorten(visible(side.server_version), 20)}" if side.server_version else "MLflow version unknown"
    counts = (
        f"{version}, {counted(side.experiments, 'experiments')}, {counted(side.runs, 'runs')}, "
        f"{counted(side.points, 'points')}, {counted(side.artifacts, 'files of runs')}"
    )
    if others := sum(side.objects.values()):
        counts += f", {counted(others, 'other objects')}"
    where = f"  {name}: {shorten(visible(side.location), columns - 10)}"
    line = f"{where}: {counts}"
    lines = [line] if width(line) <= columns else [where, f"          {counts}"]
    # what is to be known before it is signed is never cut
    if side.origin:
        read = f", read {shorten(visible(side.read_from), 20)}"
        lines.append(f"          a snapshot of {shorten(visible(side.origin), columns - 24 - width(read))}{read}")
    answered = textwrap.wrap(visible(side.answered), columns - 12, break_on_hyphens=False)
    return [*lines, *(f"          {'  ' if number else ''}{part}" for number, part in enumerate(answered))]


def _resumed_lines(report: Report) -> list[str]:
    """Say what was not read now but by an audit that was interrupted, and since when it is known."""
    found = [
        f"{name} {counted(side.resumed_parts, 'parts')}, the oldest read {visible(side.resumed_from)}"
        for name, side in ((name, report.sides[name]) for name in SIDES)
        if side.resumed_from
    ]
    return [f"  resumed from an interrupted audit: {'; '.join(found)}"] if found else []


def _outside_lines(report: Report) -> list[str]:
    """Say what stands on the source and was not looked at; zeroes say nothing."""
    seen = {name: count for name, count in report.sides["source"].outside.items() if count != 0}
    if not seen:
        return []
    counts = ", ".join(
        f"unknown {visible(name)}" if count is None else f"{count:,} {noun(count, visible(name))}"
        for name, count in seen.items()
    )
    return [f"  outside this audit, on the source: {counts}"]


def _waiver_lines(report: Report, *, more: bool) -> list[str]:
    """Return one line for each waiver, those that are red first."""
    lines = []
    ordered = sorted(report.waivers, key=lambda waiver: waiver.get("status") not in ("expired", "unused"))
    for waiver in ordered:
        told = {name: visible(text) for name, text in waiver.items()}
        what = f"{shorten(told.get('object', ''), 44)} / {shorten(told.get('facet', ''), 20)}"
        status, covered = told.get("status", ""), told.get("covered", "0")
        state = f"covers {covered}" if status == "used" else status.upper()
        who = f"{shorten(told.get('owner', ''), 20)}, until {told.get('expires', '')}"
        free = ", any value" if told.get("values") == "any value" else ""
        lines.append(f"  waiver: {what}: {state} ({who}{free}): {told.get('reason', '')}")
    return _capped(lines, _WAIVERS, "more waivers, see report.html", more=more)


def _facet_lines(report: Report, room: int, columns: int, *, more: bool) -> list[str]:
    """Return a table, one facet per line: of a red audit only those that are wrong, the rest of them in one line.

    What follows from objects without a copy is told by their presence, so it has no line of its own.
    """
    cells = report.by_facet()
    if not cells or room < 2:
        return []
    red = report.verdict == "red"
    wanted = [name for name in cells if more or not red or _is_wrong(name, cells)]
    names = wanted
    if len(wanted) > room - 2 and not more:
        first = [name for name in experiment_order(cells) if name in set(wanted)][: room - 2]
        names = [name for name in wanted if name in set(first)]
    rest = Cell()
    others = [name for name in cells if name not in set(names) and not (red and cells[name].green)]
    for name in others:
        rest.counts.update(cells[name].counts)
    states = [state for state in SEVERITY if report.totals[state.value] and (more or not red or not state.green)]
    rows = [_facet_row(name, cells[name], states) for name in names]
    if others:
        rows.append(_facet_row(f"{counted(len(others), 'other facets')}", rest, states))
    if len(rows) + 1 > room:
        return []
    lines = table([_heads(states, short=False), *rows])
    return lines if width(lines[0]) <= columns else table([_heads(states, short=True), *rows])


def _is_wrong(facet: str, cells: dict[str, Cell]) -> bool:
    """Whether a facet is not green by itself, and not only as its objects have no copy."""
    said = follows(facet, cells)
    return any(count for state, count in cells[facet].counts.items() if not state.green and state not in said)


def _heads(states: Sequence[State], *, short: bool) -> list[str]:
    names = {State.DUPLICATE: "dup", State.AMBIGUOUS: "ambig", State.UNVERIFIED: "unverif"} if short else {}
    return ["facet", "compared", *(names.get(state, state.value) for state in states)]


def _facet_row(name: str, cell: Cell, states: Sequence[State]) -> list[str]:
    by_state = [f"{cell.counts[state]:,}" if cell.counts[state] else "-" for state in states]
    return [shorten(visible(name), _FACET), f"{cell.verified:,} of {cell.total:,}", *by_state]


def _worst_lines(report: Report, *, more: bool) -> list[str]:
    cells = report.by_experiment()
    bad = [name for name in experiment_order(cells) if not cells[name].green]
    lines = []
    for name in bad:
        counts = cells[name].counts
        states = ", ".join(f"{counts[state]:,} {state}" for state in SEVERITY if counts[state] and not state.green)
        lines.append(f"  most affected: {quoted(name) if name else '(unnamed)'}: {states}")
    return _capped(lines, _WORST, "more experiments that failed", more=more)


def _next_step(report: Report, columns: int) -> list[str]:
    if report.subset and (report.verdict == "green" or not report.objects):
        return ["  next: audit the other parts with the same options, then: mlflow-parity merge DIR DIR ..."]
    if report.verdict == "green":
        # what was said of both servers limits nothing that could be left out
        limits = report.scope.partial and any("--parity-two-servers" not in line for line in report.scope.left_out)
        partial = "repeat it without the limits for the whole, or " if limits else ""
        return [f"  next: {partial}sign report.html (mlflow-parity attest), keep ledger.parquet"]
    if not report.objects:
        return ["  next: see that the source holds what you want audited, and --parity-experiments names it"]
    if report.failed and report.totals["unverified"] == report.failed:
        if any(row.facet.startswith(f"{SCOPE_KIND} ") and not row.cell.green for row in report.coverage):
            return ["  next: do what is said above, or accept it: mlflow-parity waive"]
        return ["  next: repeat the audit: no difference was found, but not all could be read"]
    # no row is red: waivers, the self-test or tests are
    what = "open report.html, fix the target" if report.failed else "see to what is said above"
    # what is joined once more is what it was, until the parts are audited again
    again = "audit the parts again, then" if report.command[:2] == JOINING else "repeat"
    step = f"  next: {what}, {again}"
    command = visible(shlex.join(report.command))
    # half a command repeats nothing; the whole one stands in the report
    if command and width(f"{step}: {command}") <= columns:
        return [f"{step}: {command}"]
    return [f"{step} (the command is in report.html)"]


def _capped(lines: list[str], most: int, what: str, *, more: bool) -> list[str]:
    if more or len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"  … and {len(lines) - most + 1:,} {what}"]
