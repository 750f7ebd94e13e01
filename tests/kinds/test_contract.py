"""The contract is complete, every promise has its check, and what is expected is so for its reason only."""

from __future__ import annotations

import importlib
import inspect
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.contract_case import MLMODEL, source, target
from support.memory import Store, run_audit
from support.stores import imported, restored

from mlflow_parity.comparing import fields
from mlflow_parity.core.records import REPLACED_TAG, DatasetInput, MetricPoint
from mlflow_parity.kinds import SCOPE_FACETS, SCOPE_KIND
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.rules.check_registry import PROMISES

#: Ids never show as a difference: the pairing replaces them before anything is compared.
SILENT = {"experiment.id", "run.id"}
DEAD = "9" * 32

ROOT = Path(__file__).parents[2]


def with_dead_parent(store: Store) -> Store:
    """Let the second run hang on a run that is nowhere."""
    store.runs[1] = replace(store.runs[1], tags={**store.runs[1].tags, "mlflow.parentRunId": DEAD})
    return store


def replaced(store: Store, *, of: str = f"{1:032x}", stage: str = "deleted", tag: str = REPLACED_TAG) -> Store:
    """Leave in the trash a copy that a repair replaced."""
    store.runs.append(
        replace(store.runs[1], run_id="e" * 32, lifecycle_stage=stage, tags={tag: of}, metrics={}, params={"lr": "9"})
    )
    return store


@pytest.mark.parametrize(
    ("change", "state"),
    [({"stage": "active"}, "extra"), ({"of": DEAD}, "extra"), ({"tag": "replaced"}, "extra")],
    ids=["not deleted", "of no source run", "another tag"],
)
def test_only_a_replaced_copy_may_lie_in_the_trash(change: dict[str, str], state: str) -> None:
    """Deleted, and marked as the former copy of a run that has another one now: else it is an extra run."""
    audited = run_audit(source(), replaced(target(), **change))
    assert {(facet, found) for _, facet, _, found in audited.found} == {("presence", state)}


def _run(store: Store, **changes: object) -> None:
    store.runs[1] = replace(store.runs[1], **changes)  # type: ignore[arg-type]


def _tag(store: Store, key: str, value: str) -> None:
    _run(store, tags={**store.runs[1].tags, key: value})


#: A dataset input as file stores keep it, more than once.
INPUT = DatasetInput("customers", "d1", "local", "{}", "", "", (("mlflow.data.context", "training"),))


def renamed(store: Store, tag: str, *inputs: DatasetInput) -> Store:
    """Give the second run a tag that names it otherwise, and dataset inputs."""
    _tag(store, "mlflow.runName", tag)
    _run(store, inputs=inputs)
    return store


def renamed_copy(tag: str = "run-1", *, kept: str = "old name") -> Store:
    """Its copy: the tag is the name, and the source tag keeps what it was."""
    store = renamed(target(), tag, INPUT)
    _tag(store, "mlflow_exim.mlflow_tag.runName", kept)
    return store


@pytest.mark.parametrize(
    ("copy", "red"),
    [
        (renamed_copy(kept="another"), {("tags", "mlflow.runName"), ("source_tags", "mlflow_exim.mlflow_tag.runName")}),
        (renamed_copy("a third"), {("tags", "mlflow.runName")}),
        (renamed(renamed_copy(), "run-1"), {("inputs", "customers (training)")}),
        (renamed(renamed_copy(), "run-1", INPUT, INPUT, INPUT), {("inputs", "customers (training)")}),
        (renamed(renamed_copy(), "run-1", replace(INPUT, digest="d2")), {("inputs", "customers (training): digest"),
                                                                        ("inputs", "customers (training)")}),
    ],
    ids=["original not kept", "another name", "no input", "one more", "another input"],
)  # fmt: skip
def test_only_the_name_and_an_exact_repeat_are_excused(copy: Store, red: set[tuple[str, str]]) -> None:
    """The tag without its evidence, and an input that is not there once, are findings."""
    audited = run_audit(renamed(source(), "old name", INPUT, INPUT), copy)
    assert {(facet, key) for _, facet, key, _ in audited.found} == red


def evaluated(store: Store, dataset: str = "d-1", kind: str = "mlflow_evaluation_dataset") -> Store:
    """Let the second run have an evaluation dataset for an input."""
    _run(store, inputs=(replace(INPUT, source_type=kind, source=f'{{"dataset_id": "{dataset}"}}'),))
    return store


