"""Looks for secrets in files and texts: each byte, as given and in every form that a program may give it."""

from __future__ import annotations

import base64
import html
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq

_PARQUET = b"PAR1"
_SQLITE = b"SQLite format 3\0"


def forms(secret: str) -> set[bytes]:
    """Return a secret as it may stand in a file: plain, in a URL, in JSON, in XML, as Python shows it, in base64."""
    raw = secret.encode()
    found = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        html.escape(secret),
        quote(quote(secret, safe=""), safe=""),
        secret.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&#34;"),
        secret.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    }
    found |= {form.lower() if "%" in form else form for form in found}
    encoded = {form.encode() for form in found}
    for text in (raw, quote(secret, safe="").encode()):
        for before in range(3):
            # the middle of it is the same whatever stands before and after
            middle = base64.b64encode(b"\0" * before + text)[4 if before else 0 :].rstrip(b"=")[:-1]
            encoded |= {middle, middle.replace(b"+", b"-").replace(b"/", b"_")}
    assert all(len(form) >= 8 for form in encoded), "a form that is so short is found by chance"
    return encoded


def leaks(secrets: Mapping[str, str], *places: Path | str) -> list[str]:
    """Return every secret (by its name) with the file or text that it stands in; folders are searched whole."""
    wanted = {name: forms(secret) for name, secret in secrets.items()}
    return [
        f"{name}: {where}: …{content[max(at - 60, 0) : at + 20]!r}"
        for place in places
        for where, content in _contents(place)
        for name, encoded in wanted.items()
        for at in [max(content.find(form) for form in encoded)]
        if at >= 0
    ]


def _contents(place: Path | str) -> Iterator[tuple[str, bytes]]:
    if isinstance(place, str):
        yield "printed", place.encode("utf-8", "surrogateescape")
        return
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        # names are content as well
        yield f"name of {file}", str(file.relative_to(place)).encode("utf-8", "surrogateescape")
        if file.is_file():
            content = file.read_bytes()
            yield str(file), content
            # what is compressed or split into pages in the file is read as its values
            if content.startswith(_PARQUET):
                yield f"values of {file}", _joined(_texts(pq.read_table(file).to_pylist()))
            if content.startswith(_SQLITE):
                yield f"rows of {file}", _joined(_rows(file))


def _joined(texts: Iterable[str]) -> bytes:
    return "\n".join(texts).encode("utf-8", "surrogateescape")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "surrogateescape")
    elif value is not None:
        yield str(value)


def _rows(file: Path) -> Iterator[str]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{name}"').fetchall():
                yield from _texts(list(row))
