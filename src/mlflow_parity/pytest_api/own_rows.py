"""Rows that a user's own checks add to the ledger: written by each process, taken in when the last test has ended."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from mlflow_parity.audit.recording import Recorder
from mlflow_parity.audit.waivers.waivers import WaiverBook
from mlflow_parity.comparing.difference import Difference, facet_state, outcome
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.json_text import or_text
from mlflow_parity.core.local.files import make_folder
from mlflow_parity.core.text import counted, shorten, visible
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
#: What tells a row from others.
_KEYS = ("item", "facet", "kind", "source_id", "target_id")


class OwnRows:
    """The value of the fixture ``parity_record``: adds rows to the ledger for one test.

    ``node_id`` is that of the test; a test that is run again replaces its rows.

    Raises:
        UsageProblem: the audit is one part of several.
    """

    def __init__(self, checks: OwnChecks, shared: Shared, node_id: str) -> None:
        if shared.settings.subset is not None:
            raise UsageProblem(
                "parity_record: merge does not join rows of own checks, so they cannot be in a part (--parity-subset): "
                "leave this test out (--deselect), and run it in an audit of the whole"
            )
        self._checks = checks
        self._redact = shared.redactor
        self._test = node_id.partition("[")[0]
        name = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._path = shared.folder / FOLDER / f"{name}.jsonl"
        self._file: TextIO | None = None
        self._rows = self._red = 0
        self._told: list[str] = []
        self.failed = False
        """Whether the test has failed by its rows, which say what is wrong."""

    def __enter__(self) -> OwnRows:
        make_folder(self._path.parent)
        # each line at once: a session may end within a test, and its rows count all the same
        self._file = self._path.open("w", encoding="utf-8", buffering=1)
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
                f"parity_record: {self._shown(facet)} cannot name a rule: up to 40 of a-z, 0-9, _, . and -, with a "
                "letter or digit first, as in 'model-card'"
            )
        found = _state(state, self._redact)
        item, kind, name, ids, by = self._object(of)
        told = {"experiment": item.label, "name": name, "paired_by": by, "test": self._test, "state": found.value}
        told |= {"key": str(key), "source": _plain(source), "target": _plain(target), "explanation": str(explanation)}
        row = [item.key, f"{OWN_FACET}{facet}", kind, ids.get("source"), ids.get("target"), told]
        assert self._file is not None
        self._file.write(json.dumps(row) + "\n")
        self._rows += 1
        if not found.green:
            self._red += 1
            if len(self._told) < _NAMED:
                values = ""
                if source is not None or target is not None:
                    values = f": source {self._shown(told['source'])}, target {self._shown(told['target'])}"
                more = f" ({self._shown(explanation, 160)})" if explanation else ""
                what = f"{facet} {self._shown(key)}".strip()
                self._told.append(
                    f"{found.value} {what} of {kind} {self._shown(name or 'without a name')}{values}{more}"
                )

    def _shown(self, value: object, most: int = 80) -> str:
        """Return a value for a line of the terminal; before it is cut, as half a secret could not be recognised."""
        text = value if isinstance(value, str) else repr(value)
        return shorten(visible(self._redact(text)), most)

    def _object(self, of: object) -> tuple[Item, str, str, Mapping[str, str], str]:
        """Return whose a row is: the item, kind, name and ids by side of its object, and how that was paired."""
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
        return item, kind, name, ids, by

    def end(self) -> None:
        """Fail the test where a row is not green; skip it where there is none, as then it has shown nothing."""
        __tracebackhide__ = True
        if not self._rows:
            pytest.skip("parity_record was not called: nothing was judged here")
        if self._red:
            more = [f"and {self._red - len(self._told):,} more"] if self._red > len(self._told) else []
            # pytest's own list shows the first line alone, and cuts it
            first, *others = [*self._told, *more]
            self.failed = True
            said = f"{self._red:,} of {counted(self._rows, 'rows')} not green: {first}"
            pytest.fail("\n".join([said, *(f"  {one}" for one in others)]), pytrace=False)


def _state(state: object, redact: Callable[[str], str]) -> State:
    # NumPy's, too
    if isinstance(state, bool) or type(state).__name__ in ("bool_", "bool"):
        return State.MATCH if state else State.MISMATCH
    names = [one.value for one in STATES]
    text = state.value if isinstance(state, State) else state
    if not isinstance(text, str) or text not in names:
        shown = shorten(visible(redact(repr(text))), 80)
        raise UsageProblem(f"parity_record: {shown} is no state of an own check; give True, False, {', '.join(names)}")
    return State(text)


def _plain(value: object) -> Any:
    """Return a value as JSON can hold it, no deeper than that of an answer may be; else how Python shows it."""
    try:
        return or_text(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        with suppress(RecursionError):
            return repr(value)
    return f"a {type(value).__name__} that is nested too deeply to be shown"


def take_in(shared: Shared, result: Result, ledger: Path) -> tuple[int, int]:
    """Add to the result and to its ledger what own checks have recorded; return how many rows, and how many are red.

    What was said more than once of one facet of one object is one row.
    """
    if not (shared.folder / FOLDER).is_dir():
        return 0, 0
    items = {item.key: item for item in shared.items}
    more = shared.folder / "own-rows.parquet"
    red = 0
    with LedgerWriter(more, redact=shared.redactor) as writer:
        recorder = Recorder(result, writer, WaiverBook(), shared.settings.max_findings, shared.redactor)
        try:
            for item, row, found in _rows(shared.folder):
                judged = recorder.outcome(items[item], outcome(row, found))
                red += not judged.row.state.green
        except sqlite3.Error as error:
            raise UsageProblem(
                f"rows of own checks could not be sorted: {error}; set TMPDIR to a larger place"
            ) from None
    if recorder.rows:
        append(ledger, more)
        result.explained += recorder.explainer.calls
    return recorder.rows, red


def _rows(folder: Path) -> Iterator[tuple[str, Row, list[Difference]]]:
    """Yield the key of the item, the row and what differs, object by object; on disk, as there may be many."""
    with closing(sqlite3.connect(folder / "own-rows.sqlite")) as database:
        columns = (*_KEYS, "told")
        database.execute(f"CREATE TABLE rows ({', '.join(columns)})")
        database.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(columns))})", _lines(folder / FOLDER))  # noqa: S608
        ordered = database.execute(f"SELECT * FROM rows ORDER BY {', '.join(_KEYS)}, rowid")  # noqa: S608
        for (item, facet, kind, source_id, target_id), group in groupby(ordered, key=lambda one: one[:5]):
            every = [json.loads(one[-1]) for one in group]
            found = [_difference(one, facet) for one in every if one["state"] != State.MATCH.value]
            row = Row(
                experiment=every[0]["experiment"], kind=kind, name=every[0]["name"], source_id=source_id,
                target_id=target_id, facet=facet, state=facet_state(found), paired_by=every[0]["paired_by"],
                note=", ".join(dict.fromkeys(one["test"] for one in every)),
            )  # fmt: skip
            yield item, row, found


def _difference(told: Mapping[str, Any], facet: str) -> Difference:
    # deepdiff explains what has a key
    return Difference(
        told["key"] or facet, State(told["state"]), facet, told["source"], told["target"], told["explanation"]
    )


def _lines(folder: Path) -> Iterator[list[Any]]:
    """Yield what was recorded, test by test; the last line of a process that was killed may be half of one."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for text in lines:
                if text.endswith("\n"):
                    *fields, told = json.loads(text)
                    yield [*fields, json.dumps(told)]
