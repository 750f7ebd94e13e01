"""What must be equal and what differs by design, as data; ``docs/contract.md`` is generated from this table.

Everything a server tells of an experiment or run is one :class:`Rule` here. What no rule lets differ must be
equal. ``python -m mlflow_parity.kinds.contract`` prints the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from mlflow_parity.kinds.base import KINDS, OTHER, SCOPE_FACETS, SCOPE_KIND
from mlflow_parity.kinds.profiles import EXPORT_IMPORT, PROFILES, SAME_STORE, Profile

Treatment = Literal["equal", "paired", "expected", "not compared"]

_TOOL = "databricks-mlflow-export-import 1.2.1"
_ANY = "every MLflow server from 2.16"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is treated.

    ``equal``: must be the same. ``paired``: compared through the pairing (an id on the source must be the id of
    its copy on the target). ``expected``: may differ under the condition ``when``, which is verified, with the
    evidence that ``reason`` names. ``not compared``: outside this audit; the report says so.

    ``profiles`` are the kinds of move for which it holds. Left empty, ``equal`` and ``not compared`` hold for all,
    ``paired``, ``expected`` and what only the tool does for ``export-import`` alone: what an import may change is no
    excuse for a store that only went on.
    """

    id: str
    kind: str
    facet: str
    field: str
    treatment: Treatment
    reason: str
    when: str = ""
    holds_for: str = _ANY
    profiles: tuple[Profile, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the profiles that the treatment implies."""
        if not self.profiles:
            every = self.treatment in ("equal", "not compared") and self.holds_for != _TOOL
            object.__setattr__(self, "profiles", PROFILES if every else EXPORT_IMPORT)


#: Facets in the order in which reports show them.
EXPERIMENT_FACETS = (
    "presence",
    "name",
    "lifecycle",
    "tags",
    "note",
    "source_tags",
    "times",
    "artifact_location",
    OTHER,
)
RUN_FACETS = (
    "presence",
    "name",
    "status",
    "times",
    "lifecycle",
    "user",
    "params",
    "metrics",
    "tags",
    "note",
    "source_tags",
    "parent",
    "inputs",
    "model_inputs",
    "model_outputs",
    "artifacts",
    "artifact_uri",
    OTHER,
)

#: Facets of every kind of object, experiments and runs first.
FACETS: dict[str, tuple[str, ...]] = {
    "experiment": EXPERIMENT_FACETS,
    "run": RUN_FACETS,
    **{name: kind.facets for name, kind in KINDS.items()},
}

#: The facets of every row of the ledger: those of the objects, and those of the audit's scope.
ROWS: dict[str, tuple[str, ...]] = {**FACETS, SCOPE_KIND: SCOPE_FACETS}

#: Kinds of which all but their links is one facet, with what it holds.
LATER: dict[str, str] = {
    "issue": "description, status, severity, root causes, categories, author",
    "review_queue": "type, users, label schemas",
    "gateway_secret": "provider, names of the keys, configuration",
    "gateway_model": "provider, model, name of the secret",
    "gateway_endpoint": "models with their weights, guardrails in their order, tags, bindings, settings",
    "gateway_guardrail": "stage, action and its endpoint, name and version of the scorer",
    "gateway_budget": "unit, amount, duration, scope and its endpoint or user, action",
    "mcp_server": "display name, description, icons, tags, aliases, latest version",
}
RULES: tuple[Rule, ...] = (
    # --- experiments
    Rule("experiment.presence", "experiment", "presence", "the experiment itself", "equal",
         "Every source experiment has exactly one copy; the target has no other experiments in scope."),
    Rule("experiment.presence.default", "experiment", "presence", "an empty Default experiment on the target", "expected",
         "Every server makes it at its first start.",
         "named Default, id 0, without runs, logged models, traces and scorers; the source has none in scope (a deleted one "
         "is in scope with --parity-include-deleted only)"),
    Rule("experiment.id", "experiment", "presence", "experiment_id", "expected",
         "The target gives its own ids; the pairing (source tags, else name) replaces the id.",
         "the experiment was created on the target"),
    Rule("experiment.name", "experiment", "name", "name", "equal",
         "Clients address experiments by name."),
    Rule("experiment.lifecycle", "experiment", "lifecycle", "lifecycle_stage", "equal",
         "An active experiment whose copy is in the trash is lost at the next clean-up."),
    Rule("experiment.tags", "experiment", "tags", "every tag but those below", "equal",
         "The tool copies user tags and mlflow.* tags verbatim."),
    Rule("experiment.note", "experiment", "note", "tag mlflow.note.content", "equal",
         "The note is the experiment's description."),
    Rule("experiment.source_tags", "experiment", "source_tags", "tags mlflow_exim.field.* and mlflow_exim.mlflow_tag.*",
         "equal",
         "Each must state what the source says: id, name, lifecycle stage, artifact location, times, mlflow.* tags. "
         "The formatted times (mlflow_exim.field._*) only repeat others in local time and are not evidence.",
         holds_for=_TOOL),
    Rule("experiment.source_tags.default", "experiment", "source_tags", "tags mlflow_exim.* of the Default experiment",
         "expected",
         "Default (id 0) is on every server from the start, so the tool does not create it and writes no tags to it.",
         "the experiment is named Default and has id 0 on both sides", _TOOL),
    Rule("experiment.source_tags.not-created", "experiment", "source_tags", "tags mlflow_exim.*", "expected",
         "Not created by the tool (upgrade in place, restored database): the original itself is there.",
         "the creation time and the id or the name are those of the source"),
    Rule("experiment.times.creation", "experiment", "times", "creation_time", "expected",
         "The API cannot set it. The original must stand in mlflow_exim.field.creation_time.",
         "the experiment carries source tags and that tag equals the source's creation time", _TOOL),
    Rule("experiment.times.default", "experiment", "times", "creation_time of the Default experiment", "expected",
         "The target made its Default experiment itself.", "named Default, id 0 on both sides"),
    Rule("experiment.times.untagged", "experiment", "times", "creation_time without source tags", "expected",
         "The API cannot set it; that no source tag keeps the original is reported under source_tags.",
         "paired by name, no source tags"),
    Rule("experiment.times.update", "experiment", "times", "last_update_time", "expected",
         "The server sets it at every change, the import included; it says nothing about the content."),
    Rule("experiment.artifact_location", "experiment", "artifact_location", "artifact_location", "paired",
         "The copy must keep its files in a place of its own: equal only where ids are equal too (same store), else in "
         "no place of the source (the root of its store included), shared with no other copy, and naming no other "
         "server. A place below mlflow-artifacts:/ is another on each server."),
    # --- runs
    Rule("run.presence", "run", "presence", "the run itself", "equal",
         "Every source run has exactly one copy in the copy of its experiment, and nothing else is there."),
    Rule("run.id", "run", "presence", "run_id, run_uuid, experiment_id", "expected",
         "The target gives its own ids; the pairing replaces them.", "the run was created on the target"),
    Rule("run.presence.replaced", "run", "presence", "a deleted run on the target that a repair replaced", "expected",
         "MLflow's API cannot remove a run for good, so a copy that a repair replaced stays in the trash.",
         "deleted on the target, and its tag mlflow_parity.replaced names a source run that has another copy",
         "mlflow-parity migrate repair"),
    Rule("run.name", "run", "name", "run_name", "equal", "The tool copies it with the tag mlflow.runName."),
    Rule("run.name.generated", "run", "name", "run_name and tag mlflow.runName of a run without name", "expected",
         "Servers since 2.0 invent a name for a run that has none.", "the source's name is empty"),
    Rule("run.name.tag", "run", "tags", "tag mlflow.runName that is not the run's name", "expected",
         "MLflow keeps the two equal whenever one is written.",
         "the copy's tag is its name, which is the source's, and mlflow_exim.mlflow_tag.runName keeps the original"),
    Rule("run.status", "run", "status", "status", "equal", "FINISHED, FAILED, KILLED, RUNNING, SCHEDULED."),
    Rule("run.times.start", "run", "times", "start_time", "expected",
         "The tool creates the run at import time. The original must stand in mlflow_exim.run_info.start_time.",
         "the tool created the run and that tag equals the source's start time", _TOOL),
    Rule("run.times.end", "run", "times", "end_time", "expected",
         "The tool ends every run at import time, also one that was still running. The original must stand in "
         "mlflow_exim.run_info.end_time (None for a running run).",
         "the tool created the run and that tag equals the source's end time", _TOOL),
    Rule("run.times", "run", "times", "start_time, end_time", "equal",
         "Where the tool did not create the run, its times are its own."),
    Rule("run.lifecycle", "run", "lifecycle", "lifecycle_stage", "equal",
         "An active run whose copy is in the trash is lost at the next clean-up."),
    Rule("run.user", "run", "user", "user_id, tag mlflow.user", "equal", "Who ran it."),
    Rule("run.user.import", "run", "user", "user_id, tag mlflow.user", "expected",
         "The tool creates runs without user and tags them with the importing user unless --use-src-user-id. The "
         "originals must stand in mlflow_exim.run_info.user_id and mlflow_exim.mlflow_tag.user.",
         "the tool created the run and those tags equal the source's", _TOOL),
    Rule("run.params", "run", "params", "every param", "equal",
         "Exactly, character by character; a value cut to the server's limit is a loss: a target with higher limits "
         "holds it."),
    Rule("run.metrics", "run", "metrics", "every point of every metric key", "equal",
         "As a multiset of (step, timestamp, value); doubles bit for bit, NaN equals NaN."),
    Rule("run.metrics.infinity", "run", "metrics", "value ±inf", "expected",
         "SQL stores keep ±inf as ±1.7976931348623157e308, the largest double; file stores keep ±inf.",
         "±inf at the source stands as the largest double of the same sign at the same step and time", _ANY, PROFILES),
    Rule("run.metrics.negative-zero", "run", "metrics", "value -0.0", "expected",
         "SQL stores keep -0.0 as 0.0, which is numerically equal.",
         "-0.0 at the source stands as 0.0 at the same step and time", _ANY, PROFILES),
    Rule("run.metrics.repeated", "run", "metrics", "exact repeats of a point", "expected",
         "A SQL store's primary key swallows an exact repeat of (key, time, step, value); file stores keep it.",
         "the target holds the point (as the rules above rewrite it) once and the source more than once", _ANY),
    Rule("run.tags", "run", "tags", "every tag but those below", "equal",
         "User tags and mlflow.* tags are copied verbatim, ids inside them included (mlflow.log-model.history); a value "
         "cut to the server's limit is a loss."),
    Rule("run.note", "run", "note", "tag mlflow.note.content", "equal", "The note is the run's description."),
    Rule("run.source_tags", "run", "source_tags", "tags mlflow_exim.run_info.* and mlflow_exim.mlflow_tag.*", "equal",
         "Complete (run_id, experiment_id, status, start_time, end_time, lifecycle_stage, artifact_uri, and one for each "
         "mlflow.* tag) and true (each states what the source says, None as 'None'). Which further keys there are "
         "depends on the exporting client; the formatted times (mlflow_exim.run_info._*) are not evidence.",
         holds_for=_TOOL),
    Rule("run.source_tags.not-created", "run", "source_tags", "tags mlflow_exim.*", "expected",
         "Not created by the tool: the run has its own id and times, so there is nothing to keep in tags.",
         "same run id, or natural key with the same start and end time, and no source tags"),
    Rule("run.parent", "run", "parent", "tag mlflow.parentRunId", "paired",
         "The parent on the target must be the copy of the parent on the source."),
    Rule("run.parent.dangling", "run", "parent", "tag mlflow.parentRunId of a parent that is gone", "expected",
         "The source itself has no such run (any more) in the scope; the copy keeps the same dead link.",
         "the parent is not on the source or is deleted there, and both sides name the same id"),
    Rule("run.inputs", "run", "inputs", "dataset inputs", "equal",
         "As a multiset: name, digest, source type, source, schema, profile, and tags (mlflow.data.context). MLflow before "
         "3.10 keeps one for a name and digest in all experiments: such a target may have it with another source."),
    Rule("run.inputs.repeated", "run", "inputs", "exact repeats of a dataset input", "expected",
         "A SQL store keeps a dataset once for each run; file stores keep repeats.",
         "the target holds the input once and the source more than once"),
    Rule("run.inputs.evaluation-dataset", "run", "inputs", "the id of an evaluation dataset in an input's source", "expected",
         "It stays as it was logged, the id of the source's dataset: inputs are written with the run, before there are "
         "datasets, and MLflow's API changes none. Name and digest tell which it is.",
         "the source type is mlflow_evaluation_dataset, and both sides name the same id"),
    Rule("run.artifacts", "run", "artifacts", "every file: path, size, SHA-256", "equal",
         "Same tree, same bytes. Empty folders are not objects: no store but the local disk has them. A target with "
         "proxied artifacts takes # and %xx in a name for something else; one with an S3 root holds such files."),
    Rule("run.artifacts.mlmodel", "run", "artifacts", "files named MLmodel", "paired",
         "The tool writes them again as YAML with the copy's run id: compared as YAML; run_id, and the run's part of "
         "artifact paths, through the pairing; model_id and model_uuid must map one to one within the experiment.",
         "both files parse as YAML", _TOOL),
    Rule("run.artifact_uri", "run", "artifact_uri", "artifact_uri", "paired",
         "The copy must keep its files in a place of its own: equal only where ids are equal too (same store), else in "
         "no place of the source, shared with no other copy, and naming no other server."),
    Rule("run.model_inputs", "run", "model_inputs", "logged models that the run used, with steps", "paired",
         "Each must be the copy of the same logged model: a model that several runs use is one object."),
    Rule("run.model_outputs", "run", "model_outputs", "logged models that the run made, with steps", "paired",
         "Each must be the copy of the same logged model."),
    Rule("run.model_inputs.dangling", "run", "model_inputs", "link to a logged model that is gone", "expected",
         "The source itself has no such model (any more).", "the source has no such model but in deleted experiments that are not in scope, and the copy has no other"),
    Rule("run.model_outputs.dangling", "run", "model_outputs", "link to a logged model that is gone", "expected",
         "The source itself has no such model (any more).", "the source has no such model but in deleted experiments that are not in scope, and the copy has no other"),
    # --- outside, named so that nobody takes it for verified
    Rule("run.metrics.links", "run", "metrics", "model and dataset links of a run's metrics", "not compared",
         "No read request tells them for a run; the same points stand in the logged model's metrics, which are "
         "compared with their runs and datasets."),
    # --- logged models
    Rule("logged_model.presence", "logged_model", "presence", "the logged model itself", "equal",
         "Every logged model has exactly one copy in the copy of its experiment, also where several runs use it. Deleted "
         "ones cannot be listed."),
    Rule("logged_model.id", "logged_model", "presence", "model_id, experiment_id, artifact_uri", "expected",
         "The target gives its own ids; the pairing replaces them.",
         "the model was created on the target, and its files are in no place of the source or of another copy, and on "
         "no other server"),
    Rule("logged_model.name", "logged_model", "name", "name", "equal", "People look for it by its name."),
    Rule("logged_model.type", "logged_model", "type", "model_type", "equal", "What the model is."),
    Rule("logged_model.status", "logged_model", "status", "status and its message", "equal", "READY, FAILED or another."),
    Rule("logged_model.status.message", "logged_model", "status", "message of the status", "expected",
         "No request of MLflow writes one.", "the statuses are equal, and the copy has no message"),
    Rule("logged_model.tags", "logged_model", "tags", "every tag", "equal", "Verbatim."),
    Rule("logged_model.tags.versions", "logged_model", "tags", "tag mlflow.modelVersions", "expected",
         "The server names the model's registered versions in it, by its own numbers.",
         "the tag names the copies of the same versions, and no other; one that is gone, or not in the audit's scope, may "
         "stay or go"),
    Rule("logged_model.params", "logged_model", "params", "every param", "equal", "Verbatim."),
    Rule("logged_model.metrics", "logged_model", "metrics", "every metric with step, time, value, dataset and run",
         "paired", "As a multiset; the run must be the copy of the run; doubles bit for bit."),
    Rule("logged_model.metrics.left-out", "logged_model", "metrics", "metrics that a deleted run logged", "expected",
         "MLflow writes a logged model's metrics through their run, and deleted runs are not in scope.",
         "without --parity-include-deleted, the run is deleted or not on the source, and the copy lacks exactly its points"),
    Rule("logged_model.run", "logged_model", "run", "source_run_id", "paired", "The copy of the run that made it."),
    Rule("logged_model.run.dangling", "logged_model", "run", "source_run_id of a run that is gone", "expected",
         "The source itself has no such run (any more).", "the run is not on the source or deleted there, and the copy names the same id or none"),
    Rule("logged_model.times", "logged_model", "times", "creation and update time", "expected",
         "The server sets them; no API can."),
    Rule("logged_model.files", "logged_model", "files", "every file: path, size, SHA-256", "equal",
         "Same tree, same bytes."),
    Rule("logged_model.files.mlmodel", "logged_model", "files", "files named MLmodel", "paired",
         "Compared as YAML: run_id, model_id and artifact paths through the pairing.", "both files parse as YAML"),
    # --- traces
    Rule("trace.presence", "trace", "presence", "the trace itself", "equal",
         "Every trace has exactly one copy in the copy of its experiment. Deleted ones cannot be listed."),
    Rule("trace.id", "trace", "presence", "trace_id, experiment_id", "expected",
         "The target may give its own ids; the pairing replaces them.", "the trace was created on the target"),
    Rule("trace.state", "trace", "state", "state (status)", "equal", "OK, ERROR, IN_PROGRESS."),
    Rule("trace.times", "trace", "times", "request time, execution duration", "equal", "They are the trace's content."),
    Rule("trace.client_request_id", "trace", "client_request_id", "client_request_id", "equal", "The caller's own id."),
    Rule("trace.previews", "trace", "previews", "request and response preview", "equal", "What people search for."),
    Rule("trace.tags", "trace", "tags", "every tag but those below", "equal", "Verbatim."),
    Rule("trace.tags.place", "trace", "tags", "tags mlflow.artifactLocation, mlflow.trace.spansLocation", "expected",
         "Where the server keeps the spans is its own business.",
         "the copy's place is in no place of the source or of another copy, and on no other server"),
    Rule("trace.metadata", "trace", "metadata", "every entry but the links below", "equal", "Verbatim, "
         "but for mlflow.gateway.endpointId: it names the copy of the gateway's endpoint."),
    Rule("trace.metadata.finalized", "trace", "metadata", "mlflow.trace.infoFinalized", "expected",
         "Newer servers write it to every trace that is made through the API.",
         "it is true on the target and not on the source at all"),
    Rule("trace.run", "trace", "run", "mlflow.sourceRun", "paired", "The copy of the run that the trace was made in."),
    Rule("trace.run.dangling", "trace", "run", "mlflow.sourceRun of a run that is gone", "expected",
         "The source itself has no such run (any more).", "the run is not on the source or deleted there, and the copy names the same id or none"),
    Rule("trace.run_links", "trace", "run_links", "runs that the trace was linked to afterwards", "paired",
         "The copies of the runs, by one search for each run of the trace's experiment: mlflow.genai.evaluate on existing "
         "traces and client.link_traces_to_run make such links."),
    Rule("trace.run_links.dangling", "trace", "run_links", "link to a run that is gone", "expected",
         "The source itself has no such run (any more).", "the run is not on the source or deleted there, and the copy is linked to the same id or to none"),
    Rule("trace.run_links.replaced", "trace", "run_links", "link to a run on the target that a repair replaced", "expected",
         "MLflow's API takes no link away, so a trace stays linked to the copy in the trash, too.",
         "the run is deleted on the target, and its tag mlflow_parity.replaced names a source run that has another copy",
         "mlflow-parity migrate repair"),
    Rule("trace.run_links.elsewhere", "trace", "run_links", "links to runs of another experiment", "not compared",
         "No server lists them for a trace; finding them takes a search for every run of the server in every experiment."),
    Rule("trace.logged_model", "trace", "logged_model", "mlflow.modelId", "paired", "The copy of the logged model."),
    Rule("trace.logged_model.dangling", "trace", "logged_model", "mlflow.modelId of a model that is gone", "expected",
         "The source itself has no such model (any more).",
         "the source has no such model but in deleted experiments that are not in scope, and the copy names the same id "
         "or none"),
    Rule("trace.prompts", "trace", "prompts", "linked prompt versions", "paired",
         "The copies of the versions: by their associations where both servers can search for them (prompt = "
         "\"name/version\"), else by the tag mlflow.linkedPrompts."),
    Rule("trace.prompts.untold", "trace", "prompts", "links to prompt versions that stand in no tag", "not compared",
         "Where one of the servers has no such search, and for versions that are gone, only the tag tells."),
    Rule("trace.spans", "trace", "spans", "every span: name, type, parent, inputs, outputs, attributes, events, status, "
         "times", "equal", "Exactly; the trace's own id inside attributes through the pairing."),
    Rule("trace.spans.ids", "trace", "spans", "span ids", "expected",
         "A tool that starts spans again cannot set them; the tree of spans is compared by place.",
         "everything else in the spans is equal"),
    Rule("trace.spans.attachments", "trace", "spans", "trace_id in references mlflow-attachment://", "paired",
         "UI and clients ask for an attachment by the id that stands there: it must be that of the trace's copy."),
    Rule("trace.attachments", "trace", "attachments", "every attachment (image, audio, PDF) that the spans name, and what "
         "lies beside it: size, SHA-256", "equal",
         "The files are apart from the spans, which hold no more than references. One that is on neither side is no loss. "
         "Where the server cannot list them (no artifact proxy, no S3 of an App) each is asked for by its name, and one "
         "that no span names is not seen."),
    Rule("trace.assessments", "trace", "assessments", "feedback and expectations: name, value, source, rationale, "
         "metadata, span, override", "equal", "As a multiset; an override is told by what it overrides, a "
         "reference to an issue by the copy of that one."),
    Rule("trace.assessments.ids", "trace", "assessments", "assessment ids and times", "expected",
         "The server gives them.", "everything else in the assessments is equal"),
    # --- scorers
    Rule("scorer.presence", "scorer", "presence", "the scorer version itself", "equal",
         "The Export Import tool moves none: migrate them by hand or waive them. Those of a deleted experiment cannot be "
         "listed."),
    Rule("scorer.number", "scorer", "number", "version number", "equal", "Callers name it."),
    Rule("scorer.definition", "scorer", "definition", "the serialized scorer", "equal", "What is run."),
    Rule("scorer.times", "scorer", "times", "creation time", "expected", "The server sets it; no API can."),
    # --- registered models
    Rule("registered_model.presence", "registered_model", "presence", "the registered model itself", "equal",
         "By its name, which is its id."),
    Rule("registered_model.description", "registered_model", "description", "description", "equal", "Its note."),
    Rule("registered_model.tags", "registered_model", "tags", "every tag", "equal", "Verbatim."),
    Rule("registered_model.aliases", "registered_model", "aliases", "every alias", "paired",
         "It must point at the copy of the version that it points at on the source."),
    Rule("registered_model.resolves", "registered_model", "resolves", "every alias, as the target resolves it", "equal",
         "The server must give the version that its list names, when it is asked for the alias. Of a snapshot it is not "
         "judged."),
    Rule("registered_model.times", "registered_model", "times", "creation and update time", "expected",
         "The server sets them; no API can."),
    Rule("model_version.presence", "model_version", "presence", "the model version itself", "equal",
         "Every version has exactly one copy under the same model."),
    Rule("model_version.number", "model_version", "number", "version number", "equal", "Deployments name it."),
    Rule("model_version.number.import", "model_version", "number", "version number", "expected",
         "The tool numbers versions 1..n. The original must stand in mlflow_exim.field.version.",
         "that tag equals the source's number", _TOOL),
    Rule("model_version.order", "model_version", "order", "order of the versions", "equal",
         "\"The latest\" must be the same one."),
    Rule("model_version.status", "model_version", "status", "status and its message", "equal", "READY or another."),
    Rule("model_version.status.ready", "model_version", "status", "a status that is not READY, and its message",
         "expected", "MLflow's API makes versions READY, without a message.",
         "the copy is READY and mlflow_exim.field.status keeps the original"),
    Rule("model_version.description", "model_version", "description", "description", "equal", "Its note."),
    Rule("model_version.tags", "model_version", "tags", "every tag but mlflow_exim.*", "equal", "Verbatim."),
    Rule("model_version.source_tags", "model_version", "source_tags", "tags mlflow_exim.field.*", "equal",
         "Where the tool made the version they name it (name, version, run_id), and each of these that is there is true: "
         "description, current_stage, source, model_id, user_id, status, status_message, creation_timestamp, "
         "last_updated_timestamp. The formatted times only repeat others.",
         holds_for=_TOOL),
    Rule("model_version.source_tags.not-created", "model_version", "source_tags", "no tags mlflow_exim.*", "expected",
         "Not made by the tool: nothing to keep in tags.", "the number is the source's and there are no source tags"),
    Rule("model_version.user", "model_version", "user", "user_id", "equal", "Who made it."),
    Rule("model_version.stage", "model_version", "stage", "stage", "equal", "On servers that have stages."),
    Rule("model_version.run", "model_version", "run", "run_id", "paired", "The copy of the run that made it."),
    Rule("model_version.run.dangling", "model_version", "run", "run_id of a run that is gone", "expected",
         "The source itself has no such run (any more).", "the run is not on the source or deleted there, and the copy names the same id or none"),
    Rule("model_version.run_link", "model_version", "run_link", "run_link", "equal",
         "Where people see the run that made it. The Export Import tool drops it, mlflow-parity writes it."),
    Rule("model_version.logged_model", "model_version", "logged_model", "model_id", "paired",
         "The copy of the logged model."),
    Rule("model_version.logged_model.dangling", "model_version", "logged_model", "model_id of a model that is gone",
         "expected", "The source itself has no such model (any more).",
         "the source has no such model but in deleted experiments that are not in scope, and the copy names the same id "
         "or none"),
    Rule("model_version.source", "model_version", "source", "source URI", "paired",
         "It must name the copy's own place, never the source's run, logged model or store."),
    Rule("model_version.source.own-place", "model_version", "source", "source URI", "expected",
         "The copy's files are in a place of its own.",
         "it names neither a run, a model nor a store of the source, nor another run or model than the copy's own, nor "
         "another server"),
    Rule("model_version.storage", "model_version", "storage", "where models:/NAME/VERSION is loaded from",
         "paired",
         "It must be the place that the copy's source names, as on the source, whose files are compared; never another "
         "copy's, the source's, or another server's."),
    Rule("model_version.storage.own-place", "model_version", "storage", "where it is loaded from",
         "expected", "The copy's files are in a place of its own.",
         "it is in no place of the source and no other version's, and names no other server"),
    Rule("model_version.times", "model_version", "times", "creation and update time", "expected",
         "The server sets them; no API can."),
    Rule("model_version.files", "model_version", "files", "every file behind the version: path, size, SHA-256", "equal",
         "The right model behind every version, by bytes. Newer targets with proxied artifacts take no files that belong to "
         "no run and no logged model; one with an S3 root does."),
    Rule("model_version.files.mlmodel", "model_version", "files", "files named MLmodel", "paired",
         "Compared as YAML: run_id, model_id and artifact paths through the pairing.", "both files parse as YAML"),
    Rule("model_version.access", "model_version", "access", "every file behind the version on the target", "equal",
         "Each can be downloaded with the auditor's own credentials, and MLmodel parses; a version whose MLmodel does not "
         "parse on the source either is none of the migration's faults."),
    Rule("model_version.loads", "model_version", "loads", "mlflow.pyfunc.load_model of the version on the target", "equal",
         "Only with --parity-load-models. A model that needs a library which is absent here, or longer than five minutes, is "
         "unverified."),
    # --- prompts
    Rule("prompt.presence", "prompt", "presence", "the prompt itself", "equal", "By its name, which is its id."),
    Rule("prompt.description", "prompt", "description", "description", "equal", "Its note."),
    Rule("prompt.tags", "prompt", "tags", "every tag", "equal", "Verbatim."),
    Rule("prompt.tags.experiments", "prompt", "tags", "tag _mlflow_experiment_ids", "expected",
         "The server lists in it the experiments in which the prompt was used, by its own ids.",
         "the tag lists the copies of the same experiments, and no other; one that is gone, or deleted and not in scope, "
         "may stay or go"),
    Rule("prompt.aliases", "prompt", "aliases", "every alias", "paired",
         "It must point at the copy of the version that it points at on the source."),
    Rule("prompt.resolves", "prompt", "resolves", "every alias, as the target resolves it", "equal",
         "The server must give the version that its list names, when it is asked for the alias. Of a snapshot it is not "
         "judged."),
    Rule("prompt.times", "prompt", "times", "creation and update time", "expected",
         "The server sets them; no API can."),
    Rule("prompt_version.presence", "prompt_version", "presence", "the prompt version itself", "equal",
         "Every version has exactly one copy."),
    Rule("prompt_version.number", "prompt_version", "number", "version number", "equal", "Code loads prompts by it."),
    Rule("prompt_version.template", "prompt_version", "template", "template", "equal", "Character by character."),
    Rule("prompt_version.commit_message", "prompt_version", "commit_message", "commit message", "equal", "Verbatim."),
    Rule("prompt_version.tags", "prompt_version", "tags", "every tag", "equal", "Verbatim."),
    Rule("prompt_version.tags.experiments", "prompt_version", "tags", "tag _mlflow_experiment_ids", "expected",
         "The server lists in it the experiments in which the version was used, by its own ids.",
         "the tag lists the copies of the same experiments, and no other; one that is gone, or deleted and not in scope, "
         "may stay or go"),
    Rule("prompt_version.model_config", "prompt_version", "model_config", "model configuration", "equal", "Verbatim."),
    Rule("prompt_version.response_format", "prompt_version", "response_format", "response format", "equal",
         "As JSON."),
    Rule("prompt_version.type", "prompt_version", "type", "text or chat", "equal", "How it is rendered."),
    Rule("prompt_version.times", "prompt_version", "times", "creation and update time", "expected",
         "The server sets them; no API can."),
    # --- evaluation datasets and webhooks
    Rule("evaluation_dataset.presence", "evaluation_dataset", "presence", "the evaluation dataset itself", "equal",
         "By id, else by name."),
    Rule("evaluation_dataset.name", "evaluation_dataset", "name", "name", "equal", "Code loads datasets by it."),
    Rule("evaluation_dataset.tags", "evaluation_dataset", "tags", "every tag", "equal", "Verbatim."),
    Rule("evaluation_dataset.schema", "evaluation_dataset", "schema", "schema", "equal", "Derived from the records."),
    Rule("evaluation_dataset.schema.outputs", "evaluation_dataset", "schema", "outputs of records without outputs", "expected",
         "The server derives the schema: newer ones name outputs also where no record has any, older ones never.",
         "it is empty on one side, absent on the other, and all else is equal"),
    Rule("evaluation_dataset.profile", "evaluation_dataset", "profile", "profile", "equal", "Derived from the records."),
    Rule("evaluation_dataset.digest", "evaluation_dataset", "digest", "digest", "expected",
         "The server makes it of its own ids and times; the records themselves are compared.",
         "the target has one"),
    Rule("evaluation_dataset.user", "evaluation_dataset", "user", "created_by", "equal", "Who made it."),
    Rule("evaluation_dataset.last_updated_by", "evaluation_dataset", "last_updated_by", "last_updated_by", "expected",
         "The server names who wrote to it last: whoever imported its records. No request sets it alone.",
         "the dataset was created on the target: its id is another"),
    Rule("evaluation_dataset.experiments", "evaluation_dataset", "experiments", "linked experiments", "paired",
         "It must hang on the copies of its experiments."),
    Rule("evaluation_dataset.experiments.dangling", "evaluation_dataset", "experiments", "link to an experiment that is gone",
         "expected", "The source itself has no such experiment (any more) in scope, so there is no copy to hang on.",
         "the experiment is not on the source, or deleted there and not in scope, and the copy hangs on no other instead"),
    Rule("evaluation_dataset.records", "evaluation_dataset", "records", "every record: inputs, outputs, expectations, "
         "tags, source", "equal", "As a multiset; ids of traces in them through the pairing."),
    Rule("evaluation_dataset.times", "evaluation_dataset", "times", "creation and update time", "expected",
         "The server sets them; no API can."),
    Rule("webhook.presence", "webhook", "presence", "the webhook itself", "equal",
         "By name. The Export Import tool moves none."),
    Rule("webhook.name", "webhook", "name", "name", "equal", "People tell it by its name."),
    Rule("webhook.description", "webhook", "description", "description", "equal", "Its note."),
    Rule("webhook.url", "webhook", "url", "url", "equal", "Whom it calls."),
    Rule("webhook.events", "webhook", "events", "events", "equal", "When it calls."),
    Rule("webhook.status", "webhook", "status", "status", "equal", "ACTIVE or DISABLED."),
    Rule("webhook.status.disabled", "webhook", "status", "status of an active webhook", "expected",
         "A migration writes it disabled: its receiver would get the events of what is written, and without the secret, "
         "which no server exposes.",
         "it is ACTIVE on the source and DISABLED on the target, and was created there: its id is another"),
    Rule("webhook.times", "webhook", "times", "creation and update time", "expected",
         "The server sets them; no API can."),
    Rule("webhook.secret", "webhook", "status", "secret", "not compared", "No server tells it."),
    # --- issues, review queues, the AI gateway, the MCP registry
    *(Rule(f"{kind}.presence", kind, "presence", f"the {KINDS[kind].plural[:-1]} itself", "equal",
           "By id, else by name. The Export Import tool moves none.")
      for kind in LATER),
    *(Rule(f"{kind}.definition", kind, "definition", field, "equal",
           "All that the list tells but the server's own ids, times and users.")
      for kind, field in LATER.items()),
    *(Rule(f"{kind}.experiment", kind, "experiment", "experiment", "paired", "It belongs to the copy of its experiment.")
      for kind in LATER if "experiment" in KINDS[kind].facets),
    Rule("issue.run", "issue", "run", "source_run_id", "paired", "It names the copy of the run that found it."),
    Rule("issue.run.dangling", "issue", "run", "source_run_id of a run that is gone", "expected",
         "The source itself has no such run (any more).", "the copy names the same id, or none"),
    Rule("review_queue.items", "review_queue", "items", "items with their status", "equal",
         "As a multiset; ids of traces through the pairing."),
    Rule("review_queue.label_schemas", "review_queue", "definition", "label schemas of no review queue", "not compared",
         "MLflow's only list of label schemas writes: it makes an experiment's default one. Those of a queue are read "
         "one by one, and compared with it."),
    Rule("gateway_secret.value", "gateway_secret", "definition", "the secret values", "not compared",
         "No server tells them. The names of their keys are compared, and their configuration by digest."),
    Rule("gateway_endpoint.bindings", "gateway_endpoint", "definition", "which object of the server a binding serves",
         "not compared",
         "The server names them by ids of its own. Kind and display name of what is bound are compared."),
    Rule("mcp_server.versions", "mcp_server", "versions", "every version: server.json, tools, status, tags", "equal",
         "As a multiset."),
    Rule("mcp_server.endpoints", "mcp_server", "endpoints", "access endpoints", "equal", "As a multiset."),
    Rule("workspace.presence", "workspace", "presence", "the workspace itself", "equal",
         "One audit is of one workspace: that of MLFLOW_WORKSPACE, else the default one. Where none was chosen, every "
         "other is a finding; where one was, the report names the others as left out."),
    Rule("workspace.content", "workspace", "content", "all that it holds", "equal",
         "It is unverified until it is audited by itself."),
    # --- the scope of the audit
    Rule("server.visibility", "server", "visibility", "what each server shows to the user who reads it", "equal",
         "Everything. Servers with MLflow's own login (basic-auth) leave out of their lists, without a word, what a user may "
         "not read; an administrator sees all. For any other user, and where it cannot be known, the audit is unverified. Only "
         "here, and for the release, a waiver accepts that; the report is then partial and says why.", holds_for="every server"),
    Rule("server.release", "server", "release", "the release of each server", "equal",
         "Not newer than the newest of which every kind of object is known; else the audit is unverified: what came since "
         "is not read. A waiver accepts that; the report is then partial and says why.", holds_for="every server"),
    Rule("server.accounts", "server", "visibility", "users, roles and permissions of MLflow's own login", "not compared",
         "They belong to the server and not to its contents. The report counts them, where the user may list them.",
         holds_for="every server"),
    Rule("scorer.online", "scorer", "definition", "online scoring configuration, jobs of the server", "not compared",
         "How a server runs a scorer, and the jobs that its executor ran (scoring, prompt optimization), are states of "
         "that server; what the jobs made (runs, prompts, assessments) is compared."),
)  # fmt: skip

#: What a server tells of an object and is not compared: what it is, and why. Of what nothing claims, all is.
_NOT_COMPARED: dict[str, dict[str, tuple[str, str]]] = {
    "experiment": {
        "workspace": ("workspace", "It names the workspace that is audited."),
        "retention": ("effective_trace_archival_retention",
                      "The server makes it of its own configuration and the experiment's tag, which is compared."),
    },
    "run": {"uuid": ("info: run_uuid", "It repeats the run's id.")},
    "scorer": {"id": ("scorer_id", "The server gives it; version and definition are compared.")},
    "registered_model": {"latest": ("latest_versions", "They repeat some of the versions, which are all compared.")},
    "model_version": {"aliases": ("aliases", "They repeat the registered model's, which are compared.")},
    "prompt": {"latest": ("latest_versions", "They repeat some of the versions, which are all compared.")},
    "prompt_version": {
        "aliases": ("aliases", "They repeat the prompt's, which are compared."),
        "unused": ("source, status, status_message, current_stage, user_id, run_id, run_link, model_id",
                   "MLflow keeps a prompt version as a model version, which must have them; prompts have no use for "
                   "them, and what is written there depends on the client."),
    },
    "evaluation_dataset": {
        "records": ("records: dataset_record_id, dataset_id, source_id, created_time, last_update_time, last_updated_by",
                    "Ids, times and the last writer of a record are given by the server that it is written to."),
    },
}  # fmt: skip
#: Lists of a kind of which an entry is compared with all that is told of it.
_WITH_ENTRY: dict[str, str] = {
    "logged_model": "a metric",
    "trace": "a span, an event, a link or an assessment",
    "evaluation_dataset": "a record",
}
RULES += tuple(
    Rule(f"{kind}.other", kind, OTHER, "all else that is told of it: what this version of mlflow-parity does not know",
         "equal", "A field that a newer MLflow adds is compared verbatim, in both directions, but for what is empty. Where "
         "only one side's release tells it at all, it is unverified, under its name."
         + (f" What is told beside of {_WITH_ENTRY[kind]} is compared with it." if kind in _WITH_ENTRY else "")
         + (" By a digest: it may be a secret." if kind == "webhook" else "")
         + (" The points of a metric history have step, time and value, and nothing else." if kind == "run" else ""))
    for kind, facets in FACETS.items() if OTHER in facets
) + tuple(
    Rule(f"{kind}.other.{name}", kind, OTHER, field, "not compared", reason)
    for kind, fields in _NOT_COMPARED.items() for name, (field, reason) in fields.items()
)  # fmt: skip

_SAME = "The store itself went on, so nothing may differ: ids, times, users, all tags, links and places, files byte by byte."
_MOVED = (
    "A restored store may stand elsewhere. One prefix for the whole server, read from the experiments' locations; what "
    "stands below the old prefix must stand at the same place below the new one."
)
_MOVED_WHEN = "more experiments below the old prefix moved to the new one than stayed"
RULES += tuple(
    Rule(f"{kind}.same-store", kind, "presence", "every field", "equal", _SAME, profiles=SAME_STORE) for kind in FACETS
)
RULES += (
    Rule("experiment.artifact_location.moved", "experiment", "artifact_location", "artifact_location", "expected",
         _MOVED, _MOVED_WHEN, profiles=SAME_STORE),
    Rule("run.artifact_uri.moved", "run", "artifact_uri", "artifact_uri", "expected",
         _MOVED, _MOVED_WHEN, profiles=SAME_STORE),
    Rule("logged_model.files.moved", "logged_model", "files", "artifact_uri", "expected",
         _MOVED, _MOVED_WHEN, profiles=SAME_STORE),
    Rule("model_version.source.moved", "model_version", "source", "source", "expected",
         _MOVED, _MOVED_WHEN, profiles=SAME_STORE),
    Rule("model_version.storage.moved", "model_version", "storage", "where it is loaded from", "expected",
         _MOVED, _MOVED_WHEN, profiles=SAME_STORE),
    Rule("trace.tags.moved", "trace", "tags", "tags mlflow.artifactLocation and mlflow.trace.spansLocation", "expected",
         _MOVED, _MOVED_WHEN, profiles=SAME_STORE),
    Rule("trace.times.no-end", "trace", "times", "execution duration of a trace without an end", "expected",
         "The store holds none, before and after. MLflow 2 tells 0 for it, MLflow 3 none.",
         "the trace is IN_PROGRESS on both sides, a server before MLflow 3 tells 0 and one from MLflow 3 on tells none",
         profiles=SAME_STORE),
    Rule("trace.previews.of-metadata", "trace", "previews", "request and response preview of MLflow 2", "expected",
         "MLflow 2 has no previews: what it tells as such is the metadata mlflow.traceInputs and mlflow.traceOutputs, "
         "which an upgrade leaves where it is.",
         "the source is a server before MLflow 3, the target one from MLflow 3 on that tells no preview, and the same "
         "text stands in the metadata of both", profiles=SAME_STORE),
    Rule("trace.metadata.schema-version", "trace", "metadata", "mlflow.trace_schema.version", "expected",
         "A server of MLflow 3.0 to 3.4 says 3 of every trace, whatever is stored.",
         "such a server says 3, and the other one 1, 2 or nothing", profiles=SAME_STORE),
)  # fmt: skip

BY_ID = {rule.id: rule for rule in RULES}


def allows(rule_id: str, profile: Profile) -> bool:
    """Whether a rule lets something differ under a profile; what is not in the contract lets nothing differ."""
    rule = BY_ID.get(rule_id)
    return rule is not None and profile in rule.profiles


def digest() -> str:
    """Digest of the whole contract (hex), recorded in every report."""
    import hashlib

    text = json.dumps([asdict(rule) for rule in RULES], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def markdown() -> str:
    """Return ``docs/contract.md``."""
    lines = [
        "# The contract",
        "",
        "<!-- Generated by `python -m mlflow_parity.kinds.contract`; edit src/mlflow_parity/kinds/contract.py instead. -->",
        "",
        "What must be equal after a migration, what is compared through the pairing, and what differs by design.",
        "All else is a defect of the migration. A field treated as *expected* is still verified: the difference",
        "passes only under the condition in the table, and every such pass names its rule in the ledger.",
        "",
        "Never tolerated: rounding, truncation, reordering where order is content, a missing or an extra object.",
        "",
        "## Profiles",
        "",
        "`--parity-profile` says what kind of move it was. A rule holds only for the profiles that its row names.",
        "",
        "- `export-import` (default): the objects were created again on the target. Ids, times and places differ; the",
        "  source tags keep the originals.",
        "- `same-store`: the store itself went on: `mlflow db upgrade`, a restored database,",
        "  `mlflow migrate-filestore`. Objects are paired by equal ids alone, and all fields must be equal. What may",
        "  differ: the place, by one prefix for the whole server (rules `….moved`), what a SQL store cannot hold",
        "  (rules `run.metrics.…`: `mlflow migrate-filestore` writes ±inf as the largest double), and what another",
        "  release tells otherwise of the same trace (rules `trace.….…` with the profile `same-store`).",
        "",
        "When most runs look like the other profile, the first line of the report says so.",
    ]
    titles = {"experiment": "Experiments", "run": "Runs"}
    titles.update({name: kind.title for name, kind in KINDS.items()})
    titles[SCOPE_KIND] = "Scope of the audit"
    for kind, title in titles.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| field | treatment | when | reason | holds for | profile | rule |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_markdown_row(rule) for rule in RULES if rule.kind == kind]
    return "\n".join(lines) + "\n"


def _markdown_row(rule: Rule) -> str:
    cells: Iterable[str] = (
        rule.field,
        rule.treatment,
        rule.when or "always",
        rule.reason,
        rule.holds_for,
        "all" if rule.profiles == PROFILES else ", ".join(rule.profiles),
        f"`{rule.id}`",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(markdown(), end="")
