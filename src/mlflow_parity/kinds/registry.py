"""Registered models and their versions: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.schema.base import (
    HOPS,
    TOOL,
    Facet,
    Kind,
    aliases,
    equal,
    expected,
    files,
    hops,
    link,
    moved,
    not_compared,
    number,
    other,
    own,
    paired,
    presence,
    status,
    tags,
    times,
    usable,
    value,
)

#: What registered models and prompts have in common: names that lead to versions.
WITH_VERSIONS: tuple[Facet, ...] = (
    aliases("every alias", "It must point at the copy of the version that it points at on the source."),
    own(
        "resolves",
        equal(
            "resolves",
            "every alias, as the target resolves it",
            "The server must give the version that its list names, when it is asked for the alias. Of a "
            "snapshot it is not judged.",
        ),
        live=True,
    ),
    times(),
    other(not_compared("other.latest", "latest_versions", "They repeat some of the versions, which are all compared.")),
)
REGISTERED_MODEL = Kind(
    "registered_model",
    "registered models",
    "model",
    "registry",
    (
        presence("By its name, which is its id."),
        value("description", "description", "Its note."),
        tags("every tag", "Verbatim."),
        *WITH_VERSIONS,
        usable(
            "what searches find: the model by name and tag, its versions by name, tag and run; the latest version of "
            "each stage; the version behind each of five aliases",
            "The questions are made of what was read, at most 13 for each model. Of many versions the newest 400 are "
            "asked for.",
        ),
    ),
    content=("description", "tags"),
    first=(1, 0),
)

MODEL_VERSION = Kind(
    "model_version",
    "model versions",
    "model",
    "registry",
    (
        presence("Every version has exactly one copy under the same model."),
        number(
            "version number",
            "Deployments name it.",
            expected(
                "number.import",
                "version number",
                "The tool numbers versions 1..n. The original must stand in mlflow_exim.field.version.",
                "that tag equals the source's number",
                holds_for=TOOL,
            ),
        ),
        own("order", equal("order", "order of the versions", '"The latest" must be the same one.')),
        status(
            "status and its message",
            "READY or another.",
            expected(
                "status.ready",
                "a status that is not READY, and its message",
                "MLflow's API makes versions READY, without a message.",
                "the copy is READY and mlflow_exim.field.status keeps the original",
            ),
        ),
        value("description", "description", "Its note."),
        tags("every tag but mlflow_exim.*", "Verbatim."),
        own(
            "source_tags",
            equal(
                "source_tags",
                "tags mlflow_exim.field.*",
                "Where the tool made the version they name it (name, version, run_id), and each of these that is "
                "there is true: description, current_stage, source, model_id, user_id, status, status_message, "
                "creation_timestamp, last_updated_timestamp. The formatted times only repeat others. "
                f"{HOPS}",
                holds_for=TOOL,
            ),
            hops(),
            expected(
                "source_tags.not-created",
                "no tags mlflow_exim.*",
                "Not made by the tool: nothing to keep in tags.",
                "the number is the source's and there are no source tags",
            ),
        ),
        value("user", "user_id", "Who made it."),
        value("stage", "stage", "On servers that have stages."),
        link(
            "run",
            "run",
            "run_id",
            "The copy of the run that made it.",
            expected(
                "run.dangling",
                "run_id of a run that is gone",
                "The source itself has no such run (any more).",
                "the run is not on the source or deleted there, and the copy names the same id or none",
            ),
        ),
        value(
            "run_link",
            "run_link",
            "Where people see the run that made it. The Export Import tool drops it, mlflow-parity writes it.",
        ),
        link(
            "logged_model",
            "logged_model",
            "model_id",
            "The copy of the logged model.",
            expected(
                "logged_model.dangling",
                "model_id of a model that is gone",
                "The source itself has no such model (any more).",
                "the source has no such model but in deleted experiments that are not in scope, and the copy "
                "names the same id or none",
            ),
        ),
        own(
            "source",
            paired(
                "source",
                "source URI",
                "It must name the copy's own place, with the same folder in its run or logged model, never the "
                "source's run, logged model or store.",
            ),
            expected(
                "source.own-place",
                "source URI",
                "The copy's files are in a place of its own.",
                "it names neither a run, a model nor a store of the source, nor another run or model than the "
                "copy's own, nor another server",
            ),
            moved("source.moved", "source"),
        ),
        own(
            "storage",
            paired(
                "storage",
                "where models:/NAME/VERSION is loaded from",
                "It must be the place that the copy's source names, as on the source, whose files are compared; "
                "never another copy's, the source's, or another server's.",
            ),
            expected(
                "storage.own-place",
                "where it is loaded from",
                "The copy's files are in a place of its own.",
                "it is in no place of the source and no other version's, and names no other server",
            ),
            moved("storage.moved", "where it is loaded from"),
        ),
        times(),
        files(
            "files",
            "every file behind the version: path, size, SHA-256",
            "The right model behind every version, by bytes. Newer targets with proxied artifacts take no "
            "files that belong to no run and no logged model; one with an S3 root does.",
            paired(
                "files.mlmodel",
                "files named MLmodel",
                "Compared as YAML: run_id, model_id and artifact paths through the pairing.",
                "both files parse as YAML",
            ),
        ),
        own(
            "access",
            equal(
                "access",
                "every file behind the version on the target",
                "Each can be downloaded with the auditor's own credentials, and MLmodel parses; a version whose "
                "MLmodel does not parse on the source either is none of the migration's faults.",
            ),
        ),
        own(
            "loads",
            equal(
                "loads",
                "mlflow.pyfunc.load_model of the version on the target",
                "Only with --parity-load-models. A model that needs a library which is absent here, or longer "
                "than five minutes, is unverified.",
            ),
            optional=True,
        ),
        other(not_compared("other.aliases", "aliases", "They repeat the registered model's, which are compared.")),
    ),
    content=("description", "tags", "status"),
    first=(1, 0),
)
