"""Rows as a table of Arrow, and of pandas where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.text import encodable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def table_of(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, texts: Sequence[str] | None = None
) -> pa.Table:
    """Return rows as a table; ``texts`` are the columns that hold text (``None``: all), the others whole numbers."""
    import pyarrow as pa

    rows = list(rows)
    arrays = {}
    for name in columns:
        is_text = texts is None or name in texts
        values = [row[name] for row in rows]
        # Arrow's texts are UTF-8, which has no lone surrogates
        values = [encodable(value) if isinstance(value, str) else value for value in values]
        arrays[name] = pa.array(values, pa.string() if is_text else pa.int64())
    return pa.table(arrays)


def frame_of(table: Callable[[], pa.Table]) -> pd.DataFrame:
    """Return a table as a data frame.

    Raises:
        UsageProblem: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise UsageProblem("pandas is not installed; run: pip install pandas (the tables of Arrow need none)") from None
    return table().to_pandas()
