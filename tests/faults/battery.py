"""Runs the battery once a session: seeds a source, migrates it, audits the copy, plants the faults, audits again."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.audits import AuditRun, audit
from support.migrations import migrate_py
from support.servers import ServerPool, copy_database, keep_content, lay_content
from support.sharing import made_once

from faults.fault import EXPERIMENT, Fault, Pair, Said, Target
from faults.filestore import ids_of, seed_files, serving_files
from faults.registry import FAULTS
from faults.seeding import Seeding
from mlflow_parity.kinds.rules.check_registry import PROMISES
from mlflow_parity.standin.servers import Server

#: Options of the audits of each pair.
OPTIONS: Mapping[Pair, tuple[str, ...]] = {
    "migrated": (),
    "loaded": (
        "--parity-load-models",
        "--parity-experiments",
        EXPERIMENT,
        "--parity-models",
        "load-*",
        "-k",
        "model_versions_load",
    ),
    "restored": ("--parity-profile", "same-store", "--parity-two-servers"),
    "file-store": ("--parity-profile", "same-store", "--parity-two-servers"),
}
#: Pairs that `make test` audits too.
QUICK: tuple[Pair, ...] = ("migrated", "file-store")
#: Pairs that are audited once more with the databases beside the API and the files where they lie, where not only the
#: quick ones are.
BESIDE: tuple[Pair, ...] = ("migrated", "restored")
#: Ids that servers give, as they are shown here.
_NORMAL = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<attachment>"),
    (re.compile(r"\btr-[0-9a-f]{32}\b"), "<trace>"),
    (re.compile(r"\bm-[0-9a-f]{32}\b"), "<model>"),
    # the beginning of a model's id, where a text is shown in part
    (re.compile(r"\bm-[0-9a-f]{8,31}\b"), "<model>…"),
    (re.compile(r"\bd-[0-9a-f]{32}\b"), "<dataset>"),
    (re.compile(r"\([0-9a-f]{16}\)"), "(<span>)"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<digest>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<run>"),
    (re.compile(r"(?<![.\w])(?=\d*[a-f])[0-9a-f]{16}\b(?!\+)"), "<span>"),
    # the beginning of a run's id, where a text is shown in part; no double with an exponent
    (re.compile(r"(?<![.\w])(?=\d*[a-f])[0-9a-f]{17,31}\b(?!\+)"), "<run>…"),
    # a dataset's digest
    (re.compile(r"\b[0-9a-f]{8} → other\b"), "<digest> → other"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<server>"),
    # 1700000… are the seed's own times
    (re.compile(r"\b1(?!700000)\d{12}\b"), "<time>"),
    (re.compile(r"\b20(?!23-11-14)\d\d-\d\d-\d\dT[0-9:.]{12}\+00(:00|…)"), "<time>"),
    (re.compile(r"mlflow-artifacts:/\d+/"), "mlflow-artifacts:/<experiment>/"),
    # where an id begins as the other does, which chance decides
    (re.compile(r"character \d+(?=: '<run>…)"), "character <n>"),
)
#: Which check judges a facet of a kind.
OWNERS = {(one.kind, facet): f"test_{one.name}" for one in PROMISES for facet in one.facets}
#: Name on the target and id of each object, by kind.
_IDS = {
    "experiment": "SELECT name, experiment_id FROM experiments",
    "run": "SELECT name, run_uuid FROM runs",
    "logged_model": "SELECT name, model_id FROM logged_models",
    "trace": "SELECT trace_name, request_id FROM trace_info",
    "scorer": "SELECT scorer_name, scorer_id FROM scorers",
    "evaluation_dataset": "SELECT name, dataset_id FROM evaluation_datasets",
    "webhook": "SELECT name, webhook_id FROM webhooks",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding as the user sees it."""

    kind: str
    name: str
    facet: str
    key: str
    state: str
    values: str
    note: str

    @property
    def said(self) -> Said:
        """What :attr:`Fault.expected` gives."""
        return (self.kind, self.name, self.facet, self.key, self.state)


