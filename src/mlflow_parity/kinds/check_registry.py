"""What is promised: one entry per check, with the facets that its verdict rests on.

The checks themselves are the ``test_*`` functions in ``checks/``; each judges one promise for one experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_parity.kinds import LIVE, OPTIONAL, contract, family_of
from mlflow_parity.kinds.base import Family


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise; ``name`` is that of its check without ``test_``, ``facets`` are those of ``kind``."""

    name: str
    module: str
    kind: str
    facets: tuple[str, ...]
    text: str

    @property
    def family(self) -> Family:
        """What its check is parametrized by."""
        return family_of(self.kind)


PROMISES: tuple[Promise, ...] = (
    Promise("experiment_arrived", "experiments", "experiment", ("presence", "name", "lifecycle"),
            "Every experiment is on the target once, under its name and in its lifecycle stage, and no other is"),
    Promise("experiment_tags_and_note", "experiments", "experiment", ("tags", "note"),
            "The experiment's tags and note are those of the source"),
    Promise("experiment_source_tags", "experiments", "experiment", ("source_tags", "times"),
            "The experiment's source tags are complete and true, and its times differ only as the contract says"),
    Promise("experiment_artifact_location", "experiments", "experiment", ("artifact_location",),
            "The experiment keeps its artifacts in a place of its own"),
    Promise("runs_arrived_once", "runs", "run", ("presence",),
            "Every run is on the target exactly once, and nothing else is in its experiment"),
    Promise("run_name_and_status", "runs", "run", ("name", "status"),
            "Every run has its name and status"),
    Promise("run_times", "runs", "run", ("times",),
            "Every run has its start and end time, or they stand in its source tags"),
    Promise("run_lifecycle", "runs", "run", ("lifecycle",),
            "Active runs are active and deleted ones deleted"),
    Promise("run_user", "runs", "run", ("user",),
            "Every run has its user, or the user stands in its source tags"),
    Promise("params", "params", "run", ("params",),
            "Every param of every run has its value, character by character"),
    Promise("metric_histories", "metrics", "run", ("metrics",),
            "Every metric of every run has its full history, bit for bit"),
    Promise("run_tags_and_note", "tags", "run", ("tags", "note"),
            "Every run has its tags and its note"),
    Promise("run_source_tags", "tags", "run", ("source_tags",),
            "The source tags of every run are complete and true"),
    Promise("parent_child_links", "links", "run", ("parent",),
            "Every child run hangs on the copy of its parent"),
    Promise("dataset_inputs", "inputs", "run", ("inputs",),
            "Every run has its dataset inputs with context and digest"),
    Promise("artifacts", "artifacts", "run", ("artifacts",),
            "Every run has its artifacts: the same tree, sizes and bytes; MLmodel as the contract says"),
    Promise("artifact_uri", "artifacts", "run", ("artifact_uri",),
            "Every run keeps its artifacts in a place of its own"),
    Promise("run_model_links", "logged_models", "run", ("model_inputs", "model_outputs"),
            "Every run names the copies of the logged models that it used and made, with their steps"),
    Promise("logged_models_arrived_once", "logged_models", "logged_model", ("presence",),
            "Every logged model is on the target exactly once, also where several runs use it"),
    Promise("logged_model_content", "logged_models", "logged_model",
            ("name", "type", "status", "tags", "params", "times"),
            "Every logged model has its name, type, status, tags and params"),
    Promise("logged_model_metrics", "logged_models", "logged_model", ("metrics",),
            "Every logged model has its metrics, with their datasets and runs"),
    Promise("logged_model_run", "logged_models", "logged_model", ("run",),
            "Every logged model hangs on the copy of the run that made it"),
    Promise("logged_model_files", "logged_models", "logged_model", ("files",),
            "Every logged model has its files: the same tree, sizes and bytes; MLmodel as the contract says"),
    Promise("registered_models_arrived", "models", "registered_model", ("presence",),
            "Every registered model is on the target, and no other"),
    Promise("registered_model_content", "models", "registered_model", ("description", "tags", "times"),
            "Every registered model has its description and tags"),
    Promise("registered_model_aliases", "models", "registered_model", ("aliases",),
            "Every alias points at the copy of the version that it points at on the source"),
    Promise("model_versions_arrived_once", "models", "model_version", ("presence",),
            "Every model version is on the target exactly once"),
    Promise("model_version_numbers", "models", "model_version", ("number", "order"),
            "Every model version has its number, or it stands in its source tags, and the order is the same"),
    Promise("model_version_content", "models", "model_version",
            ("status", "description", "tags", "source_tags", "user", "stage", "times"),
            "Every model version has its status, description, tags, user and stage"),
    Promise("model_version_links", "models", "model_version",
            ("run", "run_link", "logged_model", "source", "storage"),
            "Every model version names the copies of its run and logged model, and is loaded from a place of its own"),
    Promise("model_version_files", "models", "model_version", ("files",),
            "The right model stands behind every version, by bytes"),
    Promise("model_versions_are_accessible", "access", "model_version", ("access",),
            "Every model version's files can be downloaded from the target, and its MLmodel parses"),
    Promise("model_aliases_resolve", "access", "registered_model", ("resolves",),
            "Every alias of a registered model resolves from the target to its version"),
    Promise("prompt_aliases_resolve", "access", "prompt", ("resolves",),
            "Every alias of a prompt resolves from the target to its version"),
    Promise("model_versions_load", "access", "model_version", ("loads",),
            "Every model version is loaded by mlflow.pyfunc (--parity-load-models)"),
    Promise("prompts_arrived", "prompts", "prompt", ("presence",),
            "Every prompt is on the target, and no other"),
    Promise("prompt_content", "prompts", "prompt", ("description", "tags", "times"),
            "Every prompt has its description and tags"),
    Promise("prompt_aliases", "prompts", "prompt", ("aliases",),
            "Every alias points at the copy of the prompt version that it points at on the source"),
    Promise("prompt_versions_arrived_once", "prompts", "prompt_version", ("presence", "number"),
            "Every prompt version is on the target exactly once, under its number"),
    Promise("prompt_version_content", "prompts", "prompt_version",
            ("template", "commit_message", "tags", "model_config", "response_format", "type", "times"),
            "Every prompt version has its template, commit message, tags, model configuration and response format"),
    Promise("traces_arrived_once", "traces", "trace", ("presence",),
            "Every trace is on the target exactly once"),
    Promise("trace_info", "traces", "trace",
            ("state", "times", "client_request_id", "previews", "tags", "metadata"),
            "Every trace has its state, times, previews, tags and metadata"),
    Promise("trace_spans", "traces", "trace", ("spans",),
            "Every trace has all its spans, with inputs, outputs, attributes and events"),
    Promise("trace_attachments", "traces", "trace", ("attachments",),
            "Every trace has the attachments that its spans name, byte by byte, and no others"),
    Promise("trace_assessments", "traces", "trace", ("assessments",),
            "Every trace has its feedback and expectations, overridden ones included"),
    Promise("trace_links", "traces", "trace", ("run", "run_links", "logged_model", "prompts"),
            "Every trace names the copies of its runs, logged model and prompts"),
    Promise("scorers", "scorers", "scorer", ("presence", "number", "definition", "times"),
            "Every scorer version is on the target with its definition"),
    Promise("evaluation_datasets_arrived_once", "evaluation_datasets", "evaluation_dataset", ("presence",),
            "Every evaluation dataset is on the target exactly once"),
    Promise("evaluation_dataset_content", "evaluation_datasets", "evaluation_dataset",
            ("name", "tags", "schema", "profile", "digest", "user", "last_updated_by", "times"),
            "Every evaluation dataset has its name, tags, schema and profile"),
    Promise("evaluation_dataset_experiments", "evaluation_datasets", "evaluation_dataset", ("experiments",),
            "Every evaluation dataset hangs on the copies of its experiments"),
    Promise("evaluation_dataset_records", "evaluation_datasets", "evaluation_dataset", ("records",),
            "Every evaluation dataset has its records"),
    Promise("webhooks", "webhooks", "webhook", ("presence", "name", "description", "url", "events", "status", "times"),
            "Every webhook is on the target, as far as a webhook can be read"),
    Promise("issues", "issues", "issue", ("presence", "definition", "experiment", "run"),
            "Every issue is on the target, with all that it says, its experiment and its run"),
    Promise("review_queues", "review_queues", "review_queue", ("presence", "definition", "experiment", "items"),
            "Every review queue is on the target, with its label schemas, users and items"),
    Promise("gateway_secrets", "gateway", "gateway_secret", ("presence", "definition"),
            "Every secret of the AI gateway is on the target, as far as a secret can be read"),
    Promise("gateway_model_definitions", "gateway", "gateway_model", ("presence", "definition"),
            "Every model definition of the AI gateway is on the target"),
    Promise("gateway_endpoints", "gateway", "gateway_endpoint", ("presence", "definition", "experiment"),
            "Every endpoint of the AI gateway is on the target, with its models"),
    Promise("gateway_guardrails", "gateway", "gateway_guardrail", ("presence", "definition", "experiment"),
            "Every guardrail of the AI gateway is on the target, with its scorer"),
    Promise("gateway_budgets", "gateway", "gateway_budget", ("presence", "definition"),
            "Every budget of the AI gateway is on the target"),
    Promise("mcp_servers", "mcp_servers", "mcp_server", ("presence", "definition", "versions", "endpoints"),
            "Every MCP server is on the target, with its versions and access endpoints"),
    Promise("skills", "skills", "skill", ("presence", "definition", "versions"),
            "Every skill is on the target, with its versions"),
    Promise("users_see_everything", "servers", "server", ("visibility",),
            "Each server shows everything that it holds to the user who reads it"),
    Promise("releases_are_known", "servers", "server", ("release",),
            "Neither server's release is newer than the newest of which all kinds of object are known"),
    Promise("workspaces", "workspaces", "workspace", ("presence", "content"),
            "No workspace of either server is left unread without having been left out by choice"),
)  # fmt: skip
#: Promises that only a server itself can keep.
ON_LIVE = frozenset(promise.name for promise in PROMISES if {(promise.kind, one) for one in promise.facets} & LIVE)
#: Promises that judge what is on the target only.
OWNERS = frozenset({"experiment_arrived", "registered_models_arrived", "prompts_arrived"})
#: The promise of each kind that names the objects which are missing, too many, or not to be told apart.
NAMES: Mapping[str, str] = {promise.kind: promise.name for promise in PROMISES if "presence" in promise.facets}
BY_NAME: Mapping[str, Promise] = {promise.name: promise for promise in PROMISES}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which promises are checked for which items (by key)."""

    promises: tuple[str, ...]
    items: tuple[str, ...]

    def facets(self, kind: str) -> frozenset[str]:
        """Return the facets of a kind that the selected promises rest on."""
        return frozenset(
            facet for name in self.promises if BY_NAME[name].kind == kind for facet in BY_NAME[name].facets
        )

    def left_out(self) -> tuple[str, ...]:
        """Return the facets that no selected promise rests on, as ``kind facet``."""
        return tuple(
            f"{kind} {facet}"
            for kind, facets in contract.FACETS.items()
            for facet in facets
            if facet not in self.facets(kind) and (kind, facet) not in OPTIONAL
        )


def collected(*, snapshot: bool, load_models: bool = False) -> tuple[str, ...]:
    """Return the promises that an audit collects by itself.

    Models are loaded only where an option asks for it, and a ``snapshot`` as the target does not answer for aliases.
    """
    asked = OPTIONAL if not load_models else frozenset()
    unjudged = {promise.name for promise in PROMISES if {(promise.kind, one) for one in promise.facets} & asked}
    return tuple(one.name for one in PROMISES if one.name not in unjudged and not (snapshot and one.name in ON_LIVE))


def select(promises: Iterable[str], items: Iterable[str]) -> Selection:
    """Return a selection in the order of :data:`PROMISES`."""
    wanted = set(promises)
    return Selection(tuple(one.name for one in PROMISES if one.name in wanted), tuple(dict.fromkeys(items)))
