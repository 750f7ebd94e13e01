"""Fixtures that are shared by all tests: real servers, each started when first asked for."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

import pytest
from hypothesis import settings

from mlflow_parity.standin import servers as standin_servers
from mlflow_parity.standin.http import S3, s3_server
from mlflow_parity.standin.sagemaker import APP_ARN, SERVER_ARN, StandIn, new_credentials, stand_in
from mlflow_parity.standin.servers import Server
from support import warm
from support.dask_processes import DaskProcesses
from support.pairs import Migration
from support.servers import FreshServer, ServerPool, empty, keep_pristine
from support.sharing import lead

#: Files that take longest; begun first, so that no worker is left alone with one at the end.
_LONGEST = (
    "faults/test_subsets", "faults/test_battery", "completeness/test_answers", "migrating/test_resume",
    "reading/test_logins", "migrating/test_matrix", "pytest_api/test_neighbours", "project/test_howtos",
    "completeness/test_files", "migrating/test_losses_more", "comparing/test_usable", "reading/test_transport",
    "audit/test_properties", "sagemaker/test_retire", "reading/test_shown_s3", "migrating/test_later",
    "migrating/test_tool", "migrating/test_runs", "completeness/test_untold", "options/test_profile",
    "audit/test_killed", "migrating/test_export", "migrating/test_spans", "audit/test_same_verdict",
    "migrating/test_killed", "options/test_self_test", "migrating/test_half_written", "migrating/test_repair",
    "migrating/test_losses_s3", "migrating/test_left_lying", "audit/test_read_only", "reading/test_later_kinds",
    "migrating/test_losses", "audit/test_hostile", "options/test_recheck", "audit/test_memory",
    "options/test_options", "audit/test_upgrades", "audit/test_load", "reading/test_transport_s3",
    "migrating/test_preflight", "options/test_exit_status", "options/test_waivers", "options/test_report_dir",
    "audit/test_live_source", "migrating/test_twice", "comparing/test_access", "migrating/test_repairing",
    "project/test_package", "reporting/test_html_report", "audit/test_versions", "reading/test_unknown",
    "project/test_outputs",
)  # fmt: skip

#: Until when long tests may begin, in seconds since the epoch: ``.ci/run`` sets it, whose time has an end. Those that
#: come too late are skipped, by that reason.
_UNTIL = float(os.environ.get("PARITY_LONG_UNTIL") or math.inf)


# how long an example takes says how busy the machine is, and nothing else
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
standin_servers.launch = warm.launch
# two threads of MLflow's client that write spans of one trace at once may lose one, on a busy machine
os.environ.update(standin_servers.AT_ONCE)
# workers of xdist say 80, and audits that are started here would take it for the width of a terminal
os.environ.pop("COLUMNS", None)
# before there are workers
lead()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, the order within a file stays; ``long(but=…)`` does not mark these parameters.

    Where time has an end the others begin at another one each time: it is not always the same that come too late.
    """
    for item in items:
        item.own_markers[:] = [mark for mark in item.own_markers if not _excepted(item, mark)]
    place = {name: number for number, name in enumerate(_LONGEST)}
    others = [one for one in dict.fromkeys(map(_file, items)) if one not in place]
    first = int(_UNTIL) % len(others) if others and math.isfinite(_UNTIL) else 0
    place |= {name: len(place) + number for number, name in enumerate(others[first:] + others[:first])}
    items.sort(key=lambda item: place[_file(item)])


def _file(item: pytest.Item) -> str:
    return f"{item.path.parent.name}/{item.path.stem}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a long test for which there is no time left, before anything is made for it."""
    if time.time() > _UNTIL and item.get_closest_marker("long") is not None:
        pytest.skip("CI's time is over; make test-all runs it")


def _excepted(item: pytest.Item, mark: pytest.Mark) -> bool:
    named = item.name.partition("[")[2].removesuffix("]")
    return mark.name == "long" and any(fnmatchcase(named, pattern) for pattern in mark.kwargs.get("but", ()))


@pytest.fixture(scope="session")
def server_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPool]:
    """Pool of running servers."""
    pool = ServerPool(tmp_path_factory.mktemp("servers"))
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def _lent(pool: ServerPool) -> Iterator[FreshServer]:
    taken: list[tuple[str, Server]] = []

    def take(version: str = "newest") -> Server:
        server = pool.take(version)
        taken.append((version, server))
        return server

    try:
        yield take
    finally:
        for version, server in taken:
            pool.give_back(version, server)


