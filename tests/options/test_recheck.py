"""``--parity-recheck report.json``: only what was not green is judged again, and never more is claimed than that."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.attested import audited
from support.audits import AuditRun, audit
from support.copied import copied_pair
from support.report_samples import report as sample
from support.report_samples import side as side_sample
from support.seed import Seeder
from support.servers import FreshServer, ServerPool, copy_database

from mlflow_parity.audit.settings import Recheck
from mlflow_parity.cli import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.options import OPTIONS, resolve
from mlflow_parity.reporting.json_report import render
from mlflow_parity.reporting.kept.earlier import load_recheck
from mlflow_parity.standin.servers import Server


def _run(server: Server, name: str) -> str:
    seed = Seeder(server.uri)
    found = seed.call("POST", "experiments/search", {"max_results": 99})["experiments"]
    ids = [item["experiment_id"] for item in found]
    runs = seed.call("POST", "runs/search", {"experiment_ids": ids, "max_results": 99})["runs"]
    return str(next(run["info"]["run_id"] for run in runs if run["info"]["run_name"] == name))


@pytest.fixture(scope="module")
def red(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """A red audit: one tag too many on one run of the target."""
    Seeder(servers[1].uri).log(_run(servers[1], "failed"), tags={"surplus": "1"})
    return audit(tmp_path_factory.mktemp("red"), servers[0].uri, servers[1].uri)


def _removed(server: Server) -> None:
    Seeder(server.uri).call("POST", "runs/delete-tag", {"run_id": _run(server, "failed"), "key": "surplus"})


@pytest.mark.long
def test_red_then_mended(servers: tuple[Server, Server], red: AuditRun, tmp_path: Path) -> None:
    """The one red check alone is run again: red while the fault is there, then green, and partial all the same."""
    source, target = servers
    report = str(red.reports / "report.json")
    [check] = red.report["not_green"]
    assert check.startswith("run_tags_and_note[")
    again = audit(tmp_path / "again", source.uri, target.uri, "--parity-recheck", report)
    assert again.status == 1, again.output
    assert again.findings() == red.findings()
    assert again.failed() == {"test_run_tags_and_note"}
    _removed(target)
    try:
        for number, more in enumerate(((), ("-n", "2"))):
            fixed = audit(tmp_path / f"fixed {number}", source.uri, target.uri, "--parity-recheck", report, *more)
            assert fixed.status == 0, fixed.output
            assert fixed.report["scope"]["partial"]
            assert "this is a recheck" in fixed.report["scope"]["left_out"][0]
            assert any("1 of 1 red checks are green now" in note for note in fixed.report["notes"])
            assert fixed.report["scope"]["checks"] == ["run_tags_and_note"]
            assert "1 passed" in fixed.output
            assert "GREEN (partial)" in fixed.output
    finally:
        Seeder(target.uri).log(_run(target, "failed"), tags={"surplus": "1"})


@pytest.mark.long
def test_a_check_without_an_object_is_red(servers: tuple[Server, Server], red: AuditRun, tmp_path: Path) -> None:
    """What was red and has no experiment any more was not fixed but lost sight of."""
    other = json.loads((red.reports / "report.json").read_text())
    other["not_green"].append("params[an experiment that is gone]")
    (tmp_path / "report.json").write_text(json.dumps(other))
    done = audit(tmp_path / "run", servers[0].uri, servers[1].uri, "--parity-recheck", str(tmp_path / "report.json"))
    assert done.status == 1
    assert "params[an experiment that is gone]" in done.report["reasons"][0]
    [other] = done.report["other_reasons"]
    assert other == {
        "reason": done.report["reasons"][0],
        "of": "recheck",
        "about": "1 checks: params[an experiment that is gone]",
    }


def test_what_no_check_tells_stays_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parts that contradict each other are not settled by a tag that is right again: red, and what settles it is said.

    A recheck of that recheck knows it from there, and the report whose waiver is gone from the file is settled.
    """
    case = audited(tmp_path / "first")
    options = str(case.folder / "source"), str(case.folder / "target"), "--parity-include-deleted"
    first, path = json.loads((case.reports / "report.json").read_text()), case.reports / "report.json"
    label = next(row["experiment"] for row in first["coverage"] if row["facet"] == "experiment presence")
    check = f"experiment_arrived[{label}]"
    abouts = {
        "parts": "MLmodel files of runs in 'churn' contradict each other across parts",
        "run": "part 2 of 2 is red, although its ledger is green",
        "waiver": "churn / tags",
    }
    others = [{"reason": about, "of": of, "about": about} for of, about in abouts.items()]
    red = {"verdict": "red", "exit_status": 1, "reasons": list(abouts.values()), "other_reasons": others}
    path.write_text(json.dumps({**first, **red, "not_green": [check]}))
    for name in ("again", "once more"):
        done = audit(tmp_path / name, *options, "--parity-recheck", str(path))
        assert done.status == 1, done.output
        assert done.red_rows() == []
        told = done.report["reasons"]
        assert told[0].endswith("no recheck settles it: audit the parts again and merge them, or audit the whole")
        assert told[1].endswith("no recheck settles it: audit the whole again")
        assert told[2:] == [f"not run again: {abouts[of]}" for of in ("parts", "run")]
        path = done.reports / "report.json"
        path.write_text(json.dumps({**done.report, "not_green": [check]}))
    assert main(["history", str(tmp_path / "again" / "reports"), str(tmp_path / "once more" / "reports")]) == 1
    assert "not run again" not in capsys.readouterr().out.partition("New in the newest")[2]
    path.write_text(json.dumps({**done.report, "not_green": []}))
    nothing = audit(tmp_path / "nothing", *options, "--parity-recheck", str(path))
    assert nothing.status == 4, nothing.output
    assert "is told by no check" in nothing.output


