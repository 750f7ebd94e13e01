"""One connection to a database, in one read-only transaction that sees one instant."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator
from threading import RLock

import pyarrow as pa

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reading.database.batches import Connection
from mlflow_parity.reading.database.urls import DatabaseUrl


class Database:
    """A database that is read in one transaction, by as many threads as ask, one query at a time.

    Raises:
        UsageProblem: a package is missing, or the database cannot be opened.
    """

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url
        self._lock = RLock()
        self._connection = connect(url)

    def columns(self) -> dict[str, set[str]]:
        """Return the columns of each table, by table."""
        with self._lock:
            return self._connection.columns()

    def table(self, query: str, schema: pa.Schema) -> pa.Table:
        """Return what a query gives as a whole.

        Raises:
            ReadError: it is refused, or gives what no column of MLflow's holds.
        """
        with self._lock:
            return pa.Table.from_batches(self._connection.batches(query, schema), schema)

    def rows(self, query: str, schema: pa.Schema) -> list[tuple[object, ...]]:
        """Return the rows of a query that gives few."""
        table = self.table(query, schema)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if table.num_rows else []

    def batches(self, query: str, schema: pa.Schema) -> Generator[pa.RecordBatch, None, None]:
        """Yield what a query gives in batches; no other query is asked until all are taken.

        Raises:
            ReadError: it is refused, or gives what no column of MLflow's holds.
        """
        with self._lock:
            yield from self._connection.batches(query, schema)

    def close(self) -> None:
        """End the transaction."""
        with self._lock:
            self._connection.close()


def connect(url: DatabaseUrl) -> Connection:
    """Open a connection and its transaction.

    Raises:
        UsageProblem: a package is missing, or the database cannot be opened.
    """
    # not above: each needs packages of the extra
    if url.dialect == "sqlite":
        from mlflow_parity.reading.database.sqlite import SqliteConnection

        return SqliteConnection(url)
    package = {"postgresql": "adbc_driver_postgresql", "mysql": "pymysql"}[url.dialect]
    if importlib.util.find_spec(package) is None:
        raise UsageProblem(
            f"{url.option}: {package} is not installed, by which {url.dialect} is read: "
            'pip install "mlflow-parity[sql]"'
        )
    if url.dialect == "postgresql":
        from mlflow_parity.reading.database.postgresql import PostgresConnection

        return PostgresConnection(url)
    from mlflow_parity.reading.database.mysql import MysqlConnection

    return MysqlConnection(url)
