"""Audits over time: the reports that a folder keeps, and what is wrong in the newest that was not in the one before.

Each audit leaves the report before it in a folder beside its own (``earlier-…``): a folder of reports is its history.
What is new is counted in the ledgers, row by row: a row that was not red before, or one with more differences than it
had. A ledger counts the differences of a row: others in the place of as many are not told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.text import counted, crop, duration, shorten, table, visible
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import singular_of
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.reporting.report import SIDES
from mlflow_parity.reporting.schema_check import fits
from mlflow_parity.reporting.waiver_drafts import ledger_of, read_report
from mlflow_parity.reporting.write import EARLIER, JSON_NAME, without_verdict

WHAT = "history"
#: Red rows of one audit that are held in memory, as numbers; of more it is not told which are new.
MOST = 2_000_000
#: Rows that are named.
_NAMED = 20
_COLUMNS = 79
#: What of a report's scope decides what was looked at.
_SCOPE = ("experiments", "excluded", "models", "include_deleted", "depth", "profile", "checks")


@dataclass(slots=True)
class Audited:
    """One audit: its report, and what is wrong in it that was not in the audit of the same servers before it.

    ``new`` and ``gone`` are ``None`` where they cannot be told: there is no ledger, or too much is wrong.
    """

    path: Path
    report: Mapping[str, Any]
    new: int | None = None
    gone: int | None = None
    named: list[str] = field(default_factory=list)
    by_facet: Counter[str] = field(default_factory=Counter)
    first: bool = True
    same_scope: bool = True

    @property
    def verdict(self) -> str:
        """``green``, ``red`` or ``none``."""
        return str(self.report["verdict"])

    @property
    def failed(self) -> int:
        """Objects × facets that are not green."""
        totals: Mapping[str, int] = self.report.get("totals") or {}
        return sum(count for state, count in totals.items() if not State(state).green)

    @property
    def is_worse(self) -> bool:
        """Whether something is wrong that was not before, or nobody can say that nothing is."""
        if self.verdict == "green":
            return False
        return self.verdict == "none" or self.new is None or bool(self.new) or not self.failed


def pairs_of(folders: Iterable[str]) -> dict[tuple[str, str], list[Audited]]:
    """Return the audits that folders of reports keep, by the locations of source and target, the oldest first.

    Raises:
        UsageProblem: a folder has no report, or one of them is damaged or not of this format.
    """
    found: dict[tuple[str, str], list[Audited]] = {}
    for path in _reports(folders):
        report = without_verdict(path) or read_report(str(path), WHAT)
        if not fits(report):
            raise UsageProblem(
                f"{WHAT}: {path} is damaged, or of a later version: parts of it are not as they are here"
            )
        source, target = (str(report["sides"][side]["location"]) for side in SIDES)
        found.setdefault((source, target), []).append(Audited(path, report))
    for audits in found.values():
        audits.sort(key=lambda one: str(one.report["created"]))
        _compare(audits)
    return found


def _reports(folders: Iterable[str]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder in map(Path, folders):
        here = [folder / JSON_NAME, *sorted(folder.glob(f"{EARLIER}*/{JSON_NAME}"))]
        there = [path for path in here if path.is_file()]
        if not there:
            raise UsageProblem(f"{WHAT}: {folder} has no {JSON_NAME}; give the folder of an audit's reports")
        for path in there:
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def _compare(audits: Sequence[Audited]) -> None:
    """Fill in what is new in each audit since the latest one before it that has a verdict."""
    before: Counter[int] | None = Counter()
    last: Audited | None = None
    for one in audits:
        if one.verdict == "none":
            continue
        # its digest is that of the report; what has nothing red is not read
        ledger = ledger_of(one.report, str(one.path), WHAT) if one.failed else None
        now = _red(one, ledger)
        one.first = last is None
        one.same_scope = last is None or _scope(last) == _scope(one)
        if now is not None and before is not None:
            new = {key for key, count in now.items() if key not in before or count > before[key]}
            one.new, one.gone = len(new), len(before.keys() - now.keys())
            if ledger is not None and new:
                _name(one, ledger, new, before)
        before, last = now, one


def _scope(one: Audited) -> list[Any]:
    scope = one.report["scope"]
    return [scope.get(name) for name in _SCOPE]


def _red(one: Audited, ledger: Path | None) -> Counter[int] | None:
    """Return the differences of each row that is not green; ``None``: there is no ledger, or there are too many."""
    red: Counter[int] = Counter()
    if not one.failed:
        return red
    if ledger is None or one.failed > MOST:
        return None
    for row in read_rows(ledger):
        if not row.state.green:
            red[hash(_key(row))] += row.findings
    return red


def _key(row: Row) -> tuple[str, ...]:
    """Return what makes a row the same one in another audit: its object on the source, its facet and its state."""
    identity = f"source {row.source_id}" if row.source_id is not None else f"target {row.target_id}"
    # a list that could not be read has no id: it is of its experiment
    place = row.experiment if row.source_id is None is row.target_id else ""
    return row.kind, identity, place, row.facet, row.state.value


def _name(one: Audited, ledger: Path, new: set[int], before: Counter[int]) -> None:
    """Count the new rows by facet, and name the first."""
    for row in read_rows(ledger):
        if not row.state.green and (key := hash(_key(row))) in new:
            one.by_facet[f"{row.kind} {row.facet}"] += 1
            if len(one.named) < _NAMED:
                identity = row.source_id or row.target_id or "-"
                where = f" of {row.experiment}" if row.experiment != row.name else ""
                name = f"{singular_of(row.kind)} {row.name or '(unnamed)'} ({identity}){where}"
                more = f", {counted(row.findings, 'differences')}, {before[key]:,} before" if key in before else ""
                one.named.append(f"{row.state.value}: {row.facet.replace('_', ' ')} of {name}{more}")


# --- how it is told


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
    seconds = sum(report.get("timings", {}).values())
    numbers = [f"{report['verified']:,} of {report['objects']:,}", f"{one.failed:,}"]
    changed = ["?" if count is None else f"{count:,}" for count in (one.new, one.gone)]
    return when, verdict, *numbers, *(["-", "-"] if one.first else changed), duration(seconds)


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
    if not one.new:
        return ["Nothing is wrong in the newest that was not before."]
    since = "" if one.first else " since the one before"
    be = "is" if one.new == 1 else "are"
    lines = [f"New in the newest{since}: {counted(one.new, 'rows')} that {be} not green"]
    lines += [f"  {visible(line)}" for line in one.named]
    if one.new > len(one.named):
        lines.append(f"  and {one.new - len(one.named):,} more: {one.path.parent}/ledger.parquet names each")
    return lines


def history_document(pairs: Mapping[tuple[str, str], Sequence[Audited]]) -> list[dict[str, Any]]:
    """Return all of it as plain values, one entry for each pair of servers."""
    return [
        {
            "source": source,
            "target": target,
            "audits": [
                {
                    "report": str(one.path),
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
                    "gone": one.gone,
                    "new_by_facet": dict(one.by_facet),
                    "new_named": one.named,
                }
                for one in audits
            ],
        }
        for (source, target), audits in pairs.items()
    ]
