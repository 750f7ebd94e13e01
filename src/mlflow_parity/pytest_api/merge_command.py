"""``mlflow-parity merge``: joins the parts of an audit (``--parity-subset``) into one verdict and one report."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from mlflow_parity import __version__
from mlflow_parity.audit.result import Result
from mlflow_parity.audit.test_items import Item, ItemState
from mlflow_parity.audit.waivers.waivers import RED
from mlflow_parity.core.errors import ParityError, UsageProblem
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.locations import given_path
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import Deleted, State
from mlflow_parity.kinds import SCOPE_FACETS, SCOPE_KIND
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.pytest_api.reasons import red_reasons
from mlflow_parity.pytest_api.report_building import iso
from mlflow_parity.reporting import markdown
from mlflow_parity.reporting.kept import joining
from mlflow_parity.reporting.kept.part_report import WHAT, Part, folder_of, load_part
from mlflow_parity.reporting.ledger import LedgerWriter
from mlflow_parity.reporting.other_reasons import OF_TESTS, OtherReason, of, of_tests
from mlflow_parity.reporting.report import JOINING, SIDES, CoverageRow, Report, Scope, unfinished
from mlflow_parity.reporting.side_report import SideReport
from mlflow_parity.reporting.terminal import summary_lines
from mlflow_parity.reporting.write import ReportFolder

_HELP = "Join the parts of an audit (--parity-subset) into one verdict and one report"
#: Fields of a side that each part reads its own share of.
_SHARED = ("points", "artifacts", "artifact_bytes")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("merge", help=_HELP, description=f"{_HELP}. Exit status 0: all are there and green.")
    parser.add_argument("parts", nargs="+", metavar="DIR", help="Folder of a part's report, or the ledger in it")
    parser.add_argument("--to", default="reports", metavar="DIR", help="Where the report is written (default: reports)")
    parser.add_argument(
        "--within",
        default=str(joining.HOURS),
        metavar="HOURS",
        help=f"Refuse parts that were not all read within so many hours (default: {joining.HOURS})",
    )
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Join the parts; return 0 when all are there and green, and 1 when anything is red.

    Raises:
        UsageProblem: parts are missing, not of one audit, damaged, or contradict each other or themselves.
    """
    redact = Redactor.from_environment()
    hours = _hours(args.within)
    folders = [folder_of(one) for one in args.parts]
    to = given_path(args.to, "--to", "give another directory", home=False)
    if any(_same(folder, to) for folder in folders):
        raise UsageProblem(f"--to: {args.to} is the folder of one of the parts; give another one")
    command = (*JOINING, *args.parts, *_given(args))
    with _by_our_name():
        reports = ReportFolder(args.to, unfinished(__version__, iso(time.time()), command=command), redact)
    try:
        parts = sorted((load_part(one) for one in args.parts), key=lambda part: part.subset.part)
        joining.check(parts, hours, __version__)
        with Scratch() as scratch:
            ledger = scratch / "ledger.parquet"
            joined = joining.Joined()
            with LedgerWriter(ledger, redact=redact) as writer:
                for row in joining.rows(parts, joined):
                    writer.add(row)
            report = joined_report(parts, joined, file_sha256(ledger), command)
            with _by_our_name():
                written = reports.finish(report, ledger)
    except ParityError as error:
        reports.ends(redact(str(error)), error.exit_status)
        raise
    where = str(next(iter(written.values())).parent)
    for line in summary_lines(report, report_dir=where, redact=redact):
        print(line)
    if markdown.is_wanted("", os.environ):
        page = markdown.render(report, report_dir=where, redact=redact)
        for problem in markdown.write(page, "", os.environ):
            print(redact(problem), file=sys.stderr)
    if reports.problem:
        print(reports.problem, file=sys.stderr)
    return int(report.exit_status or 0)


@contextmanager
def _by_our_name() -> Iterator[None]:
    """Say of the folder of the reports what its option is called here."""
    try:
        yield
    except UsageProblem as error:
        raise UsageProblem(str(error).replace("--parity-report-dir: ", "--to: ", 1)) from None


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= 24 * 365:
        raise UsageProblem(f"--within: {text!r} is no number of hours; give one above 0, at most {24 * 365:,}")
    return hours


