"""What a server can do, found by asking it once: version and the endpoints that are present."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from mlflow_parity.core.records import Capabilities
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.session import Query, Session

_VERSION = re.compile(r"\d+\.\d+\.\d+[A-Za-z0-9.]*")
#: The release that can send files by signed addresses alone.
_SIGNING = (3, 18)
#: MLflow's own codes for "not here"; every other code of its own comes from the endpoint itself.
ABSENT_CODES = ("", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")


def server_info(session: Session) -> Mapping[str, Any]:
    """Return what a server says of itself; nothing, where it is too old for that.

    Raises:
        ReadError: it does not answer or refuses the credentials.
    """
    status, text = session.ask(endpoints.SERVER_INFO)
    return (_object(text) if status == 200 else None) or {}


def probe(session: Session, info: Callable[[], Mapping[str, Any]]) -> Capabilities:
    """Ask a server what it can do; ``info`` returns its :func:`server_info`, and is called where that tells anything.

    Raises:
        ReadError: when it does not answer or refuses the credentials.
    """
    status, text = session.ask(endpoints.VERSION)
    found = _VERSION.fullmatch(text.strip()) if status == 200 else None
    proxied = not session.location.is_arn
    version = found[0] if found else None
    return Capabilities(
        version=version,
        # without a run id the endpoint answers 400 with MLflow's own error, where it is
        history_bulk=_present(session, endpoints.HISTORY_BULK, None),
        artifact_proxy=proxied and _present(session, endpoints.PROXY_LIST, {"path": "0"}),
        # a run that does not exist is MLflow's own 404
        get_artifact=proxied and _present(session, endpoints.GET_ARTIFACT, {"run_uuid": "0" * 32, "path": "x"}),
        presigned_only=proxied and release(version) >= _SIGNING and info().get("artifacts_presigned_only") is True,
    )


def _object(text: str) -> dict[str, Any] | None:
    found: object = None
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
    return found if isinstance(found, dict) else None


def _present(session: Session, endpoint: endpoints.Endpoint, query: Query) -> bool:
    """Whether an endpoint is there: it answers, if only with an error of MLflow's own.

    A gateway that does not serve it, a web server that has a page for every address, and MLflow with the endpoint
    switched off all say something else.

    Raises:
        ReadError: the server failed, or wants other credentials.
    """
    status, text = session.ask(endpoint, query)
    found = _object(text)
    if status == 200:
        return found is not None
    code = "" if found is None else str(found.get("error_code", ""))
    return status in (400, 404) and code not in ABSENT_CODES


def release(version: str | None) -> tuple[int, int]:
    """Return (major, minor) of a version; (0, 0) when it is not known."""
    parts = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(parts[1]), int(parts[2])) if parts else (0, 0)
