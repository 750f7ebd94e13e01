"""Writes the reports: redacted, whole or not at all, one directory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from mlflow_parity.errors import UsageProblem
from mlflow_parity.reporting import html_report, json_report
from mlflow_parity.reporting.report import Report

JSON_NAME = "report.json"
HTML_NAME = "report.html"
LEDGER_NAME = "ledger.parquet"


def prepare_directory(directory: str | os.PathLike[str]) -> Path:
    """Make ``directory`` and prove that a file can be written there; worth doing before hours of reading.

    Raises:
        UsageProblem: one line saying why it cannot be used.
    """
    path = Path(directory)
    probe = path / f".parity-{secrets.token_hex(6)}.tmp"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    return path


def write_reports(report: Report, directory: str | os.PathLike[str], redact: Callable[[str], str]) -> dict[str, Path]:
    """Write ``report.json`` and ``report.html`` to ``directory`` and return their paths by file name.

    Every text passes ``redact`` before it is rendered: afterwards a secret may be escaped, cut or wrapped, and
    could no longer be recognised.

    Raises:
        UsageProblem: one line saying why the directory cannot be used.
    """
    clean = report.redacted(redact)
    documents = {JSON_NAME: json_report.render(clean), HTML_NAME: html_report.render(clean)}
    path = prepare_directory(directory)
    written = {}
    for name, document in documents.items():
        written[name] = path / name
        try:
            write_atomically(path / name, document.encode("utf-8"))
        except OSError as error:
            raise _unusable(path, error) from error
    return written


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` at once; a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _unusable(path: Path, error: Exception) -> UsageProblem:
    why = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return UsageProblem(f"--parity-report-dir: cannot write reports to {str(path)!r}: {why}; give another directory")
