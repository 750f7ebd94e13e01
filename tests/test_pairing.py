"""Every pairing key, from the strongest to the weakest, and what stays unpaired."""

from __future__ import annotations

from dataclasses import replace

from mlflow_parity.digests import digest
from mlflow_parity.model import Experiment
from mlflow_parity.pairing import RunPairing, pair_experiments, pair_runs
from mlflow_parity.snapshot.keys import RunKey


def run(run_id: str, name: str = "run", **fields: object) -> RunKey:
    """A finished run; ``content`` is any value that stands for what it holds."""
    content = digest([name, fields.pop("content", run_id)])
    key = RunKey(run_id, name, "FINISHED", 1_000, "active", None, False, False, content)
    return replace(key, **fields)  # type: ignore[arg-type]


def pairs(found: RunPairing) -> set[tuple[str, str, str]]:
    """``(source id, target id, key)`` of every pair."""
    return {(pair.source.run_id, pair.target.run_id, pair.by) for pair in found.pairs}


def test_source_tag() -> None:
    """The source tag on the target pairs runs that have nothing else in common."""
    found = pair_runs([run("a")], [run("x", "other", source_run_id="a", tagged=True, start_time=9)])
    assert pairs(found) == {("a", "x", "source-tag")}


def test_same_id() -> None:
    """A restored database keeps its ids, whatever its runs' source tags say of an earlier migration."""
    source = [run("a", source_run_id="old", tagged=True), run("b")]
    found = pair_runs(source, source)
    assert pairs(found) == {("a", "a", "same-id"), ("b", "b", "same-id")}


def test_same_id_of_a_store_that_holds_an_import_of_its_own_run() -> None:
    """A run that was imported into its own server is its own pair after a restore, not a second copy."""
    source = [run("a"), run("b", source_run_id="a", tagged=True)]
    found = pair_runs(source, source)
    assert pairs(found) == {("a", "a", "same-id"), ("b", "b", "same-id")}
    assert found.duplicates == []


def test_journal() -> None:
    """The journal pairs where the tags are not there yet."""
    found = pair_runs([run("a")], [run("x", "half", start_time=7)], {"a": "x"})
    assert pairs(found) == {("a", "x", "journal")}


def test_natural_key() -> None:
    """Name and start time pair runs whose contents differ."""
    found = pair_runs([run("a", "n"), run("b", "n", start_time=2)], [run("y", "n", start_time=2), run("x", "n")])
    assert pairs(found) == {("a", "x", "natural-key"), ("b", "y", "natural-key")}


def test_content() -> None:
    """Without tags and with other times the content pairs."""
    found = pair_runs(
        [run("a", content=1), run("b", content=2)],
        [run("y", content=2, start_time=8), run("x", content=1, start_time=9)],
    )
    assert pairs(found) == {("a", "x", "content"), ("b", "y", "content")}


def test_unique_name() -> None:
    """A name that is unique on both sides pairs what is left."""
    found = pair_runs([run("a", "only")], [run("x", "only", start_time=9)])
    assert pairs(found) == {("a", "x", "name")}


def test_imported_twice() -> None:
    """The older complete copy is the pair, the other one a duplicate, in whatever order they come."""
    first = run("x", source_run_id="a", tagged=True, start_time=5)
    second = run("y", source_run_id="a", tagged=True, start_time=6)
    for target in ([first, second], [second, first]):
        found = pair_runs([run("a")], target)
        assert pairs(found) == {("a", "x", "source-tag")}
        assert [pair.target.run_id for pair in found.duplicates] == ["y"]


def test_the_better_copy_is_the_pair() -> None:
    """Of two copies the one with the source's content is taken, even when it is the younger one."""
    source = run("a", content=1)
    worse = run("x", content=2, source_run_id="a", tagged=True, start_time=5)
    better = replace(source, run_id="y", source_run_id="a", tagged=True, start_time=6)
    assert pairs(pair_runs([source], [worse, better])) == {("a", "y", "source-tag")}


def test_half_a_run_of_a_killed_import() -> None:
    """RUNNING and without source tags: extra, named as such, and never taken for the run that it began to copy."""
    half = run("x", "n", status="RUNNING", start_time=9)
    found = pair_runs([run("a", "n")], [half])
    assert [key.run_id for key in found.missing] == ["a"]
    [extra] = found.extra
    assert "half a run left by an interrupted import" in extra.why


