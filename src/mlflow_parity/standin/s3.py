"""S3 on loopback: moto's server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import clean_environment, free_port, stop_group, wait_healthy
from mlflow_parity.standin.sigv4 import Credentials


@dataclass(frozen=True, slots=True)
class S3:
    """A running S3; it takes any credentials."""

    endpoint: str
    pid: int

    def client(self, credentials: Credentials, region: str) -> Any:
        """Return a boto3 client for it."""
        import boto3

        session = boto3.Session(
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
            region_name=region,
        )
        return session.client("s3", endpoint_url=self.endpoint)

    def create_bucket(self, name: str, credentials: Credentials, region: str) -> None:
        """Create an empty bucket in ``region``."""
        client = self.client(credentials, region)
        if region == "us-east-1":
            client.create_bucket(Bucket=name)
        else:
            client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})


@contextmanager
def s3_server(folder: Path, *, page: int = 1000) -> Iterator[S3]:
    """Run an S3 for the length of a ``with`` block; its log goes to ``folder``; a list gives ``page`` keys a call."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "s3.log"
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            cwd=folder,
            env={**clean_environment(), "MOTO_S3_DEFAULT_MAX_KEYS": str(page)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        wait_healthy(f"{endpoint}/moto-api/", process, log, timeout=60)
        yield S3(endpoint, process.pid)
    finally:
        stop_group(process)
