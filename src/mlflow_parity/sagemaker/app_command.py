"""``migrate app`` and ``migrate retire``: what is there, a new App, and the end of the old server."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.core.arguments import Parser
from mlflow_parity.core.errors import ParityError, UsageProblem
from mlflow_parity.core.locations import parse_arn
from mlflow_parity.core.notice import migrate_command
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.reading.artifacts.trusted_places import MIGRATE_OPTION, given_places
from mlflow_parity.sagemaker.apps import create_app_for
from mlflow_parity.sagemaker.control_plane import App, open_control
from mlflow_parity.sagemaker.retire_evidence import parse_age
from mlflow_parity.sagemaker.retiring import Wish, retire, server_location

if TYPE_CHECKING:
    from mlflow_parity.sagemaker.control_plane import TrackingServer

_STATUS = "Exit status: 0 done, 2 bad input or SageMaker refuses."


def add_app_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``app`` with its own commands."""
    text = "MLflow Apps of SageMaker: create, describe, list"
    commands = subparsers.add_parser("app", help=text, description=f"{text}. docs/sagemaker.md is the how-to.")
    actions = commands.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="Create an App and wait until it takes requests", epilog=_STATUS)
    create.add_argument("name", metavar="NAME", help="Letters, digits and hyphens")
    create.add_argument("--artifact-store", required=True, metavar="S3_URI", help="Where it keeps its artifacts")
    create.add_argument("--role-arn", required=True, metavar="ARN", help="Role with which it reaches that bucket")
    create.add_argument("--tag", action="append", metavar="KEY=VALUE", help="Tag of the App; may be given again")
    create.add_argument("--kms-key", metavar="KEY", help="KMS key; it cannot be changed later")
    _add_timeout(create, 15)
    create.set_defaults(main=_create)
    describe = actions.add_parser("describe", help="Show an App, or a managed tracking server", epilog=_STATUS)
    describe.add_argument("arn", metavar="ARN")
    describe.set_defaults(main=_describe)
    listing = actions.add_parser("list", help="List the Apps of a region", epilog=_STATUS)
    listing.add_argument("--servers", action="store_true", help="Managed tracking servers instead")
    listing.set_defaults(main=_list)
    for parser in (create, describe, listing):
        parser.add_argument("--region", metavar="REGION", help="Default: that of the ARN, else of the environment")


