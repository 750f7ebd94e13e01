"""``mlflow-parity merge``: parts that are not all there, not of one audit, or untrue are one line, and never green."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.audits import AuditRun, audit
from support.joined import copied, in_parts, merge
from support.seed import Seeder
from support.servers import FreshServer, copy_database

from mlflow_parity.audit.settings import Settings
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def parts(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> list[AuditRun]:
    """Both parts of an audit of two servers that are equal."""
    made = in_parts(tmp_path_factory.mktemp("parts"), servers, 2)
    assert [part.status for part in made] == [0, 0]
    return made


def _altered(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    change(report)
    path.write_text(json.dumps(report), encoding="utf-8")


def _rows(folder: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *, told: bool = True) -> None:
    """Alter a ledger, and, if ``told``, the report beside it, so that both agree."""
    path = folder / "ledger.parquet"
    table = pq.read_table(path)
    rows = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)

    def agree(report: dict[str, Any]) -> None:
        report["ledger_digest"] = file_sha256(path)
        cells: dict[tuple[str, str], dict[str, int]] = {}
        for row in rows if told else ():
            cell = cells.setdefault((row["experiment"], f"{row['kind']} {row['facet']}"), {})
            cell[row["state"]] = cell.get(row["state"], 0) + 1
        if told:
            report["subset"]["rows"] = len(rows)
            report["coverage"] = [
                {"experiment": experiment, "facet": facet, "counts": counts, "total": sum(counts.values()),
                 "verified": sum(counts.values()), "findings": 0, "worst": "match"}
                for (experiment, facet), counts in cells.items()
            ]  # fmt: skip

    _altered(folder, agree)


def _refused(done: AuditRun, *words: str) -> None:
    lines = [line for line in done.output.splitlines() if line]
    assert done.status == 4, done.output
    assert len(lines) == 1, done.output
    assert lines[0].startswith("ERROR: ")
    assert all(word in lines[0] for word in words), lines[0]
    # nor does what was there before, or may be taken for a verdict, stay
    if (done.reports / "report.json").exists():
        assert done.report["verdict"] == "none"
        assert not (done.reports / "ledger.parquet").exists()


def test_all_parts_are_one_green_report(parts: list[AuditRun], tmp_path: Path) -> None:
    """By folder, ledger or report, in any order; parts are partial, and what they come to is not."""
    done = merge(tmp_path, [parts[1].reports / "ledger.parquet", parts[0].reports])
    assert done.status == 0, done.output
    assert "GREEN" in done.output
    assert "partial" not in done.output
    assert done.report["subset"] is None
    for number, part in enumerate(parts, 1):
        assert f"GREEN (partial: part {number} of 2)" in part.output
        assert "sign report.html" not in part.output
        assert f"Part {number} of 2 verified" in (part.reports / "report.html").read_text(encoding="utf-8")


def test_a_red_part_makes_all_red(parts: list[AuditRun], tmp_path: Path) -> None:
    """A part may be red for more than its ledger, as where a user's own check failed."""
    folders = copied(parts, tmp_path)
    _altered(folders[0], lambda report: report.update(verdict="red", exit_status=1, reasons=["pytest said so"]))
    done = merge(tmp_path / "own", folders)
    assert done.status == 1
    assert done.report["verdict"] == "red"
    assert done.report["reasons"] == ["part 1 of 2 is red, although its ledger is green: pytest said so"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([0], ("part 2 of 2 not given",)),
        ([0, 0], ("the same part",)),
        ([0, 1, 1], ("the same part",)),
    ],
)
def test_parts_that_are_not_all_there_once(
    parts: list[AuditRun], tmp_path: Path, given: list[int], words: tuple[str, ...]
) -> None:
    """Half an audit, or one half twice, is no whole."""
    _refused(merge(tmp_path, [parts[number].reports for number in given]), *words)


