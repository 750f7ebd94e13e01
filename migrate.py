#!/usr/bin/env python3
"""Migrate an MLflow tracking server. For now: ``demo``, which shows what the plain tool loses."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from mlflow_parity.errors import ParityError
from mlflow_parity.migrating.demo import run_demo


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run the step that it names; return the exit status."""
    parser = argparse.ArgumentParser(prog="migrate.py", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    demo = steps.add_parser(
        "demo",
        help="Start two servers on loopback, migrate with the plain Export Import tool, audit the result",
        epilog="Exit status: 0 when the audit ended red and named the lost runs, else 1; 2 for bad input.",
    )
    demo.add_argument("--work-dir", type=Path, default=Path("demo-work"), help="For databases, exports and logs")
    demo.add_argument("--report-dir", type=Path, default=Path("reports"), help="For the audit's reports")
    options = parser.parse_args(arguments)
    # being ended is an exit like any other: what was started is ended too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run_demo(options.work_dir, options.report_dir)
    except ParityError as error:
        print(f"migrate.py {options.step}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
