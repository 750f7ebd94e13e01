"""What moved behind an audit's back: the runs are listed once more when everything was read.

Nothing tells that an ended run was changed or deleted, nor that one came and ended, but a second list: so it is made,
in the fewest requests (1,000 runs a page, small experiments together).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mlflow_parity.digests import listed_digest
from mlflow_parity.errors import ReadError
from mlflow_parity.reading import Reader
from mlflow_parity.snapshot.schema import Listed
from mlflow_parity.snapshot.store import Snapshot

#: Lists that are read at once, as at the first reading; runs and experiments that one list holds at most.
_AT_ONCE = 4
_RUNS, _EXPERIMENTS = 1_000, 500


def moved_runs(
    reader: Reader, snapshot: Snapshot, experiments: Sequence[str], *, include_deleted: bool
) -> tuple[dict[str, set[str]], str]:
    """Return, by experiment, the runs that came, went or are not as they were read; and what could not be asked."""
    moved: dict[str, set[str]] = {}
    problem = ""

    def one(group: Mapping[str, Mapping[str, Listed]]) -> dict[str, set[str]]:
        rest = {place: dict(runs) for place, runs in group.items()}
        found: dict[str, set[str]] = {}
        for page in reader.runs_of(list(group)):
            for run in page:
                now = Listed(run.lifecycle_stage, listed_digest(run))
                before = rest[run.experiment_id].pop(run.run_id, None)
                out_of_scope = not include_deleted and {now[0], before[0] if before else "deleted"} == {"deleted"}
                if now != before and not out_of_scope:
                    found.setdefault(run.experiment_id, set()).add(run.run_id)
        for place, gone in rest.items():
            ids = {one for one, before in gone.items() if include_deleted or before.lifecycle_stage != "deleted"}
            if ids:
                found.setdefault(place, set()).update(ids)
        return found

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parity-again") as pool:
        for future in [pool.submit(one, group) for group in _groups(snapshot, experiments)]:
            try:
                moved.update(future.result())
            except ReadError as error:
                problem = problem or str(error)
    return moved, problem


def _groups(snapshot: Snapshot, experiments: Sequence[str]) -> Iterator[dict[str, dict[str, Listed]]]:
    group: dict[str, dict[str, Listed]] = {}
    size = 0
    for place in experiments:
        listed = snapshot.listed(place)
        if listed is None:
            continue
        if group and (size + len(listed) > _RUNS or len(group) == _EXPERIMENTS):
            yield group
            group, size = {}, 0
        group[place] = listed
        size += len(listed)
    if group:
        yield group
