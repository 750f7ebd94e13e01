"""Where a side of the audit lives: an ``http(s)://`` tracking server, a SageMaker ARN, or a snapshot; given paths."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from mlflow_parity.core.errors import LocationError, UsageProblem

Kind = Literal["http", "app", "tracking-server", "snapshot"]

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):sagemaker:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):"
    r"(?P<kind>mlflow-app|mlflow-tracking-server)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
)
_ARN_HINT = (
    "expected arn:aws:sagemaker:REGION:ACCOUNT:mlflow-app/app-… or "
    "arn:aws:sagemaker:REGION:ACCOUNT:mlflow-tracking-server/NAME (account of 12 digits)"
)
#: MLflow's own variable; with ``SOURCE_`` or ``TARGET_`` in front it is that of one side.
VARIABLE = "MLFLOW_WORKSPACE"
#: The variable of the sagemaker-mlflow plugin by which another endpoint than the ARN's own is asked.
ENDPOINT_VARIABLE = "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT"
#: The workspace of all that names none.
DEFAULT_WORKSPACE = "default"
#: Names of this very machine.
_LOOPBACK = ("127.0.0.1", "::1")
_DATABRICKS = ("databricks", "databricks-uc", "uc")
_STORAGE = ("s3", "s3a", "gs", "wasbs", "abfss", "az", "hdfs", "dbfs", "mlflow-artifacts")
_DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "mssql", "sqlite")
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}(/[A-Za-z0-9._/-]*)?")
_WORKSPACE = re.compile(r"[A-Za-z0-9._-]{1,255}")
#: Partitions that the sagemaker-mlflow plugin serves (facts: anything else is refused by it).
PARTITIONS = ("aws", "aws-us-gov")


@dataclass(frozen=True, slots=True)
class Location:
    """One validated location.

    ``uri`` is what was given; ``endpoint`` the base URL without credentials (empty for a snapshot);
    ``region``, ``service`` and ``routing_header`` are set for ARNs only (source: the ARN itself and the
    sagemaker-mlflow 0.5 plugin); ``userinfo`` is what stood before ``@`` in an ``http`` URI and never printed.
    """

    kind: Kind
    uri: str = field(repr=False)
    endpoint: str = ""
    region: str = ""
    service: str = ""
    routing_header: str = ""
    userinfo: tuple[str, str] | None = field(default=None, repr=False)
    workspace: str = ""
    """The workspace that was chosen; empty: the server's default one."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be printed of the URI: the password (as it stands there, and as it is meant) and the header."""
        if self.userinfo is None:
            return ()
        from mlflow_parity.core.redaction import basic

        name, password = self.userinfo
        # a token often stands in the place of the name
        word = password or name
        return tuple(dict.fromkeys((word, unquote(word), basic(unquote(name), unquote(password)))))

    @property
    def is_arn(self) -> bool:
        """Whether requests must be signed."""
        return self.kind in ("app", "tracking-server")

    def option(self, side: str) -> str:
        """Return the option that takes it as the source or the target."""
        return f"--{side}-{'arn' if self.is_arn else 'uri'}"

    @property
    def display(self) -> str:
        """The location as it may be printed: no credentials."""
        inside = f" (workspace {self.workspace})" if self.workspace and self.kind != "snapshot" else ""
        return self.address + inside

    @property
    def address(self) -> str:
        """What an option takes for the location: no credentials, and no workspace."""
        return self.endpoint if self.kind == "http" else self.uri

    @property
    def identity(self) -> str:
        """What two names of the same place have in common."""
        if self.kind == "snapshot":
            return str(self.path.resolve())
        return self.display

    def is_same_as(self, other: Location) -> bool:
        """Whether both name the same place for certain: one address, however it is written."""
        return self.identity == other.identity or (self._socket is not None and self._socket == other._socket)

    @property
    def _socket(self) -> tuple[str, str, int, str, str] | None:
        if self.kind != "http":
            return None
        parts = urlsplit(self.endpoint)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        loopback = "localhost" if host in _LOOPBACK else host
        return parts.scheme, loopback, port, parts.path, self.workspace or DEFAULT_WORKSPACE

    @property
    def is_loopback(self) -> bool:
        """Whether it is a server on this very machine."""
        return self._socket is not None and self._socket[1] == "localhost"

    @property
    def other_endpoint(self) -> str:
        """What is asked in the place of the ARN's own endpoint; empty: that itself, or this is no ARN."""
        if not self.is_arn:
            return ""
        same = _normal(self.endpoint) == _normal(own_endpoint(self.kind, self.region))
        return "" if same else self.endpoint

    @property
    def path(self) -> Path:
        """The snapshot directory (only for snapshots)."""
        return Path(self.uri)


