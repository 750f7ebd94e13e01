"""Whether a report is evidence enough to retire the source that it speaks of: no I/O, every refusal at once."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial

from mlflow_parity.audit.waivers.waivers import WaiverFile
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.notice import Notice, migrate_command
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.rules.check_registry import collected
from mlflow_parity.reporting.kept.evidence import Evidence

#: One reason against retiring a server: what, why, and the fix.
refusal = partial(Notice, "error", "retire")
#: A clock may be ahead of another by so much.
_SKEW = timedelta(minutes=5)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
#: An audit in parts, and one by workers, keep no digest of what was read.
_WHOLE = "audit again, everything by one process (no parts, no --parity-engine dask)"
_AUDIT = (
    "audit all of it: without --parity-experiments, --parity-exclude-experiments, -k and --parity-recheck, with bytes"
)


def parse_age(text: str) -> timedelta:
    """Return an age given as ``30m``, ``24h`` or ``2d``.

    Raises:
        UsageProblem: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip())
    if found is None or int(found[1]) == 0:
        raise UsageProblem(f"--max-age: {text!r} is not an age; give for instance 30m, 24h or 2d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def judge(
    evidence: Evidence,
    server: Location,
    *,
    now: datetime,
    max_age: timedelta,
    delete: bool,
    waivers: WaiverFile | None = None,
) -> list[Notice]:
    """Return every reason in the report itself against retiring ``server``; ``waivers`` are those that were named."""
    return [
        *_not_of(evidence, server),
        *_answered_by_others(evidence),
        *_waived(evidence, waivers, now),
        *_not_green(evidence),
        *_not_whole(evidence),
        *_too_old(evidence, now, max_age, delete=delete),
    ]


def _not_of(evidence: Evidence, server: Location) -> list[Notice]:
    found = []
    if evidence.source_kind == "snapshot":
        why = f"its source is the folder {evidence.source}, which nothing ties to the server"
        found.append(refusal("the report is not of this server", why, "audit with --source-arn of the server itself"))
    elif evidence.source != server.uri:
        why = f"its source is {evidence.source}, not {server.uri}"
        found.append(refusal("the report is of another server", why, "give the report of an audit of this one"))
    if evidence.target_kind == "snapshot":
        why = f"its target is the folder {evidence.target}, so it does not say what is on the new server"
        found.append(refusal("the report is not of the new server", why, "audit with the new server as target"))
    if evidence.target == server.uri:
        why = "its target is the server that is to be retired"
        found.append(
            refusal("the report has this server as target", why, "give the report of the migration away from it")
        )
    return found


def another(side: str, endpoint: str, unproved: Collection[str], where: str) -> list[Notice]:
    """Refuse what did not answer at AWS's own address, or did not prove who it is; ``where`` is it said or set."""
    found = []
    if endpoint:
        why = f"{where} has the {side} answered by {endpoint}, which is not the ARN's own endpoint"
        fix = f"unset SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT (and with {side.upper()}_ in front), and audit again"
        found.append(refusal(f"it is not sure that the {side} itself answered", why, fix))
    if unproved:
        why = f"{where} has TLS not verified on the {side} ({', '.join(unproved)}), so anybody may have answered"
        fix = "unset MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_S3_IGNORE_TLS, and audit again"
        found.append(refusal(f"the {side} did not prove who it is", why, fix))
    return found


def _answered_by_others(evidence: Evidence) -> list[Notice]:
    return [
        one
        for side, (endpoint, unproved) in evidence.answered.items()
        for one in another(side, endpoint, unproved, "the report")
    ]


def _waived(evidence: Evidence, waivers: WaiverFile | None, now: datetime) -> list[Notice]:
    """What was accepted for an audit is not accepted for this step, unless it is named here too."""
    differ = f"{evidence.counted.get('waived', 0):,} differences are waived by a file with SHA-256 "
    told = f"{differ}{evidence.waivers_digest[:16] or 'unknown'}…"
    there = bool(evidence.waivers or evidence.waivers_digest or evidence.counted.get("waived"))
    if waivers is None:
        fix = "read that file again, and name it with --waivers FILE if what it accepts may be lost"
        return [refusal("the report was judged with waivers", told, fix)] if there else []
    if waivers.digest != evidence.waivers_digest:
        why = f"{told}, and --waivers has {waivers.digest[:16]}…" if there else "the report was judged without waivers"
        return [refusal("--waivers is not the file of the report", why, "name the one by which it was judged")]
    if expired := sorted(one.expires.isoformat() for one in waivers.waivers if one.expires < now.date()):
        return [refusal("a waiver has expired", f"its last day was {expired[0]}", "audit again")]
    return []


