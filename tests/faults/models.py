"""Faults of logged models, and of registered models with their versions."""

from __future__ import annotations

from support.seed import pairs

from faults.changes import added, one_bit, removed, rewritten
from faults.fault import EXPERIMENT, MAKER, Fault, Found, Target, sql
from faults.seeding import COMPOSED

_VERSION = "name = :name AND version = 1"
_MODEL = "UPDATE logged_models SET {} WHERE model_id = :model"


def _model_made_up(target: Target, name: str) -> None:
    body = {"experiment_id": target.id("experiment", EXPERIMENT), "name": name, "model_type": "other"}
    target.api.call("POST", "logged-models", body)


def _model_twice(target: Target, name: str) -> None:
    body = {"experiment_id": target.id("experiment", EXPERIMENT), "name": name, "model_type": "pyfunc"}
    body |= {"source_run_id": target.id("run", MAKER)}
    texts = {"tags": pairs({"team": "risk"}), "params": pairs({"depth": "3", COMPOSED: "α"})}
    target.api.call("POST", "logged-models", {**body, **texts})


def _metric(change: str, step: int = 1) -> str:
    return f"UPDATE logged_model_metrics SET {change} WHERE model_id = :model AND metric_step = {step}"


def _file(path: str, state: str = "mismatch") -> Found:
    return Found("files", path, state)


_KIND = "logged_model"
LOGGED_MODELS = (
    Fault("model-lost", _KIND, "the logged model is gone", sql(_MODEL.format("lifecycle_stage = 'deleted'")),
          (Found("presence", state="missing"),)),
    Fault("model-made-up", _KIND, "one logged model too many", _model_made_up, (Found("presence", state="extra"),),
          stock=False),
    Fault("model-twice", _KIND, "a second copy", _model_twice, (Found("presence", state="duplicate"),)),
    Fault("model-type", _KIND, "another type", sql(_MODEL.format("model_type = 'Pyfunc'")), (Found("type"),)),
    Fault("model-status", _KIND, "READY became FAILED", sql(_MODEL.format("status = 3")), (Found("status", "status"),)),
    Fault("model-param-altered", _KIND, "another value of a param",
          sql("UPDATE logged_model_params SET param_value = '' WHERE model_id = :model AND param_key = 'depth'"),
          (Found("params", "depth"),)),
    Fault("model-param-lost", _KIND, "one param is gone",
          sql("DELETE FROM logged_model_params WHERE model_id = :model AND param_key = 'depth'"),
          (Found("params", "depth", "missing"),)),
    Fault("model-tag-altered", _KIND, "another value of a tag",
          sql("UPDATE logged_model_tags SET tag_value = 'Risk' WHERE model_id = :model AND tag_key = 'team'"),
          (Found("tags", "team"),)),
    Fault("model-tag-lost", _KIND, "one tag is gone",
          sql("DELETE FROM logged_model_tags WHERE model_id = :model AND tag_key = 'team'"),
          (Found("tags", "team", "missing"),)),
    Fault("model-metric-ulp", _KIND, "the next double", sql(_metric("metric_value = 0.25000000000000006")),
          (Found("metrics", "acc: value"),)),
    Fault("model-metric-lost", _KIND, "the last point is gone",
          sql("DELETE FROM logged_model_metrics WHERE model_id = :model AND metric_step = 1"),
          (Found("metrics", "acc", "missing"),)),
    Fault("model-metric-step", _KIND, "one point at another step", sql(_metric("metric_step = 7")),
          (Found("metrics", "acc: step"),)),
    Fault("model-metric-run", _KIND, "a point of another run", sql(_metric("run_id = :other")),
          (Found("metrics", "acc: run"),)),
    Fault("model-metric-dataset", _KIND, "a point on another dataset", sql(_metric("dataset_digest = 'other'")),
          (Found("metrics", "acc: dataset_digest"),)),
    Fault("model-run-altered", _KIND, "made by another run", sql(_MODEL.format("source_run_id = :other")),
          (Found("run", "run"),)),
    Fault("model-run-lost", _KIND, "made by no run", sql(_MODEL.format("source_run_id = NULL")),
          (Found("run", "run", "missing"),)),
    Fault("model-file-bit", _KIND, "one bit of a file", rewritten("weights.bin", one_bit, _KIND),
          (_file("weights.bin"),)),
    Fault("model-file-cut", _KIND, "the last byte is cut off",
          rewritten("weights.bin", lambda content: content[:-1], _KIND), (_file("weights.bin"),)),
    Fault("model-file-lost", _KIND, "a file is gone", removed("weights.bin", _KIND),
          (_file("weights.bin", "missing"),)),
    Fault("model-file-made-up", _KIND, "one file too many", added("new.txt", b"", _KIND), (_file("new.txt", "extra"),)),
)  # fmt: skip


