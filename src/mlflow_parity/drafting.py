"""Drafts a file of waivers from a report: one entry per finding, reason and owner left for a person to fill in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from mlflow_parity.errors import UsageProblem
from mlflow_parity.redaction import MASK
from mlflow_parity.reporting.report import FORMAT_VERSION
from mlflow_parity.waivers import WAIVABLE

#: Days that a drafted waiver holds.
DAYS = 90
_GLOB = re.compile(r"[*?\[]")
_WAIVABLE = frozenset(state.value for state in WAIVABLE)
_KEYS = ("experiment", "kind", "name", "facet", "key", "state")
Entry = tuple[str, str, str, str, str, str]


def draft(report: Mapping[str, Any], today: date | None = None) -> str:
    """Return the text of a file with one entry for each thing that can be waived among the report's findings.

    Reason and owner are empty, and ``--waivers`` refuses such a file: a draft is no blank cheque. No two entries
    are merged, because a glob would also cover what comes later. What cannot be waived is said in a comment.

    Raises:
        UsageProblem: when there is nothing to waive.
    """
    expires = (today or date.today()) + timedelta(days=DAYS)
    entries: dict[Entry, int] = {}
    refused = hidden = 0
    for finding in report["findings"]:
        if finding["state"] not in _WAIVABLE:
            refused += 1
        elif any(MASK in finding[name] for name in ("experiment", "name", "key")):
            hidden += 1  # what is redacted in the report cannot be named
        else:
            entry: Entry = tuple(finding[name] for name in _KEYS)
            entries[entry] = entries.get(entry, 0) + 1
    if not entries:
        raise UsageProblem("the report has no difference that could be waived (mismatch, missing or extra)")
    kept = len(report["findings"])
    lines = [
        f"# Drafted from the report of {report['created']} with {report['findings_total']:,} differences.",
        "# Fill in reason and owner of each entry, or remove it: a file with an empty one is refused.",
    ]
    if refused:
        lines.append(f"# {refused:,} differences cannot be waived (duplicate, ambiguous or unverified).")
    if hidden:
        lines.append(f"# {hidden:,} differences have a name that is redacted in the report: write them by hand.")
    if report["findings_total"] > kept:
        lines.append(
            f"# The report kept {kept:,} of {report['findings_total']:,} differences; --max-findings keeps more."
        )
    for (experiment, kind, name, facet, key, state), count in entries.items():
        lines += ["", "[[waiver]]"]
        if count > 1:
            lines.append(f"# {count:,} differences")
        parts = [_escaped(experiment), kind, _escaped(name)]
        lines.append(f"object = [{', '.join(_toml(part) for part in parts)}]")
        lines.append(f"facet = {_toml(facet)}")
        # also where it is empty: without it every key of the facet would be covered
        lines.append(f"key = {_toml(_escaped(key))}")
        lines += [f"state = {_toml(state)}", 'reason = ""', 'owner = ""', f"expires = {expires.isoformat()}"]
    return "\n".join(lines) + "\n"


def read_report(path: str, what: str) -> dict[str, Any]:
    """Read a ``report.json`` of this format; ``what`` names the option in errors.

    Raises:
        UsageProblem: one line, when it is not there, damaged, or of another format.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageProblem(f"{what}: cannot read {path}: {error.strerror or error}; give a report.json") from None
    except ValueError:
        raise UsageProblem(f"{what}: {path} is not JSON, or damaged; give a report.json as an audit wrote it") from None
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
        raise UsageProblem(f"{what}: {path} is not a report of format {FORMAT_VERSION}; run the audit again")
    if not _whole(found):
        raise UsageProblem(f"{what}: {path} is damaged: parts of the report are not there; run the audit again")
    return found


def _whole(report: Mapping[str, Any]) -> bool:
    """Whether what is read of a report is there, each part of its type."""
    findings = report.get("findings")
    return (
        isinstance(report.get("created"), str)
        and isinstance(report.get("findings_total"), int)
        and isinstance(findings, list)
        and all(isinstance(item, dict) and all(isinstance(item.get(name), str) for name in _KEYS) for item in findings)
    )


def write_draft(report: str, output: str) -> int:
    """Write a draft to ``output``, which must not exist yet; return how many entries it has.

    Raises:
        UsageProblem: one line for what is wrong with either file.
    """
    text = draft(read_report(report, "--from"))
    try:
        with open(output, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageProblem(f"-o: {output} exists and is never overwritten; give another name") from None
    except OSError as error:
        raise UsageProblem(f"-o: cannot write {output}: {error.strerror or error}; give another name") from None
    return text.count("\n[[waiver]]\n")


def _escaped(text: str) -> str:
    return _GLOB.sub(lambda sign: f"[{sign[0]}]", text)


def _toml(text: str) -> str:
    """Return a basic string of TOML; JSON's escapes are TOML's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
