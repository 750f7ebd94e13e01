"""Faults of experiments."""

from __future__ import annotations

from faults.fault import Fault, Found, Target, sql

_FIELD = "mlflow_exim.field."
_NOTE = "mlflow.note.content"


def _tag(value: str, key: str) -> str:
    return f"UPDATE experiment_tags SET value = {value} WHERE experiment_id = :experiment AND key = '{key}'"


def _no_tag(key: str) -> str:
    return f"DELETE FROM experiment_tags WHERE experiment_id = :experiment AND key = '{key}'"


def _made_up(key: str, value: str = "'x'") -> str:
    return f"INSERT INTO experiment_tags (key, value, experiment_id) VALUES ('{key}', {value}, :experiment)"


def _lost(target: Target, name: str) -> None:
    experiment = target.id("experiment", name)
    target.database.execute("DELETE FROM experiment_tags WHERE experiment_id = ?", (experiment,))
    target.sql("DELETE FROM experiments WHERE experiment_id = :id", id=experiment)


def _extra(target: Target, name: str) -> None:
    target.api.experiment(name)


def _twice(target: Target, name: str) -> None:
    query = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?"
    tags = dict(target.database.execute(query, (target.id("experiment", name),)))
    target.api.experiment(f"{name} again", tags)


def _sources_place(target: Target, name: str) -> None:
    experiment = target.id("experiment", name)
    query = f"SELECT value FROM experiment_tags WHERE experiment_id = :id AND key = '{_FIELD}artifact_location'"
    place = target.value(query, id=experiment)
    target.sql(
        "UPDATE experiments SET artifact_location = :place WHERE experiment_id = :id", place=place, id=experiment
    )


EXPERIMENTS = (
    Fault("experiment-lost", "experiment", "the experiment is gone", _lost, (Found("presence", state="missing"),)),
    Fault("experiment-made-up", "experiment", "one experiment too many", _extra, (Found("presence", state="extra"),),
          stock=False),
    Fault("experiment-twice", "experiment", "a second copy with the same source tags", _twice,
          (Found("presence", state="duplicate", name="experiment-twice again"),)),
    Fault("experiment-renamed", "experiment", "another name",
          sql("UPDATE experiments SET name = 'Experiment-renamed' WHERE experiment_id = :experiment"),
          (Found("name", "name"),)),
    Fault("experiment-in-trash", "experiment", "the experiment is in the trash",
          sql("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE experiment_id = :experiment"),
          (Found("lifecycle", "lifecycle_stage"),)),
    Fault("experiment-tag-altered", "experiment", "growth became Growth", sql(_tag("'Growth'", "team")),
          (Found("tags", "team"),)),
    Fault("experiment-tag-lost", "experiment", "one tag is gone", sql(_no_tag("team")),
          (Found("tags", "team", "missing"),)),
    Fault("experiment-tag-made-up", "experiment", "one tag too many", sql(_made_up("new")),
          (Found("tags", "new", "extra"),)),
    Fault("experiment-note-altered", "experiment", "another note", sql(_tag("'another'", _NOTE)),
          (Found("note", _NOTE),)),
    Fault("experiment-note-lost", "experiment", "the note is gone", sql(_no_tag(_NOTE)),
          (Found("note", _NOTE, "missing"),)),
    Fault("experiment-source-tag-lost", "experiment", "a source tag is gone", sql(_no_tag(f"{_FIELD}lifecycle_stage")),
          (Found("source_tags", f"{_FIELD}lifecycle_stage", "missing"),)),
    Fault("experiment-source-tag-forged", "experiment", "a source tag says something else",
          sql(_tag("'elsewhere'", f"{_FIELD}artifact_location")),
          (Found("source_tags", f"{_FIELD}artifact_location"),)),
    Fault("experiment-time-forged", "experiment", "the source tag of the creation time is one millisecond later",
          sql(_tag("value + 1", f"{_FIELD}creation_time")),
          (Found("times", "creation_time"), Found("source_tags", f"{_FIELD}creation_time"))),
    Fault("experiment-place-of-source", "experiment", "the experiment keeps its files where the source's does",
          _sources_place, (Found("artifact_location", "artifact_location"),)),
)  # fmt: skip
