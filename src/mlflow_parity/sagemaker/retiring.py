"""``retire``: stops or deletes the old managed server, when a report proves that all it holds *now* is elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from mlflow_parity.audit.renames import load_renames
from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.core.errors import ParityError, UsageProblem
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.locations import Location, custom_endpoint, in_workspace, parse_arn, parse_location
from mlflow_parity.core.notice import Notice, migrate_command
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted, listed, noun
from mlflow_parity.kinds import plural_of
from mlflow_parity.reading.transport.answering import answering
from mlflow_parity.reading.transport.auth import SideName, variable
from mlflow_parity.reporting.kept.earlier import recount
from mlflow_parity.reporting.kept.evidence import Evidence, evidence_of
from mlflow_parity.reporting.kept.waiver_drafts import ledger_of, read_report
from mlflow_parity.sagemaker.control_plane import App, ControlPlane, Told, TrackingServer, open_control
from mlflow_parity.sagemaker.retire_evidence import another, in_words, judge, refusal
from mlflow_parity.sagemaker.retire_lists import Lists
from mlflow_parity.sagemaker.retire_reading import State, read_state, read_target
from mlflow_parity.signing.checking import check

#: Seconds for which a stop or a deletion is waited for.
LIMIT = 2700.0
#: Exit status: all preconditions are met, and nothing was done, as ``--yes`` was not given.
READY = 3
#: A report may be so old for the target's lists to do; before a deletion all of an older one's target is read.
FRESH = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be retired, and how; ``leave_deleted``: what is in the server's trash may be lost.

    ``attestation`` is an envelope that the key must have signed over the report, where that is demanded.
    """

    server: Location
    report: Path
    delete: bool
    max_age: timedelta
    leave_deleted: bool = False
    workers: int = 8
    waivers: Path | None = None
    rename: Path | None = None
    attestation: Path | None = None
    attestation_key: Path | None = None
    allow_place: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the server."""
        return self.server.uri.rsplit("/", 1)[-1]

    @property
    def step(self) -> str:
        """What is done to it."""
        return "delete" if self.delete else "stop"


@dataclass(slots=True)
class Examined:
    """What speaks against it, and what is to be said besides."""

    refusals: list[Notice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def server_location(text: str, environ: Mapping[str, str]) -> Location:
    """Return the managed server of an ARN.

    Raises:
        UsageProblem: it is anything else.
    """
    custom = custom_endpoint("source", environ)
    if not text.startswith("arn:"):
        raise UsageProblem(
            "--source-arn: only a managed tracking server of SageMaker is retired here, and this is no ARN; stop any "
            "other server where it runs"
        )
    location = parse_arn(text, option="--source-arn", custom_endpoint=custom)
    if location.kind != "tracking-server":
        raise UsageProblem(
            f"--source-arn: {text} is an App; only managed tracking servers are retired: an App costs nothing while it "
            "is not used, and cannot be stopped. Give arn:aws:sagemaker:REGION:ACCOUNT:mlflow-tracking-server/NAME"
        )
    return location


def retire(
    wish: Wish, *, yes: bool, limit: float = LIMIT, environ: Mapping[str, str] | None = None, told: Told = print
) -> int:
    """Retire a server; return 0 when it is stopped (or deleted), 1 when it is not, with all reasons on stderr.

    Without ``yes`` everything is examined and nothing is changed: :data:`READY` where nothing speaks against it. What
    was retired before is not an error.

    Raises:
        ParityError: one line, when something cannot be asked or is no report at all.
    """
    env = os.environ if environ is None else environ
    control = open_control("source", env, location=wish.server)
    server = control.server(wish.name)
    if server is None or server.arn != wish.server.uri:
        raise UsageProblem(
            f"--source-arn: there is no tracking server {wish.server.uri} (any more); "
            f"`{migrate_command()} app list --servers --region {control.region}` shows those that are"
        )
    if server.status in _UNDER_WAY[wish.delete]:
        control.wait_for_server(wish.name, gone=wish.delete, limit=limit, told=told)
        told(f"tracking server {wish.name}: {wish.step}{'d' if wish.delete else 'ped'} before, nothing to do")
        return 0
    examined = examine(wish, server, env, told)
    for note in examined.notes:
        told(f"note: {note}")
    for one in examined.refusals:
        print(f"refused: {one}", file=sys.stderr)
    if examined.refusals:
        told(f"tracking server {wish.name} was not touched")
        return 1
    if not yes:
        told(f"all preconditions met; run again with --yes to {wish.step} the tracking server {wish.name}")
        return READY
    _do(wish, control, limit, told)
    return 0


#: Statuses in which it is as good as done, without and with ``--delete``.
_UNDER_WAY = {False: frozenset({"Stopping", "Stopped"}), True: frozenset({"Deleting"})}


def _do(wish: Wish, control: ControlPlane, limit: float, told: Told) -> None:
    if wish.delete:
        control.delete_server(wish.name)
    else:
        control.stop_server(wish.name)
    control.wait_for_server(wish.name, gone=wish.delete, limit=limit, told=told)
    if wish.delete:
        told(f"tracking server {wish.name}: deleted; its files in S3 are left where they are")
    else:
        told(f"tracking server {wish.name}: stopped; it keeps its data, and can be started again")


def examine(wish: Wish, server: TrackingServer, environ: Mapping[str, str], told: Told) -> Examined:
    """Look at the report, its ledger and the state of both servers; and when those are right, at what they hold now.

    Raises:
        ParityError: it is no report, has another's ledger, or a server cannot be asked.
    """
    report = read_report(str(wish.report), "--report")
    evidence = evidence_of(report, str(wish.report))
    waivers = None if wish.waivers is None else load_waivers(str(wish.waivers))
    renames = load_renames(None if wish.rename is None else str(wish.rename), "--rename")
    now = datetime.now(timezone.utc)
    judged = judge(evidence, wish.server, now=now, max_age=wish.max_age, delete=wish.delete, waivers=waivers)
    examined = Examined(judged)
    ledger = ledger_of(report, str(wish.report), "--report")
    if ledger is None:
        why = "every figure of the report is counted from it, and it is the list of what was compared"
        fix = f"put that audit's ledger.parquet beside {wish.report}"
        examined.refusals.append(refusal("the report is without its ledger", why, fix))
    elif contradiction := recount(report, str(wish.report), "--report"):
        examined.refusals.append(refusal("the report is not what its ledger says", contradiction, "audit again"))
    examined.refusals += _not_attested(wish, report)
    if evidence.renamed != (renames.note if renames else ""):
        why = f"the report says: {evidence.renamed}" if evidence.renamed else "the report was made without new names"
        fix = "pass the file of that audit with --rename" if evidence.renamed else "leave --rename out"
        examined.refusals.append(refusal("the names on the target are others", why, fix))
    if not server.ready:
        start = f"aws sagemaker start-mlflow-tracking-server --tracking-server-name {wish.name}"
        settled = server.status in ("Stopped", "StartFailed")
        fix = f"`{start} --region {wish.server.region}`" if settled else "wait until it is Started or Created"
        why = "what it holds now cannot be read, so nothing proves that the report still tells it"
        examined.refusals.append(refusal(f"the server is {server.status}", why, f"{fix}, then audit again"))
    target = _target(evidence, environ, examined)
    _look_at_target(evidence, target, environ, examined)
    _look_at_addresses({"source": wish.server, "target": target}, environ, examined)
    if examined.refusals or target is None or ledger is None:
        examined.notes.append("neither server was read: that comes when the above is fixed")
        return examined
    with Scratch() as folder:
        lists = Lists(folder / "lists.sqlite", Redactor.from_environment(also=target.secrets))
        try:
            told(f"reading {wish.server.uri} as the audit of {evidence.created:%Y-%m-%d %H:%M} UTC did")
            _compare(wish, evidence, read_state(wish.server, evidence, wish.workers, wish.allow_place, lists), examined)
            whole = wish.delete and now - evidence.created >= FRESH
            told(f"reading {target.display}: {'all of it' if whole else 'what it lists'}")
            state = read_target(
                target, evidence, renames, lists, workers=wish.workers, allowed=wish.allow_place, whole=whole
            )
            _compare_target(evidence, state, lists, ledger, examined)
        finally:
            lists.close()
    if not examined.refusals:
        age = in_words(max(now - evidence.created, timedelta()))
        examined.notes.append(
            f"{evidence.verified:,} of {evidence.objects:,} objects and facets are green in a report {age} old; the "
            f"server still holds exactly that (digest {evidence.source_digest[:16]}…), and all of it is on the target"
        )
    if waived := evidence.totals.get("waived"):
        examined.notes.append(f"{waived:,} of them are waived: they differ, and somebody signed for it")
    return examined


def _not_attested(wish: Wish, report: Mapping[str, Any]) -> list[Notice]:
    """Refuse a report that is not, byte for byte, the one that an envelope was signed over."""
    if wish.attestation is None or wish.attestation_key is None:
        return []
    what = "the report is not proved by --attestation"
    try:
        checked = check(wish.attestation, wish.attestation_key, wish.report, words=lambda name: _WORDS.get(name, name))
    except UsageProblem as error:
        return [refusal(what, str(error))]
    if checked.audited.report != report:
        return [refusal(what, "it was altered while it was read", "audit and attest again")]
    return []


#: How the options of ``verify`` are called here.
_WORDS = {
    "ENVELOPE": "--attestation",
    "--key": "--attestation-key",
    "--report-dir": "--report",
}


def _target(evidence: Evidence, environ: Mapping[str, str], examined: Examined) -> Location | None:
    """Return where the copy is, with what the environment says of how to get there; a folder was refused before."""
    if evidence.target_kind == "snapshot":
        return None
    endpoint = custom_endpoint("target", environ)
    address = evidence.target.partition(" (workspace ")[0]
    found = in_workspace(parse_location(address, option="--report", custom_endpoint=endpoint), "target", environ)
    if found.display != evidence.target or found.kind != evidence.target_kind:
        why = f"the report says {evidence.target}, and here that is {found.display}"
        examined.refusals.append(refusal("the report's target cannot be told", why, "audit again, and set what it set"))
        return None
    return found


def _look_at_addresses(
    ends: Mapping[SideName, Location | None], environ: Mapping[str, str], examined: Examined
) -> None:
    """What is asked now must be who it is said to be, too."""
    for side, location in ends.items():
        if location is None:
            continue
        found = answering(location, side, environ)
        examined.refusals += another(side, found.endpoint, found.unproved, "this environment")
        if found.s3_endpoint:
            examined.notes.append(f"files of the {side} are read from the S3 at {found.s3_endpoint}")
        if location.is_arn and (asked := variable(side, "AWS_ENDPOINT_URL_SAGEMAKER", environ)):
            examined.notes.append(f"the status of the {side} was asked of {asked}, by AWS_ENDPOINT_URL_SAGEMAKER")


def _look_at_target(
    evidence: Evidence, location: Location | None, environ: Mapping[str, str], examined: Examined
) -> None:
    """The copy's server must take requests."""
    if location is None or not location.is_arn:
        return
    what = f"the {'App' if location.kind == 'app' else 'tracking server'} {evidence.target}"
    try:
        control = open_control("target", environ, location=location)
        found: App | TrackingServer | None
        found = control.app(location.uri) if location.kind == "app" else control.server(location.uri.rsplit("/", 1)[-1])
    except ParityError as error:
        why = f"it could not be asked for its state: {error}"
        fix = "give this identity that right, or set the target's credentials with TARGET_ in front"
        examined.refusals.append(refusal(f"{what} could not be described", why, fix))
        return
    if found is None or found.arn != location.uri or not found.ready:
        state = "not there" if found is None or found.arn != location.uri else found.status
        why = "the report says that everything is on it"
        examined.refusals.append(refusal(f"{what} is {state}", why, "find out what became of it before anything else"))


