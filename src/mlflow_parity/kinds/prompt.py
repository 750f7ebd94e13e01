"""Prompts and their versions: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.base import Kind, aliases, equal, expected, number, own, presence, tags, times, value

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
                "and not in scope, may stay or go",
            ),
        ),
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
                "and not in scope, may stay or go",
            ),
        ),
        value("model_config", "model configuration", "Verbatim."),
        value("response_format", "response format", "As JSON."),
        value("type", "text or chat", "How it is rendered."),
        times(),
    ),
    content=("template", "commit_message", "tags"),
    first=(2, 21),
)
