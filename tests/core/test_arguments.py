"""What a command says of arguments that it does not understand."""

from __future__ import annotations

import pytest

from mlflow_parity import cli
from mlflow_parity.migrating import command

_URL = "http://bob:hunter2secret@127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--source-url", _URL], "unrecognized arguments: --source-url\n"),
        (["plan", f"--source-url={_URL}"], "unrecognized arguments: --source-url\n"),
        (["plan", "--token=hunter2secret"], "unrecognized arguments: --token\n"),
        (["plan", "-phunter2secret"], "unrecognized arguments: -p\n"),
        (["plan", _URL], "unrecognized arguments: http://[redacted]@127.0.0.1:1\n"),
        (["plan", "postgresql://u:hunter2secret/@db/x"], "unrecognized arguments: postgresql://[redacted]@db/x\n"),
        (["plan", "--workers", _URL], "'http://[redacted]@127.0.0.1:1'"),
        (["plan", "--workers", "http://bob:hunter2 secret@h"], "invalid int value: 'http://[redacted]@h'"),
        (["plan", "--workers=bob:hunter2secret@h"], "invalid int value: '[redacted]@h'"),
        (["plan", "http:/bob:hunter2secret@h"], "unrecognized arguments: http:/[redacted]@h\n"),
        (["plan", "http://bob:hunter2 secret@h"], "unrecognized arguments: http://[redacted]@h\n"),
        (["plan", "bob:hunter2secret@h"], "unrecognized arguments: [redacted]@h\n"),
        (["app", _URL], "'http://[redacted]@127.0.0.1:1'"),
        ([_URL], "'http://[redacted]@127.0.0.1:1'"),
    ],
)
def test_migrate_repeats_no_password(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that is misspelt would show its value in the log of a job."""
    if arguments[0] == "plan":
        arguments = [*arguments, "--source-uri", "http://127.0.0.1:1", "--target-uri", "http://127.0.0.1:2"]
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "more",
    [["--source-db", "postgresql://auditor:hunter2secret@db/mlflow"], ["--parity-depth", _URL], ["--workers", _URL]],
)
def test_snapshot_repeats_no_password(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Options of other commands are an easy guess."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["snapshot", "--source-uri", "http://127.0.0.1:1", "--to", "kept", *more])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "error: " in told
    assert "hunter2secret" not in told


def test_a_password_of_the_environment_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may stand where nobody would look for one."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2secret")
    with pytest.raises(SystemExit):
        cli.main(["waive", "--from", "report.json", "hunter2secret"])
    assert "hunter2secret" not in capsys.readouterr().err
