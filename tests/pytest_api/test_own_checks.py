"""Own checks: the documented example against real servers, and what it takes to be a proof."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import warm
from support.audits import PYTEST, AuditRun, audit
from support.seed import EPOCH, Seeder
from support.servers import FreshServer
from support.tool import migrate

from mlflow_parity.audit.test_items import Item
from mlflow_parity.cli import main
from mlflow_parity.core.locations import parse_location
from mlflow_parity.migrating.repair.audit_findings import read_damage
from mlflow_parity.pytest_api import own_checks
from mlflow_parity.standin.servers import Server, clean_environment

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "docs" / "examples" / "own-checks"


@pytest.fixture(scope="module")
def servers(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, Server]:
    """Two experiments and a registered model, migrated by the tool without loss."""
    source, target = module_server(), module_server()
    seed = Seeder(source.uri)
    for name in ("shop", "search/ranking"):
        experiment = seed.experiment(name)
        for number in range(3):
            run = seed.run(experiment, f"run {number}", start=EPOCH + number, tags={"team": "growth"})
            points = [("accuracy", 0.5 + number / 10 + step / 100, EPOCH + step, step) for step in range(5)]
            seed.log(run, params={"lr": f"0.{number}"}, metrics=points)
            seed.artifact(run, "card.md", f"# {name} {number}\n".encode())
            seed.end(run)
    migrate(source.uri, target.uri, tmp_path_factory.mktemp("export"))
    for server in (source, target):
        _register(Seeder(server.uri), "search/ranking", "run 2")
    return source, target


def _register(seed: Seeder, experiment: str, name: str) -> None:
    """Make what a run logged the first version of a registered model, with an alias."""
    found = seed.call("GET", "experiments/get-by-name", {"experiment_name": experiment})["experiment"]
    runs = seed.call("POST", "runs/search", {"experiment_ids": [found["experiment_id"]]})["runs"]
    run = next(run["info"] for run in runs if run["info"]["run_name"] == name)
    seed.call("POST", "registered-models/create", {"name": "ranker"})
    seed.call(
        "POST", "model-versions/create", {"name": "ranker", "source": run["artifact_uri"], "run_id": run["run_id"]}
    )
    seed.call("POST", "registered-models/alias", {"name": "ranker", "alias": "best", "version": "1"})


def run_own(folder: Path, servers: tuple[Server, Server], *arguments: str) -> AuditRun:
    """Run pytest on the checks in ``folder`` as a user's repository would."""
    command = [*PYTEST, "-rA", "--parity-report-dir", "reports", str(folder)]
    command += ["--source-uri", servers[0].uri, "--target-uri", servers[1].uri, *arguments]
    done = warm.run(command, kind="audit", cwd=folder, env=clean_environment())
    return AuditRun(done.returncode, done.stdout + done.stderr, folder / "reports")


@contextmanager
def a_late_tag(server: Server) -> Iterator[None]:
    """One run of the experiment "shop" has a tag too many."""
    seed = Seeder(server.uri)
    found = seed.call("GET", "experiments/get-by-name", {"experiment_name": "shop"})["experiment"]
    runs = seed.call("POST", "runs/search", {"experiment_ids": [found["experiment_id"]]})["runs"]
    late = {"run_id": runs[0]["info"]["run_id"], "key": "late"}
    seed.log(late["run_id"], tags={"late": "1"})
    try:
        yield
    finally:
        seed.call("POST", "runs/delete-tag", late)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example project."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "own"))


