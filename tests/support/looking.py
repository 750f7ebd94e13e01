"""Looks at two servers before a migration, as ``migrate.py`` does at its beginning."""

from __future__ import annotations

import argparse
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow_parity.audit.renames import Renames
from mlflow_parity.migrating.plan.ends import Checked
from mlflow_parity.migrating.plan.preflight import preflight
from mlflow_parity.migrating.settings import add_arguments, settings_of
from mlflow_parity.standin.servers import Server
from support.seed import EPOCH, Seeder
from support.seed_objects import seed_objects

#: What every look at two servers says.
ALWAYS = {("note", "versions"), ("note", "scope.left-out")}


class Source:
    """A server with one of everything, shared by a module; tests only read it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.seed = Seeder(server.uri)
        self.experiment = self.seed.experiment("objects", {"note": "n" * 4_000})
        self.objects = seed_objects(server.uri, self.experiment)
        for run in self.objects.runs.values():
            self.seed.end(run)
        other = self.other = self.seed.experiment("other")
        parent = self.objects.runs["train"]
        self.run = self.seed.run(other, "child of another experiment", parent=parent, tags={"long": "x" * 6_000})
        self.seed.log(self.run, metrics=[("loss", 1.0, EPOCH, step) for step in range(50)])
        self.seed.artifact(self.run, "notes.txt", b"one line\n")
        self.seed.end(self.run)


def look(work: Path, *arguments: str, **options: Any) -> Checked:
    """Look with these options of ``migrate.py``."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, source=True, target=True)
    settings = settings_of(parser.parse_args([*arguments, "--work-dir", str(work / "work")]))
    return preflight(settings, **{"renames": Renames(), **options})


def between(source: str, target: str) -> list[str]:
    """Return the options that name two servers."""
    return ["--source-uri", source, "--target-uri", target]


def codes(checked: Checked) -> set[tuple[str, str]]:
    """Return the findings by level and code, but for those that every look has."""
    return {(str(one.level), one.code) for one in checked.found} - ALWAYS


def text(checked: Checked, code: str) -> str:
    """Return all that the findings of a code say."""
    return " ".join(" ".join((one.what, one.why, one.fix)) for one in checked.found if one.code == code)


def state(server: Server) -> tuple[list[str], list[str]]:
    """Return all that a server holds: its whole database, and the names of its files."""
    with closing(sqlite3.connect(server.database_path)) as database:
        rows = list(database.iterdump())
    root = Path(server.artifacts_root)
    return rows, sorted(str(file.relative_to(root)) for file in root.rglob("*"))
