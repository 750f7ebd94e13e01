"""Faults planted in a copy of a real server with every kind of object: each is found and named, nothing else is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.seed_many import seed_many
from support.servers import FreshServer

from mlflow_parity.kinds import KINDS
from mlflow_parity.promises import PROMISES
from mlflow_parity.standin.servers import Server

COUNT = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """One change in the target's database or store, and what it must be found as.

    ``sql`` may name ``:model``, ``:trace`` (ids by ``number``) and ``:number``; ``name`` is the object that is blamed.
    """

    id: str
    kind: str
    number: int
    facet: str
    state: str
    sql: str
    key: str = ""


FAULTS = (
    Fault("model gone", "logged_model", 0, "presence", "missing",
          "UPDATE logged_models SET lifecycle_stage = 'deleted' WHERE model_id = :model"),
    Fault("model type", "logged_model", 1, "type", "mismatch",
          "UPDATE logged_models SET model_type = 'other' WHERE model_id = :model"),
    Fault("model status", "logged_model", 2, "status", "mismatch",
          "UPDATE logged_models SET status = 3 WHERE model_id = :model"),
    Fault("model param cut", "logged_model", 3, "params", "mismatch",
          "UPDATE logged_model_params SET param_value = '' WHERE model_id = :model AND param_key = 'größe'", "größe"),
    Fault("model tag lost", "logged_model", 4, "tags", "missing",
          "DELETE FROM logged_model_tags WHERE model_id = :model AND tag_key = 'team'", "team"),
    Fault("model metric one ulp", "logged_model", 5, "metrics", "mismatch",
          "UPDATE logged_model_metrics SET metric_value = metric_value + 2.3e-16 * 4 WHERE model_id = :model", "acc"),
    Fault("model's run", "logged_model", 6, "run", "mismatch",
          "UPDATE logged_models SET source_run_id = :user WHERE model_id = :model", "run"),
    Fault("registered model's note", "registered_model", 0, "description", "mismatch",
          "UPDATE registered_models SET description = 'x' WHERE name = 'churn 00'"),
    Fault("registered model's tag", "registered_model", 1, "tags", "missing",
          "DELETE FROM registered_model_tags WHERE name = 'churn 01'", "tier"),
    Fault("alias moved", "registered_model", 2, "aliases", "mismatch",
          "UPDATE registered_model_aliases SET version = 3 WHERE name = 'churn 02'", "champion"),
    Fault("alias lost", "registered_model", 3, "aliases", "missing",
          "DELETE FROM registered_model_aliases WHERE name = 'churn 03'", "champion"),
    Fault("version gone", "model_version", 4, "presence", "missing",
          "UPDATE model_versions SET current_stage = 'Deleted_Internal' WHERE name = 'churn 04' AND version = 3"),
    Fault("version's note", "model_version", 5, "description", "mismatch",
          "UPDATE model_versions SET description = 'x' WHERE name = 'churn 05' AND version = 3"),
    Fault("version's stage", "model_version", 6, "stage", "mismatch",
          "UPDATE model_versions SET current_stage = 'Staging' WHERE name = 'churn 06' AND version = 3"),
    Fault("version's tag", "model_version", 7, "tags", "mismatch",
          "UPDATE model_version_tags SET value = '9' WHERE name = 'churn 07' AND version = 3", "v"),
    Fault("version's run", "model_version", 8, "run", "mismatch",
          "UPDATE model_versions SET run_id = :user WHERE name = 'churn 08' AND version = 3", "run"),
    Fault("version status", "model_version", 9, "status", "mismatch",
          "UPDATE model_versions SET status = 'FAILED_REGISTRATION' WHERE name = 'churn 09' AND version = 3"),
    Fault("trace gone", "trace", 0, "presence", "missing", "DELETE FROM trace_info WHERE request_id = :trace"),
    Fault("trace state", "trace", 1, "state", "mismatch",
          "UPDATE trace_info SET status = 'ERROR' WHERE request_id = :trace"),
    Fault("trace time", "trace", 2, "times", "mismatch",
          "UPDATE trace_info SET execution_time_ms = execution_time_ms + 1 WHERE request_id = :trace", "duration"),
    Fault("trace preview", "trace", 3, "previews", "mismatch",
          "UPDATE trace_info SET request_preview = 'x' WHERE request_id = :trace", "request"),
    Fault("trace tag", "trace", 4, "tags", "extra",
          "INSERT INTO trace_tags (key, value, request_id) VALUES ('more', 'x', :trace)", "more"),
    Fault("trace metadata", "trace", 5, "metadata", "missing",
          "DELETE FROM trace_request_metadata WHERE request_id = :trace AND key = 'mlflow.user'", "mlflow.user"),
    Fault("one span's content", "trace", 6, "spans", "mismatch",
          "UPDATE spans SET content = replace(content, 'looked up', 'looked UP') WHERE trace_id = :trace", "events"),
    Fault("one span gone", "trace", 7, "spans", "missing",
          "DELETE FROM spans WHERE trace_id = :trace AND name = 'child'", "child"),
    Fault("one assessment", "trace", 8, "assessments", "mismatch",
          "UPDATE assessments SET rationale = 'murky' WHERE trace_id = :trace AND rationale = 'clear'", "rationale"),
    Fault("trace's run", "trace", 9, "run", "mismatch",
          "UPDATE trace_request_metadata SET value = :user WHERE request_id = :trace AND key = 'mlflow.sourceRun'",
          "run"),
    Fault("prompt's tag", "prompt", 1, "tags", "mismatch",
          "UPDATE registered_model_tags SET value = 'de' WHERE name = 'greet-01' AND key = 'lang'", "lang"),
    Fault("prompt's alias", "prompt", 2, "aliases", "mismatch",
          "UPDATE registered_model_aliases SET version = 2 WHERE name = 'greet-02'", "production"),
    Fault("prompt's template", "prompt_version", 3, "template", "mismatch",
          "UPDATE model_version_tags SET value = value || ' ' WHERE name = 'greet-03' AND version = 1 AND "
          "key = 'mlflow.prompt.text'"),
    Fault("prompt's commit message", "prompt_version", 4, "commit_message", "mismatch",
          "UPDATE model_versions SET description = 'x' WHERE name = 'greet-04' AND version = 2"),
    Fault("prompt's model configuration", "prompt_version", 5, "model_config", "mismatch",
          "UPDATE model_version_tags SET value = replace(value, '0.1', '0.2') WHERE name = 'greet-05' AND version = 2 "
          "AND key = '_mlflow_prompt_model_config'", "temperature"),
    Fault("prompt's response format", "prompt_version", 6, "response_format", "mismatch",
          "DELETE FROM model_version_tags WHERE name = 'greet-06' AND key = '_mlflow_prompt_response_format'"),
    Fault("prompt version gone", "prompt_version", 7, "presence", "missing",
          "UPDATE model_versions SET current_stage = 'Deleted_Internal' WHERE name = 'greet-07' AND version = 2"),
    Fault("dataset gone", "evaluation_dataset", 0, "presence", "missing",
          "DELETE FROM evaluation_datasets WHERE name = 'questions 00'"),
    Fault("dataset's tag", "evaluation_dataset", 1, "tags", "mismatch",
          "UPDATE evaluation_dataset_tags SET value = 'x' WHERE key = 'a' AND dataset_id = "
          "(SELECT dataset_id FROM evaluation_datasets WHERE name = 'questions 01')", "a"),
    Fault("dataset's record", "evaluation_dataset", 2, "records", "missing",
          "DELETE FROM evaluation_dataset_records WHERE outputs IS NOT NULL AND outputs != '{}' AND dataset_id = "
          "(SELECT dataset_id FROM evaluation_datasets WHERE name = 'questions 02')", "record"),
    Fault("dataset's experiment", "evaluation_dataset", 3, "experiments", "missing",
          "DELETE FROM entity_associations WHERE source_id = "
          "(SELECT dataset_id FROM evaluation_datasets WHERE name = 'questions 03')"),
    Fault("scorer gone", "scorer", 0, "presence", "missing",
          "DELETE FROM scorer_versions WHERE scorer_id = "
          "(SELECT scorer_id FROM scorers WHERE scorer_name = 'tone 00')"),
    Fault("scorer's definition", "scorer", 1, "definition", "mismatch",
          "UPDATE scorer_versions SET serialized_scorer = replace(serialized_scorer, 'be kind', 'be rude') WHERE "
          "scorer_id = (SELECT scorer_id FROM scorers WHERE scorer_name = 'tone 01')"),
)  # fmt: skip
#: Name of the blamed object.
NAMES: dict[str, Callable[[Fault], str]] = {
    "logged_model": lambda fault: f"model {fault.number:02}",
    "registered_model": lambda fault: f"churn {fault.number:02}",
    "model_version": lambda fault: f"churn {fault.number:02} version 3",
    "trace": lambda fault: f"trace {fault.number:02}",
    "prompt": lambda fault: f"greet-{fault.number:02}",
    "prompt_version": lambda fault: f"greet-{fault.number:02} version {1 if fault.number in (3, 6) else 2}",
    "evaluation_dataset": lambda fault: f"questions {fault.number:02}",
    "scorer": lambda fault: f"tone {fault.number:02}",
}


@dataclass(frozen=True, slots=True)
class Copied:
    """A source, its copy, and the ids that the seed gave."""

    source: Server
    target: Server
    ids: dict[str, Any]


@pytest.fixture(scope="module")
def copied(module_server: FreshServer) -> Copied:
    """A server with every kind of object, and another on a copy of its database and artifacts."""
    source, target = module_server(), module_server()
    ids = seed_many(source.uri, COUNT)
    with (
        closing(sqlite3.connect(source.database_path, timeout=30)) as old,
        closing(sqlite3.connect(target.database_path, timeout=30)) as new,
    ):
        old.backup(new)
    shutil.copytree(source.artifacts_root, target.artifacts_root, dirs_exist_ok=True)
    return Copied(source, target, ids)


@pytest.fixture(scope="module")
def whole(copied: Copied, tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """The audit of the undamaged copy."""
    return audit(tmp_path_factory.mktemp("whole"), copied.source.uri, copied.target.uri)


@pytest.fixture(scope="module")
def broken(copied: Copied, whole: AuditRun, tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """The audit after all faults were planted, each on an object of its own."""
    with closing(sqlite3.connect(copied.target.database_path, timeout=30, isolation_level=None)) as database:
        for fault in FAULTS:
            given = {"model": copied.ids["models"][fault.number], "trace": copied.ids["traces"][fault.number],
                     "user": copied.ids["user"]}  # fmt: skip
            assert database.execute(fault.sql, given).rowcount > 0, fault.id
    [file] = Path(copied.target.artifacts_root).glob(f"**/{copied.ids['models'][7]}/**/weights.bin")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    return audit(tmp_path_factory.mktemp("broken"), copied.source.uri, copied.target.uri, "--max-findings", "1000")


def test_an_undamaged_copy_is_green(whole: AuditRun) -> None:
    """Every kind was there, every promise but webhooks' judged something."""
    assert whole.status == 0, whole.output
    kinds = {row["facet"].split()[0] for row in whole.report["coverage"] if row["total"]}
    assert kinds == {"experiment", "run", *KINDS} - {"webhook"}
    assert whole.report["sides"]["source"]["objects"] == whole.report["sides"]["target"]["objects"]
    assert whole.report["sides"]["source"]["objects"]["traces"] == COUNT
    assert whole.report["sides"]["source"]["objects"]["model versions"] == 2 * COUNT
    assert "none on either side: webhooks" in whole.report["notes"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.id))
