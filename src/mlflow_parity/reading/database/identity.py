"""Whether two URLs lead to one database: by what its server says of itself, whatever it is called in them."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from mlflow_parity.core.errors import ReadError, UsageProblem
from mlflow_parity.reading.database.connection import connect
from mlflow_parity.reading.database.urls import DatabaseUrl, is_same

_NAMED = pa.schema([("name", pa.string()), ("value", pa.string())])
# the system identifier is also that of a copy of the disk, and a restored copy is another database
# of two schemas of one database, that counts in which the table is found: both may look on in a third one
_POSTGRESQL = (
    "SELECT extract(epoch FROM pg_postmaster_start_time())::text AS name, concat_ws(' ', oid::text, "
    "coalesce(to_regclass('runs')::oid::text, current_schema())) AS value FROM pg_database "
    "WHERE datname = current_database()"
)
#: MariaDB has no UUID.
_MYSQL = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('hostname', 'port', 'server_uuid', 'datadir')",
    "SELECT 'database' AS name, DATABASE() AS value",
)
_UPTIME = "SHOW GLOBAL STATUS LIKE 'Uptime'"
#: Seconds by which two answers may tell the start of one server, as it counts whole ones.
_NEAR = 10.0


def refuse_one_database(source: DatabaseUrl | None, target: DatabaseUrl | None) -> None:
    """Refuse two URLs of one database.

    Raises:
        UsageProblem: they lead to one, or one of them cannot be opened.
    """
    # a file has been told by its device and inode already
    if source is None or target is None or source.dialect != target.dialect or source.dialect == "sqlite":
        return
    ours, theirs = _identity(source), _identity(target)
    if ours is None or theirs is None:
        # nobody told them apart, and what options lead to is not known
        if not is_same(replace(source, options=()), replace(target, options=())):
            return
    elif ours[0] != theirs[0] or abs(ours[1] - theirs[1]) > _NEAR:
        return
    raise UsageProblem(
        f"--source-db and --target-db are the same database under two names ({source.display}, {target.display}); "
        "comparing it with itself proves nothing: give two different ones"
    )


def _identity(url: DatabaseUrl) -> tuple[tuple[tuple[object, ...], ...], float] | None:
    """Return what a database says of itself, and when its server was started; ``None``: it does not say."""
    with closing(connect(url)) as connection:

        def asked(query: str) -> list[tuple[object, ...]]:
            table = pa.Table.from_batches(connection.batches(query, _NAMED), _NAMED)
            return list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if table.num_rows else []

        try:
            if url.dialect == "postgresql":
                said = asked(_POSTGRESQL)
                return (tuple(said), 0.0) if said else None
            said = [row for query in _MYSQL for row in asked(query)]
            [(_, uptime)] = asked(_UPTIME)
            return tuple(sorted(said, key=str)), time.time() - float(str(uptime))
        except (ReadError, ValueError):
            return None
