"""``--recheck report.json``: reads and judges again only what was not green in an earlier report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.errors import UsageProblem
from mlflow_parity.locations import Location


@dataclass(frozen=True, slots=True)
class Recheck:
    """What an earlier report leaves to be judged again.

    ``checks`` are its checks that were not green, as ``promise[item id]``; ``created`` and ``digest`` (SHA-256 of the
    file, hex) say which report it was.
    """

    path: str
    created: str
    digest: str
    checks: frozenset[str]

    def wants(self, checks: Iterable[str]) -> bool:
        """Whether a test that stands for these checks (``promise[item id]``) is to be run again."""
        return not self.checks.isdisjoint(checks)

    @property
    def title(self) -> str:
        """Which report it is, in a few words."""
        return f"{Path(self.path).name} of {self.created} (SHA-256 {self.digest[:16]}…)"


def load_recheck(path: str, source: Location, target: Location) -> Recheck:
    """Read the report that is to be rechecked.

    Raises:
        UsageProblem: it is no report, is damaged, is of another format, of other servers, or has nothing red.
    """
    from mlflow_parity.drafting import read_report

    report = read_report(path, "--recheck")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    for side, location in (("source", source), ("target", target)):
        told = report["sides"][side]["location"]
        if told != location.display:
            raise UsageProblem(
                f"--recheck: {path} is of another {side} ({told}, not {location.display}); give the same servers"
            )
    checks = report.get("not_green")
    if not isinstance(checks, list) or not all(isinstance(name, str) for name in checks):
        raise UsageProblem(f"--recheck: {path} does not say which checks were not green; make the report again")
    if not checks:
        raise UsageProblem(f"--recheck: {path} has no check that was not green: there is nothing to judge again")
    return Recheck(path, str(report["created"]), digest, frozenset(checks))
