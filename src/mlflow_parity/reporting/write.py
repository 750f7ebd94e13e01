"""Writes the reports into one directory, redacted, whole or not at all, and puts earlier ones aside."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow_parity.core.errors import NoSpace, ParityError, UsageProblem, no_space
from mlflow_parity.core.local.files import drop_dead, make_folder, replacing, share, temporary
from mlflow_parity.core.local.input_files import Unusable, json_of
from mlflow_parity.reporting import json_report
from mlflow_parity.reporting.page import html_report
from mlflow_parity.reporting.page.curves import Curves, Key
from mlflow_parity.reporting.page.ui_links import experiment_ids
from mlflow_parity.reporting.report import Report

JSON_NAME = "report.json"
HTML_NAME = "report.html"
LEDGER_NAME = "ledger.parquet"
#: What ``attest`` puts beside them.
CONTRACT_NAME = "attested-contract.md"
ATTESTATION_NAME = "attestation.json"


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
    report: Report,
    directory: str | os.PathLike[str],
    redact: Callable[[str], str],
    ledger: Path | None = None,
    curves: Mapping[Key, Curves] | None = None,
) -> dict[str, Path]:
    """Write ``report.json``, ``report.html`` and a copy of ``ledger`` to ``directory``; return their paths by name.

    All of them or, when the disk is full, none. JSON and page hold the digest of each other. Every text passes
    ``redact`` before it is rendered: afterwards a secret may be escaped, cut or wrapped, and could no longer be
    recognised.

    Raises:
        NoSpace: there is no room for them.
        UsageProblem: one line saying why the directory cannot be used.
    """
    return _written(report, directory, redact, ledger, curves)[0]


def _written(
    report: Report,
    directory: str | os.PathLike[str],
    redact: Callable[[str], str],
    ledger: Path | None,
    curves: Mapping[Key, Curves] | None,
) -> tuple[dict[str, Path], str]:
    """Write what :func:`write_reports` does; return the digest of the page too."""
    clean = report.redacted(redact)
    page = html_report.render(clean, experiment_ids(ledger) if clean.findings else None, curves)
    # a page without a verdict cannot be signed
    digest = "" if clean.verdict == "none" else _sha256(page)
    told = json_report.render(replace(clean, page_digest=digest))
    page = page.replace(html_report.stated(html_report.NOT_KNOWN_YET), html_report.stated(_sha256(told)))
    documents = {JSON_NAME: told, HTML_NAME: page}
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
    return {name: path / name for name in names}, digest


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _unusable(path: Path, error: Exception) -> ParityError:
    if (full := no_space(error)) is not None:
        return full
    why = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return UsageProblem(f"--parity-report-dir: cannot write reports to {str(path)!r}: {why}; give another directory")


#: The files of a report, in the order in which they go and come: a program believes the first.
FILES = (JSON_NAME, HTML_NAME, LEDGER_NAME)
#: How the folder begins that takes the report before.
EARLIER = "earlier-"
#: A report without a verdict is smaller than that.
_SMALL = 1_000_000
Redact = Callable[[str], str]


class ReportFolder:
    """Where the reports of one run go.

    At once what stands there is moved into a dated folder beside it (``earlier-2026-11-26T10-00-00Z``, by when it was
    written), and a report without a verdict takes its place until :meth:`finish`.

    Raises:
        UsageProblem: one line saying why the directory cannot be used. A full disk alone is no reason: see ``problem``.
    """

    def __init__(self, directory: str | os.PathLike[str], unfinished: Report, redact: Redact) -> None:
        self._aside: Path | None = None
        self.path = prepare_directory(directory)
        for name in FILES:
            drop_dead(self.path.glob(f".{name}.*.tmp"))
        self.earlier = self._set_aside()
        """Name of the folder with the report that stood here last, if one did."""
        self.page_digest = ""
        """That of the page which was written last."""
        self._mark: tuple[int, int] | None = None
        self.begin(unfinished, redact)

    def begin(self, unfinished: Report, redact: Redact) -> None:
        """Write the report without a verdict: once more when more is known of the run.

        Raises:
            UsageProblem: one line saying why the directory cannot be used.
        """
        self.problem = ""
        """Why the report without a verdict could not be written: the disk is full."""
        self._redact = redact
        self._unfinished = replace(unfinished, earlier=self.earlier)
        if self.lost:
            return
        try:
            self._write(self._unfinished)
        except NoSpace as error:
            self.problem = str(error)

    def _set_aside(self) -> str | None:
        # an attestation goes with its report
        names = (*FILES, CONTRACT_NAME, ATTESTATION_NAME)
        standing = [self.path / name for name in names if os.path.lexists(self.path / name)]
        without = without_verdict(self.path / JSON_NAME)
        if without is not None and not (self.path / LEDGER_NAME).exists():
            # nothing to keep; but what it says of the report before it stays true
            earlier = without.get("earlier")
            return earlier if isinstance(earlier, str) and (self.path / earlier).is_dir() else None
        if not standing:
            return None
        try:
            written = time.gmtime(os.lstat(standing[0]).st_mtime)
            self._aside = _new_folder(self.path, f"{EARLIER}{time.strftime('%Y-%m-%dT%H-%M-%SZ', written)}")
            for file in standing:
                os.replace(file, self._aside / file.name)
        except OSError as error:
            why = f"{error.strerror or error}; the report that stands in {self.path} is of an earlier run"
            raise UsageProblem(f"--parity-report-dir: cannot move {standing[0]} aside: {why}") from error
        return self._aside.name

    def now(self, path: str) -> str:
        """Return where a file is now that may have been moved aside."""
        given = Path(path)
        if self._aside is None or given.name not in FILES or not _same(given.parent, self.path):
            return path
        return str(self._aside / given.name)

    @property
    def lost(self) -> bool:
        """Whether another run began in this folder since."""
        return self._mark is not None and (self.path / JSON_NAME).exists() and _mark(self.path) != self._mark

    @property
    def without_verdict(self) -> Report:
        """What stands there while there is no verdict."""
        return self._unfinished

    def ends(self, reason: str, exit_status: int | None = None) -> None:
        """Say why there is no verdict, now that it is known."""
        if self.lost:
            return
        self._unfinished = replace(self._unfinished, reasons=(f"no verdict: {reason}",), exit_status=exit_status)
        try:
            self._write(self._unfinished)
        except (NoSpace, UsageProblem) as error:
            # what stands there says that the run did not finish, which is true
            self.problem = str(error)

    def finish(self, report: Report, ledger: Path, curves: Mapping[Key, Curves] | None = None) -> dict[str, Path]:
        """Write the reports with their ledger and return their paths by file name; the page shows ``curves``.

        Where another run began in this folder meanwhile they go beside its own, into a folder of their own.

        Raises:
            NoSpace: the disk is full.
            UsageProblem: one line saying why the directory cannot be used.
        """
        if self.lost:
            stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
            self.path = _new_folder(self.path, f"{EARLIER}{stamp}")
        report = replace(report, earlier=self.earlier)
        written, self.page_digest = _written(report, self.path, self._redact, ledger, curves)
        # it may be written once more
        self._mark = _mark(self.path)
        return written

    def _write(self, report: Report) -> None:
        write_reports(report, self.path, self._redact)
        self._mark = _mark(self.path)


def without_verdict(path: Path) -> Mapping[str, Any] | None:
    """Return a ``report.json`` that has no verdict; ``None``: it has one, or is none."""
    try:
        content = json_of(path, _SMALL)
    except Unusable:
        return None
    return content if isinstance(content, dict) and content.get("verdict") == "none" else None


def _mark(directory: Path) -> tuple[int, int]:
    found = (directory / JSON_NAME).stat()
    return found.st_ino, found.st_mtime_ns


def _new_folder(parent: Path, name: str) -> Path:
    folder, number = parent / name, 1
    while True:
        try:
            folder.mkdir(0o700)
            share(folder)
        except FileExistsError:
            number += 1
            folder = parent / f"{name}-{number}"
        else:
            return folder


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
