"""The audit of ``migrate.py`` is not decided by the folder that it is called in, and 0 means that all was looked at."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.migrations import ROOT, migrate_py
from support.seed import EPOCH, Seeder
from support.servers import FreshServer

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.migrating.command import parser
from mlflow_parity.migrating.settings import settings_of
from mlflow_parity.migrating.verifying import audit_environment, not_covered, not_proved
from mlflow_parity.reporting.kept.earlier import recount
from mlflow_parity.reporting.ledger import LedgerWriter
from mlflow_parity.standin.servers import Server, clean_environment

#: Written by whatever of the hostile folder was run.
_RAN = "import pathlib; pathlib.Path({mark!r}).touch()\n"


@dataclass(frozen=True, slots=True)
class Moved:
    """A migration that was green, and the folder in which it was made."""

    source: Server
    target: Server
    folder: Path

    def ends(self, *more: str) -> list[str]:
        """Arguments of both ends and of relative folders."""
        ends = ["--source-uri", self.source.uri, "--target-uri", self.target.uri]
        return [*ends, "--work-dir", "work", "--report-dir", "reports", *more]

    @property
    def run(self) -> AuditRun:
        """The newest report."""
        return AuditRun(0, "", self.folder / "reports")


@pytest.fixture(scope="module")
def moved(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """Two experiments, migrated under new names that a file in the current folder gives; the audit is green."""
    source, target = module_server(), module_server()
    seed = Seeder(source.uri)
    for name in ("shop", "search"):
        run = seed.run(seed.experiment(name), f"in {name}")
        seed.log(run, params={"lr": "0.1"}, metrics=[("loss", 1.5, EPOCH, 0)])
        seed.artifact(run, "notes.txt", b"notes\n")
        seed.end(run)
    folder = tmp_path_factory.mktemp("team") / "project" / "here"
    folder.mkdir(parents=True)
    (folder / "names.toml").write_text('[experiments]\nshop = "store"\n')
    found = Moved(source, target, folder)
    done = migrate_py(folder, "run", *found.ends("--rename", "names.toml"))
    assert done.status == 0, done.output
    assert not found.run.report["scope"]["partial"]
    return found


def _alter(server: Server, name: str, value: str) -> None:
    """Give the target's only run of an experiment another note."""
    seed = Seeder(server.uri)
    found = seed.call("POST", "experiments/search", {"max_results": 9})["experiments"]
    [there] = [one["experiment_id"] for one in found if one["name"] == name]
    [run] = seed.call("POST", "runs/search", {"experiment_ids": [there]})["runs"]
    seed.log(run["info"]["run_id"], tags={"mlflow.note.content": value})


