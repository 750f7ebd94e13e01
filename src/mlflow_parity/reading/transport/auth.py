"""Credentials of one location: MLflow's own variables for ``http(s)``, SigV4 by sagemaker-mlflow for ARNs.

Every variable is looked up with the side's prefix (``SOURCE_``, ``TARGET_``) first. Nothing here depends on the
process-wide ``mlflow.get_tracking_uri()``: one process can read two ARNs at the same time.
"""

from __future__ import annotations

import configparser
import os
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

import requests
from requests.auth import AuthBase

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.redaction import basic, learn
from mlflow_parity.reading.transport.timed import time_boto

if TYPE_CHECKING:
    import boto3

SideName = Literal["source", "target"]
_TRUE = ("1", "true", "yes")
#: Where MLflow's client keeps a login (``mlflow login``, and its manual).
LOGIN_FILE = "~/.mlflow/credentials"
#: Assumed-role credentials are cached by the signer for good; it is made again before the shortest role session ends.
_SIGNER_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS settings as requests takes them: ``verify`` and ``cert``."""

    verify: bool | str = True
    cert: str | None = None


class HeaderAuth(AuthBase):
    """Adds one ready Authorization header (or none, which keeps requests from reading ``.netrc``)."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    @property
    def given(self) -> bool:
        """Whether there is a header to add."""
        return self._value is not None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header."""
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


class ArnAuth(AuthBase):
    """Signs for one ARN: its region, its service, its routing header."""

    def __init__(self, location: Location, session: boto3.Session, role: str | None) -> None:
        self._location = location
        self._session = session
        self._role = role
        self._lock = threading.Lock()
        self._signer: Any = None
        self._made = 0.0

    def _current(self) -> Any:
        from sagemaker_mlflow.auth import AuthBoto

        with self._lock:
            # without a role the session's own credentials refresh themselves
            if self._signer is None or (self._role and time.monotonic() - self._made > _SIGNER_SECONDS):
                self._signer = AuthBoto(self._location.region, self._location.service, self._role, self._session)
                self._made = time.monotonic()
            _learn_of(self._signer.creds)
            return self._signer

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign."""
        request.headers[self._location.routing_header] = self._location.uri
        request.headers.setdefault("Connection", "keep-alive")
        signed = self._current()(request)
        # the signer returns botocore's request; requests goes on with its own
        request.headers.update({str(key): _text(value) for key, value in signed.headers.items()})
        request.url = signed.url
        return request


def _learn_of(credentials: Any) -> None:
    """Tell the redactors what is signed with: a server may print it back, and no variable holds it."""
    if credentials is not None:
        now = credentials.get_frozen_credentials()
        learn(now.secret_key, now.token)


#: As S3 writes the time of each file in a list.
_MOMENT = re.compile(r"[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2}(?:\.[0-9]{3}|\.[0-9]{6})?Z")


