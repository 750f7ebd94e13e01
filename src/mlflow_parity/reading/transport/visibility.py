"""Whether a server shows everything to the user who reads it, and what its login holds that no tool can move.

MLflow's own login (``mlflow server --app-name basic-auth``) leaves out of every list, without a word and with status
200, what a user may not read; administrators see everything. A login that a proxy asks for, before an MLflow that has
none, hides nothing. SageMaker has IAM instead, which refuses calls and filters no list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.core.errors import ReadError, RequestRefused
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.auth import Credentials
from mlflow_parity.reading.transport.capabilities import ABSENT_CODES
from mlflow_parity.reading.transport.endpoints import Endpoint
from mlflow_parity.reading.transport.session import Query, Session

#: What MLflow's own login says to a request without credentials, in every release from 2.16.
_OWN_LOGIN = "You are not authenticated"
#: The role by which newer servers keep what is granted to one user directly.
_OF_ONE_USER = re.compile(r"__user_\d+__")


@dataclass(frozen=True, slots=True)
class Visibility:
    """What these credentials let one see.

    ``hidden``: why lists may lack what is there; empty: they are whole. ``login``: whether MLflow itself asks for one;
    ``accounts`` counts what it holds (``None``: this user, or this release, cannot list it).
    """

    hidden: str = ""
    login: bool = False
    accounts: Mapping[str, int | None] = field(default_factory=dict)


#: Ends of the sentence "the source hides what this user may not read: …".
NOT_ADMIN = "hides what this user may not read: use an administrator"
UNKNOWN = "may hide what this user may not read"


def look(session: Session, credentials: Credentials) -> Visibility:
    """Find out whether these credentials are an administrator's, and count what the login holds."""
    if session.location.is_arn or not credentials.given:
        # without credentials a server with a login answers nothing at all
        return Visibility()
    asked: list[tuple[Endpoint, Query]] = [(endpoints.CURRENT_USER, None)]
    if credentials.username:
        asked.append((endpoints.USER, {"username": credentials.username}))
    try:
        for endpoint, query in asked:
            status, found = _ask(session, endpoint, query)
            if _is_absent(status, found):
                continue
            admin = (_part(found, "user") or {}).get("is_admin")
            if status == 200 and isinstance(admin, bool):
                hidden = "" if admin else NOT_ADMIN
            else:
                hidden = f"{UNKNOWN}: GET {endpoint.path} (is it an administrator?) answered status {status}"
            return Visibility(hidden, True, _accounts(session))
        if _has_login(session):
            return Visibility(f"{UNKNOWN}: it does not say whether it is an administrator", True)
    except ReadError as error:
        return Visibility(f"{UNKNOWN}: it could not be asked whether it is an administrator: {error}", True)
    return Visibility()


def _has_login(session: Session) -> bool:
    """Whether MLflow itself, and not a proxy before it, refuses who gives no credentials."""
    try:
        session.ask(endpoints.CURRENT_USER, anonymous=True)
    except RequestRefused as error:
        return _OWN_LOGIN in str(error)
    return False


def _accounts(session: Session) -> dict[str, int | None]:
    """Count users, roles and permissions, as far as this user may list them on this release."""
    users = _listed(session, endpoints.USERS, None, "users")
    status, found = _try(session, endpoints.ROLES, None)
    if not _is_absent(status, found):
        roles = None if status != 200 else _entries(found, "roles")
        named = None if roles is None else sum(not _OF_ONE_USER.fullmatch(str(one.get("name"))) for one in roles)
        granted = None if roles is None else sum(len(one.get("permissions") or ()) for one in roles)
        return {"users": None if users is None else len(users), "roles": named, "permissions": granted}
    # releases without roles tell permissions of each kind of object with the user
    return {"users": None if users is None else len(users), "permissions": _permissions(session, users)}


def _permissions(session: Session, users: list[dict[str, Any]] | None) -> int | None:
    count = 0
    for one in users or ():
        status, found = _try(session, endpoints.USER, {"username": str(one.get("username", ""))})
        user = _part(found, "user")
        if status != 200 or user is None:
            return None
        count += sum(len(value or ()) for name, value in user.items() if name.endswith("_permissions"))
    return None if users is None else count


def _listed(session: Session, endpoint: Endpoint, query: Query, name: str) -> list[dict[str, Any]] | None:
    status, found = _try(session, endpoint, query)
    return _entries(found, name) if status == 200 else None


def _entries(found: object, name: str) -> list[dict[str, Any]] | None:
    entries = found.get(name) if isinstance(found, dict) else None
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else None


def _part(found: object, name: str) -> dict[str, Any] | None:
    part = found.get(name) if isinstance(found, dict) else None
    return part if isinstance(part, dict) else None


def _try(session: Session, endpoint: Endpoint, query: Query) -> tuple[int, object]:
    """Ask for what is only counted: without an answer the count is unknown, and nothing else."""
    try:
        return _ask(session, endpoint, query)
    except ReadError:
        return 0, None


def _ask(session: Session, endpoint: Endpoint, query: Query) -> tuple[int, object]:
    status, text = session.ask(endpoint, query)
    found: object = None
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
    return status, found


def _is_absent(status: int, found: object) -> bool:
    """Whether an endpoint is not there; a web server's page for every address is none either."""
    if status == 200:
        return not isinstance(found, dict)
    code = str(found.get("error_code", "")) if isinstance(found, dict) else ""
    return status in (404, 405) and code in ABSENT_CODES
