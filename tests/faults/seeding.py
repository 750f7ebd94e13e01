"""Writes the source of the battery: for each fault an object of its own, with everything that its kind can hold."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from support import warm
from support.seed import EPOCH, Seeder, pairs
from support.seed_objects import HOOK

from faults.fault import EXPERIMENT, MAKER, OTHER, Fault
from mlflow_parity.standin.servers import AT_ONCE, Server, clean_environment

#: A text in composed form, and its decomposed one.
COMPOSED = unicodedata.normalize("NFC", "größe")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
FILES: Mapping[str, bytes] = {
    "notes.txt": b"first\r\nsecond\r\n",
    "latin.txt": COMPOSED.encode(),
    f"{COMPOSED}.txt": b"x",
    "deep/er/weights.bin": bytes(range(200)),
    "empty.bin": b"",
    "model/MLmodel": b"flavors:\n  python_function:\n    loader_module: absent\nrun_id: RUN\n",
}
PARAMS = {
    "lr": "0.1",
    "depth": "7",
    "lines": "one\r\ntwo",
    "text": COMPOSED,
    COMPOSED: "key",
    "long": "x" * 5_999 + "y",
}
POINTS: Sequence[tuple[str, float, int, int]] = (
    *(("loss", 1 / (step + 1.5), EPOCH + step, step) for step in range(12)),
    ("odd", float("nan"), EPOCH, 0),
    ("odd", 0.0, EPOCH + 1, 1),
    ("odd", float("inf"), EPOCH + 2, 2),
    ("odd", 5e-324, EPOCH + 3, 3),
    ("odd", 2.0, EPOCH + 4, 4),
    ("auc", 0.5, EPOCH, 0),
    # of two points of one step and time the greater value is the latest
    ("tied", 0.5, EPOCH, 0),
    ("tied", 0.25, EPOCH, 0),
)
_WRITER = Path(__file__).with_name("write_traces.py")
#: Kinds whose objects hang in another: their faults harm the first version.
CONTAINERS = {"model_version": "registered_model", "prompt_version": "prompt"}
#: Facets for which a run has files.
_FILED = {"artifacts", "artifact_uri"}


def partner(name: str) -> str:
    """Return the name of the second object that a fault between two harms."""
    return f"{name}-2"


def names_of(faults: Sequence[Fault]) -> dict[str, list[str]]:
    """Return the names of the objects that the source must have, by kind."""
    found: dict[str, list[str]] = defaultdict(list)
    for fault in faults:
        if fault.stock:
            kind = CONTAINERS.get(fault.kind, fault.kind)
            found[kind].append(fault.id)
            if any(one.name == partner(fault.id) for one in fault.found):
                found[kind].append(partner(fault.id))
    return found


class Seeding:
    """One seed of an empty server."""

    def __init__(self, server: Server, faults: Sequence[Fault]) -> None:
        self.server, self.faults = server, faults
        self.seed = Seeder(server.uri)
        self.names = names_of(faults)
        self.loaded = {fault.id for fault in faults if fault.pair == "loaded"}
        # ids of experiments are numbers: the target must not happen to give the same ones
        self.seed.experiment("first")
        self.experiment = self.seed.experiment(EXPERIMENT, {"team": "growth"})
        self.runs: dict[str, str] = {}
        self.models: dict[str, str] = {}

    def __call__(self) -> None:
        """Write everything."""
        for name in (MAKER, OTHER):
            self.runs[name] = self.seed.run(self.experiment, name)
        for name in (MAKER, OTHER, *self.names["logged_model"], *self.names["registered_model"]):
            self._logged_model(name)
        self._runs()
        for name in self.names["experiment"]:
            self._experiment(name)
        for name in self.names["registered_model"]:
            self._registered_model(name)
        for name in (OTHER, *self.names["prompt"]):
            self._prompt(name)
        self._traces()
        for name in self.names["evaluation_dataset"]:
            self._dataset(name)
        for name in self.names["scorer"]:
            self._scorer(name)
        for name in self.names["webhook"]:
            self._webhook(name)
        for name in (MAKER, OTHER):
            self.seed.end(self.runs[name])
        with closing(sqlite3.connect(self.server.database_path, timeout=30)) as database, database:
            database.execute("DELETE FROM experiments WHERE name = 'first'")

    def _runs(self) -> None:
        filed = {fault.id for fault in self.faults if {one.facet for one in fault.found} & _FILED}
        filed |= {partner(name) for name in filed}
        for number, name in enumerate(self.names["run"]):
            start = EPOCH + 1_000 * number
            parent = None if name == "parent-made-up" else self.runs[MAKER]
            run = self.runs[name] = self.seed.run(self.experiment, name, start=start, parent=parent)
            tags = {"colour": "blue", "which": name, "lines": "one\r\ntwo", "text": COMPOSED}
            if name != "note-made-up":
                tags["mlflow.note.content"] = f"of {name}"
            points = [*POINTS, ("which", float(number), EPOCH, 0), ("which", number + 0.5, EPOCH + 1, 1)]
            self.seed.log(run, params={**PARAMS, "which": name}, tags=tags, metrics=points)
            self.seed.dataset(run, "rows", f"d{number}", "training", schema='{"a": 1}', profile='{"rows": 7}')
            links = [{"model_id": self.models[MAKER], "step": 3}]
            self.seed.call("POST", "runs/outputs", {"run_id": run, "models": links})
            self.seed.call("POST", "runs/log-inputs", {"run_id": run, "models": [{"model_id": self.models[OTHER]}]})
            if name in filed:
                content = {path: text.replace(b"RUN", run.encode()) for path, text in FILES.items()}
                self._put(f"{self.experiment}/{run}/artifacts", {**content, "which.txt": f"{number:04}".encode()})
            self.seed.end(run, at=start + 500)

    def _put(self, folder: str, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            place = Path(self.server.artifacts_root) / folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def _experiment(self, name: str) -> None:
        body: dict[str, Any] = {"name": name}
        body["tags"] = pairs({"team": "growth", "mlflow.note.content": f"of {name}"})
        if name == "experiment-place-of-source":
            # a place that means the same on both servers
            body["artifact_location"] = "s3://of-the-source/place"
        self.seed.call("POST", "experiments/create", body)

    def _logged_model(self, name: str) -> None:
        run = self.runs[MAKER]
        body: dict[str, Any] = {"experiment_id": self.experiment, "name": name, "model_type": "pyfunc"}
        body |= {"source_run_id": run, "tags": pairs({"team": "risk"}), "params": pairs({"depth": "3", COMPOSED: "α"})}
        info = self.seed.call("POST", "logged-models", body)["model"]["info"]
        model = self.models[name] = str(info["model_id"])
        flavor = "  python_function:\n    loader_module: model_loader\n    code: code\n"
        text = f"flavors:\n{flavor}model_id: {model}\nrun_id: {run}\n"
        files = {"MLmodel": text.encode(), "weights.bin": bytes(range(200)), "which.txt": name.encode()}
        loader = "def _load_pyfunc(path):\n    return type('Model', (), {'predict': lambda self, data: data})()\n"
        files["code/model_loader.py"] = loader.encode()
        self._put(info["artifact_uri"].removeprefix("mlflow-artifacts:/"), files)
        status = {"model_id": model, "status": "LOGGED_MODEL_READY"}
        self.seed.call("PATCH", f"logged-models/{model}", status)
        if name in (MAKER, OTHER):
            return
        points = [{"key": "acc", "value": 1 / (step + 3), "timestamp": EPOCH + step, "step": step} for step in (0, 1)]
        linked = [{**point, "model_id": model, "dataset_name": "d", "dataset_digest": "dd"} for point in points]
        self.seed.call("POST", "runs/log-batch", {"run_id": run, "metrics": linked})

    def _registered_model(self, name: str) -> None:
        body = {"name": name, "tags": pairs({"tier": "gold"}), "description": f"of {name}"}
        self.seed.call("POST", "registered-models/create", body)
        model = self.models[name]
        # loading one takes seconds
        for number in (1,) if name in self.loaded else (1, 2):
            body = {"name": name, "source": f"models:/{model}", "model_id": model, "run_id": self.runs[MAKER]}
            body |= {"tags": pairs({"number": str(number)}), "description": f"the {number}."}
            self.seed.call("POST", "model-versions/create", body)
        self.seed.call("POST", "registered-models/alias", {"name": name, "alias": "champion", "version": "1"})

    def _prompt(self, name: str) -> None:
        marker = {"mlflow.prompt.is_prompt": "true"}
        body = {"name": name, "tags": pairs({**marker, "lang": "en"}), "description": f"of {name}"}
        self.seed.call("POST", "registered-models/create", body)
        config = {"model_name": "m-1", "temperature": 0.5, "stop_sequences": ["END", "STOP"]}
        told = {"_mlflow_prompt_model_config": json.dumps(config), "of": name}
        told["_mlflow_prompt_response_format"] = json.dumps({"type": "object", "properties": {}})
        texts = {1: {"mlflow.prompt.text": f"Hello {{{{ name }}}},\n{COMPOSED}", **told}}
        chat = [{"role": "system", "content": "You are {{ who }}"}, {"role": "user", "content": "{{ question }}"}]
        texts[2] = {"mlflow.prompt.text": json.dumps(chat), "_mlflow_prompt_type": "chat"}
        for number, tags in texts.items():
            body = {"name": name, "source": "dummy-source", "description": f"commit {number}"}
            self.seed.call("POST", "model-versions/create", {**body, "tags": pairs({**marker, **tags})})
        self.seed.call("POST", "registered-models/alias", {"name": name, "alias": "production", "version": "1"})

    def _traces(self) -> None:
        told = {"uri": self.server.uri, "experiment": self.experiment, "run": self.runs[MAKER], "prompt": OTHER}
        told["other"] = self.runs[OTHER]
        arguments = [str(_WRITER), json.dumps({**told, "model": self.models[MAKER], "names": self.names["trace"]})]
        done = warm.run(arguments, kind="mlflow", cwd=_WRITER.parent, env=clean_environment(AT_ONCE))
        assert done.returncode == 0, done.stderr[-3000:]
        with closing(sqlite3.connect(self.server.database_path, timeout=30)) as database, database:
            database.execute("UPDATE trace_info SET client_request_id = 'asked by ' || trace_name")
            model = (self.models[MAKER],)
            add = "INSERT INTO trace_request_metadata (request_id, key, value) SELECT request_id, 'mlflow.modelId', ?"
            database.execute(f"{add} FROM trace_info", model)

    def _dataset(self, name: str) -> None:
        body = {"name": name, "experiment_ids": [self.experiment], "tags": json.dumps({"team": "growth"})}
        dataset = self.seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"]
        source = {"source_type": "HUMAN", "source_data": {"user_name": "ada"}}
        records = [
            {"inputs": {"question": COMPOSED, "n": number}, "outputs": {"o": 1.5}, "expectations": {"answer": [1, 2.5]},
             "tags": {"round": "1"}, "source": source}
            for number in range(3)
        ]  # fmt: skip
        body = {"dataset_id": dataset, "records": json.dumps(records)}
        self.seed.call("POST", f"datasets/{dataset}/records", body, version="3.0")

    def _scorer(self, name: str) -> None:
        for text in ("be kind", "be brief"):
            definition = {"name": name, "aggregations": ["mean"], "builtin_scorer_class": "Guidelines"}
            definition["builtin_scorer_pydantic_data"] = {"guidelines": text}  # type: ignore[assignment]
            body = {"experiment_id": self.experiment, "name": name, "serialized_scorer": json.dumps(definition)}
            self.seed.call("POST", "scorers/register", body, version="3.0")

    def _webhook(self, name: str) -> None:
        events = [{"entity": "MODEL_VERSION", "action": "CREATED"}, {"entity": "REGISTERED_MODEL", "action": "CREATED"}]
        body = {"name": name, "url": HOOK, "events": events, "description": f"of {name}", "status": "DISABLED"}
        self.seed.call("POST", "webhooks", body)
