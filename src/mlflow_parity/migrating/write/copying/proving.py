"""Whether a copy in S3 is the source's file: by the checksums that the target states of it in its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlflow_parity.core.identity.sums import Left, prove, text
from mlflow_parity.core.records import Artifact
from mlflow_parity.migrating.write.s3_leftovers import Kept
from mlflow_parity.reading.artifacts.stated.checksums import etag_is_digest, of_head
from mlflow_parity.reading.artifacts.stated.etags import digests_of


def is_proved(file: Artifact, left: Left, answer: Mapping[str, Any], bucket: str) -> bool | None:
    """Return what the answer to a copy proves: it is the file, it is not, or (``None``) nothing."""
    told = answer.get("CopyObjectResult")
    told = told if isinstance(told, dict) else answer
    whole, parts = of_head(told), ""
    if etag_is_digest(answer, bucket):
        md5, parts = digests_of(str(told.get("ETag") or ""), file.size)
        whole |= {"md5": md5} if md5 else {}
    copy = Artifact(file.path, file.size, whole.get("sha256"), sums=text(whole, [parts] if parts else [], read=False))
    return prove(_stated(file, left), copy, "stores").equal


def is_kept(file: Artifact, left: Left, kept: Kept) -> bool:
    """Whether what an earlier run put there is the file; an ETag that is no digest is no other file's."""
    md5, parts = digests_of(f'"{kept.etag}"', kept.size)
    sums = text({"md5": md5} if md5 else {}, [parts] if parts else [], read=False)
    copy = Artifact(file.path, kept.size, sums=sums)
    return kept.size == file.size and prove(_stated(file, left), copy, "stores").equal is True


def contradicts(file: Artifact, left: Left, read: Artifact) -> bool:
    """Whether bytes that were read are not those of the file that was listed."""
    return read.size != file.size or prove(_stated(file, left), read, "stores").equal is False


def _stated(file: Artifact, left: Left) -> Artifact:
    return replace(file, sha256=left.sha256)
