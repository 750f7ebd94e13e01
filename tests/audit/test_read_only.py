"""An audit only reads: what it sends is on the list, nothing changes, and it needs the rights that it asks for."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support.audits import audit
from support.migrations import migrate_py
from support.proxy import Exchange, Fault, proxying
from support.seed import Seeder, seed_small
from support.seed_objects import Objects, Upload, seed_objects
from support.servers import FreshServer, emptied

from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import Side
from mlflow_parity.cli import main
from mlflow_parity.core.errors import ParityError
from mlflow_parity.core.locations import Location, parse_arn, parse_location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.verdict import Row
from mlflow_parity.kinds.rules.check_registry import collected, select
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.asking import Question
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.endpoints import ALLOWED, S3_ACTIONS, USABLE, actions, is_allowed, policies
from mlflow_parity.standin.gateway import UNSERVED, Rules, action_of, actions_of, gateway, policy_of, s3_action_of
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server

#: All that is promised without --parity-load-models and --parity-usable.
_PROMISES = collected(snapshot=False)
ELSEWHERE = "elsewhere"
#: What there is to read of S3.
_S3_READS = {"s3:ListBucket", "s3:GetObject"}


def _rows(server: Server) -> str:
    """Return the digest of every row of a server's database."""
    with closing(sqlite3.connect(server.database_path)) as database:
        return hashlib.sha256("\n".join(database.iterdump()).encode("utf-8", "surrogatepass")).hexdigest()


