"""``--parity-source-artifacts`` and ``--parity-target-artifacts``: the caller's own way to what a proxy keeps."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.audits import audit
from support.proxy import proxying
from support.seed import Seeder
from support.servers import FreshServer, copy_database

from mlflow_parity.cli import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.options import resolve
from mlflow_parity.reading.artifacts.own_way import given_place, refuse_one_place
from mlflow_parity.standin.servers import Server

BASE = {"source-uri": "http://a", "target-uri": "http://b", "workers": "8", "max-findings": "20", "report-dir": "r"}
SAME = ("--parity-profile", "same-store", "--parity-two-servers")
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"


@dataclass(frozen=True, slots=True)
class Ends:
    """A server with files, and a copy of it."""

    source: Server
    target: Server


@pytest.fixture(scope="module")
def ends(module_server: FreshServer) -> Ends:
    """Nine runs with a file each, and a logged model."""
    source, target = module_server(), module_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("of files")
    for number in range(9):
        run = seed.run(experiment, f"run {number}")
        folder = Path(source.artifacts_root) / experiment / run / "artifacts"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(f"file {number}")
        seed.end(run)
    copy_database(source.database_path, target.database_path)
    shutil.copytree(source.artifacts_root, target.artifacts_root, dirs_exist_ok=True)
    return Ends(source, target)


def test_both_sides_are_read_where_they_lie(ends: Ends, tmp_path: Path) -> None:
    """The audit is green, the report says where files were read, and each server sends nine files at most."""
    with proxying(ends.source.uri) as source, proxying(ends.target.uri) as target:
        by = [f"--parity-source-artifacts={ends.source.artifacts_root}"]
        by += [f"--parity-target-artifacts=file://{ends.target.artifacts_root}"]
        done = audit(tmp_path, source.uri, target.uri, *SAME, *by)
        assert done.status == 0, done.output[-3000:]
        notes = json.dumps(done.report)
        for name, end in (("source", ends.source), ("target", ends.target)):
            assert f"files of the {name} were read at {end.artifacts_root} (--parity-{name}-artifacts)" in notes
        for proxy in (source, target):
            assert 0 < sum(seen.path.startswith(PROXY) for seen in proxy.seen) <= 9


def test_a_place_of_another_server_is_red(ends: Ends, tmp_path: Path) -> None:
    """An old copy of the source, given for the target too, would hide each file that was lost."""
    lost = tmp_path / "lost"
    shutil.copytree(ends.source.artifacts_root, lost)
    for file in lost.rglob("a.txt"):
        file.write_text("FILE 0")
    done = audit(tmp_path, ends.source.uri, ends.target.uri, *SAME, f"--parity-source-artifacts={lost}")
    assert done.status == 1
    assert done.report["totals"]["unverified"] == 9
    assert f"{lost} is not what the server" in json.dumps(done.report)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("relative/folder", "no folder of this machine"),
        ("/no/such/folder", "no folder of this machine"),
        ("gs2://bucket/x", "no folder of this machine"),
        (__file__, "no folder of this machine"),
        ("s3://", "names no place in S3"),
        ("s3://bucket/../x", "names no place in S3"),
        ("s3://bucket/x,s3://another/x", "more than one place"),
        ("s3://user:secret@bucket/x", "names no place in S3"),
        ("file://[x", "no folder of this machine"),
        ("file://elsewhere/tmp", "no folder of this machine"),
        ("file://~/tmp", "no folder of this machine"),
        ("file://localhost/no/such/folder", "no folder of this machine"),
    ],
)
def test_what_is_no_place_is_one_line(side: str, place: str, why: str) -> None:
    """A place that is not there is said before anything is read."""
    with pytest.raises(UsageProblem, match=why) as raised:
        resolve({**BASE, f"{side}-artifacts": place}, {})
    assert f"--parity-{side}-artifacts" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_place_is_not_compared_with_itself(ends: Ends, tmp_path: Path) -> None:
    """A place that is given for the wrong side would make lost files equal: also where a snapshot holds the other."""
    (tmp_path / "link").symlink_to(ends.source.artifacts_root)
    for ours, theirs in ((ends.source.artifacts_root, tmp_path / "link"), ("s3://bucket/x", "s3://bucket/x/")):
        with pytest.raises(UsageProblem, match="comparing files with themselves proves nothing") as raised:
            resolve({**BASE, "source-artifacts": str(ours), "target-artifacts": str(theirs)}, {})
        assert "\n" not in str(raised.value)
    by = ["--source-uri", ends.source.uri, "--parity-source-artifacts", ends.source.artifacts_root]
    assert main(["snapshot", *by, "--to", str(tmp_path / "kept")]) == 0
    done = audit(
        tmp_path,
        str(tmp_path / "kept/source"),
        ends.target.uri,
        *SAME,
        f"--parity-target-artifacts={ends.source.artifacts_root}",
    )
    assert done.status == 4, done.output[-3000:]
    assert "comparing files with themselves proves nothing" in done.output


@pytest.mark.parametrize(
    ("source", "target", "one"),
    [
        ("gs://bucket/x", "gcs://bucket/x", True),
        ("gs://bucket/x", "gcs://bucket/y", False),
        ("az://box/x", "abfs://box/x", True),
        ("az://box/x", "abfss://box@team.dfs.core.windows.net/x", True),
        ("az://box@Team.blob.core.windows.net/x", "abfss://box@team.dfs.core.windows.net/x", True),
        ("abfss://box@one.dfs.core.windows.net/x", "abfss://box@two.dfs.core.windows.net/x", False),
        ("gs://box/x", "az://box/x", False),
    ],
)
def test_one_place_has_many_names(source: str, target: str, one: bool) -> None:
    """Under another of its cloud's schemes a place would be compared with itself, and lost files be equal."""
    if not one:
        refuse_one_place(source, target)
        return
    with pytest.raises(UsageProblem, match="comparing files with themselves proves nothing"):
        refuse_one_place(source, target)


