"""What no migration can take along, because MLflow's API cannot write it or cannot tell it; shown by ``plan``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unmovable:
    """One thing of a kind. ``rule`` is the contract's rule that lets it differ; without one the audit reports it."""

    kind: str
    what: str
    reason: str
    rule: str = ""


UNMOVABLE: tuple[Unmovable, ...] = (
    Unmovable("run", "an exact repeat of a metric point", "a SQL store keeps it once", "run.metrics.repeated"),
    Unmovable("run", "links of metric points to logged models and datasets", "no read request tells them for a run",
              "run.metrics.links"),
    Unmovable("run", "a tag mlflow.runName that is not the run's name", "MLflow keeps the two equal"),
    Unmovable("run", "a dataset input that was logged twice with the same name and digest", "MLflow keeps it once"),
    Unmovable("run", "values beyond the target's limits", "MLflow cuts or refuses them; the findings name them"),
    Unmovable("run", "files with # or %xx in their names, into a target with proxied artifacts",
              "the proxy stores them under other names; the findings name them"),
    Unmovable("logged_model", "the message of a status", "no request writes one"),
    Unmovable("logged_model", "deleted logged models", "no server lists them"),
    Unmovable("trace", "deleted traces", "no server lists them"),
    Unmovable("trace", "links to runs beside mlflow.sourceRun", "no server lists them for a trace", "trace.run_links"),
    Unmovable("scorer", "scorers of deleted experiments", "no server lists them"),
    Unmovable("model_version", "a status that is not READY", "MLflow's API makes versions READY"),
    Unmovable("prompt_version", "a number below one that the target gave before", "it gives no number twice"),
    Unmovable("webhook", "the secret", "no server tells it: set it on the target by hand", "webhook.secret"),
)  # fmt: skip
