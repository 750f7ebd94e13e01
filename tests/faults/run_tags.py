"""Faults of runs: tags, notes, source tags, and links to parents, datasets and logged models."""

from __future__ import annotations

from faults.changes import dataset, swapped, tag
from faults.fault import MAKER, Fault, Found, Target, sql
from faults.runs import MOJIBAKE
from faults.seeding import DECOMPOSED, partner

_EXIM = "mlflow_exim.run_info."
_NOTE = "mlflow.note.content"
_PARENT = "mlflow.parentRunId"
_ROWS = "rows (training)"


def _lost(key: str) -> str:
    return f"DELETE FROM tags WHERE run_uuid = :run AND key = '{key}'"


def _made_up(key: str, value: str = "'x'") -> str:
    return f"INSERT INTO tags (key, value, run_uuid) VALUES ('{key}', {value}, :run)"


TAGS = (
    Fault("tag-altered", "run", "blue became Blue", sql(tag("'Blue'", "colour")), (Found("tags", "colour"),)),
    Fault("tag-lost", "run", "one tag is gone", sql(_lost("colour")), (Found("tags", "colour", "missing"),)),
    Fault("tag-made-up", "run", "one tag too many", sql(_made_up("new")), (Found("tags", "new", "extra"),)),
    Fault("tag-key-case", "run", "the key in another case",
          sql("UPDATE tags SET key = 'Colour' WHERE run_uuid = :run AND key = 'colour'"),
          (Found("tags", "colour", "missing"), Found("tags", "Colour", "extra"))),
    Fault("tag-form", "run", "the value in another Unicode form", sql(tag(f"'{DECOMPOSED}'", "text")),
          (Found("tags", "text"),)),
    Fault("tag-encoding", "run", "UTF-8 that was read as Latin-1", sql(tag(f"'{MOJIBAKE}'", "text")),
          (Found("tags", "text"),)),
    Fault("tag-line-ends", "run", "line ends of Windows became those of Unix",
          sql(tag("replace(value, char(13), '')", "lines")), (Found("tags", "lines"),)),
    Fault("tags-swapped", "run", "a tag of two runs swapped", swapped("tags", "value", "key = 'which'"),
          (Found("tags", "which"), Found("tags", "which", name=partner("tags-swapped")))),
    Fault("note-altered", "run", "another note", sql(tag("'another'", _NOTE)), (Found("note", _NOTE),)),
    Fault("note-cut", "run", "the last character of the note is cut off",
          sql(tag("substr(value, 1, length(value) - 1)", _NOTE)), (Found("note", _NOTE),)),
    Fault("note-lost", "run", "the note is gone", sql(_lost(_NOTE)), (Found("note", _NOTE, "missing"),)),
    Fault("note-made-up", "run", "a note where there was none", sql(_made_up(_NOTE)), (Found("note", _NOTE, "extra"),)),
    Fault("source-tag-lost", "run", "a source tag is gone", sql(_lost(f"{_EXIM}status")),
          (Found("source_tags", f"{_EXIM}status", "missing"),)),
    Fault("source-tag-forged", "run", "a source tag says something else", sql(tag("'FAILED'", f"{_EXIM}status")),
          (Found("source_tags", f"{_EXIM}status"),)),
    Fault("source-tag-made-up", "run", "a source tag of a tag that there was not",
          sql(_made_up("mlflow_exim.mlflow_tag.source.name")),
          (Found("source_tags", "mlflow_exim.mlflow_tag.source.name", "extra"),)),
)  # fmt: skip


def _still_the_sources(target: Target, name: str) -> None:
    query = f"SELECT value FROM tags WHERE run_uuid = :run AND key = '{_EXIM}run_id'"
    parent = target.value(query, run=target.id("run", MAKER))
    statement = f"UPDATE tags SET value = :parent WHERE run_uuid = :run AND key = '{_PARENT}'"
    target.sql(statement, parent=parent, run=target.id("run", name))


