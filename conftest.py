"""Makes the plugin work from a checkout in which the package is not installed."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

if not any(point.name == "mlflow_parity" for point in importlib.metadata.entry_points(group="pytest11")):
    sys.path.insert(0, str(Path(__file__).parent / "src"))
    pytest_plugins = ["mlflow_parity.plugin"]
