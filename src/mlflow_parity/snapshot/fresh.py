"""One experiment as it was read, with what was suspect in it as it is now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from mlflow_parity.core.identity.digests import series_digest
from mlflow_parity.core.identity.keys import HistoryKey, RunKey, run_key
from mlflow_parity.core.records import ArtifactTree, Experiment, Run, Series
from mlflow_parity.snapshot import ExperimentView, Part


class FreshView(ExperimentView):
    """An experiment as it was read, with the suspects as they are now.

    ``asked`` are the ids by which they were read, so that one that was not found is gone; ``None``: ``runs`` are all.
    """

    def __init__(
        self,
        base: ExperimentView,
        experiment: Experiment,
        runs: Sequence[Run],
        asked: Collection[str] | None,
        histories: Mapping[str, Mapping[str, Series]],
        trees: Mapping[str, ArtifactTree],
        links_problem: str | None = None,
    ) -> None:
        self._base = base
        self._experiment = experiment
        self._runs = {run.run_id: run for run in runs}
        self._asked = asked
        self._histories = histories
        self._trees = trees
        self._links_problem = links_problem

    @property
    def read_again(self) -> Collection[str] | None:
        """The runs that may not be as they were first read; ``None``: all."""
        return None if self._asked is None else self._runs.keys()

    @property
    def experiment(self) -> Experiment:
        """The experiment itself, as it is now."""
        return self._experiment

    def problem(self, part: Part) -> str | None:
        """Why a part is not there as a whole."""
        return None if part == "runs" else self._base.problem(part)

    def links_problem(self) -> str | None:
        """Why the links of runs to logged models are not all there."""
        return self._links_problem

    def run_keys(self) -> list[RunKey]:
        """What pairing needs of every run."""
        fresh = [run_key(run) for run in self._runs.values()]
        if self._asked is None:
            return fresh
        return [*(key for key in self._base.run_keys() if key.entity_id not in self._asked), *fresh]

    def runs(self, run_ids: Sequence[str]) -> list[Run]:
        """Whole run records."""
        kept = [run_id for run_id in run_ids if run_id not in self._runs]
        known = dict(zip(kept, self._base.runs(kept), strict=True)) if kept else {}
        return [self._runs.get(run_id) or known[run_id] for run_id in run_ids]

    def all_runs(self) -> Iterator[Run]:
        """Every run."""
        if self._asked is not None:
            yield from (run for run in self._base.all_runs() if run.run_id not in self._asked)
        yield from self._runs.values()

    def histories(self, run_id: str) -> Mapping[str, HistoryKey]:
        """Size and digest of each history, the fresh ones over the old ones."""
        old = {} if self._base.problem("metrics") else dict(self._base.histories(run_id))
        if run_id in self._runs:
            # a key that the run does not name any more was of the first reading only
            old = {key: history for key, history in old.items() if key in self._runs[run_id].metrics}
        for key, series in self._histories.get(run_id, {}).items():
            old[key] = HistoryKey(len(series.values), series_digest(series), series.error)
        return old

    def points(self, run_id: str, key: str) -> Series:
        """One whole history."""
        fresh = self._histories.get(run_id, {}).get(key)
        return self._base.points(run_id, key) if fresh is None else fresh

    def artifacts(self, run_id: str) -> ArtifactTree:
        """The artifact tree of a run."""
        return self._trees[run_id] if run_id in self._trees else self._base.artifacts(run_id)
