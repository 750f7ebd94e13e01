"""What a check sees: one experiment's part of the ledger, and the verdict on a promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mlflow_parity.items import Bundle, Item, ItemState, Judgement
from mlflow_parity.promises import BY_NAME, Promise
from mlflow_parity.verdict import State

#: Renders a failed promise as text for a person, under 40 lines.
Message = Callable[[Promise, Item, Judgement], str]
#: Names of experiments in the message of a test item that stands for several.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Audited:
    """One experiment after the audit, or those that share a test item; the value of the fixture ``parity_audited``."""

    states: tuple[ItemState, ...]
    message: Message

    def keeps(self, promise_name: str) -> None:
        """Pass when the ledger is green for the promise; fail with the findings otherwise.

        A promise without any ledger row passes only where the experiment has no object that it speaks of.
        """
        __tracebackhide__ = True
        promise = BY_NAME[promise_name]
        red = [(state.item, judgement) for state in self.states if not (judgement := state.judge(promise)).green]
        if red:
            pytest.fail(self.message(promise, *_merged(red)), pytrace=False)


def load(folder: Path, bundle: Bundle, promise_name: str, message: Message) -> Audited:
    """Load the states of a test item for a check.

    What could not be read makes the check an *error*, so that it stands apart from a difference.
    """
    states = tuple(ItemState.load(folder, item) for item in bundle.items)
    promise = BY_NAME.get(promise_name)
    if promise is not None:
        red = [(state.item, judgement) for state in states if not (judgement := state.judge(promise)).green]
        if red and all(judgement.unreadable for _, judgement in red):
            pytest.fail(message(promise, *_merged(red)), pytrace=False)
    return Audited(states, message)


def _merged(red: Sequence[tuple[Item, Judgement]]) -> tuple[Item, Judgement]:
    """One item and judgement for several: all counts and findings, and the names as far as they are few."""
    [(first, judgement), *others] = red
    if not others:
        return first, judgement
    counts = sum((one.counts for _, one in red), Counter[State]())
    findings = tuple(finding for _, one in red for finding in one.findings)
    names = ", ".join(item.name for item, _ in red[:_NAMED])
    more = f" and {len(red) - _NAMED} more" if len(red) > _NAMED else ""
    return replace(first, name=names + more), Judgement(counts, sum(one.total for _, one in red), findings)
