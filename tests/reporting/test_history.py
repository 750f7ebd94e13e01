"""``mlflow-parity history``: the audits that a folder keeps, and what is wrong in the newest that was not before."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.audits import audit
from support.seed import Seeder

from mlflow_parity.cli import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reporting import history
from mlflow_parity.standin.servers import Server


def _run(server: Server, name: str) -> str:
    seed = Seeder(server.uri)
    ids = [one["experiment_id"] for one in seed.call("POST", "experiments/search", {"max_results": 99})["experiments"]]
    runs = seed.call("POST", "runs/search", {"experiment_ids": ids, "max_results": 99})["runs"]
    [found] = [run["info"]["run_id"] for run in runs if run["info"]["run_name"] == name]
    return str(found)


@pytest.fixture(scope="module")
def kept(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four audits: green; a tag is too many; the same; another run is deleted, and the tag is gone."""
    source, target = servers
    folder = tmp_path_factory.mktemp("kept")
    seed = Seeder(target.uri)
    first, second = (_run(target, name) for name in ("sweep-1", "sweep-2"))

    def audited(status: int) -> None:
        done = audit(folder, source.uri, target.uri)
        assert done.status == status, done.output

    audited(0)
    seed.log(first, tags={"surplus": "1"})
    audited(1)
    audited(1)
    seed.call("POST", "runs/delete-tag", {"run_id": first, "key": "surplus"})
    seed.delete_run(second)
    audited(1)
    seed.call("POST", "runs/restore", {"run_id": second})
    return folder / "reports"


def _told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["history", *arguments])
    return status, capsys.readouterr().out


