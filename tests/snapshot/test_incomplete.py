"""What of a snapshot is incomplete: each place where something unread can stand makes it so, and is named, for all."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.proxy import Fault, Proxy, proxying, status
from support.seed import Seeder, seed_small
from support.seed_later import seed_later
from support.seed_objects import Objects, seed_objects
from support.servers import FreshServer

from mlflow_parity.audit.side import Side
from mlflow_parity.cli import main
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import Artifact, ArtifactTree, Experiment
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.export.exporting import unread
from mlflow_parity.sagemaker.retire_reading import _state
from mlflow_parity.snapshot import PARTS, SERVER_PARTS
from mlflow_parity.snapshot.incomplete import Unread, _of_tree, incomplete, told
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot

#: A refusal that no reader takes for "there is none", and one of a single object.
REFUSED, GONE = 403, 404
#: What the seeds write beside experiments and runs.
OBJECTS = 33


@pytest.fixture(scope="module")
def seeded(module_server: FreshServer) -> Iterator[tuple[Proxy, Objects]]:
    """A server with every kind of object, behind a proxy."""
    server = module_server()
    seed_small(server.uri)
    one = Seeder(server.uri).experiment("objects")
    made = seed_objects(server.uri, one)
    seed_later(server.uri, one)
    with proxying(server.uri) as proxy:
        yield proxy, made


@contextmanager
def spoilt(proxy: Proxy, paths: Collection[str], code: int) -> Iterator[None]:
    """Refuse everything below some paths."""
    proxy.faults += [Fault(path, status(code, body=b"{}"), times=10_000) for path in paths]
    yield
    assert all(any(path in one for one in proxy.spoilt) for path in paths), proxy.spoilt
    proxy.heal()


@pytest.mark.long
def test_it_counts_objects(seeded: tuple[Proxy, Objects], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is unread: exit status 0; and what it counts are objects, not the bytes of their files."""
    assert main(["snapshot", "--source-uri", seeded[0].uri, "--to", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert f"12 runs, 118 metric points, 12 files, {OBJECTS} other objects\n" in printed.out
    assert printed.err == ""


#: What is refused of single objects, and what is told of them: kind, name, and a part of why.
PATHS = (
    "/metrics/get-history",
    "/runs/get",
    "/mlflow-artifacts/artifacts/",
    "/get-artifact",
    "/traces/batchGet",
    "/get-trace-artifact",
)
SINGLE = (
    ("run", "sweep-0", "the history of 'loss' could not be read"),
    ("run", "sweep-0", "file 'notes.txt' could not be read"),
    ("run", "train", "the logged models that it used and made could not be read"),
    ("logged_model", "forest", "file 'MLmodel' could not be read"),
    ("model_version", "churn version 1", "file 'MLmodel' could not be read"),
    ("trace", "answer", "its spans cannot be read"),
    ("trace", "fails", "its spans cannot be read"),
)
#: Lists that are refused → the part that is told of it, and whose it is.
LISTS = {
    "/logged-models/search": ("objects", "its logged_models"),
    "/traces/search": ("objects", "its traces"),
    "/scorers/list": ("objects", "its scorers"),
    "/registered-models/search": ("", "registry"),
    "/datasets/search": ("", "evaluation_datasets"),
    "/webhooks": ("", "webhooks"),
    "/issues/search": ("", "issues"),
    "/review-queues/list": ("", "review_queues"),
    "/gateway/secrets/list": ("", "gateway_secrets"),
    "/gateway/model-definitions/list": ("", "gateway_models"),
    "/gateway/endpoints/list": ("", "gateway_endpoints"),
    "/gateway/guardrails/list": ("", "gateway_guardrails"),
    "/gateway/budgets/list": ("", "gateway_budgets"),
    "/mcp-servers": ("", "mcp_servers"),
}
#: What hangs on another list.
FOLLOWING = {("objects", "its logged_model_files"), ("objects", "its trace_files"), ("", "version_files")}
#: Of no server of these tests: workspaces, and what came with 3.18 (``reading/test_skills``).
NOT_HERE = {"workspaces", "skills"}


def _snapshot(folder: Path) -> Snapshot:
    return Snapshot.open(folder / "source")


def _for_all(folder: Path) -> list[Unread]:
    """Return what is incomplete; the three that ask are given the same."""
    snapshot = _snapshot(folder)
    found = list(incomplete(snapshot, include_deleted=True))
    side = Side("source", Location("snapshot", str(folder / "source")), None)
    assert _state(side, snapshot.experiments, include_deleted=True).unread == tuple(told(found))
    export = ExportFolder(folder / "export")
    export.use(snapshot)
    ours = [one for one in unread(export, include_deleted=True) if "the tool could not write it" not in one.why]
    assert ours == found
    return found


def test_what_single_objects_lack(
    seeded: tuple[Proxy, Objects], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Histories, links, files, spans: exit status 1, and each object is named with its id."""
    proxy, made = seeded
    with spoilt(proxy, PATHS, GONE):
        assert main(["snapshot", "--source-uri", proxy.uri, "--to", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    found = _for_all(tmp_path)
    for kind, name, why in SINGLE:
        assert any((one.kind, one.name) == (kind, name) and why in one.why for one in found), (why, found)
    assert f'not read: run "train" ({made.runs["train"]}): ' in printed
    assert f'not read: logged model "forest" ({made.models["forest"]}): ' in printed
    assert f'not read: trace "answer" ({made.traces["answer"]}): its spans cannot be read' in printed


def test_lists_that_cannot_be_read(
    seeded: tuple[Proxy, Objects], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every list of objects: exit status 1, and each is named."""
    proxy, _ = seeded
    with spoilt(proxy, LISTS, REFUSED):
        assert main(["snapshot", "--source-uri", proxy.uri, "--to", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    found = _for_all(tmp_path)
    for of, part in {*LISTS.values()} | FOLLOWING:
        if of:
            named = [one for one in found if (one.kind, one.name) == ("experiment", of) and part in one.why]
        else:
            named = [one for one in found if (one.kind, one.name) == ("server", part)]
            assert f"not read: {part} of the server: " in printed
        assert len(named) == 1, (part, found)
    # and no part is without a case
    told_of = {part.removeprefix("its ") for _, part in {*LISTS.values()} | FOLLOWING}
    assert told_of | {"runs", "metrics", "artifacts"} | NOT_HERE == {*PARTS, *SERVER_PARTS}


def test_runs_that_cannot_be_listed(
    seeded: tuple[Proxy, Objects], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the list of runs nothing that hangs on them is there."""
    with spoilt(seeded[0], ["/runs/search"], REFUSED):
        assert main(["snapshot", "--source-uri", seeded[0].uri, "--to", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    for part in ("runs", "metrics", "artifacts"):
        assert f"its {part} could not be read: " in printed
    # nor is it known to which runs a trace was linked
    assert {one.kind for one in _for_all(tmp_path)} == {"experiment", "trace"}


def test_what_is_not_there_is_not_complete(tmp_path: Path) -> None:
    """A part of which nothing was written is as unread as one with an error; nobody lists a deleted one's scorers."""
    places = [Experiment(one, one, stage, "", 1, 1, {}) for one, stage in (("a", "active"), ("d", "deleted"))]
    snapshot = Snapshot.create(tmp_path / "source", Origin("http://a", "http", "3.17.2", {}), places)
    found = list(incomplete(snapshot, include_deleted=True))
    wanted = [("experiment", place, f"its {part} could not be read: not in this snapshot") for place in "ad"
              for part in PARTS if (place, part) != ("d", "scorers")]  # fmt: skip
    wanted += [("server", part, "not in this snapshot") for part in SERVER_PARTS]
    assert [(one.kind, one.name, one.why) for one in found] == wanted


@pytest.mark.parametrize(
    ("tree", "hashed", "count"),
    [
        (ArtifactTree("r", (), None), True, 0),
        (ArtifactTree("r", (), "no"), True, 1),
        (ArtifactTree("r", (Artifact("a", 1, "0" * 64), Artifact("b", 1)), None), True, 1),
        (ArtifactTree("r", (Artifact("a", 1), Artifact("b", 1, error="no")), None), False, 1),
        (ArtifactTree("r", (Artifact("a", 1), Artifact("b", 1, error="no")), "no"), True, 3),
    ],
)
def test_trees(tree: ArtifactTree, hashed: bool, count: int) -> None:
    """A listing that failed, a file that could not be read, and one without a digest where bytes were asked for."""
    assert len(_of_tree(tree, hashed=hashed)) == count


def test_of_many_the_rest_is_counted() -> None:
    """Each kind has twenty lines, and says how many more there are."""
    runs = [Unread("run", str(n // 2), "r", "no") for n in range(2_060)]
    lines = told([*runs, Unread("trace", "t", "t", "no")])
    assert len(lines) == 22
    assert lines[0] == 'run "r" (0): no (and 1 more of it)'
    assert lines[-1] == "… and 1,010 more of the kind run"