@pytest.mark.long(but=("workers0",))
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_the_example_passes_on_a_good_migration(
    workers: tuple[str, ...], servers: tuple[Server, Server], project: Path
) -> None:
    """Four checks of each of three experiments (Default is one), one of two (it has no run) and two of the whole."""
    run = run_own(project, servers, *workers)
    assert run.status == 0, run.output
    passed = {line.split("::")[-1] for line in run.output.splitlines() if line.startswith("PASSED ")}
    assert len(passed) == 3 * 4 + 2 + 2
    assert "test_the_best_run_is_the_same[experiment=shop]" in passed
    assert "test_nothing_is_unverified[whole-audit]" in passed
    assert run.report["verdict"] == "green"
    assert run.report["sides"]["source"]["points"] == 30
    own = [row for row in run.rows() if row.facet == "own:owner"]
    assert [row.state.value for row in own] == ["match"] * 6
    assert "run own:owner" in run.report["scope"]["facets"]
    assert sum(one["total"] for one in run.report["coverage"] if one["facet"] == "run own:owner") == 6
    assert {row.facet for row in run.rows() if row.kind == "run"} >= {"params", "metrics", "artifacts", "times"}
    # as the shipped checks judge it: nobody asked for its loading
    facets = {row.facet for row in run.rows() if row.kind == "model_version"}
    assert "access" in facets
    assert "loads" not in facets


def test_a_deleted_experiment_beside_is_out_of_scope(servers: tuple[Server, Server], project: Path) -> None:
    """``experiments`` are those that the audit is about: the example passes beside one in the trash."""
    seed = Seeder(servers[0].uri)
    gone = seed.experiment("abandoned")
    seed.delete_experiment(gone)
    try:
        run = run_own(project, servers, "-k", "same_names")
        assert run.status == 0, run.output
        assert "1 passed" in run.output
        # in scope it is missing on the target, and the rule is broken
        run = run_own(project, servers, "-k", "same_names", "--parity-include-deleted")
        assert run.status == 1
        assert run.failed() == {"test_experiments_have_the_same_names"}
        (project / "test_release_rules.py").write_text(
            "def test_scope(parity_source, parity_target):\n"
            "    assert parity_source.experiments == parity_target.experiments == ['shop']\n"
        )
        run = run_own(project, servers, "--parity-experiments", "shop")
        assert run.status == 0, run.output
    finally:
        seed.call("POST", "experiments/restore", {"experiment_id": gone})
        seed.call("POST", "experiments/update", {"experiment_id": gone, "new_name": f"was {gone}"})
        seed.delete_experiment(gone)


def test_own_checks_of_a_snapshot_as_target(servers: tuple[Server, Server], project: Path) -> None:
    """What only a server itself can tell is not judged by an own check either; ids like ours make no difference."""
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "def test_green(parity_audit):\n"
        "    assert parity_audit.green\n"
        "@pytest.mark.parametrize('name', ['shop'])\n"
        "def test_mine(name):\n"
        "    assert name\n"
    )
    assert main(["snapshot", "--source-uri", servers[1].uri, "--to", str(project / "kept")]) == 0
    snapshot = f"{project / 'kept' / 'source'}"
    run = run_own(project, servers, "--target-uri", snapshot)
    assert run.status == 0, run.output
    assert not [row for row in run.rows() if row.facet in ("loads", "resolves")]


_RULES = """
import pytest
def test_cards(parity_experiment, parity_pairs, parity_record):
    for number, pair in enumerate(parity_pairs):
        parity_record(pair, "card", number != 1, key="card.md", source={"pages": [1, 2]}, target={"pages": [1, 3]},
                      explanation="another edition, token=hunter2hunter2")
    for run in parity_experiment.target.runs:
        parity_record(run, "approved", True)
def test_experiments(parity_experiment, parity_record):
    parity_record(parity_experiment, "known", "unverified" if parity_experiment.name == "shop" else "match",
                  explanation="nobody could be asked")
"""


