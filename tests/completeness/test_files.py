"""Every file that a server keeps belongs to an object: altered or gone, it is found under its owner."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import audit
from support.environments import LAID_OVER
from support.servers import FreshServer
from support.stocked import ARCHIVED, stock

from completeness.releases import NEWEST, RELEASES
from mlflow_parity.standin.servers import Server

_PLACES = {
    "run": "SELECT artifact_uri FROM runs",
    "logged_model": "SELECT artifact_location FROM logged_models",
    "trace": f"SELECT value FROM trace_tags WHERE key IN ('mlflow.artifactLocation', '{ARCHIVED}')",
}
#: What a release keeps in files beside those of runs: attachments since MLflow 3, archives of traces since 3.17.
_KEPT = {
    "2.16.2": {"spans"},
    "2.22.5": {"spans"},
    "3.4.0": {"files", "spans", "attachments"},
    "3.10.1": {"files", "attachments"},
    NEWEST: {"files", "spans", "attachments"},
    **{version: {"files", "spans", "attachments"} for version in LAID_OVER},
}
#: The facet that is red, by what owns a file.
_FACETS = {"run": "artifacts", "logged_model": "files"}


def places(server: Server) -> dict[Path, str]:
    """Return where objects keep files, with the kind of each."""
    found = {}
    with closing(sqlite3.connect(server.database_path)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        for kind, query in _PLACES.items():
            for (uri,) in database.execute(query) if query.split(" FROM ")[1].split()[0] in tables else ():
                # the server itself goes to an archive, which has a place on its disk
                path = str(uri).removeprefix("mlflow-artifacts:").lstrip("/")
                archived = path.removeprefix("file://")
                found[Path(server.artifacts_root) / path if archived == path else Path(archived)] = kind
    return found


def owners(server: Server) -> Counter[tuple[str, str, str]]:
    """Return kind, facet and key of what must be red when every file is another one.

    A file that lies in no object's place fails here.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    there = places(server)
    for file in Path(server.artifacts_root).rglob("*"):
        if file.is_file():
            place = next(one for one in file.parents if one in there)
            kind, rest = there[place], file.relative_to(place)
            if kind != "trace":
                found[kind, _FACETS[kind], str(rest)] += 1
            elif rest.parts[0] == "attachments":
                found[kind, "attachments", rest.name] += 1
            else:
                assert rest.name in ("traces.json", "traces.pb")
                found[kind, "spans", ""] += 1
    return found


def _nameless(said: Iterable[tuple[str, str, str]], facets: set[str]) -> Counter[tuple[str, str, str]]:
    return Counter((kind, facet, "" if facet in facets else key) for kind, facet, key in said)


@pytest.mark.long
@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("gone", [False, True], ids=["altered", "gone"])
def test_every_file_belongs_to_an_object(fresh_server: FreshServer, tmp_path: Path, version: str, gone: bool) -> None:
    """A file that no object claims is lost without a word: all are altered at once, and each is named."""
    release = "newest" if version == NEWEST else version
    source, target = fresh_server(release), fresh_server(release)
    stock(source, release, version)
    stock(target, release, version)
    wanted = owners(target)
    assert {facet for _, facet, _ in wanted} == {"artifacts", *_KEPT[version]}
    for file in Path(target.artifacts_root).rglob("*"):
        if file.is_file() and gone:
            file.unlink()
        elif file.is_file():
            # half a file of spans, too, is none
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2] + b"\x07" + content[len(content) // 2 + 1 :])
    options = ("--parity-profile", "same-store", "--parity-two-servers", "--parity-include-deleted")
    done = audit(tmp_path, source.uri, target.uri, *options, "--parity-max-findings", "1000")
    assert done.status == 1, done.output[-3000:]
    findings = [(one["kind"], one["facet"], one["key"]) for one in done.report["findings"]]
    # attachments of which the spans are gone have no names any more
    nameless = {"spans", *({"attachments"} if version == "3.4.0" else ())}
    wanted, found = (_nameless(one, nameless) for one in (wanted.elements(), findings))
    assert {one: count for one, count in wanted.items() if found[one] < count} == {}


@pytest.mark.long
def test_an_archive_that_is_gone_on_both_sides_is_no_match(fresh_server: FreshServer, tmp_path: Path) -> None:
    """MLflow tells of a trace whose archive is gone as of one without spans: two of them would be equal, and lost."""
    source, target = fresh_server(), fresh_server()
    stock(source, "newest", NEWEST)
    stock(target, "newest", NEWEST)
    archived = len(list(Path(source.artifacts_root).rglob("traces.pb")))
    for side in (source, target):
        with closing(sqlite3.connect(side.database_path, timeout=30)) as database, database:
            # what else tells that there were spans; traces that were not written by MLflow's client lack it
            database.execute("DELETE FROM trace_request_metadata WHERE key = 'mlflow.trace.sizeStats'")
        for file in Path(side.artifacts_root).rglob("traces.pb"):
            file.unlink()
    done = audit(tmp_path, source.uri, target.uri, "--parity-profile", "same-store", "--parity-two-servers")
    assert done.status == 1, done.output[-3000:]
    red = [row for row in done.red_rows() if (row.kind, row.facet, str(row.state)) == ("trace", "spans", "unverified")]
    assert len(red) == archived > 0
    assert "its archive is gone" in done.output