def in_workspace(location: Location, side: str, environ: Mapping[str, str]) -> Location:
    """Return a location with the workspace that ``MLFLOW_WORKSPACE`` names, the side's own variable first.

    Raises:
        LocationError: it is no name that a header can carry.
    """
    name = next(
        (text for prefix in (f"{side.upper()}_", "") if (text := environ.get(f"{prefix}{VARIABLE}"))), ""
    ).strip()
    if not name:
        return location
    if not _WORKSPACE.fullmatch(name):
        raise LocationError(
            f"{side}: {VARIABLE}: {_shown(name)} is no workspace's name; give letters, digits and any of ._-"
        )
    return replace(location, workspace=name)


def parse_arn(text: str, *, option: str = "--target-arn", custom_endpoint: str | None = None) -> Location:
    """Validate a SageMaker MLflow ARN; ``custom_endpoint`` is ``SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT``.

    Raises:
        LocationError: when it is not an ARN of a SageMaker MLflow App or tracking server.
    """
    found = _ARN.fullmatch(text)
    if found is None or len(text) > 256:
        raise LocationError(f"{option}: not a SageMaker MLflow ARN: {_shown(text)}; {_ARN_HINT}")
    if found["partition"] not in PARTITIONS:
        raise LocationError(
            f"{option}: partition {found['partition']!r} has no SageMaker MLflow endpoint; "
            f"supported: {', '.join(PARTITIONS)}"
        )
    region = found["region"]
    if found["kind"] == "mlflow-app":
        endpoint = custom_endpoint or own_endpoint("app", region)
        return Location("app", text, endpoint.rstrip("/"), region, "sagemaker", "x-sm-mlflow-app-arn")
    endpoint = custom_endpoint or own_endpoint("tracking-server", region)
    return Location(
        "tracking-server",
        text,
        endpoint.rstrip("/"),
        region,
        "sagemaker-mlflow",
        "x-mlflow-sm-tracking-server-arn",
    )


def own_endpoint(kind: str, region: str) -> str:
    """Return where AWS answers for an App or a managed tracking server of a region."""
    if kind == "app":
        return f"https://mlflow.sagemaker.{region}.app.aws"
    return f"https://{region}.experiments.sagemaker.aws"


