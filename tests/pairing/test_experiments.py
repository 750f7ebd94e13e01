"""Pairing: every key, every kind of leftover, and what must not be guessed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory_store import (
    EPOCH,
    RunData,
    Store,
    audited,
    experiment,
    imported,
    natural,
    rich_run,
    rich_store,
    run_id,
    same_ids,
)

from mlflow_parity.core.identity.keys import layers, run_key
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.verdict import State
from mlflow_parity.pairing.by_kind import RunPairing, pair_experiments, pair_runs
from mlflow_parity.snapshot import RunKey

SOURCE_TAG = "mlflow_exim.run_info.run_id"


def small_store(runs: int = 2) -> Store:
    """Return one experiment with a few runs."""
    store = Store({"1": experiment(1, "one")})
    for number in range(runs):
        store.add(rich_run(number, "1", random.Random(number)))
    return store


def keys(store: Store, *, backwards: bool = False) -> list[RunKey]:
    """Return what pairing knows of every run."""
    found = [run_key(run.record(list)) for run in store.runs.values()]
    return found[::-1] if backwards else found


def pairs(pairing: RunPairing) -> dict[str, tuple[str, str]]:
    """Return source id → target id and key."""
    return {pair.source.entity_id: (pair.target.entity_id, pair.by) for pair in pairing.pairs}


def accounted(pairing: RunPairing, source: list[RunKey], target: list[RunKey]) -> None:
    """Check that every run of either side is in exactly one of the lists."""
    ours = [pair.source.entity_id for pair in pairing.pairs] + [run.entity_id for run in pairing.missing]
    ours += [run.entity_id for group, _, _ in pairing.ambiguous for run in group]
    theirs = [pair.target.entity_id for pair in [*pairing.pairs, *pairing.duplicates]]
    theirs += [run.entity_id for run, _ in pairing.extra]
    theirs += [run.entity_id for _, group, _ in pairing.ambiguous for run in group]
    assert sorted(ours) == sorted(run.entity_id for run in source)
    assert sorted(theirs) == sorted(run.entity_id for run in target)


# --- the keys


@pytest.mark.parametrize(
    ("make", "by"),
    [(imported, "source-tag"), (same_ids, "same-id"), (natural, "natural-key")],
    ids=lambda x: str(getattr(x, "__name__", x)),
)
def test_each_key_pairs_every_run(make: Callable[[Store], Store], by: str) -> None:
    """An import with source tags, a restored database and a plain copy are each paired, in any order."""
    source = small_store(5)
    target = make(source)
    number = {run.run_id: run.params["number"] for run in [*source.runs.values(), *target.runs.values()]}
    for backwards in (False, True):
        pairing = pair_runs(keys(source), keys(target, backwards=backwards))
        assert {(number[a], number[b], key) for a, (b, key) in pairs(pairing).items()} == {
            (str(n), str(n), by) for n in range(5)
        }
        accounted(pairing, keys(source), keys(target))


def test_content_pairs_what_nothing_else_does(tmp_path: Path) -> None:
    """Without tags and with other times, runs are paired by what they hold; that the times are lost is red."""
    source = small_store(3)
    target = natural(source)
    for run in target.runs.values():
        run.start_time = EPOCH + 9_999
        run.tags["mlflow.user"] = "importer"
    pairing = pair_runs(keys(source), keys(target, backwards=True))
    assert {by for _, by in pairs(pairing).values()} == {"content"}
    accounted(pairing, keys(source), keys(target))
    done = audited(tmp_path, source, target)
    assert done.states("presence") == {State.MATCH: 3}
    assert {item.facet for item in done.result.findings if item.kind == "run"} == {"times", "user", "source_tags"}


def test_a_unique_name_pairs_at_last_and_is_never_green(tmp_path: Path) -> None:
    """A name that occurs once on each side pairs what differs in time and content, so that the difference shows."""
    source = small_store(2)
    target = natural(source)
    for run in target.runs.values():
        run.start_time, run.params["lr"] = EPOCH + 77, "other"
    pairing = pair_runs(keys(source), keys(target))
    assert {by for _, by in pairs(pairing).values()} == {"name"}
    done = audited(tmp_path, source, target)
    assert ("params", "lr", "mismatch", "run-0") in done.found


def test_a_stronger_key_wins() -> None:
    """Same id before source tag: the weaker claimant is a duplicate."""
    source = small_store(1)
    [original] = source.runs.values()
    target = same_ids(source)
    tagged = replace(copy.deepcopy(original), run_id="t" * 32, tags={**original.tags, SOURCE_TAG: original.run_id})
    target.add(tagged)
    pairing = pair_runs(keys(source), keys(target, backwards=True))
    assert pairs(pairing) == {original.run_id: (original.run_id, "same-id")}
    assert [(pair.target.entity_id, pair.by) for pair in pairing.duplicates] == [(tagged.run_id, "source-tag")]
    del target.runs[original.run_id]
    pairing = pair_runs(keys(source), keys(target))
    assert pairs(pairing) == {original.run_id: (tagged.run_id, "source-tag")}


# --- leftovers


@pytest.mark.parametrize("backwards", [False, True])
def test_a_run_imported_twice_is_a_duplicate(tmp_path: Path, backwards: bool) -> None:
    """Whichever of the two comes first: one is the copy, the other a duplicate, and that is red."""
    source = small_store(2)
    target = imported(source)
    again = imported(source, generation="again")
    second = next(run for run in again.runs.values() if run.params["number"] == "1")
    second.experiment_id = next(iter(target.runs.values())).experiment_id
    target.add(second)
    if backwards:
        target.runs = dict(reversed(target.runs.items()))
    pairing = pair_runs(keys(source), keys(target))
    accounted(pairing, keys(source), keys(target))
    assert len(pairing.pairs) == 2
    [duplicate] = pairing.duplicates
    assert duplicate.source.entity_id == run_id(1)
    done = audited(tmp_path, source, target)
    [finding] = done.result.findings
    assert (finding.state, finding.facet, finding.source_id) == (State.DUPLICATE, "presence", run_id(1))
    assert "paired with" in finding.explanation


def test_of_two_imports_the_whole_one_is_the_copy() -> None:
    """The copy with the source's content is kept as the pair, even when the damaged one is older."""
    source = small_store(1)
    target = imported(source)
    [whole] = target.runs.values()
    damaged = replace(copy.deepcopy(whole), run_id="a" * 32, start_time=EPOCH, params={})
    target.add(damaged)
    for backwards in (False, True):
        pairing = pair_runs(keys(source), keys(target, backwards=backwards))
        assert pairs(pairing) == {run_id(0): (whole.run_id, "source-tag")}
        assert [pair.target.entity_id for pair in pairing.duplicates] == [damaged.run_id]


