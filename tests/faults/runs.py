"""Faults of runs: what they are, whether they are there, their params."""

from __future__ import annotations

from support.seed import EPOCH

from faults.changes import param, swapped, tag
from faults.fault import EXPERIMENT, Fault, Found, Target, sql
from faults.seeding import COMPOSED, DECOMPOSED, partner

_EXIM = "mlflow_exim.run_info."
#: UTF-8 that was read as Latin-1.
MOJIBAKE = COMPOSED.encode().decode("latin-1")


def lose_run(target: Target, name: str) -> None:
    """Remove a run for good."""
    run = target.id("run", name)
    for table in ("params", "metrics", "latest_metrics", "tags"):
        target.database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run,))
    target.database.execute("DELETE FROM inputs WHERE ? IN (source_id, destination_id)", (run,))
    target.sql("DELETE FROM runs WHERE run_uuid = :run", run=run)


def _twice(target: Target, name: str) -> None:
    query = f"SELECT value FROM tags WHERE run_uuid = :run AND key = '{_EXIM}run_id'"
    original = str(target.value(query, run=target.id("run", name)))
    copy = target.api.run(target.id("experiment", EXPERIMENT), name, tags={f"{_EXIM}run_id": original})
    target.api.end(copy)


def _ghost(target: Target, name: str) -> None:
    target.api.end(target.api.run(target.id("experiment", EXPERIMENT), name, start=EPOCH + 1))


def _half(target: Target, name: str) -> None:
    run = target.api.run(target.id("experiment", EXPERIMENT), name, start=EPOCH + 2)
    target.api.log(run, params={"lr": "0.1"})


def _elsewhere(target: Target, name: str) -> None:
    experiment = target.id("experiment", "experiment-tag-altered")
    run = target.id("run", name)
    target.sql("UPDATE runs SET experiment_id = :experiment WHERE run_uuid = :run", experiment=experiment, run=run)


RUNS = (
    Fault("run-lost", "run", "the run is gone", lose_run, (Found("presence", state="missing"),)),
    Fault("run-twice", "run", "a second copy with the same source tag", _twice,
          (Found("presence", state="duplicate"),)),
    Fault("run-ghost", "run", "a run that the source does not have", _ghost, (Found("presence", state="extra"),),
          stock=False),
    Fault("run-half", "run", "half a run, as an interrupted import leaves it", _half,
          (Found("presence", state="extra"),), stock=False),
    Fault("run-elsewhere", "run", "the run is in another experiment", _elsewhere,
          (Found("presence", state="missing"), Found("presence", state="extra"))),
    Fault("run-renamed", "run", "another name", sql("UPDATE runs SET name = 'new name' WHERE run_uuid = :run"),
          (Found("name", "run_name"),)),
    Fault("run-name-case", "run", "the name in another case",
          sql("UPDATE runs SET name = 'Run-name-case' WHERE run_uuid = :run"),
          (Found("name", "run_name"),)),
    Fault("run-names-swapped", "run", "the names of two runs swapped", swapped("runs", "name", "1"),
          (Found("name", "run_name"), Found("name", "run_name", name=partner("run-names-swapped")))),
    Fault("run-status", "run", "FINISHED became FAILED", sql("UPDATE runs SET status = 'FAILED' WHERE run_uuid = :run"),
          (Found("status", "status"),)),
    Fault("run-running", "run", "FINISHED became RUNNING",
          sql("UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = :run"),
          (Found("status", "status"),)),
    Fault("run-in-trash", "run", "the run is in the trash",
          sql("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = :run"),
          (Found("lifecycle", "lifecycle_stage"),)),
    Fault("run-start", "run", "the start time and its source tag are one millisecond later", sql(
          "UPDATE runs SET start_time = start_time + 1 WHERE run_uuid = :run", tag("value + 1", f"{_EXIM}start_time")),
          (Found("times", "start_time"), Found("source_tags", f"{_EXIM}start_time"))),
    Fault("run-end", "run", "no end time, and a source tag that says so", sql(
          "UPDATE runs SET end_time = NULL WHERE run_uuid = :run", tag("'None'", f"{_EXIM}end_time")),
          (Found("times", "end_time"), Found("source_tags", f"{_EXIM}end_time"))),
    Fault("run-user", "run", "another user in the tag and the source tag", sql(
          tag("'eve'", "mlflow.user"), tag("'eve'", "mlflow_exim.mlflow_tag.user")),
          (Found("user", "mlflow.user"), Found("source_tags", "mlflow_exim.mlflow_tag.user"))),
    Fault("run-user-id", "run", "another user id, and a source tag that says so", sql(
          "UPDATE runs SET user_id = 'eve' WHERE run_uuid = :run", tag("'eve'", f"{_EXIM}user_id")),
          (Found("user", "user_id"), Found("source_tags", f"{_EXIM}user_id"))),
)  # fmt: skip

PARAMS = (
    Fault("param-altered", "run", "0.1 became 0.10", sql(param("'0.10'")), (Found("params", "lr"),)),
    Fault("param-last-digit", "run", "0.1 became 0.10000000000000002", sql(param("'0.10000000000000002'")),
          (Found("params", "lr"),)),
    Fault("param-retyped", "run", "7 became 7.0", sql(param("'7.0'", "depth")), (Found("params", "depth"),)),
    Fault("param-emptied", "run", "an empty value", sql(param("''")), (Found("params", "lr"),)),
    Fault("param-space", "run", "a space at the end", sql(param("value || ' '")), (Found("params", "lr"),)),
    Fault("param-lost", "run", "one param is gone", sql("DELETE FROM params WHERE run_uuid = :run AND key = 'lr'"),
          (Found("params", "lr", "missing"),)),
    Fault("param-made-up", "run", "one param too many",
          sql("INSERT INTO params (key, value, run_uuid) VALUES ('new', '1', :run)"),
          (Found("params", "new", "extra"),)),
    Fault("param-key-case", "run", "the key in another case",
          sql("UPDATE params SET key = 'LR' WHERE run_uuid = :run AND key = 'lr'"),
          (Found("params", "lr", "missing"), Found("params", "LR", "extra"))),
    Fault("param-key-form", "run", "the key in another Unicode form",
          sql(f"UPDATE params SET key = '{DECOMPOSED}' WHERE run_uuid = :run AND key = '{COMPOSED}'"),
          (Found("params", COMPOSED, "missing"), Found("params", DECOMPOSED, "extra"))),
    Fault("param-form", "run", "the value in another Unicode form", sql(param(f"'{DECOMPOSED}'", "text")),
          (Found("params", "text"),)),
    Fault("param-encoding", "run", "UTF-8 that was read as Latin-1", sql(param(f"'{MOJIBAKE}'", "text")),
          (Found("params", "text"),)),
    Fault("param-line-ends", "run", "line ends of Windows became those of Unix",
          sql(param("replace(value, char(13), '')", "lines")), (Found("params", "lines"),)),
    Fault("param-cut", "run", "the last of 6,000 characters is cut off", sql(param("substr(value, 1, 5999)", "long")),
          (Found("params", "long"),)),
    Fault("params-swapped", "run", "a param of two runs swapped", swapped("params", "value", "key = 'which'"),
          (Found("params", "which"), Found("params", "which", name=partner("params-swapped")))),
)  # fmt: skip
