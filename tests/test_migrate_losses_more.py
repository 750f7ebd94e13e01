"""What the plain tool loses for reasons outside of the objects: what stands at the target, versions, a second run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.migrations import migrate_py
from support.seed import EPOCH, Seeder, seed_small
from support.servers import FreshServer
from support.tool import export, import_, migrate

from mlflow_parity.standin.servers import Server

#: A proxied server answers for it with a file named ``of a blank``, which is not there.
UNREADABLE = "of%20a%20blank.txt"


@dataclass(frozen=True, slots=True)
class Both:
    """The same source after the plain tool and after ours, and how ``migrate.py run`` ended."""

    plain: AuditRun
    ours: AuditRun


def _run(seed: Seeder, experiment: str, name: str, parent: str | None = None) -> str:
    run = seed.run(experiment, name, parent=parent)
    seed.log(run, params={"name": name}, metrics=[("loss", 1.5, EPOCH, 0)])
    seed.end(run)
    return run


def _seed(source: Server) -> None:
    seed = Seeder(source.uri)
    elsewhere = seed.experiment("parents")
    parent = _run(seed, elsewhere, "parent elsewhere")
    children = seed.experiment("children")
    _run(seed, children, "witness of children")
    _run(seed, children, "child", parent)
    # its name is the id of another one
    _run(seed, seed.experiment(elsewhere), "of an odd name")
    files = seed.experiment("files")
    _run(seed, files, "witness of files")
    run = _run(seed, files, "with a file out of reach")
    seed.artifact(run, "notes.txt", b"notes\n")
    [folder] = Path(source.artifacts_root).glob(f"*/{run}/artifacts")
    (folder / UNREADABLE).write_text("there, and not to be had\n")
    _run(seed, seed.experiment("in the way"), "of the way")


@pytest.fixture(scope="module")
def both(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Migrate one source twice: with the plain tool, and with ``migrate.py run``."""
    folder = tmp_path_factory.mktemp("losses")
    source, plain, ours = module_server(), module_server(), module_server()
    for target in (plain, ours):
        seed = Seeder(target.uri)
        seed.experiment("of the target's own")
        seed.delete_experiment(seed.experiment("in the way"))
    _seed(source)
    printed = migrate(source.uri, plain.uri, folder / "tool")
    assert '"exceptions": 0' in printed
    names = folder / "names.toml"
    names.write_text('[experiments]\n"in the way" = "out of the way"\n')
    command = ["run", "--source-uri", source.uri, "--target-uri", ours.uri, "--report-dir", "reports"]
    refused = migrate_py(folder, *command)
    assert refused.status == 2
    assert "'in the way'" in refused.output
    assert "Nothing was written." in refused.output
    done = migrate_py(folder, *command, "--rename", str(names))
    after_tool = audit(folder / "plain", source.uri, plain.uri)
    return Both(after_tool, AuditRun(done.status, done.output, folder / "reports"))


def _red(run: AuditRun, name: str) -> set[tuple[str, str]]:
    found = [row for row in run.rows() if row.name == name and row.kind in ("run", "experiment")]
    assert found, name
    return {(row.facet, row.state.value) for row in found if not row.state.green}


@pytest.mark.parametrize("name", ["child", "of the way", "with a file out of reach"])
def test_a_run_is_lost_or_altered_by_the_tool(both: Both, name: str) -> None:
    """A parent in another experiment, a deleted experiment at the target, a file that cannot be had."""
    assert _red(both.plain, name)
    # of the last one all but that file is there; that file is named by the migration and by the audit
    wanted = {("artifacts", "mismatch")} if name.endswith("reach") else set()
    assert _red(both.ours, name) == wanted


def test_what_cannot_be_read_is_named_and_nothing_else_is_red(both: Both) -> None:
    """Exit status 1, the file with the reason and the command that tries again; every other row is green."""
    assert both.ours.status == 1
    assert UNREADABLE in both.ours.output
    assert "To try again" in both.ours.output
    red = {(row.name, row.facet) for row in both.ours.red_rows()} - {("of the target's own", "presence")}
    assert red == {("with a file out of reach", "artifacts")}


def test_a_client_of_another_age_exports_nothing_and_says_nothing(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The tool with a client of MLflow 3 leaves every experiment of a 2.16 server behind; ours is in the matrix."""
    source, target = fresh_server("2.16.2"), fresh_server()
    seed_small(source.uri, unicode_files=False)
    export(source.uri, tmp_path / "tool")
    printed = import_(target.uri, tmp_path / "tool")
    assert '"exceptions": 0' in printed
    found = audit(tmp_path / "audit", source.uri, target.uri)
    assert {row.state.value for row in found.rows() if row.kind == "run" and row.facet == "presence"} == {"missing"}


def test_a_second_run_doubles_with_the_tool_only(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Every run is there twice after the tool's second import; after ours nothing is."""
    source, plain, ours = fresh_server(), fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    _run(seed, seed.experiment("twice"), "doubled")
    migrate(source.uri, plain.uri, tmp_path / "tool", twice=True)
    found = audit(tmp_path / "plain", source.uri, plain.uri)
    assert {(row.name, row.state.value) for row in found.red_rows() if row.facet == "presence"} == {
        ("doubled", "duplicate")
    }
    command = ["run", "--source-uri", source.uri, "--target-uri", ours.uri]
    for _ in range(2):
        done = migrate_py(tmp_path / "ours", *command)
        assert done.status == 0, done.output[-3000:]
    runs = Seeder(ours.uri).call("POST", "runs/search", {"experiment_ids": ["0", "1", "2"]})["runs"]
    assert len(runs) == 1
