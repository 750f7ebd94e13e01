"""What ``migrate.py run`` says to options of a cluster that do not go together: one line, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.command import main, parser
from mlflow_parity.migrating.plan.source_state import unmatched
from mlflow_parity.migrating.settings import Settings, in_model_scope, in_scope, settings_of
from mlflow_parity.migrating.verifying import audit_arguments

_ENDS = ["--source-uri", "http://127.0.0.1:1", "--target-uri", "http://127.0.0.1:2"]
#: As a glob the first one is the second.
_NAMES = ["train [v2]", "train v", "train"]
_DASK = ["--engine", "dask"]
_AT = ["--dask-scheduler", "tcp://127.0.0.1:8786"]


def _settings(*options: str) -> Settings:
    return settings_of(parser().parse_args(["run", *_ENDS, *options]), {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (_DASK, "add --discard-export"),
        ([*_DASK, "--keep-export"], "add --discard-export"),
        (_AT, "--dask-scheduler is of --engine dask, which is missing"),
        (["--dask-dir", "/mnt/shared"], "--dask-dir is of --engine dask, which is missing"),
        ([*_DASK, *_AT, "--discard-export"], "add --dask-dir with a folder"),
        (
            [*_DASK, "--discard-export", "--target-uri", "http://u:hunter2@127.0.0.1:2"],
            "TARGET_MLFLOW_TRACKING_PASSWORD here and on the workers",
        ),
    ],
)
def test_what_does_not_go_together(options: list[str], said: str) -> None:
    """Who named a scheduler and no engine would wait for one machine; an export that is promised must be kept."""
    with pytest.raises(UsageProblem, match="dask") as refused:
        _settings(*options)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("option", ["--work-dir", "--report-dir"])
@pytest.mark.parametrize("place", ["~nosuchuser/x", "a" * 300])
def test_a_folder_that_cannot_be_is_one_line(
    option: str, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody's home, or a name that is too long; for every step that has such a folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageProblem, match=f"^{option}: .+ cannot be used"):
        _settings(option, place)
    for step in (["plan", *_ENDS], ["demo"], *([["check"]] if option == "--work-dir" else [])):
        assert main([*step, option, place]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert f"{option}: " in line


def test_a_name_with_brackets_is_itself() -> None:
    """As with the audit: else another experiment moves (``train v``), or none, and the audit looks at this one."""
    every = [Experiment(str(number), name, "active", "", None, None, {}) for number, name in enumerate(_NAMES)]
    settings = _settings("--experiments", _NAMES[0], "--models", _NAMES[0])
    assert [one.name for one in in_scope(settings, every)] == _NAMES[:2]
    assert [name for name in _NAMES if in_model_scope(settings)(name)] == _NAMES[:2]
    assert unmatched("--experiments", settings.experiments, _NAMES[:1]) == []
    assert unmatched("--experiments", settings.experiments, _NAMES[2:]) != []


@pytest.mark.parametrize("step", [["plan", *_ENDS], ["run", *_ENDS], ["export", *_ENDS[:2]]])
def test_a_file_is_no_folder_for_reports(
    step: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Said before a server is asked: not after a migration, nor as an error of ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    assert main([*step, "--report-dir", "mine"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(": --report-dir: mine is a file; give another folder")
    assert (tmp_path / "mine").read_text() == "mine"


def test_the_audit_that_follows_has_the_same_workers() -> None:
    """Moved by many machines and audited by one it would take longer to audit than to move."""
    settings = _settings(*_DASK, *_AT, "--dask-dir", "s3://bucket/place", "--discard-export")
    arguments = audit_arguments(settings, settings.reports)
    at = arguments.index("--parity-engine")
    assert arguments[at : at + 6] == [
        "--parity-engine", "dask", "--parity-dask-scheduler", "tcp://127.0.0.1:8786",
        "--parity-dask-dir", "s3://bucket/place",
    ]  # fmt: skip
    with pytest.raises(UsageProblem, match=r"^--dask-dir: '~nosuchuser/x' cannot be used"):
        audit_arguments(_settings(*_DASK, "--dask-dir", "~nosuchuser/x", "--discard-export"), settings.reports)
    assert "--parity-engine" not in audit_arguments(_settings(), settings.reports)
