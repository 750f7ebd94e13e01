"""Audits over time: the reports that a folder keeps, and what is wrong in the newest that was not in the one before.

Each audit leaves the report before it in a folder beside its own (``earlier-…``): a folder of reports is its history.
What is new is counted in the ledgers, row by row: a row that was not red before, or one with more differences than it
had. A ledger counts the differences of a row: others in the place of as many are not told apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow_parity.audit.waivers.waivers import RED
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.text import counted, moment
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import singular_of
from mlflow_parity.reporting.kept.earlier import own_not_green
from mlflow_parity.reporting.kept.schema_check import fits
from mlflow_parity.reporting.kept.waiver_drafts import ledger_of, read_report
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.reporting.other_reasons import new_since
from mlflow_parity.reporting.report import SIDES
from mlflow_parity.reporting.write import EARLIER, JSON_NAME, without_verdict

WHAT = "history"
#: Red rows of one audit that are held in memory, as numbers; of more it is not told which are new.
MOST = 2_000_000
#: Rows that are named.
_NAMED = 20
#: What of a report's scope decides what was looked at.
_SCOPE = ("experiments", "excluded", "models", "include_deleted", "depth", "evidence", "profile", "checks")


@dataclass(slots=True)
class Audited:
    """One audit: its report, and what is wrong in it that was not in the audit of the same servers before it.

    ``new`` and ``gone`` are ``None`` where they cannot be told: there is no ledger, or too much is wrong.
    """

    path: Path
    report: Mapping[str, Any]
    digest: str
    """SHA-256 of the report's file."""
    place: str
    """The folder of its files as it is told: ``runs:/ID`` of what a server keeps."""
    created: datetime
    kept: bool = False
    """A tracking server keeps it, and with it what was new when it was put there."""
    fetch: Callable[[], None] | None = None
    """Brings its ledger beside ``path``."""
    new: int | None = None
    gone: int | None = None
    own: frozenset[str] = frozenset()
    """Names of own checks whose rows are not green: a recheck runs none, and tells that they are still open."""
    beside: list[str] = field(default_factory=list)
    """What is newly wrong and no row: planted faults that were missed, waivers, other reasons, how the run ended."""
    named: list[str] = field(default_factory=list)
    by_facet: Counter[str] = field(default_factory=Counter)
    looked: bool = False
    """Whether its ledger was looked for: it is fetched and hashed once."""
    found: Path | None = None
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
    def seconds(self) -> float:
        """How long it took."""
        known = [seconds for seconds in (self.report.get("timings") or {}).values() if seconds is not None]
        return float(min(sum(known), 10**9))

    def ledger(self) -> Path | None:
        """Return its ledger, where there is one; of what has nothing red it is not looked for.

        Raises:
            ParityError: it is not that of the report, or the server that keeps it does not give it.
        """
        if not self.failed or self.looked:
            return self.found
        if self.fetch is not None:
            self.fetch()
        try:
            # its digest is that of the report
            self.found = ledger_of(self.report, str(self.path), WHAT)
        except UsageProblem as error:
            raise UsageProblem(str(error).replace(str(self.path.parent), self.place)) from None
        self.looked = True
        return self.found

    @property
    def is_worse(self) -> bool:
        """Whether something is wrong that was not before, or nobody can say that nothing is."""
        if self.verdict == "green":
            return False
        return self.verdict == "none" or self.new is None or bool(self.new or self.beside) or not self.failed


def audits_in(folders: Iterable[str]) -> list[Audited]:
    """Return the audits that folders of reports keep.

    Raises:
        UsageProblem: a folder has no report, or one of them is damaged or not of this format.
    """
    return [audited(path, str(path.parent)) for path in _reports(folders)]


def audited(path: Path, place: str) -> Audited:
    """Return the audit whose ``report.json`` this is; ``place`` is what errors call its folder.

    Raises:
        UsageProblem: it is damaged or not of this format.
    """
    try:
        report = without_verdict(path) or read_report(str(path), WHAT)
    except UsageProblem as error:
        raise UsageProblem(str(error).replace(str(path.parent), place)) from None
    if not fits(report):
        raise UsageProblem(
            f"{WHAT}: {place}/{path.name} is damaged, or of a later version, or of an earlier one: parts of it are not "
            "as they are here"
        )
    try:
        created = moment(str(report["created"]))
    except ValueError:
        raise UsageProblem(
            f"{WHAT}: {place}/{path.name} does not say when it was made; give it as an audit wrote it"
        ) from None
    # what was found is in the ledger: many audits are held at once
    own = frozenset(own_not_green(report))
    one = Audited(path, {**report, "findings": [], "coverage": []}, file_sha256(path), place, created, own=own)
    if one.verdict == "green" and one.failed:
        raise UsageProblem(
            f"{WHAT}: {place}/{path.name} contradicts itself: it is green with {counted(one.failed, 'failures')}"
        )
    return one