def _given(args: argparse.Namespace) -> list[str]:
    given = [] if args.to == "reports" else ["--to", str(args.to)]
    return given + ([] if args.within == str(joining.HOURS) else ["--within", str(args.within)])


def _same(one: Path, other: Path) -> bool:
    return one.absolute().resolve() == other.absolute().resolve()


def joined_report(parts: Sequence[Part], joined: joining.Joined, digest: str, command: tuple[str, ...]) -> Report:
    """Return the report of all parts; green only when all rows are, and each part was."""
    first = parts[0].report
    result = _result(parts, joined)
    waivers, unused = _waivers(parts)
    of_parts = [
        f"MLmodel files of runs in {label!r} contradict each other across parts: one id stands for several; audit that "
        "experiment whole (--parity-experiments)"
        for label in joining.contradictions(parts)
    ]
    judged = any(not facet.startswith(f"{SCOPE_KIND} ") for _, facet in joined.cells)
    green = judged and all(state.green for state, count in result.totals.items() if count)
    for part in parts:
        if part.report["verdict"] != "green" and not part.empty and not _red_rows(part):
            why = next(iter(part.report["reasons"]), "its report does not say why")
            of_parts.append(f"{part.subset} is red, although its ledger is green: {why}")
    others = of("parts", of_parts)
    others += of_tests(_once(one for part in parts for one in part.report["reasons"] if one.startswith(OF_TESTS)))
    others += of("run", [] if judged else ["nothing was compared in any part"])
    reasons = [*(one.reason for one in unused), *red_reasons(result), *(one.reason for one in others)]
    if not green and not reasons:
        reasons.append("the ledger is red")
    if reasons and first["warning"]:
        reasons.insert(0, first["warning"])
    done = green and not reasons
    left_out = _once(line for part in parts for line in part.report["scope"]["left_out"][1:])
    scope: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in first["scope"].items()}
    notes = [f"joined from {counted(len(parts), 'parts')} (--parity-subset), read {_window(parts)}", *_s3(parts)]
    return Report(
        tool_version=__version__,
        created=iso(time.time()),
        verdict="green" if done else "red",
        scope=Scope(**{**scope, "partial": any(part.told["partial"] for part in parts), "left_out": tuple(left_out)}),
        sides={name: _side(parts, name) for name in SIDES},
        warning=first["warning"],
        reasons=tuple(reasons),
        other_reasons=(*unused, *others),
        exit_status=0 if done else 1,
        contract_digest=first["contract_digest"],
        coverage=tuple(CoverageRow(label, facet, cell) for (label, facet), cell in joined.cells.items()),
        findings=tuple(result.findings),
        findings_total=result.findings_total,
        paired_by=dict(joined.paired_by),
        evidence=dict(joined.evidence),
        explained=sum(part.report["explained"] for part in parts),
        command=command,
        changed=tuple(_once(line for part in parts for line in part.report["changed"])),
        notes=(*notes, *_once(line for part in parts for line in part.report["notes"])),
        waivers=waivers,
        waivers_digest=first["waivers_digest"],
        not_green=tuple(_once(line for part in parts for line in part.report["not_green"])),
        timings=_seconds(part.report["timings"] for part in parts),
        ledger_digest=digest,
    )


