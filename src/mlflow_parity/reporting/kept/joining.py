"""Joins the parts of an audit: whether they are all there, and of one thing; and their rows as those of one ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.redaction import MASK
from mlflow_parity.core.subset import Tally, contradicting
from mlflow_parity.core.verdict import Cell, Row
from mlflow_parity.reading.artifacts.stated.held_etags import HeldEtags
from mlflow_parity.reporting.kept.part_report import WHAT, Part, expected
from mlflow_parity.reporting.report import SIDES

#: Hours between the first reading and the last one, unless another number is given.
HOURS = 24
_AGAIN = "audit the parts again, with the same options and within that time"


def check(parts: Sequence[Part], hours: float, version: str) -> None:
    """Look whether these are all parts of one audit.

    Raises:
        UsageProblem: one line saying what is missing, or in what they differ.
    """
    first = parts[0]
    for part in parts:
        if part.report["tool_version"] != version:
            told = part.report["tool_version"]
            raise UsageProblem(f"{WHAT}: {part} was made by mlflow-parity {told}, not {version}; use one version")
        if part.subset.of != first.subset.of:
            raise UsageProblem(f"{WHAT}: {first} and {part} are not parts of one audit; give all of one number")
    seen: dict[int, Part] = {}
    for part in parts:
        if (other := seen.setdefault(part.subset.part, part)) is not part:
            raise UsageProblem(f"{WHAT}: {other} and {part} are the same part; give each part once")
    missing = [str(number) for number in range(1, first.subset.of + 1) if number not in seen]
    if missing:
        names = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        what = "part" if len(missing) == 1 else "parts"
        raise UsageProblem(f"{WHAT}: {what} {names} of {first.subset.of} not given: nothing is known of them; add them")
    for part in parts[1:]:
        _same(first, part)
    _check_etags(parts)
    for side in SIDES:
        s3_of(parts, side)
    _check_window(parts, hours)


def _same(first: Part, part: Part) -> None:
    for side in SIDES:
        ours, theirs = (_server(one, side) for one in (first, part))
        if ours != theirs:
            raise UsageProblem(
                f"{WHAT}: {first} and {part} have another {side} ({_told(ours)}; {_told(theirs)}); give parts of one "
                "audit"
            )
    options, others = first.told["options"], part.told["options"]
    if differing := sorted(name for name in {*options, *others} if options.get(name) != others.get(name)):
        raise UsageProblem(
            f"{WHAT}: {first} and {part} were audited with other options ({', '.join(differing)}); give parts of one "
            "audit"
        )
    for name, what in (("contract_digest", "another contract"), ("waivers_digest", "another file of waivers")):
        if first.report[name] != part.report[name]:
            raise UsageProblem(f"{WHAT}: {first} and {part} were judged by {what}; {_AGAIN}")
    scopes = [{name: one.report["scope"][name] for name in ("facets", "checks")} for one in (first, part)]
    if scopes[0] != scopes[1] or first.told["selection"] != part.told["selection"]:
        raise UsageProblem(
            f"{WHAT}: {first} and {part} did not select the same checks and objects (other -k or -m, or the servers "
            f"changed); {_AGAIN}"
        )
    ours, theirs = first.told["objects"], part.told["objects"]
    if differing := sorted(facet for facet in {*ours, *theirs} if ours.get(facet) != theirs.get(facet)):
        counts = [one.get(differing[0], {"objects": 0})["objects"] for one in (ours, theirs)]
        raise UsageProblem(
            f"{WHAT}: {first} and {part} did not see the same objects ({differing[0]}: {counts[0]:,} and {counts[1]:,}"
            f"{'' if counts[0] != counts[1] else ', others'}): the servers changed in between; {_AGAIN}"
        )


def _check_etags(parts: Sequence[Part]) -> None:
    """Refuse parts of which one rests on ETags of a bucket, and another has shown that they are none."""
    for side in SIDES:
        seen = HeldEtags()
        for part in parts:
            if side in part.told["etags"]:
                try:
                    seen.take_in(part.told["etags"][side])
                except UsageProblem as error:
                    raise UsageProblem(f"{WHAT}: the {side} of {part}: {error}") from None


def s3_of(parts: Sequence[Part], side: str) -> tuple[str, int]:
    """Return the S3 that variables named for a side (empty: AWS's own), and for how many parts they named none.

    Raises:
        UsageProblem: they named another one for another part.
    """
    named = [(str(told), part) for part in parts if (told := part.report["sides"][side]["s3_endpoint"])]
    if not named:
        return "", 0
    ours, first = named[0]
    for theirs, part in named[1:]:
        if theirs != ours:
            raise UsageProblem(
                f"{WHAT}: {first} and {part} have another S3 of the {side} ({ours}; {theirs}); give parts of one audit"
            )
    return ours, len(parts) - len(named)


def _server(part: Part, side: str) -> tuple[str, ...]:
    told = part.report["sides"][side]
    if told["kind"] == "snapshot":
        # wherever it lies, it is the same one
        return "snapshot", told["snapshot_digest"]
    return told["location"], told["kind"], told["server_version"] or "of an unknown release", told["endpoint"]


def _told(server: tuple[str, ...]) -> str:
    return f"a snapshot {server[1][:16]}…" if server[0] == "snapshot" else f"{server[0]}, MLflow {server[2]}"


def _check_window(parts: Sequence[Part], hours: float) -> None:
    """Refuse parts of which one was read long after another one; a snapshot is the same at any time."""
    live = [(part, side) for part in parts for side in SIDES if part.report["sides"][side]["kind"] != "snapshot"]
    times = [(*part.times(side), part) for part, side in live]
    if not times:
        return
    first = min(times, key=lambda one: one[0])
    last = max(times, key=lambda one: one[1])
    between = last[1] - first[0]
    if between > timedelta(hours=hours):
        raise UsageProblem(
            f"{WHAT}: {first[2]} was begun {between / timedelta(hours=1):,.1f} hours before {last[2]} was read, more "
            f"than {hours:g}: what was equal then may not be now; audit them again, or allow more "
            "with --within HOURS"
        )


@dataclass(slots=True)
class Joined:
    """What the rows of all parts come to, once they were all read."""

    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    """By the name of the experiment (or what stands in its place) and ``kind facet``."""
    paired_by: Counter[str] = field(default_factory=Counter)
    evidence: Counter[str] = field(default_factory=Counter)
    """Files that are equal to their copies, by what proves it."""
    rows: int = 0


def rows(parts: Sequence[Part], joined: Joined) -> Iterator[Row]:
    """Yield every row of all parts, those about lists and servers once, and count them.

    Raises:
        UsageProblem: a ledger contradicts its report, holds what belongs to another part, or something is missing.
    """
    found = Tally()
    shared: set[tuple[Any, ...]] = set()
    for part in parts:
        cells: dict[tuple[str, str], Cell] = {}
        evidence: Counter[str] = Counter()
        count = 0
        for row in part.rows():
            count += 1
            evidence.update({told: len(paths) for told, paths in row.evidence})
            facet = f"{row.kind} {row.facet}"
            cells.setdefault((row.experiment, facet), Cell()).add(row)
            if row.source_id is None and row.target_id is None:
                # what is of no object, each part may say
                key = (row.experiment, row.kind, row.name, row.facet, row.state, row.note)
                if key in shared:
                    continue
                shared.add(key)
            else:
                _check_place(part, row)
                found.add([facet], row.kind, row.source_id, row.target_id)
            joined.cells.setdefault((row.experiment, facet), Cell()).add(row)
            joined.rows += 1
            if facet == "run presence" and row.paired_by:
                joined.paired_by[row.paired_by] += 1
            yield row
        _check_report(part, cells, count, evidence)
        joined.evidence.update(evidence)
    wanted = expected(parts[0])
    for facet in sorted({*wanted.counts, *found.counts}):
        here, there = found.counts.get(facet, 0), wanted.counts.get(facet, 0)
        if here != there or found.sums.get(facet) != wanted.sums.get(facet):
            raise UsageProblem(
                f"{WHAT}: the ledgers hold {here:,} objects with {facet}, and all parts saw {there:,}"
                f"{'' if here != there else ', others'}: a ledger was cut or altered, or the servers changed while "
                f"they were read; {_AGAIN}"
            )


def _check_place(part: Part, row: Row) -> None:
    ids = [one for one in (row.source_id, row.target_id) if one is not None]
    if MASK not in ids[0] and not part.subset.holds_row(row.source_id, row.target_id):
        raise UsageProblem(
            f"{WHAT}: {part.ledger} holds {row.kind} {ids[0][:60]!r}, which is not of {part.subset}: it was altered, "
            f"or that came while the audit ran; {_AGAIN}"
        )


def _check_report(part: Part, cells: Mapping[tuple[str, str], Cell], count: int, evidence: Mapping[str, int]) -> None:
    """Hold a ledger against what the report beside it says."""
    told: dict[tuple[str, str], tuple[dict[str, int], int]] = {}
    for one in part.report["coverage"]:
        counts = {state: number for state, number in one["counts"].items() if number}
        if counts or one["findings"]:
            place = (one["experiment"], one["facet"])
            before = told.get(place, ({}, 0))
            merged = Counter(before[0])
            merged.update(counts)
            told[place] = dict(merged), before[1] + one["findings"]
    found = {
        place: ({str(state): n for state, n in cell.counts.items()}, cell.findings) for place, cell in cells.items()
    }
    red = sum(n for cell in cells.values() for state, n in cell.counts.items() if not state.green)
    total = sum(cell.findings for cell in cells.values())
    wrong = ""
    if told != found or part.told["rows"] != count:
        wrong = "its ledger holds other objects than its report says, or in other states"
    elif part.report["evidence"] != evidence:
        wrong = "its ledger holds other evidence of equal files than its report counts"
    elif part.report["findings_total"] != total or len(part.report["findings"]) > total:
        wrong = "its ledger holds another number of differences than its report says"
    elif part.report["verdict"] == "green" and (red or not count or part.report["exit_status"] != 0):
        wrong = "its report says green, and its ledger does not"
    if wrong:
        raise UsageProblem(f"{WHAT}: {part.folder} contradicts itself: {wrong}; audit {part.subset} again")


def contradictions(parts: Sequence[Part]) -> list[str]:
    """Return the experiments in whose ``MLmodel`` files one id stands for several, of which no part sees both."""
    labels = dict.fromkeys(label for part in parts for label in part.told["models"])
    return [label for label in labels if contradicting(part.told["models"].get(label, ()) for part in parts)]
