"""How much an audit reads and how long it takes, before it is made or while it is: by a few probes of each server."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mlflow_parity.audit.scope import Selected
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.audit.staged.reading import experiments_read
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.forecast import Amount, Expected
from mlflow_parity.core.locations import given_path
from mlflow_parity.core.text import counted, duration, noun, short
from mlflow_parity.reading.probed import Probed
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import Part
from mlflow_parity.snapshot.store import MANIFEST

#: Seconds of pairing and comparing, of both sides together: for each run, point, file and other object of a side.
_RUN, _POINT, _FILE, _OBJECT = 0.0012, 4e-8, 0.0002, 0.0006
#: Seconds until the first answer, and for the report.
_FIXED = 1.5
#: What is never among the probes.
_NEVER = "what is read again because it differs"


@dataclass(frozen=True, slots=True)
class Probes:
    """What is probed: as much as the audit would read."""

    sides: Mapping[SideName, Side]
    settings: Settings
    selected: Selected
    parts: frozenset[Part]
    links: bool

    @property
    def live(self) -> list[SideName]:
        """The sides that are read from a server."""
        return [name for name in SIDES if self.sides[name].live]

    def take(self, *, brief: bool = False) -> dict[SideName, Probed]:
        """Probe the servers, both at once, as they are read; ``brief``: with fewer probes.

        Raises:
            ReadError: one of them cannot be listed.
        """
        places = experiments_read(self.selected)

        def one(name: SideName) -> Probed:
            reader = self.sides[name].reader
            assert reader is not None
            return reader.probe(
                places[name],
                self.parts,
                self.settings.depth,
                include_deleted=self.settings.include_deleted,
                links=self.links,
                brief=brief,
            )

        with ThreadPoolExecutor(2, thread_name_prefix="parity-probe") as pool:
            futures = {name: pool.submit(one, name) for name in self.live}
            return {name: future.result() for name, future in futures.items()}


def expected(probed: Probed) -> Expected:
    """Return what is to be read of a side, and how fast that goes by the probes."""
    amount = Amount(
        experiments=probed.experiments,
        runs=probed.runs,
        points=probed.points,
        trees=(probed.runs * probed.reached if "folders of runs" in probed.seconds else 0) + probed.models,
        files=probed.files,
        size=probed.size,
        objects=probed.traces + probed.models + probed.versions,
    )
    sorts = {
        "experiments": ("other lists",),
        "runs": ("runs", "links of runs to logged models"),
        "points": ("metric histories",),
        "files": ("folders of runs", "folders of logged models", "files"),
        "objects": ("traces", "logged models", "model versions"),
    }
    paces = {}
    for sort, names in sorts.items():
        units, seconds = amount.units[sort], sum(probed.seconds.get(name, 0.0) for name in names)
        if units > 0 and seconds > 0:
            paces[sort] = seconds / units
    return Expected(amount, paces, after_of(probed))


def after_of(probed: Probed) -> float:
    """Return the seconds of what follows when all is read: the second look, and comparing."""
    objects = probed.traces + probed.models + probed.versions
    return probed.runs * _RUN + probed.points * _POINT + probed.files * _FILE + objects * _OBJECT


def foreseeable(settings: Settings, live: Collection[str]) -> bool:
    """Whether the time left can be told: not of a part, nor where an interrupted audit left something to go on with.

    Nor where no list says how long it takes: models that are loaded, searches of people's clients; nor of workers.
    """
    if settings.subset is not None or settings.stop_after is not None or not live:
        return False
    if settings.load_models or settings.usable or settings.engine != "threads":
        return False
    if settings.snapshot_dir is None:
        return True
    kept = given_path(settings.snapshot_dir, "--parity-snapshot-dir", "pass a different folder")
    return not any(os.path.exists(kept / name / MANIFEST) for name in live)


def foresee(probes: Probes) -> dict[str, Expected]:
    """Return what is to be read of each server; nothing where that cannot be told, which changes nothing else.

    It is asked before anything is read: beside a reading its requests would wait for those of the reading.
    """
    if not foreseeable(probes.settings, probes.live):
        return {}
    try:
        found = probes.take(brief=True)
    except ReadError:
        # the audit meets it too, and says so
        return {}
    if any(one.at_least or one.missed for one in found.values()):
        return {}
    return {name: expected(one) for name, one in found.items()}


@dataclass(slots=True)
class Estimate:
    """What an audit would take, as far as the probes tell."""

    sides: dict[SideName, Probed]
    snapshots: list[SideName]
    missed: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long the audit takes: both sides are read at once, and compared then."""
        reading = max((sum(one.seconds.values()) for one in self.sides.values()), default=0.0)
        return _FIXED + reading + max((after_of(one) for one in self.sides.values()), default=0.0)

    @property
    def at_least(self) -> bool:
        """Whether some list is longer than was looked at."""
        return any(one.at_least for one in self.sides.values())

    def lines(self) -> list[str]:
        """Say it."""
        lines = []
        for name in SIDES:
            lines += self._side(name)
        least = "at least " if self.at_least else "about "
        lines.append(f"time: {least}{duration(self.seconds)}, reading and comparing: an estimate, by a few probes")
        for told in self.missed:
            lines.append(f"not in the estimate: {told}")
        return lines

    def _side(self, name: SideName) -> list[str]:
        if name in self.snapshots:
            return [f"{name}: a snapshot, no requests"]
        found = self.sides[name]
        held = {
            "experiments": found.experiments,
            "runs": found.runs,
            "points": found.points,
            "files": found.files,
            "traces": found.traces,
            "logged models": found.models,
            "model versions": found.versions,
        }
        counts = ", ".join(f"{short(count)} {noun(round(count), what)}" for what, count in held.items() if count)
        requests, received = sum(found.requests.values()), sum(found.received.values())
        lines = [
            f"{name}: about {short(requests)} requests, {_bytes(received)}, {duration(sum(found.seconds.values()))}; "
            f"it has {counts or 'nothing in scope'}",
        ]
        for what, number in sorted(found.requests.items(), key=lambda one: -one[1]):
            took = found.seconds.get(what, 0.0)
            lines.append(
                f"  {what}: {short(number)} requests, {_bytes(found.received.get(what, 0.0))}, {duration(took)}"
            )
        lines.append(f"  ({counted(found.spent, 'requests')} were sent to find that out)")
        return lines


def estimate(probes: Probes) -> Estimate:
    """Return what an audit would take, by reading lists and a few probes alone.

    Raises:
        ReadError: a server cannot be listed.
    """
    found = probes.take()
    estimated = Estimate(found, [name for name in SIDES if name not in found])
    estimated.missed = [*_left_out(probes.settings), *dict.fromkeys(_of_sides(found)), _NEVER]
    return estimated


def _left_out(settings: Settings) -> Sequence[str]:
    beside = {name: getattr(settings, f"{name}_db") for name in SIDES}
    told = [
        f"what the {name}'s database saves: runs and histories are estimated as the API gives them"
        for name in SIDES
        if beside[name] is not None
    ]
    if settings.load_models:
        told.append("loading of models (--parity-load-models)")
    if settings.usable:
        told.append("searches that people make (--parity-usable)")
    return told


def _of_sides(found: Mapping[SideName, Probed]) -> list[str]:
    return [f"{told} ({name})" for name, one in found.items() for told in (*one.missed, *one.beside)]


def _bytes(size: float) -> str:
    for unit, most in (("kB", 1e6), ("MB", 1e9), ("GB", 1e12)):
        if size < most:
            return f"{size / (most / 1e3):,.1f} {unit}"
    return f"{size / 1e12:,.1f} TB"
