"""The real Export Import tool, run as the public guide says, in processes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlflow_parity.standin.servers import clean_environment
from support import warm
from support.environments import python_of

_EXPORT = "from mlflow_export_import.bulk.export_all import main; main()"
_IMPORT = "from mlflow_export_import.bulk.import_all import main; main()"


def migrate(
    source: str,
    target: str,
    folder: Path,
    *,
    version: str = "newest",
    source_tags: bool = True,
    twice: bool = False,
    deleted_runs: bool = False,
) -> str:
    """Export everything from ``source`` with the client of ``version`` and import it to ``target`` with the newest.

    Returns what the tool printed.
    """
    output = export(source, folder, version=version, deleted_runs=deleted_runs)
    for _ in range(2 if twice else 1):
        output += import_(target, folder, source_tags=source_tags)
    return output


def export(
    source: str,
    folder: Path,
    *,
    version: str = "newest",
    deleted_runs: bool = False,
    env: Mapping[str, str] | None = None,
) -> str:
    """Export everything from ``source`` to ``folder``."""
    more = ["--export-deleted-runs", "True"] if deleted_runs else []
    return _run(version, _EXPORT, source, env, "--output-dir", str(folder), *more)


def import_(
    target: str, folder: Path, *more: str, source_tags: bool = True, env: Mapping[str, str] | None = None
) -> str:
    """Import ``folder`` to ``target``; ``more`` are further arguments."""
    given = ["--input-dir", str(folder), "--import-source-tags", str(source_tags), *more]
    return _run("newest", _IMPORT, target, env, *given)


def begin_import(target: str, folder: Path) -> warm.Process:
    """Begin to import ``folder`` to ``target``, with source tags, and do not wait."""
    arguments = ["-c", _IMPORT, "--input-dir", str(folder), "--import-source-tags", "True"]
    return warm.begin(arguments, kind="mlflow", cwd=Path.cwd(), env=clean_environment({"MLFLOW_TRACKING_URI": target}))


def _run(version: str, program: str, uri: str, more: Mapping[str, str] | None, *arguments: str) -> str:
    env = clean_environment({"MLFLOW_TRACKING_URI": uri, **(more or {})})
    done = warm.run(["-c", program, *arguments], kind="mlflow", cwd=Path.cwd(), env=env, python=python_of(version))
    # it exits 0 whatever it lost; anything else is a defect of this set-up
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr
