"""``python -m mlflow_parity`` is the command ``mlflow-parity``; it imports nothing from the folder it is called in."""

from __future__ import annotations

import os
import sys

_HERE = os.path.realpath(os.getcwd())
_PACKAGE = os.path.realpath(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Python puts the folder first for -m, and a library's name there would be taken for the library; a checkout's src stays
if __name__ == "__main__" and sys.path and os.path.realpath(sys.path[0]) == _HERE != _PACKAGE:
    del sys.path[0]

from mlflow_parity.cli import main  # noqa: E402

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
