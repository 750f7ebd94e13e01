"""Data that wants to be run, shown or written where it should not be, in every kind of object of the newest server."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import Server
from support.seed import EPOCH, Seeder, pairs


class _Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def texts(web: str, canary: Path) -> Mapping[str, str]:
    """Return hostile texts by name; ``web`` is asked by a browser, ``canary`` made by a shell, that falls for them."""
    return {
        "script": f"<script>fetch('{web}/script');document.title='owned'</script>",
        "image": f'"\'><img src="{web}/image" onerror="document.title=\'owned\'"><svg onload=alert(1)>',
        "frame": f"</td></pre></style><iframe src={web}/frame></iframe><meta http-equiv=refresh content='0;{web}/'>",
        "style": f"</style><style>@import '{web}/css';p{{background:url({web}/back)}}</style><h1>GREEN</h1>",
        "template": "{{ 7 * 7 }}{% include '/etc/passwd' %}${7*7}%(x)s{0.__class__}",
        "shell": f"$(touch {canary})`touch {canary}`;touch {canary};|touch {canary}",
        "cursor": "\x1b[2J\x1b[1;1H\x1b[31mGREEN\x1b]0;owned\x07\x1bc\x9b31m\x85\x90q\x9c",
        "link": "\x1b]8;;http://evil.example/\x07click\x1b]8;;\x07\x1b]52;c;b3duZWQ=\x07\x9d52;c;b3duZWQ=\x9c",
        "lines": "one\r\ntwo\rGREEN\x0b\x0c\x08\x08\u2028\u2029\x85end\tof\n\nit",
        "turned": "invoice\u202efdp.exe \u2066\u2069\u200e\u200f\u200b\ufeff \U000e0041\u00ad\u115f",
        "xml": "]]><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>&y;&#x0;\x01\ufffe",
        "link in text": "[x](javascript:alert(1)) javascript:alert(1) data:text/html,<script>1</script>",
        "long": "l\u202eo\x1b[5mng" * 600,
    }


def deep(levels: int) -> str:
    """Return JSON that is nested as deep as this, around one word."""
    return "[" * levels + '"leaf"' + "]" * levels


#: JSON that ends whatever parses it, and JSON that ends whatever compares what was parsed.
JSON_BOMBS = {"endless": "[" * 3_000, "deep": deep(400), "deeper": deep(900), "map": '{"a": ' * 400 + "1" + "}" * 400}


#: Names of files, as a Linux server's disk takes them.
FILES = (
    "<img src=x onerror=alert(1)>.txt", "\x1b]8;;http:\x07esc.txt", "new\nline.txt", "\u202egnp.exe", "..hidden", "...",
    "CON", "nul.txt", "COM1.log", "dot.", "trailing ", " leading", "a\\..\\..\\b.txt", "C:\\evil.txt", "-rf", "~",
    "$HOME", "$(touch x)", "`id`.txt", ";id;.txt", "%2e%2e%2fup", "%00.txt", "#anchor", "q?a=b&c", "'quote\".txt", "*",
    "|pipe", "c1\x9b31m.txt", "n" * 200,
)  # fmt: skip


def bombs(canary: Path) -> Mapping[str, bytes]:
    """Return what may stand in a file ``MLmodel``, by name."""
    wide = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
    laughs = f"a0: &a0 [lol, lol]\n{wide}\n"
    merged = "\n".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 30))
    chain = "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2_000))
    found = {
        "laughs": laughs,
        "laughs as an id": f"{laughs}model_id: *a8\n",
        "merged": f"a0: &a0 {{k: lol}}\n{merged}\n",
        "chain": f"a0: &a0 [x]\n{chain}\n",
        "itself": "a: &a [*a]\nb: &b {c: *b}\n",
        "python": f'a: !!python/object/apply:os.system ["touch {canary}"]\nb: !!python/name:os.system\n',
        "module": f'!!python/object/new:os.system ["touch {canary}"]',
        "deep list": "a: " + "[" * 50_000,
        "deep map": "{a: " * 50_000,
        "large": "a: " + "x" * 900_000,
        "number": "a: " + "9" * 100_000,
        "sexagesimal": "a: " + ":".join(["59"] * 3_000),
        "keys": "".join(f"k{n}: 1\n" for n in range(5_000)),
        "two documents": "a: 1\n---\nb: 2\n",
        "control characters": "a: \x00\x1b[2J\n",
        "no text": "\ud800",
        "odd keys": "? [a, b]\n: c\n1: x\n'1': y\ntrue: z\n",
    }
    return {name: f"run_id: RUN\n{text}".encode("utf-8", "surrogatepass") for name, text in found.items()}


def seed_hostile(server: Server, web: str, canary: Path) -> Mapping[str, str]:
    """Write everything; return ids of runs by name."""
    seed, hostile = Seeder(server.uri), texts(web, canary)
    every = {name: text for name, text in hostile.items() if name != "long"}
    first = seed.experiment(
        f"hostile {every['image']}{every['link']}{every['turned']}", {"mlflow.note.content": every["frame"]}
    )
    for name in ("../../owned", "/etc/owned", "x/../../..", "CON", every["cursor"]):
        other = seed.experiment(name, hostile)
        seed.end(seed.run(other, name))
    runs: dict[str, str] = {}
    for name, text in every.items():
        run = runs[name] = seed.run(
            first, text, user=text, tags={"mlflow.note.content": text, "mlflow.source.name": text}
        )
        seed.log(run, params={f"p {name}": text}, tags={f"t {name}": text}, metrics=[(name, 1.0, EPOCH, 0)])
        seed.dataset(run, text[:400], name[:30], text[:200], schema=json.dumps([text]), profile=text)
        seed.end(run)
    run = runs["long"] = seed.run(first, "long")
    seed.log(run, params={"long": hostile["long"][:6_000]}, tags={"long": (hostile["long"] * 2)[:8_000]})
    seed.end(run)
    _files(server, seed, first, runs, canary)
    _objects(seed, first, runs, every)
    return runs


def _files(server: Server, seed: Seeder, experiment: str, runs: dict[str, str], canary: Path) -> None:
    """Lay files on the server's disk: no client could send some of these names."""
    unpickled = pickle.dumps(_Runs(str(canary)))
    folder = _folder(server, experiment, runs["script"])
    for name in FILES:
        (folder / name).write_bytes(unpickled)
    (folder / "model.pkl").write_bytes(unpickled)
    for name, content in bombs(canary).items():
        run = runs[f"bomb {name}"] = seed.run(experiment, f"bomb {name}")
        seed.end(run)
        (_folder(server, experiment, run) / "MLmodel").write_bytes(content.replace(b"RUN", run.encode()))


