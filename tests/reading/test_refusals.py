"""What stands before MLflow and is not MLflow: each kind is named in one line with what to do about it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.audits import audit
from support.copied import QUICK
from support.logins import guarded
from support.proxy import Exchange, Fault, Proxy, Spoil, page, proxying, status
from support.seed import Seeder
from support.servers import FreshServer, server_of

from mlflow_parity.core.errors import LocationError, ReadError
from mlflow_parity.core.locations import parse_location
from mlflow_parity.migrating.command import main
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.endpoints import VERSION
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.standin.servers import Server

_PAGE = b"<html><head><title>x</title></head></html>"


def _leading_to(where: str) -> Spoil:
    def spoil(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        place = where.replace("PATH", exchange.path)
        exchange.answer(302, [("Location", place)], b"")

    return spoil


#: How something before MLflow answers; what is said of it, and what is to be done.
KINDS: dict[str, tuple[Spoil, str, str]] = {
    "TLS elsewhere": (
        _leading_to("https://ml.example.org/trackPATH"),
        "status 302",
        "pass https://ml.example.org/track ",
    ),
    "a sign-in": (
        _leading_to("https://who:pw@sso.example.org/auth?state=st4te-s3cret"),
        "https://sso.example.org/auth, a page to sign in",
        "MLFLOW_TRACKING_TOKEN",
    ),
    "a page": (page, "a web page, not JSON", "MLFLOW_TRACKING_TOKEN"),
    "no prefix": (status(404, {"Content-Type": "text/html"}, _PAGE), "no MLflow is served", "/PREFIX"),
    "no prefix, as FastAPI says it": (status(404, {}, b'{"detail":"Not Found"}'), "no MLflow is served", "/PREFIX"),
    "a firewall": (status(403, {"Content-Type": "text/html"}, _PAGE), "a proxy or firewall", "an address behind it"),
    "a login": (status(401, {}, b"who are you"), "none were given", "MLFLOW_TRACKING_USERNAME and MLFLOW"),
    "TLS here": (
        status(400, {"Content-Type": "text/html"}, b"<p>The plain HTTP request was sent to HTTPS port</p>"),
        "without TLS",
        "pass https://127.0.0.1",
    ),
    "another proxy": (status(407, {}, b""), "a proxy on the way", "HTTPS_PROXY"),
}


@pytest.fixture(scope="module")
def front(newest: Server) -> Iterator[Proxy]:
    """What stands before a server."""
    with proxying(newest.uri) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_line(front: Proxy, kind: str) -> None:
    """Without it a user reads a status, and looks for the fault in MLflow or in this tool."""
    spoil, said, fix = KINDS[kind]
    front.heal()
    front.faults.append(Fault("/", spoil, 9))
    with pytest.raises(ReadError) as raised:
        open_reader(parse_location(front.uri, option="--source-uri"), "source", 1).experiments()
    assert said in raised.value.said, raised.value
    assert fix in raised.value.fix, raised.value
    assert raised.value.fix in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "pw@" not in str(raised.value)
    front.heal()


def test_a_body_that_is_too_large_is_named(front: Proxy) -> None:
    """A proxy's limit keeps large files back: its size and whose setting it is are in the line."""
    front.heal()
    front.faults.append(Fault("mlflow-artifacts", status(413, {"Content-Type": "text/html"}, _PAGE), 9))
    writer, _ = open_writer(parse_location(front.uri, option="--target-uri"))
    with pytest.raises(ReadError, match=r"status 413: the body of 2,345 bytes.*client_max_body_size"):
        writer.put("/api/2.0/mlflow-artifacts/artifacts/9/a.bin", b"x" * 2345, size=2345)
    writer.close()
    front.heal()


def test_404_of_mlflow_is_no_missing_prefix(front: Proxy) -> None:
    """Once MLflow has answered, a page with 404 is about what was asked for, not about the address."""
    front.heal()
    reader = open_reader(parse_location(front.uri, option="--source-uri"), "source", 1)
    reader.experiments()
    front.faults.append(Fault("experiments/search", status(404, {}, _PAGE), 9))
    with pytest.raises(ReadError) as raised:
        reader.experiments()
    assert "PREFIX" not in str(raised.value)
    front.heal()


@pytest.mark.long
def test_servers_that_refuse_are_told_alike_by_audit_and_plan(
    tmp_path: Path, fresh_server: FreshServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real ones: another allowed host, and MLflow's own login."""
    source = fresh_server()
    Seeder(source.uri).run("0", "r")

    def both(uri: str, said: str) -> None:
        line = audit(tmp_path / "audit", source.uri, uri).output
        assert said in line, line
        assert main(["plan", "--source-uri", source.uri, "--target-uri", uri, "--work-dir", str(tmp_path / "w")]) == 2
        assert said in "".join(capsys.readouterr())

    # two workers: a process of its own, which takes its hosts from the arguments
    allowed = ["--allowed-hosts", "ml.example.org"]
    with server_of("newest", tmp_path / "hosts", arguments=allowed, workers=2) as hosts:
        both(hosts.uri, f"--allowed-hosts {hosts.uri.removeprefix('http://')}")
    with guarded(tmp_path / "login") as login:
        both(login.uri, "none were given")


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("http://ml.example.org/track/#/experiments/7/runs", "give http://ml.example.org/track"),
        ("https://a:pw@ml.example.org:444/?o=9#/models", "give https://ml.example.org:444"),
        ("ml.example.org:8080", "give http://ml.example.org:8080"),
    ],
)
def test_what_people_paste_is_turned_into_what_would_do(given: str, fix: str) -> None:
    """A browser's address, or one without a scheme: the line has the address to pass."""
    with pytest.raises(LocationError) as raised:
        parse_location(given, option="--source-uri")
    assert str(raised.value).endswith((fix, f"{fix} (or https://)"))
    assert "pw" not in str(raised.value)


def _said_of(uri: str) -> str:
    location = parse_location(uri, option="--source-uri")
    session = Session(location, credentials(location, "source", {}), limits=QUICK)
    with pytest.raises(ReadError) as raised:
        session.ask(VERSION)
    return str(raised.value)


def test_a_connection_that_does_not_come_about_ends_in_the_fix() -> None:
    """Nothing listens, no such host, and a port that speaks TLS and is asked without: each says what to do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = _said_of(f"http://127.0.0.1:{port}")
    assert told.endswith(f"nothing listens at 127.0.0.1:{port}: start the server, or correct host and port"), told
    told = _said_of("http://nobody.invalid:5000")
    assert told.endswith("there is no host nobody.invalid here: correct the name, or enter its network (VPN, DNS)"), (
        told
    )
    with socket.create_server(("127.0.0.1", 0)) as hangs_up:
        port = hangs_up.getsockname()[1]

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = hangs_up.accept()
                    # a port that speaks TLS takes a plain request for a broken record, and closes
                    peer.recv(10)
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                    peer.close()

        threading.Thread(target=refuse, daemon=True).start()
        told = _said_of(f"http://127.0.0.1:{port}")
    assert told.endswith(f"it may speak TLS: pass https://127.0.0.1:{port}"), told
