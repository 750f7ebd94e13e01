"""Reads both sides at once, each into its snapshot: whole, or first the lists and then what is wanted of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_parity.audit.paired.objects import parts_of
from mlflow_parity.audit.result import Reading
from mlflow_parity.audit.scope import Selected
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SIDES, Side, prepare_folder
from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import SERVER, SERVER_PARTS, Part
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.snapshot.wanted import LISTS, Wanted

#: What is wanted of both sides.
Wants = Mapping[SideName, Wanted]
#: Experiments of both sides, by which their places are read.
Places = Mapping[SideName, Sequence[Experiment]]


def parts_read(selection: Selection) -> frozenset[Part]:
    """Return the parts that a selection needs."""
    return frozenset({"runs"}) | (selection.facets("run") & {"metrics", "artifacts"}) | parts_of(selection)


def links_read(selection: Selection) -> bool:
    """Whether a selection needs the logged models that each run used and made."""
    return bool(selection.facets("run") & {"model_inputs", "model_outputs"})


def experiments_read(selected: Selected) -> dict[SideName, list[Experiment]]:
    """Return every experiment that is read."""
    linked, surplus = selected.linked, selected.surplus
    return {
        "source": [source for source, _ in linked],
        "target": [pair.target for _, pair in linked if pair is not None] + [target for _, target, _, _ in surplus],
    }


@dataclass(slots=True)
class SidesReader:
    """Reads what a selection needs of both sides."""

    sides: Mapping[SideName, Side]
    settings: Settings
    scratch: Path
    progress: Reading
    selected: Selected
    parts: frozenset[Part]
    model_links: bool
    notes: list[str] = field(default_factory=list)
    """What is to be said of it."""
    _roots: dict[SideName, Path] = field(default_factory=dict)
    _read: set[tuple[SideName, str]] = field(default_factory=set)

    @property
    def places(self) -> dict[SideName, list[Experiment]]:
        """Every experiment that is read."""
        return experiments_read(self.selected)

    def whole(self) -> None:
        """Read everything.

        Raises:
            ParityError: a folder or a snapshot cannot be used.
        """
        self._begin()
        self._both(None, self.places, self.parts, finish=True)

    def lists(self) -> None:
        """Read the lists of both sides, as all that follows names what is in them.

        Raises:
            ParityError: a folder or a snapshot cannot be used.
        """
        self._begin()
        self._both(dict.fromkeys(SIDES, LISTS), self.places, self.parts, finish=False)

    def go_on(self, roots: Mapping[SideName, Path]) -> None:
        """Go on where the lists were read already, into these folders."""
        self._roots.update(roots)

    def more(self, wanted: Wants, places: Places, parts: frozenset[Part] | None = None) -> None:
        """Read what is wanted of some experiments (only ``parts`` of it), each once."""
        left = {name: [one for one in places[name] if (name, one.experiment_id) not in self._read] for name in SIDES}
        self._read |= {(name, one.experiment_id) for name in SIDES for one in left[name]}
        if any(left.values()):
            chosen = self.parts if parts is None else self.parts & parts
            self._both(wanted, left, chosen - set(SERVER_PARTS), finish=False)

    def server(self, wanted: Wants) -> None:
        """Read what is wanted of what belongs to no experiment, once."""
        if ("source", SERVER) not in self._read:
            self._read.add(("source", SERVER))
            self._both(wanted, {"source": [], "target": []}, self.parts & set(SERVER_PARTS), finish=False)

    @property
    def roots(self) -> dict[SideName, Path]:
        """Where what is read of each server is kept."""
        return dict(self._roots)

    def end(self) -> None:
        """Seal what was read."""
        for name in SIDES:
            self.sides[name].finish()

    @property
    def _asked(self) -> Asked:
        known = self.settings
        limits = known.experiments, known.exclude_experiments
        return Asked(known.depth, known.include_deleted, *limits, evidence=known.evidence)

    def _begin(self) -> None:
        for name in SIDES:
            side = self.sides[name]
            if not side.live:
                side.holds(self.places[name], self._asked)
                continue
            side.is_kept = self.settings.snapshot_dir is not None
            self._roots[name], note = prepare_folder(self.settings.snapshot_dir, name, self.scratch)
            self.notes += [note] if note is not None else []

    def _both(self, wanted: Wants | None, places: Places, parts: frozenset[Part], *, finish: bool) -> None:
        live = [name for name in SIDES if self.sides[name].live]
        with ThreadPoolExecutor(2, thread_name_prefix="parity-side") as pool:
            for future in [pool.submit(self._one, name, wanted, places[name], parts, finish) for name in live]:
                future.result()

    def _one(
        self, name: SideName, wanted: Wants | None, places: Sequence[Experiment], parts: frozenset[Part], finish: bool
    ) -> None:
        def count(
            *, experiments: int = 0, runs: int = 0, points: int = 0, artifacts: int = 0, size: int = 0, objects: int = 0
        ) -> None:
            self.progress.add(
                name,
                experiments=experiments,
                runs=runs,
                points=points,
                artifacts=artifacts,
                size=size,
                objects=objects,
            )

        self.sides[name].read(
            self._roots[name],
            places,
            parts,
            self.settings.depth,
            include_deleted=self.settings.include_deleted,
            count=count,
            model_links=self.model_links,
            asked=self._asked,
            wanted=None if wanted is None else wanted[name],
            finish=finish,
        )
