"""What a worker gives back is untrusted: whole and of the shard that was asked for, or one line and no verdict."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_parity.audit.looking.second_look import Change
from mlflow_parity.audit.recording import Judged
from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.shards.gathering import Gathered
from mlflow_parity.audit.shards.part import LAST, UNCOUNTED, PartReader, PartWriter, Shard, Sums
from mlflow_parity.audit.waivers.waivers import WaiverBook
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.redaction import MASK, Redactor
from mlflow_parity.core.subset import Subset, Tally
from mlflow_parity.core.verdict import Finding, Row, State
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.reading.transport.answering import each_of

SHARD = Shard("7", "churn – Übung")
SOURCE: Any = type("Source", (), {"experiment_id": SHARD.experiment_id, "name": SHARD.label})
COUNTS: dict[Any, dict[str, int]] = {
    side: {"points": 3, "files": 1, "bytes": 9, "requests": 2} for side in ("source", "target")
}
WAIVERS = {"covered": {0: 2}, "unread": {1: 1}, "other_values": {}}
LINE = "what a worker gave of churn – Übung"


def clean(text: str) -> str:
    """What rows pass; no secret is in them."""
    return text


def rows(shard: Shard = SHARD, count: int = 40) -> list[Judged]:
    """Rows of some runs, those of the shard alone, every third with a difference."""
    found = []
    for number in range(count):
        ours, theirs = f"{number:032x}", f"{number + 1000:032x}"
        if not shard.subset.holds_row(ours, theirs):
            continue
        state = State.MISMATCH if number % 3 == 0 else State.MATCH
        row = Row(shard.label, "run", f"r{number}\ud800", ours, theirs, "params", state, "source-tag", number % 3 == 0)
        row = replace(row, findings=int(row.findings), rules=("a",), evidence=(("sha256", ("x/ü.bin",)),))
        difference = Finding(
            shard.label, "run", "r", ours, theirs, "params", "k", State.MISMATCH, "r", "1", None, "why", ("a", False)
        )
        found.append(Judged(row, (difference,) if row.findings else ()))
    return found


def written(path: Path, judged: Sequence[Judged], shard: Shard = SHARD, **changes: Any) -> Path:
    """A part with these rows, and what they come to."""
    writer = PartWriter(path, shard, Redactor([]))
    whole = Tally()
    for one in rows(replace(shard, subset=Subset(1, 1))):
        whole.add(["run params"], "run", one.row.source_id, one.row.target_id)
    for one in judged:
        writer.add(0, int(str(one.row.source_id), 16), one)
    change = Change("source", shard.label, "run", "r1", "1" * 32, ("params", "tags"))
    sums = Sums(whole=whole, changes=(change,), notes=("n",), settled=1, explained=2, waivers=WAIVERS, counts=COUNTS)
    writer.end(replace(sums, **changes))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Rows with all of their fields, in order, and what was noticed beside them."""
    judged = rows()
    reader = PartReader(written(tmp_path / "part", judged), SHARD, clean)
    assert [one.judged for one in reader.rows()] == judged
    sums = reader.sums
    assert (sums.rows, sums.notes, sums.settled, sums.explained) == (40, ("n",), 1, 2)
    assert (sums.waivers, sums.counts, sums.changes[0].facets) == (WAIVERS, COUNTS, ("params", "tags"))
    assert sums.whole.counts == {"run params": 40}


def test_no_secret_is_written(tmp_path: Path) -> None:
    """Whatever a server's data hold: a password in a name, a value or a note."""
    secret = "hunter2-and-more"
    dirty = [replace(one, row=replace(one.row, name=secret, note=f"see {secret}")) for one in rows()[:3]]
    dirty = [replace(one, findings=tuple(replace(f, source=secret) for f in one.findings)) for one in dirty]
    writer = PartWriter(tmp_path / "part", SHARD, Redactor([secret]))
    for number, one in enumerate(dirty):
        writer.add(0, number, one)
    writer.end(Sums(waivers=WAIVERS, counts=COUNTS, notes=(secret,)))
    text = gzip.decompress((tmp_path / "part").read_bytes()).decode()
    assert secret not in text
    assert text.count(MASK) >= 8


