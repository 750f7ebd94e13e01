"""An audit that ends early: at so many failed objects nothing more is read, and what is left is not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import Row, State

#: Names that the reason has.
_NAMED = 5


@dataclass(slots=True)
class Stop:
    """Counts failed objects up to ``limit``, and after that what was not looked at any more."""

    limit: int
    failed: set[tuple[str, str, str]] = field(default_factory=set)
    unseen: int = 0
    """Comparisons that were not made."""
    labels: dict[str, None] = field(default_factory=dict)
    """Experiments, models, prompts in which there are such."""

    @property
    def reached(self) -> bool:
        """Whether nothing more is to be looked at."""
        return len(self.failed) >= self.limit

    @property
    def note(self) -> str:
        """Why something was not compared."""
        return f"not compared: the audit stopped at {counted(self.limit, 'failed objects')} (--parity-stop-after)"

    def see(self, row: Row) -> None:
        """Count a row of an object that failed, whatever facet it is of."""
        if not row.state.green and row.note != self.note:
            identity = row.source_id or row.target_id or f"{row.experiment}/{row.name}"
            self.failed.add((row.kind, "source" if row.source_id else "target", identity))

    def unlooked(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Turn rows into such of objects that nobody looked at."""
        for one in outcomes:
            row = replace(one.row, state=State.UNVERIFIED, findings=0, rules=(), note=self.note)
            found: tuple[Difference, ...] = ()
            if row.experiment not in self.labels:
                # one for all of a place: the ledger names each object
                found = (Difference("", State.UNVERIFIED, f"{row.kind}.{row.facet}", note=self.note),)
                row = replace(row, findings=1)
            self.labels[row.experiment] = None
            self.unseen += 1
            yield Outcome(row, found)

    @property
    def told(self) -> str:
        """One line for the report; empty: it did not stop, or nothing was left then."""
        if not self.unseen:
            return ""
        names = [f'"{name}"' for name in list(self.labels)[:_NAMED]]
        more = f" and {len(self.labels) - _NAMED} more" if len(self.labels) > _NAMED else ""
        many = f"{self.unseen:,} comparisons were not made" if self.unseen > 1 else "1 comparison was not made"
        failed = counted(len(self.failed), "failed objects")
        return f"stopped at {failed} (--parity-stop-after {self.limit}): {many}, in {', '.join(names)}{more}"
