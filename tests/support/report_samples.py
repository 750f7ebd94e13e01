"""Reports for the tests of the reporting room: one that looks real, and strategies that make any."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from mlflow_parity.core.verdict import SEVERITY, Cell, Finding, State
from mlflow_parity.kinds import OPTIONAL
from mlflow_parity.kinds.rules.contract import EXPERIMENT_FACETS, RUN_FACETS
from mlflow_parity.reporting.report import CoverageRow, Report, Scope
from mlflow_parity.reporting.side_report import SideReport

#: For property tests: the machine may be busy, so no example fails for being slow.
unhurried = settings(deadline=None)
#: Those of experiments and runs, but for the links to logged models.
FACETS = tuple(
    dict.fromkeys(
        [
            "presence",
            *(name for name in EXPERIMENT_FACETS if ("experiment", name) not in OPTIONAL),
            *(name for name in RUN_FACETS if not name.startswith("model_")),
        ]
    )
)
#: What a hostile or careless user can put into a name, tag or value.
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</pre></details><h1>GREEN</h1><!--",
    "\x1b[2J\x1b[31mred\x1b]0;owned\x07",
    "invoice\u202efdp.exe",
    "zero\u200bwidth\ufeff and nul \x00",
    "lone \ud800 surrogate \udfff",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "日本語の実験 👩‍🔬 ü",
    "line\r\nbreak\u2028separator",
    "x" * 2_500,
)


def cell(findings: int = 0, **counts: int) -> Cell:
    """Return a coverage cell with ``counts`` by state name."""
    return Cell(Counter({State(name): count for name, count in counts.items()}), findings)


def side(**changes: Any) -> SideReport:
    """Return one side that looks real."""
    values: dict[str, Any] = {
        "location": "https://mlflow.example.com",
        "kind": "http",
        "server_version": "2.22.5",
        "capabilities": {"history_bulk": True, "artifact_proxy": True, "get_artifact": True, "workers": 8},
        "read_from": "2026-11-20T08:00:03Z",
        "read_to": "2026-11-20T08:04:41Z",
        "requests": 5_214,
        "experiments": 12,
        "runs": 4_102,
        "points": 2_051_000,
        "artifacts": 12_306,
        "artifact_bytes": 48_213_551_002,
        "snapshot_digest": "sha256:5f0c7b0e5a5d3f7e0b3a0f6f9a3f2f7c1f0b1d2c3e4f5a6b7c8d9e0f1a2b3c4d",
        "outside": {"registered models": 3, "traces": 0, "webhooks": None},
    }
    return SideReport(**{**values, **changes})


def report(**changes: Any) -> Report:
    """Return a red report of a migration in which the import tool lost runs."""
    names = ["fraud-detection/gbm", "churn", "Default", "vision/resnet50-pretraining", "nlp – Übersetzung", "forecast"]
    coverage = []
    for number, name in enumerate(names):
        runs = 400 + 37 * number
        for facet in FACETS:
            counts = {"match": runs}
            if facet in ("times", "artifact_uri"):
                counts = {"expected": runs}
            if number == 1 and facet not in ("name", "lifecycle", "note"):
                counts = {"match": runs - 55, "missing": 55}
            if number == 3 and facet == "metrics":
                counts = {"match": runs - 5, "mismatch": 2, "unverified": 3}
            if number == 4 and facet == "presence":
                counts = {"match": runs - 3, "extra": 1, "duplicate": 1, "ambiguous": 1}
            red = sum(count for state, count in counts.items() if not State(state).green)
            coverage.append(CoverageRow(name, facet, cell(red, **counts)))
    findings = [
        Finding(
            "churn",
            "run",
            f"train-{number:03}",
            f"{number:032x}",
            None,
            "presence",
            "",
            State.MISSING,
            "run.presence",
            "run train, 12 metrics, FINISHED",
            None,
            "No run of the target names this run in mlflow_exim.run_info.run_id, has its id or its content.",
        )
        for number in range(8)
    ]
    findings += [
        Finding(
            names[3],
            "run",
            "resnet50 lr=0.1",
            "a1" * 16,
            "b2" * 16,
            "metrics",
            "val/accuracy",
            State.MISMATCH,
            "run.metrics",
            "50 points, last (49, 1700000049000, 0.9312)",
            "49 points, last (48, 1700000048000, 0.9307)",
            "Item root['points'][49] (step 49, timestamp 1700000049000, value 0.9312) removed from the target.",
        ),
        Finding(
            names[3], "run", "resnet50 lr=0.1", "a1" * 16, "b2" * 16, "tags", "owner", State.MISMATCH, "run.tags",
            "ana\u202eevil", "anaevil", "Value of root['owner'] changed.",
        ),
        Finding(
            names[4], "run", "übersetzung-7", "c3" * 16, "d4" * 16, "presence", "", State.DUPLICATE, "run.presence",
            None, "imported twice", "Two runs of the target name this run as their source.",
        ),
    ]  # fmt: skip
    values: dict[str, Any] = {
        "tool_version": "0.1.0",
        "created": "2026-11-20T08:05:00Z",
        "verdict": "red",
        "scope": Scope(
            experiments=("*",),
            facets=FACETS,
            checks=tuple(f"test_{facet}" for facet in FACETS),
            partial=True,
            left_out=("deleted experiments and runs (--parity-include-deleted)",),
        ),
        "sides": {
            "source": side(),
            "target": side(
                location="arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-ABCDEFGHIJKL",
                kind="app",
                server_version="3.10.1",
                runs=4_048,
            ),
        },
        "reasons": ("55 runs of experiment churn are missing on the target", "3 metric histories could not be read"),
        "exit_status": 1,
        "contract_digest": "sha256:9d2f" + "ab" * 30,
        "coverage": tuple(coverage),
        "findings": tuple(findings),
        "findings_total": 731,
        "paired_by": {"source-tag": 4_040, "content": 8},
        "explained": 5,
        "command": ("pytest", "--source-uri", "https://mlflow.example.com", "--target-arn", "arn:aws:sagemaker:…"),
        "notes": ("The target stores infinite values as ±1.7976931348623157e308 (rule run.metrics.inf).",),
        "timings": {"inventory": 1.2, "reading": 278.4, "comparing": 3.1},
    }
    return Report(**{**values, **changes})


def hostile_report() -> Report:
    """Return a report in which every name and value that comes from a server is hostile."""
    coverage, findings = [], []
    for number, text in enumerate(HOSTILE):
        coverage += [CoverageRow(text, facet, cell(1, mismatch=1, match=number)) for facet in FACETS[:6]]
        findings.append(
            Finding(text, "run", text, text, text, "tags", text, State.MISMATCH, text, text, text + "!", text)
        )
    evil = HOSTILE[0]
    return report(
        coverage=tuple(coverage),
        findings=tuple(findings),
        reasons=HOSTILE,
        in_common=HOSTILE,
        notes=HOSTILE,
        command=HOSTILE,
        scope=Scope(HOSTILE, HOSTILE, True, "full", FACETS, HOSTILE, True, HOSTILE),
        sides={
            "source": side(location=evil, server_version=evil, capabilities={evil: evil}, outside={evil: 3}),
            "target": side(location=HOSTILE[1], snapshot_path=HOSTILE[4], outside={HOSTILE[1]: None}),
        },
        paired_by={evil: 1},
        timings={evil: 1.0},
        waivers=({evil: evil},),
    )


# Any text that Python can hold, lone surrogates and NUL included, with hostile ones mixed in.
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.sampled_from(HOSTILE),
    st.text("ab\n\t\x1b\u202e\ud800世", max_size=300),
)
ids = st.none() | texts
numbers = st.integers(0, 10**15)
states = st.sampled_from(SEVERITY)
findings = st.builds(
    Finding,
    experiment=texts,
    kind=st.sampled_from(["experiment", "run"]),
    name=texts,
    source_id=ids,
    target_id=ids,
    facet=texts,
    key=texts,
    state=states,
    rule=texts,
    source=ids,
    target=ids,
    explanation=st.one_of(texts, st.lists(texts, max_size=60).map("\n".join)),
)
cells = st.builds(
    lambda counts, found: Cell(Counter(counts), found),
    st.dictionaries(states, st.integers(1, 10**9), max_size=4),
    numbers,
)
sides = st.builds(
    SideReport,
    location=texts,
    kind=st.sampled_from(["http", "app", "tracking-server", "snapshot"]),
    server_version=ids,
    capabilities=st.dictionaries(texts, st.one_of(st.booleans(), st.none(), texts, st.lists(texts)), max_size=3),
    read_from=texts,
    read_to=texts,
    requests=numbers,
    resumed_parts=numbers,
    resumed_from=texts,
    experiments=numbers,
    runs=numbers,
    points=numbers,
    artifacts=numbers,
    artifact_bytes=numbers,
    snapshot_digest=texts,
    snapshot_path=ids,
    origin=texts,
    outside=st.dictionaries(texts, st.none() | numbers, max_size=4),
)
lines = st.lists(texts, max_size=12).map(tuple)
reports = st.builds(
    Report,
    tool_version=texts,
    created=texts,
    verdict=st.just("red"),
    scope=st.builds(
        Scope,
        experiments=lines,
        excluded=lines,
        include_deleted=st.booleans(),
        depth=st.sampled_from(["listing", "digest", "full"]),
        facets=lines,
        checks=lines,
        partial=st.booleans(),
        left_out=lines,
    ),
    sides=st.fixed_dictionaries({"source": sides, "target": sides}),
    reasons=lines,
    in_common=lines,
    exit_status=st.none() | st.integers(0, 5),
    contract_digest=texts,
    coverage=st.lists(st.builds(CoverageRow, texts, texts, cells), max_size=30).map(tuple),
    findings=st.lists(findings, max_size=8).map(tuple),
    findings_total=numbers,
    paired_by=st.dictionaries(texts, numbers, max_size=3),
    explained=numbers,
    command=lines,
    notes=lines,
    waivers=st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2).map(tuple),
    timings=st.dictionaries(texts, st.floats(), max_size=3),
)
