"""Metric histories that differ, drawn: a small curve for each side in one scale, with the points that only it has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from mlflow_parity.comparing.histories import HistoryView, differing_points, value_of
from mlflow_parity.core.errors import ParityError
from mlflow_parity.core.identity.digests import series_matrix
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import Finding, State

if TYPE_CHECKING:
    from markupsafe import Markup

    from mlflow_parity.core.records import Series

#: Curves of one page, and points of a history that is drawn at most.
MOST, LONGEST = 24, 200_000
#: Findings that are looked at for them, and experiments: the tables of each are loaded.
_TRIED, _PLACES = 200, 12
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

    def told(self, side: str) -> str:
        """Return what the picture shows, and what it does not."""
        words = f"{counted(self.points, 'points')}, {self.only_here:,} on the {side} only"
        if len(self.marks) < self.only_here:
            words += f" ({len(self.marks):,} ringed)"
        return words + (f"; {self.not_finite:,} not finite, not drawn" if self.not_finite else "")


@dataclass(frozen=True, slots=True)
class Curves:
    """The two histories of a metric; ``axis`` says what goes to the right, from where to where."""

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
    views: list[tuple[HistoryView, HistoryView]] = []
    opened: list[str] = []
    wanted = (one for one in findings if (one.kind, one.facet, one.state) == ("run", "metrics", State.MISMATCH))
    for one in islice(wanted, _TRIED):
        if len(found) >= MOST:
            break
        if one.source_id is None or one.target_id is None:
            continue
        try:
            if opened[-1:] != [one.experiment]:
                if len(opened) >= _PLACES:
                    break
                opened.append(one.experiment)
                # one at a time, as they hold tables of a whole experiment
                views = []
                views = [*places(one.experiment)]
            made = _curves(views, one.source_id, one.target_id, one.key)
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
        if max(ours.points, theirs.points) > LONGEST or (ours.points, ours.digest) == (theirs.points, theirs.digest):
            return None
        return compared(source.points(source_id, key), target.points(target_id, key))
    return None


def compared(ours: Series, theirs: Series) -> Curves | None:
    """Return two histories as curves; ``None``: they have the same points."""
    only = differing_points(ours, theirs)
    if not any(only):
        return None
    matrices = [series_matrix(one).tolist() for one in (ours, theirs)]
    # by step, else by time, else in order
    across = [[row[0] for row in rows] for rows in matrices]
    name = "step"
    if _ends(across)[0] == _ends(across)[1]:
        across, name = [[row[1] for row in rows] for rows in matrices], "ms"
    if _ends(across)[0] == _ends(across)[1]:
        across, name = [list(range(1, len(rows) + 1)) for rows in matrices], "point"
    low, high = _ends(across)
    source, target = (_curve(rows, at, one) for rows, at, one in zip(matrices, across, only, strict=True))
    return Curves(source, target, f"{name} {low} to {high}")


def _ends(across: list[list[int]]) -> tuple[int, int]:
    values = [value for one in across for value in one]
    return min(values), max(values)


def _curve(rows: list[list[int]], across: list[int], only: Counter[tuple[int, int, int]]) -> Curve:
    """Return one side; ``rows`` are step, time and bits of the value, ``across`` where each stands."""
    finite: list[Point] = []
    marks: list[Point] = []
    left = Counter(only)
    for (step, time, bits), x in zip(rows, across, strict=True):
        point = float(x), value_of(bits)
        seen = math.isfinite(point[1])
        finite += [point] * seen
        if left[step, time, bits] > 0:
            left[step, time, bits] -= 1
            marks += [point] * seen
    every = max(-(-len(marks) // _MARKS), 1)
    return Curve(tuple(_reduced(finite)), tuple(marks[::every]), len(rows), only.total(), len(rows) - len(finite))


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
        _drawn(curves.source, "source", curves.axis, across, up),
        _drawn(curves.target, "target", curves.axis, across, up),
    )


def _scale(values: list[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _share(value: float, scale: tuple[float, float]) -> float:
    """Return where in its scale a value is, from 0 to 1; halved first, as the two ends may be of any size."""
    low, high = (end / 2 for end in scale)
    return (value / 2 - low) / ((high - low) or 1.0)


def _drawn(curve: Curve, side: str, axis: str, across: tuple[float, float], up: tuple[float, float]) -> Markup:
    from markupsafe import Markup

    def at(point: Point) -> tuple[float, float]:
        wide, high = _WIDE - 2 * _LEFT, _DEEP
        return round(_LEFT + wide * _share(point[0], across), 1), round(_TOP + high * (1 - _share(point[1], up)), 1)

    # what is a point by itself is no line
    dots = curve.line if len(curve.line) == 1 else ()
    parts = [
        # the words below it say the same
        Markup('<svg class="curve" aria-hidden="true" viewBox="0 0 {} {}">').format(_WIDE, _HIGH),
        Markup('<polyline points="{}"></polyline>').format(" ".join(f"{x},{y}" for x, y in map(at, curve.line))),
        *(Markup('<circle class="dot" cx="{}" cy="{}" r="2"></circle>').format(*at(point)) for point in dots),
        *(Markup('<circle cx="{}" cy="{}" r="3"></circle>').format(*at(point)) for point in curve.marks),
        Markup('<text x="{}" y="12">{:.6g}</text>').format(_LEFT, up[1]),
        Markup('<text x="{}" y="{}">{:.6g}</text>').format(_LEFT, _HIGH - 4, up[0]),
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_WIDE - _LEFT, _HIGH - 4, axis),
        Markup('</svg>\n<p class="soft">{}</p>').format(curve.told(side)),
    ]
    return Markup("").join(parts)
