"""``--parity-rename``: an object that was renamed on purpose is paired with its copy; nothing else is excused by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from support.audits import audit
from support.memory import Store, run_audit
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.audit.renames import Renames, load_renames
from mlflow_parity.audit.side import Side, uncounted
from mlflow_parity.core.errors import SnapshotError, UsageProblem
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.reading import open_reader
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.snapshot.store import Snapshot


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "is not TOML"),
        ("", "renames nothing"),
        ("[experiments]\n", "renames nothing"),
        ("[runs]\na = 'b'", "has 'runs'"),
        ("experiments = 1", "has 'experiments'"),
        ("[models]\na = 1", "the new name of 'a' in [models] is no text"),
        ("[models]\na = ' '", "the new name of 'a' in [models] is no text"),
        ("[experiments]\na = 'c'\nb = 'c'", "two objects in [experiments] are to be called 'c'"),
        ("[models]\na = 'c'\n[prompts]\nb = 'c'", "they share one registry"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    """Each mistake has its own line, which names the file."""
    file = tmp_path / "renames.toml"
    file.write_text(text)
    with pytest.raises(UsageProblem) as refused:
        load_renames(str(file))
    assert told in str(refused.value)
    assert "renames.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there() -> None:
    """Said in one line."""
    with pytest.raises(UsageProblem, match="nowhere cannot be read"):
        load_renames("nowhere")


def _fill(uri: str, experiment: str, model: str, prompt: str, *, text: str = "Hi") -> None:
    seed = Seeder(uri)
    made = seed.experiment(experiment)
    run = seed.run(made, "only")
    seed.end(run)
    seed.call("POST", "registered-models/create", {"name": model, "description": "same"})
    root = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
    stored = f"{uri}/api/2.0/mlflow-artifacts/artifacts/{root.removeprefix('mlflow-artifacts:').lstrip('/')}/model/x"
    requests.put(stored, data=b"weights", timeout=30).raise_for_status()
    seed.call("POST", "model-versions/create", {"name": model, "source": f"{root}/model", "run_id": run})
    seed.call("POST", "registered-models/alias", {"name": model, "alias": "champion", "version": "1"})
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    seed.call("POST", "registered-models/create", {"name": prompt, "tags": tags})
    tags.append({"key": "mlflow.prompt.text", "value": text})
    seed.call("POST", "model-versions/create", {"name": prompt, "source": "dummy-source", "tags": tags})


def _tell_source(source: str, old: str, target: str, new: str) -> None:
    """Write where an experiment comes from, as a migration does."""
    here, there = (
        Seeder(uri).call("GET", "experiments/get-by-name", {"experiment_name": name})["experiment"]
        for uri, name in ((source, old), (target, new))
    )
    for key in ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time"):
        Seeder(target).set_experiment_tag(there["experiment_id"], f"mlflow_exim.field.{key}", str(here[key]))


@pytest.mark.long
def test_renamed_objects_are_their_copies(module_server: FreshServer, tmp_path: Path) -> None:
    """Green with the file, red without; a value that differs is red all the same; the report says it."""
    source, target = module_server(), module_server()
    _fill(source.uri, "old experiment", "old model", "old-prompt")
    _fill(target.uri, "new experiment", "new model", "new-prompt")
    seed = Seeder(target.uri)
    _tell_source(source.uri, "old experiment", target.uri, "new experiment")
    file = tmp_path / "renames.toml"
    file.write_text(
        '[experiments]\n"old experiment" = "new experiment"\n[models]\n"old model" = "new model"\n'
        '[prompts]\n"old-prompt" = "new-prompt"\n'
    )
    with_file = audit(tmp_path / "with", source.uri, target.uri, "--parity-rename", str(file))
    assert with_file.status == 0, with_file.output[-3000:]
    [note] = [note for note in with_file.report["notes"] if "--parity-rename" in note]
    assert "1 experiments, 1 models, 1 prompts" in note
    without = audit(tmp_path / "without", source.uri, target.uri)
    assert without.status == 1
    # the old names of some, borne by strangers
    seed.experiment("old experiment")
    seed.call("POST", "registered-models/create", {"name": "old model"})
    seed.call("PATCH", "registered-models/update", {"name": "new model", "description": "other"})
    red = audit(tmp_path / "red", source.uri, target.uri, "--parity-rename", str(file))
    rows = {(row.kind, row.name, row.facet, row.state.value) for row in red.red_rows()}
    assert rows == {
        ("experiment", "old experiment (not renamed)", "presence", "extra"),
        ("registered_model", "old model", "description", "mismatch"),
        ("registered_model", "old model (not renamed)", "presence", "extra"),
    }


@pytest.mark.long
def test_a_snapshot_keeps_the_names_it_was_read_under(module_server: FreshServer, tmp_path: Path) -> None:
    """It stands for the server only together with the file that gave them."""
    source, target = module_server(), module_server()
    for server, name in ((source, "old"), (target, "new")):
        seed = Seeder(server.uri)
        seed.end(seed.run(seed.experiment(name), "only"))
    _tell_source(source.uri, "old", target.uri, "new")
    file, other = tmp_path / "renames.toml", tmp_path / "other.toml"
    file.write_text('[experiments]\nold = "new"\n')
    other.write_text('[experiments]\nold = "new"\n[models]\na = "b"\n')
    kept = tmp_path / "kept"
    read = audit(
        tmp_path / "0", source.uri, target.uri, "--parity-rename", str(file), "--parity-snapshot-dir", str(kept)
    )
    assert read.status == 0, read.output[-3000:]

    again = audit(tmp_path / "1", source.uri, str(kept / "target"), "--parity-rename", str(file))
    assert again.status == 0, again.output[-3000:]
    assert any("--parity-rename" in note for note in again.report["notes"])
    for number, given in enumerate(([], ["--parity-rename", str(other)])):
        told = audit(tmp_path / f"refused {number}", source.uri, str(kept / "target"), *given)
        assert told.status == 4
        assert "the target's snapshot holds the names of a --parity-rename file (SHA-256" in told.output
        assert "give that file with --parity-rename" in told.output
    as_source = audit(tmp_path / "2", str(kept / "target"), target.uri)
    assert as_source.status == 4
    assert "the source's snapshot holds the names of a --parity-rename file" in as_source.output
    own_names = audit(tmp_path / "3", target.uri, str(kept / "source"), "--parity-rename", str(file))
    assert own_names.status == 4
    assert "--parity-rename: a snapshot cannot be read under other names; give the target's server" in own_names.output


def test_an_unfinished_snapshot_of_other_names_is_not_gone_on_with(module_server: FreshServer, tmp_path: Path) -> None:
    """Half of it under the names of one file and half under those of another would be neither."""
    server = module_server()
    seed = Seeder(server.uri)
    seed.end(seed.run(seed.experiment("new"), "only"))
    location = parse_location(server.uri, option="--target-uri", custom_endpoint=None)
    asked = Asked("digest", include_deleted=False)
    origin = Origin(location.display, location.kind, "", {})
    Snapshot.create(tmp_path, origin, [], replace(asked, renames="ab" * 32))
    reader = open_reader(location, "target", 1)
    try:
        side = Side("target", location, reader)
        with pytest.raises(SnapshotError, match=r"--parity-rename \(a file with SHA-256 abababababababab…\), not"):
            side.read(tmp_path, [], [], "digest", include_deleted=False, count=uncounted, asked=asked)
    finally:
        reader.close()


def _linking(new: str, named: str) -> Store:
    """A model and a prompt called ``new``, and what names the first version of what is called ``named``."""
    used = {"mlflow.linkedPrompts": json.dumps([{"name": f"p{named}", "version": "1"}])}
    run = Run("1" * 32, "1", "r", "FINISHED", 1, 2, "ada", "active", "mlflow-artifacts:/1/r", {}, used, {}, ())
    experiment = Experiment("1", "shop", "active", "mlflow-artifacts:/1", 5, 6, {})
    times = {"creation": 5, "update": 6}
    first = {"number": 1, "tags": {}, "times": times}
    version = {**first, "status": {"status": "READY"}, "source": "mlflow-artifacts:/1/x"}
    made_of = {**version, "source": f"models:/m{named}/1"}
    trace = {
        "state": "OK",
        "times": {"request": 5},
        "tags": used,
        "metadata": used,
        "run_links": [],
        "spans": [],
        "assessments": [],
    }
    names = json.dumps([{"name": f"m{named}", "version": 1}])
    objects = [
        Entity("registered_model", f"m{new}", f"m{new}", "", 5, {"tags": {}, "aliases": {}, "times": times}),
        Entity("model_version", f"m{new}/1", f"m{new} version 1", f"m{new}", 5, version),
        Entity("registered_model", "next", "next", "", 5, {"tags": {}, "aliases": {}, "times": times}),
        Entity("model_version", "next/1", "next version 1", "next", 5, made_of),
        Entity("prompt", f"p{new}", f"p{new}", "", 5, {"tags": {}, "aliases": {}, "times": times}),
        Entity("prompt_version", f"p{new}/1", f"p{new} version 1", f"p{new}", 5, first),
        Entity("trace", "tr-1", "ask", "1", 5, {**trace, "prompts": [f"p{named}/1"]}),
        Entity("logged_model", f"m-{'3' * 32}", "net", "1", 5,
               {"type": "", "status": {}, "params": {}, "metrics": [], "tags": {"mlflow.modelVersions": names, **used},
                "run": run.run_id, "times": times}),
    ]  # fmt: skip
    return Store([experiment], [run], objects=objects)


def test_a_link_that_still_names_the_old_name_is_red() -> None:
    """What was renamed is linked by its new name; the old one leads nowhere, or to a stranger."""
    renames = Renames(models={"mold": "mnew"}, prompts={"pold": "pnew"})
    good = run_audit(_linking("old", "old"), _linking("new", "new"), renames=renames)
    assert good.result.green, good.found
    dead = run_audit(_linking("old", "old"), _linking("new", "old"), renames=renames)
    assert {(name, facet) for name, facet, _, _ in dead.found} == {
        ("ask", "prompts"),
        ("ask", "tags"),
        ("ask", "metadata"),
        ("r", "tags"),
        ("net", "tags"),
        ("next version 1", "source"),
    }
