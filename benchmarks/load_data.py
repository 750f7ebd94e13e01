"""Data for the load benchmark: two PostgreSQL databases of real servers, the second a migrated copy with known faults.

Everything is made by SQL inside PostgreSQL from the run's number, so that both sides are equal without being kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

METRICS, STEPS, PARAMS = 5, 10, 5
_START = 1_760_000_000_000
#: A run with one file, of ten.
_WITH_FILE = 10


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is; ``block`` is the number of runs among which each fault is planted once more."""

    runs: int
    experiments: int
    block: int = 1000

    @property
    def points(self) -> int:
        """Metric points of the source."""
        return self.runs * METRICS * STEPS

    @property
    def files(self) -> int:
        """Files of the source."""
        return len(range(0, self.runs, _WITH_FILE))

    def hit(self, *places: int) -> list[int]:
        """Numbers of the runs that stand at these places of their block."""
        return [number for number in range(self.runs) if number % self.block in places]

    @property
    def params(self) -> list[int]:
        """Runs whose target has another value of one param."""
        return self.hit(1, 2, 3, 4, 5, 6, 7)

    @property
    def metrics(self) -> list[int]:
        """Runs whose target has another value of one point."""
        return self.hit(11, 12, 13, 14, 15)

    @property
    def lost(self) -> list[int]:
        """Runs that the target has not."""
        return self.hit(21, 22)

    @property
    def tags(self) -> list[int]:
        """Runs whose target has another value of one tag."""
        return self.hit(31, 32, 33)

    @property
    def altered(self) -> list[int]:
        """Runs whose file has other bytes of the same number on the target."""
        return self.hit(40)

    @property
    def extra(self) -> int:
        """Runs that only the target has."""
        return len(self.hit(50))


def run_id(side: str, number: int) -> str:
    """The id that a side gives to a run."""
    return hashlib.md5(f"{side}{number}".encode(), usedforsecurity=False).hexdigest()


def fill(dsn: str, side: str, load: Load, artifacts: Path) -> None:
    """Fill a database that a server has initialised; ``side`` is ``source`` or ``target``, without faults."""
    fill_rows(dsn, side, load)
    for number in range(0, load.runs, _WITH_FILE):
        _write(artifacts, side, load, number, f"file of run {number:08d}\n")


def fill_rows(dsn: str, side: str, load: Load, root: str = "mlflow-artifacts:") -> None:
    """Fill the database alone; the artifacts' places are below ``root``."""
    values = {
        **{"side": side, "root": root, "runs": load.runs, "experiments": load.experiments, "start": _START},
        **{"metrics": METRICS, "steps": STEPS, "params": PARAMS},
    }
    _run(dsn, [*_EXPERIMENTS, *_RUNS, *(_SOURCE_TAGS if side == "target" else ())], values)


def plant(dsn: str, load: Load, artifacts: Path) -> None:
    """Plant the faults in the target."""
    for names, statement in (
        (load.params, "UPDATE params SET value = 'altered' WHERE key = 'param-2' AND run_uuid = ANY(%(ids)s)"),
        (load.metrics, "UPDATE metrics SET value = value + 1 WHERE key = 'metric-1' AND step = 3"
                       " AND run_uuid = ANY(%(ids)s)"),
        (load.tags, "UPDATE tags SET value = 'altered' WHERE key = 'team' AND run_uuid = ANY(%(ids)s)"),
        *((load.lost, f"DELETE FROM {table} WHERE run_uuid = ANY(%(ids)s)")
          for table in ("params", "metrics", "latest_metrics", "tags", "runs")),
    ):  # fmt: skip
        _run(dsn, [statement], {"ids": [run_id("target", number) for number in names]})
    _run(dsn, _EXTRA, {"extra": load.extra, "start": _START})
    for number in load.altered:
        _write(artifacts, "target", load, number, f"FILE of run {number:08d}\n")


def _write(artifacts: Path, side: str, load: Load, number: int, text: str) -> None:
    folder = artifacts / f"load-{number % load.experiments}" / run_id(side, number) / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "note.txt").write_text(text, encoding="utf-8")


def _run(dsn: str, statements: list[str] | tuple[str, ...], values: dict[str, object]) -> None:
    import psycopg2

    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, values)
    connection.close()
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    connection.close()


