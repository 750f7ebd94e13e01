"""``mlflow-parity waive``: what it drafts, what it refuses."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from support.drafted import finding, report

from mlflow_parity.__main__ import main
from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.reporting.kept.waiver_drafts import draft


def save(tmp_path: Path, content: object) -> str:
    """Write a report.json."""
    (tmp_path / "report.json").write_text(json.dumps(content))
    return str(tmp_path / "report.json")


def test_a_draft_is_refused_until_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Filled in, each entry covers just the object that it was drafted from, whatever its name holds."""
    found = [finding("Größe ?", "k[1]"), finding("two", "", "missing", "presence"), finding("", "x", "extra")]
    path, output = save(tmp_path, report(*found, finding("z", "", "duplicate", "presence"))), tmp_path / "w.toml"
    assert main(["waive", "--from", path, "-o", str(output)]) == 0
    assert "3 entries" in capsys.readouterr().out
    with pytest.raises(UsageProblem, match="reason is empty"):
        load_waivers(str(output))
    text = output.read_text()
    assert "1 differences cannot be waived" in text
    assert "kept 4 of 9" in text
    output.write_text(text.replace('reason = ""', 'reason = "r"').replace('owner = ""', 'owner = "o"'))
    waivers = load_waivers(str(output)).waivers
    assert len(waivers) == len(found)
    for waiver, one in zip(waivers, found, strict=True):
        assert (waiver.facet, str(waiver.state)) == (one["facet"], one["state"])
        for name in ("Größe ?", "Größe x", "two", "", "zwei"):
            row = Row(one["experiment"], "run", name, f"id-{name}", "2", one["facet"], State.MISMATCH)
            assert waiver.names(row) == (name == one["name"])
            assert not waiver.names(Row("a/b", "run", name, f"id-{name}", "2", one["facet"], State.MISMATCH))


def test_it_expires_in_90_days() -> None:
    """The last day of a draft is 90 days ahead."""
    assert "expires = 2027-02-21" in draft(report(finding("a", "b")), date(2026, 11, 23))


def test_a_redacted_name_is_not_guessed() -> None:
    """What the report hides cannot be named; the draft says how many."""
    text = draft(report(finding("a", "b"), finding("a", "[redacted]")))
    assert text.count("[[waiver]]") == 1
    assert "1 differences have a name that is redacted" in text


def test_a_file_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit status 4, and the file is as it was."""
    output = tmp_path / "w.toml"
    output.write_text("mine")
    assert main(["waive", "--from", save(tmp_path, report(finding("a", "b"))), "-o", str(output)]) == 4
    assert output.read_text() == "mine"
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "format"),
        ({"format_version": "0"}, "format"),
        ({"format_version": "1"}, "damaged"),
        (report({"experiment": 1}), "damaged"),
        (report(), "no difference"),
        (report(finding("a", "", "ambiguous")), "no difference"),
        (report({**finding("a", "b"), "bound": []}), "which values"),
        (report({**finding("a", "b"), "bound": ["1", True]}), "which values"),
        (report({name: value for name, value in finding("a", "b").items() if name != "bound"}), "which values"),
    ],
)
def test_a_bad_report_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, says: str
) -> None:
    """Foreign, damaged, or with nothing to waive: exit status 4 and no file."""
    output = tmp_path / "w.toml"
    assert main(["waive", "--from", save(tmp_path, content), "-o", str(output)]) == 4
    assert not output.exists()
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.long
def test_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that leads nowhere, and a file cut short."""
    assert main(["waive", "--from", str(tmp_path / "none")]) == 4
    (tmp_path / "cut").write_text('{"format_version": "1", ')
    assert main(["waive", "--from", str(tmp_path / "cut")]) == 4
    assert "damaged" in capsys.readouterr().err
