"""Classes of faults in the metric histories of runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlflow_parity.core.records import MetricPoint, Series
from mlflow_parity.self_test.changes import TEXT, renamed, ulp, without
from mlflow_parity.self_test.fault import Fault, Scene

_KIND, _FACET = "run", "metrics"
_LARGEST = 1.7976931348623157e308
_NEW = "parity-self-test"


def _keys(scene: Scene) -> list[str]:
    """Metrics that both have in full, the shortest first."""
    ours, theirs = scene.source.histories(scene.one), scene.target.histories(scene.copy)
    fit = [
        key
        for key, history in ours.items()
        if key in theirs and history.error is None and theirs[key].error is None
        and history.digest == theirs[key].digest and history.points and key in scene.run[1].metrics
    ]  # fmt: skip
    return sorted(fit, key=lambda key: (scene.waived(_FACET, key), ours[key].points, key))


def _point(series: Series) -> int | None:
    """The last point that no rule speaks of: alone at its step and time, neither nought nor infinite."""
    at = Counter(zip(series.steps.tolist(), series.timestamps.tolist(), strict=True))
    for place in range(len(series.values) - 1, -1, -1):
        value = float(series.values[place])
        alone = at[int(series.steps[place]), int(series.timestamps[place])] == 1
        if alone and math.isfinite(value) and value and abs(value) < _LARGEST:
            return place
    return None


def _history(change: Callable[[dict[str, Any], int], None], least: int = 1) -> Callable[[Scene], bool]:
    """Alter the shortest history that has a point to be altered; ``change`` is given its columns and the place."""

    def plant(scene: Scene) -> bool:
        for key in _keys(scene)[:20]:
            series = scene.target.points(scene.copy, key)
            place = _point(series)
            if place is None or len(series.values) < least:
                continue
            columns = {name: getattr(series, name).copy() for name in ("steps", "timestamps", "values")}
            change(columns, place)
            scene.target.series[scene.copy, key] = Series(scene.copy, key, **columns)
            return True
        return False

    return plant


def _only(columns: dict[str, Any], keep: Callable[[int], bool]) -> None:
    for name, column in columns.items():
        columns[name] = column[[place for place in range(len(column)) if keep(place)]]


def _put(name: str, by: Callable[[Any], Any]) -> Callable[[dict[str, Any], int], None]:
    def change(columns: dict[str, Any], place: int) -> None:
        columns[name][place] = by(columns[name][place])

    return change


def _twice(columns: dict[str, Any], place: int) -> None:
    import numpy as np

    for name, column in columns.items():
        columns[name] = np.append(column, column[place])


def _later(columns: dict[str, Any], place: int) -> None:
    import numpy as np

    for name, column in columns.items():
        columns[name] = np.append(column, column.max() + 1 if name == "steps" else column[place])


def _lost_key(scene: Scene) -> bool:
    for key in _keys(scene)[:1]:
        scene.target.series[scene.copy, key] = None
        return scene.change(metrics=without(scene.run[1].metrics, key))
    return False


def _extra_key(scene: Scene) -> bool:
    import numpy as np

    theirs = scene.run[1]
    if scene.target.views[theirs.experiment_id].problem("metrics") is not None or _NEW in theirs.metrics:
        return False
    series = Series(scene.copy, _NEW, np.array([0], np.int64), np.array([1], np.int64), np.array([1.0], np.float64))
    scene.target.series[scene.copy, _NEW] = series
    return scene.change(metrics={**theirs.metrics, _NEW: MetricPoint(0, 1, 1.0)})


def _renamed_key(form: str) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        theirs = scene.run[1]
        for key in _keys(scene):
            new = TEXT[form](key)
            if new and new not in theirs.metrics:
                series = scene.target.points(scene.copy, key)
                scene.target.series[scene.copy, key] = None
                scene.target.series[scene.copy, new] = replace(series, key=new)
                return scene.change(metrics=renamed(theirs.metrics, key, new))
        return False

    return plant


def _swapped_keys(scene: Scene) -> bool:
    keys, histories = _keys(scene), scene.target.histories(scene.copy)
    for one in keys[:1]:
        for two in keys[1:]:
            if histories[one].digest != histories[two].digest:
                first, second = (scene.target.points(scene.copy, key) for key in (one, two))
                scene.target.series[scene.copy, one] = replace(second, key=one)
                scene.target.series[scene.copy, two] = replace(first, key=two)
                return True
    return False


def _other_run(scene: Scene) -> bool:
    if scene.other is None:
        return False
    mine, theirs = scene.target.histories(scene.copy), scene.target.histories(scene.other[1])
    for key in _keys(scene):
        if key in theirs and theirs[key].error is None and theirs[key].digest != mine[key].digest:
            series = scene.target.points(scene.other[1], key)
            scene.target.series[scene.copy, key] = replace(series, run_id=scene.copy)
            return True
    return False


def _latest(scene: Scene) -> bool:
    theirs = scene.run[1]
    for key in _keys(scene):
        if key in scene.run[0].metrics:
            point = scene.run[0].metrics[key]
            return scene.change(metrics={**theirs.metrics, key: replace(point, step=point.step + 1)})
    return False


def _unread(scene: Scene) -> bool:
    for key in _keys(scene)[:1]:
        series = scene.target.points(scene.copy, key)
        scene.target.series[scene.copy, key] = replace(series, error="the self-test says so")
        return True
    return False


_NEEDS = "a metric point that is neither nought nor infinite"
METRIC_FAULTS: tuple[Fault, ...] = tuple(
    Fault(_KIND, _FACET, name, plant, needs)
    for name, plant, needs in (
        ("one point lost", _history(lambda columns, at: _only(columns, lambda place: place != at)), _NEEDS),
        ("one point too many", _history(_later), _NEEDS),
        ("one point there twice", _history(_twice), _NEEDS),
        ("a value by one ulp", _history(_put("values", lambda value: ulp(float(value)))), _NEEDS),
        ("a value of the other sign", _history(_put("values", lambda value: -value)), _NEEDS),
        ("a value that is no number", _history(_put("values", lambda value: math.nan)), _NEEDS),
        ("a time by one millisecond", _history(_put("timestamps", lambda time: time + 1)), _NEEDS),
        ("a step by one", _history(_put("steps", lambda step: step + 1)), _NEEDS),
        ("the first half lost", _history(lambda columns, at: _only(columns, lambda place: place > at // 2
                                         or place == at > 0), 2), "a history of two points"),
        ("another latest point", _latest, "a metric"),
        ("a whole metric lost", _lost_key, "a metric"),
        ("a whole metric too many", _extra_key, ""),
        ("a key in another case", _renamed_key("in another case"), "a metric whose key has letters"),
        ("a key in another Unicode form", _renamed_key("in another Unicode form"), "a metric whose key has accents"),
        ("two metrics swapped", _swapped_keys, "two metrics that differ"),
        ("the history of another run", _other_run, "two runs with one metric"),
        ("a history that cannot be read", _unread, "a metric"),
    )
)  # fmt: skip