def _half(source: RunData, experiment_id: str) -> RunData:
    """Return what a killed import leaves: RUNNING, no tags at all, because they are written last."""
    return replace(
        copy.deepcopy(source),
        run_id="b" * 32,
        experiment_id=experiment_id,
        name="brave-ox",
        status="RUNNING",
        start_time=EPOCH + 9,
        end_time=None,
        tags={"mlflow.runName": "brave-ox"},
        inputs=[],
        files={},
    )


def test_half_a_run_is_extra_and_named_so(tmp_path: Path) -> None:
    """After a killed import and a second one, the half run is a leftover; the copy is paired all the same."""
    source = small_store(2)
    target = imported(source)
    target.add(_half(source.runs[run_id(1)], next(iter(target.experiments))))
    done = audited(tmp_path, source, target)
    [finding] = done.result.findings
    assert (finding.state, finding.target_id, finding.source_id) == (State.EXTRA, "b" * 32, None)
    assert "half a run" in finding.explanation


def test_half_a_run_is_no_copy_even_with_equal_content() -> None:
    """Killed just before the tags, with nothing but tags lacking: the source run is missing, the half run extra."""
    source = small_store(1)
    run = source.runs[run_id(0)]
    run.tags, run.inputs, run.files = {"mlflow.user": "ada", "mlflow.runName": run.name}, [], {}
    half = replace(_half(run, "1"), name=run.name)
    pairing = pair_runs(keys(source), [run_key(half.record(list))])
    assert [missing.entity_id for missing in pairing.missing] == [run.run_id]
    [(_, why)] = pairing.extra
    assert "half a run" in why


