"""``--parity-waivers``, end to end on two real servers: from a red audit by a draft to a green one, and back to red."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.seed import Seeder, pairs, seed_small
from support.servers import FreshServer
from support.tool import migrate

from mlflow_parity.__main__ import main
from mlflow_parity.core.verdict import State
from mlflow_parity.reporting.terminal import SUMMARY_LINES
from mlflow_parity.standin.servers import Server

SECRET = "hunter2-hunter2"
#: What the target has as a tag, and the source has not.
REASON = f"see http://bob:{SECRET}@host/2"

#: Facet and key of everything that differs on the target.
DIFFERENT = {
    ("params", "surplus"),
    ("tags", "reason"),
    ("description", ""),
    ("metadata", "asked by"),
    ("template", ""),
    ("records", "record"),
}


def _objects(seed: Seeder, experiment: str, run: str, extra: str) -> None:
    """Write three traces (two of one name), a model version, a prompt and an evaluation dataset; ``extra`` differs."""
    for number, name in enumerate(("ask", "ask", "tell")):
        info = {
            "trace_id": f"tr-{uuid.uuid4().hex}",
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
            "request_time": f"2024-01-01T00:00:0{number}Z",
            # one whose spans are not written yet
            "state": "IN_PROGRESS",
            "tags": {"mlflow.traceName": name},
            "trace_metadata": {"asked by": extra if number == 1 else "ada"},
        }
        seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")
    seed.call("POST", "registered-models/create", {"name": "churn"})
    place = seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"]
    version = {"name": "churn", "source": f"{place}/plots", "run_id": run, "description": f"made by {extra}"}
    seed.call("POST", "model-versions/create", version)
    marker = {"mlflow.prompt.is_prompt": "true"}
    seed.call("POST", "registered-models/create", {"name": "greet", "tags": pairs(marker)})
    prompt = {"name": "greet", "source": "dummy-source", "tags": pairs({**marker, "mlflow.prompt.text": f"Hi {extra}"})}
    seed.call("POST", "model-versions/create", prompt)
    body = {"name": "questions", "experiment_ids": [experiment]}
    dataset = seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"]
    records = json.dumps([{"inputs": {"by": "ada"}}, {"inputs": {"by": extra}}])
    body = {"dataset_id": dataset, "records": records}
    seed.call("POST", f"datasets/{dataset}/records", body, version="3.0")


@pytest.fixture(scope="module")
def servers(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, Server]:
    """A source, and a copy with one tag and one param too many, and objects of other kinds that differ in one facet."""
    source, target = module_server(), module_server()
    seeded = seed_small(source.uri)
    migrate(source.uri, target.uri, tmp_path_factory.mktemp("export"))
    seed = Seeder(target.uri)
    experiments = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    body = {"experiment_ids": [item["experiment_id"] for item in experiments]}
    runs = {run["info"]["run_name"]: run["info"]["run_id"] for run in seed.call("POST", "runs/search", body)["runs"]}
    seed.log(runs["sweep-2"], params={"surplus": "1"})
    seed.log(runs["failed"], tags={"reason": REASON})
    # by hand on both sides, as a migration that the tool has no part in
    main_copy = next(item["experiment_id"] for item in experiments if item["name"] == "churn model")
    _objects(Seeder(source.uri), seeded.experiments["main"], seeded.runs["sweep-2"], "ada lovelace")
    _objects(seed, main_copy, runs["sweep-2"], "eve")
    return source, target


@pytest.fixture(scope="module")
def waivers(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The draft of the red audit, filled in; one reason holds a secret."""
    folder = tmp_path_factory.mktemp("red")
    red = audit(folder, servers[0].uri, servers[1].uri)
    assert red.status == 1, red.output
    assert {(facet, key) for facet, key, _, _ in red.findings()} == DIFFERENT
    file = folder / "waivers.toml"
    assert main(["waive", "--from", str(red.reports / "report.json"), "-o", str(file)]) == 0
    refused = audit(folder / "draft", servers[0].uri, servers[1].uri, "--parity-waivers", str(file))
    assert refused.status == 4
    assert "reason is empty" in refused.output
    draft = file.read_text(encoding="utf-8")
    assert draft.count("\nvalues = [") == red.report["findings_total"]
    assert 'values = [[false, "1"]]' in draft
    # bound to it all the same
    assert SECRET not in draft
    assert re.search(r'key = "reason"\nvalues = \[\[.*, "sha256:[0-9a-f]{64}"\]\]', draft)
    text = draft.replace('owner = ""', 'owner = "Ada"')
    text = text.replace('reason = ""', f'reason = "see http://bob:{SECRET}@host/1"', 1)
    file.write_text(text.replace('reason = ""', 'reason = "agreed"'), encoding="utf-8")
    return file


def covered(done: AuditRun) -> set[tuple[str, str, str]]:
    """Facet, status and count of each waiver in the report."""
    return {(waiver["facet"], waiver["status"], waiver["covered"]) for waiver in done.report["waivers"]}


def run(folder: Path, servers: tuple[Server, Server], file: Path, *more: str) -> AuditRun:
    """Audit with a file of waivers."""
    return audit(folder, servers[0].uri, servers[1].uri, "--parity-waivers", str(file), *more)


