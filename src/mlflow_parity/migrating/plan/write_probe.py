"""Proves that the target takes writes, and leaves nothing: a registered model and an artifact, made and removed.

A registered model is what MLflow's API deletes for good; experiments and runs would stay in the trash.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from mlflow_parity.core.errors import ParityError, ReadError, RequestRefused
from mlflow_parity.core.notice import Notice
from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds.conventions.copy_places import roots_of
from mlflow_parity.migrating.write.s3_leftovers import unfinished_rights
from mlflow_parity.migrating.write.signed_uploads import PROXY, put_proxied
from mlflow_parity.reading.artifacts.s3_store import bucket_and_prefix
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.bounds import joined
from mlflow_parity.reading.transport.listing import pages

if TYPE_CHECKING:
    from mlflow_parity.migrating.write.writing import Writer
    from mlflow_parity.reading.transport.auth import Credentials
    from mlflow_parity.reading.transport.session import Session

#: Names of the marker objects begin so.
MARKER = "mlflow-parity-preflight-"
_API = "/api/2.0/mlflow/"
_CONTENT = b"written and removed by the preflight of a migration\n"
#: Ids that no server gives: a call that names one is refused for its content, or before that for want of rights.
_NO_EXPERIMENT, _NO_RUN = "999999999999999999", "0" * 32
#: Calls of a migration that cannot do anything: path below ``/api/2.0/mlflow/``, body, IAM action.
_HARMLESS: Sequence[tuple[str, dict[str, Any], str]] = (
    ("experiments/create", {"name": ""}, "CreateExperiment"),
    ("experiments/set-experiment-tag", {"experiment_id": _NO_EXPERIMENT, "key": "a", "value": "b"}, "SetExperimentTag"),
    ("runs/create", {"experiment_id": _NO_EXPERIMENT}, "CreateRun"),
    ("runs/update", {"run_id": _NO_RUN, "status": "FINISHED"}, "UpdateRun"),
    ("runs/log-batch", {"run_id": _NO_RUN}, "LogBatch"),
    ("runs/log-inputs", {"run_id": _NO_RUN}, "LogInputs"),
    ("model-versions/create", {"name": f"{MARKER}none", "source": "s3://none/none"}, "CreateModelVersion"),
)


def probe_writes(
    writer: Writer,
    credentials: Credentials,
    experiments: Sequence[Experiment],
    source: Session | None,
    target: Session | None = None,
    *,
    signed: bool = False,
) -> list[Notice]:
    """Write to the target and to its artifact store, and take it back; return what stands in the way.

    ``experiments`` are the target's. ``source`` is asked whether it sees the markers: then both ends are one server, or
    have one store. ``target`` reads what was put into S3 back through the server. ``signed``: its proxy takes no file
    itself.
    """
    clear_markers(writer)
    found = _registry(writer, source)
    if writer.location.is_arn:
        found += _rights(writer)
    # of one server both ends see all
    other = None if any(one.code == "same-server" for one in found) else source
    return found + probe_store(writer, credentials, experiments, other, target, signed=signed)


def is_seen_by(writer: Writer, source: Session) -> list[Notice]:
    """Write a marker to the target, ask the source for it, and take it back; return what stands in the way."""
    return _registry(writer, source)


def clear_markers(session: Writer) -> None:
    """Remove markers that a killed preflight left; they are known by their name."""
    query = {"filter": f"name LIKE '{MARKER}%'", "max_results": 100}
    try:
        left = [str(one["name"]) for page in pages(session, _SEARCH, query, "registered_models") for one in page]
        for name in left:
            if name.startswith(MARKER):
                session.call("DELETE", f"{_API}registered-models/delete", {"name": name})
    except (ParityError, KeyError, TypeError):
        # what may not be listed or removed shows in the probe itself
        return


_SEARCH = endpoints.REGISTERED_MODELS


def _registry(writer: Writer, source: Session | None) -> list[Notice]:
    name = f"{MARKER}{secrets.token_hex(8)}"
    found: list[Notice] = []
    delete = f"{_API}registered-models/delete"
    try:
        writer.create(
            f"{_API}registered-models/create",
            {"name": name, "description": _CONTENT.decode().strip()},
            find=lambda: name if _sees(writer, name) else None,
            made=lambda answer: str(answer["registered_model"]["name"]),
        )
    except ReadError as error:
        return [_refused("the target takes no writes", error, "CreateRegisteredModel")]
    try:
        if source is not None and _sees(source, name):
            found.append(
                Notice(
                    "error",
                    "same-server",
                    "source and target are the same server",
                    "what was written to the target is seen at the source",
                    "give two different servers",
                )
            )
    finally:
        try:
            writer.call("DELETE", delete, {"name": name})
        except ReadError as error:
            if not (isinstance(error, RequestRefused) and error.status == 404):
                found.append(
                    _refused(f"the marker {name} could not be removed from the target", error, "DeleteRegisteredModel")
                )
    return found


def _sees(session: Session, name: str) -> bool:
    """Whether a server has a registered model; one that does not tell has not."""
    try:
        for page in pages(session, _SEARCH, {"filter": f"name = '{name}'", "max_results": 1}, "registered_models"):
            if any(one.get("name") == name for one in page):
                return True
    except (ReadError, AttributeError):
        return False
    return False


def _rights(writer: Writer) -> list[Notice]:
    """Find actions that IAM refuses; only it decides by the action alone, whatever the object."""
    refused: list[str] = []
    why = ""
    for path, body, action in _HARMLESS:
        try:
            writer.call("POST", _API + path, body, tries=1)
        except RequestRefused as error:
            if error.status in (401, 403):
                refused.append(action)
                why = why or str(error)
        except ReadError:
            continue
    if not refused:
        return []
    app = writer.location.kind == "app"
    rights = endpoints.APP_ACTION if app else ", ".join(f"sagemaker-mlflow:{action}" for action in refused)
    return [
        Notice("error", "target.rights", f"the target refuses {', '.join(refused)}", why, f"allow {rights} on its ARN")
    ]


def _refused(what: str, error: ReadError, action: str) -> Notice:
    return Notice("error", "target.write", what, str(error), f"give these credentials the right to {action}")


# --- the artifact store


def root_of(experiments: Sequence[Experiment]) -> str | None:
    """Return where a server keeps the artifacts of new experiments, by the newest; ``None``: it does not show."""
    return next(iter(reversed(roots_of(experiments))), None)


def is_proxied(experiments: Sequence[Experiment]) -> bool:
    """Whether a server's artifacts go through its own proxy."""
    return (root_of(experiments) or "").startswith("mlflow-artifacts:")


