"""What a migration takes: requests, bytes and time, from what the survey listed and a few probes of the source."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.scope import Depth
from mlflow_parity.core.text import duration, short
from mlflow_parity.migrating.plan.workdir_guard import in_units
from mlflow_parity.migrating.survey import FIXED, Survey, Work, work_of
from mlflow_parity.reading import Reader
from mlflow_parity.reading.probed import Probed
from mlflow_parity.snapshot import PARTS, SERVER_PARTS

#: Files are read whole, so that their bytes can be written.
_DEPTH: Depth = "digest"
#: Requests that a run takes beside its batches, and those of another object: made, filled, ended.
_OF_RUN, _OF_OBJECT = 3, 2
#: Entries to a batch, and bytes that a point and an object take in one.
_BATCH, _POINT_BYTES, _OBJECT_BYTES = 1_000, 110, 1_500
#: Seconds for one small request of several at once where the seconds of ``Work`` were measured; how far from it a
#: server may be before a probe is not believed.
_ANSWER, _FARTHEST = 0.005, 20.0


@dataclass(frozen=True, slots=True)
class Moving:
    """An estimate: requests and bytes that are read from the source and written to the target, and seconds in all."""

    read: int
    read_bytes: int
    written: int
    written_bytes: int
    seconds: float
    spent: int
    """Requests that the probes took."""
    missed: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """How it is told."""
        return [
            f"Requests: about {short(self.read)} to the source ({in_units(self.read_bytes)}) and {short(self.written)} "
            f"to the target ({in_units(self.written_bytes)}): an estimate, by the lists and {self.spent} requests as "
            "probes",
            f"Time: about {duration(self.seconds)} to read and write, at the pace of the probes: an estimate. The "
            "audit comes after that, and reads both sides again: pytest --parity-estimate tells how long it takes.",
            *(f"Not in the estimate: {one}" for one in self.missed),
        ]


def probed(reader: Reader, experiments: list[Experiment], *, include_deleted: bool) -> Probed | None:
    """Probe the source; ``None`` where it cannot be probed."""
    parts = {*PARTS, *SERVER_PARTS}
    try:
        return reader.probe(experiments, parts, _DEPTH, include_deleted=include_deleted, links=True)
    except ReadError:
        # what cannot be read is among the findings
        return None


def moving(survey: Survey, found: Probed) -> Moving:
    """Return what a migration takes: lists say how much there is, probes how long histories are, and the pace."""
    listed = work_of(survey)
    points = round(found.points) if found.runs and "metric histories" in found.requests else listed.points
    work = replace(listed, points=points)
    known = {"files": (work.files, work.size)}
    read = sum(known.get(what, (number, 0))[0] for what, number in found.requests.items())
    read_bytes = sum(known.get(what, (0, size))[1] for what, size in found.received.items())
    batches = max(work.runs, math.ceil(work.points / _BATCH))
    written = _OF_RUN * work.runs + batches + work.files + _OF_OBJECT * work.objects + len(survey.extents)
    return Moving(
        read=round(read),
        read_bytes=round(read_bytes),
        written=written,
        written_bytes=work.size + work.points * _POINT_BYTES + (work.runs + work.objects) * _OBJECT_BYTES,
        seconds=FIXED + _cost(work, found),
        spent=found.spent,
        missed=tuple(dict.fromkeys((*found.missed, *found.beside))),
    )


def _cost(work: Work, found: Probed) -> float:
    return work.cost * min(max(found.answer / _ANSWER, 1 / _FARTHEST), _FARTHEST)
