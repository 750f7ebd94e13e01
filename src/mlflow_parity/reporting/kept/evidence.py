"""What a report says, as far as something rests on it: each part of its type, and green only when all of it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow_parity.audit.renames import NOTE
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.identity.sums import is_borrowed
from mlflow_parity.core.scope import DEPTHS, EVIDENCE, Depth
from mlflow_parity.core.scope import Evidence as FileEvidence
from mlflow_parity.core.text import moment
from mlflow_parity.core.verdict import State

_GREEN = frozenset(state.value for state in State if state.green)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a report says, as far as something rests on it.

    ``counts`` is what was read of the source, by kind; ``totals`` are the states as told, ``counted`` as its coverage
    adds up; ``experiments`` are the names that the coverage has.
    """

    created: datetime
    tool_version: str
    contract_digest: str
    verdict: str
    exit_status: int | None
    reasons: tuple[str, ...]
    source: str
    source_kind: str
    source_digest: str
    target: str
    target_kind: str
    target_resumed: int
    depth: Depth
    checks: frozenset[str]
    only: tuple[str, ...]
    excluded: tuple[str, ...]
    include_deleted: bool
    partial: bool
    left_out: tuple[str, ...]
    objects: int
    verified: int
    totals: Mapping[str, int]
    counted: Mapping[str, int]
    counts: Mapping[str, int]
    experiments: frozenset[str]
    answered: Mapping[str, tuple[str, tuple[str, ...]]]
    """By side: another endpoint than the ARN's own (empty: that), and the connections without TLS that is verified."""
    target_digest: str
    target_counts: Mapping[str, int]
    waivers: int
    waivers_digest: str
    renamed: str
    """The note of the renames by which it was made; empty: there were none."""
    files: FileEvidence = "sha256"
    """What could prove that files are equal: the digests of both sides are of that."""
    borrowed: tuple[str, ...] = ()
    """What proves that files are equal, and neither a store says nor was read in that audit."""

    @property
    def bad(self) -> dict[str, int]:
        """What is counted that is not green, by state."""
        return {state: count for state, count in self.counted.items() if state not in _GREEN}

    @property
    def is_green(self) -> bool:
        """Whether everything in it says so; its first line alone is not believed."""
        return self.verdict == "green" and not self.reasons and self.exit_status == 0 and not self.bad

    @property
    def adds_up(self) -> bool:
        """Whether its coverage is what its totals say."""
        return self.totals == self.counted and sum(self.counted.values()) == self.objects

    @property
    def unverified(self) -> int:
        """Objects and facets that were not read and judged on both sides."""
        return max(self.counted.get("unverified", 0), self.objects - self.verified)


def evidence_of(content: Mapping[str, Any], path: str, what: str = "--report") -> Evidence:
    """Take out of a report what is needed; ``what`` names the option in errors.

    Raises:
        UsageProblem: parts of it are not there, or of another type.
    """
    try:
        scope, source, target = content["scope"], content["sides"]["source"], content["sides"]["target"]
        counted: Counter[str] = Counter()
        for row in content["coverage"]:
            counted.update({str(state): int(count) for state, count in row["counts"].items()})
        return Evidence(
            created=moment(content["created"]),
            tool_version=str(content["tool_version"]),
            contract_digest=str(content["contract_digest"]),
            verdict=str(content["verdict"]),
            exit_status=content["exit_status"],
            reasons=_texts(content["reasons"]),
            source=str(source["location"]),
            source_kind=str(source["kind"]),
            source_digest=str(source["snapshot_digest"]),
            target=str(target["location"]),
            target_kind=str(target["kind"]),
            target_resumed=int(target["resumed_parts"]),
            depth=DEPTHS[DEPTHS.index(scope["depth"])],
            checks=frozenset(_texts(scope["checks"])),
            only=_texts(scope["experiments"]),
            excluded=_texts(scope["excluded"]),
            include_deleted=scope["include_deleted"] is True,
            partial=scope["partial"] is not False,
            left_out=_texts(scope["left_out"]),
            objects=int(content["objects"]),
            verified=int(content["verified"]),
            totals={str(state): int(count) for state, count in content["totals"].items() if count},
            counted={state: count for state, count in counted.items() if count},
            counts=_counts(source),
            experiments=frozenset(str(row["experiment"]) for row in content["coverage"]),
            answered={
                side: (str(content["sides"][side]["endpoint"]), _texts(content["sides"][side]["tls_not_verified"]))
                for side in ("source", "target")
            },
            target_digest=str(target["snapshot_digest"]),
            target_counts=_counts(target),
            waivers=len(_texts(content["waivers"])),
            waivers_digest=str(content["waivers_digest"]),
            files=EVIDENCE[EVIDENCE.index(scope.get("evidence", "sha256"))],
            borrowed=tuple(told for told in content.get("evidence", {}) if is_borrowed(str(told))),
            renamed=next((note for note in _texts(content["notes"]) if note.startswith(NOTE)), ""),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise UsageProblem(f"{what}: {path} is damaged: parts of the report are not there; audit again") from None


def _counts(side: Mapping[str, Any]) -> dict[str, int]:
    counts = {name: int(side[name]) for name in ("experiments", "runs", "points", "artifacts")}
    return {**counts, **{str(name): int(count) for name, count in side["objects"].items()}}


def _texts(given: object) -> tuple[str, ...]:
    if not isinstance(given, list):
        raise TypeError("not a list")
    return tuple(str(item) for item in given)
