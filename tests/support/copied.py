"""A small source with every kind of object and its copy, a restored backup; audits of them in this process."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import Side, uncounted
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.locations import Location, parse_arn, parse_location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.scope import Depth, Evidence, Profile, in_scope
from mlflow_parity.core.verdict import Finding, Row
from mlflow_parity.kinds.rules.check_registry import collected, select
from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.reading.transport.auth import SideName, credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.snapshot import PARTS, SERVER_PARTS
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.standin.servers import Server
from support.memory import Sink
from support.seed import EPOCH, Seeder
from support.seed_objects import seed_objects
from support.servers import FreshServer, ServerPool, keep_content, lay_content
from support.sharing import made_once

#: Waits of milliseconds where a real audit waits for seconds; all else is as it is.
QUICK = Limits(connect=2, read=1.0, call=4, tries=4, first_wait=0.005, longest_wait=0.02)
#: Objects per page, so that a small store has pages.
PAGE = 2
EVERYTHING = Asked("digest", include_deleted=True)


def seed_copied(uri: str) -> None:
    """Write a few runs with histories and files, and one of every kind of object."""
    seed = Seeder(uri)
    experiment = seed.experiment("churn", {"mlflow.note.content": "# Churn"})
    parent = seed.run(experiment, "parent", start=EPOCH)
    seed.end(parent)
    for number in range(3):
        run = seed.run(experiment, f"child {number}", start=EPOCH + number, parent=parent)
        points = [("loss", 1 / (step + 1 + number), EPOCH + step, step) for step in range(40)]
        seed.log(run, params={"lr": f"0.{number}"}, tags={"t": str(number)}, metrics=[*points, ("auc", 0.5, EPOCH, 0)])
        if not number:
            seed.artifact(run, "notes.txt", f"of child {number}\n".encode())
            seed.artifact(run, "plots/loss.bin", bytes(range(256)) * 40)
        seed.end(run)
    going = seed.run(experiment, "going", start=EPOCH + 9)
    seed.log(going, params={"lr": "1"}, tags={"t": "0"}, metrics=[("loss", 1.0, EPOCH, 0), ("still", 1.0, EPOCH, 0)])
    seed.artifact(going, "notes.txt", b"so far\n")
    seed_objects(uri, experiment, more_traces=3)


@dataclass(frozen=True, slots=True)
class Copied:
    """What such a server holds: a database and the folder of its files."""

    folder: Path

    @classmethod
    def make(cls, pool: ServerPool) -> Copied:
        """Seed a server of the pool once, and keep what is in it."""
        with made_once("copied") as (folder, is_there):
            if not is_there:
                source = pool.take()
                seed_copied(source.uri)
                keep_content(source, folder)
                pool.give_back("newest", source)
        return cls(folder)

    def lay(self, server: Server) -> None:
        """Give an empty server this content."""
        lay_content(self.folder, server)


def copied_pair(pool: ServerPool, fresh: FreshServer) -> tuple[Server, Server]:
    """Return a source and its copy, the caller's own."""
    made = Copied.make(pool)
    pair = fresh(), fresh()
    for server in pair:
        made.lay(server)
    return pair


