"""One cause, one failure: what only follows from an object without a counterpart is skipped, and red in the ledger."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.copied import copied_pair
from support.seed import EPOCH, Seeder
from support.servers import FreshServer, ServerPool

from mlflow_parity.audit.test_items import Item, ItemState
from mlflow_parity.core.verdict import Cell, State
from mlflow_parity.kinds.rules.check_registry import BY_NAME
from mlflow_parity.standin.servers import Server

#: What is missing and what differs, each in a check of its own.
CAUSES = {
    "test_runs_arrived_once[churn]",
    "test_run_tags_and_note[churn]",
    "test_experiment_arrived[lost]",
    "test_registered_models_arrived[lost model]",
}


@pytest.fixture(scope="module")
def pair(server_pool: ServerPool, module_server: FreshServer) -> tuple[Server, Server]:
    """A restored copy that lacks two runs, an experiment with two, and a model with a version; one tag differs."""
    source, target = copied_pair(server_pool, module_server)
    seed = Seeder(source.uri)
    [churn] = [
        one["experiment_id"]
        for one in seed.call("POST", "experiments/search", {"max_results": 99})["experiments"]
        if one["name"] == "churn"
    ]
    for experiment, names in ((churn, ("late", "later")), (seed.experiment("lost"), ("one", "two"))):
        for number, name in enumerate(names):
            run = seed.run(experiment, name, start=EPOCH + 100 + number)
            seed.log(run, params={"p": name}, tags={"t": name}, metrics=[("m", 1.0, EPOCH, 0)])
            seed.end(run)
    seed.call("POST", "registered-models/create", {"name": "lost model"})
    seed.call("POST", "model-versions/create", {"name": "lost model", "source": "s3://lost/model"})
    runs = seed.call("POST", "runs/search", {"experiment_ids": [churn], "max_results": 99})["runs"]
    [child] = [run["info"]["run_id"] for run in runs if run["info"]["run_name"] == "child 1"]
    Seeder(target.uri).log(child, tags={"surplus": "1"})
    return source, target


def _audit(folder: Path, pair: tuple[Server, Server], *arguments: str) -> AuditRun:
    return audit(folder, pair[0].uri, pair[1].uri, "--parity-profile", "same-store", "--parity-two-servers", *arguments)


def _failed(done: AuditRun) -> set[str]:
    """Ids of the test items that failed or errored."""
    found = re.findall(r"^(?:FAILED|ERROR) \S*?::(test_\w+\[.*?\])(?: - .*)?$", done.output, re.MULTILINE)
    return set(found)


def _last(done: AuditRun) -> str:
    return done.output.rstrip().splitlines()[-1]


@pytest.fixture(scope="module")
def done(pair: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """The audit of all of it."""
    return _audit(tmp_path_factory.mktemp("all"), pair, "-rA", "--parity-max-findings", "100")


@pytest.mark.long
def test_one_cause_is_one_failure(done: AuditRun) -> None:
    """Only the checks that name what is missing fail, and the one with a difference of its own; exit status 1."""
    assert done.status == 1, done.output
    assert _failed(done) == CAUSES
    skipped = Counter(re.findall(r"^SKIPPED .*?: (no counterpart: see .*)$", done.output, re.MULTILINE))
    assert set(skipped) == {
        "no counterpart: see test_runs_arrived_once[churn]",
        "no counterpart: see test_experiment_arrived[lost]",
        "no counterpart: see test_registered_models_arrived[lost model]",
    }
    assert "Traceback" not in done.output


def test_the_ledger_and_the_counts_are_as_red_as_before(done: AuditRun) -> None:
    """Every facet of what is missing is a red row, each check is named as not green, and no figure is smaller."""
    red = Counter((row.experiment, row.kind, row.name) for row in done.red_rows())
    facets = len({row.facet for row in done.rows() if row.kind == "run"})
    assert facets > 12
    for experiment, name in (("churn", "late"), ("churn", "later"), ("lost", "one"), ("lost", "two")):
        assert red[experiment, "run", name] == facets
    assert red["lost", "experiment", "lost"] > 4
    versions = [row for row in done.red_rows() if row.kind == "model_version"]
    assert {row.experiment for row in versions} == {"registered model lost model"}
    assert len({row.facet for row in versions}) == len(versions) > 10
    report = done.report
    assert report["verdict"] == "red"
    assert report["totals"]["missing"] == sum(row.state is State.MISSING for row in done.rows()) > 4 * facets
    assert {"params[churn]", "params[lost]", "model_version_links[lost model]"} <= set(report["not_green"])


def test_a_message_names_the_object_and_the_check_that_owns_it(done: AuditRun) -> None:
    """First the fact, then the check; objects of every kind by name; one line on what only follows."""
    _, _, text = done.output.partition("= FAILURES =")
    assert '\nparity: registered model "lost model": 1 missing' in text
    assert '     registered model "lost model"  source id ' in text
    assert '     experiment "lost"  source id ' in text
    assert '\nparity: experiment "churn": 1 mismatch, ' in text
    assert "\n6 more not compared: no counterpart on the target; see test_runs_arrived_once[churn]\n" in text
    assert '\nparity: experiment "churn": 2 missing, ' in text


@pytest.mark.long
@pytest.mark.parametrize("arguments", [("-q",), ("-q", "--no-summary", "-n", "2"), ("-v", "-x")], ids=" ".join)
def test_the_verdict_is_the_last_thing_on_the_screen(
    pair: tuple[Server, Server], done: AuditRun, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Below pytest's own summary, whatever pytest is asked to print; workers skip what one process skips."""
    again = _audit(tmp_path, pair, *arguments)
    for run in (done, again):
        assert _last(run).startswith("  next: open report.html"), run.output
    assert again.status == (2 if "-x" in arguments and "-n" in arguments else 1)
    lines = again.output.splitlines()
    verdict = next(number for number, line in enumerate(lines) if line.startswith("parity: RED"))
    ended = next(number for number, line in enumerate(lines) if re.search(r"\d+ failed.* in [\d.]+s", line))
    assert ended < verdict
    if "-n" in arguments:
        alone = next(line for line in done.output.splitlines() if re.search(r"\d+ failed.* in [\d.]+s", line))
        assert re.findall(r"\d+ (?:failed|passed|skipped)", lines[ended]) == re.findall(
            r"\d+ (?:failed|passed|skipped)", alone
        )


