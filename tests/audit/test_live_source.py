"""What changes at a chosen moment of an audit: no false alarm, nothing green that was not there, each object named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.copied import Copied, Outcome, audited, copied_pair, kept
from support.proxy import Exchange, Fault, Proxy, meanwhile, proxying
from support.seed import EPOCH, Seeder
from support.servers import FreshServer, ServerPool, copy_database

from mlflow_parity.standin.servers import Server


@dataclass(frozen=True, slots=True)
class Live:
    """A source behind a proxy, its copy as a snapshot, and the ids of the source's runs by name."""

    server: Server
    proxy: Proxy
    target: str
    runs: dict[str, str]
    experiment: str

    @property
    def seed(self) -> Seeder:
        """Writes to the source, past the proxy."""
        return Seeder(self.server.uri)

    def when(self, path: str, act: Callable[[], None], after: int = 0, times: int = 1) -> None:
        """Act ``times`` times, while the answer to a request whose path contains ``path`` is on its way."""
        self.proxy.faults.append(Fault(path, meanwhile(act), after=after, times=times))


@pytest.fixture(scope="module")
def module_live(
    server_pool: ServerPool, module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """The pair, the copy read once."""
    source, target = copied_pair(server_pool, module_server)
    copy = kept(target.uri, tmp_path_factory.mktemp("live") / "target")
    seed = Seeder(source.uri)
    experiment = str(
        seed.call("GET", "experiments/get-by-name", {"experiment_name": "churn"})["experiment"]["experiment_id"]
    )
    found = seed.call("POST", "runs/search", {"experiment_ids": [experiment], "max_results": 99})["runs"]
    with proxying(source.uri) as proxy:
        runs = {run["info"]["run_name"]: run["info"]["run_id"] for run in found}
        yield Live(source, proxy, copy, runs, experiment)


@pytest.fixture(scope="module")
def ended(module_live: Live, tmp_path_factory: pytest.TempPathFactory, server_pool: ServerPool) -> str:
    """A copy of the source with no run that goes on, as a snapshot."""
    module_live.seed.end(module_live.runs["going"])
    copy = kept(module_live.server.uri, tmp_path_factory.mktemp("ended") / "target")
    copy_database(Copied.make(server_pool).folder / "database.db", module_live.server.database_path)
    return copy


@pytest.fixture
def live(module_live: Live, server_pool: ServerPool) -> Iterator[Live]:
    """The same; the source is laid again afterwards."""
    module_live.proxy.heal()
    yield module_live
    for new in Path(module_live.server.artifacts_root).rglob("more.txt"):
        new.unlink()
    copy_database(Copied.make(server_pool).folder / "database.db", module_live.server.database_path)


def audit(live: Live) -> Outcome:
    """Audit; what was to happen meanwhile must have happened."""
    outcome = audited(live.proxy.uri, live.target)
    assert all(fault.came[""] > fault.after for fault in live.proxy.faults)
    return outcome


def red(outcome: Outcome) -> set[tuple[str, str, str]]:
    """Name, facet and state of every row that is not green."""
    return {(row.name, row.facet, row.state.value) for row in outcome.rows if not row.state.green}


def changed(outcome: Outcome) -> dict[str, set[str]]:
    """Facets of what the report names as changed, by kind and name."""
    assert outcome.result is not None
    found = outcome.result.changes.found.values()
    return {f"{one.kind} {one.name}": set(one.facets) for one in found}


def log(live: Live, run: str = "going") -> None:
    """Log a point, a tag and a file to a run."""
    live.seed.log(live.runs[run], tags={"t": "1"}, metrics=[("loss", 0.5, EPOCH + 1, 1)])
    live.seed.artifact(live.runs[run], "more.txt", b"more\n")


def test_nothing_moves(live: Live) -> None:
    """A run that has not ended is no change by itself."""
    outcome = audit(live)
    assert outcome.green, outcome.reasons
    assert changed(outcome) == {}


@pytest.mark.parametrize(("path", "after"), [("runs/search", 3), ("artifacts/1/", 0), ("datasets/search", 0)])
def test_a_run_that_is_logged_to(live: Live, path: str, after: int) -> None:
    """Before, while and after it is read: what it gained is not green, and its other facets are."""
    live.when(path, lambda: log(live), after)
    outcome = audit(live)
    assert not outcome.green
    assert {name for name, _, _ in red(outcome)} == {"going"}
    assert {facet for _, facet, _ in red(outcome)} == {"metrics", "tags", "artifacts"}
    assert {state for _, _, state in red(outcome)} <= {"unverified", "mismatch"}
    if path == "datasets/search":
        # all of it was read before: what was the same is not any more
        assert {state for _, _, state in red(outcome)} == {"unverified"}
        assert changed(outcome) == {"run going": {"metrics", "tags", "artifacts"}}
        assert "it changed on the source while the audit was running" in outcome.reasons


def test_a_run_that_ends(live: Live) -> None:
    """Its status and end are unverified: the copy cannot have them."""
    live.when("datasets/search", lambda: live.seed.end(live.runs["going"]))
    outcome = audit(live)
    assert red(outcome) == {("going", "status", "unverified"), ("going", "times", "unverified")}
    assert changed(outcome) == {"run going": {"status", "times"}}


def test_runs_that_come_and_go(live: Live) -> None:
    """A new run and a deleted one are unverified: no differences of the migration."""

    def act() -> None:
        late = live.seed.run(live.experiment, "late", start=EPOCH + 99)
        live.seed.log(late, params={"p": "1"}, metrics=[("m", 1.0, EPOCH, 0)])
        live.seed.delete_run(live.runs["child 2"])

    live.when("datasets/search", act)
    outcome = audit(live)
    assert {(name, state) for name, _, state in red(outcome)} == {("late", "unverified"), ("child 2", "unverified")}
    assert changed(outcome) == {"run late": {"came"}, "run child 2": {"lifecycle"}}
    [finding] = [one for one in outcome.findings if one.name == "late"]
    assert finding.explanation == "it came on the source while the audit was running"


def came_and_ended(live: Live) -> None:
    """A run comes and ends."""
    late = live.seed.run(live.experiment, "late", start=EPOCH + 99)
    live.seed.log(late, params={"p": "1"}, metrics=[("m", 1.0, EPOCH, 0)])
    live.seed.end(late)


def ended_and_went(live: Live) -> None:
    """A run that had ended is deleted."""
    live.seed.delete_run(live.runs["child 2"])


def ended_and_changed(live: Live) -> None:
    """A run that had ended gets a further param."""
    live.seed.log(live.runs["child 2"], params={"afterthought": "1"})


@pytest.mark.long
@pytest.mark.parametrize(
    ("act", "rows", "what"),
    [
        (came_and_ended, {("late", "presence")}, {"run late": {"came"}}),
        (ended_and_went, {("child 2", "lifecycle")}, {"run child 2": {"lifecycle"}}),
        (ended_and_changed, {("child 2", "params")}, {"run child 2": {"params"}}),
    ],
)
def test_runs_that_had_ended(
    live: Live,
    ended: str,
    act: Callable[[Live], None],
    rows: set[tuple[str, str]],
    what: dict[str, set[str]],
) -> None:
    """No run is RUNNING, and all runs were read: what came, went or changed then is unverified, and named."""
    live.seed.end(live.runs["going"])
    live.when("datasets/search", lambda: act(live))
    outcome = audited(live.proxy.uri, ended)
    assert [fault.came[""] for fault in live.proxy.faults] == [1]
    assert not outcome.green
    assert {(name, facet) for name, facet, _ in red(outcome)} >= rows
    assert {(name, state) for name, _, state in red(outcome)} == {(name, "unverified") for name, _ in rows}
    assert changed(outcome) == what


def test_what_was_undone_is_no_difference(live: Live) -> None:
    """A tag that was there only while it was read: green at the second look, and named."""
    tag = {"run_id": live.runs["child 1"], "key": "passing"}
    live.when("experiments/search", lambda: live.seed.call("POST", "runs/set-tag", {**tag, "value": "x"}))
    live.when("datasets/search", lambda: live.seed.call("POST", "runs/delete-tag", tag))
    outcome = audit(live)
    assert outcome.green, outcome.reasons
    assert outcome.result is not None
    assert outcome.result.settled == 1
    assert changed(outcome) == {"run child 1": {"tags"}}


def test_experiments_that_come_and_change(live: Live) -> None:
    """Of a new experiment nothing was read, what changed of another is not what was copied: neither is green."""

    def act() -> None:
        live.seed.run(live.seed.experiment("later"), "first")
        live.seed.set_experiment_tag(live.experiment, "team", "growth")

    live.when("datasets/search", act)
    outcome = audit(live)
    assert not outcome.green
    assert red(outcome) == {("later", "presence", "unverified"), ("churn", "tags", "unverified")}
    assert changed(outcome) == {"experiment later": {"came"}, "experiment churn": {"tags"}}
    assert "it came on the source while the audit was running, nothing of it was read" in outcome.reasons


@pytest.mark.long
def test_an_experiment_that_goes_and_one_that_is_restored(live: Live) -> None:
    """One that was compared is deleted, and one that was left out as deleted comes back."""
    left_out = live.seed.experiment("left out")
    live.seed.delete_experiment(left_out)

    def act() -> None:
        live.seed.delete_experiment(live.experiment)
        live.seed.call("POST", "experiments/restore", {"experiment_id": left_out})

    live.when("datasets/search", act)
    outcome = audited(live.proxy.uri, live.target, include_deleted=False)
    assert not outcome.green
    found = red(outcome)
    assert {("left out", "presence", "unverified"), ("churn", "lifecycle", "unverified")} <= found
    assert {state for _, _, state in found} == {"unverified"}, found


def answering(code: int) -> Callable[[Exchange, int, list[tuple[str, str]], bytes], None]:
    """Return a fault that answers with an error which is not tried again."""

    def refuse(exchange: Exchange, _: int, headers: list[tuple[str, str]], __: bytes) -> None:
        exchange.answer(code, headers, b'{"error_code": "PERMISSION_DENIED", "message": "rights were withdrawn"}')

    return refuse


@pytest.mark.parametrize(
    ("path", "row"),
    [("runs/search", ("(all runs)", "presence")), ("experiments/search", ("(all experiments)", "presence"))],
)
def test_what_cannot_be_listed_again_is_no_pass(live: Live, path: str, row: tuple[str, str]) -> None:
    """All was read, and equal; whether it still is cannot be told."""
    live.when("datasets/search", lambda: live.proxy.faults.append(Fault(path, answering(403), times=99)))
    outcome = audited(live.proxy.uri, live.target)
    assert not outcome.green
    # review queues are listed by experiment, and are read after the datasets
    assert {(name, *rest) for name, *rest in red(outcome) if name != "(all review queues)"} == {(*row, "unverified")}
    assert "rights were withdrawn" in outcome.reasons


@pytest.mark.long
def test_a_change_that_cannot_be_read_again_is_no_pass(live: Live) -> None:
    """The second list tells that an ended run changed; from then on the server gives nothing."""
    pages = Fault("runs/search", answering(403), times=0)
    live.proxy.faults.append(pages)
    so_far: list[int] = []
    live.when("experiments/search", lambda: so_far.append(pages.came[""]), times=99)
    assert audited(live.proxy.uri, live.target).green
    live.proxy.heal()
    read, listed = so_far[-1], pages.came[""] - so_far[-1]
    assert read
    assert listed

    def act() -> None:
        live.seed.log(live.runs["child 2"], params={"afterthought": "1"})
        live.proxy.faults.append(Fault("runs/search", answering(403), after=listed, times=99))

    live.when("datasets/search", act)
    outcome = audited(live.proxy.uri, live.target)
    assert not outcome.green
    assert {(name, state) for name, _, state in red(outcome)} == {("(all runs)", "unverified")}
    assert "1 changed since and could not be read again" in outcome.reasons


def test_objects_that_change(live: Live) -> None:
    """A model's description that is another one each time it is read is unverified, and so is nothing else."""
    numbers = iter(range(99))

    def describe() -> None:
        body = {"name": "price", "description": f"number {next(numbers)}"}
        live.seed.call("PATCH", "registered-models/update", body)

    describe()
    live.when("registered-models/search", describe, times=99)
    outcome = audit(live)
    assert {(facet, state) for _, facet, state in red(outcome)} == {
        ("description", "unverified"),
        ("times", "unverified"),
    }
    assert changed(outcome) == {"registered_model price": {"description", "times"}}
