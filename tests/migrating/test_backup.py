"""Backup and restore drill; and a backup that was damaged is not restored without a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.migrations import migrate_py
from support.proxy import Fault, meanwhile, proxying
from support.seed import EPOCH, Seeder
from support.seed_traps import seed_traps
from support.servers import FreshServer

from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.standin.servers import Server


@pytest.fixture(scope="module")
def source(module_server: FreshServer) -> Server:
    """A server with every kind of object."""
    server = module_server()
    seed_traps(server.uri)
    return server


@pytest.fixture(scope="module")
def backup(source: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    folder = tmp_path_factory.mktemp("backup")
    done = migrate_py(folder, "export", "--source-uri", source.uri, "--include-deleted", "--work-dir", "kept")
    assert done.status == 0, done.output
    return folder / "kept"


def _held(work: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in (work / "export").rglob("*") if file.is_file()}


@pytest.mark.long
def test_a_backup_is_not_overwritten_by_less(
    source: Server, backup: Path, fresh_server: FreshServer, tmp_path: Path
) -> None:
    """Another server's, a narrower scope, discarded files: refused in one line each, and every byte stays."""
    work = tmp_path / "kept"
    shutil.copytree(backup, work)
    before, other, one = _held(work), fresh_server(), ["--work-dir", "kept", "--include-deleted"]
    ends = ["--source-uri", source.uri, "--target-uri", other.uri]
    for arguments, why in (
        (["export", "--source-uri", other.uri, *one], f"holds an export of {source.uri}, not of {other.uri}"),
        (["export", *ends[:2], *one, "--experiments", "Default"], "holds a backup that is wider: it also has"),
        (["export", *ends[:2], *one[:2]], "; what is deleted (--include-deleted)"),
        (["run", *ends, *one, "--models", "c*"], "registered models and prompts ("),
        (["run", *ends, *one, "--discard-export"], "a backup, whose files --discard-export would remove"),
    ):
        done = migrate_py(tmp_path, *arguments)
        assert (done.status, why in done.output) == (2, True), (arguments, done.output)
        assert "Nothing was written." in done.output
        assert _held(work) == before, arguments
    # a backup is one of the server as it is now: the same wishes, made again
    assert migrate_py(tmp_path, "export", *ends[:2], *one).status == 0


