"""README and the how-tos in ``docs/`` do what they say: each shell block is run against real servers, in order."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support import warm
from support.aws_names import under_own_names, without_endpoint
from support.migrations import COMMAND
from support.pages import ROOT, blocks, every_block
from support.seed import EPOCH, Seeder
from support.seed_trace_states import AT_ONCE, STATES, seed_trace_states
from support.servers import FreshServer, emptied, server_of
from support.tool import migrate

from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import QUIET, clean_environment

pytestmark = pytest.mark.long

DOCS = ROOT / "docs"
#: Set by :mod:`support.bare_machine`: where the programs of an environment are in which only the package is installed,
#: and the file that takes the labels of the blocks that were run there. Without it each program comes warm.
_BARE, _RAN = os.environ.get("PARITY_BARE_PROGRAMS"), os.environ.get("PARITY_BARE_RAN")


class Shell:
    """Runs the blocks of one page in one folder.

    ``variables`` are its shell variables; ``placeholders`` what stands in its text for something of the reader's own.
    """

    def __init__(self, page: str, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir(parents=True)
        self.variables: dict[str, str] = {}
        self.placeholders: dict[str, str] = {}
        # how to install is run by the bare machine alone
        self._left = [block for block in blocks(page) if not block.installs]
        # a page that promises an exit status does so after each block
        assert len({block.status is None for block in self._left}) == 1
        self._programs = Path(_BARE) if _BARE else _warm_programs(folder / "programs")
        self._home = folder / "home"
        self._home.mkdir()

    def step(self, number: int = 0) -> str:
        """Run the next block (or a later one); its exit status must be the promised one. Return what it printed."""
        block = self._left.pop(number)
        text = block.text
        for placeholder, meant in self.placeholders.items():
            text = text.replace(placeholder, meant)
        assert "…" not in text, f"{block.label} holds a placeholder that this test does not replace"
        for name in set(re.findall(r"\$([A-Z]+)", text)):
            assert name in self.variables, f"{block.label} uses ${name}, which this test does not set"
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", text],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == (block.status or 0), f"{block.label}\n{text}{output}"
        if _RAN:
            with open(_RAN, "a", encoding="utf-8") as file:
                file.write(f"{block.label}\n")
        return output

    def _environment(self) -> dict[str, str]:
        if not _BARE:
            env = clean_environment(self.variables)
            return {**env, "PATH": f"{self._programs}:{env['PATH']}"}
        # nothing but what was installed, and no request to anybody else
        return {"PATH": str(self._programs), "HOME": str(self._home), "LANG": "C.UTF-8", **QUIET, **self.variables}

    def done(self) -> None:
        """Every block was run."""
        assert self._left == []


def _warm_programs(folder: Path) -> Path:
    folder.mkdir()
    # the commands as they are installed; a reader of the pages has no migrate.py
    for name, program_of, kind in (
        ("pytest", ["-m", "pytest"], "audit"),
        ("mlflow", ["-m", "mlflow"], "mlflow"),
        ("mlflow-parity", [str(COMMAND)], "mlflow"),
    ):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {warm.shell_command(*program_of, kind=kind)} "$@"\n')
        program.chmod(0o755)
    return folder


def test_every_page_with_commands_is_run() -> None:
    """Each page that shows a shell block has a test here, and no block leaves open what it is."""
    run = set(re.findall(r'\bShell\("([^"]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert run == {block.page for block in every_block()}


def _seed(uri: str, names: Sequence[str] = ("shop", "search")) -> None:
    seed = Seeder(uri)
    for name in names:
        experiment = seed.experiment(name, {"team": "growth"})
        for number in range(2):
            run = seed.run(experiment, f"{name} {number}", start=EPOCH + number, tags={"team": "growth"})
            seed.log(run, params={"lr": f"0.{number}"}, metrics=[("loss", 1.5, EPOCH, 0), ("loss", -0.0, EPOCH, 1)])
            seed.artifact(run, "notes.txt", f"{name} {number}\n".encode())
            seed.end(run)


def _run_named(uri: str, name: str) -> str:
    seed = Seeder(uri)
    ids = [e["experiment_id"] for e in seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]]
    runs = seed.call("POST", "runs/search", {"experiment_ids": ids})["runs"]
    return next(str(run["info"]["run_id"]) for run in runs if run["info"]["run_name"] == name)


def test_acceptance(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Red with the difference named, then fixed and green; the report to sign is there."""
    old, new = fresh_server(), fresh_server()
    _seed(old.uri)
    migrate(old.uri, new.uri, tmp_path / "export")
    run = _run_named(new.uri, "shop 1")
    with _changed(new.database_path, "UPDATE params SET value = '0.9' WHERE run_uuid = ? AND key = 'lr'", run):
        shell = Shell("docs/acceptance.md", tmp_path / "shell")
        shell.variables = {"OLD": old.uri, "NEW": new.uri}
        listed = shell.step()
        assert "test_params[shop]" in listed
        assert not (shell.folder / "reports").exists()
        output = shell.step()
        assert "test_params[shop]" in output
        assert (shell.folder / "reports" / "report.html").exists()
    # fixed
    shell.step()
    shell.step()
    shell.done()
    for name in ("accepted/report.html", "accepted/ledger.parquet", "audit/source", "audit/target"):
        assert (shell.folder / name).exists()


