"""The report as JSON, described by the ``report.schema.json`` that is shipped beside this module."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any

from mlflow_parity.core.text import encodable, json_safe
from mlflow_parity.reporting.report import Report


def render(report: Report) -> str:
    """Return ``report`` as an indented JSON document that ends with a line break.

    It can be encoded as UTF-8 and read by strict parsers: lone surrogates are written out as the text
    ``\\udXXX``, numbers that are not finite become ``null``. Characters that cannot be seen are JSON escapes,
    so that the file is safe to look at and still holds them exactly.
    """
    document = json.dumps(_strict(report.to_dict()), ensure_ascii=False, allow_nan=False, indent=2)
    return json_safe(document) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the report."""
    text = files("mlflow_parity.reporting").joinpath("report.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _strict(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {encodable(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return value
