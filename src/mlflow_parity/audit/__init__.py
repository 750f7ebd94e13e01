"""One audit: inventory, read both sides, pair, compare, confirm, judge. Runs in pytest's main process."""

from __future__ import annotations

from mlflow_parity.audit.result import Reading, Result, RowSink
from mlflow_parity.audit.running import Audit

__all__ = ["Audit", "Reading", "Result", "RowSink"]
