"""Holds a report, its ledger, its snapshots and an envelope against each other: nothing is asked of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlflow_parity.core.errors import SnapshotError, UsageProblem
from mlflow_parity.core.local.input_files import REPORT, Unusable, content_of, sha256_of
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.kept.earlier import contradiction
from mlflow_parity.reporting.kept.evidence import Evidence, evidence_of
from mlflow_parity.reporting.kept.waiver_drafts import read_report
from mlflow_parity.reporting.page.html_report import JSON_FACT, NOT_KNOWN_YET, stated
from mlflow_parity.reporting.report import SIDES
from mlflow_parity.reporting.write import HTML_NAME, JSON_NAME
from mlflow_parity.signing.envelope import opened
from mlflow_parity.signing.keys import load_public
from mlflow_parity.signing.statement import FILES, SNAPSHOTS, WAIVERS, outcome, parsed
from mlflow_parity.snapshot import PARTS, SERVER, SERVER_PARTS
from mlflow_parity.snapshot.store import MANIFEST, Snapshot

_AGAIN = "give the files as they were when they were attested, or audit and attest again"


@dataclass(frozen=True, slots=True)
class Audited:
    """A report that agrees with its ledger and with itself."""

    report: Mapping[str, Any]
    evidence: Evidence

    def snapshot_digest(self, side: SideName) -> str:
        """Digest of what was read of a side; empty: it has none."""
        return self.evidence.source_digest if side == "source" else self.evidence.target_digest


@dataclass(frozen=True, slots=True)
class Checked:
    """What a valid envelope says; ``left`` is what it is about and was not given to be checked, with how to give it."""

    keyid: str
    audited: Audited
    result: str
    files: tuple[str, ...]
    left: tuple[str, ...]


def read_audit(path: Path, what: str) -> Audited:
    """Read a report and count its ledger again; ``what`` names the option in errors.

    Raises:
        UsageProblem: it has no verdict, is damaged, or says what its ledger or another part of it does not.
    """
    report = read_report(str(path), what)
    evidence = evidence_of(report, str(path), what)
    found = contradiction(report, str(path), what)
    if not found and not evidence.adds_up:
        found = "its coverage does not add up to its totals"
    if not found and evidence.verdict == "green" and (not evidence.is_green or evidence.unverified):
        found = "it says green, and holds what is not"
    if not found and (evidence.verdict not in ("green", "red") or not evidence.objects):
        found = "it is of no audit that compared anything"
    if found:
        raise UsageProblem(f"{what}: {path} contradicts itself or proves nothing: {found}; audit again")
    return Audited(report, evidence)


def check_page(path: Path, audited: Audited, digest: str, what: str) -> str:
    """Check that a page is that of a report: it says the same verdict, time and ledger; return its SHA-256.

    ``digest`` is the SHA-256 of that report: each of both holds the digest of the other, and a report that was made
    before they did holds none.

    Raises:
        UsageProblem: it is the page of another audit, or cannot be read.
    """
    try:
        content = content_of(path, REPORT)
    except Unusable as error:
        raise UsageProblem(f"{what}: {path} {error}; give the folder of a report, with all of its files") from None
    report = audited.report
    for said, name in (
        (f"<title>{report['verdict'].upper()}: ", "the verdict"),
        (f"<dt>Created</dt><dd>{report['created']}</dd>", "the time"),
        (f"<dt>SHA-256 of ledger.parquet</dt><dd>{report['ledger_digest']}</dd>", "the ledger"),
    ):
        if said.encode() not in content:
            raise UsageProblem(
                f"{what}: {path} is not the page of the {JSON_NAME} beside it: {name} is not the same in both; give "
                "all files of one audit, or audit again"
            )
    own, blank = (stated(one).encode() for one in (digest, NOT_KNOWN_YET))
    held = report.get("page_digest", "")
    if f"<dt>{JSON_FACT}</dt>".encode() in content or held:
        for right, which in (
            (content.count(own) == 1, JSON_NAME),
            (hashlib.sha256(content.replace(own, blank)).hexdigest() == held, HTML_NAME),
        ):
            if not right:
                raise UsageProblem(
                    f"{what}: {path} is not the page of the {JSON_NAME} beside it: {which} was altered after both were "
                    "written; give the files as they were, or audit again"
                )
    return hashlib.sha256(content).hexdigest()


def manifest_sha256(folder: Path, audited: Audited, side: SideName, what: str, expected: str | None = None) -> str:
    """Return the SHA-256 of a snapshot's manifest, after each of its files is checked against what it says.

    ``expected`` is that of the manifest which was attested.

    Raises:
        UsageProblem: it is damaged, altered, or not that of the report.
    """

    def refuse(why: str) -> NoReturn:
        raise UsageProblem(f"{what}: {folder} {why}; {_AGAIN}")

    try:
        found = sha256_of(folder / MANIFEST)
    except Unusable as error:
        refuse(f"is no snapshot: {MANIFEST} {error}")
    if expected is not None and found != expected:
        refuse(f"is not the snapshot that was attested: its {MANIFEST} has the SHA-256 {found[:16]}…")
    try:
        snapshot = Snapshot.open(folder)
        snapshot.verify()
        strange = sorted(_files(folder) - _own_files(snapshot))
    except SnapshotError as error:
        raise SnapshotError(f"{what}: {error}") from None
    except OSError as error:
        refuse(f"cannot be read: {error.strerror or error}")
    if snapshot.digest != audited.snapshot_digest(side):
        refuse(f"is not the snapshot of the report: its digest is {snapshot.digest[:16]}…")
    if strange:
        refuse(f"holds a file that is not of the snapshot ({strange[0].relative_to(folder)})")
    return found


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def _own_files(snapshot: Snapshot) -> set[Path]:
    found = {snapshot.root / MANIFEST}
    places = [(experiment.experiment_id, PARTS) for experiment in snapshot.experiments]
    for place, parts in [*places, (SERVER, SERVER_PARTS)]:
        for part in parts:
            if (sidecar := snapshot.sidecar(place, part)) is not None:
                found |= {snapshot.folder(place) / name for name in (f"{part}.json", *sidecar["files"])}
    return found


def check(
    envelope: Path,
    key: Path,
    report: Path,
    *,
    snapshots: Mapping[SideName, Path] | None = None,
    waivers: Path | None = None,
    words: Callable[[str], str] = str,
) -> Checked:
    """Check an envelope, and that each file which it is about is the one that was attested.

    ``words`` turns the name of an option of ``verify`` into the one that was typed.

    Raises:
        UsageProblem: anything is altered, missing, contradictory, or signed by another key; one line says what.
    """
    public = load_public(key, words("--key"))
    what = words("ENVELOPE")
    said = parsed(opened(envelope, public, what), f"{what}: {envelope}")
    where = words("--report-dir")
    for name in FILES:
        path = report if name == JSON_NAME else report.with_name(name)
        if name not in said.subjects:
            raise UsageProblem(f"{what}: {envelope} is not about {name}, so nothing ties that to it; attest again")
        _same(path, said.subjects[name], where)
    audited = read_audit(report, where)
    check_page(report.with_name(HTML_NAME), audited, said.subjects[JSON_NAME], where)
    if said.result != outcome(audited.evidence):
        raise UsageProblem(
            f"{what}: {envelope} says {said.result}, and its report is {audited.evidence.verdict}; attest again"
        )
    checked, left = list(FILES), []
    given = snapshots or {}
    for side in SIDES:
        name, option = SNAPSHOTS[side], words(f"--snapshot-{side}")
        if side in given:
            if name not in said.subjects:
                raise UsageProblem(
                    f"{option}: {envelope} is about no snapshot of the {side}, so nothing ties this one to it; leave "
                    "the option out, or attest again with it"
                )
            manifest_sha256(given[side], audited, side, option, said.subjects[name])
            checked.append(f"snapshot of the {side}")
        elif name in said.subjects:
            left.append(f"snapshot of the {side} ({option} DIR)")
    if waivers is not None:
        if WAIVERS not in said.subjects:
            raise UsageProblem(f"{words('--waivers')}: {envelope} is about no waivers; leave the option out")
        _same(waivers, said.subjects[WAIVERS], words("--waivers"))
        checked.append("waivers")
    elif WAIVERS in said.subjects:
        left.append(f"waivers ({words('--waivers')} FILE)")
    return Checked(public.keyid, audited, said.result, tuple(checked), tuple(left))


def _same(path: Path, expected: str, what: str) -> None:
    try:
        found = sha256_of(path)
    except Unusable as error:
        raise UsageProblem(f"{what}: {path} {error}, and it was attested; {_AGAIN}") from None
    if found != expected:
        raise UsageProblem(
            f"{what}: {path} is not the file that was attested (SHA-256 {found[:16]}…, not {expected[:16]}…); {_AGAIN}"
        )
