"""What came or went while the audit ran: no pass, as nothing of it was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlflow_parity.audit.objects import Objects
from mlflow_parity.audit.scope import Scope, Selected, is_deleted
from mlflow_parity.audit.side import SIDES, SideName
from mlflow_parity.audit.test_items import NONE, Item, late_item, plain_name
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.comparing.unpaired import unread_rows
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import BY_NAME, of_family
from mlflow_parity.kinds.base import Family
from mlflow_parity.snapshot import SERVER

_REGISTERED: tuple[tuple[Family, str], ...] = (("model", "registered_model"), ("prompt", "prompt"))


def unread(item: Item, objects: Objects) -> Iterator[Outcome]:
    """Yield rows for a registered model or prompt that has a test, and of which nothing was read on either side."""
    known = _read(item.family, objects)
    if known is not None and item.name not in known:
        yield from _rows(item, objects, "it was listed when the audit began, and was not there when it was read")


def late(scope: Scope, selected: Selected, objects: Objects) -> Iterator[tuple[Item, Outcome]]:
    """Yield rows for what has no test, as it was not listed when the audit began, and for what went since."""
    yield from _late_registered(scope, selected, objects)
    yield from _late_experiments(scope, selected, objects)


def _late_registered(scope: Scope, selected: Selected, objects: Objects) -> Iterator[tuple[Item, Outcome]]:
    """Yield rows for what is in a registry and has no test, as it was not listed when the audit began."""
    chosen = {item.key for item in selected.others}
    for family, _ in _REGISTERED if chosen else ():
        items = [item for item in scope.items if item.family == family]
        # where only some were selected, all others are left out, and the report says so
        if any(item.key not in chosen or item.id == NONE for item in items):
            continue
        known = (_read(family, objects) or set()) - {item.name for item in items}
        ours = _read(family, objects, SIDES[:1]) or set()
        for name in sorted(name for name in known if scope.is_wanted(name)):
            item = late_item(family, name, surplus=name not in ours)
            for row in _rows(item, objects, "it was not listed when the audit began"):
                yield item, row


def _rows(item: Item, objects: Objects, why: str) -> Iterator[Outcome]:
    for kind in of_family(item.family):
        reason = f"{why}: it changed while the audit was running; repeat it"
        yield from unread_rows(item.label, kind.name, objects.facets[kind.name], reason)


def _read(family: Family, objects: Objects, sides: Sequence[SideName] = SIDES) -> set[str] | None:
    """Return the names in the registries at either look; ``None`` where one was not read, which is said elsewhere."""
    kind = dict(_REGISTERED)[family]
    names: set[str] = set()
    for side in sides:
        for view in objects.looks.both(side, SERVER):
            if view.problem("registry") is not None:
                return None
            names.update(key.entity_id for key in view.keys(kind))
    return names


def _late_experiments(scope: Scope, selected: Selected, objects: Objects) -> Iterator[tuple[Item, Outcome]]:
    """Yield rows for experiments that came or went while the audit ran, or were not to be listed again."""
    items = [item for item in scope.items if item.family == "experiment" and not item.gone]
    chosen = {item.key for item, _, _ in selected.sources} | {item.key for item, _, _, _ in selected.surplus}
    # where only some were selected, all others are left out, and the report says so
    if not items or any(item.key not in chosen for item in items):
        return
    for name, reason in objects.looks.unlisted.items():
        item = Item("all-experiments", "(all experiments)", "", surplus=False)
        why = f"whether experiments came or went on the {name} since could not be asked: {reason}"
        yield from _unread_experiment(objects, item, None, None, why)
    read: dict[SideName, set[str]] = {
        "source": {one.experiment_id for _, one, _ in selected.sources},
        "target": {pair.target.experiment_id for _, _, pair in selected.sources if pair is not None}
        | {one.experiment_id for _, one, _, _ in selected.surplus},
    }
    for name, now in objects.looks.listed.items():
        before = {one.experiment_id: one for one in objects.looks.sides[name].experiments()}
        for place in {**before, **now}:
            old, there = before.get(place), now.get(place)
            if there is None and place in read[name]:
                why = f"it went on the {name} while the audit was running; repeat it"
            elif there is not None and place not in read[name] and _is_late(scope, old, there):
                why = f"it came on the {name} while the audit was running, nothing of it was read; repeat it"
            else:
                continue
            one = there or before[place]
            item = Item(plain_name(one.name), one.name, place, surplus=name == "target")
            ours, theirs = (place, None) if name == "source" else (None, place)
            yield from _unread_experiment(objects, item, ours, theirs, why)


def _is_late(scope: Scope, before: Experiment | None, now: Experiment) -> bool:
    """Whether an experiment is in scope since it was made or restored."""
    return scope.is_in(now) and (before is None or is_deleted(before) > is_deleted(now))


def _unread_experiment(
    objects: Objects, item: Item, source: str | None, target: str | None, why: str
) -> Iterator[tuple[Item, Outcome]]:
    for kind in ("experiment", "run"):
        asked = [facet for facet in BY_NAME[kind].facets if facet in objects.facets[kind]]
        if asked:
            row = Row(item.name, kind, item.name, source, target, asked[0], State.UNVERIFIED)
            yield item, Outcome(row, (Difference("", State.UNVERIFIED, f"{kind}.{asked[0]}", note=why),))
            return
