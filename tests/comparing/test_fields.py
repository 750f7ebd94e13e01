"""The contract under hostile and odd data: what a rule covers, alone and with others, and what it never covers."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.memory_store import (
    EPOCH,
    Audited,
    Point,
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

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.comparing.explain import Explainer
from mlflow_parity.comparing.trees import ModelIds, compare_mlmodel
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import KINDS, SCOPE_KIND
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.rules.check_registry import PROMISES

LARGEST = 1.7976931348623157e308
MLMODEL = "model/MLmodel"


def one_run() -> Store:
    """Return a store with one run."""
    store = Store({"1": experiment(1, "one")})
    store.add(rich_run(0, "1", random.Random(0)))
    return store


def metric_audit(folder: Path, source: list[Point], target: list[Point]) -> Audited:
    """Audit one history against another one."""
    ours = one_run()
    theirs = imported(ours)
    for store, points in ((ours, source), (theirs, target)):
        for run in store.runs.values():
            run.metrics["m"] = points
    return audited(folder, ours, theirs, ["metric_histories"])


INFINITY, ZERO, REPEATED = (f"run.metrics.{name}" for name in ("infinity", "negative-zero", "repeated"))


@pytest.mark.parametrize(
    ("source", "target", "rules"),
    [
        ([math.inf], [LARGEST], {INFINITY}),
        ([-math.inf, math.inf], [LARGEST, -LARGEST], {INFINITY}),
        ([-0.0], [0.0], {ZERO}),
        ([1.0, 1.0, 1.0], [1.0], {REPEATED}),
        ([math.nan, math.nan], [math.nan], {REPEATED}),
        # what a rule makes of a point may repeat a point that is there
        ([math.inf, math.inf], [LARGEST], {INFINITY, REPEATED}),
        ([math.inf, LARGEST], [LARGEST], {INFINITY, REPEATED}),
        ([-0.0, 0.0], [0.0], {ZERO, REPEATED}),
        ([-0.0, -0.0, 0.0, 0.0], [0.0], {ZERO, REPEATED}),
        ([math.inf, -0.0, math.nan], [LARGEST, 0.0, math.nan], {INFINITY, ZERO}),
    ],
)
def test_rules_for_points_alone_and_together(
    tmp_path: Path, source: list[float], target: list[float], rules: set[str]
) -> None:
    """At one step and time: green, and every rule that was needed is named."""
    done = metric_audit(tmp_path, [(0, 1, value) for value in source], [(0, 1, value) for value in target])
    assert done.result.green, done.found
    assert done.rules == rules
    assert done.states("metrics") == {State.EXPECTED: 1}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ([math.inf], [-LARGEST]),
        ([math.inf], [math.nan]),
        ([LARGEST], [math.inf]),
        ([0.0], [-0.0]),
        ([-0.0], [5e-324]),
        ([-0.0], [-5e-324]),
        ([1.0], [1.0, 1.0]),
        ([1.0, 1.0, 1.0], [1.0, 1.0]),
        ([math.inf, math.inf], [LARGEST, LARGEST, LARGEST]),
        ([-0.0, 1.0], [1.0]),
        ([math.inf, 0.0], [0.0]),
        ([math.nan], [0.0]),
        ([1.0], [1.0000000000000002]),
    ],
)
def test_what_no_rule_for_points_covers(tmp_path: Path, source: list[float], target: list[float]) -> None:
    """Near misses: the other sign, the other direction, a repeat too many, a neighbouring double."""
    done = metric_audit(tmp_path, [(0, 1, value) for value in source], [(0, 1, value) for value in target])
    assert done.states("metrics") == {State.MISMATCH: 1}


@pytest.mark.parametrize("moved", [(1, 1, LARGEST), (0, 2, LARGEST)])
def test_a_rule_for_points_holds_at_its_step_and_time_only(tmp_path: Path, moved: Point) -> None:
    """The largest double elsewhere is another point."""
    assert metric_audit(tmp_path, [(0, 1, math.inf)], [moved]).states("metrics") == {State.MISMATCH: 1}


def test_thousands_of_repeats_are_explained_at_once(tmp_path: Path) -> None:
    """A point that one side repeats without end is counted in full and shown in part."""
    began = time.monotonic()
    done = metric_audit(tmp_path, [(0, 1, 2.0)] * 20_000 + [(1, 1, 3.0)], [(0, 1, 2.0)] * 2 + [(1, 1, 3.0)])
    assert "19998 only on the source" in done.result.findings[0].explanation
    assert time.monotonic() - began < 60


# --- experiments


@pytest.mark.parametrize(
    ("change", "found"),
    [
        # the original time must stand in the tag, when the tool made the experiment
        ({"mlflow_exim.field.creation_time": "1"}, {"times", "source_tags"}),
        ({"mlflow_exim.field.creation_time": None}, {"times", "source_tags"}),
        ({"mlflow_exim.field.last_update_time": "1"}, {"source_tags"}),
        ({"mlflow_exim.field.last_update_time": None}, set()),
        ({"mlflow_exim.field.lifecycle_stage": "deleted"}, {"source_tags"}),
        ({"mlflow_exim.field._creation_time": "some day"}, set()),
        ({"mlflow_exim.field.of_a_newer_client": "x"}, set()),
    ],
)
def test_source_tags_of_an_experiment(tmp_path: Path, change: dict[str, str | None], found: set[str]) -> None:
    """Complete and true; keys that depend on the client and formatted times are no evidence either way."""
    source = one_run()
    target = imported(source)
    [(key, copy)] = target.experiments.items()
    tags = {**copy.tags, **change}
    target.change(key, tags={name: value for name, value in tags.items() if value is not None})
    done = audited(tmp_path, source, target)
    assert {item.facet for item in done.result.findings} == found


def test_times_of_a_namesake_without_source_tags(tmp_path: Path) -> None:
    """Made by hand: the time is expected to differ, and that nothing keeps the original is a finding."""
    source = one_run()
    target = imported(source)
    [key] = target.experiments
    target.change(key, tags={})
    done = audited(tmp_path, source, target, ["experiment_source_tags"])
    assert done.states("times", "experiment") == {State.EXPECTED: 1}
    assert "experiment.times.untagged" in done.rules
    assert done.states("source_tags", "experiment") == {State.MISMATCH: 1}


def test_times_of_a_namesake_with_another_ones_source_tags(tmp_path: Path) -> None:
    """Source tags that name another experiment keep nothing: neither the tags nor the times pass."""
    source = one_run()
    target = imported(source)
    [(key, copy)] = target.experiments.items()
    target.change(key, tags={**copy.tags, "mlflow_exim.field.experiment_id": "77"})
    done = audited(tmp_path, source, target, ["experiment_source_tags"])
    assert {item.facet for item in done.result.findings} == {"times", "source_tags"}


@pytest.mark.parametrize(("place", "state"), [("s3://bucket/one", State.MISMATCH), ("s3://other/one", State.MATCH)])
def test_a_copy_in_the_source_s_place(tmp_path: Path, place: str, state: State) -> None:
    """A new experiment that keeps its files where the source does loses them with the source."""
    source = one_run()
    source.change("1", artifact_location="s3://bucket/one")
    target = imported(source)
    [key] = target.experiments
    target.change(key, artifact_location=place)
    done = audited(tmp_path, source, target, ["experiment_artifact_location"])
    assert done.states("artifact_location", "experiment") == {state: 1}


def test_the_default_experiment(tmp_path: Path) -> None:
    """Made by every server: on the target alone and empty it is expected; with a run in it, it is extra."""
    source = one_run()
    target = imported(source)
    target.experiments["0"] = experiment(0, "Default", creation_time=1)
    done = audited(tmp_path / "empty", source, target)
    assert done.result.green, done.found
    assert "experiment.presence.default" in done.rules
    target.add(rich_run(9, "0", random.Random(0)))
    done = audited(tmp_path / "full", source, target)
    assert {(item.name, item.state) for item in done.result.findings} == {("Default", State.EXTRA)}
    target.experiments["0"] = replace(target.experiments["0"], name="default")
    del target.runs[run_id(9)]
    done = audited(tmp_path / "renamed", source, target)
    assert {(item.name, item.state) for item in done.result.findings} == {("default", State.EXTRA)}


def test_tags_and_note_of_default_are_not_excused(tmp_path: Path) -> None:
    """The tool loses them always; the rule for Default speaks of source tags and times only."""
    source = one_run()
    source.experiments["0"] = experiment(0, "Default", tags={"team": "a", "mlflow.note.content": "mine"})
    done = audited(tmp_path, source, imported(source))
    assert {(item.facet, item.key, item.state) for item in done.result.findings} == {
        ("tags", "team", State.MISSING),
        ("note", "mlflow.note.content", State.MISSING),
    }
    assert {"experiment.source_tags.default", "experiment.times.default"} <= done.rules


# --- runs


def test_a_run_without_name_gets_one(tmp_path: Path) -> None:
    """The invented name stands in the field and in the tag, both are expected; a tag that says otherwise is not."""
    source = one_run()
    run = source.runs[run_id(0)]
    run.name = ""
    del run.tags["mlflow.runName"]
    target = imported(source)
    [copy] = target.runs.values()
    assert copy.name
    done = audited(tmp_path / "good", source, target)
    assert done.result.green, done.found
    assert "run.name.generated" in done.rules
    copy.tags["mlflow.runName"] = "another"
    done = audited(tmp_path / "bad", source, target)
    assert done.found == {("tags", "mlflow.runName", "extra", "")}


def test_a_running_run_is_ended_by_the_tool(tmp_path: Path) -> None:
    """No end time on the source: ``None`` must stand in the source tag."""
    source = one_run()
    source.runs[run_id(0)].status, source.runs[run_id(0)].end_time = "RUNNING", None
    target = imported(source)
    [copy] = target.runs.values()
    assert copy.tags["mlflow_exim.run_info.end_time"] == "None"
    assert audited(tmp_path / "good", source, target).result.green
    copy.tags["mlflow_exim.run_info.end_time"] = ""
    found = audited(tmp_path / "bad", source, target).found
    assert {item[:2] for item in found} == {
        ("times", "end_time"),
        ("source_tags", "mlflow_exim.run_info.end_time"),
    }


def test_a_user_kept_by_the_import_is_equal(tmp_path: Path) -> None:
    """With ``--use-src-user-id`` the tag is the source's: a match of its own, no rule needed for it."""
    source = one_run()
    target = imported(source, user="ada")
    [copy] = target.runs.values()
    copy.user_id = "ada"
    done = audited(tmp_path, source, target, ["run_user"])
    assert done.states("user") == {State.MATCH: 1}


