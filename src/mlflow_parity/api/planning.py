"""``migrate.plan(source=…, target=…)``: what ``mlflow-parity migrate plan`` finds, as an object."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlflow_parity.api.errors import Saying, in_one_line
from mlflow_parity.api.given import Parser, parsed
from mlflow_parity.api.tables import table_of
from mlflow_parity.core.notice import LEVELS
from mlflow_parity.core.redaction import guard_logs
from mlflow_parity.core.text import counted, crop, listed, visible
from mlflow_parity.kinds import plural_of
from mlflow_parity.reporting.page.notebook_block import lines_block

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = 120
_EXPERIMENT = ("id", "name", "runs", "metrics", "points", "files", "size")


class MigrationPlan:
    """What a migration would move, what stands in its way, and what will differ. Nothing was written to a server.

    It has no truth value: ask :attr:`blocked`.
    """

    def __init__(self, document: dict[str, Any], text: list[str], path: Path) -> None:
        """Wrap what ``plan.json`` holds, and the lines that the command prints."""
        self._document = document
        self.text = tuple(text)
        """All of it as the command prints it, line by line."""
        self.path = path
        """``plan.json``."""

    @property
    def blocked(self) -> bool:
        """Whether something stands in the way, so that the migration must not begin."""
        return self.exit_status != 0

    @property
    def exit_status(self) -> int:
        """What the command would have ended with: 0, or 2 where something stands in the way."""
        return int(self._document["status"])

    @property
    def found(self) -> tuple[dict[str, str], ...]:
        """What stands in the way (level ``error``), warnings and notes, the worst first: what, why and fix of each."""
        return tuple(self._document["findings"])

    @property
    def in_the_way(self) -> tuple[dict[str, str], ...]:
        """Those of :attr:`found` that have to be fixed first."""
        return tuple(one for one in self.found if one["level"] == LEVELS[0])

    @property
    def counts(self) -> dict[str, int]:
        """Objects that would move, by kind."""
        return dict(self._document.get("counts", {}))

    @property
    def estimate(self) -> dict[str, Any]:
        """Bytes of disk, seconds, and requests and bytes of both ends, as far as that could be estimated."""
        return dict(self._document.get("estimate", {}))

    @property
    def rules(self) -> tuple[dict[str, str], ...]:
        """The part of the contract by which something may differ afterwards: id, field, reason, when."""
        return tuple(self._document["rules"])

    @property
    def unmovable(self) -> tuple[dict[str, Any], ...]:
        """What MLflow's API cannot write, of the kinds that there are."""
        return tuple(self._document["unmovable"])

    @property
    def experiments(self) -> pa.Table:
        """One row for each experiment, with its size."""
        return table_of(_EXPERIMENT, self._document.get("experiments", ()), texts=("id", "name"))

    def to_dict(self) -> dict[str, Any]:
        """Return all of the plan, as ``plan.json`` has it."""
        return dict(self._document)

    def __bool__(self) -> NoReturn:
        raise TypeError("a plan is neither true nor false; ask its .blocked")

    def _lines(self) -> list[str]:
        counts = listed({plural_of(kind): count for kind, count in self.counts.items()})
        way = self.in_the_way
        state = f"{counted(len(way), 'problems')} in the way: {way[0]['what']}" if way else "nothing is in the way"
        return [f"migration plan: {counts or 'nothing to move'}", f"{state} · {self.path}"]

    def __repr__(self) -> str:
        """Return two lines: what would move, and what stands in the way."""
        first, second = (crop(visible(line), _COLUMNS) for line in self._lines())
        return f"{first}\n  {second}"

    def _repr_html_(self) -> str:
        title, state = self._lines()
        told = [": ".join(filter(None, (one["level"], one["what"], one["why"], one["fix"]))) for one in self.found]
        return lines_block("red" if self.blocked else "green", title, [state, *told])


def plan(
    source: str | os.PathLike[str] | None = None, target: str | os.PathLike[str] | None = None, **given: Any
) -> MigrationPlan:
    """Look at both ends by reads alone, write ``plan.json`` into ``report_dir``, and return what was found.

    All else are the options of ``mlflow-parity migrate plan`` by their names with underscores: ``experiments=[…]``,
    ``include_deleted=True``, ``work_dir="migration"``. ``target`` may be left out: then only the source is looked at.

    Raises:
        UsageProblem: one line for the first thing that is wrong with what was given, or for a missing extra.
        ParityError: one line why there is no plan.
    """
    from mlflow_parity.migrating.settings import add_arguments

    parser = Parser(prog="plan", add_help=False)
    add_arguments(parser, source=True, target=True)
    say = Saying([one.dest for one in parser._actions])
    return in_one_line(say, lambda: _planned(parsed(parser, {"source": source, "target": target, **given}), say))


def _planned(args: argparse.Namespace, say: Saying) -> MigrationPlan:
    from mlflow_parity.migrating.exim.tool import require_extras
    from mlflow_parity.migrating.settings import settings_of

    require_extras("plan")
    from mlflow_parity.migrating.migration import Migration
    from mlflow_parity.migrating.plan.planning import plan_document, plan_text

    settings = settings_of(args)
    say.redact = settings.redactor
    end = guard_logs(say.redact)
    try:
        with Migration(settings) as migration:
            found, path = migration.planned()
            return MigrationPlan(plan_document(found, say.redact), plan_text(found, say.redact, path), path.absolute())
    finally:
        end()
