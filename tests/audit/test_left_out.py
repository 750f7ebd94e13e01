"""Deleted objects that an audit leaves out are counted on both sides, or it is said that nobody looked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.report_samples import cell, report, side
from support.seed import EPOCH, Seeder

from mlflow_parity.core.verdict import Deleted
from mlflow_parity.reporting.page.html_report import render as render_html
from mlflow_parity.reporting.report import CoverageRow, Scope
from mlflow_parity.reporting.terminal import summary_lines
from mlflow_parity.standin.servers import Server

RUNS = "12 deleted runs and 1 deleted experiment on the source were left out: --parity-include-deleted (2 runs in it)"
ONE = "1 deleted run on the target was left out: --parity-include-deleted"


@pytest.fixture(scope="module", name="pair")
def with_trash(servers: tuple[Server, Server]) -> tuple[Server, Server]:
    """A source with twelve deleted runs and a deleted experiment of two runs, and a target with one deleted run."""
    source, target = servers
    for server, most in ((source, 12), (target, 1)):
        seed = Seeder(server.uri)
        every = seed.call("POST", "experiments/search", {"max_results": 99})["experiments"]
        places = {one["name"]: one["experiment_id"] for one in every}
        body = {"experiment_ids": [*places.values()], "run_view_type": "DELETED_ONLY", "max_results": 99}
        there = len(seed.call("POST", "runs/search", body).get("runs", ()))
        for number in range(most - there):
            seed.delete_run(seed.run(places["churn model"], f"deleted {number}", start=EPOCH + number))
    seed = Seeder(source.uri)
    # the seed's own, which holds a run
    [place] = seed.call("POST", "experiments/search", {"max_results": 9, "view_type": "DELETED_ONLY"})["experiments"]
    seed.call("POST", "experiments/restore", {"experiment_id": place["experiment_id"]})
    seed.run(place["experiment_id"], "inside", start=EPOCH)
    seed.delete_experiment(place["experiment_id"])
    return source, target


def _counted(done: AuditRun, name: str) -> Deleted:
    return Deleted(**done.report["sides"][name]["deleted"])


def _line(sentence: str) -> str:
    return f"  left out: {re.sub(' (was|were) left out', '', sentence)}"


def test_what_is_deleted_is_counted(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """In terminal, JSON and HTML, above what is to be signed; the audit is green and whole."""
    done = audit(tmp_path, pair[0].uri, pair[1].uri)
    assert done.status == 0, done.output
    assert _counted(done, "source") == Deleted(12, 1, 2)
    assert _counted(done, "target") == Deleted(1, 0, 0)
    lines = done.output.splitlines()
    sign = next(number for number, line in enumerate(lines) if "sign report.html" in line)
    assert lines.index(_line(RUNS)) < lines.index(_line(ONE)) < sign
    assert not done.report["scope"]["partial"]
    assert {RUNS, ONE} <= set(done.report["scope"]["left_out"])
    page = (done.reports / "report.html").read_text(encoding="utf-8")
    assert f"Not part of what is signed: {RUNS}; {ONE}." in page
    assert "Nothing was found" not in page


def test_nothing_is_left_out_where_it_is_compared(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """With ``--parity-include-deleted`` there is no such line; with a narrower scope only what that names."""
    done = audit(tmp_path / "all", pair[0].uri, pair[1].uri, "--parity-include-deleted", "-k", "experiment_arrived")
    assert "deleted run" not in done.output
    assert done.report["sides"]["source"]["deleted"] is None
    some = audit(
        tmp_path / "some", pair[0].uri, pair[1].uri, "--parity-exclude-experiments", "abandoned", "-k", "params"
    )
    assert _counted(some, "source") == Deleted(12, 0, 0)


def test_what_cannot_be_counted_was_not_looked_at(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """A snapshot without what is in deleted experiments: not looked at, and never none."""
    more = ("--parity-snapshot-dir", str(tmp_path / "snapshots"))
    done = audit(tmp_path / "kept", pair[0].uri, pair[1].uri, *more, "-k", "params or prompts_arrived")
    assert done.status == 0, done.output
    kept = audit(tmp_path / "snapshot", str(tmp_path / "snapshots" / "source"), pair[1].uri, "-k", "params", "-v")
    assert kept.status == 0, kept.output
    assert _counted(kept, "source") == Deleted(12, 1, None)
    assert "(runs in it: not looked at)" in " ".join(kept.output.split())


def test_every_sentence() -> None:
    """Numbers agree with nouns; what nobody counted is never none, on the screen or on the page."""
    assert Deleted(1, 0, 0).told("target") == ONE
    assert Deleted(0, 0, 0).told("target") == "no deleted run or experiment on the target was left out"
    some = "2 deleted experiments on the source were left out: --parity-include-deleted (at least 5,000 runs in them)"
    assert Deleted(0, 2, 5_000, at_least=True).told("source") == some
    nothing = "no deleted experiment on the source was left out; deleted runs: not looked at"
    assert Deleted(None, 0, 0).told("source") == nothing
    made = report(
        verdict="green",
        reasons=(),
        findings=(),
        coverage=(CoverageRow("churn", "run params", cell(match=1)),),
        scope=Scope(),
        sides={"source": side(outside={}), "target": side(outside={}, deleted=Deleted(0, 0, 0))},
    )
    unknown = "deleted runs and experiments on the source: not looked at"
    assert f"  left out: {unknown}" in summary_lines(made)
    assert unknown in render_html(made)
    assert "Nothing was found" not in render_html(made)