@dataclass(frozen=True, slots=True)
class Audited:
    """One audit of a pair: its exit status, its findings, and what pytest says of each check that failed."""

    status: int
    output: str
    findings: tuple[Finding, ...]
    report: dict[str, Any]
    """``report.json``."""
    failed: Mapping[str, str]
    """Message of every failed item, by the name of its check; several items of one check are joined."""


@dataclass(frozen=True, slots=True)
class Result:
    """The audits of all pairs, before and after the faults were planted."""

    clean: Mapping[Pair, Audited]
    broken: Mapping[Pair, Audited]
    beside: Mapping[Pair, tuple[Audited, Audited]]
    """The same, clean and broken, with the databases beside the API and the files read where they lie."""
    altered: Mapping[str, frozenset[str]]
    """What each fault altered in the database, as SQLite saw it (:func:`altering`)."""


def run(pool: ServerPool, pairs: Collection[Pair] = tuple(OPTIONS)) -> Result:
    """Return the audits of some pairs, which are the same in a whole test session; made by whoever asks first."""
    with made_once("fault-battery") as (folder, is_there):
        if not is_there:
            _Battery(pool, folder, pairs)()
    altered: dict[str, frozenset[str]] = {}
    for pair in pairs:
        if pair != "file-store":
            told = json.loads((folder / f"{pair}-altered.json").read_text(encoding="utf-8"))
            altered |= {fault: frozenset(found) for fault, found in told.items()}
    clean, broken = ({pair: _read(folder / f"{pair}-{when}") for pair in pairs} for when in ("clean", "broken"))
    beside = {
        pair: (_read(folder / f"{pair}-clean-beside"), _read(folder / f"{pair}-broken-beside"))
        for pair in BESIDE
        if set(OPTIONS) <= set(pairs)
    }
    return Result(clean, broken, beside, altered)


class _Battery:
    def __init__(self, pool: ServerPool, folder: Path, pairs: Collection[Pair]) -> None:
        self.pool, self.folder, self.pairs = pool, folder, pairs

    def __call__(self) -> None:
        with self._server() as source, self._server() as target:
            migrated(source, target, self.pairs)
            self._judge("migrated", source, target)
            if "loaded" in self.pairs:
                self._judge("loaded", source, target)
            if "restored" in self.pairs:
                lay(source, target)
                self._judge("restored", source, target)
        self._judge_files()

    def _judge(self, pair: Pair, source: Server, target: Server) -> None:
        faults = [fault for fault in FAULTS if fault.pair == pair]
        self._audit(f"{pair}-clean", pair, source, target)
        with kept(target, self.folder / "kept"):
            altered = plant(faults, target)
            (self.folder / f"{pair}-altered.json").write_text(json.dumps(altered), encoding="utf-8")
            self._audit(f"{pair}-broken", pair, source, target)

    def _judge_files(self) -> None:
        faults = [fault for fault in FAULTS if fault.pair == "file-store"]
        ours, theirs = self.folder / "file-source", self.folder / "file-target"
        with serving_files(ours) as source:
            seed_files(source, [fault.id for fault in faults])
            shutil.copytree(ours / "mlruns", theirs / "mlruns")
            with serving_files(theirs) as target, closing(sqlite3.connect(":memory:")) as nothing:
                self._audit("file-store-clean", "file-store", source, target)
                place = Target(target, nothing, ids_of(target))
                for fault in faults:
                    fault.plant(place, fault.id)
                self._audit("file-store-broken", "file-store", source, target)

    def _audit(self, name: str, pair: Pair, source: Server, target: Server) -> None:
        folder = self.folder / name
        self._audit_with(folder, pair, source, target)
        if pair in BESIDE and set(OPTIONS) <= set(self.pairs):
            self._audit_with(self.folder / f"{name}-beside", pair, source, target, *beside(source, target))

    @staticmethod
    def _audit_with(folder: Path, pair: Pair, source: Server, target: Server, *more: str) -> None:
        options = ("--parity-max-findings", "1000", "--junitxml", str(folder / "junit.xml"), *OPTIONS[pair], *more)
        done = audit(folder, source.uri, target.uri, *options)
        (folder / "done.json").write_text(json.dumps([done.status, done.output]), encoding="utf-8")

    @contextmanager
    def _server(self) -> Iterator[Server]:
        server = self.pool.take()
        try:
            yield server
        finally:
            self.pool.give_back("newest", server)