@pytest.mark.long
def test_the_current_folder_decides_nothing(moved: Moved) -> None:
    """An ini file, one further up, a conftest, a library's name, variables: red stays red, and nothing of it runs."""
    marks = {name: moved.folder / f"{name} ran" for name in ("conftest", "orjson", "plugin", "sitecustomize")}
    for name, mark in marks.items():
        (moved.folder / f"{name}.py").write_text(_RAN.format(mark=str(mark)))
    (moved.folder / "pytest.ini").write_text('[pytest]\naddopts = -k "params"\nparity_experiments = search\n')
    (moved.folder.parent.parent / "pyproject.toml").write_text('[tool.pytest.ini_options]\nparity_depth = "listing"\n')
    hostile = {
        "MLFLOW_PARITY_DEPTH": "listing",
        "MLFLOW_PARITY_EXCLUDE_EXPERIMENTS": "shop",
        "PYTEST_ADDOPTS": "-k params",
        "PYTEST_PLUGINS": "plugin",
        "PYTHONPATH": "",
    }
    _alter(moved.target, "store", "altered")
    try:
        # not warm: what is imported is the point
        done = subprocess.run(
            [sys.executable, str(ROOT / "migrate.py"), "verify", *moved.ends("--rename", "names.toml")],
            cwd=moved.folder, env=clean_environment(hostile), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    finally:
        for file in (*(moved.folder / f"{name}.py" for name in marks), moved.folder / "pytest.ini"):
            file.unlink()
        (moved.folder.parent.parent / "pyproject.toml").unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert [name for name, mark in marks.items() if mark.exists()] == []
    report = moved.run.report
    assert report["verdict"] == "red"
    assert (report["scope"]["depth"], report["scope"]["experiments"], report["scope"]["excluded"]) == ("digest", [], [])
    assert not report["scope"]["partial"]
    assert {one["facet"] for one in report["findings"]} == {"note"}
    # paths in the command hold elsewhere too
    assert str(moved.folder / "names.toml") in report["command"]


@pytest.mark.long
def test_no_library_is_taken_from_the_current_folder(tmp_path: Path) -> None:
    """``python -m mlflow_parity`` does what the installed command does: Python's habit would import from here."""
    for name in ("orjson", "requests", "boto3"):
        (tmp_path / f"{name}.py").write_text(_RAN.format(mark=str(tmp_path / f"{name} ran")))
    command = [sys.executable, "-m", "mlflow_parity", "migrate", "plan", "--source-uri", "http://127.0.0.1:9"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "did not respond like an MLflow server" in done.stdout + done.stderr
    assert list(tmp_path.glob("* ran")) == []


@pytest.mark.long
def test_a_repair_of_a_part_is_not_the_whole(moved: Moved, tmp_path: Path) -> None:
    """What a limited report names is repaired, and the recheck is green; 0 would say that the rest was looked at."""
    _alter(moved.target, "search", "altered too")
    names = ["--parity-rename", str(moved.folder / "names.toml")]
    part = audit(tmp_path, moved.source.uri, moved.target.uri, *names, "--parity-experiments", "search", "-k", "note")
    assert part.status == 1, part.output
    report = str(part.reports / "report.json")
    done = migrate_py(moved.folder, "repair", *moved.ends("--rename", "names.toml", "--report", report))
    assert "GREEN (partial)" in done.output, done.output
    assert done.status == 1
    [line] = [line for line in done.output.splitlines() if "does not cover the migration" in line]
    assert "it was limited to other names (experiments: search)" in line
    assert line.endswith("run `migrate.py verify` for the whole")


def _cut(*keys: str, to: object) -> Callable[[Any], None]:
    def edit(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return edit


def _without_check(content: Any) -> None:
    content["scope"]["checks"].remove("params")


def _without_experiments(content: Any) -> None:
    content["sides"]["source"]["experiments"] = 0
    _without_check(content)


GAPS: dict[str, tuple[Callable[[Any], object], str]] = {
    "names": (_cut("scope", "experiments", to=["shop"]), "limited to other names (experiments: shop)"),
    "excluded": (_cut("scope", "excluded", to=["s*"]), "limited to other names (excluded: s*)"),
    "depth": (_cut("scope", "depth", to="listing"), "no bytes of files were compared"),
    "profile": (_cut("scope", "profile", to="same-store"), "judged by the profile same-store"),
    "-k": (_without_check, "checks were not run (test_params)"),
    "items": (lambda content: content["scope"]["left_out"].append("1 of 3 experiments were not selected"),
              "left out was: 1 of 3 experiments were not selected"),
    "no experiment": (_without_experiments, "checks were not run (test_params)"),
    "damaged": (_cut("sides", "source", "deleted", to={"x": 1}), "parts of the report are not there"),
    "partial": (_cut("scope", "partial", to=True), "the report says that it is partial"),
}  # fmt: skip


@pytest.mark.parametrize("gap", GAPS)
def test_a_green_audit_of_less_is_named(moved: Moved, gap: str) -> None:
    """The report of the whole migration covers it; with one thing less it does not, and that is said."""
    settings = settings_of(parser().parse_args(["verify", *moved.ends()]), {})
    report = copy.deepcopy(moved.run.report)
    assert not_covered(report, settings) == ""
    change, words = GAPS[gap]
    change(report)
    assert words in not_covered(report, settings)


def test_what_the_options_name_is_enough(moved: Moved) -> None:
    """Limits of the migration itself make the audit partial, and are covered: 0; what they do not name is missed."""
    done = migrate_py(moved.folder, "verify", *moved.ends("--rename", "names.toml", "--experiments", "search"))
    report = moved.run.report
    assert (done.status, report["scope"]["partial"]) == (0, True), done.output
    wider = settings_of(parser().parse_args(["verify", *moved.ends("--experiments", "search", "--models", "x")]), {})
    assert "limited to other names (models: none)" in not_covered(report, wider)
    deleted = settings_of(parser().parse_args(["verify", *moved.ends("--experiments", "search")]), {})
    assert not_covered(report, deleted) == ""
    deleted = settings_of(
        parser().parse_args(["verify", *moved.ends("--experiments", "search", "--include-deleted")]), {}
    )
    assert "deleted experiments and runs were left out" in not_covered(report, deleted)


def test_a_report_is_held_against_its_ledger(moved: Moved, tmp_path: Path) -> None:
    """One that was edited to green, or whose ledger holds something else, proves nothing."""
    settings = settings_of(parser().parse_args(["verify", *moved.ends()]), {})
    assert settings.source is not None
    assert settings.target is not None
    content, path = copy.deepcopy(moved.run.report), str(moved.folder / "reports" / "report.json")
    was = content["verdict"]
    content.update(verdict="green", exit_status=0)
    began = content["created"]
    sides = {"source": settings.source.display, "target": settings.target.display}
    assert not_proved(content, sides, began) == ""
    assert "before this audit began" in not_proved(content, sides, "2999-01-01T00:00:00Z")
    assert "of another source" in not_proved(content, {**sides, "source": "http://other"}, began)
    assert "the report says red" in not_proved({**content, "verdict": "red"}, sides, began)
    assert bool(recount(content, path, "--report")) == (was == "red")
    content["coverage"][0]["counts"] = {"match": 1_000}
    assert "its ledger says otherwise" in recount(content, path, "--report")
    empty = tmp_path / "ledger.parquet"
    with LedgerWriter(empty):
        pass
    nothing = {**content, "coverage": [], "ledger_digest": file_sha256(empty)}
    assert recount(nothing, str(tmp_path / "report.json"), "--report") == "its ledger is empty"
    with pytest.raises(UsageProblem, match="is damaged: parts of the report are not there"):
        recount({**content, "coverage": [{"counts": {"match": 1}}]}, path, "--report")
    with pytest.raises(UsageProblem, match="is not the ledger of"):
        recount({**content, "ledger_digest": "0" * 64}, path, "--report")


def test_the_environment_of_the_audit(tmp_path: Path) -> None:
    """Relative files stay what they were; options of others are left behind, and folders of imports but our own."""
    given = {
        "PYTEST_ADDOPTS": "-k x", "PYTEST_PLUGINS": "x", "MLFLOW_PARITY_WAIVERS": "w.toml", "PYTHONOPTIMIZE": "2",
        "AWS_SHARED_CREDENTIALS_FILE": "keys", "TARGET_MLFLOW_TRACKING_SERVER_CERT_PATH": "ca.pem",
        "AWS_CONFIG_FILE": "~/.aws/config", "SSL_CERT_FILE": "/etc/ca.pem", "AWS_PROFILE": "migrator",
        "PYTHONPATH": os.pathsep.join(["", ".", "lib", "/opt/lib", str(tmp_path)]),
    }  # fmt: skip
    env = audit_environment(given, {"MLFLOW_PARITY_SOURCE_URI": "http://old"}, tmp_path)
    assert env == {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys"),
        "TARGET_MLFLOW_TRACKING_SERVER_CERT_PATH": str(tmp_path / "ca.pem"),
        "AWS_CONFIG_FILE": "~/.aws/config", "SSL_CERT_FILE": "/etc/ca.pem", "AWS_PROFILE": "migrator",
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "lib"), "/opt/lib"]),
        "PYTHONSAFEPATH": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "MLFLOW_PARITY_SOURCE_URI": "http://old",
    }  # fmt: skip
