"""``attest`` with a key in AWS KMS, which moto's server plays; ``verify`` with the public key alone, offline."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.attested import Case, audited
from support.kms import kms_server

from mlflow_parity.__main__ import main
from mlflow_parity.standin.servers import free_port

REGION = "eu-central-1"
SECRET = "kms-secret-access-key"
Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A green audit, not signed yet."""
    return audited(tmp_path_factory.mktemp("audits") / "green")


@pytest.fixture
def case(made: Case, tmp_path: Path) -> Case:
    """A copy of it."""
    return made.copied(tmp_path / "green")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Where KMS answers."""
    with kms_server() as running:
        yield running


@pytest.fixture
def kms(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of KMS, and an environment in which the program's own goes there."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL_KMS": endpoint,
        "AWS_ACCESS_KEY_ID": "AKIAKMSKMSKMSKMSKMSK",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
    }.items():
        monkeypatch.setenv(name, value)
    return boto3.client("kms")


def refused(arguments: list[str], said: Said) -> str:
    """Run a command that ends in one line with exit status 4, without the secret; return the line."""
    said.readouterr()
    assert main(arguments) == 4
    told = said.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    assert SECRET not in told.err
    return told.err


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "RSA_2048"])
def test_a_key_that_stays_in_kms(
    spec: str, kms: Any, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """By id, alias and ARN; its public key, written once, is all that ``verify`` needs, without a network."""
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)["KeyMetadata"]
    alias = f"alias/parity-{spec}"
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    public = tmp_path / "public.pem"
    for given in (key["KeyId"], alias, key["Arn"]):
        case.envelope.unlink(missing_ok=True)
        assert main(case.attest(f"awskms:{given}", "--public-key", str(public))) == 0
    # the ARN alone tells the region
    case.envelope.unlink()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert main(case.attest(f"awskms:{key['Arn']}")) == 0
    assert "no AWS region is known" in refused(case.attest(f"awskms:{alias}", "-o", str(tmp_path / "new")), capsys)
    for name in ("AWS_ENDPOINT_URL_KMS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(case.verify(public)) == 0
    envelope = json.loads(case.envelope.read_bytes())
    signature = envelope["signatures"][0]["sig"]
    other = signature[:20] + ("A" if signature[20] != "A" else "B") + signature[21:]
    case.envelope.write_text(case.envelope.read_text().replace(signature, other))
    assert "the signature is not that of the key" in refused(case.verify(public), capsys)


def test_what_kms_refuses_is_one_line(kms: Any, case: Case, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    """No such key, one that is disabled, one that encrypts, a name that is none, no credentials, nobody there."""
    wanted = {
        "awskms:alias/nobody": "kms",
        "awskms:": "names no key of KMS",
        "awskms:arn:aws:s3:::bucket": "names no key of KMS",
        "awskms:00000000-0000-0000-0000-000000000000": "kms",
    }
    encrypts = kms.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    wanted[f"awskms:{encrypts}"] = "not made for signing"
    other = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_SECG_P256K1")["KeyMetadata"]["KeyId"]
    wanted[f"awskms:{other}"] = "not used here"
    for key, says in wanted.items():
        assert says in refused(case.attest(key), capsys)
    signs = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_port()}")
    assert "KMS does not answer" in refused(case.attest(f"awskms:{signs}"), capsys)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    assert "KMS cannot be asked" in refused(case.attest(f"awskms:{signs}"), capsys)
    assert not case.envelope.exists()
