"""Certificates that nobody else signed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def certificate(folder: Path, names: Sequence[str] = ("localhost",)) -> Path:
    """Make a key and a certificate for these names, both in one file; who is told to trust it may."""
    file = folder / "both.pem"
    key, told = folder / "key.pem", ",".join(f"DNS:{name}" for name in names)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={names[0]}"]
    command += ["-addext", f"subjectAltName={told}", "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(key.read_text() + file.read_text())
    return file
