"""What is wanted of both sides once their lists were read, and when it is read.

Everything is paired by the lists, as an audit that reads all at once does it. Where objects are told apart by what they
hold (files, spans), all of that kind in that place are read first, so that they are paired in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mlflow_parity.audit.looking.looks import Looks
from mlflow_parity.audit.paired.objects import Objects
from mlflow_parity.audit.side import SIDES
from mlflow_parity.audit.staged.reading import SidesReader, Wants
from mlflow_parity.comparing.links import ObjectLinks
from mlflow_parity.core.identity.id_map import IdMap
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.subset import Share
from mlflow_parity.kinds import BY_NAME, KINDS
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import FILES_PART, SERVER
from mlflow_parity.snapshot.wanted import Wanted


def wants(objects: Objects, share: Share | None) -> Wants:
    """Return what is read of each side; ``objects`` are paired, and noted where contents tell them apart."""
    if share is None:
        return dict.fromkeys(SIDES, Wanted(lambda _: True))
    return wanted_of(share, origins_of(objects.links), frozenset(objects.noted or ()))


def wanted_of(share: Share, origins: Mapping[str, Mapping[str, str]], whole: frozenset[tuple[str, str]]) -> Wants:
    """Return what of each side falls into a part, by ids of the source (``origins`` of the target's)."""
    return {"source": Wanted(share.takes, {}, whole), "target": Wanted(share.takes, origins, whole)}


def origins_of(links: ObjectLinks) -> dict[str, Mapping[str, str]]:
    """Return the source's ids by those of their copies, for each kind."""
    return {kind: IdMap((copy, original) for original, copy in links.of(kind).items()) for kind in BY_NAME}


@dataclass(slots=True)
class Stages:
    """Reads what is wanted, at once or place by place before each is compared."""

    reader: SidesReader
    wanted: Wants
    noted: Collection[tuple[str, str]] = ()
    looks: Looks | None = None
    """What is told when a place was read since."""
    _listed: set[str] = field(default_factory=set)

    def everything(self) -> None:
        """Read all that is wanted."""
        self.reader.more(self.wanted, self.reader.places)
        self.reader.server(self.wanted)
        self.reader.end()

    def ahead(self, *, sparsely: bool = False) -> None:
        """Read the places in which objects are told apart by what they hold: nothing is paired before.

        ``sparsely``: only what tells them apart, as workers read the rest.
        """
        apart = {kind for kind, _ in self.noted if KINDS[kind].family == "experiment"}
        names = {place for kind, place in self.noted if kind in apart}
        places = self.reader.places
        chosen: dict[SideName, list[Experiment]] = {
            name: [one for one in places[name] if one.experiment_id in names] for name in SIDES
        }
        if sparsely:
            parts = {part for kind in apart for part in (KINDS[kind].part, FILES_PART.get(kind)) if part is not None}
            wanted = Wanted(whole=frozenset(self.noted))
            self.reader.more(dict.fromkeys(SIDES, wanted), chosen, frozenset(parts))
        else:
            self.reader.more(self.wanted, chosen)
        if any(place == SERVER for _, place in self.noted):
            self.reader.server(self.wanted)

    def place(self, source: Experiment | None, target: Experiment | None) -> None:
        """Read one experiment and its copy, and list their runs once more."""
        pair: dict[SideName, list[Experiment]] = {
            "source": [] if source is None else [source],
            "target": [] if target is None else [target],
        }
        self.reader.more(self.wanted, pair)
        if self.looks is not None:
            for name in SIDES:
                for one in pair[name]:
                    self.looks.forget(name, one.experiment_id)
            if source is not None and "runs" in self.looks.parts:
                self.looks.list_runs({name: [one.experiment_id for one in pair[name]] for name in SIDES})

    def server(self) -> None:
        """Read what belongs to no experiment."""
        self.reader.server(self.wanted)
        if self.looks is not None:
            for name in SIDES:
                self.looks.forget(name, SERVER)
