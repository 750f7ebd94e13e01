"""Workspaces: which one is read, what is said of the others, and that only one is migrated."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.memory import Store, run_audit

from mlflow_parity.audit.side import Side
from mlflow_parity.core.errors import LocationError, UsageProblem
from mlflow_parity.core.locations import Location, in_workspace, parse_location
from mlflow_parity.core.records import Entity, Experiment
from mlflow_parity.migrating.plan.limits import unwritten
from mlflow_parity.migrating.settings import settings_of
from mlflow_parity.migrating.survey import Survey
from mlflow_parity.options import resolve
from mlflow_parity.pytest_api.repeating import command_line
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot

SERVER = parse_location("http://127.0.0.1:5", option="--source-uri")
OTHER = Entity("workspace", "team", "team", "", None, {}, error="nothing of it was read; set it")


def test_the_sides_own_variable_comes_first() -> None:
    """``SOURCE_MLFLOW_WORKSPACE`` beats ``MLFLOW_WORKSPACE``; without both nothing is chosen."""
    both = {"MLFLOW_WORKSPACE": "all", "SOURCE_MLFLOW_WORKSPACE": " team "}
    assert in_workspace(SERVER, "source", both).workspace == "team"
    assert in_workspace(SERVER, "target", both).workspace == "all"
    assert in_workspace(SERVER, "source", {}) == SERVER


@pytest.mark.parametrize("name", ["a b", "a\r\nX-Evil: 1", "ü", "a/b"])
def test_a_name_that_no_header_carries_is_refused(name: str) -> None:
    """One line that names the variable."""
    with pytest.raises(LocationError, match=r"source: MLFLOW_WORKSPACE: .* is no workspace's name"):
        in_workspace(SERVER, "source", {"MLFLOW_WORKSPACE": name})


@pytest.mark.parametrize(("name", "sent"), [("", None), ("team", "team")])
def test_the_header_is_sent_only_where_a_workspace_was_chosen(name: str, sent: str | None) -> None:
    """Servers without workspaces refuse the header, so that nothing is sent unasked."""
    location = replace(SERVER, workspace=name)
    session = Session(location, credentials(location, "source", {}))
    assert session._http.headers.get("X-MLFLOW-WORKSPACE") == sent
    session.close()


def test_two_workspaces_of_one_server_are_two_places() -> None:
    """They may be compared; location and command say which was read."""
    values = {"source-uri": "http://h:5", "target-uri": "http://h:5", "workers": "8", "max-findings": "9",
              "report-dir": "r"}  # fmt: skip
    with pytest.raises(UsageProblem, match="same location"):
        resolve(values, {})
    settings = resolve(values, {"SOURCE_MLFLOW_WORKSPACE": "team"})
    assert settings.source.display == "http://h:5 (workspace team)"
    command = command_line({"source-uri": "http://h:5"}, settings, ())
    assert command == ("SOURCE_MLFLOW_WORKSPACE=team", "pytest", "--source-uri", "http://h:5")


def test_a_snapshot_of_another_workspace_is_refused(tmp_path: Path) -> None:
    """One that holds the default workspace does not stand for ``team``, nor the other way round."""
    for kept, wanted in (("", "team"), ("team", "default")):
        root = tmp_path / (kept or "default")
        Snapshot.create(root, Origin("http://h", "http", "3.17.2", {}, kept), []).finish()
        with pytest.raises(UsageProblem, match=f"is of the workspace {kept or 'default'}, not of {wanted}"):
            Side("source", Location("snapshot", str(root), workspace=wanted), None)
        assert Side("source", Location("snapshot", str(root), workspace=kept), None).snapshot.origin.workspace == kept


@pytest.mark.parametrize("sides", [(1, 0), (0, 1), (1, 1)])
def test_another_workspace_that_nobody_left_out_is_red(sides: tuple[int, int]) -> None:
    """On the source, on the target, on both under one name: it is never green, and it is named."""
    stores = []
    for number in sides:
        experiment = Experiment("0", "Default", "active", "mlflow-artifacts:/0", 1, 2, {})
        stores.append(Store(experiments=[experiment], objects=[OTHER] * number))
    result = run_audit(*stores, checks=["workspaces"]).result
    assert not result.green
    assert {finding.name for finding in result.findings} == {"team"}


def test_migrate_refuses_a_source_with_several_workspaces() -> None:
    """The preflight blocks, and names what has to be made by hand."""
    found = unwritten(Survey(objects=Counter(workspace=2, gateway_secret=3)))
    assert [(one.level, one.code) for one in found] == [("warning", "source.secrets"), ("error", "source.workspaces")]
    assert "3 gateway secrets" in found[0].what
    assert "2 workspaces beside the default one" in found[1].what
    assert not unwritten(Survey())


@pytest.mark.long
def test_migrate_refuses_a_chosen_workspace() -> None:
    """Its own requests would go to the default workspace, and those of MLflow's client to the other."""
    args: argparse.Namespace = SimpleNamespace(  # type: ignore[assignment]
        batch_size=10, workers=2, source_uri="http://a", source_arn=None, target_uri="http://b", target_arn=None
    )
    with pytest.raises(UsageProblem, match=r"TARGET_MLFLOW_WORKSPACE is set, and a migration moves the default"):
        settings_of(args, {"TARGET_MLFLOW_WORKSPACE": "team"})