@pytest.mark.parametrize("case", ["gone", "deleted", "outside"])
def test_a_child_whose_parent_is_not_there(tmp_path: Path, case: str) -> None:
    """A dead link may stay dead; a link out of the scope of this audit is not verified, and not green."""
    source = rich_store()
    child = source.runs[run_id(22)]
    others: tuple[str, ...] = ()
    if case == "gone":
        child.tags["mlflow.parentRunId"] = "0" * 32
    elif case == "deleted":
        source.runs[run_id(20)].lifecycle_stage = "deleted"
    else:
        child.tags["mlflow.parentRunId"] = run_id(10)
        others = ("fraud/gbm",)
    target = imported(source)
    if case == "deleted":
        # the tool does not export the deleted parent, so the link stays what it was
        parent = next(run for run in target.runs.values() if run.params["number"] == "20")
        del target.runs[parent.run_id]
        for run in target.runs.values():
            if run.params["number"] == "22":
                run.tags["mlflow.parentRunId"] = run_id(20)
    done = audited(tmp_path, source, target, include_deleted=False, exclude_experiments=others)
    if case == "outside":
        assert {(item.facet, item.state) for item in done.result.findings} == {("parent", State.UNVERIFIED)}
        assert not done.result.green
    else:
        assert done.result.green, done.found
        assert "run.parent.dangling" in done.rules


