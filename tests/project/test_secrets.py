"""Secrets: whatever goes wrong and however much is switched on, no byte of any file or output holds one."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from support import warm
from support.audits import audit
from support.migrations import migrate_py
from support.proxy import Exchange, Fault, Proxy, Spoil, proxying
from support.secrecy import leaks
from support.seed import Seeder, seed_small
from support.seed_objects import seed_objects
from support.servers import FreshServer, emptied

from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import clean_environment

PASSWORD = "pass\"wörd/%+é&<x>'{y}"
#: What is planted, by name, beside the App's own credentials. None of it is good for anything.
PLANTED: Mapping[str, str] = {
    "password in the URI": PASSWORD,
    "MLFLOW_TRACKING_PASSWORD": "password-of-the-environment",
    "MLFLOW_TRACKING_TOKEN": "token-of-the-environment",
    "SOURCE_MLFLOW_TRACKING_TOKEN": "token-of-the-source-0123456789",
    "AWS_SECRET_ACCESS_KEY": "secret+key/of+the/environment+000000000",
    "AWS_SESSION_TOKEN": "session//token++of==the/environment00000",
    "signature of a presigned URL": "5f2b3a1c9d8e7f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8",
    "session token of a presigned URL": "FwoGZXIvYXdzEBYaDHplanted/token+of+a+url==",
    "secret key that STS sends": "wJalrXUtnFEMIK7MDENGbPxRfiCYplantedkey",
    "session token that STS sends": "IQoJb3JpZ2luX2VjEPT//////planted/sts/token",
}


def presigned() -> str:
    """Return a presigned URL."""
    token = quote(PLANTED["session token of a presigned URL"], safe="")
    return (
        "https://bucket.s3.eu-west-1.amazonaws.com/model.bin?X-Amz-Credential=AKIA%2F20260101%2Feu-west-1"
        f"&X-Amz-Security-Token={token}&X-Amz-Signature={PLANTED['signature of a presigned URL']}"
    )


def _spilled(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield what careless servers print back, in short texts: a long one is cut before its end."""
    secret = {name: value for name, value in headers.items() if name in ("authorization", "x-amz-security-token")}
    bare = secret.get("authorization", "").split(" ")[-1]
    yield f"{secret}"
    yield f"{ {name: value.encode() for name, value in secret.items()} }"
    yield "\n".join(f"{name.title()}: {value}" for name, value in secret.items())
    yield json.dumps({"headers": [[name, value] for name, value in secret.items()]})
    yield f"not {bare}"
    with suppress(ValueError):
        user = base64.b64decode(bare, validate=True).decode()
        yield f"not {user}"
        yield f"not http://{quote(user, safe=':')}@there/ or {quote(user.partition(':')[2])}"
        word = user.partition(":")[2]
        bare_word = base64.b64encode(word.encode()).decode()
        yield f"not {json.dumps(word, ensure_ascii=False)} or {html.escape(word)} or {bare_word}"
    yield f"see {presigned()} or {quote(presigned(), safe='')}"
    key, token = PLANTED["secret key that STS sends"], PLANTED["session token that STS sends"]
    yield f"<Credentials><SecretAccessKey>{key}</SecretAccessKey><SessionToken>{token}</SessionToken></Credentials>"
    yield json.dumps({"SecretAccessKey": key, "SessionToken": token})
    yield f"{ {'roleCredentials': {'secretAccessKey': key, 'sessionToken': token}} }"


def spilling(first: int = 0) -> Spoil:
    """Refuse each time with another of these texts; ``first``: so many requests are let through before."""
    number = -first

    def spill(exchange: Exchange, code: int, headers: list[tuple[str, str]], content: bytes) -> None:
        nonlocal number
        number += 1
        if number <= 0:
            exchange.answer(code, headers, content)
            return
        given = {name.lower(): value for name, value in exchange.headers.items()}
        texts = list(_spilled(given))
        scheme = given.get("authorization", "none").partition(" ")[0].partition("-")[0].lower()
        message = f"spilt-{scheme}-{number % len(texts)} {texts[number % len(texts)]}"
        body = {"error_code": "PERMISSION_DENIED", "message": message}
        exchange.answer(403, [], json.dumps(body).encode())

    return spill


def spilling_of_s3(*methods: str) -> Spoil:
    """Refuse, of what these methods ask for, the second place and each third after it for ever, in S3's own form.

    The first is a probe. Lists and objects are counted apart: both are refused, however few there are.
    """
    seen: dict[tuple[str, bool], list[str]] = {}
    number = 0

    def spill(exchange: Exchange, code: int, headers: list[tuple[str, str]], content: bytes) -> None:
        nonlocal number
        places = seen.setdefault((exchange.command, "list-type=" in exchange.path), [])
        if exchange.path not in places:
            places.append(exchange.path)
        if exchange.command not in methods or places.index(exchange.path) % 3 != 1:
            exchange.answer(code, headers, content)
            return
        number += 1
        given = {name.lower(): value for name, value in exchange.headers.items()}
        texts = list(_spilled(given))
        text = escape(texts[number % len(texts)])
        body = f"<Error><Code>AccessDenied</Code><Message>{text}</Message></Error>"
        exchange.answer(403, [("Content-Type", "application/xml")], body.encode())

    return spill


