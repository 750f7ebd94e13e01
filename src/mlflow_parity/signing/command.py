"""``mlflow-parity attest`` and ``mlflow-parity verify``: sign what an audit found, and check it later, offline."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from mlflow_parity import __version__
from mlflow_parity.core.errors import UsageProblem, no_space
from mlflow_parity.core.local.files import write
from mlflow_parity.core.local.input_files import Unusable, content_of, sha256_of
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import visible
from mlflow_parity.kinds.rules import contract
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.report import SIDES
from mlflow_parity.reporting.write import ATTESTATION_NAME, CONTRACT_NAME, HTML_NAME, JSON_NAME, LEDGER_NAME
from mlflow_parity.signing.checking import Audited, check, check_page, manifest_sha256, read_audit
from mlflow_parity.signing.envelope import encoded, public_of, signed
from mlflow_parity.signing.keys import public_pem
from mlflow_parity.signing.signers import PASSWORD, open_signer
from mlflow_parity.signing.statement import FILES, SNAPSHOTS, WAIVERS, outcome, parsed, statement

_ATTEST = "Sign what an audit found, green or red: an in-toto Statement in a DSSE envelope (needs the extra [sign])"
_VERIFY = "Check such an envelope, its report, ledger and snapshots, offline (needs the extra [sign])"


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both subcommands."""
    parser = subparsers.add_parser(
        "attest",
        help=_ATTEST,
        description=f"{_ATTEST}. docs/attest.md is the how-to.",
        epilog="Exit status: 0 signed, as PASSED, WARNED or FAILED; 4 bad input, or nothing to sign.",
    )
    _add_files(parser, "Folder of the report (default: reports)", "reports")
    text = f"Private key: a PEM file (its password in {PASSWORD}), or awskms:ID, awskms:alias/NAME, awskms:ARN"
    parser.add_argument("--key", required=True, metavar="KEY", help=text)
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="Write the public key here, as PEM")
    text = f"Where the envelope goes (default: {ATTESTATION_NAME} beside the report)"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=text)
    parser.set_defaults(main=_attest)
    parser = subparsers.add_parser(
        "verify",
        help=_VERIFY,
        description=f"{_VERIFY}. docs/attest.md is the how-to.",
        epilog="Exit status: 0 valid and green; 1 valid, and the audit was red; 4 not valid, or bad input.",
    )
    parser.add_argument("envelope", type=Path, metavar="ENVELOPE", help=f"What attest wrote: {ATTESTATION_NAME}")
    parser.add_argument("--key", required=True, type=Path, metavar="PUBLIC.pem", help="Public key of who signed")
    _add_files(parser, "Folder of the report (default: that of the envelope)", None)
    parser.add_argument("--waivers", type=Path, metavar="FILE", help="The waivers by which it was judged")
    parser.set_defaults(main=_verify)


def _add_files(parser: argparse.ArgumentParser, text: str, default: str | None) -> None:
    parser.add_argument("--report-dir", type=Path, default=default, metavar="DIR", help=text)
    for side in SIDES:
        text = f"Snapshot of the {side} that the audit kept"
        more = " (default: where the report says)" if default else ""
        parser.add_argument(f"--snapshot-{side}", type=Path, metavar="DIR", help=f"{text}{more}")


