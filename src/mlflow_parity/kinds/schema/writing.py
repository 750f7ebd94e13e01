"""What a kind says of how it is written: a function that makes a copy, or brings it up to date.

That is all for a kind of which MLflow's API can write what it tells; :mod:`mlflow_parity.migrating.write.moving` does
the rest: which object is whose copy, that each is made once, and that what was written is read back and equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow_parity.core.records import Entity


class Task(Protocol):
    """One object on its way: as it is on the source, and as it is to be read from the target."""

    source: Entity
    wanted: dict[str, Any]
    """Its facets, in which ids of other objects are those of their copies."""
    copy: Entity | None
    """Its copy so far."""

    @property
    def definition(self) -> dict[str, Any]:
        """The facet ``definition`` as it is to be."""
        ...

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write; ``path`` is below ``/api/3.0/mlflow``, or a whole one.

        Raises:
            ReadError: the target did not do it.
        """
        ...

    def make(self, path: str, body: dict[str, Any], made: Callable[[dict[str, Any]], object]) -> str:
        """Make the copy exactly once and return its id, which ``made`` takes from the answer.

        Raises:
            ReadError: the target did not do it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unwritable:
    """Something of a kind that no migration can take along; ``facet`` is where the audit tells it."""

    what: str
    reason: str
    facet: str


#: Raises NotMoved with the reason where the object, or a part of it, cannot be written.
Write = Callable[[Task], object]


def without_none(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request's body without what is not to be said."""
    return {key: value for key, value in body.items() if value is not None}
