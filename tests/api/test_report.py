"""The report object: no truth value, two lines, an escaped block without secrets, and always its own ledger."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.report_samples import HOSTILE, hostile_report, report
from support.secrecy import leaks
from support.servers import FreshServer

import mlflow_parity
from mlflow_parity.api import AuditReport
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reporting.report import Report
from mlflow_parity.standin.servers import Server

SECRET = "hunter2-s3cr3t"


class _Tags(HTMLParser):
    """Collects tags and attributes, and checks that they are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.names: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.seen.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert self.open.pop() == tag


def test_it_has_no_truth_value() -> None:
    """``if audit(…):`` would be a false green; so would a plan's or a snapshot's."""
    with pytest.raises(TypeError, match=r"neither true nor false; ask its [.]green"):
        bool(AuditReport(report(), {}))
    assert AuditReport(report(), {}).green is False


@pytest.mark.parametrize("shown", [report(), hostile_report()], ids=["red", "hostile"])
def test_what_a_notebook_shows_is_small_and_escaped(shown: Report) -> None:
    """Tags are ours alone, no script, nothing loaded from anywhere; verdict, causes and red cells are there."""
    found = AuditReport(shown, {"report.html": Path("/tmp/<b>/report.html")})
    html = found._repr_html_()
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.seen <= {"div", "p", "b", "bdi", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert tags.names == {"style", "scope"}
    assert "RED" in html
    assert len(html.encode()) < 40_000
    assert not re.search("url\\(|@import|\x1b|\u202e|\u200b", html)
    html.encode("utf-8")
    lines = repr(found).split("\n")
    assert len(lines) == 2
    assert lines[0].startswith("mlflow-parity: RED")
    assert all(len(line) <= 120 for line in lines)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\u200b]", repr(found))


def test_the_block_names_causes_and_red_cells() -> None:
    """What is wrong stands there in words, the worst first; what is right does not."""
    html = AuditReport(report(), {})._repr_html_()
    assert "55 runs of experiment churn are missing on the target" in html
    assert "churn" in html
    assert "55 missing" in html
    assert "fraud-detection/gbm" not in html
    assert "more, see the report" not in html
    assert re.search("and [0-9]+ more, see the report", AuditReport(hostile_report(), {})._repr_html_())


def test_the_tables_hold_any_text() -> None:
    """Lone surrogates too, which UTF-8 does not know; a facet that is red is counted."""
    found = AuditReport(hostile_report(), {})
    assert found.findings.num_rows == len(HOSTILE)
    assert found.coverage.num_rows == len(hostile_report().coverage)
    assert set(found.findings.column_names) > {"experiment", "facet", "key", "state", "source", "target"}
    assert json.dumps(found.findings.to_pylist())
    frame = AuditReport(report(), {}).to_pandas("coverage")
    assert frame.loc[frame.experiment == "churn", "missing"].max() == 55
    assert frame.failed.sum() == sum(one.cell.total - sum(
        count for state, count in one.cell.counts.items() if state.green) for one in report().coverage)  # fmt: skip


def test_without_pandas_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of Arrow are there all the same."""
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(UsageProblem, match=r"^pandas is not installed; run: pip install pandas"):
        AuditReport(report(), {}).to_pandas()
    with pytest.raises(UsageProblem, match="'runs' is no table"):
        AuditReport(report(), {}).to_pandas("runs")  # type: ignore[arg-type]
    with pytest.raises(UsageProblem, match="there is no ledger"):
        _ = AuditReport(report(), {}).ledger


def test_no_secret_is_in_it(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """The password of an address is in no text of the object, and in no file; another audit's ledger is not its own."""
    source, target = (one.uri.replace("http://", f"http://me:{SECRET}@") for one in servers)
    found = mlflow_parity.audit(
        source,
        target,
        report_dir=tmp_path / "r",
        experiments=["*"],
        snapshot_dir=tmp_path / "s",
        summary=tmp_path / "summary.md",
    )
    assert found.green, found.reasons
    texts = (repr(found), found._repr_html_(), json.dumps(found.to_dict()), str(found.findings), str(vars(found)))
    (tmp_path / "texts").write_text("\n".join(texts))
    assert leaks({"password": SECRET}, tmp_path) == []
    assert found.exit_status == 0
    assert "partial" in repr(found)
    assert found.left_out
    ledger = found.ledger
    assert ledger.num_rows == sum(found.totals.values())
    shutil.copy(found.paths["ledger.parquet"], tmp_path / "kept")
    found.paths["ledger.parquet"].write_bytes(b"PAR1 of somebody else")
    with pytest.raises(UsageProblem, match="is not this audit's ledger any more"):
        _ = found.ledger
    assert "GREEN" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_where_nothing_was_compared_there_is_no_verdict(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Two servers with nothing of what was asked for: no report is green, and the file says so too."""
    found = None
    source, target = fresh_server(), fresh_server()
    with pytest.raises(UsageProblem, match="no experiment of the source matches 'nope"):
        mlflow_parity.audit(source.uri, target.uri, experiments="nope*", report_dir=tmp_path / "r")
    assert json.loads((tmp_path / "r" / "report.json").read_text())["verdict"] == "none"
    red = report(
        verdict="none", coverage=(), findings=(), findings_total=0, reasons=("no verdict: nothing",), exit_status=5
    )
    found = AuditReport(red, {})
    assert (found.green, found.verdict, found.exit_status) == (False, "none", 5)
    assert repr(found).startswith("mlflow-parity: NO VERDICT")
    assert "NO VERDICT" in found._repr_html_()
    assert "nothing" in found._repr_html_()
