"""Which allocator Arrow gets: the system's, unless somebody chose, and nobody else hears of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlflow_parity.core.local.arrow_memory import VARIABLE

_PROGRAM = """
import os
{first}
import mlflow_parity.snapshot
import pyarrow as pa
print(pa.default_memory_pool().backend_name, os.environ.get("{variable}"))
"""


@pytest.mark.parametrize(
    ("first", "chosen", "told"),
    [
        ("", {}, "system None"),
        # another plugin, or a conftest, has loaded it
        ("import pyarrow", {}, "system None"),
        ("", {VARIABLE: "mimalloc"}, "mimalloc mimalloc"),
    ],
    ids=["nothing", "loaded before", "chosen"],
)
def test_arrow_takes_memory_from_the_system(first: str, chosen: dict[str, str], told: str) -> None:
    """It does so without a word to the programs that are started later."""
    env = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(first=first, variable=VARIABLE)],
        env={**env, **chosen},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == told
