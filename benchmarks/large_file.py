"""An audit of one file of 5 GB on each side: `python -m benchmarks.large_file [BYTES]`; a part of RESULTS.md.

The file is sparse: it takes no room on the disk of the server, which sends its bytes all the same.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))

from support.memory_peak import PYTEST, peak_mb  # noqa: E402
from support.seed import Seeder  # noqa: E402

from benchmarks.results import write_part  # noqa: E402
from mlflow_parity.standin.servers import Server, clean_environment, serving  # noqa: E402

HEADING = "## One large file"
#: Peak memory of the audit, whatever the size of the file.
MEMORY_MB = 250.0


def _fill(server: Server, size: int) -> None:
    seed = Seeder(server.uri)
    experiment = seed.experiment("large")
    run = seed.run(experiment, "large")
    seed.end(run)
    file = Path(server.artifacts_root) / experiment / run / "artifacts" / "large.bin"
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(size)


def main() -> None:
    """Audit, and write the part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bytes", type=int, nargs="?", default=5_000_000_000)
    size = int(parser.parse_args().bytes)
    with tempfile.TemporaryDirectory(prefix="parity-bench-") as temporary:
        folder = Path(temporary)
        with serving(folder / "source") as source, serving(folder / "target") as target:
            _fill(source, size)
            _fill(target, size)
            command = [sys.executable, "-c", PYTEST, "-p", "no:cacheprovider", "-q", "-k", "test_artifacts"]
            command += ["--source-uri", source.uri, "--target-uri", target.uri]
            began = time.monotonic()
            done = subprocess.run(
                command, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
            )
            took = time.monotonic() - began
        assert done.returncode == 0, done.stdout + done.stderr
        peak = peak_mb(done.stdout)
        assert peak < MEMORY_MB, f"peak memory {peak:.0f} MB"
    write_part(
        HEADING,
        f"{HEADING}\n\n"
        f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `python -m benchmarks.large_file` on {os.cpu_count()} "
        f"cores ({platform.machine()}), Python {platform.python_version()}, MLflow {source.version}.\n\n"
        f"One file of {size / 1e9:.1f} GB on each side, sent by the servers' artifact proxies and hashed on both sides at "
        f"once: {took:.0f} s, {2 * size / 1e6 / took:.0f} MB/s, peak memory {peak:.0f} MB, verdict green.\n",
    )
    print(f"{took:.0f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
