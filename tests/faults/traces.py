"""Faults of traces: what is told of them, their spans and assessments, their links."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.changes import one_bit
from faults.fault import Fault, Found, Plant, Target, sql

_KIND = "trace"
#: Tables that hold a trace.
_TABLES = ("trace_tags", "trace_request_metadata", "assessments", "spans", "trace_info")

#: The link of a trace to the run that judged it, and a run that it is not linked to.
_RUN_LINK = "source_id = :trace AND destination_type = 'run'"
_A_RUN = "(SELECT run_uuid FROM runs WHERE name = 'file-bit')"


def _info(change: str) -> Plant:
    return sql(f"UPDATE trace_info SET {change} WHERE request_id = :trace")


def _assessment(change: str) -> Plant:
    return sql(f"UPDATE assessments SET {change} WHERE trace_id = :trace AND rationale = 'clear'")


#: The first of a name says what the second said, and the other way round.
SWAPPED = sql(*(
    f"UPDATE assessments SET value = '{new}' WHERE trace_id = :trace AND name = 'verdict' AND value = '{old}'"
    for old, new in (('"yes"', "0"), ('"no"', '"yes"'), ("0", '"no"'))
))  # fmt: skip


def _metadata(change: str, key: str) -> Plant:
    return sql(f"UPDATE trace_request_metadata SET {change} WHERE request_id = :trace AND key = '{key}'")


def _lost(target: Target, name: str) -> None:
    trace = target.id(_KIND, name)
    for table, column in zip(_TABLES, ("request_id", "request_id", "trace_id", "trace_id", "request_id"), strict=True):
        target.database.execute(f"DELETE FROM {table} WHERE {column} = ?", (trace,))


def _made_up(target: Target, name: str) -> None:
    info = {
        "trace_id": "tr-" + "0" * 31 + "1",
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": target.id("experiment", "battery")},
        },
        "request_time": "2023-11-14T22:13:20Z",
        "state": "OK",
        "tags": {"mlflow.traceName": name},
    }
    target.api.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")


def _folder(target: Target, name: str) -> Path:
    """Where a trace has its files on the target."""
    query = "SELECT value FROM trace_tags WHERE request_id = :trace AND key = 'mlflow.artifactLocation'"
    place = str(target.value(query, trace=target.id(_KIND, name)))
    return Path(target.server.artifacts_root, place.removeprefix("mlflow-artifacts:/"))


def _attachment(change: Callable[[Path], object]) -> Plant:
    """Change the file of the one attachment of a trace."""

    def plant(target: Target, name: str) -> None:
        [file] = (_folder(target, name) / "attachments").iterdir()
        change(file)

    return plant


Spans = dict[str, dict[str, Any]]


def spans(change: Callable[[list[dict[str, Any]], Spans], None]) -> Plant:
    """Change the spans of a trace, in the table in which the target keeps them; given as a list and by name."""

    def plant(target: Target, name: str) -> None:
        rows = _stored(target, name)
        named = list(rows.values())
        before = {key: json.dumps(span) for key, span in rows.items()}
        change(named, {span["name"]: span for span in named})
        changed = 0
        for key, span in rows.items():
            if span not in named:
                target.sql("DELETE FROM spans WHERE trace_id = :trace AND span_id = :span", **_row(target, name, key))
                changed += 1
            elif json.dumps(span) != before[key]:
                statement = "UPDATE spans SET content = :content WHERE trace_id = :trace AND span_id = :span"
                target.sql(statement, content=json.dumps(span), **_row(target, name, key))
                changed += 1
        assert changed

    return plant


def _stored(target: Target, name: str) -> dict[str, dict[str, Any]]:
    """Return what the target's database holds of the spans of a trace, by span id."""
    query = "SELECT span_id, content FROM spans WHERE trace_id = ? ORDER BY start_time_unix_nano"
    found = target.database.execute(query, (target.id(_KIND, name),)).fetchall()
    assert found
    return {key: json.loads(content) for key, content in found}


def _row(target: Target, name: str, span: str) -> dict[str, str]:
    return {"trace": target.id(_KIND, name), "span": span}


def _into_file(target: Target, name: str) -> None:
    """Move the spans of a trace into the file in which older servers keep them."""
    file = _folder(target, name) / "traces.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"spans": [*_stored(target, name).values()]}), encoding="utf-8")
    target.database.execute("DELETE FROM spans WHERE trace_id = ?", (target.id(_KIND, name),))
    statement = "DELETE FROM trace_tags WHERE request_id = :trace AND key = 'mlflow.trace.spansLocation'"
    target.sql(statement, trace=target.id(_KIND, name))