def _lose(target: Target, name: str) -> None:
    for table in ("registered_model_aliases", "model_version_tags", "model_versions", "registered_model_tags"):
        target.database.execute(f"DELETE FROM {table} WHERE name = ?", (name,))
    target.sql("DELETE FROM registered_models WHERE name = :name", name=name)


def _registered_made_up(target: Target, name: str) -> None:
    target.api.call("POST", "registered-models/create", {"name": name})


def _version_made_up(target: Target, name: str) -> None:
    model = target.id("logged_model", name)
    body = {"name": name, "source": f"models:/{model}", "model_id": model, "description": "new"}
    target.api.call("POST", "model-versions/create", body)


def _version_twice(target: Target, name: str) -> None:
    model = target.id("logged_model", name)
    body = {"name": name, "source": f"models:/{model}", "model_id": model, "run_id": target.id("run", MAKER)}
    texts = {"tags": pairs({"number": "2"}), "description": "the 2."}
    target.api.call("POST", "model-versions/create", {**body, **texts})


def _renumber(target: Target, name: str, *numbers: tuple[int, int]) -> None:
    for old, new in numbers:
        for table in ("model_versions", "model_version_tags"):
            statement = f"UPDATE {table} SET version = ? WHERE name = ? AND version = ?"
            assert target.database.execute(statement, (new, name, old)).rowcount


def _numbers(target: Target, name: str) -> None:
    tags = "key LIKE 'mlflow_exim.%' AND name = ? AND version = 2"
    target.database.execute(f"DELETE FROM model_version_tags WHERE {tags}", (name,))
    _renumber(target, name, (2, 7))


def _order(target: Target, name: str) -> None:
    _renumber(target, name, (2, 7), (1, 2), (7, 1))
    target.sql("UPDATE registered_model_aliases SET version = 2 WHERE name = :name", name=name)


def _named(name: str) -> tuple[Found, ...]:
    """The server lists a logged model's registered versions in a tag of the model."""
    return (Found("tags", "mlflow.modelVersions", kind="logged_model", name=name),)


_REGISTERED = "registered_model"
_ALIAS = "UPDATE registered_model_aliases SET {} WHERE name = :name"
REGISTERED_MODELS = (
    Fault("registered-lost", _REGISTERED, "the registered model is gone", _lose, (Found("presence", state="missing"),),
          also=tuple(Found("presence", state="missing", kind="model_version", name=f"registered-lost version {number}")
                     for number in (1, 2)) + _named("registered-lost")),
    Fault("registered-made-up", _REGISTERED, "one registered model too many", _registered_made_up,
          (Found("presence", state="extra"),), stock=False),
    Fault("registered-note", _REGISTERED, "another description",
          sql("UPDATE registered_models SET description = 'x' WHERE name = :name"), (Found("description"),)),
    Fault("registered-note-lost", _REGISTERED, "the description is gone",
          sql("UPDATE registered_models SET description = NULL WHERE name = :name"), (Found("description"),)),
    Fault("registered-tag-altered", _REGISTERED, "another value of a tag",
          sql("UPDATE registered_model_tags SET value = 'Gold' WHERE name = :name AND key = 'tier'"),
          (Found("tags", "tier"),)),
    Fault("registered-tag-lost", _REGISTERED, "one tag is gone",
          sql("DELETE FROM registered_model_tags WHERE name = :name AND key = 'tier'"),
          (Found("tags", "tier", "missing"),)),
    Fault("alias-moved", _REGISTERED, "the alias points at another version", sql(_ALIAS.format("version = 2")),
          (Found("aliases", "champion"),)),
    Fault("alias-lost", _REGISTERED, "the alias is gone",
          sql("DELETE FROM registered_model_aliases WHERE name = :name"), (Found("aliases", "champion", "missing"),)),
    Fault("alias-renamed", _REGISTERED, "the alias in another case", sql(_ALIAS.format("alias = 'Champion'")),
          (Found("aliases", "champion", "missing"), Found("aliases", "Champion", "extra"))),
    Fault("alias-dangling", _REGISTERED, "the alias points at a version that there is not",
          sql(_ALIAS.format("version = 9")),
          (Found("resolves", "champion", "missing"), Found("aliases", "champion"))),
)  # fmt: skip


def _set(change: str) -> str:
    return f"UPDATE model_versions SET {change} WHERE {_VERSION}"


