"""The kinds of move that an audit can judge, and the sign that the wrong one was chosen.

``export-import``: the objects were created again; ids, times and places differ, and source tags keep the originals.
``same-store``: the store itself went on (``mlflow db upgrade``, a restored database, ``mlflow migrate-filestore``);
ids and times must be the same, and nothing is excused as the work of an import.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlflow_parity.core.identity.id_map import IdSet
from mlflow_parity.core.scope import Profile

if TYPE_CHECKING:
    from mlflow_parity.core.identity.keys import RunKey


@dataclass(slots=True)
class Kept:
    """Counts how many run ids of the source are on the target, and how many only in its source tags."""

    source: IdSet = field(default_factory=IdSet)
    target: IdSet = field(default_factory=IdSet)
    named: IdSet = field(default_factory=IdSet)
    """Run ids that source tags of target runs name."""

    def add_source(self, runs: Iterable[RunKey]) -> None:
        """Take in runs of the source."""
        self.source.update(run.entity_id for run in runs)

    def add_target(self, runs: Iterable[RunKey]) -> None:
        """Take in runs of the target."""
        for run in runs:
            self.target.update((run.entity_id,))
            self.named.update(one for one in run.origins if one != run.entity_id)

    def warning(self, profile: Profile) -> str:
        """Return one line (it fits the terminal's) when the move looks like one of the other profile, else nothing.

        It says what most runs (more than half) show. It never changes the verdict by itself.
        """
        source, target = self.source.sorted(), self.target.sorted()
        total, same = len(source), len(np.intersect1d(source, target, assume_unique=True))
        left = np.setdiff1d(source, target, assume_unique=True)
        imported = len(np.intersect1d(left, self.named.sorted(), assume_unique=True))
        if profile == "export-import" and 2 * same > total:
            return (
                f"the ids of {same:,} of {total:,} runs are the same: this looks like same-store; "
                "give --parity-profile same-store"
            )
        if profile == "same-store" and 2 * imported > total:
            return (
                f"{imported:,} of {total:,} runs have new ids on the target: this looks like export-import; "
                "give --parity-profile export-import"
            )
        if profile == "same-store" and total and not same:
            return (
                "no run id of the source is on the target; if the runs were imported, give "
                "--parity-profile export-import"
            )
        return ""
