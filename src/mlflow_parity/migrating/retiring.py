"""``retire``: stops or deletes the old managed server, when a report proves that all it holds *now* is elsewhere."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.errors import ParityError, SnapshotError, UsageProblem
from mlflow_parity.invocation import migrate_command
from mlflow_parity.kinds import KINDS
from mlflow_parity.locations import Location, parse_arn
from mlflow_parity.migrating.retire_evidence import Evidence, Refusal, evidence_of, in_words, judge
from mlflow_parity.redaction import Redactor
from mlflow_parity.sagemaker import ControlPlane, Told, TrackingServer, open_control
from mlflow_parity.scratch import Scratch

if TYPE_CHECKING:
    from mlflow_parity.model import Experiment
    from mlflow_parity.sides import Side

#: Seconds for which a stop or a deletion is waited for.
LIMIT = 2700.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be retired, and how; ``leave_deleted``: what is in the server's trash may be lost."""

    server: Location
    report: Path
    delete: bool
    max_age: timedelta
    leave_deleted: bool = False
    workers: int = 8
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

    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class State:
    """A server as it is now; ``counts`` as in the report; ``trash`` counts what an audit without deleted ones omits."""

    digest: str
    counts: Mapping[str, int]
    trash: Mapping[str, int]
    unread: tuple[str, ...]


def server_location(text: str, environ: Mapping[str, str]) -> Location:
    """Return the managed server of an ARN.

    Raises:
        UsageProblem: it is anything else.
    """
    custom = environ.get("SOURCE_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT") or environ.get("SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT")
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

    Without ``yes`` everything is examined and nothing is changed. What was retired before is not an error.

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
    for refusal in examined.refusals:
        print(f"refused: {refusal}", file=sys.stderr)
    if examined.refusals:
        told(f"tracking server {wish.name} was not touched")
        return 1
    if not yes:
        told(f"nothing stands against it: with --yes this would {wish.step} the tracking server {wish.name}")
        return 1
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
    """Look at the report, the server's status and the target; and when those are right, at what the server holds now.

    Raises:
        ParityError: it is no report, has another's ledger, or the server cannot be asked.
    """
    from mlflow_parity.drafting import ledger_of, read_report

    report = read_report(str(wish.report), "--report")
    evidence = evidence_of(report, str(wish.report))
    now = datetime.now(timezone.utc)
    examined = Examined(judge(evidence, wish.server, now=now, max_age=wish.max_age, delete=wish.delete))
    if ledger_of(report, str(wish.report), "--report") is None:
        why = "every figure of the report is counted from it, and it is the list of what was compared"
        fix = f"put that audit's ledger.parquet beside {wish.report}"
        examined.refusals.append(Refusal("the report is without its ledger", why, fix))
    if not server.ready:
        start = f"aws sagemaker start-mlflow-tracking-server --tracking-server-name {wish.name}"
        settled = server.status in ("Stopped", "StartFailed")
        mend = f"`{start} --region {wish.server.region}`" if settled else "wait until it is Started or Created"
        why = "what it holds now cannot be read, so nothing proves that the report still tells it"
        examined.refusals.append(Refusal(f"the server is {server.status}", why, f"{mend}, then audit again"))
    _look_at_target(evidence, environ, examined)
    if examined.refusals:
        examined.notes.append("the server itself was not read: that comes when the above is mended")
        return examined
    told(f"reading {wish.server.uri} as the audit of {evidence.created:%Y-%m-%d %H:%M} UTC did")
    _compare(wish, evidence, read_state(wish.server, evidence, wish.workers, wish.allow_place), examined)
    if not examined.refusals:
        age = in_words(max(now - evidence.created, timedelta()))
        examined.notes.append(
            f"{evidence.verified:,} of {evidence.objects:,} objects and facets are green in a report {age} old, and "
            f"the server still holds exactly that (digest {evidence.source_digest[:16]}…)"
        )
    if waived := evidence.totals.get("waived"):
        examined.notes.append(f"{waived:,} of them are waived: they differ, and somebody signed for it")
    return examined


def _look_at_target(evidence: Evidence, environ: Mapping[str, str], examined: Examined) -> None:
    """The copy must still be there, as far as it can be told."""
    if evidence.target_kind != "app":
        return
    try:
        location = parse_arn(evidence.target, option="--report")
        app = open_control("target", environ, location=location).app(location.uri)
    except ParityError as error:
        examined.notes.append(f"the App {evidence.target} could not be asked for its state: {error}")
        return
    if app is None or not app.ready:
        what = f"the App {evidence.target} is {'not there' if app is None else app.status}"
        why = "the report says that everything is on it"
        examined.refusals.append(Refusal(what, why, "find out what became of it before anything else"))


