"""A snapshot of a server in use does not stand for what moved behind its back, in no later audit either."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.audits import audit
from support.memory import MemoryReader as ObjectsReader
from support.memory import Store as Objects
from support.memory_store import (
    LOCATIONS,
    MemoryReader,
    Store,
    audited,
    came,
    experiment,
    got_a_param,
    rich_store,
    run_id,
    same_ids,
    went,
)
from support.proxy import Fault, proxying
from support.seed import Seeder
from support.servers import FreshServer, copy_database

from mlflow_parity.audit.looking.since import moved_since
from mlflow_parity.audit.paired import objects
from mlflow_parity.audit.side import Side, uncounted
from mlflow_parity.cli import main
from mlflow_parity.core.local.files import sealed, write_json
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Entity
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import plural_of
from mlflow_parity.snapshot import PARTS, SERVER_PARTS
from mlflow_parity.snapshot.incomplete import incomplete
from mlflow_parity.snapshot.moved import Moved
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot


@pytest.mark.long
def test_what_moves_while_a_snapshot_is_taken(
    fresh_server: FreshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run and an experiment that come, and a run that goes on: exit status 1, and a later audit is red for each."""
    server = fresh_server()
    seed = Seeder(server.uri)
    one, other, still = (seed.experiment(name) for name in ("one", "other", "still"))
    seed.end(seed.run(one, "first"))
    seed.end(seed.run(still, "still"))
    going = seed.run(other, "going")
    before = tmp_path / "before.db"
    copy_database(server.database_path, before)
    came: list[str] = []

    def write(exchange: Any, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        # after the lists of all three
        exchange.answer(code, headers, body)
        if not came:
            came.append(seed.run(one, "late"))
            seed.end(came[0])
            seed.log(going, params={"late": "param"})
            seed.end(going)
            came.append(seed.experiment("came"))

    with proxying(server.uri) as proxy:
        # asked for when the runs of every experiment were read
        proxy.faults.append(Fault("registered-models/search", write))
        assert main(["snapshot", "--source-uri", proxy.uri, "--to", str(tmp_path)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": it ")[0].partition(": runs ")[0] for line in told] == [
        f'not read: experiment "came" ({came[1]})',
        f'not read: experiment "one" ({one})',
        f'not read: experiment "other" ({other})',
    ]
    assert came[0] in told[1]
    assert going in told[2]
    # a target that is as the source was at first
    copy_database(before, server.database_path)
    later = audit(tmp_path / "later", str(tmp_path / "source"), server.uri, "--parity-profile", "same-store")
    assert later.status == 1, later.output
    assert {(row.experiment, row.kind, row.state.value) for row in later.red_rows()} == {
        ("came", "experiment", "unverified"),
        ("one", "run", "unverified"),
        ("other", "run", "unverified"),
    }


def _was_renamed(store: Store) -> None:
    store.experiments["2"] = replace(store.experiments["2"], name="renamed")


def _was_made(store: Store) -> None:
    store.experiments["3"] = experiment(3, "late")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (None, {}),
        (came, {"1": {"run": run_id(19)}}),
        (went, {"1": {"run": run_id(11)}}),
        (got_a_param, {"1": {"run": run_id(11)}}),
        (_was_renamed, {"2": {"experiment": "(name)"}}),
        (_was_made, {"3": {"experiment": "it came"}}),
    ],
)
def test_what_the_second_list_tells(
    change: Callable[[Store], None] | None, found: Mapping[str, Mapping[str, str]], tmp_path: Path
) -> None:
    """Of runs and of experiments, each where it belongs; of a server that stood still nothing."""
    store = rich_store()
    side = Side("source", LOCATIONS["source"], MemoryReader(LOCATIONS["source"], store))
    parts = (*PARTS, *SERVER_PARTS)
    side.read(tmp_path / "s", side.experiments(), parts, "digest", include_deleted=True, count=uncounted, finish=False)
    if change is not None:
        change(store)
    assert side.reader is not None
    side.snapshot.note_moved(moved_since(side.reader, side.snapshot, include_deleted=True))
    side.finish()
    told = {one.source_id: one.why for one in incomplete(Snapshot.open(tmp_path / "s"), include_deleted=True)}
    told = {place: why for place, why in told.items() if "read the server again" in why}
    assert told.keys() == found.keys()
    assert all(text in told[place] for place, kinds in found.items() for text in kinds.values())
    kinds = {place: [*why] for place, why in side.snapshot.moved.of.items()}
    assert kinds == {place: [*why] for place, why in found.items() if place != "3"}


