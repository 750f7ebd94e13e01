"""What real S3 tells of files in parts (``GetObjectAttributes``), put into the answers of an S3 that tells the rest.

moto's server knows the call and states ETag, size and checksum; it leaves ``ObjectParts`` out. The parts that a test
has sent stand in the documented form in its answer: with their sizes and checksums where the file has an additional
checksum, else their number alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from support.proxy import Exchange, Fault, Proxy

_MADE = {
    "SHA256": lambda content: hashlib.sha256(content).digest(),
    "SHA1": lambda content: hashlib.sha1(content, usedforsecurity=False).digest(),
    "CRC32": lambda content: zlib.crc32(content).to_bytes(4, "big"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a file, with its checksum as XML."""

    number: int
    size: int
    checksum: str

    @property
    def xml(self) -> str:
        """As S3 writes it."""
        return f"<Part>{self.checksum}<PartNumber>{self.number}</PartNumber><Size>{self.size}</Size></Part>"


@dataclass(slots=True)
class ToldParts:
    """Parts that were sent, by bucket and key; ``spoil`` may alter what is told of them."""

    proxy: Proxy
    page: int = 1_000
    parts: dict[str, list[Part]] = field(default_factory=dict)
    spoil: Callable[[str], str] = str
    """Given the XML in the answer."""

    def __post_init__(self) -> None:
        """Stand in each answer."""
        self.proxy.faults.append(Fault("?attributes", self._answer, times=10**9))

    def learn(self, path: str, content: bytes, part: int, algorithm: str = "") -> None:
        """Take in what was sent to ``bucket/key`` in parts; without an algorithm S3 tells no more than their number."""
        pieces = [content[start : start + part] for start in range(0, len(content), part)]
        made = _MADE.get(algorithm)
        self.parts[path] = [
            Part(number, len(piece), f"<Checksum{algorithm}>{told}</Checksum{algorithm}>" if told else "")
            for number, piece in enumerate(pieces, 1)
            for told in [base64.b64encode(made(piece)).decode() if made else ""]
        ]

    def asked(self) -> list[str]:
        """Return the names of the files that were asked for, once for each call."""
        paths = [one.path for one in self.proxy.seen if "attributes" in parse_qs(one.query, keep_blank_values=True)]
        return sorted(unquote(path.rpartition("/artifacts/")[2]) for path in paths)

    def _answer(self, exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        path = unquote(exchange.path.partition("?")[0]).strip("/")
        parts = self.parts.get(path)
        if status != 200 or parts is None:
            exchange.answer(status, headers, body)
            return
        after = int(exchange.headers.get("x-amz-part-number-marker") or 0)
        count = f"<PartsCount>{len(parts)}</PartsCount>"
        page = [one for one in parts if one.number > after and one.checksum][: self.page]
        if page:
            cut = page[-1].number < parts[-1].number
            count += (
                f"<PartNumberMarker>{after}</PartNumberMarker><NextPartNumberMarker>{page[-1].number}"
                f"</NextPartNumberMarker><MaxParts>{self.page}</MaxParts><IsTruncated>{str(cut).lower()}</IsTruncated>"
            )
        told = f"<ObjectParts>{count}{''.join(one.xml for one in page)}</ObjectParts>"
        text = re.sub("</GetObjectAttributes(Response|Output)>", lambda found: told + found[0], body.decode())
        exchange.answer(status, headers, self.spoil(text).encode())
