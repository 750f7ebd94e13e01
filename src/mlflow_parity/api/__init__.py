"""What a program or a notebook calls: the same audit, snapshot and plan as the command's, as objects."""

from __future__ import annotations

from mlflow_parity.api.audit_report import AuditReport
from mlflow_parity.api.auditing import audit
from mlflow_parity.api.planning import MigrationPlan, plan
from mlflow_parity.api.taken import SnapshotTaken, snapshot

__all__ = ["AuditReport", "MigrationPlan", "SnapshotTaken", "audit", "plan", "snapshot"]
