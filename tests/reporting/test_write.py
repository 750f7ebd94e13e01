"""Writing reports: whole or not at all, without a secret, and a plain word when the place is unusable."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.report_samples import cell, report, side, unhurried

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.redaction import MASK, Redactor
from mlflow_parity.core.verdict import Finding, State
from mlflow_parity.reporting.json_report import render as render_json
from mlflow_parity.reporting.page.html_report import render as render_html
from mlflow_parity.reporting.report import CoverageRow, Report, Scope
from mlflow_parity.reporting.write import prepare_directory, write_reports


def soaked(secret: str) -> Report:
    """Return a report that holds ``secret`` in every text that is not from a closed vocabulary."""
    text = f"before {secret} after"
    finding = Finding(text, "run", text, text, text, text, text, State.MISSING, text, text, text + "!", text)
    values = {
        name.name: text
        for name in fields(type(side()))
        if name.name in ("location", "server_version", "read_from", "read_to", "snapshot_digest", "snapshot_path")
    }
    sides = {
        name: side(**values, capabilities={text: {text: [text]}}, outside={text: 1, "other": None})
        for name in ("source", "target")
    }
    return report(
        tool_version=text,
        created=text,
        scope=Scope((text,), (text,), False, "full", (text,), (text,), True, (text,)),
        sides=sides,
        reasons=(text,),
        contract_digest=text,
        coverage=(CoverageRow(text, text, cell(1, missing=1)),),
        findings=(finding, replace(finding, key=text * 400, source=text * 400, explanation=text * 400)),
        paired_by={text: 1},
        command=("pytest", text),
        notes=(text,),
        waivers=({text: text},),
        timings={text: 1.0},
    )


def test_both_reports_are_written(tmp_path: Path) -> None:
    """The directory is made, for its owner alone; JSON and HTML stand in it, no scraps."""
    written = write_reports(report(), tmp_path / "a" / "b", Redactor())
    assert {name: path.name for name, path in written.items()} == {
        "report.json": "report.json",
        "report.html": "report.html",
    }
    assert json.loads(written["report.json"].read_bytes())["verdict"] == "red"
    assert written["report.html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["report.html", "report.json"]
    modes = {path.stat().st_mode & 0o777 for path in written.values()}
    assert (modes, (tmp_path / "a").stat().st_mode & 0o777) == ({0o600}, 0o700)


@pytest.mark.parametrize(
    "secret", ["s3cr3t-t0ken", "quo\"te<&>'s", "back\\slash", "tab\there\nline", "ünï\u202eçode", "per%cent/sl ash+"]
)
def test_no_secret_in_any_byte(tmp_path: Path, secret: str) -> None:
    """A secret in every field is in no file, in none of the forms that JSON, HTML or our escapes give it."""
    # the sample really brings the secret to every edge: without redaction it is there
    assert secret in json.loads(render_json(soaked(secret)))["reasons"][0]
    assert "before " in render_html(soaked(secret))
    write_reports(soaked(secret), tmp_path, Redactor([secret]))
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        secret.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&#34;")
        .replace("'", "&#39;"),
        secret.encode("unicode_escape").decode(),
        secret[: len(secret) * 2 // 3],
    }
    for name in ("report.json", "report.html"):
        content = (tmp_path / name).read_bytes()
        assert MASK.encode() in content
        for form in forms:
            assert form.encode() not in content, (name, form)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=12, max_size=30))
@settings(unhurried, max_examples=20)
def test_no_secret_whatever_it_is(secret: str) -> None:
    """Any secret of twelve characters and more is gone from both documents."""
    padded = f"Zq7{secret}9Xk"
    clean = soaked(padded).redacted(Redactor([padded]))
    assert padded not in render_json(clean)
    assert padded not in render_html(clean)


def test_credentials_that_nobody_named_are_redacted(tmp_path: Path) -> None:
    """Userinfo of a URL, a presigned URL's signature and a bearer token are masked by their shape."""
    reasons = (
        "GET https://bob:pa55w0rd1@mlflow.example.com failed",
        "GET https://bucket.example.com/a?X-Amz-Signature=0123456789abcdef&x=1",
        "Authorization: Bearer abcdefghij0123456789",
    )
    write_reports(report(reasons=reasons), tmp_path, Redactor())
    for name in ("report.json", "report.html"):
        content = (tmp_path / name).read_text(encoding="utf-8")
        for secret in ("pa55w0rd1", "0123456789abcdef", "abcdefghij0123456789"):
            assert secret not in content


def test_an_unusable_directory_is_a_usage_problem(tmp_path: Path) -> None:
    """A file where the directory should be, a path below a file and an impossible name: one line each."""
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere"), "nul\0name"):
        with pytest.raises(UsageProblem) as caught:
            write_reports(report(), place, Redactor())
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("--parity-report-dir: cannot write reports to ")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_directory_is_tried_before_the_work(tmp_path: Path) -> None:
    """Preparing makes the directory, leaves nothing in it and may be done again."""
    for _ in range(2):
        assert prepare_directory(tmp_path / "out") == tmp_path / "out"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """When the new content cannot take its place the temporary file goes and the old content stays."""
    (tmp_path / "report.json").mkdir()
    (tmp_path / "report.json" / "old").touch()
    with pytest.raises(UsageProblem, match="report-dir"):
        write_reports(report(), tmp_path, Redactor())
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_importing_costs_no_heavy_library() -> None:
    """The reporting room imports neither pyarrow, jinja2 nor mlflow before they are needed."""
    code = (
        "import sys, mlflow_parity.reporting.write, mlflow_parity.reporting.terminal, "
        "mlflow_parity.reporting.ledger, mlflow_parity.reporting.progress\n"
        "print([name for name in ('pyarrow', 'jinja2', 'mlflow', 'deepdiff', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
