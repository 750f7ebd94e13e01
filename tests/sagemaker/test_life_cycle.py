"""The life cycle of Apps and managed servers, through boto3 with real signatures against the loopback control plane."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_parity.core.errors import RequestRefused, UsageProblem
from mlflow_parity.core.locations import Location, parse_arn
from mlflow_parity.sagemaker import app_command
from mlflow_parity.sagemaker.apps import check_app, create_app_for
from mlflow_parity.sagemaker.control_plane import open_control
from mlflow_parity.standin.control import control_plane
from mlflow_parity.standin.http import S3
from mlflow_parity.standin.plane import Held, Plane, Resource
from mlflow_parity.standin.sagemaker import APP_ARN, new_credentials
from mlflow_parity.standin.sigv4 import Credentials

REGION, ACCOUNT = "eu-central-1", "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/mlflow"
SERVER_ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:mlflow-tracking-server/old"
IDENTITY = new_credentials()


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account of a control plane and an S3: one App, one managed server, a bucket here and one elsewhere."""

    plane: Plane
    app: Location
    bucket: str
    elsewhere: str

    @property
    def store(self) -> str:
        """Where an App may keep its artifacts."""
        return f"s3://{self.bucket}/mlflow"

    def asked(self, operation: str) -> int:
        """Return how often an operation was called."""
        return sum(name == operation for name, _ in self.plane.calls)


@pytest.fixture(scope="module")
def buckets(s3: S3) -> tuple[str, str]:
    """Two buckets: one in the region, one in another."""
    names = ("lifecycle-here", "lifecycle-elsewhere")
    for name, region in zip(names, (REGION, "eu-west-1"), strict=True):
        s3.create_bucket(name, IDENTITY, region)
    return names


