"""Writes the reports: redacted, whole or not at all, one directory."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.core.private_files import make_folder, temporary
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
        make_folder(path)
        probe.touch(exist_ok=False)
        probe.unlink()
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
    staged: dict[str, Path] = {}
    try:
        for name, document in documents.items():
            staged[name] = temporary(path / name)
            with open(staged[name], "wb") as file:
                file.write(document.encode("utf-8"))
                _settle(file)
        if ledger is not None:
            staged[LEDGER_NAME] = temporary(path / LEDGER_NAME)
            with open(ledger, "rb") as whole, open(staged[LEDGER_NAME], "wb") as file:
                shutil.copyfileobj(whole, file, 1 << 20)
                _settle(file)
        # names are given when there is nothing left that needs room
        for name, made in staged.items():
            os.replace(made, path / name)
    except OSError as error:
        raise _unusable(path, error) from error
    finally:
        for made in staged.values():
            made.unlink(missing_ok=True)
    return {name: path / name for name in staged}


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _unusable(path: Path, error: Exception) -> ParityError:
    if (full := no_space(error)) is not None:
        return full
    why = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return UsageProblem(f"--parity-report-dir: cannot write reports to {str(path)!r}: {why}; give another directory")
