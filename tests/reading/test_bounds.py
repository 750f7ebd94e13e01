"""Every answer has a bound: bombs and bodies without an end take neither memory nor disk, and are told in one line."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bombs import BOMB, PACKED, Sent, bomb, endless
from support.copied import Outcome, audited, copied_pair, kept
from support.migrations import migrate_py
from support.proxy import Exchange, Fault, Proxy, Spoil, proxying
from support.seed import Seeder
from support.servers import FreshServer, ServerPool

from mlflow_parity.core.errors import MalformedAnswer, RequestRefused, TooLarge, TransportError
from mlflow_parity.core.locations import parse_arn, parse_location
from mlflow_parity.core.records import ArtifactTree
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport import bounds, endpoints
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.sagemaker.control_plane import open_control
from mlflow_parity.standin.servers import Server

QUICK = Limits(connect=2, read=20, call=60, first_wait=0.02, longest_wait=0.1)
MIB = 1 << 20
FOREVER = 10**9
BODY = {"max_results": 5}


@pytest.fixture(scope="module")
def module_proxy(newest: Server) -> Iterator[Proxy]:
    """A proxy in front of a real server."""
    with proxying(newest.uri) as running:
        yield running


@pytest.fixture
def proxy(module_proxy: Proxy) -> Iterator[Proxy]:
    """The same, undisturbed at first."""
    module_proxy.heal()
    yield module_proxy
    module_proxy.heal()


def opened(uri: str) -> Session:
    """Return a session."""
    location = parse_location(uri, option="--source-uri")
    return Session(location, credentials(location, "source", {}), limits=QUICK)


#: Asks for a list with four threads at once and prints the error and the memory that it took.
_ASKING = """
import sys, threading
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.locations import parse_location
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from support.memory_peak import peak_mb
location = parse_location(sys.argv[1], option="--source-uri")
session = Session(location, credentials(location, "source", {}))
session.get(endpoints.REGISTERED_MODELS, {"max_results": 1})
before = peak_mb()
def ask():
    try:
        session.post(endpoints.EXPERIMENTS, {"max_results": 5})
    except ReadError as error:
        print(type(error).__name__, error)
