"""Builds the report of an audit in pytest: what was left out, why it is not green, the command that repeats it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from mlflow_parity import __version__
from mlflow_parity.audit.renames import Renames
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.settings import Settings, left_out_by_names
from mlflow_parity.audit.side import SIDES
from mlflow_parity.audit.test_items import Item
from mlflow_parity.core.identity.sums import is_weak
from mlflow_parity.core.locations import VARIABLE, Location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import is_own
from mlflow_parity.kinds import LIVE
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.options import NOT_ASKED, NOT_LOADED
from mlflow_parity.pytest_api import subset_report
from mlflow_parity.pytest_api.own_tests import OwnTests
from mlflow_parity.pytest_api.reasons import left_open, not_green_checks, on_neither_side, open_sentences, red_reasons
from mlflow_parity.reading.artifacts.trusted_places import AUDIT_OPTION
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.reading.transport.answering import each_of
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting import markdown
from mlflow_parity.reporting.attribution import in_common
from mlflow_parity.reporting.kept.part_report import NOTHING_RAN
from mlflow_parity.reporting.other_reasons import OtherReason, of, of_tests
from mlflow_parity.reporting.page.curves import Curves, Key, curves_of
from mlflow_parity.reporting.report import CoverageRow, Report, Scope, unfinished
from mlflow_parity.reporting.side_report import begun
from mlflow_parity.reporting.write import ReportFolder

if TYPE_CHECKING:
    from mlflow_parity.audit.result import Result
    from mlflow_parity.core.verdict import Finding
    from mlflow_parity.pairing.by_kind import ExperimentPair
    from mlflow_parity.reporting.side_report import SideReport
    from mlflow_parity.snapshot.views import SnapshotView

TITLES: dict[Family, str] = {
    "experiment": "experiments",
    "model": "registered models",
    "prompt": "prompts",
    "server": "server-level objects",
}

#: Why there is no verdict, by pytest's exit status.
_STOPPED = {
    int(pytest.ExitCode.TESTS_FAILED): "a check could not be collected",
    int(pytest.ExitCode.INTERRUPTED): "pytest was interrupted before the audit was done",
}


def stopped(exit_status: int, nothing_ran: str, tests: OwnTests) -> str:
    """Return why there is no verdict of a run that did not end well; ``nothing_ran`` is said where all tests ran."""
    if exit_status == pytest.ExitCode.TESTS_FAILED and not tests.uncollected:
        return f"tests failed, and {nothing_ran}"
    return _STOPPED.get(exit_status, "pytest stopped before the audit")


class Run(Protocol):
    """What the session knows of a run beside its result."""

    settings: Settings
    command: tuple[str, ...]
    renames: Renames | None
    unfound: tuple[str, ...]
    shared: str
    notes: list[str]
    checksums: ChecksumReports
    tests: OwnTests

    @property
    def items(self) -> tuple[Item, ...]:
        """The inventory."""
        ...


def begin(
    directory: str,
    redactor: Redactor,
    settings: Settings | None = None,
    command: tuple[str, ...] = (),
    folder: ReportFolder | None = None,
) -> ReportFolder:
    """Begin the reports of a run; without ``settings`` it is not known of what: not yet, or they were refused.

    ``folder`` was begun when less was known.

    Raises:
        UsageProblem: one line saying why the directory cannot be used.
    """
    sides: dict[str, SideReport] | None = None
    if settings is not None:
        ends: dict[SideName, Location] = {"source": settings.source, "target": settings.target}
        sides = {name: begun(name, place, os.environ) for name, place in ends.items()}
        if settings.summary:
            markdown.check(settings.summary)
    report = unfinished(__version__, iso(time.time()), sides, command)
    if folder is not None and folder.path == Path(directory):
        folder.begin(report, redactor)
        return folder
    return ReportFolder(directory, report, redactor)


def build_report(main: Run, audit: Audit, result: Result, exit_status: int, unwritten: str = "") -> Report:
    """Make the report of a finished audit; ``unwritten`` says why its evidence could not be kept."""
    settings = main.settings
    coverage = tuple(
        CoverageRow(state.item.label, facet, cell)
        for _, state in sorted(result.states.items())
        for facet, cell in state.cells.items()
    )
    # what one would not guess comes first: the terminal's line may have no room for every facet
    left_out: list[str] = []
    recheck = settings.recheck
    not_green = not_green_checks(result)
    if recheck is not None:
        left_out.append(f"everything that was green in {recheck.title}: this is a recheck of the rest")
    if settings.depth == "listing":
        left_out.append("bytes of artifacts (--parity-depth listing compares sizes only)")
    if weak := sum(count for told, count in result.evidence.items() if is_weak(told)):
        left_out.append(f"bytes of {counted(weak, 'files')} that a CRC32 alone says are equal (--parity-evidence weak)")
    chosen = set(result.selection.items)
    for family, title in TITLES.items():
        items = [item.key for item in main.items if item.family == family]
        unselected = sum(key not in chosen for key in items)
        if unselected:
            left_out.append(f"{unselected} of {len(items)} {title} were not selected")
    left_out += left_out_by_names(settings.experiments, settings.exclude_experiments, settings.models)
    for name in SIDES:
        origin = audit.sides[name].snapshot.origin
        if origin.other_workspaces:
            others = ", ".join(origin.other_workspaces)
            left_out.append(f"workspaces of the {name} beside {origin.workspace} ({VARIABLE} names that one): {others}")
    snapshot = settings.target.kind == "snapshot"
    untold = {f"{kind} {facet}" for kind, facet in LIVE} if snapshot else set()
    left_out += [line for line in result.selection.left_out() if line not in untold]
    if result.self_test is not None:
        # what waivers hide from the audit as a whole it does not prove, so the report may not claim it
        left_out += result.self_test.left_out()
    if main.shared:
        left_out.append(
            f"whether source and target are two servers: both hold {main.shared}; only --parity-two-servers says so"
        )
    left_out += result.accepted
    if result.stopped:
        left_out.append(result.stopped)
    partial = bool(left_out)
    etags = {name: side.reader.etags.held.counted() for name, side in audit.sides.items() if side.reader is not None}
    subset = subset_report.block(settings, main.renames, result, main.checksums.digest, etags, partial=partial)
    if settings.subset is not None:
        left_out[:0] = subset_report.left_out(settings.subset)
    if snapshot:
        left_out.append("resolving of aliases (a snapshot stands for the target)")
    if not settings.load_models:
        left_out.append(NOT_LOADED)
    if not settings.usable:
        left_out.append(NOT_ASKED)
    if not settings.include_deleted:
        # the default scope, so not a partial audit; but it has to be said
        left_out += [deleted.told(name) for name, deleted in result.deleted.items()]
    notes = [*main.notes, *result.notes]
    if result.settled:
        notes.append(f"{counted(result.settled, 'differences')} gone at the second look (changed during the audit)")
    if none := on_neither_side(result):
        notes.append(f"none on either side: {', '.join(none)}")
    if main.renames:
        notes.append(main.renames.note)
    outside = _outside_places(audit)
    notes += outside.notes
    if recheck is not None:
        done = len(recheck.checks) - len(main.unfound)
        again = len(set(not_green) & recheck.checks)
        notes.append(f"recheck of {recheck.title}: {done - again} of {len(recheck.checks)} red checks are green now")
    no_rows = of("self-test", [] if result.self_test is None else result.self_test.reasons())
    no_rows += [OtherReason(used.problem, "waiver", str(used.waiver)) for used in result.waivers if used.red]
    reasons = [one.reason for one in no_rows if one.of == "self-test"] + [result.stopped] * bool(result.stopped)
    reasons += [one.reason for one in no_rows if one.of == "waiver"] + red_reasons(result)
    if not result.green:
        reasons += outside.reasons
    unseen = [str(used.waiver) for used in result.waivers if used.status == "not looked at"]
    if unseen:
        notes.append(f"waivers whose objects were not all looked at in this audit: {'; '.join(unseen)}")
    if main.unfound:
        names = ", ".join(main.unfound[:5])
        what = f"{len(main.unfound)} checks of {recheck and recheck.title} were not run again"
        reasons.insert(0, f"{what}, as their objects are gone or were left out: {names}")
        no_rows.append(OtherReason(reasons[0], "recheck", f"{len(main.unfound)} checks: {names}"))
    if recheck is not None and (left := left_open(recheck, result.waivers)):
        # a recheck of this one knows of them from here
        no_rows += left
        reasons = [*open_sentences(recheck, left), *reasons, *(one.reason for one in left)]
    if unwritten:
        green = [] if reasons or not result.green else ["everything that was compared is green"]
        no_rows += of("run", [unwritten])
        reasons = [unwritten, *green, *reasons]
    failed, not_run = main.tests.failed, main.tests.not_run
    if exit_status != 0 and not reasons and (failed or not not_run):
        nothing = subset_report.nothing_in(settings.subset) if settings.subset is not None and result.empty else ""
        if nothing and exit_status == NOTHING_RAN:
            reasons.append(nothing)
        else:
            reasons.append(f"pytest ended with exit status {exit_status} although {nothing or 'the ledger is green'}")
        no_rows += of("run", reasons)
        # that nothing fell into a part is said in one line
        reasons = reasons if nothing else [*failed, *reasons, *not_run]
    else:
        reasons += [*failed, *not_run]
    no_rows += [one for one in of_tests([*failed, *not_run]) if one.reason in reasons]
    if result.warning and reasons:
        reasons.insert(0, result.warning)
    return Report(
        tool_version=__version__,
        created=iso(time.time()),
        verdict="green" if result.green and exit_status == 0 else "red",
        scope=Scope(
            experiments=settings.experiments,
            excluded=settings.exclude_experiments,
            models=settings.models,
            include_deleted=settings.include_deleted,
            depth=settings.depth,
            evidence=next((side.reader.evidence for side in audit.sides.values() if side.reader), settings.evidence),
            profile=settings.profile,
            facets=(
                *(
                    f"{kind} {facet}"
                    for kind, facets in contract.FACETS.items()
                    for facet in facets
                    if facet in result.selection.facets(kind)
                ),
                *dict.fromkeys(row.facet for row in coverage if is_own(row.facet)),
            ),
            checks=result.selection.promises,
            partial=partial or subset is not None,
            left_out=tuple(left_out),
        ),
        sides={name: _side_report(audit, result, name) for name in SIDES},
        warning=result.warning,
        reasons=tuple(reasons),
        other_reasons=tuple(no_rows),
        in_common=result.in_common,
        exit_status=exit_status,
        contract_digest=contract.digest(),
        coverage=coverage,
        findings=tuple(result.findings),
        findings_total=result.findings_total,
        paired_by=dict(result.paired_by),
        evidence=dict(result.evidence),
        explained=result.explained,
        command=main.command,
        changed=tuple(result.changes.lines()),
        notes=tuple(notes),
        waivers=tuple(used.to_text() for used in result.waivers),
        waivers_digest=result.waivers_digest,
        self_test=result.self_test,
        # what was not judged again is as it was
        not_green=tuple(dict.fromkeys((*not_green, *main.unfound))),
        subset=subset,
        timings={name: round(seconds, 3) for name, seconds in result.timings.items()},
    )


def shared_by_differing_runs(audit: Audit, ledger: Path) -> tuple[str, ...]:
    """Return what the runs that differ have in common, a line each."""
    pairing = audit.scope.pairing
    sources = [*(pair.source for pair in pairing.pairs), *pairing.missing]
    return in_common(ledger, audit.sides["source"].snapshot, sources)


def drawn_histories(audit: Audit, findings: Iterable[Finding]) -> dict[Key, Curves]:
    """Return the metric histories of some findings, as far as this process has them."""
    ours, theirs = (audit.sides[name].snapshot for name in SIDES)

    by_name: dict[str, list[ExperimentPair]] = {}
    for pair in audit.scope.pairing.pairs:
        by_name.setdefault(pair.source.name, []).append(pair)

    def places(experiment: str) -> Iterator[tuple[SnapshotView, SnapshotView]]:
        for pair in by_name.get(experiment, ()):
            views = ours.view(pair.source), theirs.view(pair.target)
            if not any(view.problem("metrics") for view in views):
                yield views

    return curves_of(findings, places)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What the report says of places outside of the servers' own artifact roots."""

    notes: list[str]
    reasons: list[str]


