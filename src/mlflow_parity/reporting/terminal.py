"""The report in the terminal: a summary of at most 25 lines, and the text of one failing check."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence

from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.sums import counted_by
from mlflow_parity.core.text import counted, crop, distinct, noun, shorten, shorten_pair, visible, width
from mlflow_parity.core.verdict import SEVERITY, Cell, Finding, State
from mlflow_parity.kinds import SCOPE_KIND
from mlflow_parity.reporting.report import SIDES, Report, SideReport, experiment_order, percent

#: Most lines of the summary.
SUMMARY_LINES = 25
#: Most lines of one failing check (the promise is: under 40).
MESSAGE_LINES = 39
COLUMNS = 120
_REASONS = 3
_IN_COMMON = 2
_WORST = 3
_WAIVERS = 3
_CHANGED = 3
#: Columns of a facet's name: the longest is "experiment artifact_location".
_FACET = 28
_FINDING_LINES = 5
Redact = Callable[[str], str]


def summary_lines(
    report: Report, *, report_dir: str | None = "reports", redact: Redact | None = None, max_lines: int = SUMMARY_LINES
) -> list[str]:
    """Return the summary of an audit: at most 25 lines of at most 120 columns, without control characters.

    ``report_dir`` is where the reports were written; ``None``: they could not be.
    """
    clean = redact or Redactor()
    report = report.redacted(clean)
    head = [f"parity: {visible(report.warning)}"] if report.warning else []
    head.append(_verdict_line(report))
    for name in SIDES:
        head += _side_lines(name, report.sides[name])
    head += _resumed_lines(report)
    if evidence := counted_by(report.evidence):
        head.append(f"  {evidence}")
    if report.scope.partial:
        left_out = "; ".join(visible(line) for line in report.scope.left_out) or "see the report"
        head.append(f"  partial: not compared: {left_out}")
    head += _outside_lines(report)
    for line in report.deleted:
        head += textwrap.wrap(line, COLUMNS, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    head += _capped([f"  why: {visible(reason)}" for reason in report.reasons], _REASONS, "more reasons")
    head += _capped([f"  in common: {visible(line)}" for line in report.in_common], _IN_COMMON, "more, see report.html")
    head += _waiver_lines(report)
    changed = [f"  changed during the audit: {visible(line)}" for line in report.changed]
    head += _capped(changed, _CHANGED, "more that changed")
    if report.self_test is not None:
        head.append(f"  self-test: {visible(report.self_test.summary)}")
    tail = _worst_lines(report)
    if report_dir is None:
        tail += ["  reports: none was written", "  next: make room for the reports, repeat the audit"]
    else:
        tail += [f"  reports: {_in(clean(report_dir))}report.html, report.json, ledger.parquet", _next_step(report)]
    facets = _facet_lines(report, max_lines - len(head) - len(tail))
    return [crop(line, COLUMNS) for line in [*head, *facets, *tail]]


def check_message(
    *,
    promise: str,
    what: str,
    findings: Sequence[Finding],
    total: int,
    counts: Mapping[State, int],
    report_dir: str = "reports",
    redact: Redact | None = None,
    elsewhere: Mapping[str, int] | None = None,
    unnamed: int = 0,
    owner: str = "",
) -> str:
    """Return why one check fails for one experiment, model, prompt or the server (``what``), first the fact.

    Under 40 lines of at most 120 columns. ``promise`` is what the check promises in one sentence, ``findings`` those
    kept, ``total`` how many there are, ``counts`` the objects by state, without those that have no counterpart and
    that other checks name: ``elsewhere`` counts these by check. ``unnamed`` of the counted have no counterpart and are
    named by no check of this run; ``owner`` is the check that would.
    """
    clean = redact or Redactor()
    promised = " ".join(visible(clean(promise), multiline=True).split()).rstrip(".")
    states = ", ".join(f"{counts[state]:,} {state}" for state in SEVERITY if counts.get(state)) or "nothing compared"
    lines = [
        f"parity: {shorten(visible(clean(what)), 70)}: {states}; {counted(total, 'differences')}",
        f"check failed: {promised}",
    ]
    last = _without_counterpart(elsewhere or {}, unnamed, owner, clean)
    room = MESSAGE_LINES - len(lines) - len(last) - 1
    most = room // _FINDING_LINES
    ordered = sorted(findings, key=lambda finding: SEVERITY.index(finding.state))[:most]
    blocks = [_finding_lines(number, finding, clean) for number, finding in enumerate(ordered, 1)]
    lines += _fitted(blocks, room)
    rest = max(total, len(findings)) - len(ordered)
    where = _in(clean(report_dir))
    if rest:
        more = f"and {rest:,} more: {where}ledger.parquet names every object, --parity-max-findings shows more of them"
    elif ordered or not last:
        more = f"that is all; see {where}report.html"
    else:
        more = f"see {where}report.html"
    return "\n".join(crop(line, COLUMNS) for line in [*lines, *last, more])


def _without_counterpart(elsewhere: Mapping[str, int], unnamed: int, owner: str, clean: Redact) -> list[str]:
    """Say what was not compared because an object has no counterpart, and which check names the object."""
    lines = []
    if elsewhere:
        checks = ", ".join(visible(clean(name)) for name in elsewhere)
        lines.append(f"{sum(elsewhere.values()):,} more not compared: no counterpart on the target; see {checks}")
    if unnamed:
        lines.append(f"{unnamed:,} not compared: no counterpart; {visible(clean(owner))} names each, and was not run")
    return lines


def _finding_lines(number: int, finding: Finding, clean: Redact) -> list[str]:
    """Return one finding: four lines, then its explanation line by line (at least one)."""
    values = tuple(None if value is None else clean(value) for value in (finding.source, finding.target))
    source, target = distinct(*values)
    room = COLUMNS - len("     source: ")
    if source is not None and target is not None:
        source, target = shorten_pair(source, target, room)
    key = f" / {shorten(visible(clean(finding.key)), 50)}" if finding.key else ""
    rule = f"  [{shorten(visible(clean(finding.rule)), 40)}]" if finding.rule else ""
    explanation = visible(clean(finding.explanation), multiline=True).expandtabs(2).splitlines()
    explained = [line.rstrip() for line in explanation if line.strip()] or [_default_explanation(finding.state)]
    kind = f"     {finding.kind.replace('_', ' ')} "
    ids = f"  source id {_id(finding.source_id, clean)}  target id {_id(finding.target_id, clean)}"
    # the ids are not cut: by them the object is found again
    name = _named(clean(finding.name), max(COLUMNS - width(kind) - width(ids) - 2, 12))
    return [
        f"{number:>3}. {finding.state.value.upper()} {shorten(visible(clean(finding.facet)), 24)}{key}{rule}",
        f"{kind}{name}{ids}",
        f"     source: {_value(source, room)}",
        f"     target: {_value(target, room)}",
        f"     {crop(explained[0], COLUMNS - 5)}",
        *(f"       {crop(line, COLUMNS - 7)}" for line in explained[1:]),
    ]


def _fitted(blocks: Sequence[list[str]], room: int) -> list[str]:
    """Cut explanations, the longest first, until all blocks fit into ``room`` lines."""
    allowed = [len(block) for block in blocks]
    while sum(allowed) > room:
        allowed[allowed.index(max(allowed))] -= 1
    lines: list[str] = []
    for block, most in zip(blocks, allowed, strict=True):
        if len(block) <= most:
            lines += block
        elif most > _FINDING_LINES:
            lines += [*block[: most - 1], f"       … {len(block) - most + 1:,} more lines"]
        else:
            more = f" … {len(block) - most:,} more lines"
            lines += [*block[: most - 1], crop(block[most - 1], COLUMNS - len(more)) + more]
    return lines


def _default_explanation(state: State) -> str:
    return {
        State.MISSING: "on the source, not on the target",
        State.EXTRA: "on the target, not on the source",
        State.DUPLICATE: "on the target more than once",
        State.AMBIGUOUS: "cannot be told which object is the copy of which",
        State.UNVERIFIED: "could not be read or compared",
    }.get(state, "the two values differ")


def _verdict_line(report: Report) -> str:
    what = f"partial: part {report.subset['part']} of {report.subset['of']}" if report.subset else "partial"
    verdict = f"parity: {report.verdict.upper()}{f' ({what})' if report.scope.partial else ''}"
    if not report.objects:
        return f"{verdict}  nothing was compared"
    return (
        f"{verdict}  verified {percent(report.verified, report.objects)} ({report.verified:,} of "
        f"{report.objects:,} comparisons), {report.failed:,} failed, {counted(report.findings_total, 'differences')}"
    )


def _side_lines(name: str, side: SideReport) -> list[str]:
    """Return one line, or two when the location is long: neither it nor a count may be cut; and what answered there."""
    version = f"MLflow {shorten(visible(side.server_version), 20)}" if side.server_version else "MLflow version unknown"
    counts = (
        f"{version}, {counted(side.experiments, 'experiments')}, {counted(side.runs, 'runs')}, "
        f"{counted(side.points, 'points')}, {counted(side.artifacts, 'artifacts')}"
    )
    where = f"  {name}: {shorten(visible(side.location), COLUMNS - 10)}"
    line = f"{where}: {counts}"
    lines = [line] if width(line) <= COLUMNS else [where, f"          {counts}"]
    # what is to be known before it is signed is never cut
    answered = textwrap.wrap(visible(side.answered), COLUMNS - 12, break_on_hyphens=False)
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


def _waiver_lines(report: Report) -> list[str]:
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
    return _capped(lines, _WAIVERS, "more waivers, see report.html")


def _facet_lines(report: Report, room: int) -> list[str]:
    """Return a table, one facet per line; the facets in best order share a line when there are too many."""
    cells = report.by_facet()
    if not cells or room < 2:
        return []
    names = list(cells)
    rest = Cell()
    if len(names) > room - 1:
        worst_first = experiment_order(cells)
        for name in worst_first[room - 2 :]:
            rest.counts.update(cells[name].counts)
            rest.findings += cells[name].findings
        left_out = len(names) - (room - 2)
        names = [name for name in names if name in set(worst_first[: room - 2])]
    states = [state for state in SEVERITY if report.totals[state.value]]
    rows = [_facet_row(name, cells[name], states) for name in names]
    if rest.total:
        rows.append(_facet_row(f"{left_out:,} other facets", rest, states))
    table = _table([_heads(states, short=False), *rows])
    if width(table[0]) > COLUMNS:
        table = _table([_heads(states, short=True), *rows])
    return table


def _heads(states: Sequence[State], *, short: bool) -> list[str]:
    names = {State.DUPLICATE: "dup", State.AMBIGUOUS: "ambig", State.UNVERIFIED: "unverif"} if short else {}
    return ["facet", "objects", "verified", "diffs", *(names.get(state, state.value) for state in states)]


def _facet_row(name: str, cell: Cell, states: Sequence[State]) -> list[str]:
    by_state = [f"{cell.counts[state]:,}" if cell.counts[state] else "-" for state in states]
    done = percent(cell.verified, cell.total)
    return [shorten(visible(name), _FACET), f"{cell.total:,}", done, f"{cell.findings:,}", *by_state]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Set rows of cells: the first column to the left, numbers to the right."""
    sizes = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        blanks = [" " * (size - width(text)) for text, size in zip(row, sizes, strict=True)]
        cells = [row[0] + blanks[0], *(blank + text for blank, text in zip(blanks[1:], row[1:], strict=True))]
        lines.append("  " + "  ".join(cells))
    return lines


