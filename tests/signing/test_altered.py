"""``verify`` and what was altered since: any byte of any file and of the envelope, what is missing or no envelope."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.attested import Case, audited, flipped, keys, positions

from mlflow_parity.__main__ import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.signing.checking import check
from mlflow_parity.signing.envelope import opened, signed
from mlflow_parity.signing.keys import load_public
from mlflow_parity.signing.signers import open_signer

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path, Path]:
    """A green audit that was signed, and both keys."""
    folder = tmp_path_factory.mktemp("signed")
    private, public = keys(folder)
    case = audited(folder / "green")
    assert main(case.attest(private)) == 0
    return case, private, public


@pytest.fixture
def case(made: tuple[Case, Path, Path], tmp_path: Path) -> Case:
    """A copy of it that may be altered."""
    return made[0].copied(tmp_path / "green")


def believed(case: Case, public: Path) -> str:
    """Check everything; return why it is refused, in one line (empty: it is believed)."""
    try:
        check(
            case.envelope,
            public,
            case.reports / "report.json",
            snapshots={"source": case.folder / "source", "target": case.folder / "target"},
        )
    except UsageProblem as error:
        said = str(error)
    else:
        return ""
    assert said
    assert "\n" not in said
    return said


def files(case: Case) -> list[Path]:
    """Everything that the envelope is about, and the envelope."""
    return sorted(path for path in case.folder.rglob("*") if path.is_file())


def _flip_all(case: Case, public: Path, least: int, each: int) -> None:
    """Flip a bit at so many places of each file of the report, and of each file of the snapshots."""
    chosen = random.Random(7)
    assert believed(case, public) == ""
    found = files(case)
    assert len([path for path in found if path.suffix == ".parquet"]) > 20
    for path in found:
        size = path.stat().st_size
        for at in positions(size, each if path.parent == case.reports else least):
            with flipped(path, at, chosen.randrange(8)):
                assert believed(case, public), f"{path.relative_to(case.folder)}, byte {at} of {size}"
    assert believed(case, public) == ""


def test_a_flipped_bit_anywhere_is_refused(case: Case, made: tuple[Case, Path, Path]) -> None:
    """In report, page, ledger, contract, envelope, manifests, and each table and note of both snapshots."""
    _flip_all(case, made[2], 1, 20)


@pytest.mark.long
def test_a_flipped_bit_at_many_more_places_is_refused(case: Case, made: tuple[Case, Path, Path]) -> None:
    """The same at ten times as many places."""
    _flip_all(case, made[2], 8, 200)


@pytest.mark.parametrize("kind", ["ed25519", "p256", "rsa"])
def test_each_byte_of_the_envelope_counts(kind: str, case: Case, tmp_path: Path) -> None:
    """Any byte of it altered, put in, or left out: spaces, fields, base64, key and signature alike."""
    private, public = keys(tmp_path, kind)
    key = load_public(public, "--key")
    payload = b"{}" + b" " * 600
    case.envelope.write_bytes(signed(payload, open_signer(str(private))))
    whole = case.envelope.read_bytes()
    assert opened(case.envelope, key) == payload
    # the payload is long and all of one kind
    places = [*range(0, 60), *range(60, 860, 23), *range(860, len(whole))]
    for at in places:
        flipped_one = whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :]
        for altered in (flipped_one, whole[:at] + whole[at + 1 :], whole[:at] + b" " + whole[at:]):
            case.envelope.write_bytes(altered)
            with pytest.raises(UsageProblem):
                opened(case.envelope, key)


def test_what_is_missing_or_strange_is_named(case: Case, made: tuple[Case, Path, Path]) -> None:
    """Each file taken away, emptied, cut, made a folder, a link that leads nowhere or a pipe; and one too many."""
    public = made[2]
    snapshots = [path for path in files(case) if path.parent != case.reports]
    for path in {*case.reports.iterdir(), *snapshots[::9], case.folder / "source" / "manifest.json"}:
        whole = path.read_bytes()
        path.unlink()
        assert believed(case, public), path
        path.write_bytes(whole[:-1])
        assert believed(case, public), path
        path.write_bytes(whole)
    for path in (
        case.reports / "report.html",
        case.reports / "report.json",
        case.envelope,
        case.folder / "source" / "manifest.json",
    ):
        aside = path.rename(path.with_name("aside"))
        path.mkdir()
        assert path.name in believed(case, public)
        path.rmdir()
        path.symlink_to("nowhere")
        assert path.name in believed(case, public)
        path.unlink()
        os.mkfifo(path)
        assert path.name in believed(case, public)
        path.unlink()
        aside.rename(path)
    strange = case.folder / "target" / "server" / "more.parquet"
    strange.write_bytes(b"")
    assert "holds a file that is not of the snapshot (server/more.parquet)" in believed(case, public)
    strange.unlink()
    # each snapshot is that of its side
    (case.folder / "source").rename(case.folder / "aside")
    shutil.copytree(case.folder / "target", case.folder / "source")
    assert "--snapshot-source" in believed(case, public)


def test_a_snapshot_sealed_again_is_refused(case: Case, made: tuple[Case, Path, Path]) -> None:
    """Seals hold no secret, so whoever alters a snapshot can make them anew: the signature is over the manifest."""
    from mlflow_parity.core.local.files import read_json, sealed, write_json

    manifest = case.folder / "source" / "manifest.json"
    write_json(manifest, sealed({**read_json(manifest), "created": 1.0}))
    assert main(["verify", str(case.envelope), "--key", str(made[2])]) == 0
    assert "is not the snapshot that was attested" in believed(case, made[2])


def _edited(case: Case, edit: Callable[[Any], object]) -> None:
    content = json.loads(case.envelope.read_bytes())
    case.envelope.write_text(json.dumps(edit(content), indent=1) + "\n")


def _signature(content: Any, **changes: Any) -> Any:
    return {**content, "signatures": [{**content["signatures"][0], **changes}]}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda c: {**c, "signatures": []}, "has no signature"),
        (lambda c: {**c, "signatures": c["signatures"] * 2}, "the signature of one key twice"),
        (lambda c: {**c, "signatures": [*c["signatures"], {"keyid": "x", "sig": "eA=="}]}, "has 2 signatures"),
        (lambda c: {**c, "payloadType": "application/json"}, "is of the type 'application/json'"),
        (lambda c: {**c, "payloadType": "\x1b[2Jx"}, r"is of the type '\\x1b[2Jx'"),
        (lambda c: {**c, "payload": "###"}, "no base64"),
        (lambda c: {**c, "payload": "ü"}, "no base64"),
        (lambda c: {**c, "payload": 1}, "no DSSE envelope"),
        (lambda c: {**c, "payload": ""}, "the signature is not that of the key"),
        (lambda c: {**c, "payload": c["payload"][4:]}, "the signature is not that of the key"),
        (lambda c: {**c, "note": "beside"}, "byte for byte"),
        (lambda c: _signature(c, sig="A" * 86 + "=="), "the signature is not that of the key"),
        (lambda c: _signature(c, sig=""), "the signature is not that of the key"),
        (lambda c: _signature(c, sig="no base64"), "no base64"),
        (lambda c: _signature(c, sig=None), "a signature wants keyid and sig"),
        (lambda c: _signature(c, keyid="0" * 64), "is signed by the key '0000000000000000'"),
        (lambda c: _signature(c, note="beside"), "byte for byte"),
        (lambda c: {**c, "signatures": ["x"]}, "a signature wants keyid and sig"),
        (lambda c: {**c, "signatures": {}}, "no DSSE envelope"),
        (lambda c: {"payload": c["payload"]}, "no DSSE envelope"),
        (lambda c: [c], "no DSSE envelope"),
        (lambda c: None, "no DSSE envelope"),
    ],
)
def test_what_is_no_such_envelope_is_one_line(
    edit: Callable[[Any], object], says: str, case: Case, made: tuple[Case, Path, Path], capsys: Said
) -> None:
    """Malformed, of another type, without a signature or with two: exit status 4 and nothing said of the audit."""
    _edited(case, edit)
    capsys.readouterr()
    assert main(case.verify(made[2])) == 4
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert says in told.err, told.err


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"payload": "\\ud800"}', b"1" * 10_000])
def test_what_is_no_json_is_one_line(content: bytes, case: Case, made: tuple[Case, Path, Path]) -> None:
    """Empty, cut, no UTF-8, nested too deeply, half a character, a number of ten thousand digits."""
    case.envelope.write_bytes(content)
    assert case.envelope.name in believed(case, made[2])


def _payload(case: Case) -> Any:
    return json.loads(base64.b64decode(json.loads(case.envelope.read_bytes())["payload"]))


def _without(told: Any, name: str) -> Any:
    return {**told, "subject": [one for one in told["subject"] if one["name"] != name]}


def _subject(told: Any, **changes: Any) -> Any:
    return {**told, "subject": [{**told["subject"][0], **changes}, *told["subject"][1:]]}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda s: {**s, "_type": "https://in-toto.io/Statement/v0.1"}, "no https://in-toto.io/Statement/v1"),
        (lambda s: {**s, "predicateType": "https://slsa.dev/provenance/v1"}, "no result of an audit"),
        (lambda s: _without(s, "report.json"), "is not about report.json"),
        (lambda s: _without(s, "report.html"), "is not about report.html"),
        (lambda s: _without(s, "ledger.parquet"), "is not about ledger.parquet"),
        (lambda s: _without(s, "attested-contract.md"), "is not about attested-contract.md"),
        (lambda s: _without(s, "snapshot-source/manifest.json"), "is about no snapshot of the source"),
        (lambda s: {**s, "subject": [*s["subject"], s["subject"][0]]}, "no statement of an audit"),
        (lambda s: {**s, "subject": [*s["subject"], {**s["subject"][0], "name": "more"}]}, "does not know"),
        (lambda s: _subject(s, digest={"sha256": "0" * 64}), "is not the file that was attested"),
        (lambda s: _subject(s, digest={"sha256": "0" * 63}), "no statement of an audit"),
        (lambda s: _subject(s, digest={"sha512": "0" * 128}), "no statement of an audit"),
        (lambda s: _subject(s, name=1), "no statement of an audit"),
        (lambda s: {**s, "subject": None}, "no statement of an audit"),
        (lambda s: {**s, "predicate": {"result": "GREEN"}}, "no statement of an audit"),
        (lambda s: {**s, "predicate": {"result": "FAILED"}}, "says FAILED, and its report is green"),
        (lambda s: {**s, "predicate": {"result": "WARNED"}}, "says WARNED, and its report is green"),
        (lambda s: [s], "no statement of an audit"),
        (lambda s: "text", "no statement of an audit"),
    ],
)
def test_a_signature_over_something_else_is_refused(
    edit: Callable[[Any], object], says: str, case: Case, made: tuple[Case, Path, Path]
) -> None:
    """The key signed it, and it is no statement over these files: of another type, about less, or contradictory."""
    told = edit(_payload(case))
    case.envelope.write_bytes(signed(json.dumps(told).encode(), open_signer(str(made[1]))))
    assert says in believed(case, made[2])


def test_a_red_report_that_was_signed_as_passed_is_refused(
    made: tuple[Case, Path, Path], tmp_path: Path, capsys: Said
) -> None:
    """Whoever holds the key may lie in the statement; the report and its ledger say what it is."""
    red = audited(tmp_path / "red", red=True)
    _, private, public = made
    assert main(red.attest(private)) == 0
    told = _payload(red)
    told["predicate"]["result"] = "PASSED"
    red.envelope.write_bytes(signed(json.dumps(told).encode(), open_signer(str(private))))
    capsys.readouterr()
    assert main(red.verify(public)) == 4
    said = capsys.readouterr()
    assert "says PASSED, and its report is red" in said.err
    assert said.out == ""
