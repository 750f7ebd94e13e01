"""How long a list is: by real servers of several releases, and by lists whose tokens are of another form."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import unhurried
from support.seed import EPOCH, Seeder
from support.seed_traces import trace
from support.servers import FreshServer

from mlflow_parity.core.errors import MalformedAnswer, RequestRefused
from mlflow_parity.core.locations import parse_arn, parse_location
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.probed import Probed
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.totals import NEAR, Paged, Total, form_of, token_at
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.snapshot import PARTS, SERVER_PARTS
from mlflow_parity.standin.sagemaker import StandIn

EVERYTHING = frozenset({*PARTS, *SERVER_PARTS})


class List:
    """A list of so many numbers, as a store of MLflow gives it."""

    def __init__(self, count: int, *, opaque: bool = False, strict: bool = False) -> None:
        self.count, self.opaque, self.strict = count, opaque, strict
        self.asked = 0

    def __call__(self, token: str | None, most: int) -> tuple[Sequence[int], str | None]:
        """Return a page."""
        self.asked += 1
        start = 0
        if token is not None and self.opaque:
            start = int(token.removeprefix("after-"))
        elif token is not None:
            start = json.loads(base64.b64decode(token))["offset"]
            if self.strict and start % 1000 and start != 2:
                raise RequestRefused("no such token", status=400)
        page = range(start, min(start + most, self.count))
        end = page.stop
        if end >= self.count:
            return page, None
        return page, f"after-{end}" if self.opaque else token_at({"offset": 0, "beside": ["1"]}, end)


@given(st.integers(0, 10**7))
@unhurried
def test_its_length_is_found_by_halving(count: int) -> None:
    """Exactly, or nearly and with fewer requests; a list of millions takes some dozen."""
    exact, near = List(count), List(count)
    assert Paged(exact).total() == Total(count)
    assert abs(Paged(near).total(near=NEAR).count - count) <= max(1, count * NEAR)
    assert near.asked <= exact.asked + 1
    assert near.asked <= 20


@pytest.mark.parametrize("options", [{"opaque": True}, {"strict": True}], ids=["of another form", "refused"])
def test_where_tokens_cannot_be_moved_its_pages_are_turned(options: dict[str, bool]) -> None:
    """The length is right, or is told as *at least* so many."""
    assert Paged(List(3500, **options)).total() == Total(3500)
    assert Paged(List(3500, **options)).total(most_pages=2) == Total(2000, at_least=True)
    assert Paged(List(900, **options)).total(most_pages=2) == Total(900)


def test_a_server_that_does_not_go_where_a_token_leads_is_seen() -> None:
    """One that gives the first page for any token would have a list without an end."""

    def same(token: str | None, most: int) -> tuple[Sequence[int], str | None]:
        return range(most), token_at({}, most)

    with pytest.raises(MalformedAnswer, match="repeats a page token"):
        Paged(same).total()

    def endless(token: str | None, most: int) -> tuple[Sequence[int], str | None]:
        start = 0 if token is None else json.loads(base64.b64decode(token))["offset"]
        return range(start, start + most), token_at({}, start + most)

    with pytest.raises(MalformedAnswer, match="does not end"):
        Paged(endless).total()


@pytest.mark.parametrize(
    "token",
    ["", "x", "e30=", "bnVsbA==", "eyJvZmZzZXQiOiB0cnVlfQ==", "W10=", "é", "[" * 99_999, "eyJvZmZzZXQiOiAzfQ"],
)
def test_what_is_no_offset_is_no_offset(token: str) -> None:
    """Any other text is left as it is."""
    assert form_of(token, offset=1) is None
    nested = base64.b64encode(b"[" * 100_000).decode()
    assert form_of(nested, offset=1) is None


def test_some_of_it_are_from_all_over() -> None:
    """Also of one whose tokens cannot be moved, from its beginning then."""
    paged = Paged(List(10_000))
    some = paged.some(paged.total().count, 5, 10)
    assert len(some) == len(set(some)) == 50
    assert (min(some), max(some)) == (0, 9_999)
    opaque = Paged(List(10_000, opaque=True))
    assert list(opaque.some(opaque.total().count, 5, 10)) == list(range(50))


# --- real servers

RUNS, STEPS = 23, 7


@contextmanager
def probing(uri: str, **given: Any) -> Iterator[Probed]:
    """Probe a server."""
    reader = open_reader(parse_location(uri, option="--source-uri"), "source", 4)
    try:
        experiments = [one for one in reader.experiments() if one.lifecycle_stage == "active"]
        yield reader.probe(experiments, EVERYTHING, "digest", include_deleted=False, links=True, **given)
    finally:
        reader.close()


@pytest.mark.long(but=("newest",))
@pytest.mark.parametrize("version", ["newest", "2.16.2", "2.22.5", "3.4.0", "3.10.1"])
def test_what_real_servers_hold(version: str, fresh_server: FreshServer) -> None:
    """Each release's tokens lead to the number of runs, and probes to their points, files and traces."""
    seed = Seeder(fresh_server(version).uri)
    ids = [seed.experiment(name) for name in ("one", "two")]
    traced = version.startswith("3") or version == "newest"
    for number in range(RUNS):
        run = seed.run(ids[number % 2], f"run {number}", start=EPOCH + number)
        seed.log(run, metrics=[("loss", float(step), EPOCH + step, step) for step in range(STEPS)])
        seed.artifact(run, "model/weights.bin", b"x" * 100)
        seed.end(run)
        if number < 5 and traced:
            trace(seed, ids[0], f"trace {number}")
    for brief in (False, True):
        with probing(seed.uri, brief=brief) as found:
            assert found.missed == []
            assert not found.at_least
            assert (found.experiments, found.runs) == (3, RUNS)
            assert found.points == pytest.approx(RUNS * STEPS)
            assert found.files == pytest.approx(RUNS)
            assert found.size == pytest.approx(RUNS * 100)
            assert found.traces == (5 if traced else 0)
            assert 0 < found.spent < 140
            assert found.requests["files"] == pytest.approx(RUNS)
            assert sum(found.seconds.values()) > 0


