"""What cannot be read is never green, what was misread is settled, and the cost is paid for suspects only."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.memory_store import (
    LOCATIONS,
    Audited,
    MemoryReader,
    Rows,
    Store,
    audited,
    experiment,
    failed_series,
    imported,
    natural,
    rich_store,
    run_id,
    same_ids,
    settings,
)

from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.side import Side
from mlflow_parity.core.errors import ReadError, RequestRefused, TransportError, UsageProblem
from mlflow_parity.core.records import Artifact, ArtifactTree, Experiment, Run, Series
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import OPTIONAL
from mlflow_parity.kinds.rules.contract import EXPERIMENT_FACETS, RUN_FACETS
from mlflow_parity.reading.transport.auth import SideName


def readers(source: Store, target: Store, side: SideName, **options: Any) -> tuple[MemoryReader, MemoryReader]:
    """Return a reader of each side; ``options`` are for one of them."""
    made: dict[SideName, Store] = {"source": source, "target": target}
    first, second = (
        MemoryReader(LOCATIONS[name], store, **(options if name == side else {})) for name, store in made.items()
    )
    return first, second


# --- what cannot be read


def _series(record: Any, error: str = "HTTP 503") -> Any:
    if isinstance(record, Series) and (record.run_id, record.key) == (run_id(11), "loss"):
        return failed_series(record.run_id, record.key, error)
    return record


def _no_series(record: Any) -> Any:
    hit = isinstance(record, Series) and (record.run_id, record.key) == (run_id(11), "loss")
    return None if hit else record


def _tree(record: Any) -> Any:
    hit = isinstance(record, ArtifactTree) and record.run_id == run_id(11)
    return ArtifactTree(run_id(11), (), "HTTP 503") if hit else record


def _no_tree(record: Any) -> Any:
    hit = isinstance(record, ArtifactTree) and record.run_id == run_id(11)
    return None if hit else record


def _file(record: Any) -> Any:
    if isinstance(record, ArtifactTree) and record.run_id == run_id(11):
        files = [
            replace(file, sha256=None, error="HTTP 503") if file.path == "notes.txt" else file for file in record.files
        ]
        return replace(record, files=tuple(files))
    return record


def _unhashed(record: Any) -> Any:
    hit = isinstance(record, Artifact) and record.path == "notes.txt"
    return replace(record, sha256=None) if hit else record


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    ("spoil", "facet", "key", "says"),
    [
        (_series, "metrics", "loss", "HTTP 503"),
        (_no_series, "metrics", "loss", "not read"),
        (_tree, "artifacts", "", "HTTP 503"),
        (_no_tree, "artifacts", "", "not in the snapshot"),
        (_file, "artifacts", "notes.txt", "HTTP 503"),
    ],
)
def test_a_piece_that_cannot_be_read_is_unverified(
    tmp_path: Path, side: SideName, spoil: Callable[[Any], Any], facet: str, key: str, says: str
) -> None:
    """One history, tree or file of one run: that run's facet is unverified, with side and reason; all else is green."""
    store = rich_store()
    done = audited(tmp_path, *readers(store, same_ids(store), side, spoil=spoil))
    assert not done.result.green
    assert done.found == {(facet, key, "unverified", "run-11")}
    [finding] = done.result.findings
    assert says in finding.explanation
    if facet == "metrics" or says == "HTTP 503":
        assert f"the {side}'s" in finding.explanation
    assert [(row.facet, row.source_id) for row in done.ledger.red] == [(facet, run_id(11))]
    assert done.result.explained == 0


def test_a_file_without_hash_on_one_side_is_unverified(tmp_path: Path) -> None:
    """Equal sizes are no proof where hashes were asked for."""
    store = rich_store()
    done = audited(tmp_path, *readers(store, same_ids(store), "target", spoil=_unhashed))
    assert {item[:3] for item in done.found} == {("artifacts", "notes.txt", "unverified")}


