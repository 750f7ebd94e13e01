"""``mlflow_parity.migrate.plan(source=…, target=…)``: what a migration would move, and what stands in its way."""

from __future__ import annotations

from mlflow_parity.api.planning import MigrationPlan, plan

__all__ = ["MigrationPlan", "plan"]
