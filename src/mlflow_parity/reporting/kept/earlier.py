"""What an earlier report says: what of it is to be judged again (``--parity-recheck``), and its rows counted anew."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_parity.audit.renames import NOTE, load_renames
from mlflow_parity.audit.settings import Recheck
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.scope import DEPTHS
from mlflow_parity.reporting.kept.waiver_drafts import ledger_of, read_report

if TYPE_CHECKING:
    from mlflow_parity.audit.settings import Settings
from collections import Counter

from mlflow_parity.core.verdict import State, is_own
from mlflow_parity.reporting.ledger import count_states
from mlflow_parity.reporting.other_reasons import told_in
from mlflow_parity.reporting.report import SIDES


def load_recheck(path: str, settings: Settings) -> Recheck:
    """Read the report that is to be rechecked.

    Raises:
        UsageProblem: it is no report, is damaged, has no verdict or another's ledger, is of another format, of other
            servers, of an audit that judged more than these settings do, or has nothing red.
    """
    report = read_report(path, "--parity-recheck")
    ledger_of(report, path, "--parity-recheck")
    digest = file_sha256(Path(path))
    for side, location in (("source", settings.source), ("target", settings.target)):
        told = report["sides"][side]["location"]
        if told != location.display:
            raise UsageProblem(
                f"--parity-recheck: {path} is of another {side} ({told}, not {location.display}); give the same servers"
            )
    wanted = missing_options(
        report,
        settings.depth,
        settings.profile,
        include_deleted=settings.include_deleted,
        evidence=settings.evidence,
    )
    wanted += missing_ways(report, settings)
    if wanted:
        raise UsageProblem(f"--parity-recheck: {path} is of an audit that judged otherwise; add {' '.join(wanted)}")
    checks = report.get("not_green")
    if not isinstance(checks, list) or not all(isinstance(name, str) for name in checks):
        raise UsageProblem(f"--parity-recheck: {path} does not say which checks were not green; make the report again")
    others = told_in(report)
    tests = (one.about for one in others if one.of == "test")
    again = Recheck(
        path, str(report["created"]), digest, frozenset(checks), _covers(report, settings),
        tuple(dict.fromkeys((*own_not_green(report), *tests))),
        # checks that were not run again are among those that were not green
        tuple(dict.fromkeys((one.of, one.about) for one in others if one.of not in ("test", "recheck"))),
    )  # fmt: skip
    if again.own and not checks:
        raise UsageProblem(
            f"--parity-recheck: what was not green in {path} was found by own checks alone ({again.own_named}), and a "
            "recheck runs none: run them again without --parity-recheck"
        )
    if again.open and not checks:
        raise UsageProblem(
            f"--parity-recheck: what is wrong in {path} is told by no check ({again.open[0][1]}), so no recheck "
            "settles it: audit the whole again"
        )
    if not checks:
        raise UsageProblem(f"--parity-recheck: {path} has no check that was not green: there is nothing to judge again")
    return again


def own_not_green(report: Mapping[str, Any]) -> list[str]:
    """Return the names of own checks whose rows in a report are not green."""
    red = (one["facet"] for one in report["coverage"] if not _GREEN.issuperset(one["counts"]))
    return list(dict.fromkeys(facet.partition(" ")[2] for facet in red if is_own(facet)))


def _covers(report: Mapping[str, Any], settings: Settings) -> bool:
    """Whether all that the report's audit listed is listed now, under the same names."""
    scope = report["scope"]
    was = [list(scope.get(name) or ()) for name in ("experiments", "excluded", "models")]
    now = [list(limits) for limits in (settings.experiments, settings.exclude_experiments, settings.models)]
    renames = load_renames(settings.rename)
    told = [note for note in report.get("notes") or () if str(note).startswith(NOTE)]
    return (was == now or not any(now)) and told == ([renames.note] if renames else [])


def missing_options(
    report: Mapping[str, Any], depth: str, profile: str, *, include_deleted: bool, evidence: str = "sha256"
) -> list[str]:
    """Return the options without which a check can be green again only because less is looked at, or by other rules."""
    scope = report["scope"]
    wanted = []
    if DEPTHS.index(depth) < DEPTHS.index(scope["depth"]):
        wanted += ["--parity-depth", scope["depth"]]
    # a report of before this could be chosen says nothing of it
    was = scope.get("evidence", "weak")
    if _STRENGTH.index(evidence) < _STRENGTH.index(was):
        wanted += ["--parity-evidence", was]
    if scope["profile"] != profile:
        wanted += ["--parity-profile", scope["profile"]]
    if scope["include_deleted"] and not include_deleted:
        wanted += ["--parity-include-deleted"]
    return wanted


def missing_ways(report: Mapping[str, Any], settings: Settings) -> list[str]:
    """Return the options without which less is read than the report's audit has read beside the servers' API.

    What only a database, or the storage itself, told would be green again as soon as nobody looks there.
    """
    read: Mapping[str, object] = {
        "--source-db": settings.source_db,
        "--target-db": settings.target_db,
        "--parity-source-artifacts": settings.source_artifacts,
        "--parity-target-artifacts": settings.target_artifacts,
    }
    wanted = []
    for option, place in ways_of(report).items():
        if not read[option]:
            wanted += [option, shlex.quote(place)]
    return wanted


def ways_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Return by option what the audit of a report has read beside the servers' API; of a snapshot nothing is read."""
    ways = {}
    for side in SIDES:
        told = report["sides"][side]
        if told.get("kind") != "snapshot":
            # a report of before this was written down says nothing of it
            ways[f"--{side}-db"], ways[f"--parity-{side}-artifacts"] = told.get("database"), told.get("own_artifacts")
    return {option: str(place) for option, place in ways.items() if place}


#: From the weakest evidence to the strongest.
_STRENGTH = ("weak", "stores", "sha256")
_GREEN = frozenset(state.value for state in State if state.green)


def recount(report: Mapping[str, Any], path: str, what: str) -> str:
    """Return how a report at ``path`` contradicts its ledger, or why that is not green; empty: it is, and they agree.

    ``what`` names the option in errors.

    Raises:
        UsageProblem: the ledger is another's, or cannot be read; or the report is damaged.
    """
    if found := contradiction(report, path, what):
        return found
    bad: Counter[str] = Counter()
    judged = 0
    # the ledger says the same, row by row
    for row in report["coverage"]:
        for state, count in row["counts"].items():
            judged += int(count)
            if state not in _GREEN:
                bad[str(state)] += int(count)
    if any(bad.values()):
        return f"its ledger holds {', '.join(f'{count:,} {state}' for state, count in sorted(bad.items()) if count)}"
    return "" if judged else "its ledger is empty"


def contradiction(report: Mapping[str, Any], path: str, what: str) -> str:
    """Return how a report at ``path`` contradicts its ledger, green or red; empty: they agree.

    Raises:
        UsageProblem: as :func:`recount`.
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
    return ""


def _of(counts: Mapping[tuple[str, str], int], facet: str) -> dict[str, int]:
    return {state: count for (one, state), count in counts.items() if one == facet and count}
