"""One redactor, applied at every output edge, so that no secret reaches a log, traceback or report."""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[redacted]"

#: Environment variables whose values are secrets. Each is also honoured with ``SOURCE_`` and ``TARGET_``.
SECRET_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    # of the libraries for Azure's blobs; those for Google's storage name files
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
)

_LOGIN = ("USERNAME", "PASSWORD")
#: A quote, as JSON, Python (bytes too), XML and JSON within JSON write it, or none.
_MARK = r"(?:\\*['\"]|&(?:quot|apos|#34|#39);)"
_QUOTE = rf"(?:b?{_MARK})?"
#: What stands between a name and its value in headers, JSON, Python and XML; and the value itself.
_IS = rf"{_MARK}?\s*(?:(?:[:=,>]|&gt;)\s*)+(?!\s|{_QUOTE}{re.escape(MASK)}){_QUOTE}"
_VALUE = r"[^'\"\\\s,;&<>}\])]+"

_PATTERNS = (
    # userinfo of a URL: scheme://user:password@host
    (re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]{0,30}://)[^/\s@'\"<>]+@"), rf"\g<head>{MASK}@"),
    # what AWS and its like put into presigned URLs, case as the services write it
    (
        re.compile(
            r"(?i)(?P<head>(?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig|"
            r"access_token|token|password|secret)(?:=|%3D|%253D))[^&%\s'\"<>]+(?:%(?!26|2526)[^&%\s'\"<>]*)*"
        ),
        rf"\g<head>{MASK}",
    ),
    (re.compile(rf"(?i)(?P<head>\bauthorization{_IS})[^'\"\r\n\\]+"), rf"\g<head>{MASK}"),
    (re.compile(r"(?i)(?P<head>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\g<head>{MASK}"),
    # what services send: STS, SSO and instance roles give keys to whom they know
    (
        re.compile(
            rf"(?i)(?P<head>(?:x-amz-security-token|secret_?access_?key|session_?token|access_?token|refresh_?token|"
            rf"id_?token|client_?secret){_IS}){_VALUE}"
        ),
        rf"\g<head>{MASK}",
    ),
)
_PERCENT = re.compile("%[0-9A-F]{2}")
#: How XML and HTML name a mark beside ``&``, ``<`` and ``>``.
_NAMES = {'"': ("&quot;", "&#34;"), "'": ("&apos;", "&#39;", "&#x27;")}
#: Characters below which a form that was learned or encoded could stand in any text by chance.
_LEAST = 8
_LOGS = threading.Lock()
_LEARNING = threading.Lock()


def basic(name: str, password: str) -> str:
    """Return what an ``Authorization`` header of HTTP's Basic scheme carries."""
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def _forms(secret: str) -> set[str]:
    """Return a secret as programs write it: in URLs by whatever rules, JSON, XML and HTML, Python, and base64."""
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    # a URL that was put into a URL
    quoted |= {quote(form, safe="") for form in quoted}
    lower = {_PERCENT.sub(lambda found: found[0].lower(), form) for form in quoted}
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    in_json |= {form.replace("/", "\\/") for form in in_json}
    in_json |= {json.dumps(form)[1:-1] for form in in_json}
    raw = secret.encode("utf-8", "surrogateescape")
    shown = {repr(secret)[1:-1], repr(raw)[2:-1]}
    marked = {html.escape(secret, quote=False)}
    for mark, names in _NAMES.items():
        marked |= {form.replace(mark, name) for form in marked for name in names}
    return {secret, *quoted, *lower, *in_json, *shown, *marked, *_base64(raw)}


def _base64(raw: bytes) -> Iterator[str]:
    """Yield what base64 makes of a secret whatever stands before and after it, if that is long enough to tell."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        # a character holds six bits: those at both ends may hold some of the neighbours'
        middle = encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        if len(middle) >= _LEAST:
            yield middle
            yield middle.replace("+", "-").replace("/", "_")


#: Secrets that turned up while the process ran, of profiles, roles and instances, and their forms.
_learned: set[str] = set()
_learned_forms: tuple[str, ...] = ()


def learn(*secrets: str | None, least: int = _LEAST) -> None:
    """Have every redactor of this process hide these from now on; it costs nothing where they are known.

    ``least``: shorter ones are words, and would be hidden wherever they stand.
    """
    global _learned_forms
    for secret in secrets:
        if secret and len(secret) >= least and secret not in _learned:
            with _LEARNING:
                _learned.add(secret)
                _learned_forms = tuple(sorted({*_learned_forms, *_forms(secret)}, key=len, reverse=True))


class Redactor:
    """Replaces known secrets and everything shaped like one by ``[redacted]``.

    >>> Redactor(["hunter2"])("password is hunter2, see http://bob:hunter2@host/")
    'password is [redacted], see http://[redacted]@host/'
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= 4 for form in _forms(secret)}
        # longest first: a secret that contains another one is masked whole
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, also: Iterable[str] = ()) -> Redactor:
        """Build a redactor that knows the secrets of the process environment and those in ``also``."""
        env = os.environ if environ is None else environ
        prefixes = ("", "SOURCE_", "TARGET_")
        found = [env.get(prefix + name, "") for name in SECRET_VARIABLES for prefix in prefixes]
        # either may be the side's own and the other that for both
        users, words = ([env.get(f"{prefix}MLFLOW_TRACKING_{name}") for prefix in prefixes] for name in _LOGIN)
        found += [basic(user, word) for user in users for word in words if user and word]
        # what was mounted as a file may end with a line end, which no header carries
        return cls([one for secret in (*found, *also) if secret for one in {secret, secret.strip()}])

    def __call__(self, text: str) -> str:
        """Return ``text`` without any secret."""
        for secret in (*self._secrets, *_learned_forms):
            text = text.replace(secret, MASK)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def defect(error: BaseException, redact: Callable[[str], str]) -> str:
    """Return the traceback of an error that nobody foresaw; Python would print its text as it is."""
    from mlflow_parity.core.text import visible

    return visible(redact("".join(traceback.format_exception(error))), multiline=True)


