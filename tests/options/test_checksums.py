"""``--parity-checksums``: reports of checksums that S3 has computed, given as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.audits import audit
from support.ends import FILES, Ends, two_ends
from support.reported import message, report, row

from mlflow_parity.options import resolve
from mlflow_parity.standin.sagemaker import StandIn

BASE = {"source-uri": "http://a", "target-uri": "http://b", "workers": "8", "max-findings": "20", "report-dir": "r"}


@pytest.fixture
def ends(sagemaker_app: StandIn, sagemaker_server: StandIn) -> Iterator[Ends]:
    """Files of which no store states a checksum."""
    with two_ends(sagemaker_app, sagemaker_server) as ends:
        for path, content in FILES.items():
            ends.both(path, content, ServerSideEncryption="aws:kms")
        yield ends


def test_several_may_be_given() -> None:
    """One for each side, or the parts of one."""
    assert resolve({**BASE, "checksums": "a.csv,b.csv.gz"}, {}).checksums == ("a.csv", "b.csv.gz")
    assert resolve(BASE, {}).checksums == ()


@pytest.mark.long
def test_the_report_says_what_rests_on_them(ends: Ends, tmp_path: Path) -> None:
    """One file for each side; and one that is damaged, or lies, is one line, exit status 4, and no verdict."""
    files = {}
    for side in ("source", "target"):
        bucket, _, root = ends.roots[side].removeprefix("s3://").partition("/")
        rows = []
        for path, content in FILES.items():
            etag = ends.client.head_object(Bucket=bucket, Key=f"{root}/{path}")["ETag"]
            rows.append(row(bucket, f"{root}/{path}", message(content, etag)))
        files[side] = report(tmp_path / f"{side}.csv", rows)
    given = [f"--parity-checksums={file}" for file in files.values()]
    done = audit(
        tmp_path / "1", ends.source, ends.target, "-k", "artifacts", "--parity-workers=1", *given, env=ends.env
    )
    assert done.report["totals"].get("mismatch", 0) == 0, done.output[-3000:]
    evidence = done.report["evidence"]
    assert sum(count for told, count in evidence.items() if "stated by a checksum report" in told) == len(FILES) - 3
    assert "--parity-checksums: 14 lines of 2 reports; 8 files were not read for them, 6 were" in json.dumps(
        done.report["notes"]
    )
    whole = files["target"].read_text()
    files["target"].write_text(whole.replace(whole.splitlines()[3], whole.splitlines()[3][:60]))
    cut = audit(tmp_path / "2", ends.source, ends.target, "-k", "artifacts", *given, env=ends.env)
    assert cut.status == 4
    assert f"--parity-checksums: {files['target']} " in cut.output
    assert "Traceback" not in cut.output
    told = [message(content, "x") for content in FILES.values()]
    wrong = json.loads(told[0])["checksum_hex"], json.loads(told[0])["checksum_base64"]
    lies = whole
    for one in told[1:]:
        lies = lies.replace(json.loads(one)["checksum_hex"], wrong[0]).replace(
            json.loads(one)["checksum_base64"], wrong[1]
        )
    files["target"].write_text(lies)
    forged = audit(tmp_path / "3", ends.source, ends.target, "-k", "artifacts", *given, env=ends.env)
    assert forged.status == 4, forged.output[-3000:]
    assert "is not what the reports state: its SHA256 is" in forged.output
    assert "Traceback" not in forged.output
