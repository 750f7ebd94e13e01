"""Counts a report's figures again from the ledger beside it: a report that was edited does not add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.verdict import State
from mlflow_parity.reporting.ledger import count_states
from mlflow_parity.reporting.waiver_drafts import ledger_of

_GREEN = frozenset(state.value for state in State if state.green)


def recount(report: Mapping[str, Any], path: str, what: str) -> str:
    """Return how a report at ``path`` contradicts its ledger, or why that is not green; empty: it is, and they agree.

    ``what`` names the option in errors.

    Raises:
        UsageProblem: the ledger is another's, or cannot be read; or the report is damaged.
    """
    ledger = ledger_of(report, path, what)
    if ledger is None:
        return "the ledger.parquet from which its figures are counted is not beside it"
    rows = count_states(ledger)
    told: Counter[tuple[str, str]] = Counter()
    try:
        for row in report["coverage"]:
            for state, count in row["counts"].items():
                told[str(row["facet"]), str(state)] += int(count)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageProblem(f"{what}: {path} is damaged: parts of the report are not there; audit again") from None
    if {key: count for key, count in told.items() if count} != rows:
        found, said = sum(rows.values()), sum(told.values())
        facets = sorted({facet for facet, _ in {*rows, *told} if _of(rows, facet) != _of(told, facet)})
        return f"its ledger says otherwise ({found:,} rows, the report {said:,}): {', '.join(facets[:3])}"
    bad: Counter[str] = Counter()
    for (_, state), count in rows.items():
        if state not in _GREEN:
            bad[state] += count
    if bad:
        return f"its ledger holds {', '.join(f'{count:,} {state}' for state, count in sorted(bad.items()))}"
    return "" if rows else "its ledger is empty"


def _of(counts: Mapping[tuple[str, str], int], facet: str) -> dict[str, int]:
    return {state: count for (one, state), count in counts.items() if one == facet and count}
