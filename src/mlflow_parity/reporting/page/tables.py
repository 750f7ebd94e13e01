"""The tables of the coverage: which facets failed in which experiment, and what is in order beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from mlflow_parity.core.text import shorten, visible
from mlflow_parity.core.verdict import SEVERITY, Cell, State
from mlflow_parity.reporting.report import Report

#: Bytes of HTML that the rows of both tables may take; the rest is summarised. With the differences and the lists the
#: page stays below 10 MB whatever the servers hold.
MAX_TABLE_BYTES = 3_000_000
#: Facets that are counted by kind.
MAX_COUNTED = 500
MAX_NAME = 160
#: Facets named in one cell of a row, and cells of a row.
_NAMED, _CELLS = 6, 40
#: Markup around one state of one cell, one cell and one row.
_STATE_BYTES, _CELL_BYTES, _ROW_BYTES = 130, 110, 420


@dataclass(frozen=True, slots=True)
class Failed:
    """Facets of one experiment that failed alike: of as many objects as many are in the same states."""

    facets: tuple[str, ...]
    more: int
    cell: Cell


@dataclass(frozen=True, slots=True)
class RowShown:
    """One experiment: what failed in it, and its sums."""

    name: str
    cell: Cell
    failed: tuple[Failed, ...]
    more: int
    """Cells there is no room for."""


def rows_shown(report: Report, order: Sequence[str], cells: Mapping[str, Cell]) -> tuple[list[RowShown], list[str]]:
    """Return the experiments there is room for, in this order, and the names of all others."""
    red: dict[str, list[tuple[str, Cell]]] = {}
    for row in report.coverage:
        if not row.cell.green:
            red.setdefault(row.experiment, []).append((row.facet, row.cell))
    shown: list[RowShown] = []
    spent = 0
    for number, name in enumerate(order):
        failed = _alike(red.get(name, ()))
        made = RowShown(name, cells[name], tuple(failed[:_CELLS]), max(len(failed) - _CELLS, 0))
        spent += _size(made)
        if spent > MAX_TABLE_BYTES and shown:
            return shown, list(order[number:])
        shown.append(made)
    return shown, []


def _alike(red: Iterable[tuple[str, Cell]]) -> list[Failed]:
    """Return the facets with those together that failed alike, the altered ones first."""
    groups: dict[tuple[tuple[tuple[State, int], ...], int], list[str]] = {}
    for facet, cell in red:
        groups.setdefault((tuple(states_of(cell)), cell.total), []).append(facet)
    made = []
    for (states, total), facets in groups.items():
        bad = sum(count for _, count in states)
        cell = Cell()
        cell.counts.update({**dict(states), State.MATCH: total - bad})
        # that an object is missing says more than that its parts are
        ordered = sorted(facets, key=lambda facet: not facet.endswith("presence"))
        made.append(Failed(tuple(ordered[:_NAMED]), max(len(facets) - _NAMED, 0), cell))
    return sorted(made, key=lambda one: (not one.cell.counts[State.MISMATCH], not one.facets[0].endswith("presence")))


def _size(row: RowShown) -> int:
    """Return the bytes of HTML that a row takes at most."""
    states = sum(state.green for state, count in row.cell.counts.items() if count)
    texts = [shorten(visible(row.name), MAX_NAME)]
    for one in row.failed:
        states += len(states_of(one.cell)) + 1
        texts += [shorten(visible(facet), MAX_NAME) for facet in one.facets]
    text = sum(len(escape(text).encode()) for text in texts)
    return _ROW_BYTES + text + _CELL_BYTES * len(row.failed) + _STATE_BYTES * states


def states_of(cell: Cell) -> list[tuple[State, int]]:
    """Return what one cell says: the states not green, worst first, or how many are in order."""
    red = [(state, cell.counts[state]) for state in SEVERITY if cell.counts[state] and not state.green]
    return red or [(state, cell.counts[state]) for state in SEVERITY if cell.counts[state]]


def by_kind(by_facet: Mapping[str, Cell]) -> list[tuple[str, int, list[tuple[str, Cell]]]]:
    """Return each kind of object, how many there are of it, and its facets in the contract's order."""
    kinds: dict[str, list[tuple[str, Cell]]] = {}
    for name in list(by_facet)[:MAX_COUNTED]:
        kind, _, facet = name.rpartition(" ")
        kinds.setdefault(kind.replace("_", " ") or "object", []).append((facet, by_facet[name]))
    return [(kind, max(cell.total for _, cell in those), those) for kind, those in kinds.items()]