@pytest.mark.long(but=("workers0",))
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_own_rows_stand_in_the_report(workers: tuple[str, ...], servers: tuple[Server, Server], project: Path) -> None:
    """What a rule records is in ledger, coverage, counts and findings, and makes its test and the verdict red."""
    (project / "test_release_rules.py").write_text(_RULES)
    run = run_own(project, servers, *workers)
    assert run.status == 1, run.output
    assert run.failed() == {"test_cards", "test_experiments"}
    states = Counter((row.kind, row.facet, row.state.value) for row in run.rows() if row.facet.startswith("own:"))
    assert states == {
        ("run", "own:card", "match"): 4,
        ("run", "own:card", "mismatch"): 2,
        ("run", "own:approved", "match"): 6,
        ("experiment", "own:known", "match"): 2,
        ("experiment", "own:known", "unverified"): 1,
    }
    card = next(row for row in run.rows() if row.facet == "own:card")
    assert card.note.endswith("test_release_rules.py::test_cards")
    assert card.source_id
    assert card.target_id
    assert card.paired_by
    assert card.source_id != card.target_id
    # of what is on one side only nothing is claimed of the other
    assert all(row.source_id is None for row in run.rows() if row.facet == "own:approved")
    report = run.report
    assert report["verdict"] == "red"
    assert report["totals"]["mismatch"] == 2
    assert report["totals"]["unverified"] == 1
    assert report["objects"] == sum(report["totals"].values()) == len(list(run.rows()))
    assert report["findings_total"] == 3
    assert {one["facet"] for one in report["findings"]} == {"own:card", "own:known"}
    found = next(one for one in report["findings"] if one["facet"] == "own:card")
    assert found["key"] == "card.md"
    assert "root['card.md']['pages'][1]" in found["explanation"]
    assert "hunter2" not in run.output + str(report)
    assert "2 of 6 runs differ in own:card: " in run.output
    assert '1 of 3 experiments has own:known that is not verified (nobody could be asked): "shop"' in run.output
    page = (run.reports / "report.html").read_text(encoding="utf-8")
    assert "own:card" in page
    # the same rules once more say the same: nothing is kept from run to run
    assert len(list(run_own(project, servers, *workers).rows())) == report["objects"]