_KIND_VERSION = "model_version"
VERSIONS = (
    Fault("version-lost", _KIND_VERSION, "a version is deleted",
          sql("UPDATE model_versions SET current_stage = 'Deleted_Internal' WHERE name = :name AND version = 2"),
          (Found("presence", state="missing", name="version-lost version 2"),), also=_named("version-lost")),
    Fault("version-made-up", _KIND_VERSION, "one version too many", _version_made_up,
          (Found("presence", state="extra", name="version-made-up version 3"),), also=_named("version-made-up")),
    Fault("version-twice", _KIND_VERSION, "a second copy of a version", _version_twice,
          (Found("presence", state="duplicate", name="version-twice version 2"),), also=_named("version-twice")),
    Fault("version-number", _KIND_VERSION, "version 2 became 7, and no source tag keeps it", _numbers,
          (Found("number", "number", name="version-number version 2"),), also=_named("version-number")),
    Fault("version-order", _KIND_VERSION, "two versions in another order", _order,
          (Found("order", "order", name="version-order version 2"),)),
    Fault("version-status", _KIND_VERSION, "READY became FAILED_REGISTRATION",
          sql(_set("status = 'FAILED_REGISTRATION'")), (Found("status", "status"),)),
    Fault("version-note", _KIND_VERSION, "another description", sql(_set("description = 'x'")),
          (Found("description"),)),
    Fault("version-tag", _KIND_VERSION, "another value of a tag",
          sql(f"UPDATE model_version_tags SET value = '9' WHERE {_VERSION} AND key = 'number'"),
          (Found("tags", "number"),)),
    Fault("version-source-tag-forged", _KIND_VERSION, "a source tag says something else",
          sql(f"UPDATE model_version_tags SET value = 'x' WHERE {_VERSION} AND key = 'mlflow_exim.field.status'"),
          (Found("source_tags", "mlflow_exim.field.status"),)),
    Fault("version-source-tag-lost", _KIND_VERSION, "a source tag is gone",
          sql(f"DELETE FROM model_version_tags WHERE {_VERSION} AND key = 'mlflow_exim.field.run_id'"),
          (Found("source_tags", "mlflow_exim.field.run_id", "missing"),)),
    Fault("version-run-link", _KIND_VERSION, "a link to a run", sql(_set("run_link = 'https://x'")),
          (Found("run_link"),)),
    Fault("version-user", _KIND_VERSION, "another user", sql(_set("user_id = 'eve'")), (Found("user"),)),
    Fault("version-stage", _KIND_VERSION, "None became Production", sql(_set("current_stage = 'Production'")),
          (Found("stage"),)),
    Fault("version-run", _KIND_VERSION, "made by another run", sql(_set("run_id = :other")), (Found("run", "run"),)),
    Fault("version-run-lost", _KIND_VERSION, "made by no run", sql(_set("run_id = NULL")),
          (Found("run", "run", "missing"),)),
    Fault("version-model", _KIND_VERSION, "made of another logged model", sql(
          _set("(source, storage_location) = (SELECT 'models:/' || model_id, artifact_location FROM logged_models "
               "WHERE name = 'other')")),
          (Found("logged_model", "logged_model"), Found("source", "source"), Found("storage", "storage_location"),
          Found("files", "which.txt"), Found("files", "MLmodel: model_id"))),
    Fault("version-source", _KIND_VERSION, "the source is a logged model that there is not",
          sql(_set("source = 'models:/m-0'")), (Found("source", "source"), Found("logged_model", "logged_model")),
          ),
    Fault("version-loaded-from", _KIND_VERSION, "it is loaded from the place of another logged model",
          sql(_set("storage_location = (SELECT artifact_location FROM logged_models WHERE name = 'other')")),
          (Found("storage", "storage_location"), Found("files", "which.txt"),
          Found("files", "MLmodel: model_id"))),
    Fault("version-loaded-from-nowhere", _KIND_VERSION, "it is loaded from a bucket that there is not",
          sql(_set("storage_location = 's3://no-such-bucket/x'")),
          (Found("storage", "storage_location"), Found("files", state="unverified"),
          Found("access", state="unverified"))),
    Fault("version-files", _KIND_VERSION, "one bit of a file behind the versions",
          rewritten("weights.bin", one_bit, "logged_model"), (Found("files", "weights.bin"),),
          also=(Found("files", "weights.bin", name="version-files version 2"),
                Found("files", "weights.bin", kind="logged_model", name="version-files"))),
    Fault("version-broken", _KIND_VERSION, "MLmodel cannot be parsed",
          rewritten("MLmodel", lambda content: b"{" + content, "logged_model"), (Found("access", "MLmodel"),),
          also=(Found("files", "MLmodel"),
                *(Found(facet, "MLmodel", name="version-broken version 2") for facet in ("access", "files")),
                Found("files", "MLmodel", kind="logged_model", name="version-broken"))),
    Fault("load-fails", _KIND_VERSION, "the code of the model is damaged",
          rewritten("code/model_loader.py", lambda content: content[:-20], "logged_model"), (Found("loads"),),
          pair="loaded"),
)  # fmt: skip