# the target gives other ids to experiments too: it has one more of its own before them
_EXPERIMENTS = (
    """INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)
       SELECT 'load-' || lpad(n::text, 3, '0'), %(root)s || '/load-' || n, 'active', %(start)s + n, %(start)s + n
       FROM generate_series(0, %(experiments)s - 1) n
       ORDER BY CASE WHEN %(side)s = 'target' THEN -n ELSE n END""",
)
_NUMBERED = """(SELECT n, md5(%(side)s || n) AS id, 'load-' || (n %% %(experiments)s) AS place,
                       'load-' || lpad((n %% %(experiments)s)::text, 3, '0') AS experiment
                FROM generate_series(0, %(runs)s - 1) n) r"""
_POINT = "((r.n * 31 + m * 7 + s * 17) %% 10007) / 10007.0::float8"
_RUNS = (
    f"""INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                          end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
        SELECT r.id, 'run-' || lpad(r.n::text, 6, '0'), 'LOCAL', '', '', 'bench', 'FINISHED', %(start)s + r.n,
               %(start)s + r.n + 60000, '', 'active',
               %(root)s || '/' || r.place || '/' || r.id || '/artifacts', e.experiment_id
        FROM {_NUMBERED} JOIN experiments e ON e.name = r.experiment""",
    f"""INSERT INTO params (key, value, run_uuid)
        SELECT 'param-' || p, md5(r.n || '-' || p), r.id FROM {_NUMBERED}, generate_series(0, %(params)s - 1) p""",
    f"""INSERT INTO tags (key, value, run_uuid)
        SELECT t.key, t.value, r.id FROM {_NUMBERED}, LATERAL (VALUES
            ('mlflow.runName', 'run-' || lpad(r.n::text, 6, '0')), ('mlflow.user', 'bench'), ('team', md5('t' || r.n))
        ) AS t(key, value)""",
    f"""INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
        SELECT 'metric-' || m, {_POINT}, %(start)s + r.n + 1000 * s, r.id, s, false
        FROM {_NUMBERED}, generate_series(0, %(metrics)s - 1) m, generate_series(0, %(steps)s - 1) s""",
    f"""INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)
        SELECT 'metric-' || m, {_POINT}, %(start)s + r.n + 1000 * s, r.id, s, false
        FROM {_NUMBERED}, generate_series(0, %(metrics)s - 1) m, (SELECT %(steps)s - 1 AS s) AS last""",
)
_SOURCE_TAGS = (
    f"""INSERT INTO tags (key, value, run_uuid)
        SELECT 'mlflow_exim.' || t.key, t.value, r.id
        FROM {_NUMBERED} JOIN experiments e ON e.name = r.experiment, LATERAL (VALUES
            ('run_info.run_id', md5('source' || r.n)), ('run_info.status', 'FINISHED'),
            -- a fresh server's first experiment has the id 1: the source's are in the order of their names
            ('run_info.experiment_id', (r.n %% %(experiments)s + 1)::text),
            ('run_info.start_time', (%(start)s + r.n)::text), ('run_info.end_time', (%(start)s + r.n + 60000)::text),
            ('run_info.lifecycle_stage', 'active'), ('run_info.user_id', 'bench'),
            ('run_info.artifact_uri', 'mlflow-artifacts:/' || r.place || '/' || md5('source' || r.n) || '/artifacts'),
            ('mlflow_tag.runName', 'run-' || lpad(r.n::text, 6, '0')), ('mlflow_tag.user', 'bench')
        ) AS t(key, value)""",
)
_EXTRA = (
    """INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                         end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
       SELECT md5('extra' || n), 'extra-' || n, 'LOCAL', '', '', 'else', 'FINISHED', %(start)s - 5000 - n,
              %(start)s - 4000, '', 'active', 'mlflow-artifacts:/extra/' || n,
              (SELECT experiment_id FROM experiments WHERE name = 'load-000')
       FROM generate_series(1, %(extra)s) n""",
    """INSERT INTO tags (key, value, run_uuid)
       SELECT 'mlflow.runName', 'extra-' || n, md5('extra' || n) FROM generate_series(1, %(extra)s) n""",
)
