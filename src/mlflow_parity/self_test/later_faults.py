"""Classes of faults in issues, review queues, the AI gateway and the MCP registry."""

from __future__ import annotations

from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.contract import LATER
from mlflow_parity.self_test.common_faults import link_faults, presence_faults, value_faults
from mlflow_parity.self_test.fault import Fault
from mlflow_parity.self_test.model_faults import items_faults

_LISTS = (("review_queue", "items", "an item"), ("mcp_server", "versions", "a version"),
          ("mcp_server", "endpoints", "an access endpoint"))  # fmt: skip

LATER_FAULTS: tuple[Fault, ...] = (
    *(fault for kind in LATER for fault in presence_faults(kind, duplicate=True)),
    *(fault for kind in LATER for fault in value_faults(kind, "definition")),
    *(fault for kind in LATER if "experiment" in KINDS[kind].facets
      for fault in link_faults(kind, "experiment", "experiment")),
    *link_faults("issue", "run", "run"),
    *presence_faults("workspace", duplicate=False),
    *value_faults("workspace", "content"),
    *(fault for kind, facet, what in _LISTS for fault in items_faults(kind, facet, what)),
)  # fmt: skip
