"""A throwaway MariaDB server on loopback, to which case and accents make no difference, as it comes."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow_parity.standin.servers import free_port, stop_group

#: Debian keeps it where only root looks.
_SERVER = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "mariadbd"
_PASSWORD = "a-passw0rd-of-nobody"


@contextmanager
def mariadb() -> Iterator[str]:
    """Run a server with an empty database for the length of a ``with`` block; yields its SQLAlchemy URI."""
    folder = Path(tempfile.mkdtemp(prefix="mlflow-parity-mariadb-"))
    data, log, socket = folder / "data", folder / "log", folder / "socket"
    own = ["--no-defaults", f"--datadir={data}", f"--user={getpass.getuser()}"]
    try:
        subprocess.run(
            ["mariadb-install-db", *own, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
            timeout=180,
        )
        first = folder / "first.sql"
        first.write_text(
            "CREATE DATABASE mlflow;\n"
            f"CREATE USER 'mlflow'@'127.0.0.1' IDENTIFIED BY '{_PASSWORD}';\n"
            "GRANT ALL ON mlflow.* TO 'mlflow'@'127.0.0.1';\n"
        )
        port = free_port()
        settings = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={socket}", f"--init-file={first}"]
        settings += ["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", f"--pid-file={folder / 'pid'}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [_SERVER, *own, *settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
            )
        try:
            _wait(socket, process, log)
            yield f"mysql+pymysql://mlflow:{_PASSWORD}@127.0.0.1:{port}/mlflow"
        finally:
            stop_group(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        # the init file is done with before connections are taken
        if b"ready for connections" in log.read_bytes() and socket.exists():
            return
        time.sleep(0.1)
    raise RuntimeError(f"MariaDB did not start:\n{log.read_text(errors='replace')[-3000:]}")
