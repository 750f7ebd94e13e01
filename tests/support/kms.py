"""moto's KMS over HTTP, signing a digest that it is given as AWS does.

moto 5.2.5 takes ``MessageType=DIGEST`` for ``RAW`` and hashes the digest again (getmoto/moto#10202 is open), so what it
signs is nothing that its own public key proves. Here it signs the digest, refuses one of another length, and a raw
message above the 4,096 bytes of AWS. When moto does so itself the names below are gone, and this with them.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mlflow_parity.standin.servers import free_port

_LARGEST = 4096


@contextmanager
def kms_server() -> Iterator[str]:
    """Run it for the length of a ``with`` block; yield its endpoint."""
    from moto.kms import responses, utils
    from moto.kms.exceptions import ValidationException
    from moto.server import ThreadedMotoServer

    asked = threading.local()
    sign = responses.KmsResponse.sign
    padding = utils.RSAPrivateKey._RSAPrivateKey__padding_and_hash_algorithm
    hashing = utils.ECDSAPrivateKey._ECDSAPrivateKey__hash_algorithm

    def as_aws(response: Any) -> Any:
        asked.digest = response._get_param("MessageType") == "DIGEST"
        if not asked.digest and len(base64.b64decode(response.parameters["Message"])) > _LARGEST:
            raise ValidationException("Value at 'message' failed to satisfy constraint: length at most 4096")
        try:
            return sign(response)
        finally:
            asked.digest = False

    def of_rsa(key: Any, algorithm: str) -> Any:
        pad, how = padding(key, algorithm)
        return pad, Prehashed(how) if asked.digest else how

    def of_ecdsa(key: Any, algorithm: str) -> Any:
        how = hashing(key, algorithm)
        return Prehashed(how) if asked.digest else how

    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(responses.KmsResponse, "sign", as_aws)
        patch.setattr(utils.RSAPrivateKey, "_RSAPrivateKey__padding_and_hash_algorithm", of_rsa)
        patch.setattr(utils.ECDSAPrivateKey, "_ECDSAPrivateKey__hash_algorithm", of_ecdsa)
        server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop()
