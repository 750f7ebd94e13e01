"""Issues, review queues, the AI gateway and the MCP registry, in the order in which they name each other."""

from __future__ import annotations

from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.objects.gateway import import_gateway
from mlflow_parity.migrating.write.objects.later import There
from mlflow_parity.migrating.write.objects.mcp_servers import import_mcp
from mlflow_parity.migrating.write.objects.reviews import import_reviews


def import_later(context: Import) -> None:
    """Bring every such object; the Export Import tool moves none."""
    there = There(context)
    import_gateway(there)
    import_mcp(there)
    import_reviews(there)
