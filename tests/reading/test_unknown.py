"""Fields that a newer MLflow adds are compared, in both directions: none is dropped because nothing here knows it.

A real server stands behind two proxies, one for each side, which put fields into its answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faults.unknown import FIELD, UNKNOWN, WITHIN, plant
from support.audits import AuditRun, audit
from support.proxy import Fault, Proxy, proxying, status
from support.seed import Seeder
from support.seed_objects import seed_objects
from support.servers import FreshServer

from mlflow_parity.core.identity.digests import experiment_digest, listed_digest, run_digest
from mlflow_parity.core.records import LINKED, Experiment
from mlflow_parity.kinds.rules.contract import FACETS
from mlflow_parity.kinds.schema.base import OTHER
from mlflow_parity.kinds.schema.listing import named
from mlflow_parity.kinds.schema.unknown import PAIRS, Each, claims, unclaimed
from mlflow_parity.reading.records import run
from mlflow_parity.reading.traces.spans import spans_of
from mlflow_parity.snapshot.schema import row_run, run_row

NEWER = "3.98.0"
SECRET = "the-secret-of-a-webhook"
EXPERIMENT = Experiment("1", "one", "active", "s3://a", 1, 1, {})


@pytest.fixture(scope="module")
def everything(module_server: FreshServer) -> str:
    """A server with every kind of object."""
    server = module_server("newest")
    seed_objects(server.uri, Seeder(server.uri).experiment("everything"))
    return server.uri


@contextmanager
def sides(uri: str) -> Iterator[tuple[Proxy, Proxy]]:
    """Two addresses of one server."""
    with ExitStack() as stack:
        yield stack.enter_context(proxying(uri)), stack.enter_context(proxying(uri))


def compared(folder: Path, source: Proxy, target: Proxy) -> AuditRun:
    """Audit the server against itself."""
    return audit(folder, source.uri, target.uri, "--parity-profile", "same-store", "--parity-two-servers",
                 "--parity-max-findings", "1000")  # fmt: skip


def said(done: AuditRun) -> set[tuple[str, str, str, str]]:
    """Kind, facet, key and state of every finding about an object."""
    found = [one for one in done.report["findings"] if one["kind"] != "server"]
    return {(one["kind"], one["facet"], one["key"], one["state"]) for one in found}


def test_every_kind_has_its_place() -> None:
    """A kind that is left out here would be one of which a newer field is lost in silence."""
    assert UNKNOWN.keys() == {kind for kind, facets in FACETS.items() if OTHER in facets}


@pytest.mark.long
def test_equal_on_both_sides_is_green(everything: str, tmp_path: Path) -> None:
    """What is the same is no finding, however unknown it is; the self-test finds it when it is altered."""
    with sides(everything) as (source, target):
        for side in (source, target):
            plant(side, UNKNOWN.values(), {"hue": 7})
        done = audit(tmp_path, source.uri, target.uri, "--parity-profile", "same-store", "--parity-two-servers",
                     "--parity-self-test")  # fmt: skip
    assert (done.status, said(done)) == (0, set()), done.output[-3000:]


def test_another_value_is_red(everything: str, tmp_path: Path) -> None:
    """Each kind is named, with the way to the place that differs."""
    with sides(everything) as (source, target):
        for side, hue in ((source, 7), (target, 8)):
            plant(side, [place for kind, place in UNKNOWN.items() if kind != "webhook"], {"hue": hue, "name": "a"})
            plant(side, [UNKNOWN["webhook"]], {"hue": hue, "name": SECRET})
        done = compared(tmp_path, source, target)
    assert SECRET not in done.output + json.dumps(done.report)
    assert done.status == 1
    # what nothing knows of a webhook may be a secret: a digest stands for it
    assert said(done) == {
        (kind, OTHER, place.key if kind == "webhook" else f"{place.key}: hue", "mismatch")
        for kind, place in UNKNOWN.items()
    }


@pytest.mark.parametrize(("side", "state"), [(0, "missing"), (1, "extra")])
def test_on_one_side_alone_it_is_red(everything: str, tmp_path: Path, side: int, state: str) -> None:
    """Of servers of one release, both would tell it."""
    with sides(everything) as both:
        plant(both[side], UNKNOWN.values(), "blue")
        done = compared(tmp_path, *both)
    assert done.status == 1
    assert said(done) == {(kind, OTHER, place.key, state) for kind, place in UNKNOWN.items()}


@pytest.mark.long
@pytest.mark.parametrize("side", [0, 1])
def test_what_only_a_newer_release_tells_is_unverified(everything: str, tmp_path: Path, side: int) -> None:
    """Its name is given with both releases: nobody can say whether it was lost."""
    with sides(everything) as both:
        plant(both[side], UNKNOWN.values(), "blue")
        both[side].faults.append(Fault("/version", status(200, body=NEWER.encode()), times=1 << 30))
        done = compared(tmp_path, *both)
    assert done.status == 1
    other = {one for one in said(done) if one[1] == OTHER}
    assert other == {(kind, OTHER, place.key, "unverified") for kind, place in UNKNOWN.items()}
    assert f"MLflow {NEWER}) tells it" in done.output


@pytest.mark.long
def test_within_lists(everything: str, tmp_path: Path) -> None:
    """A tag, a metric, an assessment, a span: what is told beside of one is compared, too."""
    with sides(everything) as (source, target):
        plant(source, WITHIN.values(), "blue")
        plant(target, WITHIN.values(), "red")
        done = compared(tmp_path, source, target)
    found = said(done)
    assert done.status == 1
    assert {(kind, facet) for kind, facet, _, _ in found} == {(kind, facet) for kind, facet, _ in WITHIN}
    for kind, facet, key in WITHIN:
        assert any(one[:2] == (kind, facet) and key in one[2] for one in found), (kind, facet, found)


def test_the_snapshot_keeps_it() -> None:
    """It comes back as it was read, and a difference in it alone makes other digests; most runs keep nothing of it."""
    info = {"run_id": "1" * 32, "experiment_id": "1", "status": "FINISHED", FIELD: ["blue", 1.5]}
    plain, found = (run({"info": {**info, FIELD: color}}) for color in (None, info[FIELD]))
    assert row_run(run_row(found)) == found
    assert found.other == {f"info: {FIELD}": ["blue", 1.5]}
    assert run_row(plain)["other"] is None
    assert run_digest(plain) != run_digest(found)
    linked = replace(plain, model_inputs=(), model_outputs=(), other={f"{LINKED}outputs: {FIELD}": "blue"})
    # a list of runs does not tell it
    assert run_digest(linked) != run_digest(replace(linked, other={}))
    assert listed_digest(linked) == listed_digest(plain)
    one, other = (replace(EXPERIMENT, other={FIELD: color}) for color in ("blue", "red"))
    assert experiment_digest(one) != experiment_digest(other) != experiment_digest(EXPERIMENT)


def test_names_and_values() -> None:
    """What is told beside an alias or a tag is kept with it; one of which nothing more is told is its value."""
    entries = [{"key": "a", "value": "1"}, {"key": "b"}, {"key": "c", "value": "2", FIELD: "blue"}]
    assert named(entries, "key", "value", "") == {"a": "1", "b": "", "c": entries[2]}


def test_typed_values() -> None:
    """A value of a span in protobuf's form that tells more than its type and itself is kept as it is."""
    plain, more = {"int_value": "7"}, {"int_value": "7", FIELD: "blue"}
    typed: list[dict[str, Any]] = [
        {"key": "a", "value": plain}, {"key": "b", "value": more}, {"key": "c", "value": plain, FIELD: "blue"},
        {"key": "d", "value": {"array_value": {"values": [plain, more]}}},
        {"key": "e", "value": {"array_value": {"values": [plain], FIELD: "blue"}}},
        {"key": "f", "value": {"kvlist_value": {"values": [{"key": "g", "value": plain, FIELD: "blue"}]}}},
    ]  # fmt: skip
    [span] = spans_of([{"span_id": "0" * 16, "name": "s", "start_time_unix_nano": "1", "attributes": typed}])
    assert span["attributes"] == {
        "a": 7, "b": more, "c": typed[2], "d": [7, more], "e": typed[4]["value"]["array_value"],
        "f": {"g": typed[5]["value"]["kvlist_value"]["values"][0]},
    }  # fmt: skip


def test_claims() -> None:
    """What is claimed is left out, what is empty says nothing, entries stand under their names in any order."""
    claimed = claims("id", info=claims("name"), tags=PAIRS, items=Each(claims("n"), lambda one: str(one["n"])))
    entry = {
        "id": 1,
        "info": {"name": "x", "size": 0, "empty": []},
        "tags": [{"key": "a", "value": "1"}, {"key": "b", "value": "2", "by": "ada"}],
        "items": [{"n": 1, "z": 2}, {"n": 1, "z": 1}],
        FIELD: None,
        "new": False,
    }
    assert unclaimed(entry, claimed) == {
        "info: size": 0, "tags: by": {"b": ["ada"]}, "items: z": {"1": [1, 2]}, "new": False
    }  # fmt: skip
    assert unclaimed({"id": 1, "info": "not what it was", "tags": None}, claimed) == {}
