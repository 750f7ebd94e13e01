"""Waivers: differences that somebody accepted, with a reason, an owner and a day on which that ends.

A waiver is strict, as ``xfail(strict=True)`` is: one that expired, or that matches nothing any more, is red.
The file is TOML; ``docs/waivers.md`` says what stands in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import Any, Literal

from mlflow_parity.audit.waivers.waived_values import Told, is_told, is_value, shown
from mlflow_parity.comparing import Difference
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local import input_files
from mlflow_parity.core.verdict import Row, State, is_own
from mlflow_parity.kinds import SCOPE_KIND
from mlflow_parity.kinds.rules import contract

#: What can be waived. What was not read, cannot be paired or is there twice is never accepted by a waiver.
WAIVABLE = frozenset({State.MISMATCH, State.MISSING, State.EXTRA})
_ENTRY = ("object", "facet", "key", "state", "values", "reason", "owner", "expires")
_NEEDED = ("object", "facet", "reason", "owner", "expires")
OTHER_VALUES = "was drafted for other values"
#: What limits an audit as a whole may be accepted although it is unverified: the one exception.
LIMITS = frozenset({State.UNVERIFIED})
#: ``used``: it covered something; ``not looked at``: its objects were not all in this audit's scope.
Status = Literal["used", "unused", "expired", "not looked at"]
RED: tuple[Status, ...] = ("unused", "expired")


#: Values listed in a report of a waiver that is bound to several.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Values:
    """A difference that a waiver was drafted for: the values of both sides, and where one is named the object's id."""

    source: Told
    target: Told
    entity_id: str | None = None

    def fit(self, row: Row, difference: Difference) -> bool:
        """Whether a difference of an object is this one."""
        if self.entity_id not in (None, row.source_id or row.target_id):
            return False
        return all(map(is_value, (self.source, self.target), difference.binding))


@dataclass(frozen=True, slots=True)
class Waiver:
    """One entry of the file; ``experiment``, ``kind``, ``name``, ``key`` and ``entity_id`` are globs, ``facet`` a name.

    ``expires`` is the last day on which it holds; ``state`` is ``None`` where any waivable state is meant, and
    ``values`` where any values are.
    ``entity_id`` is the id on the source, or of what is on the target only, the one there.
    """

    experiment: str
    kind: str
    name: str
    facet: str
    key: str
    state: State | None
    reason: str
    owner: str
    expires: date
    entity_id: str = "*"
    values: tuple[Values, ...] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of object that it speaks of."""
        return tuple(kind for kind, facets in contract.ROWS.items() if _fits(kind, self.kind) and self.facet in facets)

    def names(self, row: Row) -> bool:
        """Whether it speaks of the row's object."""
        return (
            _fits(row.experiment, self.experiment)
            and _fits(row.kind, self.kind)
            and _fits(row.name, self.name)
            and _fits(row.source_id or row.target_id or "", self.entity_id)
        )

    @property
    def path(self) -> tuple[str, ...]:
        """The object as the file names it; the id only where one is given."""
        parts = (self.experiment, self.kind, self.name)
        return parts if self.entity_id == "*" else (*parts, self.entity_id)

    def covers_row(self, row: Row) -> bool:
        """Whether it covers the row of an object that is on one side only: all its facets go with its presence."""
        return self.facet == "presence" and self._is(row.state) and _fits("", self.key) and self.names(row)

    def covers(self, row: Row, difference: Difference) -> bool:
        """Whether it covers one difference between an object and its copy."""
        return self.speaks_of(row, difference) and (
            self.values is None or any(one.fit(row, difference) for one in self.values)
        )

    def speaks_of(self, row: Row, difference: Difference) -> bool:
        """Whether it covers one difference, if it was drafted for its values."""
        return (
            self.facet == row.facet
            and self._is(difference.state, row.kind)
            and _fits(difference.key, self.key)
            and self.names(row)
        )

    def _is(self, state: State, kind: str = "") -> bool:
        return state in waivable(kind) and (self.state is None or self.state is state)

    def __str__(self) -> str:
        return " / ".join([*self.path, self.facet, *([] if self.key == "*" else [self.key])])


