"""The command ``mlflow-parity``: audits, migrations, snapshots, parts joined, drafts of waivers, signatures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from mlflow_parity import __version__
from mlflow_parity.core.arguments import Parser
from mlflow_parity.core.ending import interrupted, on_sigterm
from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.core.notice import program
from mlflow_parity.core.redaction import Redactor, defect, guard_logs
from mlflow_parity.core.text import json_safe
from mlflow_parity.pytest_api import merge_command, snapshot_command
from mlflow_parity.signing import command as signing_command

_DESCRIPTION = "Prove that an MLflow tracking server was migrated without loss, and migrate it so."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status (4: bad input or an unreachable server, in one line)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    # these have options of their own, --help too
    if given and (command := _PASSED_ON.get(given[0])):
        return command(given[1:])
    parser = _parser()
    if not given:
        print(f"mlflow-parity {__version__}\n")
        parser.print_help()
        return 0
    args = parser.parse_args(given)
    redact = Redactor.from_environment()
    end = guard_logs(redact)
    no_sigterm = on_sigterm()
    try:
        return int(args.main(args))
    except KeyboardInterrupt as ended:
        return interrupted(program(), ended)
    except ParityError as error:
        print(f"ERROR: {redact(str(error))}", file=sys.stderr)
        return error.exit_status
    except Exception as error:
        # a defect of ours; the errors of reading are among those above, and know the password of the URI
        print(f"internal error (a bug in mlflow-parity):\n{defect(error, redact)}", file=sys.stderr)
        return 3
    finally:
        end()
        no_sigterm()


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(prog=program(), description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"mlflow-parity {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    audit = "Compare two servers: pytest with the checks, and with all of its options"
    subparsers.add_parser("audit", help=audit, add_help=False).set_defaults(main=lambda _: _audit([]))
    migrate = "Migrate a server: plan, run, repair and more (needs the extra [migrate])"
    subparsers.add_parser("migrate", help=migrate, add_help=False).set_defaults(main=lambda _: _migrate([]))
    snapshot_command.add_parser(subparsers)
    merge_command.add_parser(subparsers)
    waive = subparsers.add_parser("waive", help="Draft a file of waivers from a report")
    waive.add_argument("--from", dest="report", required=True, metavar="REPORT", help="A report.json")
    waive.add_argument("-o", "--output", default="waivers.toml", metavar="FILE", help="Default: waivers.toml")
    waive.set_defaults(main=_waive)
    signing_command.add_parsers(subparsers)
    text = "Show the audits that folders of reports keep, and what is newly wrong"
    history = subparsers.add_parser(
        "history",
        help=text,
        description=f"{text}. docs/upgrade.md uses it.",
        epilog="Exit status: 0 nothing is wrong in the newest audits that was not before; 1 something is; 4 bad input.",
    )
    history.add_argument("folders", nargs="*", metavar="DIR", help="Default: reports, without --tracking-uri")
    text = "MLflow server or ARN: compare with the audits that it keeps, and put those of DIR there"
    history.add_argument("--tracking-uri", metavar="URI", help=text)
    text = "Experiment of that server (default: mlflow-parity)"
    history.add_argument("--experiment", default="mlflow-parity", metavar="NAME", help=text)
    history.add_argument("--json", action="store_true", help="Print all of it as JSON")
    history.set_defaults(main=_history)
    return parser


def _complete() -> None:
    """Tell a shell what may follow, and end; without argcomplete nothing is told."""
    try:
        import argcomplete
    except ImportError:
        return
    from mlflow_parity.migrating.command import parser as migrate_parser
    from mlflow_parity.options import OPTIONS

    parser = _parser()
    [commands] = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    audit = commands.choices["audit"]
    for option in OPTIONS:
        audit.add_argument(option.flag, choices=option.choices or None, help=option.help)
    commands.choices["migrate"] = migrate_parser()
    argcomplete.autocomplete(parser)


def _audit(arguments: Sequence[str]) -> int:
    from mlflow_parity.pytest_api.audit_command import main as audit

    audit(arguments)


def _migrate(arguments: Sequence[str]) -> int:
    from mlflow_parity.migrating.command import main as migrate

    return migrate(arguments)


_PASSED_ON: Mapping[str, Callable[[Sequence[str]], int]] = {"audit": _audit, "migrate": _migrate}


def _waive(args: argparse.Namespace) -> int:
    from mlflow_parity.reporting.kept.waiver_drafts import write_draft

    count = write_draft(args.report, args.output)
    entries = "entry" if count == 1 else "entries"
    print(f"{args.output}: {count} {entries}; fill in reason and owner of each, or remove it")
    return 0


def _history(args: argparse.Namespace) -> int:
    try:
        return _told_history(args)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise no_space(error) or UsageProblem(
            f"history: {named}{error.strerror or error}; give a folder that can be read"
        ) from None


def _told_history(args: argparse.Namespace) -> int:
    from mlflow_parity.reporting.history.audits import audits_in, pairs_of
    from mlflow_parity.reporting.history.telling import history_document, history_text

    given = audits_in(args.folders or (["reports"] if args.tracking_uri is None else []))
    with ExitStack() as open_until_told:
        if args.tracking_uri is not None:
            # MLflow's own client takes seconds to import
            from mlflow_parity.reporting.history.server import open_audits

            server = open_until_told.enter_context(open_audits(args.tracking_uri, args.experiment))
            pairs = pairs_of(given, server.read())
            if given:
                print(server.keep(one for audits in pairs.values() for one in audits), file=sys.stderr)
            elif not pairs:
                raise UsageProblem(f"history: {server.name} keeps no audit; give the folder of an audit's reports, too")
        else:
            pairs = pairs_of(given)
        if args.json:
            print(json_safe(json.dumps(history_document(pairs), indent=1, ensure_ascii=False)))
        else:
            print("\n".join(history_text(pairs)))
    return int(any(audits[-1].is_worse for audits in pairs.values()))


if __name__ == "__main__":
    sys.exit(main())
