"""Whole audits of an App whose S3 throttles, loses, cuts and refuses, and whose credentials run out midway."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from support.bombs import Sent, endless
from support.copied import Outcome, audited, kept
from support.proxy import (
    Exchange,
    Fault,
    Proxy,
    Spoil,
    cut,
    half_json,
    proxying,
    reset,
    reset_in_body,
    reset_in_headers,
    slow_body,
    status,
    too_long,
)
from support.seed import EPOCH, Seeder
from support.servers import emptied

from mlflow_parity.reading.artifacts import s3_store
from mlflow_parity.standin.sagemaker import StandIn

FOREVER = 10**9
LIMIT = 60.0
FILES: Mapping[str, bytes] = {
    "notes.txt": b"first line\nsecond line\n",
    "plots/values.bin": bytes(range(256)) * 1_200,
    "model/MLmodel": b"flavors: {}\n",
    "vouched.bin": b"S3 knows its hash",
    **{f"of {number}.bin": bytes(range(256)) * 100 for number in range(8)},
}


@dataclass(frozen=True, slots=True)
class App:
    """An App behind one proxy, its S3 behind another, what both hold as a snapshot, and an undisturbed audit."""

    arn: str
    rest: Proxy
    s3: Proxy
    env: Mapping[str, str]
    target: str
    whole: Outcome


@pytest.fixture(scope="module")
def module_app(sagemaker_app: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A run with files in S3; one of the files was stored with its SHA-256."""
    folder = tmp_path_factory.mktemp("app")
    client = sagemaker_app.s3.client(sagemaker_app.credentials, sagemaker_app.location.region)
    with (
        emptied(sagemaker_app.server),
        proxying(sagemaker_app.gateway.endpoint) as rest,
        proxying(sagemaker_app.s3.endpoint) as s3,
    ):
        seed = Seeder(sagemaker_app.server.uri)
        experiment = seed.experiment("on S3")
        run = seed.run(experiment, "run", start=EPOCH)
        seed.log(run, params={"p": "1"}, metrics=[("m", 0.5, EPOCH, 0)])
        seed.end(run)
        uri = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        bucket, _, root = uri.removeprefix("s3://").partition("/")
        for path, content in FILES.items():
            more = {"ChecksumAlgorithm": "SHA256"} if path.startswith("vouched") else {}
            client.put_object(Bucket=bucket, Key=f"{root}/{path}", Body=content, **more)
        env = {
            **sagemaker_app.environment("SOURCE_"),
            "SOURCE_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": rest.uri,
            "SOURCE_MLFLOW_S3_ENDPOINT_URL": s3.uri,
            # boto3's own setting: two tries, and ours on top
            "SOURCE_AWS_MAX_ATTEMPTS": "2",
            "SOURCE_AWS_RETRY_MODE": "standard",
        }
        arn = sagemaker_app.arn
        target = kept(arn, folder / "kept", env)
        whole = audited(arn, target, env=env, evidence="sha256")
        assert whole.green, whole.reasons
        assert sum(row.facet == "artifacts" for row in whole.rows) == 1
        yield App(arn, rest, s3, env, target, whole)


