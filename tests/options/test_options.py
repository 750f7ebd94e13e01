"""Each option, end to end on two real servers: output, reports, requests and exit status."""

from __future__ import annotations

import os
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import warm
from support.audits import PYTEST, AuditRun, audit
from support.proxy import Exchange, Fault, Proxy, proxying
from support.seed import UMLAUT, Seeder

from mlflow_parity.reading.transport.endpoints import ALLOWED, is_allowed
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.standin.servers import Server, clean_environment, stop_group

CHURN = "churn model"
ACTIVE = {"sweep", "sweep-0", "sweep-1", "sweep-2", "failed", "killed", "running"}


@dataclass(frozen=True, slots=True)
class Pair:
    """A source, its copy by the tool, and the copies' run ids by name."""

    source: Server
    target: Server
    copies: dict[str, str]

    def file(self, run: str, path: str) -> Path:
        """Return the place of an artifact of the target."""
        [found] = Path(self.target.artifacts_root).glob(f"*/{self.copies[run]}/artifacts/{path}")
        return found


@pytest.fixture(scope="module")
def pair(servers: tuple[Server, Server]) -> Pair:
    """Two servers with equal contents but for what is deleted, which the tool leaves behind."""
    source, target = servers
    seed = Seeder(target.uri)
    experiments = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    ids = [item["experiment_id"] for item in experiments]
    runs = seed.call("POST", "runs/search", {"experiment_ids": ids, "max_results": 100})["runs"]
    return Pair(source, target, {run["info"]["run_name"]: run["info"]["run_id"] for run in runs})


@pytest.fixture(scope="module")
def whole(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AuditRun, Proxy, Proxy]]:
    """A full audit with snapshots kept, and the two proxies that recorded each of its requests."""
    folder = tmp_path_factory.mktemp("whole")
    with proxying(pair.source.uri) as source, proxying(pair.target.uri) as target:
        done = audit(folder, source.uri, target.uri, "--parity-snapshot-dir", str(folder / "snapshots"), "-v")
        yield done, source, target


@contextmanager
def content(file: Path, changed: bytes) -> Iterator[None]:
    """Give a file another content for a while."""
    before = file.read_bytes()
    file.write_bytes(changed)
    try:
        yield
    finally:
        file.write_bytes(before)


def endpoints(proxy: Proxy) -> Counter[str]:
    """Requests by the name of their endpoint."""
    return Counter(
        next((endpoint.name for endpoint in ALLOWED if endpoint.allows(seen.method, seen.path)), seen.path)
        for seen in proxy.seen
    )


