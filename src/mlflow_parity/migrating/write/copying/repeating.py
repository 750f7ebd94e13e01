"""``CopyObject`` asked for as boto3 asked for another one before: of a small file boto3's own work takes the most time.

What boto3 makes anew for each call (the endpoint, checked parameters, the request, its checks of the answer) is the
same for all files that go from one bucket to another. So its request for the first one is kept, and sent for the
others with their keys, signed by boto3's own signer, by boto3's own connections. Whatever is not answered with a copy
is asked for again by boto3 itself, which knows errors, waits and other regions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock, local
from typing import Any, NamedTuple
from urllib.parse import quote

_CALL = "CopyObject"
#: Headers that are another file's, and what boto3 makes anew for each try.
_SOURCE, _IF_MATCH = "x-amz-copy-source", "x-amz-copy-source-if-match"
#: Seconds for which boto3 alone asks, once an answer was no copy: it slows down where that is wanted.
_REST = 30.0


class _Request(NamedTuple):
    """A request that boto3 made: what stands before the key, its headers, and what it is signed by."""

    before_key: str
    headers: Mapping[str, Any]
    context: Mapping[str, Any]
    signer: Any
    model: Any


class Repeating:
    """Copies objects with one S3 client; safe to use from many threads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._known: dict[tuple[str, ...], _Request] = {}
        self._resting = 0.0
        self._lock = Lock()
        self._seen = local()
        client.meta.events.register(f"before-call.s3.{_CALL}", self._see)

    def copy(self, bucket: str, key: str, source: tuple[str, str], etag: str, **more: str) -> Any:
        """Copy an object of another bucket that still has this ETag, without its tags; return S3's answer.

        Raises:
            Exception: whatever boto3 raises.
        """
        group = (bucket, *(f"{name}={value}" for name, value in sorted(more.items())))
        known = self._known.get(group) if time.monotonic() > self._resting else None
        if known is not None:
            answer = None
            with suppress(Exception):
                answer = self._repeated(known, key, source, etag)
            if answer is not None:
                return answer
            with self._lock:
                self._known.pop(group, None)
                self._resting = time.monotonic() + _REST
        self._seen.request = None
        answer = self._client.copy_object(
            Bucket=bucket,
            Key=key,
            CopySource={"Bucket": source[0], "Key": source[1]},
            CopySourceIfMatch=f'"{etag}"',
            TaggingDirective="REPLACE",
            **more,
        )
        if known is None and (request := _request(self._seen.request, key, source, etag)) is not None:
            with self._lock:
                self._known[group] = request
        return answer

    def _see(self, model: Any, params: Any, request_signer: Any, **_: Any) -> None:
        """Keep what boto3 is about to send, in the thread that asked for it."""
        self._seen.request = (model, params, request_signer)

    def _repeated(self, known: _Request, key: str, source: tuple[str, str], etag: str) -> Any:
        """Return the answer to a request like the one that is known; ``None``: it was not copied."""
        from botocore.awsrequest import AWSRequest

        headers = {**known.headers, _SOURCE: _quoted("/".join(source)), _IF_MATCH: f'"{etag}"'}
        request = AWSRequest("PUT", known.before_key + _quoted(key), headers, b"")
        request.context.update(known.context)
        known.signer.sign(_CALL, request)
        endpoint = self._client._endpoint
        answer = endpoint.http_session.send(request.prepare())
        body = answer.content
        # an error may come with status 200
        if answer.status_code != 200 or b"<CopyObjectResult" not in body or b"<Error" in body:
            return None
        told = {"headers": answer.headers, "status_code": 200, "body": body, "context": {"operation_name": _CALL}}
        parser = endpoint._response_parser_factory.create_parser("rest-xml")
        found = parser.parse(told, known.model.output_shape)
        return found if isinstance(found.get("CopyObjectResult"), dict) else None


def _request(seen: Any, key: str, source: tuple[str, str], etag: str) -> _Request | None:
    """Return what is kept of a request; ``None``: it is not made as those are that can be repeated."""
    with suppress(Exception):
        model, params, signer = seen
        url, headers = str(params["url"]), dict(params["headers"])
        named = {name.lower(): value for name, value in headers.items()}
        same = named.get(_SOURCE) == _quoted("/".join(source)) and named.get(_IF_MATCH) == f'"{etag}"'
        plain = params["method"] == "PUT" and not params.get("query_string") and not params.get("body")
        if same and plain and "?" not in url and url.endswith("/" + _quoted(key)):
            kept = {name: value for name, value in headers.items() if name.lower() not in (_SOURCE, _IF_MATCH)}
            return _Request(url.removesuffix(_quoted(key)), kept, dict(params["context"]), signer, model)
    return None


def _quoted(key: str) -> str:
    return quote(key, safe="/~")
