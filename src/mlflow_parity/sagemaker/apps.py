"""Makes the App that a migration goes to, and looks at one before anything is written to it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.errors import ReadError, RequestRefused, UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.notice import Notice, migrate_command
from mlflow_parity.reading.transport.auth import Aws, SideName
from mlflow_parity.sagemaker.control_plane import NewApp, open_control

if TYPE_CHECKING:
    from mlflow_parity.sagemaker.control_plane import App, Told

#: Seconds for which the making of an App is waited for; AWS says two to five minutes.
LIMIT = 900.0
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,255}")
_STORE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/.*)?")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[a-zA-Z_0-9+=,.@/-]+")
_MOST_TAGS = 50
_SIDE: SideName = "target"


def check_new(new: NewApp) -> None:
    """Look at what an App is to be made of, without asking anybody.

    Raises:
        UsageProblem: one line for the first thing that is wrong.
    """
    if not _NAME.fullmatch(new.name):
        raise UsageProblem(
            f"NAME: {new.name!r} cannot be an App's name; give letters, digits and hyphens, at most 256, with a letter "
            "or digit at either end"
        )
    if not _STORE.fullmatch(new.artifact_store) or len(new.artifact_store) > 1024:
        raise UsageProblem(
            f"--artifact-store: {new.artifact_store!r} is not a place in S3; give s3://BUCKET/PATH, no ARN"
        )
    if not _ROLE.fullmatch(new.role_arn):
        raise UsageProblem(
            f"--role-arn: {new.role_arn!r} is not the ARN of a role; give arn:aws:iam::ACCOUNT:role/NAME "
            "(account of 12 digits)"
        )
    if len(new.tags) > _MOST_TAGS:
        raise UsageProblem(f"--tag: {len(new.tags)} tags are too many; SageMaker takes {_MOST_TAGS}")
    for key, value in new.tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise UsageProblem(
                f"--tag: SageMaker takes no tag {key[:130]!r}; a key has 1 to 128 characters and does not begin with "
                "aws:, a value has at most 256"
            )


def create_app_for(
    name: str,
    artifact_store: str,
    role_arn: str,
    *,
    tags: Mapping[str, str] | None = None,
    kms_key: str | None = None,
    region: str | None = None,
    environ: Mapping[str, str] | None = None,
    limit: float = LIMIT,
    resume: bool = False,
    told: Told = print,
) -> str:
    """Make an App, wait until it takes requests (``limit``: seconds), and return its ARN.

    ``resume``: an earlier call may have been interrupted: an App of that name, store and role is taken as made by it.
    The credentials are the target's.

    Raises:
        ParityError: one line that says what, why and the fix; nothing was made, but where the line says so.
    """
    new = NewApp(name, artifact_store, role_arn, tags or {}, kms_key)
    check_new(new)
    env = os.environ if environ is None else environ
    control = open_control(_SIDE, env, region=region)
    arn = None
    if resume and (old := control.app_named(name)) is not None:
        whole = control.app(old.arn)
        if whole is not None and (whole.artifact_store.rstrip("/"), whole.role) == (
            artifact_store.rstrip("/"),
            role_arn,
        ):
            arn = whole.arn
            told(f"App {name}: {arn}, made before")
    if arn is None:
        _check_bucket(new, control.region, env, told)
        arn = control.create_app(new)
        # at once: whatever happens while it is waited for, this is its address
        told(f"App {name}: {arn}, ordered")
    app = control.wait_for_app(arn, limit=limit, told=told)
    told(f"App {name}: {app.status}, MLflow {app.mlflow_version or 'of unknown version'}")
    return arn


def _check_bucket(new: NewApp, region: str, environ: Mapping[str, str], told: Told) -> None:
    bucket = _bucket(new.artifact_store)
    try:
        where = bucket_region(Aws(_SIDE, environ, region, arn=True).s3, bucket)
    except UsageProblem as problem:
        raise UsageProblem(f"--artifact-store: {problem}") from None
    if where is None:
        told(f"bucket {bucket}: its region could not be told with these credentials; it must be {region}")
    elif where != region:
        raise UsageProblem(
            f"--artifact-store: the bucket {bucket} is in {where}, and the App would be in {region}; both must be in "
            f"the same region: give another bucket, or --region {where}"
        )


def _bucket(store: str) -> str:
    found = _STORE.fullmatch(store)
    return "" if found is None else found["bucket"]


def bucket_region(s3: Any, bucket: str) -> str | None:
    """Return the region of a bucket; ``None`` when it cannot be told with these credentials.

    Raises:
        UsageProblem: there is no such bucket.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        # S3 tells the region of a bucket to those, too, who may not look into it
        answer = error.response
        if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            raise UsageProblem(f"there is no bucket {bucket}; create it first, in the App's region") from None
    except BotoCoreError:
        return None
    region = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
    return str(region) if region else None


