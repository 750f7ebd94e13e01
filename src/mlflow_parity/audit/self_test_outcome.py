"""What a self-test concluded, as data without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: ``found``: the audit saw it. ``missed``: it did not, and should have. ``hidden``: waivers cover every fault of the
#: class. ``nothing``: no object that it could be planted in. ``depth``: this ``--parity-depth`` cannot see it.
#: ``contract``: this profile's contract lets it differ.
State = Literal["found", "missed", "hidden", "nothing", "depth", "contract"]
STATES: tuple[State, ...] = ("missed", "hidden", "nothing", "depth", "contract", "found")


@dataclass(frozen=True, slots=True)
class Planted:
    """One class of faults and what became of it.

    ``where`` names the object in whose copy it was planted, ``seen`` facet and state of the row that went red,
    ``waivers`` those that hide it, ``note`` what else there is to say.
    """

    kind: str
    facet: str
    fault: str
    state: State
    where: str = ""
    seen: str = ""
    waivers: tuple[str, ...] = ()
    note: str = ""

    @property
    def title(self) -> str:
        """The class in a few words."""
        return f"{self.kind} {self.facet}: {self.fault}"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Every class of faults in the audit's scope; ``looked_at`` counts the objects that were candidates, by kind."""

    faults: tuple[Planted, ...] = ()
    looked_at: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def of(self, state: State) -> tuple[Planted, ...]:
        """Return the classes in a state."""
        return tuple(fault for fault in self.faults if fault.state == state)

    @property
    def planted(self) -> int:
        """Classes of which a fault was planted."""
        return sum(fault.state in ("found", "missed", "hidden") for fault in self.faults)

    @property
    def red(self) -> bool:
        """Whether the audit did not see what it should have seen."""
        return bool(self.of("missed"))

    @property
    def summary(self) -> str:
        """One line for reports."""
        counts = {state: len(self.of(state)) for state in STATES}
        told = [f"{counts['found']:,} of {self.planted:,} planted faults seen"]
        told += [f"{counts['missed']:,} MISSED"] * bool(counts["missed"])
        told += [f"{counts['hidden']:,} hidden by waivers"] * bool(counts["hidden"])
        told += [f"{counts['nothing']:,} not applicable"] * bool(counts["nothing"])
        told += [f"{counts['depth']:,} beyond this depth"] * bool(counts["depth"])
        told += [f"{counts['contract']:,} allowed"] * bool(counts["contract"])
        return f"{', '.join(told)} ({self.seconds:.1f} s)"

    def reasons(self) -> list[str]:
        """Say why the verdict is red, one line per class."""
        return [
            f"self-test: the audit did not see {fault.title}, planted in {fault.where}"
            + (f" ({fault.note})" if fault.note else "")
            for fault in self.of("missed")
        ]

    def left_out(self) -> list[str]:
        """Say what waivers make the audit blind for, one line per facet and waiver."""
        all_of = Counter((fault.kind, fault.facet) for fault in self.faults if fault.state != "contract")
        by_waiver: dict[tuple[str, str, str], list[str]] = {}
        for fault in self.of("hidden"):
            for waiver in fault.waivers:
                by_waiver.setdefault((fault.kind, fault.facet, waiver), []).append(fault.fault)
        return [
            f"{kind} {facet}, as far as the waiver {waiver} hides it: {len(names)} of {all_of[kind, facet]} classes of "
            f"faults ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for (kind, facet, waiver), names in by_waiver.items()
        ]