def _outside_places(audit: Audit) -> _Outside:
    notes, reasons = [], []
    for name in SIDES:
        reader = audit.sides[name].reader
        if reader is None:
            continue
        if reader.own_way is not None:
            notes.append(f"files of the {name} were {reader.own_way}")
        if reader.attributes.note:
            notes.append(f"{name}: {reader.attributes.note}")
        trusted = reader.trusted
        if trusted.used:
            notes.append(f"read outside of the {name}'s own artifact root, as allowed: {', '.join(trusted.used)}")
        if trusted.others:
            notes.append(f"outside of the {name}'s own artifact root, read by the server: {', '.join(trusted.others)}")
        if trusted.refused:
            options = " ".join(f"{AUDIT_OPTION} {place}" for place in trusted.refused)
            told = f"not read, as data of the {name} names it outside of the server's own artifact root: "
            line = f"{told}{', '.join(trusted.refused)}; if it may be read with your AWS rights, add {options}"
            notes.append(line)
            reasons.append(line)
    return _Outside(notes, reasons)


def _side_report(audit: Audit, result: Result, name: SideName) -> SideReport:
    side = audit.sides[name]
    snapshot, counts = side.snapshot, result.counts[name]
    told = begun(name, side.location, os.environ)
    if not side.live:
        # whoever answered when it was read
        origin = snapshot.origin
        told = replace(
            told,
            endpoint=origin.endpoint,
            s3_endpoint=origin.s3_endpoint,
            tls_not_verified=origin.tls_not_verified,
            origin=origin.location,
        )
    if workers := result.answered.get(name):
        # they read with the variables of their own machines, and this process with its own
        told = replace(
            told,
            endpoint=each_of(told.endpoint, workers["endpoint"], "its own"),
            s3_endpoint=each_of(told.s3_endpoint, workers["s3_endpoint"], "AWS"),
            tls_not_verified=tuple(sorted({*told.tls_not_verified, *workers["unproved"]})),
        )
    return replace(
        told,
        server_version=snapshot.origin.version,
        capabilities=dict(snapshot.origin.capabilities),
        read_from=iso(snapshot.created),
        read_to=iso(snapshot.finished or snapshot.created),
        requests=0 if side.reader is None else side.reader.requests + counts["requests"],
        resumed_parts=side.resumed_parts,
        resumed_from="" if side.resumed_from is None else iso(side.resumed_from),
        experiments=counts["experiments"],
        runs=counts["runs"],
        points=counts["points"],
        artifacts=counts["files"],
        artifact_bytes=counts["bytes"],
        # what workers read stays with them
        snapshot_digest="" if audit.is_shared and side.live else snapshot.digest,
        snapshot_path=str(snapshot.root) if audit.settings.snapshot_dir or not side.live else None,
        objects=dict(result.objects[name]),
        outside=result.outside.get(name, {}),
        deleted=result.deleted.get(name),
        database=snapshot.origin.database,
        own_artifacts=snapshot.origin.artifacts,
    )


def iso(seconds: float) -> str:
    """Return a time as reports tell it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