@pytest.mark.long
def test_own_rows_are_not_for_everything(
    servers: tuple[Server, Server], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test that records nothing is skipped; bad names, states and objects are refused; waivers and repair know it."""
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "from mlflow_parity.core.errors import UsageProblem\n"
        "def test_nothing(parity_experiment, parity_record):\n"
        "    pass\n"
        "def test_refused(parity_source, parity_record):\n"
        "    shop = parity_source.experiment('shop')\n"
        "    for of, facet, state in ((shop, 'My rule', True), (shop, 'x' * 41, True), (shop, 'x', 'waived'),\n"
        "                             (shop, 'x', 'missing'), (shop, 'x', 1), ('shop', 'x', True)):\n"
        "        with pytest.raises(UsageProblem):\n"
        "            parity_record(of, facet, state)\n"
        "    parity_record(shop, 'x', False, source=1, target=object())\n"
    )
    run = run_own(project, servers)
    assert run.status == 1, run.output
    assert run.failed() == {"test_refused"}
    assert "3 skipped" in run.output
    assert [(row.facet, row.name, row.state.value) for row in run.red_rows()] == [("own:x", "shop", "mismatch")]
    assert "parity_record was not called: nothing was judged here" in run.output
    report = str(run.reports / "report.json")
    assert main(["waive", "--from", report]) == 4
    assert "none by an own check" in capsys.readouterr().err
    damaged = read_damage(Path(report), parse_location(servers[1].uri, option="--target-uri"))
    assert (damaged.found, damaged.left) == ([], [])
    assert [one.why.partition(" (")[0] for one in damaged.own] == ["own:x is a rule of an own check"]
    refused = run_own(project, servers, "--parity-recheck", report, "--parity-report-dir", "again")
    assert refused.status == 4
    assert "was found by own checks alone (own:x), and a recheck runs none" in " ".join(refused.output.split())
    waivers = project / "waivers.toml"
    waivers.write_text(
        '[[waiver]]\nobject = ["shop", "experiment", "shop"]\nfacet = "own:x"\nreason = "r"\nowner = "o"\n'
        "expires = 2099-01-01\n"
    )
    refused = run_own(project, servers, "--parity-waivers", str(waivers))
    assert refused.status == 4
    assert "own:x is a rule of an own check and cannot be waived; change the check" in refused.output
    part = run_own(project, servers, "--parity-subset", "1/2")
    assert part.status == 1
    assert "merge does not join rows of own checks, so they cannot be in a part (--parity-subset)" in part.output


@pytest.mark.long
def test_one_object_and_facet_is_one_row(servers: tuple[Server, Server], project: Path) -> None:
    """Whatever is recorded, by how many tests; values that JSON cannot hold and odd ways to the fixture included."""
    (project / "test_release_rules.py").write_text(
        "import numpy as np\n"
        "import pytest\n"
        "from mlflow_parity.pytest_api.own_checks import NotRead\n"
        "@pytest.mark.parametrize('again', [1, 2])\n"
        "def test_keys(parity_pairs, parity_record, again):\n"
        "    for pair in parity_pairs:\n"
        "        for key in ('a', 'b'):\n"
        "            parity_record(pair, 'keys', np.bool_(key == 'a' and again == 1), key=key,\n"
        "                          source=pair.source.params.keys(), target={(1, 2): pair})\n"
        "def test_other(parity_experiment, parity_source, request):\n"
        "    record = request.getfixturevalue('parity_record')\n"
        "    with pytest.raises(NotRead, match='search/ranking of the source is no part of this audit'):\n"
        "        record(parity_source.experiment('search/ranking'), 'other', True)\n"
        "    record(parity_experiment, 'other', False, explanation='\\x1b[2J cleared')\n"
    )
    run = run_own(project, servers, "-k", "shop")
    assert run.status == 1, run.output
    assert "3 failed" in run.output
    assert "\x1b[2J" not in run.output
    own = [(row.facet, row.state.value, row.findings) for row in run.rows() if row.facet.startswith("own:")]
    assert own == [("own:keys", "mismatch", 3)] * 3 + [("own:other", "mismatch", 1)]
    assert "3 of 3 runs differ in own:keys" in run.output


def test_values_may_be_nested_deeply(servers: tuple[Server, Server], project: Path) -> None:
    """A row with such a value stands in the report: what is deeper than an answer may be is told as a text."""
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "def nested(levels, kind):\n"
        "    value = kind(['leaf'])\n"
        "    for _ in range(levels):\n"
        "        value = kind([value])\n"
        "    return value\n"
        "@pytest.mark.parametrize('kind', [list, tuple])\n"
        "@pytest.mark.parametrize('levels', [90, 300, 900, 30_000])\n"
        "def test_deep(parity_experiment, parity_record, levels, kind):\n"
        "    parity_record(parity_experiment, f'deep-{levels}-{kind.__name__}', False,\n"
        "                  source=nested(levels, kind), target=nested(levels + 1, kind))\n"
    )
    run = run_own(project, servers, "--parity-experiments", "shop")
    assert run.status == 1, run.output
    assert "8 failed" in run.output
    assert "Traceback" not in run.output
    assert len({row.facet for row in run.red_rows()}) == 8
    found = {one["facet"]: one for one in run.report["findings"]}
    assert "JSON of more than 100 levels" in found["own:deep-300-tuple"]["source"]
    assert found["own:deep-30000-list"]["source"] == "a list that is nested too deeply to be shown"


@pytest.mark.long
def test_who_ends_pytest_ends_no_row(servers: tuple[Server, Server], project: Path) -> None:
    """A test that records what is wrong and then ends the whole run with status 0 has recorded it."""
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "def test_gone(parity_experiment, parity_record):\n"
        "    parity_record(parity_experiment, 'late', False)\n"
        "    pytest.exit('enough', returncode=0)\n"
    )
    run = run_own(project, servers, "-k", "shop")
    assert run.status == 1, run.output
    assert [(row.facet, row.name) for row in run.red_rows()] == [("own:late", "shop")]


@pytest.mark.parametrize("rules", ["def test_before(parity_audit):\n    assert False\n", ""], ids=["failed", "passed"])
def test_who_ends_pytest_makes_nothing_green(rules: str, servers: tuple[Server, Server], project: Path) -> None:
    """A test that ends the whole run with status 0: what failed before it counts, and so does what did not run."""
    after = "" if rules else "def test_after(parity_audit):\n    assert False\n"
    (project / "test_release_rules.py").write_text(
        f"import pytest\n{rules or 'def test_before(parity_audit): pass'}\n"
        f"def test_gone():\n    pytest.exit('enough', returncode=0)\n{after}"
    )
    run = run_own(project, servers, "--parity-experiments", "shop")
    assert run.status == 1, run.output
    assert "parity: GREEN" not in run.output
    assert run.report["verdict"] == "red"
    assert run.red_rows() == []
    left = "own check that did not run to its end: test_release_rules.py::"
    names = ["test_after[whole-audit]", "test_gone"] if after else ["test_gone"]
    assert [one for one in run.report["reasons"] if one.startswith(left)] == [left + name for name in names]


@pytest.mark.parametrize("workers", [pytest.param((), marks=pytest.mark.long), ("-n", "2")], ids=["alone", "workers"])
def test_a_test_of_ones_own_that_never_ran_is_not_green(
    workers: tuple[str, ...], servers: tuple[Server, Server], project: Path
) -> None:
    """It may use none of our fixtures: where it would have failed, the run would be red, so without it nothing is."""
    # named and numbered as a check of the audit's
    params = "@pytest.mark.parametrize('name', ['shop'])\n"
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "def test_mine(parity_audit): pass\n"
        "def test_release_rule():\n    assert False\n"
        f"{params}def test_params(name):\n    assert False\n"
        "def test_parts(subtests):\n    with subtests.test('one'): pass\n"
        "def test_deselected():\n    assert False\n"
    )
    (project / "conftest.py").write_text(
        "def pytest_runtest_protocol(item):\n    return item.name.startswith(('test_release', 'test_params')) or None\n"
    )
    run = run_own(project, servers, "--parity-experiments", "shop", "-k", "not deselected", *workers)
    assert run.status == 1, run.output
    assert run.red_rows() == []
    left = "own check that did not run to its end: test_release_rules.py::"
    assert run.report["reasons"] == [left + name for name in ("test_params[shop]", "test_release_rule")]


_WARNS = "import warnings\ndef test_mine(parity_audit):\n    warnings.warn('late')\n"
_ENDS = "import pytest\ndef pytest_sessionfinish():\n    pytest.exit('enough', returncode={})\n"


@pytest.mark.parametrize(
    ("rules", "plugin", "option", "status"),
    [
        (_WARNS, "", "--max-warnings=0", 6),
        ("def test_mine(parity_audit): pass\n", _ENDS.format(7), "-v", 7),
        ("def test_mine(parity_audit):\n    assert False\n", _ENDS.format(0), "-v", 1),
    ],
    ids=["warnings", "plugin", "plugin-0"],
)
def test_the_report_ends_as_pytest_does(
    rules: str, plugin: str, option: str, status: int, servers: tuple[Server, Server], project: Path
) -> None:
    """pytest and its plugins set the status last: a run that fails would have left a green report to be signed."""
    (project / "test_release_rules.py").write_text(rules)
    (project / "conftest.py").write_text(plugin)
    xml = project / "junit.xml"
    run = run_own(project, servers, "--parity-experiments", "shop", option, f"--junitxml={xml}")
    assert run.status == status, run.output
    assert run.report["verdict"] == "red"
    assert run.report["exit_status"] == status
    assert f"pytest ended with exit status {status} although the ledger is green" in run.report["reasons"]
    assert run.output.count("parity: RED") == 1
    assert "parity: GREEN" not in run.output
    assert "<title>RED: " in (run.reports / "report.html").read_text()
    assert [path.name for path in run.reports.iterdir() if path.is_dir()] == []
    assert xml.read_text().count('name="mlflow_parity.verdict" value="red"') == 1
    assert 'value="green"' not in xml.read_text()


def test_a_fixture_that_is_asked_for_too_late(servers: tuple[Server, Server], project: Path) -> None:
    """One line says how to name it, instead of a traceback of ours; and the report does not blame the collection."""
    (project / "test_release_rules.py").write_text(
        "import pytest, unittest\n"
        "def test_late(request):\n    request.getfixturevalue('parity_audit')\n"
        "class Case(unittest.TestCase):\n"
        "    @pytest.fixture(autouse=True)\n    def mine(self, parity_audit): pass\n"
        "    def test_mine(self): pass\n"
    )
    run = run_own(project, servers)
    assert run.status == 1, run.output
    assert run.output.count("\nthe fixtures parity_… must be known when pytest collects: name them among the") == 2
    assert "AttributeError" not in run.output
    why = "no verdict: tests failed, and no check was selected; select one (-k, -m, paths)"
    assert run.report["reasons"] == [why]
    (project / "test_release_rules.py").write_text("import nothing_of_that_name\n")
    run = run_own(project, servers, "--continue-on-collection-errors")
    assert run.report["reasons"] == ["no verdict: a check could not be collected"]


@pytest.mark.parametrize("option", ["--setup-only", "--setup-plan"])
def test_what_calls_no_test_is_refused(option: str, servers: tuple[Server, Server], project: Path) -> None:
    """pytest makes the fixtures, or says which, and ends with 0: no check is judged."""
    (project / "pytest.ini").write_text(f"[pytest]\naddopts = {option}\n")
    run = run_own(project, servers)
    assert run.status == 4, run.output
    assert f"{option}: it calls no test, so no check would be judged; leave it out" in run.output
    assert run.report["verdict"] == "none"


@pytest.mark.long
def test_the_command_repeats_own_checks(servers: tuple[Server, Server], project: Path) -> None:
    """Paths, node ids and what selects among them stand in it: repeating it is red where the audit was."""
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "def test_mine(parity_audit):\n    assert False\n"
        "def test_other(parity_audit):\n    assert False\n"
    )
    (project / "test_broken.py").write_text("import nothing_of_that_name\n")
    given = ["test_release_rules.py::test_mine", "test_release_rules.py", "."]
    more = ["--deselect", "test_release_rules.py::test_other", "--ignore", "test_broken.py", "-k", "mine or other"]
    command = [*PYTEST, "-rA", "--source-uri", servers[0].uri, "--target-uri", servers[1].uri]
    command += ["--parity-experiments", "shop", *given, *more]

    def run(command: list[str]) -> AuditRun:
        done = warm.run(command, kind="audit", cwd=project, env=clean_environment())
        return AuditRun(done.returncode, done.stdout + done.stderr, project / "reports")

    first = run(command)
    assert first.status == 1, first.output
    told = first.report["command"]
    assert told[0] == "pytest"
    assert told[-len([*given, *more]) :] == [*given, *more]
    again = run([*PYTEST, "-rA", *told[1:]])
    assert again.status == 1, again.output
    assert again.failed() == first.failed() == {"test_mine"}
    assert again.report["command"] == told


@pytest.mark.long
def test_a_recheck_is_not_green_over_own_rows(servers: tuple[Server, Server], project: Path) -> None:
    """What an own check found is not judged again: after all else is in order the recheck says so, and is red."""
    (project / "test_release_rules.py").write_text(
        "def test_mine(parity_experiment, parity_record):\n    parity_record(parity_experiment, 'mine', False)\n"
    )
    with a_late_tag(servers[1]):
        first = run_own(project, servers, "--parity-experiments", "shop")
    assert {row.facet for row in first.red_rows()} == {"tags", "own:mine"}
    report = str(first.reports / "report.json")
    again = audit(
        project / "again", servers[0].uri, servers[1].uri, "--parity-experiments", "shop", "--parity-recheck", report
    )
    assert again.status == 1, again.output
    assert again.red_rows() == []
    told = " ".join(again.output.split())
    assert "own:mine of report.json" in told
    assert "was not green, and a recheck runs no own check" in told


@pytest.mark.long
def test_a_rerun_replaces_what_was_recorded(servers: tuple[Server, Server], project: Path) -> None:
    """A test that another plugin runs again has recorded once."""
    (project / "test_release_rules.py").write_text(
        "from pathlib import Path\n"
        "def test_flaky(parity_pairs, parity_record):\n"
        "    again = Path('again')\n"
        "    first = not again.exists()\n"
        "    again.touch()\n"
        "    for pair in parity_pairs:\n"
        "        parity_record(pair, 'flaky', not first)\n"
    )
    # as pytest-rerunfailures does it
    (project / "conftest.py").write_text(
        "from _pytest.runner import runtestprotocol\n"
        "def pytest_runtest_protocol(item, nextitem):\n"
        "    runtestprotocol(item, nextitem=nextitem, log=False)\n"
        "    item._initrequest()\n"
        "    runtestprotocol(item, nextitem=nextitem)\n"
        "    return True\n"
    )
    run = run_own(project, servers, "-k", "shop")
    assert run.status == 0, run.output
    assert [row.state.value for row in run.rows() if row.facet == "own:flaky"] == ["match"] * 3


@pytest.mark.long(but=("workers0",))
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_an_own_rule_that_is_broken_is_red(
    workers: tuple[str, ...], servers: tuple[Server, Server], project: Path
) -> None:
    """A failing own check makes the run red beside a green ledger, and the report says which it was."""
    check = project / "test_release_rules.py"
    check.write_text(check.read_text().replace('"team" not in', '"budget" not in'))
    run = run_own(project, servers, "-k", "without_a_team and shop", *workers)
    assert run.status == 1, run.output
    assert run.failed() == {"test_no_run_is_without_a_team"}
    assert run.report["verdict"] == "red"
    assert run.red_rows() == []
    assert {row.experiment for row in run.rows() if row.kind == "run"} == {"shop"}
    assert "pytest ended with exit status 1 although the ledger is green" in run.report["reasons"]
    failed = "test_release_rules.py::test_no_run_is_without_a_team[experiment=shop]"
    assert run.report["reasons"][0] == f"failed test: {failed}"


@pytest.mark.long
def test_a_failed_test_is_known_beside_a_red_ledger(
    servers: tuple[Server, Server], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report names it, history says when it is new, and a recheck that does not run it is not green."""
    scope = ("--parity-experiments", "shop")
    rules = project / "test_release_rules.py"
    recorded = "def test_mine(parity_experiment, parity_record):\n    parity_record(parity_experiment, 'mine', {})\n"
    test = "def test_release(parity_audit):\n    assert {}\n"
    with a_late_tag(servers[1]):
        rules.write_text(recorded.format(False) + test.format(True))
        first = run_own(project, servers, *scope)
        # what rows say needs no other line
        assert len(first.report["reasons"]) == 2
        assert first.failed() == {"test_mine"}
        rules.write_text(recorded.format(True) + test.format(False))
        red = run_own(project, servers, *scope, "-n", "2")
        report = str(red.reports / "report.json")
        still = audit(project / "still", servers[0].uri, servers[1].uri, *scope, "--parity-recheck", report)
    assert red.status == 1, red.output
    name = "test_release_rules.py::test_release[whole-audit]"
    assert red.report["reasons"][-1] == f"failed test: {name}"
    assert len(red.report["reasons"]) == 2
    capsys.readouterr()
    assert main(["history", str(red.reports)]) == 1
    told = capsys.readouterr().out
    assert f"New in the newest: failed test: {name}" in told
    again = audit(project / "again", servers[0].uri, servers[1].uri, *scope, "--parity-recheck", report)
    assert again.status == 1, again.output
    assert again.red_rows() == []
    assert again.report["reasons"][0].startswith(f"{name} of report.json")
    assert "was not green, and a recheck runs no own check" in again.report["reasons"][0]
    # nor is a recheck of a recheck that was red for other reasons too
    report = str(still.reports / "report.json")
    once_more = audit(project / "once more", servers[0].uri, servers[1].uri, *scope, "--parity-recheck", report)
    assert once_more.status == 1, once_more.output
    assert once_more.red_rows() == []
    assert once_more.report["reasons"][0].startswith(f"{name} of report.json")


def test_a_red_ledger_is_red_whatever_own_checks_say(servers: tuple[Server, Server], project: Path) -> None:
    """A check that passes cannot hide a difference in what it did not look at."""
    (project / "test_release_rules.py").unlink()
    (project / "test_mine.py").write_text("def test_params(parity_pairs):\n    assert len(parity_pairs) in (0, 3)\n")
    with a_late_tag(servers[1]):
        run = run_own(project, servers)
    assert run.status == 1, run.output
    assert "3 passed" in run.output
    assert {found[:3] for found in run.findings()} == {("tags", "late", "extra")}


def test_tests_without_our_fixtures_prove_nothing(servers: tuple[Server, Server], project: Path) -> None:
    """They pass, nothing was compared, and the exit status is 5."""
    (project / "test_release_rules.py").write_text("def test_mine():\n    assert True\n")
    run = run_own(project, servers)
    assert "1 passed" in run.output
    assert run.status == 5
    assert run.report["verdict"] == "none"


def test_what_was_not_read_is_an_error(servers: tuple[Server, Server], project: Path) -> None:
    """Parameters of the user's own beside ours work; an experiment out of scope is no empty one."""
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "from mlflow_parity.pytest_api.own_checks import NotRead\n"
        "@pytest.mark.parametrize('least', [1, 2])\n"
        "def test_runs(parity_experiment, parity_source, least):\n"
        "    assert len(parity_experiment.source.runs) > least\n"
        "    assert parity_experiment.source.run('run 1').params == {'lr': '0.1'}\n"
        "    with pytest.raises(KeyError):\n"
        "        parity_experiment.source.run('run 9')\n"
        "    with pytest.raises(NotRead):\n"
        "        parity_source.experiment('search/ranking').runs\n"
    )
    run = run_own(project, servers, "--parity-experiments", "shop")
    assert run.status == 0, run.output
    assert "2 passed" in run.output


