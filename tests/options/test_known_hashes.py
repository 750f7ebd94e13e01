"""``--parity-known-hashes``: a later audit reads what is new, and its report says what it took from earlier ones."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.proxy import Proxy, proxying
from support.seed import Seeder
from support.servers import FreshServer, copy_database

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.options import resolve
from mlflow_parity.reading.artifacts.known_hashes import FOLDER, SETTLED
from mlflow_parity.standin.servers import Server

BASE = {"source-uri": "http://a", "target-uri": "http://b", "workers": "8", "max-findings": "20", "report-dir": "r"}
SAME = ("--parity-profile", "same-store", "--parity-two-servers")
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
RUNS = 9


def test_it_needs_a_folder() -> None:
    """What is known has to be kept somewhere, and one line says where."""
    with pytest.raises(UsageProblem, match="--parity-known-hashes: they are kept in --parity-snapshot-dir; add that"):
        resolve({**BASE, "known-hashes": "true"}, {})
    assert resolve({**BASE, "known-hashes": "true", "snapshot-dir": "x"}, {}).known_hashes
    assert not resolve({**BASE, "snapshot-dir": "x"}, {}).known_hashes


@dataclass(frozen=True, slots=True)
class World:
    """A server with files that are read where they lie, a copy of it that is read through its proxy, and a folder."""

    source: Server
    target: Proxy
    folder: Path

    def audit(self, name: str, *more: str) -> AuditRun:
        """Audit them; what is kept is always in one folder."""
        self.target.seen.clear()
        by = (
            f"--parity-source-artifacts={self.source.artifacts_root}",
            "--parity-snapshot-dir",
            str(self.folder / "kept"),
        )
        return audit(self.folder / name, self.source.uri, self.target.uri, *SAME, *by, *more)

    def read(self) -> int:
        """How many files the target's proxy sent."""
        return sum(one.path.startswith(PROXY) for one in self.target.seen)


@pytest.mark.long
def test_the_report_says_what_is_known_and_since_when(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The disk's files are known, those behind the proxy never, and what is damaged is said and read."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("of files")
    for number in range(RUNS):
        run = seed.run(experiment, f"run {number}")
        folder = Path(source.artifacts_root) / experiment / run / "artifacts"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(f"file {number}")
        seed.end(run)
    copy_database(source.database_path, target.database_path)
    shutil.copytree(source.artifacts_root, target.artifacts_root, dirs_exist_ok=True)
    time.sleep(SETTLED + 1)
    with proxying(target.uri) as proxy:
        world = World(source, proxy, tmp_path)
        first = world.audit("1", "--parity-known-hashes")
        assert first.status == 0, first.output[-3000:]
        assert "known" not in json.dumps(first.report["evidence"])
        second = world.audit("2", "--parity-known-hashes", "--parity-self-test")
        assert second.status == 0, second.output[-3000:]
        assert world.read() == RUNS
        day = time.strftime("%Y-%m-%d", time.gmtime())
        told = f"SHA-256 of the bytes, one side's known since {day}"
        # three are read all the same
        assert second.report["evidence"] == {"SHA-256 of the bytes": 3, told: RUNS - 3}
        assert f"{RUNS - 3} files of the source were not read again" in json.dumps(second.report["notes"])
        assert f"{RUNS - 3} files equal by {told}, 3 by SHA-256 of the bytes" in second.output
        assert told in (second.reports / "report.html").read_text().replace("&#39;", "'")
        # without the option nothing is known
        assert world.audit("3").report["evidence"] == {"SHA-256 of the bytes": RUNS}
        file = next(Path(source.artifacts_root).rglob("a.txt"))
        file.write_text("FILE x")
        lost = world.audit("4", "--parity-known-hashes")
        assert lost.status == 1
        assert [one["key"] for one in lost.report["findings"] if one["facet"] == "artifacts"] == ["a.txt"]
        kept = tmp_path / "kept" / FOLDER / "source.sqlite"
        kept.write_bytes(kept.read_bytes()[:-1])
        damaged = world.audit("5", "--parity-known-hashes")
        assert "known hashes of the source were not used (source.sqlite is damaged" in json.dumps(
            damaged.report["notes"]
        )
        assert "known" not in json.dumps(damaged.report["evidence"])