def test_an_unreadable_piece_hides_no_difference(tmp_path: Path) -> None:
    """A run with an unread history and a lost param has both findings; the facets are judged apart."""
    store = rich_store()
    target = same_ids(store)
    target.runs[run_id(11)].params.pop("lr")
    target.runs[run_id(11)].metrics["acc"].pop()
    done = audited(tmp_path, *readers(store, target, "target", spoil=_series))
    assert done.found == {
        ("params", "lr", "missing", "run-11"),
        ("metrics", "loss", "unverified", "run-11"),
        ("metrics", "acc", "mismatch", "run-11"),
    }
    # the worse of the two is the state of the facet
    assert done.states("metrics")[State.MISMATCH] == 1


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("method", ["runs", "page"])
@pytest.mark.parametrize("error", [TransportError("reset"), RequestRefused("HTTP 500", status=500)])
def test_an_experiment_whose_runs_cannot_be_listed_is_unverified(
    tmp_path: Path, side: SideName, method: str, error: ReadError
) -> None:
    """All its run facets, with the reason; the other experiment is judged, and nothing is called missing."""
    store = rich_store()

    def before(called: str, subject: str) -> None:
        if (called, subject) == (method, "1"):
            raise error

    done = audited(tmp_path, *readers(store, same_ids(store), side, before=before))
    assert not done.result.green
    assert {(item.experiment, str(item.state)) for item in done.result.findings} == {("fraud/gbm", "unverified")}
    assert {item.facet for item in done.result.findings} == set(RUN_FACETS)
    assert all(f"the {side}'s runs could not be read: {error}" in item.explanation for item in done.result.findings)
    assert {row.state for row in done.ledger.rows if row.experiment != "fraud/gbm"} <= {State.MATCH, State.EXPECTED}
    assert any("could not be read again" in note for note in done.result.notes)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_list_of_experiments_that_cannot_be_read_ends_the_audit(tmp_path: Path, side: SideName) -> None:
    """Without an inventory there is nothing to judge: an error, never an empty success."""

    def before(called: str, _: str) -> None:
        if called == "experiments":
            raise TransportError("no route to host")

    with pytest.raises(ReadError, match="no route to host"):
        audited(tmp_path, *readers(rich_store(), rich_store(), side, before=before))


def test_a_default_whose_runs_cannot_be_listed_is_unverified(tmp_path: Path) -> None:
    """An unreadable Default is not taken for the empty one that every server makes."""
    store = rich_store()
    target = same_ids(store)
    target.experiments["0"] = experiment(0, "Default")

    def before(called: str, subject: str) -> None:
        if (called, subject) == ("runs", "0"):
            raise TransportError("reset")

    done = audited(tmp_path, *readers(store, target, "target", before=before))
    [finding] = done.result.findings
    assert (finding.name, finding.state) == ("Default", State.UNVERIFIED)
    assert "unknown runs" in finding.explanation


@pytest.mark.parametrize("empty", ["experiments", "runs", "deleted"])
def test_an_empty_source_proves_nothing(tmp_path: Path, empty: str) -> None:
    """No experiment, no run, or only deleted ones out of scope: refused in one line."""
    store = rich_store()
    target = imported(store)
    if empty == "experiments":
        store.experiments, store.runs = {}, {}
    elif empty == "runs":
        store.runs = {}
    else:
        for run in store.runs.values():
            run.lifecycle_stage = "deleted"
    with pytest.raises(UsageProblem, match="an empty source proves") as raised:
        audited(tmp_path, store, target, include_deleted=False)
    assert len(str(raised.value).splitlines()) == 1


def test_an_empty_target_is_red(tmp_path: Path) -> None:
    """Everything is missing, experiment by experiment and run by run."""
    done = audited(tmp_path, rich_store(), Store())
    assert done.states("presence", "experiment") == {State.MISSING: 2}
    assert done.states("presence") == {State.MISSING: 6}
    assert set(done.result.totals) == {State.MISSING}


# --- the second look