def _of_other(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    def change(report: dict[str, Any]) -> None:
        place = report
        *way, last = name.split(".")
        for step in way:
            place = place[step]
        place[last] = value

    return change


OTHER = {
    "another number of parts": ("subset.of", 3, "not parts of one audit"),
    "another source": ("sides.source.location", "http://elsewhere", "another source"),
    "another target": ("sides.target.server_version", "1.0", "another target"),
    "another version": ("tool_version", "0.0.1", "0.0.1"),
    "other options": ("subset.options", {"--parity-depth": "listing"}, "other options"),
    "a database": ("subset.options.--source-db", "true", "other options (--source-db)"),
    "another selection": ("subset.selection", "00", "select the same"),
    "other checks": ("scope.checks", [], "select the same"),
    "another contract": ("contract_digest", "00", "another contract"),
    "other waivers": ("waivers_digest", "00", "waivers"),
    "a waiver more": ("waivers", [{"object": "x", "status": "used", "covered": "1"}], "other waivers"),
    "another time": ("sides.source.read_from", "2020-01-01T00:00:00Z", "hours before"),
    "no time": ("sides.source.read_from", "", "does not say when"),
    "time turned round": ("sides.source.read_to", "2020-01-01T00:00:00Z", "does not say when"),
    "another part's number": ("subset.part", 2, "the same part"),
    "part 0": ("subset.part", 0, "damaged"),
    "a part beyond": ("subset.part", 7, "part 7 of 2"),
    "a huge number": ("subset.of", 10**30, "part 1 of"),
    "no objects": ("subset.objects", {}, "did not see the same objects"),
    "a digest that is none": ("subset.objects", {"run params": {"objects": 1, "digest": "x"}}, "damaged"),
    "no part": ("subset", None, "--parity-subset"),
    "a list for a part": ("subset", [1, 2], "damaged"),
    "text for a count": ("subset.rows", "9", "damaged"),
    "forged rows": ("subset.rows", 1, "contradicts itself"),
    "forged coverage": ("coverage", [], "contradicts itself"),
    "forged differences": ("findings_total", 5, "contradicts itself"),
    "a state that is none": ("totals", {"fine": 3}, "damaged"),
    "a key more": ("more", 1, "damaged"),
    "nested deeply": ("capabilities", 1, "damaged"),
    "no verdict": ("verdict", "none", "no verdict"),
    "another format": ("format_version", "9", "format"),
}


#: Options that say where something is and how it is read or told, and those of which the report has its own digest.
NOT_JUDGED = {
    "source", "target", "workers", "snapshot_dir", "report_dir", "waivers", "recheck", "self_test", "allow_place",
    "source_artifacts", "target_artifacts", "stop_after", "subset", "estimate", "engine", "dask_scheduler", "dask_dir",
    "summary",
}  # fmt: skip


def test_every_option_that_judges_must_be_the_same(parts: list[AuditRun]) -> None:
    """One part by weak evidence among others is not what the others say; a new option is not forgotten here."""
    told = {
        name.removeprefix("--parity-").removeprefix("--").replace("-", "_")
        for name in parts[0].report["subset"]["options"]
    }
    assert told == {field.name for field in fields(Settings)} - NOT_JUDGED


@pytest.mark.parametrize("what", OTHER)
def test_parts_of_another_audit_or_untrue(parts: list[AuditRun], tmp_path: Path, what: str) -> None:
    """Each is told in one line; none is joined, and none is green."""
    name, value, word = OTHER[what]
    folders = copied(parts, tmp_path)
    _altered(folders[0], _of_other(name, value))
    _refused(merge(tmp_path, folders), word)


def test_an_s3_of_another_name_is_another_side(parts: list[AuditRun], tmp_path: Path) -> None:
    """Who answered a later part is told as well; a part for which nobody named an S3 is no other audit."""
    folders = copied(parts, tmp_path)
    _altered(folders[1], _of_other("sides.source.s3_endpoint", "http://minio:9000"))
    done = merge(tmp_path / "one", folders)
    assert done.status == 0, done.output
    assert done.report["sides"]["source"]["s3_endpoint"] == "http://minio:9000"
    assert any("the S3 of the source (http://minio:9000) for 1 of 2 parts" in note for note in done.report["notes"])
    _altered(folders[0], _of_other("sides.source.s3_endpoint", "http://other:9000"))
    _refused(merge(tmp_path / "two", folders), "another S3 of the source", "http://other:9000", "http://minio:9000")


def test_files_that_are_cut_or_others(parts: list[AuditRun], tmp_path: Path) -> None:
    """A ledger that is cut, gone, another's, no Parquet or of other columns; a report that is half one; no file."""
    spoils: list[Callable[[Path], object]] = [
        lambda folder: (folder / "ledger.parquet").unlink(),
        lambda folder: shutil.copy(parts[1].reports / "ledger.parquet", folder / "ledger.parquet"),
        lambda folder: _cut(folder / "ledger.parquet"),
        lambda folder: _own_digest(folder, b"no parquet"),
        lambda folder: _own_digest(folder, (folder / "ledger.parquet").read_bytes()[:-40]),
        lambda folder: _columns(folder),
        lambda folder: _cut(folder / "report.json"),
        lambda folder: (folder / "report.json").write_text("[" * 100_000, encoding="utf-8"),
        lambda folder: (folder / "report.json").write_bytes(b"\xff\x00"),
        lambda folder: shutil.rmtree(folder),
    ]
    for number, spoil in enumerate(spoils):
        place = tmp_path / str(number)
        folders = copied(parts, place)
        spoil(folders[0])
        _refused(merge(place, folders), "merge: ")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _own_digest(folder: Path, content: bytes) -> None:
    (folder / "ledger.parquet").write_bytes(content)
    _altered(folder, lambda report: report.update(ledger_digest=file_sha256(folder / "ledger.parquet")))


def _columns(folder: Path) -> None:
    path = folder / "ledger.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["state"]), path)
    _altered(folder, lambda report: report.update(ledger_digest=file_sha256(path)))


def test_ledgers_that_are_altered_with_their_reports(parts: list[AuditRun], tmp_path: Path) -> None:
    """Rows less, more, of another part, of nobody, or in a state that is none, however well the report fits."""
    other = pq.read_table(parts[1].reports / "ledger.parquet").to_pylist()

    def state(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**rows[0], "state": "fine"}, *rows[1:]]

    for number, (change, told, word) in enumerate([
        (lambda rows: rows[1:], True, "cut or altered"),
        (lambda rows: [*rows, rows[0]], True, "cut or altered"),
        (lambda rows: [*rows, *other[:1]], True, "not of part 1 of 2"),
        (lambda rows: [{**rows[0], "target_id": "f" * 32}, *rows[1:]], True, "cut or altered"),
        (lambda rows: [], True, "contradicts itself"),
        (lambda rows: rows[1:], False, "contradicts itself"),
        (lambda rows: [{**rows[0], "state": "mismatch"}, *rows[1:]], False, "contradicts itself"),
        (lambda rows: [{**rows[0], "state": "mismatch"}, *rows[1:]], True, "contradicts itself"),
        (lambda rows: [{**rows[0], "findings": -1}, *rows[1:]], False, "damaged"),
        (state, False, "damaged"),
    ]):  # fmt: skip
        place = tmp_path / str(number)
        folders = copied(parts, place)
        _rows(folders[0], change, told=told)
        _refused(merge(place, folders), word)


