"""Verifies AWS Signature Version 4 the way a service does: from the raw request and the secret, nothing trusted."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
#: How far ``X-Amz-Date`` may be from the service's clock, in seconds.
SKEW = 300


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key with its secret and, for temporary ones, the session token; secrets are not in its repr."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as it came over the wire; ``headers`` has lower-case names and every value of each."""

    method: str
    path: str
    query: str
    headers: Mapping[str, Sequence[str]]
    body_sha256: str

    def header(self, name: str) -> str:
        """Return the value of a header, empty when it is absent."""
        return ",".join(self.headers.get(name, ()))


class Refused(Exception):
    """A request that is not let through; ``code`` is AWS's name for the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks requests against one identity and one credential scope.

    ``required`` are the headers that must be there and signed, by lower-case name. The session token and
    every other ``x-amz-*`` header of the request must be signed as well.
    """

    credentials: Credentials
    region: str
    service: str
    required: tuple[str, ...] = ("host", "x-amz-date")

    def verify(self, request: RawRequest, *, now: datetime | None = None) -> None:
        """Return when the request is genuine.

        Raises:
            Refused: it is not; the message says why.
        """
        scope, signed, signature = _parse(request.header("authorization"))
        key, _, rest = scope.partition("/")
        day, region, service, terminator = _scope(rest)
        if key != self.credentials.access_key:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        if (region, service, terminator) != (self.region, self.service, "aws4_request"):
            raise Refused(
                "InvalidSignatureException",
                f"Credential should be scoped to region {self.region!r} and service {self.service!r}, "
                f"not to {region!r} and {service!r}.",
            )
        self._check_headers(request, signed)
        stamp = request.header("x-amz-date")
        _check_date(stamp, day, now or datetime.now(timezone.utc))
        if request.header("x-amz-content-sha256") not in ("", request.body_sha256):
            raise Refused("InvalidSignatureException", "The body does not match X-Amz-Content-SHA256.")
        canonical = canonical_request(request, signed)
        expected = self._signature(stamp, day, canonical)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise Refused(
                "InvalidSignatureException", "The request signature does not match the signature you provided."
            )

    def _check_headers(self, request: RawRequest, signed: Sequence[str]) -> None:
        for name in self.required:
            if not request.header(name):
                raise Refused("IncompleteSignatureException", f"Header {name} is missing.")
        needed = {*self.required, *(name for name in request.headers if name.startswith("x-amz-"))}
        if unsigned := sorted(needed - set(signed)):
            raise Refused("InvalidSignatureException", f"Headers that must be signed are not: {', '.join(unsigned)}.")
        if repeated := sorted(name for name in needed if len(request.headers.get(name, ())) > 1):
            raise Refused("InvalidSignatureException", f"Headers given more than once: {', '.join(repeated)}.")
        if request.header("x-amz-security-token") != (self.credentials.token or ""):
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")

    def _signature(self, stamp: str, day: str, canonical: str) -> str:
        key = f"AWS4{self.credentials.secret_key}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        scope = f"{day}/{self.region}/{self.service}/aws4_request"
        to_sign = "\n".join([_ALGORITHM, stamp, scope, sha256(canonical.encode()).hexdigest()])
        return hmac.digest(key, to_sign.encode(), "sha256").hex()


def canonical_request(request: RawRequest, signed: Sequence[str]) -> str:
    """Return the canonical request over exactly the headers that the client signed.

    The path is encoded once more, as every service but S3 wants it; the query's pairs are sorted as they came.
    """
    pairs = sorted(part.partition("=")[::2] for part in request.query.split("&") if part)
    headers = [
        f"{name}:{','.join(' '.join(value.split()) for value in request.headers.get(name, ()))}" for name in signed
    ]
    return "\n".join(
        [
            request.method,
            quote(request.path or "/", safe="/~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *headers,
            "",
            ";".join(signed),
            request.body_sha256,
        ]
    )


def _parse(header: str) -> tuple[str, list[str], str]:
    """Return credential, signed headers and signature of an ``Authorization`` header."""
    if not header:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if algorithm != _ALGORITHM or not {"Credential", "SignedHeaders", "Signature"} <= fields.keys():
        raise Refused("IncompleteSignatureException", f"Authorization is not a complete {_ALGORITHM} signature.")
    signed = fields["SignedHeaders"].split(";")
    if signed != sorted({name.lower() for name in signed}):
        raise Refused("IncompleteSignatureException", "SignedHeaders is not a sorted list of lower-case names.")
    return fields["Credential"], signed, fields["Signature"]


def _scope(text: str) -> tuple[str, str, str, str]:
    parts = text.split("/")
    if len(parts) != 4:
        raise Refused("IncompleteSignatureException", "Credential is not KEY/DATE/REGION/SERVICE/aws4_request.")
    return parts[0], parts[1], parts[2], parts[3]


def _check_date(stamp: str, day: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Refused("IncompleteSignatureException", "X-Amz-Date is not of the form YYYYMMDDTHHMMSSZ.") from None
    if stamp[:8] != day:
        raise Refused("InvalidSignatureException", "Date in Credential scope does not match X-Amz-Date.")
    if abs((now - signed_at).total_seconds()) > SKEW:
        raise Refused("InvalidSignatureException", f"Signature expired: X-Amz-Date is more than {SKEW} s away.")
