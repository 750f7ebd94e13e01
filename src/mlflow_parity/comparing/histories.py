"""Metric histories of a pair of runs: digests first, then the points of the suspects as multisets."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.digests import series_matrix
from mlflow_parity.model import Run
from mlflow_parity.snapshot import ExperimentView, HistoryKey
from mlflow_parity.verdict import State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULE = "run.metrics"
_LARGEST = 1.7976931348623157e308
#: Points of one history that are shown as a difference; all are counted.
_SHOWN = 20

_Point = tuple[int, int, int]


def compare_histories(
    source: ExperimentView, target: ExperimentView, source_run: Run, target_run: Run
) -> list[Difference]:
    """Compare every metric history of a pair."""
    ours, theirs = source.histories(source_run.run_id), target.histories(target_run.run_id)
    found = _unread(source_run, ours, "source") + _unread(target_run, theirs, "target")
    unread = {difference.key for difference in found}
    for key in sorted((ours.keys() | theirs.keys()) - unread):
        mine, copy = ours.get(key), theirs.get(key)
        if mine is not None and copy is not None:
            if mine.points != copy.points or mine.digest != copy.digest:
                found += _compare_points(source, target, source_run.run_id, target_run.run_id, key)
        elif mine is not None:
            found.append(Difference(key, State.MISSING, RULE, source=f"{mine.points} points", note=_gone(mine)))
        elif copy is not None:
            found.append(Difference(key, State.EXTRA, RULE, target=f"{copy.points} points"))
    return found


def _gone(history: HistoryKey) -> str:
    return f"the whole metric is not on the target ({history.points} points)"


def _unread(run: Run, histories: Mapping[str, HistoryKey], side: str) -> list[Difference]:
    """Name every history that was not read in full: its absence or its error is not an empty history."""
    found = [
        Difference(key, State.UNVERIFIED, RULE, note=f"the {side}'s history could not be read: {history.error}")
        for key, history in histories.items()
        if history.error is not None
    ]
    found += [
        Difference(key, State.UNVERIFIED, RULE, note=f"the {side}'s history was not read")
        for key in run.metrics
        if key not in histories
    ]
    return found


def _compare_points(
    source: ExperimentView, target: ExperimentView, source_id: str, target_id: str, key: str
) -> list[Difference]:
    ours = series_matrix(source.points(source_id, key))
    theirs = series_matrix(target.points(target_id, key))
    only_ours, only_theirs, kept = _multiset_difference(ours, theirs)
    rules = _apply_rules(only_ours, only_theirs, kept)
    found = [
        Difference(key, State.EXPECTED, rule, note=f"{count} point{'s' * (count != 1)}")
        for rule, count in sorted(rules.items())
    ]
    missing, extra = sum(only_ours.values()), sum(only_theirs.values())
    if missing or extra:
        where = sorted({point[:2] for point in [*only_ours, *only_theirs]})
        found.append(
            Difference(
                key,
                State.MISMATCH,
                RULE,
                _shown(only_ours, where),
                _shown(only_theirs, where),
                f"{len(ours)} points on the source, {len(theirs)} on the target; {missing} only on the source, "
                f"{extra} only on the target, at {len(where)} (step, time)",
            )
        )
    return found


def _multiset_difference(
    ours: NDArray[np.int64], theirs: NDArray[np.int64]
) -> tuple[Counter[_Point], Counter[_Point], Counter[_Point]]:
    """Return what only one side has, and what both have (that third only for points repeated on either side)."""
    import numpy as np

    both = np.concatenate([ours, theirs])
    unique, inverse = np.unique(both, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    left = np.bincount(inverse[: len(ours)], minlength=len(unique))
    right = np.bincount(inverse[len(ours) :], minlength=len(unique))
    only_ours: Counter[_Point] = Counter()
    only_theirs: Counter[_Point] = Counter()
    kept: Counter[_Point] = Counter()
    for row in np.nonzero(left != right)[0]:
        point = (int(unique[row, 0]), int(unique[row, 1]), int(unique[row, 2]))
        surplus = int(left[row]) - int(right[row])
        (only_ours if surplus > 0 else only_theirs)[point] = abs(surplus)
        if left[row] and right[row]:
            kept[point] = int(right[row])
    return only_ours, only_theirs, kept


def _apply_rules(only_ours: Counter[_Point], only_theirs: Counter[_Point], kept: Mapping[_Point, int]) -> Counter[str]:
    """Take out of both what the contract lets differ; return how many points each rule covers."""
    used: Counter[str] = Counter()
    for point in list(only_ours):
        step, timestamp, bits = point
        value = _double(bits)
        if kept.get(point) == 1:
            used["run.metrics.repeated"] += only_ours.pop(point)
            continue
        if value in (float("inf"), float("-inf")):
            rule, image = "run.metrics.infinity", _bits(_LARGEST if value > 0 else -_LARGEST)
        elif value == 0.0 and bits != 0:
            rule, image = "run.metrics.negative-zero", 0
        else:
            continue
        twin = (step, timestamp, image)
        count = min(only_ours[point], only_theirs.get(twin, 0))
        if count:
            used[rule] += count
            for side, taken in ((only_ours, point), (only_theirs, twin)):
                side[taken] -= count
                if not side[taken]:
                    del side[taken]
    return used


def _shown(points: Counter[_Point], where: list[tuple[int, int]]) -> dict[str, object]:
    """Return the first differing points keyed by step, time and occurrence, as deepdiff explains best."""
    first = set(where[:_SHOWN])
    shown: dict[str, object] = {}
    for (step, timestamp, bits), count in sorted(points.items()):
        if (step, timestamp) in first:
            for _ in range(count):
                occurrence = 0
                while (
                    name := f"step {step} at {timestamp} ms" + (f" #{occurrence + 1}" if occurrence else "")
                ) in shown:
                    occurrence += 1
                shown[name] = _double(bits)
    return shown


def _double(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return value


def _bits(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits
