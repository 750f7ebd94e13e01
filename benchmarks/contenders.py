"""The contenders, each a process of its own: `python -m benchmarks.contenders NAME …` prints seconds as JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

#: A request that wrote: method, path, body, its type, and what was answered where something was made.
_Write = tuple[str, str, bytes, str, str]
_ROOT = Path(__file__).resolve().parent.parent


def contender(name: str, *arguments: object, **options: object) -> dict[str, Any]:
    """Run one contender in a process of its own and return its figures."""
    from mlflow_parity.standin.servers import clean_environment

    command = [sys.executable, "-m", "benchmarks.contenders"]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    command += [name, "--", *map(str, arguments)]
    answer = subprocess.run(command, cwd=_ROOT, env=clean_environment(), capture_output=True, text=True, timeout=3600)
    if answer.returncode:
        raise RuntimeError(f"{name} failed:\n{answer.stdout[-2000:]}{answer.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    print(name, *arguments[1:], {key: value for key, value in figures.items() if key != "digest"}, flush=True)
    return figures


def ours(uri: str, folder: Path, workers: int, log: Path | None) -> dict[str, Any]:
    """Read runs and metric histories into a snapshot; ``log`` gets the requests that were sent."""
    import requests

    from mlflow_parity.audit.side import Side
    from mlflow_parity.core.locations import parse_location
    from mlflow_parity.reading import open_reader

    sent: list[tuple[str, str, str]] = []
    if log is not None:
        original = requests.Session.send

        def send(session: requests.Session, request: Any, **options: Any) -> Any:
            body = request.body or b""
            sent.append((request.method, request.url, body.decode() if isinstance(body, bytes) else body))
            return original(session, request, **options)

        requests.Session.send = send  # type: ignore[method-assign,assignment]
    location = parse_location(uri, option="--source-uri")
    began = time.monotonic()
    reader = open_reader(location, "source", workers)
    side = Side("source", location, reader)
    counted = {"points": 0, "runs": 0}

    def count(*, points: int = 0, runs: int = 0, **others: int) -> None:
        counted["points"] += points
        counted["runs"] += runs

    side.read(folder, side.experiments(), {"runs", "metrics"}, "digest", include_deleted=False, count=count)
    seconds = time.monotonic() - began
    if log is not None:
        log.write_text(json.dumps(sent))
    return {"seconds": seconds, **counted, "digest": side.snapshot.digest, "requests": reader.requests}


def discard(log: Path, workers: int) -> dict[str, Any]:
    """Send the same requests and throw the bytes away: what the server needs to answer them."""
    import urllib3

    sent = json.loads(log.read_text())
    pool = urllib3.PoolManager(maxsize=workers, block=True, retries=False)

    def one(request: tuple[str, str, str]) -> int:
        method, url, body = request
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
        answer = pool.request(method, url, body=body.encode() or None, headers=headers, preload_content=False)
        size = 0
        while piece := answer.read(1 << 20):
            size += len(piece)
        answer.release_conn()
        if answer.status != 200 and "max_results" in url + body:
            raise RuntimeError(f"status {answer.status} for {url[:200]}")
        return size

    began = time.monotonic()
    with ThreadPoolExecutor(workers) as threads:
        size = sum(threads.map(one, sent))
    return {"seconds": time.monotonic() - began, "bytes": size, "requests": len(sent)}


def moving(arguments: list[str], target: str, log: Path) -> dict[str, Any]:
    """Migrate with ``migrate.py``'s own command; ``log`` gets each request that wrote to ``target``, and its answer."""
    import base64
    import io

    import requests
    import urllib3

    from mlflow_parity.migrating import command

    original, writes = requests.Session.send, ("POST", "PUT", "PATCH", "DELETE")
    sent: list[tuple[str, str, str, str, str]] = []

    def send(session: requests.Session, request: Any, **options: Any) -> Any:
        body = request.body
        content = (
            body if isinstance(body, bytes) else (body or "").encode() if not hasattr(body, "read") else body.read()
        )
        if hasattr(body, "seek"):
            body.seek(0)
        answer = original(session, request, **options)
        if request.method in writes and request.url.startswith(target) and not request.url.endswith("/search"):
            told = ""
            if request.url.endswith("/create"):
                content_of_it = answer.raw.read(decode_content=True)
                told = content_of_it.decode()
                plain = {name: value for name, value in answer.headers.items() if name.lower() != "content-encoding"}
                # whoever reads it after us reads it from the beginning
                answer.raw = urllib3.HTTPResponse(io.BytesIO(content_of_it), plain, 200, preload_content=False)
            kind = request.headers.get("Content-Type", "")
            sent.append((request.method, request.url[len(target) :], base64.b64encode(content).decode(), kind, told))
        return answer

    requests.Session.send = send  # type: ignore[method-assign,assignment]
    began = time.monotonic()
    status = command.main(arguments)
    seconds = time.monotonic() - began
    if status:
        raise RuntimeError(f"migrate.py ended with exit status {status}")
    log.write_text(json.dumps(sent))
    return {"seconds": seconds, "requests": len(sent)}


def writing(uri: str, log: Path, workers: int) -> dict[str, Any]:
    """Send a migration's writing requests from memory to an empty server: each run's in their order, runs in turn.

    Ids that the server gave then stand in addresses and bodies; those that it gives now take their places.
    """
    import base64
    import re

    import urllib3

    pool = urllib3.PoolManager(maxsize=workers, block=True, retries=False)
    given: dict[bytes, bytes] = {}
    named = re.compile(rb"[0-9a-f]{32}|m-[0-9a-f]{32}")

    def now(content: bytes) -> bytes:
        content = re.sub(
            rb'"experiment_id":"([0-9]+)"',
            lambda found: b'"experiment_id":"' + given.get(found[1], found[1]) + b'"',
            content,
        )
        return named.sub(lambda found: given.get(found[0], found[0]), content)

    def ids(told: str) -> tuple[str, ...]:
        answer = json.loads(told)
        info = answer.get("run", {}).get("info", {})
        return (answer["experiment_id"],) if "experiment_id" in answer else (info["run_id"],) if info else ()

    def send(request: _Write) -> None:
        method, path, content, kind, told = request
        headers = {"Content-Type": kind} if kind else {}
        answer = pool.request(method, uri + now(path.encode()).decode(), body=now(content), headers=headers)
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status} for {method} {path[:200]}: {answer.data[:300]!r}")
        if told:
            before, after = ids(told), ids(answer.data.decode())
            given.update({old.encode(): new.encode() for old, new in zip(before, after, strict=True)})

    sent = [
        (method, path, base64.b64decode(body), kind, told)
        for method, path, body, kind, told in json.loads(log.read_text())
    ]
    first: list[_Write] = []
    by_run: dict[str, list[_Write]] = {}
    known = {one for request in sent if request[1].endswith("runs/create") and request[4] for one in ids(request[4])}
    for request in sent:
        where = request[1].encode() + request[2] + request[4].encode()
        run = next((found.decode() for found in named.findall(where) if found.decode() in known), "")
        (by_run.setdefault(run, []) if run else first).append(request)

    def each(requests: list[_Write]) -> None:
        for request in requests:
            send(request)

    began = time.monotonic()
    each(first)
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(each, by_run.values()))
    return {"seconds": time.monotonic() - began, "requests": len(sent), "runs": len(by_run)}


def client(uri: str, threads: int, share: float) -> dict[str, Any]:
    """Call `MlflowClient.get_metric_history` per run and key, on ``share`` of the runs."""
    import mlflow

    # one client per thread, as its users do; runs are listed before the clock starts
    def make() -> Any:
        return mlflow.MlflowClient(tracking_uri=uri)

    first = make()
    experiments = [item.experiment_id for item in first.search_experiments()]
    runs: list[Any] = []
    token = None
    while True:
        page = first.search_runs(experiments, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    chosen = runs[: max(1, round(len(runs) * share))]
    calls = [(run.info.run_id, key) for run in chosen for key in run.data.metrics]
    clients = [make() for _ in range(threads)]

    def read(number: int) -> int:
        return sum(len(clients[number].get_metric_history(*call)) for call in calls[number::threads])

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        points = sum(pool.map(read, range(threads)))
    seconds = time.monotonic() - began
    every = sum(len(run.data.metrics) for run in runs)
    return {"seconds": seconds, "points": points, "calls": len(calls), "scaled": seconds * every / len(calls)}


def compare(source: Path, target: Path) -> dict[str, Any]:
    """Compare two snapshots, as an audit does after reading."""
    import tempfile

    from mlflow_parity.audit.result import Silent
    from mlflow_parity.audit.running import Audit
    from mlflow_parity.audit.side import Side
    from mlflow_parity.core.locations import parse_location
    from mlflow_parity.kinds.rules.check_registry import PROMISES, select
    from mlflow_parity.options import resolve

    values = {"source-uri": str(source), "target-uri": str(target), "workers": "8", "max-findings": "20"}
    settings = resolve({**values, "report-dir": "reports"}, {})
    locations = {
        name: parse_location(str(path), option=name) for name, path in (("source", source), ("target", target))
    }

    class Rows:
        """Counts ledger rows and drops them."""

        count = 0

        def add(self, row: object) -> None:
            self.count += 1

    with tempfile.TemporaryDirectory() as scratch:
        audit = Audit(settings, Path(scratch), lambda name: Side(name, locations[name], None))
        items = audit.inventory()
        names = [promise.name for promise in PROMISES if not promise.name.startswith("artifact")]
        sink = Rows()
        began = time.monotonic()
        result = audit.run(select(names, [item.id for item in items]), sink, Silent())
        seconds = time.monotonic() - began
    return {
        "seconds": seconds,
        "green": result.green,
        "rows": sink.count,
        "points": result.counts["source"]["points"],
        "deepdiff": result.explained,
    }


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["ours", "discard", "client", "compare", "moving", "writing"])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--target", default="", help="address of the server that is written to")
    parser.add_argument("--share", type=float, default=1.0)
    given = parser.parse_args()
    runners: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": lambda: ours(given.arguments[0], Path(given.arguments[1]), given.workers, given.log),
        "discard": lambda: discard(given.log, given.workers),
        "client": lambda: client(given.arguments[0], given.workers, given.share),
        "moving": lambda: moving(given.arguments, given.target, given.log),
        "writing": lambda: writing(given.arguments[0], given.log, given.workers),
        "compare": lambda: compare(Path(given.arguments[0]), Path(given.arguments[1])),
    }
    figures = runners[given.name]()
    import resource

    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
