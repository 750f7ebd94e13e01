"""What answers in the place of a side: another endpoint than the ARN's own, a connection that proves no identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from mlflow_parity.core.locations import ENDPOINT_VARIABLE, Location
from mlflow_parity.reading.transport.auth import (
    LOGIN_FILE,
    SideName,
    ignores_tls,
    login_file,
    s3_endpoint,
    s3_ignores_tls,
)


@dataclass(frozen=True, slots=True)
class Answering:
    """What variables changed of whom a side's name leads to; nothing of it holds credentials.

    ``endpoint`` answers in the place of the ARN's own, ``s3_endpoint`` in that of AWS's S3 (both empty: nothing does).
    ``unproved`` are the connections on which nobody proves who he is: ``server``, ``S3``.
    """

    endpoint: str = ""
    s3_endpoint: str = ""
    unproved: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """``NAME=value`` of each, for the command that repeats the audit."""


def answering(location: Location, side: SideName, environ: Mapping[str, str]) -> Answering:
    """Return what answers for a side by the variables of the environment; of a snapshot none is asked."""
    if location.kind == "snapshot":
        return Answering()
    prefix = f"{side.upper()}_"
    endpoint = _bare(location.other_endpoint)
    s3 = _bare(s3_endpoint(side, environ, arn=location.is_arn) or "")
    unproved, variables = [], []
    if endpoint:
        variables.append(f"{prefix}{ENDPOINT_VARIABLE}={endpoint}")
    if location.is_arn:
        # signing proves who asks, and not who answers
        if urlsplit(location.endpoint).scheme.lower() != "https":
            unproved.append("server")
    elif urlsplit(location.endpoint).scheme == "https" and ignores_tls(side, environ):
        unproved.append("server")
        variables.append(f"{prefix}MLFLOW_TRACKING_INSECURE_TLS=true")
    if s3:
        variables.append(f"{prefix}MLFLOW_S3_ENDPOINT_URL={s3}")
    if s3_ignores_tls(side, environ, arn=location.is_arn):
        unproved.append("S3")
        variables.append(f"{prefix}MLFLOW_S3_IGNORE_TLS=true")
    return Answering(endpoint, s3, tuple(unproved), tuple(variables))


def each_of(here: str, workers: Sequence[str], none: str) -> str:
    """Return who answered this process and the workers; both where it was not the same (``none``: who else would)."""
    every = dict.fromkeys((here, *workers))
    return " and ".join(one or none for one in every) if len(every) > 1 else here


def shared_credentials(source: Location, target: Location, environ: Mapping[str, str]) -> list[str]:
    """Name the variables without a side's prefix whose credentials go to a host of the source and to another's."""
    found = []
    ends: tuple[tuple[SideName, Location], ...] = (("source", source), ("target", target))
    for used, hosts in ((_logins, _login_hosts), (_keys, _key_hosts)):
        ours, theirs = (hosts(side, location, environ) for side, location in ends)
        names = used("source", source, environ) & used("target", target, environ)
        if names and ours and theirs and ours != theirs:
            found.append(
                f"{', '.join(sorted(names))} without SOURCE_ or TARGET_ in front: sent to both sides, "
                f"{_and(ours)} (source) and {_and(theirs)} (target); set it with a prefix where they are not to share"
            )
    return found


def _and(hosts: frozenset[str]) -> str:
    return ", ".join(sorted(hosts))


def _logins(side: SideName, location: Location, environ: Mapping[str, str]) -> frozenset[str]:
    """Names of MLflow's variables for both sides that log in here, as :func:`reading.auth.credentials` takes them."""
    words = ("USERNAME", "PASSWORD", "TOKEN")
    own = {word for word in words if environ.get(f"{side.upper()}_MLFLOW_TRACKING_{word}")}
    if location.kind != "http" or location.userinfo is not None or own == {"TOKEN"}:
        return frozenset()
    left = {"USERNAME", "PASSWORD"} - own if own else set(words)
    found = {name for word in left if environ.get(name := f"MLFLOW_TRACKING_{word}")}
    open_ends = {word for word in left - {"TOKEN"} if f"MLFLOW_TRACKING_{word}" not in found}
    if open_ends and not open_ends.isdisjoint(login_file()):
        found.add(LOGIN_FILE)
    return frozenset(found)


def _login_hosts(side: SideName, location: Location, environ: Mapping[str, str]) -> frozenset[str]:
    return frozenset({_host(location.endpoint)}) if location.kind == "http" else frozenset()


def _keys(side: SideName, location: Location, environ: Mapping[str, str]) -> frozenset[str]:
    names = ("AWS_PROFILE", "AWS_ACCESS_KEY_ID")
    if any(environ.get(f"{side.upper()}_{name}") for name in names):
        return frozenset()
    return frozenset(name for name in names if environ.get(name))


def _key_hosts(side: SideName, location: Location, environ: Mapping[str, str]) -> frozenset[str]:
    """Hosts that AWS credentials go to; of a server of one's own only the S3 that variables name is known."""
    s3 = s3_endpoint(side, environ, arn=location.is_arn)
    if location.is_arn:
        own = _host(location.endpoint) if location.other_endpoint else "AWS"
        return frozenset({own, _host(s3) if s3 else "AWS"})
    return frozenset({_host(s3)}) if s3 and location.kind == "http" else frozenset()


def _host(endpoint: str) -> str:
    return urlsplit(endpoint).netloc.rpartition("@")[2].lower()


def _bare(endpoint: str) -> str:
    """Return a URL without credentials."""
    if "@" not in endpoint:
        return endpoint
    parts = urlsplit(endpoint)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
