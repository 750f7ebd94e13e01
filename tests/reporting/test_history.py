"""``mlflow-parity history``: the audits that a folder keeps, and what is wrong in the newest that was not before."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support.audits import audit
from support.proxy import Fault, Spoil, cut, endless, half_json, page, proxying, reset_in_body, same_token, status
from support.seed import Seeder
from support.servers import FreshServer, emptied

from mlflow_parity.cli import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reporting.history import server as history_server
from mlflow_parity.reporting.history.audits import audits_in, pairs_of
from mlflow_parity.reporting.history.telling import history_text
from mlflow_parity.standin.sagemaker import StandIn
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.parametrize(("name", "value"), [("experiments", ["some"]), ("evidence", "weak")])
def test_a_narrower_audit_is_marked(
    name: str, value: Any, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A difference that it did not look for counts as gone, but is not fixed: the table says so."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    report = json.loads((folder / "report.json").read_text())
    report["scope"][name] = value
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
        ("report.json", {"verdict": "green"}, "contradicts itself: it is green with 1 failure"),
        ("report.json", {"created": "zzz"}, "does not say when it was made"),
        ("ledger.parquet", "no ledger", "is not the ledger of"),
    ],
)
def test_a_damaged_folder_is_one_line(
    kept: Path, tmp_path: Path, name: str, text: str | dict[str, str], says: str
) -> None:
    """Whatever somebody puts there: never a traceback, and never passed over."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    if isinstance(text, dict):
        text = json.dumps({**json.loads((folder / name).read_text()), **text})
    (folder / name).write_text(text)
    with pytest.raises(UsageProblem, match=re.escape(says)) as raised:
        pairs_of(audits_in([str(folder)]))
    assert "\n" not in str(raised.value)


