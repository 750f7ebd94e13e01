"""What a red audit says of each object: what is to be fixed, what could not be looked at, what is only there."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.text import visible
from mlflow_parity.core.verdict import Row, State, is_own
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.outcome import retry_command
from mlflow_parity.reporting.kept.earlier import missing_options, ways_of
from mlflow_parity.reporting.kept.waiver_drafts import ledger_of, read_report
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.snapshot import FILES_PART

if TYPE_CHECKING:
    from mlflow_parity.core.locations import Location
    from mlflow_parity.migrating.settings import Settings
    from mlflow_parity.snapshot.incomplete import Unread


#: Kind and id of an object.
Key = tuple[str, str]
#: Versions cannot be replaced one by one, because a number is never given twice: their container is.
CONTAINER = {"model_version": "registered_model", "prompt_version": "prompt"}
#: What says that the copy is wrong; the other states that are not green say only that nobody knows.
_WRONG = frozenset({State.MISSING, State.DUPLICATE, State.MISMATCH, State.EXTRA})
#: Facets that are looked at on the target alone: that they cannot be says nothing of the source.
_OF_TARGET = frozenset({"access", "loads", "resolves"})
AGAIN = "audit again"
UNREAD = f"not all of it could be read or compared, so that nobody knows whether it is whole: {AGAIN}"


@dataclass(frozen=True, slots=True)
class Damage:
    """One source object of which something is wrong, and the target objects that the audit names with it.

    ``states`` are all that are not green, those that only say that something could not be read included.
    """

    kind: str
    source_id: str
    experiment: str
    name: str
    states: frozenset[State]
    targets: frozenset[str]
    facets: frozenset[str] = frozenset()
    """Facets of which something is wrong."""

    @property
    def missing(self) -> bool:
        """Whether there is no copy at all."""
        return not self.targets


@dataclass(frozen=True, slots=True)
class Left:
    """What a repair cannot touch, and why."""

    kind: str
    identity: str
    name: str
    why: str
    own: str = ""
    """The facet, where an own check says so."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """Everything in an audit that is not green: what is to be fixed, and what is left as it is."""

    found: list[Damage] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    unread: frozenset[Key] = frozenset()
    """Source objects that may be whole: nothing is known to be wrong, and something could not be judged."""
    unpaired: tuple[Left, ...] = ()
    """Target objects of which the source has none, as far as the audit can tell."""
    own: tuple[Left, ...] = ()
    """What own checks say, which no repair knows or judges again."""


def read_damage(report: Path, target: Location, *, needed: bool = True) -> Damaged:
    """Return what an audit found, object by object, from the ledger beside its report.

    Raises:
        UsageProblem: it is no report or has no verdict, is of other servers, its ledger is gone or another's, or
            nothing in it is red although that is ``needed``.
    """
    content = read_report(str(report), "--report")
    # a snapshot may have stood for the source
    told = content["sides"]["target"]["location"]
    if told != target.display:
        raise UsageProblem(f"--report: {report} is of another target ({told}, not {target.display}); give its report")
    ledger = ledger_of(content, str(report), "--report")
    if ledger is None:
        raise UsageProblem(f"--report: there is no ledger.parquet beside {report}; audit again, and give that report")
    damaged = gather(read_rows(ledger))
    if needed and not (damaged.found or damaged.left or damaged.own):
        raise UsageProblem(f"--report: {report} has nothing that is not green: there is nothing to repair")
    return damaged


def gather(rows: Iterable[Row]) -> Damaged:
    """Gather rows that are not green by their source object; what has none, or was not judged, is left."""
    states: dict[Key, set[State]] = defaultdict(set)
    targets: dict[Key, set[str]] = defaultdict(set)
    names: dict[Key, tuple[str, str]] = {}
    facets: dict[Key, set[str]] = defaultdict(set)
    lists: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    unpaired: dict[Key, Left] = {}
    own: dict[tuple[str, str, str], Left] = {}
    unread: set[Key] = set()
    ambiguous: set[Key] = set()
    for row in rows:
        if row.state.green:
            continue
        if row.source_id is None and row.target_id is None:
            lists[row.kind, row.name, row.experiment].append(row.facet)
            continue
        if row.facet == "usable":
            # what a search misses lacks something itself, and has rows of its own
            continue
        if is_own(row.facet):
            identity = str(row.source_id or row.target_id)
            why = f"{row.facet} is a rule of an own check ({row.note}), and nothing that a repair knows"
            own.setdefault(
                (row.kind, identity, row.facet), Left(row.kind, identity, row.name or row.experiment, why, row.facet)
            )
            continue
        if row.source_id is None:
            why = "it is only on the target: the source has no such object, so it is not ours to delete"
            unpaired[row.kind, str(row.target_id)] = Left(row.kind, str(row.target_id), row.name or row.experiment, why)
            continue
        key = row.kind, row.source_id
        states[key].add(row.state)
        if row.state not in _WRONG and row.facet not in _OF_TARGET:
            unread.add(key)
        if row.state is State.AMBIGUOUS:
            ambiguous.add(key)
        names[key] = row.experiment, row.name
        if row.state in _WRONG:
            facets[key].add(row.facet)
        if row.target_id is not None:
            targets[key].add(row.target_id)
    found = [
        Damage(*key, *names[key], frozenset(states[key]), frozenset(targets[key]), frozenset(facets[key]))
        for key in sorted(states)
        if states[key] & _WRONG
    ]
    # files of a broken copy cannot be read either: of what is wrong the export says whether the source could be read
    unread = {key for key in unread if not states[key] & _WRONG} | ambiguous
    left = [
        Left(kind, "", name, f"this list of {place} could not be read or compared ({', '.join(parts)}): {AGAIN}")
        for (kind, name, place), parts in lists.items()
    ]
    left += [Left(*key, names[key][1], UNREAD) for key in sorted(states) if not states[key] & _WRONG]
    left += unpaired.values()
    return Damaged(found, left, frozenset(unread), tuple(unpaired.values()), tuple(own.values()))


def container_of(kind: str, identity: str) -> Key:
    """Return what has to be made again in an object's place: itself, or the container of a version."""
    return (CONTAINER[kind], identity.rpartition("/")[0]) if kind in CONTAINER else (kind, identity)


