"""Preflight: every finding has a case in which it appears, a clean pair has none, and nothing is left on the target."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support.looking import Source, between, codes, look, state, text
from support.proxy import Fault, page, proxying, status
from support.seed import Seeder
from support.seed_objects import seed_objects
from support.servers import FreshServer, emptied, server_of

from mlflow_parity.audit.renames import Renames
from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.core.notice import LEVELS, notices_text
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.plan.write_probe import MARKER
from mlflow_parity.standin.gateway import Rules, gateway
from mlflow_parity.standin.http import S3
from mlflow_parity.standin.sagemaker import StandIn, new_credentials
from mlflow_parity.standin.servers import Server, free_port


@pytest.fixture(scope="module")
def source(module_server: FreshServer) -> Source:
    """One of everything, finished."""
    return Source(module_server())


@pytest.fixture(scope="module")
def plain(module_server: FreshServer) -> Server:
    """An empty source, for what concerns the target alone."""
    return module_server()


# --- nothing to say, nothing left


@pytest.mark.parametrize("version", ["2.16.2", "2.22.5", "newest"])
def test_what_a_target_cannot_hold_is_told_and_nothing_is_left_on_it(
    source: Source, fresh_server: FreshServer, tmp_path: Path, version: str
) -> None:
    """Counts and sizes, kinds that it lacks and values that are too long, by its version; its database is as it was."""
    target = fresh_server(version)
    before = state(target)
    found = look(tmp_path, *between(source.server.uri, target.uri))
    assert state(target) == before
    assert not found.blocked
    kinds = {one.what for one in found.found if one.code == "target.kind"}
    old = {f"the target cannot hold {what}, and the source has {n}" for what, n in (
        ("logged models", 2), ("scorers", 2), ("evaluation datasets", 1), ("webhooks", 1))}  # fmt: skip
    prompts = {f"the target cannot hold {what}, and the source has {n}" for what, n in (
        ("prompts", 2), ("prompt versions", 4))}  # fmt: skip
    assert kinds == {"2.16.2": old | prompts, "2.22.5": old}.get(version, set())
    cut = {"limit.run-tag"} if version == "2.16.2" else set()
    hooks = {"source.webhooks"} if version == "newest" else set()
    assert {code for _, code in codes(found)} - {"target.kind"} == cut | hooks
    if cut:
        assert "'other / child of another experiment / tag long'" in text(found, "limit.run-tag")
    assert found.versions["target"] == target.version
    assert not (tmp_path / "work").exists()
    survey = found.survey
    assert survey is not None
    counted = ("experiment", "run", "logged_model", "trace", "registered_model", "model_version", "prompt", "scorer")
    assert [survey.count(kind) for kind in counted] == [3, 3, 2, 3, 2, 4, 2, 2]
    other = next(one for one in survey.extents.values() if one.experiment.name == "other")
    assert (other.runs, other.series, other.points, other.files, other.size) == (1, 1, 50, 1, len(b"one line\n"))
    assert not survey.outside


@pytest.mark.long
def test_an_app_is_looked_at_and_nothing_is_left(
    source: Source, sagemaker_app: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ARN: its state, its rights and its bucket; database and bucket are as they were."""
    for name, value in sagemaker_app.environment().items():
        monkeypatch.setenv(name, value)
    bucket = sagemaker_app.server.artifacts_root.removeprefix("s3://").partition("/")[0]
    client = sagemaker_app.s3.client(sagemaker_app.credentials, sagemaker_app.location.region)

    def held() -> tuple[list[str], list[str]]:
        with closing(sqlite3.connect(sagemaker_app.server.database_path)) as database:
            rows = list(database.iterdump())
        return rows, [one["Key"] for one in client.list_objects_v2(Bucket=bucket, MaxKeys=1000).get("Contents", [])]

    seen = len(sagemaker_app.gateway.recorded)
    # what tests before this one have left on the App is none of its business
    with emptied(sagemaker_app.server):
        before = held()
        found = look(tmp_path, "--source-uri", source.server.uri, "--target-arn", sagemaker_app.arn)
        assert held() == before
    assert not [one for one in found.found if one.level == "error"]
    assert "App" in text(found, "app")
    written = [one for one in sagemaker_app.gateway.recorded[seen:] if one.path.endswith("/registered-models/create")]
    assert [one.status for one in written] == [200]


