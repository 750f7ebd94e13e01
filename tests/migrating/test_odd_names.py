"""Files with names that an artifact proxy cannot carry: images of ``log_image`` move, others are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import requests
from support.audits import AuditRun, audit
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer, server_of

from mlflow_parity.kinds.conventions.logged_images import newer_name, newer_names
from mlflow_parity.reading.artifacts.stores import is_faithful
from mlflow_parity.standin.servers import Server

_REST = "188b-4c74-b0eb-578967659d2a"
_STEPS = (0, 3, 19, 25, 40, 123)
_FIRST = ("0a9d6313", "1fbb6313", "c69d6313", "239d6313", "7f9d6313")


def old_name(key: str, step: int, first: str, end: str = ".png") -> str:
    """As MlflowClient.log_image of 2.9 to 3.10 writes it."""
    return f"images/{key.replace('/', '#')}%step%{step}%timestamp%1712345678901%{first}-{_REST}{end}"


def through_a_proxy(path: str) -> str:
    """As MLflow 2.16's proxy stores it."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path


@pytest.mark.parametrize("step", _STEPS)
@pytest.mark.parametrize("first", _FIRST)
def test_newer_names_are_those_of_newer_clients(step: int, first: str) -> None:
    """An image is found in the UI under its key and step again, also where a proxy has spoilt its name."""
    for end in (".png", "%compressed.webp"):
        wanted = f"images/val~loss+step+{step}+timestamp+1712345678901+{first}-{_REST}{end.replace('%', '+')}"
        assert newer_name(old_name("val/loss", step, first, end)) == wanted
        spoilt = newer_name(through_a_proxy(old_name("loss", step, first, end)))
        # a byte that is no UTF-8 was lost at the source
        assert spoilt == wanted.replace("val~", "").replace("c6", "�")
        assert is_faithful(wanted)


@pytest.mark.parametrize(
    "path",
    [
        f"plots/x%step%1%timestamp%1712345678901%0a9d6313-{_REST}.png",
        f"images/deep/x%step%1%timestamp%1712345678901%0a9d6313-{_REST}.png",
        f"images/x%step%1%timestamp%1712345678901%0a9d6313-{_REST}.jpg",
        f"images/x%step%1%timestamp%1712345678901%0a9d6313-{_REST}.webp",
        f"images/x+step+1+timestamp+1712345678901+0a9d6313-{_REST}.png",
        f"images/x%step%one%timestamp%1712345678901%0a9d6313-{_REST}.png",
        "images/x%20y.png",
        "images/",
    ],
)
def test_other_names_are_left_alone(path: str) -> None:
    """What log_image did not make has no newer name: a guess would be a loss without a word."""
    assert newer_name(path) is None


def test_a_newer_name_that_is_taken_is_given_to_none() -> None:
    """Two files never become one."""
    one = old_name("x", 1, "0a9d6313")
    name = str(newer_name(one))
    assert newer_names([one]) == {one: name}
    assert newer_names([one, name]) == {}
    assert newer_names([old_name("x", 19, "0a9d6313"), through_a_proxy(old_name("x", 19, "0a9d6313"))]) == {}


@pytest.fixture(scope="module")
def shared_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clients write to a disk that they share with it."""
    folder = tmp_path_factory.mktemp("shared")
    with server_of("newest", folder / "server", artifacts=str(folder / "store")) as server:
        yield server


def _planted(server: Server, files: dict[str, bytes], experiment: str) -> None:
    seed = Seeder(server.uri)
    run = seed.run(seed.experiment(experiment), "training")
    answer = requests.get(f"{server.uri}/api/2.0/mlflow/runs/get", {"run_id": run}, timeout=20).json()
    root = Path(answer["run"]["info"]["artifact_uri"].removeprefix("file://"))
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    seed.end(run)


def _run_of(server: Server) -> str:
    body = {"experiment_ids": [str(number) for number in range(9)], "max_results": 10}
    answer = requests.post(f"{server.uri}/api/2.0/mlflow/runs/search", json=body, timeout=20).json()
    [run] = answer["runs"]
    return str(run["info"]["run_id"])


@pytest.mark.long
def test_images_arrive_under_their_newer_names(shared_disk: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """All images of a training, those that no request can name at the source included, and the UI shows them."""
    files = {
        old_name(key, step, first, end): f"{key} {step} {first} {end}".encode()
        for key, step, first in zip(("loss", "a/b", "x y.z-1", "loss"), _STEPS, _FIRST, strict=False)
        for end in (".png", "%compressed.webp")
    }
    _planted(shared_disk, files, "images")
    target = fresh_server()
    ends = ("--source-uri", shared_disk.uri, "--target-uri", target.uri)
    done = migrate_py(tmp_path, "run", *ends, "--work-dir", "w", "--report-dir", "reports")
    assert done.status == 0, done.output
    rows = AuditRun(done.status, done.output, tmp_path / "reports").rows()
    assert [row.rules for row in rows if row.facet == "artifacts"] == [("run.artifacts.images",)]
    # the routes of the UI: the folder's list, and each file by its path
    run = _run_of(target)
    ajax = f"{target.uri}/ajax-api/2.0/mlflow/artifacts/list"
    listed = requests.get(ajax, {"run_uuid": run, "path": "images"}, timeout=20).json()["files"]
    assert {one["path"] for one in listed} == {newer_name(path) for path in files}
    for path, content in files.items():
        query = {"run_uuid": run, "path": newer_name(path)}
        assert requests.get(f"{target.uri}/get-artifact", query, timeout=20).content == content

    # other bytes under the newer name, and another name, are no copy
    root = Path(target.artifacts_root) / "1" / run / "artifacts"
    one, two, *_ = (str(newer_name(path)) for path in sorted(files))
    (root / one).write_bytes(b"other")
    (root / two).rename(root / two.replace("+step+", "+step+1"))
    found = audit(tmp_path / "again", shared_disk.uri, target.uri, "--parity-experiments", "images")
    first, second, *_ = sorted(files)
    states = {(key, state) for facet, key, state, _ in found.findings() if facet == "artifacts"}
    assert states == {(first, "mismatch"), (second, "missing"), (two.replace("+step+", "+step+1"), "extra")}


@pytest.mark.long
def test_what_cannot_be_named_keeps_back_only_itself(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A folder that no request can list, and a file that none can name: both are told, and all else arrives."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    run = seed.run(seed.experiment("odd"), "training")
    seed.artifact(run, "plots/a.txt", b"a")
    seed.end(run)
    root = Path(source.artifacts_root) / "1" / run / "artifacts"
    (root / "odd%20folder" / "below").mkdir(parents=True)
    (root / "odd%20folder" / "below" / "lost.txt").write_bytes(b"lost")
    (root / "plots" / "b%41.txt").write_bytes(b"odd")
    ends = ("--source-uri", source.uri, "--target-uri", target.uri)
    plan = migrate_py(tmp_path, "plan", *ends, "--work-dir", "p")
    assert "folder 'odd%20folder/' of run odd / training" in plan.output
    done = migrate_py(tmp_path, "run", *ends, "--work-dir", "w", "--report-dir", "reports")
    assert done.status == 1, done.output
    assert "odd%20folder/" in done.output
    copied = Path(target.artifacts_root) / "1" / _run_of(target) / "artifacts"
    assert [str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()] == ["plots/a.txt"]
    found = audit(tmp_path / "again", source.uri, target.uri)
    assert found.status == 1
    states = {(key, state) for facet, key, state, _ in found.findings() if facet == "artifacts"}
    assert states == {("odd%20folder/", "unverified"), ("plots/b%41.txt", "missing")}