def test_an_empty_server_needs_nothing(fresh_server: FreshServer) -> None:
    """Nothing to sample is no error."""
    with probing(fresh_server().uri) as found:
        assert (found.runs, found.points, found.files, found.traces) == (0, 0, 0, 0)
        assert found.missed == []


def test_in_s3_no_place_is_listed_whole(sagemaker_app: StandIn) -> None:
    """One walk of an experiment may be a million keys: some runs' folders say what there is, and no file is read."""
    seed = Seeder(sagemaker_app.server.uri)
    experiment = seed.experiment("probed in S3")
    writer = sagemaker_app.s3.client(sagemaker_app.credentials, "us-east-1")
    for number in range(30):
        run = seed.run(experiment, f"run {number}", start=EPOCH + number)
        uri = seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"]
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        for file in range(2):
            writer.put_object(Bucket=bucket, Key=f"{prefix}/file {file}", Body=b"x" * 50)
        seed.end(run)
    location = parse_arn(sagemaker_app.arn, custom_endpoint=sagemaker_app.gateway.endpoint)
    found = credentials(location, "source", sagemaker_app.environment("SOURCE_"))
    asked: list[tuple[str, str]] = []

    def seen(params: Any, model: Any, **_: Any) -> None:
        asked.append((model.name, params.get("Prefix") or params.get("Key", "")))

    reader = ServerReader(Session(location, found), found)
    experiments = [one for one in reader.experiments() if one.experiment_id == experiment]
    found.aws.s3.meta.events.register("provide-client-params.s3", seen)
    probed = reader.probe(experiments, EVERYTHING, "digest", include_deleted=False, links=False)
    reader.close()
    assert [probed.runs, probed.files, probed.size] == pytest.approx([30, 60, 3000])
    assert probed.missed == []
    assert any("artifact store itself" in one for one in probed.beside)
    assert {name for name, _ in asked} == {"ListObjectsV2"}
    assert len(asked) == 30
    assert all("/artifacts/" in prefix for _, prefix in asked)