def _compare_target(evidence: Evidence, state: State, lists: Lists, ledger: Path, examined: Examined) -> None:
    """All that the audit found on the target must be there now."""
    again = "find out what became of it, and audit again"
    if state.unread:
        why = f"{state.unread[0]}{f' (and {len(state.unread) - 1} more)' if state.unread[1:] else ''}"
        examined.refusals.append(refusal("the target could not be read as a whole", why, "fix that, and try again"))
        return
    gone = lists.gone(ledger, include_deleted=evidence.include_deleted)
    if gone.unnamed:
        why = f"of {_in_all(gone.unnamed)} that the server holds it names no copy"
        examined.refusals.append(refusal("the ledger does not name everything", why, "audit again"))
    for kind, count in sorted(gone.looked_up.items()):
        if (told := evidence.target_counts.get(plural_of(kind), 0)) < count:
            why = f"it has {counted(told, plural_of(kind))} on the target, and the ledger names {count:,}"
            examined.refusals.append(refusal("the report contradicts itself", why, "audit again"))
    for counts, words in ((gone.absent, "not on the target any more"), (gone.deleted, "deleted or restored since")):
        if counts:
            more = "; …" if sum(counts.values()) > len(gone.named) else ""
            why = f"{_in_all(counts)} of the report: {'; '.join(gone.named)}{more}"
            examined.refusals.append(refusal(f"what the report found is {words}", why, again))
    if gone:
        return
    changes = _changes(state, evidence.target_counts)
    fewer = any(text.startswith("-") for text in changes)
    if fewer or (state.digest and state.digest != evidence.target_digest):
        why = ", ".join(changes) or "no object came or went, but one has another content"
        fix = f"audit again, and delete within {in_words(FRESH)}"
        examined.refusals.append(refusal("the target has changed since the report", why, fix))
    elif changes:
        examined.notes.append(f"the target holds more than the report says: {', '.join(changes)}")