def test_a_run_that_still_runs_is_paired() -> None:
    """RUNNING on the source as well: a plain copy of it is no leftover."""
    source = small_store(1)
    source.runs[run_id(0)].status = "RUNNING"
    target = natural(source)
    [moved] = target.runs.values()
    moved.start_time = EPOCH + 77
    assert {by for _, by in pairs(pair_runs(keys(source), keys(target))).values()} == {"content"}


def test_a_ghost_run_is_extra_and_named_so(tmp_path: Path) -> None:
    """A run without anything in it, as the tool makes one for a model without run."""
    source = small_store(1)
    target = imported(source)
    ghost = RunData("c" * 32, next(iter(target.experiments)), "polite-cat", tags={"mlflow.runName": "polite-cat"})
    target.add(ghost)
    done = audited(tmp_path, source, target)
    [finding] = done.result.findings
    assert (finding.state, finding.target_id) == (State.EXTRA, ghost.run_id)
    assert "ghost" in finding.explanation


def test_a_run_that_nobody_knows_is_extra() -> None:
    """With content of its own, and with source tags that name no run at all."""
    source = small_store(1)
    target = imported(source)
    target.add(rich_run(50, "1", random.Random(1)))
    tagged = rich_run(51, "1", random.Random(2))
    tagged.tags["mlflow_exim.run_info.status"] = "FINISHED"
    target.add(tagged)
    pairing = pair_runs(keys(source), keys(target))
    why = {run.entity_id: why for run, why in pairing.extra}
    assert "no source run has its id" in why[run_id(50)]
    assert "none that names a run" in why[run_id(51)]


# --- what cannot be told apart


def twins(number: int, *, alike: bool, target: bool = False) -> list[RunData]:
    """Return runs with the same name and start time; ``alike``: with the same content too."""
    made = []
    for index in range(number):
        run = rich_run(0, "1", random.Random(0))
        run.run_id = run_id(index, "target" if target else "source")
        run.artifact_uri = f"mlflow-artifacts:/1/{run.run_id}/artifacts"
        run.files = {}
        if not alike:
            run.params["index"] = f"{index}{'t' if target else 's'}"
        made.append(run)
    return made


def store_of(runs: list[RunData]) -> Store:
    """Return a store of one experiment with these runs."""
    store = Store({"1": experiment(1, "one")})
    store.add(*runs)
    return store


def test_runs_that_are_alike_in_everything_match_one_to_one(tmp_path: Path) -> None:
    """Which of two identical runs is which makes no difference."""
    source, target = store_of(twins(3, alike=True)), store_of(twins(3, alike=True, target=True))
    pairing = pair_runs(keys(source), keys(target, backwards=True))
    assert len(pairing.pairs) == 3
    assert {by for _, by in pairs(pairing).values()} == {"content"}
    accounted(pairing, keys(source), keys(target))
    done = audited(tmp_path, source, target)
    assert done.result.green, done.found
    assert done.states("presence") == {State.MATCH: 3}


