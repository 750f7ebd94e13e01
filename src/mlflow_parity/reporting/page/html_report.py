"""The report as one HTML file: one small script that it works without, no outside asset, safe to open and to print."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.identity.sums import counted_by
from mlflow_parity.core.text import counted, shorten, visible
from mlflow_parity.core.verdict import SEVERITY, Cell, State
from mlflow_parity.reporting.page import heat_map
from mlflow_parity.reporting.page.curves import Curves, Key
from mlflow_parity.reporting.page.differences import OPEN_LIST, shown_parts
from mlflow_parity.reporting.page.tables import MAX_COUNTED, MAX_NAME, by_kind, rows_shown, states_of
from mlflow_parity.reporting.page.ui_links import Ids, Pages, how_reached
from mlflow_parity.reporting.report import SIDES, Report, experiment_order
from mlflow_parity.reporting.side_report import SideReport

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_MAX_LINES = 80
#: Names in one list of the scope: there are fewer facets and checks.
_MAX_ITEMS = 500
_MAX_TEXT = 800
_MAX_COMMAND = 20_000

#: One sign per state, so that colour is never the only difference.
SIGNS: Mapping[State, str] = {
    State.MATCH: "✓",
    State.EXPECTED: "≈",
    State.WAIVED: "◇",
    State.MISMATCH: "≠",
    State.MISSING: "−",
    State.EXTRA: "+",
    State.DUPLICATE: "×",
    State.AMBIGUOUS: "?",
    State.UNVERIFIED: "○",
}
MEANINGS: Mapping[State, str] = {
    State.MATCH: "equal on both sides",
    State.EXPECTED: "differs as the contract says",
    State.WAIVED: "difference accepted by the user",
    State.MISMATCH: "differs",
    State.MISSING: "not on the target",
    State.EXTRA: "only on the target",
    State.DUPLICATE: "more than once on the target",
    State.AMBIGUOUS: "cannot be paired",
    State.UNVERIFIED: "not read or not compared",
}


#: What a page says of the SHA-256 of the ``report.json`` beside it, and what stands there before that is known.
JSON_FACT, NOT_KNOWN_YET = "SHA-256 of report.json", "0" * 64


def stated(digest: str) -> str:
    """Return how a page says which ``report.json`` it is of; no data of a server or user can look so."""
    return f"<dt>{JSON_FACT}</dt><dd>{digest}</dd>"


def render(report: Report, experiments: Ids | None = None, curves: Mapping[Key, Curves] | None = None) -> str:
    """Return ``report`` (already redacted) as an HTML document of less than 10 MB that is valid UTF-8.

    Which ``report.json`` it is of, :data:`NOT_KNOWN_YET` says: whoever writes both puts the digest there.

    ``experiments`` are the ids of the experiments by name, as the ledger has them: pages of traces and logged models
    are below those of their experiments; ``curves`` are drawn beside the findings that they are of.
    """
    if report.verdict == "none":
        return template("no_verdict.html.j2").render(report=report, command=_command(report))
    cells = report.by_experiment()
    order = experiment_order(cells)
    by_facet = report.by_facet()
    rows, hidden = rows_shown(report, order, cells)
    outside = _outside(report)
    parts, left_out = shown_parts(report, order, Pages(report, experiments or {}), curves or {})
    picture = heat_map.heat_map(report)
    anchors: dict[str, str] = {}
    for section in (section for part in parts for section in part.sections):
        anchors.setdefault(section.name, section.anchor)
    script = _script()
    document = template().render(
        report=report,
        bar=_bar(report),
        kinds=by_kind(by_facet),
        kinds_hidden=max(len(by_facet) - MAX_COUNTED, 0),
        whole=_sum(cells.values()),
        picture=None if picture is None else heat_map.drawn(picture),
        colours=heat_map.legend(),
        states_in_order=[state for state in SEVERITY if state.green],
        red_rows=[row for row in rows if not row.cell.green],
        green_rows=[row for row in rows if row.cell.green],
        anchors=anchors,
        hidden=len(hidden),
        hidden_red=sum(not cells[name].green for name in hidden),
        parts=parts,
        states_found=[state for state in SEVERITY if any(one.state is state for one in report.findings)],
        open_list=OPEN_LIST,
        left_out=left_out,
        not_kept=max(report.findings_total - len(report.findings), 0),
        command=_command(report),
        facts=_facts(report),
        side_rows=_side_rows(report.sides["source"], report.sides["target"]),
        sizes={name: _sizes(report.sides[name]) for name in SIDES},
        signed_addresses=[(name, command) for name in SIDES if (command := how_reached(report.sides[name]))],
        outside=outside,
        looked_outside=any(report.sides[name].outside for name in SIDES),
        # a partial audit names what was left out in a place of its own
        not_part=outside if report.scope.partial else [*report.scope.left_out, *outside],
        waivers=[", ".join(f"{key}: {text}" for key, text in waiver.items()) for waiver in report.waivers],
        states=[(state, SIGNS[state], MEANINGS[state], report.totals[state.value]) for state in SEVERITY],
        cell_states=states_of,
        signs=SIGNS,
        max_lines=_MAX_LINES,
        max_items=_MAX_ITEMS,
        script=script,
        script_hash=script_hash(script),
    )
    return document if document.endswith("\n") else document + "\n"


def _script() -> Markup:
    """Return the page's one script, as it is shipped; the policy of the page lets no other run."""
    from markupsafe import Markup

    return Markup(files("mlflow_parity.reporting.page").joinpath("report.js").read_text(encoding="utf-8"))  # noqa: S704