def _lines(path: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    """Alter the lines of a part, as whoever writes to the shared place could."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    path.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in change(lines)).encode()))


def _set(place: Sequence[int | str], value: Any) -> Callable[[list[Any]], list[Any]]:
    def change(lines: list[Any]) -> list[Any]:
        inner: Any = lines
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        return lines

    return change


ALTERED: dict[str, Callable[[list[Any]], list[Any]]] = {
    "another shard": _set((0, "shard"), ["8", "churn – Übung", 1, 1]),
    "no head": lambda lines: lines[1:],
    "no end": lambda lines: lines[:-1],
    "only a head": lambda lines: lines[:1],
    "nothing": lambda lines: [],
    "a row less": lambda lines: [*lines[:3], *lines[4:]],
    "a row twice": lambda lines: [*lines[:3], *lines[2:]],
    "two ends": lambda lines: [*lines, lines[-1]],
    "rows after the end": lambda lines: [*lines, lines[1]],
    "rows turned round": lambda lines: [lines[0], *lines[-2:0:-1], lines[-1]],
    "rows of another experiment": _set((2, 2, "experiment"), "other"),
    "the experiment itself": _set((2, 2, "kind"), "experiment"),
    "a state that is none": _set((2, 2, "state"), "fine"),
    "a number for a text": _set((2, 2, "name"), 7),
    "a text for a number": _set((2, 2, "findings"), "0"),
    "a truth for a number": _set((2, 2, "findings"), True),
    "less than nothing": _set((2, 2, "findings"), -1),
    "a field more": _set((2, 2, "more"), 1),
    "a row that is a text": _set((2,), "row"),
    "a row that is nothing": _set((2,), None),
    "a list for a row": _set((2, 2), []),
    "a rule that is a number": _set((2, 2, "rules"), [1]),
    "evidence that is a text": _set((2, 2, "evidence"), ["x"]),
    "a finding of other fields": _set((1, 3), {"key": "k"}),
    "a place below nothing": _set((2, 1), -5),
    "no tally": _set((-1, "whole"), None),
    "a digest that is none": _set((-1, "whole", "run params", "digest"), "x"),
    "a model that is no pair": _set((-1, "models"), ["abc"]),
    "a change of other fields": _set((-1, "changes"), [{"side": "source"}]),
    "no counts": _set((-1, "counts"), {}),
    "counts below nothing": _set((-1, "counts", "source", "points"), -1),
    "places that are none": _set((-1, "places"), {"source": {"refused": "x"}}),
    "buckets that are none": _set((-1, "etags"), {"source": {"wrong": [1], "rested": []}}),
    "an S3 that is none": _set((-1, "answered"), {"source": {"endpoint": [], "s3_endpoint": [7], "unproved": []}}),
    "waivers that are none": _set((-1, "waivers"), {"covered": {"x": 1}}),
    "rows that it does not have": _set((-1, "rows"), 41),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_part_is_one_line(tmp_path: Path, what: str) -> None:
    """However it is altered: nobody takes it for what a worker has judged."""
    path = written(tmp_path / "part", rows())
    _lines(path, ALTERED[what])
    with pytest.raises(UsageProblem, match=LINE) as caught:
        list(PartReader(path, SHARD, clean).rows())
    assert "\n" not in str(caught.value)


def test_a_part_that_is_cut_or_no_part(tmp_path: Path) -> None:
    """At any byte; other files; nested without end."""
    path = written(tmp_path / "part", rows())
    whole = path.read_bytes()
    draw = random.Random(5)
    spoilt = [whole[: draw.randrange(len(whole))] for _ in range(60)]
    for _ in range(60):
        at = draw.randrange(len(whole))
        spoilt.append(whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :])
    spoilt += [b"", b"no gzip", gzip.compress(b"[" * 100_000), gzip.compress(b"{}\n"), gzip.compress("ü".encode())]
    for content in spoilt:
        path.write_bytes(content)
        found = None
        with suppress(UsageProblem):
            found = [one.judged for one in PartReader(path, SHARD, clean).rows()]
        # or a bit of gzip's own head that means nothing
        assert found in (None, rows())


def test_objects_of_another_part(tmp_path: Path) -> None:
    """A worker that was asked for one half and gives some of the other one."""
    shard = replace(SHARD, subset=Subset(1, 2))
    path = written(tmp_path / "part", rows(), shard)
    with pytest.raises(UsageProblem, match="objects of another part"):
        list(PartReader(path, shard, clean).rows())


class Files:
    """Gives parts that were written before, each time that they are asked for."""

    def __init__(self, give: Callable[[Shard, int], Sequence[Path]]) -> None:
        self._give = give
        self.asked: list[Shard] = []

    def open(self, files: Any) -> int:
        """Nothing is needed."""
        return 2

    def work(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Path]]:
        """Give what there is of each."""
        for shard in shards:
            self.asked.append(shard)
            for path in self._give(shard, self.asked.count(shard)):
                yield shard, path


def _do(cluster: Files, shards: Sequence[Shard]) -> Gathered:
    gathered = Gathered(cluster, clean)
    gathered._do(shards, Silent())
    return gathered


def test_each_shard_is_given_once(tmp_path: Path) -> None:
    """Not at all or twice is no verdict; nor are rows that are not what was counted."""
    good = written(tmp_path / "good", rows())
    _do(Files(lambda *_: [good]), [SHARD])
    with pytest.raises(UsageProblem, match="was not given back"):
        _do(Files(lambda *_: []), [SHARD])
    with pytest.raises(UsageProblem, match="given back twice"):
        _do(Files(lambda *_: [good, good]), [SHARD])
    less = written(tmp_path / "less", rows()[1:])
    with pytest.raises(UsageProblem, match="contradicts itself: it counts other objects"):
        _do(Files(lambda *_: [less]), [SHARD])


def test_rows_come_in_the_order_of_one_audit(tmp_path: Path) -> None:
    """Of three parts, whichever was done first; what is of no object is said once, and last."""
    lists = Judged(Row(SHARD.label, "run", "(all)", None, None, "params", State.UNVERIFIED, note="not read"))
    late = Judged(Row(SHARD.label, "run", "late", "f" * 32, None, "params", State.MISSING))
    parts = {}
    for number in (3, 1, 2):
        shard = replace(SHARD, subset=Subset(number, 3))
        writer = PartWriter(tmp_path / str(number), shard, Redactor([]))
        for one in rows(shard):
            writer.add(0, int(str(one.row.source_id), 16), one)
        if shard.subset.holds(str(late.row.source_id)):
            writer.add(0, UNCOUNTED, late)
        writer.add(0, LAST, lists)
        whole = Tally()
        for one in rows():
            whole.add(["run params"], "run", one.row.source_id, one.row.target_id)
        writer.end(Sums(whole=whole, waivers=WAIVERS, counts=COUNTS))
        parts[shard] = tmp_path / str(number)
    gathered = _do(Files(lambda shard, _: [parts[shard]]), list(parts))
    assert list(gathered.rows(SOURCE, {})) == [*rows(), late, lists]


NONE: dict[str, dict[int, int]] = {"covered": {}, "unread": {}, "other_values": {}}


def test_who_answered_the_workers(tmp_path: Path) -> None:
    """They read files with their own variables: the report names that S3, and two of them are no verdict."""
    parts = {}
    for number, s3 in enumerate(("http://one:9000", "http://one:9000", "")):
        told = {"source": {"endpoint": [""], "s3_endpoint": [s3], "unproved": ["S3"] if number else []}}
        parts[number] = written(tmp_path / str(number), rows(), answered=told, waivers=NONE)
    none: Any = {"source": SimpleNamespace(reader=None), "target": SimpleNamespace(reader=None)}
    for which, both in (((0, 1), ""), ((0, 2), "http://one:9000 and its own")):
        shards = [SHARD, replace(SHARD, experiment_id="8")]
        gathered = Gathered(Files(lambda *_: []), clean)
        for shard, number in zip(shards, which, strict=True):
            reader = PartReader(parts[number], SHARD, clean)
            list(reader.rows())
            gathered._parts[shard.experiment_id] = [reader]
        result = Result(Selection((), ()))
        if both:
            with pytest.raises(UsageProblem, match=f"workers read the source from two S3s .{both}."):
                gathered.finish(result, WaiverBook(()), none)
            continue
        gathered.finish(result, WaiverBook(()), none)
        assert result.answered == {"source": {"endpoint": [""], "s3_endpoint": ["http://one:9000"], "unproved": ["S3"]}}
    assert each_of("", ["http://one:9000"], "AWS") == "AWS and http://one:9000"
    assert each_of("http://one:9000", ["http://one:9000"], "AWS") == "http://one:9000"


def test_what_the_lists_name_has_a_row(tmp_path: Path) -> None:
    """A worker that looked at another list than this process: one object of either side is enough."""
    gathered = _do(Files(lambda *_: [written(tmp_path / "good", rows())]), [SHARD])
    known = {one.row.source_id or "" for one in rows()} | {one.row.target_id or "" for one in rows()}
    assert list(gathered.rows(SOURCE, {"run": known})) == rows()
    # of what changed meanwhile a worker says so
    assert list(gathered.rows(SOURCE, {"run": {*known, "1" * 32}})) == rows()
    for lost in ("e" * 32, "0"):
        with pytest.raises(UsageProblem, match=f"has no row of 1 run that the lists name .{lost}"):
            list(gathered.rows(SOURCE, {"run": {*known, lost}}))
    with pytest.raises(UsageProblem, match="has no row of 2 traces"):
        list(gathered.rows(SOURCE, {"trace": {"tr-1", "tr-2"}}))