def test_a_source_tag_that_no_tag_explains_is_extra(tmp_path: Path) -> None:
    """Tolerant to keys of newer clients, strict to what claims to be a tag of the source."""
    source = one_run()
    target = imported(source)
    [copy] = target.runs.values()
    copy.tags["mlflow_exim.run_info.of_a_newer_client"] = "x"
    assert audited(tmp_path / "good", source, target).result.green
    copy.tags["mlflow_exim.mlflow_tag.docker.image"] = "x"
    assert audited(tmp_path / "bad", source, target).found == {
        ("source_tags", "mlflow_exim.mlflow_tag.docker.image", "extra", "run-0")
    }


# --- MLmodel


def compared(mine: bytes, copy: bytes, models: ModelIds | None = None) -> list[Difference]:
    """Compare two MLmodel files of a run and its copy."""
    source = one_run()
    [ours], [theirs] = source.runs.values(), natural(source).runs.values()
    return compare_mlmodel(
        MLMODEL, mine, copy, ours.record(list), theirs.record(list), {ours.run_id: theirs.run_id}, models or ModelIds()
    )


def states(found: list[Difference]) -> set[tuple[str, State]]:
    """Return key and state of each difference."""
    return {(difference.key.removeprefix(MLMODEL), difference.state) for difference in found}


OURS, THEIRS = run_id(0).encode(), next(iter(natural(one_run()).runs)).encode()


