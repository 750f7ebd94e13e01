"""The contenders, each a process of its own: `python -m benchmarks.contenders NAME …` prints seconds as JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


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

    from mlflow_parity.audit.running import Audit
    from mlflow_parity.audit.side import Side
    from mlflow_parity.core.locations import parse_location
    from mlflow_parity.kinds.check_registry import PROMISES, select
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

    class Silent:
        """Shows no progress."""

        def add(self, side: str, **counts: int) -> None:
            return

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
    parser.add_argument("name", choices=["ours", "discard", "client", "compare"])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--parity-workers", type=int, default=8)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    given = parser.parse_args()
    runners: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": lambda: ours(given.arguments[0], Path(given.arguments[1]), given.workers, given.log),
        "discard": lambda: discard(given.log, given.workers),
        "client": lambda: client(given.arguments[0], given.workers, given.share),
        "compare": lambda: compare(Path(given.arguments[0]), Path(given.arguments[1])),
    }
    figures = runners[given.name]()
    import resource

    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
