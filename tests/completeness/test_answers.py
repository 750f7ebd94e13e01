"""Every key of every answer is compared, or named with the reason why not; one that nobody knows is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.proxy import proxying
from support.recording import inject, keys_of
from support.servers import FreshServer
from support.stocked import stock

from completeness.answers import REST, WHOLE, answer_claims, answers, claim_at, unclaimed
from completeness.claims import ANSWERS, Claim, wrong_column
from completeness.releases import NEWEST, RELEASES


@pytest.fixture(scope="module", params=RELEASES)
def stocked(request: pytest.FixtureRequest, module_server: FreshServer) -> str:
    """A server of a release with everything that it can hold."""
    version: str = request.param
    word = "newest" if version == NEWEST else version
    server = module_server(word)
    stock(server, word, version)
    return server.uri


def test_every_claim_is_true() -> None:
    """A facet that is not there, or a reason that nobody gives, would promise what nobody does."""
    claims = answer_claims()
    said = [(f"{place}: {key}", claim) for place, keys in claims.items() for key, claim in keys.items()]
    assert [one for name, claim in said for one in wrong_column(name, claim)] == []
    assert [place for place, keys in claims.items() if REST not in keys] == []


def test_a_key_that_nothing_claims_is_told() -> None:
    """Else the table of claims would pass whatever a release's answers hold."""
    claims = {"runs: runs[]": {"tags": Claim(("run.tags",)), REST: Claim(("run.other",))}}
    found = {"runs": {"runs", "next_page_token", "total"}, "runs: runs[]": {"tags", "hue"},
             "runs: runs[].tags": {"hue"}, "runs: runs[].hue": {"x"}}  # fmt: skip
    assert set(unclaimed(found, claims)) == {"runs: total", "runs: runs[].hue"}
    assert claim_at("runs: runs[].tags[].deep", claims) == Claim(("run.tags",))


@pytest.mark.long
def test_every_key_of_every_answer_is_claimed(stocked: str, tmp_path: Path) -> None:
    """What a server tells and nobody thought of would be lost without a word."""
    keys = keys_of(answers(stocked, tmp_path))
    assert len(keys) > 20
    assert sorted(unclaimed(keys, answer_claims())) == [], f"{ANSWERS.name} does not name keys of answers"


@pytest.mark.long
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_key_that_nobody_knows_is_told(stocked: str, tmp_path: Path, side: str) -> None:
    """One is put into every object of every answer of a side: each is red under the facet that is said to have it."""
    with proxying(stocked) as source, proxying(stocked) as target:
        places = inject(source if side == "source" else target)
        done = audit(tmp_path, source.uri, target.uri, *WHOLE)
    assert done.status == 1, done.output[-3000:]
    claims, told = answer_claims(), dict(_told(done, places))
    wrong = {}
    for place in places:
        claim = claim_at(place, claims)
        wanted = set(claim.by) if claim is not None else set()
        # of two facets of one row of a table, such as a model's and a prompt's, each has some
        if not told[place] <= wanted or bool(told[place]) is not bool(wanted):
            wrong[place] = told[place]
    assert wrong == {}


def _told(done: AuditRun, places: dict[str, str]) -> Iterator[tuple[str, set[str]]]:
    """Yield each place with the facets whose findings name its key."""
    findings: list[dict[str, Any]] = done.report["findings"]
    texts = [(f"{one['kind']}.{one['facet']}", json.dumps(one)) for one in findings]
    for place, key in places.items():
        yield place, {facet for facet, text in texts if key in text}
