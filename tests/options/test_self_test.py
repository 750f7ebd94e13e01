"""``--parity-self-test``: every class of faults is seen; what blinds the audit is said, and a blind audit is red."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import entities, stores
from support.audits import audit
from support.exported import export
from support.importer import Migration
from support.memory import Store, run_audit
from support.report_samples import cell, report
from support.seed import Seeder, seed_small
from support.seed_later import seed_later, seed_secret
from support.seed_objects import seed_objects
from support.self_tests import judged, of_facets, read
from support.servers import FreshServer

import mlflow_parity.comparing.file_evidence as file_evidence
import mlflow_parity.comparing.object_fields as of_objects
import mlflow_parity.comparing.objects as comparing_objects
from mlflow_parity.audit.paired import objects as audit_objects
from mlflow_parity.audit.self_test_outcome import Planted, SelfTest
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.core.identity.sums import Proof, prove, sums_of
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import KINDS, LIVE, OPTIONAL, SCOPE_KIND
from mlflow_parity.kinds.rules import contract
from mlflow_parity.migrating.write.ordering import import_batch, import_rest
from mlflow_parity.pairing.by_kind import pair_runs
from mlflow_parity.reporting.report import CoverageRow
from mlflow_parity.self_test.faults import FAULTS

Pair = tuple[Path, Path]
#: What a migration writes none of.
UNMOVED = {"workspace", "skill"}


class _Whole(Migration):
    def run(self) -> None:
        experiments = list(self.context.export.snapshot.experiments)
        import_batch(self.context, experiments)
        import_rest(self.context, experiments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the snapshots of this module are."""
    return tmp_path_factory.mktemp("migrated")


@pytest.fixture(scope="module")
def live(module_server: FreshServer, folder: Path) -> tuple[str, str]:
    """A server with every kind of object, and another to which it was migrated."""
    source, target = module_server(), module_server()
    # ids of experiments are numbers: those of the target must not happen to be the same
    Seeder(source.uri).experiment("first")
    seed_small(source.uri)
    experiment = Seeder(source.uri).experiment("every kind")
    seed_objects(source.uri, experiment)
    seed_later(source.uri, experiment)
    seed_secret(target.uri)
    whole = _Whole(export(source, folder / "export"), target.uri, folder / "journal")
    try:
        whole.run()
    finally:
        whole.close()
    return source.uri, target.uri


@pytest.fixture(scope="module")
def migrated(live: tuple[str, str], folder: Path) -> Pair:
    """Snapshots of both."""
    return read(live[0], folder / "source"), read(live[1], folder / "target")


@pytest.fixture(scope="module")
def restored(module_server: FreshServer, folder: Path) -> Pair:
    """The snapshot of a server with every kind of object, twice: a store that only went on."""
    server = module_server()
    seed_small(server.uri)
    experiment = Seeder(server.uri).experiment("every kind")
    seed_objects(server.uri, experiment)
    seed_later(server.uri, experiment)
    first, copy = read(server.uri, folder / "whole"), folder / "restored"
    shutil.copytree(first, copy)
    return first, copy


def _waivers(folder: Path, *entries: str) -> str:
    common = 'reason = "r"\nowner = "o"\nexpires = 2999-01-01\n'
    path = folder / "waivers.toml"
    path.write_text("\n".join(f"[[waiver]]\n{entry}\n{common}" for entry in entries), encoding="utf-8")
    return str(path)


# --- what there is to plant


def test_every_facet_of_the_contract_has_a_fault() -> None:
    """The list of facets that no class of faults is about is empty; so is that of classes about nothing."""
    rules = [rule for rule in contract.RULES if rule.treatment != "not compared"]
    # what limits an audit as a whole is said of no object
    judged = {(rule.kind, rule.facet) for rule in rules if rule.kind != SCOPE_KIND}
    assert judged == {(kind, facet) for kind, facets in contract.FACETS.items() for facet in facets}
    planted = {(fault.kind, fault.facet) for fault in FAULTS}
    assert (judged - planted, planted - judged) == (set(), set())
    names = [(fault.kind, fault.facet, fault.name) for fault in FAULTS]
    assert len(set(names)) == len(names) > 400


