"""Rows that a user's own checks add to the ledger: written by each process, taken in when the last test has ended."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from mlflow_parity.audit.recording import Recorder
from mlflow_parity.audit.waivers.waivers import WaiverBook
from mlflow_parity.comparing.difference import Difference, outcome
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.files import make_folder
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import OWN_FACET, Row, State
from mlflow_parity.pytest_api.own_checks import OwnChecks, OwnComparison, OwnExperiment, OwnPair, OwnRun
from mlflow_parity.reporting.ledger import LedgerWriter, append

if TYPE_CHECKING:
    from mlflow_parity.audit.result import Result
    from mlflow_parity.audit.test_items import Item
    from mlflow_parity.pytest_api.checking import Shared

FOLDER = "own-rows"
#: What a rule of one's own can say; that an object is missing or extra is said by its presence.
STATES = (State.MATCH, State.MISMATCH, State.UNVERIFIED)
#: Names are told by a space after their kind, and head columns.
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
#: Rows that the message of a test names.
_NAMED = 5


@dataclass(slots=True)
class _Line:
    """One row as a process writes it down."""

    item: str
    row: dict[str, Any]
    key: str
    source: Any
    target: Any
    explanation: str


class OwnRows:
    """The value of the fixture ``parity_record``: adds rows to the ledger for one test.

    ``node_id`` is that of the test; a test that is run again writes its rows anew.

    Raises:
        UsageProblem: the audit is one part of several.
    """

    def __init__(self, checks: OwnChecks, shared: Shared, node_id: str) -> None:
        if shared.settings.subset is not None:
            raise UsageProblem(
                "parity_record: rows of own checks are not joined with those of other parts (--parity-subset): leave "
                "this test out (--deselect), and run it in an audit of the whole"
            )
        self._checks = checks
        self._redact = shared.redactor
        self._test = node_id.partition("[")[0]
        name = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._path = shared.folder / FOLDER / f"{name}.jsonl"
        self._file: TextIO | None = None
        self._rows = self._red = 0
        self._told: list[str] = []

    def __enter__(self) -> OwnRows:
        make_folder(self._path.parent)
        self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(
        self,
        of: OwnPair | OwnRun | OwnComparison | OwnExperiment,
        facet: str,
        state: State | str | bool,
        *,
        key: str = "",
        source: object = None,
        target: object = None,
        explanation: str = "",
    ) -> None:
        """Add one row: what a rule of your own, named ``facet``, says of a run or an experiment.

        The ledger and the report call it ``own:facet``. ``state`` is ``True`` or ``match``, ``False`` or
        ``mismatch``, or ``unverified``: the rule could not be judged. ``key``, the two values (what JSON can hold, else
        their ``repr``) and the explanation stand in the finding of a row that is not green.

        Raises:
            UsageProblem: a name or a state that no row can have.
            NotRead: the object is out of the audit's scope.
        """
        __tracebackhide__ = True
        if not isinstance(facet, str) or not _NAME.fullmatch(facet):
            raise UsageProblem(
                f"parity_record: {facet!r} cannot name a rule: up to 40 of a-z, 0-9, _, . and -, with a letter or "
                "digit first, as in 'model-card'"
            )
        found = _state(state)
        item, row = self._row(of, f"{OWN_FACET}{facet}", found)
        line = _Line(item.key, {**row, "state": found.value}, str(key), source, target, str(explanation))
        assert self._file is not None
        self._file.write(json.dumps(asdict(line), default=repr) + "\n")
        self._rows += 1
        if not found.green:
            self._red += 1
            if len(self._told) < _NAMED:
                name = row["name"] or row["source_id"] or row["target_id"]
                # before anything is cut short: half a secret could not be recognised
                ours, theirs, more, name, key = map(
                    self._redact, (repr(source), repr(target), str(explanation), str(name), str(key))
                )
                values = f": source {ours:.80}, target {theirs:.80}" if (source, target) != (None, None) else ""
                what = f"{facet} {key}".strip()
                self._told.append(
                    f"{found.value} {what} of {row['kind']} {name}{values}{f' ({more:.160})' if more else ''}"
                )

    def _row(self, of: object, facet: str, state: State) -> tuple[Item, dict[str, Any]]:
        """Return whose the row is, and its fields."""
        if isinstance(of, OwnPair):
            item, kind, name = self._checks.item_of(of.source.side, of.source.experiment_id), "run", of.source.name
            ids = {"source": of.source.run_id, "target": of.target.run_id}
            by = of.by
        elif isinstance(of, OwnRun):
            item, kind, name, by = self._checks.item_of(of.side, of.experiment_id), "run", of.name, ""
            ids = {of.side: of.run_id}
        elif isinstance(of, (OwnComparison, OwnExperiment)):
            sides = [of] if isinstance(of, OwnExperiment) else [one for one in (of.source, of.target) if one]
            ids = {one.side: one.record.experiment_id for one in sides}
            item, by = self._checks.item_of(sides[0].side, sides[0].record.experiment_id), ""
            kind, name = "experiment", item.name
        else:
            raise UsageProblem(
                f"parity_record: the first argument is a {type(of).__name__}; give a pair of parity_pairs, a run, an "
                "experiment, or parity_experiment itself"
            )
        return item, {
            "experiment": item.label,
            "kind": kind,
            "name": name,
            "source_id": ids.get("source"),
            "target_id": ids.get("target"),
            "facet": facet,
            "paired_by": by,
            "findings": int(not state.green),
            "note": self._test,
        }

    def end(self) -> None:
        """Fail the test where a row is not green; skip it where there is none, as then it has shown nothing."""
        __tracebackhide__ = True
        if not self._rows:
            pytest.skip("parity_record was not called: nothing was judged here")
        if self._red:
            more = [f"and {self._red - len(self._told):,} more"] if self._red > len(self._told) else []
            # pytest's own list shows the first line alone, and cuts it
            first, *others = [*self._told, *more]
            said = f"{self._red:,} of {counted(self._rows, 'rows')} not green: {first}"
            pytest.fail("\n".join([said, *(f"  {one}" for one in others)]), pytrace=False)


def _state(state: object) -> State:
    if isinstance(state, bool):
        return State.MATCH if state else State.MISMATCH
    names = [one.value for one in STATES]
    text = state.value if isinstance(state, State) else state
    if text not in names:
        raise UsageProblem(f"parity_record: {text!r} is no state of an own check; give True, False, {', '.join(names)}")
    return State(text)


def take_in(shared: Shared, result: Result, ledger: Path) -> int:
    """Add to the result and to its ledger what own checks have recorded; return how many rows that were."""
    if not (shared.folder / FOLDER).is_dir():
        return 0
    items = {item.key: item for item in shared.items}
    more = shared.folder / "own-rows.parquet"
    with LedgerWriter(more, redact=shared.redactor) as writer:
        recorder = Recorder(result, writer, WaiverBook(), shared.settings.max_findings, shared.redactor)
        for line in _lines(shared.folder / FOLDER):
            row = Row(**{**line.row, "state": State(line.row["state"])})
            found = [] if row.state.green else [_difference(line, row)]
            recorder.outcome(items[line.item], outcome(row, found))
    if recorder.rows:
        append(ledger, more)
        result.explained += recorder.explainer.calls
    return recorder.rows


def _difference(line: _Line, row: Row) -> Difference:
    return Difference(line.key, row.state, row.facet, line.source, line.target, line.explanation)


def _lines(folder: Path) -> Iterator[_Line]:
    """Yield what was recorded, test by test; the last line of a process that was killed may be half of one."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for text in lines:
                if text.endswith("\n"):
                    yield _Line(**json.loads(text))
