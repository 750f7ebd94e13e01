"""Fills a real server's PostgreSQL database by COPY: runs with params, tags and full metric histories."""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Iterator
from typing import Any

_START = 1_760_000_000_000


def fill(dsn: str, *, experiments: int, runs: int, metrics: int, steps: int, artifact_root: str) -> int:
    """Write ``runs`` runs spread over ``experiments``; return the number of metric points.

    ``dsn`` is a libpq connection string of a database that an MLflow server has initialised.
    """
    import psycopg2

    draw = random.Random(20261123)
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        ids = []
        for number in range(experiments):
            cursor.execute(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
                " VALUES (%s, %s, 'active', %s, %s) RETURNING experiment_id",
                (f"benchmark-{number:03d}", f"{artifact_root}/benchmark-{number}", _START, _START),
            )
            ids.append(cursor.fetchone()[0])
        run_ids = [uuid.UUID(int=draw.getrandbits(128), version=4).hex for _ in range(runs)]
        _copy(
            cursor,
            "runs",
            "run_uuid name source_type source_name entry_point_name user_id status start_time end_time source_version "
            "lifecycle_stage artifact_uri experiment_id",
            (
                (run, f"run-{n:05d}", "LOCAL", "", "", "bench", "FINISHED", _START + n, _START + n + 60_000, "",
                 "active", f"{artifact_root}/{ids[n % experiments]}/{run}/artifacts", ids[n % experiments])
                for n, run in enumerate(run_ids)
            ),
        )  # fmt: skip
        _copy(
            cursor,
            "params",
            "key value run_uuid",
            ((f"param-{p}", repr(draw.random()), run) for run in run_ids for p in range(10)),
        )
        _copy(
            cursor,
            "tags",
            "key value run_uuid",
            ((f"tag-{t}", repr(draw.random()), run) for run in run_ids for t in range(3)),
        )
        latest: list[tuple[Any, ...]] = []

        def points() -> Iterator[tuple[Any, ...]]:
            for number, run in enumerate(run_ids):
                for metric in range(metrics):
                    for step in range(steps):
                        value = draw.gauss(0.0, 1.0)
                        row = (f"metric-{metric:02d}", repr(value), _START + number + 1000 * step, run, step, "f")
                        if step == steps - 1:
                            latest.append(row)
                        yield row

        _copy(cursor, "metrics", "key value timestamp run_uuid step is_nan", points())
        _copy(cursor, "latest_metrics", "key value timestamp run_uuid step is_nan", iter(latest))
        connection.commit()
    analyse = psycopg2.connect(dsn)
    analyse.autocommit = True
    with analyse.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    analyse.close()
    return runs * metrics * steps


def _copy(cursor: Any, table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
    names = columns.split()
    buffer = io.StringIO()
    pending = 0

    def flush() -> None:
        nonlocal pending
        buffer.seek(0)
        cursor.copy_expert(f"COPY {table} ({', '.join(names)}) FROM STDIN", buffer)
        buffer.seek(0)
        buffer.truncate()
        pending = 0

    for row in rows:
        buffer.write("\t".join(map(str, row)) + "\n")
        pending += 1
        if pending >= 100_000:
            flush()
    flush()
