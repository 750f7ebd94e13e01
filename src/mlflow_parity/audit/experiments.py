"""Experiments and runs of both sides as a whole: their pairs, what is deleted, extra, or came while the audit ran."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from mlflow_parity.audit.looking import second_look as changes
from mlflow_parity.audit.looking.looks import Looks
from mlflow_parity.audit.paired.objects import Objects
from mlflow_parity.audit.result import Result
from mlflow_parity.audit.scope import Scope, Selected, is_deleted
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.audit.test_items import NONE, Item, late_item, plain_name
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.comparing.links import Links, take_in
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.comparing.unpaired import Held, is_default, surplus_experiment, unread_rows
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.identity.id_map import IdMap
from mlflow_parity.core.identity.keys import RunKey
from mlflow_parity.core.records import REPLACED_TAG, Experiment
from mlflow_parity.core.verdict import Deleted, Row, State
from mlflow_parity.kinds import BY_NAME, CONTAINERS, of_family
from mlflow_parity.kinds.conventions.profiles import Kept
from mlflow_parity.kinds.schema.base import Family, Kind
from mlflow_parity.pairing.by_kind import RunPairing, pair_runs
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import SERVER, Part
from mlflow_parity.snapshot.moved import came_since
from mlflow_parity.snapshot.store import SnapshotView

#: Runs in deleted experiments that are counted at most, a thousand a request: to know that there are many is enough.
_MOST = 5_000


class DeletedRuns:
    """Counts the deleted runs of the experiments that are read, without those whose pair is judged."""

    def __init__(self) -> None:
        self.counts: dict[SideName, int | None] = {}

    def add(self, side: SideName, keys: Iterable[RunKey] | None, pairing: RunPairing | None = None) -> None:
        """Add the runs of one experiment; ``None``: they could not be read."""
        before = self.counts.get(side, 0)
        if keys is None or before is None:
            self.counts[side] = None
            return
        # deleted on one side only is a difference
        judged = sum(getattr(pair, side).deleted for pair in pairing.pairs) if pairing is not None else 0
        both = sum(pair.source.deleted and pair.target.deleted for pair in pairing.pairs) if pairing is not None else 0
        self.counts[side] = before + sum(key.deleted for key in keys) - (judged - both)


def left_out(side: Side, runs: int | None, experiments: list[str]) -> Deleted:
    """Return what was left out of a side: so many deleted runs, these deleted experiments, and what is in them."""
    if not experiments:
        return Deleted(runs, 0, 0)
    if side.reader is None:
        return Deleted(runs, len(experiments), None)
    inside = 0
    try:
        for page in side.reader.runs_of(experiments):
            inside += len(page)
            if inside >= _MOST:
                return Deleted(runs, len(experiments), inside, at_least=True)
    except ReadError:
        return Deleted(runs, len(experiments), None)
    return Deleted(runs, len(experiments), inside)


class Experiments:
    """Experiments and runs of both sides, once they were read."""

    def __init__(self, looks: Looks, scope: Scope, result: Result) -> None:
        self.looks = looks
        self.sides = looks.sides
        self.settings = scope.settings
        self.result = result
        self._scope = scope
        self.deleted = DeletedRuns()
        """Deleted runs of the experiments that were read, where they are out of scope."""

    def links(self, selected: Selected) -> Links:
        """Pair the runs of every experiment once, so that links across experiments can be followed."""
        # they stay as long as the audit goes on
        pairs, known = IdMap(), IdMap()
        copies: dict[str, set[str]] = {}
        replaced: dict[str, str] = {}
        kept, unread = Kept(), False
        if "runs" in self.looks.parts:
            for source, pair in selected.linked:
                ours = self.sides["source"].view(source)
                theirs = None if pair is None else self.sides["target"].view(pair.target)
                self._count("source", ours)
                if theirs is not None:
                    self._count("target", theirs)
                if ours.problem("runs"):
                    # not known to be empty: an unreadable list is reported as such, not as an empty source, and none of
                    # its runs is known to be gone
                    unread = True
                    self.result.source_runs += 1
                    self.deleted.add("source", None)
                    if theirs is not None:
                        self.deleted.add("target", None)
                    continue
                keys = ours.run_keys()
                kept.add_source(keys)
                known.update((key.entity_id, key.lifecycle_stage) for key in keys)
                self.result.source_runs += sum(self.settings.include_deleted or not key.deleted for key in keys)
                if theirs is None:
                    self.deleted.add("source", keys)
                elif theirs.problem("runs"):
                    self.deleted.add("source", keys)
                    self.deleted.add("target", None)
                else:
                    copies_of = theirs.run_keys()
                    kept.add_target(copies_of)
                    pairing = pair_runs(keys, copies_of, same_store=self.settings.profile == "same-store")
                    take_in(pairing, pairs, copies)
                    self.deleted.add("source", keys, pairing)
                    self.deleted.add("target", copies_of, pairing)
                    if self.settings.profile != "same-store":
                        gone = [run.entity_id for run, _ in pairing.extra if run.deleted]
                        former = ((run.run_id, run.tags.get(REPLACED_TAG, "")) for run in theirs.runs(gone))
                        replaced.update((run, original) for run, original in former if original in pairs)
            for _, surplus, _, _ in selected.surplus:
                view = self.sides["target"].view(surplus)
                if not view.problem("runs"):
                    kept.add_target(view.run_keys())
                self.deleted.add("target", None if view.problem("runs") else view.run_keys())
        self.result.warning = kept.warning(self.settings.profile)
        return Links(pairs, known, copies, self.are_all_in(selected) and not unread, replaced)

    def are_all_in(self, selected: Selected) -> bool:
        """Whether every experiment of the source that is not deleted is read, its objects for links at least."""
        read = {source.experiment_id for source, _ in selected.linked}
        # the runs of a deleted experiment are deleted: whether it was read or not, a link to one of them is a dead link
        return all(is_deleted(one) for one in self.sides["source"].experiments() if one.experiment_id not in read)

    def leave_out(self, selected: Selected) -> None:
        """Count what is deleted and out of scope, so that it is named: it is no part of the verdict."""
        if self.settings.include_deleted:
            return
        read: dict[SideName, set[str]] = {
            "source": {source.experiment_id for source, _ in selected.linked},
            "target": {pair.target.experiment_id for _, pair in selected.linked if pair is not None}
            | {target.experiment_id for _, target, _, _ in selected.surplus},
        }
        for name in SIDES:
            side = self.sides[name]
            deleted = [
                one.experiment_id
                for one in side.experiments()
                if is_deleted(one) and self._scope.names(one.name) and one.experiment_id not in read[name]
            ]
            self.result.deleted[name] = left_out(side, self.deleted.counts.get(name), deleted)

    def count_again(self, selected: Selected) -> None:
        """Count what was read, now that more of it is there."""
        if "runs" not in self.looks.parts:
            return
        for name in SIDES:
            self.result.counts[name].clear()
        for source, pair in selected.linked:
            self._count("source", self.sides["source"].view(source))
            if pair is not None:
                self._count("target", self.sides["target"].view(pair.target))

    def _count(self, side: SideName, view: SnapshotView) -> None:
        counts = view.counts()
        self.result.counts[side]["experiments"] += 1
        for name in ("runs", "points", "files", "bytes"):
            self.result.counts[side][name] += int(counts.get(name, 0))

    def look_again(self, selected: Selected, *, runs: bool = True) -> None:
        """List experiments and runs of both servers once more: which came, ended, changed or went since they were read.

        Experiments that did are named at once, ``runs`` when they were read again.
        """
        for name in SIDES:
            if self.sides[name].live:
                self._list_again(name)
        if not runs or not self.result.selection.facets("run"):
            return
        ids: dict[SideName, list[str]] = {
            "source": [source.experiment_id for source, _ in selected.linked],
            "target": [pair.target.experiment_id for _, pair in selected.linked if pair is not None],
        }
        if self.settings.snapshot_dir is not None:
            # nothing is compared with them, but the snapshot holds them
            ids["target"] += [target.experiment_id for _, target, _, _ in selected.surplus]
        self.looks.list_runs(ids)

    def _list_again(self, name: SideName) -> None:
        before = {item.experiment_id: item for item in self.sides[name].experiments()}
        self.looks.list_experiments(name)
        now = self.looks.listed.get(name)
        if now is None:
            return
        for item in ({**before, **now}).values():
            if not self._scope.names(item.name):
                continue
            old, new = before.get(item.experiment_id), now.get(item.experiment_id)
            if old is None or new is None:
                what = changes.CAME if old is None else changes.GONE
                found = [changes.Change(name, item.name, "experiment", item.name, item.experiment_id, (what,))]
            else:
                found = [*changes.of_experiment(name, old, new)]
            for change in found:
                self.result.changes.add(change)

    def surplus(self, target: Experiment, note: str, kind: State) -> Iterator[Outcome]:
        """Report an experiment of the target that no experiment of the source is paired with."""
        found = held(self.sides["target"], target, self.looks.parts, include_deleted=self.settings.include_deleted)
        yield from refuse(surplus_experiment(target, found, note, kind), self.settings.profile)


def held(side: Side, experiment: Experiment, asked: Collection[Part], *, include_deleted: bool) -> Held:
    """Count what was read of an experiment; ``asked`` are the parts that the audit reads.

    Of a Default without runs, kinds that the audit does not read are asked for now: its first objects are enough.
    """
    runs, objects = side.view(experiment), side.snapshot.objects(experiment.experiment_id)
    counts: dict[str, int] = {}
    least: set[str] = set()
    unknown: dict[str, str] = {}
    problem = runs.problem("runs")
    if problem is None:
        counts["runs"] = sum(include_deleted or not key.deleted for key in runs.run_keys())
    else:
        unknown["runs"] = problem
    look = is_default(experiment) and not counts.get("runs")
    for kind in of_family("experiment"):
        if kind.part == "scorers" and is_deleted(experiment):
            continue  # no server lists those of a deleted experiment
        problem = objects.problem(kind.part)
        if problem is None:
            counts[kind.plural] = len(objects.keys(kind.name))
        elif kind.part in asked or (look and not side.live):
            unknown[kind.plural] = problem
        elif look:
            try:
                counts[kind.plural] = _some(side, experiment, kind)
            except ReadError as error:
                unknown[kind.plural] = str(error)
            least.add(kind.plural)
    return Held(counts, least, unknown)


def _some(side: Side, experiment: Experiment, kind: Kind) -> int:
    """Return how many objects of a kind the first batch brings."""
    assert side.reader is not None
    batches = side.reader.experiment_objects(experiment.experiment_id, [kind.name])
    return next((len(batch) for batch in batches if batch), 0)


def gone(item: Item) -> Outcome:
    """Return the row of what was extra on the target and is gone now."""
    note = "it was on the target only, and is not any more"
    return Outcome(Row(item.label, CONTAINERS[item.family], item.name, None, None, "presence", State.MATCH, note=note))


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
    for name, side in objects.looks.sides.items():
        for one in () if side.live else side.snapshot.moved.came:
            if scope.is_in(one):
                item = Item(plain_name(one.name), one.name, one.experiment_id, surplus=name == "target")
                # no part's alone: of nothing that was read
                yield from _unread_experiment(objects, item, None, None, f"{name}: {came_since()}")
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
