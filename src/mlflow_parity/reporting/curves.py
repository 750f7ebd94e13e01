"""Metric histories that differ, drawn: a small curve for each side in one scale, with the points that only it has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlflow_parity.comparing.histories import HistoryView, differing_points, value_of
from mlflow_parity.core.errors import ParityError
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import Finding, State

if TYPE_CHECKING:
    from markupsafe import Markup

    from mlflow_parity.core.records import Series

#: Curves of one page, and points of a history that is drawn at most.
MOST, LONGEST = 24, 200_000
#: Parts of a long history: of each its least and its greatest value are drawn. Points that are marked.
_PARTS, _MARKS = 100, 40
_WIDE, _HIGH, _LEFT, _TOP, _DEEP = 420, 130, 8, 18, 92

Key = tuple[str | None, str | None, str]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One side's history: what is drawn of it, and which of its points the other side has not."""

    line: tuple[Point, ...]
    marks: tuple[Point, ...]
    points: int
    only_here: int
    not_finite: int


@dataclass(frozen=True, slots=True)
class Curves:
    """The two histories of a metric; ``axis`` says what goes to the right: ``step``, ``ms`` or ``point``."""

    source: Curve
    target: Curve
    axis: str


class Places(Protocol):
    """Finds what was read of the two experiments that a finding is about."""

    def __call__(self, experiment: str) -> Iterable[tuple[HistoryView, HistoryView]]:
        """Yield the histories of source and target of each pair of experiments of that name."""
        ...


def curves_of(findings: Iterable[Finding], places: Places) -> dict[Key, Curves]:
    """Return the curves of the first metrics that differ, by the two runs and the metric.

    What is not there any more, as workers read it, or too long has none: its finding says it in words all the same.
    """
    found: dict[Key, Curves] = {}
    views: dict[str, list[tuple[HistoryView, HistoryView]]] = {}
    for one in findings:
        if len(found) >= MOST:
            break
        if (one.kind, one.facet, one.state) != ("run", "metrics", State.MISMATCH):
            continue
        if one.source_id is None or one.target_id is None:
            continue
        try:
            if one.experiment not in views:
                # views hold tables of a whole experiment
                views = {one.experiment: [*places(one.experiment)]}
            made = _curves(views[one.experiment], one.source_id, one.target_id, one.key)
        except (ParityError, OSError):
            continue
        if made is not None:
            found[one.source_id, one.target_id, one.key] = made
    return found


def _curves(
    views: Collection[tuple[HistoryView, HistoryView]], source_id: str, target_id: str, key: str
) -> Curves | None:
    for source, target in views:
        ours, theirs = source.histories(source_id).get(key), target.histories(target_id).get(key)
        if ours is None or theirs is None or ours.error or theirs.error:
            continue
        if max(ours.points, theirs.points) > LONGEST:
            return None
        return compared(source.points(source_id, key), target.points(target_id, key))
    return None


def compared(ours: Series, theirs: Series) -> Curves | None:
    """Return two histories as curves; ``None``: they have the same points."""
    only = differing_points(ours, theirs)
    if not any(only):
        return None
    axis = "point"
    for name in ("step", "ms"):
        values = [column for one in (ours, theirs) for column in (one.steps if name == "step" else one.timestamps)]
        if len(values) and min(values) != max(values):
            axis = name
            break
    return Curves(_curve(ours, only[0], axis), _curve(theirs, only[1], axis), axis)


def _curve(series: Series, only: Counter[tuple[int, int, int]], axis: str) -> Curve:
    across = {"step": series.steps.tolist(), "ms": series.timestamps.tolist()}.get(axis, range(len(series.values)))
    every = [(float(x), float(y)) for x, y in zip(across, series.values.tolist(), strict=True)]
    finite = [point for point in every if math.isfinite(point[1])]
    marks = []
    if axis != "point":
        at = ((float(step if axis == "step" else time), value_of(bits)) for step, time, bits in sorted(only))
        marks = [point for point in at if math.isfinite(point[1])]
    else:
        wanted = {value_of(bits) for _, _, bits in only}
        marks = [point for point in finite if point[1] in wanted]
    step = max(-(-len(marks) // _MARKS), 1)
    return Curve(tuple(_reduced(finite)), tuple(marks[::step]), len(every), only.total(), len(every) - len(finite))


def _reduced(points: list[Point]) -> list[Point]:
    """Return the points of a line that looks the same: of each part of a long one its least and its greatest value."""
    if len(points) <= 2 * _PARTS:
        return points
    kept = {0, len(points) - 1}
    for part in range(_PARTS):
        inside = range(part * len(points) // _PARTS, (part + 1) * len(points) // _PARTS)
        kept |= {min(inside, key=lambda place: points[place][1]), max(inside, key=lambda place: points[place][1])}
    return [points[place] for place in sorted(kept)]


def drawn(curves: Curves) -> tuple[Markup, Markup]:
    """Return the two curves as SVG, in one scale."""
    every = [*curves.source.line, *curves.source.marks, *curves.target.line, *curves.target.marks]
    across = _scale([x for x, _ in every])
    up = _scale([y for _, y in every])
    return (
        _drawn("Source", curves.source, curves.axis, across, up),
        _drawn("Target", curves.target, curves.axis, across, up),
    )


def _scale(values: list[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _share(value: float, scale: tuple[float, float]) -> float:
    """Return where in its scale a value is, from 0 to 1; halved first, as the two ends may be of any size."""
    low, high = (end / 2 for end in scale)
    return (value / 2 - low) / ((high - low) or 1.0)


def _drawn(side: str, curve: Curve, axis: str, across: tuple[float, float], up: tuple[float, float]) -> Markup:
    from markupsafe import Markup

    def at(point: Point) -> tuple[float, float]:
        wide, high = _WIDE - 2 * _LEFT, _DEEP
        return round(_LEFT + wide * _share(point[0], across), 1), round(_TOP + high * (1 - _share(point[1], up)), 1)

    words = f"{side}: {counted(curve.points, 'points')}, {curve.only_here:,} of them on the {side.lower()} only"
    words += f", {curve.not_finite:,} not finite and not drawn" if curve.not_finite else ""
    line = " ".join(f"{x},{y}" for x, y in map(at, curve.line))
    dots = [*curve.line] if len(curve.line) == 1 else []
    parts = [
        Markup('<svg class="curve" role="img" aria-label="{}" viewBox="0 0 {} {}">').format(words, _WIDE, _HIGH),
        Markup('<polyline points="{}"></polyline>').format(line),
        *(Markup('<circle class="dot" cx="{}" cy="{}" r="2"></circle>').format(*at(point)) for point in dots),
        *(Markup('<circle cx="{}" cy="{}" r="3"></circle>').format(*at(point)) for point in curve.marks),
        Markup('<text x="{}" y="12">{:.6g}</text>').format(_LEFT, up[1]),
        Markup('<text x="{}" y="{}">{:.6g}</text>').format(_LEFT, _HIGH - 4, up[0]),
        Markup('<text x="{}" y="{}" text-anchor="end">{} {:.15g} to {:.15g}</text>').format(
            _WIDE - _LEFT, _HIGH - 4, axis, *across
        ),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)