def test_runs_alike_but_for_their_status_match_crosswise() -> None:
    """Ids give no order; what is left to tell them apart does."""
    source, target = store_of(twins(2, alike=True)), store_of(twins(2, alike=True, target=True))
    sorted(source.runs.values(), key=lambda run: run.run_id)[0].status = "FAILED"
    sorted(target.runs.values(), key=lambda run: run.run_id)[1].status = "FAILED"
    pairing = pair_runs(keys(source), keys(target))
    assert all(pair.source.status == pair.target.status for pair in pairing.pairs)


def test_runs_that_cannot_be_told_apart_are_ambiguous(tmp_path: Path) -> None:
    """The same name and time, but other contents: nothing is guessed, all of them are named, and it is red."""
    source, target = store_of(twins(2, alike=False)), store_of(twins(2, alike=False, target=True))
    pairing = pair_runs(keys(source), keys(target))
    [(ours, theirs, by)] = pairing.ambiguous
    assert (len(ours), len(theirs), by) == (2, 2, "natural-key")
    accounted(pairing, keys(source), keys(target))
    done = audited(tmp_path, source, target)
    assert not done.result.green
    assert done.states("presence") == {State.AMBIGUOUS: 4}
    # the facets of a run without a copy are not judged, and not green either
    assert done.states("params") == {State.AMBIGUOUS: 2}


def test_of_several_alike_those_with_equal_content_are_settled_first() -> None:
    """One equal pair leaves one on each side, which then is a pair with a difference, not a guess."""
    ours, theirs = twins(2, alike=False), twins(2, alike=False, target=True)
    theirs[1].params["index"] = ours[0].params["index"]
    source, target = store_of(ours), store_of(theirs)
    pairing = pair_runs(keys(source), keys(target))
    assert pairs(pairing) == {
        ours[0].run_id: (theirs[1].run_id, "content"),
        ours[1].run_id: (theirs[0].run_id, "natural-key"),
    }


def test_a_surplus_identical_copy_is_a_duplicate(tmp_path: Path) -> None:
    """Two originals and three copies that are alike in everything: one too many."""
    source, target = store_of(twins(2, alike=True)), store_of(twins(3, alike=True, target=True))
    pairing = pair_runs(keys(source), keys(target))
    assert (len(pairing.pairs), len(pairing.duplicates), pairing.extra, pairing.missing) == (2, 1, [], [])
    done = audited(tmp_path, source, target)
    assert {(item.facet, item.state) for item in done.result.findings} == {("presence", State.DUPLICATE)}


def test_a_lost_one_of_identical_runs_is_missing(tmp_path: Path) -> None:
    """Three originals and two copies that are alike in everything: one is lost, and only one."""
    done = audited(tmp_path, store_of(twins(3, alike=True)), store_of(twins(2, alike=True, target=True)))
    assert {(item.facet, item.state) for item in done.result.findings} == {("presence", State.MISSING)}
    assert done.states("presence") == {State.MATCH: 2, State.MISSING: 1}


# --- source tags that mislead


def test_a_source_tag_of_another_experiments_run_is_no_evidence(tmp_path: Path) -> None:
    """A run whose tag names a run of another experiment is extra there, and the other run is not robbed of its copy."""
    source = rich_store()
    target = imported(source)
    copies = {run.params["number"]: run for run in target.runs.values()}
    forged = copies["11"]
    forged.tags[SOURCE_TAG] = run_id(21)
    done = audited(tmp_path, source, target)
    found = {(item.state, item.name) for item in done.result.findings}
    assert found == {(State.MISSING, "run-11"), (State.EXTRA, "run-11")}
    [extra] = [item for item in done.result.findings if item.state is State.EXTRA]
    assert "not in this source experiment" in extra.explanation
    assert done.states("presence") == {State.MATCH: 5, State.MISSING: 1, State.EXTRA: 1}


