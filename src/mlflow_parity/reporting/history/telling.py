"""How the audits over time are told: lines for the terminal, and all of it as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_parity.core.text import counted, crop, duration, shorten, table, visible
from mlflow_parity.reporting.history.audits import Audited
from mlflow_parity.reporting.report import SIDES

_COLUMNS = 79


def history_text(pairs: Mapping[tuple[str, str], Sequence[Audited]]) -> list[str]:
    """Return the lines for the terminal: a table for each pair of servers, and what is new in the newest audit."""
    lines: list[str] = []
    for (source, target), audits in pairs.items():
        lines += [""] * bool(lines) + [f"{shorten(visible(source), 36)} → {shorten(visible(target), 36)}"]
        lines += [crop(line, _COLUMNS).rstrip() for line in table([_HEAD, *map(_row, audits)], left=2)]
        if any(not one.same_scope for one in audits):
            lines.append("  * of another scope than the one before: what it did not look at is no longer wrong")
        lines += _of_newest(audits[-1])
    return lines


_HEAD = ("audit", "verdict", "compared", "failed", "new", "gone", "took")


def _row(one: Audited) -> tuple[str, ...]:
    report = one.report
    when = str(report["created"])[:16].replace("T", " ") + ("" if one.same_scope else " *")
    if one.verdict == "none":
        return when, "none", "-", "-", "-", "-", "-"
    verdict = one.verdict + (" (partial)" if report["scope"]["partial"] else "")
    numbers = [f"{report['verified']:,} of {report['objects']:,}", f"{one.failed:,}"]
    changed = ["?" if count is None else f"{count:,}" for count in (one.new, one.gone)]
    return when, verdict, *numbers, *(["-", "-"] if one.first else changed), duration(one.seconds)


def _of_newest(one: Audited) -> list[str]:
    if one.verdict == "none":
        why = next(iter(one.report.get("reasons") or ()), "no verdict")
        return [f"The newest has no verdict: {visible(str(why))}"]
    if one.verdict == "green":
        return ["The newest is green."]
    if one.new is None:
        return ["What is new cannot be told: a ledger is not there, or too much is wrong to hold two audits together."]
    if not one.failed:
        return [
            f"The newest is red although its ledger is green: {visible(str(next(iter(one.report['reasons']), '')))}"
        ]
    beside = [f"New in the newest: {visible(line)}" for line in one.beside]
    if not one.new:
        return beside or ["Nothing is wrong in the newest that was not before."]
    since = "" if one.first else " since the one before"
    be = "is" if one.new == 1 else "are"
    lines = [f"New in the newest{since}: {counted(one.new, 'rows')} that {be} not green"]
    lines += [f"  {visible(line)}" for line in one.named]
    lines += beside
    if one.new > len(one.named):
        lines.append(f"  and {one.new - len(one.named):,} more: {visible(one.place)}/ledger.parquet names each")
    return lines


def history_document(pairs: Mapping[tuple[str, str], Sequence[Audited]]) -> list[dict[str, Any]]:
    """Return all of it as plain values, one entry for each pair of servers."""
    return [
        {
            "source": source,
            "target": target,
            "audits": [
                {
                    "report": f"{one.place}/{one.path.name}",
                    "created": one.report["created"],
                    "verdict": one.verdict,
                    "partial": bool(one.report["scope"]["partial"]),
                    "tool_version": one.report["tool_version"],
                    "versions": {side: one.report["sides"][side]["server_version"] for side in SIDES},
                    "objects": one.report.get("objects"),
                    "verified": one.report.get("verified"),
                    "failed": one.failed,
                    "totals": one.report.get("totals"),
                    "sides": {
                        side: {
                            name: one.report["sides"][side][name]
                            for name in ("experiments", "runs", "points", "artifacts", "artifact_bytes", "objects")
                        }
                        for side in SIDES
                    },
                    "timings": one.report.get("timings"),
                    "ledger_digest": one.report.get("ledger_digest"),
                    "same_scope": one.same_scope,
                    "new": one.new,
                    "new_beside": one.beside,
                    "gone": one.gone,
                    "new_by_facet": dict(one.by_facet),
                    "new_named": one.named,
                }
                for one in audits
            ],
        }
        for (source, target), audits in pairs.items()
    ]
