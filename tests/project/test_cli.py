"""The command ``mlflow-parity``: version and help, ``audit``, ``migrate``, and how messages name what was typed."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.migrations import COMMAND, ROOT

from mlflow_parity import __version__, options
from mlflow_parity.core import notice as invocation
from mlflow_parity.core.locations import parse_location
from mlflow_parity.migrating.outcome import retry_command
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.standin.servers import Server, clean_environment

#: The command as pip installs it: argcomplete asks no other.
COMMAND_FILE = str(Path(sys.executable).parent / "mlflow-parity")
_MODULE = [sys.executable, "-m", "mlflow_parity"]
_NO_SIDES = f"ERROR: {options.NO_SIDES}\n"


def _run(
    *command: str, cwd: Path, env: Mapping[str, str] | None = None, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which must be the one expected."""
    done = subprocess.run(
        command, cwd=cwd, env=clean_environment(env), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback (most" not in done.stdout + done.stderr
    return done


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of somebody else's: with tests, settings and a module named as the checks' package."""
    (tmp_path / "checks.py").write_text("")
    (tmp_path / "test_theirs.py").write_text("def test_theirs():\n    raise SystemExit('not ours')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "name"),
    [([str(COMMAND)], "mlflow-parity"), (_MODULE, "python -m mlflow_parity")],
    ids=["command", "-m"],
)
def test_version_and_help(command: list[str], name: str, tmp_path: Path) -> None:
    """``--version`` is the package's; the bare command prints it too, and all commands, and is no error."""
    assert importlib.metadata.version("mlflow-parity") == __version__
    version = f"mlflow-parity {__version__}\n"
    assert _run(*command, "--version", cwd=tmp_path).stdout == version
    bare = _run(*command, cwd=tmp_path)
    shown = _run(*command, "--help", cwd=tmp_path)
    assert bare.stderr == shown.stderr == ""
    assert bare.stdout == f"{version}\n{shown.stdout}"
    assert shown.stdout.startswith(f"usage: {name} ")
    for each in ("audit", "migrate", "snapshot", "waive", "attest", "verify"):
        assert f"\n    {each} " in shown.stdout
    assert "usage" in _run(*command, "unknown", cwd=tmp_path, status=2).stderr


@pytest.mark.long
def test_audit_runs_our_checks_from_any_folder(servers: tuple[Server, Server], foreign: Path) -> None:
    """Arguments go to pytest as they are, its exit status comes back; without a path our checks run, and only they."""
    source, target = servers
    sides = ["--source-uri", source.uri, "--target-uri", target.uri]
    done = _run(str(COMMAND), "audit", *sides, "-v", "-k", "params", "--junitxml=junit.xml", cwd=foreign)
    assert "test_params.py::test_params[" in done.stdout
    assert "parity: GREEN" in done.stdout
    assert "theirs" not in done.stdout
    # what pytest would rewrite was not imported before it began
    assert "warning" not in done.stdout.lower()
    for name in ("junit.xml", "reports/report.html", "reports/report.json"):
        assert (foreign / name).is_file()
    # the report's own command is one that the reader has
    assert "pytest --source-uri" in (foreign / "reports" / "report.html").read_text(encoding="utf-8")
    nothing = _run(*_MODULE, "audit", *sides, "-k", "no_such_check", "-q", cwd=foreign, status=5)
    assert "no verdict" in nothing.stdout
    # a path that is given is pytest's, and so is an option that nobody knows
    listed = _run(str(COMMAND), "audit", "test_theirs.py", *sides, "--collect-only", "-q", cwd=foreign)
    assert "test_theirs.py::test_theirs" in listed.stdout
    assert "test_params" not in listed.stdout
    assert "--no-such-option" in _run(str(COMMAND), "audit", *sides, "--no-such-option", cwd=foreign, status=4).stderr
    # the sides from the environment, and nothing loaded that is not named
    env = {"MLFLOW_PARITY_SOURCE_URI": source.uri, "MLFLOW_PARITY_TARGET_URI": target.uri}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    listed = _run(str(COMMAND), "audit", "--collect-only", "-q", cwd=foreign, env=env)
    assert "test_params[" in listed.stdout
    assert "theirs" not in listed.stdout


@pytest.mark.parametrize("arguments", [[], ["-q", "-k", "params"], ["test_theirs.py"]], ids=["bare", "options", "path"])
def test_audit_without_a_side_is_one_line(foreign: Path, arguments: list[str]) -> None:
    """No side was named: one line says which options are wanted, exit status 4, and nobody's tests are run."""
    done = _run(str(COMMAND), "audit", *arguments, cwd=foreign, status=4)
    assert (done.stdout, done.stderr.strip()) == ("", _NO_SIDES.strip())


@pytest.mark.parametrize("option", ["--help", "--version", "--markers", "--fixtures"])
def test_audit_shows_what_pytest_shows(tmp_path: Path, option: str) -> None:
    """Options of pytest that only show something need no servers."""
    done = _run(str(COMMAND), "audit", option, cwd=tmp_path)
    assert _NO_SIDES not in done.stdout + done.stderr
    if option == "--help":
        assert "--parity-depth" in done.stdout


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ([sys.executable, str(ROOT / "migrate.py")], "migrate.py"),
        ([str(COMMAND), "migrate"], "mlflow-parity migrate"),
        ([*_MODULE, "migrate"], "python -m mlflow_parity migrate"),
    ],
    ids=["checkout", "command", "-m"],
)
def test_migrate_names_the_command_that_was_typed(command: list[str], name: str, tmp_path: Path) -> None:
    """The same commands in every form; usage, errors and the next step are in the reader's."""
    shown = _run(*command, "--help", cwd=tmp_path).stdout
    assert shown.startswith(f"usage: {name} ")
    for step in ("plan", "export", "check", "import", "verify", "run", "repair", "app", "retire", "demo"):
        assert f"\n    {step} " in shown
    done = _run(*command, "import", "--target-uri", "http://127.0.0.1:9", "--work-dir", "w", cwd=tmp_path, status=2)
    assert done.stderr == f"{name} import: --work-dir: w holds no export; run `{name} export` first\n"
    done = _run(*command, "plan", "--batch-size", "0", cwd=tmp_path, status=2)
    assert done.stderr.startswith(f"{name} plan: --batch-size: 0 is out of range")
    assert f"usage: {name} " in _run(*command, "plan", "--no-such-option", cwd=tmp_path, status=2).stderr


