"""One server under two addresses is never compared with itself, and nothing is migrated into its own source."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import certificates
from support.audits import AuditRun, audit
from support.contract_case import source as contract_source
from support.looking import state
from support.memory import run_audit
from support.migrations import migrate_py
from support.proxy import Fault, Proxy, proxying
from support.seed import Seeder, pairs
from support.servers import FreshServer, copy_database, emptied

import mlflow_parity
from mlflow_parity.audit.limits import held_by_both
from mlflow_parity.cli import main
from mlflow_parity.comparing.unpaired import is_default
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import parse_location
from mlflow_parity.reading import Reader, open_reader
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server

SAME = ("--parity-profile", "same-store")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A key and a certificate for loopback, signed by nobody else."""
    return str(certificates.certificate(tmp_path_factory.mktemp("tls")))


def assert_refused(run: AuditRun, told: str = "one server under two addresses") -> None:
    """The audit did not begin, in one line that says why."""
    assert run.status == 4, run.output
    [line] = [line for line in run.output.splitlines() if line.startswith("ERROR: ")]
    assert told in line
    assert run.report["verdict"] == "none"


def test_an_audit_of_one_server_is_refused(servers: tuple[Server, Server], tmp_path: Path, certificate: str) -> None:
    """By another port, below a path prefix, over TLS, by another name, in both profiles: status 4, no report."""
    source, _ = servers
    with proxying(source.uri, prefix="/team/mlflow") as proxy:
        run = audit(tmp_path / "prefix", source.uri, proxy.uri)
        assert_refused(run)
        assert "the same experiments" in run.output
        assert "'churn model'" in run.output
        assert_refused(audit(tmp_path / "reversed", proxy.uri, source.uri, *SAME))
        # a part of it is no other server
        assert_refused(audit(tmp_path / "part", source.uri, proxy.uri, "--parity-experiments", "churn model"))
    with proxying(source.uri, certificate=certificate) as proxy:
        env = {"TARGET_MLFLOW_TRACKING_INSECURE_TLS": "true"}
        assert_refused(audit(tmp_path / "tls", source.uri, proxy.uri, *SAME, env=env))
    other = source.uri.replace("127.0.0.1", "localhost")
    assert_refused(audit(tmp_path / "name", source.uri, other, "--parity-two-servers"), "the same location")


def test_an_arn_and_its_server_are_one(sagemaker_app: StandIn, tmp_path: Path) -> None:
    """The ARN of an App by an endpoint of one's own, and the server behind it by HTTP."""
    with emptied(sagemaker_app.server):
        seed = Seeder(sagemaker_app.server.uri)
        seed.end(seed.run(seed.experiment("churn"), "one"))
        run = audit(tmp_path, sagemaker_app.server.uri, sagemaker_app.arn, env=sagemaker_app.environment())
    assert_refused(run)


@pytest.mark.long
def test_only_the_user_can_say_that_a_restored_copy_is_another_server(
    servers: tuple[Server, Server], fresh_server: FreshServer, tmp_path: Path
) -> None:
    """A restored copy beside its original: refused, or said to be two and then never plain green; by snapshot green."""
    source, _ = servers
    restored = fresh_server()
    copy_database(source.database_path, restored.database_path)
    shutil.copytree(source.artifacts_root, restored.artifacts_root)
    run = audit(tmp_path / "refused", source.uri, restored.uri, *SAME)
    assert_refused(run)
    assert "--parity-two-servers" in run.output
    said = audit(tmp_path / "said", source.uri, restored.uri, *SAME, "--parity-two-servers")
    assert said.status == 0, said.output
    assert said.report["scope"]["partial"]
    [line] = [one for one in said.report["scope"]["left_out"] if "--parity-two-servers" in one]
    assert line.startswith("whether source and target are two servers: both hold the same experiments")
    # a snapshot of a server is allowed against that very server: so an upgrade in place is checked
    assert main(["snapshot", "--source-uri", source.uri, "--to", str(tmp_path / "before")]) == 0
    kept = audit(tmp_path / "kept", str(tmp_path / "before" / "source"), source.uri, *SAME)
    assert kept.status == 0, kept.output
    assert not kept.report["scope"]["partial"]


@contextmanager
def _readers(*uris: str) -> Iterator[list[Reader]]:
    found = [open_reader(parse_location(uri, option="uri"), "source", 2) for uri in uris]
    try:
        yield found
    finally:
        for reader in found:
            reader.close()


