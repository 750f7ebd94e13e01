"""Runs the audit as its users do, in a process of its own, and reads what it wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_parity.core.verdict import Row
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.standin.servers import clean_environment
from support import warm

#: ``python`` with these arguments is an audit; plugins of other packages take a second to start and no check uses them.
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio", "-rfE")
_BROKEN = re.compile(r" - (?:Key|Type|Attribute|Index|Value|Runtime)Err")


@dataclass(frozen=True, slots=True)
class AuditRun:
    """A finished audit: exit status, everything printed, and the folder of its reports."""

    status: int
    output: str
    reports: Path

    @property
    def report(self) -> dict[str, Any]:
        """``report.json``."""
        content: dict[str, Any] = json.loads((self.reports / "report.json").read_text(encoding="utf-8"))
        return content

    def rows(self) -> list[Row]:
        """The ledger."""
        return list(read_rows(self.reports / "ledger.parquet"))

    def red_rows(self) -> list[Row]:
        """The ledger rows that are not green."""
        return [row for row in self.rows() if not row.state.green]

    def findings(self) -> set[tuple[str, str, str, str]]:
        """``(facet, key, state, name of the run or experiment)`` of every finding in the report."""
        return {(f["facet"], f["key"], f["state"], f["name"]) for f in self.report["findings"]}

    def failed(self) -> set[str]:
        """Names of the checks that failed or errored, without the experiment."""
        lines = [line for line in self.output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        # a check says what is wrong; one that breaks down is red for no reason that anybody could read
        assert [line for line in lines if " - " in line and _BROKEN.search(line)] == []
        words = [line.split("::")[-1] for line in lines]
        return {word.partition("[")[0] for word in words}


def audit(
    folder: Path,
    source: str,
    target: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    timeout: float = 300.0,
    cache: bool = False,
) -> AuditRun:
    """Run ``pytest --source-uri source --target-uri target …`` in ``folder``; an ARN goes to ``--…-arn``.

    An empty location is not given: ``env`` names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [*PYTEST]
    if cache:
        command[command.index("no:cacheprovider")] = "cacheprovider"
    for side, location in (("source", source), ("target", target)):
        if not location:
            continue
        command += [f"--{side}-{'arn' if location.startswith('arn:') else 'uri'}", location]
    reports = folder / "reports"
    if "--parity-report-dir" in arguments:
        reports = Path(arguments[arguments.index("--parity-report-dir") + 1])
    else:
        command += ["--parity-report-dir", str(reports)]
    command += arguments
    done = warm.run(command, kind="audit", cwd=folder, env=clean_environment(env), timeout=timeout)
    return AuditRun(done.returncode, done.stdout + done.stderr, reports)
