"""MySQL and MariaDB, through PyMySQL: there is no ADBC driver for them, so rows come in batches and become columns."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pyarrow as pa
import pymysql
import pymysql.cursors

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reading.database.batches import ROWS, DatabaseError, batch_of, refused
from mlflow_parity.reading.database.urls import DatabaseUrl

_BEGIN = (
    # for MariaDB ends a read-only transaction at CREATE TABLE, and begins one that is not
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
_COLUMNS = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"


class MysqlConnection:
    """One transaction in MySQL or MariaDB.

    Raises:
        UsageProblem: it cannot be opened.
    """

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._connection: Any = None
        options = dict(url.options)
        socket = {"unix_socket": options["unix_socket"]} if options.get("unix_socket") else {}
        tls: dict[str, Any] = {name: options[name] for name in ("ssl_ca", "ssl_cert", "ssl_key") if options.get(name)}
        verified = ("ssl_verify_cert", "ssl_verify_identity")
        tls |= {name: options[name].lower() not in ("", "0", "false", "no") for name in verified if name in options}
        try:
            self._connection = pymysql.connect(
                host=url.host,
                port=url.port or 3306,
                user=url.user,
                password=url.password,
                database=url.database,
                charset="utf8mb4",
                connect_timeout=30,
                local_infile=False,
                **socket,
                **tls,
            )
            with self._connection.cursor() as cursor:
                for statement in _BEGIN:
                    cursor.execute(statement)
        except (pymysql.MySQLError, OSError, UnicodeError, ValueError, RuntimeError) as error:
            self.close()
            raise UsageProblem(
                f"{url.option}: cannot be opened: {refused(url, error)}; check host, user and password"
            ) from None

    def _open(self) -> Any:
        if self._connection is None or not self._connection.open:
            raise DatabaseError(f"the database is closed: {self._url.display}")
        return self._connection

    def columns(self) -> dict[str, set[str]]:
        """Return the columns of each table, by table."""
        found: dict[str, set[str]] = {}
        try:
            with self._open().cursor() as cursor:
                cursor.execute(_COLUMNS)
                for table, column in cursor.fetchall():
                    found.setdefault(table, set()).add(column)
        except (pymysql.MySQLError, OSError) as error:
            raise DatabaseError(f"the database cannot be read: {refused(self._url, error)}") from None
        return found

    def batches(self, query: str, schema: pa.Schema) -> Generator[pa.RecordBatch, None, None]:
        """Yield what a query gives; the rows stay with the server until they are asked for."""
        try:
            with self._open().cursor(pymysql.cursors.SSCursor) as cursor:
                cursor.execute(query)
                while rows := cursor.fetchmany(ROWS):
                    yield batch_of(rows, schema)
        except (pymysql.MySQLError, OSError, UnicodeError) as error:
            raise DatabaseError(f"the database cannot be read: {refused(self._url, error)}") from None

    def close(self) -> None:
        """End the transaction."""
        if self._connection is not None and self._connection.open:
            self._connection.close()