def both_hold(source: str, target: str, *, only: str = "") -> str:
    """Return what two addresses have in common; ``only`` an experiment of this name is in scope."""
    with _readers(source, target) as (ours, theirs):
        wanted = [one for one in ours.experiments() if not only or one.name == only]
        return held_by_both(ours, theirs, wanted, theirs.experiments())


def _sql(server: Server, statement: str) -> None:
    with closing(sqlite3.connect(server.database_path, timeout=30)) as database, database:
        database.execute(statement)


def test_what_gives_one_server_away(fresh_server: FreshServer) -> None:
    """Experiments; with Default alone, or without times of creation: runs, models and prompts, else Default."""
    server, other = fresh_server(), fresh_server()
    seed = Seeder(server.uri)
    with proxying(server.uri) as proxy:
        assert both_hold(server.uri, proxy.uri).startswith("the same experiments")
        assert both_hold(server.uri, other.uri) == ""
        marker = pairs({"mlflow.prompt.is_prompt": "true"})
        for uri in (server.uri, other.uri):
            Seeder(uri).call("POST", "registered-models/create", {"name": "greeting", "tags": marker})
        assert both_hold(server.uri, proxy.uri) == "the same registered models or prompts ('greeting')"
        assert both_hold(server.uri, other.uri) == ""
        run = seed.run("0", "first")
        Seeder(other.uri).run("0", "first")
        assert both_hold(server.uri, proxy.uri) == f"the same runs ({run!r})"
        assert both_hold(server.uri, other.uri) == ""
        seed.experiment("churn")
        Seeder(other.uri).experiment("churn")
        assert "'churn'" in both_hold(server.uri, proxy.uri)
        assert both_hold(server.uri, other.uri) == ""
        for one in (server, other):
            _sql(one, "UPDATE experiments SET creation_time = NULL")
        assert both_hold(server.uri, proxy.uri) == f"the same runs ({run!r})"
        assert both_hold(server.uri, other.uri) == ""


@pytest.mark.parametrize("version", ["2.16.2", "2.22.5"])
def test_older_servers_are_given_away_too(fresh_server: FreshServer, version: str) -> None:
    """By their experiments, and by runs in Default."""
    server = fresh_server(version)
    seed = Seeder(server.uri)
    seed.run("0", "first")
    with proxying(server.uri) as proxy:
        assert both_hold(server.uri, proxy.uri).startswith("the same runs")
        seed.experiment("churn")
        assert "'churn'" in both_hold(server.uri, proxy.uri)
        assert both_hold(server.uri, proxy.uri, only="Default").startswith("the same runs")


