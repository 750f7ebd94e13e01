"""Both looks at the objects of both sides: as they were first read, and, where something differed, as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_parity.audit.looking import second_look as changes
from mlflow_parity.audit.looking.bytes_of_one import BytesOfOne
from mlflow_parity.audit.looking.second_look import Change, SecondList, listed_now
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.scope import Depth, Evidence
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import FILES
from mlflow_parity.kinds.schema.base import Kind
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import FILES_PART, SERVER, ExperimentView, Part
from mlflow_parity.snapshot.store import PlaceObjects
from mlflow_parity.snapshot.wanted import Wanted

#: Facets that are judged by files alone.
_ON_FILES = frozenset({*FILES.values(), "access", "loads"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects of a pair of containers are: experiment ids or :data:`SERVER`; target ``None``: no copy."""

    source: str
    target: str | None
    container: str = ""
    """Name of the registered model or prompt; empty: all that is there."""
    deleted: bool = False
    """Whether the experiment is deleted on either side: no server lists the scorers of such a one."""

    @property
    def sides(self) -> tuple[tuple[SideName, str | None], ...]:
        """The place on each side."""
        return ("source", self.source), ("target", self.target)


class ListedExperiment:
    """One experiment as a list told it."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def problem(self, _: str) -> None:
        """Nothing: it was listed."""

    def entities(self, _: str, __: Sequence[str]) -> list[Experiment]:
        """The experiment."""
        return [self.experiment]


@dataclass(slots=True)
class Looks:
    """What was read of each place, kind by kind; only suspects are read twice."""

    sides: Mapping[SideName, Side]
    depth: Depth
    scratch: Path
    include_deleted: bool = False
    parts: frozenset[Part] = frozenset()
    """What the audit reads."""
    notes: list[str] = field(default_factory=list)
    listed: dict[SideName, dict[str, Experiment]] = field(default_factory=dict)
    """Experiments as they were listed again."""
    unlisted: dict[SideName, str] = field(default_factory=dict)
    """Why they could not be listed again."""
    lists: dict[SideName, SecondList] = field(default_factory=dict)
    """Lists of runs that are made once more, beside comparing."""
    _experiments: dict[SideName, dict[str, Experiment]] = field(default_factory=dict)
    _runs: dict[tuple[SideName, bool], tuple[str, ExperimentView]] = field(default_factory=dict)
    _objects: dict[tuple[SideName, str], PlaceObjects] = field(default_factory=dict)
    _in_use: dict[SideName, str] = field(default_factory=dict)
    """The experiment whose objects were asked for last."""
    _again: dict[tuple[SideName, str], dict[Part, PlaceObjects | None]] = field(default_factory=dict)
    _renewed: dict[tuple[SideName, str], PlaceObjects] = field(default_factory=dict)

    # --- the first look

    def objects(self, side: SideName, place: str) -> PlaceObjects:
        """Return the objects of a place, beside experiments and runs, as they were first read."""
        found = self._objects.get((side, place))
        if found is None:
            found = self._objects[side, place] = self.sides[side].snapshot.objects(place)
        if place != SERVER:
            before, self._in_use[side] = self._in_use.get(side, place), place
            # of one experiment at a time: memory must not grow with their number
            for views in (self._objects, self._renewed) if before != place else ():
                if (side, before) in views:
                    views[side, before].rest()
        return found

    def forget(self, side: SideName, place: str) -> None:
        """Open a place again when it is asked for: more of it was read."""
        self._objects.pop((side, place), None)
        self._runs.pop((side, False), None)

    def experiment(self, side: SideName, place: str, *, fresh: bool = False) -> Experiment:
        """Return an experiment as its server told it (at the second list, unless it was gone then)."""
        if side not in self._experiments:
            self._experiments[side] = {one.experiment_id: one for one in self.sides[side].experiments()}
        first = self._experiments[side][place]
        return self.listed.get(side, {}).get(place, first) if fresh else first

    def _of_runs(self, side: SideName, place: str, *, fresh: bool) -> ExperimentView:
        # of one experiment at a time: memory must not grow with their number
        found = self._runs.get((side, fresh))
        if found is not None and found[0] == place:
            return found[1]
        if fresh:
            return self._of_runs(side, place, fresh=False)
        # each holds all runs of its experiment
        self._runs.pop((side, False), None)
        self._runs.pop((side, True), None)
        view = self.sides[side].view(self.experiment(side, place))
        self._runs[side, False] = place, view
        return view

    def view(self, kind: Kind, side: SideName, place: str, *, fresh: bool) -> Any:
        """Return what holds the objects of a kind in one place."""
        if kind.name == "experiment":
            return ListedExperiment(self.experiment(side, place, fresh=fresh))
        if kind.name == "run":
            return self._of_runs(side, place, fresh=fresh)
        return self.now(side, place) if fresh else self.objects(side, place)

    # --- the second look

    def now(self, side: SideName, place: str) -> PlaceObjects:
        """Return the objects of a place, those parts that were read again as they are now."""
        return self._renewed.get((side, place)) or self.objects(side, place)

    def both(self, side: SideName, place: str) -> list[PlaceObjects]:
        """Return the objects of a place as they were first read and, where they were read again, as they are now."""
        first, now = self.objects(side, place), self.now(side, place)
        return [first] if now is first else [first, now]

    def list_experiments(self, side: SideName) -> None:
        """List the experiments of a live side once more."""
        try:
            one = self.sides[side]
            assert one.reader is not None
            self.listed[side] = listed_now(one.reader, one.experiments())
        except ReadError as error:
            self.unlisted[side] = str(error)

    def list_runs(
        self,
        places: Mapping[SideName, Sequence[str]],
        wanted: Mapping[SideName, Wanted] | None = None,
        *,
        came: bool = True,
    ) -> None:
        """Begin to list the runs of both sides' experiments once more; it goes on beside comparing.

        ``wanted`` and ``came`` limit it to some, as in :class:`SecondList`.
        """
        for name in SIDES:
            reader, snapshot = self.sides[name].reader, self.sides[name].snapshot
            if reader is not None:
                self.lists[name] = SecondList(
                    reader,
                    snapshot,
                    places[name],
                    include_deleted=self.include_deleted,
                    wanted=None if wanted is None else wanted[name],
                    came=came,
                )

    def end(self) -> None:
        """List no more."""
        for listing in self.lists.values():
            listing.end()

    def read_again(self, kind: Kind, place: Place, first: Sequence[Outcome], doubts: list[str]) -> bool:
        """Read what is suspect in a place once more; false when nothing is, or neither side could be read again.

        ``doubts`` gets what is known to have moved and was not read again.
        """
        red = [outcome for outcome in first if not outcome.row.state.green]
        if kind.name == "experiment":
            return any(
                where is not None and self.experiment(side, where) != self.experiment(side, where, fresh=True)
                for side, where in place.sides
            )
        if kind.name == "run":
            return self._runs_again(place, red, doubts)
        on_files = [outcome for outcome in red if outcome.row.facet in _ON_FILES]
        done = len(on_files) < len(red) and self._objects_again(kind, place, kind.part)
        # files may be large: they are read again where nothing else explains, or a store alone has said what differs
        if on_files and (len(on_files) == len(red) or any(map(self._rests_on_stores, on_files))):
            done |= self._files_again(kind, place, on_files)
        return done

    def _rests_on_stores(self, outcome: Outcome) -> bool:
        return any(one.state is State.UNVERIFIED for one in outcome.differences) and any(
            reader.evidence != "sha256" for side in self.sides.values() if (reader := side.reader) is not None
        )

    def _files_again(self, kind: Kind, place: Place, red: Sequence[Outcome]) -> bool:
        """Read the files of suspects once more, their bytes whatever a store states of them."""
        done = False
        doubts = self._files_in_doubt(kind, place, red)
        for name in doubts.order:
            where = dict(place.sides)[name]
            if where is None or not self.sides[name].live:
                continue
            now = self.now(name, where)
            if now.problem(kind.part) is not None:
                continue
            listed = {key.entity_id for key in now.keys(kind.name)}
            doubted = doubts.doubted[name]
            wanted = sorted(one for one in doubted if one in listed)
            try:
                trees = self.sides[name].files_again(now.entities(kind.name, wanted), self.depth, doubted)
            except ReadError as error:
                self.notes.append(f"files of suspect {kind.plural} could not be read again from the {name}: {error}")
                continue
            doubts.read(name, trees.get)
            self._renewed[name, where] = now.with_files(kind.name, trees)
            done |= bool(trees)
        return done

    def _files_in_doubt(self, kind: Kind, place: Place, red: Sequence[Outcome]) -> BytesOfOne:
        """Return the files of suspects whose bytes decide: of one that a store alone has said to differ, no others."""
        doubts = BytesOfOne(self._evidence)
        sides = {name: where for name, where in place.sides if where is not None}
        views = {name: self.now(name, where) for name, where in sides.items()}
        readable = all(view.problem(FILES_PART[kind.name]) is None for view in views.values())
        by_store: list[Outcome] = []
        for outcome in red:
            if readable and outcome.row.facet == FILES[kind.name] and self._rests_on_stores(outcome):
                by_store.append(outcome)
                continue
            for side, identity in ids_of(outcome.row):
                doubts.all_of(side, identity)
        for outcome in by_store:
            ids = {side: identity for side, identity in ids_of(outcome.row) if side in views}
            known = {side: {key.entity_id for key in views[side].keys(kind.name)} for side in ids}
            there = {side: identity for side, identity in ids.items() if identity in known[side]}
            trees = {side: views[side].files(kind.name, identity) for side, identity in there.items()}
            doubts.add(ids, trees, _doubted(outcome))
        return doubts

    @property
    def _evidence(self) -> Evidence:
        read = (side.reader.evidence for side in self.sides.values() if side.reader is not None)
        return next(read, "stores")

    def _objects_again(self, kind: Kind, place: Place, part: Part) -> bool:
        """Read a part of a place once more, once per audit."""
        done = False
        for name, where in place.sides:
            if where is None or not self.sides[name].live:
                continue
            again = self._again.setdefault((name, where), {})
            if part not in again:
                folder = self.scratch / "again" / name / part
                try:
                    again[part] = self.sides[name].objects_again(folder, where, part, self.depth)
                except ReadError as error:
                    self.notes.append(f"suspect {kind.plural} could not be read again from the {name}: {error}")
                    again[part] = None
                fresh = again[part]
                self._renewed[name, where] = self.now(name, where).renewed({} if fresh is None else {part: fresh})
            done |= again[part] is not None
        return done

    def _runs_again(self, place: Place, red: Sequence[Outcome], doubts: list[str]) -> bool:
        """Read the suspects, and the runs that moved on, once more."""
        for side in SIDES:
            self._runs.pop((side, True), None)
        moved: dict[SideName, set[str]] = {}
        for side, where in place.sides:
            listing = self.lists.get(side)
            moved[side], reason = (set(), "") if listing is None else listing.of(where or "")
            if reason:
                doubts.append(f"{side}: {reason}")
        done = False
        files = self._artifacts_in_doubt(place, red)
        for name, ids in moved.items():
            for run_id in ids:
                files.all_of(name, run_id)
        for side in files.order if red or any(moved.values()) else ():
            where = dict(place.sides)[side]
            if where is None:
                continue
            metrics: dict[str, set[str]] = {run_id: {""} for run_id in moved[side]}
            suspects = set(moved[side])
            for outcome in red:
                suspect = outcome.row.source_id if side == "source" else outcome.row.target_id
                if suspect is None:
                    continue
                suspects.add(suspect)
                if outcome.row.facet == "metrics" and outcome.differences:
                    metrics.setdefault(suspect, set()).update(found.key for found in outcome.differences)
            view = self._of_runs(side, where, fresh=False)
            try:
                now = self.sides[side].fresh(
                    view,
                    suspects,
                    metrics,
                    files.doubted[side],
                    self.depth,
                    include_deleted=self.include_deleted,
                    parts=self.parts,
                    experiment=self.experiment(side, where, fresh=True),
                )
            except ReadError as error:
                self.notes.append(f"suspects could not be read again from the {side}: {error}")
                if moved[side]:
                    doubts.append(f"{side}: {len(moved[side])} changed since and could not be read again: {error}")
                continue
            if now is not None:
                files.read(side, now.artifacts)
                self._runs[side, True] = where, now
                done = True
        return done

    def _artifacts_in_doubt(self, place: Place, red: Sequence[Outcome]) -> BytesOfOne:
        """Return the files of suspect runs whose bytes decide."""
        doubts = BytesOfOne(self._evidence)
        where = {side: one for side, one in place.sides if one is not None}
        for outcome in red:
            if outcome.row.facet != "artifacts" or not outcome.differences:
                continue
            ids = {side: identity for side, identity in ids_of(outcome.row) if side in where}
            views = {side: self._of_runs(side, where[side], fresh=False) for side in ids}
            there = {side: run_id for side, run_id in ids.items() if views[side].problem("artifacts") is None}
            trees = {side: views[side].artifacts(run_id) for side, run_id in there.items()}
            doubts.add(ids, trees, _doubted(outcome))
        return doubts

    # --- between both looks

    def changed(self, label: str, kind: Kind, place: Place, outcomes: Sequence[Outcome]) -> Iterator[Change]:
        """Yield which of the suspects are not what they were when they were first read."""
        for side, where in place.sides:
            if where is None:
                continue
            before, now = (self.view(kind, side, where, fresh=fresh) for fresh in (False, True))
            if kind.name == "experiment":
                yield from changes.of_experiment(side, before.experiment, now.experiment)
            elif before is now:
                continue
            elif kind.name == "run":
                yield from changes.of_runs(side, before, now)
            elif not (before.problem(kind.part) or now.problem(kind.part)):
                yield from self._of_objects(label, kind, side, (before, now), outcomes)

    def _of_objects(
        self, label: str, kind: Kind, side: SideName, views: tuple[Any, Any], outcomes: Iterable[Outcome]
    ) -> Iterator[Change]:
        known = [{key.entity_id for key in view.keys(kind.name)} for view in views]
        red = [outcome.row for outcome in outcomes if not outcome.row.state.green]
        suspects = {row.source_id if side == "source" else row.target_id for row in red} - {None}
        part = FILES_PART.get(kind.name)
        read = part is not None and not any(view.problem(part) for view in views)
        for identity in sorted(one for one in suspects if one is not None):
            before, now = (
                view.entities(kind.name, [identity])[0] if identity in ids else None
                for view, ids in zip(views, known, strict=True)
            )
            trees = [view.files(kind.name, identity) for view in views] if read and before and now else []
            yield from changes.of_entity(side, label, before, now, trees)


def _doubted(outcome: Outcome) -> set[str]:
    """Return the paths of files whose bytes decide; the content of an ``MLmodel`` is always read."""
    states = (State.MISMATCH, State.UNVERIFIED)
    return {one.key for one in outcome.differences if one.state in states and not one.rule.endswith(".mlmodel")}


def ids_of(row: Row) -> list[tuple[SideName, str]]:
    """Return the ids that a row names, each with its side."""
    sides: tuple[tuple[SideName, str | None], ...] = (("source", row.source_id), ("target", row.target_id))
    return [(side, identity) for side, identity in sides if identity is not None]


def keys_of(view: Any, kind: str) -> Sequence[Any]:
    """Return the keys of all objects of a kind that a view holds."""
    if kind == "experiment":
        return [view.experiment]
    keys: Sequence[Any] = view.run_keys() if kind == "run" else view.keys(kind)
    return keys