def probe_store(
    writer: Writer,
    credentials: Credentials,
    experiments: Sequence[Experiment],
    source: Session | None = None,
    target: Session | None = None,
    *,
    signed: bool = False,
) -> list[Notice]:
    """Put a marker object into the target's artifact store, look at it through both servers, and remove it."""
    root = root_of(experiments)
    if root is None:
        return [
            Notice(
                "warning",
                "target.store.unknown",
                "the target does not show where it keeps artifacts",
                "none of its experiments has a place of the usual form, so no marker could be written there",
                "make an empty experiment on it, or go on",
            )
        ]
    name = f"{MARKER}{secrets.token_hex(8)}"
    scheme = urlsplit(root).scheme
    if scheme == "mlflow-artifacts":
        below = unquote(urlsplit(root).path).strip("/")
        folder = f"{below}/{name}" if below else name
        return _attempt(
            root,
            lambda: put_proxied(writer, f"{folder}/marker", _CONTENT, len(_CONTENT), signed=signed),
            # the folder: servers before 3 cannot delete a single file
            lambda: writer.call("DELETE", PROXY + quote(folder, safe="/")),
            name,
            lambda: _one_store(source, root, folder),
        )
    if scheme == "s3":
        bucket, prefix = bucket_and_prefix(root)
        key = f"{prefix}{name}/marker"
        if not writer.location.is_arn and not credentials.aws.usable:
            return [
                Notice(
                    "error",
                    "target.store",
                    f"there are no AWS credentials for the target's artifact store {root}",
                    "its files are written to S3 directly, with your own rights",
                    "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with TARGET_ in front)",
                )
            ]
        client: Any = credentials.aws.s3
        return _attempt(
            root,
            lambda: client.put_object(Bucket=bucket, Key=key, Body=_CONTENT),
            lambda: client.delete_object(Bucket=bucket, Key=key),
            name,
            lambda: [
                *unfinished_rights(client, bucket, key),
                *([] if writer.location.is_arn else _through_server(writer, target, root, name, client)),
            ],
        )
    return [
        Notice(
            "error",
            "target.store",
            f"files cannot be put where the target keeps artifacts: {root}",
            "only its own machine can write there",
            "start the target with --serve-artifacts, or with an S3 root",
        )
    ]


