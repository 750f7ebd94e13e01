"""The session: read-only, patient with what passes, quick with what does not, and silent about secrets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from support.proxy import (
    Fault,
    Proxy,
    Spoil,
    cut,
    echo_authorization,
    half_json,
    page,
    proxying,
    reset,
    status,
    trickle,
    zipped,
)

from mlflow_parity.core.errors import ForbiddenRequest, MalformedAnswer, ReadError, RequestRefused, TransportError
from mlflow_parity.core.locations import Location, parse_location
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.auth import Aws, credentials
from mlflow_parity.reading.transport.endpoints import ALLOWED, Endpoint
from mlflow_parity.reading.transport.responses import retry_after
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.slowing import Limiter
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.standin.http import S3
from mlflow_parity.standin.sagemaker import new_credentials
from mlflow_parity.standin.servers import Server, free_port

QUICK = Limits(connect=2, read=5, call=20, first_wait=0.02, longest_wait=0.1)
SEARCH = {"max_results": 5}


@pytest.fixture(scope="module")
def module_proxy(newest: Server) -> Iterator[Proxy]:
    """A proxy in front of a real server."""
    with proxying(newest.uri) as running:
        yield running


@pytest.fixture
def proxy(module_proxy: Proxy) -> Iterator[Proxy]:
    """The same, for one test."""
    module_proxy.seen.clear()
    module_proxy.faults.clear()
    module_proxy.at_once, module_proxy.refused = None, 0
    yield module_proxy
    module_proxy.at_once = None
    module_proxy.faults.clear()


def http(uri: str) -> Location:
    """Return the location of a URI."""
    return parse_location(uri, option="--source-uri")


def opened(uri: str, *, limits: Limits = QUICK, workers: int = 8, env: dict[str, str] | None = None) -> Session:
    """Return a session that has been answered once."""
    location = http(uri)
    return Session(location, credentials(location, "source", env or {}), workers=workers, limits=limits)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/2.0/mlflow/runs/delete"),
        ("POST", "/api/2.0/mlflow/runs/create"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x"),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/x"),
        ("DELETE", "/api/2.0/mlflow/runs/search"),
        ("GET", "/api/2.0/mlflow/runs/delete"),
        ("POST", "/api/2.0/mlflow-artifacts/mpu/create/0"),
    ],
)
def test_what_is_not_on_the_list_never_leaves(proxy: Proxy, method: str, path: str) -> None:
    """An endpoint made up on the spot is refused before it is sent, whatever it says of itself."""
    session = opened(proxy.uri)
    made_up = Endpoint("made-up", method, path)
    with pytest.raises(ForbiddenRequest, match="not on the read-only allow-list"):
        session.get(made_up)
    with pytest.raises(ForbiddenRequest):
        session.post(made_up, {})
    with pytest.raises(ForbiddenRequest):
        session.download(made_up, lambda pieces: b"".join(pieces))
    assert proxy.seen == []
    assert session.sent == 0


@pytest.mark.parametrize(
    "below", ["../../mlflow/runs/delete", "a/../../../mlflow/runs/search", "..", "a/..%2f..", "%2E%2E/x", "a\\..\\b"]
)
def test_a_path_cannot_climb_out_of_its_endpoint(proxy: Proxy, below: str) -> None:
    """File names come from the server: one that climbs is refused, or arrives quoted below the endpoint."""
    session = opened(proxy.uri)
    with pytest.raises((ForbiddenRequest, RequestRefused)) as raised:
        session.download(endpoints.PROXY_GET, lambda pieces: b"".join(pieces), below=below)
    if raised.type is ForbiddenRequest:
        assert proxy.seen == []
    else:
        [path] = proxy.paths()
        assert path.startswith("/api/2.0/mlflow-artifacts/artifacts/")
        assert ".." not in path.lower().replace("%2e", ".").split("/")


def test_the_list_holds_only_reads() -> None:
    """GET, or POST to a search, or to what MLflow's charts ask: sums of traces, which nothing is written for."""
    assert {endpoint.method for endpoint in ALLOWED} == {"GET", "POST"}
    posted = {endpoint.path for endpoint in ALLOWED if endpoint.method == "POST"}
    assert {path for path in posted if not path.endswith("/search")} == {"/api/3.0/mlflow/traces/metrics"}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(status(429), id="429"),
        pytest.param(status(500), id="500"),
        pytest.param(status(502), id="502"),
        pytest.param(status(503), id="503"),
        pytest.param(status(504), id="504"),
        pytest.param(reset, id="reset"),
        pytest.param(cut, id="cut body"),
        pytest.param(half_json, id="half of the JSON"),
        pytest.param(page, id="a web page"),
    ],
)
def test_what_passes_is_tried_again(proxy: Proxy, spoil: Spoil) -> None:
    """The answer after two spoilt ones is the one of a server that was never spoilt."""
    session = opened(proxy.uri)
    expected = session.post(endpoints.EXPERIMENTS, SEARCH)
    proxy.faults.append(Fault("experiments/search", spoil, times=2))
    assert session.post(endpoints.EXPERIMENTS, SEARCH) == expected
    assert session.counts["experiments"] == 4
    assert len(proxy.seen) == 4


