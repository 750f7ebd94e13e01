"""Drafts a file of waivers from a report: what they are for is known, reason and owner are left for a person."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlflow_parity.audit.waivers.waived_values import Told, is_told
from mlflow_parity.audit.waivers.waivers import waivable
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local import input_files
from mlflow_parity.core.redaction import MASK
from mlflow_parity.core.scope import DEPTHS, EVIDENCE, PROFILES
from mlflow_parity.core.verdict import is_own
from mlflow_parity.reporting.ledger import read_objects
from mlflow_parity.reporting.report import FORMAT_VERSION
from mlflow_parity.reporting.write import LEDGER_NAME

#: Days that a drafted waiver holds.
DAYS = 90
#: From this many objects on, one entry may stand for all of them.
MANY = 3
_GLOB = re.compile(r"[*?\[]")
_KEYS = ("experiment", "kind", "name", "facet", "key", "state", "rule")
_IDS = ("source_id", "target_id")
#: Names shown of the objects that one entry covers.
_SHOWN = 10
#: Every object that the audit judged: ids by experiment, kind and name.
Known = Mapping[tuple[str, str, str], set[str]]
#: The values of source and target, and behind them an id where there is one; empty: none.
Bound = tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class _Difference:
    """What can be waived: one facet and key of one object."""

    experiment: str
    kind: str
    name: str
    entity_id: str
    facet: str
    key: str
    state: str
    rule: str

    @property
    def reason(self) -> tuple[str, ...]:
        """What the same difference has in common on all objects of a container."""
        return (self.experiment, self.kind, self.facet, self.key, self.state, self.rule)


def draft(report: Mapping[str, Any], today: date | None = None, known: Known | None = None) -> str:
    """Return the text of a file with an entry for each thing that can be waived among the report's findings.

    Reason and owner are empty, and ``--parity-waivers`` refuses such a file: a draft is no blank cheque. With
    ``known``, objects that share a name are told apart by id, and one entry stands for the same difference on many
    objects of a container where its glob fits them alone; without, every entry has its object's id. What cannot be
    waived is said in a comment.

    Raises:
        UsageProblem: when there is nothing to waive.
    """
    expires = (today or date.today()) + timedelta(days=DAYS)
    entries: dict[_Difference, list[Bound]] = {}
    refused = hidden = own = 0
    for finding in report["findings"]:
        if is_own(finding["facet"]):
            own += 1
        elif finding["state"] not in {state.value for state in waivable(finding["kind"])}:
            refused += 1
        elif any(MASK in finding[name] for name in ("experiment", "name", "key")):
            hidden += 1  # what is redacted in the report cannot be named
        else:
            entity_id = finding["source_id"] or finding["target_id"] or ""
            one = _Difference(entity_id=entity_id, **{name: finding[name] for name in _KEYS})
            entries.setdefault(one, []).append(_bound(finding))
    if not entries:
        raise UsageProblem(
            "the report has no difference that could be waived (mismatch, missing or extra; none by an own check)"
        )
    if known is not None and any(one.entity_id not in known.get(_place(one), ()) for one in entries):
        known = None  # the ledger of another audit
    kept = len(report["findings"])
    lines = [
        f"# Drafted from the report of {report['created']} with {report['findings_total']:,} differences.",
        "# Fill in reason and owner of each entry, or remove it: a file with an empty one is refused.",
    ]
    if refused:
        lines.append(f"# {refused:,} differences cannot be waived (duplicate, ambiguous or unverified).")
    if own:
        lines.append(f"# {own:,} differences were found by own checks, and are not waived: change the check.")
    if hidden:
        lines.append(f"# {hidden:,} differences have a name that is redacted in the report: write them by hand.")
    if report["findings_total"] > kept:
        lines.append(
            f"# The report kept {kept:,} of {report['findings_total']:,} differences; --parity-max-findings keeps more."
        )
    for thing, one, values, comment in _entries(entries, known):
        lines += ["", "[[waiver]]", *comment]
        lines.append(f"object = [{', '.join(_toml(part) for part in thing)}]")
        lines.append(f"facet = {_toml(one.facet)}")
        # also where it is empty: without it every key of the facet would be covered
        lines.append(f"key = {_toml(_escaped(one.key))}")
        lines += _values(values)
        lines += [f"state = {_toml(one.state)}", 'reason = ""', 'owner = ""', f"expires = {expires.isoformat()}"]
    return "\n".join(lines) + "\n"


def _place(one: _Difference) -> tuple[str, str, str]:
    return (one.experiment, one.kind, one.name)


def _bound(finding: Mapping[str, Any]) -> Bound:
    """Return the values that a waiver of a finding is bound to; none for an object that is on one side only."""
    found = finding.get("bound")
    count = 0 if finding["facet"] == "presence" else 2
    if not isinstance(found, list) or len(found) != count or not all(map(is_told, found)):
        raise UsageProblem(
            "--from: the report does not say which values its differences have; run the audit again with this version"
        )
    return tuple(found)


def _values(values: Collection[Bound]) -> list[str]:
    """Return the lines that bind an entry to values."""
    told = [f"[{', '.join(_told(one) for one in pair)}]" for pair in values]
    if not told:
        return []
    if len(told) == 1:
        return [f"values = [{told[0]}]  # source, target: without it any value"]
    return ["values = [  # source, target: without it any value", *(f"    {pair}," for pair in told), "]"]


def _told(one: Told) -> str:
    return _toml(one) if isinstance(one, str) else "false" if one is False else str(one)


def _entries(
    entries: Mapping[_Difference, list[Bound]], known: Known | None
) -> Iterator[tuple[list[str], _Difference, list[Bound], list[str]]]:
    """Yield the object (globs), what it stands for, the values that it is bound to, and comments of each entry."""
    alike: dict[tuple[str, ...], list[_Difference]] = {}
    for one in entries:
        alike.setdefault(one.reason, []).append(one)
    merged: dict[tuple[str, ...], str] = {}
    for reason, group in alike.items():
        pattern = _pattern(group, known) if known is not None else None
        if pattern is not None:
            merged[reason] = pattern
    for one, found in entries.items():
        count, values = len(found), [pair for pair in dict.fromkeys(found) if pair]
        thing = [_escaped(one.experiment), one.kind, _escaped(one.name)]
        if one.reason not in merged:
            if known is None or len(known[_place(one)]) > 1:
                thing.append(_escaped(one.entity_id))
            yield thing, one, values, [f"# {count:,} differences"] if count > 1 else []
        elif one is alike[one.reason][0]:
            group = alike[one.reason]
            names = ", ".join(_toml(other.name) for other in group[:_SHOWN])
            more = f" and {len(group) - _SHOWN:,} more" if len(group) > _SHOWN else ""
            note = f"# {len(group):,} objects: {names}{more}"
            if any(set(entries[other]) != set(found) for other in group):
                # each with its own values, and its id with them: no object may come to the values of another
                values = [(*pair, other.entity_id) for other in group for pair in dict.fromkeys(entries[other])]
            else:
                note += "; it covers what comes later under such a name, too"
            yield [*thing[:2], merged[one.reason]], one, values, [note]


def _pattern(group: list[_Difference], known: Known) -> str | None:
    """Return a glob that fits the names of these objects and of no other one of their kind in their container."""
    if len(group) < MANY:
        return None
    first = group[0]
    names = {one.name for one in group}
    head = _common(names)
    tail = _common({name[len(head) :][::-1] for name in names})[::-1]
    pattern = _escaped(head) if len(names) == 1 else f"{_escaped(head)}*{_escaped(tail)}"
    fitting: set[tuple[str, str]] = set()
    for (experiment, kind, name), ids in known.items():
        if (experiment, kind) != (first.experiment, first.kind):
            continue
        if MASK in name:
            return None  # what it is called cannot be known
        if fnmatchcase(name, pattern):
            fitting |= {(name, entity_id) for entity_id in ids}
    return pattern if fitting == {(one.name, one.entity_id) for one in group} else None


def read_report(path: str, what: str) -> dict[str, Any]:
    """Read a ``report.json`` of this format; ``what`` names the option in errors.

    Raises:
        UsageProblem: one line, when it is not there, damaged, or of another format.
    """
    try:
        found = input_files.json_of(Path(path), input_files.REPORT)
    except input_files.Unusable as error:
        raise UsageProblem(f"{what}: {path} {error}; give a report.json as an audit wrote it") from None
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
        raise UsageProblem(f"{what}: {path} is not a report of format {FORMAT_VERSION}; run the audit again")
    if found.get("verdict") == "none":
        raise UsageProblem(f"{what}: {path} has no verdict, as that audit did not finish; {_instead(found, path)}")
    if not _whole(found):
        raise UsageProblem(f"{what}: {path} is damaged: parts of the report are not there; run the audit again")
    return found


def _instead(report: Mapping[str, Any], path: str) -> str:
    earlier = report.get("earlier")
    if not isinstance(earlier, str):
        return "run the audit again"
    return f"run the audit again, or give the report before it: {Path(path).parent / earlier / Path(path).name}"


def ledger_of(report: Mapping[str, Any], path: str, what: str) -> Path | None:
    """Return the ledger beside a report, ``None`` where there is none; ``what`` names the option in errors.

    Raises:
        UsageProblem: it cannot be read, or is not that of the report.
    """
    ledger = Path(path).with_name(LEDGER_NAME)
    if not ledger.is_file():
        return None
    try:
        digest = input_files.sha256_of(ledger)
    except input_files.Unusable as error:
        raise UsageProblem(f"{what}: {ledger} {error}; give both files of one audit") from None
    if digest != report["ledger_digest"]:
        told = f"its SHA-256 is {digest[:16]}…, the report says {str(report['ledger_digest'])[:16] or 'none'}…"
        raise UsageProblem(f"{what}: {ledger} is not the ledger of {path} ({told}); give both files of one audit")
    return ledger


def _whole(report: Mapping[str, Any]) -> bool:
    """Whether what is read of a report is there, each part of its type."""
    findings, scope, sides = (report.get(name) for name in ("findings", "scope", "sides"))
    return (
        isinstance(report.get("created"), str)
        and isinstance(report.get("verdict"), str)
        and isinstance(report.get("ledger_digest"), str)
        and isinstance(scope, dict)
        and scope.get("depth") in DEPTHS
        and scope.get("profile") in PROFILES
        # a report of before this could be chosen says nothing of it
        and scope.get("evidence", "weak") in EVIDENCE
        and all(isinstance(scope.get(name) or [], list) for name in ("experiments", "excluded", "models"))
        and isinstance(report.get("notes") or [], list)
        and isinstance(scope.get("include_deleted"), bool)
        and _are_texts(report.get("other_reasons") or [])
        and isinstance(sides, dict)
        and all(
            isinstance(sides.get(side), dict) and isinstance(sides[side].get("location"), str)
            for side in ("source", "target")
        )
        and isinstance(report.get("findings_total"), int)
        and isinstance(findings, list)
        and all(
            isinstance(item, dict)
            and all(isinstance(item.get(name), str) for name in _KEYS)
            and all(name in item and isinstance(item[name], (str, type(None))) for name in _IDS)
            for item in findings
        )
        and isinstance(report.get("coverage"), list)
        and all(
            isinstance(row, dict) and isinstance(row.get("facet"), str) and _are_counts(row.get("counts"))
            for row in report["coverage"]
        )
    )


def _are_counts(given: object) -> bool:
    return isinstance(given, dict) and all(type(count) is int for count in given.values())


def _are_texts(others: object) -> bool:
    """Whether each of a report's other reasons says what is asked of it."""
    told = others if isinstance(others, list) else [None]
    names = ("reason", "of", "about")
    return all(isinstance(one, dict) and all(isinstance(one.get(name), str) for name in names) for one in told)


def write_draft(report: str, output: str) -> int:
    """Write a draft to ``output``, which must not exist yet; return how many entries it has.

    The ledger beside the report, where there is one, tells what else there is.

    Raises:
        UsageProblem: one line for what is wrong with either file.
    """
    found = read_report(report, "--from")
    ledger = ledger_of(found, report, "--from")
    experiments = {finding["experiment"] for finding in found["findings"]}
    text = draft(found, known=None if ledger is None else read_objects(ledger, experiments))
    try:
        with open(output, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageProblem(f"-o: {output} exists and is never overwritten; pass a different name") from None
    except OSError as error:
        raise UsageProblem(f"-o: cannot write {output}: {error.strerror or error}; pass a different name") from None
    return text.count("\n[[waiver]]\n")


def _common(texts: Collection[str]) -> str:
    """Return the longest beginning that all texts share."""
    first, last = min(texts), max(texts)
    return first[: next((n for n, (one, other) in enumerate(zip(first, last)) if one != other), len(first))]  # noqa: B905


def _escaped(text: str) -> str:
    return _GLOB.sub(lambda sign: f"[{sign[0]}]", text)


def _toml(text: str) -> str:
    """Return a basic string of TOML; JSON's escapes are TOML's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
