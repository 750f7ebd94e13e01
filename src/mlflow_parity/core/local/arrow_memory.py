"""Which allocator Arrow takes its memory from: the one that Python has it from, too.

Arrow's own allocator (mimalloc) keeps a heap for each thread, and returns little of it when the thread ends. An audit
reads and compares experiment after experiment in threads that come and go: with it, the process was 130 MB larger, and
went on growing.
"""

from __future__ import annotations

import os
import sys

#: What Arrow asks when it is loaded; who sets it has chosen.
VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"


def use_system_memory() -> None:
    """Load Arrow with the system's allocator, unless somebody chose another one."""
    if VARIABLE in os.environ:
        return
    if "pyarrow" not in sys.modules:
        os.environ[VARIABLE] = "system"
        try:
            import pyarrow as pa
        finally:
            # programs that are started from here choose for themselves
            del os.environ[VARIABLE]
    else:
        # what Arrow was loaded with stays that of its own C++ code
        import pyarrow as pa
    pa.set_memory_pool(pa.system_memory_pool())