def test_a_fault_is_found_and_named(broken: AuditRun, fault: Fault) -> None:
    """The object, facet, key and state; and nothing else of that object's facet."""
    name = NAMES[fault.kind](fault)
    found = [
        finding
        for finding in broken.report["findings"]
        if (finding["kind"], finding["name"], finding["facet"]) == (fault.kind, name, fault.facet)
    ]
    assert found, broken.output
    states = {finding["state"] for finding in found}
    assert fault.state in states or (fault.facet != "presence" and states <= {"mismatch", "missing", "extra"})
    assert any(fault.key in finding["key"] for finding in found), found


def test_nothing_else_is_blamed(copied: Copied, broken: AuditRun) -> None:
    """Beside the faults only what hangs on a lost object: links to it, the versions made of it, its files."""
    wanted = {(fault.kind, NAMES[fault.kind](fault), fault.facet) for fault in FAULTS}
    wanted.add(("logged_model", "model 07", "files"))
    found = {(one["kind"], one["name"], one["facet"]) for one in broken.report["findings"]}
    rest = found - wanted
    # model 00 is gone: both runs named it, and so did the versions that are made of it
    lost = {("run", "maker", "model_outputs"), ("run", "user", "model_inputs")}
    # version 3 of churn 04 is gone: the logged model that it was made of names it in a tag
    lost.add(("logged_model", "model 06", "tags"))
    allowed = {("model_version", facet) for facet in ("logged_model", "source", "files", "access")}
    assert {one for one in rest - lost if (one[0], one[2]) not in allowed} == set()
    blamed = {one[1] for one in rest if one[0] == "model_version"}
    made_of = {f"churn {(place - version) % COUNT:02} version {version + 1}"
               for place in (0, 7) for version in (0, 2)}  # fmt: skip
    assert blamed <= made_of, blamed - made_of
    assert lost <= found


def test_each_fault_fails_the_check_that_owns_it(broken: AuditRun) -> None:
    """The checks that fail are those whose facets were harmed."""
    harmed = {(one["kind"], one["facet"]) for one in broken.report["findings"]}
    owners = {f"test_{one.name}" for one in PROMISES if any((one.kind, facet) in harmed for facet in one.facets)}
    assert broken.failed() >= owners
