"""The Export Import tool: the right build is found, wrong ones are refused, its log keeps no secret; the demo."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.environments import tool_of_2023
from support.seed import seed_small
from support.servers import FreshServer

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.migrating.exim.tool import DISTRIBUTION, export_all, import_all, require_tool
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import clean_environment

_ROOT = Path(__file__).resolve().parent.parent.parent


def test_maintained_build_is_found() -> None:
    """The tests' environment has the maintained build."""
    assert require_tool() == "1.2.1"


def test_build_of_2023_is_refused_by_name() -> None:
    """The distribution ``mlflow-export-import`` installs the same module and loses more: refused in one line."""
    with pytest.raises(UsageProblem) as refused:
        require_tool([str(tool_of_2023())])
    message = str(refused.value)
    assert "mlflow-export-import 1.2.0" in message
    assert f"pip install --force-reinstall --no-deps {DISTRIBUTION}" in message
    assert "\n" not in message


def test_build_of_2023_beside_the_right_one_is_refused() -> None:
    """Both installed means that one overwrote the other's files."""
    with pytest.raises(UsageProblem, match=r"pip uninstall mlflow-export-import "):
        require_tool([str(tool_of_2023()), *sys.path])


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("mlflow-migration", {"top_level.txt": "mlflow_export_import\n"}),
        ("mlflow_export_import_v2", {"RECORD": "mlflow_export_import/__init__.py,,\n"}),
    ],
)
def test_forks_are_refused_by_name(tmp_path: Path, name: str, files: dict[str, str]) -> None:
    """Any other distribution that installs the module, whether it declares it or only lists its files."""
    folder = tmp_path / f"{name.replace('-', '_')}-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    for file, text in files.items():
        (folder / file).write_text(text)
    # what a list of files names has to be there: the backport of importlib.metadata leaves out what is not
    (tmp_path / "mlflow_export_import").mkdir()
    (tmp_path / "mlflow_export_import" / "__init__.py").touch()
    with pytest.raises(UsageProblem, match=f"{name.replace('_', '-')} 9.9"):
        require_tool([str(tmp_path)])


def test_missing_tool_is_told_in_one_line(tmp_path: Path) -> None:
    """Nothing installed: the line says what to install."""
    with pytest.raises(UsageProblem, match=re.escape('run: pip install "mlflow-parity[migrate]"')):
        require_tool([str(tmp_path)])


@pytest.mark.long
def test_tool_runs_by_uri_and_arn(fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path) -> None:
    """Export by URI and import by ARN, each in a process of its own; logs are private and hold no secret."""
    source = fresh_server()
    seed_small(source.uri, prefix="tool ")
    folder = tmp_path / "export"
    exported = export_all(folder, tracking_uri=source.uri, env=clean_environment(), log=tmp_path / "export.log")
    assert exported.exit_code == 0
    assert (folder / "manifest.json").exists()
    env = clean_environment(sagemaker_app.environment())
    imported = import_all(folder, tracking_uri=sagemaker_app.arn, env=env, log=tmp_path / "import.log")
    assert (imported.exit_code, imported.exceptions) == (0, 0)
    for outcome in (exported, imported):
        assert stat.S_IMODE(outcome.log.stat().st_mode) == 0o600
        text = outcome.log.read_text()
        assert len(text) > 1000
        assert sagemaker_app.credentials.secret_key not in text
        assert str(sagemaker_app.credentials.token) not in text


def test_demo_leaves_a_foreign_folder_alone(tmp_path: Path) -> None:
    """A folder that is not a demo's is refused in one line, and keeps what is in it."""
    (tmp_path / "precious").write_text("mine")
    command = [sys.executable, str(_ROOT / "migrate.py"), "demo", "--work-dir", str(tmp_path)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "--work-dir" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "precious").read_text() == "mine"