def _one_store(source: Session | None, root: str, folder: str) -> list[Notice]:
    """Ask the source's proxy for what was put through the target's."""
    if source is None or source.location.is_arn:
        return []
    try:
        listed = source.get(endpoints.PROXY_LIST, {"path": folder}).get("files", [])
    except ReadError:
        # it has no proxy, or nothing there
        return []
    if not any(str(file.get("path", "")).endswith("marker") for file in listed):
        return []
    what = "source and target keep their artifacts in one place"
    why = f"what was put into {root} of the target is seen through the source's artifact proxy"
    return [Notice("error", "target.place", what, why, "start the target with another --artifacts-destination")]


def _through_server(writer: Writer, target: Session | None, root: str, name: str, client: Any) -> list[Notice]:
    """Let the target's server send what was put into S3, as the source of a registered version."""
    if target is None:
        return []
    registry = f"{_API}registered-models/"
    here, there = client.meta.endpoint_url, writer.location.display
    try:
        writer.call("POST", f"{registry}create", {"name": name})
        try:
            body = {"name": name, "source": f"{root}/{name}"}
            writer.call("POST", f"{_API}model-versions/create", body)
            query = {"name": name, "version": "1", "path": "marker"}
            content = target.download(endpoints.VERSION_FILE, joined, query=query, tries=1)
        finally:
            writer.call("DELETE", f"{registry}delete", {"name": name})
    except ReadError as error:
        content, why = b"", str(error)
    else:
        why = "it sends other bytes"
    if content == _CONTENT:
        return []
    return [
        Notice(
            "error",
            "target.store.other",
            f"the S3 that these AWS variables reach ({here}) is not shown to be that of the server {there}",
            f"the server does not send the marker that was put into {root}: {why}",
            "set AWS_ENDPOINT_URL_S3 or MLFLOW_S3_ENDPOINT_URL and the credentials (with TARGET_ in front) of the "
            "server's S3, and give the server itself access to it",
        )
    ]


def _attempt(
    root: str,
    put: Callable[[], object],
    remove: Callable[[], object],
    name: str,
    look: Callable[[], list[Notice]] = list,
) -> list[Notice]:
    rights = "s3:PutObject, s3:GetObject, s3:ListBucket" if root.startswith("s3:") else "write to its artifact proxy"
    try:
        put()
    except Exception as error:
        return [
            Notice(
                "error",
                "target.store",
                f"the target's artifact store {root} takes no files",
                _line(error),
                f"allow these credentials to {rights}" if "s3:" not in rights else f"allow {rights} on it",
            )
        ]
    found = look()
    try:
        remove()
    except Exception as error:
        # a migration deletes no file; what is left is one small object
        found.append(
            Notice(
                "warning",
                "target.store.marker",
                f"the marker {root}/{name} could not be removed",
                _line(error),
                "remove it by hand; the migration itself needs no right to delete files",
            )
        )
    return found


def _line(error: Exception) -> str:
    # botocore's own texts hold no secret; its request objects would
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, ParityError) else f"S3: {type(error).__name__}: {text}"