def _moment(value: Any) -> datetime:
    """Return a time that AWS tells; half of boto3's own work at a list of files is to guess the form of their times."""
    from botocore.utils import parse_timestamp

    if isinstance(value, str) and _MOMENT.fullmatch(value):
        with suppress(ValueError):
            return datetime.fromisoformat(value[:-1]).replace(tzinfo=timezone.utc)
    found: datetime = parse_timestamp(value)
    return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a session needs to authenticate; never printed."""

    auth: AuthBase = field(repr=False)
    tls: Tls
    aws: Aws = field(repr=False)
    username: str = ""
    """Who logs in with a password; empty: nobody, or a token does."""

    @property
    def given(self) -> bool:
        """Whether requests carry credentials at all."""
        return not isinstance(self.auth, HeaderAuth) or self.auth.given


class Aws:
    """One boto3 session per location, made when first needed."""

    def __init__(self, side: SideName, environ: Mapping[str, str], region: str | None, *, arn: bool = False) -> None:
        self._arn = arn
        self.side = side
        self._environ = environ
        self._region = region
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._s3: Any = None

    @property
    def session(self) -> boto3.Session:
        """The session: with the side's own variables where they are set, else boto3's chain."""
        import boto3
        import botocore.session

        with self._lock:
            if self._session is None:
                prefix = f"{self.side.upper()}_"
                own = {
                    argument: self._environ.get(prefix + name)
                    for argument, name in (
                        ("profile_name", "AWS_PROFILE"),
                        ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
                        ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
                        ("aws_session_token", "AWS_SESSION_TOKEN"),
                    )
                }
                region = self._region or variable(self.side, "AWS_DEFAULT_REGION", self._environ)
                base = botocore.session.get_session()
                base.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
                given: Any = {name: value for name, value in own.items() if value}
                try:
                    self._session = boto3.Session(region_name=region, botocore_session=base, **given)
                except Exception as error:
                    raise UsageProblem(self._unusable(error)) from None
            return self._session

    @property
    def found(self) -> bool:
        """Whether there are credentials at all.

        Raises:
            UsageProblem: there are, but they cannot be used (a profile that is not there, a login that ran out).
        """
        try:
            return self.session.get_credentials() is not None
        except UsageProblem:
            raise
        except Exception as error:
            raise UsageProblem(self._unusable(error)) from None

    @cached_property
    def usable(self) -> bool:
        """Whether there are credentials that work as far as can be told without asking AWS."""
        try:
            return self.found
        except UsageProblem:
            return False

    def _unusable(self, error: Exception) -> str:
        return f"--{self.side}-arn: AWS credentials cannot be used: {' '.join(str(error).split())}"

    @property
    def s3(self) -> Any:
        """An S3 client; clients are safe to share between threads."""
        session = self.session
        with self._lock:
            if self._s3 is None:
                from botocore.config import Config

                endpoint = s3_endpoint(self.side, self._environ, arn=self._arn)
                # MLflow's own variables for stores that are S3 in all but address and certificate
                style = variable(self.side, "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", self._environ)
                addressing: Any = {"addressing_style": style}
                no_tls = s3_ignores_tls(self.side, self._environ, arn=self._arn)
                # boto3's own variables for them, as everywhere else
                attempts = variable(self.side, "AWS_MAX_ATTEMPTS", self._environ) or ""
                given = variable(self.side, "AWS_RETRY_MODE", self._environ) or ""
                mode: Any = given if given in ("legacy", "standard") else "adaptive"
                config = Config(
                    retries={"total_max_attempts": int(attempts) if attempts.isdecimal() else 9, "mode": mode},
                    connect_timeout=10,
                    read_timeout=60,
                    max_pool_connections=64,
                    s3=addressing if style else None,
                )
                verify = False if no_tls else None
                self._s3 = session.client("s3", endpoint_url=endpoint, config=config, verify=verify)
                time_boto(self._s3)
                self._s3.meta.events.register("before-sign.s3", lambda **_: _learn_of(session.get_credentials()))
            return self._s3


def variable(side: SideName, name: str, environ: Mapping[str, str]) -> str | None:
    """Return an environment variable, the side's own one first."""
    return environ.get(f"{side.upper()}_{name}") or environ.get(name) or None


#: MLflow's variables for an S3 of one's own, which an ARN does not have.
OWN_S3 = ("MLFLOW_S3_ENDPOINT_URL", "MLFLOW_S3_IGNORE_TLS")


def s3_variable(side: SideName, name: str, environ: Mapping[str, str], *, arn: bool) -> str | None:
    """Return one of MLflow's variables for an S3 of one's own; an ARN has AWS's, so for it only the side's own counts.

    Without a prefix it is meant for a self-managed server.
    """
    return environ.get(f"{side.upper()}_{name}") or None if arn else variable(side, name, environ)


def s3_endpoint(side: SideName, environ: Mapping[str, str], *, arn: bool) -> str | None:
    """Return the S3 that variables name for a side; ``None``: AWS's own."""
    own = s3_variable(side, "MLFLOW_S3_ENDPOINT_URL", environ, arn=arn)
    return own or variable(side, "AWS_ENDPOINT_URL_S3", environ) or variable(side, "AWS_ENDPOINT_URL", environ)


def s3_ignores_tls(side: SideName, environ: Mapping[str, str], *, arn: bool) -> bool:
    """Whether the certificate of a side's S3 is not looked at."""
    return (s3_variable(side, "MLFLOW_S3_IGNORE_TLS", environ, arn=arn) or "").lower() in _TRUE


def ignores_tls(side: SideName, environ: Mapping[str, str]) -> bool:
    """Whether the certificate of a side's ``https`` server is not looked at; an ARN's always is."""
    return (variable(side, "MLFLOW_TRACKING_INSECURE_TLS", environ) or "").lower() in _TRUE