@pytest.mark.long
def test_a_narrower_scope_is_no_mend(server_pool: ServerPool, module_server: FreshServer, tmp_path: Path) -> None:
    """What was red and is out of the recheck's scope was not judged again: named, and red."""
    source, target = copied_pair(server_pool, module_server)
    seed = Seeder(target.uri)
    seed.log(_run(target, "child 1"), tags={"surplus": "1"})
    uris = (source.uri, target.uri, "--parity-profile", "same-store", "--parity-two-servers")
    other = {"name": "churn", "description": "another"}
    was = Seeder(source.uri).call("GET", "registered-models/get", {"name": "churn"})["registered_model"]["description"]
    seed.call("PATCH", "registered-models/update", other)
    first = audit(tmp_path / "first", *uris)
    tags, model = sorted(first.report["not_green"], reverse=True)
    assert tags.startswith("run_tags_and_note[")
    assert model.startswith("registered_model_content[")
    seed.call("PATCH", "registered-models/update", {**other, "description": was})
    for number, (scope, left_out, ran) in enumerate(
        [
            (("--parity-models", "price"), model, "run_tags_and_note"),
            (("--parity-experiments", "churn", "-n", "2"), model, "run_tags_and_note"),
            (("-k", "registered"), tags, "registered_model_content"),
        ]
    ):
        report = str(first.reports / "report.json")
        done = audit(tmp_path / str(number), *uris, "--parity-recheck", report, *scope)
        assert done.status == 1, done.output
        assert left_out in done.report["reasons"][0]
        assert "left out" in done.report["reasons"][0]
        assert done.report["scope"]["checks"] == [ran]
        # so that a recheck of this one judges it
        assert left_out in done.report["not_green"]
    for more in ((), ("-n", "2")):
        unmended = {**first.report, "not_green": [model]}
        (tmp_path / "report.json").write_text(json.dumps(unmended))
        nothing = ("--parity-recheck", str(tmp_path / "report.json"), "--parity-experiments", "churn", *more)
        done = audit(tmp_path / f"nothing {len(more)}", *uris, *nothing)
        assert done.status == 5, done.output
        assert "no verdict: none of the 1 red checks of report.json of" in done.output


