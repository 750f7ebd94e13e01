"""Faults of runs: points of metrics."""

from __future__ import annotations

import struct

from support.seed import EPOCH

from faults.changes import swapped
from faults.fault import Fault, Found, Plant, Target, sql
from faults.seeding import partner

_LARGEST = 1.7976931348623157e308
#: The latest point of a metric, as MLflow keeps it, after a change of its history.
_LATEST = (
    "UPDATE latest_metrics SET (step, timestamp, value, is_nan) = (SELECT step, timestamp, value, is_nan FROM metrics "
    "WHERE run_uuid = :run AND key = '{key}' ORDER BY step DESC, timestamp DESC, value DESC LIMIT 1) "
    "WHERE run_uuid = :run AND key = '{key}'"
)
_POINT = "UPDATE metrics SET {} WHERE run_uuid = :run AND key = '{}' AND step = {}"


def _point(change: str, key: str = "loss", step: int = 5) -> str:
    return _POINT.format(change, key, step)


def _to(function: str) -> Plant:
    """Give the point of step 5 the value that is nearest to it in another sense."""

    def plant(target: Target, name: str) -> None:
        run = target.id("run", name)
        query = "SELECT value FROM metrics WHERE run_uuid = :run AND key = 'loss' AND step = 5"
        value = float(target.value(query, run=run))
        [bits] = struct.unpack("<q", struct.pack("<d", value))
        near = {
            "ulp": struct.unpack("<d", struct.pack("<q", bits + 1))[0],
            "single": struct.unpack("<f", struct.pack("<f", value))[0],
            "decimals": round(value, 6),
        }[function]
        target.sql(_point("value = :value"), value=near, run=run)

    return plant


def _points_swapped(target: Target, name: str) -> None:
    run = target.id("run", name)
    query = "SELECT value FROM metrics WHERE run_uuid = :run AND key = 'loss' AND step = :step"
    values = [target.value(query, run=run, step=step) for step in (5, 6)]
    for step, value in ((5, values[1]), (6, values[0])):
        target.sql(_point("value = :value", step=step), value=value, run=run)


def _histories_swapped(target: Target, name: str) -> None:
    for step in (0, 1):
        swapped("metrics", "value", f"key = 'which' AND step = {step}")(target, name)
    swapped("latest_metrics", "value", "key = 'which'")(target, name)


def _metric_lost(target: Target, name: str) -> None:
    sql(*(f"DELETE FROM {table} WHERE run_uuid = :run AND key = 'auc'" for table in ("metrics", "latest_metrics")))(
        target, name
    )


def _page_lost(target: Target, name: str) -> None:
    run = target.id("run", name)
    later = "DELETE FROM metrics WHERE run_uuid = ? AND key = 'loss' AND step > 5"
    assert target.database.execute(later, (run,)).rowcount == 6
    target.sql(_LATEST.format(key="loss"), run=run)


def _made_up(key: str, value: str, step: int) -> str:
    return (
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
        f"VALUES ('{key}', {value}, {EPOCH + 1}, :run, {step}, 0)"
    )


_LOSS, _ODD = (Found("metrics", "loss"),), (Found("metrics", "odd"),)
METRICS = (
    Fault("point-last-lost", "run", "the last point is gone",
          sql("DELETE FROM metrics WHERE run_uuid = :run AND key = 'loss' AND step = 11", _LATEST.format(key="loss")),
          _LOSS),
    Fault("points-page-lost", "run", "the last page of points is gone", _page_lost, _LOSS),
    Fault("point-first-lost", "run", "the first point is gone",
          sql("DELETE FROM metrics WHERE run_uuid = :run AND key = 'loss' AND step = 0"), _LOSS),
    # the server contradicts itself: its latest point is not in its history, so nothing is proved either way
    Fault("history-cut", "run", "the history ends before the latest point",
          sql("DELETE FROM metrics WHERE run_uuid = :run AND key = 'loss' AND step = 11"),
          (Found("metrics", "loss", "unverified"),)),
    Fault("latest-value", "run", "of two points of one step and time the other is told as the latest",
          sql("UPDATE latest_metrics SET value = 0.25 WHERE run_uuid = :run AND key = 'tied'"),
          (Found("metrics", "tied"),)),
    Fault("latest-made-up", "run", "a value that no point has is told as the latest",
          sql("UPDATE latest_metrics SET value = value + 1 WHERE run_uuid = :run AND key = 'loss'"),
          (Found("metrics", "loss", "unverified"),)),
    Fault("point-made-up", "run", "one point too many", sql(_made_up("loss", "9.5", 3)), _LOSS),
    Fault("point-doubled", "run", "a point there twice, a millisecond apart",
          sql("INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) SELECT key, value, timestamp + 1, "
              "run_uuid, step, is_nan FROM metrics WHERE run_uuid = :run AND key = 'loss' AND step = 5"), _LOSS),
    Fault("point-one-ulp", "run", "the next double", _to("ulp"), _LOSS),
    Fault("point-single", "run", "a double that went through single precision", _to("single"), _LOSS),
    Fault("point-rounded", "run", "a double rounded to six decimals", _to("decimals"), _LOSS),
    Fault("point-sign", "run", "the sign is lost", sql(_point("value = -value")), _LOSS),
    Fault("point-time", "run", "one point a millisecond later", sql(_point("timestamp = timestamp + 1")), _LOSS),
    Fault("point-time-seconds", "run", "the time of one point in seconds", sql(_point("timestamp = timestamp / 1000")),
          _LOSS),
    Fault("point-step", "run", "one point at another step", sql(_point("step = -5")), _LOSS),
    Fault("points-swapped", "run", "the values of two points swapped", _points_swapped, _LOSS),
    Fault("point-nan-to-zero", "run", "NaN became 0", sql(_point("is_nan = 0", "odd", 0)), _ODD),
    Fault("point-zero-to-nan", "run", "0 became NaN", sql(_point("is_nan = 1", "odd", 1)), _ODD),
    Fault("point-infinity-sign", "run", "infinity became its negative", sql(_point(f"value = {-_LARGEST!r}", "odd", 2)),
          _ODD),
    Fault("point-infinity-zero", "run", "infinity became 0", sql(_point("value = 0", "odd", 2)), _ODD),
    Fault("point-denormal", "run", "the smallest double became 0", sql(_point("value = 0", "odd", 3)), _ODD),
    Fault("metric-lost", "run", "a metric with all its points is gone", _metric_lost,
          (Found("metrics", "auc", "missing"),)),
    Fault("metric-made-up", "run", "one metric too many", sql(
          _made_up("new", "1.0", 0), "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
          f"VALUES ('new', 1.0, {EPOCH + 1}, 0, 0, :run)"), (Found("metrics", "new", "extra"),)),
    Fault("metric-key-case", "run", "the key in another case", sql(
          *(f"UPDATE {table} SET key = 'AUC' WHERE run_uuid = :run AND key = 'auc'"
            for table in ("metrics", "latest_metrics"))),
          (Found("metrics", "auc", "missing"), Found("metrics", "AUC", "extra"))),
    Fault("histories-swapped", "run", "a metric's history of two runs swapped", _histories_swapped,
          (Found("metrics", "which"), Found("metrics", "which", name=partner("histories-swapped")))),
)  # fmt: skip