def _compare(wish: Wish, evidence: Evidence, state: State, examined: Examined) -> None:
    if state.unread:
        more = f" (and {len(state.unread) - 1} more)" if len(state.unread) > 1 else ""
        why = f"{state.unread[0]}{more}"
        examined.refusals.append(refusal("the server could not be read as a whole", why, "fix that, and try again"))
    elif state.digest != evidence.source_digest:
        why = ", ".join(_changes(state, evidence.counts)) or "no object came or went, but one has another content"
        again = f"let nobody write to it, bring over what came (`{migrate_command()} run`), and audit again"
        examined.refusals.append(refusal("the server has changed since the report", why, again))
    elif changes := _changes(state, evidence.counts):
        why = f"its digest is that of the server, and its counts are not: {', '.join(changes)}"
        examined.refusals.append(refusal("the report contradicts itself", why, "audit again"))
    if state.all_running:
        named = "; ".join(state.running) + ("; …" if state.all_running > len(state.running) else "")
        examined.notes.append(
            f"still RUNNING on the source: {counted(state.all_running, 'runs')}, which will find no server: {named}"
        )
    trash = listed(dict(sorted(state.trash.items())), " and ")
    if trash and not evidence.include_deleted:
        if wish.delete and not wish.leave_deleted:
            why = f"in its trash: {trash}, of which the report does not speak"
            fix = "migrate with --include-deleted and audit with --parity-include-deleted, or pass --leave-deleted"
            examined.refusals.append(refusal("something would be lost", why, fix))
        else:
            examined.notes.append(f"in its trash: {trash}, of which the report does not speak")


def _in_all(counts: Mapping[str, int]) -> str:
    """Say how many of each kind there are."""
    return listed({plural_of(kind): count for kind, count in sorted(counts.items())})


def _changes(state: State, told: Mapping[str, int]) -> list[str]:
    """Say what there is more or fewer of now than a report says."""
    found = ((name, count - told.get(name, 0)) for name, count in state.counts.items())
    return [f"{more:+,} {noun(abs(more), name)}" for name, more in found if more]