def _compare(wish: Wish, evidence: Evidence, state: State, examined: Examined) -> None:
    if state.unread:
        more = f" (and {len(state.unread) - 1} more)" if len(state.unread) > 1 else ""
        why = f"{state.unread[0]}{more}"
        examined.refusals.append(Refusal("the server could not be read as a whole", why, "mend that, and try again"))
    elif state.digest != evidence.source_digest:
        changes = [
            _noun(count - evidence.counts.get(name, 0), name, sign="+")
            for name, count in state.counts.items()
            if count != evidence.counts.get(name, 0)
        ]
        why = ", ".join(changes) or "no object came or went, but one has another content"
        again = f"let nobody write to it, bring over what came (`{migrate_command()} run`), and audit again"
        examined.refusals.append(Refusal("the server has changed since the report", why, again))
    trash = " and ".join(_noun(count, what) for what, count in sorted(state.trash.items()) if count)
    if trash and not evidence.include_deleted:
        if wish.delete and not wish.leave_deleted:
            why = f"in its trash: {trash}, of which the report does not speak"
            mend = "migrate with --include-deleted and audit with --parity-include-deleted, or pass --leave-deleted"
            examined.refusals.append(Refusal("something would be lost", why, mend))
        else:
            examined.notes.append(f"in its trash: {trash}, of which the report does not speak")


def _noun(count: int, plural: str, sign: str = "") -> str:
    """Say how many of what.

    >>> _noun(-1, "model_versions", sign="+")
    '-1 model version'
    """
    name = plural.replace("_", " ")
    return f"{count:{sign},} {name[:-1] if abs(count) == 1 else name}"


def read_state(server: Location, evidence: Evidence, workers: int, allowed: Sequence[str] = ()) -> State:
    """Read the server as the audit did (same parts, depth and scope), into a folder that is removed again.

    Raises:
        ReadError: it does not answer.
    """
    from mlflow_parity.reading import open_reader
    from mlflow_parity.reporting.progress import Progress
    from mlflow_parity.sides import Side
    from mlflow_parity.snapshot import PARTS, SERVER_PARTS

    reader = open_reader(server, "source", workers, allowed)
    progress = Progress(sys.stderr.write, isatty=sys.stderr.isatty())
    try:
        side = Side("source", server, reader)
        experiments = [
            experiment
            for experiment in side.experiments()
            if evidence.include_deleted
            or experiment.lifecycle_stage != "deleted"
            # a deleted one whose copy is not
            or experiment.name in evidence.experiments
        ]
        progress.expect("source", len(experiments))
        with Scratch() as folder, progress:
            side.read(
                folder / "source",
                experiments,
                # all that is promised rests on all parts, and a report without a promise was refused
                (*PARTS, *SERVER_PARTS),
                evidence.depth,
                include_deleted=evidence.include_deleted,
                count=lambda **counts: progress.add("source", **counts),
                model_links=True,
            )
            return _state(side, experiments, include_deleted=evidence.include_deleted)
    except SnapshotError as error:
        raise UsageProblem(f"what was read could not be kept for comparing: {error}") from None
    finally:
        reader.close()


def _state(side: Side, experiments: Sequence[Experiment], *, include_deleted: bool) -> State:
    """Say what was read of the experiments and of the server."""
    from mlflow_parity.snapshot import SERVER
    from mlflow_parity.snapshot.incomplete import incomplete, told

    snapshot, found, trash = side.snapshot, Counter[str](), Counter[str]()
    unread = told(incomplete(snapshot, experiments, include_deleted=include_deleted))
    read = {experiment.experiment_id for experiment in experiments}
    found["experiments"] = len(read)
    for place in (*read, SERVER):
        found.update(snapshot.objects(place).counts())
    for experiment in side.experiments():
        if experiment.experiment_id not in read:
            trash["experiments"] += 1
            continue
        view = side.view(experiment)
        counts = view.counts()
        found.update({name: int(counts.get(key, 0)) for name, key in _COUNTS.items()})
        if view.problem("runs") is None:
            trash["runs"] += sum(key.deleted for key in view.run_keys())
    kinds = [kind.plural for kind in KINDS.values()]
    counted = {name: found[name] for name in ("experiments", *_COUNTS, *kinds)}
    redact = Redactor.from_environment(also=side.location.secrets)
    return State(snapshot.digest, counted, trash, tuple(redact(line) for line in unread))


_COUNTS = {"runs": "runs", "points": "points", "artifacts": "files"}