@pytest.fixture
def account(s3: S3, buckets: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A control plane of its own for each test; the environment leads to it."""
    location = parse_arn(APP_ARN, option="arn")
    resource = Resource(location, f"s3://{buckets[0]}/mlflow", "3.10.1", 1_700_000_000.0)
    plane = Plane.around(resource)
    plane.servers["old"] = Held(SERVER_ARN, "old", f"s3://{buckets[0]}/old", ROLE, "2.16.2", 1_600_000_000.0)
    with control_plane(resource, IDENTITY, plane) as endpoint:
        for name in ("AWS_PROFILE", "AWS_REGION", "SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", endpoint)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        use(monkeypatch, IDENTITY)
        yield Account(plane, location, *buckets)


def use(monkeypatch: pytest.MonkeyPatch, identity: Credentials) -> None:
    """Put credentials into the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", identity.token or "")


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(account: Account, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``migrate.py app …``; gives exit status, stdout and stderr, in which no secret may be."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = app_command.main(["app", *arguments])
        said = capsys.readouterr()
        for secret in (IDENTITY.secret_key, IDENTITY.token):
            assert str(secret) not in said.out + said.err
        return status, said.out, said.err

    return run


def create(command: Command, account: Account, *more: str, name: str = "new-app") -> tuple[int, str, str]:
    """Run ``app create`` with all that it needs; what comes in ``more`` beats it."""
    return command("create", name, "--artifact-store", account.store, "--role-arn", ROLE, *more)


def test_an_app_is_created_and_waited_for(account: Account, command: Command) -> None:
    """It has name, store, role and tags, registration is disabled, progress is told, the ARN is all of stdout."""
    account.plane.describes = 2
    status, out, err = create(command, account, "--tag", "team=growth", "--tag", "note=a=b")
    assert status == 0, err
    made = account.plane.apps[out.strip()]
    assert (made.name, made.artifact_store, made.role, made.status) == ("new-app", account.store, ROLE, "Created")
    assert made.tags == (("team", "growth"), ("note", "a=b"))
    assert made.registration == "AutoModelRegistrationDisabled"
    assert re.search(rf"{out.strip()}, ordered\n.*Creating, 0 s\n.*Created, \d s\n", err), err
    status, out, err = command("describe", made.arn)
    assert status == 0, err
    assert re.search(rf"status +Created\n(.*\n)*artifact store +{account.store}\nrole +{ROLE}\n", out), out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--artifact-store", "arn:aws:s3:::bucket"), "is not a place in S3; give s3://BUCKET/PATH"),
        (("--role-arn", "mlflow"), "--role-arn: 'mlflow' is not the ARN of a role; give arn:aws:iam::"),
        (("--tag", "team"), "--tag: 'team' is no KEY=VALUE"),
        (("--tag", "a=1", "--tag", "a=2"), "--tag: 'a' is given twice"),
        (("--tag", "aws:x=1"), "SageMaker takes no tag 'aws:x'"),
        (("--timeout", "0"), "--timeout: 0 minutes are out of range"),
        (("--artifact-store", "s3://lifecycle-elsewhere"), "is in eu-west-1, and the App would be in eu-central-1"),
        (("--artifact-store", "s3://lifecycle-nowhere"), "there is no bucket lifecycle-nowhere; create it first"),
    ],
)
def test_what_cannot_become_an_app_is_refused(
    account: Account, command: Command, more: tuple[str, ...], words: str
) -> None:
    """One line with the fix, before anything is ordered."""
    status, out, err = create(command, account, *more)
    assert (status, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert account.asked("CreateMlflowApp") == 0


@pytest.mark.long
def test_a_name_is_given_once(account: Account, command: Command) -> None:
    """SageMaker might take it twice: we look first. An interrupted ``run`` takes up what it had ordered."""
    assert "cannot be an App's name" in create(command, account, name="two words")[2]
    assert create(command, account)[0] == 0
    status, _, err = create(command, account)
    assert status == 2
    assert "there is an App named new-app already" in err
    assert "--target-arn arn:aws:sagemaker" in err
    told: list[str] = []
    again = create_app_for("new-app", account.store + "/", ROLE, resume=True, told=told.append)
    assert account.plane.apps[again].name == "new-app"
    assert "made before" in told[0]
    with pytest.raises(UsageProblem, match="already"):
        create_app_for("new-app", account.store + "/other", ROLE, resume=True, told=told.append)
    assert account.asked("CreateMlflowApp") == 1


def test_an_order_in_doubt_is_not_given_again(account: Account, command: Command) -> None:
    """The answer to the creation is lost: the App is found by its name, and there is one."""
    account.plane.lost.add("CreateMlflowApp")
    status, out, err = create(command, account)
    assert status == 0, err
    assert [arn for arn, held in account.plane.apps.items() if held.name == "new-app"] == [out.strip()]
    assert account.asked("CreateMlflowApp") == 1


@pytest.mark.long
def test_a_failed_creation_is_told(account: Account, command: Command) -> None:
    """CreateFailed, a role of another account, a missing right: one line each, with the fix."""
    account.plane.failing.add("create")
    status, out, err = create(command, account)
    assert (status, out) == (2, "")
    assert "ended as CreateFailed: SageMaker could not use its role or bucket" in err
    status, _, err = create(command, account, "--role-arn", ROLE.replace("0" * 12, "1" * 12))
    assert status == 2
    assert "Cross-account pass role is not allowed" in err
    assert "(ValidationException); correct what it names" in err
    account.plane.denied.add("CreateMlflowApp")
    status, _, err = create(command, account)
    assert status == 2
    assert "give this identity the right to sagemaker:CreateMlflowApp, and iam:PassRole on the role" in err


@pytest.mark.long
def test_waiting_has_an_end(account: Account, command: Command) -> None:
    """After the time limit it is said where to look, and that SageMaker goes on."""
    account.plane.seconds = 60
    status, out, err = create(command, account, "--timeout", "0.005")
    assert (status, out) == (2, "")
    assert re.search(r"is still Creating after 0\.005 min; .*`mlflow-parity migrate app describe arn:", err)


@pytest.mark.long
def test_lists_are_read_page_by_page(account: Account, command: Command) -> None:
    """Every App is listed, whatever the size of a page; servers too, and either may be none."""
    for number in range(4):
        arn = f"{APP_ARN}{number}"
        account.plane.apps[arn] = Held(arn, f"app-{number}", "s3://b", ROLE, "3.4", 1.0)
    account.plane.page = 2
    status, out, _ = command("list")
    assert status == 0
    assert [line.split("\t")[-1] for line in out.splitlines()] == list(account.plane.apps)
    assert account.asked("ListMlflowApps") == 3
    assert command("list", "--servers")[1] == f"old\tCreated\tMLflow 2.16.2\t{SERVER_ARN}\n"
    assert "MLflow" in command("describe", SERVER_ARN)[1]
    account.plane.apps.clear()
    assert command("list")[1] == f"no MLflow Apps in {REGION}\n"
    status, _, err = command("describe", APP_ARN)
    assert (status, f"there is no {APP_ARN}" in err) == (2, True)


@pytest.mark.long
def test_identity_and_region_are_looked_for(
    account: Account, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong credentials, those of the side first, no region, a region that contradicts the ARN."""
    status, _, err = command("describe", APP_ARN, "--region", "eu-west-1")
    assert (status, "is not the region of arn:" in err) == (2, True)
    status, _, err = command("list", "--region", "eu-west-1")
    assert status == 2
    assert "(InvalidSignatureException); check the AWS credentials, the region, and the clock" in err
    monkeypatch.setenv("TARGET_AWS_ACCESS_KEY_ID", "OTHER")
    monkeypatch.setenv("TARGET_AWS_SECRET_ACCESS_KEY", "other-secret")
    status, _, err = command("list")
    assert status == 2
    assert "check the AWS credentials (of this side: with SOURCE_ or TARGET_ in front)" in err
    assert "other-secret" not in err
    # the managed server is the source: its own credentials are still the plain ones
    assert command("list", "--servers")[0] == 0
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    status, _, err = command("list", "--servers")
    assert (status, "no AWS region is known; give --region" in err) == (2, True)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", "http://127.0.0.1:9")
    monkeypatch.setattr("mlflow_parity.sagemaker.aws_calls._TRIES", 2)
    status, _, err = command("list", "--servers", "--region", REGION)
    assert (status, f"control plane in {REGION} does not answer" in err) == (2, True)


@pytest.mark.long
def test_a_role_is_assumed_for_the_control_plane_too(
    account: Account, command: Command, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the role's credentials may is what counts; a role that cannot be assumed is one line."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.endpoint)
    monkeypatch.setenv("TARGET_SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN", f"{ROLE}-assumed")
    # moto's STS gives credentials of its own, which this control plane does not know
    status, _, err = command("list")
    assert status == 2
    assert "UnrecognizedClientException" in err
    assert command("list", "--servers")[0] == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("TARGET_SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN", f"{ROLE}-not")
    status, _, err = command("list")
    assert status == 2
    assert f"the role {ROLE}-not cannot be assumed: " in err
    assert [found.level for found in check_app(account.app)] == ["warning"]


def test_a_managed_server_is_stopped_and_deleted(account: Account) -> None:
    """Each order is waited for; one whose answer was lost is not an error; one that is refused is."""
    control = open_control("source")
    told: list[str] = []
    account.plane.describes = 2
    account.plane.lost.add("StopMlflowTrackingServer")
    control.stop_server("old")
    control.wait_for_server("old", gone=False, limit=30, told=told.append)
    assert [line.split(", ")[0] for line in told] == ["tracking server old: Stopping", "tracking server old: Stopped"]
    account.plane.servers["old"].status = "Updating"
    account.plane.denied.add("StopMlflowTrackingServer")
    with pytest.raises(RequestRefused, match="right to sagemaker:StopMlflowTrackingServer") as refused:
        control.stop_server("old")
    assert refused.value.code == "AccessDeniedException"
    account.plane.denied.clear()
    control.delete_server("old")
    control.wait_for_server("old", gone=True, limit=30, told=told.append)
    assert control.server("old") is None
    with pytest.raises(UsageProblem, match="not there any more"):
        control.wait_for_server("old", gone=False, limit=30, told=told.append)
    with pytest.raises(RequestRefused, match="ResourceNotFound"):
        control.stop_server("old")


def test_the_how_to_says_what_can_be_typed() -> None:
    """Each ``app`` and ``retire`` line of ``docs/sagemaker.md`` is one that the parser takes."""
    page = (Path(__file__).parent.parent.parent / "docs" / "sagemaker.md").read_text(encoding="utf-8")
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    app_command.add_app_parser(subparsers)
    app_command.add_retire_parser(subparsers)
    lines = re.findall(r"^mlflow-parity migrate ((?:app|retire) .*)$", page.replace("\\\n", ""), re.MULTILINE)
    assert {" ".join(line.split()[:2]) for line in lines} >= {"app create", "app describe", "app list"}
    assert len(lines) == 7
    for line in lines:
        assert callable(parser.parse_args(shlex.split(line)).main)


def findings(location: Location) -> list[tuple[str, str]]:
    """Return level and text of what :func:`check_app` finds."""
    return [(found.level, f"{found.what}: {found.why}; {found.fix}") for found in check_app(location)]


@pytest.mark.long
def test_an_app_is_looked_at_before_a_migration(account: Account) -> None:
    """A good one has its version told and nothing else; a bad one all that is wrong at once."""
    assert findings(account.app) == [("note", "the App's MLflow: 3.10.1; ")]
    held = account.plane.apps[APP_ARN]
    held.status, held.registration = "UpdateFailed", "AutoModelRegistrationEnabled"
    held.artifact_store, held.mlflow_version = f"s3://{account.elsewhere}/x", ""
    found = findings(account.app)
    assert [level for level, _ in found] == ["error", "warning", "warning", "error"]
    for number, words in enumerate(("must be Created or Updated", "not told", "model_package_arn", "is in eu-west-1")):
        assert words in found[number][1]
    held.artifact_store = "s3://lifecycle-nowhere"
    assert "there is no bucket" in findings(account.app)[-1][1]
    unknown = parse_arn(APP_ARN + "X", option="arn")
    assert findings(unknown) == [
        ("error", f"there is no App {unknown.uri}: SageMaker in {REGION} does not know it; correct --target-arn "
                  "(`mlflow-parity migrate app list` shows the Apps), or create it with --create-app")
    ]  # fmt: skip
    server = parse_arn(SERVER_ARN, option="arn")
    account.plane.servers["old"].status = "Stopped"
    assert "the tracking server is Stopped" in findings(server)[0][1]
    # what may not be asked is no reason against a migration
    account.plane.denied.add("DescribeMlflowApp")
    [(level, text)] = findings(account.app)
    assert level == "warning"
    assert "allow sagemaker:DescribeMlflowApp, or go on" in text
