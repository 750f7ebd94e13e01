"""``--parity-engine dask``: what it cannot be given with, and what it needs, in one line before a server is asked."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from mlflow_parity.audit.exclusions import EXCLUDED
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.options import BY_NAME, resolve

BASE = {"source-uri": "http://a", "target-uri": "http://b", "workers": "8", "max-findings": "20", "report-dir": "r"}
DASK = {**BASE, "engine": "dask"}
#: A value of each option that a flag or a count would not be.
GIVEN = {
    "snapshot-dir": "kept", "subset": "1/2", "stop-after": "1", "source-db": "postgresql://a/x",
    "target-db": "postgresql://b/y", "checksums": "report.csv", "source-artifacts": "s3://a", "target-artifacts": "s3://b",
    "recheck": "report.json",
}  # fmt: skip


def test_it_is_told_who_judges() -> None:
    """Threads unless workers are asked for; a cluster has an address and a place."""
    assert resolve(BASE).engine == "threads"
    found = resolve({**DASK, "dask-scheduler": "tcp://10.0.0.1:8786", "dask-dir": "s3://bucket/place"})
    assert (found.engine, found.dask_scheduler, found.dask_dir) == ("dask", "tcp://10.0.0.1:8786", "s3://bucket/place")
    assert resolve(DASK).dask_dir == ""


@pytest.mark.parametrize(("option", "other"), [(one, other) for one, others in EXCLUDED.items() for other in others])
def test_what_excludes_each_other_is_one_line(option: str, other: str) -> None:
    """Of every two options in the table, each with what is wrong with them together."""
    values = {**BASE, **_given(option), **_given(other)}
    name = "--parity-engine dask" if option == "engine" else f"--parity-{option}"
    with pytest.raises(UsageProblem, match=f"^{name} and --(parity-)?{other} exclude each other: [^\n]+$"):
        resolve(values)


def _given(option: str) -> Mapping[str, str]:
    return {option: "dask" if option == "engine" else GIVEN.get(option, "true")}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"engine": "spark"}, "--parity-engine: 'spark' is not one of threads, dask"),
        ({"dask-scheduler": "tcp://a:1"}, "--parity-dask-scheduler is of --parity-engine dask, which is missing"),
        ({"dask-dir": "place"}, "--parity-dask-dir is of --parity-engine dask"),
        ({"engine": "dask", "dask-scheduler": "tcp://a:1"}, "add --parity-dask-dir"),
        ({"engine": "dask", "source-uri": "http://u:hunter2@a"}, "the source's address holds a password"),
        ({"engine": "dask", "target-uri": "http://token@b"}, "the target's address holds a password"),
    ],
)
def test_what_it_needs_is_one_line(values: Mapping[str, str], words: str) -> None:
    """A place that all see, the option itself; no password goes to a scheduler, and none is printed."""
    with pytest.raises(UsageProblem, match=re.escape(words)) as caught:
        resolve({**BASE, **values})
    assert "hunter2" not in str(caught.value)


def test_every_option_is_sent_or_its_owner_is_named() -> None:
    """A new option is not forgotten: workers get it, it stays here, or it excludes them."""
    from dataclasses import fields

    from mlflow_parity.audit.settings import Settings
    from mlflow_parity.audit.shards.job import NOT_SENT

    names = {one.name for one in fields(Settings)}
    assert set(NOT_SENT) <= names
    assert {name.replace("-", "_") for name in EXCLUDED["engine"]} <= names
    assert set(EXCLUDED) | {other for others in EXCLUDED.values() for other in others} <= set(BY_NAME)


def test_a_place_that_is_none(tmp_path: Path) -> None:
    """Wildcards, a bucket that is none, folders that lead up."""
    from mlflow_parity.cluster.shared_place import SharedPlace

    for place in ("s3://", "s3://*", "s3://bucket/a/../b", "s3://Bucket!/x"):
        with pytest.raises(UsageProblem, match="--parity-dask-dir"):
            SharedPlace(place, "--parity-dask-dir")
    for place in ("~nosuchuser/x", "a" * 300):
        with pytest.raises(UsageProblem, match=r"^--parity-dask-dir: .+ cannot be used \(.+\); give a folder"):
            SharedPlace(place, "--parity-dask-dir")
    shared = SharedPlace(str(tmp_path / "new" / "place"), "--parity-dask-dir")
    (tmp_path / "file").write_bytes(b"content")
    checksum = shared.put(tmp_path / "file", "audit/one")
    shared.get("audit/one", tmp_path / "copy", checksum)
    assert (tmp_path / "copy").read_bytes() == b"content"
    (tmp_path / "new" / "place" / "audit" / "one").write_bytes(b"other")
    with pytest.raises(UsageProblem, match="cut or altered"):
        shared.get("audit/one", tmp_path / "copy", checksum)
    with pytest.raises(UsageProblem, match="cannot be read"):
        shared.get("audit/two", tmp_path / "copy", checksum)
    shared.clear("audit")
    assert [*(tmp_path / "new" / "place").iterdir()] == []


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_address_of_s3_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Or one that does not answer as S3: the variable is named, and never what it holds."""
    from mlflow_parity.cluster import shared_place

    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv(name, "ftp://user:hunter2@x")
    with pytest.raises(UsageProblem, match=rf"^--parity-dask-dir: .+ cannot be opened \(.+\); .+ {name} is ") as no:
        shared_place.SharedPlace("s3://bucket/x", "--parity-dask-dir")
    assert "hunter2" not in str(no.value)

    def refused(*_: str) -> None:
        raise pa.ArrowInvalid("no\nsuch thing")

    monkeypatch.setattr(shared_place, "_s3", lambda: Namespace(open_output_stream=refused, open_input_stream=refused))
    shared = shared_place.SharedPlace("s3://bucket/x", "--parity-dask-dir")
    (tmp_path / "file").touch()
    with pytest.raises(UsageProblem, match=r"cannot be written \(no such thing\)"):
        shared.put(tmp_path / "file", "x")
    with pytest.raises(UsageProblem, match=r"cannot be read \(no such thing\)"):
        shared.get("x", tmp_path / "copy", "")
