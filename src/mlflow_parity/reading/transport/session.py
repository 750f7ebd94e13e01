"""One session type for every location: pool, gzip, retries, time limits, adaptive concurrency, the allow-list.

Only an :class:`Endpoint` of the allow-list can be called. Every try is signed again. What is printed of a failure
is one line and passes the redactor.
"""

from __future__ import annotations

import http.cookiejar
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

import orjson
import requests
import urllib3

from mlflow_parity import __version__
from mlflow_parity.core.ending import STOPPING
from mlflow_parity.core.errors import (
    ForbiddenRequest,
    MalformedAnswer,
    ParityError,
    ReadError,
    RequestRefused,
    TransportError,
)
from mlflow_parity.core.locations import Location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.reading.transport import bounds
from mlflow_parity.reading.transport.auth import Credentials, HeaderAuth
from mlflow_parity.reading.transport.bodies import beginning_of, body_of, whole
from mlflow_parity.reading.transport.bounds import at_most, check_values
from mlflow_parity.reading.transport.endpoints import Endpoint, is_allowed, right_to
from mlflow_parity.reading.transport.refusals import is_switched_off, redirected, refused, too_large, unreached
from mlflow_parity.reading.transport.responses import Again, NotJson, error_of, parsed, reason, retry_after
from mlflow_parity.reading.transport.signed import SignedPlace
from mlflow_parity.reading.transport.slowing import Limiter, Patience, pause
from mlflow_parity.reading.transport.timed import Limits, TimedAdapter, until

T = TypeVar("T")
R = TypeVar("R")
Query = Mapping[str, Any] | Sequence[tuple[str, str]] | None
#: JSON, or a file that is sent as it is (only :mod:`mlflow_parity.migrating.write.writing` sends files).
Body = bytes | BinaryIO | None
_READ_OF_ERROR = 20_000
#: Bytes of a body above which one may be refused for its size: the smallest limit that proxies come with.
_LARGE_BODY = 1_000_000
_SHOWN_OF_REFUSAL = 400
_THROTTLED = (429, 503)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
#: A server error of MLflow's own, or a page that is no JSON, mostly stays: not worth as many tries as a gateway's.
_TRIES_OF_500 = 3
#: Tries for a server that has not answered yet, or does not any more: a wrong address must show soon.
_TRIES_OF_SILENT = 3