def test_an_evaluation_dataset_in_an_input_stays_the_same() -> None:
    """Another id than the one that was logged is a finding; of another type nothing is said."""
    audited = run_audit(evaluated(source()), evaluated(target(), "d-2"))
    assert {(facet, key) for _, facet, key, _ in audited.found} == {("inputs", "customers (training): source")}
    audited = run_audit(evaluated(source(), kind="local"), evaluated(target(), kind="local"))
    assert not any("run.inputs.evaluation-dataset" in row.rules for row in audited.rows)


def tied(store: Store, latest: float) -> Store:
    """Of two points of one step and time, one of which is NaN, this one is told as the latest."""
    store.points[store.runs[1].run_id, "tied"] = ((3, 1, math.nan), (3, 1, 1.0))
    _run(store, metrics={**store.runs[1].metrics, "tied": MetricPoint(3, 1, latest)})
    return store


def moved_before(store: Store) -> Store:
    """A source that the tool has moved before, and the move before that kept its own source tags."""
    earlier = {"mlflow_exim.hop1.field.name": "first", "mlflow_exim.field.name": "second"}
    run = {"mlflow_exim.hop1.run_info.run_id": "5" * 32, "mlflow_exim.run_info.run_id": "6" * 32,
           "mlflow_exim.mlflow_tag.user": "eve", "mlflow_exim.run_info._end_time": "noon"}  # fmt: skip
    item = store.experiments[1]
    store.experiments[1] = replace(item, tags={**item.tags, **earlier})
    store.runs[1] = replace(store.runs[1], tags={**store.runs[1].tags, **run})
    store.files.clear()
    return store


@pytest.mark.parametrize("side", ["experiments", "runs"])
@pytest.mark.parametrize("hop", ["", "hop1."])
def test_what_the_tool_does_not_write_over_of_earlier_hops_is_no_loss_of_its(side: str, hop: str) -> None:
    """The tool writes over what has the names of its own tags; all else it copies, so that what lacks was lost."""
    original, copy = moved_before(source()), imported(moved_before(source()))
    key = f"mlflow_exim.{hop}" + {"experiments": "field.of_a_newer_client", "runs": "run_info.of_a_newer_client"}[side]
    items: list[Any] = getattr(original, side)
    items[1] = replace(items[1], tags={**items[1].tags, key: "x"})
    found = run_audit(original, copy).found
    assert {(facet, name, state) for _, facet, name, state in found} == {("source_tags", key, "missing")}
    copies: list[Any] = getattr(copy, side)
    copies[1] = replace(copies[1], tags={**copies[1].tags, key: "x"})
    assert run_audit(original, copy).found == set()


#: An image as log_image names it, before MLflow 3.11 and since.
OLD_IMAGE = "images/loss%step%20%timestamp%1712345678901%0a9d6313-188b-4c74-b0eb-578967659d2a.png"
NEW_IMAGE = OLD_IMAGE.replace("%", "+")


def imaged(store: Store, *paths: str, content: bytes = b"image") -> Store:
    """Let the second run have images."""
    for path in paths:
        store.files[store.runs[1].run_id, path] = content
    return store


@pytest.mark.parametrize(
    ("copy", "red"),
    [
        (imaged(target()), {(OLD_IMAGE, "missing")}),
        (imaged(target(), NEW_IMAGE, content=b"other"), {(OLD_IMAGE, "mismatch")}),
        (imaged(target(), OLD_IMAGE, NEW_IMAGE), {(NEW_IMAGE, "extra")}),
        (imaged(target(), NEW_IMAGE.replace("+20+", "+2+")),
         {(OLD_IMAGE, "missing"), (NEW_IMAGE.replace("+20+", "+2+"), "extra")}),
    ],
    ids=["no image", "another image", "both names", "another step"],
)  # fmt: skip
def test_an_image_has_its_newer_name_and_no_other(copy: Store, red: set[tuple[str, str]]) -> None:
    """Only the same bytes under exactly the newer name are the copy."""
    audited = run_audit(imaged(source(), OLD_IMAGE), copy)
    assert {(key, state) for _, _, key, state in audited.found} == red


def used(source_store: Store, target_store: Store) -> set[str]:
    """Audit, insist on green, and return the rules that let something differ."""
    audited = run_audit(source_store, target_store)
    assert audited.found == set()
    assert audited.result.green
    return {rule for row in audited.rows for rule in row.rules}


