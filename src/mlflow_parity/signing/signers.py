"""Private keys: in a PEM file, or in AWS KMS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.signing.keys import KINDS, KMS, accepted, content_of_key, need_library

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

#: What a private key in a file may be encrypted with.
PASSWORD = "MLFLOW_PARITY_KEY_PASSWORD"  # noqa: S105 (the name of a variable)
_MAKE = "`openssl genpkey -algorithm ed25519 -out private.pem` makes one"


def open_signer(text: str) -> Signer:
    """Return what signs with a key: a PEM file, or ``awskms:`` and the id, alias or ARN of a key.

    Raises:
        ParityError: there is no such key, it is none that can be used, or KMS refuses.
    """
    need_library("--key")
    if text.startswith(KMS):
        from mlflow_parity.signing.kms import open_kms

        return open_kms(text.removeprefix(KMS))
    from securesystemslib.signer import CryptoSigner

    private = _private(text)
    public = accepted(private.public_key(), f"--key: {text}")
    return CryptoSigner(private, public)


def _private(text: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = content_of_key(text, "--key")
    if b"PUBLIC KEY" in content or b"CERTIFICATE" in content:
        raise UsageProblem(f"--key: {text} is a public key; give the private one, which belongs to it")
    password = os.environ.get(PASSWORD)
    try:
        try:
            return load_pem_private_key(content, None)
        except TypeError:
            if not password:
                raise UsageProblem(f"--key: {text} is encrypted; set {PASSWORD} to its password") from None
            return load_pem_private_key(content, password.encode("utf-8", "surrogateescape"))
    except UnsupportedAlgorithm:
        raise UsageProblem(f"--key: {text} is of a kind that is not known here; {KINDS} are") from None
    except (ValueError, TypeError):
        why = f"no private key in PEM, or {PASSWORD} is not its password" if password else "no private key in PEM"
        raise UsageProblem(f"--key: {text} holds {why}; {_MAKE}") from None
