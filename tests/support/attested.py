"""Reports of real audits of two kept snapshots, green and red, and keys; to be signed, and altered."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from support.audits import audit
from support.contract_case import source
from support.memory import run_audit

KINDS: dict[str, Callable[[], Any]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed448": ed448.Ed448PrivateKey.generate,
    "k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "short": lambda: rsa.generate_private_key(65537, 1024),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A folder with ``reports`` and the snapshots ``source`` and ``target``."""

    folder: Path

    @property
    def reports(self) -> Path:
        """The folder of the report."""
        return self.folder / "reports"

    @property
    def envelope(self) -> Path:
        """Where ``attest`` writes."""
        return self.reports / "attestation.json"

    def attest(self, key: Path | str, *more: str) -> list[str]:
        """Arguments that sign it with both snapshots."""
        return ["attest", "--report-dir", str(self.reports), "--key", str(key), *self.sides, *more]

    def verify(self, public: Path, *more: str) -> list[str]:
        """Arguments that check all of it."""
        return ["verify", str(self.envelope), "--key", str(public), *self.sides, *more]

    @property
    def sides(self) -> list[str]:
        """Options that name the snapshots."""
        return ["--snapshot-source", str(self.folder / "source"), "--snapshot-target", str(self.folder / "target")]

    def copied(self, folder: Path) -> Case:
        """Return a copy that a test may alter."""
        shutil.copytree(self.folder, folder)
        return Case(folder)


def audited(folder: Path, *, red: bool = False) -> Case:
    """Snapshots of two servers, and an audit of them as a user runs it; ``red``: one param differs."""
    one = source()
    other = copy.deepcopy(one)
    if red:
        other.runs[1] = replace(other.runs[1], params={"lr": "0.2"})
    run_audit(one, other, snapshots=folder)
    done = audit(folder, str(folder / "source"), str(folder / "target"), "--parity-include-deleted")
    assert done.status == int(red), done.output
    return Case(folder)


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    """Return a private key as a file holds it."""
    how = pem.BestAvailableEncryption(password) if password else pem.NoEncryption()
    content: bytes = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, how)
    return content


def keys(folder: Path, kind: str = "ed25519", password: bytes | None = None) -> tuple[Path, Path]:
    """Make a pair of keys; return the files of both."""
    made = KINDS[kind]()
    private, public = folder / f"{kind}.pem", folder / f"{kind}.pub.pem"
    private.write_bytes(private_pem(made, password))
    shown = made.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(shown)
    return private, public


@contextmanager
def flipped(path: Path, at: int, bit: int = 0) -> Iterator[None]:
    """Let a file have one bit altered for the length of a ``with`` block."""
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[at] ^= 1 << bit
    path.write_bytes(altered)
    try:
        yield
    finally:
        path.write_bytes(whole)


def positions(size: int, count: int) -> Sequence[int]:
    """Return places in every region of a file: both ends, and evenly between."""
    if size == 0 or count < 2:
        return [size // 2][:size]
    return sorted({round(number * (size - 1) / (count - 1)) for number in range(count)})
