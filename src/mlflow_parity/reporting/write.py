"""Writes the reports: redacted, whole or not at all, one directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.core.files import make_folder, replacing, temporary
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
    try:
        make_folder(path)
        temporary(path / "parity").unlink()
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    return path


def write_reports(
    report: Report, directory: str | os.PathLike[str], redact: Callable[[str], str], ledger: Path | None = None
) -> dict[str, Path]:
    """Write ``report.json``, ``report.html`` and a copy of ``ledger`` to ``directory``; return their paths by name.

    All of them or, when the disk is full, none. Every text passes ``redact`` before it is rendered: afterwards a secret
    may be escaped, cut or wrapped, and could no longer be recognised.

    Raises:
        NoSpace: there is no room for them.
        UsageProblem: one line saying why the directory cannot be used.
    """
    clean = report.redacted(redact)
    documents = {JSON_NAME: json_report.render(clean), HTML_NAME: html_report.render(clean)}
    path = prepare_directory(directory)
    names = [*documents, *([LEDGER_NAME] if ledger is not None else [])]
    try:
        with replacing(*(path / name for name in names)) as made:
            for file, document in zip(made, documents.values(), strict=False):
                file.write_bytes(document.encode("utf-8"))
            if ledger is not None:
                with open(ledger, "rb") as whole, made[-1].open("wb") as copy:
                    shutil.copyfileobj(whole, copy, 1 << 20)
    except OSError as error:
        raise _unusable(path, error) from error
    return {name: path / name for name in names}


def _unusable(path: Path, error: Exception) -> ParityError:
    if (full := no_space(error)) is not None:
        return full
    why = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return UsageProblem(f"--parity-report-dir: cannot write reports to {str(path)!r}: {why}; give another directory")