def one_line(done: AuditRun, status: int, *says: str) -> None:
    """Assert that it ended with one line of error and no report."""
    assert done.status == status, done.output
    errors = [line for line in done.output.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1, done.output
    for words in says:
        assert words in errors[0], errors[0]
    assert "Traceback" not in done.output
    # nor is there one where none can be written
    assert not done.reports.is_dir() or done.report["verdict"] == "none"


def names(done: AuditRun) -> set[str]:
    """Experiments that the ledger speaks of."""
    return {row.experiment for row in done.rows()}


def pytest_alone(folder: Path, env: dict[str, str]) -> AuditRun:
    """Run ``pytest`` without any option of ours on the command line."""
    folder.mkdir(exist_ok=True)
    done = warm.run(PYTEST, kind="audit", cwd=folder, env=clean_environment(env))
    return AuditRun(done.returncode, done.stdout + done.stderr, folder / "out")


@pytest.mark.long
def test_a_full_audit_only_reads(whole: tuple[AuditRun, Proxy, Proxy]) -> None:
    """Green; every request that either server got is on the allow-list, and the report counts just those."""
    done, *proxies = whole
    assert done.status == 0, done.output
    for side, proxy in zip(("source", "target"), proxies, strict=True):
        assert proxy.seen
        assert [seen for seen in proxy.seen if not is_allowed(seen.method, seen.path)] == []
        assert done.report["sides"][side]["requests"] == len(proxy.seen)
        assert {"experiments", "runs", "history-bulk", "proxy-list", "proxy-get"} <= endpoints(proxy).keys()


@pytest.mark.parametrize("chosen", [CHURN, "churn*,no such thing*", UMLAUT])
def test_experiments(pair: Pair, tmp_path: Path, chosen: str) -> None:
    """Names and globs choose; a pattern that matches nothing ends the audit, even beside one that does."""
    done = audit(tmp_path, pair.source.uri, pair.target.uri, "--parity-experiments", chosen, "-k", "params")
    if "no such" in chosen:
        one_line(done, 4, "--parity-experiments", "'no such thing*'")
        return
    assert done.status == 0, done.output
    assert names(done) == {chosen}
    assert done.report["scope"]["partial"]
    assert done.report["scope"]["experiments"] == [chosen]


def test_exclude_experiments(pair: Pair, tmp_path: Path) -> None:
    """The excluded ones are out, the report says so; a pattern without a match or all of them excluded is an error."""
    uris = pair.source.uri, pair.target.uri
    done = audit(tmp_path / "a", *uris, "--parity-exclude-experiments", "churn*", "-k", "params or arrived")
    assert done.status == 0, done.output
    assert names(done) == {"Default", UMLAUT}
    assert any("--parity-exclude-experiments" in line for line in done.report["scope"]["left_out"])
    one_line(
        audit(tmp_path / "b", *uris, "--parity-exclude-experiments", "nonsense"),
        4,
        "--parity-exclude-experiments",
        "nonsense",
    )
    one_line(audit(tmp_path / "c", *uris, "--parity-exclude-experiments", "*"), 4, "no experiment in scope")


@pytest.mark.long
def test_include_deleted(whole: tuple[AuditRun, Proxy, Proxy], pair: Pair, tmp_path: Path) -> None:
    """What is deleted was lost by the tool: seen with the option, and said to be left out without."""
    without, *_ = whole
    assert without.status == 0
    [line] = [line for line in without.report["scope"]["left_out"] if "deleted" in line and "source" in line]
    assert line.startswith("1 deleted run and 1 deleted experiment on the source were left out: --parity-include-")
    done = audit(tmp_path, pair.source.uri, pair.target.uri, "--parity-include-deleted")
    assert done.status == 1, done.output
    found = {(f["kind"], f["facet"], f["state"], f["name"]) for f in done.report["findings"]}
    assert {
        ("experiment", "presence", "missing", "abandoned"),
        ("run", "presence", "missing", "deleted"),
        ("run", "presence", "missing", "in deleted experiment"),
    } == {entry for entry in found if entry[1] == "presence"}
    assert {name for _, _, _, name in found} == {"abandoned", "deleted", "in deleted experiment"}
    assert not any("deleted" in line for line in done.report["scope"]["left_out"])


@pytest.mark.long
def test_parity_depth(pair: Pair, tmp_path: Path) -> None:
    """Another byte at the same size: unseen by listing, which says so and downloads nothing; seen and explained."""
    with content(pair.file("sweep-0", "notes.txt"), b"first line\nsecond LINE\n"), ExitStack() as stack:
        proxies = [stack.enter_context(proxying(server.uri)) for server in (pair.source, pair.target)]
        uris = [proxy.uri for proxy in proxies]
        listing = audit(tmp_path / "listing", *uris, "--parity-depth", "listing", "-k", "artifacts")
        assert listing.status == 0, listing.output
        assert listing.report["scope"]["partial"]
        assert any("bytes of artifacts" in line for line in listing.report["scope"]["left_out"])
        assert "bytes of artifacts" in listing.output
        for proxy in proxies:
            assert endpoints(proxy)["proxy-list"] > 0
            assert endpoints(proxy)["proxy-get"] == 0
            assert endpoints(proxy)["get-artifact"] <= 1  # the probe for it
        for depth in ("digest", "full"):
            done = audit(tmp_path / depth, *uris, "--parity-depth", depth, "-k", "artifacts")
            assert done.status == 1, done.output
            assert done.findings() == {("artifacts", "notes.txt", "mismatch", "sweep-0")}
            [finding] = done.report["findings"]
            text = str({key: value for key, value in finding.items() if key != "bound"})
            assert "same size, other bytes" in text
            assert ("second LINE" in text) == (depth == "full")
            assert ("sha256" in text) == (depth == "digest")
    with content(pair.file("sweep-0", "notes.txt"), b"first line\n"):
        done = audit(tmp_path / "size", pair.source.uri, pair.target.uri, "--parity-depth", "listing")
        assert done.findings() == {("artifacts", "notes.txt", "mismatch", "sweep-0")}


@pytest.mark.parametrize("bad", ["0", "65", "many", "-1", ""])
def test_workers_bad(pair: Pair, tmp_path: Path, bad: str) -> None:
    """A number of connections that makes no sense is one line."""
    one_line(audit(tmp_path, pair.source.uri, pair.target.uri, f"--parity-workers={bad}"), 4, "--parity-workers")


def test_workers_one(whole: tuple[AuditRun, Proxy, Proxy], pair: Pair, tmp_path: Path) -> None:
    """One connection: never two requests at once, and the same digests."""
    busiest = 0

    def watching(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        nonlocal busiest
        busiest = max(busiest, exchange.proxy.running)
        exchange.answer(status, headers, body)

    with proxying(pair.source.uri) as source:
        source.faults.append(Fault("", watching, times=10_000))
        done = audit(tmp_path, source.uri, pair.target.uri, "--parity-workers", "1")
    assert done.status == 0, done.output
    assert busiest == 1
    for side in ("source", "target"):
        assert done.report["sides"][side]["snapshot_digest"] == whole[0].report["sides"][side]["snapshot_digest"]


@pytest.mark.long
def test_snapshot_dir_stands_for_a_server_that_is_gone(
    whole: tuple[AuditRun, Proxy, Proxy], pair: Pair, tmp_path: Path
) -> None:
    """What was kept is the source of another audit without a request to it; a difference made since is found."""
    snapshots = tmp_path / "moved"
    Path(whole[0].report["sides"]["source"]["snapshot_path"]).parent.rename(snapshots)
    try:
        asked = len(whole[1].seen), len(whole[2].seen)
        done = audit(tmp_path / "offline", str(snapshots / "source"), str(snapshots / "target"))
        assert done.status == 0, done.output
        assert (len(whole[1].seen), len(whole[2].seen)) == asked
        assert done.report["sides"]["source"]["requests"] == 0
        digest = whole[0].report["sides"]["source"]["snapshot_digest"]
        assert done.report["sides"]["source"]["snapshot_digest"] == digest
        with content(pair.file("sweep-0", "plots/deep/er/values.bin"), b"other"):
            done = audit(tmp_path / "half", str(snapshots / "source"), pair.target.uri)
        assert done.status == 1, done.output
        assert done.findings() == {("artifacts", "plots/deep/er/values.bin", "mismatch", "sweep-0")}
    finally:
        snapshots.rename(Path(whole[0].report["sides"]["source"]["snapshot_path"]).parent)


def test_a_snapshot_read_for_one_check_is_no_evidence_for_another(pair: Pair, tmp_path: Path) -> None:
    """A kept snapshot without artifacts leaves them unverified: an error, never a pass."""
    kept = "--parity-snapshot-dir", str(tmp_path / "kept")
    assert audit(tmp_path / "a", pair.source.uri, pair.target.uri, *kept, "-k", "params").status == 0
    done = audit(tmp_path / "b", str(tmp_path / "kept/source"), pair.target.uri, "-k", "params or artifacts")
    assert done.status == 1, done.output
    assert {row.state.value for row in done.red_rows()} == {"unverified"}
    assert done.failed() == {"test_artifacts"}
    assert "FAILED" not in done.output.replace("ERROR", "")


@pytest.mark.long
def test_snapshot_dir_keeps_the_finished_one_aside(pair: Pair, tmp_path: Path) -> None:
    """The next audit reads again and moves the older snapshot aside, and says so."""
    kept = tmp_path / "kept"
    arguments = "--parity-snapshot-dir", str(kept), "-k", "params"
    first = audit(tmp_path / "a", pair.source.uri, pair.target.uri, *arguments)
    second = audit(tmp_path / "b", pair.source.uri, pair.target.uri, *arguments)
    assert (first.status, second.status) == (0, 0), second.output
    assert second.report["sides"]["source"]["requests"] == first.report["sides"]["source"]["requests"]
    folders = sorted(path.name for path in kept.iterdir())
    assert len(folders) == 4, folders
    assert any("was kept as source-" in note for note in second.report["notes"])
    [aside] = kept.glob("source-*")
    assert Snapshot.open(aside).digest == Snapshot.open(kept / "source").digest


@pytest.mark.long
def test_snapshot_dir_resumes_after_a_kill(whole: tuple[AuditRun, Proxy, Proxy], pair: Pair, tmp_path: Path) -> None:
    """Killed midway, the audit goes on where it was: parts are taken over, the digest is that of an unbroken one."""
    kept = tmp_path / "kept"
    done_waiting = threading.Event()

    def stall(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        done_waiting.wait(60)
        exchange.close_connection = True

    with proxying(pair.source.uri) as source:
        source.faults.append(Fault("/api/2.0/mlflow-artifacts/artifacts/", stall, times=1_000))
        command = [*PYTEST, "--parity-snapshot-dir", str(kept), "--parity-report-dir", str(tmp_path / "r")]
        command += ["--source-uri", source.uri, "--target-uri", pair.target.uri]
        killed = warm.begin(command, kind="audit", cwd=tmp_path, env=clean_environment())
        try:
            limit = time.monotonic() + 60
            while len([*kept.glob("source/experiments/*/artifacts.json")]) < 2 and time.monotonic() < limit:
                assert killed.poll() is None
                time.sleep(0.05)
        finally:
            stop_group(killed, grace=0)
            source.faults.clear()
            done_waiting.set()
        with pytest.raises(Exception, match="unfinished"):
            Snapshot.open(kept / "source")
        one_line(audit(tmp_path / "early", str(kept / "source"), pair.target.uri), 4, "unfinished")
        before = len(source.seen)
        done = audit(tmp_path / "again", source.uri, pair.target.uri, "--parity-snapshot-dir", str(kept))
        assert done.status == 0, done.output
        side = done.report["sides"]["source"]
        assert side["resumed_parts"] >= 6
        assert len(source.seen) - before < len(whole[1].seen)
    assert side["snapshot_digest"] == whole[0].report["sides"]["source"]["snapshot_digest"]


def test_report_dir_unusable(pair: Pair, tmp_path: Path) -> None:
    """A file where the folder should be: one line, before anything is read."""
    (tmp_path / "file").write_text("")
    with proxying(pair.source.uri) as source:
        done = audit(tmp_path, source.uri, pair.target.uri, "--parity-report-dir", str(tmp_path / "file" / "below"))
        one_line(done, 4, "--parity-report-dir")
        assert endpoints(source)["runs"] == 0


def test_max_findings(pair: Pair, tmp_path: Path) -> None:
    """With 1, one difference is explained per facet and experiment, and all are counted."""
    seed = Seeder(pair.target.uri)
    for run in ("sweep-0", "sweep-1", "sweep-2"):
        seed.log(pair.copies[run], tags={"surplus": "1"})
    try:
        done = audit(tmp_path, pair.source.uri, pair.target.uri, "--parity-max-findings", "1", "-k", "tags_and_note")
    finally:
        for run in ("sweep-0", "sweep-1", "sweep-2"):
            seed.call("POST", "runs/delete-tag", {"run_id": pair.copies[run], "key": "surplus"})
    assert done.status == 1, done.output
    assert len(done.report["findings"]) == 1
    assert done.report["findings_total"] == 3
    assert len(done.red_rows()) == 3
    assert "2 more" in done.output


@pytest.mark.parametrize("way", ["ini", "environment"])
def test_ini_and_environment(pair: Pair, tmp_path: Path, way: str) -> None:
    """Every option can stand in an ini file or in the environment, lists, flags and numbers alike."""
    values = {
        "source_uri": pair.source.uri,
        "target_uri": pair.target.uri,
        "experiments": f"churn*,{UMLAUT}",
        "exclude_experiments": "*🚀",
        "include_deleted": "true",
        "depth": "listing",
        "workers": "2",
        "snapshot_dir": str(tmp_path / "snapshots"),
        "report_dir": str(tmp_path / "out"),
        "max_findings": "3",
    }
    env: dict[str, str] = {}
    if way == "ini":
        lines = [f"parity_{name} = {value}" for name, value in values.items()]
        (tmp_path / "pytest.ini").write_text("\n".join(["[pytest]", *lines]) + "\n", encoding="utf-8")
    else:
        env = {f"MLFLOW_PARITY_{name.upper()}": value for name, value in values.items()}
    done = pytest_alone(tmp_path, env)
    assert done.status == 0, done.output
    assert names(done) == {CHURN}
    scope = done.report["scope"]
    assert (scope["depth"], scope["include_deleted"], scope["excluded"]) == ("listing", True, ["*🚀"])
    assert (tmp_path / "snapshots" / "source" / "manifest.json").exists()


def test_one_check_reads_what_it_needs(pair: Pair, tmp_path: Path) -> None:
    """``-k params`` reads no artifact and no metric history, and the report calls itself partial."""
    with proxying(pair.source.uri) as source, proxying(pair.target.uri) as target:
        done = audit(tmp_path, source.uri, target.uri, "-k", "params")
        for proxy in (source, target):
            seen = endpoints(proxy)
            assert seen["runs"] > 0
            assert seen["artifacts"] == seen["proxy-get"] == seen["history"] == 0
            # probing which endpoints the server has is one request each, without any run
            assert max(seen["history-bulk"], seen["proxy-list"], seen["get-artifact"]) <= 1
    assert done.status == 0, done.output
    assert done.report["scope"]["partial"]
    assert done.report["scope"]["checks"] == ["params"]
    assert done.report["command"][-2:] == ["-k", "params"]
    assert {row.facet for row in done.rows()} == {"params"}
    assert "partial" in done.output.lower()


def test_collect_only(pair: Pair, tmp_path: Path) -> None:
    """Listing the checks takes the inventory and nothing else, and writes no report."""
    with proxying(pair.source.uri) as source, proxying(pair.target.uri) as target:
        done = audit(tmp_path, source.uri, target.uri, "--collect-only", "-q")
        assert done.status == 0, done.output
        for proxy in (source, target):
            seen = endpoints(proxy)
            # the probes of a server's abilities are part of the inventory: one request each
            assert seen["experiments"] >= 1
            # models, and prompts among them: two searches for the names of each, and one for a migration's mark
            once = {name: count for name, count in seen.items() if name not in ("experiments", "registered-models")}
            assert {name: count for name, count in once.items() if count > 1} == {}
            assert seen["registered-models"] <= 5
            assert seen["proxy-get"] == seen["runs"] == 0
    assert "test_params.py::test_params[churn model]" in done.output
    assert not done.reports.exists()


@pytest.mark.long
def test_junitxml(pair: Pair, tmp_path: Path) -> None:
    """Every failing check stands in it with the text that a person needs, and without a traceback."""
    seed = Seeder(pair.target.uri)
    seed.log(pair.copies["failed"], tags={"surplus": "7"})
    with content(pair.file("sweep-1", "notes.txt"), b"tampered"):
        done = audit(tmp_path, pair.source.uri, pair.target.uri, "--junitxml", str(tmp_path / "junit.xml"))
    seed.call("POST", "runs/delete-tag", {"run_id": pair.copies["failed"], "key": "surplus"})
    assert done.status == 1, done.output
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    cases = [*suite.iter("testcase")]
    failures = {case.get("name", ""): (case.find("failure"), case.find("error")) for case in cases}
    red = {name.partition("[")[0]: found for name, found in failures.items() if any(part is not None for part in found)}
    assert red.keys() == {"test_artifacts", "test_run_tags_and_note"} == done.failed()
    for check, words in (
        ("test_artifacts", ("sweep-1", pair.copies["sweep-1"], "notes.txt")),
        ("test_run_tags_and_note", ("failed", pair.copies["failed"], "surplus", "7")),
    ):
        element = red[check][0]
        assert element is not None
        assert element.text
        for word in words:
            assert word in element.text
        assert "Traceback" not in element.text
        assert ".py:" not in element.text
        assert len(element.text.splitlines()) < 40
    assert len(cases) == len({(case.get("classname"), case.get("name")) for case in cases}) > 40


def test_snapshot_dir_unusable(pair: Pair, tmp_path: Path) -> None:
    """A folder with foreign files is refused in one line and left as it was."""
    foreign = tmp_path / "foreign"
    (foreign / "source").mkdir(parents=True)
    (foreign / "source" / "thesis.tex").write_text("years of work")
    one_line(
        audit(tmp_path, pair.source.uri, pair.target.uri, "--parity-snapshot-dir", str(foreign)),
        4,
        "--parity-snapshot-dir",
    )
    assert os.listdir(foreign / "source") == ["thesis.tex"]