def _worst_lines(report: Report) -> list[str]:
    cells = report.by_experiment()
    bad = [name for name in experiment_order(cells) if not cells[name].green]
    lines = []
    for name in bad:
        counts = cells[name].counts
        states = ", ".join(f"{counts[state]:,} {state}" for state in SEVERITY if counts[state] and not state.green)
        lines.append(f"  most affected: {_named(name)}: {states}")
    return _capped(lines, _WORST, "more experiments that failed")


def _next_step(report: Report) -> str:
    if report.subset and (report.verdict == "green" or not report.objects):
        return "  next: audit the other parts with the same options, then join them: mlflow-parity merge DIR DIR ..."
    if report.verdict == "green":
        partial = "repeat it without the limits for the whole, or " if report.scope.partial else ""
        return f"  next: {partial}sign report.html and keep it with ledger.parquet"
    if not report.objects:
        return "  next: check that the source holds what you want audited and that --parity-experiments names it"
    if report.totals["unverified"] and not any(
        count for state, count in report.totals.items() if not State(state).green and state != "unverified"
    ):
        if any(row.facet.startswith(f"{SCOPE_KIND} ") and not row.cell.green for row in report.coverage):
            return "  next: do what the reasons above ask for, or accept it: mlflow-parity waive"
        return "  next: repeat the audit: what could not be read is unverified, no difference was found"
    step = "  next: open report.html for the differences run by run, fix the target, repeat"
    command = f"{step}: {visible(shlex.join(report.command))}"
    # half a command repeats nothing; the whole one stands in the report
    return command if report.command and width(command) <= COLUMNS else f"{step} (command: in report.html)"


def _capped(lines: list[str], most: int, what: str) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"  … and {len(lines) - most + 1:,} {what}"]


def _named(name: str, columns: int = 60) -> str:
    return f'"{shorten(visible(name), columns)}"' if name else "(unnamed)"


def _id(value: str | None, clean: Redact) -> str:
    return "-" if value is None else shorten(visible(clean(value)), 36)


def _value(text: str | None, columns: int) -> str:
    if text is None:
        return "(absent)"
    # quotes show the blanks that would otherwise be lost
    return f'"{shorten(text, columns - 2)}"' if text != text.strip() or not text else shorten(text, columns)


def _in(directory: str) -> str:
    return visible(directory).rstrip("/") + "/"
