"""``--rename``: an object that was renamed on purpose is paired with its copy; nothing else is excused by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from support.audits import audit
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.errors import UsageProblem
from mlflow_parity.renames import load_renames


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
    with pytest.raises(UsageProblem, match="cannot read nowhere"):
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


def test_renamed_objects_are_their_copies(module_server: FreshServer, tmp_path: Path) -> None:
    """Green with the file, red without; a value that differs is red all the same; the report says it."""
    source, target = module_server(), module_server()
    _fill(source.uri, "old experiment", "old model", "old-prompt")
    _fill(target.uri, "new experiment", "new model", "new-prompt")
    seed = Seeder(target.uri)
    # as a migration tells where the experiment comes from
    here, there = (
        Seeder(uri).call("GET", "experiments/get-by-name", {"experiment_name": name})["experiment"]
        for uri, name in ((source.uri, "old experiment"), (target.uri, "new experiment"))
    )
    for key in ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time"):
        seed.set_experiment_tag(there["experiment_id"], f"mlflow_exim.field.{key}", str(here[key]))
    file = tmp_path / "renames.toml"
    file.write_text(
        '[experiments]\n"old experiment" = "new experiment"\n[models]\n"old model" = "new model"\n'
        '[prompts]\n"old-prompt" = "new-prompt"\n'
    )
    with_file = audit(tmp_path / "with", source.uri, target.uri, "--rename", str(file))
    assert with_file.status == 0, with_file.output[-3000:]
    [note] = [note for note in with_file.report["notes"] if "--rename" in note]
    assert "1 experiments, 1 models, 1 prompts" in note
    without = audit(tmp_path / "without", source.uri, target.uri)
    assert without.status == 1
    # the old name of one, borne by a stranger
    seed.call("POST", "registered-models/create", {"name": "old model"})
    seed.call("PATCH", "registered-models/update", {"name": "new model", "description": "other"})
    red = audit(tmp_path / "red", source.uri, target.uri, "--rename", str(file))
    rows = {(row.kind, row.name, row.facet, row.state.value) for row in red.red_rows()}
    assert rows == {
        ("registered_model", "old model", "description", "mismatch"),
        ("registered_model", "old model (not renamed)", "presence", "extra"),
    }


def test_a_snapshot_is_not_renamed(module_server: FreshServer, tmp_path: Path) -> None:
    """A folder holds the names that it holds; the line says what to give instead."""
    (tmp_path / "kept").mkdir()
    file = tmp_path / "renames.toml"
    file.write_text('[models]\na = "b"\n')
    told = audit(tmp_path, "http://127.0.0.1:9", str(tmp_path / "kept"), "--rename", str(file))
    assert told.status == 4
    assert "--rename: a snapshot cannot be read under other names" in told.output
