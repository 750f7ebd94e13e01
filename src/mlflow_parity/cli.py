"""The command ``mlflow-parity``; the audit itself is ``pytest --source-uri … --target-uri …``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mlflow_parity import snapshot_command
from mlflow_parity.errors import ParityError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return its exit status (4: bad input or an unreachable server, in one line)."""
    parser = argparse.ArgumentParser(prog="mlflow-parity", description=__doc__)
    subparsers = parser.add_subparsers(title="commands", required=True)
    snapshot_command.add_parser(subparsers)
    waive = subparsers.add_parser("waive", help="Draft a file of waivers from a report")
    waive.add_argument("--from", dest="report", required=True, metavar="REPORT", help="A report.json")
    waive.add_argument("-o", "--output", default="waivers.toml", metavar="FILE", help="Default: waivers.toml")
    waive.set_defaults(main=_waive)
    args = parser.parse_args(arguments)
    try:
        return int(args.main(args))
    except ParityError as error:
        from mlflow_parity.redaction import Redactor

        print(f"ERROR: {Redactor.from_environment()(str(error))}", file=sys.stderr)
        return 4


def _waive(args: argparse.Namespace) -> int:
    from mlflow_parity.drafting import write_draft

    count = write_draft(args.report, args.output)
    entries = "entry" if count == 1 else "entries"
    print(f"{args.output}: {count} {entries}; fill in reason and owner of each, or remove it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