def test_ids_that_contradict_each_other_across_parts(parts: list[AuditRun], tmp_path: Path) -> None:
    """No part sees that one model's id became two: what is joined is red, and says where."""
    folders = copied(parts, tmp_path)
    for folder, copy in zip(folders, "12", strict=True):
        models = {"churn model": ["0" * 18 + copy * 18]}
        _altered(folder, lambda report, models=models: report["subset"].update(models=models))  # type: ignore[misc]
    done = merge(tmp_path, folders)
    assert done.status == 1
    assert "'churn model' contradict each other" in done.report["reasons"][0]
    # no row tells so, and history and rechecks have to know it
    [other] = done.report["other_reasons"]
    assert (other["reason"], other["of"]) == (done.report["reasons"][0], "parts")


def test_bad_options_are_one_line(parts: list[AuditRun], servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Of merge, and of a part: before anything is asked of a server."""
    for hours in ("0", "-1", "nan", "inf", "x", ""):
        _refused(merge(tmp_path / "hours", [part.reports for part in parts], "--within", hours), "--within")
    folders = copied(parts, tmp_path)
    done = merge(tmp_path, folders, "--to", str(folders[0]))
    assert done.status == 4
    assert "is the folder of one of the parts" in done.output
    _refused(merge(tmp_path / "no", [part.reports for part in parts], "--to", "/proc/x"), "--to: cannot write reports")
    assert (folders[0] / "ledger.parquet").exists()
    for text in ("0/2", "3/2", "1", "1/0", "-1/2", "a/b", "1/2/3", "", " ", "1/1001", "１/２"):
        _one_line(
            audit(tmp_path / "part", servers[0].uri, servers[1].uri, f"--parity-subset={text}"), "--parity-subset"
        )
    for more in (["--parity-self-test"], ["--parity-snapshot-dir", "x"], ["--parity-recheck", "reports/report.json"]):
        done = audit(tmp_path / "part", servers[0].uri, servers[1].uri, "--parity-subset", "1/2", *more)
        _one_line(done, "--parity-subset and", more[0])
    for text in ("0", "-1", "x", "1.5", ""):
        done = audit(tmp_path / "stop", servers[0].uri, servers[1].uri, f"--parity-stop-after={text}")
        _one_line(done, "--parity-stop-after")
    options = ("--parity-stop-after", "1", "--parity-self-test")
    _one_line(audit(tmp_path / "stop", servers[0].uri, servers[1].uri, *options), "exclude each other")


def _one_line(done: AuditRun, *words: str) -> None:
    assert done.status == 4, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1, done.output
    assert all(word in lines[0] for word in words), lines[0]
    assert not re.search("Traceback", done.output)


def test_a_waiver_that_has_expired_since_excuses_nothing(parts: list[AuditRun], tmp_path: Path) -> None:
    """Parts of a day on which it held, joined later: the report is of the day on which it is signed."""
    told = {"object": "*", "facet": "tags", "key": "team", "state": "any", "values": "any value", "reason": "moved"}
    told |= {"owner": "me", "status": "not looked at", "covered": "0"}
    for expires, verdict in ((date.today(), "green"), (date.today() - timedelta(days=1), "red")):
        folders = copied(parts, tmp_path / verdict)
        for folder in folders:
            _altered(folder, _of_other("waivers", [{**told, "expires": expires.isoformat()}]))
        joined = merge(tmp_path / verdict, folders)
        assert joined.status == int(verdict == "red"), joined.output
        assert joined.report["verdict"] == verdict
    assert [one["status"] for one in joined.report["waivers"]] == ["expired"]
    assert joined.report["reasons"] == [f"the waiver * / tags expired on {expires}: renew or remove it"]


def test_more_parts_than_objects(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """A part in which nothing is has no verdict of its own, and is one of those that are joined all the same."""
    options = ("-k", "experiments")
    made = in_parts(tmp_path, servers, 5, *options)
    empty = [part for part in made if part.status == 5]
    assert empty
    assert {part.status for part in made} == {0, 5}
    assert all(part.report["verdict"] == "red" for part in empty)
    assert "no object of what was selected falls into part" in empty[0].output
    assert "parts 2, 3, 4 and 5: this is part 1 of 5 (--parity-subset)" in made[0].output
    done = merge(tmp_path / "joined", [part.reports for part in made])
    whole = audit(tmp_path / "whole", servers[0].uri, servers[1].uri, *options)
    assert done.status == whole.status == 0, done.output
    assert done.report["totals"] == whole.report["totals"]


def test_an_empty_part_is_red_where_a_users_own_check_fails(fresh_server: FreshServer, tmp_path: Path) -> None:
    """That nothing was to be compared in it does not say why pytest failed, nor does it make all green."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    seed.end(seed.run(seed.experiment("one"), "only"))
    copy_database(source.database_path, target.database_path)
    rule = tmp_path / "own" / "test_own.py"
    rule.parent.mkdir()
    rule.write_text(
        "import os\ndef test_our_rule(parity_source):\n    assert os.environ.get('RULE') != 'broken', 'ours'\n"
    )
    options = ("--parity-profile", "same-store", "--parity-two-servers", "--parity-experiments", "one", str(rule))

    def part(number: int, **env: str) -> AuditRun:
        folder = tmp_path / f"{number}{env.get('RULE', '')}"
        return audit(folder, source.uri, target.uri, *options, "--parity-subset", f"{number}/4", env=env)

    made = [part(number) for number in range(1, 5)]
    assert {one.status for one in made} == {0, 5}
    assert merge(tmp_path / "green", [one.reports for one in made]).status == 0
    number = next(number for number, one in enumerate(made, 1) if one.status == 5)
    made[number - 1] = broken = part(number, RULE="broken")
    [why] = broken.report["reasons"]
    assert why.startswith("pytest ended with exit status 1 although no object of what was selected falls into part")
    done = merge(tmp_path / "red", [one.reports for one in made])
    assert done.status == 1, done.output
    [reason] = done.report["reasons"]
    assert reason.startswith(f"part {number} of 4 is red, although its ledger is green: {why}")
    # nor is a part one in which nothing is where pytest ended before all was done
    folders = copied(made, tmp_path / "stopped")
    _altered(folders[number - 1], lambda report: report.update(exit_status=2, reasons=["pytest was interrupted"]))
    done = merge(tmp_path / "interrupted", folders)
    assert done.status == 1
    assert done.report["reasons"][0].endswith("pytest was interrupted")


def test_a_snapshot_stands_for_the_source_of_every_part(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """It holds everything: nothing of the source is asked for again, and the parts need not be of one day."""
    kept = audit(tmp_path / "kept", servers[0].uri, servers[1].uri, "--parity-snapshot-dir", str(tmp_path / "s"))
    assert kept.status == 0
    source = str(tmp_path / "s" / "source")
    made = [
        audit(tmp_path / f"{n}", source, servers[1].uri, "--parity-subset", f"{n}/2", "--parity-experiments", "churn*")
        for n in (1, 2)
    ]
    done = merge(tmp_path / "joined", [part.reports for part in made])
    whole = audit(tmp_path / "whole", source, servers[1].uri, "--parity-experiments", "churn*")
    assert done.status == whole.status == 0, done.output
    assert done.report["totals"] == whole.report["totals"]
    assert done.report["scope"] == whole.report["scope"]
