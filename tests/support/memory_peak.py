"""Peak memory of a process of its own.

Linux hands ``ru_maxrss`` down through ``exec``: a child of a large process starts with its parent's peak. ``VmHWM``
belongs to the program itself.
"""

from __future__ import annotations

from pathlib import Path

#: Program that runs pytest with the arguments given, and prints its peak at the end.
PYTEST = """
import sys, pytest
code = pytest.main(sys.argv[1:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).strip())
sys.exit(code)
"""


def peak_mb(status: str | None = None) -> float:
    """Return the peak in MB from ``/proc/<pid>/status``, this process's own without ``status``."""
    text = Path("/proc/self/status").read_text() if status is None else status
    line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
