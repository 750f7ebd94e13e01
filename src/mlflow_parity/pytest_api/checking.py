"""What a check sees: one experiment's part of the ledger, and the verdict on a promise; shared by all workers."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.test_items import Bundle, Item, ItemState, Judgement, load_items
from mlflow_parity.core.local.files import read_json, write_json
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds.rules.check_registry import BY_NAME, NAMES, PROMISES, Promise
from mlflow_parity.reporting.check_message import check_message

#: Renders a failed promise as text for a person, under 40 lines; the texts are its sentence and the test item's id.
Message = Callable[[Promise, str, Item, Judgement, str], str]
#: Names of experiments in the message of a test item that stands for several.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Audited:
    """One experiment after the audit, or those that share a test item; the value of the fixture ``parity_audited``.

    ``id`` is that of the test item, ``name`` that of the check's function without ``test_``, ``sentence`` what its
    docstring says; ``checks`` are the promises whose checks are run for it.
    """

    states: tuple[ItemState, ...]
    message: Message
    id: str
    name: str
    sentence: str
    checks: frozenset[str] = frozenset()

    def keeps(self) -> None:
        """Pass when the ledger is green for the check's promise; fail with the findings otherwise.

        A promise without any ledger row passes only where the experiment has no object that it speaks of. Where all
        that is wrong follows from objects without a counterpart, and their own check names them in this run, it is
        skipped: one cause is one failure. The ledger is red all the same, and so is the run.
        """
        __tracebackhide__ = True
        promise = BY_NAME[self.name]
        red = self._red(promise)
        if any(judgement.own for _, judgement in red):
            pytest.fail(self._said(promise, red), pytrace=False)
        if red:
            names = dict.fromkeys(name for _, judgement in red for name, _ in judgement.follows)
            pytest.skip(f"no counterpart: see {', '.join(f'test_{name}[{self.id}]' for name in names)}")

    def read(self) -> None:
        """Fail where nothing but what could not be read is wrong."""
        __tracebackhide__ = True
        promise = BY_NAME.get(self.name)
        red = [] if promise is None else self._red(promise)
        own = [judgement for _, judgement in red if judgement.own]
        if promise is not None and own and all(judgement.unreadable for judgement in own):
            pytest.fail(self._said(promise, red), pytrace=False)

    def _red(self, promise: Promise) -> list[tuple[Item, Judgement]]:
        judged = [(state.item, state.judge(promise, self.checks)) for state in self.states]
        return [(item, judgement) for item, judgement in judged if not judgement.green]

    def _said(self, promise: Promise, red: Sequence[tuple[Item, Judgement]]) -> str:
        return self.message(promise, self.sentence, *_merged(red), self.id)


def load(
    folder: Path, bundle: Bundle, check: Callable[..., object], message: Message, selected: Collection[str] = ()
) -> Audited:
    """Load the states of a test item for a check; ``selected`` are the checks that are run, as ``promise[id]``.

    The function of the check gives the promise its name and, by its docstring, its sentence.

    What could not be read makes the check an *error*, so that it stands apart from a difference.
    """
    states = tuple(ItemState.load(folder, item) for item in bundle.items)
    checks = frozenset(one.name for one in PROMISES if f"{one.name}[{bundle.id}]" in selected)
    name = check.__name__.removeprefix("test_")
    # without docstrings (python -OO) the name says it
    sentence = (inspect.getdoc(check) or name.replace("_", " ")).rstrip(".")
    audited = Audited(states, message, bundle.id, name, sentence, checks)
    audited.read()
    return audited


def _merged(red: Sequence[tuple[Item, Judgement]]) -> tuple[Item, Judgement]:
    """One item and judgement for several: all counts and findings, and the names as far as they are few."""
    [(first, judgement), *others] = red
    if not others:
        return first, judgement
    judgements = [one for _, one in red]
    names = ", ".join(item.name for item, _ in red[:_NAMED])
    more = f" and {len(red) - _NAMED} more" if len(red) > _NAMED else ""
    return replace(first, name=names + more), Judgement(
        sum((one.counts for one in judgements), Counter[State]()),
        sum(one.total for one in judgements),
        tuple(finding for one in judgements for finding in one.findings),
        sum((one.follows for one in judgements), Counter[tuple[str, State]]()),
        sum(one.unnamed for one in judgements),
    )


STATES = "states"
ITEMS = "items.json"
SELECTED = "selected.json"
_OTHERS = "others.json"


class Shared:
    """What main process and workers both have: the folder with the inventory and the states."""

    def __init__(self, folder: Path, settings: Settings, redactor: Redactor) -> None:
        self.folder = folder
        self.settings = settings
        self.redactor = redactor
        self._items: tuple[Item, ...] | None = None
        self._selected: frozenset[str] | None = None

    @property
    def selected(self) -> frozenset[str]:
        """The checks that are run, as ``promise[id of the test item]``."""
        if self._selected is None:
            self._selected = frozenset(read_json(self.folder / SELECTED)["checks"])
        return self._selected

    def note_others(self, node_ids: Iterable[str]) -> None:
        """Keep which tests were collected that are none of the audit's own checks; every worker knows the same."""
        write_json(self.folder / _OTHERS, {"tests": sorted(node_ids)})

    @property
    def others(self) -> frozenset[str]:
        """Node ids of the tests that were collected and are none of the audit's own checks."""
        kept = self.folder / _OTHERS
        return frozenset(read_json(kept)["tests"]) if kept.exists() else frozenset()

    @property
    def items(self) -> tuple[Item, ...]:
        """The inventory."""
        if self._items is None:
            self._items = load_items(self.folder / ITEMS)
        return self._items

    def message(self, promise: Promise, sentence: str, item: Item, judgement: Judgement, test_id: str) -> str:
        """Render a failed promise, of which ``sentence`` speaks; ``test_id`` is that of the test item."""
        elsewhere: Counter[str] = Counter()
        for (name, _), count in judgement.follows.items():
            elsewhere[f"test_{name}[{test_id}]"] += count * (name != promise.name)
        return check_message(
            promise=sentence,
            what=item.title,
            findings=judgement.findings,
            total=judgement.total,
            counts=judgement.own + Counter({one: count for one, count in judgement.counts.items() if one.green}),
            report_dir=self.settings.report_dir,
            redact=self.redactor,
            elsewhere=+elsewhere,
            unnamed=judgement.unnamed,
            # the rows about an audit as a whole are of no object
            owner=f"test_{NAMES[promise.kind]}[{test_id}]" if promise.kind in NAMES else "",
        )


def checks_of(item: pytest.Item, fixture: str) -> list[str]:
    """The checks that a test item of ours stands for, as ``promise[item id]``; ``fixture`` gives it its bundle."""
    bundle = item.callspec.params.get(fixture) if hasattr(item, "callspec") else None
    promise = item.name.partition("[")[0].removeprefix("test_")
    # a family of which nothing is in scope gives one item with pytest's own mark for "no parameter"
    return [f"{promise}[{one.id}]" for one in bundle.items] if isinstance(bundle, Bundle) else []
