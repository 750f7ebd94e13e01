"""Every route by which a release's server tells something is asked by an audit, or named with the reason why not."""

from __future__ import annotations

import pytest

from completeness.claims import NOT_READ, READ, ROUTES, WRITES, Claim, route_claims, routes, routes_of, wrong_route
from completeness.releases import RELEASES
from mlflow_parity.reading.transport.endpoints import ALLOWED


@pytest.mark.parametrize("version", RELEASES)
def test_every_route_of_a_release_is_claimed(version: str) -> None:
    """A route that a release adds may tell of objects that no audit knows: its skills were 15 routes."""
    unnamed = sorted(routes_of(version) - route_claims().keys())
    assert unnamed == [], f"the server of MLflow {version} has routes that {ROUTES.name} does not name"


def test_every_claim_is_true() -> None:
    """A route that is said to be read and that the allow-list refuses would be a promise that nobody keeps."""
    claims = route_claims()
    assert sorted(claims.keys() - routes().keys()) == []
    assert [one for name, claim in claims.items() for one in wrong_route(name, claim)] == []


def test_every_request_that_an_audit_can_send_is_a_route() -> None:
    """A request that no release's server has is one by mistake; one that is sent is not to be called "not read"."""
    claims = route_claims()
    assert {claim.by[0] for claim in claims.values() if claim.word == READ} == {one.name for one in ALLOWED}
    sent = {f"{one.method} {one.path.replace('/ajax-api/', '/api/')}" for one in ALLOWED}
    assert {name for name, claim in claims.items() if claim.word != READ} & sent == set()


def test_what_is_wrong_with_a_claim_is_told() -> None:
    """Else a slip of the pen in the table of claims would pass as a request, or as a reason."""
    assert list(wrong_route("GET /version", Claim(("version",), READ))) == []
    refused = ["POST /version: no request 'version' of the allow-list asks for it"]
    assert list(wrong_route("POST /version", Claim(("version",), READ))) == refused
    assert len(list(wrong_route("GET /version", Claim(("nothing",), READ)))) == 1
    assert len(list(wrong_route("GET /version", Claim((), WRITES)))) == 1
    assert len(list(wrong_route("GET /version", Claim((), NOT_READ, "")))) == 1
    assert len(list(wrong_route("GET /version", Claim((), "wrties", "")))) == 1
