"""The test items: one per check and experiment, with ids that stay the same from run to run; and their state.

Where a server has very many experiments (or models, or prompts) a test item stands for a few of them, so that pytest
is not given tens of thousands.

The main process writes an item's state; whoever runs the check (it, or an xdist worker) reads it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlflow_parity.core.local.files import read_json, write_json
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.verdict import WITHOUT_COUNTERPART, Cell, Finding, State
from mlflow_parity.kinds import CONTAINERS
from mlflow_parity.kinds.rules.check_registry import BY_NAME, NAMES, OWNERS, Promise
from mlflow_parity.kinds.schema.base import Family

_UNSAFE = re.compile(r"[^A-Za-z0-9._ +=@,()-]+")
_LONGEST = 60
#: What the id of an item has that is on the target only, after the name.
TARGET_ONLY = "~target-only"


@dataclass(frozen=True, slots=True)
class Item:
    """One experiment, registered model, prompt, the server or the scope; ``surplus`` ones are on the target only.

    ``experiment_id`` is empty but for experiments. The item with the id :data:`NONE` stands for a family of which
    neither side has any. What is ``gone`` was on the target only in a report that is rechecked, and is not any more.
    """

    id: str
    name: str
    experiment_id: str
    surplus: bool
    family: Family = "experiment"
    gone: bool = False

    @property
    def key(self) -> str:
        """What is unique among the items of all families."""
        return self.id if self.family == "experiment" else f"{self.family}:{self.id}"

    @property
    def label(self) -> str:
        """What ledger and reports call it."""
        if self.family == "experiment":
            return self.name
        if self.id == NONE:
            return f"(no {FAMILY_TITLES[self.family]})"
        if self.family == "scope":
            return "(both servers)"
        return "(server)" if self.family == "server" else f"{FAMILY_TITLES[self.family]} {self.name}"

    @property
    def title(self) -> str:
        """What the message of a check calls it: its family and its name."""
        if self.family == "server" or self.id == NONE:
            return "the server" if self.family == "server" else self.label
        return f'{FAMILY_TITLES[self.family]} "{self.name}"'

    def file_name(self) -> str:
        """Return the name of its state file."""
        text = f"{self.family}:{self.surplus}:{self.experiment_id}:{self.name}:{self.id}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32] + ".json"


#: Most test items of one check; more experiments, models or prompts than that share them.
MOST = 100


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one test item of a check stands for: one item, or neighbours in the order of their names."""

    items: tuple[Item, ...]

    @property
    def id(self) -> str:
        """The id of the only item, else the first and the last one's."""
        first, last = self.items[0].id, self.items[-1].id
        return first if len(self.items) == 1 else f"{first} ... {last} ({len(self.items)})"

    @property
    def family(self) -> Family:
        """Of what family its items are."""
        return self.items[0].family


