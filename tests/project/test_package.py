"""The distribution: a built wheel in a fresh environment, and a plugin that nobody notices who did not ask for it."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from support.audits import audit
from support.environments import CONSTRAINTS, ROOT, built_wheel, install

from mlflow_parity import __version__
from mlflow_parity.standin.servers import Server, clean_environment


@pytest.fixture(scope="module")
def wheel() -> Path:
    """A wheel built from this checkout."""
    return built_wheel()


def environment(folder: Path, *what: str) -> Path:
    """Make an environment with ``what`` in it; return its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install(python, what, constraints=CONSTRAINTS)
    return python


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and what it requires; its interpreter."""
    return environment(tmp_path_factory.mktemp("environment") / "venv", str(wheel))


def test_wheel_holds_the_package_the_checks_and_the_types(wheel: Path) -> None:
    """Checks, schema, template and ``py.typed`` are in the wheel; tests are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    checks = {f"mlflow_parity/checks/{path.name}" for path in (ROOT / "checks").glob("*.py")}
    assert checks <= names
    assert {"mlflow_parity/py.typed", "mlflow_parity/reporting/report.schema.json"} <= names
    assert any(name.endswith(".html.j2") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


@pytest.mark.long
def test_installed_plugin_in_an_unrelated_folder(
    installed: Path, servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """In a folder with its own ``checks/``, ``conftest.py`` and odd settings, our checks run, and only ours."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "__init__.py").write_text("")
    (tmp_path / "checks" / "test_params.py").write_text("def test_foreign():\n    raise SystemExit('not ours')\n")
    (tmp_path / "conftest.py").write_text("import pytest\n\n@pytest.fixture\ndef experiment():\n    return 1\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = checks\npython_files = check_*.py\n")
    for tests in ("checks", "tests"):
        (tmp_path / tests).mkdir(exist_ok=True)
        (tmp_path / tests / "conftest.py").write_text("raise SystemExit('an audit loads no conftest of tests')\n")
    source, target = servers
    command = [str(installed), "-m", "pytest", "--source-uri", source.uri, "--target-uri", target.uri, "-v"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_foreign" not in done.stdout
    assert "test_params.py::test_params[" in done.stdout
    assert "parity: GREEN" in done.stdout
    assert (tmp_path / "reports" / "report.html").is_file()


@pytest.mark.long
def test_from_a_checkout(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """In the checkout the two URIs alone run the checks and none of the project's own tests."""
    source, target = servers
    done = audit(ROOT, source.uri, target.uri, "-v", "--parity-report-dir", str(tmp_path / "reports"))
    assert done.status == 0, done.output
    ran = [line for line in done.output.splitlines() if "::" in line and "PASSED" in line]
    assert ran
    assert all(line.startswith("checks/test_") for line in ran)


@pytest.mark.long
def test_an_audit_in_a_checkout_that_is_not_installed(
    wheel: Path, servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """The checkout's ``conftest.py`` brings the plugin in; nothing of what only the tests need has to be there."""
    with zipfile.ZipFile(wheel) as content:
        metadata = next(name for name in content.namelist() if name.endswith("/METADATA"))
        lines = content.read(metadata).decode().splitlines()
    needed = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    python = environment(tmp_path / "venv", *(one for one in needed if "extra ==" not in one))
    source, target = servers
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--parity-report-dir", str(tmp_path / "r")]
    command += ["--source-uri", source.uri, "--target-uri", target.uri]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "parity: GREEN" in done.stdout


@pytest.mark.long
def test_a_checkout_loads_its_tests_only_where_they_are_named() -> None:
    """Plain ``pytest`` in the checkout asks for two servers, and loads nothing of ``tests/``; ``pytest tests`` does."""
    shown = {}
    for named in ((), ("tests",)):
        command = [sys.executable, "-v", "-m", "pytest", "--collect-only", "-qs", "-p", "no:cacheprovider", *named]
        shown[named] = subprocess.run(
            command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
        )
    bare, tests = shown[()], shown["tests",]
    assert bare.returncode == 4, bare.stdout
    assert "the checks compare two servers: add --source-uri" in bare.stdout + bare.stderr
    assert str(ROOT / "tests") not in bare.stdout + bare.stderr
    assert tests.returncode == 0, tests.stdout
    assert str(ROOT / "tests" / "support") in tests.stderr
    nodes = [line for line in tests.stdout.splitlines() if "::" in line]
    assert nodes
    assert all("/test_" in line for line in nodes)


def test_installed_plugin_leaves_other_runs_alone(installed: Path, tmp_path: Path) -> None:
    """Without our options a run prints and collects what it would without the plugin, and loads nothing heavy."""
    (tmp_path / "test_one.py").write_text(
        "import sys\n\ndef test_one():\n    assert not {'mlflow', 'deepdiff', 'numpy', 'boto3'} & sys.modules.keys()\n"
    )

    def run(*options: str) -> list[str]:
        done = subprocess.run(
            [str(installed), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.partition(" in ")[0] for line in (done.stdout + done.stderr).splitlines()]

    assert run() == run("-p", "no:mlflow_parity")
    assert list(tmp_path.glob("reports*")) == []


def test_help_lists_every_option_in_one_group(installed: Path, tmp_path: Path) -> None:
    """``--help`` shows the group with every option, its ini name and its environment variable."""
    from mlflow_parity.options import OPTIONS

    done = subprocess.run(
        [str(installed), "-m", "pytest", "--help"],
        cwd=tmp_path,
        env={**clean_environment(), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    group = done.stdout.partition("mlflow-parity:")[2]
    for option in OPTIONS:
        assert option.flag in group
        assert option.ini in group
        assert option.environment in group


@pytest.mark.long
def test_migrating_without_the_extra_is_one_line(installed: Path, tmp_path: Path) -> None:
    """Only the package is there: help works, what would move anything says what to install, with exit status 2."""
    command = installed.with_name("mlflow-parity")

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [str(command), *arguments],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert run("--version") == (0, f"mlflow-parity {__version__}\n", "")
    for shown in ([], ["--help"], ["migrate", "--help"], ["migrate", "run", "--help"]):
        status, out, errors = run(*shown)
        assert (status, "usage: mlflow-parity" in out, errors) == (0, True, "")
    ends = ("--source-uri", "http://127.0.0.1:9", "--target-uri", "http://127.0.0.1:10")
    told = "mlflow-parity migrate: MLflow and the Export Import tool are not installed; run: pip install"
    for arguments in ((), ("plan", *ends), ("run", *ends), ("export", *ends[:2]), ("import", *ends[2:])):
        assert run("migrate", *arguments) == (2, "", f'{told} "mlflow-parity[migrate]"\n')
    told = "mlflow-parity migrate: MLflow, the Export Import tool and moto are not installed; run: pip install"
    assert run("migrate", "demo") == (2, "", f'{told} "mlflow-parity[migrate,standin]"\n')
    # these need nothing else, and say what is wrong with what they were given
    status, _, errors = run("migrate", "check")
    assert (status, "holds no export; run `mlflow-parity migrate export` first" in errors) == (2, True)
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/old"
    status, _, errors = run("migrate", "retire", "--source-arn", arn, "--report", "none.json", "--max-age", "x")
    assert (status, errors.count("\n"), "--max-age" in errors) == (2, 1, True)
    status, _, errors = run("migrate", "verify", "--from-export", *ends[2:])
    assert (status, errors.count("\n"), "Traceback" in errors) == (2, 1, False), errors
    # where the audit would have put its reports, there is one that says that there is no verdict
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
    assert json.loads((tmp_path / "reports" / "report.json").read_text())["verdict"] == "none"