def test_ghost_run() -> None:
    """A run to which nothing was logged is extra, named as such."""
    [extra] = pair_runs([run("a", "n")], [run("x", "witty-ghost-1", empty=True, start_time=9)]).extra
    assert "a ghost run" in extra.why


def test_run_of_another_source() -> None:
    """A source tag that names no run of this experiment makes a run extra, with the id that it names."""
    found = pair_runs([run("a", "n")], [run("x", "n", source_run_id="zzz", tagged=True)])
    assert found.pairs == []
    [extra] = found.extra
    assert "zzz" in extra.why


def test_indistinguishable_runs_with_equal_contents_match_one_to_one() -> None:
    """Which of two identical runs is which makes no difference."""
    source = [run("a", content=1), run("b", content=1)]
    found = pair_runs(source, [run("x", content=1), run("y", content=1)])
    assert {pair[:2] for pair in pairs(found)} == {("a", "x"), ("b", "y")}
    assert found.ambiguous == []


def test_indistinguishable_runs_with_other_contents_are_ambiguous() -> None:
    """Same name and time, contents that fit nowhere: a finding, not a guess."""
    source = [run("a", content=1), run("b", content=2)]
    found = pair_runs(source, [run("x", content=3), run("y", content=4)])
    assert found.pairs == []
    [(originals, copies, by)] = found.ambiguous
    assert {key.run_id for key in originals} == {"a", "b"}
    assert {key.run_id for key in copies} == {"x", "y"}
    assert by == "natural-key"


def test_more_identical_copies_than_originals() -> None:
    """Each surplus copy is a duplicate."""
    target = [run(name, content=1, start_time=7) for name in ("x", "y", "z")]
    found = pair_runs([run("a", content=1)], target)
    assert len(found.pairs) == 1
    assert len(found.duplicates) == 2


def test_every_run_is_in_exactly_one_list() -> None:
    """Nothing falls between the keys."""
    source = [run("a"), run("b", "n"), run("c", content=1), run("d", content=1)]
    target = [run("x", source_run_id="a", tagged=True), run("y", "q", start_time=3), run("z", content=1, start_time=4)]
    found = pair_runs(source, target)
    sources = [pair.source.run_id for pair in found.pairs] + [key.run_id for key in found.missing]
    sources += [key.run_id for group, _, _ in found.ambiguous for key in group]
    targets = [pair.target.run_id for pair in [*found.pairs, *found.duplicates]]
    targets += [extra.target.run_id for extra in found.extra]
    targets += [key.run_id for _, group, _ in found.ambiguous for key in group]
    assert sorted(sources) == ["a", "b", "c", "d"]
    assert sorted(targets) == ["x", "y", "z"]


def experiment(experiment_id: str, name: str, origin: tuple[str, str] | None = None, created: int = 5) -> Experiment:
    """An experiment, with the source tags of ``origin`` (id and name)."""
    tags = {}
    if origin is not None:
        tags = {"mlflow_exim.field.experiment_id": origin[0], "mlflow_exim.field.name": origin[1]}
    return Experiment(experiment_id, name, "active", "s3://b/x", created, 6, tags)


def test_experiments() -> None:
    """Source tags need id and name; a namesake pairs without; the rest is missing, extra or a duplicate."""
    source = [experiment("1", "a"), experiment("2", "b"), experiment("3", "c"), experiment("4", "d")]
    target = [
        experiment("11", "renamed", ("1", "a")),
        experiment("2", "b", created=9),
        experiment("13", "c", ("3", "c")),
        experiment("14", "c again", ("3", "c")),
        # imported from another server, where it had the id of our experiment 4
        experiment("15", "foreign", ("4", "not d")),
    ]
    found = pair_experiments(source, target)
    assert {(pair.source.name, pair.target.name, pair.by) for pair in found.pairs} == {
        ("a", "renamed", "source-tag"),
        ("b", "b", "name"),
        ("c", "c", "source-tag"),
    }
    assert [pair.target.name for pair in found.duplicates] == ["c again"]
    assert [item.name for item in found.missing] == ["d"]
    assert [item.name for item in found.extra] == ["foreign"]
