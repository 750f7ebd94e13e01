"""``snapshot`` and ``migrate.plan`` return what the commands read and find."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support.migrations import COMMAND, migrate_py

import mlflow_parity
from mlflow_parity.standin.servers import Server, clean_environment


def test_a_snapshot_stands_for_its_server(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """The same digest as the command's; given as ``source`` the object is its folder, and the audit is green."""
    source, target = servers
    taken = mlflow_parity.snapshot(source=source.uri, folder=tmp_path / "ours", depth="digest", workers=4)
    command = [str(COMMAND), "snapshot", "--source-uri", source.uri, "--to", "theirs"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=120, check=True
    )
    summary, root, digest = done.stdout.splitlines()
    assert (f"digest {taken.digest}", root) == (digest, "theirs/source")
    assert repr(taken).splitlines()[0] == summary
    assert len(repr(taken).splitlines()) == 2
    assert taken.complete
    assert taken.unread == ()
    assert taken.path == tmp_path / "ours" / "source"
    assert taken.counts["experiments"] >= 2
    assert summary in taken._repr_html_()
    with pytest.raises(TypeError, match=r"ask its [.]complete"):
        bool(taken)
    found = mlflow_parity.audit(source=taken, target=target.uri, report_dir=tmp_path / "r")
    assert found.green, found.reasons


def test_a_plan_is_the_command_s(
    servers: tuple[Server, Server], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All that ``plan.json`` of the command holds, but for the time that it estimates; nothing is printed."""
    source, target = servers
    done = migrate_py(tmp_path / "theirs", "plan", "--source-uri", source.uri, "--target-uri", target.uri)
    found = mlflow_parity.migrate.plan(
        source=source.uri, target=target.uri, work_dir=tmp_path / "theirs" / "migration", report_dir=tmp_path / "ours"
    )
    assert tuple(capfd.readouterr()) == ("", "")
    theirs = json.loads((tmp_path / "theirs" / "reports" / "plan.json").read_text(encoding="utf-8"))
    ours = found.to_dict()
    assert json.loads(found.path.read_text(encoding="utf-8")) == ours
    for document in (theirs, ours):
        del document["estimate"]
    assert ours == theirs
    assert found.exit_status == done.status
    # the target has the experiments already
    assert found.blocked
    assert found.in_the_way[0]["level"] == "error"
    assert found.in_the_way[0]["what"] in repr(found).replace("…", "") or "…" in repr(found)
    assert len(repr(found).splitlines()) == 2
    assert "<script" not in found._repr_html_()
    assert found.experiments.num_rows == len(theirs["experiments"])
    assert {"id", "reason"} <= set(found.rules[0])
    assert found.estimate["disk"] > 0
    assert found.counts["run"] > 0
    with pytest.raises(TypeError, match=r"ask its [.]blocked"):
        bool(found)