@pytest.mark.long
def test_a_history_of_another_part_is_no_missing_metric(servers: tuple[Server, Server], project: Path) -> None:
    """The run has the metric, and its points were not read: a rule that asks whether it is there would be wrong."""
    (project / "test_release_rules.py").write_text(
        "import pytest\n"
        "from mlflow_parity.pytest_api.own_checks import NotRead\n"
        "def test_points(parity_experiment):\n"
        "    unread = 0\n"
        "    for run in parity_experiment.source.runs:\n"
        "        with pytest.raises(KeyError):\n"
        "            run.points('no such metric')\n"
        "        for key in run.metrics:\n"
        "            try:\n"
        "                assert run.points(key)\n"
        "            except NotRead as error:\n"
        "                assert f'of run {run.name} was not read: the run is of another part' in str(error)\n"
        "                unread += 1\n"
        "    print('not read:', bool(unread))\n"
    )
    told = []
    for number in (1, 2):
        run = run_own(project, servers, "--parity-subset", f"{number}/2", "-s")
        assert "3 passed" in run.output, run.output
        told.append("not read: True" in run.output)
    # by chance of their ids all runs may be of one part, once in 32 times
    assert any(told)


def test_without_an_audit_own_checks_are_refused(project: Path) -> None:
    """A plain pytest run of the repository is told what is missing; it is not green."""
    done = warm.run(["-m", "pytest", str(project)], kind="audit", cwd=project, env=clean_environment())
    assert done.returncode != 0
    assert "add --source-uri" in done.stdout + done.stderr


