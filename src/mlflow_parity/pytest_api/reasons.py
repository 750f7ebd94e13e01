"""Why an audit is red, in sentences: one for each cause, with how many of how many, and the first objects by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlflow_parity.audit.result import Result
from mlflow_parity.audit.settings import Recheck
from mlflow_parity.audit.side import SIDES
from mlflow_parity.audit.waivers.waivers import Used
from mlflow_parity.core.text import counted, listed, noun
from mlflow_parity.core.verdict import Cell, Finding, State, follows, is_own
from mlflow_parity.kinds import CONTAINERS, KINDS, SCOPE_KIND, family_of, plural_of
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.rules.check_registry import BY_NAME as PROMISES
from mlflow_parity.reporting.other_reasons import STILL_OPEN, Of, OtherReason

#: What :func:`mlflow_parity.comparing.objects.unread_rows` is told of a list that the user may not read.
_REFUSED = re.compile(r"the (?P<side>source|target)'s (?P<what>.+?) could not be read: status 403\b")
#: What is said of objects by the state of their presence; ``{be}`` is *is* or *are*.
_PRESENCE: Mapping[State, str] = {
    State.MISSING: "{be} missing on the target",
    State.EXTRA: "{be} on the target only",
    State.DUPLICATE: "{be} on the target more than once",
    State.AMBIGUOUS: "cannot be told apart, so not paired",
    State.MISMATCH: "{differ}",
    State.UNVERIFIED: "{be} not verified",
}
#: What is said of objects that have a copy, by the state of one facet.
_FACET: Mapping[State, str] = {
    State.MISSING: "{have} no {facet} on the target",
    State.EXTRA: "{have} {facet} on the target only",
    State.DUPLICATE: "{have} {facet} more than once on the target",
    State.AMBIGUOUS: "{have} {facet} that cannot be told apart",
    State.MISMATCH: "{differ} in {facet}",
    State.UNVERIFIED: "{have} {facet} that {are} not verified",
}
_ONE = {"be": "is", "have": "has", "differ": "differs"}
_MANY = {"be": "are", "have": "have", "differ": "differ"}
_UNREAD = "not read, or changed meanwhile"
#: Objects that a sentence names, keys of each, facets; characters of a cause that is told whole.
_NAMES, _KEYS, _FACETS, _CAUSE = 3, 2, 3, 150
_Place = tuple[str, str, State]
#: What settles a reason that no recheck does, by what it follows from.
_SETTLED: Mapping[Of, str] = {
    "test": "run them again without --parity-recheck",
    "parts": "audit the parts again and merge them, or audit the whole",
    "self-test": "audit the whole again with --parity-self-test",
    "waiver": "audit the whole again, or remove the waiver",
    "run": "audit the whole again",
}


@dataclass(slots=True)
class _Named:
    """The first objects of one cause, by name, with the keys that differ."""

    objects: dict[tuple[str, str, str], dict[str, None]] = field(default_factory=dict)
    causes: dict[str, None] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        identity = finding.source_id or finding.target_id or ""
        keys = self.objects.setdefault((finding.experiment, finding.name, identity), {})
        if finding.key:
            keys[finding.key] = None
        if finding.state is State.UNVERIFIED:
            self.causes[finding.explanation] = None

    @property
    def cause(self) -> str:
        """The one cause why they were not verified, where it is one."""
        [first, *others] = self.causes or {"": None}
        told = first and not others and len(first) <= _CAUSE and "\n" not in first
        return first if told else _UNREAD

    def told(self, count: int, kind: str) -> str:
        """Return up to three names, with their experiment where it says more, and how many more there are."""
        told = []
        for (place, name, _), keys in sorted(self.objects.items())[:_NAMES]:
            where = f' in "{place}"' if family_of(kind) == "experiment" and kind != "experiment" else ""
            what = ", ".join([*list(keys)[:_KEYS], *(["…"] if len(keys) > _KEYS else [])])
            told.append((f'"{name}"' if name else "one without a name") + where + (f" ({what})" if what else ""))
        more = count - len(told)
        return ", ".join(told) + (f" and {more:,} more" if told and more > 0 else "")


def red_reasons(result: Result) -> list[str]:
    """Say why the ledger is red: what limits all, then objects, then the facets of those that have a copy."""
    sums: dict[str, Counter[State]] = {}
    inside: dict[tuple[str, State], Counter[str]] = {}
    lost_with: dict[str, str] = {}
    for item_state in result.states.values():
        for facet, cell in item_state.cells.items():
            sums.setdefault(facet, Counter()).update(cell.counts)
        if (lost := _lost(item_state.cells)) is not None:
            inside.setdefault(lost, Counter()).update(_objects_inside(item_state.cells, *lost))
            lost_with[item_state.item.label] = lost[0]
    # what limits the audit as a whole says so itself
    reasons = [one.explanation for one in result.findings if one.kind == SCOPE_KIND]
    reasons += _refused(result.findings, sums)
    named: dict[_Place, _Named] = {}
    for finding in result.findings:
        if lost_with.get(finding.experiment, finding.kind) == finding.kind:
            named.setdefault(_place(finding.kind, finding.facet, finding.state), _Named()).add(finding)
    for kind in contract.FACETS:
        counts = sums.get(f"{kind} presence", Counter())
        for state, phrase in _PRESENCE.items():
            of = 0 if state is State.EXTRA else counts.total() - counts[State.EXTRA]
            # one cause, one sentence: what is in a lost experiment or model is said beside that
            here = counts[state] - sum(found[kind] for (_, lost), found in inside.items() if lost is state)
            names = named.get(_place(kind, "presence", state), _Named())
            for line in _sentence(kind, phrase.format(**_verbs(here)), here, of, names, state):
                reasons.append(line + _with(inside.get((kind, state), Counter()), counts[state]))
    return reasons + _facet_reasons(sums, named)


def _facet_reasons(sums: Mapping[str, Counter[State]], named: Mapping[_Place, _Named]) -> list[str]:
    """Say in which facets objects that have a copy are red; facets that are red in the same objects share a line."""
    lines: dict[tuple[str, State, int, int, str, str], list[str]] = {}
    for place, counts in sums.items():
        kind, _, facet = place.partition(" ")
        if kind == SCOPE_KIND or facet == "presence":
            continue
        said = follows(place, sums)
        whole = counts.total() - sum(counts[state] for state in said | {State.EXTRA})
        hidden = sums.get(f"{kind} presence", Counter())[State.UNVERIFIED]
        # what a rule of one's own could not judge has a cause of its own
        if counts[State.UNVERIFIED] <= hidden and not is_own(facet):
            said |= {State.UNVERIFIED}
        for state in _FACET:
            if counts[state] > 0 and state not in said:
                found = named.get(_place(kind, facet, state), _Named())
                of = 0 if state is State.EXTRA else whole
                told = (kind, state, counts[state], of, found.told(counts[state], kind), found.cause)
                lines.setdefault(told, []).append(facet.replace("_", " "))
    reasons = []
    for (kind, state, count, of, names, cause), facets in lines.items():
        more = f" and {counted(len(facets) - _FACETS, 'more facets')}" if len(facets) > _FACETS else ""
        verbs = {**_verbs(count), "are": "is" if len(facets) == 1 else "are"}
        phrase = _FACET[state].format(facet=", ".join(facets[:_FACETS]) + more, **verbs)
        reasons.append(_said(kind, phrase, count, of, names, cause if state is State.UNVERIFIED else ""))
    return reasons


def _place(kind: str, facet: str, state: State) -> _Place:
    """Return what findings are told by: a tag that only the target has makes the tags of its run *different*."""
    if facet != "presence" and state is not State.UNVERIFIED:
        state = State.MISMATCH
    return kind, facet, state


def _lost(cells: Mapping[str, Cell]) -> tuple[str, State] | None:
    """Return the kind that holds all others of a test item, where it is missing, or only on the target."""
    for container in CONTAINERS.values():
        cell = cells.get(f"{container} presence")
        if cell is not None:
            for state in (State.MISSING, State.EXTRA):
                if cell.total and cell.counts[state] == cell.total:
                    return container, state
    return None


def _objects_inside(cells: Mapping[str, Cell], container: str, state: State) -> Counter[str]:
    """Return how many objects of which kind are lost with what holds them."""
    kinds = (kind for kind in contract.FACETS if kind != container)
    return Counter({kind: cells[f"{kind} presence"].counts[state] for kind in kinds if f"{kind} presence" in cells})


def _with(inside: Counter[str], count: int) -> str:
    told = listed({plural_of(kind): number for kind, number in inside.items() if number})
    return f", with {told} in {'it' if count == 1 else 'them'}" if told else ""


def _refused(findings: Iterable[Finding], sums: Mapping[str, Counter[State]]) -> list[str]:
    """Say by side what this user may not list, once for every facet of every kind, and take it out of the sums."""
    refused: dict[str, dict[str, None]] = {}
    for finding in findings:
        found = _REFUSED.match(finding.explanation)
        if found is not None and finding.name.startswith("(all "):
            refused.setdefault(found["side"], {})[found["what"]] = None
            sums[f"{finding.kind} {finding.facet}"][finding.state] -= 1
    return [
        f"status 403: the {side}'s {', '.join(kinds)} could not be read by this user" for side, kinds in refused.items()
    ]


def _verbs(count: int) -> Mapping[str, str]:
    return _ONE if count == 1 else _MANY


def _sentence(kind: str, phrase: str, count: int, of: int, named: _Named, state: State) -> list[str]:
    """Return one sentence; none where there is nothing in this state."""
    cause = named.cause if state is State.UNVERIFIED else ""
    return [_said(kind, phrase, count, of, named.told(count, kind), cause)] if count > 0 else []


def _said(kind: str, phrase: str, count: int, of: int, names: str, cause: str) -> str:
    """Return a sentence about so many objects of a kind, ``of`` how many (0: it is not said)."""
    plural = plural_of(kind)
    who = f"{count:,} of {of:,} {noun(of, plural)}" if of else counted(count, plural)
    return f"{who} {phrase}{f' ({cause})' if cause else ''}{f': {names}' if names else ''}"


def left_open(recheck: Recheck | None, waivers: Iterable[Used]) -> list[OtherReason]:
    """Return what was said against a report that is rechecked and is settled by nothing that a recheck does.

    A waiver is, where it is not in force any more or was looked at: then it says itself what is wrong with it.
    """
    if recheck is None:
        return []
    unseen = {str(used.waiver) for used in waivers if used.status == "not looked at"}
    found = [OtherReason(STILL_OPEN + name, "test", name) for name in recheck.own]
    for told, about in recheck.open:
        of: Of = next((one for one in _SETTLED if one == told), "run")
        if of != "waiver" or about in unseen:
            found.append(OtherReason(f"{STILL_OPEN}{'the waiver ' if of == 'waiver' else ''}{about}", of, about))
    return found


def open_sentences(recheck: Recheck, left: Iterable[OtherReason]) -> list[str]:
    """Say how many reasons are left open, and what settles them, a sentence for each kind of them."""
    counts = Counter(one.of for one in left)
    told = []
    for of, count in counts.items():
        if of == "test":
            what = f"{recheck.own_named} of {recheck.title} {'was' if count == 1 else 'were'} not green"
            told.append(f"{what}, and a recheck runs no own check: {_SETTLED[of]}")
        else:
            what = f"{counted(count, 'reasons')} of {recheck.title} {'is' if count == 1 else 'are'} told by no check"
            told.append(f"{what}, so no recheck settles {'it' if count == 1 else 'them'}: {_SETTLED[of]}")
    return told


def on_neither_side(result: Result) -> list[str]:
    """Return the kinds, by their plural, that were looked for and of which neither side has any."""
    return [
        kind.plural
        for kind in KINDS.values()
        if result.selection.facets(kind.name)
        and not any(result.objects[side][kind.plural] for side in result.objects)
        and not any(kind.plural in result.not_served[side] for side in SIDES)
        and not any(state.cells.get(f"{kind.name} presence") for state in result.states.values())
    ]


def not_green_checks(result: Result) -> tuple[str, ...]:
    """Return the checks whose part of the ledger is not green, as ``promise[item id]``."""
    selected = [PROMISES[name] for name in result.selection.promises]
    return tuple(
        f"{promise.name}[{state.item.id}]"
        for _, state in sorted(result.states.items())
        for promise in selected
        if promise.family == state.item.family and not state.judge(promise).green
    )