def _copied_file(target: Target, name: str) -> None:
    """Move the spans of a trace into a file that is another trace's, as it would be if it had been copied as it is."""
    _into_file(target, name)
    file = _folder(target, name) / "traces.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    for span in told["spans"]:
        span["attributes"]["mlflow.traceRequestId"] = json.dumps(f"tr-{'0' * 32}")
    file.write_text(json.dumps(told), encoding="utf-8")


def _attribute(named: list[dict[str, Any]], by: Spans) -> None:
    [root] = [span for span in named if not span["parent_span_id"]]
    root["attributes"]["temperature"] = "0.50000000000000011"


def _output(named: list[dict[str, Any]], by: Spans) -> None:
    by["child"]["attributes"]["mlflow.spanOutputs"] = '{"deep": "u"}'


def _list_cut(named: list[dict[str, Any]], by: Spans) -> None:
    by["grandchild"]["attributes"]["mlflow.spanOutputs"] = "[0.1]"


def _list_reordered(named: list[dict[str, Any]], by: Spans) -> None:
    by["grandchild"]["attributes"]["mlflow.spanOutputs"] = "[0.25, 0.1]"


def _span_type(named: list[dict[str, Any]], by: Spans) -> None:
    by["child"]["attributes"]["mlflow.spanType"] = '"LLM"'


def _span_renamed(named: list[dict[str, Any]], by: Spans) -> None:
    by["child"]["name"] = "Child"


def _span_lost(named: list[dict[str, Any]], by: Spans) -> None:
    named.remove(by["grandchild"])


def _span_moved(named: list[dict[str, Any]], by: Spans) -> None:
    by["grandchild"]["parent_span_id"] = by["child"]["parent_span_id"]


def _span_later(named: list[dict[str, Any]], by: Spans) -> None:
    by["grandchild"]["end_time_unix_nano"] += 1


def _span_failed(named: list[dict[str, Any]], by: Spans) -> None:
    by["child"]["status"]["code"] = "STATUS_CODE_ERROR"


def _event_lost(named: list[dict[str, Any]], by: Spans) -> None:
    by["child"]["events"].clear()


def _event_altered(named: list[dict[str, Any]], by: Spans) -> None:
    by["child"]["events"][0]["attributes"]["hits"] = 4


def _all_lost(named: list[dict[str, Any]], by: Spans) -> None:
    named.clear()


def _other_trace(named: list[dict[str, Any]], by: Spans) -> None:
    [root] = [span for span in named if not span["parent_span_id"]]
    told = root["attributes"]["mlflow.spanInputs"]
    root["attributes"]["mlflow.spanInputs"] = re.sub("trace_id=tr-[0-9a-f]{32}", f"trace_id=tr-{'0' * 32}", told)


def _overridden(key: str) -> tuple[Found, ...]:
    """An assessment that another one overrides is told twice: by itself, and by what overrides it."""
    return tuple(Found("assessments", f"good: {which}{key}") for which in ("", "overrides: "))


def _span(key: str, state: str = "mismatch") -> tuple[Found, ...]:
    return (Found("spans", key, state),)


