"""Classes of faults in the kinds that are described by data alone: issues, review queues, the AI gateway, …"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.base import Facet, Strategy
from mlflow_parity.self_test.common_faults import link_faults, presence_faults, value_faults
from mlflow_parity.self_test.fault import Fault
from mlflow_parity.self_test.model_faults import items_faults, times_fault

#: What each strategy of a facet can do wrong.
_BASE: Mapping[Strategy, Callable[[str, Facet], list[Fault]]] = {
    "presence": lambda kind, _: presence_faults(kind, duplicate=kind != "workspace"),
    "value": lambda kind, facet: value_faults(kind, facet.name),
    "definition": lambda kind, facet: value_faults(kind, facet.name),
    "link": lambda kind, facet: link_faults(kind, facet.name, facet.of),
    "stamps": lambda kind, _: [times_fault(kind)],
    "items": lambda kind, facet: items_faults(kind, facet.name, f"one of its {facet.name}"),
}
LATER_FAULTS: tuple[Fault, ...] = tuple(
    fault
    for kind in KINDS.values()
    if kind.whole or kind.name == "workspace"
    for facet in kind.sides
    for fault in _BASE[facet.strategy](kind.name, facet)
)
