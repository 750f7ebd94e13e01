"""Faults that only a file store can hold: signs of zero, infinities and repeated points, which SQL rewrites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from support.seed import EPOCH, Seeder
from support.servers import server_of

from faults.fault import EXPERIMENT, Fault, Found, Plant, Target
from mlflow_parity.standin.servers import Server

#: The last MLflow 2: file stores are what it has by default.
_VERSION = "2.22.5"
_LARGEST = "1.7976931348623157e+308"


@contextmanager
def serving_files(folder: Path) -> Iterator[Server]:
    """Run a server on the file store in a folder."""
    with server_of(_VERSION, folder, database=str(folder / "mlruns")) as server:
        yield server


def seed_files(server: Server, names: list[str]) -> None:
    """Write a run for each name, with doubles that SQL stores do not keep."""
    seed = Seeder(server.uri)
    experiment = seed.experiment(EXPERIMENT)
    points = [0.0, -0.0, float("inf"), float(_LARGEST), float("nan")]
    for number, name in enumerate(names):
        run = seed.run(experiment, name, start=EPOCH + number)
        metrics = [("odd", value, EPOCH + step, step) for step, value in enumerate(points)]
        seed.log(run, params={"lines": "one\ntwo"}, metrics=metrics)
        seed.end(run)


def ids_of(server: Server) -> dict[tuple[str, str], str]:
    """Return the ids of the runs by kind and name."""
    seed = Seeder(server.uri)
    experiment = seed.call("GET", "experiments/get-by-name", {"experiment_name": EXPERIMENT})["experiment"]
    body = {"experiment_ids": [experiment["experiment_id"]], "max_results": 1_000}
    infos = [run["info"] for run in seed.call("POST", "runs/search", body)["runs"]]
    return {("run", info["run_name"]): info["run_id"] for info in infos}


def _rewritten(path: str, old: str, new: str) -> Plant:
    """Change one text in a file of the run, in the store itself."""

    def plant(target: Target, name: str) -> None:
        [file] = Path(target.server.database_uri).glob(f"*/{target.id('run', name)}/{path}")
        with file.open(encoding="utf-8", newline="") as lines:
            text = lines.read()
        assert text.count(old) == 1, text
        with file.open("w", encoding="utf-8", newline="") as lines:
            lines.write(text.replace(old, new))

    return plant


def _point(step: int, old: str, new: str) -> Plant:
    return _rewritten("metrics/odd", f"{EPOCH + step} {old} {step}", new.format(f"{EPOCH + step}", step))


_ODD = (Found("metrics", "odd"),)
_FAULTS = (
    Fault("file-store-zero-sign", "run", "0.0 became -0.0", _point(0, "0.0", "{} -0.0 {}"), _ODD),
    Fault("file-store-largest", "run", "the largest double became infinity", _point(3, _LARGEST, "{} inf {}"), _ODD),
    Fault("file-store-infinity", "run", "infinity became its negative", _point(2, "inf", "{} -inf {}"), _ODD),
    Fault("file-store-nan", "run", "NaN became 0", _point(4, "nan", "{} 0.0 {}"), _ODD),
    Fault("file-store-repeated", "run", "a point there twice", _point(0, "0.0", "{0} 0.0 {1}\n{0} 0.0 {1}"), _ODD),
    Fault("file-store-line-ends", "run", "a line end of Unix became one of Windows",
          _rewritten("params/lines", "one\ntwo", "one\r\ntwo"), (Found("params", "lines"),)),
)  # fmt: skip
FILE_STORE = tuple(replace(fault, pair="file-store") for fault in _FAULTS)
