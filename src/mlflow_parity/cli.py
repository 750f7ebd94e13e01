"""The command ``mlflow-parity``; the audit itself is ``pytest --source-uri … --target-uri …``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mlflow_parity import snapshot_command
from mlflow_parity.errors import ParityError
from mlflow_parity.redaction import Redactor, defect, guard_logs


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
    redact = Redactor.from_environment()
    end = guard_logs(redact)
    try:
        return int(args.main(args))
    except ParityError as error:
        print(f"ERROR: {redact(str(error))}", file=sys.stderr)
        return 4
    except Exception as error:
        # a defect of ours; the errors of reading are among those above, and know the password of the URI
        print(f"mlflow-parity failed, which is a defect of it:\n{defect(error, redact)}", file=sys.stderr)
        return 3
    finally:
        end()


def _waive(args: argparse.Namespace) -> int:
    from mlflow_parity.drafting import write_draft

    count = write_draft(args.report, args.output)
    entries = "entry" if count == 1 else "entries"
    print(f"{args.output}: {count} {entries}; fill in reason and owner of each, or remove it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
