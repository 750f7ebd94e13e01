"""What must be equal and what differs by design, as data; ``docs/contract.md`` is generated from this table.

Everything a server tells of an experiment or run is one :class:`Rule` here. What no rule lets differ must be
equal. ``python -m mlflow_parity.contract`` prints the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Treatment = Literal["equal", "paired", "expected", "not compared"]

_TOOL = "databricks-mlflow-export-import 1.2.1"
_ANY = "every MLflow server from 2.16"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is treated.

    ``equal``: must be the same. ``paired``: compared through the pairing (an id on the source must be the id of
    its copy on the target). ``expected``: may differ under the condition ``when``, which is verified, with the
    evidence that ``reason`` names. ``not compared``: outside this audit; the report says so.
    """

    id: str
    kind: Literal["experiment", "run"]
    facet: str
    field: str
    treatment: Treatment
    reason: str
    when: str = ""
    holds_for: str = _ANY


#: Facets in the order in which reports show them.
EXPERIMENT_FACETS = ("presence", "name", "lifecycle", "tags", "note", "source_tags", "times", "artifact_location")
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
    "artifacts",
    "artifact_uri",
)

RULES: tuple[Rule, ...] = (
    # --- experiments
    Rule("experiment.presence", "experiment", "presence", "the experiment itself", "equal",
         "Every source experiment has exactly one copy; the target has no other experiments in scope."),
    Rule("experiment.presence.default", "experiment", "presence", "an empty Default experiment on the target", "expected",
         "Every server makes it at its first start.", "named Default, id 0, without runs; the source has none in scope"),
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
         "The copy must keep its files in a place of its own: equal only where ids are equal too (same store), "
         "else different from the source's."),
    # --- runs
    Rule("run.presence", "run", "presence", "the run itself", "equal",
         "Every source run has exactly one copy in the copy of its experiment, and nothing else is there."),
    Rule("run.id", "run", "presence", "run_id, run_uuid, experiment_id", "expected",
         "The target gives its own ids; the pairing replaces them.", "the run was created on the target"),
    Rule("run.name", "run", "name", "run_name", "equal", "The tool copies it with the tag mlflow.runName."),
    Rule("run.name.generated", "run", "name", "run_name and tag mlflow.runName of a run without name", "expected",
         "Servers since 2.0 invent a name for a run that has none.", "the source's name is empty"),
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
         "Exactly, character by character; a value cut to the server's limit is a loss."),
    Rule("run.metrics", "run", "metrics", "every point of every metric key", "equal",
         "As a multiset of (step, timestamp, value); doubles bit for bit, NaN equals NaN."),
    Rule("run.metrics.infinity", "run", "metrics", "value ±inf", "expected",
         "SQL stores keep ±inf as ±1.7976931348623157e308, the largest double; file stores keep ±inf.",
         "±inf at the source stands as the largest double of the same sign at the same step and time", _ANY),
    Rule("run.metrics.negative-zero", "run", "metrics", "value -0.0", "expected",
         "SQL stores keep -0.0 as 0.0, which is numerically equal.",
         "-0.0 at the source stands as 0.0 at the same step and time", _ANY),
    Rule("run.metrics.repeated", "run", "metrics", "exact repeats of a point", "expected",
         "A SQL store's primary key swallows an exact repeat of (key, time, step, value); file stores keep it.",
         "the target holds the point (as the rules above rewrite it) once and the source more than once", _ANY),
    Rule("run.tags", "run", "tags", "every tag but those below", "equal",
         "User tags and mlflow.* tags are copied verbatim, ids inside them included (mlflow.log-model.history)."),
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
         "As a multiset: name, digest, source type, source, schema, profile, and tags (mlflow.data.context)."),
    Rule("run.artifacts", "run", "artifacts", "every file: path, size, SHA-256", "equal",
         "Same tree, same bytes. Empty folders are not objects: no store but the local disk has them."),
    Rule("run.artifacts.mlmodel", "run", "artifacts", "files named MLmodel", "paired",
         "The tool writes them anew as YAML with the copy's run id: compared as YAML; run_id, and the run's part of "
         "artifact paths, through the pairing; model_id and model_uuid must map one to one within the experiment.",
         "both files parse as YAML", _TOOL),
    Rule("run.artifact_uri", "run", "artifact_uri", "artifact_uri", "paired",
         "The copy must keep its files in a place of its own: equal only where ids are equal too (same store), else "
         "different from the source's."),
    # --- outside, named so that nobody takes them for verified
    Rule("run.outputs", "run", "links", "model inputs and outputs", "not compared",
         "Links to logged models are not part of this audit yet; the report counts such objects as outside."),
    Rule("run.metrics.links", "run", "links", "model and dataset links of metrics", "not compared",
         "MLflow 3 logged-model metrics are not part of this audit yet."),
)  # fmt: skip

BY_ID = {rule.id: rule for rule in RULES}


def rules_of(kind: str, facet: str) -> list[Rule]:
    """Return the rules of one facet."""
    return [rule for rule in RULES if rule.kind == kind and rule.facet == facet]


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
        "<!-- Generated by `python -m mlflow_parity.contract`; edit src/mlflow_parity/contract.py instead. -->",
        "",
        "What must be equal after a migration, what is compared through the pairing, and what differs by design.",
        "All else is a defect of the migration. A field treated as *expected* is still verified: the difference",
        "passes only under the condition in the table, and every such pass names its rule in the ledger.",
        "",
        "Never tolerated: rounding, truncation, reordering where order is content, a missing or an extra object.",
    ]
    for kind, title in (("experiment", "Experiments"), ("run", "Runs")):
        lines += [
            "",
            f"## {title}",
            "",
            "| field | treatment | when | reason | holds for | rule |",
            "|---|---|---|---|---|---|",
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
        f"`{rule.id}`",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(markdown(), end="")
