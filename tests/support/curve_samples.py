"""Metric histories for the tests of their curves."""

from __future__ import annotations

import numpy as np

from mlflow_parity.core.records import Series
from mlflow_parity.reporting.page.curves import Curves, compared
from support.seed import EPOCH


def series(points: list[tuple[int, int, float]]) -> Series:
    """One history in canonical order."""
    points = sorted(points, key=lambda one: (one[0], one[1], str(one[2])))
    steps, times, values = zip(*points, strict=True) if points else ((), (), ())
    return Series("r", "loss", np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64))


def sample() -> Curves:
    """Fifty points of which the target has one altered."""
    ours = [(step, EPOCH + step, 1 / (1 + step)) for step in range(50)]
    theirs = [*ours[:20], (20, EPOCH + 20, 0.9), *ours[21:]]
    made = compared(series(ours), series(theirs))
    assert made is not None
    return made
