"""Where an object's page is in the MLflow UI of each side, as the UI's own routes have it.

Only an ``http(s)`` tracking server can be linked to, and only by an address without credentials; whatever else a
location holds is no link. A page of a SageMaker App or tracking server is reached through an address that AWS signs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlflow_parity.core.verdict import Finding
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.report import SIDES, Report
from mlflow_parity.reporting.side_report import SideReport

#: An address as a report has it: no credentials, no query, and what stands behind it is the workspace.
_ADDRESS = re.compile(
    r"(?P<base>https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%/-]*)?)"
    r"(?: \(workspace (?P<workspace>[A-Za-z0-9._-]+)\))?"
)
_ARN = re.compile(r"arn:aws[a-z-]*:sagemaker:(?P<region>[a-z0-9-]+):[0-9]{12}:[a-z-]+/(?P<name>[A-Za-z0-9._-]+)")
_MAX_ID = 500
_MAX_EXPERIMENTS = 100_000
#: Experiments whose ids are known, by name: the source's id and the target's.
Ids = Mapping[str, Mapping[SideName, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page in the UI: what stands behind the UI's address, and the whole where that is known."""

    path: str
    href: str | None


class Pages:
    """The pages of a report's objects on both sides; ``experiments`` are the ids of experiments by name."""

    def __init__(self, report: Report, experiments: Ids) -> None:
        self._sides = report.sides
        self._experiments = experiments
        self._bases = {name: _base(report.sides[name]) for name in SIDES}

    def of(self, finding: Finding) -> tuple[tuple[str, Page], ...]:
        """Return the page of a finding's object on each side that has it."""
        ids = {"source": finding.source_id, "target": finding.target_id}
        found = ((name, self._page(name, finding.kind, ids[name], finding.experiment)) for name in SIDES)
        return tuple((name, page) for name, page in found if page is not None)

    def experiment(self, name: str) -> tuple[tuple[str, Page], ...]:
        """Return the page of an experiment on each side that has it."""
        ids = self._experiments.get(name, {})
        found = ((side, self._page(side, "experiment", ids.get(side), name)) for side in SIDES)
        return tuple((side, page) for side, page in found if page is not None)

    def _page(self, side: SideName, kind: str, one: str | None, experiment: str) -> Page | None:
        if not one or len(one) > _MAX_ID or self._sides[side].kind == "snapshot":
            return None
        try:
            path = _path(kind, one, self._experiments.get(experiment, {}).get(side), self._sides[side].server_version)
        except UnicodeEncodeError:
            # half of a character: no address holds it
            return None
        base, workspace = self._bases[side]
        if path is None or (base is None and self._sides[side].kind == "http"):
            return None
        if workspace:
            path += ("&" if "?" in path else "?") + f"workspace={quote(workspace, safe='')}"
        return Page(path, None if base is None else f"{base}/{path}")


def _base(side: SideReport) -> tuple[str | None, str]:
    found = _ADDRESS.fullmatch(side.location) if side.kind == "http" else None
    return (found["base"].rstrip("/"), found["workspace"] or "") if found else (None, "")


def _path(kind: str, one: str, experiment: str | None, version: str | None) -> str | None:
    """Return what the UI calls an object's page; ``None``: it has none of its own, or not for certain."""
    named = quote(one, safe="")
    if kind == "experiment":
        return f"#/experiments/{named}"
    if kind == "run":
        # every release sends it on to the page below the experiment, which need not be known here
        return f"#/runs/{named}"
    if kind == "registered_model":
        return f"#/models/{named}"
    if kind == "prompt":
        return f"#/prompts/{named}"
    if kind in ("model_version", "prompt_version"):
        name, _, number = one.rpartition("/")
        if not name or not number.isdigit():
            return None
        # a prompt's versions are all on its page
        return (
            f"#/models/{quote(name, safe='')}/versions/{number}"
            if kind == "model_version"
            else f"#/prompts/{quote(name, safe='')}"
        )
    if experiment is None:
        return None
    inside = f"#/experiments/{quote(experiment, safe='')}"
    if kind == "logged_model":
        return f"{inside}/models/{named}"
    if kind == "trace" and re.match(r"(?:[3-9]|[1-9][0-9])\.", version or ""):
        # as MLflow's own notebook output links to one; releases before 3 have no such page
        return f"{inside}/traces?selectedEvaluationId={named}&traceId={named}&compareRunsMode=TRACES"
    return None


def how_reached(side: SideReport) -> str:
    """Return the command that opens the UI of an ARN; empty: it is none."""
    found = _ARN.fullmatch(side.location)
    if found is None or side.kind not in ("app", "tracking-server"):
        return ""
    where = f" --region {found['region']}"
    if side.kind == "app":
        return f"aws sagemaker create-presigned-mlflow-app-url --arn {side.location}{where}"
    return f"aws sagemaker create-presigned-mlflow-tracking-server-url --tracking-server-name {found['name']}{where}"


def experiment_ids(ledger: Path | None) -> Ids:
    """Return the ids of the experiments in a ledger by name; one name with two ids on a side has none there."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if ledger is None:
        return {}
    found: dict[str, dict[SideName, str]] = {}
    columns = ["experiment", "kind", "facet", "source_id", "target_id"]
    for batch in pq.ParquetFile(ledger).iter_batches(columns=columns):
        table = pa.table(batch)
        wanted = pc.and_(pc.equal(table["kind"], "experiment"), pc.equal(table["facet"], "presence"))
        for row in table.filter(wanted).to_pylist():
            if len(found) >= _MAX_EXPERIMENTS:
                return found
            ids = found.setdefault(row["experiment"], {})
            for name in SIDES:
                one = row[f"{name}_id"]
                if one is not None:
                    ids[name] = one if ids.get(name, one) == one else ""
    return found
