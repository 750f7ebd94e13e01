"""Audits two servers in parts and joins them, and the same as a whole, to hold one against the other."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow_parity.core.verdict import Row
from mlflow_parity.standin.servers import Server, clean_environment
from support import warm
from support.audits import AuditRun, audit

_MERGE = ("-m", "mlflow_parity", "merge")


def in_parts(folder: Path, servers: tuple[Server, Server], of: int, *options: str) -> list[AuditRun]:
    """Audit each of so many parts, in a folder of its own."""
    source, target = (server.uri for server in servers)
    return [
        audit(folder / f"part-{number}", source, target, "--parity-subset", f"{number}/{of}", *options)
        for number in range(1, of + 1)
    ]


def merge(folder: Path, parts: Sequence[Path | str], *options: str) -> AuditRun:
    """Run ``mlflow-parity merge`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*_MERGE, *map(str, parts), *options]
    done = warm.run(command, kind="audit", cwd=folder, env=clean_environment(None), timeout=120)
    return AuditRun(done.returncode, done.stdout + done.stderr, folder / "reports")


def counted(rows: Sequence[Row]) -> Counter[Row]:
    """Rows of a ledger, in whatever order they came."""
    return Counter(rows)


def coverage(report: dict[str, Any]) -> dict[tuple[str, str], tuple[dict[str, int], int]]:
    """What a report counts, by experiment and facet."""
    return {(one["experiment"], one["facet"]): (one["counts"], one["findings"]) for one in report["coverage"]}


def explained(report: dict[str, Any]) -> list[str]:
    """The findings of a report, in an order of their own."""
    return sorted(json.dumps(one, sort_keys=True) for one in report["findings"])


def copied(parts: Sequence[AuditRun], folder: Path) -> list[Path]:
    """Copies of the reports of some parts, to be spoilt."""
    made = []
    for number, part in enumerate(parts, 1):
        made.append(folder / f"copy-{number}")
        shutil.copytree(part.reports, made[-1])
    return made
