"""The DSSE envelope: what is signed, by which key. There is one way to write it, and any other byte is refused.

DSSE lets a reader take other spaces, another alphabet of base64 and fields beside the known ones. Here none of them
means anything, so an envelope that has them is none that ``attest`` wrote.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.input_files import Unusable, content_of, parsed_json
from mlflow_parity.core.text import shorten, visible

if TYPE_CHECKING:
    from securesystemslib.signer import Signer, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
#: A statement names files and facets, not objects.
_MOST = 16 << 20


def signed(payload: bytes, signer: Signer) -> bytes:
    """Return the envelope of a payload, as a file holds it.

    Raises:
        ParityError: it cannot be signed.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    public = public_of(signer)
    try:
        envelope.verify([public], 1)
    except VerificationError:
        raise UsageProblem("--key: what it signed does not fit its own public key; pass a different key") from None
    (signature,) = envelope.signatures.values()
    return _text(payload, PAYLOAD_TYPE, public.keyid, bytes.fromhex(signature.signature))


def public_of(signer: Signer) -> SSlibKey:
    """Return the public key of what signs."""
    public: SSlibKey = signer.public_key  # type: ignore[assignment]
    return public


def _text(payload: bytes, kind: str, keyid: str, signature: bytes) -> bytes:
    content = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def opened(path: Path, key: SSlibKey, what: str = "ENVELOPE") -> bytes:
    """Return the payload of an envelope that ``key`` signed: nothing of it is looked at before.

    Raises:
        UsageProblem: it is none, is altered, of another type, or signed by another key or by none.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Signature

    def refuse(why: str, fix: str = "give the file as attest wrote it") -> NoReturn:
        raise UsageProblem(f"{what}: {path} {why}; {fix}")

    try:
        raw = content_of(path, _MOST)
        content = parsed_json(raw)
    except Unusable as error:
        refuse(str(error))
    known = {"payload": str, "payloadType": str, "signatures": list}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in known.items()):
        refuse("is no DSSE envelope: it wants payload, payloadType and signatures")
    if content["payloadType"] != PAYLOAD_TYPE:
        refuse(f"is of the type {_shown(content['payloadType'])}, not {PAYLOAD_TYPE}")
    signatures = content["signatures"]
    texts = ("keyid", "sig")
    if not all(isinstance(one, dict) and all(isinstance(one.get(name), str) for name in texts) for one in signatures):
        refuse("is no DSSE envelope: a signature wants keyid and sig")
    if not signatures:
        refuse("has no signature", "only a signed one proves anything")
    if len(signatures) > 1:
        twice = len({one["keyid"] for one in signatures}) < len(signatures)
        refuse(f"has {'the signature of one key twice' if twice else f'{len(signatures)} signatures'}, not one")
    try:
        payload, signature = (_bytes(text) for text in (content["payload"], signatures[0]["sig"]))
    except ValueError:
        refuse("is damaged: it holds what is no base64")
    keyid = signatures[0]["keyid"]
    if raw != _text(payload, PAYLOAD_TYPE, keyid, signature):
        refuse("is altered: attest writes an envelope in one way, byte for byte, and this is another")
    if keyid != key.keyid:
        refuse(
            f"is signed by the key {_shown(keyid[:16])}, and the one given is {key.keyid[:16]}", "give its public key"
        )
    try:
        Envelope(payload, PAYLOAD_TYPE, {keyid: Signature(keyid, signature.hex())}).verify([key], 1)
    except VerificationError:
        refuse("is altered or forged: the signature is not that of the key over this content", "believe none of it")
    return payload


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("no base64") from None


def _shown(text: str) -> str:
    return repr(shorten(visible(text), 60))


def encoded(statement: dict[str, Any]) -> bytes:
    """Return a statement as the bytes that are signed."""
    return json.dumps(statement, indent=1, ensure_ascii=True, allow_nan=False).encode()
