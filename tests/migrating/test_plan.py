"""``migrate.py plan`` tells and touches nothing; a scope is the same for plan, migration and audit."""

from __future__ import annotations

import json
import os
import pty
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import warm
from support.audits import AuditRun
from support.looking import Source, state
from support.migrations import ROOT, migrate_py
from support.proxy import Exchange, Fault, proxying
from support.seed import EPOCH, Seeder
from support.servers import FreshServer

from mlflow_parity.kinds.rules import contract
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.known_losses import UNMOVABLE
from mlflow_parity.standin.servers import Server, clean_environment

#: Requests that only read although they are POSTs.
_SEARCHES = ("/search", "/get-history-bulk")


def names_of(server: Server) -> dict[str, set[str]]:
    """Return the names of what a server holds."""
    seed = Seeder(server.uri)
    is_prompt = "tags.`mlflow.prompt.is_prompt` = 'true'"

    def listed(verb: str, path: str, key: str, **body: Any) -> set[str]:
        answer = seed.call(verb, path, {"max_results": 100, **body}, version=body.pop("api", "2.0"))
        return {one["name"] for one in answer.get(key, [])}

    return {
        "experiments": listed("POST", "experiments/search", "experiments") - {"Default"},
        "models": listed("GET", "registered-models/search", "registered_models"),
        "prompts": listed("GET", "registered-models/search", "registered_models", filter=is_prompt),
        "webhooks": listed("GET", "webhooks", "webhooks"),
    }


def survey_size(document: Mapping[str, Any]) -> int:
    """Return the bytes of all files that a plan found."""
    return sum(int(one["size"]) for one in document["experiments"])


@pytest.mark.long
def test_a_plan_tells_all_and_touches_nothing(module_server: FreshServer, tmp_path: Path) -> None:
    """Counts, sizes, time, differences by the contract and what cannot be moved; both servers are as they were."""
    source, target = Source(module_server()).server, module_server()
    before = [state(server) for server in (source, target)]
    with proxying(source.uri) as ours, proxying(target.uri) as theirs:
        done = migrate_py(tmp_path, "plan", "--source-uri", ours.uri, "--target-uri", theirs.uri, "--include-deleted")
        asked = [*ours.seen, *theirs.seen]
    assert done.status == 0, done.output[-3000:]
    assert [state(server) for server in (source, target)] == before
    assert len(ours.seen) > 10 < len(theirs.seen) + 10
    assert not [one for one in asked if one.method != "GET" and not one.path.endswith(_SEARCHES)]
    # nothing but the plan itself, no work folder
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == ["reports", "reports/plan.json"]

    document = json.loads((tmp_path / "reports" / "plan.json").read_text())
    assert document["counts"]["run"] == 3
    assert document["counts"]["model_version"] == 4
    other = next(one for one in document["experiments"] if one["name"] == "other")
    assert (other["runs"], other["points"], other["files"], other["size"]) == (1, 50, 1, len(b"one line\n"))
    estimate = document["estimate"]
    assert estimate["seconds"] > 5
    assert estimate["read"]["requests"] > 30 < estimate["written"]["requests"] + 30
    # all that is read is written, and what stands beside files is little
    assert survey_size(document) <= estimate["read"]["bytes"]
    assert survey_size(document) <= estimate["written"]["bytes"] < survey_size(document) + 1_000_000
    assert any("model versions" in one for one in estimate["missed"])
    assert document["estimate"]["disk"] > other["size"]
    kinds = set(document["counts"])
    # every rule by which an object of these kinds may differ, but for those that only others' imports need
    told = {one["id"] for one in document["rules"]}
    assert {"run.id", "run.metrics.infinity", "experiment.times.creation", "webhook.secret"} <= told
    assert told <= set(contract.BY_ID)
    assert {one["what"] for one in document["unmovable"]} == {one.what for one in UNMOVABLE if one.kind in kinds}

    text = done.output
    assert re.search(r"other +1 +1 +50 +1 +9 B", text)
    assert "3 experiments, 3 runs, 2 logged models" in text
    assert "Disk: the export needs about" in text
    assert re.search(r"Requests: about \d+ to the source \(.+\) and \d+ to the target \(.+\): an estimate", text)
    assert "Time: about" in text
    assert "Not in the estimate: " in text
    # first what stands in the way, or what was found; last, and in ten lines, what the contract lets differ
    parts = [text.index(head) for head in ("What was found", "What would move", "What stays behind or differs")]
    assert parts == sorted(parts)
    last = text[parts[-1] :].strip().splitlines()
    assert 5 < len(last) <= 11
    assert "  run: links of metric points to logged models and datasets (the audit cannot see it)" in last
    assert any("rules of the contract (experiments" in line for line in last)
    assert last[-1] == "  each with its reason: reports/plan.json"


