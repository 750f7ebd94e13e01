"""``report.json``: every report there can be fits the schema that is shipped, and strict readers take it."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from support.report_samples import HOSTILE, hostile_report, report, reports, unhurried

from mlflow_parity.kinds.rules import contract
from mlflow_parity.reporting.json_report import render, schema
from mlflow_parity.reporting.report import FORMAT_VERSION, Report

VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_the_schema_is_one() -> None:
    """The shipped schema is valid JSON Schema 2020-12 and names the version of the format."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$id"].endswith(f":{FORMAT_VERSION}")
    assert schema()["properties"]["format_version"]["const"] == FORMAT_VERSION


def test_the_schema_is_closed() -> None:
    """Every object of the schema says which properties it has, all required but the counts of a cell."""

    def walk(node: Any, path: str) -> int:
        found = 0
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object":
                found += 1
                assert node["additionalProperties"] is False, path
                if not path.endswith("counts"):
                    assert set(node["required"]) == set(node["properties"]), path
            found += sum(walk(value, f"{path}/{key}") for key, value in node.items())
        return found

    assert walk(schema(), "") == 12


def test_it_knows_every_kind_that_a_finding_is_of() -> None:
    """Those of what limits the audit as a whole too: else a part that tells of one is not joined."""
    assert set(schema()["$defs"]["finding"]["properties"]["kind"]["enum"]) == set(contract.ROWS)


@given(reports)
@settings(unhurried, max_examples=150)
def test_every_report_fits_the_schema(made: Report) -> None:
    """Any report renders to UTF-8 that a strict parser reads and the schema accepts."""
    encoded = render(made).encode("utf-8")
    VALIDATOR.validate(orjson.loads(encoded))


@pytest.mark.parametrize("made", [report(), hostile_report()], ids=["real", "hostile"])
def test_sample_reports_fit_the_schema(made: Report) -> None:
    """The report that looks real and the hostile one fit too."""
    VALIDATOR.validate(orjson.loads(render(made)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("surprise",), 1),
        (("sides", "source", "surprise"), 1),
        (("findings", 0, "state"), "fine"),
        (("verdict",), "amber"),
        (("format_version",), "2"),
        (("coverage", 0, "total"), -1),
        (("coverage", 0, "counts", "lost"), 1),
        (("findings_total",), "many"),
    ],
)
def test_the_schema_refuses(path: tuple[str | int, ...], value: object) -> None:
    """A field too many, an unknown state, verdict or version, and a wrong type are refused."""
    document = json.loads(render(report()))
    VALIDATOR.validate(document)
    changed: Any = copy.deepcopy(document)
    spot = changed
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = value
    assert not VALIDATOR.is_valid(changed)


def test_values_survive() -> None:
    """Every character but a lone surrogate is in the file exactly, and none of them acts in a terminal."""
    text = render(hostile_report())
    explanations = {finding["explanation"] for finding in json.loads(text)["findings"]}
    assert explanations == {hostile.replace("\ud800", "\\ud800").replace("\udfff", "\\udfff") for hostile in HOSTILE}
    for forbidden in ("\x1b", "\u202e", "\u200b", "\x00", "\r", "\u2028"):
        assert forbidden not in text


def test_numbers_that_are_not_finite_are_null() -> None:
    """JSON knows neither NaN nor infinity."""
    timings = json.loads(render(report(timings={"a": float("nan"), "b": float("inf"), "c": 1.5})))["timings"]
    assert timings == {"a": None, "b": None, "c": 1.5}
