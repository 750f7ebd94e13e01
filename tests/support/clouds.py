"""Emulators of Google Cloud Storage (from PyPI) and of Azure's blobs (Azurite, from npm), on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow_parity.standin.servers import cache_folder, clean_environment, free_port, locked
from support.environments import environment

_AZURITE = "3.35.0"
#: The account that every Azurite has, with its published key.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def google() -> Iterator[Mapping[str, str]]:
    """Run an emulator of Google Cloud Storage with the bucket ``bucket``; its variables."""
    python = Path(environment("gcs-emulator-2026", ["gcp-storage-emulator==2026.7.19", "setuptools<81"]))
    port = free_port()
    command = [str(python.parent / "gcp-storage-emulator"), "start", "--host=127.0.0.1", f"--port={port}"]
    with _running([*command, "--in-memory", "--default-bucket=bucket"], port):
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}


@contextmanager
def azure(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run Azurite with an account of its own data in ``folder``; its variables."""
    place = cache_folder() / "npm" / f"azurite-{_AZURITE}"
    with locked("azurite"):
        if not (place / "installed").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            command = ["npm", "install", "--prefix", str(place), "--no-audit", "--no-fund", f"azurite@{_AZURITE}"]
            subprocess.run(command, check=True, capture_output=True, timeout=600)
            (place / "installed").touch()
    port = free_port()
    program = str(place / "node_modules" / ".bin" / "azurite-blob")
    command = [program, "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(folder)]
    with _running([*command, "--blobHost", "127.0.0.1", "--blobPort", str(port)], port):
        endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
        yield {
            "AZURE_STORAGE_CONNECTION_STRING": (
                f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};BlobEndpoint={endpoint};"
            )
        }


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(300):
            with socket.socket() as tried:
                if not tried.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            time.sleep(0.1)
        else:
            raise AssertionError(f"{command[0]} does not answer")
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
