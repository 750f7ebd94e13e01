"""Every class of faults, as data: over experiments, runs and every other kind of object, facet by facet."""

from __future__ import annotations

from mlflow_parity.self_test.experiment_faults import EXPERIMENT_FAULTS
from mlflow_parity.self_test.fault import Fault
from mlflow_parity.self_test.model_faults import MODEL_FAULTS
from mlflow_parity.self_test.other_faults import LATER_FAULTS, OTHER_FAULTS, UNKNOWN_FAULTS
from mlflow_parity.self_test.run_faults import RUN_FAULTS
from mlflow_parity.self_test.trace_faults import TRACE_FAULTS
from mlflow_parity.self_test.usable_faults import USABLE_FAULTS

FAULTS: tuple[Fault, ...] = (
    *EXPERIMENT_FAULTS,
    *RUN_FAULTS,
    *MODEL_FAULTS,
    *TRACE_FAULTS,
    *OTHER_FAULTS,
    *LATER_FAULTS,
    *UNKNOWN_FAULTS,
    *USABLE_FAULTS,
)
