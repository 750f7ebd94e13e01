"""The MCP registry."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_mcp_servers(parity_audited: Audited) -> None:
    """Every MCP server is on the target, with its versions and access endpoints."""
    parity_audited.keeps()