@pytest.mark.long
def test_what_was_one_too_many_and_is_gone(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Mended by removing it: green, and said so, though no test of it is left; out of scope it is lost sight of."""
    uris, seed, name = (servers[0].uri, servers[1].uri), Seeder(servers[1].uri), "one too many"
    experiment = seed.experiment(name)
    seed.call("POST", "registered-models/create", {"name": name})
    first = audit(tmp_path / "first", *uris, "-k", "arrived")
    checks = {"experiment_arrived", "registered_models_arrived"}
    assert set(first.report["not_green"]) == {f"{check}[{name}~target-only]" for check in checks}
    recheck = ("--parity-recheck", str(first.reports / "report.json"))
    seed.call("DELETE", "registered-models/delete", {"name": name})
    half = audit(tmp_path / "half", *uris, *recheck)
    assert half.status == 1, half.output
    assert {(row.kind, row.state.value) for row in half.rows()} == {
        ("experiment", "extra"),
        ("registered_model", "match"),
    }
    seed.delete_experiment(experiment)
    done = audit(tmp_path / "gone", *uris, *recheck, "-n", "2")
    assert done.status == 0, done.output
    assert done.report["scope"]["partial"]
    assert [note for note in done.report["notes"] if "2 of 2 red checks are green now" in note]
    assert f"not on the target any more: {name}" in done.report["notes"]
    assert f"not on the target any more: registered model {name}" in done.report["notes"]
    less = audit(tmp_path / "less", *uris, *recheck, "--parity-exclude-experiments", "Default")
    assert less.status == 5, less.output
    assert "none of the 2 red checks" in less.output


def test_what_can_be_said_to_be_gone() -> None:
    """Only what was one too many, of a family that was listed, under a scope and names that are no narrower."""
    arrived = ("experiment_arrived", "prompts_arrived", "prompt_versions_arrived_once")
    checks = {f"{check}[x~target-only]" for check in arrived}
    recheck = Recheck("report.json", "", "", frozenset({*checks, "params[y]", "experiment_arrived[z]"}), covered=True)

    def gone(*present: Family, has: str = "y") -> set[tuple[str, str]]:
        return {(item.family, item.id) for item in recheck.gone({family: {has} for family in present})}

    assert gone("experiment", "prompt") == {("experiment", "x~target-only"), ("prompt", "x~target-only")}
    assert gone("experiment") == {("experiment", "x~target-only")}
    assert gone("experiment", "prompt", has="x") == set()
    recheck = replace(recheck, covered=False)
    assert gone("experiment", "prompt") == set()


_SCOPE = {"depth": "digest", "profile": "export-import", "include_deleted": False}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"not_green": []}, "nothing to judge again"),
        ({"not_green": 3}, "does not say which checks"),
        ({"format_version": "0"}, "not a report of format"),
        ({"findings": None}, "damaged"),
        ({"sides": {}}, "damaged"),
        ({"coverage": None}, "damaged"),
        ({"coverage": [{"facet": "own x", "counts": {"match": "1"}}]}, "damaged"),
        ({"notes": 5}, "damaged"),
        ({"scope": {**_SCOPE, "evidence": "guessed"}}, "damaged"),
        ({"scope": {**_SCOPE, "experiments": 7}}, "damaged"),
        ({"scope": {}}, "damaged"),
        ({"scope": {"depth": "deep", "profile": "export-import", "include_deleted": False}}, "damaged"),
        ({"scope": {"depth": "full", "profile": "export-import", "include_deleted": False}}, "add --parity-depth full"),
        (
            {"scope": {"depth": "listing", "profile": "same-store", "include_deleted": True}},
            "add --parity-profile same-store --parity-include-deleted",
        ),
    ],
)
def test_a_report_that_will_not_do(
    servers: tuple[Server, Server], red: AuditRun, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    """One line, exit status 4."""
    content = {**json.loads((red.reports / "report.json").read_text()), **change}
    (tmp_path / "report.json").write_text(json.dumps(content))
    done = audit(tmp_path / "run", servers[0].uri, servers[1].uri, "--parity-recheck", str(tmp_path / "report.json"))
    assert done.status == 4, done.output
    assert says in done.output
    assert "Traceback" not in done.output


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "judged", "less"),
    [
        ("bytes", (), ("--parity-depth", "listing")),
        ("deleted", ("--parity-include-deleted",), ()),
    ],
)
def test_looking_less_closely_is_no_mend(
    server_pool: ServerPool,
    module_server: FreshServer,
    tmp_path: Path,
    fault: str,
    judged: tuple[str, ...],
    less: tuple[str, ...],
) -> None:
    """A fault that a shallower audit cannot see is not called fixed by it: the recheck is refused, and says how."""
    source, target = copied_pair(server_pool, module_server)
    run, seed = _run(target, "child 0"), Seeder(target.uri)
    if fault == "bytes":
        seed.artifact(run, "notes.txt", b"of child X\n")
    else:
        for server in (source, target):
            Seeder(server.uri).delete_run(run)
        with sqlite3.connect(target.database_path) as database:
            database.execute("UPDATE params SET value = '0.9' WHERE run_uuid = ?", (run,))
    uris = (source.uri, target.uri, "--parity-profile", "same-store", "--parity-two-servers")
    first = audit(tmp_path / "first", *uris, *judged)
    [check] = first.report["not_green"]
    assert check.startswith("artifacts[" if fault == "bytes" else "params[")
    recheck = ("--parity-recheck", str(first.reports / "report.json"))
    again = audit(tmp_path / "less", *uris, *recheck, *less)
    assert again.status == 4, again.output
    assert f"add {' '.join(judged or ('--parity-depth', 'digest'))}" in again.output
    assert audit(tmp_path / "same", *uris, *recheck, *judged).findings() == first.findings()
    deeper = audit(tmp_path / "deeper", *uris, *recheck, "--parity-include-deleted", "--parity-depth", "full")
    assert deeper.status == 1, deeper.output


@pytest.mark.parametrize(
    ("beside", "given", "says"),
    [
        ({"target": {"database": "postgresql://h/d"}}, {}, "--target-db postgresql://h/d"),
        (
            {"source": {"database": "mysql://h/d"}, "target": {"database": "mysql://h/e"}},
            {"target-db": "mysql://u:p@h/e"},
            "--source-db mysql://h/d",
        ),
        ({"source": {"own_artifacts": "s3://bucket/a b"}}, {}, "--parity-source-artifacts 's3://bucket/a b'"),
        ({"target": {"own_artifacts": "s3://bucket/x"}}, {"target-artifacts": "s3://bucket/x"}, ""),
        ({"source": {"database": "mysql://h/d"}}, {"source-db": "mysql://u:p@h/d"}, ""),
        # what a snapshot was read from is not read again
        ({"source": {"kind": "snapshot", "database": "mysql://h/d", "own_artifacts": "s3://bucket/x"}}, {}, ""),
        ({}, {"source-db": "mysql://u:p@h/d"}, ""),
    ],
)
def test_what_was_read_beside_the_api_is_read_again(
    tmp_path: Path, beside: dict[str, dict[str, str]], given: dict[str, str], says: str
) -> None:
    """Else a contradiction that only the database or the storage showed is green as soon as nobody looks there."""
    ends = {"source": "http://a", "target": "http://b"}
    values = {
        "source-uri": ends["source"],
        "target-uri": ends["target"],
        **{option.name: option.default for option in OPTIONS if option.default},
        "evidence": "sha256",
        **given,
    }
    sides = {name: side_sample(location=uri, **beside.get(name, {})) for name, uri in ends.items()}
    path = tmp_path / "report.json"
    path.write_text(render(sample(sides=sides, not_green=("params[churn]",))))
    settings = resolve(values, {})
    if says:
        with pytest.raises(UsageProblem, match=re.escape(f"add {says}") + "$"):
            load_recheck(str(path), settings)
    else:
        assert load_recheck(str(path), settings).checks == {"params[churn]"}


@pytest.mark.long
def test_a_database_that_contradicts_its_server_stays_red(
    servers: tuple[Server, Server], fresh_server: FreshServer, tmp_path: Path
) -> None:
    """The audit with a database that is not up to date is red; a recheck without it is refused, and one with it red."""
    old = tmp_path / "old.db"
    copy_database(servers[0].database_path, old)
    with closing(sqlite3.connect(old)) as database, database:
        database.execute("UPDATE params SET value = '9' WHERE rowid = (SELECT min(rowid) FROM params)")
    uris, beside = (servers[0].uri, servers[1].uri), ("--source-db", f"sqlite:///{old}")
    first = audit(tmp_path / "first", *uris, *beside)
    assert first.status == 1, first.output
    assert first.report["sides"]["source"]["database"] == f"sqlite:///{old}"
    assert first.report["sides"]["target"]["database"] == ""
    recheck = ("--parity-recheck", str(first.reports / "report.json"))
    without = audit(tmp_path / "without", *uris, *recheck)
    assert without.status == 4, without.output
    assert f"add {' '.join(beside)}" in without.output
    again = audit(tmp_path / "again", *uris, *recheck, *beside)
    assert again.status == 1, again.output


def test_a_report_of_other_servers(servers: tuple[Server, Server], red: AuditRun, tmp_path: Path) -> None:
    """Source and target exchanged: refused, both named."""
    report = str(red.reports / "report.json")
    done = audit(tmp_path, servers[1].uri, servers[0].uri, "--parity-recheck", report)
    assert done.status == 4
    assert "of another source" in done.output