@pytest.mark.parametrize(
    ("program", "name", "fix"),
    [
        ("migrate.py", "migrate.py", "pip install -e "),
        ("/usr/local/bin/mlflow-parity", "mlflow-parity migrate", 'pip install "mlflow-parity[migrate]"'),
        ("/x/mlflow_parity/__main__.py", "python -m mlflow_parity migrate", 'pip install "mlflow-parity[migrate]"'),
        # a program that uses the package
        ("/x/pytest/__main__.py", "mlflow-parity migrate", 'pip install "mlflow-parity[migrate]"'),
    ],
)
def test_a_command_to_try_again_is_the_readers(
    program: str, name: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an outcome says to run again, and what to install, begins as the reader's own command did."""
    monkeypatch.setattr(sys, "argv", [program])
    source, target = (parse_location(f"http://127.0.0.1:{port}", option="uri") for port in (1, 2))
    settings = Settings(source, target, tmp_path, tmp_path, (), (), None, 20, 8, False, False, False)
    assert retry_command(settings, "run").startswith(f"{name} run --source-uri http://127.0.0.1:1 --target-uri")
    assert invocation.install_command("migrate").startswith(fix)


def test_one_place_knows_how_the_reader_calls() -> None:
    """No other module has a text with ``migrate.py`` in it; docstrings speak to who reads the code."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and "migrate.py" in str(node.value) and node.value not in docs:
                found.append(f"{path.name}:{node.lineno}")
    assert [one.partition(":")[0] for one in found] == ["notice.py"], found


def test_demo_without_the_stand_in_is_one_line(tmp_path: Path) -> None:
    """moto is not there: the line says what to install, and no folder is made."""
    program = (
        "import sys\nsys.modules['moto'] = None\nfrom mlflow_parity.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    done = _run(sys.executable, "-c", program, "migrate", "demo", "--work-dir", "demo", cwd=tmp_path, status=2)
    fix = 'moto is not installed; run: pip install "mlflow-parity[migrate,standin]"'
    assert done.stderr == f"mlflow-parity migrate: {fix}\n"
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("mlflow-parity mi", {"migrate"}),
        ("mlflow-parity migrate re", {"repair", "retire"}),
        ("mlflow-parity migrate run --engine ", {"threads", "dask"}),
        ("mlflow-parity audit --parity-depth ", {"listing", "digest", "full"}),
        ("mlflow-parity audit --source-u", {"--source-uri"}),
        ("mlflow-parity nothing-like-it", set()),
    ],
)
def test_a_shell_is_told_what_may_follow(tmp_path: Path, typed: str, offered: set[str]) -> None:
    """As argcomplete's script in a shell asks: commands, their commands, options, and values."""
    told = tmp_path / "told"
    # what that script sets
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(told)}
    asked |= {"COMP_LINE": typed, "COMP_POINT": str(len(typed)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    done = _run(COMMAND_FILE, cwd=tmp_path, env=asked)
    assert (done.stdout, done.stderr) == ("", "")
    assert {one.strip() for one in told.read_text().split("\n")} - {""} == offered