def test_every_expected_rule_has_its_case() -> None:
    """Each rule that lets something differ does so in one of these good migrations, and no other rule does."""
    rules = used(source(), target())
    dead = with_dead_parent(target())
    dead.runs[1].tags["mlflow_exim.mlflow_tag.parentRunId"] = DEAD  # type: ignore[index]
    rules |= used(with_dead_parent(source()), dead)
    rules |= used(restored(source()), restored(source()))

    lone = source()
    lone.experiments = [item for item in lone.experiments if item.name != "Default"]
    rules |= used(lone, target())

    # an experiment made by hand: the namesake without source tags, its runs by the tool
    audited = run_audit(source(), _by_hand(target()))
    rules |= {rule for row in audited.rows for rule in row.rules}
    assert {(facet, state) for _, facet, _, state in audited.found} == {("source_tags", "missing")}

    rules |= used(source(), replaced(target()))
    rules |= used(renamed(source(), "old name", INPUT, INPUT), renamed_copy())

    rules |= used(evaluated(source()), evaluated(target()))
    rules |= used(imaged(source(), OLD_IMAGE), imaged(target(), NEW_IMAGE))

    rules |= used(moved_before(source()), imported(moved_before(source())))
    rules |= used(tied(source(), math.nan), tied(target(), 1.0))

    # those of the other kinds, and of links to them, have their cases in test_objects
    own = [rule for rule in contract.RULES if rule.kind in ("experiment", "run") and "model_" not in rule.facet]
    # and those of same-store in test_profiles; only live servers answer searches, in comparing/test_usable
    own = [rule for rule in own if rule.facet != "usable"]
    expected = {rule.id for rule in own if rule.treatment == "expected" and "export-import" in rule.profiles}
    paired_as_yaml = {"run.artifacts.mlmodel"}
    assert rules == (expected | paired_as_yaml) - SILENT


def _by_hand(store: Store) -> Store:
    store.experiments = [
        replace(item, tags={k: v for k, v in item.tags.items() if not k.startswith("mlflow_exim.")})
        for item in store.experiments
    ]
    return store


def _model(store: Store, content: bytes) -> None:
    store.files[store.runs[1].run_id, "model/MLmodel"] = content


def _loss(store: Store, *points: tuple[int, int, float]) -> None:
    store.points[store.runs[1].run_id, "loss"] = points


