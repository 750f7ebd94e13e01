"""What a server can do, found by asking it once: version and the endpoints that are present."""

from __future__ import annotations

import re

from mlflow_parity.errors import RequestRefused
from mlflow_parity.model import Capabilities
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.session import Session

#: Statuses that say "there is no such endpoint here" (a gateway in front may say 403 for what it does not serve).
_ABSENT = (403, 404, 405, 501)
_VERSION = re.compile(r"\d+\.\d+\.\d+[A-Za-z0-9.]*")


def probe(session: Session) -> Capabilities:
    """Ask a server what it can do.

    Raises:
        ReadError: when it does not answer or refuses the credentials.
    """
    try:
        found = _VERSION.fullmatch(session.text(endpoints.VERSION).strip())
        version = found[0] if found else None
    except RequestRefused as refused:
        if refused.status == 401:
            raise
        version = None
    return Capabilities(
        version=version,
        # without a run id a server that has the endpoint answers 400; run ids that do not exist are left out
        history_bulk=_present(session, endpoints.HISTORY_BULK, {}),
        artifact_proxy=not session.location.is_arn and _present(session, endpoints.PROXY_LIST, {"path": "0"}),
        get_artifact=not session.location.is_arn and _has_get_artifact(session),
    )


def _present(session: Session, endpoint: endpoints.Endpoint, query: dict[str, str]) -> bool:
    status = session.status(endpoint, query)
    return status not in _ABSENT


def _has_get_artifact(session: Session) -> bool:
    """``/get-artifact`` answers a run that does not exist with MLflow's own error, an absent route without one."""
    try:
        session.get(endpoints.GET_ARTIFACT, {"run_uuid": "0" * 32, "path": "x"})
    except RequestRefused as refused:
        return refused.code != "" or refused.status not in _ABSENT
    return True


def release(version: str | None) -> tuple[int, int]:
    """Return (major, minor) of a version; (0, 0) when it is not known."""
    parts = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(parts[1]), int(parts[2])) if parts else (0, 0)
