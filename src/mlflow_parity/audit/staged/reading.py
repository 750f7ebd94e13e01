"""Reads both sides at once, each into its snapshot: whole, or in stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.audit.result import Reading
from mlflow_parity.audit.scope import Selected
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SIDES, Side, SideName, prepare_folder
from mlflow_parity.core.records import Experiment
from mlflow_parity.snapshot import Part
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.snapshot.wanted import LISTS, Wanted

Plan = Callable[[], Mapping[SideName, Wanted]]


@dataclass(slots=True)
class SidesReader:
    """Reads what a selection needs of both sides."""

    sides: Mapping[SideName, Side]
    settings: Settings
    scratch: Path
    progress: Reading

    def read(self, selected: Selected, parts: frozenset[Part], *, model_links: bool, plan: Plan | None) -> list[str]:
        """Read both sides and return what is to be said of it.

        ``plan`` says, once the lists of both sides were read, what is wanted of the objects that they name; ``None``:
        everything is read at once.

        Raises:
            ParityError: a folder or a snapshot cannot be used.
        """
        wanted: dict[SideName, list[Experiment]] = {
            "source": [source for source, _ in selected.linked],
            "target": [pair.target for _, pair in selected.linked if pair is not None]
            + [target for _, target, _, _ in selected.surplus],
        }
        limits = self.settings.experiments, self.settings.exclude_experiments
        asked = Asked(self.settings.depth, self.settings.include_deleted, *limits)
        notes: list[str] = []
        roots: dict[SideName, Path] = {}
        for name in SIDES:
            if self.sides[name].live:
                roots[name], note = prepare_folder(self.settings.snapshot_dir, name, self.scratch)
                notes += [note] if note is not None else []

        def one(name: SideName, stage: Wanted | None) -> None:
            side = self.sides[name]
            if not side.live:
                side.holds(wanted[name], asked)
                return

            def count(
                *,
                experiments: int = 0,
                runs: int = 0,
                points: int = 0,
                artifacts: int = 0,
                size: int = 0,
                objects: int = 0,
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

            side.read(
                roots[name],
                wanted[name],
                parts,
                self.settings.depth,
                include_deleted=self.settings.include_deleted,
                count=count,
                model_links=model_links,
                asked=asked,
                wanted=stage,
            )

        def both(stages: Mapping[SideName, Wanted | None]) -> None:
            with ThreadPoolExecutor(2, thread_name_prefix="parity-side") as pool:
                for future in [pool.submit(one, name, stages[name]) for name in SIDES]:
                    future.result()

        if plan is None:
            both(dict.fromkeys(SIDES))
        else:
            both(dict.fromkeys(SIDES, LISTS))
            both(plan())
        return notes
