"""Traces: what must be equal, and what may differ and why."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.json_text import parsed
from mlflow_parity.core.records import Entity
from mlflow_parity.core.scope import SAME_STORE
from mlflow_parity.kinds.schema.base import (
    Kind,
    equal,
    expected,
    files,
    link,
    moved,
    not_compared,
    other,
    own,
    paired,
    presence,
    tags,
    value,
)

#: Where the server keeps the spans of a trace, and what it says of its own database: there, searches find them.
SPANS_LOCATION, IN_STORE = "mlflow.trace.spansLocation", "TRACKING_STORE"
#: What MLflow makes of spans in its database in the metadata of their trace.
SUMS_OF = {"mlflow.trace.tokenUsage": "mlflow.chat.tokenUsage", "mlflow.trace.cost": "mlflow.llm.cost"}
#: What it takes over as it is, from attributes that OpenTelemetry names.
TAKEN_OF = {
    "mlflow.trace.session": frozenset({"session.id", "gen_ai.conversation.id"}),
    "mlflow.trace.user": frozenset({"user.id"}),
}
DERIVED_OF_TRACE = SUMS_OF.keys() | TAKEN_OF.keys()


def size_stat(trace: Entity, name: str) -> int | None:
    """Return what a trace tells of its size: ``num_spans`` or ``total_size_bytes``, as MLflow's client counted them."""
    try:
        figures: Any = parsed(str(trace.facets["metadata"]["mlflow.trace.sizeStats"]))
        return int(figures[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


TRACE = Kind(
    "trace",
    "traces",
    "experiment",
    "traces",
    (
        presence(
            "Every trace has exactly one copy in the copy of its experiment. Deleted ones cannot be listed.",
            expected(
                "id",
                "trace_id, experiment_id",
                "The target may give its own ids; the pairing replaces them.",
                "the trace was created on the target",
            ),
        ),
        value("state", "state (status)", "OK, ERROR, IN_PROGRESS."),
        value(
            "times",
            "request time, execution duration",
            "They are the trace's content.",
            expected(
                "times.no-end",
                "execution duration of a trace without an end",
                "The store holds none, before and after. MLflow 2 tells 0 for it, MLflow 3 none.",
                "the trace is IN_PROGRESS on both sides, a server before MLflow 3 tells 0 and one from MLflow 3 "
                "on tells none",
                profiles=SAME_STORE,
            ),
        ),
        value("client_request_id", "client_request_id", "The caller's own id."),
        value(
            "previews",
            "request and response preview",
            "What people search for.",
            expected(
                "previews.of-metadata",
                "request and response preview of MLflow 2",
                "MLflow 2 has no previews: what it tells as such is the metadata mlflow.traceInputs and "
                "mlflow.traceOutputs, which an upgrade leaves where it is.",
                "the source is a server before MLflow 3, the target one from MLflow 3 on that tells no preview, "
                "and the same text stands in the metadata of both",
                profiles=SAME_STORE,
            ),
        ),
        tags(
            "every tag but those below",
            "Verbatim.",
            expected(
                "tags.place",
                "tags mlflow.artifactLocation, mlflow.trace.archiveLocation, mlflow.trace.spansLocation",
                "Where the server keeps the spans, its archive of traces included, is its own business.",
                "the copy has a place for its files (an archive may go), and it is in no place of the source or of "
                "another copy, and on no other server",
            ),
            expected(
                "tags.spans",
                "tag mlflow.trace.spansLocation of spans that are searchable on the source alone",
                "The spans stand in the file traces.json, where every server reads them and no search by span name, "
                "type, attribute or text, and no metric of spans, finds them: a loss for those who search.",
                "the target's server is before MLflow 3.6, keeps its data in files, does not tell its release, or is "
                "an App or a managed server of SageMaker; the source says TRACKING_STORE and the copy does not",
            ),
            moved(
                "tags.moved",
                "tags mlflow.artifactLocation, mlflow.trace.archiveLocation and mlflow.trace.spansLocation",
            ),
        ),
        own(
            "metadata",
            equal(
                "metadata",
                "every entry but the links below",
                "Verbatim, but for mlflow.gateway.endpointId: it names the copy of the gateway's endpoint.",
            ),
            expected(
                "metadata.finalized",
                "mlflow.trace.infoFinalized",
                "Newer servers write it to every trace that is made through the API.",
                "it is true on the target and not on the source at all",
            ),
            expected(
                "metadata.derived",
                "mlflow.trace.tokenUsage, mlflow.trace.cost, mlflow.trace.session, mlflow.trace.user",
                "A newer server makes them of spans that it takes into its database; no request takes them away.",
                "the source has none, both servers keep the trace's spans in their databases, and those of the copy "
                "hold what it is made of: no less usage of tokens or cost in all, or the very session or user",
            ),
            expected(
                "metadata.schema-version",
                "mlflow.trace_schema.version",
                "A server of MLflow 3.0 to 3.4 says 3 of every trace, whatever is stored.",
                "such a server says 3, and the other one 1, 2 or nothing",
                profiles=SAME_STORE,
            ),
        ),
        link(
            "run",
            "run",
            "mlflow.sourceRun",
            "The copy of the run that the trace was made in.",
            expected(
                "run.dangling",
                "mlflow.sourceRun of a run that is gone",
                "The source itself has no such run (any more).",
                "the run is not on the source or deleted there, and the copy names the same id or none",
            ),
        ),
        own(
            "run_links",
            paired(
                "run_links",
                "runs that the trace was linked to afterwards",
                "The copies of the runs, by one search for each run of the trace's experiment: "
                "mlflow.genai.evaluate on existing traces and client.link_traces_to_run make such links.",
            ),
            expected(
                "run_links.dangling",
                "link to a run that is gone",
                "The source itself has no such run (any more).",
                "the run is not on the source or deleted there, and the copy is linked to the same id or to none",
            ),
            expected(
                "run_links.replaced",
                "link to a run on the target that a repair replaced",
                "MLflow's API takes no link away, so a trace stays linked to the copy in the trash, too.",
                "the run is deleted on the target, and its tag mlflow_parity.replaced names a source run that "
                "has another copy, and that the source's trace is linked to or was made in",
                holds_for="mlflow-parity migrate repair",
            ),
            not_compared(
                "run_links.elsewhere",
                "links to runs of another experiment",
                "No server lists them for a trace; finding them takes a search for every run of the server in "
                "every experiment.",
            ),
        ),
        link(
            "logged_model",
            "logged_model",
            "mlflow.modelId",
            "The copy of the logged model.",
            expected(
                "logged_model.dangling",
                "mlflow.modelId of a model that is gone",
                "The source itself has no such model (any more).",
                "the source has no such model but in deleted experiments that are not in scope, and the copy "
                "names the same id or none",
            ),
        ),
        own(
            "prompts",
            paired(
                "prompts",
                "linked prompt versions",
                "The copies of the versions: by their associations where both servers can search for them "
                '(prompt = "name/version"), else by the tag mlflow.linkedPrompts.',
            ),
            not_compared(
                "prompts.untold",
                "links to prompt versions that stand in no tag",
                "Where one of the servers has no such search, and for versions that are gone, only the tag tells.",
            ),
        ),
        own(
            "spans",
            equal(
                "spans",
                "every span: name, type, parent, inputs, outputs, attributes, events, status, times",
                "Exactly; the trace's own id inside attributes through the pairing. In a file each span names its "
                "trace, and one that names another, or none, must do so on both sides. Spans that the trace tells of "
                "and neither side has are a mismatch; for an hour after its end they may still come: it is unverified.",
            ),
            expected(
                "spans.ids",
                "span ids",
                "A tool that starts spans again cannot set them; the tree of spans is compared by place.",
                "everything else in the spans is equal",
            ),
            expected(
                "spans.derived",
                "type, inputs, outputs and the attributes mlflow.message.format, mlflow.chat.tools, "
                "mlflow.chat.tokenUsage, mlflow.llm.model, mlflow.llm.provider and mlflow.llm.cost of a span",
                "A newer server makes them of other attributes (gen_ai.*, OpenInference, Traceloop and the like) when "
                "it takes a span into its database. What a token costs stands in a list of that server: a cost is held "
                "against the usage and the model, not against prices.",
                "the source's span has none (or the type UNKNOWN), the copy is in the target's database, the value is "
                "one that MLflow makes of what stands in the source's span, and the rest of the span is equal; what "
                "stands there whole, and no release that is known makes of it, is unverified",
            ),
            paired(
                "spans.attachments",
                "trace_id in references mlflow-attachment://",
                "UI and clients ask for an attachment by the id that stands there: it must be that of the "
                "trace's copy.",
            ),
        ),
        files(
            "attachments",
            "every attachment (image, audio, PDF) that the spans name, and what lies beside it: size, SHA-256",
            "The files are apart from the spans, which hold no more than references. One that is on neither "
            "side is no loss. Where the server cannot list them (no artifact proxy, no S3 of an App) each is "
            "asked for by its name, and one that no span names is not seen.",
        ),
        own(
            "assessments",
            equal(
                "assessments",
                "feedback and expectations: name, value, source, rationale, metadata, span, override",
                "By id; where ids were given again, as a multiset. An override is told by the id of what it "
                "overrides, or by what that says; a reference to an issue by the copy of that one.",
            ),
            expected(
                "assessments.ids",
                "assessment ids and times",
                "Where a tool writes assessments without ids and times, the server gives them new ones.",
                "all else in the assessments is equal, and so is the creation time of each that kept its id; the "
                "others of a name were made in the same order",
            ),
        ),
        other(
            entry="a span, an event, a link or an assessment",
            note="A span without a kind of OpenTelemetry is one of the kind INTERNAL.",
        ),
    ),
    content=("state", "client_request_id", "previews"),
    first=(2, 14),
)
