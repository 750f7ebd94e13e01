"""Why one check fails, as text for the terminal: first the fact, then what differs, object by object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted, crop, distinct, quoted, shorten, shorten_pair, visible, width
from mlflow_parity.core.verdict import SEVERITY, Finding, State

#: Most lines of one failing check (the promise is: under 40).
MESSAGE_LINES = 39
COLUMNS = 120
_FINDING_LINES = 5
Redact = Callable[[str], str]


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
    where = inside(clean(report_dir))
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
    name = (
        "(unnamed)"
        if not finding.name
        else quoted(clean(finding.name), max(COLUMNS - width(kind) - width(ids) - 2, 12))
    )
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


def _id(value: str | None, clean: Redact) -> str:
    return "-" if value is None else shorten(visible(clean(value)), 36)


def _value(text: str | None, columns: int) -> str:
    if text is None:
        return "(absent)"
    # quotes show the blanks that would otherwise be lost
    return f'"{shorten(text, columns - 2)}"' if text != text.strip() or not text else shorten(text, columns)


def inside(directory: str) -> str:
    """Return a folder as what stands before the name of a file in it."""
    return visible(directory).rstrip("/") + "/"


def short(message: str) -> str:
    """Return the first line of a message for pytest's own list, which cuts it at the terminal's width: states first."""
    what, _, states = message.partition("\n")[0].removeprefix("Failed: ").removeprefix("parity: ").rpartition(": ")
    return f"{states} ({what})" if what else states