@pytest.mark.parametrize(
    ("source", "target", "one"),
    [
        ("http://old:9000", "http://new:9000", False),
        ("http://old:9000", "", False),
        ("http://old:9000", "http://key@OLD:9000/", True),
        ("", "https://s3.eu-west-1.amazonaws.com", True),
    ],
)
def test_two_stores_may_have_buckets_of_one_name(source: str, target: str, one: bool) -> None:
    """From one MinIO to another the bucket keeps its name: that audit was refused. At AWS one name is one bucket."""
    given = {"SOURCE_AWS_ENDPOINT_URL_S3": source, "TARGET_AWS_ENDPOINT_URL_S3": target}
    values = {**BASE, "source-artifacts": "s3://mlflow", "target-artifacts": "s3://mlflow"}
    if not one:
        resolve(values, given)
        return
    with pytest.raises(UsageProblem, match="comparing files with themselves proves nothing"):
        resolve(values, given)


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_folder_may_be_a_uri(tmp_path: Path, host: str) -> None:
    """As a server has it; what would be on another host is not looked for here."""
    place = tmp_path / "a b"
    place.mkdir()
    text = f"file://{host}{tmp_path}/a%20b"
    assert given_place(text, "--parity-source-artifacts") == str(place)
    with pytest.raises(UsageProblem, match="no folder of this machine"):
        given_place(text.replace(f"file://{host}", "file://server"), "--parity-source-artifacts")


def test_only_a_server_with_a_proxy_has_it(tmp_path: Path) -> None:
    """An App's files are in S3, and a snapshot holds what was read."""
    arn = "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-ABCDEFGHIJKL"
    values = {"source-uri": "http://a", "target-arn": arn, "workers": "8", "max-findings": "20", "report-dir": "r"}
    with pytest.raises(UsageProblem, match="the target is an ARN"):
        resolve({**values, "target-artifacts": str(tmp_path)}, {})
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageProblem, match="the source is a snapshot"):
        resolve({**BASE, "source-uri": str(tmp_path), "source-artifacts": "s3://bucket/x"}, {})


def test_a_snapshot_is_taken_where_the_files_lie(
    ends: Ends, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A snapshot of the source is often all that stays of it: it must not take five days."""
    by = ["--source-uri", ends.source.uri, "--parity-source-artifacts", ends.source.artifacts_root]
    assert main(["snapshot", *by, "--to", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"files were read at {ends.source.artifacts_root} (--parity-source-artifacts); read both ways" in told
    done = audit(tmp_path, str(tmp_path / "source"), ends.target.uri, *SAME)
    assert done.status == 0, done.output[-3000:]
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["snapshot", *by[:3], "no/place", "--to", str(tmp_path)]))
    assert ended.value.code == 4
    assert "--parity-source-artifacts: 'no/place' is no folder of this machine" in capsys.readouterr().err
