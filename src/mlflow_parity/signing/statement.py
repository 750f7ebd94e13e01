"""The in-toto Statement of an audit: which files it is about, and what became of it. No I/O.

``https://in-toto.io/attestation/test-result/v0.1`` gives ``result``, ``configuration`` and the names of tests, which
are the facets of the ledger here. What else is told stands in ``annotations``, where the specification has room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.input_files import Unusable, parsed_json
from mlflow_parity.core.text import shorten, visible
from mlflow_parity.core.verdict import State
from mlflow_parity.reporting.kept.evidence import Evidence
from mlflow_parity.reporting.report import SIDES
from mlflow_parity.reporting.write import CONTRACT_NAME, HTML_NAME, JSON_NAME, LEDGER_NAME

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
#: Files of the report's folder: each must be there.
FILES = (JSON_NAME, HTML_NAME, LEDGER_NAME, CONTRACT_NAME)
#: What else may be signed: the manifest of a snapshot, which names the checksum of each of its files; waivers.
SNAPSHOTS = {side: f"snapshot-{side}/manifest.json" for side in SIDES}
WAIVERS = "waivers.toml"
_GREEN = frozenset(state.value for state in State if state.green)
#: Name of the test that is about the audit as a whole.
_WHOLE = "verdict"
_SHA256 = 64


@dataclass(frozen=True, slots=True)
class Statement:
    """What an envelope says: ``subjects`` are SHA-256 digests (hex) by name."""

    subjects: Mapping[str, str]
    result: str


def outcome(evidence: Evidence) -> str:
    """Return ``PASSED``, ``WARNED`` (green, but something is waived or was not part of it) or ``FAILED``."""
    if not evidence.is_green:
        return "FAILED"
    return "WARNED" if evidence.counted.get("waived") or evidence.partial else "PASSED"


def statement(
    report: Mapping[str, Any], evidence: Evidence, subjects: Mapping[str, str], *, attested: str, version: str
) -> dict[str, Any]:
    """Return what is signed; ``attested`` is when (ISO 8601), by which ``version`` of this program."""
    told: dict[str, Any] = {
        "verdict": evidence.verdict,
        "exitStatus": evidence.exit_status,
        "audited": report["created"],
        "attested": attested,
        "objects": evidence.objects,
        "verified": evidence.verified,
        "states": dict(sorted(evidence.counted.items())),
        "partial": evidence.partial,
        "depth": evidence.depth,
        **{side: _side(report["sides"][side]) for side in SIDES},
    }
    more = {JSON_NAME: told, CONTRACT_NAME: {"contractDigest": evidence.contract_digest}}
    for side, name in SNAPSHOTS.items():
        more[name] = {"snapshotDigest": report["sides"][side]["snapshot_digest"]}
    program = {
        "name": "mlflow-parity",
        "uri": f"pkg:pypi/mlflow-parity@{evidence.tool_version}",
        "annotations": {"auditedWith": evidence.tool_version, "attestedWith": version},
    }
    rules = [_descriptor(name, subjects, more) for name in (CONTRACT_NAME, WAIVERS) if name in subjects]
    return {
        "_type": TYPE,
        "subject": [_descriptor(name, subjects, more) for name in subjects],
        "predicateType": PREDICATE,
        "predicate": {"result": outcome(evidence), "configuration": [program, *rules], **_tests(report, evidence)},
    }


def _side(told: Mapping[str, Any]) -> dict[str, Any]:
    names = ("location", "kind", "server_version", "snapshot_digest", "read_from", "read_to")
    return {name: told.get(name) for name in names}


def _descriptor(name: str, subjects: Mapping[str, str], more: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    annotations = {"annotations": dict(more[name])} if name in more else {}
    return {"name": name, "digest": {"sha256": subjects[name]}, **annotations}


def _tests(report: Mapping[str, Any], evidence: Evidence) -> dict[str, list[str]]:
    """Return the facets by what became of them on all objects; and the audit as a whole, which is red for more."""
    states: dict[str, set[str]] = {_WHOLE: {"match"} if evidence.is_green else {"mismatch"}}
    for row in report["coverage"]:
        states.setdefault(str(row["facet"]), set()).update(state for state, count in row["counts"].items() if count)
    found: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for facet, those in sorted(states.items()):
        kind = "failedTests" if those - _GREEN else "warnedTests" if "waived" in those else "passedTests"
        found[kind].append(facet)
    return found


def parsed(payload: bytes, what: str) -> Statement:
    """Read what was signed; ``what`` begins the error.

    Raises:
        UsageProblem: it is no statement of an audit.
    """
    try:
        content = parsed_json(payload)
        if content["_type"] != TYPE:
            raise UsageProblem(f"{what} holds {_shown(content['_type'])}, no {TYPE}; give what attest wrote")
        if content["predicateType"] != PREDICATE:
            told = _shown(content["predicateType"])
            raise UsageProblem(f"{what} attests {told}, no result of an audit; give what attest wrote")
        subjects: dict[str, str] = {}
        for one in content["subject"]:
            name, digest = one["name"], one["digest"]["sha256"]
            if not isinstance(name, str) or name in subjects or not _is_sha256(digest):
                raise ValueError("no subject")
            subjects[name] = digest
        result = content["predicate"]["result"]
        if result not in ("PASSED", "WARNED", "FAILED"):
            raise ValueError("no result")
    except (Unusable, KeyError, TypeError, ValueError, AttributeError):
        raise UsageProblem(f"{what} holds what is no statement of an audit; audit and attest again") from None
    if unknown := sorted(subjects.keys() - {*FILES, *SNAPSHOTS.values(), WAIVERS}):
        raise UsageProblem(
            f"{what} is about {_shown(unknown[0])}, too, which this version does not know; use the one that wrote it"
        )
    return Statement(subjects, result)


def _is_sha256(digest: object) -> bool:
    return isinstance(digest, str) and len(digest) == _SHA256 and not digest.strip("0123456789abcdef")


def _shown(text: object) -> str:
    return repr(shorten(visible(str(text)), 60))