def _input_added(target: Target, name: str) -> None:
    target.api.dataset(target.id("run", name), "more", "d", "training")


def _link(destination: str, change: str) -> str:
    """Return a change of the run's link to a logged model that it used or made."""
    return f"UPDATE inputs SET {change} WHERE destination_type = '{destination}' AND source_id = :run"


def _other_model(destination: str, name: str) -> str:
    model = f"(SELECT model_id FROM logged_models WHERE name = '{name}')"
    return _link(destination, f"destination_id = {model}")


LINKS = (
    Fault("parent-altered", "run", "another run is the parent", sql(tag(":other", _PARENT)),
          (Found("parent", _PARENT),)),
    Fault("parent-of-source", "run", "the parent is still the source's run", _still_the_sources,
          (Found("parent", _PARENT),)),
    Fault("parent-itself", "run", "the run is its own parent", sql(tag(":run", _PARENT)), (Found("parent", _PARENT),)),
    Fault("parent-lost", "run", "the parent is gone", sql(_lost(_PARENT)), (Found("parent", _PARENT, "missing"),)),
    Fault("parent-made-up", "run", "a parent where there was none", sql(_made_up(_PARENT, ":maker")),
          (Found("parent", _PARENT, "extra"),)),
    Fault("input-lost", "run", "the dataset input is gone",
          sql("DELETE FROM inputs WHERE destination_id = :run AND source_type = 'DATASET'"),
          (Found("inputs", _ROWS, "missing"),)),
    Fault("input-made-up", "run", "one dataset input too many", _input_added,
          (Found("inputs", "more (training)", "extra"),)),
    Fault("input-digest", "run", "another digest of the dataset", dataset("digest", "other"),
          (Found("inputs", f"{_ROWS}: digest"),)),
    Fault("input-source", "run", "another source of the dataset", dataset("dataset_source", "{}"),
          (Found("inputs", f"{_ROWS}: source"),)),
    Fault("input-schema", "run", "one type in the dataset's schema", dataset("dataset_schema", '{"a": 1.0}'),
          (Found("inputs", f"{_ROWS}: schema"),)),
    Fault("input-profile", "run", "one number in the dataset's profile", dataset("dataset_profile", '{"rows": 8}'),
          (Found("inputs", f"{_ROWS}: profile"),)),
    Fault("input-context", "run", "training became test", sql(
          "UPDATE input_tags SET value = 'test' WHERE input_uuid = "
          "(SELECT input_uuid FROM inputs WHERE destination_id = :run AND source_type = 'DATASET')"),
          (Found("inputs", f"{_ROWS}: tags"),)),
    Fault("model-output-lost", "run", "the link to the logged model that it made is gone",
          sql("DELETE FROM inputs WHERE source_id = :run AND destination_type = 'MODEL_OUTPUT'"),
          (Found("model_outputs", "<model> at step 3", "missing"),)),
    Fault("model-output-other", "run", "the link leads to another logged model", sql(
          _other_model("MODEL_OUTPUT", "other")), (Found("model_outputs", "<model> at step 3", "missing"),
          Found("model_outputs", "<model> at step 3", "extra"))),
    Fault("model-output-step", "run", "the logged model was made at another step",
          sql(_link("MODEL_OUTPUT", "step = 4")), (Found("model_outputs", "<model> at step 3"),)),
    Fault("model-input-lost", "run", "the link to the logged model that it used is gone",
          sql("DELETE FROM inputs WHERE source_id = :run AND destination_type = 'MODEL_INPUT'"),
          (Found("model_inputs", "<model> at step 0", "missing"),)),
    Fault("model-input-other", "run", "the link leads to another logged model", sql(
          _other_model("MODEL_INPUT", "maker")), (Found("model_inputs", "<model> at step 0", "missing"),
          Found("model_inputs", "<model> at step 0", "extra"))),
)  # fmt: skip
