"""The order in which everything is brought to the target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.lifecycle import apply_lifecycle
from mlflow_parity.migrating.write.linking import fix_version_tags, link_rest, link_runs
from mlflow_parity.migrating.write.objects.experiments import import_experiment
from mlflow_parity.migrating.write.objects.logged_models import import_logged_models
from mlflow_parity.migrating.write.objects.others import import_datasets, import_scorers, import_webhooks
from mlflow_parity.migrating.write.objects.registry import import_registry
from mlflow_parity.migrating.write.objects.runs import import_runs
from mlflow_parity.migrating.write.objects.server_objects import import_later
from mlflow_parity.migrating.write.objects.traces import import_traces, link_traces


def import_batch(context: Import, experiments: Sequence[Experiment]) -> None:
    """Bring some experiments with all that is in them; what points at others waits for :func:`import_rest`."""
    for experiment in experiments:
        if import_experiment(context, experiment) is not None:
            import_runs(context, experiment)
            import_logged_models(context, experiment)
            link_runs(context, experiment)
            import_traces(context, experiment)
            import_scorers(context, experiment)


def import_rest(context: Import, experiments: Sequence[Experiment]) -> None:
    """Bring what belongs to no experiment, then the links among experiments, and delete what is deleted."""
    try:
        link_rest(context)
        import_registry(context, context.wanted)
        if context.others:
            import_datasets(context)
            import_later(context)
        for experiment in experiments:
            link_traces(context, experiment)
        fix_version_tags(context)
    except Exception:
        # whatever keeps back the rest: what is deleted on the source must not stay alive on the target
        with suppress(ReadError):
            apply_lifecycle(context)
        raise
    apply_lifecycle(context)
    if context.others:
        # last of all: nothing that is written may be an event for them
        import_webhooks(context)