@pytest.mark.parametrize("spoil", [cut, reset, status(503)], ids=["cut", "reset", "503"])
def test_a_file_that_broke_off_is_read_from_its_first_byte(proxy: Proxy, newest: Server, spoil: Spoil) -> None:
    """Nothing of the spoilt try is in the result."""
    content = bytes(range(256)) * 4096
    file = Path(newest.artifacts_root) / "broken-off" / "file.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    session = opened(proxy.uri)
    proxy.faults.append(Fault("mlflow-artifacts", spoil, times=2))
    came = session.download(endpoints.PROXY_GET, lambda pieces: b"".join(pieces), below="broken-off/file.bin")
    assert came == content
    assert session.counts["proxy-get"] == 3


def test_retry_after_in_seconds_is_honoured(proxy: Proxy) -> None:
    """The server is left alone for as long as it asked."""
    session = opened(proxy.uri, limits=Limits(first_wait=0.02, longest_wait=5))
    proxy.faults.append(Fault("experiments/search", status(429, {"Retry-After": "1"})))
    session.post(endpoints.EXPERIMENTS, SEARCH)
    assert proxy.seen[1].at - proxy.seen[0].at >= 1.0


def test_retry_after_as_a_date_and_its_bounds() -> None:
    """A date counts from now; what is past, absurd or no date at all does no harm."""
    soon = datetime.now(timezone.utc) + timedelta(seconds=20)
    assert 17 < (retry_after(format_datetime(soon, usegmt=True), 60) or 0) <= 20
    assert retry_after(format_datetime(soon - timedelta(hours=1), usegmt=True), 60) == 0
    assert retry_after("86400", 60) == 60
    assert retry_after("soon", 60) is None
    assert retry_after("", 60) is None
    assert retry_after(None, 60) is None


def test_a_failure_that_stays_ends_in_one_line(proxy: Proxy) -> None:
    """Tries are counted and named; status and server too."""
    session = opened(proxy.uri)
    proxy.faults.append(Fault("experiments/search", status(502), times=99))
    with pytest.raises(TransportError) as raised:
        session.post(endpoints.EXPERIMENTS, SEARCH)
    assert f"{proxy.uri}: POST /api/2.0/mlflow/experiments/search" in str(raised.value)
    assert "after 8 tries: status 502" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_throttling_server_is_waited_for_until_the_time_limit(proxy: Proxy) -> None:
    """429 is not a failure of the server: more tries than for others, and no longer than a call may take."""
    session = opened(proxy.uri, limits=Limits(call=1.5, first_wait=0.05, longest_wait=0.1, tries=3))
    proxy.faults.append(Fault("experiments/search", status(429), times=999))
    began = time.monotonic()
    with pytest.raises(TransportError, match="429"):
        session.post(endpoints.EXPERIMENTS, SEARCH)
    assert time.monotonic() - began < 3
    assert len(proxy.seen) > 5


