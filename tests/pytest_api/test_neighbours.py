"""Beside other pytest plugins: plain runs stay as they were without ours, and no neighbour alters a verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.environments import CONSTRAINTS, environment, unpacked_wheel
from support.pairs import Migration
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.core.verdict import Row
from mlflow_parity.standin.servers import clean_environment

pytestmark = pytest.mark.long

#: The most used plugins of the index that load together with the pytest of ``constraints.txt``. Two of them fail with
#: it by an option of theirs: with ``--forked`` each test of pytest-forked's, in any project, "exited with status 3",
#: and pytest-parallel needs ``py`` for ``--workers``, which it does not require.
#:
#: Not here, because they fail by themselves, without us: pytest-dotenv (its ``--envfile`` is pytest-env's too, which
#: is used more), pytest-cases (calls pytest's IdMaker with arguments of older versions), pytest-flake8 and pytest-pep8
#: (a hook argument, ``path``, that pytest 9 has no more), pytest-twisted (needs Twisted, requires greenlet only).
NEIGHBOURS = (
    "allure-pytest==2.16.2", "anyio==4.16.0", "hypothesis==6.170.15", "py==1.11.0", "pytest-aiohttp==1.1.1",
    "pytest-asyncio==1.5.0", "pytest-bdd==9.0.1", "pytest-benchmark==5.3.1", "pytest-check==3.0.3",
    "pytest-clarity==1.0.1", "pytest-cov==7.1.0", "pytest-custom-exit-code==0.3.0", "pytest-dependency==0.6.1",
    "pytest-django==4.14.0", "pytest-env==1.8.5", "pytest-flask==1.3.0", "pytest-forked==1.7.5",
    "pytest-freezer==0.4.9", "pytest-html==4.2.0", "pytest-httpserver==1.2.0", "pytest-httpx==0.36.2",
    "pytest-instafail==0.5.0", "pytest-json-ctrf==0.6.1", "pytest-json-report==1.5.0", "pytest-metadata==3.1.1",
    "pytest-mock==3.17.0", "pytest-order==1.5.0", "pytest-ordering==0.6", "pytest-parallel==0.1.1",
    "pytest-picked==0.5.1", "pytest-profiling==1.8.1", "pytest-random-order==1.2.0", "pytest-randomly==5.1.0",
    "pytest-repeat==0.9.4", "pytest-reportlog==1.0.0", "pytest-rerunfailures==16.7", "pytest-retry==1.7.0",
    "pytest-socket==0.8.1", "pytest-split==0.11.0", "pytest-subtests==0.15.0", "pytest-sugar==1.1.1",
    "pytest-timeout==2.4.0", "pytest-tornasync==0.6.0.post2", "pytest-unordered==0.8.0", "pytest-xdist==3.8.0",
    "syrupy==7.0.2",
)  # fmt: skip
#: What the package itself requires.
_OURS = ("boto3", "deepdiff", "jinja2", "numpy", "orjson", "pyarrow", "pytest", "pyyaml", "requests", "urllib3",
         "sagemaker-mlflow", "tomli")  # fmt: skip

#: A project of somebody who knows nothing of ours: it has fixtures of our old and new subjects, and asks for one that
#: it does not have.
PROJECT = """
import pytest


@pytest.fixture(params=["a", "b"])
def audited(request):
    return request.param


@pytest.fixture
def target():
    return "mine"


@pytest.fixture
def experiment(target):
    return target + "!"


@pytest.fixture
def pairs(experiment):
    yield [experiment]


@pytest.fixture
def audit(pairs):
    return len(pairs)


def test_own_fixtures(audited, audit, experiment):
    assert (audited in "ab", audit, experiment) == (True, 1, "mine!")


def test_undefined(source):
    pass


def test_fails():
    assert 1 == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_parametrized(workers):
    assert workers == 1


@pytest.mark.xfail
def test_expected_to_fail():
    assert False


@pytest.mark.skip
def test_skipped():
    pass


class TestOfAClass:
    def test_params(self, tmp_path):
        assert tmp_path.is_dir()
