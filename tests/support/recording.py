"""Keeps every answer of a server by its request, and puts keys that nobody knows into every object of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from mlflow_parity.reading.transport.endpoints import ALLOWED
from support.proxy import Exchange, Fault, Proxy

#: Method, path with its query, and body of a request.
Request = tuple[str, str, bytes]
#: Status and body of every answer that a request got.
Recorded = dict[Request, set[tuple[int, bytes]]]
#: Requests whose answers are files of an object, not what a server tells of it.
FILES = frozenset({"get-artifact", "proxy-get", "model-file", "version-file"})
#: What is asked of an object, at the end of a path.
_OF_OBJECT = re.compile(r"/(records|experiment-ids|versions)$")
_ALL = 1 << 30


def record(proxy: Proxy) -> Recorded:
    """Let a proxy keep each answer."""
    found: Recorded = {}

    def keep(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        with proxy.lock:
            _keep(found, exchange, code, body)
        exchange.answer(code, headers, body)

    proxy.faults.append(Fault("", keep, times=_ALL))
    return found


def _keep(found: Recorded, exchange: Exchange, code: int, body: bytes) -> None:
    found.setdefault((exchange.command, exchange.path, exchange.content), set()).add((code, body))


def name_of(method: str, path: str) -> str:
    """Return what the allow-list calls a request, with what it asks of an object; empty: it sends a file."""
    path, _, query = path.partition("?")
    [name, *_] = [one.name for one in ALLOWED if one.allows(method, path)]
    if path.endswith("/artifacts/directories"):
        return "model-files"
    if name in FILES or (name == "trace-file" and "path=" in query):
        return ""
    asked = _OF_OBJECT.search(path)
    return f"{name} {asked[1]}" if asked else name


def keys_of(found: Recorded) -> dict[str, set[str]]:
    """Return the keys of every object of the answers, by the object's place."""
    keys: dict[str, set[str]] = {}
    for (method, path, _), answers in found.items():
        name = name_of(method, path)
        for code, body in answers if name else ():
            if code == 200 and (answer := json_of(body)) is not None:
                for place, one in objects_in(answer, name):
                    keys.setdefault(place, set()).update(one)
    return keys


def json_of(body: bytes) -> Any:
    """Return what an answer says; ``None`` for one that is no JSON. A list within a text is a list."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    if isinstance(answer, dict) and isinstance(answer.get("records"), str):
        answer["records"] = json.loads(answer["records"])
    return answer if isinstance(answer, dict) else None


def objects_in(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of an answer with its place: ``runs: runs[].info``."""
    if isinstance(value, dict):
        yield place, value
        for key, one in list(value.items()):
            yield from objects_in(one, f"{place}{'.' if ': ' in place else ': '}{key}")
    elif isinstance(value, list):
        for one in value:
            yield from objects_in(one, f"{place}[]")


def inject(proxy: Proxy, letters: str = "zz", found: Recorded | None = None) -> dict[str, str]:
    """Let a proxy put a key of its own into every object of all answers, by the object's place; return key by place.

    All keys begin with ``letters``; ``found`` gets each answer as the server gave it.
    """
    keys: dict[str, str] = {}

    def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if found is not None:
            with proxy.lock:
                _keep(found, exchange, code, body)
        name = name_of(exchange.command, exchange.path)
        answer = json_of(body) if code == 200 and name else None
        if answer is not None:
            told_as_text = body.find(b'"records": "') >= 0
            with proxy.lock:
                for place, one in list(objects_in(answer, name)):
                    key = keys.setdefault(place, f"{letters}{len(keys):03}")
                    one[key] = f"blue {key}"
            if told_as_text:
                answer["records"] = json.dumps(answer["records"])
            body = json.dumps(answer).encode()
        exchange.answer(code, headers, body)

    proxy.faults.append(Fault("", spoil, times=_ALL))
    return keys
