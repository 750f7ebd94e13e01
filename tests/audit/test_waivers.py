"""Waivers: what they cover, what they never cover, and that one without use or past its day is red."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from support.memory import Audited, Store, run_audit

from mlflow_parity.audit.waivers.waived_values import digest_of, is_told, is_value, told
from mlflow_parity.audit.waivers.waivers import Waiver, WaiverBook, load_waivers
from mlflow_parity.comparing import Difference
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.records import Experiment, Run
from mlflow_parity.core.verdict import Row, State

Alter = Callable[[Store], None]
DAY = date(2027, 1, 31)


def run(number: int, name: str, experiment: str = "1") -> Run:
    """A finished run with two params."""
    uri, params = f"mlflow-artifacts:/{experiment}/{number}", {"a": "1", "b": "2"}
    start, end, run_id = 1000 + number, 2000 + number, f"{number:032x}"
    return Run(run_id, experiment, name, "FINISHED", start, end, "ada", "active", uri, params, {}, {}, ())


def pair(*alter: Alter) -> tuple[Store, Store]:
    """Two equal stores, the second one altered; a name holds slashes and the signs of globs."""
    store = Store(
        [
            Experiment(str(n), name, "active", f"mlflow-artifacts:/{n}", 5, 6, {})
            for n, name in ((1, "a/b [c]"), (2, "d"))
        ],
        [run(1, "one"), run(2, "two"), run(3, "three", "2")],
    )
    target = copy.deepcopy(store)
    for change in alter:
        change(target)
    return store, target


def param(number: int, key: str, value: str | None) -> Alter:
    """Change (``None``: remove) a param of the run at ``number``."""

    def change(store: Store) -> None:
        params = dict(store.runs[number].params)
        params.pop(key, None)
        store.runs[number] = replace(store.runs[number], params=params if value is None else {**params, key: value})

    return change


def gone(number: int) -> Alter:
    """Remove a run."""

    def change(store: Store) -> None:
        del store.runs[number]

    return change


def entry(thing: str, facet: str, more: str = "", *, expires: str = "2099-01-01") -> str:
    """One entry of a file."""
    lines = ["[[waiver]]", f"object = {thing}", f'facet = "{facet}"', 'reason = "agreed"', 'owner = "Ada"']
    return "\n".join([*lines, f"expires = {expires}", more, ""])


def audited(tmp_path: Path, stores: tuple[Store, Store], text: str, **more: object) -> Audited:
    """Audit with a file of waivers."""
    file = tmp_path / "waivers.toml"
    file.write_text(text, encoding="utf-8")
    return run_audit(*stores, waivers=file, **more)  # type: ignore[arg-type]


ONE = '["a/b [[]c]", "run", "one"]'


@pytest.mark.parametrize("key", ["", 'key = "a"', 'key = "[a]"\nstate = "mismatch"'])
def test_a_waived_difference_is_green(tmp_path: Path, key: str) -> None:
    """The row says waived with reason and owner, the verdict is green, the waiver counts what it covers."""
    done = audited(tmp_path, pair(param(0, "a", "9")), entry(ONE, "params", key))
    assert done.result.green
    [row] = [row for row in done.rows if row.state is State.WAIVED]
    assert (row.name, row.facet, row.findings) == ("one", "params", 0)
    assert "agreed" in row.note
    assert "Ada" in row.note
    assert [(used.status, used.covered) for used in done.result.waivers] == [("used", 1)]
    assert done.found == set()


ONE_A, ONE_B, TWO_A = (
    ("one", "params", "a", "mismatch"),
    ("one", "params", "b", "missing"),
    ("two", "params", "a", "mismatch"),
)


@pytest.mark.parametrize(
    ("waiver", "left"),
    [
        (entry(ONE, "params", 'key = "a"'), {ONE_B, TWO_A}),
        (entry(ONE, "params", 'state = "mismatch"'), {ONE_B, TWO_A}),
        (entry('["*", "run", "t*"]', "params"), {ONE_A, ONE_B}),
        (entry('["*", "r?n", "*"]', "params", 'key = "b"'), {ONE_A, TWO_A}),
    ],
)
def test_only_what_it_covers(tmp_path: Path, waiver: str, left: set[tuple[str, str, str, str]]) -> None:
    """A row with one more difference stays red, and the report keeps just the differences that are not waived."""
    done = audited(tmp_path, pair(param(0, "a", "9"), param(0, "b", None), param(1, "a", "9")), waiver)
    assert not done.result.green
    assert done.found == left
    assert done.result.findings_total == len(left)
    assert not any(used.red for used in done.result.waivers)


@pytest.mark.parametrize(
    "waiver",
    [
        entry('["a/b [c]", "run", "one"]', "params"),  # [c] is a glob: it means one c
        entry('["A/B*", "run", "one"]', "params"),
        entry(ONE, "tags"),
        entry(ONE, "params", 'state = "missing"'),
        entry(ONE, "presence"),
    ],
)
def test_what_matches_nothing_is_red(tmp_path: Path, waiver: str) -> None:
    """The difference stays red and the waiver is named as unused; without any difference the verdict is red too."""
    for changes in ((param(0, "a", "9"),), ()):
        done = audited(tmp_path, pair(*changes), waiver)
        assert not done.result.green
        [used] = done.result.waivers
        assert used.status == "unused"
        assert "matches nothing" in used.problem
        assert len(done.found) == len(changes)


def test_an_expired_waiver_covers_nothing(tmp_path: Path) -> None:
    """It is red and named, whether or not there is something that it would cover."""
    for changes in ((param(0, "a", "9"),), ()):
        done = audited(tmp_path, pair(*changes), entry(ONE, "params", expires="2026-01-01"))
        assert not done.result.green
        [used] = done.result.waivers
        assert (used.status, used.covered) == ("expired", 0)
        assert "2026-01-01" in used.problem
        assert len(done.found) == len(changes)


def test_it_holds_on_its_last_day() -> None:
    """``expires`` is the last day on which it holds."""
    waiver = Waiver("*", "run", "*", "params", "*", None, "r", "o", DAY)
    row = Row("e", "run", "n", "1", "2", "params", State.MISMATCH, findings=1)
    outcome = Outcome(row, (Difference("a", State.MISMATCH, "run.params"),))
    assert WaiverBook([waiver], DAY).apply(outcome).row.state is State.WAIVED
    assert WaiverBook([waiver], date(2027, 2, 1)).apply(outcome) == outcome


def test_a_missing_run_is_waived_by_its_presence(tmp_path: Path) -> None:
    """Every facet of it goes with its presence; no waiver of another facet makes any of it green."""
    stores = pair(gone(1))
    done = audited(tmp_path, stores, entry('["a/b*", "run", "two"]', "presence"))
    assert done.result.green
    rows = [row for row in done.rows if row.name == "two"]
    assert len(rows) > 5
    assert {row.state for row in rows} == {State.WAIVED}
    done = audited(tmp_path, stores, entry('["a/b*", "run", "two"]', "params"))
    assert {row.state for row in done.rows if row.name == "two"} == {State.MISSING}
    assert [used.status for used in done.result.waivers] == ["unused"]
    # a check that looks at params only sees the missing run as well
    done = audited(tmp_path, stores, entry('["a/b*", "run", "two"]', "presence"), checks=["params"])
    assert done.result.green


def test_an_extra_run(tmp_path: Path) -> None:
    """A run that is on the target only can be waived, by state too."""
    stores = pair(lambda store: store.runs.append(run(9, "surplus")))
    assert audited(tmp_path, stores, entry('["*", "run", "surplus"]', "presence", 'state = "extra"')).result.green
    done = audited(tmp_path, stores, entry('["*", "run", "surplus"]', "presence", 'state = "missing"'))
    assert ("surplus", "presence", "", "extra") in done.found


@pytest.mark.parametrize("state", [State.UNVERIFIED, State.AMBIGUOUS, State.DUPLICATE])
def test_never_waived(state: State) -> None:
    """Not as a row, not as a difference beside one that is waived; and such a waiver is not called unused."""
    book = WaiverBook([Waiver("*", "*", "*", "presence", "*", None, "r", "o", DAY)], DAY)
    row = Row("e", "run", "n", "1", "2", "presence", state, findings=1)
    lone = Outcome(row, (Difference("", state, "run.presence"),))
    assert book.apply(lone) == lone
    book = WaiverBook([Waiver("*", "*", "*", "params", "*", None, "r", "o", DAY)], DAY)
    both = (Difference("a", State.MISMATCH, "run.params"), Difference("b", state, "run.params"))
    kept = book.apply(Outcome(replace(row, facet="params", state=State.MISMATCH, findings=2), both))
    assert not kept.row.state.green
    assert [difference.state for difference in kept.differences] == [State.WAIVED, state]
    assert kept.row.findings == 1


def test_a_mismatch_without_differences_stays() -> None:
    """Nothing to cover is nothing covered."""
    outcome = Outcome(Row("e", "run", "n", "1", "2", "params", State.MISMATCH))
    assert WaiverBook([Waiver("*", "*", "*", "params", "*", None, "r", "o", DAY)], DAY).apply(outcome) == outcome


@pytest.mark.parametrize("more", [{"checks": ["run_tags_and_note"]}, {"experiments": ("d",)}])
def test_out_of_scope_is_not_unused(tmp_path: Path, more: dict[str, object]) -> None:
    """What was not looked at neither matches nor fails."""
    done = audited(tmp_path, pair(param(0, "a", "9")), entry(ONE, "params"), **more)
    assert done.result.green
    assert [used.status for used in done.result.waivers] == ["not looked at"]


def test_in_a_narrow_scope_it_is_unused(tmp_path: Path) -> None:
    """All that the waiver speaks of was looked at, though not everything was."""
    waiver = entry('["d", "run", "three"]', "params")
    done = audited(tmp_path, pair(), waiver, experiments=("d",), checks=["params"])
    assert [used.status for used in done.result.waivers] == ["unused"]
    assert not done.result.green


BOUND = entry(ONE, "params", 'key = "a"\nvalues = [["1", "9"]]')


def test_a_bound_waiver_covers_its_values_alone(tmp_path: Path) -> None:
    """Another value later is red, and both the difference and the waiver say that it was drafted for other ones."""
    done = audited(tmp_path, pair(param(0, "a", "9")), BOUND)
    assert done.result.green
    [used] = done.result.waivers
    assert (used.covered, used.to_text()["values"]) == (1, "'1' → '9'")
    for change in (param(0, "a", "8"), param(0, "a", None)):
        done = audited(tmp_path, pair(change), BOUND)
        [found] = done.result.findings
        says = "the waiver of Ada until 2099-01-01 was drafted for other values"
        assert says in found.explanation
        [used] = done.result.waivers
        assert (used.status, used.covered) == ("unused", 0)
        assert "was drafted for other values: look at them" in used.problem
    # nothing differs any more
    [used] = audited(tmp_path, pair(), BOUND).result.waivers
    assert "matches nothing any more" in used.problem


def test_a_waiver_without_values_says_so(tmp_path: Path) -> None:
    """It covers any value, and the report says it of each such waiver."""
    for value in ("9", "8"):
        done = audited(tmp_path, pair(param(0, "a", value)), entry(ONE, "params"))
        assert done.result.green
        assert [used.to_text()["values"] for used in done.result.waivers] == ["any value"]
    done = audited(tmp_path, pair(gone(1)), entry('["a/b*", "run", "two"]', "presence"))
    assert [used.to_text()["values"] for used in done.result.waivers] == ["the object itself"]


@pytest.mark.parametrize(
    "value", ["", "9", "9" * 200, "9" * 201, "\x00\r\n", "sha256:" + "0" * 64, "\ud800", 0, 7, -(2**70), 1.5, True,
              None, float("nan"), {"b": [1, None], "a": "x"}, ("a", 1)],
)  # fmt: skip
def test_a_value_is_told_and_known_again(value: object) -> None:
    """Whatever it is, what a draft writes of it fits it and nothing else, and is not what a report would redact."""
    others = ["", "9", "9" * 199, "0", "7", "1.5", "True", "None", "false", 1, 0.0, False, None, {}, [], "sha256:"]
    entry = told(value, lambda text: text)
    assert is_told(entry)
    assert is_value(entry, value)
    assert not any(is_value(entry, one) for one in others if type(one) is not type(value) or one != value)
    hidden = told(value, lambda text: "[redacted]")
    assert is_value(hidden, value)
    assert not isinstance(value, str) or hidden == digest_of(value)


BAD = {
    entry(ONE, "params", 'values = "1"'): "list of pairs",
    entry(ONE, "params", "values = []"): "list of pairs",
    entry(ONE, "params", 'values = [["1"]]'): "holds pairs",
    entry(ONE, "params", 'values = [["1", true]]'): "holds pairs",
    entry(ONE, "params", 'values = [["1", 1.5]]'): "holds pairs",
    entry(ONE, "params", 'values = [["1", "2", 3]]'): "object's id",
    entry(ONE, "params", "values = [[false, false]]"): "no difference",
    entry(ONE, "presence", 'values = [["1", "2"]]'): "leave values out",
    "": "no [[waiver]]",
    "waiver = 3": "no [[waiver]]",
    "waiver = [3]": "not a table",
    "[[waiver]": "not TOML",
    "x = 1\n" + entry(ONE, "params"): "'x'",
    entry(ONE, "params").replace("reason", "raison"): "no 'reason'",
    entry(ONE, "params").replace('"agreed"', '" "'): "reason is empty",
    entry(ONE, "params").replace('"Ada"', '""'): "owner is empty",
    entry(ONE, "params").replace("expires = 2099-01-01", ""): "no 'expires'",
    entry(ONE, "params", expires='"2099-01-01"'): "not a day",
    entry(ONE, "params", expires="2099-01-01T00:00:00"): "not a day",
    entry('"a/run/b"', "params"): "list of three",
    entry('["a", "run"]', "params"): "list of three",
    entry(ONE, "parameters"): "no facet 'parameters'",
    entry('["a", "ruin", "b"]', "params"): "'ruin'",
    entry(ONE, "params", 'state = "unverified"'): "cannot be waived",
    entry(ONE, "params", 'state = "duplicate"'): "cannot be waived",
    entry(ONE, "params", 'state = ["mismatch"]'): "cannot be waived",
    entry(ONE, "params", "state = {a = 1}"): "cannot be waived",
    entry(ONE, "params", "key = 3"): "key is a text",
    entry(ONE, "params", 'colour = "red"'): "'colour'",
}


@pytest.mark.parametrize("text", BAD)
def test_a_malformed_file_is_one_line(tmp_path: Path, text: str) -> None:
    """It names the file, and the entry and what is wrong in it."""
    file = tmp_path / "waivers.toml"
    file.write_text(text)
    with pytest.raises(UsageProblem) as caught:
        load_waivers(str(file))
    assert BAD[text] in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    """A path that leads nowhere, or to bytes that are not text, is one line too."""
    with pytest.raises(UsageProblem, match="cannot be read"):
        load_waivers(str(tmp_path / "none"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageProblem, match="not TOML"):
        load_waivers(str(tmp_path / "bytes"))
