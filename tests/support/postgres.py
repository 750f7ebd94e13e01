"""A throwaway PostgreSQL cluster on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.standin.servers import free_port, stop_group

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster; anyone on loopback may connect as ``mlflow`` without a password."""

    port: int
    folder: Path
    bin: Path

    def uri(self, database: str = "mlflow") -> str:
        """SQLAlchemy URI (psycopg2 named: SQLAlchemy 2.1 would take psycopg 3)."""
        return f"postgresql+psycopg2://mlflow@127.0.0.1:{self.port}/{database}"

    def dsn(self, database: str = "mlflow") -> str:
        """URI for psycopg2 itself and for psql."""
        return f"postgresql://mlflow@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its SQLAlchemy URI."""
        program = str(self.bin / "createdb")
        subprocess.run([program, "-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow", name], check=True, timeout=60)
        return self.uri(name)


@contextmanager
def postgres(kept: Path | None = None) -> Iterator[Postgres]:
    """Run a cluster with an empty database ``mlflow`` for the length of a ``with`` block.

    ``kept`` is a folder in which it stays afterwards, and from which it goes on if it is there.
    """
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="mlflow-parity-pg-")) if kept is None else kept
    folder.mkdir(parents=True, exist_ok=True)
    data, log = folder / "data", folder / "log"
    # PostgreSQL refuses to run as root
    user = _unprivileged() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user.pw_uid, user.pw_gid)
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    env = {**os.environ, "HOME": str(folder)}
    there = data.exists()
    try:
        if not there:
            subprocess.run(
                [str(binaries / "initdb"), "-D", str(data), "-U", "mlflow", "-A", "trust", "-E", "UTF8", "--locale=C"],
                check=True,
                capture_output=True,
                timeout=120,
                cwd=folder,
                env=env,
                **identity,  # type: ignore[call-overload]
            )
        port = free_port()
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
        command += ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        with log.open("wb") as output:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
                env=env,
                **identity,  # type: ignore[call-overload]
            )
        try:
            cluster = Postgres(port, folder, binaries)
            _wait(cluster, process, log)
            if not there:
                cluster.create_database("mlflow")
            yield cluster
        finally:
            stop_group(process)
    finally:
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)


def _wait(cluster: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    command = [str(cluster.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(cluster.port)]
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        if subprocess.run(command, timeout=30).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _binaries() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        # the real folder: a link on PATH need not have its sisters beside it
        return Path(found).resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise RuntimeError("PostgreSQL is not installed: initdb is neither on PATH nor below /usr/lib/postgresql")
    return versions[-1].parent


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
