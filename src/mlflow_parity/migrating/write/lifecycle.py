"""Deletes on the target what is deleted on the source: last, because nothing can be written to it afterwards."""

from __future__ import annotations

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.write.importing import Import, NotMoved
from mlflow_parity.migrating.write.run_ids import deleted_runs


def apply_lifecycle(context: Import) -> None:
    """Delete the copies of deleted runs and experiments; what is deleted already is left alone.

    Raises:
        ReadError: the target's experiments cannot be listed.
    """
    if not context.include_deleted:
        return
    stages = {one.experiment_id: one.lifecycle_stage for one in context.reader.experiments()}
    for experiment in context.experiments:
        entry = context.journal.entry("experiment", experiment.experiment_id)
        target = None if entry is None else entry.target_id
        if entry is None or target is None or stages.get(target) != "active":
            continue
        try:
            if experiment.lifecycle_stage == "deleted" and entry.ours:
                # its runs go with it
                context.writer.call("POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": target})
            else:
                _delete_runs(context, experiment, target)
            if experiment.lifecycle_stage == "deleted" and not entry.ours:
                raise NotMoved(f"that of its name ({target}) was on the target before, with what others have in it")
        except (ReadError, NotMoved) as error:
            context.journal.failed("experiment", experiment.experiment_id, f"it could not be deleted: {error}")


def _delete_runs(context: Import, experiment: Experiment, target: str) -> None:
    copies = {context.journal.target("run", run_id): run_id for run_id in deleted_runs(context, experiment)}
    copies.pop(None, None)
    if not copies:
        return
    active = [
        run.run_id
        for page in context.reader.runs(target)
        for run in page
        if run.run_id in copies and run.lifecycle_stage == "active"
    ]
    for run_id in active:
        try:
            context.writer.call("POST", "/api/2.0/mlflow/runs/delete", {"run_id": run_id})
        except ReadError as error:
            context.journal.failed("run", str(copies[run_id]), f"it could not be deleted: {error}")