def add_retire_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``retire``."""
    text = "Stop the old managed tracking server, when a report proves that all it holds now has arrived"
    parser = subparsers.add_parser(
        "retire",
        help=text,
        description=f"{text}. docs/sagemaker.md is the how-to.",
        epilog="Exit status: 0 it is stopped (deleted), 1 refused and not touched, 2 bad input or SageMaker refuses, "
        "3 all preconditions met, and nothing done without --yes.",
    )
    parser.add_argument("--source-arn", required=True, metavar="ARN", help="The managed tracking server")
    parser.add_argument("--report", required=True, type=Path, metavar="REPORT", help="report.json of a green audit")
    parser.add_argument("--delete", action="store_true", help="Delete it for good instead of stopping it")
    parser.add_argument("--max-age", default="24h", metavar="AGE", help="Age that the report may have (default: 24h)")
    parser.add_argument("--leave-deleted", action="store_true", help="What is in the server's trash may be lost")
    parser.add_argument("--waivers", type=Path, metavar="FILE", help="Waivers of the report that are accepted here too")
    parser.add_argument("--rename", type=Path, metavar="FILE", help="New names by which the report was made")
    text = "Demand this envelope of attest, over exactly this report"
    parser.add_argument("--attestation", type=Path, metavar="FILE", help=text)
    text = "Public key of who signed it (PEM; needs the extra [sign])"
    parser.add_argument("--attestation-key", type=Path, metavar="PUBLIC.pem", help=text)
    parser.add_argument("--yes", action="store_true", help="Do it; without this nothing is changed")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="Connections (default: 8)")
    text = "Read this bucket or folder too, as the audit did: data of the server names it"
    parser.add_argument(MIGRATE_OPTION, action="append", metavar="S3_URI", help=text)
    _add_timeout(parser, 45)
    parser.set_defaults(main=_retire)


def _add_timeout(parser: argparse.ArgumentParser, minutes: int) -> None:
    text = f"How long to wait for SageMaker (default: {minutes})"
    parser.add_argument("--timeout", type=float, default=float(minutes), metavar="MINUTES", help=text)


def _create(args: argparse.Namespace) -> int:
    limit = _seconds(args.timeout)
    arn = create_app_for(
        args.name,
        args.artifact_store,
        args.role_arn,
        tags=_tags(args.tag or []),
        kms_key=args.kms_key,
        region=args.region,
        limit=limit,
        told=_told,
    )
    # alone on stdout, so that a script can take it
    print(arn)
    return 0


def _describe(args: argparse.Namespace) -> int:
    location = parse_arn(args.arn, option="ARN")
    is_app = location.kind == "app"
    # a managed server is what one leaves, an App where one goes to
    control = open_control("target" if is_app else "source", region=args.region, location=location)
    found = control.app(args.arn) if is_app else control.server(args.arn.rsplit("/", 1)[-1])
    if found is None or found.arn != args.arn:
        listing = f"`{migrate_command()} app list`"
        raise UsageProblem(f"there is no {args.arn}; {listing} shows the Apps, with --servers the servers")
    for label, value in _fields(found):
        print(f"{label:<20}{value}")
    return 0


def _fields(found: App | TrackingServer) -> list[tuple[str, str]]:
    rows = [("name", found.name), ("ARN", found.arn), ("status", found.status), ("MLflow", found.mlflow_version)]
    rows += [("artifact store", found.artifact_store), ("role", found.role)]
    if isinstance(found, App):
        rows += [("model registration", found.registration), ("maintenance", found.maintenance)]
    else:
        rows += [("size", found.size)]
    rows += [("created", f"{found.created:%Y-%m-%d %H:%M %Z}" if found.created else "")]
    return [(label, value) for label, value in rows if value]


def _list(args: argparse.Namespace) -> int:
    control = open_control("source" if args.servers else "target", region=args.region)
    rows: Sequence[App | TrackingServer] = control.servers() if args.servers else control.apps()
    if not rows:
        print(f"no {'managed tracking servers' if args.servers else 'MLflow Apps'} in {control.region}")
    for row in rows:
        print(f"{row.name}\t{row.status}\tMLflow {row.mlflow_version}\t{row.arn}")
    return 0


def _retire(args: argparse.Namespace) -> int:
    if not 1 <= args.workers <= 64:
        raise UsageProblem(f"--workers: {args.workers} is out of range; give a whole number from 1 to 64")
    if (args.attestation is None) != (args.attestation_key is None):
        raise UsageProblem("--attestation: an envelope and --attestation-key prove something together only; give both")
    wish = Wish(
        server_location(args.source_arn, os.environ),
        args.report,
        delete=args.delete,
        max_age=parse_age(args.max_age),
        leave_deleted=args.leave_deleted,
        workers=args.workers,
        waivers=args.waivers,
        rename=args.rename,
        attestation=args.attestation,
        attestation_key=args.attestation_key,
        allow_place=given_places("\n".join(args.allow_place or ()), MIGRATE_OPTION),
    )
    return retire(wish, yes=args.yes, limit=_seconds(args.timeout), told=partial(print, flush=True))


def _told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _seconds(minutes: float) -> float:
    if not 0 < minutes <= 1440:
        raise UsageProblem(f"--timeout: {minutes:g} minutes are out of range; give up to 1440")
    return minutes * 60


def _tags(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageProblem(f"--tag: {text!r} is no KEY=VALUE")
        if key in found:
            raise UsageProblem(f"--tag: {key!r} is given twice")
        found[key] = value
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``app`` or ``retire`` alone, as ``migrate`` does; return the exit status."""
    parser: argparse.ArgumentParser = Parser(prog=migrate_command())
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    add_app_parser(subparsers)
    add_retire_parser(subparsers)
    args = parser.parse_args(arguments)
    try:
        return int(args.main(args))
    except ParityError as error:
        print(f"{migrate_command()}: {Redactor.from_environment()(str(error))}", file=sys.stderr)
        return error.migrate_status


if __name__ == "__main__":
    sys.exit(main())
