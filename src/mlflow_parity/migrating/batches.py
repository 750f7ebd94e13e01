"""Experiments a batch at a time, moved by this process or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from mlflow_parity.core.records import Experiment
from mlflow_parity.core.text import counted
from mlflow_parity.migrating.export.exporting import Exporter
from mlflow_parity.migrating.opening import Ends, say
from mlflow_parity.migrating.workers.giving_out import Workers
from mlflow_parity.migrating.write.ordering import import_batch


def batches(experiments: Sequence[Experiment], size: int) -> Iterator[Sequence[Experiment]]:
    """Yield experiments, so many at a time."""
    for first in range(0, len(experiments), size):
        yield experiments[first : first + size]


def moved(
    ends: Ends, exporter: Exporter, experiments: Sequence[Experiment], before: Collection[str]
) -> Iterator[Sequence[Experiment]]:
    """Move what was not moved ``before``; yield the experiments of each batch once they are on the target.

    Raises:
        ReadError: a server does not answer, or the cluster is gone.
        UsageProblem: there are no workers, or the target is another migration's now.
    """
    done = set(before)
    left = [one for one in experiments if one.experiment_id not in done]
    whole = counted(len(experiments), "experiments")
    if ends.settings.engine == "dask":
        say(f"Moving {whole} by workers")
        yield from Workers(ends, leave=ends.importing.reader.keeps_in_s3).moved(left)
        return
    say(f"Moving {whole} in batches of {ends.settings.batch_size}")
    for batch in batches(left, ends.settings.batch_size):
        exporter.batch(batch)
        ends.mark.confirm()
        import_batch(ends.importing, batch)
        yield batch
