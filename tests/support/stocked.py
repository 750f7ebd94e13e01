"""Puts everything that a release of MLflow can hold onto one of its servers."""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.standin.servers import Server, clean_environment
from support import warm
from support.environments import python_of
from support.seed import Seeder, seed_small
from support.seed_later import seed_later, seed_secret
from support.seed_objects import seed_objects
from support.seed_skills import seed_skills
from support.seed_spans import written
from support.seed_traces import reference, trace
from support.servers import keep_content, lay_content
from support.sharing import made_once

_ARCHIVER = Path(__file__).with_name("archive_traces.py")
#: First releases with traces of MLflow 3, spans in the database, a gateway, what came in 2026, archives, and skills.
_THREE, _SPANS, _GATEWAY, _LATER, _ARCHIVES, _SKILLS = (3, 0), (3, 6), (3, 10), (3, 17), (3, 17), (3, 18)
ARCHIVED = "mlflow.trace.archiveLocation"
_PICTURE = b"\x89PNG an attachment"


def stock(server: Server, version: str, number: str = "") -> None:
    """Give an empty server one of everything, the same each time. ``number`` is the version's, where it is a word."""
    with made_once(f"stocked-{number or version}") as (folder, is_there):
        if is_there:
            lay_content(folder / "content", server)
            _move_archive((folder / "root").read_text(), server)
        else:
            _write(server, version, number)
            keep_content(server, folder / "content")
            (folder / "root").write_text(server.artifacts_root)


def _move_archive(root: str, server: Server) -> None:
    """Let a server's archive of traces be its own, after its content was that of one with its files in ``root``.

    It keeps the archive's place as one of its disk.
    """
    old, new = (Path(one).as_uri() for one in (root, server.artifacts_root))
    with closing(sqlite3.connect(server.database_path, timeout=30)) as database, database:
        database.execute("UPDATE trace_tags SET value = replace(value, ?, ?) WHERE key = ?", (old, new, ARCHIVED))


def _write(server: Server, version: str, number: str) -> None:
    found = release(number or version)
    seed_small(server.uri)
    seed = Seeder(server.uri)
    experiment = seed.experiment("everything")
    seed_objects(server.uri, experiment, version=version, reachable=True)
    if found >= _SPANS:
        written(server.uri)
        _pictured()
    elif found >= _THREE:
        _attached(seed, experiment)
    if found >= _LATER:
        seed_later(server.uri, experiment)
    elif found >= _GATEWAY:
        seed_secret(server.uri)
    if found >= _ARCHIVES:
        assert archive(server, version) > 0
    if found >= _SKILLS:
        seed_skills(server.uri)


def _pictured() -> None:
    """Write a trace with an attachment beside spans in the database, by MLflow's client as it was set up before."""
    import mlflow
    from mlflow.tracing.attachments import Attachment

    with mlflow.start_span("with a picture") as span:
        span.set_inputs({"picture": Attachment(content_type="image/png", content_bytes=_PICTURE)})


def _attached(seed: Seeder, experiment: str) -> None:
    """Write a trace with an attachment beside its file of spans."""
    identity, trace_id = str(uuid.uuid4()), f"tr-{uuid.uuid4().hex}"
    inputs = {"picture": reference(identity, trace_id, len(_PICTURE))}
    trace(seed, experiment, "with a picture", trace_id=trace_id, inputs=inputs, files={identity: _PICTURE})


def archive(server: Server, version: str) -> int:
    """Archive the server's traces of long ago, below its folder of files; return how many they are."""
    root = Path(server.artifacts_root)
    told = {
        "database": f"sqlite:///{server.database_path}",
        "root": "mlflow-artifacts:/",
        "archive": f"{root.as_uri()}/archive",
        "config": str(root.parent / "archive.yaml"),
    }
    arguments = [str(_ARCHIVER), json.dumps(told)]
    done = warm.run(arguments, kind="mlflow", cwd=_ARCHIVER.parent, env=clean_environment(), python=python_of(version))
    assert done.returncode == 0, done.stderr[-3000:]
    return int(json.loads(done.stdout.split("RESULT")[-1]))
