"""Prompts and their versions: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.registry import WITH_VERSIONS
from mlflow_parity.kinds.schema.base import (
    Kind,
    expected,
    not_compared,
    number,
    other,
    presence,
    tags,
    times,
    usable,
    value,
)

PROMPT = Kind(
    "prompt",
    "prompts",
    "prompt",
    "registry",
    (
        presence("By its name, which is its id."),
        value("description", "description", "Its note."),
        tags(
            "every tag",
            "Verbatim.",
            expected(
                "tags.experiments",
                "tag _mlflow_experiment_ids",
                "The server lists in it the experiments in which the prompt was used, by its own ids.",
                "the tag lists the copies of the same experiments, and no other; one that is gone, or deleted "
                "and not in scope, may go, or stay where its id is not that of another one's copy",
            ),
        ),
        *WITH_VERSIONS,
        usable(
            "what searches find: the prompt by name and tag, its versions by name and tag; the version behind each of "
            "five aliases",
            "The questions are made of what was read, at most 11 for each prompt. Of many versions the newest 400 are "
            "asked for.",
        ),
    ),
    content=("description", "tags"),
    first=(2, 21),
)

PROMPT_VERSION = Kind(
    "prompt_version",
    "prompt versions",
    "prompt",
    "registry",
    (
        presence("Every version has exactly one copy."),
        number("version number", "Code loads prompts by it."),
        value("template", "template", "Character by character."),
        value("commit_message", "commit message", "Verbatim."),
        tags(
            "every tag",
            "Verbatim.",
            expected(
                "tags.experiments",
                "tag _mlflow_experiment_ids",
                "The server lists in it the experiments in which the version was used, by its own ids.",
                "the tag lists the copies of the same experiments, and no other; one that is gone, or deleted "
                "and not in scope, may go, or stay where its id is not that of another one's copy",
            ),
        ),
        value("model_config", "model configuration", "Verbatim."),
        value("response_format", "response format", "As JSON."),
        value("type", "text or chat", "How it is rendered."),
        times(),
        other(
            not_compared("other.aliases", "aliases", "They repeat the prompt's, which are compared."),
            not_compared(
                "other.unused",
                "source, status, status_message, current_stage, user_id, run_id, run_link, model_id",
                "MLflow keeps a prompt version as a model version, which must have them; prompts have no "
                "use for them, and what is written there depends on the client.",
            ),
        ),
    ),
    content=("template", "commit_message", "tags"),
    first=(2, 21),
)
