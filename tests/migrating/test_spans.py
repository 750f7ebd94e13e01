"""Spans that searches find on the source are found on the target, wherever it can hold them; else the loss is named."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.copied import kept
from support.exported import export
from support.killed_everywhere import killed_everywhere
from support.migrations import migrate_py
from support.seed_spans import FILTERS, answers, foreign, written
from support.servers import FreshServer

from mlflow_parity.cli import main
from mlflow_parity.standin.http import S3
from mlflow_parity.standin.sagemaker import stand_in

#: One in so many requests is chosen, unless ``MLFLOW_PARITY_KILLS=all``.
EVERY = 1 if os.environ.get("MLFLOW_PARITY_KILLS") == "all" else 3


def moved(
    folder: Path, source: str, target: str, env: Mapping[str, str] | None = None, *, option: str = "--target-uri"
) -> tuple[AuditRun, str]:
    """Migrate, and return the audit and what was printed."""
    ends = ("--source-uri", source, option, target, "--work-dir", "work", "--report-dir", "reports")
    done = migrate_py(folder, "run", *ends, env=env)
    return AuditRun(done.status, done.output, folder / "reports"), done.output


def rules_of(found: AuditRun, facet: str) -> set[str]:
    """Return the rules by which a facet of traces is expected to differ."""
    rows = [row for row in found.rows() if (row.kind, row.facet) == ("trace", facet)]
    return {rule for row in rows for rule in row.rules}


@pytest.mark.long
def test_spans_stay_searchable(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Without it nobody finds a trace by its spans after the move, and the UI's charts of spans are empty."""
    source, target = fresh_server(), fresh_server()
    ids = written(source.uri)
    before = answers(source.uri)
    assert before[FILTERS[0]] == before[FILTERS[3]] == sorted(ids[:3])
    found, output = moved(tmp_path, source.uri, target.uri)
    assert (found.status, list(found.red_rows())) == (0, []), output[-4000:]
    assert "its spans are in a file" not in output
    assert answers(target.uri) == before
    rows = [row for row in found.rows() if row.kind == "trace" and row.source_id == ids[0]]
    facets = {row.facet: str(row.state) for row in rows}
    assert {facets[name] for name in ("spans", "metadata", "times", "state", "previews", "assessments")} == {"match"}


@pytest.mark.long
@pytest.mark.parametrize(("old", "new"), [("3.10.1", "newest"), ("newest", "3.10.1")])
def test_between_releases(fresh_server: FreshServer, tmp_path: Path, old: str, new: str) -> None:
    """What a release makes of spans in passing must not turn the audit red, nor be lost."""
    source, target = fresh_server(old), fresh_server(new)
    written(source.uri)
    found, output = moved(tmp_path, source.uri, target.uri)
    assert (found.status, list(found.red_rows())) == (0, []), output[-4000:]
    before, after = answers(source.uri), answers(target.uri)
    assert {text: after[text] for text in FILTERS[:4]} == {text: before[text] for text in FILTERS[:4]}
    assert not rules_of(found, "tags") & {"trace.tags.spans"}