def test_a_source_tag_of_a_neighbour_makes_a_duplicate_and_a_loss(tmp_path: Path) -> None:
    """Two runs that claim the same original: the one that is like it is the copy; the forger's own original is lost."""
    source = small_store(3)
    target = imported(source)
    forger = next(run for run in target.runs.values() if run.params["number"] == "2")
    forger.tags[SOURCE_TAG] = run_id(1)
    done = audited(tmp_path, source, target)
    assert {(item.state, item.source_id, item.target_id) for item in done.result.findings} == {
        (State.DUPLICATE, run_id(1), forger.run_id),
        (State.MISSING, run_id(2), None),
    }


def test_a_chained_migration_is_green(tmp_path: Path) -> None:
    """The source was itself imported: its old source tags are overwritten by the new import, which is no loss."""
    first = rich_store()
    second = imported(first, generation="first")
    third = imported(second, generation="second", user="someone else")
    done = audited(tmp_path, second, third)
    assert done.result.green, done.found
    assert set(done.result.paired_by) == {"source-tag"}


@pytest.mark.parametrize(
    ("make", "by"), [(same_ids, "same-id"), (natural, "natural-key")], ids=lambda x: str(getattr(x, "__name__", x))
)
def test_a_plain_copy_of_imported_runs_is_green(tmp_path: Path, make: Callable[[Store], Store], by: str) -> None:
    """The source carries source tags of an earlier migration, and the copy the same ones: plain content."""
    source = imported(rich_store(), generation="first")
    done = audited(tmp_path, source, make(source))
    assert done.result.green, done.found
    assert set(done.result.paired_by) == {by}


def own_imports() -> Store:
    """Return a store that holds an import of its own experiments, in other experiments and in the same one."""
    store = rich_store()
    again = imported(store, generation="own")
    for key, item in again.experiments.items():
        store.experiments[key] = replace(item, name=item.name + " (copy)")
    store.add(*again.runs.values())
    inner = imported(Store({"1": store.experiments["1"]}, {run_id(10): store.runs[run_id(10)]}), generation="inner")
    for run in inner.runs.values():
        store.add(replace(run, experiment_id="1"))
    return store


def test_a_restored_database_with_imports_of_its_own_runs_is_green(tmp_path: Path) -> None:
    """Each object is itself; the source tags inside name the originals, but the ids are stronger."""
    source = own_imports()
    done = audited(tmp_path, source, same_ids(source))
    assert done.result.green, done.found
    assert set(done.result.paired_by) == {"same-id"}
    assert {pair.by for pair in done.audit.scope.pairing.pairs} == {"same-id"}


def test_an_import_of_a_store_with_imports_of_its_own_runs_is_green(tmp_path: Path) -> None:
    """The new import's tags name the direct original, not the original's original."""
    source = own_imports()
    done = audited(tmp_path, source, imported(source, generation="next"))
    assert done.result.green, done.found


# --- every run is accounted for

_runs = st.lists(
    st.builds(
        RunKey,
        entity_id=st.sampled_from("abcdefgh"),
        name=st.sampled_from(["", "x", "y"]),
        status=st.sampled_from(["FINISHED", "RUNNING"]),
        created=st.sampled_from([None, 1, 2]),
        lifecycle_stage=st.sampled_from(["active", "deleted"]),
        origin=st.none() | st.sampled_from("abcdefghz"),
        tagged=st.booleans(),
        empty=st.booleans(),
        content=st.sampled_from([b"1", b"2"]),
    ),
    max_size=8,
    unique_by=lambda run: run.entity_id,
)


@given(source=_runs, target=_runs, moved=st.booleans(), data=st.data())
def test_every_run_is_in_exactly_one_list_in_whatever_order(
    source: list[RunKey], target: list[RunKey], moved: bool, data: st.DataObject
) -> None:
    """Nothing is lost or counted twice by pairing, and the order of reading does not change its outcome."""
    if moved:
        target = [replace(run, entity_id=run.entity_id.upper()) for run in target]
    pairing = pair_runs(source, target)
    accounted(pairing, source, target)
    shuffled = pair_runs(data.draw(st.permutations(source)), data.draw(st.permutations(target)))
    assert pairs(shuffled) == pairs(pairing)
    assert {pair.target.entity_id for pair in shuffled.duplicates} == {
        pair.target.entity_id for pair in pairing.duplicates
    }
    assert {run.entity_id for run, _ in shuffled.extra} == {run.entity_id for run, _ in pairing.extra}
    assert {run.entity_id for run in shuffled.missing} == {run.entity_id for run in pairing.missing}


