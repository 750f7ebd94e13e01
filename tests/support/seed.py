"""Realistic data, written by plain REST so that servers of every version take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

#: First millisecond of the seeded history; everything else is counted from here, so that two seeds are equal.
EPOCH = 1_700_000_000_000
UMLAUT = "Größe/κλμ-数据 🚀"
KEY = "größe/数据 1"
LONG = "x" * 5_990 + "→ende"
#: Files of a run: nested, empty, binary, and named so that quoting matters.
FILES: Mapping[str, bytes] = {
    "notes.txt": b"first line\nsecond line\n",
    "empty.bin": b"",
    "plots/loss curve.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "plots/deep/er/values.bin": bytes(range(256)) * 64,
}
#: A non-ASCII name; servers 2.16 to 3.4 cannot give such a file back, so it is not among ``FILES``.
UNICODE_FILES: Mapping[str, bytes] = {"plots/größe-数据.txt": "Größe\n".encode()}


@dataclass(frozen=True, slots=True)
class Seeded:
    """What a seed wrote: ids by the names that it gave."""

    experiments: Mapping[str, str]
    runs: Mapping[str, str]


@dataclass(slots=True)
class Seeder:
    """Writes to one tracking server with proxied artifacts (``uri``), by REST alone."""

    uri: str
    http: requests.Session = field(default_factory=requests.Session)

    def call(self, verb: str, path: str, body: Mapping[str, Any], *, version: str = "2.0") -> Any:
        """Call ``/api/<version>/mlflow/<path>`` and return the answer's JSON."""
        url = f"{self.uri}/api/{version}/mlflow/{path}"
        if verb == "GET":
            answer = self.http.get(url, params=dict(body), timeout=60)
        else:
            answer = self.http.request(verb, url, json=body, timeout=60)
        assert answer.ok, f"{verb} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else {}

    def experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Create an experiment and return its id."""
        return str(self.call("POST", "experiments/create", {"name": name, "tags": pairs(tags or {})})["experiment_id"])

    def set_experiment_tag(self, experiment: str, key: str, value: str) -> None:
        """Set one tag of an experiment."""
        self.call("POST", "experiments/set-experiment-tag", {"experiment_id": experiment, "key": key, "value": value})

    def run(
        self,
        experiment: str,
        name: str,
        *,
        start: int = EPOCH,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        user: str = "ada",
    ) -> str:
        """Create a run (RUNNING until :meth:`end`) and return its id."""
        all_tags = {"mlflow.user": user, **({"mlflow.parentRunId": parent} if parent else {}), **(tags or {})}
        body = {"experiment_id": experiment, "run_name": name, "start_time": start, "user_id": user}
        return str(self.call("POST", "runs/create", {**body, "tags": pairs(all_tags)})["run"]["info"]["run_id"])

    def log(
        self,
        run: str,
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[tuple[str, float, int, int]] = (),
    ) -> None:
        """Write params, tags and metric points (key, value, timestamp in ms, step)."""
        if params or tags:
            body = {"run_id": run, "params": pairs(params or {}), "tags": pairs(tags or {})}
            self.call("POST", "runs/log-batch", body)
        points = [{"key": k, "value": _json_double(v), "timestamp": t, "step": s} for k, v, t, s in metrics]
        for first in range(0, len(points), 1_000):
            self.call("POST", "runs/log-batch", {"run_id": run, "metrics": points[first : first + 1_000]})

    def dataset(self, run: str, name: str, digest: str, context: str | None, **more: str) -> None:
        """Log one dataset input."""
        tags = [{"key": "mlflow.data.context", "value": context}] if context is not None else []
        dataset = {"name": name, "digest": digest, "source_type": "local", "source": '{"uri": "data.csv"}', **more}
        self.call("POST", "runs/log-inputs", {"run_id": run, "datasets": [{"tags": tags, "dataset": dataset}]})

    def artifact(self, run: str, path: str, content: bytes) -> None:
        """Upload one artifact through the server."""
        uri = str(self.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        assert uri.startswith("mlflow-artifacts:"), f"not a proxied run: {uri}"
        stored = quote(f"{uri.removeprefix('mlflow-artifacts:').lstrip('/')}/{path}")
        url = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{stored}"
        self.http.put(url, data=content, timeout=60).raise_for_status()

    def end(self, run: str, status: str = "FINISHED", at: int = EPOCH + 60_000) -> None:
        """Give a run its final status and end time."""
        self.call("POST", "runs/update", {"run_id": run, "status": status, "end_time": at})

    def delete_run(self, run: str) -> None:
        """Delete a run (it stays restorable)."""
        self.call("POST", "runs/delete", {"run_id": run})

    def delete_experiment(self, experiment: str) -> None:
        """Delete an experiment (it stays restorable)."""
        self.call("POST", "experiments/delete", {"experiment_id": experiment})


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return ``values`` as MLflow's list of key and value."""
    return [{"key": key, "value": value} for key, value in values.items()]