# --- real pairs


@pytest.mark.long
def test_a_migrated_pair_is_seen_through(migrated: Pair) -> None:
    """After a migration every class that can be planted is seen, each facet in its own row; nothing is altered."""
    before = [_digest(folder) for folder in migrated]
    done = judged(*migrated)
    assert done.result.green
    assert (done.test.of("missed"), done.test.of("hidden"), done.test.of("depth")) == ((), (), ())
    assert done.test.planted > 400
    allowed = {(one.kind, one.facet) for one in done.test.of("contract") if one.kind not in UNMOVED}
    every = {(kind, facet) for kind, facets in contract.FACETS.items() for facet in facets} - OPTIONAL - LIVE
    every = {one for one in every if one[0] not in UNMOVED}
    # each server's own places are none of the source's; times, digests and the last writer are the server's own
    assert every - done.in_themselves == {("experiment", "artifact_location"), *allowed} - {("experiment", "times")} - {
        ("evaluation_dataset", "digest")
    }
    assert {facet for _, facet in allowed} == {"times", "digest", "last_updated_by"}
    assert done.test.looked_at.keys() == contract.FACETS.keys()
    assert {kind for kind, count in done.test.looked_at.items() if not count} == UNMOVED
    for one in done.test.of("nothing"):
        absent = f"no {KINDS[one.kind].plural} on both sides" if one.kind in UNMOVED else "needs "
        assert one.note.startswith(absent), one
    assert done.test.seconds < 30
    assert [_digest(folder) for folder in migrated] == before


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return whole.hexdigest()


@pytest.mark.long
def test_a_store_that_went_on_is_seen_through(restored: Pair) -> None:
    """Under ``same-store`` every facet is seen in its own row, none excepted but the loading of models."""
    done = judged(*restored, profile="same-store")
    assert done.result.green
    assert (done.test.of("missed"), done.test.of("contract")) == ((), ())
    every = {(kind, facet) for kind, facets in contract.FACETS.items() for facet in facets}
    absent = {(kind, facet) for kind in UNMOVED for facet in contract.FACETS[kind]}
    assert every - done.in_themselves == OPTIONAL | LIVE | absent


@pytest.mark.long
def test_listing_says_what_it_cannot_see(migrated: Pair) -> None:
    """Without bytes six classes of each kind of file are beyond the audit; a size is not."""
    files = [("run", "artifacts"), ("logged_model", "files"), ("model_version", "files")]
    faults = [fault for kind, facet in files for fault in of_facets(kind, facet)]
    done = judged(*migrated, faults=faults, depth="listing")
    beyond = {(one.kind, one.fault) for one in done.test.of("depth")}
    names = {"one byte altered", "an MLmodel altered", "an MLmodel that names another run", *STATED}
    assert beyond == {(kind, name) for kind, _ in files for name in names}
    assert all("listing compares no bytes" in one.note for one in done.test.of("depth"))
    seen = {(one.kind, one.fault) for one in done.test.of("found")}
    assert {("run", "one byte short"), ("run", "one lost"), ("logged_model", "one byte short")} <= seen
    assert not done.test.red


@pytest.mark.long
def test_only_what_is_in_scope_is_planted(migrated: Pair) -> None:
    """``-k params`` plants in params alone; with ``--parity-experiments`` nothing in what hangs on no experiment."""
    done = judged(*migrated, checks=["params"])
    assert {(one.kind, one.facet) for one in done.test.faults} == {("run", "params")}
    assert done.test.planted == len(done.test.of("found")) > 5
    # an experiment that the scope does not name is none of the audit's business
    named = judged(*migrated, experiments="every kind", faults=[*of_facets("experiment"), *of_facets("prompt")])
    assert {one.kind for one in named.test.faults} == {"experiment"}
    [extra] = [one for one in named.test.faults if one.fault == "one too many" and one.facet == "presence"]
    assert (extra.state, extra.note) == ("nothing", "needs a scope that names others; none among 1 experiments")
    assert not named.test.red


