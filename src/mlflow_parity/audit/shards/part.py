"""What a worker has judged of one shard, as a file: rows with their findings, and what they come to.

The file is untrusted input to whoever joins it: it is held against the checksum that its writer told, against the
shard that was asked for, and against itself.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mlflow_parity.audit.looking.second_look import Change
from mlflow_parity.audit.recording import Judged
from mlflow_parity.audit.side import SIDES
from mlflow_parity.audit.waivers.waived_values import is_told
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.subset import SHORT, Subset, Tally
from mlflow_parity.core.verdict import Finding, Row, State
from mlflow_parity.reading.transport.auth import SideName

#: What is counted of a side beside its lists, by the name that a result has for it.
COUNTED = ("points", "files", "bytes", "requests")
#: What is told of who answered a worker: endpoints in the place of others (empty: nothing is), unproved connections.
ANSWERED = ("endpoint", "s3_endpoint", "unproved")
#: Where rows stand that are of no object, such as that a list could not be read: after all others of their kind.
LAST = 1 << 62
#: And before them those of what was red at first, and was not there to be judged again.
UNCOUNTED = LAST - 1
#: What reading something else than a part ends with.
_DAMAGE = (OSError, EOFError, zlib.error, ValueError, TypeError, LookupError, AttributeError, RecursionError)
#: Characters of one line at most; a row may hold the paths of an object's files.
_LONGEST = 1 << 28
_AGAIN = "audit again; if it stays so, look whether workers and this process have the same place (--parity-dask-dir)"


@dataclass(frozen=True, slots=True)
class Shard:
    """One experiment of the source by its id, or a part of it."""

    experiment_id: str
    label: str
    subset: Subset = field(default_factory=lambda: Subset(1, 1))

    def __str__(self) -> str:
        return self.label if self.subset.of == 1 else f"{self.label} ({self.subset})"


@dataclass(slots=True)
class Sums:
    """What the rows of a shard come to, and what was noticed beside them."""

    rows: int = 0
    whole: Tally = field(default_factory=Tally)
    """Objects of the whole experiment, as this worker saw it."""
    models: frozenset[str] = frozenset()
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    settled: int = 0
    explained: int = 0
    waivers: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    counts: Mapping[SideName, Mapping[str, int]] = field(default_factory=dict)
    places: Mapping[SideName, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Places outside of each server's own artifact root that were met."""
    etags: Mapping[SideName, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Buckets on whose ETags files rest, and those whose ETags were shown to be none."""
    answered: Mapping[SideName, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Who answered this worker in the place of each live side, by the variables of its own environment."""


class PartWriter:
    """Writes a part; it is whole once :meth:`end` was called."""

    def __init__(self, path: Path, shard: Shard, clean: Callable[[str], str]) -> None:
        self._clean = clean
        self._file = gzip.open(path, "wt", encoding="ascii", compresslevel=1)  # noqa: SIM115  (closed by end)
        self.rows = 0
        self._line({"shard": _named(shard)})

    def add(self, kind: int, place: int, judged: Judged) -> None:
        """Append a row; ``kind`` and ``place`` say where it stands among those of the whole experiment."""
        told = [asdict(judged.row), *map(asdict, judged.findings)]
        self._line([kind, place, *self._cleaned(told)])
        self.rows += 1

    def end(self, sums: Sums) -> None:
        """Append what the rows come to."""
        told = asdict(replace(sums, rows=self.rows, whole=Tally(), models=frozenset()))
        self._line(self._cleaned({**told, "whole": sums.whole.to_dict(), "models": sorted(sums.models)}))
        self._file.close()

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _cleaned(self, value: Any) -> Any:
        """Return it with every text in it cleaned."""
        if isinstance(value, State):
            return value.value
        if isinstance(value, str):
            return self._clean(value)
        if isinstance(value, dict):
            return {name: self._cleaned(one) for name, one in value.items()}
        return [*map(self._cleaned, value)] if isinstance(value, (list, tuple)) else value

    def _line(self, value: object) -> None:
        self._file.write(json.dumps(value, separators=(",", ":")) + "\n")


def _named(shard: Shard) -> list[object]:
    return [shard.experiment_id, shard.label, shard.subset.part, shard.subset.of]


@dataclass(frozen=True, slots=True)
class Placed:
    """A row, and where it stands among those of the whole experiment."""

    kind: int
    place: int
    judged: Judged

    @property
    def order(self) -> tuple[int, int]:
        """By what rows of several parts are put in order."""
        return self.kind, self.place


class PartReader:
    """Reads a part; :attr:`sums` is there once every row was."""

    def __init__(self, path: Path, shard: Shard, clean: Callable[[str], str]) -> None:
        self._path = path
        self.shard = shard
        self._clean = clean
        self._sums: Sums | None = None

    @property
    def sums(self) -> Sums:
        """What the rows come to, as their writer says."""
        assert self._sums is not None
        return self._sums

    def rows(self) -> Iterator[Placed]:
        """Yield the rows in order.

        Raises:
            UsageProblem: it is no part, not of this shard, cut, or contradicts itself.
        """
        try:
            yield from self._rows()
        except _DAMAGE:
            raise self._damaged("is damaged or cut") from None

    def _rows(self) -> Iterator[Placed]:
        count, before = 0, (-1, -1)
        with gzip.open(self._path, "rt", encoding="ascii") as file:
            lines = iter(lambda: file.readline(_LONGEST), "")
            if json.loads(next(lines, ""))["shard"] != _named(self.shard):
                raise self._damaged("is that of another shard")
            for line in lines:
                value = json.loads(line)
                if isinstance(value, dict):
                    self._sums = _sums(value)
                    if self._sums.rows != count or next(lines, ""):
                        raise ValueError("rows are missing, or too many")
                    return
                placed = self._placed(value)
                if placed.order < before:
                    raise ValueError("rows are out of order")
                before = placed.order
                count += 1
                yield placed
        raise EOFError

    def _placed(self, value: list[Any]) -> Placed:
        kind, place, row, *findings = value
        placed = Placed(_number(kind), _number(place), Judged(_row(row), tuple(map(_finding, findings))))
        judged = placed.judged.row
        if self._clean(judged.experiment) != self._clean(self.shard.label) or judged.kind == "experiment":
            raise self._damaged("holds rows of another object")
        if not self.shard.subset.holds_row(judged.source_id, judged.target_id):
            raise self._damaged("holds objects of another part")
        return placed

    def _damaged(self, what: str) -> UsageProblem:
        return UsageProblem(f"what a worker gave of {self.shard} {what}; {_AGAIN}")


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("no number")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _or_none(value: object) -> str | None:
    return None if value is None else _string(value)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return tuple(_string(one) for one in value)


def _proofs(value: list[list[Any]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((_string(proof), _strings(files)) for proof, files in value)


def _bound(value: list[Any]) -> tuple[str | int, ...]:
    if not all(map(is_told, value)):
        raise TypeError("no values")
    return tuple(value)


#: What each field of a row or finding is read by; all others are texts.
_BY: Mapping[str, Callable[[Any], Any]] = {
    "source_id": _or_none,
    "target_id": _or_none,
    "state": State,
    "findings": _number,
    "rules": _strings,
    "evidence": _proofs,
    "bound": _bound,
}


def _row(value: dict[str, Any]) -> Row:
    return Row(**_read(value, Row))


def _finding(value: dict[str, Any]) -> Finding:
    # a value that is absent on a side is no text
    return Finding(**_read(value, Finding, source=_or_none, target=_or_none))


def _read(value: dict[str, Any], of: type[Any], **by: Callable[[Any], Any]) -> dict[str, Any]:
    names = [one.name for one in fields(of)]
    if value.keys() != set(names):
        raise KeyError("other fields")
    return {name: {**_BY, **by}.get(name, _string)(value[name]) for name in names}


def _sums(value: dict[str, Any]) -> Sums:
    whole = Tally()
    for facet, told in value["whole"].items():
        whole.counts[facet], whole.sums[facet] = _number(told["objects"]), int(told["digest"], 16)
    models = frozenset(_strings(value["models"]))
    if any(len(one) != 2 * SHORT for one in models):
        raise ValueError("no pair of digests")
    return Sums(
        rows=_number(value["rows"]),
        whole=whole,
        models=models,
        changes=tuple(map(_change, value["changes"])),
        notes=_strings(value["notes"]),
        settled=_number(value["settled"]),
        explained=_number(value["explained"]),
        waivers={
            name: {int(number): _number(count) for number, count in value["waivers"][name].items()}
            for name in ("covered", "unread", "other_values")
        },
        counts={side: {name: _number(value["counts"][side][name]) for name in COUNTED} for side in SIDES},
        places=_of_sides(value["places"], ("refused", "used", "others")),
        etags=_of_sides(value["etags"], ("wrong", "rested")),
        answered=_of_sides(value["answered"], ANSWERED),
    )


def _of_sides(value: dict[str, Any], names: Sequence[str]) -> dict[SideName, Mapping[str, Sequence[str]]]:
    return {side: {name: _strings(value[side][name]) for name in names} for side in SIDES if side in value}


def _change(value: dict[str, Any]) -> Change:
    side, experiment, kind, name, identity = (_string(value[one]) for one in _TEXTS)
    return Change(side, experiment, kind, name, identity, _strings(value["facets"]))


_TEXTS = ("side", "experiment", "kind", "name", "identity")