def pairs_of(audits: Iterable[Audited], kept: Iterable[Audited] = ()) -> dict[tuple[str, str], list[Audited]]:
    """Return audits by the locations of source and target, the oldest first, each with what is new in it.

    ``kept`` are the audits that a server keeps. Only the newest of them is compared with the one before it; the others
    bring their counts. Where ``audits`` are given, kept audits of other servers are left out.

    Raises:
        ParityError: a ledger is not that of its report, or cannot be had.
    """
    given = list(audits)
    pairs = {_servers(one) for one in given}
    by_digest = {one.digest: one for one in kept if not given or _servers(one) in pairs}
    for one in given:
        there = by_digest.setdefault(one.digest, one)
        if there.kept:
            # the files are here: nothing has to be fetched
            there.path, there.place, there.fetch = one.path, one.place, None
    found: dict[tuple[str, str], list[Audited]] = {}
    for one in by_digest.values():
        found.setdefault(_servers(one), []).append(one)
    for pair in found.values():
        pair.sort(key=lambda one: one.created)
        _compare(pair)
    return found


def _beside(report: Mapping[str, Any]) -> set[str]:
    """Return what makes an audit red and is no row of its ledger, nor one of its reasons."""
    faults = (report.get("self_test") or {}).get("faults", ())
    found = {f"self-test: {one['fault']} was missed" for one in faults if one["state"] == "missed"}
    for one in report.get("waivers") or ():
        if (status := one.get("status")) in RED:
            found.add(
                " ".join(f"waiver {status}: {one.get('object')} {one.get('facet')} {one.get('key') or ''}".split())
            )
    if (ended := report.get("exit_status")) not in (0, 1, None):
        found.add(f"the run ended with exit status {ended}")
    return found


def _servers(one: Audited) -> tuple[str, str]:
    source, target = (str(one.report["sides"][side]["location"]) for side in SIDES)
    # parts of one audit look at different objects
    part = one.report.get("subset")
    return source, f"{target}, part {part['part']} of {part['of']}" if part else target


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
    last: Audited | None = None
    held: tuple[Audited | None, Counter[int] | None] = (None, Counter())
    for one in audits:
        if one.verdict == "none":
            continue
        one.first = last is None
        one.same_scope = last is None or _scope(last) == _scope(one)
        if not one.kept or one is audits[-1]:
            was, own = ({}, frozenset[str]()) if last is None else (last.report, last.own)
            one.beside = sorted({*(_beside(one.report) - _beside(was)), *new_since(one.report, was, own)})
            before = held[1] if held[0] is last or last is None else _red(last)
            now = _red(one)
            one.new = one.gone = None
            if now is not None and before is not None:
                new = {key for key, count in now.items() if key not in before or count > before[key]}
                one.new, one.gone = len(new), len(before.keys() - now.keys())
                if new:
                    _name(one, new, before)
            held = one, now
        last = one


def _scope(one: Audited) -> list[Any]:
    scope = one.report["scope"]
    return [scope.get(name) for name in _SCOPE]


def _red(one: Audited) -> Counter[int] | None:
    """Return the differences of each row that is not green; ``None``: there is no ledger, or there are too many."""
    red: Counter[int] = Counter()
    if not one.failed:
        return red
    ledger = one.ledger() if one.failed <= MOST else None
    if ledger is None:
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


def _name(one: Audited, new: set[int], before: Counter[int]) -> None:
    """Count the new rows by facet, and name the first."""
    ledger = one.ledger()
    assert ledger is not None, "its rows were read before"
    for row in read_rows(ledger):
        if not row.state.green and (key := hash(_key(row))) in new:
            one.by_facet[f"{row.kind} {row.facet}"] += 1
            if len(one.named) < _NAMED:
                identity = row.source_id or row.target_id or "-"
                where = f" of {row.experiment}" if row.experiment != row.name else ""
                name = f"{singular_of(row.kind)} {row.name or '(unnamed)'} ({identity}){where}"
                more = f", {counted(row.findings, 'differences')}, {before[key]:,} before" if key in before else ""
                one.named.append(f"{row.state.value}: {row.facet.replace('_', ' ')} of {name}{more}")
