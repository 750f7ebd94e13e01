"""Loads a model version with ``mlflow.pyfunc``, each in a process of its own with a time limit.

Loading runs the model's own code, with the rights of whoever runs the audit: only when
``--parity-load-models`` asks for it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.locations import Location
from mlflow_parity.reading.auth import OWN_S3
from mlflow_parity.verdict import State

RULE = "model_version.loads"
#: Seconds for one model, importing mlflow included.
LIMIT = 300.0
_PROGRAM = "import sys, mlflow.pyfunc; mlflow.pyfunc.load_model(sys.argv[1]); print('loaded')"
_ABSENT = re.compile(r"(?:ModuleNotFoundError|ImportError): (?:No module named )?(.*)")
_PREFIX = "TARGET_"


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads model versions of one server; ``own_name`` gives the name there of a model that is known by another."""

    location: Location
    redact: Callable[[str], str]
    own_name: Callable[[str], str] = str
    limit: float = LIMIT
    python: str = sys.executable

    def __call__(self, name: str, number: int) -> list[Difference]:
        """Return nothing when the version loads, else one difference that says why not."""
        if self.location.kind == "snapshot":
            return [Difference("", State.UNVERIFIED, RULE, note="models cannot be loaded from a snapshot")]
        with tempfile.TemporaryDirectory(prefix="mlflow-parity-load-") as folder:
            try:
                done = subprocess.run(
                    [self.python, "-c", _PROGRAM, f"models:/{self.own_name(name)}/{number}"],
                    env={**self._environment(os.environ), "TMPDIR": folder},
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=self.limit,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                note = f"not loaded within {self.limit:.0f} s"
                return [Difference("", State.UNVERIFIED, RULE, note=note)]
        if done.returncode == 0 and done.stdout.rstrip().endswith("loaded"):
            return []
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = self.redact(lines[-1])[:500] if lines else f"the process ended with status {done.returncode}"
        absent = _ABSENT.search(last)
        if absent:
            note = f"a library that it needs is absent here: {absent[1]}"
            return [Difference("", State.UNVERIFIED, RULE, note=note)]
        return [Difference("", State.MISMATCH, RULE, note=f"cannot be loaded: {last}")]

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a client of the target: what has its prefix counts without it."""
        own = {name: value for name, value in given.items() if not name.startswith(("SOURCE_", _PREFIX))}
        if self.location.is_arn:
            # without the prefix they are for a self-managed server's S3
            own = {name: value for name, value in own.items() if name not in OWN_S3}
        own.update({name.removeprefix(_PREFIX): value for name, value in given.items() if name.startswith(_PREFIX)})
        uri = self.location.uri if self.location.is_arn else self.location.endpoint
        if self.location.userinfo:
            name, password = (unquote(part) for part in self.location.userinfo)
            own.update(MLFLOW_TRACKING_USERNAME=name, MLFLOW_TRACKING_PASSWORD=password)
        return {**own, "MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