def script_hash(script: str) -> str:
    """Return what a Content-Security-Policy calls a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _command(report: Report) -> str:
    return shorten(visible(shlex.join(report.command)), _MAX_COMMAND)


@lru_cache(maxsize=4)
def template(name: str = "report.html.j2") -> Template:
    """Return a template of this folder, which escapes and makes visible whatever it prints."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # every value that the template prints passes here, so none can be forgotten
        finalize=_printable,
    )
    environment.filters["number"] = lambda number: f"{number:,}"
    environment.filters["block"] = _block
    environment.filters["line"] = lambda text: shorten(visible(text), _MAX_TEXT)
    environment.filters["name"] = lambda name: shorten(visible(name), MAX_NAME)
    source = files("mlflow_parity.reporting.page").joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(source)


def _printable(value: Any) -> Any:
    if hasattr(value, "__html__"):
        return value
    return shorten(visible(str(value)), _MAX_TEXT) if isinstance(value, str) else value


def _block(text: str) -> Markup:
    """Escape a text of several lines; it keeps its line breaks and is otherwise made visible."""
    from markupsafe import escape as markup

    return markup(visible(text, multiline=True))


def _size(number: int) -> str:
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _sum(cells: Iterable[Cell]) -> Cell:
    whole = Cell()
    for cell in cells:
        whole.counts.update(cell.counts)
    return whole


def _bar(report: Report) -> list[tuple[State, float]]:
    """Return the shares of the coverage bar in per cent; what occurs is wide enough to be seen."""
    present = [(state, report.totals[state.value]) for state in SEVERITY if report.totals[state.value]]
    shares = [(state, max(100 * count / report.objects, 1.0)) for state, count in present]
    whole = sum(share for _, share in shares)
    return [(state, round(100 * share / whole, 2)) for state, share in shares]


def _facts(report: Report) -> list[tuple[str, str]]:
    paired = ", ".join(f"{visible(key)}: {count:,}" for key, count in report.paired_by.items())
    timings = ", ".join(f"{visible(key)} {seconds:,.1f} s" for key, seconds in report.timings.items())
    return [
        ("Tool", f"mlflow-parity {report.tool_version}"),
        ("Created", report.created),
        ("Profile", report.scope.profile),
        ("Exit status", "not known yet" if report.exit_status is None else str(report.exit_status)),
        ("Digest of the contract", report.contract_digest or "–"),
        ("Digest of the waivers", report.waivers_digest or "–"),
        ("SHA-256 of ledger.parquet", report.ledger_digest or "–"),
        (JSON_FACT, NOT_KNOWN_YET),
        ("Paired by", paired or "–"),
        ("Files", counted_by(report.evidence) or "–"),
        ("Explained by deepdiff", f"{report.explained:,}"),
        ("Time taken", timings or "–"),
        ("Report format", report.format_version),
    ]


def _side_rows(source: SideReport, target: SideReport) -> list[tuple[str, str, str]]:
    """Return the two sides beside each other: a label and both texts per row."""
    kinds = {
        "http": "tracking server",
        "app": "SageMaker MLflow App",
        "tracking-server": "SageMaker MLflow tracking server",
        "snapshot": "snapshot directory",
    }

    def texts(side: SideReport) -> list[tuple[str, str]]:
        capabilities = ", ".join(f"{name}: {_told(value)}" for name, value in side.capabilities.items())
        return [
            ("Location", side.location),
            ("Kind", kinds[side.kind] + (f" of {side.origin}" if side.origin else "")),
            ("Answered by", side.answered or ("–" if side.kind == "snapshot" else "its own address")),
            ("MLflow version", side.server_version or "not reported by the server"),
            ("Capabilities", capabilities or "–"),
            ("Read from (UTC)", side.read_from or "–"),
            ("Finished reading (UTC)", side.read_to or "–"),
            ("Requests", f"{side.requests:,}"),
            (
                "Parts resumed from an interrupted audit",
                f"{side.resumed_parts:,}" + (f", the oldest read at {side.resumed_from}" if side.resumed_from else ""),
            ),
            ("Experiments", f"{side.experiments:,}"),
            ("Runs", f"{side.runs:,}"),
            ("Metric points", f"{side.points:,}"),
            ("Files of runs", f"{side.artifacts:,} ({_size(side.artifact_bytes)})"),
            ("Other objects", ", ".join(_others(side)) or "none"),
            ("Digest of the snapshot", side.snapshot_digest or "–"),
            ("Snapshot kept at", side.snapshot_path or "not kept"),
        ]

    pairs = zip(texts(source), texts(target), strict=True)
    return [(label, first, second) for (label, first), (_, second) in pairs]


def _sizes(side: SideReport) -> str:
    """Return how much a side holds, in one line."""
    files_read = f"{counted(side.artifacts, 'files of runs')}, {_size(side.artifact_bytes)}"
    counts = (counted(side.experiments, "experiments"), counted(side.runs, "runs"))
    return " · ".join((*counts, counted(side.points, "metric points"), files_read, *_others(side)))


def _others(side: SideReport) -> list[str]:
    """Return how many objects of each other kind were read, where there are any."""
    return [counted(count, kinds) for kinds, count in side.objects.items() if count]


def _told(value: object) -> str:
    if value is None:
        return "unknown"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _outside(report: Report) -> list[str]:
    """Return what is there but not compared, one line per kind and side."""
    lines = []
    for name in SIDES:
        for kind, count in report.sides[name].outside.items():
            if count is None:
                lines.append(f"{kind}: cannot be counted on {name}")
            elif count:
                lines.append(f"{kind}: {count:,} on {name}")
    return lines