def test_node_ids_tell_what_is_needed() -> None:
    """Only own checks are recognised, with their experiments, whatever parameters are beside."""
    shop, longer = Item("shop", "shop", "1", surplus=False), Item("shop-2", "shop-2", "2", surplus=False)
    model = Item("shop", "shop", "", surplus=False, family="model")
    items = [shop, longer, model]
    asked = own_checks.asked_for
    assert asked("own/test_a.py::test_x[experiment=shop]", items) == [shop]
    assert asked("own/test_a.py::test_x[experiment=shop-2]", items) == [longer]
    assert asked("own/test_a.py::test_x[5-experiment=shop-2]", items) == [shop, longer]
    assert asked("own/test_a.py::test_x[whole-audit]", items) == items
    assert asked("own/test_a.py::test_x[a-whole-audit]", items) == items
    assert asked("checks/test_params.py::test_params[shop]", items) is None
    assert asked("own/test_a.py::test_x[experiment=gone]", items) is None
    assert asked("own/test_a.py::test_x", items) is None


def test_the_page_names_every_fixture() -> None:
    """``docs/own-checks.md`` and the example use what there is."""
    page = (EXAMPLE.parent.parent / "own-checks.md").read_text(encoding="utf-8")
    for name in (
        "parity_source",
        "parity_target",
        "parity_experiment",
        "parity_pairs",
        "parity_audit",
        "parity_record",
    ):
        assert f"`{name}`" in page
    assert os.path.exists(EXAMPLE / "test_release_rules.py")