def seed_small(uri: str, *, prefix: str = "", unicode_files: bool = True) -> Seeded:
    """Write two active experiments and a deleted one, nine runs in all; equal each time but for ids.

    Args:
        uri: tracking server with proxied artifacts.
        prefix: put before each experiment's name.
        unicode_files: also upload a file with a non-ASCII name (see ``UNICODE_FILES``).
    """
    seed = Seeder(uri)
    main = seed.experiment(
        f"{prefix}churn model", {"mlflow.note.content": f"# Churn\n{UMLAUT}", "team": "growth", KEY: "1"}
    )
    other = seed.experiment(f"{prefix}{UMLAUT}")
    gone = seed.experiment(f"{prefix}abandoned", {"why": "superseded"})
    runs: dict[str, str] = {}

    parent = runs["sweep"] = seed.run(main, "sweep", tags={"mlflow.note.content": "the *sweep*", "stage": "search"})
    files = {**FILES, **(UNICODE_FILES if unicode_files else {})}
    for number in range(3):
        name = f"sweep-{number}"
        child = runs[name] = seed.run(main, name, parent=parent, start=EPOCH + 1_000 * number)
        points = [("loss", 1 / (step + number + 1), EPOCH + step * 10, step) for step in range(30)]
        points += [("val/accuracy", 0.1 + 0.2, EPOCH, step) for step in range(5)]
        seed.log(child, params={"lr": f"0.{number}1", "depth": str(number), KEY: UMLAUT}, metrics=points)
        seed.dataset(
            child, "customers", f"d{number}", "training", schema='{"mlflow_colspec": []}', profile='{"rows": 7}'
        )
        seed.dataset(child, "customers", f"d{number}-eval", "validation")
        seed.end(child, at=EPOCH + 1_000 * number + 500)
    for path, content in files.items():
        seed.artifact(runs["sweep-0"], path, content)
    seed.artifact(runs["sweep-1"], "notes.txt", b"of the second child\n")
    odd: list[tuple[str, float, int, int]] = [
        ("odd", float("nan"), EPOCH, 0),
        ("odd", float("inf"), EPOCH + 1, 1),
        ("odd", float("-inf"), EPOCH + 2, 2),
        ("odd", -0.0, EPOCH + 3, -3),
        ("odd", 5e-324, EPOCH + 4, -3),
        ("odd", 1.0, EPOCH + 5, 7),
        ("odd", 1.0, EPOCH + 6, 7),
        ("odd", 2.0, EPOCH + 6, 7),
        ("constant", 0.1, EPOCH, 0),
        ("unfinished", 3.0, 0, 2**40),
    ]
    seed.log(parent, params={"long": LONG, "empty": ""}, metrics=odd)
    seed.end(parent)

    runs["failed"] = seed.run(other, "failed", start=EPOCH + 5_000, user="béa")
    seed.log(runs["failed"], tags={"reason": "out of memory", "multi": "line\nline"})
    seed.end(runs["failed"], "FAILED")
    runs["killed"] = seed.run(other, "killed", start=EPOCH + 6_000)
    seed.end(runs["killed"], "KILLED")
    runs["running"] = seed.run(other, "running", start=EPOCH + 7_000)
    runs["deleted"] = seed.run(other, "deleted", start=EPOCH + 8_000)
    seed.log(runs["deleted"], params={"kept": "yes"}, metrics=[("m", 1.5, EPOCH, 0)])
    seed.end(runs["deleted"])
    seed.delete_run(runs["deleted"])
    runs["in deleted experiment"] = seed.run(gone, "in deleted experiment", start=EPOCH + 9_000)
    seed.end(runs["in deleted experiment"])
    seed.delete_experiment(gone)
    return Seeded({"main": main, "other": other, "gone": gone}, runs)


def _json_double(value: float) -> float | str:
    """Doubles that JSON has no number for are strings, as protobuf's JSON wants them."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value