def check_app(location: Location, environ: Mapping[str, str] | None = None) -> list[Notice]:
    """Look at the App (or managed server) that a migration goes to: all findings at once, nothing raised.

    A control plane that cannot be asked is a warning: the migration itself needs no right to it.
    """
    env = os.environ if environ is None else environ
    try:
        control = open_control(_SIDE, env, location=location)
        if location.kind != "app":
            return _check_server(location, control.server(location.uri.rsplit("/", 1)[-1]))
        app = control.app(location.uri)
    except (ReadError, UsageProblem) as error:
        right = "DescribeMlflowApp" if location.kind == "app" else "DescribeMlflowTrackingServer"
        asked = isinstance(error, RequestRefused)
        fix = f"allow sagemaker:{right}" if asked else "fix it"
        return [Notice("warning", "app", f"the state of {location.uri} is not known", str(error), f"{fix}, or go on")]
    if app is None:
        return [
            Notice(
                "error",
                "app",
                f"there is no App {location.uri}",
                f"SageMaker in {location.region} does not know it",
                f"correct --target-arn (`{migrate_command()} app list` shows the Apps), or create it with --create-app",
            )
        ]
    return [*_check_state(app), *_check_store(app, location, env)]


def _check_state(app: App) -> list[Notice]:
    found = []
    if not app.ready:
        moving = app.status.endswith("ing")
        fix = "wait until it is Created or Updated" if moving else "fix it in SageMaker, or pass a different App"
        found.append(Notice("error", "app", f"the App is {app.status}", "it must be Created or Updated", fix))
    elif app.maintenance == "MaintenanceInProgress":
        found.append(
            Notice("warning", "app", "the App is in maintenance", "requests may fail meanwhile", "wait for its end")
        )
    if app.mlflow_version:
        found.append(Notice("note", "app", "the App's MLflow", app.mlflow_version))
    else:
        found.append(
            Notice("warning", "app", "the App's MLflow version is not told", "what it can hold is asked of it instead")
        )
    if app.registration == "AutoModelRegistrationEnabled":
        found.append(
            Notice(
                "warning",
                "app",
                "automatic model registration is enabled on the App",
                "it adds the tag sagemaker.model_package_arn to model versions while they are compared, and fails for "
                "names with spaces",
                f"`aws sagemaker update-mlflow-app --region {app.arn.split(':')[3]} --arn {app.arn} "
                "--model-registration-mode AutoModelRegistrationDisabled`, until the migration is accepted",
            )
        )
    return found


def _check_store(app: App, location: Location, environ: Mapping[str, str]) -> list[Notice]:
    bucket = _bucket(app.artifact_store)
    if not bucket:
        return []
    try:
        region = bucket_region(Aws(_SIDE, environ, location.region, arn=True).s3, bucket)
    except UsageProblem as problem:
        return [Notice("error", "app", "the App's artifact bucket is gone", str(problem), "create it again")]
    if region in (None, location.region):
        return []
    return [
        Notice(
            "error",
            "app",
            f"the App's artifact bucket {bucket} is in {region}",
            f"SageMaker wants it in the App's own region, {location.region}",
            "give an App whose bucket is in its region",
        )
    ]


def _check_server(location: Location, server: Any) -> list[Notice]:
    if server is None:
        why, fix = f"SageMaker in {location.region} does not know it", "correct --target-arn"
        return [Notice("error", "app", f"there is no tracking server {location.uri}", why, fix)]
    if not server.ready:
        why = "a managed server answers when it is Created or Started only"
        return [Notice("error", "app", f"the tracking server is {server.status}", why, "start it, and wait for it")]
    return [Notice("note", "app", "the tracking server's MLflow", server.mlflow_version)]