@given(runs=_runs)
def test_a_server_is_its_own_copy(runs: list[RunKey]) -> None:
    """Whatever tags there are: compared with itself every run is itself."""
    pairing = pair_runs(runs, runs)
    assert pairs(pairing) == {run.entity_id: (run.entity_id, "same-id") for run in runs}
    assert [pairing.duplicates, pairing.extra, pairing.missing, pairing.ambiguous] == [[], [], [], []]


# --- experiments


def tagged(item: Experiment, original: Experiment) -> Experiment:
    """Return an experiment with the source tags that name an original."""
    tags = {"mlflow_exim.field.experiment_id": original.experiment_id, "mlflow_exim.field.name": original.name}
    return replace(item, tags=tags)


ONE, TWO = experiment(1, "one"), experiment(2, "two")


def outcome(source: list[Experiment], target: list[Experiment]) -> dict[str, list[tuple[str, ...]]]:
    """Return the pairing by ids, after checking that no experiment is in two lists."""
    pairing = pair_experiments(source, target)
    used = [pair.target.experiment_id for pair in [*pairing.pairs, *pairing.duplicates]]
    used += [item.experiment_id for item, _ in pairing.extra]
    assert sorted(used) == sorted(item.experiment_id for item in target)
    ours = [pair.source.experiment_id for pair in pairing.pairs] + [item.experiment_id for item in pairing.missing]
    assert sorted(ours) == sorted(item.experiment_id for item in source)
    return {
        "pairs": sorted((pair.source.experiment_id, pair.target.experiment_id, pair.by) for pair in pairing.pairs),
        "missing": [(item.experiment_id,) for item in pairing.missing],
        "extra": [(item.experiment_id,) for item, _ in pairing.extra],
        "duplicates": [(pair.source.experiment_id, pair.target.experiment_id) for pair in pairing.duplicates],
    }


def test_experiments_by_id_and_name_in_their_tags() -> None:
    """Both must fit; a renamed copy is still found."""
    renamed = tagged(experiment(7, "uno"), ONE)
    assert outcome([ONE, TWO], [renamed, tagged(experiment(8, "two"), TWO)])["pairs"] == [
        ("1", "7", "source-tag"),
        ("2", "8", "source-tag"),
    ]


def test_experiments_by_name() -> None:
    """Without tags the name decides; an equal id alone decides nothing."""
    found = outcome([ONE], [experiment(1, "other", creation_time=EPOCH), experiment(9, "one")])
    assert found["pairs"] == [("1", "9", "name")]
    assert found["extra"] == [("1",)]


def test_an_experiment_that_is_the_same_one() -> None:
    """Id and creation time together are no accident, also when it was renamed."""
    assert outcome([ONE], [replace(ONE, name="renamed")])["pairs"] == [("1", "1", "same-id")]
    assert outcome([ONE], [replace(ONE, name="renamed", creation_time=5)])["missing"] == [("1",)]
    unknown = replace(ONE, creation_time=None)
    assert outcome([unknown], [replace(unknown, name="renamed")])["missing"] == [("1",)]


def test_the_default_experiment_is_paired_by_name() -> None:
    """Every server makes it, with id 0, at another time and without tags."""
    default = experiment(0, "Default")
    for time in (1, None):
        found = outcome([default, ONE], [replace(default, creation_time=time), tagged(experiment(7, "one"), ONE)])
        assert found["pairs"] == [("0", "0", "name"), ("1", "7", "source-tag")]