def _attest(args: argparse.Namespace) -> int:
    folder = Path(args.report_dir)
    report = folder / JSON_NAME
    output = args.output or folder / ATTESTATION_NAME
    signer = open_signer(args.key)
    before = _sha256(report)
    audited = read_audit(report, "--report-dir")
    evidence = audited.evidence
    if evidence.contract_digest != contract.digest():
        raise UsageProblem(
            f"--report-dir: {report} was judged by another contract than this version's: attest with the mlflow-parity "
            f"that audited ({evidence.tool_version}), or audit again"
        )
    page = check_page(folder / HTML_NAME, audited, before, "--report-dir")
    if os.path.lexists(output):
        raise UsageProblem(f"-o: {output} exists and is never overwritten; pass a different name")
    snapshots, notes = _snapshots(args, audited)
    manifests = {
        SNAPSHOTS[side]: manifest_sha256(place, audited, side, f"--snapshot-{side}")
        for side, place in snapshots.items()
    }
    _put(folder / CONTRACT_NAME, contract.markdown().encode(), "--report-dir")
    subjects = {name: _sha256(folder / name) for name in FILES}
    if {**subjects, JSON_NAME: before, LEDGER_NAME: audited.report["ledger_digest"], HTML_NAME: page} != subjects:
        raise UsageProblem(f"--report-dir: {folder} is being written to; wait until the audit has ended")
    subjects |= manifests
    if evidence.waivers_digest:
        subjects[WAIVERS] = evidence.waivers_digest
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = statement(audited.report, evidence, subjects, attested=now, version=__version__)
    payload = encoded(told)
    # a report that somebody else made may hold what no statement may
    parsed(payload, f"--report-dir: {report}")
    envelope = signed(payload, signer)
    if args.public_key is not None:
        _put(args.public_key, public_pem(public_of(signer)), "--public-key")
    _put(output, envelope, "-o")
    for note in notes:
        print(f"note: {note}")
    print(f"attested as {outcome(evidence)}: {', '.join(subjects)}")
    print(f"{output}: signed by the key {public_of(signer).keyid}")
    return 0


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except Unusable as error:
        raise UsageProblem(
            f"--report-dir: {path} {error}; give the folder of a report, with all of its files"
        ) from None


def _snapshots(args: argparse.Namespace, audited: Audited) -> tuple[dict[SideName, Path], list[str]]:
    """Return the snapshots that are given, or were kept and are still where the report says; and what is not there."""
    found: dict[SideName, Path] = {}
    notes = []
    for side in SIDES:
        given = getattr(args, f"snapshot_{side}")
        kept = audited.report["sides"][side].get("snapshot_path")
        if given is not None:
            found[side] = given
        elif not isinstance(kept, str):
            notes.append(f"the snapshot of the {side} was not kept, so only its digest in the report is attested")
        elif Path(kept).is_dir():
            found[side] = Path(kept)
        else:
            where = f"--snapshot-{side} DIR"
            notes.append(f"the snapshot of the {side} is not at {kept} any more and is not attested; {where} names it")
    return found, [_printable(note) for note in notes]


def _put(path: Path, content: bytes, what: str) -> None:
    """Write a file that is not there yet; one that holds the same already is left."""
    if os.path.lexists(path):
        try:
            if content_of(path, 1 << 24) == content:
                return
        except Unusable as error:
            raise UsageProblem(f"{what}: {path} {error}; move it away") from None
        raise UsageProblem(f"{what}: {path} exists, is another file, and is never overwritten; move it away")
    try:
        write(path, content)
    except OSError as error:
        if (full := no_space(error)) is not None:
            raise full from None
        raise UsageProblem(f"{what}: cannot write {path}: {error.strerror or error}; pass a different name") from None


def _verify(args: argparse.Namespace) -> int:
    folder = args.report_dir or args.envelope.parent
    given = {side: getattr(args, f"snapshot_{side}") for side in SIDES}
    snapshots: dict[SideName, Path] = {side: path for side, path in given.items() if path is not None}
    checked = check(args.envelope, args.key, folder / JSON_NAME, snapshots=snapshots, waivers=args.waivers)
    evidence = checked.audited.evidence
    print(f"signature: valid, by the key {checked.keyid}")
    print(f"unaltered: {', '.join(checked.files)}")
    if checked.left:
        print(f"not checked: {', '.join(checked.left)}")
    made = f"audit of {evidence.created:%Y-%m-%d %H:%M} UTC by mlflow-parity {evidence.tool_version}"
    print(_printable(f"{made}: {evidence.source} -> {evidence.target}"))
    counts = f"{evidence.verified:,} of {evidence.objects:,} objects and facets verified"
    if not evidence.is_green:
        why = evidence.reasons[0] if evidence.reasons else f"exit status {evidence.exit_status}"
        print(_printable(f"verdict: RED ({checked.result}), {counts}; {why}"))
        return 1
    limits = [f"{evidence.counted['waived']:,} waived"] if evidence.counted.get("waived") else []
    limits += ["a partial audit"] if evidence.partial else []
    print(f"verdict: GREEN ({checked.result}), {'; '.join([counts, *limits])}")
    return 0


def _printable(text: str) -> str:
    return visible(Redactor.from_environment()(text))
