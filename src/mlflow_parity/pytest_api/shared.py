"""What the main process and the workers of xdist both have: the folder with the inventory and the states."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.test_items import Item, Judgement, load_items
from mlflow_parity.core.files import read_json
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.kinds.check_registry import NAMES, Promise
from mlflow_parity.reporting.terminal import check_message

STATES = "states"
ITEMS = "items.json"
SELECTED = "selected.json"


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