def _not_green(evidence: Evidence) -> list[Notice]:
    """Count again instead of believing the first line."""
    found = []
    if not evidence.is_green:
        more = f" (and {len(evidence.reasons) - 1} more)" if len(evidence.reasons) > 1 else ""
        counts = ", ".join(f"{count:,} {state}" for state, count in sorted(evidence.bad.items()))
        why = f"{evidence.reasons[0]}{more}" if evidence.reasons else counts or f"exit status {evidence.exit_status}"
        fix = f"`{migrate_command()} repair --report …` moves what is missing; then audit again"
        found.append(refusal("the report is not green", why, fix))
    if not evidence.adds_up:
        why = "its coverage does not add up to its totals"
        found.append(refusal("the report contradicts itself", why, "audit again"))
    if (left := evidence.unverified) or not evidence.objects:
        why = f"{left:,} of {evidence.objects:,} were not verified" if evidence.objects else "nothing was compared"
        found.append(refusal("coverage is not 100 %", why, "fix what kept them from being read, and audit again"))
    return found


def _not_whole(evidence: Evidence) -> list[Notice]:
    found = []
    limits = [f"--parity-experiments {', '.join(evidence.only)}"] if evidence.only else []
    limits += [f"--parity-exclude-experiments {', '.join(evidence.excluded)}"] if evidence.excluded else []
    # what only an option asks for (loading of models, searches) is no part of a whole audit
    if unchecked := sorted({*collected(snapshot=False)} - evidence.checks):
        limits.append(f"{len(unchecked)} checks were not selected (test_{', test_'.join(unchecked[:3])}, …)")
    if evidence.depth == "listing":
        limits.append("depth listing compares no bytes")
    if evidence.partial and not limits:
        limits += evidence.left_out[:3] or ("it says so itself",)
    if limits:
        found.append(refusal("the report is partial", "; ".join(limits), _AUDIT))
    if evidence.borrowed:
        fix = "audit again without --parity-known-hashes and --parity-checksums"
        found.append(refusal("the report rests on what was not read for it", "; ".join(evidence.borrowed[:3]), fix))
    if evidence.contract_digest != contract.digest():
        why = f"mlflow-parity {evidence.tool_version} judged by another contract than this version's"
        found.append(refusal("the report is of another version", why, "audit again with this version"))
    if not re.fullmatch(r"[0-9a-f]{64}", evidence.source_digest):
        found.append(refusal("the report has no digest of the source", "its state cannot be compared", _WHOLE))
    return found


def _too_old(evidence: Evidence, now: datetime, max_age: timedelta, *, delete: bool) -> list[Notice]:
    found = []
    age = now - evidence.created
    if age > max_age:
        why = f"it was made {in_words(age)} ago, and --max-age is {in_words(max_age)}"
        found.append(refusal("the report is too old", why, "audit again"))
    elif age < -_SKEW:
        why = f"it was made at {evidence.created:%Y-%m-%d %H:%M} UTC, which is yet to come"
        found.append(refusal("the report's age cannot be told", why, "set the clock right, and audit again"))
    if not re.fullmatch(r"[0-9a-f]{64}", evidence.target_digest):
        found.append(refusal("the report has no digest of the target", "its state cannot be compared", _WHOLE))
    if delete and evidence.target_resumed:
        why = (
            f"{evidence.target_resumed} parts of the target were read by an earlier, interrupted audit, of unknown age"
        )
        found.append(
            refusal("the report rests on older readings", why, "audit again without that --parity-snapshot-dir")
        )
    return found


def in_words(age: timedelta) -> str:
    """Return an age in the unit that says most.

    >>> in_words(timedelta(hours=50))
    '2.1 days'
    """
    hours = age.total_seconds() / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.0f} min"