def _folder(server: Server, experiment: str, run: str) -> Path:
    folder = Path(server.artifacts_root) / experiment / run / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _objects(seed: Seeder, experiment: str, runs: Mapping[str, str], every: Mapping[str, str]) -> None:
    marked = pairs({"mlflow.prompt.is_prompt": "true"})
    for number, (name, text) in enumerate(every.items()):
        plain = "".join(letter for letter in text if letter not in "/:.%\"'\0")[:180]
        model = f"{number} {plain}"
        seed.call("POST", "registered-models/create", {"name": model, "description": text, "tags": pairs({name: text})})
        body = {"name": f"prompt-{name.replace(' ', '-')}", "tags": marked, "description": text}
        seed.call("POST", "registered-models/create", body)
        told = [*marked, *pairs({"mlflow.prompt.text": text, name: text})]
        body = {"name": body["name"], "source": "dummy-source", "tags": told, "description": text}
        seed.call("POST", "model-versions/create", body)
        root = f"mlflow-artifacts:/{experiment}/{runs[name]}/artifacts"
        body = {
            "name": model,
            "source": f"{root}/{number}",
            "run_id": runs[name],
            "tags": pairs({name: text}),
            "description": text,
        }
        seed.call("POST", "model-versions/create", body)
        body = {"experiment_id": experiment, "name": f"m{number}", "model_type": text, "source_run_id": runs[name]}
        made = seed.call("POST", "logged-models", {**body, "tags": pairs({name: text}), "params": pairs({name: text})})
        model_id = made["model"]["info"]["model_id"]
        seed.call("PATCH", f"logged-models/{model_id}", {"model_id": model_id, "status": "LOGGED_MODEL_READY"})
        _trace(seed, experiment, number, name, text)
    body = {"name": every["script"][:100], "experiment_ids": [experiment], "tags": json.dumps(dict(every))}
    dataset = seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"]
    records = json.dumps(
        [{"inputs": {name: text}, "expectations": {"e": text}, "tags": {name: text}} for name, text in every.items()]
    )
    seed.call("POST", f"datasets/{dataset}/records", {"dataset_id": dataset, "records": records}, version="3.0")
    scorer = json.dumps({"name": every["script"], "builtin_scorer_class": "Safety", "guidelines": every["shell"]})
    body = {"experiment_id": experiment, "name": every["image"][:100], "serialized_scorer": scorer}
    seed.call("POST", "scorers/register", body, version="3.0")
    _bombs(seed, experiment, runs["script"])


