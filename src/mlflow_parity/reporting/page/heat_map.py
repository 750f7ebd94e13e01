"""The whole in one picture: experiments × facets, with a number in every cell, as SVG inside the page.

Each comparison of the report is counted in exactly one cell: what has no row or column of its own is summed in the
last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow_parity.core.text import crop, short, visible, width
from mlflow_parity.core.verdict import Cell, State
from mlflow_parity.reporting.report import Report, experiment_order

if TYPE_CHECKING:
    from markupsafe import Markup

#: Rows and columns of their own; one more of each holds the rest.
MAX_ROWS, MAX_RED, MAX_COLUMNS = 24, 9, 13
#: Rows in order that have a place of their own behind those that failed.
_GREEN_ROWS = 6
#: Cells that the text beside the picture names.
_TOLD = 40
_WIDE, _HIGH = 60, 28
#: Columns of a name, and units of the picture that one takes at most.
_NAME, _LETTER = 32, 7.6
#: Shares of a cell's objects from which it is darker.
_SOME, _MANY = 0.01, 0.2
_OTHERS = "other kinds"


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Names of rows and columns, worst first, and the cells that are not empty by their place."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[int, int], Cell]

    @property
    def words(self) -> str:
        """What the picture shows, for those who cannot see it."""
        red = [(place, cell) for place, cell in sorted(self.cells.items()) if not cell.green]
        if not red:
            return f"{len(self.rows):,} rows, {len(self.columns):,} columns. Nothing failed."
        told = [
            f"{self.rows[row]}, {self.columns[column]}: {cell.failed:,} of {cell.total:,} failed"
            for (row, column), cell in red[:_TOLD]
        ]
        more = f" And {len(red) - _TOLD:,} more cells." if len(red) > _TOLD else ""
        return f"{len(red):,} of {len(self.cells):,} cells have something that failed. {'; '.join(told)}.{more}"


def heat_map(report: Report) -> HeatMap | None:
    """Return the picture's content; ``None``: nothing was compared."""
    by_experiment = report.by_experiment()
    if not report.objects:
        return None
    order = experiment_order(by_experiment)
    failed = sum(not cell.green for cell in by_experiment.values())
    most = min(MAX_ROWS, failed + _GREEN_ROWS) if failed else MAX_ROWS
    rest = len(order) - most
    # one row for the rest takes as much room as the one that would be the rest
    own = order if rest <= 1 else order[:most]
    row_of = {name: number for number, name in enumerate(own)}
    rows = [_cropped(name) for name in own]
    if len(own) < len(order):
        red = sum(not by_experiment[name].green for name in order[len(own) :])
        rows.append(f"{rest:,} others" + (f" ({red:,} with failures)" if red else " (all OK)"))
    columns, column_of = _columns(report.by_facet())
    cells: dict[tuple[int, int], Cell] = {}
    for row in report.coverage:
        place = row_of.get(row.experiment, len(own)), column_of[row.facet]
        cells.setdefault(place, Cell()).counts.update(row.cell.counts)
    return HeatMap(tuple(rows), tuple(columns), cells)


def _columns(by_facet: Mapping[str, Cell]) -> tuple[list[str], dict[str, int]]:
    """Return the names of the columns, and which one a facet is in: what is wrong first, the rest by kind."""

    def rank(facet: str) -> tuple[bool, bool, int]:
        cell = by_facet[facet]
        return not cell.counts[State.MISMATCH], not facet.endswith("presence"), -cell.failed

    red = sorted((facet for facet, cell in by_facet.items() if not cell.green), key=rank)
    own = red[:MAX_RED]
    names = [_cropped(facet.replace("_", " ")) for facet in own]
    column_of = {facet: number for number, facet in enumerate(own)}
    kinds: dict[str, list[str]] = {}
    for facet in by_facet:
        if facet not in column_of:
            kinds.setdefault(facet.rpartition(" ")[0].replace("_", " ") or "object", []).append(facet)
    # kinds with something wrong come first
    ordered = sorted(kinds, key=lambda kind: all(by_facet[facet].green for facet in kinds[kind]))
    room = MAX_COLUMNS - len(own)
    # one column for the rest takes as much room as the one that would be the rest
    shown = ordered if len(ordered) <= room + 1 else ordered[:room]
    for kind in ordered:
        if kind in shown:
            partly = any((facet.rpartition(" ")[0].replace("_", " ") or "object") == kind for facet in own)
            names.append(_cropped(f"{kind}: {'other' if partly else 'all'} facets"))
        elif names[-1] != _OTHERS:
            names.append(_OTHERS)
        column_of.update(dict.fromkeys(kinds[kind], len(names) - 1))
    return names, column_of


def _cropped(name: str) -> str:
    return crop(visible(name), _NAME)


def drawn(content: HeatMap) -> Markup:
    """Return the picture as SVG; every text in it is escaped."""
    from markupsafe import Markup

    left = 24 + int(_LETTER * max(map(width, content.rows)))
    # the names of columns are turned: so much they reach up, and the last to the right
    reach = int(0.8 * _LETTER * max(map(width, content.columns)))
    top = 24 + reach
    wide = left + _WIDE * len(content.columns) + max(reach - 10, 10)
    high = top + _HIGH * len(content.rows) + 6
    parts = [
        Markup(
            '<svg class="map" role="img" aria-labelledby="map-title map-words" width="{0}" height="{1}" '
            'viewBox="0 0 {0} {1}">\n<title id="map-title">What failed, by experiment and facet</title>\n'
            '<desc id="map-words">{2}</desc>'
        ).format(wide, high, content.words)
    ]
    for column, name in enumerate(content.columns):
        across = left + _WIDE * column + _WIDE // 2
        parts.append(
            Markup('<text x="{0}" y="{1}" transform="rotate(-40 {0} {1})">{2}</text>').format(across, top - 8, name)
        )
    for row, name in enumerate(content.rows):
        down = top + _HIGH * row
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end" class="row">{}</text>').format(left - 10, down + 19, name)
        )
        for column in range(len(content.columns)):
            parts.append(_cell(content.cells.get((row, column)), left + _WIDE * column, down))
    return Markup("\n").join([*parts, Markup("</svg>")])


def _cell(cell: Cell | None, across: int, down: int) -> Markup:
    from markupsafe import Markup

    tone, text = ("none", "·") if cell is None or not cell.total else _tone(cell)
    return Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" rx="3" class="c-{}"></rect>'
        '<text x="{}" y="{}" text-anchor="middle" class="t-{}">{}</text>'
    ).format(across + 1, down + 1, _WIDE - 2, _HIGH - 2, tone, across + _WIDE // 2, down + 19, tone, text)


def _tone(cell: Cell) -> tuple[str, str]:
    failed = cell.failed
    if not failed:
        return "good", f"✓ {_number(cell.total)}"
    if failed == cell.counts[State.UNVERIFIED]:
        return "warn", f"○ {_number(failed)}"
    share = failed / cell.total
    return ("many" if share >= _MANY else "some" if share >= _SOME else "few"), f"✗ {_number(failed)}"


def _number(count: int) -> str:
    return f"{count:,}" if count < 100_000 else short(count)


def legend() -> Sequence[tuple[str, str]]:
    """Return what the colours say, with a class each."""
    return (
        ("good", "✓ all OK (how many)"),
        ("few", "✗ failed, less than 1 % of the cell"),
        ("some", "✗ failed, less than 20 %"),
        ("many", "✗ failed, 20 % or more"),
        ("warn", "○ only not read or not compared"),
        ("none", "· nothing to compare"),
    )
