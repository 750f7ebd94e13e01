"""An audit within a pytest run: who does what in the main process and in xdist workers.

The main process takes the inventory before anything is collected, reads and compares once it is known which
checks were selected, and writes the reports. Workers (and the main process when there are none) only read the
state files. So every server is read once, whatever ``-n`` says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlflow_parity.audit.databases import told_of_databases
from mlflow_parity.audit.limits import WHY, held_by_both, held_by_its_snapshot
from mlflow_parity.audit.opening import open_server, refuse_one_snapshot
from mlflow_parity.audit.renames import Renames, load_renames
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.audit.staged.estimating import estimate, foresee
from mlflow_parity.audit.test_items import Bundle, bundles, save_items, shares
from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.core.local.files import file_sha256, write_json
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import counted, visible
from mlflow_parity.core.verdict import OWN_FACET
from mlflow_parity.kinds.rules.check_registry import BY_NAME as PROMISES
from mlflow_parity.kinds.rules.check_registry import OWNERS, Selection, collected, select
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.pytest_api import own_checks, own_rows
from mlflow_parity.pytest_api.checking import ITEMS, SELECTED, STATES, Shared
from mlflow_parity.pytest_api.own_tests import OwnTests
from mlflow_parity.pytest_api.reasons import left_open, not_green_checks, on_neither_side
from mlflow_parity.pytest_api.report_building import (
    TITLES,
    build_report,
    drawn_histories,
    shared_by_differing_runs,
    stopped,
)
from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
from mlflow_parity.reading.artifacts.stated.checksums import with_crc64nvme
from mlflow_parity.reading.database.identity import refuse_one_database
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.reading.transport.answering import shared_credentials
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.ledger import LedgerWriter
from mlflow_parity.reporting.progress import Terminal
from mlflow_parity.reporting.report import Report
from mlflow_parity.reporting.write import ReportFolder
from mlflow_parity.self_test.run import self_test

if TYPE_CHECKING:
    from mlflow_parity.audit.result import Result
    from mlflow_parity.audit.shards.part import Shard
    from mlflow_parity.cluster.dask_cluster import DaskCluster

_ITEM_OF_NODE = re.compile(r"::test_(?P<promise>\w+)\[(?P<item>.*)\]$", re.DOTALL)


#: What is said at the end of an estimate.
ESTIMATED = "this was an estimate (--parity-estimate): nothing was compared"


class Main(Shared):
    """The main process."""

    def __init__(
        self, settings: Settings, redactor: Redactor, command: Iterable[str], reports: ReportFolder | None = None
    ) -> None:
        self._scratch = Scratch()
        super().__init__(self._scratch.folder, settings, redactor)
        self.command = tuple(command)
        self.tests = OwnTests(redactor)
        """How those ended that are not the audit's own."""
        self.reports = reports
        """Where they go; ``None``: pytest was only asked to show something."""
        self.no_verdict = ""
        """Why there is none, once that is known."""
        self.audit: Audit | None = None
        self.result: Result | None = None
        self.report: Report | None = None
        self.written: dict[str, Path] = {}
        self.renames: Renames | None = None
        self.unfound: tuple[str, ...] = ()
        """Checks of the report that is rechecked which have no test any more."""
        self.shared = ""
        """What both servers hold with the same ids and times, although they are said to be two."""
        self.notes: list[str] = []
        """What the inventory has to say for the report."""
        self.known: list[KnownHashes] = []
        """What earlier audits have read of the files of each live side, where that is asked for."""
        self.cluster: DaskCluster[Shard] | None = None
        """Workers that judge; ``None``: this process does."""
        self.checksums = ChecksumReports(settings.checksums, self.folder, with_crc64nvme=with_crc64nvme())

    @property
    def ledger(self) -> Path:
        """The ledger until the reports are written, which it stands beside then."""
        return self.folder / "ledger.parquet"

    @property
    def written_to(self) -> str:
        """The folder of the reports, as it was given."""
        moved = self.reports is not None and self.reports.path != Path(self.settings.report_dir)
        return str(self.reports.path) if moved and self.reports is not None else self.settings.report_dir

    def told_first(self) -> list[str]:
        """What is to be known of the folder of the reports before anything is read."""
        if self.reports is None:
            return []
        earlier = self.reports.earlier
        lines = [] if earlier is None else [f"the report of an earlier run is in {self.reports.path / earlier}"]
        return [*lines, *([f"no report can be written: {self.reports.problem}"] if self.reports.problem else [])]

    def take_inventory(self) -> None:
        """List both sides and write the inventory.

        Raises:
            ParityError: one line for what is wrong with a location, an option or a server.
        """
        self.renames = load_renames(self.settings.rename)
        self.checksums.open()
        if self.settings.source.workspace == self.settings.target.workspace:
            refuse_one_database(self.settings.source_db, self.settings.target_db)

        def open_side(name: SideName) -> Side:
            location = self.settings.source if name == "source" else self.settings.target
            renames = self.renames if name == "target" and self.renames else Renames()
            if location.kind == "snapshot":
                return Side(name, location, None, renames.digest)
            reader = open_server(self.settings, name, renames, self._known(name), self.checksums or None)
            return Side(name, location, reader, renames.digest)

        if self.settings.engine == "dask":
            from mlflow_parity.cluster.judging import judging_cluster

            self.cluster = judging_cluster(self.settings, self.folder, self.redactor)
        self.audit = Audit(self.settings, self.folder / "snapshots", open_side, self.redactor, cluster=self.cluster)
        refuse_one_snapshot(self.audit.sides)
        self._items = self.audit.inventory()
        self.shared = self._shared(self.audit)
        self.notes += shared_credentials(self.settings.source, self.settings.target, os.environ)
        for name, side in self.audit.sides.items():
            if side.reader is not None and (who := side.reader.migration_at_work()):
                self.notes.append(
                    f"the {name} has the mark of a migration that is at work, or was killed ({who}): audit again when "
                    "it has ended"
                )
        save_items(self.folder / ITEMS, self._items)
        (self.folder / STATES).mkdir()

    def _known(self, side: SideName) -> KnownHashes | None:
        """Return what earlier audits have read of a side's files; ``None``: it is not asked for."""
        kept = self.settings.snapshot_dir
        if kept is None or not self.settings.known_hashes:
            return None
        self.known.append(KnownHashes(kept, side, getattr(self.settings, side).display))
        return self.known[-1]

    def _shared(self, audit: Audit) -> str:
        """Return what two servers both hold with the same ids and times; for an upgrade, a snapshot may be of its own.

        Raises:
            UsageProblem: they hold something so, and nobody says that they are two.
            ReadError: one of them cannot be asked.
        """
        source, target = (audit.sides[name] for name in SIDES)
        ours = [pair.source for pair in audit.scope.pairing.pairs] + audit.scope.pairing.missing
        if source.reader is None or target.reader is None:
            if self.settings.profile == "same-store":
                return ""
            return held_by_its_snapshot(source, target, ours, said=self.settings.two_servers)
        theirs = target.experiments()
        shared = held_by_both(source.reader, target.reader, ours, theirs, audit.scope.is_wanted)
        if not shared or self.settings.two_servers:
            return shared
        kept = ", with --parity-profile same-store," if self.settings.profile == "export-import" else ""
        raise UsageProblem(
            f"source ({source.location.display}) and target ({target.location.display}) both hold {shared}: they are "
            f"one server under two addresses, or copies of one store, and {WHY}. Pass two different servers; compare "
            f"an upgraded or restored store{kept} to a snapshot of the original (`mlflow-parity snapshot`). If you "
            "know that they are two servers (a restored copy beside its original), add --parity-two-servers"
        )

    def estimate(self, node_ids: Iterable[str], write: Callable[[str], object]) -> None:
        """Say what an audit of the collected checks would take; nothing is audited.

        Raises:
            ReadError: a server cannot be probed.
        """
        self.no_verdict = ESTIMATED
        selection = self.selection(list(node_ids))
        if self.audit is None or not selection.items or not selection.promises:
            self.no_verdict = "no check is selected, so there is nothing to estimate; select one (-k, -m, paths)"
            return
        for line in ["", *estimate(self.audit.probes(selection)).lines()]:
            write(f"mlflow-parity: {visible(self.redactor(line))}" if line else "")

    def run(self, node_ids: Iterable[str], terminal: Terminal) -> None:
        """Read and compare what the collected checks need; write the ledger and the states.

        Raises:
            ParityError: when the source is empty, a snapshot is damaged, or the report folder cannot be used.
        """
        selection = self.selection(list(node_ids))
        if self.audit is None or not selection.items or not selection.promises:
            return
        progress = terminal.progress()
        for side, experiments in self.audit.sizes(selection).items():
            progress.expect(side, experiments)
        for known in self.known:
            known.open()
        with LedgerWriter(self.ledger, redact=self.redactor) as ledger, progress:
            if terminal.isatty:
                progress.foresee(foresee(self.audit.probes(selection)))
            self.result = self.audit.run(selection, ledger, progress)
        self.result.in_common = shared_by_differing_runs(self.audit, self.ledger)
        for known in self.known:
            known.finish()
            self.notes += known.notes(self.redactor)
        # what was read of a database, and how much of it by the API too, is known by now
        self.notes += told_of_databases(self.audit.sides)
        self.notes += self.checksums.notes()
        if self.settings.self_test:
            self.result.self_test = self_test(self.audit, self.result)
            self.result.timings["self-test"] = self.result.self_test.seconds
            self.audit.objects = None
        for state in self.result.states.values():
            state.save(self.folder / STATES)
        write_json(self.folder / SELECTED, {"checks": sorted(self.selected)})
        own_checks.save(self.folder, self.audit, self.result, self.ledger)

    def _take_in_own_rows(self, audit: Audit, result: Result) -> Exception | None:
        """Add what own checks have recorded, which may be what is red; return why it could not be."""
        try:
            rows, red = own_rows.take_in(self, result, self.ledger)
            if rows:
                self.notes.append(f"{counted(rows, 'rows')} by own checks (parity_record), named {OWN_FACET}…")
            if red:
                result.in_common = shared_by_differing_runs(audit, self.ledger)
        except (OSError, ParityError) as error:
            return error
        return None

    def every_check(self) -> list[str]:
        """Return the node ids of all checks that pytest collects by itself, for whoever audits without pytest."""
        recheck = self.settings.recheck
        return [
            f"::test_{name}[{share.id}]"
            for name in self._collected()
            for share in shares(name, self.items)
            if recheck is None or recheck.wants([f"{name}[{one.id}]" for one in share.items])
        ]

    def status_of_checks(self) -> int:
        """Return what pytest would end with after all checks: they ask the ledger, and fail where it is not green.

        A check fails, too, where nothing was compared of what it promises although there is an object of it.
        """
        red = self.result is not None and not_green_checks(self.result)
        return int(pytest.ExitCode.TESTS_FAILED if red else pytest.ExitCode.OK)

    def _collected(self) -> tuple[str, ...]:
        return collected(
            snapshot=self.settings.target.kind == "snapshot",
            load_models=self.settings.load_models,
            usable=self.settings.usable,
        )

    def selection(self, node_ids: Sequence[str]) -> Selection:
        """Return which promises and items the collected node ids stand for."""
        promises: list[str] = []
        items: list[str] = []
        known: dict[tuple[Family, str], Bundle] = {}
        families: tuple[Family, ...] = (*TITLES, "scope")
        for family in families:
            for one in bundles([item for item in self.items if item.family == family]):
                known[family, one.id] = one
        every = self._collected()
        ran: set[str] = set()
        tests: set[str] = set()
        # whatever a test of the user's is about: one that never ran has not passed
        self.tests.wanted.update(self.others.intersection(node_ids))
        for node_id in node_ids:
            own = own_checks.asked_for(node_id, self.items)
            if own is not None:
                # a user's own check may look at anything: everything is read, compared and part of the verdict
                promises += every
                items += [item.key for item in own]
                continue
            found = _ITEM_OF_NODE.search(node_id)
            if found is None:
                continue
            promise = PROMISES.get(found["promise"])
            kind: Family = "experiment" if promise is None else promise.family
            shares = [known[kind, found["item"]]] if (kind, found["item"]) in known else []
            if promise is not None and not shares:
                # another plugin has put parameters after ours, as pytest-repeat does: "churn-1-2" may be of
                # "churn" and of "churn-1", and both are read
                shares = [one for (of, id), one in known.items() if of == kind and found["item"].startswith(f"{id}-")]
            if not shares:
                continue  # not one of our checks
            promises += every if promise is None else [promise.name]
            for share in shares:
                items += [item.key for item in share.items]
                ran.update(f"{found['promise']}[{item.id}]" for item in share.items)
                tests.add(f"{found['promise']}[{share.id}]")
        self._selected = frozenset(tests)
        if self.settings.recheck is not None:
            lost = self.settings.recheck.checks - ran
            # with an object that is gone all that was said of what was in it is fixed
            gone = [item.id for item in self.items if item.gone and any(f"{one}[{item.id}]" in ran for one in OWNERS)]
            self.unfound = tuple(sorted(one for one in lost if one.partition("[")[2].removesuffix("]") not in gone))
        return select(promises, items) if items else Selection((), ())

    @property
    def nothing_ran(self) -> str:
        """Why there is no verdict, and the fix."""
        recheck = self.settings.recheck
        if self.result is not None:
            kinds = ", ".join(on_neither_side(self.result)) or "nothing of what was selected"
            return f"nothing was compared; on neither side: {kinds}; select more (-k, -m, paths)"
        if recheck is None:
            return "no check was selected; select one (-k, -m, paths)"
        many, title = len(recheck.checks), recheck.title
        return f"none of the {many} red checks of {title} was selected; give the scope and the selection of that audit"

    def ends(self, reason: str, exit_status: int) -> None:
        """Say in the reports why there is no verdict; of a run that has one nothing changes."""
        self.no_verdict = reason
        if self.reports is not None and self.report is None:
            self.reports.ends(reason, exit_status)

    def finish(self, exit_status: int) -> int:
        """Write the reports; return the exit status, which is never 0 unless the ledger is green and was written."""
        if self.settings.estimate:
            # nothing was compared, so this is no pass, whatever else pytest ran
            return exit_status or int(pytest.ExitCode.NO_TESTS_COLLECTED)
        if self.reports is None:
            return exit_status
        part = self.settings.subset is not None
        if self.result is None or self.audit is None or (exit_status == 0 and self.result.empty and not part):
            # both sides were named, but no check of ours was among what ran, or none had an object: nothing was proved
            if exit_status in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
                exit_status = int(pytest.ExitCode.NO_TESTS_COLLECTED)
                self.ends(self.nothing_ran, exit_status)
            elif not self.no_verdict:
                self.ends(stopped(exit_status, self.nothing_ran, self.tests), exit_status)
            return exit_status
        lost = self._take_in_own_rows(self.audit, self.result)
        left, against = left_open(self.settings.recheck, self.result.waivers), self.tests.against
        if exit_status == 0 and (not self.result.green or self.unfound or left or against):
            # a part in which nothing is has its report all the same, as it is one of those that are joined
            exit_status = int(pytest.ExitCode.NO_TESTS_COLLECTED) if self.result.empty and not against else 1
        return self._write(self.reports, self.audit, self.result, exit_status, lost)

    def ends_otherwise(self, exit_status: int) -> bool:
        """Write the reports once more where pytest ends with another exit status than they say; return whether."""
        if not self.written or self.report is None or self.report.exit_status == exit_status:
            return False
        if self.reports is not None and self.audit is not None and self.result is not None:
            self._write(self.reports, self.audit, self.result, exit_status)
        return True

    def _write(
        self, reports: ReportFolder, audit: Audit, result: Result, exit_status: int, lost: Exception | None = None
    ) -> int:
        """Write the reports and return the exit status; ``lost`` is why rows of own checks are not in the ledger."""
        report = build_report(self, audit, result, exit_status)
        try:
            if lost is not None:
                raise lost
            report = replace(report, ledger_digest=file_sha256(self.ledger), earlier=reports.earlier)
            self.written = reports.finish(report, self.ledger, drawn_histories(audit, report.findings))
        except (OSError, ParityError) as error:
            # what was found is known all the same, and is shown; without evidence it is not green
            problem = error if isinstance(error, ParityError) else no_space(error) or error
            exit_status = exit_status or int(pytest.ExitCode.USAGE_ERROR)
            report = build_report(self, audit, result, exit_status, f"no report could be written: {problem}")
        self.report = replace(report, page_digest=reports.page_digest if self.written else "")
        return exit_status

    def close(self) -> None:
        """Release connections and remove what is not kept."""
        if self.audit is not None:
            self.audit.close()
        for known in self.known:
            known.close()
        self.checksums.close()
        if self.cluster is not None:
            self.cluster.close()
        self._scratch.close()
