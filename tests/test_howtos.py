"""The how-tos in ``docs/`` do what they say: each shell block is run against real servers, in order."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support import warm
from support.migrations import COMMAND
from support.seed import EPOCH, Seeder
from support.seed_trace_states import AT_ONCE, STATES, seed_trace_states
from support.servers import FreshServer, emptied, server_of
from support.tool import migrate

from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import clean_environment

pytestmark = pytest.mark.long

DOCS = Path(__file__).resolve().parent.parent / "docs"
_STEP = re.compile(r"^```sh\n(?P<block>.*?)^```\n\s*Exit status (?P<status>\d)", re.DOTALL | re.MULTILINE)


def steps(page: str) -> list[tuple[str, int]]:
    """Return the shell blocks of a page with the exit status that the text after each promises."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [(match["block"], int(match["status"])) for match in _STEP.finditer(text)]
    # a block without a promise would be one that nobody runs
    assert len(found) == text.count("```sh") == text.count("```") / 2
    return found


class Shell:
    """Runs the blocks of one page in one folder; ``variables`` are the placeholders."""

    def __init__(self, page: str, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self._left = steps(page)
        self._programs = folder / "programs"
        self._programs.mkdir(parents=True)
        # the commands as they are installed; a reader of the pages has no migrate.py
        for name, program_of, kind in (
            ("pytest", ["-m", "pytest"], "audit"),
            ("mlflow", ["-m", "mlflow"], "mlflow"),
            ("mlflow-parity", [str(COMMAND)], "mlflow"),
        ):
            program = self._programs / name
            command = warm.shell_command(*program_of, kind=kind)
            program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            program.chmod(0o755)

    def step(self) -> str:
        """Run the next block; its exit status must be the promised one. Return what it printed."""
        block, status = self._left.pop(0)
        for name in set(re.findall(r"\$([A-Z]+)", block)):
            assert name in self.variables, f"the page uses ${name}, which this test does not set"
        env = clean_environment(self.variables)
        env["PATH"] = f"{self._programs}:{env['PATH']}"
        done = subprocess.run(
            ["sh", "-e", "-c", block],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, f"{block}{output}"
        return output

    def done(self) -> None:
        """Every block was run."""
        assert self._left == []


def _seed(uri: str, names: Sequence[str] = ("shop", "search")) -> None:
    seed = Seeder(uri)
    for name in names:
        experiment = seed.experiment(name, {"team": "growth"})
        for number in range(2):
            run = seed.run(experiment, f"{name} {number}", start=EPOCH + number)
            seed.log(run, params={"lr": f"0.{number}"}, metrics=[("loss", 1.5, EPOCH, 0), ("loss", -0.0, EPOCH, 1)])
            seed.artifact(run, "notes.txt", f"{name} {number}\n".encode())
            seed.end(run)


def _run_named(uri: str, name: str) -> str:
    seed = Seeder(uri)
    ids = [e["experiment_id"] for e in seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]]
    runs = seed.call("POST", "runs/search", {"experiment_ids": ids})["runs"]
    return next(str(run["info"]["run_id"]) for run in runs if run["info"]["run_name"] == name)


def test_acceptance(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Red with the difference named, then mended and green; the report to sign is there."""
    old, new = fresh_server(), fresh_server()
    _seed(old.uri)
    migrate(old.uri, new.uri, tmp_path / "export")
    run = _run_named(new.uri, "shop 1")
    with _changed(new.database_path, "UPDATE params SET value = '0.9' WHERE run_uuid = ? AND key = 'lr'", run):
        shell = Shell("acceptance.md", tmp_path / "work")
        shell.variables = {"OLD": old.uri, "NEW": new.uri}
        listed = shell.step()
        assert "test_params[shop]" in listed
        assert not (shell.folder / "reports").exists()
        output = shell.step()
        assert "test_params[shop]" in output
        assert (shell.folder / "reports" / "report.html").exists()
    # mended
    shell.step()
    shell.step()
    shell.done()
    for name in ("accepted/report.html", "accepted/ledger.parquet", "audit/source", "audit/target"):
        assert (shell.folder / name).exists()


def test_after_the_source_is_gone(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The snapshot stands for a server that has ended; a run deleted later is found."""
    new = fresh_server()
    shell = Shell("after-the-source-is-gone.md", tmp_path / "work")
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
    shell = Shell("migrate.md", tmp_path / "work")
    shell.variables = {"OLD": old.uri, "NEW": new.uri}
    assert not (shell.folder / "migration").exists()
    shell.step()
    assert not (shell.folder / "migration").exists()
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
    shell = Shell("backup.md", tmp_path / "work")
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
    shell = Shell("sagemaker.md", tmp_path / "work")
    shell.variables = {
        **sagemaker_server.environment("SOURCE_"),
        **sagemaker_app.environment("TARGET_"),
        "BUCKET": held.artifact_store.removeprefix("s3://").partition("/")[0],
        "ROLE": held.role,
        "OLD": sagemaker_server.arn,
        "APP": sagemaker_app.arn,
    }
    with ExitStack() as stack:
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
        assert "nothing stands against it" in shell.step()
        assert server.status == "Created"
        shell.step()
        assert server.status == "Stopped"
        server.status = "Created"
        shell.step()
        assert name not in old.servers
        shell.done()


def test_upgrade(tmp_path: Path) -> None:
    """From 2.22 to the newest, in place; and a file store that was moved."""
    shell = Shell("upgrade.md", tmp_path / "work")
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
