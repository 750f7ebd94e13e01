"""What no migration can take along, because MLflow's API cannot write it or cannot tell it; shown by ``plan``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlflow_parity.core.scope import EXPORT_IMPORT
from mlflow_parity.kinds import EVERY
from mlflow_parity.kinds.rules.contract import BY_ID, allows

_RULE = re.compile(r" \(contract: ([a-z_.-]+)\)$")


@dataclass(frozen=True, slots=True)
class Unmovable:
    """One thing of a kind. ``rule`` is the contract's: it lets the thing differ, or names it as a loss."""

    kind: str
    what: str
    reason: str
    rule: str

    @property
    def is_expected(self) -> bool:
        """Whether the contract lets it differ: the audit stays green."""
        return BY_ID[self.rule].treatment == "expected"

    @property
    def verdict(self) -> str:
        """What the audit makes of it."""
        said = {"expected": "the audit expects it", "not compared": "the audit cannot see it"}
        return said.get(BY_ID[self.rule].treatment, "the audit reports it")


UNMOVABLE: tuple[Unmovable, ...] = (
    Unmovable("run", "an exact repeat of a metric point", "a SQL store keeps it once", "run.metrics.repeated"),
    Unmovable("run", "links of metric points to logged models and datasets", "no read request tells them for a run",
              "run.metrics.links"),
    Unmovable("run", "a tag mlflow.runName that is not the run's name", "MLflow keeps the two equal", "run.name.tag"),
    Unmovable("run", "an exact repeat of a dataset input", "MLflow keeps it once", "run.inputs.repeated"),
    Unmovable("run", "the id of an evaluation dataset in a dataset input's source", "inputs are written before "
              "datasets, and MLflow changes none", "run.inputs.evaluation-dataset"),
    Unmovable("run", "a dataset input of a name and digest that another has already, with other content",
              "MLflow keeps one for a run, before 3.10 one for all experiments", "run.inputs"),
    Unmovable("run", "params beyond the target's limits", "MLflow cuts or refuses them; the findings name them",
              "run.params"),
    Unmovable("run", "tags beyond the target's limits", "MLflow cuts or refuses them; the findings name them",
              "run.tags"),
    Unmovable("run", "files with # or %xx in their names, into a target with proxied artifacts",
              "the proxy stores them under other names; the findings name them", "run.artifacts"),
    Unmovable("logged_model", "the message of a status", "no request writes one", "logged_model.status.message"),
    Unmovable("logged_model", "points of a metric before the latest, of a source that keeps its data in files",
              "no request tells them", "logged_model.metrics.earlier"),
    Unmovable("logged_model", "metrics that a deleted run logged, without --include-deleted",
              "they are written through their run", "logged_model.metrics.left-out"),
    Unmovable("logged_model", "files with # or %xx in their names, into a target with proxied artifacts",
              "the proxy stores them under other names; the findings name them", "logged_model.files"),
    Unmovable("logged_model", "deleted logged models", "no server lists them", "logged_model.presence"),
    Unmovable("trace", "deleted traces", "no server lists them", "trace.presence"),
    Unmovable("trace", "links to runs of another experiment", "no server lists them for a trace",
              "trace.run_links.elsewhere"),
    Unmovable("trace", "that spans are found by name, type, attribute or text, into a server before MLflow 3.6 or an "
              "App that does not take POST /v1/traces", "the spans go into a file", "trace.tags.spans"),
    Unmovable("trace", "tags beyond the target's limits", "MLflow cuts them; the findings name them", "trace.tags"),
    Unmovable("trace", "metadata beyond the target's limits", "MLflow cuts them", "trace.metadata"),
    Unmovable("trace", "times, previews or a state that the target's version keeps otherwise", "MLflow derives them",
              "trace.previews"),
    Unmovable("trace", "assessments that the target's version refuses", "it knows no such", "trace.assessments"),
    Unmovable("scorer", "scorers of deleted experiments", "no server lists them", "scorer.presence"),
    Unmovable("registered_model", "aliases of a version that cannot be moved", "they have nothing to point at",
              "registered_model.aliases"),
    Unmovable("model_version", "a status that is not READY", "MLflow's API makes versions READY",
              "model_version.status.ready"),
    Unmovable("model_version", "files that belong to no run and no logged model, into a target with proxied artifacts",
              "newer servers take no others", "model_version.files"),
    Unmovable("prompt", "aliases of a version that cannot be moved", "they have nothing to point at", "prompt.aliases"),
    Unmovable("prompt_version", "a number below one that the target gave before", "it gives no number twice",
              "prompt_version.number"),
    Unmovable("webhook", "the secret", "no server exposes it: set it on the target by hand", "webhook.secret"),
    Unmovable("review_queue", "label schemas of no review queue", "MLflow's list of them writes, so nothing reads it",
              "review_queue.label_schemas"),
    Unmovable("gateway_secret", "gateway secrets", "no server exposes their values: make them on the target by hand, "
              "under the same names; what needs them comes with the next run", "gateway_secret.presence"),
    *(Unmovable(kind.name, one.what, one.reason, f"{kind.name}.{one.facet}")
      for kind in EVERY for one in kind.unwritable),
    Unmovable("scorer", "how a server scores online", "it is a state of that server", "scorer.online"),
    Unmovable("workspace", "workspaces beside the default one", "a migration refuses a source that has any",
              "workspace.presence"),
)  # fmt: skip


def by_contract(rule: str, text: str) -> str:
    """Return a reason that names the contract's rule by which the audit expects the difference."""
    return f"{text} (contract: {rule})"


def is_by_contract(reason: str) -> bool:
    """Whether all that a journal's reason says is expected by the contract; what cannot be told is not."""
    rules = [_RULE.search(part) for part in reason.split("; ")]
    return all(found is not None and _lets_differ(found[1]) for found in rules)


def _lets_differ(rule: str) -> bool:
    return allows(rule, EXPORT_IMPORT[0]) and BY_ID[rule].treatment == "expected"