def test_reads_alone_where_nothing_may_be_written(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """``write=False`` sends no write at all; that both ends are one server is then told by what they hold."""
    with proxying(source.server.uri) as other_name:
        found = look(tmp_path, *between(source.server.uri, other_name.uri), write=False)
        assert not [seen for seen in other_name.seen if seen.method not in ("GET", "POST")]
        assert all(seen.path.endswith("/search") for seen in other_name.seen if seen.method == "POST")
    assert ("error", "same-server") in codes(found)
    assert found.blocked


def test_a_marker_of_a_killed_look_is_cleared(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What a kill between writing and removing left is removed by the next look; alike names stay."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(target.uri)
    for name in (f"{MARKER}dead", "mlflow-parity"):
        seed.call("POST", "registered-models/create", {"name": name})
    look(tmp_path, *between(source.uri, target.uri))
    left = seed.call("GET", "registered-models/search", {})["registered_models"]
    assert [one["name"] for one in left] == ["mlflow-parity"]


# --- reach and rights


@pytest.mark.long
def test_two_dead_ends_are_both_told(tmp_path: Path) -> None:
    """One end that does not answer does not hide the other."""
    nowhere, elsewhere = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    found = look(tmp_path, *between(nowhere, elsewhere))
    assert codes(found) == {("error", "source.unreachable"), ("error", "target.unreachable")}
    assert nowhere in text(found, "source.unreachable")
    assert found.survey is None


def test_other_web_servers_are_told(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """A page for every address is no MLflow; 401 is a refusal; the other side's findings are there all the same."""
    with proxying(source.server.uri) as front, proxying(fresh_server().uri) as guarded:
        front.faults.append(Fault("/", page, 99))
        guarded.faults.append(Fault("/", status(401), 99))
        found = look(tmp_path, *between(front.uri, guarded.uri))
    assert {code for _, code in codes(found)} == {"source.unreachable", "target.refused"}


def test_wrong_credentials_of_an_app(
    plain: Server, sagemaker_app: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is another's: the App refuses, and the secret is in no text."""
    for name, value in sagemaker_app.environment().items():
        monkeypatch.setenv(name, value)
    other = new_credentials().secret_key
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", other)
    found = look(tmp_path, "--source-uri", plain.uri, "--target-arn", sagemaker_app.arn)
    assert ("error", "target.refused") in codes(found)
    assert found.survey is not None
    assert other not in "\n".join(notices_text(found.found, Redactor()))


def test_no_credentials_for_an_app(plain: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, the target cannot be asked; the source is looked at all the same."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    arn = "arn:aws:sagemaker:eu-central-1:000000000000:mlflow-app/app-NOBODY000000"
    found = look(tmp_path, "--source-uri", plain.uri, "--target-arn", arn)
    assert ("error", "target.credentials") in codes(found)
    assert found.survey is not None


@pytest.mark.parametrize(
    ("forbidden", "code", "named"),
    [
        ("/registered-models/create", "target.write", "CreateRegisteredModel"),
        ("/registered-models/delete", "target.write", MARKER),
        ("/runs/log-batch", "target.rights", "LogBatch"),
    ],
)
def test_rights_that_are_missing_on_an_app(
    sagemaker_app: StandIn,
    plain: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forbidden: str,
    code: str,
    named: str,
) -> None:
    """An identity that may read and not write, not remove, or not log, is told before anything is begun."""
    rules = Rules(
        sagemaker_app.location, sagemaker_app.credentials, policy=lambda _, path: not path.endswith(forbidden)
    )
    with gateway(sagemaker_app.server.uri, rules) as guarded:
        environment = {
            **sagemaker_app.environment(),
            "TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": guarded.endpoint,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        found = look(tmp_path, "--source-uri", plain.uri, "--target-arn", sagemaker_app.arn)
    assert ("error", code) in codes(found)
    assert named in text(found, code)
    # what could not be removed through this gateway is removed past it
    seed = Seeder(sagemaker_app.server.uri)
    for one in seed.call("GET", "registered-models/search", {}).get("registered_models", []):
        if one["name"].startswith(MARKER):
            seed.call("DELETE", "registered-models/delete", {"name": one["name"]})


def test_an_app_that_is_not_ready(
    plain: Server, sagemaker_app: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state by the control plane is an error of its own."""
    for name, value in sagemaker_app.environment().items():
        monkeypatch.setenv(name, value)
    held = sagemaker_app.plane.apps[sagemaker_app.arn]
    monkeypatch.setattr(held, "status", "Updating")
    found = look(tmp_path, "--source-uri", plain.uri, "--target-arn", sagemaker_app.arn)
    assert ("error", "app") in codes(found)
    assert "Updating" in text(found, "app")


def test_reads_that_the_source_refuses(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Lists and files: what is refused is an error, what fails otherwise is a warning; each is named."""
    with proxying(source.server.uri) as front:
        front.faults.append(Fault("registered-models/search", status(403), 99))
        front.faults.append(Fault("scorers/list", status(400, body=b'{"error_code": "BAD_REQUEST"}'), 99))
        front.faults.append(Fault("notes.txt", status(403), 99))
        front.faults.append(Fault("get-artifact", status(403), 99))
        found = look(tmp_path, *between(front.uri, fresh_server().uri))
    assert {("error", "source.rights"), ("warning", "source.unread")} <= codes(found)
    refused = text(found, "source.rights")
    assert "the registered models and prompts" in refused
    assert "file 'notes.txt' of a run of experiment 'other'" in refused
    assert "scorers of experiment 'objects'" in text(found, "source.unread")


# --- the target's artifact store


@pytest.fixture(scope="module")
def bucketless(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose artifact root is in a bucket that is not there."""
    with server_of("newest", tmp_path_factory.mktemp("bucketless"), artifacts="s3://no-such-bucket/mlflow") as server:
        yield server


@pytest.mark.long
def test_a_bucket_that_is_not_there(
    bucketless: Server, plain: Server, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store takes no files: told with the store's own words. Without any credentials that is told instead."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    ends = between(plain.uri, bucketless.uri)
    assert "no AWS credentials" in text(look(tmp_path, *ends), "target.store")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "yyyyyyyy")
    found = look(tmp_path, *ends)
    assert codes(found) == {("error", "target.store")}
    assert "NoSuchBucket" in text(found, "target.store")


def test_a_store_that_only_the_servers_machine_reaches(plain: Server, tmp_path: Path) -> None:
    """A path on the server's disk: nobody else can put files there."""
    place = tmp_path / "files"
    with server_of("newest", tmp_path / "server", artifacts=place.as_uri()) as target:
        found = look(tmp_path, *between(plain.uri, target.uri))
    assert codes(found) == {("error", "target.store")}
    assert "--serve-artifacts" in text(found, "target.store")


# --- the target's state


def test_one_server_by_two_names(source: Source, tmp_path: Path) -> None:
    """Another port: what is written to the one is seen by the other."""
    with proxying(source.server.uri) as other:
        found = look(tmp_path, *between(source.server.uri, other.uri), "--into-existing")
    assert ("error", "same-server") in codes(found)
    assert "is seen at the source" in text(found, "same-server")


@pytest.mark.long
def test_foreign_objects_of_the_same_name(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Of every kind that is known by name; ``--into-existing`` and new names let it go on."""
    target = fresh_server()
    seed = Seeder(target.uri)
    seed.run("0", "in Default")
    one = seed.experiment("objects")
    seed.experiment("of somebody else")
    seed_objects(target.uri, one, traces=False)
    deleted = seed.experiment("other")
    seed.delete_experiment(deleted)
    ends = between(source.server.uri, target.uri)
    found = look(tmp_path, *ends)
    assert codes(found) == {
        ("error", "target.same-name"), ("error", "target.trash"), ("warning", "target.others"),
        ("note", "source.webhooks"),
    }  # fmt: skip
    same = text(found, "target.same-name")
    for what in ("2 experiments", "2 registered models", "2 prompts", "1 evaluation dataset", "1 webhook"):
        assert f"the target has {what} of the same name" in same
    assert "'Default', 'objects'" in same
    assert "'of somebody else'" in text(found, "target.others")
    assert "'other'" in text(found, "target.trash")

    allowed = look(tmp_path, *ends, "--into-existing")
    assert ("warning", "target.same-name") in codes(allowed)
    assert {code for level, code in codes(allowed) if level == "error"} == {"target.trash"}

    renames = Renames(
        experiments={"Default": "first", "objects": "second", "other": "third"},
        models={name: f"new {name}" for name in ("churn", "price")},
        prompts={name: f"new-{name}" for name in ("greeting", "support")},
    )
    renamed = look(tmp_path, *ends, renames=renames)
    assert "experiments" not in text(renamed, "target.same-name")
    assert "registered models" not in text(renamed, "target.same-name")
    assert ("error", "target.trash") not in codes(renamed)


def test_what_this_migration_made_is_taken_up_again(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Ours by the journal, also what was being made when a kill came; what is gone for good is told."""
    target = fresh_server()
    seed = Seeder(target.uri)
    made = seed.experiment("objects")
    seed.experiment("other", {"mlflow_exim.field.experiment_id": source.other})
    journal = Journal(tmp_path / "journal.sqlite")
    journal.begin("experiment", source.experiment, name="objects")
    journal.created("experiment", source.experiment, made)
    journal.begin("experiment", source.other, name="other")
    journal.note("making", "experiment", source.other)
    found = look(tmp_path, *between(source.server.uri, target.uri), journal=journal)
    assert codes(found) == {("note", "target.resumed"), ("note", "source.webhooks")}
    journal.begin("registered_model", "churn", name="churn")
    journal.created("registered_model", "churn", "churn")
    gone = look(tmp_path, *between(source.server.uri, target.uri), journal=journal)
    assert ("error", "target.gone") in codes(gone)
    assert "'churn'" in text(gone, "target.gone")
    # what went on the source too keeps nobody from moving the rest
    journal.forget("registered_model", "churn")
    journal.begin("registered_model", "old", name="old")
    journal.created("registered_model", "old", "old")
    past = look(tmp_path, *between(source.server.uri, target.uri), journal=journal)
    assert codes(past) == {("note", "target.resumed"), ("note", "target.past"), ("note", "source.webhooks")}
    assert "'old'" in text(past, "target.past")
    # but where nothing of ours is left it may be another server
    journal.forget("experiment", source.experiment)
    journal.forget("experiment", source.other)
    assert ("error", "target.gone") in codes(look(tmp_path, *between(source.server.uri, target.uri), journal=journal))
    journal.begin("experiment", source.experiment, name="objects")
    journal.created("experiment", source.experiment, made)
    journal.bind(source="http://another")
    assert ("error", "journal") in codes(look(tmp_path, *between(source.server.uri, target.uri), journal=journal))
    journal.close()


def test_what_was_refused_is_not_taken_for_ours(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """The target refused it, and its own team made one of the name since: that is told as with an empty journal."""
    target = fresh_server()
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        journal.begin("registered_model", "churn", name="churn")
        with suppress(RequestRefused), journal.making("registered_model", "churn"):
            raise RequestRefused("no right to make models", status=403)
        Seeder(target.uri).call("POST", "registered-models/create", {"name": "churn"})
        found = look(tmp_path, *between(source.server.uri, target.uri), journal=journal)
    assert ("error", "target.same-name") in codes(found)
    assert "'churn'" in text(found, "target.same-name")


# --- disk, names, scope


@pytest.mark.long
def test_too_little_disk(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The whole export, or the largest batch where batches are discarded."""
    seed = Seeder(fresh_server().uri)
    for name in ("small", "large"):
        run = seed.run(seed.experiment(name), name)
        seed.artifact(run, "file", b"x" * (3_000_000 if name == "large" else 2_000_000))
        seed.end(run)
    ends = between(seed.uri, fresh_server().uri)

    def told(free: int, *more: str) -> str:
        return text(look(tmp_path, *ends, *more, free=lambda _: free), "disk")

    assert told(6_000_000) == ""
    small = told(4_000_000)
    assert "needs about 5.0 MB" in small
    assert "4.0 MB free" in small
    assert "--discard-export" in small
    assert told(4_000_000, "--discard-export", "--batch-size", "1") == ""
    assert "smaller --batch-size" in told(4_000_000, "--discard-export")
    # bytes that an interrupted export has kept are not needed again
    kept = tmp_path / "work" / "export" / "files" / "ab"
    kept.mkdir(parents=True)
    (kept / "file").write_bytes(b"x" * 2_000_000)
    assert told(4_000_000) == ""


def test_names_that_do_not_fit(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Renames of what is not there, to what is taken; scopes that match nothing."""
    ends = between(source.server.uri, fresh_server().uri)
    renames = Renames(experiments={"objects": "other", "nothing": "new"}, models={"churn": "greeting"})
    found = look(tmp_path, *ends, "--experiments", "no*,o*", "--models", "c*,gr*", renames=renames)
    assert codes(found) >= {("error", "rename.unknown"), ("error", "rename.twice"), ("error", "scope")}
    assert "'nothing'" in text(found, "rename.unknown")
    assert "'other'" in text(found, "rename.twice")
    assert "'greeting'" in text(found, "rename.twice")
    assert "'no*'" in text(found, "scope")


def test_links_and_runs_that_will_not_be_whole(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Links out of the scope are counted; runs that are under way are named by their experiment."""
    source = fresh_server()
    seed = Seeder(source.uri)
    parent = seed.run(seed.experiment("left out"), "parent")
    seed.run(seed.experiment("taken"), "child", parent=parent)
    found = look(tmp_path, *between(source.uri, fresh_server().uri), "--experiments", "taken")
    assert codes(found) == {("warning", "source.running"), ("note", "links")}
    assert "1 runs whose parent" in text(found, "links")
    assert "under way at the source: 1 run, in 'taken'" in text(found, "source.running")


def test_files_that_a_proxy_would_rename(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A file whose name the target's proxy decodes; it is at the source because that store is no proxy's."""
    source = fresh_server()
    seed = Seeder(source.uri)
    run = seed.run(seed.experiment("one"), "run")
    seed.artifact(run, "plain.txt", b"x")
    [file] = Path(source.artifacts_root).rglob("plain.txt")
    file.rename(file.with_name("100%25 sure.txt"))
    seed.end(run)
    found = look(tmp_path, *between(source.uri, fresh_server().uri))
    assert ("warning", "limit.file-name") in codes(found)
    assert "'one / run / 100%25 sure.txt'" in text(found, "limit.file-name")


def test_findings_are_ordered_and_safe_to_print(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The worst first; a name with escape sequences is written as what it is."""
    source, target = fresh_server(), fresh_server()
    name = "evil \x1b[31m\u202e"
    for server in (source, target):
        seed = Seeder(server.uri)
        seed.run(seed.experiment(name), "run")
    found = look(tmp_path, *between(source.uri, target.uri))
    levels = [one.level for one in found.found]
    assert levels == sorted(levels, key=LEVELS.index)
    assert {"error", "warning", "note"} == set(levels)
    lines = "\n".join(notices_text(found.found, Redactor()))
    assert "\\x1b[31m" in lines
    assert not {letter for letter in lines if letter < " " and letter != "\n"}
    assert "\u202e" not in lines
