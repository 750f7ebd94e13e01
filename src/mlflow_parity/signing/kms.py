"""A key that stays in AWS KMS: only the digest of what is signed goes there."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.signer import Key as AnyKey
from securesystemslib.signer import SecretsHandler, Signature, Signer, SSlibKey

from mlflow_parity.core.errors import RequestRefused, TransportError, UsageProblem
from mlflow_parity.reading.transport.timed import time_boto
from mlflow_parity.signing.keys import KMS, accepted

#: How KMS calls the one way in which a key of each kind signs here.
_ALGORITHMS = {
    "ecdsa-sha2-nistp256": "ECDSA_SHA_256",
    "ecdsa-sha2-nistp384": "ECDSA_SHA_384",
    "ecdsa-sha2-nistp521": "ECDSA_SHA_512",
    "rsassa-pss-sha256": "RSASSA_PSS_SHA_256",
}
_SPECS = "ECC_NIST_P256, P384, P521 or RSA_2048 to RSA_4096, made for SIGN_VERIFY"
_ARN = re.compile(r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:(?:key|alias)/.+")
_FIXES = (
    ("AccessDenied", "give this identity the right to kms:OPERATION on the key"),
    ("NotFound", "check the id and the region"),
    ("Disabled", "enable the key"),
    ("InvalidState", "enable the key"),
    ("InvalidKeyUsage", f"give a key of {_SPECS}"),
    ("Expired", "renew the AWS credentials"),
    ("UnrecognizedClient", "check the AWS credentials"),
    ("Signature", "check the AWS credentials and the clock"),
)


class KmsSigner(Signer):
    """Signs with a key in KMS, in the one way that is known for its kind."""

    def __init__(self, client: Any, key_id: str, public: SSlibKey) -> None:
        self._client = client
        self._key_id = key_id
        self._public = public

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: AnyKey, secrets_handler: SecretsHandler | None = None
    ) -> KmsSigner:
        """Open the key of ``awskms:KEY``: it is asked for its public half, whatever is given."""
        return open_kms(priv_key_uri.removeprefix(KMS))

    @property
    def public_key(self) -> SSlibKey:
        """The public half, as KMS told it."""
        return self._public

    def sign(self, payload: bytes) -> Signature:
        """Sign; the digest alone is sent.

        Raises:
            ParityError: KMS refuses, or does not answer.
        """
        digest = hashlib.new(self._public.get_hash_algorithm_name(), payload).digest()
        told = _called(
            self._client.sign,
            "Sign",
            KeyId=self._key_id,
            Message=digest,
            MessageType="DIGEST",
            SigningAlgorithm=_ALGORITHMS[self._public.scheme],
        )
        return Signature(self._public.keyid, bytes(told["Signature"]).hex())


def open_kms(key_id: str) -> KmsSigner:
    """Ask KMS for the public half of a key, by the usual AWS credentials; an ARN tells the region, too.

    Raises:
        ParityError: there is no such key, it does not sign, or KMS refuses.
    """
    which = f"--key: {KMS}{key_id}"
    arn = _ARN.fullmatch(key_id)
    if not key_id or (key_id.startswith("arn:") and arn is None):
        raise UsageProblem(f"{which} names no key of KMS; give its id, alias/NAME or ARN")
    try:
        session = boto3.Session(region_name=arn["region"] if arn else None)
        if not session.region_name:
            raise UsageProblem(f"{which}: no AWS region is known; give the key's ARN, or set AWS_DEFAULT_REGION")
        config = Config(connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 5, "mode": "standard"})
        client = session.client("kms", config=config)
    except boto.BotoCoreError as error:
        raise UsageProblem(f"AWS cannot be asked: {_line(error)}; check the AWS profile and region") from None
    time_boto(client)
    told = _called(client.get_public_key, "GetPublicKey", KeyId=key_id)
    try:
        public = accepted(load_der_public_key(told["PublicKey"]), which)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageProblem(f"{which} is of a kind that is not used here; give a key of {_SPECS}") from None
    if _ALGORITHMS.get(public.scheme) not in told.get("SigningAlgorithms", ()):
        raise UsageProblem(f"{which} is not made for signing; give a key of {_SPECS}")
    return KmsSigner(client, key_id, public)


def _called(operation: Any, name: str, **arguments: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = operation(**arguments)
    except boto.ClientError as error:
        told = error.response.get("Error", {})
        code = str(told.get("Code", ""))
        fix = next((text for part, text in _FIXES if part in code), "see the message").replace("OPERATION", name)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        why = _line(told.get("Message") or "no reason given")
        raise RequestRefused(f"KMS refused {name}: {why} ({code})", status=status, code=code, fix=fix) from None
    except (boto.HTTPClientError, boto.ConnectionError) as error:
        raise TransportError(f"KMS does not answer ({_line(error)}); check the network and the region") from None
    except boto.BotoCoreError as error:
        fix = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise UsageProblem(f"KMS cannot be asked: {_line(error)}; {fix}") from None
    return answer


def _line(error: object) -> str:
    return " ".join(str(error).split())