def test_writes_between_the_two_lists_hide_nothing(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A migration that writes to its own source: what comes and goes while the lists are read makes no two of it."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("churn")
    seed.end(seed.run(experiment, "one"))
    with proxying(server.uri) as proxy:
        written: list[str] = []

        def writing(exchange: Any, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            seed.end(seed.run(experiment, f"copy {len(written)}", start=1))
            written.append(seed.experiment(f"copy {len(written)}"))
            seed.call("POST", "experiments/delete", {"experiment_id": written[0]}) if len(written) == 1 else None
            exchange.answer(status, headers, body)

        proxy.faults.append(Fault("/search", writing, times=10_000))
        run = audit(tmp_path, server.uri, proxy.uri)
    assert written
    assert_refused(run)


# --- migrate.py


@pytest.fixture(scope="module")
def own(module_server: FreshServer) -> Server:
    """A server with a run, which is to be migrated to itself."""
    server = module_server()
    seed = Seeder(server.uri)
    seed.end(seed.run(seed.experiment("churn"), "one"))
    return server


def test_a_server_and_its_own_snapshot(own: Server, tmp_path: Path) -> None:
    """Refused on either side, unless it is an upgrade; the report says of which server the snapshot is, and when."""
    assert main(["snapshot", "--source-uri", own.uri, "--to", str(tmp_path)]) == 0
    kept = str(tmp_path / "source")
    told = f"{kept}, a snapshot of {own.uri}"
    # the address may be written otherwise
    assert_refused(audit(tmp_path / "source-of", kept, own.uri.replace("127.0.0.1", "localhost")), told)
    assert_refused(audit(tmp_path / "target-of", own.uri, kept), told)
    run = audit(tmp_path / "upgrade", kept, own.uri, *SAME)
    assert run.status == 0, run.output
    assert not run.report["scope"]["partial"]
    sides = run.report["sides"]
    assert (sides["source"]["origin"], sides["target"]["origin"]) == (own.uri, "")
    line = f"a snapshot of {own.uri}, read {sides['source']['read_from']}"
    assert line in run.output
    assert f"snapshot directory of {own.uri}" in (run.reports / "report.html").read_text(encoding="utf-8")


def test_a_snapshot_and_a_copy_of_it_are_one(tmp_path: Path) -> None:
    """Else the copy of a folder passes for the upgraded server: refused in both profiles, whatever is said of it.

    The API refuses it as well. What is read once more of the same server is another snapshot, and is compared.
    """
    store = contract_source()
    for _ in range(2):
        # the second audit moves the first one's snapshots aside
        run_audit(store, store, snapshots=tmp_path, profile="same-store")
    shutil.copytree(tmp_path / "source", tmp_path / "copy")
    both = str(tmp_path / "source"), str(tmp_path / "copy")
    told = f"source and target are the same snapshot ({both[0]} and {both[1]}: one is a copy of the other)"
    for number, options in enumerate([(), SAME, (*SAME, "--parity-two-servers"), (*SAME, "-n", "2")]):
        assert_refused(audit(tmp_path / str(number), *both, *options), told)
    with pytest.raises(UsageProblem, match=re.escape(told)):
        mlflow_parity.audit(*both, profile="same-store", two_servers=True, report_dir=tmp_path / "api")
    [aside] = tmp_path.glob("source-*")
    again = audit(tmp_path / "again", str(aside), both[1], *SAME, "--parity-include-deleted")
    assert again.status == 0, again.output


@pytest.fixture(scope="module")
def door(own: Server) -> Iterator[Proxy]:
    """Another address of that server."""
    with proxying(own.uri, prefix="/other") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def exported(own: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose work folder holds an export of it."""
    folder = tmp_path_factory.mktemp("exported")
    done = migrate_py(folder, "export", "--source-uri", own.uri, "--work-dir", "work")
    assert done.status == 0, done.output
    return folder


@pytest.mark.parametrize("command", ["plan", "run", "import", "import with its source", "repair", "verify"])
def test_nothing_is_migrated_into_its_own_source(
    command: str, own: Server, door: Proxy, exported: Path, servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """Every command with both ends ends with 2, with ``--into-existing`` too, and the server is as it was."""
    step, _, source = command.partition(" ")
    ends = [*(["--source-uri", own.uri] if step != "import" or source else []), "--target-uri", door.uri]
    work = exported if step in ("import", "repair") else tmp_path
    more = ["--into-existing", "--work-dir", "work", "--report-dir", str(tmp_path / "reports")]
    if step == "repair":
        report = tmp_path / "report.json"
        red = audit(tmp_path / "red", own.uri, servers[1].uri)
        assert red.status == 1, red.output
        # as of an audit that did not look
        report.write_text(
            (red.reports / "report.json").read_text().replace(json.dumps(servers[1].uri), json.dumps(door.uri))
        )
        shutil.copy(red.reports / "ledger.parquet", tmp_path)
        more += ["--report", str(report)]
    before = state(own)
    done = migrate_py(work, step, *ends, *more)
    assert done.status == 2, done.output
    assert "one server" in done.output or "the same server" in done.output
    assert state(own) == before


def test_an_experiment_that_was_lost_may_be_brought_back(own: Server, door: Proxy, exported: Path) -> None:
    """An export goes into the server that it was read from, where that has lost what the options name."""
    kept = own.database_path.with_suffix(".lost")
    copy_database(own.database_path, kept)
    try:
        for table in ("tags", "runs"):
            _sql(own, f"DELETE FROM {table}")
        _sql(own, "DELETE FROM experiments WHERE name = 'churn'")
        done = migrate_py(exported, "import", "--target-uri", own.uri, "--work-dir", "work")
        assert done.status == 0, done.output
        # with another id and time of creation: only Default is the same, in which the import has left its tags
        [export] = [path.parent for path in exported.glob("work/**/manifest.json")]
        verified = audit(exported / "again", str(export), own.uri)
        assert verified.status == 1, verified.output
        assert {row.experiment for row in verified.red_rows()} == {"Default"}
        with _readers(own.uri) as [reader]:
            [back] = [one for one in reader.experiments() if not is_default(one)]
            assert [run.name for page in reader.runs(back.experiment_id) for run in page] == ["one"]
    finally:
        copy_database(kept, own.database_path)
