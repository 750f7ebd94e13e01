"""Audits that an MLflow tracking server keeps: one experiment, and in it one run for each audit.

The run has the audit's counts as metrics, its report and page as artifacts, and the ledger where something is wrong: a
later audit on another machine is compared with it. All of it goes by MLflow's own client and its environment variables.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag

from mlflow_parity.core.errors import ParityError, ReadError, UsageProblem
from mlflow_parity.core.locations import Location, parse_location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted, visible
from mlflow_parity.reporting.history.audits import WHAT, Audited, audited
from mlflow_parity.reporting.report import NOT_KNOWN, SIDES
from mlflow_parity.reporting.write import HTML_NAME, JSON_NAME, LEDGER_NAME

if TYPE_CHECKING:
    from mlflow.store.entities import PagedList

OPTION = "--tracking-uri"
#: SHA-256 of the report: what makes a run an audit, and the same audit the same run.
DIGEST_TAG = "mlflow_parity.report_sha256"
_COUNTED = ("experiments", "runs", "points", "artifacts", "artifact_bytes")
_MOST_TEXT = 5_000
#: Pages of 1,000 runs.
_MOST_PAGES = 100
#: Of MLflow's client, where the environment says nothing else.
_SETTINGS = {
    # minutes of waiting for a server that is not there help nobody
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # what is printed is the history
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextmanager
def open_audits(uri: str, experiment: str) -> Iterator[KeptAudits]:
    """Open the audits that a tracking server keeps in an experiment.

    Raises:
        UsageProblem: it can be no server.
    """
    location = parse_location(uri, option=OPTION)
    if location.kind == "snapshot":
        raise UsageProblem(f"{OPTION}: {visible(uri)} is a folder; give an http(s):// tracking server or an ARN")
    given = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update({name: value for name, value in _SETTINGS.items() if given[name] is None})
    before = mlflow.get_tracking_uri()
    # the sagemaker-mlflow plugin signs for the process-wide server, and at any other but an ARN says that it cannot
    mlflow.set_tracking_uri(location.uri)
    log = logging.getLogger("mlflow.tracking.request_header.registry")
    log.disabled = not location.is_arn
    try:
        with TemporaryDirectory(prefix="mlflow-parity-history-") as folder:
            yield KeptAudits(location, experiment, Path(folder))
    finally:
        log.disabled = False
        mlflow.set_tracking_uri(before)
        for name in _SETTINGS:
            if given[name] is None:
                del os.environ[name]


class KeptAudits:
    """The audits in one experiment of a tracking server; their reports are brought into ``folder``."""

    def __init__(self, location: Location, experiment: str, folder: Path) -> None:
        self.name = location.display
        self._location = location
        self._redact = Redactor.from_environment(also=location.secrets)
        self._experiment = experiment
        self._folder = folder
        self._unfinished: dict[str, Run] = {}
        with self._asking("cannot be used"):
            # the registry's address is never used, but without one it is that of the environment
            self._client = MlflowClient(location.uri, location.uri)

    def read(self) -> list[Audited]:
        """Return the audits that are kept, without their ledgers.

        Raises:
            ReadError: the server does not answer.
            UsageProblem: what it keeps is damaged.
        """
        with self._asking("does not tell which audits it keeps"):
            runs = list(self._runs())
        found: dict[str, Audited] = {}
        for run in runs:
            digest = run.data.tags.get(DIGEST_TAG)
            if digest is None or digest in found:
                continue
            if run.info.status == "FINISHED":
                found[digest] = self._read(run, digest)
            else:
                # whoever wrote it was ended
                self._unfinished[digest] = run
        return list(found.values())

    def _runs(self) -> Iterator[Run]:
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return
        if experiment.lifecycle_stage != "active":
            raise UsageProblem(
                f"{WHAT}: experiment {self._experiment!r} of {self.name} is deleted; restore it, or name another "
                "with --experiment"
            )
        tokens: list[str | None] = [None]
        while tokens[-1] not in ("", *tokens[:-1]):
            page: PagedList[Run] = self._client.search_runs([experiment.experiment_id], page_token=tokens[-1])
            yield from page
            tokens.append(page.token or "")
            if len(tokens) > _MOST_PAGES:
                raise UsageProblem(
                    f"{WHAT}: experiment {self._experiment!r} of {self.name} has over {_MOST_PAGES} pages of runs; "
                    "name another with --experiment"
                )
        if tokens[-1]:
            raise ReadError(f"{WHAT}: {self.name} lists its runs in a circle: two pages have one token")

    def _read(self, run: Run, digest: str) -> Audited:
        one = audited(self._bring(run, JSON_NAME), visible(f"runs:/{run.info.run_id}"))
        if one.digest != digest:
            raise UsageProblem(
                f"{WHAT}: {one.place}/{JSON_NAME} at {self.name} is not the one that was put there; delete that run"
            )
        one.kept = True
        one.new, one.gone = (_whole(run.data.metrics.get(metric)) for metric in ("new", "gone"))
        one.fetch = lambda: self._fetch(run)
        return one

    def _fetch(self, run: Run) -> None:
        with self._asking(f"does not list the files of run {run.info.run_id}"):
            there = {file.path for file in self._client.list_artifacts(run.info.run_id)}
        if LEDGER_NAME in there:
            self._bring(run, LEDGER_NAME)

    def _check_place(self, run: Run) -> None:
        """Refuse a place that is on this machine for whoever asks, or a host that is to get the login of another."""
        place = urlsplit(run.info.artifact_uri or "")
        own = urlsplit(self._location.endpoint).netloc
        where = f"{WHAT}: artifacts of experiment {self._experiment!r} of {self.name} are kept"
        if place.scheme in ("", "file"):
            raise UsageProblem(
                f"{where} in a folder, which only its own machine has; name an experiment whose artifacts the server "
                "proxies (mlflow server --artifacts-destination), or that are in a bucket"
            )
        if place.scheme in ("mlflow-artifacts", "http", "https") and place.netloc not in ("", own):
            raise UsageProblem(f"{where} at another host, {visible(place.netloc)}; name another with --experiment")

    def _bring(self, run: Run, name: str) -> Path:
        self._check_place(run)
        identity = str(run.info.run_id)
        folder = self._folder / sha256(identity.encode()).hexdigest()
        path = folder / name
        if not path.exists():
            folder.mkdir(exist_ok=True)
            with self._asking(f"does not give {name} of run {identity}"):
                self._client.download_artifacts(identity, name, str(folder))
        return path

    def keep(self, audits: Iterable[Audited]) -> str:
        """Put there what is not there yet; say how many audits that were.

        One that was interrupted is gone on with, and counts only when it is whole.

        Raises:
            ReadError: the server does not take it.
            UsageProblem: its artifacts are kept where nobody else finds them.
        """
        count = 0
        for one in audits:
            # a run that was refused knows of no server
            if not one.kept and one.report["sides"]["source"]["location"] != NOT_KNOWN:
                self._keep(one)
                count += 1
        return f"{counted(count, 'audits')} put into experiment {self._experiment} of {self.name}"

    def _keep(self, one: Audited) -> None:
        created = round(1000 * one.created.timestamp())
        metrics = [Metric(name, float(value), created, 0) for name, value in _metrics(one).items()]
        tags = [RunTag(name, text[:_MOST_TEXT]) for name, text in _tags(one).items()]
        files = [path for path in (one.path, one.path.with_name(HTML_NAME), one.ledger()) if path and path.is_file()]
        with self._asking("does not take the audits"):
            run = self._unfinished.get(one.digest) or self._new_run(one, created)
            self._check_place(run)
            self._client.log_batch(run.info.run_id, metrics, tags=tags)
            for path in files:
                self._client.log_artifact(run.info.run_id, str(path))
            self._client.set_terminated(run.info.run_id, "FINISHED", created + round(1000 * one.seconds))
        one.kept = True

    def _new_run(self, one: Audited, created: int) -> Run:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        name = f"{str(one.report['created'])[:16].replace('T', ' ')} {one.verdict}"
        return self._client.create_run(experiment, created, {DIGEST_TAG: one.digest}, name)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except ParityError:
            raise
        except Exception as error:
            # MLflow's client fails in many ways at what is no answer of an MLflow server
            why = visible(self._redact(" ".join(str(error).split())))
            raise ReadError(f"{WHAT}: {self.name} {visible(what)}: {why}", fix=_FIX) from None


_FIX = "see that the address answers, and that MLFLOW_TRACKING_USERNAME and the like are set as it needs them"


def _metrics(one: Audited) -> Mapping[str, float]:
    report = one.report
    counts: dict[str, Any] = {
        "objects": report.get("objects"),
        "compared": report.get("verified"),
        "failed": one.failed,
        "new": one.new,
        "gone": one.gone,
        "seconds": one.seconds,
    }
    counts |= {f"rows/{state}": count for state, count in (report.get("totals") or {}).items()}
    for side in SIDES:
        there = report["sides"][side]
        counts |= {f"{side}/{name}": there.get(name) for name in _COUNTED}
        counts |= {f"{side}/{kind}": count for kind, count in (there.get("objects") or {}).items()}
    # of more no float is exact
    return {name: value for name, value in counts.items() if value is not None and value < 2**53}


def _tags(one: Audited) -> Mapping[str, str]:
    report = one.report
    return {
        "mlflow.note.content": "\n\n".join([f"**{one.verdict}**", *map(str, report.get("reasons") or ())]),
        "mlflow_parity.verdict": one.verdict,
        "mlflow_parity.partial": str(bool(report["scope"]["partial"])).lower(),
        "mlflow_parity.tool_version": str(report["tool_version"]),
        "mlflow_parity.ledger_sha256": str(report["ledger_digest"]),
        **{f"mlflow_parity.{side}": str(report["sides"][side]["location"]) for side in SIDES},
    }


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < 1e15 else None