@pytest.mark.long
def test_what_the_target_makes_of_words_of_others(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A source that kept them as they came: what the target makes of them is expected, what somebody made up is not."""
    source, target = fresh_server(), fresh_server()
    trace_id = foreign(source.uri)
    made = {"mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.tokenUsage", "mlflow.llm.model",
            "mlflow.llm.cost"}  # fmt: skip
    with closing(sqlite3.connect(source.database_path, timeout=30)) as connection, connection:
        [before] = _attributes(connection, trace_id)
        assert before.keys() > made
        plain = {key: value for key, value in before.items() if key not in made}
        _change(connection, trace_id, plain)
        for table in ("trace_request_metadata", "trace_metrics"):
            connection.execute(f"DELETE FROM {table} WHERE request_id = ? AND key LIKE '%o%'", (trace_id,))
    found, output = moved(tmp_path, source.uri, target.uri)
    assert (found.status, list(found.red_rows())) == (0, []), output[-4000:]
    assert rules_of(found, "spans") == {"trace.spans.derived"}
    with closing(sqlite3.connect(target.database_path, timeout=30)) as connection, connection:
        [after] = _attributes(connection, trace_id)
        assert after == before
        _change(connection, trace_id, {**after, "mlflow.spanOutputs": '"never said"'})
    red = audit(tmp_path / "again", source.uri, target.uri)
    assert {(row.kind, row.facet) for row in red.red_rows()} == {("trace", "spans")}, red.output[-5000:]


def _attributes(connection: sqlite3.Connection, trace_id: str) -> list[dict[str, str]]:
    rows = connection.execute("SELECT content FROM spans WHERE trace_id = ?", (trace_id,))
    return [json.loads(content)["attributes"] for (content,) in rows]


def _change(connection: sqlite3.Connection, trace_id: str, attributes: Mapping[str, str]) -> None:
    [(content,)] = connection.execute("SELECT content FROM spans WHERE trace_id = ?", (trace_id,))
    content = json.dumps({**json.loads(content), "attributes": attributes})
    connection.execute("UPDATE spans SET content = ? WHERE trace_id = ?", (content, trace_id))


@pytest.mark.long
def test_a_target_that_cannot_hold_them_is_named(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Older servers get the file; the plan, the closing list and the audit say what users will miss there."""
    source, target = fresh_server(), fresh_server("3.4.0")
    written(source.uri)
    found, output = moved(tmp_path, source.uri, target.uri)
    assert (found.status, list(found.red_rows())) == (0, []), output[-4000:]
    assert "trace.tags.spans" in rules_of(found, "tags")
    assert "no search by span name, type, attribute or text finds them: MLflow 3.4.0 keeps none in" in output
    plan = migrate_py(tmp_path, "plan", "--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "plan")
    told = json.loads((tmp_path / "reports" / "plan.json").read_text(encoding="utf-8"))["unmovable"]
    assert any("that spans are found by name, type, attribute or text" in one["what"] for one in told), plan.output


@pytest.mark.long
@pytest.mark.parametrize("blocked", [(), ("/v1/",)], ids=["serves it", "does not"])
def test_an_app(fresh_server: FreshServer, s3: S3, tmp_path: Path, blocked: tuple[str, ...]) -> None:
    """Nobody knows whether an App serves the route: where it does not, all else is moved and the loss is expected."""
    source = fresh_server()
    written(source.uri)
    with stand_in(tmp_path / "app", s3=s3, blocked=blocked) as app:
        found, output = moved(tmp_path, source.uri, app.arn, app.environment(), option="--target-arn")
        after = answers(app.server.uri)
    assert (found.status, list(found.red_rows())) == (0, []), output[-4000:]
    assert ("trace.tags.spans" in rules_of(found, "tags")) is bool(blocked)
    assert (after == answers(source.uri)) is not bool(blocked)
    assert ("status 404" in output) is bool(blocked)


@pytest.mark.long
def test_a_second_run_brings_them_in(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A route that was closed, or a migration of an earlier release, leaves a red audit; the next run makes it good."""
    source, target = fresh_server(), fresh_server()
    ids = written(source.uri)
    found, output = moved(tmp_path, source.uri, target.uri)
    assert found.status == 0, output[-3000:]
    with closing(sqlite3.connect(target.database_path, timeout=30)) as connection, connection:
        connection.execute("DELETE FROM spans WHERE trace_id = ?", (ids[0],))
        connection.execute(
            "DELETE FROM trace_tags WHERE key = 'mlflow.trace.spansLocation' AND request_id = ?", (ids[0],)
        )
    with closing(sqlite3.connect(next((tmp_path / "work").glob("journal-*.sqlite")))) as connection, connection:
        connection.execute("UPDATE objects SET digest = 'of a file' WHERE kind = 'trace' AND source_id = ?", (ids[0],))
    found, output = moved(tmp_path, source.uri, target.uri)
    assert (found.status, list(found.red_rows())) == (0, []), output[-4000:]
    assert answers(target.uri) == answers(source.uri)


@pytest.mark.long
def test_spans_that_the_source_had_lost(fresh_server: FreshServer, tmp_path: Path) -> None:
    """MLflow's client loses a span on a busy server: red, as nobody knows it before; and somebody can accept it."""
    source, target = fresh_server(), fresh_server()
    ids = written(source.uri)
    with closing(sqlite3.connect(source.database_path, timeout=30)) as connection, connection:
        for trace_id in ids[:2]:
            connection.execute("DELETE FROM spans WHERE name = 'llm' AND trace_id = ?", (trace_id,))
        # of one of them the other spans may still come
        connection.execute("UPDATE trace_info SET timestamp_ms = timestamp_ms - 4000000 WHERE request_id = ?", ids[:1])
    found, output = moved(tmp_path, source.uri, target.uri)
    red = {(row.source_id, row.facet): str(row.state) for row in found.red_rows()}
    assert red == {
        (ids[0], "spans"): "mismatch", (ids[1], "spans"): "unverified", (ids[1], "attachments"): "unverified",
    }, output[-4000:]  # fmt: skip
    assert "number of spans" in output
    assert "made with 3 spans, the source gives 2" in " ".join(output.split())
    draft = tmp_path / "waivers.toml"
    assert main(["waive", "--from", str(found.reports / "report.json"), "-o", str(draft)]) == 0
    text = draft.read_text().replace('reason = ""', 'reason = "lost"').replace('owner = ""', 'owner = "Ada"')
    draft.write_text(text)
    with closing(sqlite3.connect(target.database_path, timeout=30)) as connection, connection:
        connection.execute("UPDATE trace_info SET timestamp_ms = timestamp_ms - 4000000 WHERE request_id = ?", ids[1:2])
    again = audit(tmp_path / "again", source.uri, target.uri, "--parity-waivers", str(draft))
    assert {(row.source_id, row.facet) for row in again.red_rows()} >= {(ids[1], "spans")}
    waived = {(row.source_id, row.facet) for row in again.rows() if str(row.state) == "waived"}
    assert waived == {(ids[0], "spans")}


@pytest.mark.long
def test_killed_at_its_requests(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Whenever a migration ends in the middle of a trace, the next one brings each span once."""
    source, target = fresh_server(), fresh_server()
    written(source.uri, 1)
    snapshot = kept(source.uri, tmp_path / "snapshot")
    exported = export(source, tmp_path / "export")
    undisturbed, *others = killed_everywhere(exported.root, snapshot, target, tmp_path, EVERY)
    assert (undisturbed["status"], undisturbed["green"]) == (0, True), undisturbed
    assert len(others) >= undisturbed["requests"] // EVERY > 2
    for one in others:
        assert (one["killed"], one["status"], one["green"]) == (True, 0, True), one
        assert one["rows"] == undisturbed["rows"], one