@pytest.fixture
def fresh_server(server_pool: ServerPool) -> Iterator[FreshServer]:
    """Factory of empty servers for one test: ``fresh_server()`` or ``fresh_server("2.16.2")``."""
    with _lent(server_pool) as take:
        yield take


@pytest.fixture(scope="module")
def module_server(server_pool: ServerPool) -> Iterator[FreshServer]:
    """Like ``fresh_server``, for all tests of one module."""
    with _lent(server_pool) as take:
        yield take


@pytest.fixture(scope="session")
def migration(server_pool: ServerPool) -> Migration:
    """A seeded source, its export by the tool and its copy, made once; see ``servers``."""
    return Migration.make(server_pool)


@pytest.fixture(scope="module")
def servers(migration: Migration, module_server: FreshServer) -> tuple[Server, Server]:
    """A source with runs of every sort and its copy by the tool, without loss: the module's own, to be changed."""
    source, target = module_server(), module_server()
    migration.lay("source", source)
    migration.lay("target", target)
    return source, target


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler and two workers, each a process."""
    with DaskProcesses(tmp_path_factory.mktemp("cluster")) as processes:
        for _ in range(2):
            processes.worker()
        yield processes


@pytest.fixture(scope="session")
def newest(server_pool: ServerPool) -> Server:
    """Server of the running environment's MLflow, shared by all tests: use experiment names of your own."""
    return server_pool.take("newest")


@pytest.fixture(scope="session")
def target_newest(server_pool: ServerPool) -> Server:
    """Second server of the running environment's MLflow, shared by all tests."""
    return server_pool.take("newest")


@pytest.fixture(scope="session")
def server_2_16(server_pool: ServerPool) -> Server:
    """Server of MLflow 2.16.2, shared by all tests."""
    return server_pool.take("2.16.2")


@pytest.fixture(scope="session")
def server_2_22(server_pool: ServerPool) -> Server:
    """Server of MLflow 2.22.5, shared by all tests."""
    return server_pool.take("2.22.5")


@pytest.fixture(scope="session")
def server_3_4(server_pool: ServerPool) -> Server:
    """Server of MLflow 3.4.0, shared by all tests."""
    return server_pool.take("3.4.0")


@pytest.fixture(scope="session")
def server_3_10(server_pool: ServerPool) -> Server:
    """Server of MLflow 3.10.1, shared by all tests."""
    return server_pool.take("3.10.1")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """One S3 for all tests; buckets and prefixes keep them apart. Lists come in small pages."""
    with s3_server(tmp_path_factory.mktemp("s3"), page=4) as running:
        yield running


@pytest.fixture(scope="session")
def _app(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[StandIn]:
    """A stand-in MLflow App with temporary credentials, started once."""
    with stand_in(tmp_path_factory.mktemp("app"), arn=APP_ARN, s3=s3) as running:
        keep_pristine(running.server)
        yield running


@pytest.fixture(scope="session")
def _managed(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[StandIn]:
    """A stand-in managed tracking server of another region and account identity, started once."""
    identity = new_credentials(temporary=False)
    with stand_in(tmp_path_factory.mktemp("managed"), arn=SERVER_ARN, s3=s3, credentials=identity) as running:
        keep_pristine(running.server)
        yield running


@pytest.fixture(scope="module")
def sagemaker_app(_app: StandIn) -> StandIn:
    """The stand-in App, empty: no test finds what those of another module left there."""
    return _emptied(_app)


@pytest.fixture(scope="module")
def sagemaker_server(_managed: StandIn) -> StandIn:
    """The stand-in managed tracking server, empty likewise."""
    return _emptied(_managed)


def _emptied(standin: StandIn) -> StandIn:
    empty(standin.server)
    bucket, _, prefix = standin.server.artifacts_root.removeprefix("s3://").partition("/")
    client = standin.s3.client(standin.credentials, "us-east-1")
    # experiments of the next module have the numbers of those before, and so their places
    pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix))
    for one in (one for page in pages for one in page.get("Contents", ())):
        client.delete_object(Bucket=bucket, Key=one["Key"])
    return standin