def test_what_is_new_and_gone_is_counted_row_by_row(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four audits in their order; each row that is newly wrong is named, and one that is right again is gone."""
    status, text = _told(capsys, str(kept))
    assert status == 1
    lines = text.splitlines()
    assert max(map(len, lines)) <= 79 or "(" in max(lines, key=len)
    rows = [re.split(r" {2,}", line.strip()) for line in lines if re.match(r"  20\d\d-", line)]
    assert [row[1] for row in rows] == ["green", "red", "red", "red"]
    assert [row[3:6] for row in rows[:3]] == [["0", "-", "-"], ["1", "1", "0"], ["1", "0", "0"]]
    # the run is in the trash, and the tag is gone
    assert rows[3][3:6] == ["1", "1", "1"]
    at = lines.index("New in the newest since the one before: 1 row that is not green")
    [named] = lines[at + 1 :]
    assert named.startswith("  mismatch: lifecycle of run sweep-2 (")
    assert "sweep-1" not in text


def test_nothing_new_is_0_though_red(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The third audit found what the second had found: the same is wrong, and nothing else."""
    folder = tmp_path / "kept"
    folder.mkdir()
    for number, one in enumerate(sorted(kept.glob("earlier-*"))):
        shutil.copytree(one, folder / f"earlier-{number}")
    assert _told(capsys, str(folder))[0] == 0
    assert "Nothing is wrong in the newest that was not before." in _told(capsys, str(folder))[1]
    # folders of nightly runs, one each: in whatever order they are given
    nights = [str(one) for one in sorted(folder.glob("earlier-*"), reverse=True)]
    assert _told(capsys, *nights) == _told(capsys, str(folder))
    assert _told(capsys, *nights, nights[0]) == _told(capsys, str(folder))
    # the second alone: all of it is new
    status, text = _told(capsys, str(folder / "earlier-1"))
    assert status == 1
    assert "New in the newest: 1 row that is not green" in text
    assert "mismatch: tags of run sweep-1 (" in text
    assert _told(capsys, str(folder / "earlier-0")) == (0, _told(capsys, str(folder / "earlier-0"))[1])


def test_a_row_that_gets_worse_is_new(
    servers: tuple[Server, Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was red before does not hide what is added to it; fewer differences are nothing new."""
    source, target = servers
    seed = Seeder(target.uri)
    run = _run(target, "sweep-1")

    def audited() -> tuple[int, str]:
        done = audit(tmp_path, source.uri, target.uri)
        assert done.status == 1, done.output
        return _told(capsys, str(tmp_path / "reports"))

    seed.log(run, tags={"surplus": "1"})
    try:
        assert audited()[0] == 1
        assert audited()[0] == 0
        seed.log(run, tags={"worse": "1"})
        try:
            status, text = audited()
        finally:
            seed.call("POST", "runs/delete-tag", {"run_id": run, "key": "worse"})
        assert status == 1
        assert "New in the newest since the one before: 1 row that is not green" in text
        [named] = [line for line in text.splitlines() if line.startswith("  mismatch: tags of run sweep-1 (")]
        assert named.endswith(", 2 differences, 1 before")
        status, text = audited()
        assert (status, "Nothing is wrong in the newest that was not before." in text) == (0, True)
    finally:
        seed.call("POST", "runs/delete-tag", {"run_id": run, "key": "surplus"})


def test_json_has_all_of_it(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, versions, times, what is new by facet: for a chart of one's own."""
    status, text = _told(capsys, str(kept), "--json")
    assert status == 1
    [pair] = json.loads(text)
    audits = pair["audits"]
    assert [one["verdict"] for one in audits] == ["green", "red", "red", "red"]
    assert [one["created"] for one in audits] == sorted(one["created"] for one in audits)
    assert audits[1]["new_by_facet"] == {"run tags": 1}
    assert sum(audits[3]["new_by_facet"].values()) == audits[3]["new"] == audits[3]["failed"]
    assert min(audits[0]["sides"][side]["runs"] for side in ("source", "target")) > 3
    assert all(len(one["ledger_digest"]) == 64 for one in audits)


def test_what_cannot_be_told_is_no_pass(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a ledger nothing is known of its rows; a newest audit without a verdict is worse, too."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    _, second, third = sorted(folder.glob("earlier-*"))
    (second / "ledger.parquet").unlink()
    status, text = _told(capsys, str(second), str(third))
    assert status == 1
    assert "What is new cannot be told: a ledger is not there" in text
    report = json.loads((folder / "report.json").read_text())
    done = {**report, "verdict": "none", "reasons": ["no verdict: did not finish"], "coverage": [], "findings": []}
    (folder / "report.json").write_text(json.dumps(done))
    status, text = _told(capsys, str(folder))
    assert status == 1
    assert "The newest has no verdict: no verdict: did not finish" in text


def test_a_narrower_audit_is_marked(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A difference that it did not look for counts as gone, but is not fixed: the table says so."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    report = json.loads((folder / "report.json").read_text())
    report["scope"]["experiments"] = ["some"]
    (folder / "report.json").write_text(json.dumps(report))
    assert "of another scope than the one before" in _told(capsys, str(folder))[1]
    assert "of another scope" not in _told(capsys, str(kept))[1]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("report.json", "{", "give a report.json as an audit wrote it"),
        ("report.json", "[]", "is not a report of format 1"),
        ("report.json", '{"format_version": "2"}', "is not a report of format 1"),
        ("report.json", '{"format_version": "1", "verdict": "none"}', "is damaged, or of a later version"),
        ("ledger.parquet", "no ledger", "is not the ledger of"),
    ],
)
def test_a_damaged_folder_is_one_line(kept: Path, tmp_path: Path, name: str, text: str, says: str) -> None:
    """Whatever somebody puts there: never a traceback, and never passed over."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    (folder / name).write_text(text)
    with pytest.raises(UsageProblem, match=re.escape(says)) as raised:
        history.pairs_of([str(folder)])
    assert "\n" not in str(raised.value)


def test_a_folder_without_reports_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong path is no empty history."""
    assert main(["history", str(tmp_path)]) == 4
    assert capsys.readouterr().err == (
        f"ERROR: history: {tmp_path} has no report.json; give the folder of an audit's reports\n"
    )


def test_fields_taken_out_of_a_report_are_one_line(kept: Path, tmp_path: Path) -> None:
    """Each field in turn: refused, or not needed."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    report = json.loads((folder / "report.json").read_text())
    for name in report:
        (folder / "report.json").write_text(json.dumps({key: value for key, value in report.items() if key != name}))
        with pytest.raises(UsageProblem):
            history.history_text(history.pairs_of([str(folder)]))
