"""Whether a report speaks of all that a migration was asked to move: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_parity.core.text import encodable
from mlflow_parity.core.verdict import Deleted
from mlflow_parity.kinds.base import Family
from mlflow_parity.kinds.check_registry import OWNERS, PROMISES, collected
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.options import NOT_LOADED, left_out_by_names

_REST: tuple[Family, ...] = ("model", "prompt", "server")


def not_proved(report: Mapping[str, Any], sides: Mapping[str, str], began: str) -> str:
    """Return why a report is no green one of these servers, as they are shown, since ``began``; empty: it is."""
    if report["verdict"] != "green" or report.get("exit_status") != 0:
        return f"the report says {report['verdict']}, exit status {report.get('exit_status')}"
    if str(report["created"]) < began:
        return f"the report was made at {report['created']}, before this audit began"
    for side, shown in sides.items():
        found = report["sides"][side]["location"]
        if found != shown:
            return f"the report is of another {side} ({found}, not {shown})"
    return ""


def not_covered(report: Mapping[str, Any], settings: Settings) -> str:
    """Return what the migration's options name and the report's audit did not look at; empty: nothing."""
    try:
        return next(_gaps(report, settings), "")
    except (KeyError, TypeError, AttributeError):
        return "parts of the report are not there"


def _gaps(report: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    scope, redact = report["scope"], settings.redactor
    for option, wanted in (("experiments", settings.experiments), ("excluded", ()), ("models", settings.models)):
        if list(scope.get(option) or ()) != [encodable(redact(name)) for name in wanted]:
            told = ", ".join(map(str, scope.get(option) or ())) or "none"
            yield f"it was limited to other names ({option}: {told})"
    if settings.include_deleted and not scope["include_deleted"]:
        yield "deleted experiments and runs were left out"
    if scope["depth"] == "listing":
        yield "no bytes of files were compared (depth listing)"
    if scope["profile"] != "export-import":
        yield f"it was judged by the profile {scope['profile']}"
    ran = set(map(str, scope.get("checks") or ()))
    allowed = set(_told_anyway(report)) | set(left_out_by_names(settings.experiments, (), settings.models))
    absent: tuple[Family, ...] = _REST if settings.experiments else _REST[:2] if settings.models else ()
    if report["sides"]["source"]["experiments"] == 0:
        # those that were left out otherwise are counted in a line of their own
        absent = ("experiment", *absent)
    every = collected(snapshot=False)
    for family in dict.fromkeys(one.family for one in PROMISES):
        wanted_here = {one.name for one in PROMISES if one.family == family and one.name in every}
        missing = sorted(wanted_here - ran)
        # what is on the target only has its check all the same
        if missing and family in absent and wanted_here & ran <= OWNERS:
            allowed |= {f"{one.kind} {facet}" for one in PROMISES if one.name in missing for facet in one.facets}
        elif missing:
            yield f"checks were not run (test_{', test_'.join(missing[:3])}{', …' if missing[3:] else ''})"
    if left := [line for line in map(str, scope.get("left_out") or ()) if line not in allowed]:
        yield f"left out was: {left[0]}"
    if scope["partial"] and not absent:
        yield "the report says that it is partial"


def _told_anyway(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what every audit by default leaves out, and says so."""
    yield NOT_LOADED
    for side, content in report["sides"].items():
        deleted = content.get("deleted")
        yield (Deleted(**deleted) if isinstance(deleted, Mapping) else Deleted(None, None, None)).told(side)
