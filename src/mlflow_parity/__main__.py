"""The command ``mlflow-parity``: what is not an audit. An audit is ``pytest --source-uri … --target-uri …``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mlflow_parity.errors import ParityError
from mlflow_parity.redaction import Redactor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 4 with one line when the input is bad."""
    parser = argparse.ArgumentParser("mlflow-parity", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    waive = commands.add_parser("waive", help="Draft a file of waivers from a report")
    waive.add_argument("--from", dest="report", required=True, metavar="REPORT", help="A report.json")
    waive.add_argument("-o", "--output", default="waivers.toml", metavar="FILE", help="Default: waivers.toml")
    given = parser.parse_args(arguments)
    from mlflow_parity.drafting import write_draft

    try:
        count = write_draft(given.report, given.output)
    except ParityError as error:
        print(f"ERROR: {Redactor.from_environment()(str(error))}", file=sys.stderr)
        return 4
    entries = "entry" if count == 1 else "entries"
    print(f"{given.output}: {count} {entries}; fill in reason and owner of each, or remove it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