@pytest.mark.parametrize("kind", ["logged_model", "trace"])
@pytest.mark.parametrize("act", ["came", "went"])
def test_objects_of_experiments_that_came_and_went(kind: str, act: str, tmp_path: Path) -> None:
    """Which, where, and in every later audit: an agent that is in use writes traces all the time."""
    here = [Entity(kind, f"{kind}-{number}", "it", "1", None, {}) for number in range(8)]
    store = Objects([experiment(1, "one"), experiment(2, "two")], objects=here[:7])
    reader = ObjectsReader(store, LOCATIONS["source"], 0)
    side = Side("source", LOCATIONS["source"], reader)
    parts = (*PARTS, *SERVER_PARTS)
    side.read(tmp_path / "s", side.experiments(), parts, "digest", include_deleted=True, count=uncounted, finish=False)
    assert not moved_since(reader, side.snapshot, include_deleted=True)
    store.objects = here if act == "came" else here[:1]
    moved = moved_since(reader, side.snapshot, include_deleted=True)
    assert {place: [*told] for place, told in moved.of.items()} == {"1": [kind]}
    told = f"({kind}-7)" if act == "came" else f"({', '.join(one.entity_id for one in here[1:6])} and 1 more)"
    assert f"{plural_of(kind)} came or went while the server was read {told}" in moved.of["1"][kind]
    side.snapshot.note_moved(moved)
    side.finish()
    [left] = [
        one for one in incomplete(Snapshot.open(tmp_path / "s"), include_deleted=True) if "came or went" in one.why
    ]
    assert (left.kind, left.source_id, left.name) == ("experiment", "1", "one")


@pytest.mark.parametrize("change", [None, came, got_a_param, _was_renamed, _was_made])
def test_a_snapshot_that_an_audit_keeps(change: Callable[[Store], None] | None, tmp_path: Path) -> None:
    """What moves while an audit reads is unverified, and so it is when its snapshot stands for the server later.

    The later audit's target is as the source was: nothing else could be red.
    """
    store, pending = rich_store(), [change]

    def meanwhile(method: str, subject: str) -> None:
        # its experiment's runs were listed by then
        if (method, subject) == ("tree", run_id(11)) and (act := pending.pop() if pending else None) is not None:
            act(store)

    source = MemoryReader(LOCATIONS["source"], store, before=meanwhile)
    first = audited(tmp_path / "first", source, same_ids(rich_store()), snapshot_dir=str(tmp_path / "kept"))
    assert not pending
    kept = tmp_path / "kept" / "source"
    assert (first.result.green, first.audit.sides["source"].snapshot.digest) == (
        change is None,
        json.loads((kept / "manifest.json").read_text())["digest"],
    )
    location = parse_location(str(kept), option="--source-uri")
    later = audited(tmp_path / "later", location, same_ids(rich_store()))
    assert later.result.green is (change is None)
    assert {row.state for row in later.ledger.red} <= {State.UNVERIFIED}


def test_an_audit_that_was_killed_while_it_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its snapshot is whole, but nobody listed the server once more: every experiment is unverified."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(objects.Objects, "compare", killed)
        with pytest.raises(KeyboardInterrupt):
            audited(tmp_path / "first", rich_store(), same_ids(rich_store()), snapshot_dir=str(tmp_path / "kept"))
    location = parse_location(str(tmp_path / "kept" / "source"), option="--source-uri")
    later = audited(tmp_path / "later", location, same_ids(rich_store()))
    assert {(row.experiment, row.kind, row.state) for row in later.ledger.red} == {
        (one.name, kind, State.UNVERIFIED)
        for one in rich_store().experiments.values()
        for kind in ("experiment", "run", "logged_model", "trace")
    }


def test_where_nothing_moves_all_is_as_before(tmp_path: Path) -> None:
    """The digest is the same; what moved is part of it, and comes back as it was kept."""
    found = [experiment(1, "one")]
    moved = Moved((experiment(2, "came"),), {"1": {"run": "one came"}})
    digests = []
    for name, noted in (("still", Moved()), ("moved", moved)):
        made = Snapshot.create(tmp_path / name, Origin("http://source.invalid", "http", "3.17.2", {}), found)
        made.note_moved(noted)
        made.finish()
        digests.append(made.digest)
        kept = Snapshot.open(tmp_path / name)
        assert kept.moved.row() == noted.row()
        assert ("moved" in json.loads((tmp_path / name / "manifest.json").read_text())) is bool(noted)
    assert len(set(digests)) == 2
    # taken out of the manifest, with a new seal
    manifest = json.loads((tmp_path / "moved" / "manifest.json").read_text())
    del manifest["moved"]
    write_json(tmp_path / "moved" / "manifest.json", sealed(manifest))
    with pytest.raises(Exception, match="does not match its digest"):
        Snapshot.open(tmp_path / "moved")
    with pytest.raises(TypeError):
        Moved.told(replace(moved, of={"1": {"run": 1}}).row())  # type: ignore[dict-item]
