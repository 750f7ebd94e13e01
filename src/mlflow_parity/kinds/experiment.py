"""Experiments: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.schema.base import (
    HOPS,
    TOOL,
    Kind,
    equal,
    expected,
    hops,
    moved,
    not_compared,
    other,
    own,
    paired,
    presence,
    usable,
)

EXPERIMENT = Kind(
    "experiment",
    "experiments",
    "experiment",
    "experiments",
    (
        presence(
            "Every source experiment has exactly one copy; the target has no other experiments in scope.",
            expected(
                "presence.default",
                "an empty Default experiment on the target",
                "Every server makes it at its first start.",
                "named Default, id 0, without runs, logged models, traces and scorers, and without a note or tags but "
                "MLflow's own; the source has none in scope (a deleted one is in scope with --parity-include-deleted "
                "only)",
            ),
            expected(
                "id",
                "experiment_id",
                "The target gives its own ids; the pairing (source tags, else name) replaces the id.",
                "the experiment was created on the target",
            ),
        ),
        own("name", equal("name", "name", "Clients address experiments by name.")),
        own(
            "lifecycle",
            equal(
                "lifecycle",
                "lifecycle_stage",
                "An active experiment whose copy is in the trash is lost at the next clean-up.",
            ),
        ),
        own(
            "tags", equal("tags", "every tag but those below", "The tool copies user tags and mlflow.* tags verbatim.")
        ),
        own("note", equal("note", "tag mlflow.note.content", "The note is the experiment's description.")),
        own(
            "source_tags",
            equal(
                "source_tags",
                "tags mlflow_exim.field.* and mlflow_exim.mlflow_tag.*",
                "Each must state what the source says: id, name, lifecycle stage, artifact location, times, "
                "mlflow.* tags. The formatted times (mlflow_exim.field._*) only repeat others in local time and "
                f"are not evidence. {HOPS}",
                holds_for=TOOL,
            ),
            hops(),
            expected(
                "source_tags.default",
                "tags mlflow_exim.* of the Default experiment",
                "Default (id 0) is on every server from the start, so the tool does not create it and writes no "
                "tags to it.",
                "the experiment is named Default and has id 0 on both sides",
                holds_for=TOOL,
            ),
            expected(
                "source_tags.not-created",
                "tags mlflow_exim.*",
                "Not created by the tool (upgrade in place, restored database): the original itself is there.",
                "the creation time and the id or the name are those of the source",
            ),
        ),
        own(
            "times",
            expected(
                "times.creation",
                "creation_time",
                "The API cannot set it. The original must stand in mlflow_exim.field.creation_time.",
                "the experiment carries source tags and that tag equals the source's creation time",
                holds_for=TOOL,
            ),
            expected(
                "times.default",
                "creation_time of the Default experiment",
                "The target made its Default experiment itself.",
                "named Default, id 0 on both sides",
            ),
            expected(
                "times.untagged",
                "creation_time without source tags",
                "The API cannot set it; that no source tag keeps the original is reported under source_tags.",
                "paired by name, no source tags",
            ),
            expected(
                "times.update",
                "last_update_time",
                "The server sets it at every change, the import included; it says nothing about the content.",
            ),
        ),
        own(
            "artifact_location",
            paired(
                "artifact_location",
                "artifact_location",
                "The copy must keep its files in a place of its own: equal only where ids are equal too (same "
                "store), else in no place of the source (the root of its store included), shared with no other "
                "copy, and naming no other server. A place below mlflow-artifacts:/ is another on each server.",
            ),
            not_compared(
                "artifact_location.loose",
                "files beside those of its runs, logged models and traces",
                "MLflow puts none there. Whoever did moves them, by a copy of the folder.",
            ),
            moved("artifact_location.moved", "artifact_location"),
        ),
        usable(
            "what searches find: runs by params, tags, name, time, metrics and in their order; the images of log_image "
            "in the listing of a run; traces by tag, session, user, run, span name, span type and text; the number of "
            "spans by name; evaluation datasets",
            "The questions are made of what was read, at most 34 for each experiment. Of many runs or traces the "
            "newest 400 are asked for. Images count under their newer names too.",
            expected(
                "usable.spans",
                "traces by what is in their spans, the number of spans",
                "The spans stand in files, where no search finds them: a loss for those who search.",
                "the target cannot hold spans in its database, as trace.tags.spans says, and holds none of them",
            ),
        ),
        other(
            not_compared("other.workspace", "workspace", "It names the workspace that is audited."),
            not_compared(
                "other.retention",
                "effective_trace_archival_retention",
                "The server makes it of its own configuration and the experiment's tag, which is compared.",
            ),
        ),
    ),
    content=(),
    first=(1, 0),
)