def beside(source: Server, target: Server) -> tuple[str, ...]:
    """Return the options by which runs are read in the servers' databases, and files where they lie."""
    databases = ("--source-db", source.database_uri, "--target-db", target.database_uri)
    files = ("--parity-source-artifacts", source.artifacts_root, "--parity-target-artifacts", target.artifacts_root)
    return *databases, *files


def migrated(source: Server, target: Server, pairs: Collection[Pair] = tuple(OPTIONS)) -> None:
    """Give two empty servers the objects of all faults of some pairs, seeded and migrated by whoever asks first."""
    faults = [fault for fault in FAULTS if fault.pair in pairs and fault.pair != "file-store"]
    with made_once("fault-pair" if set(OPTIONS) <= set(pairs) else "fault-pair-quick") as (folder, is_there):
        if is_there:
            lay_content(folder / "source", source)
            lay_content(folder / "target", target)
            return
        Seeding(source, faults)()
        # the audit that would follow is that of the clean pair
        for step, side, server in (("export", "source", source), ("import", "target", target)):
            done = migrate_py(folder / "migration", step, f"--{side}-uri", server.uri, "--work-dir", "work")
            assert done.status == 0, done.output[-5000:]
            keep_content(server, folder / side)


def plant(faults: Sequence[Fault], target: Server) -> dict[str, list[str]]:
    """Plant faults on a target with a database, and return what each altered there."""
    altered = {}
    with closing(sqlite3.connect(target.database_path, timeout=30, isolation_level=None)) as database:
        ids = {(kind, str(name)): str(one) for kind, query in _IDS.items() for name, one in database.execute(query)}
        place = Target(target, database, ids)
        for fault in faults:
            with altering(database) as found:
                fault.plant(place, fault.id)
            altered[fault.id] = sorted(found)
    return altered


@contextmanager
def altering(database: sqlite3.Connection) -> Iterator[set[str]]:
    """Give the set of what statements alter in a block: ``table.column``, ``+table`` and ``-table`` for its rows."""
    found: set[str] = set()

    def see(action: int, one: str | None, two: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_UPDATE:
            found.add(f"{one}.{two}")
        elif action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_DELETE):
            found.add(f"{'+' if action == sqlite3.SQLITE_INSERT else '-'}{one}")
        return sqlite3.SQLITE_OK

    database.set_authorizer(see)
    try:
        yield found
    finally:
        database.set_authorizer(None)


def lay(source: Server, target: Server) -> None:
    """Make the target a restored copy of the source."""
    copy_database(source.database_path, target.database_path)
    shutil.rmtree(target.artifacts_root)
    shutil.copytree(source.artifacts_root, target.artifacts_root)


@contextmanager
def kept(server: Server, folder: Path) -> Iterator[None]:
    """Give a server back what it holds now, when the block ends."""
    keep_content(server, folder)
    try:
        yield
    finally:
        shutil.rmtree(server.artifacts_root)
        lay_content(folder, server)
        shutil.rmtree(folder)


def _read(folder: Path) -> Audited:
    status, output = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    report = AuditRun(status, output, folder / "reports").report
    failed: dict[str, str] = {}
    for case in ElementTree.parse(folder / "junit.xml").iter("testcase"):  # our own file
        told = [one for one in case if one.tag in ("failure", "error")]
        check = str(case.get("name")).partition("[")[0]
        for one in told:
            failed[check] = failed.get(check, "") + f"{one.get('message')}\n{one.text}\n"
    return Audited(status, output, tuple(map(_finding, report["findings"])), report, failed)


def _finding(told: Mapping[str, Any]) -> Finding:
    values = " → ".join("absent" if told[side] is None else str(told[side]) for side in ("source", "target"))
    # what deepdiff says stands on lines of its own and repeats both values
    note = told["explanation"].partition("\n")[0]
    return Finding(
        told["kind"], told["name"], told["facet"], normal(told["key"]), told["state"], normal(values), normal(note)
    )


def normal(text: str) -> str:
    """Return a text without what differs from run to run."""
    for pattern, word in _NORMAL:
        text = pattern.sub(word, text)
    return text