TRACES = (
    Fault("trace-lost", _KIND, "the trace is gone", _lost, (Found("presence", state="missing"),)),
    Fault("trace-made-up", _KIND, "one trace too many", _made_up, (Found("presence", state="extra"),), stock=False),
    Fault("trace-state", _KIND, "OK became ERROR", _info("status = 'ERROR'"), (Found("state"),)),
    Fault("trace-duration", _KIND, "one millisecond longer", _info("execution_time_ms = execution_time_ms + 1"),
          (Found("times", "duration"),)),
    Fault("trace-time", _KIND, "asked one millisecond later", _info("timestamp_ms = timestamp_ms + 1"),
          (Found("times", "request"),)),
    Fault("trace-client-id", _KIND, "another id of the caller", _info("client_request_id = 'other'"),
          (Found("client_request_id"),)),
    Fault("trace-client-id-lost", _KIND, "the caller's id is gone", _info("client_request_id = NULL"),
          (Found("client_request_id"),)),
    Fault("trace-request-cut", _KIND, "the last character of the preview is cut off",
          _info("request_preview = substr(request_preview, 1, length(request_preview) - 1)"),
          (Found("previews", "request"),)),
    Fault("trace-response-lost", _KIND, "the preview of the response is gone", _info("response_preview = NULL"),
          (Found("previews", "response"),)),
    Fault("trace-tag-altered", _KIND, "another value of a tag",
          sql("UPDATE trace_tags SET value = 'Growth' WHERE request_id = :trace AND key = 'team'"),
          (Found("tags", "team"),)),
    Fault("trace-tag-lost", _KIND, "one tag is gone",
          sql("DELETE FROM trace_tags WHERE request_id = :trace AND key = 'team'"),
          (Found("tags", "team", "missing"),)),
    Fault("trace-tag-made-up", _KIND, "one tag too many",
          sql("INSERT INTO trace_tags (key, value, request_id) VALUES ('new', 'x', :trace)"),
          (Found("tags", "new", "extra"),)),
    Fault("trace-metadata-lost", _KIND, "an entry of the metadata is gone",
          sql("DELETE FROM trace_request_metadata WHERE request_id = :trace AND key = 'mlflow.user'"),
          (Found("metadata", "mlflow.user", "missing"),)),
    Fault("trace-metadata-altered", _KIND, "another value in the metadata", _metadata("value = 'eve'", "mlflow.user"),
          (Found("metadata", "mlflow.user"),)),
    Fault("trace-run", _KIND, "made in another run", _metadata("value = :other", "mlflow.sourceRun"),
          (Found("run", "run"),)),
    Fault("trace-run-lost", _KIND, "made in no run",
          sql("DELETE FROM trace_request_metadata WHERE request_id = :trace AND key = 'mlflow.sourceRun'"),
          (Found("run", "run", "missing"),)),
    Fault("trace-run-link-lost", _KIND, "the link to the run that judged it is gone",
          sql(f"DELETE FROM entity_associations WHERE {_RUN_LINK}"), (Found("run_links", "<run>", "missing"),)),
    Fault("trace-run-link-other", _KIND, "the link leads to another run",
          sql(f"UPDATE entity_associations SET destination_id = {_A_RUN} WHERE {_RUN_LINK}"),
          (Found("run_links", "<run>", "missing"), Found("run_links", "<run>", "extra"))),
    Fault("trace-run-link-made-up", _KIND, "linked to one run more",
          sql("INSERT INTO entity_associations (association_id, source_type, source_id, destination_type, "
              f"destination_id) VALUES ('a-made-up', 'trace', :trace, 'run', {_A_RUN})"),
          (Found("run_links", "<run>", "extra"),)),
    Fault("trace-model", _KIND, "of another logged model", _metadata(
          "value = (SELECT model_id FROM logged_models WHERE name = 'other')", "mlflow.modelId"),
          (Found("logged_model", "logged_model"),)),
    Fault("trace-prompt-lost", _KIND, "the link to the prompt is gone", sql(
          "DELETE FROM trace_tags WHERE request_id = :trace AND key = 'mlflow.linkedPrompts'",
          "DELETE FROM entity_associations WHERE source_id = :trace AND destination_type <> 'run'"),
          (Found("prompts", "", "missing"),),
          also=(Found("tags", "mlflow.linkedPrompts", "missing"),)),
    Fault("trace-prompt-unlinked", _KIND, "the tag names the prompt, but the link itself is gone",
          sql("DELETE FROM entity_associations WHERE source_id = :trace AND destination_type <> 'run'"),
          (Found("prompts", "", "missing"),)),
    Fault("trace-prompt-link-other", _KIND, "the tag names the prompt, but the link leads to another version",
          sql("UPDATE entity_associations SET destination_id = 'other/2' WHERE source_id = :trace AND "
              "destination_type <> 'run'"),
          (Found("prompts", state="missing"), Found("prompts", state="extra"))),
    Fault("trace-prompt-other", _KIND, "the link leads to another version of the prompt", sql(
          "UPDATE trace_tags SET value = replace(value, '\"1\"', '\"2\"') WHERE request_id = :trace AND "
          "key = 'mlflow.linkedPrompts'",
          "UPDATE entity_associations SET destination_id = 'other/2' WHERE source_id = :trace AND "
          "destination_type <> 'run'"), (
          Found("prompts", state="missing"), Found("prompts", state="extra")),
          also=(Found("tags", "mlflow.linkedPrompts"),)),
)  # fmt: skip
#: A span that is not there may have named an attachment.
_UNKNOWN = (Found("attachments", "", "unverified"),)
SPANS = (
    Fault("span-attribute", _KIND, "one attribute, one ulp", spans(_attribute),
          _span("span-attribute (<span>): attributes: temperature")),
    Fault("span-output", _KIND, "one character in an output", spans(_output), _span("child (<span>): outputs: deep")),
    Fault("span-list-cut", _KIND, "a list in an output lacks its last entry", spans(_list_cut),
          _span("grandchild (<span>): outputs")),
    Fault("span-list-order", _KIND, "a list in an output in another order", spans(_list_reordered),
          _span("grandchild (<span>): outputs [1]") + _span("grandchild (<span>): outputs [2]")),
    Fault("span-type", _KIND, "another type", spans(_span_type), _span("child (<span>): type")),
    Fault("span-renamed", _KIND, "the name in another case", spans(_span_renamed), _span("child (<span>): name")),
    Fault("span-lost", _KIND, "one span is gone", spans(_span_lost), _span("grandchild (<span>)", "missing")),
    Fault("spans-lost", _KIND, "all spans are gone", spans(_all_lost), _span("", "unverified"), also=_UNKNOWN),
    Fault("spans-unsearchable", _KIND, "the spans are in a file, where no search finds them", _into_file,
          (Found("tags", "mlflow.trace.spansLocation"),)),
    Fault("spans-of-another", _KIND, "the spans are in a file that names another trace", _copied_file,
          (Found("tags", "mlflow.trace.spansLocation"),
           *_span("spans-of-another (<span>): trace", "extra"), *_span("child (<span>): trace", "extra"),
           *_span("grandchild (<span>): trace", "extra"))),
    Fault("span-parent", _KIND, "a span below another one", spans(_span_moved),
          _span("grandchild (<span>): parent_id")),
    Fault("span-time", _KIND, "one nanosecond later", spans(_span_later), _span("grandchild (<span>): end_ns")),
    Fault("span-status", _KIND, "OK became ERROR", spans(_span_failed), _span("child (<span>): status: code")),
    Fault("span-event-lost", _KIND, "an event is gone", spans(_event_lost), _span("child (<span>): events")),
    Fault("span-event-altered", _KIND, "one attribute of an event", spans(_event_altered),
          _span("child (<span>): events [1]: attributes: hits")),
    Fault("attachment-lost", _KIND, "an attachment is gone", _attachment(lambda file: file.unlink()),
          (Found("attachments", "<attachment>", "missing"),)),
    Fault("attachment-bit", _KIND, "one bit of an attachment",
          _attachment(lambda file: file.write_bytes(one_bit(file.read_bytes()))),
          (Found("attachments", "<attachment>"),)),
    Fault("attachment-cut", _KIND, "the last byte of an attachment is cut off",
          _attachment(lambda file: file.write_bytes(file.read_bytes()[:-1])), (Found("attachments", "<attachment>"),)),
    Fault("attachment-made-up", _KIND, "one attachment too many",
          _attachment(lambda file: file.with_name(str(uuid.UUID(int=7))).write_bytes(b"")),
          (Found("attachments", "<attachment>", "extra"),)),
    Fault("attachment-reference", _KIND, "the span asks another trace for its attachment", spans(_other_trace),
          _span("attachment-reference (<span>): inputs: image")),
    Fault("assessment-value", _KIND, "true became false", _assessment("value = 'false'"), _overridden("value")),
    Fault("assessment-rationale", _KIND, "another rationale", _assessment("rationale = 'Clear'"),
          _overridden("rationale")),
    Fault("assessment-source", _KIND, "by another judge", _assessment("source_id = 'judge-2'"),
          _overridden("source: id")),
    Fault("assessment-metadata", _KIND, "another value in the metadata",
          _assessment("assessment_metadata = '{\"m\": \"2\"}'"), _overridden("metadata: m")),
    Fault("assessment-lost", _KIND, "one assessment is gone",
          sql("DELETE FROM assessments WHERE trace_id = :trace AND name = 'wanted'"),
          (Found("assessments", "wanted", "missing"),)),
    Fault("assessment-override", _KIND, "what it overrides is forgotten",
          sql("UPDATE assessments SET overrides = NULL WHERE trace_id = :trace AND overrides IS NOT NULL"),
          (Found("assessments", "good: overrides", "missing"),)),
    Fault("assessments-swapped", _KIND, "two assessments of one name have each other's value", SWAPPED,
          (Found("assessments", "verdict: value"),)),
    Fault("assessment-list", _KIND, "a list in an expectation in another order",
          sql("UPDATE assessments SET value = '{\"height\": [80, 1]}' WHERE trace_id = :trace AND name = 'wanted'"),
          tuple(Found("assessments", f"wanted: value: height [{place}]") for place in (1, 2))),
)  # fmt: skip
