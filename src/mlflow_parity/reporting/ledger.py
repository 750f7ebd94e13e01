"""The ledger: one Parquet row per object and facet, written and read as a stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.core.local.files import make_folder, put, temporary
from mlflow_parity.core.text import cleaner
from mlflow_parity.core.verdict import Row, State

FORMAT = b"1"
_FORMAT_KEY = b"mlflow_parity.ledger"
#: Rows kept in memory before they are written as one row group.
BATCH = 10_000
_READ_BATCH = 2_000
_COLUMNS = (
    "experiment",
    "kind",
    "name",
    "source_id",
    "target_id",
    "facet",
    "state",
    "paired_by",
    "findings",
    "rules",
    "note",
    "evidence",
)
#: A column that few ask for: it may hold a path for each file.
_LONG = "evidence"
#: Characters of paths that wait in memory at most.
_PATHS = 4 << 20
_NULLABLE = ("source_id", "target_id")
_DICTIONARY = ["experiment", "kind", "facet", "state", "paired_by", "rules.list.element"]


def _schema() -> Any:
    import pyarrow as pa

    files = pa.struct([("by", pa.string()), ("files", pa.list_(pa.string()))])
    types = {"findings": pa.int64(), "rules": pa.list_(pa.string()), _LONG: pa.list_(files)}
    columns = [pa.field(name, types.get(name, pa.string()), nullable=name in _NULLABLE) for name in _COLUMNS]
    return pa.schema(columns, metadata={_FORMAT_KEY: FORMAT})


class LedgerWriter:
    """Writes ledger rows to ``path``; the file appears, complete, when the ``with`` block ends well.

    Rows pass ``redact``; lone surrogates are written as escapes, because Parquet holds UTF-8. After an
    exception nothing is left behind. Safe to call from several threads.

    Raises:
        NoSpace: when the disk is full.
        UsageProblem: when the file cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, redact: Callable[[str], str] | None = None, batch: int = BATCH
    ) -> None:
        self.path = Path(path)
        self.rows = 0
        self._temporary = self.path
        self._clean = cleaner(redact)
        self._batch = batch
        self._pending: list[Row] = []
        self._paths = 0
        self._lock = threading.Lock()
        self._schema = _schema()
        self._file: Any = None

    def __enter__(self) -> LedgerWriter:
        import pyarrow.parquet as pq

        try:
            make_folder(self.path.parent)
            self._temporary = temporary(self.path)
            self._file = pq.ParquetWriter(self._temporary, self._schema, compression="zstd", use_dictionary=_DICTIONARY)
        except OSError as error:
            if self._temporary != self.path:
                self._temporary.unlink(missing_ok=True)
            raise _unwritable(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._lock:
                if kind is None:
                    self._flush()
                self._file.close()
            if kind is None:
                put(self._temporary, self.path)
        except OSError as problem:
            if kind is None:
                raise _unwritable(self.path, problem) from problem
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, row: Row) -> None:
        """Append one row."""
        self.extend((row,))

    def extend(self, rows: Iterable[Row]) -> None:
        """Append rows, in order."""
        with self._lock:
            for row in rows:
                self._pending.append(row)
                self.rows += 1
                self._paths += sum(len(path) for _, paths in row.evidence for path in paths)
                if len(self._pending) >= self._batch or self._paths >= _PATHS:
                    try:
                        self._flush()
                    except OSError as error:
                        raise _unwritable(self.path, error) from error

    def _flush(self) -> None:
        if not self._pending:
            return
        import pyarrow as pa

        clean = self._clean
        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        for row in self._pending:
            for name in _COLUMNS:
                value = getattr(row, name)
                if name == _LONG:
                    value = [{"by": told, "files": [*map(clean, paths)]} for told, paths in value]
                elif isinstance(value, State):
                    value = value.value
                elif isinstance(value, str):
                    value = clean(value)
                elif isinstance(value, tuple):
                    value = [clean(rule) for rule in value]
                columns[name].append(value)
        self._pending.clear()
        self._paths = 0
        self._file.write_batch(pa.RecordBatch.from_pydict(columns, schema=self._schema))


