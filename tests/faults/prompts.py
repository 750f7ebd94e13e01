"""Faults of prompts and their versions."""

from __future__ import annotations

from faults.fault import Fault, Found, Plant, Target, sql
from faults.seeding import COMPOSED, DECOMPOSED

_PROMPT, _VERSION = "prompt", "prompt_version"
_ALIAS = "UPDATE registered_model_aliases SET {} WHERE name = :name"


def _lost(target: Target, name: str) -> None:
    for table in ("registered_model_aliases", "model_version_tags", "model_versions", "registered_model_tags"):
        target.database.execute(f"DELETE FROM {table} WHERE name = ?", (name,))
    target.sql("DELETE FROM registered_models WHERE name = :name", name=name)


def _made_up(target: Target, name: str) -> None:
    marker = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    target.api.call("POST", "registered-models/create", {"name": name, "tags": marker})


def _another(target: Target, name: str) -> None:
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "new"}]
    target.api.call("POST", "model-versions/create", {"name": name, "source": "dummy-source", "tags": tags})


def _renumbered(target: Target, name: str) -> None:
    for table in ("model_versions", "model_version_tags"):
        target.database.execute(f"UPDATE {table} SET version = 7 WHERE name = ? AND version = 2", (name,))


def _tag(value: str, key: str, version: int = 1) -> Plant:
    where = f"name = :name AND version = {version} AND key = '{key}'"
    return sql(f"UPDATE model_version_tags SET value = {value} WHERE {where}")


_TEXT = "mlflow.prompt.text"
PROMPTS = (
    Fault("prompt-lost", _PROMPT, "the prompt is gone", _lost, (Found("presence", state="missing"),),
          also=tuple(Found("presence", state="missing", kind=_VERSION, name=f"prompt-lost version {number}")
                     for number in (1, 2))),
    Fault("prompt-made-up", _PROMPT, "one prompt too many", _made_up, (Found("presence", state="extra"),), stock=False),
    Fault("prompt-note", _PROMPT, "another description",
          sql("UPDATE registered_models SET description = 'x' WHERE name = :name"), (Found("description"),)),
    Fault("prompt-tag", _PROMPT, "another value of a tag",
          sql("UPDATE registered_model_tags SET value = 'de' WHERE name = :name AND key = 'lang'"),
          (Found("tags", "lang"),)),
    Fault("prompt-alias-moved", _PROMPT, "the alias points at another version", sql(_ALIAS.format("version = 2")),
          (Found("aliases", "production"),)),
    Fault("prompt-alias-lost", _PROMPT, "the alias is gone",
          sql("DELETE FROM registered_model_aliases WHERE name = :name"), (Found("aliases", "production", "missing"),)),
    Fault("prompt-alias-dangling", _PROMPT, "the alias points at a version that there is not",
          sql(_ALIAS.format("version = 9")),
          (Found("resolves", "production", "missing"), Found("aliases", "production"))),
    Fault("prompt-version-lost", _VERSION, "a version is deleted",
          sql("UPDATE model_versions SET current_stage = 'Deleted_Internal' WHERE name = :name AND version = 2"),
          (Found("presence", state="missing", name="prompt-version-lost version 2"),)),
    Fault("prompt-version-made-up", _VERSION, "one version too many", _another,
          (Found("presence", state="extra", name="prompt-version-made-up version 3"),)),
    Fault("prompt-number", _VERSION, "version 2 became 7", _renumbered,
          (Found("number", "number", name="prompt-number version 2"),)),
    Fault("prompt-template", _VERSION, "a space at the end", _tag("value || ' '", _TEXT), (Found("template"),)),
    Fault("prompt-template-form", _VERSION, "the template in another Unicode form",
          _tag(f"replace(value, '{COMPOSED}', '{DECOMPOSED}')", _TEXT), (Found("template"),)),
    Fault("prompt-template-lines", _VERSION, "line ends of Unix became those of Windows",
          _tag("replace(value, char(10), char(13) || char(10))", _TEXT), (Found("template"),)),
    Fault("prompt-messages", _VERSION, "the messages of a chat in another order", _tag(
          "json_array(json_extract(value, '$[1]'), json_extract(value, '$[0]'))", _TEXT, 2),
          tuple(Found("template", f"[{place}]: {field}", name="prompt-messages version 2")
                for place in (1, 2) for field in ("role", "content"))),
    Fault("prompt-commit", _VERSION, "another commit message",
          sql("UPDATE model_versions SET description = 'x' WHERE name = :name AND version = 1"),
          (Found("commit_message"),)),
    Fault("prompt-version-tag", _VERSION, "another value of a tag", _tag("'x'", "of"), (Found("tags", "of"),)),
    Fault("prompt-version-mark", _VERSION, "no mark that the version is a prompt's",
          sql("DELETE FROM model_version_tags WHERE name = :name AND version = 2 AND key = 'mlflow.prompt.is_prompt'"),
          (Found("presence", state="missing", name="prompt-version-mark version 2"),)),
    Fault("prompt-config", _VERSION, "another temperature", _tag(
          "replace(value, '0.5', '0.6')", "_mlflow_prompt_model_config"), (Found("model_config", "temperature"),)),
    Fault("prompt-config-order", _VERSION, "the stop sequences in another order", _tag(
          "replace(value, '\"END\", \"STOP\"', '\"STOP\", \"END\"')", "_mlflow_prompt_model_config"),
          tuple(Found("model_config", f"stop_sequences [{place}]") for place in (1, 2))),
    Fault("prompt-format", _VERSION, "another response format", _tag(
          "replace(value, 'object', 'array')", "_mlflow_prompt_response_format"), (Found("response_format", "type"),)),
    Fault("prompt-type", _VERSION, "a text became a chat", _tag("'chat'", "_mlflow_prompt_type"), (Found("type"),)),
)  # fmt: skip
