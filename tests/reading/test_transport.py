"""Whole audits over a bad line: the verdict of a good one, or red with ``unverified`` and the cause; never a hang."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from support.copied import QUICK, Outcome, audited, copied_pair, kept
from support.proxy import (
    Exchange,
    Fault,
    Proxy,
    Spoil,
    break_off,
    cut,
    empty_page,
    endless,
    half_json,
    lose_connections,
    page,
    proxying,
    reset,
    reset_in_body,
    reset_in_headers,
    same_token,
    silence,
    slow_body,
    slow_chunks,
    slow_headers,
    status,
    stop_in_body,
    too_long,
    too_short,
)
from support.servers import FreshServer, ServerPool

from mlflow_parity.reading.transport.timed import Limits

#: Seconds that any of these audits may take; an undisturbed one takes less than one.
LIMIT = 60.0
FOREVER = 10**9
HOUR = {"Retry-After": "3600"}


@dataclass(frozen=True, slots=True)
class Line:
    """A source behind a proxy, its copy as a snapshot, and what an undisturbed audit of them says."""

    proxy: Proxy
    target: str
    whole: Outcome


@pytest.fixture(scope="module")
def module_line(
    server_pool: ServerPool, module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Line]:
    """The pair; the copy is read once, so that only the source is asked after that."""
    folder = tmp_path_factory.mktemp("line")
    source, target = copied_pair(server_pool, module_server)
    copy = kept(target.uri, folder / "target")
    with proxying(source.uri) as proxy:
        whole = audited(proxy.uri, copy)
        assert whole.green, whole.reasons
        assert len(whole.rows) > 300
        yield Line(proxy, copy, whole)


@pytest.fixture
def line(module_line: Line) -> Iterator[Line]:
    """The same, undisturbed at first."""
    module_line.proxy.heal()
    yield module_line
    module_line.proxy.heal()


def audit(line: Line, *, limits: Limits = QUICK) -> Outcome:
    """Audit over the line as it is; it must end in time."""
    began = time.monotonic()
    outcome = audited(line.proxy.uri, line.target, limits=limits)
    assert time.monotonic() - began < LIMIT
    return outcome


def same(line: Line, outcome: Outcome) -> None:
    """Assert the verdict of the undisturbed audit, from the same rows and the same digest of the source."""
    assert outcome.green, outcome.reasons
    assert outcome.ledger == line.whole.ledger
    assert outcome.digests == line.whole.digests


def unverified(line: Line, outcome: Outcome, cause: str) -> None:
    """Assert red for nothing but what could not be read, each with its cause in a line."""
    assert not outcome.green
    if outcome.result is None:
        assert re.search(cause, outcome.failed), outcome.failed
        assert "\n" not in outcome.failed
        return
    red = [row for row in outcome.rows if not row.state.green]
    assert red
    assert {row.state.value for row in red} == {"unverified"}
    assert outcome.findings
    for finding in outcome.findings:
        assert finding.state.value == "unverified"
        assert "\n" not in finding.explanation
    assert any(re.search(cause, finding.explanation) for finding in outcome.findings), outcome.reasons
    # what is green was green before: nothing came of the fault but red rows
    green = {row for row in outcome.ledger if row[-1] in ("match", "expected")}
    assert green <= line.whole.ledger.keys()


EXPIRED = b'{"error_code": "ExpiredToken", "message": "The security token included in the request is expired"}'

#: Faults that hit each address once; afterwards it answers as it should.
PASSING: dict[str, Spoil] = {
    "429": status(429),
    "429 in a moment": status(429, {"Retry-After": "0"}),
    "429 in an hour": status(429, HOUR),
    "500": status(500),
    "502": status(502, body=b"<html>Bad Gateway</html>"),
    "503": status(503, HOUR),
    "reset before an answer": reset,
    "reset in headers": reset_in_headers,
    "reset in body": reset_in_body,
    "half of the JSON": half_json,
    "a web page": page,
    "body too long": too_long,
    "body too short": too_short,
    "hung up": cut,
}


class Turns:
    """Spoils one address after the other, each in another way."""

    def __init__(self, first: int) -> None:
        self._turn = itertools.count(first)
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Spoil an answer."""
        with self._lock:
            spoil = [*PASSING.values()][next(self._turn) % len(PASSING)]
        spoil(exchange, code, headers, body)