def _at_first(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Deliver a changed record the first time that ``change`` changes one, the truth from then on."""
    told: set[str] = set()

    def spoil(record: Any) -> Any:
        changed = change(record)
        name = f"{type(record).__name__} {getattr(record, 'run_id', '')} {getattr(record, 'key', '')}"
        if changed is record or name in told:
            return record
        told.add(name)
        return changed

    return spoil


def _run(**changes: Any) -> Callable[[Any], Any]:
    def change(record: Any) -> Any:
        return replace(record, **changes) if isinstance(record, Run) and record.run_id == run_id(11) else record

    return change


def _experiment_tag(record: Any) -> Any:
    return replace(record, tags={}) if isinstance(record, Experiment) and record.name == "fraud/gbm" else record


def _short_history(record: Any) -> Any:
    if isinstance(record, Series) and (record.run_id, record.key) == (run_id(11), "loss"):
        return replace(record, steps=record.steps[1:], timestamps=record.timestamps[1:], values=record.values[1:])
    return record


def _fewer_metrics(record: Any) -> Any:
    return _run(metrics={})(record)


def _empty_tree(record: Any) -> Any:
    hit = isinstance(record, ArtifactTree) and record.run_id == run_id(11)
    return replace(record, files=()) if hit else record


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    "wrong",
    [
        _run(status="RUNNING"),
        _run(params={}),
        _run(end_time=None),
        _run(inputs=()),
        _run(lifecycle_stage="deleted"),
        _fewer_metrics,
        _short_history,
        _series,
        _empty_tree,
        _tree,
        _file,
        _experiment_tag,
    ],
    ids=lambda wrong: str(getattr(wrong, "__name__", wrong)),
)
def test_a_wrong_answer_that_is_right_the_second_time_is_no_finding(
    tmp_path: Path, side: SideName, wrong: Callable[[Any], Any]
) -> None:
    """Eventual consistency or a live source: what is gone at the second look is settled, and counted."""
    store = rich_store()
    done = audited(tmp_path, *readers(store, same_ids(store), side, spoil=_at_first(wrong)))
    assert done.found == set()
    assert done.result.green
    assert done.result.settled >= 1
    assert done.states("presence") == {State.MATCH: 6}
    assert done.result.explained == 0


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_run_that_comes_late_is_read_whole(tmp_path: Path, side: SideName) -> None:
    """Not listed at first on one side, there at the second look with its histories and artifacts."""
    store = rich_store()
    late = same_ids(store)
    hidden = late.runs.pop(run_id(11))

    def before(called: str, subject: str) -> None:
        # the list that is made once more when all was read finds it
        if called == "runs again" and subject == "1" and run_id(11) not in late.runs:
            late.add(hidden)

    reader = MemoryReader(LOCATIONS[side], late, before=before)
    other = MemoryReader(LOCATIONS["target" if side == "source" else "source"], store)
    done = audited(tmp_path, *((reader, other) if side == "source" else (other, reader)))
    assert done.result.green, done.found
    assert done.result.settled >= 1
    assert done.states("metrics") == done.states("artifacts") == {State.MATCH: 6}


def test_a_difference_that_stays_is_read_twice_and_no_more(tmp_path: Path) -> None:
    """Only the suspects are read again: one more list of all, the suspect run and its history, and no tree."""
    store = rich_store()
    target = same_ids(store)
    target.runs[run_id(11)].metrics["acc"].pop(0)
    sides = readers(store, target, "target")
    done = audited(tmp_path, *sides)
    assert done.found == {("metrics", "acc", "mismatch", "run-11")}
    for reader in sides:
        assert (reader.calls["runs 1"], reader.calls["runs 2"]) == (1, 1)
        assert (reader.calls["runs again 1"], reader.calls["runs again 2"]) == (1, 1)
        assert reader.calls[f"runs by id {run_id(11)}"] == reader.calls["runs by id"] == 1
        assert reader.calls[f"history {run_id(11)} acc"] == 2
        assert reader.calls["history"] == 13
        assert reader.calls["tree"] == 6


def test_the_second_list_is_made_beside_comparing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit does not wait for the list of all runs before it has anything to compare them with."""
    compared = threading.Event()
    waited: list[bool] = []

    def before(called: str, _: str) -> None:
        if called == "runs again":
            waited.append(compared.wait(20))

    class Noting(Rows):
        def add(self, row: Row) -> None:
            compared.set()
            super().add(row)

    monkeypatch.setattr("support.memory_store.Rows", Noting)
    store = rich_store()
    target = same_ids(store)
    changed = target.runs[run_id(11)]

    def change(called: str, subject: str) -> None:
        before(called, subject)
        if called == "runs again" and subject == "1":
            changed.tags["late"] = "yes"

    done = audited(
        tmp_path,
        MemoryReader(LOCATIONS["source"], store, before=before),
        MemoryReader(LOCATIONS["target"], target, before=change),
    )
    assert waited == [True] * 4
    # and what it tells is waited for
    assert {row.state for row in done.ledger.rows if (row.facet, row.name) == ("tags", "run-11")} == {State.UNVERIFIED}


def test_an_experiment_listed_late_is_no_finding(tmp_path: Path) -> None:
    """The list of experiments is looked at once more before anything is called missing."""
    store = rich_store()
    target = same_ids(store)
    hidden = target.experiments.pop("2")

    def before(called: str, _: str) -> None:
        if called == "experiments" and reader.calls["experiments"] == 2:
            target.experiments["2"] = hidden

    reader = MemoryReader(LOCATIONS["target"], target, before=before)
    done = audited(tmp_path, MemoryReader(LOCATIONS["source"], store), reader)
    assert done.result.green, done.found
    assert done.states("presence", "experiment") == {State.MATCH: 2}


# --- the ledger and the cost


@pytest.mark.parametrize("make", [same_ids, imported, natural], ids=lambda make: str(make.__name__))
def test_deepdiff_is_called_on_suspects_only(tmp_path: Path, make: Callable[[Store], Store]) -> None:
    """Never on equal stores, whatever is expected to differ; once for each kept difference that has values."""
    store = rich_store()
    target = make(store)
    assert audited(tmp_path / "equal", store, target).result.explained == 0
    victim = next(run for run in target.runs.values() if run.params["number"] == "11")
    victim.params["lr"] = "x"
    victim.metrics["acc"].pop(0)
    done = audited(tmp_path / "other", store, target)
    assert done.result.explained == 2 == len(done.result.findings)
    capped = audited(tmp_path / "capped", store, _all_params_changed(make(store)), max_findings=2)
    assert capped.result.findings_total == 6
    # two for each of the two experiments
    assert capped.result.explained == len(capped.result.findings) == 4


def _all_params_changed(store: Store) -> Store:
    for run in store.runs.values():
        run.params["lr"] = "x"
    return store


def test_the_ledger_has_one_row_for_each_object_and_facet(tmp_path: Path) -> None:
    """Source runs and experiments times facets, plus what is on the target only; the totals are its sums."""
    store = rich_store()
    target = imported(store)
    del target.runs[next(key for key, run in target.runs.items() if run.params["number"] == "11")]
    done = audited(tmp_path, store, target)
    rows = [(row.experiment, row.kind, row.source_id, row.target_id, row.facet) for row in done.ledger.rows]
    by_default = [facet for facet in EXPERIMENT_FACETS if ("experiment", facet) not in OPTIONAL]
    assert len(rows) == len(set(rows)) == 6 * len(RUN_FACETS) + 2 * len(by_default)
    assert sum(done.result.totals.values()) == len(rows)
    cells = [cell for state in done.result.states.values() for cell in state.cells.values()]
    assert sum(cell.total for cell in cells) == len(rows)
    assert done.result.findings_total == sum(row.findings for row in done.ledger.rows) == 1
    assert done.states("params") == {State.MATCH: 5, State.MISSING: 1}


def test_what_is_counted_is_what_there_is(tmp_path: Path) -> None:
    """Experiments, runs, points, files and bytes, per side, in the result and for the progress line."""
    store = rich_store()
    done = audited(tmp_path, store, same_ids(store))
    points = sum(len(points) for run in store.runs.values() for points in run.metrics.values())
    size = sum(len(content) for run in store.runs.values() for content in run.files.values())
    wanted = {"experiments": 2, "runs": 6, "points": points, "files": 24, "bytes": size}
    assert done.result.counts == {"source": wanted, "target": wanted}
    for side in done.progress.counts.values():
        assert side == {"experiments": 2, "runs": 6, "points": points, "artifacts": 24, "size": size, "objects": 0}


def test_a_secret_in_a_value_is_not_in_a_finding(tmp_path: Path) -> None:
    """Redacted before anything is cut short or explained; that the values differ in it is said."""
    store = rich_store()
    target = same_ids(store)
    store.runs[run_id(11)].tags["url"] = "http://ada:swordfish-1@host/"
    target.runs[run_id(11)].tags["url"] = "http://ada:swordfish-2@host/"

    def open_side(name: SideName) -> Side:
        return Side(name, LOCATIONS[name], MemoryReader(LOCATIONS[name], store if name == "source" else target))

    audit = Audit(settings(), tmp_path, open_side)
    items = audit.inventory()
    done = _finished(audit, [item.id for item in items])
    [finding] = done.result.findings
    assert "swordfish" not in repr(finding)
    assert "redacted" in finding.explanation


def _finished(audit: Audit, items: list[str]) -> Audited:
    from support.memory_store import Progress, Rows

    from mlflow_parity.kinds.rules.check_registry import Selection, collected

    rows, progress = Rows(), Progress()
    result = audit.run(Selection(collected(snapshot=False, load_models=True), tuple(items)), rows, progress)
    return Audited(audit, result, rows, progress)


#: Audits two sides of generated points; prints peak memory in MB, seconds of reading and of comparing, and counts.
_LARGE = """
import json, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from support.memory_store import EPOCH, LOCATIONS, MemoryReader, RunData, Store, audited, experiment, run_id
from mlflow_parity.core.records import Series
from support.memory_peak import peak_mb

RUNS, KEYS, STEPS = map(int, sys.argv[2:5])


class Large(MemoryReader):
    def histories(self, runs):
        steps = np.arange(STEPS)
        for key in range(KEYS):
            batch = []
            for run in runs:
                values = np.random.default_rng(int(run.params["number"]) * KEYS + key).random(STEPS)
                values[-1] = 0.5
                batch.append(Series(run.run_id, f"m{key}", steps, EPOCH + steps, values))
            yield batch


def store():
    made = Store({"1": experiment(1, "large")})
    last = (STEPS - 1, EPOCH + STEPS - 1, 0.5)
    for number in range(RUNS):
        metrics = {f"m{key}": [last] for key in range(KEYS)}
        place = f"mlflow-artifacts:/1/{run_id(number)}/artifacts"
        made.add(RunData(run_id(number), "1", f"run {number}", start_time=EPOCH + number, metrics=metrics,
                         params={"number": str(number)}, artifact_uri=place))
    return made


with tempfile.TemporaryDirectory() as folder:
    sides = [Large(LOCATIONS[name], store(), page=1000) for name in ("source", "target")]
    done = audited(Path(folder), *sides, ["runs_arrived_once", "metric_histories"])
print(json.dumps({
    "green": done.result.green,
    "points": done.result.counts["target"]["points"],
    "explained": done.result.explained,
    "peak": peak_mb(),
    **done.result.timings,
}))
"""


def large_audit(runs: int, keys: int, steps: int) -> dict[str, Any]:
    """Audit two equal sides of ``runs × keys × steps`` points in a process of its own; return its figures."""
    command = [sys.executable, "-c", _LARGE, str(Path(__file__).parent.parent), str(runs), str(keys), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.long
@pytest.mark.parametrize("shape", [(2_000, 20, 25), (100, 1, 10_000)], ids=["short", "long"])
def test_a_million_points_on_each_side_take_under_400_mb(shape: tuple[int, int, int]) -> None:
    """Captured, paired and compared in one process, short histories and long ones; deepdiff is never called."""
    figures = large_audit(*shape)
    print(figures)
    assert figures["green"]
    assert figures["points"] == 1_000_000
    assert figures["explained"] == 0
    assert figures["peak"] < 400, figures