def credentials(location: Location, side: SideName, environ: Mapping[str, str] | None = None) -> Credentials:
    """Find the credentials of a location.

    Raises:
        UsageProblem: when they contradict each other or an ARN has none.
    """
    env = os.environ if environ is None else environ
    aws = Aws(side, env, location.region or None, arn=location.is_arn)
    if location.is_arn:
        if not aws.found:
            raise UsageProblem(
                f"--{side}-arn: no AWS credentials found; set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY (with the prefix {side.upper()}_ when the two sides differ)"
            )
        role = variable(side, "SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN", env)
        return Credentials(ArnAuth(location, aws.session, role), Tls(), aws)
    username, header = _authorization(location, side, env)
    return Credentials(HeaderAuth(header), _tls(side, env), aws, username)


def _authorization(location: Location, side: SideName, env: Mapping[str, str]) -> tuple[str, str | None]:
    """Return who logs in (empty: nobody, or not known) and the header."""
    if location.userinfo is not None:
        name, password = (unquote(part) for part in location.userinfo)
        return name, f"Basic {basic(name, password)}"
    own = {word: env.get(f"{side.upper()}_MLFLOW_TRACKING_{word}") for word in ("USERNAME", "PASSWORD", "TOKEN")}
    by_token = own["TOKEN"] and not (own["USERNAME"] or own["PASSWORD"])
    given = all(own[word] or env.get(f"MLFLOW_TRACKING_{word}") for word in ("USERNAME", "PASSWORD"))
    kept = {} if by_token or given else login_file()
    both = {word: env.get(f"MLFLOW_TRACKING_{word}") or kept.get(word) for word in own}
    # what is the side's own beats all that is meant for both, whatever its kind; a name may still lack the
    # password that both share
    if own["USERNAME"] or own["PASSWORD"]:
        found = {**both, **{word: value for word, value in own.items() if value}, "TOKEN": None}
    else:
        found = own if own["TOKEN"] else both
    user, secret, token = found["USERNAME"], found["PASSWORD"], (found["TOKEN"] or "").strip()
    if user and secret:
        return user, f"Basic {basic(user, secret)}"
    if token:
        if not token.isascii() or not token.isprintable():
            raise UsageProblem(f"{side}: MLFLOW_TRACKING_TOKEN holds characters that no header can carry")
        return "", f"Bearer {token}"
    if user or secret:
        lacking = "PASSWORD" if user else "USERNAME"
        raise UsageProblem(f"{side}: MLFLOW_TRACKING_{lacking} is not set, but its counterpart is; set both")
    return "", None


def login_file() -> dict[str, str]:
    """Return what MLflow's own file of credentials says, for both sides: ``USERNAME``, ``PASSWORD`` or neither.

    Each holds where the variable of that name is not set, as MLflow's client has it.

    Raises:
        UsageProblem: it cannot be read as MLflow's client reads it; nothing of what it holds is said.
    """
    path = os.path.expanduser(LOGIN_FILE)
    if not os.path.exists(path):
        return {}
    parser = configparser.ConfigParser()
    try:
        parser.read(path)
        if "mlflow" not in parser:
            return {}
        section = parser["mlflow"]
        words = {word: section.get(f"mlflow_tracking_{word.lower()}") for word in ("USERNAME", "PASSWORD")}
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        raise UsageProblem(
            f"{LOGIN_FILE} cannot be read ({type(error).__name__}); it has a section [mlflow] with "
            "mlflow_tracking_username and mlflow_tracking_password, a % in them written as %%"
        ) from None
    # as short as one in a variable may be
    learn(words["PASSWORD"], least=4)
    if words["USERNAME"] and words["PASSWORD"]:
        learn(basic(words["USERNAME"], words["PASSWORD"]))
    return {word: text for word, text in words.items() if text}


def _tls(side: SideName, env: Mapping[str, str]) -> Tls:
    insecure = ignores_tls(side, env)
    server = variable(side, "MLFLOW_TRACKING_SERVER_CERT_PATH", env)
    client = variable(side, "MLFLOW_TRACKING_CLIENT_CERT_PATH", env)
    if insecure and server:
        raise UsageProblem(
            f"{side}: MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH exclude each other; unset one"
        )
    for name, path in (("SERVER", server), ("CLIENT", client)):
        if path and not os.path.exists(path):
            raise UsageProblem(f"{side}: MLFLOW_TRACKING_{name}_CERT_PATH: no such file: {path}")
    return Tls(False if insecure else server or True, client)