def redirecting(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Redirect to a presigned URL."""
    exchange.answer(302, [("Location", presigned())], f"<a href='{presigned()}'>Found</a>".encode())


@dataclass(frozen=True, slots=True)
class World:
    """A source behind a proxy that knows the password, an App behind another, and all that must not be seen."""

    source: Proxy
    target: Proxy
    s3: Proxy
    uri: str
    arn: str
    env: Mapping[str, str]
    secrets: Mapping[str, str]


@pytest.fixture(scope="module")
def world(module_server: FreshServer, sagemaker_app: StandIn) -> Iterator[World]:
    """Both ends."""
    server, app = module_server(), sagemaker_app
    seed_small(server.uri)
    seed_objects(server.uri, Seeder(server.uri).experiment("objects"), traces=False)
    with (
        emptied(app.server),
        proxying(server.uri) as source,
        proxying(app.gateway.endpoint) as target,
        proxying(app.s3.endpoint) as s3,
    ):
        env = {
            **{name: secret for name, secret in PLANTED.items() if name.isupper()},
            "MLFLOW_TRACKING_USERNAME": "someone",
            "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED00",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": app.location.region,
            **app.environment("TARGET_"),
            "TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": target.uri,
            "TARGET_MLFLOW_S3_ENDPOINT_URL": s3.uri,
        }
        secrets = {
            **PLANTED,
            "the App's secret key": app.credentials.secret_key,
            "the App's session token": str(app.credentials.token),
        }
        uri = f"http://ada:{quote(PASSWORD, safe='')}@{source.uri.removeprefix('http://')}"
        yield World(source, target, s3, uri, app.arn, env, secrets)


@pytest.fixture
def spoilt(world: World) -> Iterator[World]:
    """The same, for one test: its faults go with it."""
    yield world
    for proxy in (world.source, world.target, world.s3):
        proxy.faults.clear()


def spilt(*texts: str) -> set[str]:
    """Return the marks of the texts that came through, by the scheme of the header that they print."""
    return {found for text in texts for found in re.findall("spilt-[a-z0-9]+-[0-9]+", text)}


#: What pytest can be told to say, and where it can be told to write.
EVERYTHING = (
    *("--junitxml=junit.xml", "-o", "junit_logging=all", "-o", "junit_log_passing_tests=true"),
    *("--log-file=audit.log", "--log-file-level=DEBUG", "--log-cli-level=DEBUG", "-o", "log_cli=true"),
    *("--showlocals", "--tb=long", "-vv", "-rA", "--setup-show", "--debug=debug.log"),
    *("--parity-depth=full", "--parity-include-deleted"),
    "--parity-snapshot-dir=snapshots",
)
#: A check that breaks in the middle of our own code, with everything that the audit knows among its frames.
BROKEN = """
import mlflow_parity.audit.test_items as items
load = items.ItemState.load

def broken(folder, item):
    state = load(folder, item)
    if item.family == "server":
        raise RuntimeError("a defect")
    return state

items.ItemState.load = broken
"""
OWN = """
def test_own(source, target, audit, request, pytestconfig):
    everything = [source, target, audit]
    assert source is target

def test_own_pairs(experiment, pairs, source):
    first = pairs[0] if pairs else None
    assert experiment is source
"""


CHECKS = Path(__file__).parent.parent.parent / "checks"


def _environment(world: World, folder: Path) -> dict[str, str]:
    """Modules of ``folder`` can be loaded; the URI is given as the README says: pytest shows its command line."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**world.env, "MLFLOW_PARITY_SOURCE_URI": world.uri, "PYTHONPATH": path}


@pytest.mark.long
def test_no_byte_holds_a_secret(spoilt: World, tmp_path: Path) -> None:
    """A migration of which much goes wrong, then an audit with everything on: each file is searched.

    Of migrate.py: terminal, plan, the tool's log, journal, outcome, export. Of the audit: terminal, logs at DEBUG,
    tracebacks with locals, JUnit, JSON, ledger, HTML, snapshots, pytest's cache.
    """
    world, moving, audited = spoilt, tmp_path / "migration", tmp_path / "audit"
    audited.mkdir()
    ends = ("--source-uri", world.uri, "--target-arn", world.arn, "--work-dir", "work")
    planned = migrate_py(moving, "plan", *ends, env=world.env)
    # each is let through while both ends are looked at
    world.source.faults.append(Fault("mlflow-artifacts/artifacts", spilling(4), times=9))
    world.source.faults.append(Fault("logged-models/m-", redirecting, times=3))
    world.target.faults.append(Fault("runs/log-batch", spilling(1), times=4))
    world.target.faults.append(Fault("model-versions/create", spilling(1), times=4))
    world.target.faults.append(Fault("experiments/set-experiment-tag", redirecting, times=4))
    world.s3.faults.append(Fault("/mlflow/", spilling_of_s3("PUT"), times=10**6))
    moved = migrate_py(moving, "run", *ends, "--no-verify", env=world.env)
    assert (planned.status, moved.status) == (0, 1), moved.output
    files = [moving / "work" / "outcome.json", *moving.glob("work/journal-*.sqlite")]
    assert "S3: " in moved.output, moved.output
    kept = b"".join(file.read_bytes() for file in files).decode("utf-8", "replace")
    marks = {mark.rpartition("-")[0] for mark in spilt(moved.output, kept)}
    assert marks == {"spilt-basic", "spilt-aws4"}

    (audited / "broken.py").write_text(BROKEN)
    (audited / "test_own.py").write_text(OWN)
    spoilt.source.faults[:] = [
        Fault("mlflow-artifacts/artifacts", spilling(1), times=99),
        Fault("logged-models/m-", redirecting, times=3),
    ]
    spoilt.target.faults[:] = [
        Fault("runs/get", spilling(), times=9),
        Fault("metrics/get-history", spilling(), times=14),
    ]
    spoilt.s3.faults[:] = [Fault("/mlflow/", spilling_of_s3("GET", "HEAD"), times=10**6)]
    arguments = (*EVERYTHING, "-p", "broken", "-o", f"cache_dir={audited / 'cache'}", str(CHECKS), "test_own.py")
    done = audit(audited, "", world.arn, *arguments, env=_environment(world, audited), cache=True)
    assert done.status == 1, done.output[-3000:]
    made = {one.name for one in audited.iterdir()}
    assert made >= {"junit.xml", "audit.log", "debug.log", "cache", "reports", "snapshots"}
    # what is to be hidden was there: in error bodies, in the log of what is signed, in frames
    # which requests meet which form is by chance: each form by itself is in test_redaction
    assert len(spilt(json.dumps(done.report)) & {f"spilt-basic-{number}" for number in range(12)}) >= 8
    assert "S3: AccessDenied (is s3:GetObject allowed?)" in json.dumps(done.report)
    assert "CanonicalRequest" in (audited / "audit.log").read_text(encoding="utf-8")
    assert "RuntimeError: a defect" in done.output
    ElementTree.parse(audited / "junit.xml")
    assert leaks(world.secrets, tmp_path, planned.output, moved.output, done.output) == []


DEFECT = "RuntimeError(request.headers, request.url, self.auth.__dict__)"
SENDING = """
import requests

send, sent = requests.Session.send, 0

def broken(self, request, **named):
    global sent
    sent += 1
    if sent > {first}:
        raise {error}
    return send(self, request, **named)

requests.Session.send = broken
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("error", "first", "status"),
    # the last with the URI on the command line, which pytest writes into its debug file
    [(DEFECT, 4, 3), (DEFECT, 40, 3), ("KeyboardInterrupt", 8, 2)],
    ids=["a defect at first", "a defect while reading", "interrupted"],
)
def test_an_end_in_the_middle_tells_no_secret(
    world: World, error: str, first: int, status: int, tmp_path: Path
) -> None:
    """A traceback of what nobody foresaw, with everything that pytest can show of it."""
    (tmp_path / "broken.py").write_text(SENDING.format(error=error, first=first))
    arguments = (*EVERYTHING, "--full-trace", "-p", "broken")
    by_flag = world.uri if error != DEFECT else ""
    done = audit(tmp_path, by_flag, world.arn, *arguments, env=_environment(world, tmp_path))
    assert "args=" in (tmp_path / "debug.log").read_text(encoding="utf-8")
    assert done.status == status, done.output[-3000:]
    assert ("a bug in mlflow-parity" in done.output) == (error == DEFECT)
    assert leaks(world.secrets, tmp_path, done.output) == []


def test_a_migration_that_breaks_tells_no_secret(world: World, tmp_path: Path) -> None:
    """The same for migrate.py."""
    program = SENDING.format(error=DEFECT, first=30)
    program += "import sys\nfrom mlflow_parity.migrating.command import main\nsys.exit(main(sys.argv[1:]))\n"
    ends = ("--source-uri", world.uri, "--target-arn", world.arn, "--work-dir", "work")
    done = warm.run(["-c", program, "run", *ends], kind="mlflow", cwd=tmp_path, env=clean_environment(world.env))
    assert done.returncode == 1
    assert "internal error (a bug in mlflow-parity)" in done.stderr
    assert leaks(world.secrets, tmp_path, done.stdout, done.stderr) == []
