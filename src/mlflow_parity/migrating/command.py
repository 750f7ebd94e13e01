"""The command line of ``mlflow-parity migrate`` and ``migrate.py``: arguments, and which steps each command takes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlflow_parity.core.arguments import Parser
from mlflow_parity.core.ending import interrupted, on_sigterm
from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.notice import migrate_command
from mlflow_parity.core.redaction import Redactor, defect, guard_logs
from mlflow_parity.core.text import visible
from mlflow_parity.migrating.demo import run_demo
from mlflow_parity.migrating.exim.tool import require_extras
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.migration import Migration
from mlflow_parity.migrating.settings import (
    add_arguments,
    add_cluster_arguments,
    given_reports,
    given_work,
    settings_of,
)
from mlflow_parity.sagemaker.app_command import add_app_parser, add_retire_parser
from mlflow_parity.sagemaker.apps import create_app_for

_STEPS = {
    "plan": "What would move, what will differ, what stands in the way; nothing is written",
    "export": "Read the source into the work folder; also a backup",
    "check": "Read an export again: is every record there, and every byte? No server is asked",
    "import": "Bring what was exported to the target",
    "verify": "Audit source and target",
    "run": "Preflight, export, import and audit",
    "repair": "Move again what a report calls missing, duplicated or different",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    main: argparse.ArgumentParser = Parser(
        prog=migrate_command(),
        description="Migrate an MLflow tracking server without loss. docs/migrate.md is the how-to.",
        epilog="Exit status: 0 all moved (and the audit green), 1 something was not, 2 bad input.",
    )
    steps = main.add_subparsers(dest="step", required=True, metavar="COMMAND")
    for name, text in _STEPS.items():
        step = steps.add_parser(name, help=text, description=f"{text}.")
        step.set_defaults(main=_step)
        if name == "check":
            step.add_argument(
                "--work-dir", type=Path, default=Path("migration"), help="Folder of the export (%(default)s)"
            )
            step.set_defaults(main=_check)
            continue
        add_arguments(step, source=True, target=name != "export")
        if name == "verify":
            step.add_argument("--from-export", action="store_true", help="Audit against the export, not the source")
        if name == "run":
            step.add_argument("--no-verify", action="store_true", help="Leave the audit for later")
            add_cluster_arguments(step)
        if name in ("run", "plan"):
            step.add_argument(
                "--create-app", metavar="NAME", help="Make a SageMaker MLflow App first, and migrate to it"
            )
            step.add_argument("--artifact-store", metavar="S3_URI", help="Where the new App keeps its artifacts")
            step.add_argument("--role-arn", metavar="ARN", help="Role of the new App")
        if name == "repair":
            step.add_argument("--report", type=Path, required=True, metavar="REPORT", help="report.json of a red audit")
    add_app_parser(steps)
    add_retire_parser(steps)
    demo = steps.add_parser("demo", help="Show on loopback what the plain tool loses and what this does")
    demo.add_argument("--work-dir", type=Path, default=Path("demo-work"), help="For databases, exports and logs")
    demo.add_argument("--report-dir", type=Path, default=Path("reports"), help="For the audits' reports")
    demo.set_defaults(main=_demo)
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the command that it names; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not {"-h", "--help"} & set(given):
            require_extras(given[0] if given else "")
    except UsageProblem as error:
        print(f"{migrate_command()}: {error}", file=sys.stderr)
        return 2
    options = parser().parse_args(given)
    name = f"{migrate_command()} {options.step}"
    # being ended is like Ctrl-C: what was started is ended too
    no_sigterm = on_sigterm()
    umask = _private_umask(getattr(options, "work_dir", None))
    redact = _redactor(options)
    end = guard_logs(redact)
    try:
        return int(options.main(options))
    except KeyboardInterrupt as ended:
        return interrupted(name, ended)
    except Exception as error:
        known = error if isinstance(error, ParityError) else no_space(error)
        if known is not None:
            print(f"{name}: {redact(str(known))}", file=sys.stderr)
            return known.migrate_status
        print(f"{name}: internal error (a bug in mlflow-parity):\n{defect(error, redact)}", file=sys.stderr)
        return 1
    finally:
        end()
        no_sigterm()
        os.umask(umask)


def _private_umask(work: Path | None) -> int:
    """Keep what is written from all others, the tool's files too, unless the work folder lets them in; return the old.

    There is no other way to have it of what the tool, SQLite and Parquet write.
    """
    umask = os.umask(0o077)
    with suppress(OSError, RuntimeError):
        if work is not None and work.expanduser().stat().st_mode & 0o077:
            os.umask(umask)
    return umask


def _redactor(options: argparse.Namespace) -> Redactor:
    secrets: list[str] = []
    for side in ("source", "target"):
        with suppress(ParityError):
            secrets += parse_location(getattr(options, f"{side}_uri", None) or "", option=side).secrets
    return Redactor.from_environment(also=secrets)


def _demo(options: argparse.Namespace) -> int:
    return run_demo(given_work(options), given_reports(options))


def _create_app(options: argparse.Namespace) -> str:
    """Make the App that ``run`` is to migrate to; one that an interrupted run made is taken."""
    if options.target_uri or options.target_arn:
        raise UsageProblem("--create-app: there is a target already; leave --target-uri and --target-arn out")
    if not options.artifact_store or not options.role_arn:
        raise UsageProblem("--create-app: an App needs a bucket and a role; add --artifact-store and --role-arn")
    return create_app_for(options.create_app, options.artifact_store, options.role_arn, resume=True)


def _check(options: argparse.Namespace) -> int:
    folder = ExportFolder(given_work(options) / "export")
    folder.take_back()
    if not folder.exists:
        raise UsageProblem(f"--work-dir: {options.work_dir} holds no export; run `{migrate_command()} export` first")
    damage = folder.verify()
    for one in damage:
        where = " ".join(filter(None, [one.kind, one.source_id, repr(one.path) if one.path else ""]))
        print(visible(f"{where}: {one.why}"))
    if not damage:
        print(
            f"whole: every record and every byte of the export of {visible(folder.snapshot.origin.location)} is there"
        )
    return 1 if damage else 0


def _step(options: argparse.Namespace) -> int:
    if options.step == "run" and options.create_app:
        options.target_arn = _create_app(options)
    with Migration(settings_of(options)) as migration:
        if options.step == "plan":
            return migration.plan()
        if options.step == "export":
            return migration.export()
        if options.step == "import":
            return migration.import_()
        if options.step == "verify":
            return migration.verify(from_export=options.from_export)
        if options.step == "repair":
            return migration.repair(options.report)
        return migration.run(check=not options.no_verify)


if __name__ == "__main__":
    sys.exit(main())