def _seed_scope(server: Server) -> None:
    """Two experiments with a registered model each, and what belongs to none."""
    seed = Seeder(server.uri)
    for name, model in (("shop", "churn"), ("lab", "price")):
        experiment = seed.experiment(name)
        run = seed.run(experiment, f"run of {name}")
        seed.log(run, params={"a": "1"}, metrics=[("m", 0.5, EPOCH, step) for step in range(20)])
        seed.artifact(run, "model/data.bin", os.urandom(300_000))
        seed.end(run)
        made = seed.call("POST", "logged-models", {"experiment_id": experiment, "name": "lm", "source_run_id": run})
        info = made["model"]["info"]
        seed.call(
            "PATCH", f"logged-models/{info['model_id']}", {"model_id": info["model_id"], "status": "LOGGED_MODEL_READY"}
        )
        for registered in (model, "both"):
            if registered not in names_of(server)["models"]:
                seed.call("POST", "registered-models/create", {"name": registered})
            body = {"name": registered, "run_id": run, "model_id": info["model_id"]}
            seed.call("POST", "model-versions/create", {**body, "source": f"models:/{info['model_id']}"})
    mark = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    seed.call("POST", "registered-models/create", {"name": "greeting", "tags": [mark]})
    text = {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}
    seed.call("POST", "model-versions/create", {"name": "greeting", "source": "dummy-source", "tags": [mark, text]})
    event = {"entity": "MODEL_VERSION", "action": "CREATED"}
    seed.call("POST", "webhooks", {"name": "hook", "url": "https://192.88.99.1/hook", "events": [event]})


@pytest.fixture(scope="module")
def scoped(module_server: FreshServer) -> Server:
    """A source of which only a part is wanted."""
    server = module_server()
    _seed_scope(server)
    return server