def _bombs(seed: Seeder, experiment: str, run: str) -> None:
    """Put JSON bombs wherever a text is parsed, and the server takes one."""
    marked = {"mlflow.prompt.is_prompt": "true"}
    seed.call("POST", "registered-models/create", {"name": "bombs", "tags": pairs(marked)})
    for number, (name, bomb) in enumerate(JSON_BOMBS.items()):
        tags = {"mlflow.prompt.text": bomb, "_mlflow_prompt_type": "chat" if number % 2 else "text"}
        tags |= {"_mlflow_prompt_model_config": bomb, "_mlflow_prompt_response_format": bomb}
        body = {"name": "bombs", "source": "dummy-source", "tags": pairs({**marked, **tags})}
        seed.call("POST", "model-versions/create", body)
        body = {"experiment_id": experiment, "name": f"bomb-{name}", "source_run_id": run}
        body["tags"] = pairs({"mlflow.modelVersions": bomb})
        model = seed.call("POST", "logged-models", body)["model"]["info"]["model_id"]
        seed.call("PATCH", f"logged-models/{model}", {"model_id": model, "status": "LOGGED_MODEL_READY"})
        _trace(seed, experiment, 100 + number, f"bomb {name}", f"bomb {name}", bomb)
    body = {"name": "bombs", "experiment_ids": [experiment]}
    dataset = seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"]
    record = f'{{"inputs": {{"n": 1, "deep": {deep(400)}}}, "expectations": {{"e": {deep(400)}}}}}'
    seed.call("POST", f"datasets/{dataset}/records", {"dataset_id": dataset, "records": f"[{record}]"}, version="3.0")
    scorer = f'{{"name": "bomb", "builtin_scorer_class": "Safety", "guidelines": {deep(250)}}}'
    body = {"experiment_id": experiment, "name": "bomb", "serialized_scorer": scorer}
    seed.call("POST", "scorers/register", body, version="3.0")


def _trace(seed: Seeder, experiment: str, number: int, name: str, text: str, bomb: str = "[]") -> None:
    identity = f"tr-{number:032x}"
    info = {
        "trace_id": identity,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20.007Z", "state": "OK", "request_preview": text, "response_preview": text,
        "client_request_id": text[:40], "tags": {name: text, "mlflow.traceName": text, "mlflow.linkedPrompts": bomb},
        "trace_metadata": {name: text[:240], "mlflow.trace.sizeStats": bomb},
    }  # fmt: skip
    made = seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")["trace"]["trace_info"]
    span = {
        "name": text, "context": {"span_id": "0x1f", "trace_id": "0xabc"}, "parent_id": None,
        "start_time": EPOCH * 10**6,
        "end_time": EPOCH * 10**6 + 9, "status_code": "ERROR", "status_message": text,
        "attributes": {"mlflow.spanInputs": json.dumps(text), name: text, "mlflow.spanOutputs": bomb},
        "events": [{"name": text, "timestamp": 1_700_000_000_000_001, "attributes": {name: text}}],
    }  # fmt: skip
    place = made["tags"]["mlflow.artifactLocation"].removeprefix("mlflow-artifacts:").lstrip("/")
    url = f"{seed.uri}/api/2.0/mlflow-artifacts/artifacts/{place}/traces.json"
    seed.http.put(url, data=json.dumps({"spans": [span]}).encode(), timeout=60).raise_for_status()
    body = {
        "assessment_name": name, "trace_id": identity, "source": {"source_type": "HUMAN", "source_id": text},
        "feedback": {"value": text}, "rationale": text, "metadata": {name: text},
        "create_time": "2023-11-15T00:00:01.001Z", "last_update_time": "2023-11-16T00:00:01.001Z",
    }  # fmt: skip
    seed.call("POST", f"traces/{identity}/assessments", {"assessment": body}, version="3.0")
    if bomb == JSON_BOMBS["deep"]:
        # the server itself fails at a deeper one
        judged = {key: value for key, value in body.items() if key != "feedback"}
        judged["expectation"] = {"serialized_value": {"value": bomb, "serialization_format": "JSON_FORMAT"}}
        seed.call("POST", f"traces/{identity}/assessments", {"assessment": judged}, version="3.0")


#: What is altered, so that a report has both values to show: table, column, and which rows.
_ALTERED = (
    ("params", "value", "1"),
    ("tags", "value", "key NOT LIKE 'mlflow%'"),
    ("experiment_tags", "value", "key NOT LIKE 'mlflow_exim%'"),
    ("registered_models", "description", "1"),
    ("registered_model_tags", "value", "key NOT LIKE 'mlflow%'"),
    ("model_version_tags", "value", "key NOT LIKE 'mlflow%'"),
    ("logged_model_tags", "tag_value", "tag_key NOT LIKE 'mlflow%'"),
    ("trace_tags", "value", "key NOT LIKE 'mlflow%'"),
    ("assessments", "rationale", "1"),
)


def alter(server: Server) -> None:
    """Append a character to the texts of a target."""
    with closing(sqlite3.connect(server.database_path, timeout=30)) as database, database:
        for table, column in (("scorer_versions", "serialized_scorer"), ("evaluation_dataset_records", "expectations")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, 'leaf', 'Leaf')")
        for table, column, where in _ALTERED:
            database.execute(f"UPDATE {table} SET {column} = {column} || '\x1b[0m!' WHERE {where}")
