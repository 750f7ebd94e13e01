"""Two hops, S to T to U: U is audited against S by the source tags that each migration carries on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.audits import audit
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer
from support.tool import migrate

from mlflow_parity.core.identity.keys import as_copy_of, carried, chain, layers, next_tags

RUN, PARENT = "mlflow_exim.run_info.run_id", "mlflow_exim.mlflow_tag.parentRunId"


def test_each_hop_keeps_those_before() -> None:
    """A third hop names the first source still; formatted times, which are no evidence, stay behind."""
    first = {"team": "a"}
    second = next_tags(first, {RUN: "s", PARENT: "p", "mlflow_exim.run_info._end_time": "noon"})
    third = next_tags(second, {RUN: "t", PARENT: "q"})
    fourth = next_tags(third, {RUN: "u"})
    assert chain(fourth, RUN) == ["u", "t", "s"]
    assert layers(fourth)[1:] == [{RUN: "t", PARENT: "q"}, {RUN: "s", PARENT: "p"}]
    assert fourth["team"] == "a"
    # against each source it is that one's copy
    for source, named, parent in ((first, "s", "p"), (second, "t", "q")):
        found = as_copy_of(fourth, source, {RUN: named})
        assert (found[RUN], found[PARENT], found["team"]) == (named, parent, "a")
    assert as_copy_of(fourth, third, {RUN: "u"}) == fourth
    # one that names another is not taken for its copy
    assert as_copy_of(fourth, first, {RUN: "x"}) == fourth
    assert carried(first) == {}


def _seeded(seed: Seeder) -> None:
    one = seed.experiment("churn", {"team": "a"})
    seed.experiment("empty")
    parent = seed.run(one, "sweep")
    for number in range(2):
        child = seed.run(one, "trial", tags={"mlflow.parentRunId": parent}, start=1_700_000_000_000)
        seed.log(child, params={"depth": str(number)}, metrics=[("loss", float(number), 5, 0)])
        seed.artifact(child, "net/w.bin", str(number).encode())
        seed.end(child)
    seed.end(parent)
    place = seed.call("GET", "runs/get", {"run_id": child})["run"]["info"]["artifact_uri"]
    seed.call("POST", "registered-models/create", {"name": "net"})
    for _ in range(3):
        seed.call("POST", "model-versions/create", {"name": "net", "source": f"{place}/net", "run_id": child})
    # numbers are given again: 2 and 3 stay
    seed.call("DELETE", "model-versions/delete", {"name": "net", "version": "1"})
    seed.call("POST", "registered-models/alias", {"name": "net", "alias": "champion", "version": "3"})


@pytest.mark.long
def test_the_first_source_is_found_on_the_last_target(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Who moved by way of a server in between can still prove that all of the first one arrived; a loss is found."""
    first, between, last = fresh_server(), fresh_server(), fresh_server()
    _seeded(Seeder(first.uri))
    for source, target, name in ((first, between, "one"), (between, last, "two")):
        ends = ("--source-uri", source.uri, "--target-uri", target.uri)
        done = migrate_py(tmp_path / name, "run", *ends, "--work-dir", "w", "--report-dir", "reports")
        assert done.status == 0, done.output
    found = audit(tmp_path / "whole", first.uri, last.uri)
    assert found.status == 0, found.output
    pairs = {(row.kind, row.paired_by) for row in found.rows() if row.facet == "presence"}
    assert {("run", "source-tag"), ("model_version", "source-tag"), ("experiment", "source-tag")} <= pairs
    assert audit(tmp_path / "hop", between.uri, last.uri).status == 0

    # one param altered, and one tag of the first hop forged: both are found, against either source
    with sqlite3.connect(last.database_path) as database:
        database.execute("UPDATE params SET value = '9' WHERE value = '1'")
        database.execute("UPDATE tags SET value = 'x' WHERE key = 'mlflow_exim.hop1.run_info.status' AND run_uuid IN "
                         "(SELECT run_uuid FROM params WHERE value = '0')")  # fmt: skip
    keys = {
        first.uri: {("params", "depth"), ("source_tags", "mlflow_exim.run_info.status")},
        between.uri: {("params", "depth"), ("source_tags", "mlflow_exim.hop1.run_info.status")},
    }
    for uri, wanted in keys.items():
        red = audit(tmp_path / "red", uri, last.uri)
        assert {(facet, key) for facet, key, _, _ in red.findings()} == wanted, red.output


@pytest.mark.long
def test_what_the_tool_writes_over_is_a_loss_with_a_name(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Moved twice by the Export Import tool, nothing tells any more where the first copy came from."""
    first, between, last = fresh_server(), fresh_server(), fresh_server()
    _seeded(Seeder(first.uri))
    migrate(first.uri, between.uri, tmp_path / "one")
    migrate(between.uri, last.uri, tmp_path / "two")
    found = audit(tmp_path / "hop", between.uri, last.uri)
    rows = {(row.kind, row.state.value, row.rules) for row in found.rows() if row.facet == "source_tags"}
    named = {(kind, "expected", (f"{kind}.source_tags.hops",)) for kind in ("experiment", "run")}
    # it moves no version whose files are no model; Default is on every server, and no copy of the tool's
    assert rows == {*named, ("experiment", "expected", ("experiment.source_tags.default",))}
    assert not {facet for facet, _, _, _ in found.findings()} & {"source_tags", "tags"}
