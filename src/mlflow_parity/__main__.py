"""``python -m mlflow_parity`` is the command ``mlflow-parity``."""

from __future__ import annotations

import sys

from mlflow_parity.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
