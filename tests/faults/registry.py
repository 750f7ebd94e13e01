"""All faults."""

from __future__ import annotations

from faults.columns import COLUMNS
from faults.experiments import EXPERIMENTS
from faults.fault import Fault
from faults.files import ARTIFACTS
from faults.filestore import FILE_STORE
from faults.metrics import METRICS
from faults.models import LOGGED_MODELS, REGISTERED_MODELS, VERSIONS
from faults.others import DATASETS, OTHERS
from faults.prompts import PROMPTS
from faults.restored import RESTORED
from faults.run_tags import LINKS, TAGS
from faults.runs import PARAMS, RUNS
from faults.traces import SPANS, TRACES

FAULTS: tuple[Fault, ...] = (
    *EXPERIMENTS, *RUNS, *PARAMS, *METRICS, *TAGS, *LINKS, *ARTIFACTS, *LOGGED_MODELS, *REGISTERED_MODELS, *VERSIONS,
    *PROMPTS, *TRACES, *SPANS, *DATASETS, *OTHERS, *RESTORED, *FILE_STORE, *COLUMNS,
)  # fmt: skip