"""
_ENDS = ("PASSED ", "FAILED ", "ERROR ", "XFAIL ", "SKIPPED ")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The environment with all of them: its interpreter, and what its processes need to have our wheel too."""

    python: str
    wheel: Path

    def run(self, folder: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run ``python ARGUMENTS`` in ``folder``."""
        env = clean_environment({"PYTHONPATH": str(self.wheel)})
        # what pytest says to those whom it starts; pytest-parallel takes it for its own
        env = {name: value for name, value in env.items() if not name.startswith("PYTEST_")}

        def once() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [self.python, *arguments],
                cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                check=False,
            )  # fmt: skip

        try:
            return once()
        except subprocess.TimeoutExpired:
            # it forks a process that has threads: seen once in many runs, its child waits for ever, without a verdict
            if not {"--workers", "--tests-per-worker"} & {*arguments}:
                raise
            return once()


@pytest.fixture(scope="module")
def neighbours() -> Neighbours:
    """An environment with :data:`NEIGHBOURS` and the built wheel."""
    required = [*_OURS, *NEIGHBOURS] if sys.version_info < (3, 11) else [*_OURS[:-1], *NEIGHBOURS]
    return Neighbours(environment("neighbours", required, constraints=CONSTRAINTS), unpacked_wheel())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with :data:`PROJECT`."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_mine.py").write_text(PROJECT, encoding="utf-8")
    return folder


def test_a_plain_run_beside_all_is_as_without_ours(neighbours: Neighbours, project: Path) -> None:
    """All are loaded: each test of a project ends as it does without our plugin, in the same order and by workers."""

    def outcomes(*arguments: str) -> tuple[int, list[str], str]:
        seed = "--randomly-seed=7"
        done = neighbours.run(project, "-m", "pytest", "-rA", "-p", "no:cacheprovider", seed, *arguments)
        lines = [line for line in done.stdout.splitlines() if line.startswith(_ENDS)]
        # pytest's last line: numbers, and seconds
        return done.returncode, lines, done.stdout.strip().splitlines()[-1].strip("= ").partition(" in ")[0]

    for more in ((), ("-n", "2"), ("--workers", "2"), ("--profile", "--reruns", "1", "--count", "2")):
        status, lines, last = outcomes("-p", "no:mlflow_parity", *more)
        assert (status, len(lines) >= 9) == (1, True), lines
        with_ours = outcomes(*more)
        if more and more[0] in ("-n", "--workers"):
            # workers end in any order
            assert (with_ours[0], sorted(with_ours[1]), with_ours[2]) == (status, sorted(lines), last), more
        else:
            assert with_ours == (status, lines, last), more


def test_a_plain_run_beside_each_is_as_without_ours(neighbours: Neighbours, project: Path) -> None:
    """Each is loaded alone, with those that it requires: no option or hook of it and ours collides."""
    program = Path(__file__).parent.parent / "support" / "each_plugin.py"
    done = neighbours.run(project, str(program), "mlflow_parity.plugin")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    # py has no plugin; all others have
    assert set(results) == {one.partition("==")[0] for one in NEIGHBOURS} - {"py"}
    different = {name: runs for name, runs in results.items() if runs[0][0] != 1 or runs[1] != runs[0]}
    assert different == {}


@dataclass(frozen=True, slots=True)
class Pairs:
    """A source with an equal target and one with two differences, and what the audit says of each by itself."""

    uris: dict[str, tuple[str, str]]
    alone: dict[str, list[Row]]


@pytest.fixture(scope="module")
def both(migration: Migration, module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """The two pairs, audited in the tests' own environment."""
    source, green, red = module_server(), module_server(), module_server()
    migration.lay("source", source)
    for target in (green, red):
        migration.lay("target", target)
    seed = Seeder(red.uri)
    experiments = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    ids = [item["experiment_id"] for item in experiments]
    [run] = [
        run["info"]["run_id"]
        for run in seed.call("POST", "runs/search", {"experiment_ids": ids})["runs"]
        if run["info"]["run_name"] == "sweep-2"
    ]
    seed.log(run, params={"surplus": "1"}, metrics=[("surplus", 1.0, 5, 5)])
    uris = {"green": (source.uri, green.uri), "red": (source.uri, red.uri)}
    alone = {}
    for colour, (one, other) in uris.items():
        done = audit(tmp_path_factory.mktemp(colour), one, other)
        assert done.status == (colour == "red"), done.output
        alone[colour] = done.rows()
    assert alone["green"] != alone["red"]
    return Pairs(uris, alone)


def _audit(neighbours: Neighbours, uris: tuple[str, str], folder: Path, *arguments: str) -> AuditRun:
    source, target = uris
    folder.mkdir()
    done = neighbours.run(folder, "-m", "pytest", "--source-uri", source, "--target-uri", target, *arguments)
    return AuditRun(done.returncode, done.stdout + done.stderr, folder / "reports")


@pytest.mark.parametrize(
    "arguments",
    [
        # all are there, and pytest-randomly puts the checks in another order
        (),
        ("-n", "2", "--reruns", "1", "--timeout", "600", "--force-sugar"),
        ("--workers", "2"),
        ("--tests-per-worker", "2", "--retries", "1", "--disable-socket"),
        ("--profile", "--benchmark-only", "--suppress-tests-failed-exit-code", "--suppress-no-test-exit-code"),
        ("--random-order", "--instafail", "--json-report", "--html=x.html", "--alluredir=allure"),
    ],
    ids=lambda arguments: " ".join(arguments) or "loaded",
)
def test_a_verdict_stays(neighbours: Neighbours, both: Pairs, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The equal pair is green and the other red, by exit status, report and terminal, and every row is the same."""
    for colour, uris in both.uris.items():
        done = _audit(neighbours, uris, tmp_path / colour, *arguments)
        assert done.status == (colour == "red"), done.output
        assert done.report["verdict"] == colour
        assert f"parity: {colour.upper()}" in done.output
        assert done.report["scope"]["partial"] is False
        assert done.rows() == both.alone[colour]


@pytest.mark.parametrize(
    ("arguments", "statuses"),
    [
        # nothing was selected, and that is no success
        (("-k", "nothing", "--suppress-no-test-exit-code"), {5}),
        (("--picked",), {5}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_never_green_beside(
    neighbours: Neighbours, both: Pairs, tmp_path: Path, arguments: tuple[str, ...], statuses: set[int]
) -> None:
    """What keeps the checks from being run, or hides how they end, makes no red pair green."""
    done = _audit(neighbours, both.uris["red"], tmp_path / "red", *arguments)
    assert done.status in statuses, done.output
    assert "parity: GREEN" not in done.output
    report = done.reports / "report.json"
    assert not report.exists() or done.report["verdict"] in ("none", "red")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--count", "2"), "--count 2: an audit judges each check once"),
        (("--forked",), "--forked: a check cannot tell from a process of its own"),
        (("--timeout", "0.001"), "--timeout 0.001: no check ends in 0.001 s; give at least 1"),
        (("-o", "timeout=0.001"), "no check ends in 0.001 s"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_stand_beside_is_refused(
    neighbours: Neighbours, both: Pairs, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """In one line, before anything is read."""
    done = _audit(neighbours, both.uris["green"], tmp_path / "green", *arguments)
    assert done.status == 4, done.output
    [line] = [line for line in done.output.splitlines() if line.startswith("ERROR: ")]
    assert says in line
    assert done.report["verdict"] == "none"


def test_ctrf_names_what_failed(neighbours: Neighbours, both: Pairs, tmp_path: Path) -> None:
    """Each failing check and experiment is a failed test there, with the text that says what is wrong."""
    done = _audit(neighbours, both.uris["red"], tmp_path / "red", "--ctrf", "ctrf.json")
    assert done.status == 1, done.output
    results = json.loads((tmp_path / "red" / "ctrf.json").read_text(encoding="utf-8"))["results"]
    failed = [one for one in results["tests"] if one["status"] == "failed"]
    assert len(failed) == results["summary"]["failed"] >= 2
    assert {one["name"].rpartition("::")[2].partition("[")[0] for one in failed} == done.failed()
    assert all("check failed:" in json.dumps(one) for one in failed)


def test_a_share_of_the_checks_is_partial(neighbours: Neighbours, both: Pairs, tmp_path: Path) -> None:
    """pytest-split's shares are selections as ``-k`` is: partial each, and one of them is red."""
    statuses = []
    for group in ("1", "2"):
        arguments = ("--splits", "2", "--group", group, "-p", "no:randomly")
        done = _audit(neighbours, both.uris["red"], tmp_path / group, *arguments)
        assert done.report["scope"]["partial"] is True
        statuses.append(done.status)
    assert 1 in statuses