@pytest.mark.long
def test_a_backup_of_any_kind_of_the_server_is_not_lost(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What belongs to no experiment is lost by a scope that names every experiment, whatever its kind."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("one")
    issue = {"experiment_id": experiment, "name": "slow", "description": "answers", "status": "pending"}
    seed.call("POST", "issues", issue, version="3.0")
    command = ["export", "--source-uri", server.uri, "--work-dir", "kept"]
    assert migrate_py(tmp_path, *command).status == 0
    done = migrate_py(tmp_path, *command, "--experiments", "*")
    assert (done.status, "a backup that is wider: it also has issues" in done.output) == (2, True), done.output


@pytest.mark.long
def test_a_backup_of_a_server_in_use(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What comes while it is written is named, is unverified in every rehearsal, and is there after the next export."""
    server, target = fresh_server(), fresh_server()
    seed = Seeder(server.uri)
    one = seed.experiment("one")
    first = seed.run(one, "first")
    seed.log(first, metrics=[("loss", 1.0, EPOCH, 0)])
    seed.end(first)
    came: list[str] = []

    def write() -> None:
        # a plan asks for histories too, but nothing is kept of it
        if came or not list((tmp_path / "kept").rglob("runs.json")):
            return
        came.append(seed.run(one, "late"))
        seed.end(came[0])
        came.append(seed.experiment("came"))

    export = ["export", "--work-dir", "kept", "--source-uri"]
    rest = ["--work-dir", "kept", "--target-uri", target.uri]
    with proxying(server.uri) as proxy:
        proxy.faults.append(Fault("metrics/get-history", meanwhile(write), times=99))
        done = migrate_py(tmp_path, *export, proxy.uri)
        assert (done.status, len(came)) == (1, 2), done.output
        told = [line for line in done.output.splitlines() if line.startswith("  unread: ")]
        assert f"experiment 'one' ({one}): runs came" in told[0]
        assert came[0] in told[0]
        assert f"experiment 'came' ({came[1]}): it came" in told[1]
        assert "To try again 2 unread: " in done.output
        # what is there is brought, and what is not is named again
        assert migrate_py(tmp_path, "import", *rest).status == 1
        rehearsed = migrate_py(tmp_path, "verify", "--from-export", *rest, "--report-dir", "first")
        assert rehearsed.status == 1, rehearsed.output
        red = [row for row in read_rows(tmp_path / "first" / "ledger.parquet") if not row.state.green]
        assert {(row.experiment, row.kind, row.state.value) for row in red} == {
            ("came", "experiment", "unverified"),
            ("one", "run", "unverified"),
        }
        assert migrate_py(tmp_path, *export, proxy.uri).status == 0
    assert migrate_py(tmp_path, "import", *rest).status == 0
    rehearsed = migrate_py(tmp_path, "verify", "--from-export", *rest)
    assert rehearsed.status == 0, rehearsed.output


def _import(folder: Path, target: Server) -> str:
    done = migrate_py(folder, "import", "--target-uri", target.uri, "--include-deleted", "--work-dir", "copy")
    assert done.status == 1, done.output
    return done.output


@pytest.mark.long
def test_an_import_has_the_scope_that_it_is_told(backup: Path, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Of a backup of everything only what the options name is brought; a name that it lacks is refused."""
    shutil.copytree(backup, tmp_path / "copy")
    target = fresh_server()
    ends = ["import", "--target-uri", target.uri, "--work-dir", "copy", "--experiments"]
    refused = migrate_py(tmp_path, *ends, "times,no such")
    assert refused.status == 2
    assert "--experiments names what the export does not have: 'no such'" in refused.output
    done = migrate_py(tmp_path, *ends, "times,deleted *")
    assert (done.status, "Migrated: 1 experiment" in done.output) == (0, True), done.output
    found = Seeder(target.uri).call("POST", "experiments/search", {"max_results": 100, "view_type": "ALL"})
    assert {one["name"] for one in found["experiments"]} == {"Default", "times"}


@pytest.mark.long
def test_a_damaged_file_is_named(backup: Path, fresh_server: FreshServer, tmp_path: Path) -> None:
    """One byte altered in one file, another file gone: both are named, and exit status 1; nothing else is lost."""
    shutil.copytree(backup, tmp_path / "copy")
    kept = {file.read_bytes(): file for file in (tmp_path / "copy" / "export" / "files").glob("??/*")}
    kept[b"shared"].write_bytes(b"sharef")
    kept[b"orphan"].unlink()
    output = _import(tmp_path, fresh_server())
    told = [line for line in output.splitlines() if "weights.bin" in line]
    assert len(told) == 2, output
    assert any("shared" in line and "damaged" in line for line in told)
    assert any("orphan" in line and "does not hold its bytes" in line for line in told)


@pytest.mark.long
def test_an_altered_record_is_refused(backup: Path, fresh_server: FreshServer, tmp_path: Path) -> None:
    """One byte altered in a table of the snapshot: one line, exit status 2, and nothing is written."""
    shutil.copytree(backup, tmp_path / "copy")
    table = next((tmp_path / "copy" / "export" / "snapshot").rglob("runs.parquet"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    done = migrate_py(tmp_path, "import", "--target-uri", fresh_server().uri, "--work-dir", "copy")
    assert done.status == 2, done.output
    assert "damaged or truncated" in done.output
    assert "Traceback" not in done.output


def test_no_export_is_said(fresh_server: FreshServer, tmp_path: Path) -> None:
    """An empty work folder: one line that says what to do."""
    done = migrate_py(tmp_path, "import", "--target-uri", fresh_server().uri, "--work-dir", "none")
    assert done.status == 2
    assert "holds no export; run `migrate.py export` first" in done.output