class _Http(requests.Session):
    """Follows no redirect, and does not look at where one leads: for that requests would read its whole body."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return nowhere."""


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
        self._patience = Patience(self.limits.call, self.limits.longest_wait)
        self.counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._redact = redactor or Redactor.from_environment()
        self._base_path = urlsplit(location.endpoint).path.rstrip("/")
        self._answered_at: float | None = None
        self._silent = True
        self._is_mlflow = False
        self._large = threading.Lock()
        self._http = _Http()
        # proxies and bundles of certificates, as the environment names them
        self._way: Any = None
        # always set, so that requests never looks into .netrc
        self._http.auth = credentials.auth
        self._http.verify = credentials.tls.verify
        self._http.cert = credentials.tls.cert
        self._http.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self._http.headers["User-Agent"] = f"mlflow-parity/{__version__}"
        if location.workspace:
            self._http.headers["X-MLFLOW-WORKSPACE"] = location.workspace
        adapter = TimedAdapter(pool_connections=1, pool_maxsize=workers, pool_block=False, max_retries=0)
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        if credentials.tls.verify is False:
            # the user asked for it; a warning per request would bury the report
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._random = random.Random()  # noqa: S311  (jitter, no secret)

    @property
    def sent(self) -> int:
        """Requests sent so far, retries included."""
        with self._counting:
            return sum(self.counts.values())

    def get(self, endpoint: Endpoint, query: Query = None, *, below: str = "") -> dict[str, Any]:
        """Call a GET endpoint and return its JSON object; ``below`` is the path under one that ends in ``*``.

        Raises:
            RequestRefused: the server answered with an error that does not pass.
            TransportError: no usable answer within the limits.
            MalformedAnswer: an answer that is not a JSON object.
        """
        return self._call(endpoint, query=query, below=below)

    def post(self, endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call a POST search endpoint and return its JSON object; errors as for :meth:`get`."""
        return self._call(endpoint, body=orjson.dumps(body))

    def ask(self, endpoint: Endpoint, query: Query = None, *, anonymous: bool = False) -> tuple[int, str]:
        """Call a GET endpoint for its status and text, whatever they are: what a server lacks is not its failure.

        ``anonymous``: without credentials, to see whether the server asks for some.

        Raises:
            RequestRefused: 401: the credentials are wrong, which says nothing about the endpoint.
            TransportError: no answer, or only that of a gateway or of a server that throttles.
        """

        def once(deadline: float) -> tuple[int, str]:
            with self._send(endpoint, endpoint.path, query, None, anonymous=anonymous) as answer:
                status = answer.status_code
                text = self._body(answer, deadline, bounds.ASKED).decode("utf-8", "replace")
                passing = status in _PASSING and not is_switched_off(status, text)
                if status in (200, 404) or not (passing or status == 401):
                    return status, text
                self._check(answer, endpoint, text)
                raise AssertionError("unreachable: every other status raises")

        return self._tried(endpoint, once, lambda found: found)

    def download(
        self,
        endpoint: Endpoint,
        receive: Callable[[Iterator[bytes]], T],
        *,
        below: str = "",
        query: Query = None,
        size: int | None = None,
        tries: int | None = None,
    ) -> T:
        """Stream a file into ``receive`` and return what it returns; each try calls it again, from the first byte.

        ``below`` is the path under an endpoint that ends in ``*``, ``size`` the length that is expected: no byte more
        is handed on.

        Raises:
            RequestRefused: the server answered with an error that does not pass.
            TooLarge: more came than ``size``, or than a file of unknown size may have.
            TransportError: the file did not come whole within the limits.
        """
        path = endpoint.path.removesuffix("*") + quote(below, safe="/")

        def once(deadline: float) -> T:
            # as it is stored: a compressed transfer would hide its length
            with self._send(endpoint, path, query, None, encoding="identity") as answer:
                self._check(answer, endpoint)
                return receive(at_most(whole(answer, deadline), size))

        return self._tried(endpoint, once, lambda found: found, seconds=self.limits.call_of(size), tries=tries)

    def download_signed(
        self, endpoint: Endpoint, receive: Callable[[Iterator[bytes]], T], *, below: str, size: int | None = None
    ) -> T:
        """Stream a file from the address that the server signs for it; as :meth:`download` else."""
        answer = self._call(endpoint, below=below)
        try:
            place = SignedPlace.of(answer, self.location)
        except MalformedAnswer as error:
            raise MalformedAnswer(self._line(endpoint, str(error))) from None

        def once(deadline: float) -> T:
            with self.signed("GET", place) as answer:
                self._check(answer, endpoint)
                return receive(at_most(whole(answer, deadline), size))

        return self._tried(endpoint, once, lambda found: found, seconds=self.limits.call_of(size))

    def signed(self, method: str, place: SignedPlace, content: Any = None, size: int = 0) -> requests.Response:
        """Send one request to a signed address, with nothing of the caller's."""
        late = time.monotonic() + self.limits.answer_to(size)
        timeout = self.limits.connect, self.limits.read
        return place.open(method, content, verify=bool(self._http.verify), timeout=timeout, late=late)

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    # --- one call

    def _call(
        self, endpoint: Endpoint, *, query: Query = None, body: bytes | None = None, below: str = ""
    ) -> dict[str, Any]:
        path = endpoint.path.removesuffix("*") + quote(below, safe="/")

        def once(deadline: float) -> bytes:
            with self._send(endpoint, path, query, body) as answer:
                self._check(answer, endpoint)
                return self._body(answer, deadline)

        def understood(content: bytes) -> dict[str, Any]:
            check_values(content)
            return parsed(content, self.location.endpoint)

        found = self._tried(endpoint, once, understood)
        self._is_mlflow = True
        return found

    def _tried(
        self,
        endpoint: Endpoint,
        once: Callable[[float], T],
        understand: Callable[[T], R],
        *,
        seconds: float | None = None,
        tries: int | None = None,
    ) -> R:
        """Try until it works; ``once`` holds a slot and a connection, ``understand`` neither."""
        patient, gone = self._patience.ask(endpoint.name)
        if gone:
            raise TransportError(self._line(endpoint, gone))
        began = time.monotonic()
        deadline = began + (self.limits.call if seconds is None else seconds)
        tried = throttled = 0
        while True:
            tried += 1
            era = 0
            try:
                with self.limiter.slot() as era:
                    found = once(deadline)
                result = understand(found)
            except Again as failed:
                last = failed
            except RequestRefused:
                self._patience.answered(endpoint.name)
                raise
            except MalformedAnswer as wrong:
                # it would be the same again
                self._patience.answered(endpoint.name)
                raise type(wrong)(self._line(endpoint, str(wrong))) from None
            else:
                self._answered_at, self._silent = time.monotonic(), False
                self._patience.answered(endpoint.name)
                self.limiter.answered()
                return result
            if last.status in _THROTTLED:
                self.limiter.throttled(era)
            # a server that throttles works: time is the limit then, not the number of tries
            throttled += last.status == 429 or (last.status == 503 and last.wait is not None)
            wait = pause(tried, last, self.limits, self._random)
            # nobody waits for the answer any more
            patient = patient and not STOPPING.is_set()
            if not patient or tried - throttled >= self._tries(last, tries) or time.monotonic() + wait > deadline:
                break
            time.sleep(wait)
        if not last.status and (self._answered_at is None or self._answered_at < began):
            self._silent = True
        error = self._error(endpoint, last, tried)
        self._patience.given_up(endpoint.name, str(last), silent=not last.status)
        raise error

    def _tries(self, failed: Again, given: int | None) -> int:
        most = self.limits.tries if given is None else given
        if failed.status == 500 or isinstance(failed, NotJson):
            return min(most, _TRIES_OF_500)
        return min(most, _TRIES_OF_SILENT) if self._silent and not failed.status else most

    def _send(
        self,
        endpoint: Endpoint,
        path: str,
        query: Query,
        body: Body,
        *,
        encoding: str = "gzip",
        anonymous: bool = False,
        also: Mapping[str, str] | None = None,
    ) -> requests.Response:
        # prepared by itself: to merge it with what the session does not have takes a fifth of all that it costs here
        headers = {**self._http.headers, "Accept-Encoding": encoding}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
        headers |= also or {}
        url = self.location.endpoint + path
        parameters: Any = query
        # no header at all, where none is wanted: else requests looks for one in the address
        auth = HeaderAuth(None) if anonymous else self._http.auth
        prepared = requests.PreparedRequest()
        try:
            prepared.prepare(endpoint.method, url, headers=headers, params=parameters, data=body, auth=auth)
        except ParityError:
            raise
        except Exception as error:
            # signing asks boto3's chain: what goes wrong there has many types and must not become a traceback
            raise TransportError(self._line(endpoint, f"it could not be signed: {reason(error)}")) from None
        sent_path = urlsplit(str(prepared.url)).path.removeprefix(self._base_path)
        # the last look before it leaves, at what is sent and not at what was meant
        self._permit(endpoint, str(prepared.method), sent_path)
        # asked once, as all go to one host: each time it takes half as long as all else that is done for a request here
        way = self._way = self._way or self._http.merge_environment_settings(
            str(prepared.url), {}, True, self._http.verify, self._http.cert
        )
        with self._counting:
            self.counts[endpoint.name] += 1
        # a file has to be sent before there can be an answer
        size = 0 if body is None else len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
        late = time.monotonic() + self.limits.answer_to(size)
        try:
            with until(late):
                return self._http.send(
                    prepared, timeout=(self.limits.connect, self.limits.read), allow_redirects=False, **way
                )
        except (requests.RequestException, OSError, urllib3.exceptions.HTTPError) as error:
            why = f"{type(error).__name__} {error}"
            fix, lasts = unreached(why, self.location.endpoint, new=not self._is_mlflow)
            if lasts or isinstance(error, requests.exceptions.InvalidURL):
                raise TransportError(self._line(endpoint, reason(error)), fix=fix) from None
            # a proxy that takes no body of this size may just hang up
            broke = size > _LARGE_BODY and isinstance(error, requests.ConnectionError)
            raise Again(reason(error), fix=too_large(str(size)).fix if broke else fix) from None

    def _permit(self, endpoint: Endpoint, method: str, path: str) -> None:
        """Refuse what is not on the allow-list; ``path`` is the one that would be sent."""
        if not (endpoint.allows(method, path) and is_allowed(method, path)):
            raise ForbiddenRequest(f"{method} {path} is not on the read-only allow-list")

    def _body(self, answer: requests.Response, deadline: float, most: int | None = None) -> bytes:
        return body_of(answer, deadline, bounds.ANSWER if most is None else most, self._large)

    def _check(self, answer: requests.Response, endpoint: Endpoint, text: str | None = None) -> None:
        status = answer.status_code
        if status == 200:
            return
        if 300 <= status < 400:
            asked = urlsplit(str(answer.request.url)).path.removeprefix(self._base_path)
            what, fix = redirected(answer, self.location.endpoint, asked)
            raise RequestRefused(self._line(endpoint, f"status {status}: {what}"), status=status, fix=self._redact(fix))
        if text is None:
            text = beginning_of(answer, self.limits.read)
        code, message = error_of(text)
        what, fix = refused(answer, text, message, self.location.endpoint, new=not self._is_mlflow)
        fix = self._redact(fix)
        lasting = (status == 500 and code == "INVALID_PARAMETER_VALUE") or is_switched_off(status, text)
        if status in _PASSING and not lasting:
            raise Again(
                ": ".join(filter(None, (what, message))),
                wait=retry_after(answer.headers.get("Retry-After"), self.limits.longest_wait * 2),
                status=status,
                code=code,
                fix=fix,
            )
        right = right_to(endpoint, self.location.kind) if status == 403 else ""
        # before the message, which may be long: what is cut must not be what helps
        wanted = (f" (is {right} allowed?)" if right else "") + (f": {what}" if what else "")
        if status == 403:
            # the status comes first, and the place last: reports cut long lines at their end
            told = self._redact(" ".join(message[:_READ_OF_ERROR].split()))[:_SHOWN_OF_REFUSAL]
            place = f"{self.location.display}: {endpoint.method} {endpoint.path}"
            line = self._redact(f"status 403{wanted} {told} ({place})")
            raise RequestRefused(line, status=status, code=code, fix=fix)
        # what we say of it and what the server says are two sentences
        line = self._line(endpoint, f"status {status}{wanted}{':' * bool(what and message)} {message}")
        raise RequestRefused(line, status=status, code=code, fix=fix)

    def _error(self, endpoint: Endpoint, failed: Again, tried: int) -> ReadError:
        often = f" after {tried} tries" if tried > 1 else ""
        if failed.status == 500:
            line = self._line(endpoint, f"status {failed.status}{often} {failed}")
            return RequestRefused(line, status=failed.status, code=failed.code, fix=failed.fix)
        kind = MalformedAnswer if isinstance(failed, NotJson) else TransportError
        status = f"status {failed.status} " if failed.status else ""
        return kind(self._line(endpoint, f"no usable answer{often}: {status}{failed}"), fix=failed.fix)

    def _line(self, endpoint: Endpoint, text: str) -> str:
        where = f"{self.location.display}: {endpoint.method} {endpoint.path}"
        # long enough that what is shown holds no half of a secret, short enough for a page of HTML
        return self._redact(" ".join(f"{where}: {text[:_READ_OF_ERROR]}".split()))[:600]
