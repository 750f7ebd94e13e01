"""The battery in parts: joined, they come to what an audit of the whole says, row by row and finding by finding."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.joined import counted, coverage, explained, in_parts, merge
from support.servers import FreshServer

from faults import battery
from faults.battery import kept, lay, plant
from faults.fault import Pair
from faults.registry import FAULTS
from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long

SAME = ("--parity-profile", "same-store", "--parity-two-servers")
OPTIONS: dict[Pair, tuple[str, ...]] = {"migrated": (), "restored": SAME}
#: Every experiment is split, into one part for each worker.
SPLIT = "from mlflow_parity.audit.shards import gathering\n\ngathering.LARGE, gathering._EACH = 4, 1\n"
MANY = ("--parity-max-findings", "1000")


@pytest.fixture(scope="module")
def migrated(module_server: FreshServer) -> tuple[Server, Server]:
    """A source with every kind of object and its copy."""
    source, target = module_server(), module_server()
    battery.migrated(source, target)
    return source, target


@pytest.mark.parametrize("pair", OPTIONS)
def test_joined_parts_say_what_the_whole_says(migrated: tuple[Server, Server], tmp_path: Path, pair: Pair) -> None:
    """Else parts would lose a fault that an audit of the whole finds, or name one that is none.

    Of the restored pair, which differs in how objects are paired, each experiment is in two parts and no workers judge.
    """
    if pair == "restored":
        lay(*migrated)
    with kept(migrated[1], tmp_path / "kept"):
        plant([fault for fault in FAULTS if fault.pair == pair], migrated[1])
        broken = _whole(tmp_path / "broken", migrated, pair)
        assert broken.status == 1
        _compared(tmp_path / "broken", migrated, pair, 2, broken, workers=pair == "migrated")


def _whole(folder: Path, servers: tuple[Server, Server], pair: Pair) -> AuditRun:
    return audit(folder / "whole", servers[0].uri, servers[1].uri, *MANY, *OPTIONS[pair])


def _compared(
    folder: Path, servers: tuple[Server, Server], pair: Pair, of: int, whole: AuditRun, *, workers: bool
) -> None:
    parts = in_parts(folder, servers, of, *MANY, *OPTIONS[pair])
    joined = merge(folder / "joined", [part.reports for part in parts])
    assert joined.status == whole.status, joined.output
    assert counted(joined.rows()) == counted(whole.rows())
    ours, theirs = joined.report, whole.report
    assert coverage(ours) == coverage(theirs)
    assert explained(ours) == explained(theirs)
    same = ("verdict", "totals", "objects", "verified", "findings_total", "paired_by", "warning")
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert sorted(ours["reasons"]) == sorted(theirs["reasons"])
    assert set(ours["not_green"]) == set(theirs["not_green"])
    for side in ("source", "target"):
        read = ("experiments", "runs", "points", "artifacts", "artifact_bytes", "objects", "deleted")
        assert {name: ours["sides"][side][name] for name in read} == {
            name: theirs["sides"][side][name] for name in read
        }
    assert ours["scope"] == theirs["scope"]
    if workers:
        _by_workers(folder / "cluster", servers, pair, whole)
    for part in parts:
        assert part.report["scope"]["partial"]
        assert f"part {part.report['subset']['part']} of {of}" in part.output


def _by_workers(folder: Path, servers: tuple[Server, Server], pair: Pair, whole: AuditRun) -> None:
    """Audit with the workers of a cluster, every experiment split."""
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text(SPLIT)
    done = audit(folder, servers[0].uri, servers[1].uri, *MANY, *OPTIONS[pair], "--parity-engine", "dask")
    assert done.status == whole.status, done.output
    ours, theirs = done.report, whole.report
    assert done.rows() == whole.rows()
    assert ours["findings"] == theirs["findings"]
    # and all else that is told of both sides, but for what only one process keeps, and what was suspected at first
    own = {"created", "timings", "command", "ledger_digest", "page_digest"}
    of_side = {"requests", "read_from", "read_to", "snapshot_digest"}
    for report in (ours, theirs):
        for name in own:
            report.pop(name)
        for side, name in product(("source", "target"), of_side):
            report["sides"][side].pop(name)
        report["notes"] = [note for note in report["notes"] if "second look" not in note]
    # files and histories stay with the workers, so that nothing is said of their sizes
    told, whole_told = set(ours.pop("in_common")), set(theirs.pop("in_common"))
    assert told <= {line for line in whole_told if "whose" not in line}
    for side in ("source", "target"):
        assert ours["sides"][side] == theirs["sides"][side]
    assert ours == theirs
