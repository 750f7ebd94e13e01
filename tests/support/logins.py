"""Servers with MLflow's own login (``--app-name basic-auth``), an administrator and a user who may see little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from mlflow_parity.standin.servers import Server
from support.seed import Seeder
from support.servers import server_of

ADMIN = ("admin", "adm1n-secret-pw")
#: Without any right but those that a test gives.
ADA = ("ada", "password-of-ada-12")
_INI = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/auth.db
admin_username = {admin[0]}
admin_password = {admin[1]}
# else each request hashes the password again, which is most of its time
auth_cache_ttl_seconds = 600
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server that asks for a login."""

    server: Server

    @property
    def uri(self) -> str:
        """Its address."""
        return self.server.uri

    def seeder(self, who: tuple[str, str] = ADMIN) -> Seeder:
        """Return what writes as a user."""
        http = requests.Session()
        http.auth = who
        return Seeder(self.uri, http)

    def allow(self, kind: str, identity: str, right: str = "MANAGE") -> None:
        """Give Ada a right on an ``experiment`` (by id) or a ``registered_model`` (by name)."""
        if self.server.version.startswith("3.1") and not self.server.version.startswith("3.10"):
            body = {"username": ADA[0], "resource_type": kind, "resource_id": identity, "permission": right}
            self.seeder().call("POST", "users/permissions/grant", body, version="3.0")
        else:
            place = {"experiment": "experiments", "registered_model": "registered-models"}[kind]
            name = {"experiment": "experiment_id", "registered_model": "name"}[kind]
            body = {name: identity, "username": ADA[0], "permission": right}
            self.seeder().call("POST", f"{place}/permissions/create", body)


def login(who: tuple[str, str], side: str = "") -> dict[str, str]:
    """Return the variables with which a user logs in; ``side`` is ``SOURCE``, ``TARGET`` or, for both, empty."""
    prefix = f"{side}_" if side else ""
    return {f"{prefix}MLFLOW_TRACKING_USERNAME": who[0], f"{prefix}MLFLOW_TRACKING_PASSWORD": who[1]}


@contextmanager
def guarded(folder: Path, version: str = "newest", env: Mapping[str, str] | None = None) -> Iterator[Guarded]:
    """Run a server with a login; Ada is there, with no rights."""
    folder.mkdir(parents=True, exist_ok=True)
    ini = folder / "auth.ini"
    ini.write_text(_INI.format(folder=folder, admin=ADMIN))
    own = {"MLFLOW_AUTH_CONFIG_PATH": str(ini), "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 20, **(env or {})}
    with server_of(version, folder / "server", arguments=["--app-name", "basic-auth"], env=own) as server:
        one = Guarded(server)
        one.seeder().call("POST", "users/create", {"username": ADA[0], "password": ADA[1]})
        yield one
