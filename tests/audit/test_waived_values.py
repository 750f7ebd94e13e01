"""A waiver's values bind all that differs, not what is shown of it: another loss later is red."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.memory import MemoryReader, Store, run_audit
from support.records import COPY, RUN, a_copy, a_run

from mlflow_parity.audit.paired.usable import _Judge
from mlflow_parity.audit.recording import Recorder
from mlflow_parity.audit.result import Result
from mlflow_parity.audit.test_items import Item
from mlflow_parity.audit.waivers.waivers import Waiver, WaiverBook, load_waivers, waivable
from mlflow_parity.comparing.difference import Difference, Outcome, compare_json, facet_state, outcome
from mlflow_parity.comparing.file_evidence import FileEvidence
from mlflow_parity.comparing.histories import compare_histories
from mlflow_parity.comparing.registry_fields import compare_access
from mlflow_parity.comparing.trees import ModelIds, compare_mlmodel
from mlflow_parity.core.identity.digests import series_digest
from mlflow_parity.core.identity.keys import HistoryKey
from mlflow_parity.core.records import Artifact, ArtifactTree, Experiment, MetricPoint, Run
from mlflow_parity.core.verdict import Finding, Row, State
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.reading.asking import Answer, Question
from mlflow_parity.reporting.kept.waiver_drafts import draft

ITEM = Item("e", "e", "1", surplus=False)
Found = list[Difference]


class _Rows:
    def add(self, row: Row) -> None:
        """Keep nothing."""


def recorded(facet: str, found: Sequence[Difference], kind: str = "run") -> list[Finding]:
    """What a report keeps of differences."""
    result = Result(Selection((), ()))
    recorder = Recorder(result, _Rows(), WaiverBook(), 1_000, str)
    recorder.outcome(ITEM, _outcome(kind, facet, found))
    return result.findings


def _outcome(kind: str, facet: str, found: Sequence[Difference]) -> Outcome:
    return outcome(Row("e", kind, "r", RUN, COPY, facet, facet_state(found)), found)


def waivers(folder: Path, findings: Sequence[Finding]) -> tuple[Waiver, ...]:
    """Draft for findings, fill in who answers for it, and read the file."""
    told = [{**asdict(one), "state": one.state.value, "bound": list(one.bound)} for one in findings]
    text = draft({"findings": told, "findings_total": len(told), "created": "now"})
    file = folder / "waivers.toml"
    file.write_text(text.replace('reason = ""', 'reason = "x"').replace('owner = ""', 'owner = "Ada"'), "utf-8")
    return load_waivers(str(file)).waivers


def _text(first: str, second: str) -> Found:
    def file(text: str) -> Artifact:
        content = text.encode()
        return Artifact("notes.txt", len(content), hashlib.sha256(content).hexdigest(), content)

    return FileEvidence("sha256").compare(file(first), file(second), "run.artifacts")


def _mlmodel(first: bytes, second: bytes) -> Found:
    return compare_mlmodel("m/MLmodel", first, second, a_run(), a_copy(), {}, ModelIds())


def _search(about: Any, lost: str, more: str = "") -> Found:
    """Each letter is a run or an image that only one side finds."""
    pairs = {"run": {one: one.upper() for one in "abcdefgh"}}
    ours, theirs = ("h" + lost, "h" + more) if about == "image" else ("h" + lost, ("h" + more).upper())
    judge = _Judge(None, "experiment.usable", "c", pairs)  # type: ignore[arg-type]  # of spans alone it is asked
    return judge(Question(about, "a search"), Answer(tuple(ours)), Answer(tuple(theirs)))


HEAD = "".join(f"line {number}\n" for number in range(200))
KEYS = {f"k{number:03}": number for number in range(400)}
#: Facet, what was accepted, and what came later that looks the same in a report.
CASES: dict[str, tuple[str, str, Found, Found]] = {
    "text, further down": ("run", "artifacts", _text(HEAD + "typo", HEAD + "tpyo"), _text(HEAD + "all the rest", HEAD)),
    "text, ends of lines": ("run", "artifacts", _text("a\nb\n", "a\nb"), _text("a\nb\n", "a\r\nb")),
    "MLmodel, no YAML": ("run", "artifacts", _mlmodel(b"a: [1, 2", b"a: [1, 3"), _mlmodel(b"a: [1, 2", b"a: [[[[[")),
    "many keys": (
        "trace",
        "spans",
        compare_json("s", KEYS, {key: value if value > 210 else -1 for key, value in KEYS.items()}, "trace.spans"),
        compare_json("s", KEYS, dict.fromkeys(KEYS, -1), "trace.spans"),
    ),
    "a list within": (
        "trace",
        "spans",
        compare_json("s", {"a": [*range(300)], "b": 1}, {"a": [-1] * 300, "b": 1}, "trace.spans"),
        compare_json("s", {"a": [*range(300)], "b": 1}, {"a": [-1] * 300, "b": 2}, "trace.spans"),
    ),
    "not found": ("experiment", "usable", _search("run", "ab"), _search("run", "cd")),
    "found alone": ("experiment", "usable", _search("run", "", "ab"), _search("run", "", "cd")),
    "images": ("experiment", "usable", _search("image", "ab"), _search("image", "cd")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_shown_is_bound(tmp_path: Path, case: str) -> None:
    """A draft covers what it was drafted for, and not what only looks like it."""
    kind, facet, first, later = CASES[case]
    book = WaiverBook(waivers(tmp_path, recorded(facet, first, kind)))
    assert book.apply(_outcome(kind, facet, first)).row.state.value == "waived"
    assert book.apply(_outcome(kind, facet, later)).row.state.value == "mismatch"


def _tree(content: bytes | None) -> ArtifactTree:
    told = None if content is None else hashlib.sha256(content).hexdigest()
    return ArtifactTree("1", () if content is None else (Artifact("MLmodel", len(content), told, content),))


def test_a_draft_for_a_version_that_cannot_be_used(tmp_path: Path) -> None:
    """It is bound to the file that is not there, or to the one that is no model."""
    for first, later in (
        ((b"a: 1", None), (b"a: 2", None)),
        ((b"a: 1", b"a: [1"), (b"a: 1", b"a: [2")),
        ((b"a: 1", b"- a"), (b"a: 1", b"- b")),
    ):
        found, other = (compare_access(*map(_tree, both)) for both in (first, later))
        book = WaiverBook(waivers(tmp_path, recorded("access", found, "model_version")))
        assert book.apply(_outcome("model_version", "access", found)).row.state.value == "waived"
        assert book.apply(_outcome("model_version", "access", other)).row.state.value == "mismatch"


VALUES: list[Any] = [
    (None, None),
    (None, None, "why"),
    (1, None),
    (None, "x"),
    ("", ""),
    ({"a": None}, [1.5]),
    (True, False),
]


@pytest.mark.parametrize(
    ("kind", "facet"), [(kind, facet) for kind, facets in contract.ROWS.items() for facet in facets]
)
def test_every_draft_loads_and_covers_what_it_is_for(tmp_path: Path, kind: str, facet: str) -> None:
    """Whatever differs, with values or without: the file that is drafted is one that an audit takes."""
    states = sorted(waivable(kind) - ({State.MISMATCH} if facet == "presence" else set()))
    found = [
        Difference(f"{state.value} {number}" if facet != "presence" else "", state, "r", *told)
        for state in states
        for number, told in enumerate(VALUES)
    ]
    book = WaiverBook(waivers(tmp_path, recorded(facet, found, kind)))
    if facet != "presence":
        assert book.apply(_outcome(kind, facet, found)).row.state.value == "waived"


def test_a_second_draft_is_bound_as_the_first(tmp_path: Path) -> None:
    """What an audit says of a waiver for other values is no part of what the next draft is bound to."""
    first, later = (_outcome("model_version", "loads", [Difference("", State.MISMATCH, "r", note=one)]) for one in "ab")
    book = WaiverBook(waivers(tmp_path, recorded("loads", first.differences, "model_version")))
    told = book.apply(later)
    assert told.row.state.value == "mismatch"
    again = WaiverBook(waivers(tmp_path, recorded("loads", told.differences, "model_version")))
    assert again.apply(later).row.state.value == "waived"


def test_what_is_shown_whole_is_bound_as_it_is() -> None:
    """Files of waivers that were drafted before there were digests hold as they did."""
    for found in (_text("a\nb", "a\nc\n"), compare_json("", {"a": 1}, {"a": 2, "b": 3}, "r")):
        assert all(one.binding == (one.source, one.target) for one in found)
    store = _store({"acc": [(step, step, 1.0) for step in range(20)]})
    [one] = _histories(store, _store({"acc": [(step, step, 2.0) for step in range(20)]}))
    assert one.binding == (one.source, one.target)


def test_exactly_as_many_as_are_named() -> None:
    """Two hundred differences are named each; of more the last place stands for the rest."""
    few = {key: value for key, value in KEYS.items() if value < 200}
    found = compare_json("s", KEYS, {**KEYS, **dict.fromkeys(few, -1)}, "r")
    assert (len(found), found[-1].key, found[-1].bound) == (200, "s: k199", None)
    found = compare_json("s", KEYS, dict.fromkeys(KEYS, -1), "r")
    assert (len(found), found[-1].key) == (200, "s (others)")
    assert "more than 200" in recorded("spans", found, "trace")[-1].explanation


def _store(metrics: dict[str, Any]) -> Store:
    """An experiment with a run that has these histories."""
    latest = {}
    for key, points in metrics.items():
        latest[key] = MetricPoint(*max(points))
    run = Run("1" * 32, "1", "r", "FINISHED", 1, 2, "ada", "active", "mlflow-artifacts:/1/r", {}, {}, latest, ())
    store = Store([Experiment("1", "e", "active", "mlflow-artifacts:/1", 5, 6, {})], [run])
    store.points = {(run.run_id, key): tuple(points) for key, points in metrics.items()}
    return store


def _histories(*stores: Store) -> Found:
    """Compare the histories of two stores."""

    class View:
        def __init__(self, store: Store) -> None:
            [batch] = MemoryReader(store, None, 0).histories(store.runs)  # type: ignore[arg-type]
            self.series = {series.key: series for series in batch}

        def histories(self, run_id: str) -> dict[str, HistoryKey]:
            return {key: HistoryKey(len(one.values), series_digest(one)) for key, one in self.series.items()}

        def points(self, run_id: str, key: str) -> Any:
            return self.series[key]

    first, second = stores
    return compare_histories(View(first), View(second), first.runs[0], second.runs[0])


MANY = [(step, step, 1.0) for step in range(600)]
LAST = [(9_999, 9_999, 1.0)]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (({"m": MANY + LAST}, {"m": MANY[25:] + LAST}), ({"m": MANY + LAST}, {"m": MANY[500:] + LAST})),
        (({"m": MANY + LAST}, {"m": MANY[25:] + LAST}), ({"m": MANY + LAST}, {"m": MANY[25:-1] + LAST})),
        (({"m": LAST, "n": MANY}, {"m": LAST}), ({"m": LAST, "n": [(s, t, 2.0) for s, t, _ in MANY]}, {"m": LAST})),
        (({"m": LAST}, {"m": LAST, "n": MANY}), ({"m": LAST}, {"m": LAST, "n": [(s, t, 2.0) for s, t, _ in MANY]})),
    ],
    ids=["points", "one of many", "missing", "extra"],
)
def test_points_that_are_lost_later_are_red(tmp_path: Path, first: Any, later: Any) -> None:
    """In a whole audit: what is lost of a metric beside the points that are shown, or in a metric of as many points."""
    done = run_audit(*map(_store, first))
    assert not done.result.green
    waivers(tmp_path, done.result.findings)
    again = run_audit(*map(_store, copy.deepcopy(first)), waivers=tmp_path / "waivers.toml")
    assert again.result.green, again.found
    red = run_audit(*map(_store, later), waivers=tmp_path / "waivers.toml")
    assert not red.result.green
    assert any("drafted for other values" in one.explanation for one in red.result.findings)