def on_a_terminal(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run ``migrate.py`` with a terminal for its errors; return exit status, output, and what the terminal got."""
    ours, theirs = pty.openpty()
    shown = b""
    with (folder / "output").open("w+b") as output:
        process = warm.begin(
            [str(ROOT / "migrate.py"), *arguments], kind="mlflow", cwd=folder, env=clean_environment(env),
            stdout=output.fileno(), stderr=theirs, child_python=warm.stand_in_python("audit"),
        )  # fmt: skip
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:
                break  # nobody has it open any more
            shown += piece
        os.close(ours)
        status = process.wait(60)
    return status, (folder / "output").read_text(), shown.decode()


@pytest.mark.long
def test_one_scope_for_plan_migration_and_audit(scoped: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """``--experiments`` with ``--models`` under new names: only these are moved, and audited; the rest is told."""
    target = fresh_server()
    (tmp_path / "names.toml").write_text('[experiments]\nshop = "store"\n[models]\nchurn = "churn 2"\n')
    options = ["--source-uri", scoped.uri, "--target-uri", target.uri, "--experiments", "sh*", "--models", "churn"]
    options += ["--rename", "names.toml", "--batch-size", "1", "--workers", "2", "--keep-export"]
    planned = migrate_py(tmp_path, "plan", *options)
    assert planned.status == 0, planned.output
    assert "In all: 1 experiment, 1 run, 1 logged model, 1 registered model, 1 model version;" in planned.output
    out = "left out: experiments other than sh*; registered models and prompts other than churn; evaluation datasets"
    assert out in planned.output
    wide = {"COLUMNS": "200"}  # both sides on one line, and the last line is of both
    status, output, shown = on_a_terminal(tmp_path, "run", *options, "--work-dir", "work", env=wide)
    assert status == 0, output + shown
    assert names_of(target) == {"experiments": {"store"}, "models": {"churn 2"}, "prompts": set(), "webhooks": set()}
    assert "Migrated: 1 experiment, 1 run, 1 logged model, 1 registered model, 1 model version" in output
    # progress: counts of what there is, bytes and rates, on one line
    for side in (r"read 1/1 exp,", "written"):
        assert re.search(side + r" 1/1 runs, 20 points \d+/s, 1 files 0\.3/0\.3 MB \d+\.\d/s", shown), shown
    report = json.loads((tmp_path / "reports" / "report.json").read_text())
    assert (report["scope"]["experiments"], report["scope"]["models"]) == (["sh*"], ["churn"])
    assert report["scope"]["partial"] is True
    assert "registered models and prompts that --parity-models leaves out" in report["scope"]["left_out"]
    done = AuditRun(0, "", tmp_path / "reports")
    assert {row.kind for row in done.rows()} == {
        "experiment", "run", "logged_model", "registered_model", "model_version"
    }  # fmt: skip
    # the bytes are kept: it is a backup; nothing of what is out of scope was read
    checked = migrate_py(tmp_path, "check", "--work-dir", "work")
    assert (checked.status, "whole" in checked.output) == (0, True), checked.output
    kept = [file for file in (tmp_path / "work" / "export" / "files").rglob("*") if file.is_file()]
    assert len(kept) == 1

    # without --models an experiment comes without any registered model
    again = [
        "--source-uri",
        scoped.uri,
        "--target-uri",
        fresh_server().uri,
        "--experiments",
        "lab",
        "--work-dir",
        "two",
    ]
    alone = migrate_py(tmp_path, "run", *again, "--discard-export")
    assert alone.status == 0, alone.output[-3000:]
    assert "Migrated: 1 experiment, 1 run, 1 logged model\n" in alone.output
    assert not [file for file in (tmp_path / "two" / "export" / "files").rglob("*") if file.is_file()]


@pytest.mark.long
def test_another_scope_reads_and_moves_the_rest(scoped: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """First one model with all experiments, whose audit is green, then everything in the same work folder."""
    target = fresh_server()
    ends = ["--source-uri", scoped.uri, "--target-uri", target.uri, "--work-dir", "work"]
    first = migrate_py(tmp_path, "run", *ends, "--models", "both")
    assert first.status == 0, first.output[-3000:]
    assert names_of(target) == {
        "experiments": {"shop", "lab"}, "models": {"both"}, "prompts": set(), "webhooks": {"hook"}
    }  # fmt: skip
    second = migrate_py(tmp_path, "run", *ends, "--no-verify")
    assert second.status == 0, second.output[-3000:]
    assert names_of(target)["models"] == {"both", "churn", "price"}
    assert names_of(target)["prompts"] == {"greeting"}
    journal = Journal(next((tmp_path / "work").glob("journal*.sqlite")))
    assert set(journal.ids("registered_model")) == {"both", "churn", "price"}
    journal.close()


@pytest.mark.long
def test_the_disk_holds_one_batch(fresh_server: FreshServer, tmp_path: Path) -> None:
    """With ``--discard-export`` the bytes of two experiments at most, whenever a file is sent; none at the end."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    for number in range(6):
        run = seed.run(seed.experiment(f"e{number}"), "run")
        seed.artifact(run, "data.bin", os.urandom(100_000))
        seed.end(run)
    files = tmp_path / "work" / "export" / "files"
    held: list[int] = []

    def measure(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        held.append(sum(file.stat().st_size for file in files.rglob("*") if file.is_file()))
        exchange.answer(code, headers, body)

    with proxying(target.uri) as front:
        front.faults.append(Fault("/data.bin", measure, 99))
        ends = ["--source-uri", source.uri, "--target-uri", front.uri, "--work-dir", "work"]
        done = migrate_py(
            tmp_path, "run", *ends, "--experiments", "e*", "--discard-export", "--batch-size", "2", "--no-verify"
        )
    assert done.status == 0, done.output[-3000:]
    assert held == [200_000] * 6
    assert not [file for file in files.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--batch-size", "0"], 2, "--batch-size: 0 is out of range"),
        (["--workers", "65"], 2, "--workers: 65 is out of range"),
        (["--keep-export", "--discard-export"], 2, "not allowed with argument"),
        (["--rename", "nowhere.toml"], 2, "nowhere.toml"),
        (["--models", "nobody*"], 2, "--models names what the source does not have: 'nobody*'"),
        (["--experiments", "nobody*"], 2, "--experiments names what the source does not have: 'nobody*'"),
    ],
)
def test_bad_options_are_one_line(
    scoped: Server, fresh_server: FreshServer, tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    """What is wrong is said, and nothing was written to the target."""
    target = fresh_server()
    done = migrate_py(tmp_path, "run", "--source-uri", scoped.uri, "--target-uri", target.uri, *options)
    assert done.status == status
    assert said in done.output
    assert "Traceback" not in done.output
    assert names_of(target)["experiments"] == set()
