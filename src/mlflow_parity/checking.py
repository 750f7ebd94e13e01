"""What a check sees: one experiment's part of the ledger, and the verdict on a promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_parity.items import Item, ItemState, Judgement
from mlflow_parity.promises import BY_NAME, Promise

#: Renders a failed promise as text for a person, under 40 lines.
Message = Callable[[Promise, Item, Judgement], str]


@dataclass(frozen=True, slots=True)
class Audited:
    """One experiment after the audit; the value of the fixture ``audited``."""

    item: Item
    state: ItemState
    message: Message

    def keeps(self, promise_name: str) -> None:
        """Pass when the ledger is green for the promise; fail with the findings otherwise.

        A promise without any ledger row passes only where the experiment has no object that it speaks of.
        """
        __tracebackhide__ = True
        promise = BY_NAME[promise_name]
        judgement = self.state.judge(promise)
        if not judgement.green:
            pytest.fail(self.message(promise, self.item, judgement), pytrace=False)


def load(folder: Path, item: Item, promise_name: str, message: Message) -> Audited:
    """Load an experiment's state for a check.

    What could not be read makes the check an *error*, so that it stands apart from a difference.
    """
    state = ItemState.load(folder, item)
    promise = BY_NAME.get(promise_name)
    if promise is not None:
        judgement = state.judge(promise)
        if judgement.unreadable:
            pytest.fail(message(promise, item, judgement), pytrace=False)
    return Audited(item, state, message)
