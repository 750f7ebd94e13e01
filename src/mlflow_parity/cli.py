"""The command ``mlflow-parity``; the audit itself is ``pytest --source-uri … --target-uri …``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mlflow_parity import snapshot_command
from mlflow_parity.errors import ParityError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return its exit status (4: bad input or an unreachable server)."""
    parser = argparse.ArgumentParser(prog="mlflow-parity", description=__doc__)
    subparsers = parser.add_subparsers(title="commands", required=True)
    snapshot_command.add_parser(subparsers)
    args = parser.parse_args(arguments)
    try:
        return int(args.main(args))
    except ParityError as error:
        from mlflow_parity.redaction import Redactor

        print(f"mlflow-parity: {Redactor.from_environment()(str(error))}", file=sys.stderr)
        return 4


if __name__ == "__main__":
    sys.exit(main())