def append(path: Path, more: Path) -> None:
    """Put the rows of a second ledger behind those of the first, which is there, whole, at any time.

    Raises:
        NoSpace: when the disk is full.
        UsageProblem: when the file cannot be written.
    """
    import pyarrow.parquet as pq

    made: Path | None = None
    try:
        made = temporary(path)
        with pq.ParquetWriter(made, _schema(), compression="zstd", use_dictionary=_DICTIONARY) as writer:
            for one in (path, more):
                with pq.ParquetFile(one) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group))
        put(made, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if made is not None:
            made.unlink(missing_ok=True)


def checked_dataset(path: str | os.PathLike[str]) -> Any:
    """Return a ledger as a dataset of Arrow, which reads no rows yet.

    Raises:
        UsageProblem: when there is no ledger of this format at ``path``.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        dataset = ds.dataset(os.fspath(path), format="parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageProblem(f"cannot read the ledger {path}: {_one_line(error)}; run the audit again") from error
    if (dataset.schema.metadata or {}).get(_FORMAT_KEY) != FORMAT:
        raise UsageProblem(f"{path} is not a ledger of format {FORMAT.decode()}; run the audit again")
    return dataset


def read_rows(
    path: str | os.PathLike[str],
    experiment: str | None = None,
    facets: Collection[str] | None = None,
    *,
    redact: Callable[[str], str] | None = None,
    evidence: bool = False,
) -> Iterator[Row]:
    """Yield the rows of a ledger in the order written, only those of ``experiment`` and ``facets`` when given.

    ``evidence``: with what proves that files are equal, which may be long. Row groups that cannot hold such rows are
    not read. Give the same ``redact`` as the writer had: then a name that was redacted is still found by its true form.

    Raises:
        UsageProblem: when there is no ledger of this format at ``path``.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    dataset = checked_dataset(path)
    clean = cleaner(redact)
    wanted: Any = None
    if experiment is not None:
        wanted = ds.field("experiment") == clean(experiment)
    if facets is not None:
        of_facets = ds.field("facet").isin(pa.array([clean(facet) for facet in facets], pa.string()))
        wanted = of_facets if wanted is None else wanted & of_facets
    # one of before files' evidence was kept has none
    columns = [name for name in _COLUMNS if name != _LONG or (evidence and name in dataset.schema.names)]
    # no read-ahead: a ledger may hold millions of rows, and the caller looks at one after the other
    batches = dataset.scanner(
        columns=columns,
        filter=wanted,
        batch_size=_READ_BATCH,
        batch_readahead=0,
        fragment_readahead=0,
        use_threads=False,
    ).to_batches()
    try:
        for batch in batches:
            for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                row = dict(zip(columns, values, strict=True))
                row["state"], row["rules"] = State(row["state"]), tuple(row["rules"])
                row[_LONG] = tuple((one["by"], tuple(one["files"])) for one in row.get(_LONG) or ())
                yield Row(**row)
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageProblem(f"cannot read the ledger {path}: {_one_line(error)}; run the audit again") from error


def read_objects(path: str | os.PathLike[str], experiments: Collection[str]) -> dict[tuple[str, str, str], set[str]]:
    """Return the ids of every object in the ledger, by experiment, kind and name, of these experiments.

    The id is that on the source, or of what is on the target only, the one there.

    Raises:
        UsageProblem: when there is no ledger of this format at ``path``.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    found: dict[tuple[str, str, str], set[str]] = {}
    columns = ["experiment", "kind", "name", "source_id", "target_id"]
    try:
        dataset = checked_dataset(path)
        wanted = ds.field("experiment").isin(pa.array(list(experiments), pa.string()))
        for batch in dataset.scanner(columns=columns, filter=wanted).to_batches():
            # an object has a row for each of its facets
            for row in pa.Table.from_batches([batch]).group_by(columns).aggregate([]).to_pylist():
                place = (row["experiment"], row["kind"], row["name"])
                found.setdefault(place, set()).add(row["source_id"] or row["target_id"] or "")
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageProblem(f"cannot read the ledger {path}: {_one_line(error)}; run the audit again") from error
    return found


def count_states(path: str | os.PathLike[str]) -> dict[tuple[str, str], int]:
    """Return how many rows of the ledger are in which state, by ``kind facet`` and state.

    Raises:
        UsageProblem: when there is no ledger of this format at ``path``.
    """
    import pyarrow as pa

    found: dict[tuple[str, str], int] = {}
    columns = ["kind", "facet", "state"]
    try:
        dataset = checked_dataset(path)
        for batch in dataset.scanner(columns=columns).to_batches():
            counted = pa.Table.from_batches([batch]).group_by(columns).aggregate([([], "count_all")])
            for row in counted.to_pylist():
                key = (f"{row['kind']} {row['facet']}", str(row["state"]))
                found[key] = found.get(key, 0) + row["count_all"]
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageProblem(f"cannot read the ledger {path}: {_one_line(error)}; run the audit again") from error
    return found


def _unwritable(path: Path, error: OSError) -> ParityError:
    full = no_space(error)
    return full or UsageProblem(f"cannot write {path}: {_one_line(error)}; set TMPDIR to a folder that can be written")


def _one_line(error: BaseException) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