def test_a_second_copy_of_an_experiment_is_a_duplicate() -> None:
    """The namesake is the copy, whatever the order; the other one is a duplicate."""
    copies = [tagged(experiment(8, "one again"), ONE), tagged(experiment(9, "one"), ONE)]
    for order in (copies, copies[::-1]):
        found = outcome([ONE], order)
        assert found["pairs"] == [("1", "9", "source-tag")]
        assert found["duplicates"] == [("1", "8")]


def test_a_foreign_import_with_a_colliding_id_is_extra() -> None:
    """An experiment of another server had the same id there; its name tells."""
    foreign = tagged(experiment(5, "theirs"), experiment(1, "theirs"))
    found = outcome([ONE], [foreign, tagged(experiment(6, "one"), ONE)])
    assert found["pairs"] == [("1", "6", "source-tag")]
    assert found["extra"] == [("5",)]


def test_swapped_names_are_not_paired_twice() -> None:
    """A target named like one original and tagged with another belongs to the tagged one alone."""
    swapped = tagged(experiment(7, "one"), TWO)
    found = outcome([ONE, TWO], [swapped])
    assert found["pairs"] == [("2", "7", "source-tag")]
    assert found["missing"] == [("1",)]


def test_a_restored_server_with_a_copy_of_its_own_experiment() -> None:
    """Each is itself, although the tags of the copy name the original; a new copy is a duplicate."""
    inner = tagged(experiment(2, "one (copy)"), ONE)
    assert outcome([ONE, inner], [ONE, inner])["pairs"] == [("1", "1", "same-id"), ("2", "2", "same-id")]
    found = outcome([ONE], [ONE, inner])
    assert found["pairs"] == [("1", "1", "same-id")]
    assert found["duplicates"] == [("1", "2")]


def test_a_duplicate_experiment_is_red_and_named(tmp_path: Path) -> None:
    """The item of the surplus copy is red; the copy that is paired stays green."""
    source = rich_store()
    target = imported(source)
    first = next(item for item in target.experiments.values() if item.name == "fraud/gbm")
    target.experiments["500"] = replace(first, experiment_id="500", name="fraud/gbm again")
    done = audited(tmp_path, source, target)
    [finding] = done.result.findings
    assert (finding.kind, finding.name, finding.target_id) == ("experiment", "fraud/gbm again", "500")
    assert "further copy" in finding.explanation
    assert finding.state is State.DUPLICATE


def test_a_copy_of_a_copy_stands_for_one_experiment_alone() -> None:
    """Of an experiment and its copy on one server each has its own; where one is lost, it is missing."""
    original, copied = experiment(1, "a"), tagged(experiment(2, "a-copy"), experiment(1, "a"))
    first = replace(tagged(experiment(7, "a"), original))
    hop = {"mlflow_exim.hop1.field.experiment_id": "1", "mlflow_exim.hop1.field.name": "a"}
    second = tagged(experiment(8, "a-copy"), copied)
    second = replace(second, tags={**second.tags, **hop})
    both = [("1", "7", "source-tag"), ("2", "8", "source-tag")]
    found = outcome([original, copied], [first, second])
    assert (found["pairs"], found["duplicates"], found["missing"]) == (both, [], [])
    found = outcome([original, copied], [second])
    assert (found["pairs"], found["missing"]) == (both[1:], [("1",)])
    # of the copy's source the first server may be gone: then the earlier hop tells it
    assert outcome([original], [second])["pairs"] == [("1", "8", "source-tag")]


def test_a_hop_of_a_huge_number_costs_nothing() -> None:
    """Anybody can write such a tag: it is a tag like others, and not memory for so many hops."""
    odd = {"mlflow_exim.hop99999999999.field.name": "x", "mlflow_exim.hop99.field.name": "y"}
    assert len(layers(odd)) == 100
