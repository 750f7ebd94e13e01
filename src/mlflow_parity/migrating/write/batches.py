"""The fewest and fattest ``runs/log-batch`` requests that a server takes, and which entry it refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.core.text import taken_for_one
from mlflow_parity.migrating.exim.drafts import Point
from mlflow_parity.migrating.write.writing import Writer
from mlflow_parity.reading.transport.refusals import TAKEN

#: MLflow's own limits: entries of all kinds in a request, params in one, tags in one; and its size in bytes.
_ALL = 1_000
_PARAMS = _TAGS = 100
_BYTES = 900_000
#: What an entry takes beside its text.
_FRAME = 90
#: Answers that say something of the whole request, not of an entry in it.
_OF_ALL = (401, 403, 404, 429)
_LARGEST = 1.7976931348623157e308

Entry = tuple[str, dict[str, Any]]
T = TypeVar("T")


def in_batches(
    items: Iterable[T], size_of: Callable[[T], int], most: int, count: float = math.inf
) -> Iterator[list[T]]:
    """Yield the items together, at most ``count`` and in all of size ``most``, or one that alone is larger."""
    batch: list[T] = []
    size = 0
    for item in items:
        if batch and (len(batch) == count or size + size_of(item) > most):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += size_of(item)
    if batch:
        yield batch


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a mapping as MLflow's list of key and value."""
    return [{"key": key, "value": value} for key, value in values.items()]


def double(value: float) -> float | str:
    """Return a double as protobuf's JSON wants it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def stored(value: float) -> float | str:
    """Return what a SQL store keeps of a value, so that equal ones are equal: its primary key holds the value."""
    if value != value:
        return "NaN"
    return max(-_LARGEST, min(_LARGEST, value)) + 0.0


_KINDS = ("params", "tags", "metrics")


def place(point: Point) -> tuple[str, int, int, float | str]:
    """Return what tells a point of a run from all others in a SQL store."""
    key, value, timestamp, step = point
    return key, timestamp, step, stored(value)


def entries(
    params: Mapping[str, str], points: Iterable[Point], tags: Mapping[str, str], **linked: str
) -> Iterator[Entry]:
    """Yield what is to be logged, each as its kind and its JSON; ``linked`` is said of every metric point."""
    for key, value in params.items():
        yield "params", {"key": key, "value": value}
    for key, value in tags.items():
        yield "tags", {"key": key, "value": value}
    for key, number, timestamp, step in points:
        yield "metrics", {"key": key, "value": double(number), "timestamp": timestamp, "step": step, **linked}


def log(writer: Writer, run_id: str, found: Iterable[Entry], most: int = _ALL) -> list[str]:
    """Log entries to a run and return what the server refused, an entry a line; the others are written.

    Raises:
        ReadError: the server cannot be reached, or refuses the run itself.
    """
    refused: list[str] = []
    #: Kinds and keys that the target's database takes for others: one by one, each would overwrite the other.
    taken: dict[tuple[str, str], None] = {}
    for batch in _batches(found, most):
        refused += _send(writer, run_id, [one for one in batch if (one[0], one[1]["key"]) not in taken], taken)
    return refused


def _batches(found: Iterable[Entry], most: int) -> Iterator[list[Entry]]:
    # points last: they fill up what params and tags leave of a request
    waiting: list[Entry] = []
    size = params = tags = 0
    for kind, entry in found:
        length = _FRAME + len(entry["key"].encode("utf-8", "surrogatepass"))
        length += len(str(entry["value"]).encode("utf-8", "surrogatepass"))
        full = len(waiting) == most or size + length > _BYTES
        full |= (kind == "params" and params == _PARAMS) or (kind == "tags" and tags == _TAGS)
        if full and waiting:
            yield waiting
            waiting, size, params, tags = [], 0, 0, 0
        waiting.append((kind, entry))
        size += length
        params += kind == "params"
        tags += kind == "tags"
    if waiting:
        yield waiting


def is_deleted(error: RequestRefused) -> bool:
    """Whether a request was refused because the run is in the trash."""
    return "'active' state" in str(error)


def is_taken(error: RequestRefused) -> bool:
    """Whether a MySQL or MariaDB behind the target takes a key for another one."""
    return TAKEN in str(error)


def further(keys: Iterable[str]) -> set[str]:
    """Return the keys that a database may take for another one that comes before them."""
    return {key for group in taken_for_one(keys) for key in group[1:]}


def together(keys: Iterable[str], changed: Collection[str]) -> set[str]:
    """Return what is to be sent of ``keys`` where some changed: also those that a database may take for one of them.

    In one request the database refuses them; one by one, each would overwrite the other without a word.
    """
    groups = taken_for_one(keys)
    return {*changed, *(key for group in groups if not set(group).isdisjoint(changed) for key in group)}


def _send(writer: Writer, run_id: str, batch: Sequence[Entry], taken: dict[tuple[str, str], None]) -> list[str]:
    if not batch:
        return []
    body: dict[str, Any] = {"run_id": run_id}
    for kind, entry in batch:
        body.setdefault(kind, []).append(entry)
    try:
        writer.call("POST", "/api/2.0/mlflow/runs/log-batch", body)
    except RequestRefused as error:
        names = {kind: further(entry["key"] for entry in body[kind]) for kind in _KINDS if kind in body}
        if is_taken(error) and any(names.values()):
            new = {(kind, key): None for kind, keys in names.items() for key in sorted(keys)}
            taken |= new
            rest = [one for one in batch if (one[0], one[1]["key"]) not in taken]
            return [f"{kind[:-1]} {key!r}: {error}" for kind, key in new] + _send(writer, run_id, rest, taken)
        # halving what a broken server refuses would only send it more
        if error.status in _OF_ALL or error.status >= 500 or is_deleted(error):
            raise
        if len(batch) == 1:
            [(kind, entry)] = batch
            return [f"{kind[:-1]} {entry['key']!r}: {error}"]
        half = len(batch) // 2
        return _send(writer, run_id, batch[:half], taken) + _send(writer, run_id, batch[half:], taken)
    return []
