"""What is wanted of both sides once their lists were read: of a part of several, the objects that fall into it.

Everything is paired by the lists, as a whole audit does it. Where objects are told apart by what they hold (files,
spans), all of that kind in that place are read by every part, so that each pairs them as a whole audit does.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_parity.audit.objects import Objects
from mlflow_parity.audit.side import SideName
from mlflow_parity.core.subset import Share
from mlflow_parity.kinds import BY_NAME
from mlflow_parity.snapshot.wanted import Wanted


def plan(objects: Objects, share: Share) -> Mapping[SideName, Wanted]:
    """Return what is read of each side; ``objects`` are paired, and noted where contents tell them apart."""

    def takes(identity: str) -> bool:
        return share.takes(identity)

    origins = {}
    for kind in BY_NAME:
        origins[kind] = {copy: original for original, copy in objects.links.of(kind).items()}
    whole = frozenset(objects.noted or ())
    return {"source": Wanted(takes, {}, whole), "target": Wanted(takes, origins, whole)}