def _files(root: Path) -> dict[str, tuple[str, int]]:
    """Return digest and time of change of every file below a folder."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(f.relative_to(root)): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def _objects(running: StandIn) -> list[tuple[str, str, str]]:
    """Return key, ETag and time of every object in every bucket of S3, old versions included."""
    client = running.s3.client(running.credentials, running.location.region)
    found = []
    for bucket in client.list_buckets()["Buckets"]:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"]):
            found += [
                (f"{bucket['Name']}/{one['Key']}", one.get("ETag", ""), str(one["LastModified"]))
                for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            ]
    return sorted(found)


def test_a_full_audit_only_reads(fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path) -> None:
    """Both servers and S3, every kind of object, files whole: each request is a listed reading, and nothing changed."""
    source, app = fresh_server(), sagemaker_app
    seed_small(source.uri)
    seed_objects(source.uri, Seeder(source.uri).experiment("objects"))
    with emptied(app.server), proxying(source.uri) as front, proxying(app.s3.endpoint) as s3:
        moved = migrate_py(
            tmp_path, "run", "--source-uri", source.uri, "--target-arn", app.arn, "--no-verify", "--include-deleted",
            env=app.environment(),
        )  # fmt: skip
        assert moved.status == 0, moved.output

        def state() -> tuple[object, ...]:
            return _rows(source), _files(Path(source.artifacts_root)), _rows(app.server), _objects(app)

        before, first = state(), len(app.gateway.recorded)
        env = {**app.environment(), "AWS_ENDPOINT_URL_S3": s3.uri, "MLFLOW_S3_ENDPOINT_URL": s3.uri}
        done = audit(
            tmp_path,
            front.uri,
            app.arn,
            "--parity-include-deleted",
            "--parity-depth=full",
            "--parity-snapshot-dir=kept",
            "--parity-usable",
            env=env,
        )
        assert done.status == 0, done.output[-3000:]
        assert state() == before
        own = app.gateway.recorded[first:]
    sent = {(seen.method, unquote(seen.path)) for seen in front.seen} | {(one.method, unquote(one.path)) for one in own}
    assert len(front.seen) + len(own) > 100
    assert [call for call in sent if not is_allowed(*call)] == []
    assert {action_of(app.location, one.method, one.path) for one in own} == {"sagemaker:CallMlflowAppApi"}
    assert {s3_action_of(seen.method, f"{seen.path}?{seen.query}") for seen in s3.seen} == _S3_READS
    # almost all that is on the list was used: a full audit it was
    used = {e.name for e in ALLOWED for method, path in sent if e.allows(method, path)}
    assert len(used) > 18, sorted(used)


# --- rights


@dataclass(slots=True)
class Rights:
    """A managed tracking server behind a gateway and a front of S3 that both ask IAM; what is allowed can change."""

    running: StandIn
    target: Location
    source: Path
    allowed: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)


def _upload_to(running: StandIn) -> Upload:
    client = running.s3.client(running.credentials, running.location.region)

    def put(root: str, path: str, content: bytes) -> None:
        bucket, _, key = root.removeprefix("s3://").partition("/")
        client.put_object(Bucket=bucket, Key=f"{key}/{path}", Body=content)

    return put


def _without_unserved(seed: Seeder, made: Objects) -> None:
    """Remove what a managed server has no API for."""
    for dataset in made.datasets.values():
        seed.call("DELETE", f"datasets/{dataset}", {"dataset_id": dataset}, version="3.0")
    for hook in made.webhooks.values():
        seed.call("DELETE", f"webhooks/{hook}", {"webhook_id": hook})
    seed.call("DELETE", "scorers/delete", {"experiment_id": made.experiment, "name": "short"}, version="3.0")


def _more_versions(seed: Seeder, made: Objects) -> None:
    """Register what the server must be asked for: a version of a version, and a model of an experiment out of scope."""
    body = {"experiment_id": seed.experiment(ELSEWHERE), "name": "elsewhere"}
    model = seed.call("POST", "logged-models", body)["model"]["info"]["model_id"]
    done = {"model_id": model, "status": "LOGGED_MODEL_READY"}
    seed.call("PATCH", f"logged-models/{model}", done)
    for source in ({"source": "models:/churn/1"}, {"source": f"models:/{model}", "model_id": model}):
        seed.call("POST", "model-versions/create", {"name": "price", **source})


@pytest.fixture(scope="module")
def rights(sagemaker_server: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rights]:
    """The server with everything that a managed one can hold, and a snapshot of it that was taken with all rights."""
    running = sagemaker_server
    folder = tmp_path_factory.mktemp("rights")
    # whoever audits has the policy of docs/aws.md, and no more
    statements: Any = policies()["Managed tracking server"]
    whole = set(actions_of(statements))
    # and what an option adds, where it is allowed
    statements = [*statements, {"Effect": "Allow", "Action": actions(USABLE), "Resource": "*"}]
    made = Rights(running, running.location, folder / "source")

    def policy(method: str, path: str) -> bool:
        made.asked.add(action_of(running.location, method, path))
        now = [{**one, "Action": [action for action in one["Action"] if action in made.allowed]} for one in statements]
        return policy_of(running.location, now)(method, path)

    def guard(exchange: Exchange, code: int, headers: list[tuple[str, str]], content: bytes) -> None:
        action = s3_action_of(exchange.command, exchange.path)
        made.asked.add(action)
        if action in made.allowed:
            exchange.answer(code, headers, content)
        else:
            exchange.answer(403, [], b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")

    rules = Rules(running.location, running.credentials, blocked=UNSERVED, policy=policy)
    with (
        emptied(running.server),
        gateway(running.server.uri, rules) as front,
        proxying(running.s3.endpoint) as s3,
        pytest.MonkeyPatch.context() as patch,
    ):
        s3.faults.append(Fault("/", guard, times=10**9))
        seed = Seeder(running.server.uri)
        objects = seed_objects(running.server.uri, seed.experiment("objects"), upload=_upload_to(running), traces=False)
        _without_unserved(seed, objects)
        _more_versions(seed, objects)
        for name, value in {
            **running.environment(),
            "AWS_ENDPOINT_URL_S3": s3.uri,
            "MLFLOW_S3_ENDPOINT_URL": s3.uri,
        }.items():
            patch.setenv(name, value)
        patch.setenv("SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT", front.endpoint)
        made.target = parse_arn(running.arn, custom_endpoint=front.endpoint)
        made.allowed = set(whole)
        assert main(["snapshot", "--source-arn", running.arn, "--to", str(folder), "--workers", "4"]) == 0
        yield made


class _Rows(list[Row]):
    """Takes ledger rows."""

    def add(self, row: Row) -> None:
        """Append."""
        self.append(row)


@contextmanager
def _audited(rights: Rights, folder: Path) -> Iterator[tuple[Result, _Rows]]:
    source = parse_location(str(rights.source), option="--source-uri")
    settings = Settings(
        source=source, target=rights.target, experiments=(), exclude_experiments=(ELSEWHERE,), include_deleted=True,
        load_models=False, depth="digest", workers=4, snapshot_dir=None, report_dir=str(folder), max_findings=99,
        profile="same-store",
    )  # fmt: skip

    def open_side(name: SideName) -> Side:
        if name == "source":
            return Side(name, source, None)
        return Side(name, rights.target, open_reader(rights.target, name, 4))

    running = Audit(settings, folder / "scratch", open_side, Redactor.from_environment())
    try:
        items = running.inventory()
        rows = _Rows()
        yield running.run(select(_PROMISES, [item.key for item in items]), rows, Silent()), rows
    finally:
        running.close()


@pytest.mark.long
def test_the_documented_rights_are_enough(rights: Rights, tmp_path: Path) -> None:
    """With the policy of docs/aws.md and nothing else the audit is green, and it uses every action of it."""
    rights.asked.clear()
    with _audited(rights, tmp_path) as (result, rows):
        assert result.green, [row for row in rows if not row.state.green]
    assert rights.asked - {""} == rights.allowed
    assert rights.allowed == {*actions(), *S3_ACTIONS}


@pytest.mark.parametrize("action", [*actions(), *S3_ACTIONS])
def test_a_right_that_is_missing_is_named(rights: Rights, action: str, tmp_path: Path) -> None:
    """Without any one of them the audit says which, and is never green."""
    rights.allowed.discard(action)
    try:
        with _audited(rights, tmp_path) as (result, rows):
            assert not result.green
            told = [row.note for row in rows if row.state.value == "unverified"]
            told += [f"{one.explanation} {one.target}" for one in result.findings]
    except ParityError as error:
        told = [str(error)]
    finally:
        rights.allowed.add(action)
    assert any(f"is {action} allowed?" in text for text in told), [one for one in told if one.strip()][:5]


@pytest.mark.long
@pytest.mark.parametrize("action", actions(USABLE))
def test_what_an_option_asks_for_has_rights_of_its_own(rights: Rights, action: str) -> None:
    """With --parity-usable a right that is missing is named, and with both all is answered."""
    reader = open_reader(rights.target, "target", 2)
    try:
        [run, *_] = [run for one in reader.experiments() for page in reader.runs(one.experiment_id) for run in page]
        asked = (Question("stage", "stages"), Question("image", f"images of run {run.run_id}", run.run_id))
        rights.allowed |= {*actions(USABLE)} - {action}
        refused = [answer.error for one in asked if (answer := reader.answer("churn", one)).error]
        assert len(refused) == 1
        assert f"is {action} allowed?" in refused[0]
        rights.allowed.add(action)
        answers = [reader.answer("churn", one) for one in asked]
        assert [one.error for one in answers] == ["", ""]
        assert answers[0].versions["Production"] == "churn/1"
    finally:
        rights.allowed -= {*actions(USABLE)}
        reader.close()