def guard_logs(redact: Callable[[str], str]) -> Callable[[], None]:
    """Have every log record of this process pass ``redact``, whoever writes it; return what ends that.

    botocore logs what it signs, the session token with it, and what STS sends: at DEBUG, for a log file of pytest's.
    """
    with _LOGS:
        before = logging.getLogRecordFactory()

        def made(*arguments: Any, **named: Any) -> logging.LogRecord:
            record = before(*arguments, **named)
            try:
                text = record.getMessage()
            except Exception:
                # a defect of whoever logs: logging itself says so, and shows the arguments
                text = f"(a record of {record.name} that cannot be formatted)"
            record.msg, record.args = redact(text), None
            if record.exc_info and record.exc_info[0] is not None:
                record.exc_text = redact("".join(traceback.format_exception(*record.exc_info))).rstrip()
            return record

        logging.setLogRecordFactory(made)

    def end() -> None:
        with _LOGS:
            # another that came later stays, and goes on calling this one
            if logging.getLogRecordFactory() is made:
                logging.setLogRecordFactory(before)

    return end


def guard_debug_file(tracer: Any, redact: Callable[[str], str]) -> None:
    """Have the file of pytest's ``--debug`` pass ``redact``: it begins with the command line, URIs and all.

    ``tracer`` is ``config.trace.root``. Without that option nothing happens.
    """
    writer = getattr(tracer, "_writer", None)
    file = getattr(writer, "__self__", None)
    if file is None:
        return
    if not isinstance(file.name, str):
        # PYTEST_DEBUG: what was printed is printed
        tracer.setwriter(lambda more: file.write(redact(more)))
        return
    file.flush()
    with open(file.name, encoding="utf-8") as written:
        text = written.read()
    file.seek(0)
    file.truncate()
    file.write(redact(text))
    tracer.setwriter(lambda more: file.write(redact(more)))
