"""Objects in ways that only old clients, people and accidents find, written by plain REST to the newest server."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import requests

from support.seed import EPOCH, UMLAUT, Seeder, pairs

MARK = {"mlflow.prompt.is_prompt": "true"}
#: A public address at which nothing answers; newer servers refuse others.
HOOK = "https://192.88.99.1/odd?a=1&b=%20"
NAME = 'it\'s a "model" (größe) 100% #1'
RECORDS = 450


class _Odd:
    def __init__(self, uri: str) -> None:
        self.seed = Seeder(uri)
        self.ids: dict[str, str] = {}

    def put(self, uri: str, path: str, content: bytes) -> None:
        stored = quote(f"{uri.removeprefix('mlflow-artifacts:').lstrip('/')}/{path}")
        url = f"{self.seed.uri}/api/2.0/mlflow-artifacts/artifacts/{stored}"
        requests.put(url, data=content, timeout=60).raise_for_status()

    def run(self, experiment: str, name: str) -> tuple[str, str]:
        run = self.ids[name] = self.seed.run(experiment, name)
        return run, str(self.seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])

    # --- registry

    def version(self, name: str, source: str, **more: Any) -> int:
        body = {"name": name, "source": source, **more}
        return int(self.seed.call("POST", "model-versions/create", body)["model_version"]["version"])

    def registry(self, one: str) -> None:
        seed = self.seed
        run, root = self.run(one, "odd trainer")
        for number in range(3):
            self.put(root, f"models/artifacts {number}/MLmodel", f"run_id: {run}\nnumber: {number}\n".encode())
            self.put(root, f"models/artifacts {number}/w.bin", bytes([number]))
        long = {"long": "ü" * 4_000, "empty": "", "mlflow.domain": "x", "größe/1": UMLAUT}
        seed.call("POST", "registered-models/create", {"name": NAME, "tags": pairs(long), "description": UMLAUT * 40})
        # only 3 and 5 are left, and 6 was deleted
        for number in range(1, 7):
            self.version(
                NAME, f"{root}/models/artifacts {number % 3}", run_id=run, tags=pairs({**long, "n": str(number)}),
                description=f"no. {number}",
            )  # fmt: skip
        for number in (1, 2, 4, 6):
            seed.call("DELETE", "model-versions/delete", {"name": NAME, "version": str(number)})
        for alias, number in (("größte", 3), ("newest", 5), ("x" * 200, 3)):
            body = {"name": NAME, "alias": alias, "version": str(number)}
            seed.call("POST", "registered-models/alias", body)
        move = {"name": NAME, "version": "3", "stage": "Staging", "archive_existing_versions": False}
        seed.call("POST", "model-versions/transition-stage", move)
        move = {"name": NAME, "version": "5", "stage": "Archived", "archive_existing_versions": False}
        seed.call("POST", "model-versions/transition-stage", move)
        # made of a version whose model comes later in the list, and one that is made of that
        for name in ("a copy", "copy of a copy", "no versions"):
            seed.call("POST", "registered-models/create", {"name": name})
        self.version("a copy", f"models:/{NAME}/5")
        self.version("a copy", f"runs:/{run}/models/artifacts 1", run_id=run)
        self.version("copy of a copy", "models:/a copy/1")
        # the source was brought there by the tool itself
        came = {"name": "once upon", "version": "7", "run_id": "0" * 32}
        tags = pairs({f"mlflow_exim.field.{key}": value for key, value in came.items()})
        self.version("copy of a copy", f"{root}/models/artifacts 0", run_id=run, tags=tags)
        # of a run that is deleted, and two that nothing but their files tell apart
        gone, below = self.run(one, "gone trainer")
        self.put(below, "model/MLmodel", f"run_id: {gone}\n".encode())
        seed.call("POST", "registered-models/create", {"name": "of the gone"})
        self.version("of the gone", f"{below}/model", run_id=gone)
        seed.delete_run(gone)
        seed.call("POST", "registered-models/create", {"name": "twins"})
        for number in (2, 1, 0, 2):
            self.version("twins", f"{root}/models/artifacts {number}", run_id=run)

    # --- prompts

    def prompts(self, one: str, two: str) -> None:
        seed = self.seed
        for name in ("many", "gap", "config", "bare"):
            tags = {**MARK, "_mlflow_experiment_ids": f",{two},{one},", "owner": UMLAUT}
            body = {"name": name, "tags": pairs(MARK if name == "bare" else tags), "description": f"# {name}"}
            seed.call("POST", "registered-models/create", body)
        for name, count in (("many", 12), ("gap", 4)):
            for number in range(1, count + 1):
                tags = {**MARK, "mlflow.prompt.text": f"{name} {{{{x}}}}" if name == "gap" else f"no. {number}"}
                tags |= {"mine": str(number % 2), "_mlflow_experiment_ids": f",{one},"}
                self.version(name, "dummy-source", tags=pairs(tags), description=f"commit {number % 2}")
        for gone in ("1", "3"):
            seed.call("DELETE", "model-versions/delete", {"name": "gap", "version": gone})
        for alias, version in (("production", "10"), ("staging", "2")):
            seed.call("POST", "registered-models/alias", {"name": "many", "alias": alias, "version": version})
        chat = [{"role": "user", "content": f"{UMLAUT} {{{{x}}}}"}]
        for more in (
            {"mlflow.prompt.text": json.dumps(chat), "_mlflow_prompt_type": "chat"},
            {"mlflow.prompt.text": '{"looks": "like JSON"}', "_mlflow_prompt_type": "text"},
            {"mlflow.prompt.text": "", "_mlflow_prompt_response_format": '"a text"'},
            {"mlflow.prompt.text": "x" * 20_000, "_mlflow_prompt_model_config": "no JSON {"},
        ):
            self.version("config", "prompt-template", tags=pairs({**MARK, **more}))

    # --- traces

    def trace(self, identity: str, experiment: str, spans: list[dict[str, Any]] | None, **more: Any) -> None:
        info = {
            "trace_id": identity,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
            "request_time": "2023-11-14T22:13:20.007Z",
            "state": "OK",
            **more,
        }
        made = self.seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")["trace"]["trace_info"]
        if spans is not None:
            place = made["tags"]["mlflow.artifactLocation"]
            self.put(place, "traces.json", json.dumps({"spans": spans}).encode())

    def traces(self, one: str, two: str) -> None:
        seed = self.seed
        # 2.x made ids without a prefix, and spans in a form of their own
        old: dict[str, Any] = {
            "name": "old", "context": {"span_id": "0x1f", "trace_id": "0xabc"}, "parent_id": None,
            "start_time": EPOCH * 10**6 + 123_456, "end_time": EPOCH * 10**6 + 987_654, "status_code": "OK",
            "status_message": "", "attributes": {"mlflow.spanInputs": '{"a": 1}', "plain": "no JSON", "n": "NaN"},
            "events": [{"name": "e", "timestamp": 1_700_000_000_000_001, "attributes": {"k": "v", "l": [1, 2.5]}}],
        }  # fmt: skip
        self.trace("0123456789abcdef0123456789abcdef", one, [old], tags={"mlflow.traceName": "old"})
        never = {**old, "name": "never ended", "end_time": None, "parent_id": "0x1f", "status_code": "UNSET"}
        odd = {**never, "context": {**old["context"], "span_id": "0xff"}, "attributes": {"big": str(2**70)}}
        self.trace("tr-odd", one, [old, odd], state="ERROR", execution_duration="0.001s", client_request_id="größe/1",
                   request_preview="", response_preview="ü" * 900)  # fmt: skip
        self.trace("tr-" + "a" * 32, one, None, state="IN_PROGRESS")
        self.trace("tr-" + "b" * 32, one, [], trace_metadata={"mlflow.sourceRun": "f" * 32, "mlflow.modelId": "m-none"})
        judged = "tr-" + "c" * 32
        run = self.ids["odd trainer"]
        prompts = json.dumps([{"name": "many", "version": "10"}, {"name": "gap", "version": "4"}])
        self.trace(
            judged, two, [old],
            tags={"mlflow.linkedPrompts": prompts, "long": "x" * 4_000},
            trace_metadata={"mlflow.sourceRun": run, "mlflow.trace.session": UMLAUT, "long": "y" * 250},
        )  # fmt: skip
        body = {"trace_id": judged, "prompt_versions": [{"name": "many", "version": "10"}]}
        seed.call("POST", "traces/link-prompts", body)
        self._assess(judged, run)

    def _assess(self, trace: str, run: str) -> None:
        human, judge = {"source_type": "HUMAN", "source_id": "größe"}, {"source_type": "LLM_JUDGE", "source_id": "j"}
        last = ""
        for number, value in enumerate((True, "text", 0.5, 3, ["a", 1], {"b": {"c": None}}, None)):
            body = {
                "assessment_name": "same", "trace_id": trace, "source": human, "feedback": {"value": value},
                "rationale": f"{number} {UMLAUT}", "span_id": "000000000000001f",
                "metadata": {"mlflow.assessment.sourceRunId": run, "n": str(number)},
                "create_time": f"2023-11-15T00:00:{number:02}.001Z",
                "last_update_time": f"2023-11-16T00:00:{number:02}.001Z",
            }  # fmt: skip
            if number in (2, 3):
                body["overrides"] = last
            last = self._assessment(trace, body)
        error = {"error_code": "RATE", "error_message": "slow down", "stack_trace": "at line 1"}
        for more in (
            {"feedback": {"error": error}, "source": judge},
            {"expectation": {"value": 7}, "source": human},
            {"expectation": {"value": "text"}, "source": human},
            {"expectation": {"serialized_value": {"value": '{"a": [1]}', "serialization_format": "JSON_FORMAT"}},
             "source": {"source_type": "CODE", "source_id": "default"}},
        ):  # fmt: skip
            # two of one millisecond
            self._assessment(trace, {"assessment_name": "other", "trace_id": trace, **more,
                                     "create_time": "2023-11-15T00:01:00.000Z",
                                     "last_update_time": "2023-11-15T00:01:00.000Z"})  # fmt: skip

    def _assessment(self, trace: str, body: dict[str, Any]) -> str:
        made = self.seed.call("POST", f"traces/{trace}/assessments", {"assessment": body}, version="3.0")
        return str(made["assessment"]["assessment_id"])

    # --- datasets, scorers, webhooks

    def others(self, one: str, two: str, gone: str) -> None:
        seed = self.seed
        for number in range(2):
            body = {"name": "of one name", "tags": json.dumps({"n": str(number)}), "experiment_ids": [one]}
            made = seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"]
            self.records(made, [{"inputs": {"n": number}}])
        seed.call("POST", "datasets/create", {"name": "bare"}, version="3.0")
        body = {"name": "large", "experiment_ids": [one, two, gone], "tags": json.dumps({"mlflow.user": "ada"})}
        large = seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"]
        trace = {"source_type": "TRACE", "source_data": {"trace_id": "tr-odd"}}
        document = {"source_type": "DOCUMENT", "source_data": {"doc_uri": "s3://x", "content": UMLAUT}}
        odd: list[dict[str, Any]] = [
            {"inputs": {}, "outputs": {"a": [1, None]}, "source": trace},
            {"inputs": {"größe": UMLAUT, "n": 0.1 + 0.2}, "outputs": "a text", "source": document},
            {"inputs": {"user": True}, "outputs": [1, 2], "tags": {"mlflow.user": "grace"}},
            {"inputs": {"x": 1}, "expectations": {"e": {"f": [True, None]}}},
        ]
        self.records(large, odd + [{"inputs": {"n": n, "t": str(n)}} for n in range(RECORDS)])
        for name, left in (("gaps", (3, 5)), ("größe 1", (1, 2))):
            for number in range(1, max(left) + 1):
                text = json.dumps({"name": name, "number": number, "builtin_scorer_class": "Safety"})
                body = {"experiment_id": two, "name": name, "serialized_scorer": text}
                seed.call("POST", "scorers/register", body, version="3.0")
            for number in set(range(1, max(left) + 1)) - set(left):
                lost = {"experiment_id": two, "name": name, "version": number}
                seed.call("DELETE", "scorers/delete", lost, version="3.0")
        events = [{"entity": "PROMPT_ALIAS", "action": "CREATED"}, {"entity": "MODEL_VERSION_TAG", "action": "SET"}]
        for number in range(2):
            hook = {"name": "of-one-name", "url": f"{HOOK}&n={number}", "events": events[: number + 1]}
            seed.call("POST", "webhooks", {**hook, **({"status": "ACTIVE"} if number else {"description": "d"})})

    def records(self, dataset: str, records: list[dict[str, Any]]) -> None:
        body = {"dataset_id": dataset, "records": json.dumps(records)}
        self.seed.call("POST", f"datasets/{dataset}/records", body, version="3.0")


def seed_odd(uri: str) -> dict[str, str]:
    """Write two experiments, and a deleted one, with odd objects; return ids of runs by name."""
    odd = _Odd(uri)
    one, two, gone = (odd.seed.experiment(name) for name in ("odd one", "odd two", "odd gone"))
    odd.registry(one)
    odd.prompts(one, two)
    odd.traces(one, two)
    odd.trace("tr-" + "d" * 32, gone, [])
    odd.others(one, two, gone)
    # hooks call at the creation of prompts: last, so that none is called
    odd.seed.delete_experiment(gone)
    return odd.ids
