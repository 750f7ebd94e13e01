"""PostgreSQL, through ADBC: columns come as the server streams them, and no row becomes an object."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any
from urllib.parse import quote, urlencode

import adbc_driver_manager
import adbc_driver_postgresql
import adbc_driver_postgresql.dbapi
import pyarrow as pa

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.redaction import learn
from mlflow_parity.reading.database.batches import DatabaseError, cast, refused
from mlflow_parity.reading.database.urls import DatabaseUrl

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_STATE = (
    "SELECT current_setting('transaction_read_only') AS read_only, "
    "current_setting('transaction_isolation') AS isolation"
)
_COLUMNS = (
    "SELECT table_name::text, column_name::text FROM information_schema.columns "
    "WHERE table_schema = ANY(current_schemas(false))"
)
_NAMES = pa.schema([("table_name", pa.string()), ("column_name", pa.string())])
#: Of runs that are asked for by their ids PostgreSQL guesses how many rows they have, from how many runs it found in a
#: sample: of 1,000,000 runs it may think 57,000, and would read the whole table for each thousand.
_BY_INDEX = ("SET enable_seqscan = off", "SET max_parallel_workers_per_gather = 0", "SET jit = off")
#: Bytes of a batch.
_BATCH = str(4 << 20)


class PostgresConnection:
    """One transaction in PostgreSQL.

    Raises:
        UsageProblem: it cannot be opened.
    """

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        learn(os.environ.get("PGPASSWORD"))
        self._connection: Any = None
        try:
            self._connection = adbc_driver_postgresql.dbapi.connect(_libpq(url), autocommit=True)
            with self._connection.cursor() as cursor:
                cursor.execute("SET default_transaction_read_only = on")
                # a policy that hides rows is an error then, and no shorter history
                cursor.execute("SET row_security = off")
                for setting in _BY_INDEX:
                    cursor.execute(setting)
                cursor.execute(_BEGIN)
                cursor.execute(_STATE)
                state = tuple(cursor.fetchone())
        except (adbc_driver_manager.Error, UnicodeError) as error:
            self.close()
            raise UsageProblem(
                f"{url.option}: cannot be opened: {refused(url, error)}; check host, user and password"
            ) from None
        if state != ("on", "repeatable read"):
            self.close()
            raise UsageProblem(
                f"{url.option}: {url.display} opens no read-only transaction ({', '.join(map(str, state))}); a pooler "
                "between may be why: give the database's own address"
            )

    def columns(self) -> dict[str, set[str]]:
        """Return the columns of each table, by table."""
        found: dict[str, set[str]] = {}
        for batch in self.batches(_COLUMNS, _NAMES):
            for table, column in zip(*(values.to_pylist() for values in batch.columns), strict=True):
                found.setdefault(table, set()).add(column)
        return found

    def batches(self, query: str, schema: pa.Schema) -> Generator[pa.RecordBatch, None, None]:
        """Yield what a query gives."""
        if self._connection is None:
            raise DatabaseError(f"the database is closed: {self._url.display}")
        try:
            with self._connection.cursor() as cursor:
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": _BATCH})
                cursor.execute(query)
                for batch in cursor.fetch_record_batch():
                    yield cast(batch, schema)
        except (adbc_driver_manager.Error, pa.ArrowException, OSError, UnicodeError) as error:
            raise DatabaseError(f"the database cannot be read: {refused(self._url, error)}") from None

    def close(self) -> None:
        """End the transaction."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _libpq(url: DatabaseUrl) -> str:
    """Return the URI as libpq takes it."""
    login = quote(url.user, safe="") + (f":{quote(url.password, safe='')}" if url.password else "")
    host = f"[{url.host}]" if ":" in url.host else quote(url.host, safe="")
    port = "" if url.port is None else f":{url.port}"
    # columns of text are UTF-8 to Arrow, whatever the database has and whoever asks
    options = {"application_name": "mlflow-parity", **dict(url.options), "client_encoding": "UTF8"}
    return (
        f"postgresql://{login}{'@' if login else ''}{host}{port}/{quote(url.database, safe='')}?"
        f"{urlencode(options, quote_via=quote)}"
    )
