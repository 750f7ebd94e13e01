"""References of spans to attachments: files of the trace (images, audio, PDF) that MLflow keeps beside its spans.

A reference is ``mlflow-attachment://UUID?content_type=…&trace_id=…&size=…``; clients ask the server for the file by the
trace id that stands in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

#: Where a trace's folder has them.
FOLDER = "attachments"
_SCHEME = "mlflow-attachment://"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAMED = re.compile(rf"{_SCHEME}({_UUID})(?![0-9a-zA-Z-])")
_TRACE = re.compile(rf"({_SCHEME}{_UUID}\?(?:[^\s\"'\\<>]*?&)?trace_id=)([^\s\"'\\<>&]+)")


def named(spans: Any) -> list[str]:
    """Return the ids of the attachments that spans name, each once, sorted."""
    text = json.dumps(spans, ensure_ascii=False)
    return sorted(set(_NAMED.findall(text))) if _SCHEME in text else []


def referring(value: Any, copy_of: Callable[[str], str]) -> Any:
    """Return a JSON value in which every reference names the trace that ``copy_of`` gives for the one it names."""
    if isinstance(value, str):
        return _TRACE.sub(lambda found: found[1] + copy_of(found[2]), value) if _SCHEME in value else value
    if isinstance(value, dict):
        return {key: referring(item, copy_of) for key, item in value.items()}
    if isinstance(value, list):
        return [referring(item, copy_of) for item in value]
    return value
