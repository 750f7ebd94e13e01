"""Deletes single objects of the target, of which the caller has made sure that they are ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.core.keys import SOURCE_RUN_TAG
from mlflow_parity.core.records import REPLACED_TAG

if TYPE_CHECKING:
    from mlflow_parity.migrating.write.writing import Writer


def mark(writer: Writer, run_id: str, source_id: str) -> None:
    """Say of a run that it is replaced: in the trash it stays visible, and must not pass for a second copy."""
    runs = "/api/2.0/mlflow/runs"
    with _gone():
        writer.call("POST", f"{runs}/set-tag", {"run_id": run_id, "key": REPLACED_TAG, "value": source_id})
        writer.call("POST", f"{runs}/delete-tag", {"run_id": run_id, "key": SOURCE_RUN_TAG})


@contextmanager
def _gone() -> Iterator[None]:
    """Pass over what somebody deleted already, or what was done before a kill."""
    try:
        yield
    except RequestRefused as error:
        if error.status != 404 and error.code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise


def delete(writer: Writer, kind: str, identity: str, experiment: str) -> None:
    """Delete an object of the target; ``experiment`` is the target id of its experiment."""
    container, _, number = identity.rpartition("/")
    api, three = "/api/2.0/mlflow", "/api/3.0/mlflow"
    calls: dict[str, tuple[str, str, dict[str, object] | None]] = {
        "run": ("POST", f"{api}/runs/delete", {"run_id": identity}),
        "logged_model": ("DELETE", f"{api}/logged-models/{quote(identity, safe='')}", None),
        "trace": (
            "POST",
            f"{api}/traces/delete-traces",
            {"experiment_id": experiment, "request_ids": [identity]},
        ),
        "registered_model": ("DELETE", f"{api}/registered-models/delete", {"name": identity}),
        "model_version": ("DELETE", f"{api}/model-versions/delete", {"name": container, "version": number}),
        "prompt": ("DELETE", f"{api}/registered-models/delete", {"name": identity}),
        "evaluation_dataset": ("DELETE", f"{three}/datasets/{quote(identity, safe='')}", None),
        "webhook": ("DELETE", f"{api}/webhooks/{quote(identity, safe='')}", None),
        "scorer": (
            "DELETE",
            f"{three}/scorers/delete",
            {"experiment_id": experiment, "name": identity.rpartition("/")[0]},
        ),
    }
    method, path, body = calls[kind]
    with _gone():
        writer.call(method, path, body)
