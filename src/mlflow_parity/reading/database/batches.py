"""What one open transaction of a database gives: columns in batches, whatever the driver."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from mlflow_parity.core.errors import MalformedAnswer, ReadError
from mlflow_parity.reading.database.urls import DatabaseUrl

#: Rows that a driver without Arrow hands over at once.
ROWS = 20_000


class DatabaseError(ReadError):
    """The database refused a query, or does not answer any more."""


class Connection(Protocol):
    """One open transaction. Implemented once a dialect; used by one thread at a time."""

    def columns(self) -> dict[str, set[str]]:
        """Return the columns of each table that the user can see, by table."""
        ...

    def batches(self, query: str, schema: pa.Schema) -> Generator[pa.RecordBatch, None, None]:
        """Yield what a query gives, in columns of these types; a value of another type is an error."""
        ...

    def close(self) -> None:
        """End the transaction; nothing was written, so there is nothing to undo."""
        ...


def refused(url: DatabaseUrl, error: BaseException) -> str:
    """Return why a database could not be opened or asked, in one line."""
    text = " ".join(str(error).split())
    return f"{url.display}: {text[:500] or type(error).__name__}"


def batch_of(rows: Sequence[Sequence[object]], schema: pa.Schema) -> pa.RecordBatch:
    """Turn rows into columns of these types.

    Raises:
        MalformedAnswer: a value is none of its type.
    """
    arrays = []
    for column, values in zip(schema, zip(*rows, strict=True), strict=True):
        # Arrow itself takes 1.5 for the whole number 1, and bytes for text
        if not set(map(type, values)) <= _TAKEN[column.type]:
            raise wrong_type(column)
        try:
            arrays.append(pa.array(values, column.type))
        except (pa.ArrowException, OverflowError, UnicodeError):
            raise wrong_type(column) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch in columns of these types.

    Raises:
        MalformedAnswer: a value does not go into its type as it is, or is text that is not UTF-8.
    """
    for column, values in zip(schema, batch.columns, strict=True):
        try:
            # text that was restored without a check is given as it lies there
            values.validate(full=pa.types.is_string(values.type))
        except pa.ArrowException:
            raise MalformedAnswer(f"the database holds text in column {column.name} that is not UTF-8") from None
    if batch.schema.equals(schema):
        return batch
    arrays = []
    for column, values in zip(schema, batch.columns, strict=True):
        # a text that could be read as a number is none
        if not any(alike(values.type) for alike in (*_CAST[column.type], pa.types.is_null)):
            raise wrong_type(column)
        try:
            arrays.append(values.cast(column.type))
        except pa.ArrowException:
            raise wrong_type(column) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


_TAKEN: Mapping[pa.DataType, frozenset[type]] = {
    pa.string(): frozenset({str, type(None)}),
    pa.int64(): frozenset({int, type(None)}),
    pa.float64(): frozenset({float, int, type(None)}),
}
_CAST: Mapping[pa.DataType, tuple[Callable[[pa.DataType], bool], ...]] = {
    pa.string(): (pa.types.is_string, pa.types.is_large_string),
    pa.int64(): (pa.types.is_integer,),
    pa.float64(): (pa.types.is_floating, pa.types.is_integer),
}


def wrong_type(column: pa.Field) -> MalformedAnswer:
    """Return the error for a value that is none of its column's type."""
    return MalformedAnswer(f"the database holds a value in column {column.name} that is no {column.type}")
