"""Kills an import before and after single requests to the target, goes on with it, and audits what came of it.

``python killed_everywhere.py EXPORT SOURCE TARGET DATABASE ARTIFACTS WORK EVERY`` prints a line of JSON for each kill
(``SOURCE`` is the source's snapshot, ``DATABASE`` and ``ARTIFACTS`` the target's own, laid again each time), and first
one with the number of requests of an import that nobody disturbs. ``EVERY``: one in so many of them is chosen.

Attempts are forked, so that no time goes into starting them; requests come one after another, so that they can be
counted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import Server, clean_environment


def killed_everywhere(export: Path, source: str, target: Server, work: Path, every: int) -> Iterator[dict[str, Any]]:
    """Run this file as a program and yield what it prints."""
    command = [sys.executable, __file__, str(export), source, target.uri, str(target.database_path)]
    command += [str(target.artifacts_root), str(work), str(every)]
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**clean_environment(), "PYTHONPATH": path}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            yield json.loads(line)
    assert running.returncode == 0


class _Laboratory:
    def __init__(self, export: str, source: str, target: str, database: str, artifacts: str, work: str) -> None:
        from support.servers import copy_database

        self.export, self.source, self.target = Path(export), source, target
        self.database, self.artifacts, self.work = Path(database), Path(artifacts), Path(work)
        self.artifacts.mkdir(exist_ok=True)
        copy_database(self.database, self.work / "pristine.db")

    def reset(self) -> None:
        """Lay the target again."""
        from support.servers import copy_database

        copy_database(self.work / "pristine.db", self.database)
        for path in self.artifacts.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def attempt(self, journal: str, at: int = 0, *, after: bool = False) -> int:
        """Import in a process of its own, killed before or after a request; return how it ended (0: all is moved)."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            os._exit(self._import(self.work / journal, at, after))
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _import(self, journal: Path, at: int, after: bool) -> int:
        from mlflow_parity.migrating.export.export_folder import ExportFolder
        from support.importer import Whole

        whole = Whole(ExportFolder(self.export), self.target, journal)
        whole.context = replace(whole.context, workers=1)
        send: Any = whole.context.writer._send
        counting, sent = threading.Lock(), 0

        def deadly(*parts: Any, **more: Any) -> Any:
            nonlocal sent
            with counting:
                sent += 1
                last = sent == at
                (self.work / "sent").write_text(str(sent))
            if last and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = send(*parts, **more)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        whole.context.writer._send = deadly  # type: ignore[method-assign]
        whole.run()
        return 3 if whole.left else 0

    def judged(self) -> dict[str, Any]:
        """Audit what is on the target, and count the rows of its tables."""
        from support.copied import audited

        outcome = audited(self.source, self.target, profile="export-import", page=100)
        with closing(sqlite3.connect(self.database)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
        return {"green": outcome.green, "reasons": outcome.reasons[:2000], "rows": rows}


def _main(arguments: list[str]) -> int:
    from mlflow_parity.migrating.exim.tool import settle_tool
    from support import copied, importer  # noqa: F401 - loaded once, before the forks

    settle_tool()
    import mlflow_export_import.logged_model.import_logged_model
    import mlflow_export_import.run.import_run  # noqa: F401

    *given, every = arguments
    laboratory = _Laboratory(*given)
    status = laboratory.attempt("undisturbed")
    requests = int((laboratory.work / "sent").read_text())
    print(json.dumps({"requests": requests, "status": status, **laboratory.judged()}), flush=True)
    for at in range(1, requests + 1, int(every)):
        # with few of them both sorts come in turn
        for after in (False, True) if every == "1" else (bool(at // int(every) % 2),):
            laboratory.reset()
            journal = f"{at}-{after}"
            killed = laboratory.attempt(journal, at, after=after) == -signal.SIGKILL
            told = {"at": at, "after": after, "killed": killed, "status": laboratory.attempt(journal)}
            print(json.dumps({**told, **laboratory.judged()}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
