"""What limits an audit as a whole: hidden objects, a release that is not known; and one server taken for two.

There is a row for each such facet, one for both servers, only where something limits the audit; it is ``unverified``,
whatever was selected, and a waiver can accept it. The kinds that a server does not serve, although its release may have
them, are named as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.audit.test_items import Item
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.comparing.unpaired import is_default
from mlflow_parity.core.errors import LocationError, UsageProblem
from mlflow_parity.core.locations import Location, parse_location
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import KINDS, SCOPE_FACETS, SCOPE_KIND
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.kind_support import is_newer, newer
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot

#: The item that every audit has, whatever is in its scope.
SCOPE_ITEM = Item("both-servers", "", "", surplus=False, family="scope")


def _hidden(side: SideName, origin: Origin) -> tuple[str, str]:
    """Return in a word what is shown, and the sentence; both are empty where everything is."""
    return ("not everything", f"the {side} {origin.hidden}") if origin.hidden else ("", "")


def _newer(side: SideName, origin: Origin) -> tuple[str, str]:
    version = origin.version or ""
    return (version, newer(side, version)) if is_newer(version) else ("", "")


#: What limits an audit, by facet: the server's value and the sentence.
LIMITS: Mapping[str, Callable[[SideName, Origin], tuple[str, str]]] = {"visibility": _hidden, "release": _newer}
assert tuple(LIMITS) == SCOPE_FACETS


def limit_rows(sides: Mapping[SideName, Side]) -> Iterator[Outcome]:
    """Yield a row for each facet in which either server limits the audit."""
    for facet, look in LIMITS.items():
        found = []
        for name in SIDES:
            value, sentence = look(name, sides[name].snapshot.origin)
            if sentence:
                ours, theirs = (value, None) if name == "source" else (None, value)
                found.append(Difference(name, State.UNVERIFIED, f"{SCOPE_KIND}.{facet}", ours, theirs, sentence))
        if found:
            row = Row(SCOPE_ITEM.label, SCOPE_KIND, "both", None, None, facet, State.UNVERIFIED, findings=len(found))
            yield Outcome(row, tuple(found))


def not_served(snapshot: Snapshot) -> list[str]:
    """Return the kinds, by plural, that the server may have by its release and does not serve."""
    version = release(snapshot.origin.version)
    places = [SERVER, *(one.experiment_id for one in snapshot.experiments[:1])]
    absent = set().union(*(snapshot.objects(place).every_unsupported() for place in places))
    return [
        kind.plural for kind in KINDS.values() if kind.name in absent and (version == (0, 0) or version >= kind.first)
    ]


#: Names that a message has.
_NAMED = 3
#: What is one server, whatever stands before it.
WHY = "a server compared with itself proves nothing"


class Signed(Protocol):
    """Tells what a server gave its objects by itself."""

    def first_runs(self, experiment_ids: Sequence[str]) -> set[str]:
        """Ids of some runs of these experiments, the oldest."""
        ...

    def first_models(self) -> dict[str, int | None]:
        """Creation times of some registered models and prompts by name, the first."""
        ...


def held_by_both(
    source: Signed,
    target: Signed,
    ours: Sequence[Experiment],
    theirs: Sequence[Experiment],
    is_wanted: Callable[[str], bool] = lambda _: True,
) -> str:
    """Return in words what source and target both hold with the same ids and times; empty: nothing.

    ``ours`` are the source's experiments in scope, ``theirs`` all of the target's; ``is_wanted`` says which registered
    models and prompts are in scope.

    Raises:
        ReadError: a server cannot be asked.
    """
    signed = [one for one in ours if one.creation_time and not is_default(one)]
    if signed:
        # the lists hold deleted ones, too: on one server they have each in common, whoever writes meanwhile
        return experiments_of_both(signed, theirs)
    ids = sorted({one.experiment_id for one in ours} & {one.experiment_id for one in theirs})
    runs = source.first_runs(ids) if ids else set()
    if runs:
        same = runs & target.first_runs(ids)
        return f"the same runs ({_few(sorted(same))})" if same else ""
    models = {name: made for name, made in source.first_models().items() if made and is_wanted(name)}
    if models:
        there = target.first_models()
        names = sorted(name for name, made in models.items() if there.get(name) == made)
        return f"the same registered models or prompts ({_few(names)})" if names else ""
    return experiments_of_both(ours, theirs)


def held_by_its_snapshot(source: Side, target: Side, ours: Sequence[Experiment], *, said: bool) -> str:
    """Return what both sides hold where a snapshot was read from the very server on the other one; empty: nothing.

    Raises:
        UsageProblem: they hold something so, and nobody ``said`` that they are two servers.
    """
    places = _server(source), _server(target)
    if places[0] is None or places[1] is None or not places[0].is_same_as(places[1]):
        return ""
    # what a server has lost is brought back into it: Default is there then, and nothing else of the export
    signed = [one for one in ours if not is_default(one)] or ours
    shared = experiments_of_both(signed, target.experiments())
    if shared and not said:
        told = [
            side.location.display + ("" if side.live else f", a snapshot of {place.display}")
            for side, place in zip((source, target), places, strict=True)
            if place is not None
        ]
        raise UsageProblem(
            f"source ({told[0]}) and target ({told[1]}) are one server, both hold {shared}, and {WHY}. Give the "
            "snapshot of the other server; compare an upgraded or restored store to a snapshot of itself with "
            "--parity-profile same-store. If you know that they are two servers that had one address after each "
            "other, add --parity-two-servers"
        )
    return shared


def _server(side: Side) -> Location | None:
    """Return which server a side is, or was when its snapshot was read; ``None``: its address is none any more."""
    if side.live:
        return side.location
    try:
        found = parse_location(side.address, option=side.name)
    except LocationError:
        return None
    return replace(found, workspace=side.snapshot.origin.workspace)


def experiments_of_both(ours: Sequence[Experiment], theirs: Sequence[Experiment]) -> str:
    """Return in words which experiments are on both sides with the same id and time of creation; empty: none."""
    there = {(one.experiment_id, one.creation_time) for one in theirs if one.creation_time}
    names = [one.name for one in ours if (one.experiment_id, one.creation_time) in there]
    return f"the same experiments, with the same ids and times of creation ({_few(names)})" if names else ""


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else f"{name[:39]}…") for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