def test_what_is_red_and_no_row_is_new(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A planted fault that was missed, a waiver that expired: red beside a row that was red before."""
    nights = []
    for number, one in enumerate(sorted(kept.glob("earlier-*"))[1:]):
        nights.append(Path(shutil.copytree(one, tmp_path / f"{number}")))
    before, now = nights
    report = json.loads((now / "report.json").read_text())
    waiver = {"object": "churn model run sweep-*", "facet": "params", "key": "", "status": "expired"}
    (now / "report.json").write_text(json.dumps({**report, "waivers": [waiver], "timings": {"comparing": None}}))
    status, text = _told(capsys, str(before), str(now))
    assert status == 1
    assert "New in the newest: waiver expired: churn model run sweep-* params" in text
    (before / "report.json").write_text(
        json.dumps({**json.loads((before / "report.json").read_text()), "waivers": [waiver]})
    )
    assert _told(capsys, str(before), str(now))[0] == 0
    assert main(["history", str(tmp_path / ("long" * 100))]) == 4
    assert "Traceback" not in capsys.readouterr().err


_PARTS = "MLmodel files of runs in 'churn' contradict each other across parts: one id stands for several"
_TEST = "own.py::test_release"


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ([], [(_PARTS, "parts", _PARTS)], 1),
        ([(_PARTS, "parts", _PARTS)], [(_PARTS, "parts", _PARTS)], 0),
        ([(_PARTS, "parts", _PARTS)], [("part 2 of 2 is red, although its ledger is green", "parts", "part 2")], 1),
        ([], [("2 checks of report.json of today were not run again", "recheck", "2 checks: a, b")], 1),
        # told of another report, but of the same checks
        (
            [("2 checks of report.json of yesterday were not run again", "recheck", "2 checks: a, b")],
            [("2 checks of report.json of today were not run again", "recheck", "2 checks: a, b")],
            0,
        ),
        # what is still open was not green before, and a whole audit that finds it again finds nothing new
        ([(f"failed test: {_TEST}", "test", _TEST)], [(f"not run again: {_TEST}", "test", _TEST)], 0),
        ([(f"not run again: {_TEST}", "test", _TEST)], [(f"failed test: {_TEST}", "test", _TEST)], 0),
        ([], [(f"not run again: {_TEST}", "test", _TEST)], 1),
        (
            [(f"failed test: {_TEST}", "test", _TEST)],
            [(f"own check that did not run to its end: {_TEST}", "test", _TEST)],
            1,
        ),
        # a report of before they were marked
        ([], [(f"failed test: {_TEST}", "", "")], 1),
    ],
)
def test_a_reason_that_no_row_tells_is_new(
    kept: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: list[tuple[str, str, str]],
    now: list[tuple[str, str, str]],
    new: int,
) -> None:
    """Else the night in which parts contradict each other for the first time is told as one like the night before."""
    folders = []
    for number, one in enumerate(sorted(kept.glob("earlier-*"))[1:]):
        folders.append(Path(shutil.copytree(one, tmp_path / f"{number}")))
        report = json.loads((folders[-1] / "report.json").read_text())
        added = now if number else before
        report["reasons"] += [reason for reason, _, _ in added]
        report["other_reasons"] += [{"reason": reason, "of": of, "about": about} for reason, of, about in added if of]
        (folders[-1] / "report.json").write_text(json.dumps(report))
    status, text = _told(capsys, *map(str, folders))
    assert status == new
    assert [line for line in text.splitlines() if line.startswith("New in the newest: ")] == [
        f"New in the newest: {reason}" for reason, _, _ in now * new
    ]


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
            history_text(pairs_of(audits_in([str(folder)])))


@pytest.fixture(scope="module")
def nights(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The four audits as four machines have them that know nothing of each other."""
    folder = tmp_path_factory.mktemp("nights")
    for number, one in enumerate(sorted(kept.glob("earlier-*"))):
        shutil.copytree(one, folder / f"{number}")
    (folder / "3").mkdir()
    for file in kept.glob("[rl]*.*"):
        shutil.copy(file, folder / "3")
    return sorted(folder.iterdir())


def _audits_at(server: Server) -> list[Run]:
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("mlflow-parity")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def test_a_server_keeps_the_audits_of_many_machines(
    kept: Path, nights: list[Path], fresh_server: FreshServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each night's machine has its own report alone, and is told what is new since the one before all the same."""
    server = fresh_server()
    told = [_told(capsys, str(night), "--tracking-uri", server.uri) for night in nights]
    # the third found what the second had found, and only the server knows of the second
    assert [status for status, _ in told] == [0, 1, 0, 1]
    assert told[-1] == _told(capsys, str(kept))
    # whoever asks later, from anywhere, and who gives one again
    assert _told(capsys, "--tracking-uri", server.uri) == told[-1]
    assert _told(capsys, str(nights[1]), "--tracking-uri", server.uri) == told[-1]
    [pair] = json.loads(_told(capsys, "--tracking-uri", server.uri, "--json")[1])

    runs = _audits_at(server)
    assert [one["report"] for one in pair["audits"]] == [f"runs:/{run.info.run_id}/report.json" for run in runs]
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert [run.info.run_name.split()[-1] for run in runs] == ["green", "red", "red", "red"]
    metrics = [run.data.metrics for run in runs]
    assert [one["failed"] for one in metrics] == [0, 1, 1, 1]
    assert [(one["new"], one["gone"]) for one in metrics[1:]] == [(1, 0), (0, 0), (1, 1)]
    report = json.loads((nights[3] / "report.json").read_text())
    assert runs[3].data.tags["mlflow_parity.source"] == report["sides"]["source"]["location"]
    assert all(metrics[3][f"rows/{state}"] == count for state, count in report["totals"].items())
    assert metrics[3]["source/runs"] == report["sides"]["source"]["runs"] > 3
    client = MlflowClient(server.uri)
    files = [{file.path for file in client.list_artifacts(run.info.run_id)} for run in runs]
    # the ledger is for what is compared with it
    assert files == [{"report.json", "report.html"}, *[{"report.json", "report.html", "ledger.parquet"}] * 3]


def test_audits_of_other_servers_are_theirs(
    nights: list[Path], tmp_path: Path, fresh_server: FreshServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """One server keeps the audits of two migrations: that one got worse is no news of the other."""
    server = fresh_server()
    other = Path(shutil.copytree(nights[1], tmp_path / "other"))
    report = json.loads((other / "report.json").read_text())
    report["sides"]["source"]["location"] = "http://other:5000"
    (other / "report.json").write_text(json.dumps(report))
    assert _told(capsys, str(other), "--tracking-uri", server.uri)[0] == 1
    status, text = _told(capsys, str(nights[0]), "--tracking-uri", server.uri)
    assert (status, "http://other:5000" in text) == (0, False)
    status, text = _told(capsys, "--tracking-uri", server.uri)
    assert (status, "http://other:5000" in text) == (1, True)


@pytest.mark.parametrize(
    "spoil", [page, half_json, cut, reset_in_body, status(500), status(404), endless(), same_token]
)
def test_no_answer_is_one_line(
    one_kept: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    """A sign-in page, half an answer, pages without end: never a traceback, and never less than there is."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(history_server, "_MOST_PAGES", 3)
    with proxying(one_kept.uri) as proxy:
        proxy.faults.append(Fault("/runs/search", spoil, times=99))
        if spoil is same_token:
            # the first page leads to another
            proxy.faults.insert(0, Fault("/runs/search", endless()))
        assert main(["history", "--tracking-uri", proxy.uri]) == 4
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR: history: ")
    assert proxy.uri in line


@pytest.mark.long
def test_on_the_target_it_is_an_experiment_like_others(
    servers: tuple[Server, Server], nights: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next audit says that the target has one more, unless it is told to leave it out."""
    source, target = servers
    assert _told(capsys, str(nights[0]), "--tracking-uri", target.uri)[0] == 0
    try:
        done = audit(tmp_path, source.uri, target.uri)
        assert done.status == 1, done.output
        assert "mlflow-parity" in done.output
        done = audit(tmp_path, source.uri, target.uri, "--parity-exclude-experiments", "mlflow-parity")
        assert done.status == 0, done.output
        assert "partial" in done.output
    finally:
        client = MlflowClient(target.uri)
        experiment = client.get_experiment_by_name("mlflow-parity")
        assert experiment is not None
        client.delete_experiment(experiment.experiment_id)


def test_what_was_interrupted_is_gone_on_with(
    nights: list[Path], fresh_server: FreshServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit that is not there whole is not believed, and not put there twice."""
    server = fresh_server()
    arguments = ["history", str(nights[1]), "--tracking-uri", server.uri]
    for name in ("log_batch", "log_artifact", "set_terminated"):
        with monkeypatch.context() as patched:
            patched.setattr(MlflowClient, name, _ended)
            assert main(arguments) == 130
        assert main(["history", "--tracking-uri", server.uri]) == 4
        assert "keeps no audit" in capsys.readouterr().err
    assert main(arguments) == 1
    assert "1 audit put into experiment mlflow-parity of" in capsys.readouterr().err
    [run] = _audits_at(server)
    assert run.info.status == "FINISHED"
    assert len(MlflowClient(server.uri).get_metric_history(run.info.run_id, "failed")) == 1
    assert main(arguments) == 1
    assert "0 audits put into" in capsys.readouterr().err


def _ended(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def one_kept(nights: list[Path], fresh_server: FreshServer, capsys: pytest.CaptureFixture[str]) -> Server:
    """A server that keeps the second audit, which is red."""
    server = fresh_server()
    _told(capsys, str(nights[1]), "--tracking-uri", server.uri)
    return server


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("report.json", "{", "give a report.json as an audit wrote it"),
        ("report.json", '{"format_version": "1", "verdict": "none"}', "is damaged, or of a later version"),
        ("report.json", None, "is not the one that was put there; delete that run"),
        ("ledger.parquet", "no ledger", "is not the ledger of"),
    ],
)
def test_what_somebody_altered_there_is_one_line(
    one_kept: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    nights: list[Path],
    name: str,
    text: str | None,
    says: str,
) -> None:
    """Whoever may write to the server may write anything there: it is refused, never passed over."""
    [run] = _audits_at(one_kept)
    file = tmp_path / name
    file.write_text((nights[2] / name).read_text() if text is None else text)
    MlflowClient(one_kept.uri).log_artifact(run.info.run_id, str(file))
    capsys.readouterr()
    assert main(["history", "--tracking-uri", one_kept.uri]) == 4
    [line] = capsys.readouterr().err.splitlines()
    assert says in line
    assert f"runs:/{run.info.run_id}/{name}" in line


@pytest.mark.parametrize(
    "place", ["/mnt/share/artifacts", "mlflow-artifacts://other.example/7", "https://other.example/7"]
)
def test_files_go_to_the_server_alone(
    nights: list[Path], fresh_server: FreshServer, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """A folder is another one on each machine, and the login of one host is not for another."""
    server = fresh_server()
    Seeder(server.uri).experiment("mlflow-parity")
    # servers before 3.17 take such a place from whoever makes the experiment
    with closing(sqlite3.connect(server.database_path, timeout=30)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'mlflow-parity'", (place,))
    assert main(["history", str(nights[1]), "--tracking-uri", server.uri]) == 4
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ERROR")]
    assert "artifacts of experiment 'mlflow-parity'" in line
    assert ("other.example" if "other" in place else "only its own machine has") in line


def test_what_is_gone_there_is_told(
    one_kept: Server, nights: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that is lost is said to be lost, and a deleted experiment is refused, not created again."""
    client = MlflowClient(one_kept.uri)
    [run] = _audits_at(one_kept)
    monkeypatch.setattr(history_server, "LEDGER_NAME", "no-such-file")
    status, text = _told(capsys, "--tracking-uri", one_kept.uri)
    assert status == 1
    assert "What is new cannot be told" in text
    client.delete_experiment(run.info.experiment_id)
    assert main(["history", str(nights[0]), "--tracking-uri", one_kept.uri]) == 4
    assert "experiment 'mlflow-parity' of" in capsys.readouterr().err
    assert main(["history", str(nights[0]), "--tracking-uri", one_kept.uri, "--experiment", "audits"]) == 0


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://ada:pa%20ss-word@127.0.0.1:9", "http://127.0.0.1:9 does not tell which audits it keeps: "),
        ("", "--tracking-uri: empty; give an"),
        (".", "--tracking-uri: . is a folder; give an http(s):// tracking server or an ARN"),
        ("sqlite:///mlflow.db", "--tracking-uri: "),
    ],
)
def test_where_no_audit_can_be_kept(
    nights: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, uri: str, says: str
) -> None:
    """One line with the address and the fix, and never the password."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["history", str(nights[0]), "--tracking-uri", uri]) == 4
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ERROR: {'history: ' if uri.startswith('http') else ''}{says}")
    assert not re.search("pa.{0,5}ss-word", line)


@pytest.mark.long
def test_an_app_keeps_them(
    nights: list[Path],
    sagemaker_app: StandIn,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its ARN, signed by the sagemaker-mlflow plugin, with the App's files in S3."""
    for name, value in sagemaker_app.environment().items():
        monkeypatch.setenv(name, value)
    with emptied(sagemaker_app.server):
        told = [_told(capsys, str(night), "--tracking-uri", sagemaker_app.arn) for night in nights[1:3]]
        assert [status for status, _ in told] == [1, 0]
        assert _told(capsys, "--tracking-uri", sagemaker_app.arn) == told[-1]
