"""An audit's shards, as pieces of work for the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.shards.part import Shard
from mlflow_parity.cluster import worker
from mlflow_parity.cluster.dask_cluster import DaskCluster, Given, Words
from mlflow_parity.cluster.opened import open_job
from mlflow_parity.cluster.shard_audit import ShardAudit
from mlflow_parity.core.subset import Subset
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.slowing import Limiter

_WORDS = Words(
    option="--parity-",
    does="judge",
    lost="nothing is known of what was not judged, so there is no verdict",
    again="audit again",
)


def judging_cluster(settings: Settings, scratch: Path, redact: Callable[[str], str]) -> DaskCluster[Shard]:
    """Return the cluster that an audit's options name."""
    given = Given(settings.dask_scheduler, settings.dask_dir, settings.workers)
    return DaskCluster(given, scratch, redact, _WORDS, judge, told_of)


def judge(place: str, job: str, checksum: str, connections: int, shard: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a shard, in a worker; as :func:`~mlflow_parity.cluster.worker.do`."""
    return worker.do(_opened, worker.Job(place, _WORDS.place, job, checksum, connections), shard)


def told_of(shard: Shard) -> dict[str, Any]:
    """Return a shard as plain data."""
    subset = shard.subset
    return {"id": shard.experiment_id, "label": shard.label, "part": subset.part, "of": subset.of}


@dataclass(frozen=True, slots=True)
class _Judging:
    audit: ShardAudit

    def limiters(self) -> Mapping[SideName, Limiter]:
        return self.audit.limiters()

    def do(self, piece: Mapping[str, Any], path: Path) -> None:
        self.audit.judge(Shard(piece["id"], piece["label"], Subset(piece["part"], piece["of"])), path)

    def close(self) -> None:
        self.audit.close()


def _opened(opening: worker.Opening) -> _Judging:
    audit = open_job(opening.files, opening.scratch, opening.job.connections)
    audit.learn()
    return _Judging(audit)
