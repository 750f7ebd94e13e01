#!/usr/bin/env python3
"""Migrate an MLflow tracking server without loss; docs/migrate.md is the how-to."""

from __future__ import annotations

import sys
from pathlib import Path

try:
    from mlflow_parity.migrating.command import main
except ModuleNotFoundError:
    # a checkout in which the package is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))
    from mlflow_parity.migrating.command import main

if __name__ == "__main__":
    sys.exit(main())
