"""Runs the self-test of a finished audit: each class of faults is planted until the audit has seen one of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from mlflow_parity.audit.result import Result
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.self_test_outcome import Planted, SelfTest, State
from mlflow_parity.audit.waivers.waivers import Waiver
from mlflow_parity.core.verdict import Row
from mlflow_parity.core.verdict import State as RowState
from mlflow_parity.kinds import plural_of
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.rules.check_registry import BY_NAME
from mlflow_parity.self_test.fault import Fault, Scene
from mlflow_parity.self_test.faults import FAULTS
from mlflow_parity.self_test.scout import Scout, mentioned
from mlflow_parity.self_test.trial import Trial, Verdicts, apart

#: Objects of which the same waivers speak of some keys, and in which a class is tried.
_TRIES = 20
_Key = tuple[str, str, str | None, str | None]


@dataclass(slots=True)
class _Open:
    """A class that the audit has not seen yet, and what is known of why."""

    fault: Fault
    hidden: Planted | None = None
    """What waivers did to the first of it that they hid."""
    tried: Counter[tuple[Waiver, ...]] = field(default_factory=Counter)
    """Waivers that spoke of an object in which it was hidden, and of how many."""
    not_green: bool = False


@dataclass(slots=True)
class _Canary:
    audit: Audit
    result: Result
    scout: Scout
    done: list[Planted] = field(default_factory=list)

    def kind(self, kind: str, faults: Sequence[Fault]) -> None:
        """Plant every class of one kind, each in the first object that it fits and that no waiver names."""
        waiting = [_Open(fault) for fault in faults if self._to_be_seen(fault)]
        if not waiting:
            return
        for scene in self.scout.scenes(kind):
            waiting = [entry for entry in waiting if not self._settled(entry, scene)]
            if not waiting:
                return
        for entry in waiting:
            if entry.hidden is not None:
                self.done.append(entry.hidden)
            else:
                self._say(entry.fault, "nothing", note=self._why_nothing(entry, kind))

    def _to_be_seen(self, fault: Fault) -> bool:
        """Whether a class can be seen at all; if not, say why."""
        settings = self.audit.settings
        if settings.profile not in fault.profiles:
            self._say(fault, "contract", note=f"--parity-profile {settings.profile} lets it differ")
        elif fault.depth == "digest" and settings.depth == "listing":
            self._say(fault, "depth", note="--parity-depth listing compares no bytes")
        else:
            return True
        return False

    def _why_nothing(self, entry: _Open, kind: str) -> str:
        looked = self.scout.looked_at[kind]
        plural = plural_of(kind)
        if not looked:
            return f"no {plural} on both sides"
        if entry.not_green:
            return f"none of the {plural} that it fits is in order ({looked:,} looked at)"
        needs = entry.fault.needs or "an object of this kind in order"
        return f"needs {needs}; none among {looked:,} {plural}"

    def _settled(self, entry: _Open, scene: Scene) -> bool:
        stage = scene.stage()
        fault = entry.fault
        if not fault.plant(stage):
            return False
        about = tuple(self.scout.about(scene, fault.facet))
        # waivers that hid it before; those of some keys alone may leave others of another object
        if entry.tried[about] >= (_TRIES if all(waiver.key != "*" for waiver in about) else 1):
            return False
        if not self._is_green(fault, scene):
            entry.not_green = True
            return False
        seen = self._judged(fault, scene, stage)
        if seen.state == "hidden":
            entry.tried[about] += 1
            entry.hidden = entry.hidden or seen
            return False
        self.done.append(seen)
        return True

    def _is_green(self, fault: Fault, scene: Scene) -> bool:
        """Whether the facet is in order as long as nothing is planted."""
        return any(
            row.state.green
            for row in self._before(fault, scene).rows
            if (row.kind, row.facet, row.source_id) == (fault.kind, fault.facet, scene.one)
        )

    def _before(self, fault: Fault, scene: Scene) -> Verdicts:
        name = "loads" if fault.facet == "loads" else "rest"
        if name not in scene.cache:
            scene.cache[name] = self._trial(fault, scene)
        found: Verdicts = scene.cache[name]
        return found

    def _trial(self, fault: Fault, scene: Scene) -> Verdicts:
        if "ids" not in scene.cache:
            scene.cache["ids"] = mentioned(scene)
        # loading a model takes seconds: only where that is what is tried
        promises = [
            name for name in self.result.selection.promises
            if ("loads" in BY_NAME[name].facets) is (fault.facet == "loads")
        ]  # fmt: skip
        trial = Trial(self.audit, apart(scene.links, scene.cache["ids"]), scene.source, scene.target)
        return trial.judge(self.scout.family(scene.kind), promises)

    def _judged(self, fault: Fault, scene: Scene, stage: Scene) -> Planted:
        """Let the audit look at a planted fault; return what it saw."""
        where = " / ".join(dict.fromkeys((self.scout.label(scene), scene.record[0].name or scene.one)))
        try:
            before, after = self._before(fault, scene), self._trial(fault, stage)
        except Exception as error:
            # whatever it is: the audit would not have ended with a verdict on this
            return _planted(fault, "missed", where, note=f"the comparison failed: {type(error).__name__}: {error}")
        was = {_key(row): row for row in before.rows}
        news = [
            row
            for row in after.rows
            if row.kind == fault.kind and row.facet in (fault.facet, "presence")
            and (_key(row) not in was or (row.state, row.findings) != (was[_key(row)].state, was[_key(row)].findings))
        ]  # fmt: skip
        red = sorted((row for row in news if not row.state.green), key=lambda row: row.facet != fault.facet)
        if red:
            return _planted(fault, "found", where, f"{red[0].facet} {red[0].state}")
        used = [one.waiver for one in after.waivers if one.covered and one.waiver.facet in (fault.facet, "presence")]
        hidden = any(row.state is RowState.WAIVED for row in after.rows if row.facet in (fault.facet, "presence"))
        if hidden and used:
            return _planted(fault, "hidden", where, waivers=tuple(str(waiver) for waiver in used))
        return _planted(fault, "missed", where)

    def _say(self, fault: Fault, state: State, note: str) -> None:
        self.done.append(_planted(fault, state, note=note))


def _planted(
    fault: Fault, state: State, where: str = "", seen: str = "", waivers: tuple[str, ...] = (), note: str = ""
) -> Planted:
    return Planted(fault.kind, fault.facet, fault.name, state, where, seen, waivers, note)


def _key(row: Row) -> _Key:
    return row.kind, row.facet, row.source_id, row.target_id


def self_test(audit: Audit, result: Result, faults: Sequence[Fault] = FAULTS) -> SelfTest:
    """Plant one fault of each class in a copy of what a finished audit read, and let the audit judge it."""
    began = time.monotonic()
    if audit.objects is None:
        raise RuntimeError("the audit did not keep what it paired; it needs the setting self_test")
    today = date.today()
    valid = tuple(waiver for waiver in audit.waiver_file.waivers if waiver.expires >= today)
    canary = _Canary(audit, result, Scout(audit, result, audit.objects, valid))
    families = {state.item.family for state in result.states.values()}
    for kind in contract.FACETS:
        if canary.scout.family(kind) not in families:
            continue
        facets = result.selection.facets(kind)
        canary.kind(kind, [fault for fault in faults if fault.kind == kind and fault.facet in facets])
    order = {id(fault): number for number, fault in enumerate(faults)}
    places = {(fault.kind, fault.facet, fault.name): order[id(fault)] for fault in faults}
    canary.done.sort(key=lambda one: places[one.kind, one.facet, one.fault])
    return SelfTest(tuple(canary.done), dict(canary.scout.looked_at), time.monotonic() - began)
