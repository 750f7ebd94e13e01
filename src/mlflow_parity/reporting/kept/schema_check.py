"""Whether a document that somebody gave is one that the shipped JSON Schema of reports describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlflow_parity.reporting.json_report import schema

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "null": lambda value: value is None,
}


def fits(document: Any) -> bool:
    """Whether a parsed ``report.json`` is of the shape that is written here, in all of its parts."""
    whole = schema()
    return _fits(document, whole, whole)


def _fits(value: Any, rule: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    if "$ref" in rule:
        return _fits(value, whole["$defs"][rule["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in rule and not any(_fits(value, one, whole) for one in rule["anyOf"]):
        return False
    types = rule.get("type", [])
    if types and not any(_TYPES[name](value) for name in ([types] if isinstance(types, str) else types)):
        return False
    # lists: a boolean is no number here, as it is in Python
    if ("const" in rule and value != rule["const"]) or ("enum" in rule and value not in rule["enum"]):
        return False
    if isinstance(value, dict):
        return _object_fits(value, rule, whole)
    if isinstance(value, list):
        items = rule.get("items", {})
        return len(value) <= rule.get("maxItems", len(value)) and all(_fits(one, items, whole) for one in value)
    return not isinstance(value, (int, float)) or value >= rule.get("minimum", value)


def _object_fits(value: Mapping[str, Any], rule: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    known = rule.get("properties", {})
    more = rule.get("additionalProperties", True)
    if not set(rule.get("required", ())) <= value.keys() or (more is False and not value.keys() <= known.keys()):
        return False
    return all(
        _fits(one, known.get(name, more if isinstance(more, dict) else {}), whole) for name, one in value.items()
    )