@pytest.mark.long(but=("12",))
@pytest.mark.parametrize("first", range(0, len(PASSING), 4))
def test_what_passes_changes_nothing(line: Line, first: int) -> None:
    """Every address is spoilt once, whatever it is for, each in another way: same rows, same digest."""
    line.proxy.faults.append(Fault("/", Turns(first), each=True))
    outcome = audit(line)
    same(line, outcome)
    assert len(line.proxy.spoilt) > len(PASSING)
    assert outcome.sent > line.whole.sent


def drop_twice(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Reset this connection, and the one that comes in its place before anything is read of it."""
    exchange.proxy.no_connection = 1
    break_off(exchange)


def test_connections_that_are_reset_at_once(line: Line) -> None:
    """Nothing is read of the first connection, nor of one in the midst of the audit: same rows, same digest."""
    line.proxy.no_connection = 1
    line.proxy.faults.append(Fault("/", drop_twice, after=40))
    outcome = audit(line)
    assert not outcome.failed, outcome.failed
    assert line.proxy.no_connection == 0
    assert sum(line.proxy.spoilt.values()) == 1
    same(line, outcome)
    assert outcome.sent > line.whole.sent


#: The waits of a stall are over soon; a try takes as long as they do.
STALLED = Limits(connect=0.5, read=0.7, call=1.5, tries=2, first_wait=0.005, longest_wait=0.5)
BROKEN = r"RemoteDisconnected|Connection|broke off"
LATE = r"(?i)timed out|time limit"
#: What stays, with the cause that is named, and the time limits.
STAYING: dict[str, tuple[Spoil, str, Limits]] = {
    "429": (status(429), "status 429", QUICK),
    "429 in an hour": (status(429, HOUR), "status 429", QUICK),
    "500": (status(500), "status 500", QUICK),
    "502": (status(502), "status 502", QUICK),
    "503": (status(503), "status 503", QUICK),
    "reset": (reset, BROKEN, QUICK),
    "reset in headers": (reset_in_headers, BROKEN, QUICK),
    "reset in body": (reset_in_body, BROKEN, QUICK),
    "hung up": (cut, "broke off", QUICK),
    "half of the JSON": (half_json, "not JSON|bytes", QUICK),
    "a web page": (page, "not JSON|bytes", QUICK),
    "too long": (too_long, "broke off", QUICK),
    "too short": (too_short, "not JSON|bytes", QUICK),
    "silence": (silence, LATE, STALLED),
    "silence in body": (stop_in_body, LATE, STALLED),
    "slow headers": (slow_headers, LATE, STALLED),
    "slow body": (slow_body, LATE, STALLED),
    "slow chunks": (slow_chunks, LATE, STALLED),
}
#: What stays where, several in one audit that do not hide each other.
PLACES: tuple[dict[str, str], ...] = (
    {"429": "runs/search", "503": "traces/search", "reset": "/records", "a web page": "scorers/list"},
    {
        "429 in an hour": "logged-models/search",
        "502": "registered-models/search",
        "hung up": "datasets/search",
        "too short": "scorers/versions",
    },
    {"reset in headers": "model-versions/search", "half of the JSON": "webhooks", "too long": "runs/get"},
    {"reset in body": "get-history-bulk", "500": "/experiment-ids"},
    {"silence": "/experiment-ids", "slow headers": "-artifacts/artifacts", "slow chunks": "traces/batchGet"},
    {"silence in body": "runs/search", "slow body": "model-versions/search"},
)
#: Asked once before, for whether they are there at all.
_PROBED = ("get-history-bulk", "-artifacts/artifacts")


@pytest.mark.long(but=("reset in headers half of the JSON too long",))
@pytest.mark.parametrize("places", PLACES, ids=" ".join)
def test_what_stays_is_unverified(line: Line, places: dict[str, str]) -> None:
    """Some addresses are spoilt for good: red for what hangs on each, by its cause."""
    assert set().union(*PLACES) == STAYING.keys()
    for name, where in places.items():
        line.proxy.faults.append(Fault(where, STAYING[name][0], times=FOREVER, after=where in _PROBED))
    [limits] = {STAYING[name][2] for name in places}
    outcome = audit(line, limits=limits)
    for name, where in places.items():
        assert any(where in path for path in line.proxy.spoilt), name
        unverified(line, outcome, STAYING[name][1])


@pytest.mark.long
def test_what_can_be_had_in_another_way(line: Line) -> None:
    """Histories one by one, files by their run: the same verdict, though the first way is broken for good."""
    line.proxy.faults += [
        Fault("get-history-bulk", status(500), times=FOREVER, after=1),
        Fault("mlflow-artifacts/artifacts/1/", stop_in_body, times=FOREVER),
    ]
    same(line, audit(line, limits=STALLED))


@pytest.mark.parametrize(
    ("where", "kind", "other"),
    [("datasets/search", "evaluation_dataset", "webhook"), ("webhooks", "webhook", "evaluation_dataset")],
)
def test_what_belongs_to_no_experiment_fails_alone(line: Line, where: str, kind: str, other: str) -> None:
    """Datasets are not unverified because of webhooks, nor the other way round."""
    line.proxy.faults.append(Fault(where, status(500), times=FOREVER))
    outcome = audit(line)
    unverified(line, outcome, "status 500")
    assert {row.state.green for row in outcome.rows if row.kind == kind} == {False}
    assert {row.state.green for row in outcome.rows if row.kind == other} == {True}


#: Lists of several pages, with the kind that hangs on each.
KIND_OF = {
    "runs/search": "run",
    "traces/search": "trace",
    "model-versions/search": "model_version",
    "/records": "evaluation_dataset",
    "logged-models/search": "logged_model",
}
PAGED = tuple(KIND_OF)
#: Faults of pages, what is said of them, and where they can be: some lists are of one page.
PAGES: dict[str, tuple[Spoil, str, tuple[str, ...]]] = {
    "same token": (same_token, "repeats a page token", tuple(where for where in PAGED if "logged" not in where)),
    "empty page": (empty_page, "empty page before the end", PAGED),
    "endless": (endless(), "repeats a page|came twice|empty page", PAGED),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_that_go_nowhere(line: Line, name: str) -> None:
    """A token that repeats, an empty page before the end, pages without an end: no short list passes for the whole."""
    spoil, cause, places = PAGES[name]
    line.proxy.faults += [Fault(where, spoil, times=FOREVER) for where in places]
    outcome = audit(line)
    unverified(line, outcome, cause)
    said = {(one.kind, one.explanation) for one in outcome.findings if re.search(cause, one.explanation)}
    for where in places:
        # of the records alone it is told without the address
        named = f"{where.strip('/')}|a record of a dataset" if where == "/records" else where
        assert any(kind == KIND_OF[where] and re.search(named, text) for kind, text in said), where
    red = {row.kind for row in outcome.rows if not row.state.green}
    assert {KIND_OF[where] for where in places} <= red


@pytest.mark.long(but=("empty page-webhooks",))
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("empty page", "experiments/search"),
        ("endless", "registered-models/search"),
        ("endless", "datasets/search"),
        ("empty page", "webhooks"),
    ],
)
def test_lists_that_go_nowhere(line: Line, name: str, where: str) -> None:
    """Without the list of experiments there is no audit; without another there is one, and it is red."""
    spoil, cause, _ = PAGES[name]
    line.proxy.faults.append(Fault(where, spoil, times=FOREVER))
    unverified(line, audit(line), cause)


@pytest.mark.parametrize(("code", "after"), [(401, 0), (403, 9), (401, 23), (403, 40), (401, 61)])
def test_credentials_that_expire(line: Line, code: int, after: int) -> None:
    """From some request on all are refused: nothing that was not read is green, and the refusal is the cause."""
    line.proxy.faults.append(Fault("/", status(code, body=EXPIRED), times=FOREVER, after=after))
    outcome = audit(line)
    unverified(line, outcome, f"status {code}.*token included in the request is expired")


@pytest.mark.parametrize("after", [3, 40])
def test_a_server_that_dies(line: Line, after: int) -> None:
    """From some request on no connection comes about any more."""
    line.proxy.faults.append(Fault("/", lose_connections, times=FOREVER, after=after))
    unverified(line, audit(line), BROKEN)


@pytest.mark.long(but=("429",))
@pytest.mark.parametrize("spoil", [slow_headers, status(429)], ids=["slow headers", "429"])
def test_a_server_that_gives_nothing_any_more(line: Line, spoil: Spoil) -> None:
    """Every address stalls from some request on: the audit waits about as long as for one of them, not for each."""
    line.proxy.faults.append(Fault("/", spoil, times=FOREVER, after=30))
    outcome = audit(line, limits=STALLED)
    unverified(line, outcome, f"{LATE}|status 429")