@pytest.mark.long
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_waived_is_green_and_listed(
    servers: tuple[Server, Server], waivers: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    """Exit status 0, no failed check; terminal, JSON, HTML and ledger name reason and owner, and no secret."""
    done = run(tmp_path, servers, waivers, *workers)
    assert done.status == 0, done.output
    assert done.failed() == set()
    assert done.report["verdict"] == "green"
    assert done.report["totals"]["waived"] == len(DIFFERENT)
    assert {(facet, status) for facet, status, _ in covered(done)} == {(facet, "used") for facet, _ in DIFFERENT}
    # two traces have the name: the draft named one of them by its id
    [trace] = [waiver["object"] for waiver in done.report["waivers"] if waiver["facet"] == "metadata"]
    assert re.fullmatch("churn model / trace / ask / tr-[0-9a-f]{32}", trace)
    assert len(done.report["waivers_digest"]) == 64
    html = (done.reports / "report.html").read_text(encoding="utf-8")
    notes = [row.note for row in done.rows() if row.state is State.WAIVED]
    for text in (done.output, html, " ".join(notes)):
        assert "agreed" in text
        assert "Ada" in text
    for text in (done.output, html, " ".join(notes), (done.reports / "report.json").read_text(encoding="utf-8")):
        assert SECRET not in text
    summary = done.output.partition(" mlflow-parity =")[2].splitlines()
    assert sum(line.startswith("  waiver: ") for line in summary) >= 2
    assert len([line for line in summary if line.startswith("  ")]) <= SUMMARY_LINES


@pytest.mark.long
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_expired_and_unused_are_red_and_named(
    servers: tuple[Server, Server], waivers: Path, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    """No check fails for the unused one, yet the exit status is 1; the expired one covers nothing."""
    file = tmp_path / "unused.toml"
    more = '[[waiver]]\nobject = ["no such", "run", "*"]\nfacet = "status"\nreason = "r"\nowner = "o"\n'
    more += "expires = 2099-01-01\n"
    file.write_text(waivers.read_text(encoding="utf-8") + more, encoding="utf-8")
    done = run(tmp_path / "unused", servers, file, *workers)
    assert done.status == 1, done.output
    assert done.failed() == set()
    assert done.report["reasons"] == ["the waiver no such / run / * / status matches nothing any more: remove it"]
    assert done.report["reasons"][0] in done.output
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub("expires = [0-9-]+", "expires = 2026-01-01", text), encoding="utf-8")
    done = run(tmp_path / "expired", servers, file, *workers)
    assert done.status == 1, done.output
    checks = {"params", "run_tags_and_note", "trace_info", "model_version_content", "prompt_version_content"}
    assert done.failed() == {f"test_{check}" for check in {*checks, "evaluation_dataset_records"}}
    assert sum("expired on 2026-01-01" in reason for reason in done.report["reasons"]) == len(done.report["waivers"])


@pytest.mark.long
def test_another_value_later_is_red(servers: tuple[Server, Server], waivers: Path, tmp_path: Path) -> None:
    """A tag that was accepted with one value has another: the check fails, and says that the waiver was for another."""
    seed = Seeder(servers[1].uri)
    places = [
        one["experiment_id"] for one in seed.call("POST", "experiments/search", {"max_results": 9})["experiments"]
    ]
    found = seed.call("POST", "runs/search", {"experiment_ids": places})["runs"]
    [failed] = [one["info"]["run_id"] for one in found if one["info"]["run_name"] == "failed"]
    seed.log(failed, tags={"reason": f"{REASON}!"})
    try:
        done = run(tmp_path, servers, waivers)
    finally:
        seed.log(failed, tags={"reason": REASON})
    assert done.status == 1, done.output
    assert done.failed() == {"test_run_tags_and_note"}
    assert {(facet, key) for facet, key, _, _ in done.findings()} == {("tags", "reason")}
    assert "the waiver of Ada until " in done.output
    assert " was drafted for other values" in done.output
    [reason] = [one for one in done.report["reasons"] if one.startswith("the waiver ")]
    assert reason.endswith("/ failed / tags / reason was drafted for other values: look at them, and draft it again or "
                           "remove it")  # fmt: skip
    [waiver] = [one for one in done.report["waivers"] if one["status"] != "used"]
    assert (waiver["facet"], waiver["status"]) == ("tags", "unused")
    assert SECRET not in done.output + json.dumps(done.report)


@pytest.mark.long
def test_a_part_of_the_scope(servers: tuple[Server, Server], waivers: Path, tmp_path: Path) -> None:
    """With ``-k`` the waiver of a facet that was not looked at is named in a note, and nothing fails."""
    done = run(tmp_path, servers, waivers, "-k", "params")
    assert done.status == 0, done.output
    assert ("params", "used", "1") in covered(done)
    assert {status for facet, status, _ in covered(done) if facet != "params"} == {"not looked at"}
    assert any("not all looked at" in note for note in done.report["notes"])


def test_a_malformed_file(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """One line, exit status 4, no report."""
    file = tmp_path / "bad.toml"
    file.write_text("[[waiver]")
    done = run(tmp_path, servers, file)
    assert done.status == 4
    assert [line for line in done.output.splitlines() if line.startswith("ERROR: --parity-waivers: ")]
    assert done.report["verdict"] == "none"
