"""Public keys: read from PEM, each with the one way in which it signs; written as PEM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.input_files import Unusable, content_of
from mlflow_parity.core.notice import install_command

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

#: What begins the name of a key in AWS KMS.
KMS = "awskms:"
#: A key of any kind is smaller.
_MOST = 1 << 20
_RSA = 2048
KINDS = "Ed25519, ECDSA on P-256, P-384 or P-521, and RSA"


def need_library(what: str) -> None:
    """Look whether what signs and checks is installed.

    Raises:
        UsageProblem: it is not; one line says how to get it.
    """
    try:
        import cryptography.exceptions  # noqa: F401
        import securesystemslib.signer  # noqa: F401
    except ImportError:
        fix = install_command("sign")
        raise UsageProblem(
            f"{what} needs securesystemslib and cryptography, which are not installed; run: {fix}"
        ) from None


def load_public(path: Path, what: str) -> SSlibKey:
    """Return the public key in a PEM file; ``what`` names the option in errors.

    Raises:
        UsageProblem: there is none that can be used.
    """
    need_library(what)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = content_of_key(str(path), what)
    if b"PRIVATE KEY" in content:
        raise UsageProblem(f"{what}: {path} is a private key; give the public one, which --public-key of attest writes")
    try:
        return accepted(load_pem_public_key(content), f"{what}: {path}")
    except (ValueError, UnsupportedAlgorithm):
        raise UsageProblem(f"{what}: {path} holds no public key in PEM; --public-key of attest writes one") from None


def accepted(public: Any, which: str) -> SSlibKey:
    """Return a public key with the one way in which it signs: no envelope chooses another.

    Raises:
        UsageProblem: it is of a kind that is not used here, or too short.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from securesystemslib.signer import SSlibKey

    if isinstance(public, RSAPublicKey) and public.key_size < _RSA:
        raise UsageProblem(f"{which} is an RSA key of {public.key_size} bits; {_RSA:,} at least are needed")
    try:
        return SSlibKey.from_crypto(public)
    except ValueError:
        raise UsageProblem(f"{which} is of a kind that is not used here; {KINDS} are") from None


def public_pem(key: SSlibKey) -> bytes:
    """Return a public key as the PEM that :func:`load_public` reads."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    told = str(key.keyval["public"])
    if key.keytype != "ed25519":
        return told.encode()
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(told))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def content_of_key(text: str, what: str) -> bytes:
    """Return what stands in a file that is to hold a key.

    Raises:
        UsageProblem: it cannot be read, or is none.
    """
    try:
        return content_of(text, _MOST)
    except Unusable as error:
        raise UsageProblem(f"{what}: {text} {error}; give a key in PEM") from None
