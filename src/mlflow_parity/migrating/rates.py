"""How long a migration takes, by what was measured; good for an estimate and for the time that is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_parity.migrating.survey import Survey

#: Seconds for one, reading and writing together: 2 cores that two servers of MLflow 3.17 (SQLite, artifacts by
#: proxy) shared with the migration; a real network and a real database make it slower or faster.
_RUN, _POINT, _FILE, _BYTE, _OBJECT = 0.055, 0.00025, 0.0065, 1 / 75e6, 0.05
#: Before and after: starting, preflight, the lists.
_FIXED = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """An amount to move; ``size`` in bytes, ``objects`` all but experiments and runs."""

    runs: int = 0
    points: int = 0
    files: int = 0
    size: int = 0
    objects: int = 0

    @property
    def cost(self) -> float:
        """Seconds that it takes to read and write it, as measured."""
        return self.runs * _RUN + self.points * _POINT + self.files * _FILE + self.size * _BYTE + self.objects * _OBJECT


def work_of(survey: Survey) -> Work:
    """Return how much a survey found."""
    extents = survey.extents.values()
    return Work(
        runs=survey.count("run"),
        points=sum(one.points for one in extents),
        files=sum(one.files for one in extents),
        size=survey.size,
        objects=sum(survey.objects.values()) + sum(sum(one.objects.values()) for one in extents),
    )


def seconds_of(survey: Survey) -> float:
    """Return the seconds that a migration may take, the audit not included."""
    return _FIXED + work_of(survey).cost