@dataclass(frozen=True, slots=True)
class WaiverFile:
    """The entries of a file, in its order, and the SHA-256 of its bytes."""

    waivers: tuple[Waiver, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Used:
    """What became of one waiver: ``covered`` counts the differences that it turned into ``waived``."""

    waiver: Waiver
    status: Status
    covered: int
    other_values: bool = False
    """Whether the values of a difference of which it speaks are not those that it was drafted for."""

    @property
    def red(self) -> bool:
        """Whether it makes the verdict red."""
        return self.status in RED

    @property
    def problem(self) -> str:
        """One line for the report's reasons; empty when it is in order."""
        if self.status == "expired":
            return f"the waiver {self.waiver} expired on {self.waiver.expires}: renew or remove it"
        if self.status == "unused" and self.other_values:
            return f"the waiver {self.waiver} {OTHER_VALUES}: look at them, and draft it again or remove it"
        return f"the waiver {self.waiver} matches nothing any more: remove it" if self.status == "unused" else ""

    def to_text(self) -> dict[str, str]:
        """Return what reports say of it."""
        waiver = self.waiver
        return {
            "object": " / ".join(waiver.path),
            "facet": waiver.facet,
            "key": waiver.key,
            "state": "any" if waiver.state is None else waiver.state.value,
            "values": _values_of(waiver),
            "reason": waiver.reason,
            "owner": waiver.owner,
            "expires": waiver.expires.isoformat(),
            "status": self.status,
            "covered": str(self.covered),
        }


def _values_of(waiver: Waiver) -> str:
    if waiver.values is None:
        return "the object itself" if waiver.facet == "presence" else "any value"
    pairs = list(dict.fromkeys(shown((one.source, one.target)) for one in waiver.values))
    more = f" and {len(pairs) - _SHOWN:,} more" if len(pairs) > _SHOWN else ""
    return "; ".join(pairs[:_SHOWN]) + more


class WaiverBook:
    """Applies waivers to the rows of one audit and knows afterwards what became of each."""

    def __init__(self, waivers: Sequence[Waiver] = (), today: date | None = None) -> None:
        day = today or date.today()
        self.waivers = tuple(waivers)
        self._valid = [number for number, waiver in enumerate(self.waivers) if waiver.expires >= day]
        self._covered = [0] * len(self.waivers)
        self._unread: set[int] = set()
        self._other_values: set[int] = set()

    def apply(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what is waived turned into ``waived``.

        A row is waived only where each of its red differences is covered; where only some are, those are, and
        the row stays as it was.
        """
        row = outcome.row
        if not self._valid or row.state.green:
            return outcome
        if row.state is State.UNVERIFIED and row.kind != SCOPE_KIND:
            self._unread.update(
                number
                for number in self._valid
                if self.waivers[number].names(row) or (row.name.startswith("(all ") and self._about(number, row))
            )
            return outcome
        if row.state in (State.MISSING, State.EXTRA):
            found = [number for number in self._valid if self.waivers[number].covers_row(row)]
            if not found:
                return outcome
            self._count(found, 1)
            waived = tuple(replace(one, state=State.WAIVED) for one in outcome.differences)
            return Outcome(self._noted(row, found, State.WAIVED, 0), waived)
        if row.state is not State.MISMATCH and row.kind != SCOPE_KIND:
            return outcome
        return self._differences(outcome)

    def _differences(self, outcome: Outcome) -> Outcome:
        row = outcome.row
        used: list[int] = []
        differences = []
        for difference in outcome.differences:
            found = [number for number in self._valid if self.waivers[number].covers(row, difference)]
            if difference.state is State.UNVERIFIED and row.kind != SCOPE_KIND:
                self._unread.update(number for number in self._valid if self.waivers[number].names(row))
            if found:
                self._count(found, 1)
                used += [number for number in found if number not in used]
                difference = replace(difference, state=State.WAIVED)
            else:
                difference = self._told_otherwise(row, difference)
            differences.append(difference)
        if not used:
            return Outcome(row, tuple(differences))
        red = [difference.state for difference in differences if not difference.state.green]
        # what stays may only be that something could not be read
        state = State.WAIVED if not red else State.UNVERIFIED if set(red) == {State.UNVERIFIED} else row.state
        return Outcome(self._noted(row, used, state, len(red)), tuple(differences))

    def _told_otherwise(self, row: Row, difference: Difference) -> Difference:
        """Say of a difference that no waiver covers which one would, had it the values of then."""
        found = [number for number in self._valid if self.waivers[number].speaks_of(row, difference)]
        if not found:
            return difference
        self._other_values.update(found)
        waiver = self.waivers[found[0]]
        told = f"the waiver of {waiver.owner} until {waiver.expires} {OTHER_VALUES}"
        note = f"{difference.note}; {told}" if difference.note else told
        # another draft may be bound to what the note was before
        return replace(difference, note=note, bound=difference.binding)

    def _about(self, number: int, row: Row) -> bool:
        waiver = self.waivers[number]
        return _fits(row.experiment, waiver.experiment) and _fits(row.kind, waiver.kind)

    def _count(self, found: Iterable[int], number: int) -> None:
        for index in found:
            self._covered[index] += number

    def _noted(self, row: Row, found: Sequence[int], state: State, findings: int) -> Row:
        told = "; ".join(
            f"waived until {waiver.expires} by {waiver.owner}: {waiver.reason}"
            for waiver in (self.waivers[number] for number in found)
        )
        return replace(row, state=state, findings=findings, note=f"{row.note}; {told}" if row.note else told)

    def counts(self) -> dict[str, dict[int, int]]:
        """Return what was noticed of each waiver, by its number."""
        return {
            "covered": {number: count for number, count in enumerate(self._covered) if count},
            "unread": dict.fromkeys(sorted(self._unread), 1),
            "other_values": dict.fromkeys(sorted(self._other_values), 1),
        }

    def take_in(self, counts: Mapping[str, Mapping[int, int]]) -> None:
        """Add what another book of the same file has noticed; ``IndexError``: of a waiver that is not in it."""
        for number, count in counts["covered"].items():
            self._covered[number] += count
        self._unread.update(counts["unread"])
        self._other_values.update(counts["other_values"])

    def close(self, looked_at: Callable[[Waiver], bool]) -> tuple[Used, ...]:
        """Return what became of each waiver, in the order of the file.

        ``looked_at`` says whether all that a waiver could speak of was in the audit's scope.
        """
        valid = set(self._valid)
        told = []
        for number, waiver in enumerate(self.waivers):
            covered = self._covered[number]
            status: Status = "used"
            if number not in valid:
                status = "expired"
            elif not covered:
                seen = number in self._other_values
                status = "unused" if seen or (number not in self._unread and looked_at(waiver)) else "not looked at"
            told.append(Used(waiver, status, covered, number in self._other_values))
        return tuple(told)


def waivable(kind: str) -> frozenset[State]:
    """Return the states that can be waived for rows of a kind."""
    return LIMITS if kind == SCOPE_KIND else WAIVABLE


def load_waivers(path: str | None) -> WaiverFile:
    """Read a file of waivers; no path gives none.

    Raises:
        UsageProblem: one line saying what is wrong, in which entry, and how to fix it.
    """
    if path is None:
        return WaiverFile()
    try:
        content = input_files.content_of(path, input_files.TOML)
        document = input_files.parsed_toml(content)
    except input_files.Unusable as error:
        raise UsageProblem(f"--parity-waivers: {path} {error}; give a TOML file, see docs/waivers.md") from None
    entries = document.get("waiver")
    unknown = sorted(document.keys() - {"waiver"})
    if unknown or not isinstance(entries, list) or not entries:
        what = f"it has {unknown[0]!r}" if unknown else "it has no [[waiver]]"
        raise UsageProblem(f"--parity-waivers: {path}: {what}; it holds entries [[waiver]] and nothing else")
    made = tuple(_entry(entry, f"--parity-waivers: {path}, waiver {number}") for number, entry in enumerate(entries, 1))
    return WaiverFile(made, hashlib.sha256(content).hexdigest())


def _entry(entry: Any, where: str) -> Waiver:
    if not isinstance(entry, Mapping):
        raise UsageProblem(f"{where} is not a table; write [[waiver]]")
    for name in _NEEDED:
        if name not in entry:
            raise UsageProblem(f"{where} has no {name!r}; each needs {', '.join(_NEEDED)}")
    for name in entry:
        if name not in _ENTRY:
            raise UsageProblem(f"{where} has the unknown {name!r}; known are {', '.join(_ENTRY)}")
    thing = entry["object"]
    if not isinstance(thing, list) or len(thing) not in (3, 4) or not all(isinstance(part, str) for part in thing):
        # a list, because names hold "/" and anything else
        shape = '["experiment", "kind", "name"]'
        raise UsageProblem(f"{where}: object is a list of three texts: {shape}, or of four with the id behind them")
    for name in ("facet", "reason", "owner"):
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise UsageProblem(f"{where}: {name} is empty; say it, nobody can sign a waiver without")
    if not isinstance(entry.get("key", "*"), str):
        raise UsageProblem(f"{where}: key is a text; leave it out to mean every key")
    expires = entry["expires"]
    if not isinstance(expires, date) or isinstance(expires, datetime):
        raise UsageProblem(f"{where}: expires is not a day; write it without quotes, as expires = 2027-01-31")
    values = _values(entry["values"], where) if "values" in entry else None
    if values is not None and entry["facet"] == "presence":
        raise UsageProblem(f"{where}: an object that is on one side only has no values; leave values out")
    text = entry.get("state")
    states = {state.value: state for state in WAIVABLE}
    if thing[1] == SCOPE_KIND:
        states = {state.value: state for state in LIMITS}
    if text is not None and (not isinstance(text, str) or text not in states):
        raise UsageProblem(f"{where}: the state {text!r} cannot be waived; only {', '.join(sorted(states))} can")
    waiver = Waiver(
        thing[0],
        thing[1],
        thing[2],
        entry["facet"],
        entry.get("key", "*"),
        None if text is None else states[text],
        entry["reason"].strip(),
        entry["owner"].strip(),
        expires,
        thing[3] if len(thing) == 4 else "*",
        values,
    )
    if is_own(waiver.facet):
        raise UsageProblem(f"{where}: {waiver.facet} is a rule of an own check and cannot be waived; change the check")
    if not waiver.kinds:
        kinds = [kind for kind in contract.ROWS if _fits(kind, waiver.kind)]
        if not kinds:
            raise UsageProblem(f"{where}: no kind is called {waiver.kind!r}; known are {', '.join(contract.ROWS)}")
        known = dict.fromkeys(facet for kind in kinds for facet in contract.ROWS[kind])
        raise UsageProblem(f"{where}: {waiver.kind} has no facet {waiver.facet!r}; known are {', '.join(known)}")
    return waiver


def _values(given: Any, where: str) -> tuple[Values, ...]:
    shape = '[["source", "target"]], each a text, a whole number, "sha256:…", or false where there is none'
    if not isinstance(given, list) or not given:
        raise UsageProblem(f"{where}: values is a list of pairs: {shape}; leave it out to mean any value")
    found = []
    for one in given:
        if not isinstance(one, list) or len(one) not in (2, 3) or not all(map(is_told, one[:2])):
            raise UsageProblem(f"{where}: values holds pairs: {shape}; a third text in one is the object's id")
        if len(one) == 3 and not isinstance(one[2], str):
            raise UsageProblem(f"{where}: the third of values is the object's id, a text")
        if one[0] is False and one[1] is False:
            raise UsageProblem(f"{where}: values without a value on either side are no difference; remove the pair")
        found.append(Values(*one))
    return tuple(found)


def _fits(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern)
