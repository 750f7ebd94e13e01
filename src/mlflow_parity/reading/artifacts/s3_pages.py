"""What a page of a list of S3 must hold: botocore makes an empty one of whatever answers 200, a page to sign in too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_parity.core.errors import MalformedAnswer

#: Ends of names that stand for a bucket of another name.
_ALIASES = ("-s3alias", "--ol-s3")


def objects_of(page: Mapping[str, Any], bucket: str, prefix: str) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a page of ``list_objects_v2``, whose keys begin with ``prefix``.

    Raises:
        MalformedAnswer: it is no page of such a list, or that of another one.
    """
    found: Sequence[Mapping[str, Any]] = page.get("Contents") or ()
    if not isinstance(page.get("IsTruncated"), bool):
        raise MalformedAnswer("S3: the answer is no list of a bucket: a proxy's page, or no S3 at this address")
    told = str(page.get("Name") or bucket)
    if told != bucket and ":" not in bucket and not bucket.endswith(_ALIASES):
        raise MalformedAnswer(f"S3: asked for the list of bucket {bucket}, got that of {told}")
    # a list of all that begins with less holds what was asked for, too
    told = str(page.get("Prefix") or "")
    if not prefix.startswith(told):
        raise MalformedAnswer(f"S3: asked for a list of {prefix!r}, got one of {told!r}")
    other = next((one["Key"] for one in found if not str(one["Key"]).startswith(prefix)), None)
    if other is not None:
        raise MalformedAnswer(f"S3: the list of {prefix!r} names {other!r}, which is not below it")
    count, there = page.get("KeyCount"), len(found) + len(page.get("CommonPrefixes") or ())
    if count is not None and count != there:
        raise MalformedAnswer(f"S3: the list says that it has {count} keys, and has {there}")
    return found
