"""Writes models that load, or fail to, in the way that they are told."""

from __future__ import annotations

#: Registers one model for each loader: it loads, needs a library, fails, or takes too long.
SEED_MODELS = """
import json, sys
from pathlib import Path
import mlflow
from mlflow import MlflowClient
mlflow.set_tracking_uri(sys.argv[1]); mlflow.set_registry_uri(sys.argv[1])
client = MlflowClient()
experiment = client.create_experiment("loadable")
run = client.create_run(experiment).info.run_id
ids = {}
for name, body in json.loads(sys.argv[2]).items():
    folder = Path(name); (folder / "code").mkdir(parents=True)
    (folder / "code" / f"{name}_loader.py").write_text(f"def _load_pyfunc(path):\\n    {body}\\n")
    (folder / "MLmodel").write_text(
        f"flavors:\\n  python_function:\\n    loader_module: {name}_loader\\n    code: code\\n")
    model = client.create_logged_model(experiment, name=name, source_run_id=run)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model(name)
    client.create_model_version(name, f"models:/{model.model_id}", run_id=run, model_id=model.model_id)
    client.set_registered_model_alias(name, "best", "1")
    ids[name] = model.model_id
client.register_prompt("greet", "hi")
client.set_prompt_alias("greet", "live", 1)
client.set_terminated(run)
print(json.dumps(ids))
"""