@pytest.mark.parametrize(
    ("mine", "copy", "found"),
    [
        (b"run_id: " + OURS, b"run_id:   " + THEIRS + b"\n", {("", State.EXPECTED)}),
        (b"run_id: " + OURS, b"run_id: " + OURS, {(": run_id", State.MISMATCH)}),
        (b"run_id: " + OURS, b"{}", {(": run_id", State.MISSING)}),
        # the tool adds the id where there was none, and only the right one
        (b"a: 1", b"a: 1\nrun_id: " + THEIRS, {("", State.EXPECTED)}),
        (b"a: 1", b"a: 1\nrun_id: " + OURS, {(": run_id", State.MISMATCH)}),
        # a run's part of a path follows the run
        (b"artifact_path: s3://b/" + OURS + b"/m", b"artifact_path: s3://b/" + THEIRS + b"/m", {("", State.EXPECTED)}),
        (
            b"artifact_path: s3://b/" + OURS + b"/m",
            b"artifact_path: s3://b/" + OURS + b"/m #",
            {(": artifact_path", State.MISMATCH)},
        ),
        # order and style are no content; types, numbers and keys are
        (b"{a: 1, b: [x, y]}", b"b:\n- x\n- y\na: 1\n", {("", State.EXPECTED)}),
        (b"a: 1", b"a: 1.0", {(": a", State.MISMATCH)}),
        (b"a: 1", b"a: '1'", {(": a", State.MISMATCH)}),
        (b"a: 1", b"a: true", {(": a", State.MISMATCH)}),
        (b"a: .nan", b"a: .NaN", {("", State.EXPECTED)}),
        (b"a: {1: x}", b"a: {'1': x}", {(": a", State.MISMATCH)}),
        (b"a: {1: x}", b"a: {true: x}", {(": a", State.MISMATCH)}),
        (b"a: {1: x, '1': y}", b"a: {1: z, '1': y}", {(": a", State.MISMATCH)}),
        (b"a: [x, y]", b"a: [y, x]", {(": a", State.MISMATCH)}),
        (b"a: 2020-01-01", b"a: '2020-01-01'", {(": a", State.MISMATCH)}),
        (b"a: 1\nb: 2", b"a: 1", {(": b", State.MISSING)}),
        (b"a: 1", b"a: 1\nb: 2", {(": b", State.EXTRA)}),
        (b"model_id: m-1", b"model_id: m-2", {("", State.EXPECTED)}),
        (b"model_id: m-1", b"a: 1", {(": model_id", State.MISSING), (": a", State.EXTRA)}),
        # no document at all
        (b"", b"", set()),
        (b"", b" ", {("", State.MISMATCH)}),
        (b"- a", b"- b", {("", State.MISMATCH)}),
        (b"\xff\xfe\x00", b"\xff\xfe\x00", set()),
        (b"\xff\xfe\x00", b"\xff\xfe\x01", {("", State.MISMATCH)}),
    ],
)
def test_mlmodel_as_yaml_through_the_pairing(mine: bytes, copy: bytes, found: set[tuple[str, State]]) -> None:
    """Ids follow the pairing; everything else is equal as YAML, or it is a finding."""
    assert states(compared(mine, copy)) == found


def test_model_ids_map_one_to_one() -> None:
    """One source id stands for one target id and the other way round, over all runs of an experiment."""
    models = ModelIds()
    assert states(compared(b"model_id: a", b"model_id: x", models)) == {("", State.EXPECTED)}
    assert states(compared(b"model_id: a", b"model_id: x", models)) == {("", State.EXPECTED)}
    assert states(compared(b"model_id: a", b"model_id: y", models)) == {(": model_id", State.MISMATCH)}
    assert states(compared(b"model_id: b", b"model_id: x", models)) == {(": model_id", State.MISMATCH)}


def _doubling(line: str, first: str, levels: int = 40) -> bytes:
    lines = [f"a0: &a0 {first}"]
    lines += [line.format(n=n, m=n - 1) for n in range(1, levels)]
    return "\n".join(lines).encode()