def test_an_answer_that_trickles_ends_at_the_time_limit(proxy: Proxy) -> None:
    """No single wait is long, so only a limit on the whole call can end it."""
    session = opened(proxy.uri, limits=Limits(read=5, call=1.0, first_wait=0.05, longest_wait=0.1))
    proxy.faults.append(Fault("experiments/search", trickle, times=99))
    began = time.monotonic()
    with pytest.raises(TransportError, match="time limit"):
        session.post(endpoints.EXPERIMENTS, SEARCH)
    assert time.monotonic() - began < 4


def test_a_server_that_hangs_ends_at_the_read_limit(proxy: Proxy) -> None:
    """No byte at all."""
    over = threading.Event()

    def hang(*_: object) -> None:
        over.wait(10)

    proxy.faults.append(Fault("experiments/search", hang, times=99))
    session = opened(proxy.uri, limits=Limits(read=0.3, call=5, first_wait=0.05, longest_wait=0.1, tries=2))
    began = time.monotonic()
    try:
        with pytest.raises(TransportError, match=r"(?i)timed out|timeout"):
            session.post(endpoints.EXPERIMENTS, SEARCH)
    finally:
        over.set()
    assert time.monotonic() - began < 3


def test_a_wrong_address_shows_soon() -> None:
    """Nobody listens: three tries, one line."""
    session = opened(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransportError, match=r"after 3 tries.*refused") as raised:
        session.ask(endpoints.VERSION)
    assert "\n" not in str(raised.value)
    assert session.sent == 3


def test_a_redirect_is_named_and_not_followed(proxy: Proxy) -> None:
    """Credentials go to no other address than the given one."""
    with proxying(proxy.upstream) as elsewhere:
        session = opened(proxy.uri, env={"MLFLOW_TRACKING_TOKEN": "a-token-of-this-server"})
        where = {"Location": f"{elsewhere.uri}/api/2.0/mlflow/experiments/search"}
        proxy.faults.append(Fault("experiments/search", status(307, where), times=9))
        with pytest.raises(RequestRefused, match="redirected") as raised:
            session.post(endpoints.EXPERIMENTS, SEARCH)
        assert raised.value.status == 307
        assert len(proxy.seen) == 1
        assert elsewhere.seen == []


def test_a_refusal_is_not_tried_again(proxy: Proxy) -> None:
    """What the server says of a wrong request will not change."""
    session = opened(proxy.uri)
    with pytest.raises(RequestRefused) as raised:
        session.post(endpoints.RUNS, {"experiment_ids": ["0"], "max_results": 1_000_000})
    assert raised.value.status == 400
    assert raised.value.code == "INVALID_PARAMETER_VALUE"
    assert session.sent == 1


def test_a_page_that_stays_is_malformed(proxy: Proxy) -> None:
    """A web server that is no MLflow says 200 to everything."""
    session = opened(proxy.uri)
    proxy.faults.append(Fault("experiments/search", page, times=99))
    with pytest.raises(MalformedAnswer, match="not JSON"):
        session.post(endpoints.EXPERIMENTS, SEARCH)


def test_compressed_answers_are_asked_for_and_understood(proxy: Proxy) -> None:
    """JSON comes with gzip where the server has it; files come as they are."""
    session = opened(proxy.uri)
    expected = session.post(endpoints.EXPERIMENTS, SEARCH)
    proxy.faults.append(Fault("experiments/search", zipped))
    assert session.post(endpoints.EXPERIMENTS, SEARCH) == expected
    assert proxy.seen[-1].headers["accept-encoding"] == "gzip"
    with pytest.raises(ReadError):
        session.download(endpoints.PROXY_GET, lambda pieces: b"".join(pieces), below="none")
    assert proxy.seen[-1].headers["accept-encoding"] == "identity"


SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    ("uri", "env", "sent"),
    [
        ("http://ada:p%40ss@{host}", {"MLFLOW_TRACKING_TOKEN": "other"}, "Basic YWRhOnBAc3M="),
        (
            "http://{host}",
            {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "p@ss"},
            "Basic YWRhOnBAc3M=",
        ),
        ("http://{host}", {"MLFLOW_TRACKING_TOKEN": "t1\n"}, "Bearer t1"),
        ("http://{host}", {"MLFLOW_TRACKING_TOKEN": "t1", "SOURCE_MLFLOW_TRACKING_TOKEN": "t2"}, "Bearer t2"),
        ("http://{host}", {"TARGET_MLFLOW_TRACKING_TOKEN": "of the other side"}, None),
    ],
)
def test_the_right_credentials_arrive(proxy: Proxy, uri: str, env: dict[str, str], sent: str | None) -> None:
    """What stands in the URI first, then the side's own variables, then those for both."""
    session = opened(uri.format(host=proxy.uri.removeprefix("http://")), env=env)
    session.post(endpoints.EXPERIMENTS, SEARCH)
    assert proxy.seen[0].headers.get("authorization") == sent


def test_netrc_is_not_read(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that nobody gave are not sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login someone password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    opened(proxy.uri).post(endpoints.EXPERIMENTS, SEARCH)
    assert "authorization" not in proxy.seen[0].headers


@pytest.mark.parametrize("kind", ["password", "token"])
def test_secrets_do_not_reach_messages(proxy: Proxy, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when the server prints them back: neither as given nor in the header's form."""
    env = {"MLFLOW_TRACKING_TOKEN": SECRET} if kind == "token" else {}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    host = proxy.uri.removeprefix("http://")
    session = opened(f"http://ada:{SECRET}@{host}" if kind == "password" else proxy.uri, env=env)
    proxy.faults.append(Fault("experiments/search", echo_authorization, times=9))
    with pytest.raises(RequestRefused) as raised:
        session.post(endpoints.EXPERIMENTS, SEARCH)
    given = proxy.seen[0].headers["authorization"].split()[1]
    assert SECRET not in str(raised.value)
    assert given not in str(raised.value)
    assert "PERMISSION" in raised.value.code


def test_concurrency_goes_down_when_the_server_throttles(proxy: Proxy) -> None:
    """Everything is read all the same, and with fewer refusals than requests."""
    session = opened(proxy.uri, workers=8)
    session.post(endpoints.EXPERIMENTS, SEARCH)
    assert session.limiter.limit == 8
    proxy.at_once = 2
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: session.post(endpoints.EXPERIMENTS, SEARCH), range(60)))
    assert len(answers) == 60
    assert all(answer == answers[0] for answer in answers)
    assert proxy.refused > 0
    assert session.limiter.lowest <= 2
    assert session.limiter.limit < 8
    assert session.sent == len(proxy.seen) == 61 + proxy.refused


def test_refusals_side_by_side_count_once_and_calm_brings_it_back() -> None:
    """Eight requests that were refused together halve the limit, not throw it to one; it comes back slowly."""
    limiter = Limiter(8)
    with limiter.slot() as first, limiter.slot() as second:
        pass
    limiter.throttled(first)
    limiter.throttled(second)
    assert limiter.limit == 4
    with limiter.slot() as era:
        pass
    limiter.throttled(era)
    assert limiter.limit == 2
    for _ in range(19):
        limiter.answered()
    assert limiter.limit == 2
    limiter.answered()
    assert limiter.limit == 3
    for _ in range(1_000):
        limiter.answered()
    assert limiter.limit == 8


def test_a_limit_holds_for_its_own_request_only(newest: Server, s3: S3) -> None:
    """S3 is asked from the same threads as the server: a limit of the one that has passed is none of the other."""
    identity = new_credentials()
    env = {
        "SOURCE_AWS_ACCESS_KEY_ID": identity.access_key,
        "SOURCE_AWS_SECRET_ACCESS_KEY": identity.secret_key,
        "SOURCE_AWS_SESSION_TOKEN": str(identity.token),
        "SOURCE_MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
    }
    s3.create_bucket("limits-of-others", identity, "eu-west-1")
    client = Aws("source", env, "eu-west-1").s3
    session = opened(newest.uri, limits=Limits(connect=0.5, read=0.5, call=2))
    session.post(endpoints.EXPERIMENTS, SEARCH)
    time.sleep(2.1)
    assert client.head_bucket(Bucket="limits-of-others")["ResponseMetadata"]["HTTPStatusCode"] == 200
