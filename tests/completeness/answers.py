"""Who compares the keys of a server's answers, as ``answers.ini`` says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from support.audits import audit
from support.proxy import proxying
from support.recording import Recorded, record

from completeness.claims import ANSWERS, COLUMNS, INTERNAL, NOT_COMPARED, Claim, claim_of, read

#: One server is both sides, and everything is asked that can be.
WHOLE = ("--parity-profile", "same-store", "--parity-two-servers", "--parity-include-deleted", "--parity-usable",
         "--parity-max-findings", "5000")  # fmt: skip
#: Stands for every key that a section does not name.
REST = "*"
#: At the top of every list.
_TOKEN = "next_page_token"
#: Claims of the keys of each object of an answer.
Claims = Mapping[str, Mapping[str, Claim]]


def answer_claims() -> Claims:
    """Return the claims by place and key."""
    found, columns = read(ANSWERS), read(COLUMNS)
    reasons = {
        word: {**columns[f"{word} reasons"], **(found[part] if (part := f"{word} reasons") in found else {})}
        for word in (INTERNAL, NOT_COMPARED)
    }
    claims: dict[str, dict[str, Claim]] = {}
    for place in found.sections():
        if place.endswith(" reasons"):
            continue
        here = claims[place] = {}
        for text, keys in found[place].items():
            if text == REST:
                here[REST] = claim_of(keys, reasons)
                continue
            for key in keys.split():
                assert key not in here, f"{place}: {key} is claimed twice"
                here[key] = claim_of(text, reasons)
    return claims


def unclaimed(places: Mapping[str, Iterable[str]], claims: Claims) -> Iterator[str]:
    """Yield each key, by its place, that nothing claims, of those that answers have."""
    for place, keys in places.items():
        top = ": " not in place
        if place not in claims and not top:
            if claim_at(place, claims) is None:
                yield place
            continue
        for key in keys:
            within = f"{place}{': ' if top else '.'}{key}"
            claimed = key in claims.get(place, {}) or within in claims or f"{within}[]" in claims
            if not claimed and not (top and key == _TOKEN):
                yield within


def claim_at(place: str, claims: Claims) -> Claim | None:
    """Return what becomes of an unknown key of the object at a place; ``None``: nobody says it."""
    name, _, way = place.partition(": ")
    parts = way.split(".") if way else []
    for length in range(len(parts), -1, -1):
        section = f"{name}: {'.'.join(parts[:length])}" if length else name
        if section in claims:
            key = REST if length == len(parts) else parts[length].rstrip("[]")
            return claims[section].get(key)
    return None if parts else Claim((), NOT_COMPARED, "page")


def answers(uri: str, folder: Path) -> Recorded:
    """Return every answer of a server to an audit of everything, which is green.

    A release that is newer than those known here is unverified for that alone.
    """
    with proxying(uri) as source, proxying(uri) as target:
        found = record(target)
        done = audit(folder, source.uri, target.uri, *WHOLE)
    assert [row for row in done.red_rows() if (row.kind, row.facet) != ("server", "release")] == [], done.output[-3000:]
    return found
