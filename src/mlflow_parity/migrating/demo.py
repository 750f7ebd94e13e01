"""The demo: migrate one source with the plain Export Import tool and with ours, and see what the audits say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_parity.core.errors import ParityError, UsageProblem
from mlflow_parity.core.notice import migrate_command, migrate_process
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.exim.tool import DISTRIBUTION, Outcome, export_all, import_all, require_tool
from mlflow_parity.migrating.verifying import run_audit
from mlflow_parity.standin.sagemaker import APP_ARN, StandIn, stand_in
from mlflow_parity.standin.servers import AT_ONCE, Server, clean_environment, serving

#: Tells a folder of ours from one that must not be emptied.
_MARKER = ".mlflow-parity-demo"
_SOURCE_TAG = "mlflow_exim.run_info.run_id"
#: A second App in the same account, with credentials of its own.
_SECOND = APP_ARN.replace("STANDIN00001", "STANDIN00002")


class DemoFailed(ParityError):
    """The demo did not come out as documented; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One migration as its audit saw it: exit status, verdict, objects by state, and its report."""

    status: int
    report: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """The report's verdict."""
        return str(self.report.get("verdict"))

    def missing(self, kind: str) -> int:
        """Objects of a kind that are not on the target."""
        return sum(
            finding["kind"] == kind and finding["facet"] == "presence" and finding["state"] == "missing"
            for finding in self.report.get("findings", ())
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it: the tool's own words, and the runs lost, as the servers and as the audit tell it.

    ``lost`` are the source runs (id → ``experiment / run``) without a copy on the target of the plain tool, found by
    asking both servers directly; ``named`` those that the audit's report calls missing.
    """

    exported: Outcome
    imported: Outcome
    runs: int
    lost: Mapping[str, str]
    named: Mapping[str, str]
    tool: Audited
    ours: Audited

    def problem(self) -> str | None:
        """Return why this is not what the demo promises, ``None`` when it is."""
        if self.imported.exit_code or self.imported.exceptions != 0:
            return "the tool did not say that all went well; see its log"
        if not self.lost:
            return "the tool lost no run"
        if self.tool.status != 1 or self.tool.verdict != "red":
            return f"the audit of the tool's work ended with {self.tool.status} and {self.tool.verdict}, not red"
        if self.named != self.lost:
            return (
                f"the audit names {sorted(self.named.values())} as missing, but lost are {sorted(self.lost.values())}"
            )
        if self.ours.status != 0 or self.ours.verdict != "green":
            return f"{migrate_command()} run ended with {self.ours.status} and {self.ours.verdict}, not green"
        return None


def run_demo(work: Path, reports: Path) -> int:
    """Run the whole demo in the folder ``work``; return 0 when it came out as it should.

    The plain tool's audit must be red and name the lost runs; ``migrate run`` must end green.

    Raises:
        UsageProblem: ``work`` is somebody else's folder, or the tool is missing or the wrong one.
        ParityError: a server or a step failed.
    """
    started = time.monotonic()
    version = require_tool()
    work, reports = work.resolve(), reports.resolve()  # each step has a working folder of its own
    _prepare(work)
    with _servers(work) as (source, plain, target):
        _say(f"Source: MLflow {source.version} at {source.uri}, four experiments of a small team")
        _say(f"Targets: stand-ins of two SageMaker MLflow Apps, {plain.arn} and {target.arn}")
        _step(f"Migrating with the plain Export Import tool ({DISTRIBUTION} {version}), as the public guide does it")
        exported, imported = _migrate(work, source, plain)
        _step("Auditing what it did")
        status = _audit(source, plain, reports / "tool")
        runs, lost = _lost(source, plain)
        _step(f"Migrating the same source with {migrate_command()} run, which ends in the audit")
        ended = _run(work, source, target, reports / "migrate")
    tool = Audited(status, _read_report(reports / "tool"))
    ours = Audited(ended, _read_report(reports / "migrate"))
    result = Result(exported, imported, runs, lost, _missing(tool.report), tool, ours)
    _conclude(result, reports, time.monotonic() - started)
    return 0 if result.problem() is None else 1


def _prepare(work: Path) -> None:
    if work.exists() and not (work / _MARKER).exists():
        raise UsageProblem(f"{work} exists and is not a demo's folder; give another one with --work-dir")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / _MARKER).touch()


@contextmanager
def _servers(work: Path) -> Iterator[tuple[Server, StandIn, StandIn]]:
    """Start all at once, and fill the source while the targets still start."""
    _step("Starting a source server and two stand-ins of SageMaker on loopback, and filling the source")
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:

        def targets() -> tuple[StandIn, StandIn]:
            first = stack.enter_context(stand_in(work / "app-1"))
            return first, stack.enter_context(stand_in(work / "app-2", arn=_SECOND, s3=first.s3))

        starting = pool.submit(targets)
        with serving(work / "source") as source:
            _run_module("mlflow_parity.migrating.demo_data", [source.uri], work / "fill.log")
            yield source, *starting.result()


def _migrate(work: Path, source: Server, target: StandIn) -> tuple[Outcome, Outcome]:
    folder = work / "export"
    export_log, import_log = work / "export-all.log", work / "import-all.log"
    exported = export_all(folder, tracking_uri=source.uri, env=clean_environment(), log=export_log)
    _say(f"export-all: exit code {exported.exit_code} ({exported.seconds:.0f} s)")
    env = clean_environment(target.environment())
    imported = import_all(folder, tracking_uri=target.arn, env=env, log=import_log)
    summary = "no summary" if imported.exceptions is None else f'its summary says "exceptions": {imported.exceptions}'
    _say(f"import-all --import-source-tags True: exit code {imported.exit_code}, {summary} ({imported.seconds:.0f} s)")
    return exported, imported


def _audit(source: Server, target: StandIn, reports: Path) -> int:
    options = ["--source-uri", source.uri, "--target-arn", target.arn, "--parity-report-dir", str(reports)]
    print(f"      pytest {' '.join(options)}\n", flush=True)
    quiet = ["-q", "--no-header", "-p", "no:cacheprovider"]
    return run_audit([*quiet, *options], clean_environment(target.environment()), {})


def _run(work: Path, source: Server, target: StandIn, reports: Path) -> int:
    options = ["run", "--source-uri", source.uri, "--target-arn", target.arn]
    options += ["--work-dir", str(work / "migration"), "--report-dir", str(reports)]
    # as a user would, who sees what it prints
    print(f"      {migrate_command()} {' '.join(options)}\n", flush=True)
    env = clean_environment(target.environment())
    return subprocess.run([*migrate_process(), *options], env=env, stdin=subprocess.DEVNULL, timeout=600).returncode


def _lost(source: Server, target: StandIn) -> tuple[int, dict[str, str]]:
    """Ask both servers, not the audit: the number of source runs, and those that no target run comes from."""
    copied = {run["tags"].get(_SOURCE_TAG) for run in _runs(target.server.uri)}
    runs = _runs(source.uri)
    return len(runs), {run["id"]: f"{run['experiment']} / {run['name']}" for run in runs if run["id"] not in copied}


def _runs(uri: str) -> list[dict[str, Any]]:
    import requests

    base = f"{uri}/api/2.0/mlflow"
    found = requests.post(f"{base}/experiments/search", json={"max_results": 1000}, timeout=60)
    names = {item["experiment_id"]: item["name"] for item in found.json()["experiments"]}
    body = {"experiment_ids": list(names), "max_results": 1000}
    runs = requests.post(f"{base}/runs/search", json=body, timeout=60).json().get("runs", [])
    return [
        {
            "id": run["info"]["run_id"],
            "name": run["info"]["run_name"],
            "experiment": names[run["info"]["experiment_id"]],
            "tags": {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])},
        }
        for run in runs
    ]


def _read_report(reports: Path) -> dict[str, Any]:
    file = reports / "report.json"
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"verdict": "none"}
    if loaded["verdict"] == "none":
        raise DemoFailed(f"the audit wrote no report to {reports}; what it printed above says why")
    return loaded


def _missing(report: Mapping[str, Any]) -> dict[str, str]:
    return {
        finding["source_id"]: f"{finding['experiment']} / {finding['name']}"
        for finding in report.get("findings", ())
        if finding["kind"] == "run"
        and finding["state"] == "missing"
        and not finding["key"]
        and finding["target_id"] is None
    }


def _conclude(result: Result, reports: Path, seconds: float) -> None:
    _step("Side by side")
    rows = [
        ("", "export-all, import-all", f"{migrate_command()} run"),
        ("it says", f'"exceptions": {result.imported.exceptions}', f"exit status {result.ours.status}"),
        ("the audit says", result.tool.verdict, result.ours.verdict),
    ]
    for kind, plural in [("run", "runs"), *((kind.name, kind.plural) for kind in KINDS.values())]:
        first, second = result.tool.missing(kind), result.ours.missing(kind)
        if first or second:
            rows.append((f"{plural} lost", str(first), str(second)))
    for name, tool, ours in rows:
        _say(f"{name:24}{tool:26}{ours}")
    _say("")
    _say(f"Lost by the plain tool are {len(result.lost)} of {result.runs} runs:")
    for identity, name in sorted(result.lost.items(), key=lambda item: item[1]):
        mark = "named by the audit" if identity in result.named else "NOT named by the audit"
        _say(f"    {name}  ({mark})")
    _say("A run that uses a logged model stops the tool's import of its experiment (KeyError: 'step'), which its")
    _say("summary does not count. The audit read both servers in full, so it cannot miss what is not there.")
    _say(f"Reports: {reports / 'tool' / 'report.html'}, {reports / 'migrate' / 'report.html'}")
    _say(f"The tool's logs: {result.exported.log}, {result.imported.log}")
    problem = result.problem()
    _say(
        f"The demo took {seconds:.0f} s and " + ("came out as it should." if problem is None else f"FAILED: {problem}.")
    )


def _run_module(module: str, arguments: list[str], log: Path) -> None:
    """Run one of our modules in a process of its own, so that MLflow's global state is its own too."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", module, *arguments]
        env = clean_environment(AT_ONCE)
        code = subprocess.run(command, env=env, stdout=output, stderr=subprocess.STDOUT, timeout=300).returncode
    if code:
        raise DemoFailed(f"{module} failed:\n{log.read_text(errors='replace')[-2000:]}")


def _step(text: str) -> None:
    print(f"\n==> {text}", flush=True)


def _say(text: str) -> None:
    print(f"    {text}", flush=True)
