"""The Parquet files of a snapshot that somebody gave: of the schema that is written here, no larger than they look.

A file of a megabyte may unpack to any size: a run of equal values is one entry, and a text of a dictionary is there
once for a million rows.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.snapshot import schema as schemas
from mlflow_parity.snapshot.objects import OBJECTS

#: What a file may unpack to: a gigabyte, or a thousand times its size. What is written here comes to some hundred.
MOST, TIMES = 1 << 30, 1_000
#: Rows of a group: Arrow's own limit for those that it writes.
_ROWS_PER_GROUP = 1 << 20
_BATCH, _BYTES_AT_ONCE = 1_024, 1 << 28
_SCHEMAS = {
    "runs.parquet": schemas.RUNS,
    "metrics.parquet": schemas.HISTORIES,
    "points.parquet": schemas.POINTS,
    "artifacts.parquet": schemas.ARTIFACTS,
    "logged_model_files.parquet": schemas.ARTIFACTS,
    "version_files.parquet": schemas.ARTIFACTS,
    "trace_files.parquet": schemas.ARTIFACTS,
}


def check_table(path: Path) -> None:
    """Look at a table before anything of it is loaded.

    Raises:
        SnapshotError: it is no Parquet file of this schema, or unpacks to much more than it is.
    """
    size = path.stat().st_size
    most = max(MOST, TIMES * size)
    try:
        with pq.ParquetFile(path) as file:
            schema = _SCHEMAS.get(path.name, OBJECTS)
            known = [schema, schemas.ARTIFACTS_BEFORE] if schema is schemas.ARTIFACTS else [schema]
            if not any(file.schema_arrow.equals(one, check_metadata=False) for one in known):
                raise SnapshotError(f"snapshot: {path.name} has columns of another version; make the snapshot again")
            if not _is_bounded(file, path.name == "points.parquet", most):
                raise SnapshotError(
                    f"snapshot: {path.name} has {size:,} bytes and unpacks to more than {most >> 20:,} MiB; it was not "
                    "written by mlflow-parity: make the snapshot again"
                )
    except (pa.ArrowException, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise SnapshotError(f"snapshot: {path.name} is damaged ({why}); make the snapshot again") from None


def _is_bounded(file: pq.ParquetFile, by_group: bool, most: int) -> bool:
    """Whether a file unpacks to no more than ``most``; ``by_group``: it is never loaded as a whole."""
    meta = file.metadata
    total = 0
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        if group.num_rows > _ROWS_PER_GROUP:
            return False
        total = 0 if by_group else total
        texts: dict[str, int] = {}
        for index in range(group.num_columns):
            chunk = group.column(index)
            if chunk.physical_type != "BYTE_ARRAY":
                # the longest are digests
                total += chunk.num_values * (32 if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY" else 8)
            elif chunk.num_values * chunk.total_uncompressed_size <= TIMES * chunk.total_compressed_size:
                # each of its texts is in it once at least
                total += chunk.num_values * chunk.total_uncompressed_size
            else:
                name = chunk.path_in_schema.partition(".")[0]
                texts[name] = max(texts.get(name, 0), chunk.total_uncompressed_size)
        if total > most:
            return False
        if texts:
            rows = min(_BATCH, max(1, _BYTES_AT_ONCE // max(texts.values())))
            for batch in file.iter_batches(batch_size=rows, row_groups=[number], columns=sorted(texts)):
                total += batch.nbytes
                if total > most:
                    return False
    return True


def is_bounded(path: Path) -> bool:
    """Whether a Parquet file that is read batch by batch unpacks to no more than it may.

    Raises:
        ArrowException: it is none.
        OSError: it cannot be read.
        ValueError: it is none.
    """
    with pq.ParquetFile(path) as file:
        return _is_bounded(file, True, max(MOST, TIMES * path.stat().st_size))
