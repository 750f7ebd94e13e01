"""What moved on a server while a snapshot of it was read: nothing that the snapshot holds can stand for that."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds import plural_of

#: Kinds of which only is asked which came and which went.
LISTED_ALONE = frozenset(("logged_model", "trace"))
#: What may be told of an experiment, by kind.
KINDS_TOLD = ("experiment", "run", *sorted(LISTED_ALONE))
_NAMED = 5
_AGAIN = "read the server again while nobody writes to it"


@dataclass(frozen=True, slots=True)
class Moved:
    """What came, went or changed since it was read, or what could not be asked; nothing: the server stood still."""

    came: tuple[Experiment, ...] = ()
    """Experiments of which nothing was read."""
    of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Why an experiment or its runs are not known, by the experiment's id and the kind."""

    def __bool__(self) -> bool:
        return bool(self.came or self.of)

    def row(self) -> dict[str, Any]:
        """Return what a manifest tells."""
        came = [
            {"experiment_id": one.experiment_id, "name": one.name, "lifecycle_stage": one.lifecycle_stage}
            for one in self.came
        ]
        return {"came": came, "of": {place: dict(told) for place, told in self.of.items()}}

    def encoded(self) -> bytes:
        """Return it as a digest takes it in."""
        return json.dumps(self.row(), sort_keys=True).encode()

    @classmethod
    def told(cls, row: Mapping[str, Any] | None) -> Moved:
        """Return what a manifest tells; one of before this was asked tells nothing.

        Raises:
            TypeError: it makes no sense.
        """
        if row is None:
            return cls()
        came = [(one["experiment_id"], one["name"], one["lifecycle_stage"]) for one in row["came"]]
        texts = [
            *(text for one in came for text in one),
            *(why for told in row["of"].values() for why in told.values()),
        ]
        kinds = {kind for told in row["of"].values() for kind in told}
        if not all(isinstance(text, str) for text in texts) or not kinds <= {*KINDS_TOLD}:
            raise TypeError("what moved is told in texts")
        return cls(tuple(Experiment(place, name, stage, "", None, None, {}) for place, name, stage in came), row["of"])


def came_since() -> str:
    """Say that an experiment came."""
    return f"it came while the server was read, and nothing of it was read; {_AGAIN}"


def changed(what: Sequence[str]) -> str:
    """Say that an experiment went or changed in ``what``."""
    return f"it is not on the server as it was read any more ({', '.join(what)}); {_AGAIN}"


def not_asked(why: str) -> str:
    """Say that nobody knows."""
    return f"whether it changed since could not be asked: {why}"


def objects_moved(kind: str, ids: Collection[str]) -> str:
    """Say which objects of an experiment came, went or changed."""
    shown = ", ".join(sorted(ids)[:_NAMED]) + (f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else "")
    what = "came or went" if kind in LISTED_ALONE else "came, went or changed"
    return f"{plural_of(kind)} {what} while the server was read ({shown}); {_AGAIN}"


def not_listed_again(experiments: Iterable[Experiment]) -> Moved:
    """Return what a snapshot tells until everything was listed once more: an audit may be killed before."""
    why = not_asked("the audit that read it ended before")
    return Moved(of={one.experiment_id: dict.fromkeys(KINDS_TOLD, why) for one in experiments})