BOMBS = {
    "aliases": _doubling("a{n}: &a{n} [*a{m}, *a{m}]", "[x]"),
    "merge keys": _doubling("a{n}: &a{n} {{<<: [*a{m}, *a{m}]}}", "{k: v}"),
    "flow nesting": b"[" * 100_000,
    "closed nesting": b"a: " + b"[" * 100_000 + b"]" * 100_000,
    "block nesting": b"\n".join(b" " * depth + b"a:" for depth in range(1_500)),
    "cycle": b"a: &a [*a]",
    "cycle of mappings": b"&a {b: *a}",
    "many nodes": b"a: [" + b"1, " * 300_000 + b"1]",
    "huge number": b"a: " + b"9" * 200_000,
    "huge hexadecimal": b"a: 0x" + b"f" * 200_000,
    "sexagesimal": b"a: " + b"1:" * 200_000 + b"1",
    "tagged number": b"a: !!int '" + b"1:" * 200_000 + b"1'",
    "impossible date": b"a: 2020-13-45",
    "python object": b"a: !!python/object/apply:os.system ['exit 1']",
    "unhashable key": b"? [a]\n: b",
}


def test_a_yaml_bomb_neither_hangs_nor_kills_nor_passes() -> None:
    """In a process of its own, which must survive: never green unless the bytes are equal."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from comparing.test_fields import BOMBS, compared\n"
        "for name, bomb in BOMBS.items():\n"
        "    other = compared(bomb, bomb + b'\\n#')\n"
        "    assert [str(item.state) for item in other] == ['mismatch'], (name, other)\n"
        "    assert len(repr(other)) < 100_000, name\n"
        "    assert compared(bomb, bomb) == [], name\n"
        "    print(name, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == list(BOMBS), done.stderr[-2_000:]
    assert done.returncode == 0


def test_a_large_difference_is_explained_at_its_place() -> None:
    """deepdiff is given the place where two large values part, not the values."""
    ours = {"flavors": {"env": [f"package-{n}" for n in range(100_000)]}}
    theirs = {"flavors": {"env": [*ours["flavors"]["env"][:50_000], "other", *ours["flavors"]["env"][50_001:]]}}
    explain = Explainer()
    began = time.monotonic()
    text = explain(Difference("MLmodel: flavors", State.MISMATCH, "run.artifacts.mlmodel", ours, theirs))
    assert "package-50000" in text
    assert "other" in text
    assert explain.calls == 1
    assert time.monotonic() - began < 30
    lone = explain(Difference("k", State.MISSING, "r", [str(n) for n in range(100_000)], None))
    assert "100000 items" in lone


# --- the table


def test_every_rule_says_when_why_and_where() -> None:
    """An expected difference has a condition; ids name their kind and facet's promise; digests follow the text."""
    for rule in contract.RULES:
        assert rule.id.startswith(f"{rule.kind}."), rule.id
        assert rule.reason.endswith("."), rule.id
        assert rule.holds_for
        assert rule.facet in contract.ROWS[rule.kind], rule.id
    assert len({rule.id for rule in contract.RULES}) == len(contract.RULES)
    without_condition = {rule.id for rule in contract.RULES if rule.treatment == "expected" and not rule.when}
    # no request can set them, whatever the tool
    assert without_condition == {"experiment.times.update", *(f"{kind}.times" for kind in KINDS if "times" in
                                 KINDS[kind].facets and kind != "trace")}  # fmt: skip
    assert len(contract.digest()) == 64


@pytest.mark.long(but=("imported",))
@pytest.mark.parametrize("make", [same_ids, imported, natural], ids=lambda make: str(make.__name__))
def test_each_promise_alone_reads_only_what_it_needs(tmp_path: Path, make: Callable[[Store], Store]) -> None:
    """One check selected: its facets are in the ledger and no others, and it is green on a good copy."""
    source = rich_store()
    target = make(source)
    for promise in PROMISES:
        done = audited(tmp_path / promise.name, source, target, [promise.name])
        if promise.kind in KINDS or promise.kind == SCOPE_KIND:
            # the store has none of them: nothing was compared, which is no green
            assert not done.result.green
            assert done.ledger.rows == []
            continue
        assert done.result.green, (promise.name, done.found)
        assert {(row.kind, row.facet) for row in done.ledger.rows} == {
            (promise.kind, facet) for facet in promise.facets
        }
        read = done.progress.counts["source"]
        assert bool(read["points"]) == ("metrics" in promise.facets)
        assert bool(read["artifacts"]) == ("artifacts" in promise.facets)


def test_the_time_of_reading_is_not_in_a_digest(tmp_path: Path) -> None:
    """Two audits of the same store give equal digests of both snapshots, in whatever order they were read."""
    source = rich_store()
    first = audited(tmp_path / "1", source, imported(source))
    second = audited(tmp_path / "2", source, imported(source), workers=1)
    for name in ("source", "target"):
        sides = [done.audit.sides[name].snapshot for done in (first, second)]
        assert sides[0].digest == sides[1].digest
        assert sides[0].created >= EPOCH / 1_000
