"""Every key of every answer is compared, or named with the reason why not; one that nobody knows is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.logins import ADMIN, guarded, login
from support.proxy import proxying
from support.recording import FILES, Recorded, inject, keys_of, record
from support.seed import Seeder
from support.seed_objects import seed_objects
from support.servers import FreshServer, server_of
from support.stocked import stock

from completeness.answers import REST, WHOLE, answer_claims, claim_at, unclaimed
from completeness.claims import ANSWERS, Claim, wrong_column
from completeness.releases import NEWEST, RELEASES
from mlflow_parity.reading.transport.endpoints import ALLOWED


@contextmanager
def _without_proxy(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server that sends no files of its store by itself."""

    def put(root: str, path: str, content: bytes) -> None:
        place = Path(root.removeprefix("file://")) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    with server_of("newest", folder / "server", artifacts=str(folder / "elsewhere")) as server:
        seed_objects(server.uri, Seeder(server.uri).experiment("everything"), upload=put, traces=False)
        yield server.uri, {}


@contextmanager
def _with_workspaces(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server with a login and a second workspace."""
    with guarded(folder, env={"MLFLOW_ENABLE_WORKSPACES": "true"}) as one:
        seed = one.seeder()
        seed.run(seed.experiment("everything"), "a run")
        seed.call("POST", "workspaces", {"name": "team", "description": "of a team"}, version="3.0")
        yield one.uri, login(ADMIN)


#: Servers that are asked what others are not, with requests that tell it.
_OTHERS = {
    "without a proxy": (_without_proxy, {"artifacts", "model-files"}),
    "with workspaces": (_with_workspaces, {"workspaces", "current-user", "users", "roles"}),
}


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
    asked = {place.partition(": ")[0].partition(" ")[0] for place in claims}
    # a text, and files
    assert {one.name for one in ALLOWED} - asked == {"version", *FILES}


def test_a_key_that_nothing_claims_is_told() -> None:
    """Else the table of claims would pass whatever a release's answers hold."""
    claims = {"runs: runs[]": {"tags": Claim(("run.tags",)), REST: Claim(("run.other",))}}
    found = {"runs": {"runs", "next_page_token", "total"}, "runs: runs[]": {"tags", "hue"},
             "runs: runs[].tags": {"hue"}, "runs: runs[].hue": {"x"}}  # fmt: skip
    assert set(unclaimed(found, claims)) == {"runs: total", "runs: runs[].hue"}
    assert claim_at("runs: runs[].tags[].deep", claims) == Claim(("run.tags",))


@pytest.mark.long
def test_every_key_is_claimed_and_one_that_nobody_knows_is_told(stocked: str, tmp_path: Path) -> None:
    """What a server tells and nobody thought of would be lost without a word.

    A key that nobody knows is put into every object of every answer, another one on each side, once the answer was
    kept: both are red, under their facet.
    """
    found: Recorded = {}
    with proxying(stocked) as source, proxying(stocked) as target:
        ours, theirs = inject(source, "zz"), inject(target, "yy", found)
        done = audit(tmp_path, source.uri, target.uri, *WHOLE)
    keys = keys_of(found)
    assert len(keys) > 20
    assert sorted(unclaimed(keys, answer_claims())) == [], f"{ANSWERS.name} does not name keys of answers"
    assert done.status == 1, done.output[-3000:]
    assert len(ours) > 10
    assert wrong(done, ours) == {}
    assert wrong(done, theirs) == {}


@pytest.mark.long
@pytest.mark.parametrize("which", _OTHERS)
def test_servers_of_another_kind(tmp_path: Path, which: str) -> None:
    """What only a server without a proxy, or one with a login and workspaces, tells is claimed as well."""
    started, asked = _OTHERS[which]
    with started(tmp_path) as (uri, env), proxying(uri) as source, proxying(uri) as target:
        found = record(source)
        places = inject(target)
        done = audit(tmp_path / "audit", source.uri, target.uri, *WHOLE, env=env)
    keys, claims = keys_of(found), answer_claims()
    assert keys.keys() >= asked
    assert sorted(unclaimed(keys, claims)) == []
    assert wrong(done, places) == {}


def wrong(done: AuditRun, places: dict[str, str]) -> dict[str, set[str]]:
    """Return the places whose unknown key is not told under the facets that are said to have it, with those it is."""
    found = {}
    for place, told in _told(done, places):
        claim = claim_at(place, answer_claims())
        wanted = set(claim.by) if claim is not None else set()
        # of two facets of one row of the table, such as a model's and a prompt's, each has some
        if not told <= wanted or bool(told) is not bool(wanted):
            found[place] = told
    return found


def _told(done: AuditRun, places: dict[str, str]) -> Iterator[tuple[str, set[str]]]:
    """Yield each place with the facets whose findings name its key."""
    findings: list[dict[str, Any]] = done.report["findings"]
    texts = [(f"{one['kind']}.{one['facet']}", json.dumps(one)) for one in findings]
    for place, key in places.items():
        yield place, {facet for facet, text in texts if key in text}
