"""One redactor, applied at every output edge, so that no secret reaches a log, traceback or report."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "[redacted]"

#: Environment variables whose values are secrets. Each is also honoured with ``SOURCE_`` and ``TARGET_``.
SECRET_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
)

_PATTERNS = (
    # userinfo of a URL: scheme://user:password@host
    (re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]{0,30}://)[^/\s@'\"<>]+@"), rf"\g<head>{MASK}@"),
    # what AWS and its like put into presigned URLs, case as the services write it
    (
        re.compile(
            r"(?i)(?P<head>(?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig|"
            r"access_token|token|password|secret)=)[^&\s'\"<>]+"
        ),
        rf"\g<head>{MASK}",
    ),
    (re.compile(r"(?i)(?P<head>authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+"), rf"\g<head>{MASK}"),
    (re.compile(r"(?i)(?P<head>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\g<head>{MASK}"),
    (re.compile(r"(?i)(?P<head>x-amz-security-token['\"]?\s*[:=]\s*['\"]?)[^'\"\s,}]+"), rf"\g<head>{MASK}"),
)


class Redactor:
    """Replaces known secrets and everything shaped like one by ``[redacted]``.

    >>> Redactor(["hunter2"])("password is hunter2, see http://bob:hunter2@host/")
    'password is [redacted], see http://[redacted]@host/'
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {
            form
            for secret in secrets
            if len(secret) >= 4
            # as it is, in a URL, and in JSON that was put into a text
            for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])
        }
        # longest first: a secret that contains another one is masked whole
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, also: Iterable[str] = ()) -> Redactor:
        """Build a redactor that knows the secrets of the process environment and those in ``also``."""
        env = os.environ if environ is None else environ
        names = [prefix + name for name in SECRET_VARIABLES for prefix in ("", "SOURCE_", "TARGET_")]
        return cls([value for name in names if (value := env.get(name))] + [s for s in also if s])

    def __call__(self, text: str) -> str:
        """Return ``text`` without any secret."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text
