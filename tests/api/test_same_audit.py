"""``mlflow_parity.audit`` is the command's audit: the same ledger and report, of a red and a green pair."""

from __future__ import annotations

import ast
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.altering import altered
from support.audits import AuditRun, audit
from support.seed import Seeder

import mlflow_parity
from mlflow_parity.api import AuditReport
from mlflow_parity.plugin import checks_folder
from mlflow_parity.pytest_api import session
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.standin.servers import Server

#: A param, a tag and a metric that differ; a run without its copy comes beside.
_FAULTS = (
    "UPDATE params SET value = 'other' WHERE rowid = (SELECT min(rowid) FROM params)",
    "DELETE FROM latest_metrics WHERE rowid = (SELECT max(rowid) FROM latest_metrics)",
    "UPDATE tags SET value = 'other' WHERE key = 'mlflow.runName' AND rowid = "
    "(SELECT min(rowid) FROM tags WHERE key = 'mlflow.runName')",
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[\d,.]+ s\b")


@pytest.fixture(scope="module", params=["green", "faults"])
def both(
    request: pytest.FixtureRequest, servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory
) -> tuple[AuditRun, AuditReport]:
    """The command's audit and ours of the same pair, each in a folder of its own."""
    source, target = servers
    folder = tmp_path_factory.mktemp("same")
    with nullcontext() if request.param == "green" else altered(target.database_path, _FAULTS):
        if request.param == "faults":
            Seeder(source.uri).experiment("only here")
        command = audit(folder / "command", source.uri, target.uri, "--parity-report-dir", str(folder / "r"))
        # the same folder, so that nothing differs by its name
        (folder / "r").rename(folder / "command-reports")
        ours = mlflow_parity.audit(source=source.uri, target=target.uri, report_dir=folder / "r")
    assert ours.verdict == ("green" if request.param == "green" else "red")
    return AuditRun(command.status, command.output, folder / "command-reports"), ours


def _lasting(report: dict[str, Any]) -> dict[str, Any]:
    report = {**report, "sides": {name: dict(side) for name, side in report["sides"].items()}}
    del report["created"], report["timings"]
    for side in report["sides"].values():
        del side["read_from"], side["read_to"]
    # rows are written in the order in which threads finish, so only the rows themselves are the same: see below
    del report["ledger_digest"], report["page_digest"]
    return report


def test_the_report_is_the_command_s(both: tuple[AuditRun, AuditReport]) -> None:
    """Verdict, exit status, reasons, coverage, findings, checks, digests of snapshots, the command that repeats it."""
    command, ours = both
    assert _lasting(ours.to_dict()) == _lasting(command.report)
    assert (ours.exit_status, ours.green, ours.verdict) == (
        command.status,
        command.status == 0,
        command.report["verdict"],
    )
    assert json.loads(ours.paths["report.json"].read_text(encoding="utf-8")) == ours.to_dict()
    first, second = (
        path.read_text(encoding="utf-8") for path in (ours.paths["report.html"], command.reports / "report.html")
    )
    plain = [_TIME.sub("", re.sub(r"[0-9a-f]{64}", "", text)) for text in (first, second)]
    assert plain[0] == plain[1]


def test_the_ledger_is_the_command_s(both: tuple[AuditRun, AuditReport]) -> None:
    """Row by row, with what proves that files are equal; as a table of Arrow and of pandas too."""
    command, ours = both
    rows = [
        sorted(map(repr, read_rows(path, evidence=True)))
        for path in (ours.ledger_path, command.reports / "ledger.parquet")
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == ours.ledger.num_rows == len(ours.to_pandas("ledger")) > 100
    red = ours.to_pandas("ledger").query("state not in ['match', 'expected', 'waived']")
    assert (len(red) > 0) is (not ours.green)
    assert len(ours.to_pandas("findings")) == ours.findings.num_rows == len(ours.to_dict()["findings"])
    assert int(ours.to_pandas("coverage")["failed"].sum()) == len(red)


def test_a_check_that_fails_is_red_although_the_ledger_is_green(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the command: a promise of which nothing was compared is none that is kept."""
    monkeypatch.setattr(session, "not_green_checks", lambda _: ("params[churn]",))
    snapshot = mlflow_parity.snapshot(source=servers[0].uri, folder=tmp_path / "kept")
    found = mlflow_parity.audit(source=snapshot, target=servers[0].uri, report_dir=tmp_path / "r", profile="same-store")
    assert (found.verdict, found.green, found.exit_status) == ("red", False, 1)
    assert found.reasons == ("pytest ended with exit status 1 although the ledger is green",)


def test_each_check_only_asks_the_ledger() -> None:
    """No check judges anything by itself, so that the ledger alone decides without pytest as well."""
    paths = sorted(checks_folder().glob("test_*.py"))
    assert len(paths) > 20
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                _, *body = node.body
                assert [ast.unparse(one) for one in body] == ["parity_audited.keeps()"], f"{path.name}: {node.name}"
                assert not node.decorator_list


def test_the_same_tests_are_asked_for(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """What pytest collects and what is audited here are the same checks of the same objects."""
    from mlflow_parity.api.given import audit_values
    from mlflow_parity.core.redaction import Redactor
    from mlflow_parity.pytest_api.beginning import begun
    from mlflow_parity.pytest_api.session import Main

    source, target = servers
    shown = audit(tmp_path, source.uri, target.uri, "--collect-only", "-q").output
    collected = sorted(line[line.index("::") :] for line in shown.splitlines() if "::test_" in line)
    values = audit_values({"source": source.uri, "target": target.uri, "report_dir": str(tmp_path / "r")})
    found = begun(values, Redactor.from_environment())
    main = Main(found.settings, found.redactor, found.command, found.reports)
    try:
        main.take_inventory()
        assert sorted(main.every_check()) == collected
        assert len(collected) > 50
    finally:
        main.close()