# --- waivers


@pytest.mark.long
def test_a_waiver_that_hides_a_class_is_named(migrated: Pair, tmp_path: Path) -> None:
    """All params of all runs waived: every class of them is hidden, and said so; other facets are seen."""
    path = _waivers(tmp_path, 'object = ["*", "run", "*"]\nfacet = "params"')
    done = judged(*migrated, faults=of_facets("run", "params", "status"), waivers=path)
    assert {one.state for one in done.test.faults if one.facet == "params"} == {"hidden"}
    assert {one.state for one in done.test.faults if one.facet == "status"} == {"found"}
    assert {one.waivers for one in done.test.of("hidden")} == {("* / run / * / params",)}
    count = len(done.test.of("hidden"))
    [line] = done.test.left_out()
    assert line.startswith(f"run params, as far as the waiver * / run / * / params hides it: {count} of {count} ")
    assert not done.test.red


@pytest.mark.long
@pytest.mark.parametrize(
    ("entry", "hidden"),
    [
        ('object = ["*", "run", "*"]\nfacet = "presence"\nstate = "missing"', {"lost"}),
        ('object = ["*", "run", "*"]\nfacet = "presence"', {"lost", "one too many", "the source tag of another run"}),
        # one object, or some keys, is no whole class: another one is found in which the fault is seen
        ('object = ["*", "run", "*-0"]\nfacet = "presence"', set()),
        ('object = ["churn model", "*", "*"]\nfacet = "presence"', set()),
    ],
)
def test_only_a_whole_class_is_blinded(migrated: Pair, tmp_path: Path, entry: str, hidden: set[str]) -> None:
    """What a waiver leaves is tried: other states, other objects."""
    done = judged(*migrated, faults=of_facets("run", "presence"), waivers=_waivers(tmp_path, entry))
    assert {one.fault for one in done.test.of("hidden")} == hidden
    assert {one.state for one in done.test.faults} <= {"found", "hidden"}


def test_a_waiver_of_some_keys_hides_no_class(migrated: Pair, tmp_path: Path) -> None:
    """A fault is planted in a key of which no waiver speaks, where there is one."""
    path = _waivers(
        tmp_path,
        'object = ["*", "run", "*"]\nfacet = "tags"\nkey = "mlflow.*"',
        'object = ["*", "run", "*"]\nfacet = "artifacts"\nkey = "notes.txt"',
    )
    faults = of_facets("run", "tags", "artifacts")
    done, without = judged(*migrated, faults=faults, waivers=path), judged(*migrated, faults=faults)
    assert done.test.of("hidden") == ()
    assert [one.state for one in done.test.faults] == [one.state for one in without.test.faults]


def test_a_bound_waiver_hides_nothing(migrated: Pair, tmp_path: Path) -> None:
    """A planted fault has other values than those that it was drafted for: each class is seen, whatever its glob."""
    path = _waivers(tmp_path, 'object = ["*", "run", "*"]\nfacet = "params"\nvalues = [["so it was", "so it is"]]')
    done = judged(*migrated, faults=of_facets("run", "params"), waivers=path)
    assert {one.state for one in done.test.faults} == {"found"}
    assert done.test.of("hidden") == ()


# --- what stores state

#: Files that nobody read.
STATED = (
    "other bytes by a checksum that its store states",
    "other bytes of which its store states nothing",
    "other bytes sent to its store in other parts",
)


def test_an_audit_that_rests_on_stores_sees_other_bytes(migrated: Pair) -> None:
    """Of runs and of all that has files: what a store states otherwise, or not at all, is never green."""
    kinds = {"run", "logged_model", "model_version"}
    faults = [fault for fault in FAULTS if fault.name in STATED]
    assert {fault.kind for fault in faults} == kinds | {"trace"}
    for evidence in ("stores", "weak", "sha256"):
        done = judged(*migrated, faults=faults, evidence=evidence)
        assert {(one.kind, one.fault) for one in done.test.of("found")} == {
            (kind, name) for kind in kinds for name in STATED
        }
        # of attachments this server tells no size: they are not said to be as they are on the source
        assert {(one.kind, one.fault, one.state) for one in done.test.faults if one.kind == "trace"} == {
            ("trace", name, "nothing") for name in STATED
        }