def test_after_the_source_is_gone(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The snapshot stands for a server that has ended; a run deleted later is found."""
    new = fresh_server()
    shell = Shell("docs/after-the-source-is-gone.md", tmp_path / "shell")
    with server_of("newest", tmp_path / "old") as old:
        _seed(old.uri)
        migrate(old.uri, new.uri, tmp_path / "export")
        shell.variables = {"OLD": old.uri, "NEW": new.uri}
        shell.step()
    shell.step()
    shell.step()
    Seeder(new.uri).delete_run(_run_named(new.uri, "search 0"))
    assert "test_run_lifecycle[search]" in shell.step()
    shell.done()


def test_migrate_and_repair(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Plan, run, run again; then a run is deleted, a param altered and a file lost on the target: repaired."""
    old, new = fresh_server(), fresh_server()
    _seed(old.uri)
    shell = Shell("docs/migrate.md", tmp_path / "shell")
    shell.variables = {"OLD": old.uri, "NEW": new.uri}
    assert not (shell.folder / "migration").exists()
    shell.step()
    assert not (shell.folder / "migration").exists()
    shell.step()
    shell.step()
    shell.step()
    seed = Seeder(new.uri)
    seed.delete_run(_run_named(new.uri, "search 0"))
    with closing(sqlite3.connect(new.database_path, timeout=30)) as database, database:
        run = _run_named(new.uri, "shop 1")
        assert database.execute("UPDATE params SET value = '9' WHERE run_uuid = ?", (run,)).rowcount == 1
    [file] = Path(new.artifacts_root).glob(f"*/{_run_named(new.uri, 'shop 0')}/artifacts/notes.txt")
    file.unlink()
    output = shell.step()
    assert "test_params[shop]" in output
    output = shell.step()
    assert "left alone" not in output
    shell.done()


def test_backup(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Exported, imported into an empty server after the source has ended, and audited against the backup."""
    new = fresh_server()
    shell = Shell("docs/backup.md", tmp_path / "shell")
    with server_of("newest", tmp_path / "old") as old:
        _seed(old.uri)
        shell.variables = {"OLD": old.uri, "NEW": new.uri}
        shell.step()
    shell.step()
    assert "GREEN" in shell.step()
    shell.done()


def test_sagemaker(sagemaker_server: StandIn, sagemaker_app: StandIn, tmp_path: Path) -> None:
    """An App is made, a managed server moved to it, audited, stopped on that report; started again, and deleted."""
    plane, old = sagemaker_app.plane, sagemaker_server.plane
    held = plane.apps.pop(sagemaker_app.arn)
    plane.next_arns.append(sagemaker_app.arn)
    name = sagemaker_server.arn.rsplit("/", 1)[-1]
    server = old.servers[name]
    shell = Shell("docs/sagemaker.md", tmp_path / "shell")
    shell.variables = {
        **sagemaker_server.environment("SOURCE_"),
        **sagemaker_app.environment("TARGET_"),
        "BUCKET": held.artifact_store.removeprefix("s3://").partition("/")[0],
        "ROLE": held.role,
        "OLD": sagemaker_server.arn,
        "APP": sagemaker_app.arn,
    }
    with ExitStack() as stack:
        names = stack.enter_context(under_own_names(tmp_path, (sagemaker_server, sagemaker_app)))
        # what AWS's own names lead to, or the step that deletes refuses
        shell.variables = {**without_endpoint(shell.variables), **names}
        stack.callback(setattr, server, "status", "Created")
        stack.callback(old.servers.update, {name: server})
        stack.callback(plane.apps.update, {sagemaker_app.arn: held})
        for running in (sagemaker_server, sagemaker_app):
            stack.enter_context(emptied(running.server))
        seed = Seeder(sagemaker_server.server.uri)
        run = seed.run(seed.experiment("shop"), "first")
        seed.log(run, params={"lr": "0.1"}, metrics=[("loss", 1.5, EPOCH, 0)])
        seed.end(run)
        assert shell.step().splitlines()[0] == sagemaker_app.arn
        assert "new-app" in shell.step()
        for _ in ("run", "audit"):
            assert "GREEN" in shell.step()
        assert "all preconditions met; run again with --yes" in shell.step()
        assert server.status == "Created"
        shell.step()
        assert server.status == "Stopped"
        server.status = "Created"
        shell.step()
        assert name not in old.servers
        shell.done()


def test_readme(fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path) -> None:
    """The commands of its first page: the migration to an App, in two steps, and then the audit."""
    old = fresh_server()
    _seed(old.uri)
    shell = Shell("README.md", tmp_path / "shell")
    shell.variables = sagemaker_app.environment("TARGET_")
    shell.placeholders = {
        "http://old-mlflow:5000": old.uri,
        "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-app/app-ABCDEFGHIJKL": sagemaker_app.arn,
        "arn:aws:sagemaker:…:mlflow-app/app-…": sagemaker_app.arn,
    }
    with emptied(sagemaker_app.server):
        output = shell.step(1)
        assert "GREEN" in output
        assert "GREEN" in shell.step()
    shell.done()


def test_from_the_guide(fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path) -> None:
    """The steps that are commands: planned, moved to an App, and audited."""
    old = fresh_server()
    _seed(old.uri)
    shell = Shell("docs/from-the-guide.md", tmp_path / "shell")
    shell.variables = {**sagemaker_app.environment("TARGET_"), "OLD": old.uri, "APP": sagemaker_app.arn}
    with emptied(sagemaker_app.server):
        shell.step()
        assert not (shell.folder / "migration").exists()
        assert "GREEN" in shell.step()
        assert "GREEN" in shell.step()
    assert (shell.folder / "accepted" / "report.html").exists()
    shell.done()


def test_self_test(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The audit of a migration proves that it sees."""
    old, new = fresh_server(), fresh_server()
    _seed(old.uri)
    migrate(old.uri, new.uri, tmp_path / "export")
    shell = Shell("docs/self-test.md", tmp_path / "shell")
    shell.placeholders = {"http://old-mlflow:5000": old.uri, "http://new-mlflow:5000": new.uri}
    assert re.search(r"self-test: (\d+) of \1 planted faults seen", shell.step())
    shell.done()


def test_scale(fresh_server: FreshServer, tmp_path: Path) -> None:
    """An estimate; two parts that are joined into one verdict; and an audit that could have stopped and does not."""
    old, new = fresh_server(), fresh_server()
    # enough that no part is without any
    _seed(old.uri, [f"shop {number}" for number in range(8)])
    migrate(old.uri, new.uri, tmp_path / "export")
    shell = Shell("docs/scale.md", tmp_path / "shell")
    shell.placeholders = {"http://old:5000": old.uri, "http://new:5000": new.uri}
    assert "mlflow-parity: time: about" in shell.step()
    told = shell.step()
    assert "GREEN (partial: part 1 of 2)" in told
    assert "parity: GREEN · compared " in told
    assert "GREEN" in shell.step()
    assert "GREEN" in shell.step()
    shell.done()


def test_own_checks(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The example that the page names, in a folder of that name."""
    old, new = fresh_server(), fresh_server()
    _seed(old.uri)
    migrate(old.uri, new.uri, tmp_path / "export")
    shell = Shell("docs/own-checks.md", tmp_path / "shell")
    shutil.copytree(DOCS / "examples" / "own-checks", shell.folder / "own-checks")
    shell.placeholders = {"http://old:5000": old.uri, "http://new:5000": new.uri}
    assert "GREEN" in shell.step()
    shell.done()


def test_upgrade(tmp_path: Path) -> None:
    """From 2.22 to the newest, in place; and a file store that was moved."""
    shell = Shell("docs/upgrade.md", tmp_path / "shell")
    with server_of("2.22.5", tmp_path / "server") as server:
        _seed(server.uri)
        seed_trace_states(server.uri, Seeder(server.uri).experiment("asked"))
        shell.variables = {"SERVER": server.uri, "DATABASE": server.database_uri}
        shell.step()
    shell.step()
    with server_of("newest", tmp_path / "server") as server:
        shell.variables["SERVER"] = server.uri
        shell.step()
        run = _run_named(server.uri, "shop 0")
        with _changed(server.database_path, "UPDATE metrics SET value = 1.6 WHERE run_uuid = ? AND step = 0", run):
            assert "test_metric_histories[shop]" in shell.step()
        assert "mismatch: metrics of run shop 0" in shell.step()
        with server_of("newest", tmp_path / "audits") as audits:
            shell.variables["AUDITS"] = audits.uri
            assert "mismatch: metrics of run shop 0" in shell.step()
        shutil.copytree(tmp_path / "server", tmp_path / "restored")
        with server_of("newest", tmp_path / "restored") as restored:
            shell.variables |= {"ORIGINAL": server.uri, "RESTORED": restored.uri}
            assert "GREEN (partial)" in shell.step()

    store = tmp_path / "store"
    with server_of("2.22.5", tmp_path / "files", database=str(store / "mlruns")) as files:
        _seed(files.uri)
        seed_trace_states(files.uri, Seeder(files.uri).experiment("asked"), STATES.keys() - {AT_ONCE})
        shell.variables |= {"FILES": files.uri, "STORE": str(store)}
        shell.step()
    with server_of("newest", tmp_path / "files", database=f"sqlite:///{store / 'mlflow.db'}") as moved:
        shell.variables["MOVED"] = moved.uri
        shell.step()
    shell.done()


class _changed:
    """A change in a server's SQLite database for the length of a ``with`` block."""

    def __init__(self, database: Path, statement: str, run: str) -> None:
        self._database, self._statement, self._run = database, statement, run
        self._before = database.with_suffix(".before")

    def __enter__(self) -> None:
        self._copy(self._database, self._before)
        with closing(sqlite3.connect(self._database, timeout=30)) as connection, connection:
            assert connection.execute(self._statement, (self._run,)).rowcount == 1

    def __exit__(self, *_: object) -> None:
        self._copy(self._before, self._database)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target, timeout=30)) as new:
            old.backup(new)