def as_judged(report: Path, *, include_deleted: bool) -> list[str]:
    """Return the options of the audit with which nothing is green again only because it is not looked at.

    Raises:
        UsageProblem: the report is of an audit that judged what this repair does not.
    """
    judged = read_report(str(report), "--report")
    depth = missing_options(judged, "digest", judged["scope"]["profile"], include_deleted=True)
    rest = missing_options(judged, "full", "export-import", include_deleted=include_deleted)
    if "--parity-profile" in rest:
        raise UsageProblem(f"--report: {report} was judged by the profile same-store; audit by export-import")
    if rest:
        raise UsageProblem(f"--report: {report} is of an audit that judged more; add --include-deleted")
    for option, place in ways_of(judged).items():
        if option.endswith("-db"):
            raise UsageProblem(
                f"--report: {report} is of an audit that read a database too ({option} {place}), and the audit after a "
                f"repair reads none; audit without {option}, and give that report"
            )
        depth += [option, place]
    return depth


def left_text(left: Iterable[Left], settings: Settings) -> list[str]:
    """Return the lines that say what a repair left as it is, and how to audit again what nobody could judge."""
    once = {(one.kind, one.identity or one.why, one.own): one for one in left}.values()
    lines = [f"left alone: {one.kind} {one.name} ({one.identity or '-'}): {one.why}" for one in once]
    if not all(one.own for one in once):
        report = shlex.quote(str(settings.reports / "repair" / "report.json"))
        lines.append(
            "What is left alone is for a human: make it equal by hand, or delete it on the target, and audit again; or "
            f"accept it: mlflow-parity waive --from {report}"
        )
    if any(AGAIN in one.why for one in once):
        lines.append(f"To audit again: {retry_command(settings, 'verify')}")
    return [visible(settings.redactor(line)) for line in lines]


#: What other objects name for good: before one is made again, everything that may name it must be known.
_NAMED = frozenset({"run", "logged_model"})


class Holes:
    """What the audit or the export could not read, by what it concerns."""

    def __init__(
        self, unread: Iterable[Unread] = (), unverified: Iterable[Key] = (), unknown: str | None = None
    ) -> None:
        """``unknown`` says why not everything that hangs on other objects is known (``None``: it is)."""
        self._objects = {container_of(*key): UNREAD for key in unverified}
        self._objects |= dict.fromkeys(unverified, UNREAD)
        self._places: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._unknown = unknown
        for one in unread:
            why = f"the export has not all of it ({one.why}), and what is there would be lost"
            if one.kind == "server":
                self._parts[one.name] = why
            elif one.kind == "experiment":
                self._places[one.source_id] = why
            else:
                self._objects[one.kind, one.source_id] = why
                self._objects.setdefault(container_of(one.kind, one.source_id), why)

    def why(self, key: Key, place: str) -> str | None:
        """Return why an object must not be made again; ``place`` is the source id of its experiment."""
        kind, _ = key
        parts: list[str] = [KINDS[kind].part] if kind in KINDS else []
        # the files of versions are a list of their own
        parts += [FILES_PART[one] for one in FILES_PART if container_of(one, "")[0] == kind]
        found = (self._objects.get(key), self._places.get(place), *(self._parts.get(part) for part in parts))
        if kind in _NAMED:
            found = (*found, self._unknown)
        return next(filter(None, found), None)