def _normal(endpoint: str) -> tuple[str, str, str, str]:
    """Return an address however it is written; one that cannot be read is no other's."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower(), 0)
        return parts.scheme.lower(), parts.netloc.rpartition("@")[0], f"{parts.hostname}:{port}", parts.path.rstrip("/")
    except ValueError:
        return "", "", endpoint, ""


def custom_endpoint(side: str, environ: Mapping[str, str]) -> str | None:
    """Return the endpoint that variables name for a side's ARN, the side's own variable first."""
    return environ.get(f"{side.upper()}_{ENDPOINT_VARIABLE}") or environ.get(ENDPOINT_VARIABLE)


def parse_location(text: str, *, option: str, custom_endpoint: str | None = None) -> Location:
    """Validate what was given to ``--source-uri`` or ``--target-uri``.

    Raises:
        LocationError: one line saying what is wrong with it and what would do.
    """
    if not text.strip():
        raise LocationError(f"{option}: empty; give an http(s):// tracking server, an ARN or a snapshot directory")
    if text.startswith("arn:"):
        return parse_arn(text, option=option, custom_endpoint=custom_endpoint)
    if re.match(r"https?://", text, re.IGNORECASE):
        return _parse_http(text, option)
    if "://" in text or text in _DATABRICKS:
        raise LocationError(f"{option}: {_of_scheme(text.partition('://')[0].lower())}")
    try:
        path = given_path(text, option, "give an http(s):// tracking server, an ARN or a snapshot directory")
    except UsageProblem as error:
        raise LocationError(str(error)) from None
    if not path.exists() and _HOST_AND_PORT.fullmatch(text):
        raise LocationError(f"{option}: {_shown(text)} has no scheme; give http://{text} (or https://)")
    if path.name == "mlruns" or (path.is_dir() and any(path.glob("*/meta.yaml"))):
        raise LocationError(
            f"{option}: {_shown(text)} is a file store, of which no API tells; serve it and give the address: "
            f"`mlflow server --backend-store-uri {_shown(text)}`, then http://127.0.0.1:5000"
        )
    if path.is_file():
        raise LocationError(
            f"{option}: {_shown(text)} is a file; give an http(s):// tracking server, an ARN, or the directory of a "
            "snapshot (a database: `mlflow server --backend-store-uri sqlite:///FILE`, then its http:// address)"
        )
    if not path.is_dir():
        raise LocationError(
            f"{option}: no such snapshot directory: {_shown(text)}; give an http(s):// tracking server, an ARN, "
            "or the directory of a snapshot"
        )
    return Location("snapshot", str(path))


def _of_scheme(scheme: str) -> str:
    """Say why a location of this scheme cannot be read, and what would do; nothing else of it is shown."""
    if scheme in _DATABRICKS:
        return (
            f"{scheme!r} is a Databricks workspace, which is no MLflow server with an open API; export it to an MLflow "
            "server with mlflow-export-import, and give the address of that"
        )
    if scheme in _STORAGE:
        return f"{scheme!r} is where artifacts are, without runs; give the http(s):// address or ARN of the server"
    database = scheme.partition("+")[0] in _DATABASES
    option = " (beside it --source-db or --target-db reads an SQLite, PostgreSQL or MySQL database)" if database else ""
    return (
        f"cannot read {scheme!r} locations; start `mlflow server --backend-store-uri …` on that store and give its "
        f"http:// address{option}, or give an ARN or a snapshot directory"
    )


def _parse_http(text: str, option: str) -> Location:
    if any(letter.isspace() or not letter.isprintable() for letter in text):
        raise LocationError(f"{option}: white space or control characters in a URL; expected http(s)://host[:port]")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        # the reason may quote what was taken for a port or host, and is a password
        reason = "malformed; is a character of the password to be %-encoded?" if "@" in text else str(error)
        raise LocationError(f"{option}: not a usable URL ({reason}); expected http(s)://host[:port]") from None
    if not host:
        raise LocationError(f"{option}: the URL has no host; expected http(s)://host[:port]")
    shown_host = f"[{host}]" if ":" in host else host
    netloc = shown_host if port is None else f"{shown_host}:{port}"
    endpoint = urlunsplit((parts.scheme.lower(), netloc, parts.path.rstrip("/"), "", ""))
    if parts.query or parts.fragment:
        # a browser's address of a page in MLflow's UI
        raise LocationError(f"{option}: a tracking URI has no query or fragment; give {endpoint}")
    userinfo = (parts.username or "", parts.password or "") if "@" in parts.netloc else None
    return Location("http", text, endpoint, userinfo=userinfo)


def given_path(text: str | os.PathLike[str], option: str, fix: str, *, home: bool = True) -> Path:
    """Return the path that was given to an option; ``home``: a ``~`` stands for one. There need be nothing yet.

    Raises:
        UsageProblem: there is no such home, the name is too long, a folder may not be entered, or links lead in a ring.
    """
    try:
        path = Path(text).expanduser() if home else Path(text)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageProblem(f"{option}: {_shown(os.fspath(text))} cannot be used ({why}); {fix}") from None
    return path


def _shown(text: str) -> str:
    """Shorten for a message; never a line break or anything before an ``@``."""
    tail = text.rsplit("@", 1)[-1]
    return repr(tail if len(tail) <= 120 else tail[:117] + "…")
