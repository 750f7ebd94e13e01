"""Reports as a draft of waivers reads them."""

from __future__ import annotations

from typing import Any


def finding(name: str, key: str, state: str = "mismatch", facet: str = "params") -> dict[str, Any]:
    """One finding as report.json has it, as far as a draft reads it."""
    place = {"experiment": 'a/b "[c]*\\\x7f', "kind": "run", "name": name, "source_id": f"id-{name}", "target_id": None}
    bound = [] if facet == "presence" else ["0.1", False if state == "missing" else 7]
    return {**place, "facet": facet, "key": key, "state": state, "rule": f"run.{facet}", "bound": bound}


def report(*findings: dict[str, Any]) -> dict[str, Any]:
    """A report with these findings."""
    return {
        "format_version": "1",
        "verdict": "red",
        "created": "2026-11-23T00:00:00Z",
        "scope": {"depth": "digest", "profile": "export-import", "include_deleted": False},
        "sides": {"source": {"location": "http://a"}, "target": {"location": "http://b"}},
        "findings": list(findings),
        "findings_total": 9,
        "coverage": [],
        "ledger_digest": "",
    }