@dataclass(slots=True)
class Outcome:
    """How an audit in this process ended."""

    seconds: float
    failed: str = ""
    """The line of a pair that could not even be listed: what pytest shows with exit status 4."""
    result: Result | None = None
    rows: tuple[Row, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    sent: int = 0
    """Requests to the source."""

    @property
    def green(self) -> bool:
        """Whether the verdict is green."""
        return self.result is not None and self.result.green

    @property
    def ledger(self) -> Counter[tuple[str, str, str, str | None, str | None, str, str]]:
        """Every row: what was judged, and how."""
        return Counter(
            (row.experiment, row.kind, row.name, row.source_id, row.target_id, row.facet, row.state.value)
            for row in self.rows
        )

    @property
    def findings(self) -> list[Finding]:
        """All findings."""
        return [] if self.result is None else self.result.findings

    @property
    def reasons(self) -> str:
        """Every word that says why it is red."""
        return "\n".join([self.failed, *(finding.explanation for finding in self.findings)])


def audited(
    source: str,
    target: str,
    *,
    limits: Limits = QUICK,
    snapshots: Path | None = None,
    env: Mapping[str, str] | None = None,
    depth: Depth = "digest",
    include_deleted: bool = True,
    experiments: tuple[str, ...] = (),
    exclude_experiments: tuple[str, ...] = (),
    workers: int = 4,
    profile: Profile = "same-store",
    page: int = PAGE,
    evidence: Evidence = "stores",
    known: Path | None = None,
    reports: ChecksumReports | None = None,
) -> Outcome:
    """Audit two real servers with every check, as a restored backup; ``limits`` are those of both sides' sessions.

    ``known`` is where it is kept what was read of files, and taken from; ``reports`` state their checksums.
    """
    places = {"source": _location(source, env or {}, "source"), "target": _location(target, env or {}, "target")}
    settings = Settings(
        source=places["source"],
        target=places["target"],
        experiments=experiments,
        exclude_experiments=exclude_experiments,
        include_deleted=include_deleted,
        load_models=False,
        depth=depth,
        workers=workers,
        snapshot_dir=None if snapshots is None else str(snapshots),
        report_dir="reports",
        max_findings=1_000,
        profile=profile,
        evidence=evidence,
    )
    redactor = Redactor.from_environment()

    def open_side(name: SideName) -> Side:
        hashes = None if known is None else KnownHashes(str(known), name, places[name].display)
        if hashes is not None:
            hashes.open()
            keeping.append(hashes)
        return _side(name, places[name], env or {}, limits, workers, page, hashes, reports)

    keeping: list[KnownHashes] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        audit = Audit(settings, Path(scratch), open_side, redactor)
        try:
            items = audit.inventory()
            sink = Sink()
            names = collected(snapshot=places["target"].kind == "snapshot")
            result = audit.run(select(names, [item.key for item in items]), sink, Silent())
            for one in keeping:
                one.finish()
        except ReadError as error:
            return Outcome(time.monotonic() - began, failed=redactor(str(error)))
        finally:
            audit.close()
            for one in keeping:
                one.close()
        digests = {str(name): side.snapshot.digest for name, side in audit.sides.items()}
        reader = audit.sides["source"].reader
        sent = 0 if reader is None else reader.requests
        return Outcome(time.monotonic() - began, "", result, tuple(sink.rows), digests, sent)


def kept(
    uri: str,
    root: Path,
    env: Mapping[str, str] | None = None,
    asked: Asked = EVERYTHING,
    evidence: Evidence = "sha256",
) -> str:
    """Read a server into a snapshot, or what is ``asked`` of it, and return its folder."""
    side = _side("source", _location(uri, env or {}, "source"), env or {}, Limits(), 4)
    assert side.reader is not None
    side.reader.evidence = evidence
    parts = (*PARTS, *SERVER_PARTS)
    patterns = asked.experiments, asked.exclude_experiments
    experiments = [one for one in side.experiments() if in_scope(one.name, *patterns)]
    side.read(
        root,
        experiments,
        parts,
        asked.depth,
        include_deleted=asked.include_deleted,
        model_links=True,
        count=uncounted,
        asked=asked,
    )
    side.reader.close()
    return str(root)


def _side(
    name: SideName,
    location: Location,
    env: Mapping[str, str],
    limits: Limits,
    workers: int,
    page: int = PAGE,
    known: KnownHashes | None = None,
    reports: ChecksumReports | None = None,
) -> Side:
    if location.kind == "snapshot":
        return Side(name, location, None)
    redactor = Redactor.from_environment()
    found = credentials(location, name, dict(env))
    session = Session(location, found, workers=workers, redactor=redactor, limits=limits)
    reader = ServerReader(session, found, workers=workers, redactor=redactor, page=page, known=known, reports=reports)
    return Side(name, location, reader)


def _location(text: str, env: Mapping[str, str], side: str) -> Location:
    if text.startswith("arn:"):
        endpoint = env.get(f"{side.upper()}_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT")
        return parse_arn(text, option=f"--{side}-arn", custom_endpoint=endpoint)
    return parse_location(text, option=f"--{side}-uri")