def test_an_audit_that_believes_stores_blindly_is_missed(migrated: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a file for equal as its store was asked for it, whatever was answered."""

    def blind(mine: Artifact, copy: Artifact, evidence: Evidence) -> Proof:
        return Proof(True, "md5") if not sums_of(copy).read else prove(mine, copy, evidence)

    monkeypatch.setattr(file_evidence, "prove", blind)
    done = judged(*migrated, faults=of_facets("run", "artifacts"))
    assert {one.fault for one in done.test.of("missed")} == {*STATED}


# --- a blind audit


def _nothing(*_: object, **__: object) -> list[Any]:
    return []


def _blind_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(of_objects._OWN, ("run", "params"), _nothing)


def _blind_experiments(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(of_objects._OWN, ("experiment", "note"), _nothing)


def _blind_metrics(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(comparing_objects, "compare_histories", _nothing)


def _blind_spans(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(of_objects, "_OWN", {**of_objects._OWN, ("trace", "spans"): _nothing})


def _blind_aliases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(of_objects, "_BY_STRATEGY", {**of_objects._BY_STRATEGY, "aliases": lambda *_: []})


def _blind_access(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(comparing_objects, "compare_access", _nothing)


BLIND: dict[tuple[str, ...], Callable[[pytest.MonkeyPatch], None]] = {
    ("run", "params"): _blind_runs,
    ("experiment", "note"): _blind_experiments,
    ("run", "metrics"): _blind_metrics,
    ("trace", "spans"): _blind_spans,
    ("registered_model", "aliases"): _blind_aliases,
    ("prompt", "aliases"): _blind_aliases,
    ("model_version", "access"): _blind_access,
}


@pytest.mark.parametrize("facet", BLIND, ids=" ".join)
def test_a_blind_comparison_is_missed(migrated: Pair, monkeypatch: pytest.MonkeyPatch, facet: tuple[str, str]) -> None:
    """A comparison that finds nothing is red for its classes, all of them, and for no other."""
    BLIND[facet](monkeypatch)
    done = judged(*migrated, faults=of_facets(facet[0]))
    missed = {(one.kind, one.facet) for one in done.test.of("missed")}
    assert missed == {facet}
    assert {one.state for one in done.test.faults if (one.kind, one.facet) == facet} <= {"missed", "nothing"}
    assert done.test.red
    assert all(f"self-test: the audit did not see {facet[0]} {facet[1]}: " in line for line in done.test.reasons())


def test_a_rule_that_excuses_everything_is_missed(migrated: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract by which every difference of statuses is expected is seen through."""

    def lenient(outcomes: Any, profile: Any) -> Any:
        for one in refuse(outcomes, profile):
            yield Outcome(_green(one.row)) if one.row.facet == "status" else one

    def _green(row: Any) -> Any:
        return replace(row, state=State.EXPECTED, findings=0, rules=("run.status",))

    monkeypatch.setattr(audit_objects, "refuse", lenient)
    faults = [fault for kind in contract.FACETS for fault in of_facets(kind, "status", "description", "name")]
    done = judged(*migrated, faults=faults)
    missed = {(one.kind, one.facet) for one in done.test.of("missed")}
    assert missed == {(kind, "status") for kind in ("run", "logged_model", "model_version", "webhook")}


def test_a_pairing_that_overlooks_is_missed(migrated: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit that does not look at what is on the target only, or there twice, is caught."""
    real = pair_runs

    def forgetful(*arguments: Any, **more: Any) -> Any:
        pairing = real(*arguments, **more)
        pairing.extra, pairing.duplicates = [], []
        return pairing

    monkeypatch.setattr(audit_objects, "pair_runs", forgetful)
    done = judged(*migrated, faults=of_facets("run", "presence", "status"))
    assert {one.fault for one in done.test.of("missed")} == {"one too many", "there twice"}


def test_a_comparison_that_fails_is_missed(migrated: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the middle of a trial is no pass, and does not cost the report."""

    def broken(source: Any, target: Any, _: Any) -> list[Any]:
        if source.params != target.params:
            raise ValueError("out of order")
        return []

    monkeypatch.setitem(of_objects._OWN, ("run", "params"), broken)
    done = judged(*migrated, faults=of_facets("run", "params"))
    assert done.test.of("missed")
    assert {one.note for one in done.test.of("missed")} == {"the comparison failed: ValueError: out of order"}


def test_a_pair_without_pairs_has_nothing_to_plant_in(migrated: Pair, module_server: FreshServer) -> None:
    """Against an empty target the audit is red anyway; no class counts as seen."""
    empty = read(module_server().uri, migrated[0].with_name("empty"))
    done = judged(migrated[0], empty, experiments="churn model")
    assert not done.result.green
    assert {one.state for one in done.test.faults} <= {"nothing", "contract"}
    assert done.test.planted == 0


# --- any store


@pytest.mark.long
@settings(stores.SLOW, max_examples=5)
@given(stores.stores(), entities.store(), st.integers(0, 99), st.sampled_from(["imported", "restored", "same-store"]))
def test_no_store_makes_it_cry_wolf(runs: Store, objects: entities.Store, seed: int, move: str) -> None:
    """Whatever a store holds and however it came: the audit is green, and sees every fault that can be planted."""
    if move != "imported":
        runs.objects, runs.trees = objects.objects, objects.trees
    target = stores.imported(runs) if move == "imported" else stores.restored(runs)
    profile: Any = "same-store" if move == "same-store" else "export-import"
    done = run_audit(runs, target, seed=seed, profile=profile, self_test=True)
    assert done.result.self_test is not None
    assert done.result.self_test.of("missed") == ()
    assert done.result.green, done.found
    assert done.result.self_test.planted > 25


# --- what its user sees


@pytest.mark.long
def test_it_is_in_every_report(live: tuple[str, str], tmp_path: Path) -> None:
    """One line in the terminal, a section in the HTML, an object in the JSON that its schema describes."""
    checks = ("-k", "params or aliases_resolve")
    plain = audit(tmp_path / "plain", *live, *checks)
    assert plain.report["self_test"] is None
    assert "self-test" not in plain.output
    assert "Self-test" not in (plain.reports / "report.html").read_text(encoding="utf-8")
    done = audit(tmp_path / "with", *live, *checks, "--parity-self-test")
    assert done.status == 0, done.output
    assert done.report["totals"] == plain.report["totals"]
    told = done.report["self_test"]
    count = sum(one["state"] == "found" for one in told["faults"])
    assert f"  self-test: {count} of {count} planted faults seen" in done.output
    # what only a server tells is tried on what it said
    seen = {(one["kind"], one["seen"]) for one in told["faults"] if one["facet"] == "resolves"}
    assert seen == {(kind, f"resolves {state}") for kind, _ in LIVE for state in ("mismatch", "unverified")}
    assert done.report["timings"]["self-test"] == pytest.approx(told["seconds"], abs=0.001)
    assert "--parity-self-test" in done.report["command"]
    page = (done.reports / "report.html").read_text(encoding="utf-8")
    assert "Self-test</h2>" in page
    assert f"{count} of {count} planted faults seen" in page
    schema = files("mlflow_parity.reporting").joinpath("report.schema.json")
    for one in (plain, done):
        jsonschema.validate(one.report, json.loads(schema.read_text(encoding="utf-8")))
    # no server was asked more than without it
    sides = [(one.report["sides"][side]["requests"], side) for one in (plain, done) for side in ("source", "target")]
    assert sides[:2] == sides[2:]


def test_a_hidden_class_makes_the_report_partial(migrated: Pair, tmp_path: Path) -> None:
    """Green stays green, for its owner accepted it; but the report does not claim what it cannot know."""
    waivers = _waivers(tmp_path, 'object = ["*", "run", "*"]\nfacet = "times"')
    done = audit(
        tmp_path / "hidden", *map(str, migrated), "-k", "run_times", "--parity-self-test", "--parity-waivers", waivers
    )
    line = "run times, as far as the waiver * / run / * / times hides it: 2 of 2 classes of faults"
    assert done.report["scope"]["partial"]
    assert any(text.startswith(line) for text in done.report["scope"]["left_out"])
    assert "2 hidden by waivers" in done.output


def test_a_blind_audit_is_red(migrated: Pair, tmp_path: Path) -> None:
    """The run fails, and the first reason names class and object, although the ledger is green."""
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / "blind.py").write_text(
        "from mlflow_parity.comparing import object_fields\n"
        "object_fields._OWN['run', 'status'] = lambda source, target, links: []\n"
    )
    done = audit(folder, *map(str, migrated), "-p", "blind", "-k", "run_name_and_status", "--parity-self-test")
    assert done.status == 1, done.output
    assert done.report["verdict"] == "red"
    assert done.red_rows() == []
    [reason] = done.report["reasons"]
    assert reason.startswith("self-test: the audit did not see run status: another one, planted in ")
    assert f"  - {reason}"[:60] in done.output
    assert "1 MISSED" in done.output


def test_a_report_cannot_be_green_and_blind() -> None:
    """The report itself refuses it."""
    row = CoverageRow("e", "run params", cell(0, match=1))
    green = report(verdict="green", reasons=(), coverage=(row,), findings=(), findings_total=0)
    missed = SelfTest((Planted("run", "params", "one lost", "missed", "e / r"),), {"run": 1}, 0.1)
    with pytest.raises(ValueError, match="self-test found the audit blind"):
        replace(green, self_test=missed)


def test_every_kind_has_presence_faults() -> None:
    """What is lost, and what is too many, is planted of every kind."""
    for kind in ("experiment", "run", *KINDS):
        names = {fault.name for fault in of_facets(kind, "presence")}
        assert {"lost", "one too many"} <= names, kind


def test_models_limits_what_is_planted(migrated: Pair) -> None:
    """``--parity-models`` names some registered models: faults are planted in those and what else is in scope."""
    kinds = ("registered_model", "model_version", "prompt", "prompt_version", "run")
    faults = [fault for kind in kinds for fault in of_facets(kind, "presence", "tags", "aliases")]
    alone = judged(*migrated, models="churn", faults=faults)
    both = judged(*migrated, models="churn", experiments="every kind", faults=faults)
    for done in (alone, both):
        assert (done.test.of("missed"), done.test.red) == ((), False)
        assert {one.kind for one in done.test.of("found")} == {"registered_model", "model_version", "run"}
        # a registered model that the option does not name is none of the audit's business
        [extra] = [one for one in done.test.faults if (one.kind, one.fault) == ("registered_model", "one too many")
                   and one.facet == "presence"]  # fmt: skip
        assert (extra.state, extra.note[:32]) == ("nothing", "needs a scope that names others;")
    every = judged(*migrated, models="*", faults=faults)
    assert {one.kind for one in every.test.of("found")} == set(kinds)
    assert not every.test.red


@pytest.mark.long(but=("{'models': 'greeting'}",))
@pytest.mark.parametrize(
    "limits",
    [
        {"experiments": "every kind"},
        {"exclude_experiments": "every kind"},
        {"models": "greeting"},
        {"models": "churn", "experiments": "every kind"},
    ],
    ids=str,
)
def test_no_scope_makes_a_fault_missed(migrated: Pair, limits: dict[str, Any]) -> None:
    """What the scope leaves out may be otherwise; a fault in that is not planted, and none in scope is missed."""
    done = judged(*migrated, **limits)
    assert (done.test.of("missed"), done.test.red) == ((), False)
    assert done.test.planted > 150