threads = [threading.Thread(target=ask) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
print("MB", round(peak_mb() - before))
"""


def test_a_bomb_takes_no_more_memory_than_an_answer_may(proxy: Proxy) -> None:
    """4 GiB in 4 MB, asked for by four threads at once: one answer's bound in memory, and one line each."""
    proxy.faults.append(Fault("experiments/search", bomb("gzip of one part"), times=FOREVER))
    done = subprocess.run(
        [sys.executable, "-c", _ASKING, proxy.uri], cwd=Path(__file__).parent.parent, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, last = done.stdout.splitlines()
    line = f"TooLarge {proxy.uri}: POST /api/2.0/mlflow/experiments/search: "
    assert lines == [line + "more than 256 MiB came, the most that is read of one answer"] * 4
    assert int(last.split()[1]) < 600, last
    assert len(proxy.seen) == 5, "what is too large once is too large again"


@pytest.mark.parametrize("kind", PACKED)
def test_bombs_of_every_packing(proxy: Proxy, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever way the bytes are packed in, no more is unpacked than is read."""
    monkeypatch.setattr(bounds, "ANSWER", 8 * MIB)
    proxy.faults.append(Fault("experiments/search", bomb(kind)))
    session = opened(proxy.uri)
    tracemalloc.start()
    with pytest.raises(TooLarge, match="more than 8 MiB came"):
        session.post(endpoints.EXPERIMENTS, BODY)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    session.close()
    # the proxy of the test has the packed bytes in this process too
    assert peak < 40 * MIB, peak
    assert 100 * peak < BOMB


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br"])
def test_a_packing_that_was_not_asked_for_is_refused(proxy: Proxy, encoding: str) -> None:
    """Only gzip is asked for: what is packed otherwise, or twice, is not unpacked at all."""

    def spoil(exchange: Exchange, _: int, headers: list[tuple[str, str]], body: bytes) -> None:
        exchange.answer(200, [*headers, ("Content-Encoding", encoding)], body)

    proxy.faults.append(Fault("experiments/search", spoil))
    session = opened(proxy.uri)
    with pytest.raises(MalformedAnswer, match="which was not asked for") as caught:
        session.post(endpoints.EXPERIMENTS, BODY)
    assert "\n" not in str(caught.value)
    session.close()


def test_bodies_without_an_end(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer, a page for a status, an error, a redirect: each ends at its bound, and says what it can."""
    monkeypatch.setattr(bounds, "ANSWER", 8 * MIB)
    monkeypatch.setattr(bounds, "ASKED", 2 * MIB)
    session = opened(proxy.uri)

    def told(spoil: Spoil, sent: Sent, most: int, error: type[Exception], match: str) -> None:
        proxy.faults.append(Fault("experiments/search", spoil))
        with pytest.raises(error, match=match) as caught:
            session.post(endpoints.EXPERIMENTS, BODY)
        assert "\n" not in str(caught.value)
        # what the sockets hold is on its way already
        assert sent.bytes < most + 16 * MIB

    for code, headers, error, match in (
        (200, (), TooLarge, "more than 8 MiB came"),
        (404, (), RequestRefused, "status 404"),
        (302, (("Location", "http://127.0.0.1:9/"),), RequestRefused, "redirected"),
    ):
        sent = Sent()
        told(endless(sent, code, headers), sent, 8 * MIB, error, match)
    sent = Sent()
    packed = (("Location", "/login"), ("Content-Encoding", "gzip"))
    told(endless(sent, 302, packed), sent, MIB, RequestRefused, "redirected")
    sent = Sent()
    proxy.faults.append(Fault("/version", endless(sent)))
    with pytest.raises(TooLarge, match="more than 2 MiB came"):
        session.ask(endpoints.VERSION)
    assert sent.bytes < 20 * MIB
    session.close()


def test_an_answer_of_too_many_values_is_not_parsed(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty lists take sixty times the room in memory: their number is bounded too."""
    monkeypatch.setattr(bounds, "LARGE", MIB)
    monkeypatch.setattr(bounds, "VALUES", 100_000)
    content = b'{"experiments": [' + b"[]," * 400_000 + b"[]]}"

    def spoil(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(200, [], content)

    proxy.faults.append(Fault("experiments/search", spoil))
    session = opened(proxy.uri)
    with pytest.raises(TooLarge, match="more than 100,000 values"):
        session.post(endpoints.EXPERIMENTS, BODY)
    session.close()


def _tree(proxy: Proxy, experiment: str, blobs: Blobs) -> ArtifactTree:
    session = opened(proxy.uri)
    reader = ServerReader(session, credentials(session.location, "source", {}))
    reader.save_to = blobs
    [run] = [run for page in reader.runs(experiment) for run in page]
    [tree] = reader.artifacts([run], "digest")
    reader.close()
    return tree


def test_a_file_without_an_end_is_read_to_its_listed_size(proxy: Proxy, newest: Server, tmp_path: Path) -> None:
    """Listed with 10 bytes, sent without an end while it is kept: not a byte more is on the disk."""
    seed = Seeder(newest.uri)
    experiment = seed.experiment("without an end")
    run = seed.run(experiment, "run")
    seed.artifact(run, "ten.bin", b"0123456789")
    seed.artifact(run, "other.bin", b"01234567890")
    sent = Sent()
    proxy.faults.append(Fault("ten.bin", endless(sent), times=FOREVER))
    tree = _tree(proxy, experiment, Blobs(tmp_path))
    found = {file.path: file for file in tree.files}
    assert found["other.bin"].error is None
    assert found["ten.bin"].sha256 is None
    assert re.search(r"listed with 10 bytes, more came$", str(found["ten.bin"].error)), found["ten.bin"].error
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) == 11
    assert sent.bytes < 200 * MIB


def test_a_file_of_unknown_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that no list has comes with up to 4 GiB."""
    assert bounds.UNLISTED == 4 << 30
    monkeypatch.setattr(bounds, "UNLISTED", 3 * MIB)
    pieces = iter([b"x" * MIB] * 4)
    with pytest.raises(TooLarge, match="a file whose size is not listed has more than 3 MiB"):
        for _ in bounds.at_most(pieces, None):
            pass


@pytest.fixture(scope="module")
def line(
    server_pool: ServerPool, module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, str]]:
    """A source behind a proxy and its copy as a snapshot."""
    source, target = copied_pair(server_pool, module_server)
    copy = kept(target.uri, tmp_path_factory.mktemp("line") / "target")
    with proxying(source.uri) as running:
        yield running, copy


def test_an_audit_of_bombs_is_unverified(line: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs in the place of histories, spans and files: what they hide is unverified, each with the cause in a line."""
    monkeypatch.setattr(bounds, "ANSWER", 4 * MIB)
    proxy, copy = line
    spoil = bomb("gzip of many parts")
    # the first one only asks whether there is such a request
    proxy.faults.append(Fault("get-history-bulk", spoil, times=FOREVER, after=1))
    proxy.faults.append(Fault("get-artifact?", spoil, times=FOREVER, after=1))
    for path in ("get-history?", "traces/batchGet", "get-trace-artifact", "notes.txt"):
        proxy.faults.append(Fault(path, spoil, times=FOREVER))
    try:
        outcome: Outcome = audited(proxy.uri, copy, limits=QUICK)
    finally:
        proxy.heal()
    assert outcome.result is not None, outcome.failed
    assert not outcome.green
    assert {finding.state.value for finding in outcome.findings} == {"unverified"}
    assert {finding.facet for finding in outcome.findings} >= {"metrics", "artifacts"}
    causes = [finding.explanation for finding in outcome.findings]
    assert all("more came" in cause or "more than 4 MiB came" in cause for cause in causes), causes
    assert not any("\n" in cause for cause in causes)


def test_a_migration_from_a_bomb_is_one_line(line: tuple[Proxy, str], newest: Server, tmp_path: Path) -> None:
    """The survey meets the bomb: one line, exit status 2, nothing moved."""
    proxy, _ = line
    proxy.faults.append(Fault("experiments/search", bomb("gzip of one part"), times=FOREVER))
    try:
        both = "--source-uri", proxy.uri, "--target-uri", newest.uri
        done = migrate_py(tmp_path, "plan", *both, "--work-dir", str(tmp_path / "work"))
    finally:
        proxy.heal()
    assert done.status == 2, done.output
    assert "more than 256 MiB came, the most that is read of one answer" in done.output
    assert "Traceback" not in done.output


def test_the_control_plane_is_bounded(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """SageMaker's answers, which botocore reads whole, end as well."""
    monkeypatch.setattr("mlflow_parity.reading.transport.timed._AwsAnswer.most", 4 * MIB)
    monkeypatch.setattr("mlflow_parity.sagemaker.aws_calls._TRIES", 1)
    sent = Sent()
    proxy.faults.append(Fault("/", endless(sent), times=FOREVER, early=True))
    env = {
        "TARGET_AWS_ACCESS_KEY_ID": "AKIA0000000000000000",
        "TARGET_AWS_SECRET_ACCESS_KEY": "s" * 40,
        "AWS_ENDPOINT_URL_SAGEMAKER": proxy.uri,
    }
    arn = parse_arn("arn:aws:sagemaker:eu-central-1:000000000000:mlflow-app/app-BOUNDED00000", option="--target-arn")
    timer = threading.Timer(60, proxy.over.set)
    timer.start()
    with pytest.raises(TransportError, match="the most that is read of one answer of AWS") as caught:
        open_control("target", env, location=arn).apps()
    timer.cancel()
    assert "\n" not in str(caught.value)
    assert not proxy.over.is_set()
    assert sent.bytes < 40 * MIB
