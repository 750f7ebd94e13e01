"""What a report says of databases beside the API, also of those that an earlier audit has read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlflow_parity.audit.side import Side
from mlflow_parity.reading.transport.auth import SideName


def told_of_databases(sides: Mapping[SideName, Side]) -> Iterator[str]:
    """Yield a line for each database from which something was read that is compared."""
    for name, side in sides.items():
        origin = side.snapshot.origin
        if side.reader is None:
            if origin.database:
                yield (
                    f"runs, metric histories and spans of the {name}'s snapshot were read from its server's database "
                    f"({origin.database}) as they were at {' and '.join(origin.database_at)}"
                )
            continue
        if side.reader.told:
            yield side.reader.told
        if side.resumed_parts and (before := origin.database_at[:-1]):
            yield (
                f"runs, metric histories and spans of the {name} in parts that an interrupted audit left and that were "
                f"taken over are from that database ({origin.database}) as it was at {' and '.join(before)}"
            )
