"""One session type for every location: pool, gzip, retries, time limits, adaptive concurrency, the allow-list.

Only an :class:`Endpoint` of the allow-list can be called. Every try is signed anew. What is printed of a failure
is one line and passes the redactor.
"""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter

from mlflow_parity import __version__
from mlflow_parity.errors import ForbiddenRequest, MalformedAnswer, ReadError, RequestRefused, TransportError
from mlflow_parity.locations import Location
from mlflow_parity.reading.auth import Credentials
from mlflow_parity.reading.endpoints import VERSION, Endpoint, is_allowed
from mlflow_parity.reading.limiter import Limiter
from mlflow_parity.redaction import Redactor

#: Bytes below which an answer is parsed as part of the try.
_SMALL = 65_536
_THROTTLED = (429, 503)
_PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. ``call`` bounds one call with all its retries; ``tries`` how often it is tried."""

    connect: float = 10.0
    read: float = 120.0
    call: float = 600.0
    tries: int = 7
    first_wait: float = 0.5
    longest_wait: float = 30.0


class _Again(Exception):
    """This try failed in a way that may pass; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, *, wait: float | None = None, status: int = 0, code: str = "") -> None:
        super().__init__(reason)
        self.wait = wait
        self.status = status
        self.code = code


class Session:
    """Talks to one location; safe to use from many threads."""

    def __init__(
        self,
        location: Location,
        credentials: Credentials,
        *,
        workers: int = 8,
        redactor: Redactor | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.location = location
        self.limits = limits or Limits()
        self.limiter = Limiter(workers)
        self.counts: Counter[str] = Counter()
        self._redact = redactor or Redactor.from_environment()
        self._credentials = credentials
        self._base_path = urlsplit(location.endpoint).path.rstrip("/")
        self._http = requests.Session()
        self._http.auth = credentials.auth
        self._http.verify = credentials.tls.verify
        self._http.cert = credentials.tls.cert
        self._http.headers["User-Agent"] = f"mlflow-parity/{__version__}"
        self._http.headers["Accept-Encoding"] = "gzip"
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=workers, pool_block=False, max_retries=0)
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        self._random = random.Random()  # noqa: S311  (jitter, no secret)

    @property
    def sent(self) -> int:
        """Requests sent so far, retries included."""
        return sum(self.counts.values())

    def get(self, endpoint: Endpoint, query: Mapping[str, Any] | list[tuple[str, str]] | None = None) -> dict[str, Any]:
        """Call a GET endpoint and return its JSON object.

        Raises:
            RequestRefused: the server answered with an error that does not pass.
            TransportError: no usable answer within the limits.
            MalformedAnswer: an answer that is not a JSON object.
        """
        return self._object(parse(self._call(endpoint, endpoint.path, query=query)), endpoint)

    def post(self, endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call a POST search endpoint and return its JSON object; errors as for :meth:`get`."""
        return self._object(parse(self._call(endpoint, endpoint.path, body=orjson.dumps(body))), endpoint)

    def text(self, endpoint: Endpoint) -> str:
        """Call a GET endpoint and return its text; errors as for :meth:`get`."""
        return self._call(endpoint, endpoint.path).decode("utf-8", "replace")

    def status(self, endpoint: Endpoint, query: Mapping[str, Any] | None = None) -> int:
        """Call a GET endpoint for its status alone: 200, or that of a refusal.

        Raises:
            TransportError: no answer at all.
        """
        try:
            self._call(endpoint, endpoint.path, query=query)
        except RequestRefused as refused:
            return refused.status
        return 200

    @contextmanager
    def stream(
        self, endpoint: Endpoint, *, below: str = "", query: Mapping[str, Any] | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Stream a file in one try; the caller retries. ``below`` is the path under an endpoint that ends in ``*``.

        Raises:
            ReadError: also while iterating, when the connection breaks or the body is short.
        """
        path = endpoint.path.removesuffix("*") + quote(below, safe="/")
        with self.limiter.slot():
            try:
                answer = self._send(endpoint, path, query, None, stream=True)
                with answer:
                    self._check(answer, endpoint)
                    yield self._pieces(answer, endpoint)
            except _Again as again:
                if again.status in _THROTTLED:
                    self.limiter.throttled()
                raise self._error(endpoint, again, 1) from None

    def _pieces(self, answer: requests.Response, endpoint: Endpoint) -> Iterator[bytes]:
        try:
            yield from answer.iter_content(1 << 20)
        except (requests.RequestException, OSError) as error:
            raise TransportError(self._line(endpoint, f"the file broke off: {_reason(error)}")) from None
        expected, read = answer.headers.get("Content-Length"), answer.raw.tell()
        if expected is not None and expected.isdigit() and read != int(expected):
            raise TransportError(self._line(endpoint, f"the file broke off: {read} of {expected} bytes"))

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    # --- one call

    def _call(
        self,
        endpoint: Endpoint,
        path: str,
        *,
        query: Mapping[str, Any] | list[tuple[str, str]] | None = None,
        body: bytes | None = None,
    ) -> bytes:
        began = time.monotonic()
        failed: _Again | None = None
        tries = 0
        while tries < self.limits.tries:
            tries += 1
            try:
                with self.limiter.slot(), self._send(endpoint, path, query, body, stream=False) as answer:
                    self._check(answer, endpoint)
                    content: bytes = answer.content
                if endpoint is not VERSION:
                    _probe(content)
                self.limiter.answered()
                return content
            except _Again as again:
                failed = again
                if again.status in _THROTTLED:
                    self.limiter.throttled()
            wait = self._wait(tries, failed)
            if tries == self.limits.tries or time.monotonic() - began + wait > self.limits.call:
                break
            time.sleep(wait)
        if failed is None:
            raise TransportError(self._line(endpoint, "it was not tried"))
        raise self._error(endpoint, failed, tries)

    def _wait(self, tries: int, failed: _Again) -> float:
        if failed.wait is not None:
            return failed.wait
        # full jitter: many threads that failed together must not come back together
        most = min(self.limits.longest_wait, self.limits.first_wait * 2 ** (tries - 1))
        return self._random.uniform(most / 4, most)

    def _send(
        self,
        endpoint: Endpoint,
        path: str,
        query: Mapping[str, Any] | list[tuple[str, str]] | None,
        body: bytes | None,
        *,
        stream: bool,
    ) -> requests.Response:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = requests.Request(
            endpoint.method,
            self.location.endpoint + path,
            params=query,
            data=body,
            headers=headers,
        )
        # netrc and environment proxies are requests' own business, but not credentials: auth is always set
        prepared = self._http.prepare_request(request)
        sent_path = urlsplit(str(prepared.url)).path.removeprefix(self._base_path)
        if not (endpoint.allows(endpoint.method, sent_path) and is_allowed(str(prepared.method), sent_path)):
            raise ForbiddenRequest(f"{prepared.method} {sent_path} is not on the read-only allow-list")
        settings = self._http.merge_environment_settings(
            str(prepared.url), {}, stream, self._http.verify, self._http.cert
        )
        self.counts[endpoint.name] += 1
        try:
            return self._http.send(
                prepared,
                timeout=(self.limits.connect, self.limits.read),
                allow_redirects=False,
                **settings,
            )
        except requests.exceptions.SSLError as error:
            raise TransportError(self._line(endpoint, f"TLS: {_reason(error)}")) from None
        except (requests.RequestException, OSError) as error:
            raise _Again(_reason(error)) from None

    def _check(self, answer: requests.Response, endpoint: Endpoint) -> None:
        status = answer.status_code
        if status == 200:
            return
        if 300 <= status < 400:
            raise RequestRefused(
                self._line(endpoint, f"redirected (status {status}); give the address that it redirects to"),
                status=status,
            )
        code, message = _error_of(answer)
        if status in _PASSING and not (status == 500 and code == "INVALID_PARAMETER_VALUE"):
            raise _Again(message, wait=self._retry_after(answer), status=status, code=code)
        raise RequestRefused(self._line(endpoint, f"status {status} {message}"), status=status, code=code)

    def _retry_after(self, answer: requests.Response) -> float | None:
        given = answer.headers.get("Retry-After")
        if given is None:
            return None
        seconds: float | None = None
        if given.strip().isdigit():
            seconds = float(given)
        else:
            with suppress(TypeError, ValueError):
                seconds = email.utils.parsedate_to_datetime(given).timestamp() - time.time()
        return None if seconds is None else min(max(seconds, 0.0), self.limits.longest_wait * 2)

    def _object(self, found: Any, endpoint: Endpoint) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise MalformedAnswer(self._line(endpoint, "the answer is not a JSON object"))
        return found

    def _error(self, endpoint: Endpoint, failed: _Again, tries: int) -> ReadError:
        often = f" after {tries} tries" if tries > 1 else ""
        if failed.status:
            line = self._line(endpoint, f"status {failed.status}{often} {failed}")
            return RequestRefused(line, status=failed.status, code=failed.code)
        return TransportError(self._line(endpoint, f"no usable answer{often}: {failed}"))

    def _line(self, endpoint: Endpoint, text: str) -> str:
        where = f"{self.location.display}: {endpoint.method} {endpoint.path}"
        return self._redact(" ".join(f"{where}: {text}".split()))[:600]


def parse(content: bytes) -> Any:
    """Parse JSON; MLflow writes a bare ``NaN``, which is none, in some answers."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(content)
        except ValueError:
            raise MalformedAnswer("the answer is not JSON") from None


def _probe(content: bytes) -> None:
    """Refuse what is no whole JSON object; the answer may be whole the next time."""
    text = content.strip()
    if not (text.startswith(b"{") and text.endswith(b"}")):
        raise _Again("the answer is not a whole JSON object")
    if len(text) < _SMALL:
        # a large answer that ends in its brace was not cut; parsing it twice would cost as much as reading it
        try:
            parse(text)
        except MalformedAnswer:
            raise _Again("the answer is not JSON") from None


def _error_of(answer: requests.Response) -> tuple[str, str]:
    try:
        text = answer.content[:4000].decode("utf-8", "replace")
    except (requests.RequestException, OSError):
        return "", ""
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return str(found.get("error_code", "")), str(found.get("message", found.get("error_code", "")))[:400]
    return "", "" if text.lstrip().startswith("<") else text[:200]


def _reason(error: BaseException) -> str:
    """Name a failure by its innermost cause, without the object addresses that urllib3 prints."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None and inner is not seen:
        seen = inner
    text = str(seen).split(">: ")[-1]
    return f"{type(error).__name__}: {text}"[:300]
