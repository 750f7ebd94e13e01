"""Reasons of a report that do not follow from rows of its ledger: no row tells whether they are new, or settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: How reasons begin that are about a test and not about the ledger; the node id of the test follows.
FAILED, NOT_RUN = "failed test: ", "own check that did not run to its end: "
OF_TESTS = (FAILED, NOT_RUN)
#: How a recheck begins what the report before says against it, and no recheck can take back.
STILL_OPEN = "not run again: "
#: What a reason follows from; ``run``: how the audit ended, ``recheck``: checks that it could not run again.
Of = Literal["test", "self-test", "waiver", "recheck", "parts", "run"]


@dataclass(frozen=True, slots=True)
class OtherReason:
    """One of a report's reasons; ``about`` is the same in each report that has it, whatever else its words are."""

    reason: str
    of: Of
    about: str

    @property
    def still_open(self) -> bool:
        """Whether the report before it said so, and nothing since."""
        return self.reason.startswith(STILL_OPEN)


def of(what: Of, lines: Iterable[str]) -> list[OtherReason]:
    """Return reasons that are told alike by every audit."""
    return [OtherReason(line, what, line) for line in lines]


def of_tests(lines: Iterable[str]) -> list[OtherReason]:
    """Return reasons that are about tests."""
    return [OtherReason(line, "test", line.partition(": ")[2]) for line in lines]


def told_in(report: Mapping[str, Any]) -> list[OtherReason]:
    """Return those of a report that was read; one of before they were marked tells those of tests alone."""
    marked = [OtherReason(one["reason"], one["of"], one["about"]) for one in report.get("other_reasons") or ()]
    known = {one.reason for one in marked}
    lines = (str(one) for one in report.get("reasons") or ())
    return [*marked, *of_tests(one for one in lines if one.startswith((*OF_TESTS, STILL_OPEN)) and one not in known)]


def new_since(now: Mapping[str, Any], before: Mapping[str, Any], own: Iterable[str] = ()) -> list[str]:
    """Return the reasons of a report that the one before it had not; what only waivers and the self-test say is theirs.

    ``own`` are the facets of own checks that were not green before: a recheck tells those as still open.
    """
    was = told_in(before)
    known = {_key(one) for one in was} | {one.about for one in was if one.still_open}
    settled_by_none = {*(one.about for one in was), *own}
    return [
        one.reason
        for one in told_in(now)
        if (one.still_open or one.of not in ("self-test", "waiver"))
        and not {_key(one), one.about} & known
        and not (one.still_open and one.about in settled_by_none)
    ]


def _key(one: OtherReason) -> str:
    # that a test failed and that it did not end are two things
    return one.reason if one.of == "test" and not one.still_open else one.about
