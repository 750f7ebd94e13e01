"""Every object that was read is judged: suspects are looked at twice, and none is lost between both looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.memory import MemoryReader, Store, run_audit

from mlflow_parity.audit.looking.looks import Looks
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Run
from mlflow_parity.core.scope import Depth
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.schema.base import Kind
from mlflow_parity.reading.artifacts.shared_listings import SharedListings
from mlflow_parity.reading.artifacts.trees import Sure
from mlflow_parity.snapshot.store import PlaceObjects

TIMES = {"created": 5, "updated": 6}
MODELS = 40


def entities(name: str) -> list[Entity]:
    """A registered model with two versions."""
    version = {"status": {"status": "READY"}, "description": "d", "tags": {}, "user": "", "run": None,
               "stage": "None", "logged_model": None, "source": "mlflow-artifacts:/x", "times": TIMES}  # fmt: skip
    return [
        Entity("registered_model", name, name, "", 5, {"description": "", "tags": {}, "aliases": {}, "times": TIMES}),
        *(
            Entity("model_version", f"{name}/{number}", f"{name} version {number}", name, 5,
                   {**version, "number": number})
            for number in (1, 2)
        ),
    ]  # fmt: skip


def store(*names: str) -> Store:
    """A run, and registered models of these names."""
    run = Run("1" * 32, "1", "r", "FINISHED", 1, 2, "ada", "active", "mlflow-artifacts:/1/r", {}, {}, {}, ())
    experiment = Experiment("1", "shop", "active", "mlflow-artifacts:/1", 5, 6, {})
    return Store([experiment], [run], objects=[one for name in names for one in entities(name)])


def test_every_object_has_its_rows() -> None:
    """Every second model is on one side only: each of them, and each version, is missing or extra."""
    ours = [f"ours {number:02}" for number in range(MODELS)]
    theirs = [f"theirs {number:02}" for number in range(MODELS)]
    both = [f"both {number:02}" for number in range(MODELS)]
    done = run_audit(store(*ours, *both), store(*theirs, *both))
    found = {
        (row.kind, row.name): row.state
        for row in done.rows
        if row.facet == "presence" and row.kind in ("registered_model", "model_version")
    }
    wanted = {
        (one.kind, one.name): state
        for names, state in ((ours, State.MISSING), (theirs, State.EXTRA), (both, State.MATCH))
        for name in names
        for one in entities(name)
    }
    assert found == wanted


def test_what_the_second_look_does_not_judge_stays_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a suspect lost between both looks, it would be red as it was at first, not green for want of a row."""
    once = Looks.view

    def blind(self: Looks, kind: Kind, side: str, place: str, *, fresh: bool) -> Any:
        found = once(self, kind, side, place, fresh=fresh)  # type: ignore[arg-type]
        if fresh and isinstance(found, PlaceObjects):
            monkeypatch.setattr(PlaceObjects, "keys", lambda self, kind: [])
        return found

    monkeypatch.setattr(Looks, "view", blind)
    monkeypatch.setattr("mlflow_parity.audit.looking.second_look.of_entity", lambda *_: [])
    done = run_audit(store("lost"), store())
    states = {(row.kind, row.state) for row in done.rows if row.facet == "presence" and row.kind in KINDS}
    assert (("registered_model", State.MISSING)) in states
    assert not done.result.green


PLACE = Location("http", "http://source", "http://source")


class Coming(MemoryReader):
    """Gets further objects, or loses some, between its lists of names and its registry."""

    coming: Sequence[Entity] = ()
    going: Sequence[Entity] = ()

    def registry(self) -> Iterator[list[Entity]]:
        """What is there from then on."""
        kept = [one for one in self.store.objects if one not in self.going]
        self.store = replace(self.store, objects=[*kept, *self.coming])
        self.coming = ()
        yield from super().registry()


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_model_that_comes_before_the_registry_is_read(side: str) -> None:
    """It has no test, for it was not listed: it is unverified with its versions, named, and the audit is red."""
    reader = Coming(store("early"), PLACE, 1)
    reader.coming = entities("late")
    done = run_audit(store("early"), store("early"), readers={side: reader})
    assert not done.result.green
    red = [row for row in done.rows if not row.state.green]
    assert {(row.experiment, row.state) for row in red} == {("registered model late", State.UNVERIFIED)}
    assert {row.kind for row in red if row.facet == "presence"} == {"registered_model", "model_version"}
    assert all("was not listed when the audit began" in finding.explanation for finding in done.result.findings)


def test_a_model_that_goes_before_the_registry_is_read() -> None:
    """Its test does not pass for want of rows, whichever facets are asked for."""
    for checks in (None, ["model_version_content"]):
        readers = {side: Coming(store("stays", "goes"), PLACE, 1) for side in ("source", "target")}
        for reader in readers.values():
            reader.going = entities("goes")
        done = run_audit(store(), store(), readers=readers, checks=checks)
        assert not done.result.green
        assert {(row.experiment, row.state) for row in done.rows if not row.state.green} == {
            ("registered model goes", State.UNVERIFIED)
        }


class NoRuns(MemoryReader):
    """Refuses its runs."""

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Refuse."""
        raise ReadError(f"not those of {experiment_id} today")


def test_a_run_that_could_not_be_read_is_not_gone() -> None:
    """Where the source's runs cannot be read, nobody knows whether a lost link was a dead one."""
    sides = [store("model") for _ in range(2)]
    number, one = next((n, one) for n, one in enumerate(sides[0].objects) if one.entity_id == "model/2")
    sides[0].objects[number] = replace(one, facets={**one.facets, "run": "1" * 32})
    done = run_audit(*sides, readers={"source": NoRuns(sides[0], PLACE, 1)})
    [row] = [row for row in done.rows if (row.name, row.facet) == ("model version 2", "run")]
    assert row.state is State.UNVERIFIED


class Killed(MemoryReader):
    """Dies while the files of model versions are read."""

    def entity_files(
        self,
        entities: Sequence[Entity],
        depth: Depth,
        shared: SharedListings | None = None,
        sure: Sure | None = None,
    ) -> Iterator[ArtifactTree]:
        """The registry was read by then."""
        raise KeyboardInterrupt


def test_what_came_before_an_audit_was_taken_up_again(tmp_path: Path) -> None:
    """A model and a run that are only on the source since: missing, not passed over with the parts of before."""
    with pytest.raises(KeyboardInterrupt):
        run_audit(
            store("early"), store("early"), readers={"source": Killed(store("early"), PLACE, 1)}, snapshots=tmp_path
        )
    source = store("early", "later")
    source.runs.append(replace(source.runs[0], run_id="2" * 32, name="later"))
    done = run_audit(source, store("early"), snapshots=tmp_path)
    assert not done.result.green
    red = {(row.kind, row.name, row.state) for row in done.rows if row.facet == "presence" and not row.state.green}
    assert red == {
        ("run", "later", State.MISSING),
        ("registered_model", "later", State.MISSING),
        ("model_version", "later version 1", State.MISSING),
        ("model_version", "later version 2", State.MISSING),
    }