@pytest.fixture
def app(module_app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The same, undisturbed at first, with short waits."""
    monkeypatch.setattr(s3_store, "_WAIT", 0.01)
    for proxy in (module_app.rest, module_app.s3):
        proxy.heal()
    yield module_app
    for proxy in (module_app.rest, module_app.s3):
        proxy.heal()


def audit(app: App) -> Outcome:
    """Audit the App as it is; it must end in time."""
    began = time.monotonic()
    outcome = audited(app.arn, app.target, env=app.env, evidence="sha256")
    assert time.monotonic() - began < LIMIT
    return outcome


def same(app: App, outcome: Outcome) -> None:
    """Assert the verdict of the undisturbed audit."""
    assert outcome.green, outcome.reasons
    assert outcome.ledger == app.whole.ledger
    assert outcome.digests == app.whole.digests


def unverified(outcome: Outcome, cause: str, keys: set[str] | None = None) -> None:
    """Assert red for nothing but what could not be read, each with its cause in a line; ``keys``: of these files."""
    assert not outcome.green
    if outcome.result is None:
        assert re.search(cause, outcome.failed), outcome.failed
        return
    assert {row.state.value for row in outcome.rows if not row.state.green} == {"unverified"}
    for finding in outcome.findings:
        assert re.search(cause, finding.explanation), finding.explanation
        assert "\n" not in finding.explanation
    if keys is not None:
        assert {(finding.facet, finding.key) for finding in outcome.findings} == {("artifacts", key) for key in keys}


def xml(code: str, text: str) -> bytes:
    """What S3 says of an error."""
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'.encode()


SLOW = xml("SlowDown", "Please reduce your request rate.")
PASSING: dict[str, Spoil] = {
    "throttled": status(503, body=SLOW),
    "500": status(500, body=xml("InternalError", "We encountered an internal error.")),
    "reset": reset,
    "reset in headers": reset_in_headers,
    "reset in body": reset_in_body,
    "hung up": cut,
    "half of it": half_json,
}


@pytest.mark.long(but=("2",))
@pytest.mark.parametrize("first", [0, 2, 5])
def test_what_passes_changes_nothing(app: App, first: int) -> None:
    """The list and every object are spoilt once, each in another way: same rows, same digest."""
    turn, lock = itertools.count(first), threading.Lock()

    def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        with lock:
            one = [*PASSING.values()][next(turn) % len(PASSING)]
        one(exchange, code, headers, body)

    app.s3.faults.append(Fault("/", spoil, each=True))
    same(app, audit(app))
    assert len(app.s3.spoilt) == 1 + len(FILES)


def test_connections_that_are_reset_at_once(app: App) -> None:
    """Nothing is read of the first connections to S3: same rows, same digest."""
    app.s3.no_connection = 2
    outcome = audit(app)
    assert app.s3.no_connection == 0
    same(app, outcome)


def wrong_checksum(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send a checksum that is not the body's."""
    kept_headers = [(name, value) for name, value in headers if not name.lower().startswith("x-amz-checksum")]
    exchange.answer(code, [*kept_headers, ("x-amz-checksum-crc32", "AAAAAA==")], body)


STAYING: dict[str, tuple[Spoil, str]] = {
    "throttled": (status(503, body=SLOW), "SlowDown"),
    "gone between list and read": (
        status(404, body=xml("NoSuchKey", "No such key.")),
        "NoSuchKey",
    ),
    "denied": (status(403, body=xml("AccessDenied", "Access Denied")), "AccessDenied"),
    "wrong checksum": (wrong_checksum, "hecksum"),
    "reset in body": (reset_in_body, "Connection|broken|Incomplete"),
    "too long": (too_long, "Incomplete|length|broken"),
    "cut": (half_json, "hecksum|listed with 25600 bytes, 12800 were read"),
    "endless": (endless(Sent()), "listed with 25,600 bytes, more came"),
}


@pytest.mark.long
def test_objects_that_cannot_be_read(app: App) -> None:
    """They alone are unverified, each for the cause that S3 gives; so is the one whose hash cannot be asked for."""
    causes = {"vouched.bin": "403"}
    app.s3.faults.append(Fault("vouched.bin", status(403), times=FOREVER))
    for number, (spoil, cause) in enumerate(STAYING.values()):
        causes[f"of {number}.bin"] = cause
        app.s3.faults.append(Fault(quote(f"of {number}.bin"), spoil, times=FOREVER))
    outcome = audit(app)
    unverified(outcome, "", set(causes))
    for finding in outcome.findings:
        assert re.search(causes[finding.key], finding.explanation), finding.explanation


@pytest.mark.long(but=("throttled", "endless"))
@pytest.mark.parametrize(
    "spoil",
    [status(503, body=SLOW), half_json, slow_body, endless(Sent())],
    ids=["throttled", "half of it", "slow body", "endless"],
)
def test_a_list_that_cannot_be_read(app: App, spoil: Spoil, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the run is taken for absent; a byte now and then is no answer."""
    monkeypatch.setattr(s3_store, "SECONDS", 1.0)
    app.s3.faults.append(Fault("/", spoil, times=FOREVER))
    unverified(audit(app), r"S3: ", {""})


def paged(body: bytes, token: str, *, empty: bool = False) -> bytes:
    """Return a page of a list that says that there is more, under ``token`` or nowhere."""
    for name in (b"IsTruncated", b"NextContinuationToken", *([b"Contents", b"KeyCount"] if empty else [])):
        body = re.sub(b"<%b>.*?</%b>" % (name, name), b"", body, flags=re.DOTALL)
    more = b"<IsTruncated>true</IsTruncated>"
    if token:
        more += f"<NextContinuationToken>{token}</NextContinuationToken>".encode()
    return body.replace(b"</ListBucketResult>", more + b"</ListBucketResult>")


def unnamed(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Cut the list after its first page, as stores do that know only S3's first way to list."""
    exchange.answer(code, headers, paged(body, ""))


def nothing_more(tokens: Iterator[str]) -> Spoil:
    """Give nothing more for ever, each time under the next of ``tokens``."""
    first: list[bytes] = []

    def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        # what S3 says of a token that is none of its own is of no matter
        first.append(body)
        exchange.answer(200, headers, paged(first[0], next(tokens), empty=True))

    return spoil


@pytest.mark.long
@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (unnamed, "the listing is cut, and its next page is not named"),
        (nothing_more(itertools.repeat("again")), "the listing repeats a page token"),
        (nothing_more(map(str, itertools.count())), "the listing gives 100 empty pages, one after another"),
    ],
    ids=["next page unnamed", "repeated token", "empty for ever"],
)
def test_a_list_that_does_not_end(app: App, spoil: Spoil, cause: str) -> None:
    """A listing of pages is read to its end, or is not read: what came so far is not the whole."""
    assert sum("list-type=2" in seen.query for seen in app.s3.seen) == 0
    same(app, audit(app))
    lists = sum("list-type=2" in seen.query for seen in app.s3.seen)
    assert lists == -(-len(FILES) // 4), "the list has pages"
    app.s3.faults.append(Fault("list-type=2", spoil, times=FOREVER))
    unverified(audit(app), cause, {""})


EXPIRED = b'{"__type": "ExpiredTokenException", "message": "The security token included in the request is expired"}'


@pytest.mark.long
@pytest.mark.parametrize("after", [6, 18])
def test_credentials_that_expire(app: App, after: int) -> None:
    """From some request on both the App and S3 refuse the token: nothing that was not read is green."""
    refused = status(403, {"x-amzn-ErrorType": "ExpiredTokenException"}, EXPIRED)
    app.rest.faults.append(Fault("/", refused, times=FOREVER, after=after))
    app.s3.faults.append(Fault("/", status(400, body=xml("ExpiredToken", "The token has expired.")), times=FOREVER))
    unverified(audit(app), "expired")
