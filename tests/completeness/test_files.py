"""Every file that a server keeps belongs to an object: altered or gone, it is found under its owner."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from faults.battery import lay
from support.audits import audit
from support.seed import Seeder, seed_small
from support.seed_objects import seed_objects
from support.servers import FreshServer

from completeness.releases import NEWEST, RELEASES
from mlflow_parity.standin.servers import Server

_PLACES = {
    "run": "SELECT artifact_uri FROM runs",
    "logged_model": "SELECT artifact_location FROM logged_models",
    "trace": "SELECT value FROM trace_tags WHERE key = 'mlflow.artifactLocation'",
}
#: Releases that keep spans in files; later ones keep them in the database.
SPANS_IN_FILES = ("2.16.2", "2.22.5", "3.4.0")
#: The facet that is red, by what owns a file.
_FACETS = {"run": "artifacts", "logged_model": "files"}


def places(server: Server) -> dict[Path, str]:
    """Return where objects keep files, with the kind of each."""
    found = {}
    with closing(sqlite3.connect(server.database_path)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        for kind, query in _PLACES.items():
            for (uri,) in database.execute(query) if query.split(" FROM ")[1].split()[0] in tables else ():
                found[Path(server.artifacts_root) / str(uri).removeprefix("mlflow-artifacts:/").strip("/")] = kind
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
                assert rest.name == "traces.json"
                found[kind, "spans", ""] += 1
    return found


@pytest.mark.long
@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("gone", [False, True], ids=["altered", "gone"])
def test_every_file_belongs_to_an_object(fresh_server: FreshServer, tmp_path: Path, version: str, gone: bool) -> None:
    """A file that no object claims is lost without a word: all are altered at once, and each is named."""
    release = "newest" if version == NEWEST else version
    source, target = fresh_server(release), fresh_server(release)
    seed_small(source.uri)
    seed_objects(source.uri, Seeder(source.uri).experiment("every kind"), version=release)
    Path(target.artifacts_root).mkdir(exist_ok=True)
    lay(source, target)
    wanted = owners(target)
    assert {kind for kind, _, _ in wanted} >= {"run", "trace" if version in SPANS_IN_FILES else "run"}
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
    found = Counter(
        (one["kind"], one["facet"], "" if one["facet"] == "spans" else one["key"]) for one in done.report["findings"]
    )
    assert {one: count for one, count in wanted.items() if found[one] < count} == {}