def _seconds(timings: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """Return the seconds of all parts by phase; ``None``: that was not measured."""
    found: Counter[str] = Counter()
    for one in timings:
        found.update({phase: seconds for phase, seconds in one.items() if seconds is not None})
    return dict(found)


def _once(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def _red_rows(part: Part) -> bool:
    return any(not State(state).green and count for state, count in part.report["totals"].items())


def _window(parts: Sequence[Part]) -> str:
    told = [part.report["sides"][side] for part in parts for side in SIDES]
    return f"from {min(one['read_from'] for one in told)} to {max(one['read_to'] for one in told)}"


def _result(parts: Sequence[Part], joined: joining.Joined) -> Result:
    """Return the joined cells and findings as an audit's result, of which the reasons are made."""
    result = Result(Selection((), ()))
    for (label, facet), cell in joined.cells.items():
        state = result.states.setdefault(label, ItemState(Item(label, label, "", surplus=False)))
        state.cells[facet] = cell
        result.totals.update(cell.counts)
    shared = set()
    for finding in (finding for part in parts for finding in part.findings):
        place = f"{finding.kind} {finding.facet}"
        if finding.source_id is None and finding.target_id is None:
            if finding in shared:
                continue
            shared.add(finding)
        known = result.states.get(finding.experiment)
        if known is None or place not in known.cells:
            raise UsageProblem(f"{WHAT}: a report names a difference in {place} that no ledger holds; audit again")
        known.findings.setdefault(place, []).append(finding)
    return result


def _s3(parts: Sequence[Part]) -> list[str]:
    """Return for how many parts nobody named the S3 that the report names above everything else."""
    found = []
    for side in SIDES:
        named, without = joining.s3_of(parts, side)
        if without:
            found.append(
                f"no variable named the S3 of the {side} ({named}) for {without} of {counted(len(parts), 'parts')}: if "
                "they read files in S3, it was AWS's own"
            )
    return found


def _side(parts: Sequence[Part], name: str) -> SideReport:
    """Return what all parts say of one side: each read its share, and the lists whole."""
    told: list[Mapping[str, Any]] = [part.report["sides"][name] for part in parts]
    first = dict(told[0])
    if first["kind"] != "snapshot":
        first.update({name: sum(one[name] for one in told) for name in (*_SHARED, "requests")})
        # each part has a snapshot of its own, and none is kept
        first.update(snapshot_digest="", snapshot_path=None)
    first.update(read_from=min(one["read_from"] for one in told), read_to=max(one["read_to"] for one in told))
    deleted = first["deleted"]
    first["deleted"] = None if deleted is None else Deleted(**deleted)
    for beside in ("database", "own_artifacts"):
        # parts may be read without it; what one of them saw, a recheck is to see
        first[beside] = next((one[beside] for one in told if one[beside]), first[beside])
    first["s3_endpoint"], _ = joining.s3_of(parts, name)
    first["tls_not_verified"] = tuple(_once(line for one in told for line in one["tls_not_verified"]))
    return SideReport(**first)


def _waivers(parts: Sequence[Part]) -> tuple[tuple[Mapping[str, str], ...], list[OtherReason]]:
    """Return what became of each waiver in all parts, and why those are red that are."""
    lists = [part.report["waivers"] for part in parts]
    told = [[{**one, "status": "", "covered": ""} for one in waivers] for waivers in lists]
    if any(one != told[0] for one in told):
        raise UsageProblem(f"{WHAT}: the parts name other waivers, although the file is the same; audit them again")
    unused = [{one["waiver"]: one["other_values"] for one in part.told["unused_waivers"]} for part in parts]
    # the verdict is of today: a waiver that has expired since a part was audited excuses nothing any more
    today = date.today().isoformat()
    found, reasons = [], list[OtherReason]()
    for number, same in enumerate(zip(*lists, strict=True)):
        states = {one["status"] for one in same}
        counts = [int(one["covered"]) for one in same if one["covered"].isdecimal()]
        # what limits the audit is in every part, and counts once
        covered = max(counts, default=0) if same[0]["facet"] in SCOPE_FACETS else sum(counts)
        # as an audit of the whole: of other values in one part, or looked at in all and matching nothing
        gone = any(part.get(number) for part in unused) or all(number in part for part in unused)
        expired = "expired" in states or same[0].get("expires", "") < today
        status = "expired" if expired else "used" if covered else "unused" if gone else "not looked at"
        found.append({**same[0], "status": status, "covered": str(covered)})
        name = f"{same[0]['object']} / {same[0]['facet']}"
        if status == "expired":
            line = f"the waiver {name} expired on {same[0].get('expires')}: renew or remove it"
        elif status == "unused":
            line = f"the waiver {name} matches nothing any more, or is of other values: remove or draft it again"
        if status in RED:
            about = name if same[0]["key"] == "*" else f"{name} / {same[0]['key']}"
            reasons.append(OtherReason(line, "waiver", about))
    return tuple(found), reasons
