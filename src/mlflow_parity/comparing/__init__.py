"""Digests first, values for the suspects, deepdiff to explain what differs. Never talks to a server."""

from __future__ import annotations

from mlflow_parity.comparing.difference import Difference, Outcome, facet_state
from mlflow_parity.comparing.objects import Comparison, compare_objects

__all__ = ["Comparison", "Difference", "Outcome", "compare_objects", "facet_state"]