def bundles(items: Sequence[Item]) -> list[Bundle]:
    """Share the items of one family among at most :data:`MOST` test items, those on the target only by themselves."""
    found = []
    for surplus in (False, True):
        chosen = [item for item in items if item.surplus is surplus]
        size = -(-len(chosen) // MOST)
        found += [Bundle(tuple(chosen[start : start + size])) for start in range(0, len(chosen), size or 1)]
    return found


def shares(check: str, items: Iterable[Item]) -> list[Bundle]:
    """Return what each test item of a check stands for; a check that is none of ours is of experiments.

    What is on the target only is judged once, by the check that owns it.
    """
    family = BY_NAME[check].family if check in BY_NAME else "experiment"
    return bundles([one for one in items if one.family == family and (check in OWNERS or not one.surplus)])


#: Id of the item that stands for a family of which neither side has any.
NONE = "none-on-either-side"
FAMILY_TITLES: Mapping[Family, str] = {
    "experiment": "experiment",
    "model": "registered model",
    "prompt": "prompt",
    "server": "server",
    "scope": "scope",
}


def family_items(family: Family, source: Iterable[str], target: Iterable[str]) -> tuple[Item, ...]:
    """Give every registered model or prompt an id, as :func:`item_ids` does; one item when there is none."""
    ours = set(source)
    used: Counter[str] = Counter()
    items = []
    for name in sorted(ours | set(target)):
        plain = plain_name(name)
        if name not in ours:
            plain += TARGET_ONLY
        used[plain] += 1
        if used[plain] > 1 or plain == NONE:
            plain = f"{plain}~{used[plain]}"
        items.append(Item(plain, name, "", name not in ours, family))
    return tuple(items) or (Item(NONE, "", "", surplus=False, family=family),)


def late_item(family: Family, name: str, *, surplus: bool) -> Item:
    """Return the item that a registered model or prompt would have had it been there when the tests were made."""
    return Item(plain_name(name) + "~target-only" * surplus, name, "", surplus, family)


def plain_name(name: str) -> str:
    """Return a name as ids have it: where it is not plain, with a digest."""
    plain = _UNSAFE.sub("-", name).strip() or "experiment"
    if plain != name or len(plain) > _LONGEST:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        plain = f"{plain[:_LONGEST]}~{digest}"
    return plain


def item_ids(sources: Iterable[Experiment], surplus: Iterable[Experiment]) -> tuple[Item, ...]:
    """Give every experiment an id: its name where it is plain and unique, else with a digest of the name.

    The order is that of the names, so that it is the same in every process and every run.
    """
    entries = [(item, False) for item in sources] + [(item, True) for item in surplus]
    used: Counter[str] = Counter()
    items = []
    for experiment, extra in sorted(entries, key=lambda entry: (entry[0].name, entry[1], entry[0].experiment_id)):
        plain = plain_name(experiment.name)
        if extra:
            plain += TARGET_ONLY
        used[plain] += 1
        if used[plain] > 1:
            plain = f"{plain}~{experiment.experiment_id}"
        items.append(Item(plain, experiment.name, experiment.experiment_id, extra))
    return tuple(items)


@dataclass(slots=True)
class ItemState:
    """What the audit found for one experiment: a cell per facet, and the findings that were kept."""

    item: Item
    cells: dict[str, Cell] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)

    def cell(self, facet: str) -> Cell:
        """Return the cell of a facet (``kind facet``)."""
        return self.cells.setdefault(facet, Cell())

    def judge(self, promise: Promise, named_by: Collection[str] = ()) -> Judgement:
        """Return what the ledger says of one promise.

        ``named_by`` are the promises whose checks are run for this item too: what only follows from an object that one
        of them names as missing or ambiguous is told apart.
        """
        facets = [f"{promise.kind} {facet}" for facet in promise.facets]
        counts: Counter[State] = Counter()
        follows: Counter[tuple[str, State]] = Counter()
        unnamed = total = 0
        for facet in facets:
            if facet not in self.cells:
                continue
            cell = self.cells[facet]
            counts.update(cell.counts)
            total += cell.findings
            for state in WITHOUT_COUNTERPART:
                named = self._named(promise.kind, facet, state, named_by)
                follows.update({(name, state): count for name, count in named.items() if count})
                if facet != f"{promise.kind} presence":
                    unnamed += cell.counts[state] - sum(named.values())
        kept = [finding for facet in facets for finding in self.findings.get(facet, [])]
        return Judgement(counts, total, tuple(kept), follows, unnamed)

    def _named(self, kind: str, facet: str, state: State, named_by: Collection[str]) -> dict[str, int]:
        """How much of a cell follows from objects that other facets are red for, by the promise that names them."""
        container = CONTAINERS.get(self.item.family, "")
        if container != kind and NAMES.get(container) in named_by and self._presence(container)[State.MISSING]:
            # nothing in it can have a copy; runs and versions are not said to be missing one by one
            return {NAMES[container]: self.cells[facet].counts[state]}
        # what limits the audit as a whole is about no object, and no check names one for it
        owner = NAMES.get(kind)
        if owner is None or facet == f"{kind} presence" or owner not in named_by:
            return {}
        # no more than are named: an object that is waived is not
        return {owner: min(self.cells[facet].counts[state], self._presence(kind)[state])}

    def _presence(self, kind: str) -> Counter[State]:
        cell = self.cells.get(f"{kind} presence")
        return Counter() if cell is None else cell.counts

    def save(self, folder: Path) -> None:
        """Write the state where workers find it."""
        write_json(
            folder / self.item.file_name(),
            {
                "item": asdict(self.item),
                "cells": {
                    name: {
                        "counts": {str(state): count for state, count in cell.counts.items()},
                        "findings": cell.findings,
                    }
                    for name, cell in self.cells.items()
                },
                "findings": {
                    name: [{**asdict(finding), "state": str(finding.state)} for finding in kept]
                    for name, kept in self.findings.items()
                },
            },
        )

    @classmethod
    def load(cls, folder: Path, item: Item) -> ItemState:
        """Read a state that :meth:`save` wrote.

        Raises:
            SnapshotError: when it is not there or damaged.
        """
        content = read_json(folder / item.file_name())
        state = cls(Item(**content["item"]))
        for name, cell in content["cells"].items():
            counts = Counter({State(key): count for key, count in cell["counts"].items()})
            state.cells[name] = Cell(counts, cell["findings"])
        for name, kept in content["findings"].items():
            state.findings[name] = [_finding(entry) for entry in kept]
        return state


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one promise for one experiment.

    ``follows`` counts what is red only because an object has no counterpart, by the promise that names the object and
    by state; ``unnamed`` is what is red for the same cause, but no other check of this run names the object.
    """

    counts: Counter[State]
    total: int
    findings: tuple[Finding, ...]
    follows: Counter[tuple[str, State]] = field(default_factory=Counter)
    unnamed: int = 0

    @property
    def green(self) -> bool:
        """Whether every object is in a green state."""
        return all(state.green for state, count in self.counts.items() if count)

    @property
    def own(self) -> Counter[State]:
        """The objects that are not green by themselves, by state."""
        red = Counter({state: count for state, count in self.counts.items() if not state.green})
        for (_, state), count in self.follows.items():
            red[state] -= count
        return +red

    @property
    def unreadable(self) -> bool:
        """Whether nothing is wrong by itself but that something could not be read: an error rather than a failure."""
        return set(self.own) == {State.UNVERIFIED}


def save_items(path: Path, items: Sequence[Item]) -> None:
    """Write the inventory for xdist workers."""
    write_json(path, {"items": [asdict(item) for item in items]})


def load_items(path: Path) -> tuple[Item, ...]:
    """Read the inventory."""
    return tuple(Item(**entry) for entry in read_json(path)["items"])


def _finding(entry: Mapping[str, Any]) -> Finding:
    return Finding(**{**entry, "state": State(entry["state"])})
