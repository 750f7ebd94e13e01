"""Who compares what MLflow holds and who reads what its server tells, as ``columns.ini`` and ``routes.ini`` say."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from completeness.of_mlflow import LOGIN, TRACKING
from completeness.releases import RELEASES, first_and_last, release
from mlflow_parity.kinds.rules.contract import BY_ID, ROWS
from mlflow_parity.reading.transport.endpoints import BY_NAME

COLUMNS = Path(__file__).parent / "columns.ini"
ROUTES = Path(__file__).parent / "routes.ini"
ANSWERS = Path(__file__).parent / "answers.ini"
INTERNAL, NOT_COMPARED, NOT_READ, READ, WRITES = "internal", "not compared", "not read", "read", "writes"
_WORDS = (INTERNAL, NOT_COMPARED)
#: What stands in a path for something of the caller's: Flask's way to write it, and FastAPI's.
_GIVEN = re.compile(r"<(?:\w+:)?([\w.]+)>|\{(\w+)(?::\w+)?\}")


@dataclass(frozen=True, slots=True)
class Claim:
    """Who compares a column or reads a route (facets ``kind.facet``, a request), or why nobody does."""

    by: tuple[str, ...] = ()
    word: str = ""
    reason: str = ""


def read(path: Path) -> configparser.ConfigParser:
    """Return a file of claims; one that claims something twice is refused."""
    found = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=True)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(path.read_text(encoding="utf-8"))
    return found


def _why(word: str, name: str, reasons: Mapping[str, str]) -> Claim:
    """Return why nobody does: a reason of the file, or one that the contract gives; none if there is no such."""
    if name.startswith("rule "):
        rule = BY_ID.get(name.removeprefix("rule "))
        good = rule is not None and rule.treatment == NOT_COMPARED
        return Claim((), word, f"{rule.reason} (`{rule.id}`)" if good and rule is not None else "")
    return Claim((), word, reasons.get(name, ""))


def column_claims() -> dict[str, Claim]:
    """Return the claim of each column: ``table.column``, of the login's database ``login table.column``."""
    found = read(COLUMNS)
    claims: dict[str, Claim] = {}
    for table in found.sections():
        for column, text in found[table].items() if not table.endswith(" reasons") else ():
            claims[f"{table}.{column}"] = claim_of(text, {word: found[f"{word} reasons"] for word in _WORDS})
    return claims


def claim_of(text: str, reasons: Mapping[str, Mapping[str, str]]) -> Claim:
    """Return what a line says: facets, or a word with one of its reasons."""
    word, _, reason = text.partition(": ")
    if word in _WORDS:
        return _why(word, reason, reasons[word])
    return Claim(tuple(one.strip() for one in text.split(",")))


def route_claims() -> dict[str, Claim]:
    """Return the claim of each route: ``METHOD /path``."""
    found = read(ROUTES)
    claims: dict[str, Claim] = {}
    for route, text in found["routes"].items():
        word, _, rest = text.partition(": ")
        claims[route] = Claim((rest,), READ) if word == READ else _why(word, rest, found["reasons"])
    return claims


def unused_reasons() -> list[str]:
    """Return the reasons that nothing names."""
    unused = []
    for path in (COLUMNS, ROUTES, ANSWERS):
        found = read(path)
        lines = [line for one in found.sections() for line in found[one].items()]
        given = {text.partition(": ")[2] for line in lines for text in line}
        unused += [name for one in found.sections() if one.endswith("reasons") for name in found[one].keys() - given]
    return unused


def columns_of(version: str) -> set[str]:
    """Return the columns of a release, named as claims name them."""
    told = release(version).columns
    words = {TRACKING: "", LOGIN: f"{LOGIN} "}
    return {
        f"{word}{table}.{column}"
        for database, word in words.items()
        for table, columns in told[database].items()
        for column in columns
    }


def routes_of(version: str) -> set[str]:
    """Return what may be read of a release's server: GET and POST, named as claims name them."""
    return {f"{method} {_plain(path)}" for method, path in release(version).routes if method in ("GET", "POST")}


def _plain(path: str) -> str:
    """Return a path without the ways to write the same: that of the web UI, that of each framework."""
    named = _GIVEN.sub(lambda found: f"{{{found[1] or found[2]}}}", path)
    return re.sub("^/ajax-api/", "/api/", named)


def columns() -> dict[str, tuple[str, str]]:
    """Return the first and the last release of every column."""
    return first_and_last({version: columns_of(version) for version in RELEASES})


def routes() -> dict[str, tuple[str, str]]:
    """Return the first and the last release of every route."""
    return first_and_last({version: routes_of(version) for version in RELEASES})


def wrong_column(name: str, claim: Claim) -> Iterator[str]:
    """Yield what is wrong with the claim of a column."""
    if claim.word and not claim.reason:
        yield f"{name}: the reason is neither in {COLUMNS.name} nor a rule of the contract that compares nothing"
    for one in claim.by:
        kind, _, facet = one.partition(".")
        if facet not in ROWS.get(kind, ()):
            yield f"{name}: there is no facet {one!r}"


def wrong_route(name: str, claim: Claim) -> Iterator[str]:
    """Yield what is wrong with the claim of a route."""
    method, _, path = name.partition(" ")
    if claim.word == READ:
        request = BY_NAME.get(claim.by[0])
        # what stands for something of the caller's is a name like any other
        asked = re.sub("[{}]", "", path)
        ways = (asked, re.sub("^/api/", "/ajax-api/", asked))
        if request is None or not any(request.allows(method, one) for one in ways):
            yield f"{name}: no request {claim.by[0]!r} of the allow-list asks for it"
    elif claim.word == WRITES:
        if method == "GET":
            yield f"{name}: a GET that writes has to say so with a reason"
    elif claim.word != NOT_READ or not claim.reason:
        yield f"{name}: the reason is neither in {ROUTES.name} nor a rule of the contract that compares nothing"