def test_without_the_check_that_names_it_a_check_fails_by_itself(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Where the owner is not run for this experiment the check itself fails, and names the owner."""
    done = _audit(tmp_path, pair, "-k", "test_params or (runs_arrived_once and lost)", "-rfEs")
    assert done.status == 1, done.output
    assert _failed(done) == {"test_params[churn]", "test_runs_arrived_once[lost]"}
    assert "no counterpart: see test_runs_arrived_once[lost]" in done.output
    assert "2 not compared: no counterpart; test_runs_arrived_once[churn] names each, and was not run" in done.output


def _state(**cells: dict[str, int]) -> ItemState:
    made = ItemState(Item("churn", "churn", "1", surplus=False))
    for name, counts in cells.items():
        kind, _, facet = name.partition("__")
        made.cells[f"{kind} {facet}"] = Cell(Counter({State(state): count for state, count in counts.items()}))
    return made


def test_what_nobody_names_is_a_failure() -> None:
    """A missing run that is waived as such is named by no failing check: its facets are not waved through with it."""
    params, owner = BY_NAME["params"], "runs_arrived_once"
    named = _state(run__presence={"missing": 2, "match": 1}, run__params={"missing": 2, "match": 1})
    assert not named.judge(params, {owner}).green
    assert not named.judge(params, {owner}).own
    assert named.judge(params).own == Counter({State.MISSING: 2})
    waived = _state(run__presence={"waived": 1, "missing": 1}, run__params={"missing": 2})
    assert waived.judge(params, {owner}).own == Counter({State.MISSING: 1})
    both = _state(run__presence={"missing": 1}, run__params={"missing": 1, "unverified": 1})
    assert both.judge(params, {owner}).unreadable
    # the experiment is named once; but where its own check is not run, that of its runs is
    gone = _state(experiment__presence={"missing": 1}, run__presence={"missing": 3}, run__params={"missing": 3})
    runs = BY_NAME[owner]
    assert gone.judge(runs, {owner, "experiment_arrived"}).follows == {("experiment_arrived", State.MISSING): 3}
    assert gone.judge(params, {owner, "experiment_arrived"}).follows == {("experiment_arrived", State.MISSING): 3}
    assert gone.judge(runs, {owner}).own == Counter({State.MISSING: 3})
    assert gone.judge(params, {owner}).follows == {(owner, State.MISSING): 3}
