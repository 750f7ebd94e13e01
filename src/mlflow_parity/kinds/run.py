"""Runs: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.core.scope import PROFILES
from mlflow_parity.kinds.schema.base import (
    HOPS,
    TOOL,
    Kind,
    equal,
    expected,
    hops,
    infinity,
    moved,
    negative_zero,
    not_compared,
    other,
    own,
    paired,
    presence,
)

RUN = Kind(
    "run",
    "runs",
    "experiment",
    "runs",
    (
        presence(
            "Every source run has exactly one copy in the copy of its experiment, and nothing else is there.",
            expected(
                "id",
                "run_id, run_uuid, experiment_id",
                "The target gives its own ids; the pairing replaces them.",
                "the run was created on the target",
            ),
            expected(
                "presence.replaced",
                "a deleted run on the target that a repair replaced",
                "MLflow's API cannot remove a run for good, so a copy that a repair replaced stays in the trash.",
                "deleted on the target, and its tag mlflow_parity.replaced names a source run that has another copy",
                holds_for="mlflow-parity migrate repair",
            ),
        ),
        own(
            "name",
            equal("name", "run_name", "The tool copies it with the tag mlflow.runName."),
            expected(
                "name.generated",
                "run_name and tag mlflow.runName of a run without name",
                "Servers since 2.0 invent a name for a run that has none.",
                "the source's name is empty",
            ),
        ),
        own("status", equal("status", "status", "FINISHED, FAILED, KILLED, RUNNING, SCHEDULED.")),
        own(
            "times",
            equal("times", "start_time, end_time", "Where the tool did not create the run, its times are its own."),
            expected(
                "times.start",
                "start_time",
                "The tool creates the run at import time. The original must stand in mlflow_exim.run_info.start_time.",
                "the tool created the run and that tag equals the source's start time",
                holds_for=TOOL,
            ),
            expected(
                "times.end",
                "end_time",
                "The tool ends every run at import time, also one that was still running. The original must "
                "stand in mlflow_exim.run_info.end_time (None for a running run).",
                "the tool created the run and that tag equals the source's end time",
                holds_for=TOOL,
            ),
        ),
        own(
            "lifecycle",
            equal(
                "lifecycle", "lifecycle_stage", "An active run whose copy is in the trash is lost at the next clean-up."
            ),
        ),
        own(
            "user",
            equal("user", "user_id, tag mlflow.user", "Who ran it."),
            expected(
                "user.import",
                "user_id, tag mlflow.user",
                "The tool creates runs without user and tags them with the importing user unless "
                "--use-src-user-id. The originals must stand in mlflow_exim.run_info.user_id and "
                "mlflow_exim.mlflow_tag.user.",
                "the tool created the run and those tags equal the source's",
                holds_for=TOOL,
            ),
        ),
        own(
            "params",
            equal(
                "params",
                "every param",
                "Exactly, character by character; a value cut to the server's limit is a loss: a target with "
                "higher limits holds it.",
            ),
        ),
        own(
            "metrics",
            equal(
                "metrics",
                "every point of every metric key",
                "As a multiset of (step, timestamp, value); doubles bit for bit, NaN equals NaN. The point that the "
                "server tells as the latest is compared as well: pages and searches show that one.",
            ),
            infinity(PROFILES),
            negative_zero(PROFILES),
            expected(
                "metrics.repeated",
                "exact repeats of a point",
                "A SQL store's primary key swallows an exact repeat of (key, time, step, value); file stores keep it.",
                "the target holds the point (as the rules above rewrite it) once and the source more than once",
            ),
            expected(
                "metrics.latest",
                "the latest of points of one step and time, one of which is NaN",
                "A SQL store takes the greatest value, NaN for 0, and of equal ones that which was written first; a "
                "file store goes by the order of its lines. The points themselves are all there.",
                "the histories are equal, and the target tells the greatest, NaN or 0 being alike",
                profiles=PROFILES,
            ),
            not_compared(
                "metrics.links",
                "model and dataset links of a run's metrics",
                "No read request tells them for a run; the same points stand in the logged model's metrics, "
                "which are compared with their runs and datasets.",
            ),
        ),
        own(
            "tags",
            equal(
                "tags",
                "every tag but those below",
                "User tags and mlflow.* tags are copied verbatim, ids inside them included "
                "(mlflow.log-model.history); a value cut to the server's limit is a loss.",
            ),
            expected(
                "name.tag",
                "tag mlflow.runName that is not the run's name",
                "MLflow keeps the two equal whenever one is written.",
                "the copy's tag is its name, which is the source's, and mlflow_exim.mlflow_tag.runName keeps the "
                "original",
            ),
        ),
        own("note", equal("note", "tag mlflow.note.content", "The note is the run's description.")),
        own(
            "source_tags",
            equal(
                "source_tags",
                "tags mlflow_exim.run_info.* and mlflow_exim.mlflow_tag.*",
                "Complete (run_id, experiment_id, status, start_time, end_time, lifecycle_stage, artifact_uri, "
                "and one for each mlflow.* tag) and true (each states what the source says, None as 'None'). "
                "Which further keys there are depends on the exporting client; the formatted times "
                f"(mlflow_exim.run_info._*) are not evidence. {HOPS}",
                holds_for=TOOL,
            ),
            hops(),
            expected(
                "source_tags.not-created",
                "tags mlflow_exim.*",
                "Not created by the tool: the run has its own id and times, so there is nothing to keep in tags.",
                "same run id, or natural key with the same start and end time, and no source tags",
            ),
        ),
        own(
            "parent",
            paired(
                "parent",
                "tag mlflow.parentRunId",
                "The parent on the target must be the copy of the parent on the source.",
            ),
            expected(
                "parent.dangling",
                "tag mlflow.parentRunId of a parent that is gone",
                "The source itself has no such run (any more) in the scope; the copy keeps the same dead link.",
                "the parent is not on the source or is deleted there, and both sides name the same id",
            ),
        ),
        own(
            "inputs",
            equal(
                "inputs",
                "dataset inputs",
                "As a multiset: name, digest, source type, source, schema, profile, and tags "
                "(mlflow.data.context). MLflow before 3.10 keeps one for a name and digest in all experiments: "
                "such a target may have it with another source.",
            ),
            expected(
                "inputs.repeated",
                "exact repeats of a dataset input",
                "A SQL store keeps a dataset once for each run; file stores keep repeats.",
                "the target holds the input once and the source more than once",
            ),
            expected(
                "inputs.evaluation-dataset",
                "the id of an evaluation dataset in an input's source",
                "It stays as it was logged, the id of the source's dataset: inputs are written with the run, "
                "before there are datasets, and MLflow's API changes none. Name and digest tell which it is.",
                "the source type is mlflow_evaluation_dataset, and both sides name the same id",
            ),
        ),
        own(
            "model_inputs",
            paired(
                "model_inputs",
                "logged models that the run used, with steps",
                "Each must be the copy of the same logged model: a model that several runs use is one object.",
            ),
            expected(
                "model_inputs.dangling",
                "link to a logged model that is gone",
                "The source itself has no such model (any more).",
                "the source has no such model but in deleted experiments that are not in scope, and the copy has "
                "no other",
            ),
        ),
        own(
            "model_outputs",
            paired(
                "model_outputs",
                "logged models that the run made, with steps",
                "Each must be the copy of the same logged model.",
            ),
            expected(
                "model_outputs.dangling",
                "link to a logged model that is gone",
                "The source itself has no such model (any more).",
                "the source has no such model but in deleted experiments that are not in scope, and the copy has "
                "no other",
            ),
        ),
        own(
            "artifacts",
            equal(
                "artifacts",
                "every file: path, size, SHA-256",
                "Same tree, same bytes. Empty folders are not objects: no store but the local disk has them. A "
                "target with proxied artifacts takes # and %xx in a name for something else; one with an S3 root "
                "holds such files.",
            ),
            paired(
                "artifacts.mlmodel",
                "files named MLmodel",
                "The tool writes them again as YAML with the copy's run id: compared as YAML; run_id, and the "
                "run's part of artifact paths, through the pairing; model_id and model_uuid must map one to one "
                "within the experiment.",
                "both files parse as YAML",
                holds_for=TOOL,
            ),
            expected(
                "artifacts.images",
                "names of images that log_image made with a key and a step, before MLflow 3.11",
                "MLflow's artifact proxy decodes the % in images/KEY%step%N%timestamp%T%UUID.png, and its newer "
                "clients write + for it (and ~ for # in a key): the UI of 3.11 and newer reads both.",
                "the copy's file has exactly that newer name and the same bytes, and no other file has either name",
                holds_for="mlflow-parity migrate",
            ),
        ),
        own(
            "artifact_uri",
            paired(
                "artifact_uri",
                "artifact_uri",
                "The copy must keep its files in a place of its own: equal only where ids are equal too (same "
                "store), else in no place of the source, shared with no other copy, and naming no other server.",
            ),
            moved("artifact_uri.moved", "artifact_uri"),
        ),
        other(
            not_compared("other.uuid", "info: run_uuid", "It repeats the run's id."),
            note="The points of a metric history have step, time and value, and nothing else.",
        ),
    ),
    content=(),
    first=(1, 0),
)
