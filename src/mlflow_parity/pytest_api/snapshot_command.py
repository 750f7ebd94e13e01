"""``mlflow-parity snapshot``: reads one server whole into a folder that can stand for it in later audits."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.audit.looking.since import moved_since
from mlflow_parity.audit.side import Side, prepare_folder, uncounted
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location, custom_endpoint, in_workspace, parse_arn, parse_location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.scope import DEPTHS
from mlflow_parity.core.text import counted, visible
from mlflow_parity.options import BY_NAME
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.artifacts.own_way import own_way
from mlflow_parity.reading.artifacts.trusted_places import AUDIT_OPTION, given_places
from mlflow_parity.snapshot import PARTS, SERVER, SERVER_PARTS
from mlflow_parity.snapshot.capture import Count
from mlflow_parity.snapshot.incomplete import incomplete, told
from mlflow_parity.snapshot.schema import Asked

_HELP = "Read one server whole into a folder that can stand for it in later audits"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("snapshot", help=_HELP, description=f"{_HELP}.")
    add_arguments(parser)
    parser.add_argument("--to", required=True, metavar="DIR", help="Folder; the snapshot is DIR/source")
    parser.set_defaults(main=main)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which server is read, and how."""
    location = parser.add_mutually_exclusive_group(required=True)
    location.add_argument("--source-uri", metavar="URI", help="http(s):// tracking server or ARN")
    location.add_argument("--source-arn", metavar="ARN", help="ARN of a SageMaker MLflow App or tracking server")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="Connections (default: 8)")
    parser.add_argument(
        "--parity-depth", choices=DEPTHS, default="digest", help="How artifacts are read (default: digest)"
    )
    parser.add_argument(
        AUDIT_OPTION, action="append", metavar="S3_URI", help="Read this bucket or folder too, which data of it names"
    )
    parser.add_argument(
        BY_NAME["source-artifacts"].flag,
        default="",
        metavar="PLACE",
        help="Read here what the server keeps behind its proxy: the URI or folder of its artifacts",
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """What was read of a server into a folder; texts are free of secrets."""

    location: str
    root: Path
    digest: str
    counts: Mapping[str, int]
    """By what is counted, in the plural."""
    notes: tuple[str, ...]
    unread: tuple[str, ...]
    """What could not be read, one line each: an audit would call it unverified."""

    @property
    def summary(self) -> str:
        """What there is of it, in one line."""
        read = ", ".join(counted(count, plural) for plural, count in self.counts.items())
        return f"snapshot of {self.location}: {read}"


def main(args: argparse.Namespace) -> int:
    """Take the snapshot; return 0 when everything was read and 1 when something could not be.

    Raises:
        ParityError: when the location is wrong, the server does not answer or the folder cannot be used.
    """
    taken = take(args, args.to)
    for line in (*taken.notes, taken.summary, taken.root, f"digest {taken.digest}"):
        print(line)
    for line in taken.unread:
        print(f"not read: {line}", file=sys.stderr)
    return 1 if taken.unread else 0


def location_of(args: argparse.Namespace, environ: Mapping[str, str] | None = None) -> Location:
    """Return which server is meant.

    Raises:
        UsageProblem: it cannot be one.
    """
    env = os.environ if environ is None else environ
    custom = custom_endpoint("source", env)
    if args.source_arn:
        location = parse_arn(args.source_arn, option="--source-arn", custom_endpoint=custom)
    else:
        location = parse_location(args.source_uri, option="--source-uri", custom_endpoint=custom)
    location = in_workspace(location, "source", env)
    if location.kind == "snapshot":
        raise UsageProblem("--source-uri: a folder is a snapshot already; give a server")
    return location


def take(args: argparse.Namespace, folder: str, count: Count = uncounted) -> Taken:
    """Read a server whole into ``folder``; ``count`` is told what was read.

    Deleted experiments and runs are read too, so that every later audit finds what its scope names. An interrupted
    snapshot is taken up again; a finished one is kept beside the new one.

    Raises:
        ParityError: when the location is wrong, the server does not answer or the folder cannot be used.
    """
    location = location_of(args)
    if not 1 <= args.workers <= 64:
        raise UsageProblem(f"--workers: {args.workers} is out of range; give a whole number from 1 to 64")
    allowed = given_places("\n".join(getattr(args, "parity_allow_place", None) or ()), AUDIT_OPTION)
    way = own_way("source", location, args.parity_source_artifacts)
    reader = open_reader(location, "source", args.workers, allowed, way)
    try:
        side = Side("source", location, reader)
        experiments = side.experiments()
        root, note = prepare_folder(folder, "source", Path(folder))
        side.read(
            root,
            experiments,
            (*PARTS, *SERVER_PARTS),
            args.parity_depth,
            include_deleted=True,
            model_links=True,
            count=count,
            asked=Asked(args.parity_depth, True),
            finish=False,
        )
        # nothing stands still in a server in use: what moved behind the first list is not in the snapshot
        side.snapshot.note_moved(moved_since(reader, side.snapshot, include_deleted=True))
        side.finish()
    finally:
        reader.close()
    redact = Redactor.from_environment(also=location.secrets)
    notes = [] if note is None else [note]
    if way is not None:
        # it may quote what a cloud's library said
        notes.append(visible(redact(f"files were {way}")))
    unread = [visible(redact(line)) for line in told(incomplete(side.snapshot, include_deleted=True))]
    return Taken(location.display, root, side.snapshot.digest, _counts(side), tuple(notes), tuple(unread))


def _counts(side: Side) -> dict[str, int]:
    runs = points = files = objects = 0
    for experiment in side.experiments():
        counts = side.view(experiment).counts()
        runs += int(counts.get("runs", 0))
        points += int(counts.get("points", 0))
        files += int(counts.get("files", 0))
        objects += sum(side.snapshot.objects(experiment.experiment_id).counts().values())
    objects += sum(side.snapshot.objects(SERVER).counts().values())
    return {
        "experiments": len(side.experiments()),
        "runs": runs,
        "metric points": points,
        "files": files,
        "other objects": objects,
    }