#: What breaks the condition of a rule → the finding (facet, key).
BROKEN: dict[str, tuple[Callable[[Store], None], tuple[str, str]]] = {
    "run.times.start": (lambda s: _tag(s, "mlflow_exim.run_info.start_time", "1"), ("times", "start_time")),
    "run.times.end": (lambda s: _tag(s, "mlflow_exim.run_info.end_time", "None"), ("times", "end_time")),
    "run.user.import": (lambda s: _tag(s, "mlflow_exim.mlflow_tag.user", "eve"), ("user", "mlflow.user")),
    "run.name.generated": (lambda s: _run(s, name="witty-fish-2"), ("name", "run_name")),
    "run.metrics.infinity": (
        lambda s: _loss(s, (0, 1, 1.7976931348623155e308), (1, 1, 0.0), (2, 1, 2.0)),
        ("metrics", "loss"),
    ),
    "run.metrics.infinity sign": (
        lambda s: _loss(s, (0, 1, -1.7976931348623157e308), (1, 1, 0.0), (2, 1, 2.0)),
        ("metrics", "loss"),
    ),
    "run.metrics.negative-zero": (
        lambda s: _loss(s, (0, 1, 1.7976931348623157e308), (1, 1, 5e-324), (2, 1, 2.0)),
        ("metrics", "loss"),
    ),
    "run.metrics.repeated": (
        lambda s: _loss(s, (0, 1, 1.7976931348623157e308), (1, 1, 0.0), (2, 1, 2.0), (2, 1, 2.0), (2, 1, 2.0)),
        ("metrics", "loss"),
    ),
    "mlmodel of the source's run": (
        lambda s: _model(s, MLMODEL % (b"%032x" % 1)),
        ("artifacts", "model/MLmodel: run_id"),
    ),
    "mlmodel with another flavor": (
        lambda s: _model(s, (MLMODEL % s.runs[1].run_id.encode()).replace(b"loader_module: x", b"loader_module: y")),
        ("artifacts", "model/MLmodel: flavors"),
    ),
    "mlmodel without its model id": (
        lambda s: _model(s, (MLMODEL % s.runs[1].run_id.encode()).replace(b"model_uuid: u1\n", b"")),
        ("artifacts", "model/MLmodel: model_uuid"),
    ),
    "mlmodel with a model id that stands for two": (
        lambda s: _model(s, (MLMODEL % s.runs[1].run_id.encode()).replace(b"model_uuid: u1\n", b"model_uuid: u2\n")),
        ("artifacts", "model/MLmodel: model_uuid"),
    ),
    "mlmodel that is no YAML": (lambda s: _model(s, b"{{{"), ("artifacts", "model/MLmodel")),
    "artifacts in the source's place": (
        lambda s: _run(s, artifact_uri=f"mlflow-artifacts:/1/{1:032x}/artifacts"),
        ("artifact_uri", "artifact_uri"),
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_condition_is_red(rule: str) -> None:
    """Where the condition of a rule does not hold, the same difference is a finding."""
    store = target()
    BROKEN[rule][0](store)
    audited = run_audit(source(), store)
    found = {(facet, key) for name, facet, key, _ in audited.found if facet != "source_tags"}
    assert BROKEN[rule][1] in found
    assert {name for name, _, _, _ in audited.found} <= {"run-1", "witty-fish-2"}


def test_a_parent_that_is_not_dead_is_not_excused() -> None:
    """The dangling rule does not hold for a parent that has a copy: the source's id is wrong there."""
    original, copied = source(), target()
    for store in (original, copied):
        _tag(store, "mlflow.parentRunId", original.runs[0].run_id)
    _tag(copied, "mlflow_exim.mlflow_tag.parentRunId", original.runs[0].run_id)
    assert run_audit(original, copied).found == {("run-1", "parent", "mlflow.parentRunId", "mismatch")}


def test_a_yaml_bomb_ends_and_is_not_green() -> None:
    """Aliases that multiply are not walked to the end; other bytes are a mismatch, whatever they would mean."""
    bomb = b"a: &a [1,1,1,1,1,1,1,1,1]\n"
    for letter, before in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{letter}: &{letter} [{', '.join([f'*{before}'] * 9)}]\n".encode()
    original, copied = source(), target()
    _model(original, bomb)
    _model(copied, bomb + b"# altered\n")
    assert run_audit(original, copied).found == {("run-1", "artifacts", "model/MLmodel", "mismatch")}


def test_every_facet_has_rules_and_one_promise() -> None:
    """Each facet is in the contract, and exactly one check answers for it."""
    for kind, facets in (("experiment", contract.EXPERIMENT_FACETS), ("run", contract.RUN_FACETS)):
        promised = Counter(facet for promise in PROMISES if promise.kind == kind for facet in promise.facets)
        assert promised == Counter(facets)
        assert {rule.facet for rule in contract.RULES if rule.kind == kind} >= set(facets)
    assert len(contract.BY_ID) == len(contract.RULES)


def test_every_promise_has_its_check() -> None:
    """``checks/`` holds one function per promise, of its name, with a sentence that is its own; and no other.

    A promise without a check would be read and judged, and no test would be red.
    """
    found: dict[str, str] = {}
    for file in sorted((ROOT / "checks").glob("test_*.py")):
        loaded = importlib.import_module(f"checks.{file.stem}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            if name.startswith("test_"):
                assert name not in found, name
                assert "parity_audited.keeps()" in inspect.getsource(function)
                found[name] = inspect.getdoc(function) or ""
    assert set(found) == {f"test_{promise.name}" for promise in PROMISES}
    assert all(text.endswith(".") and "\n" not in text for text in found.values())


def test_no_facet_is_without_a_check() -> None:
    """A facet of any kind that no check answers for would be compared, and no test would say so."""
    claimed = Counter((promise.kind, facet) for promise in PROMISES for facet in promise.facets)
    facets = {**contract.FACETS, SCOPE_KIND: SCOPE_FACETS}
    assert claimed == Counter((kind, facet) for kind, own in facets.items() for facet in own)


def test_every_rule_that_comparing_names_is_in_the_contract() -> None:
    """No finding can name a rule that nobody can look up."""
    import re

    folder = Path(inspect.getfile(fields)).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    named = set(re.findall(r'"((?:run|experiment)\.[a-z_.-]+)"', text))
    assert named
    assert named <= set(contract.BY_ID)
