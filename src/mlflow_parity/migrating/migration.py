"""The steps of a migration, from the two ends to the audit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.core.errors import ReadError, UsageProblem
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.notice import migrate_command, notices_text
from mlflow_parity.core.text import counted, visible
from mlflow_parity.migrating.batches import batches, moved
from mlflow_parity.migrating.exim.tool import tool_log
from mlflow_parity.migrating.export.exporting import Exporter, discard, unread
from mlflow_parity.migrating.export.tool_files import write_tool_files
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.opening import Ends, say
from mlflow_parity.migrating.outcome import add_further_copies, outcome_text, settle, with_disabled, write_outcome
from mlflow_parity.migrating.plan.planning import plan, plan_text, write_plan
from mlflow_parity.migrating.plan.preflight import preflight, target_alone
from mlflow_parity.migrating.plan.workdir_guard import line_of, standing
from mlflow_parity.migrating.repair.audit_findings import as_judged, left_text, read_damage
from mlflow_parity.migrating.repair.further_copies import further_copies
from mlflow_parity.migrating.repair.repairing import explained, repair
from mlflow_parity.migrating.settings import in_model_scope, in_scope, needed, others_in_scope
from mlflow_parity.migrating.verifying import begin_reports, verify
from mlflow_parity.migrating.workdir import Progressed, noted
from mlflow_parity.migrating.write.objects.webhooks import PausedWebhooks, disabled_webhooks
from mlflow_parity.migrating.write.ordering import import_batch, import_rest
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.core.notice import Notice
    from mlflow_parity.core.records import Experiment
    from mlflow_parity.migrating.outcome import Outcome
    from mlflow_parity.migrating.plan.planning import Plan
    from mlflow_parity.migrating.repair.audit_findings import Damaged
    from mlflow_parity.snapshot.incomplete import Unread


#: Exit status of an audit that did not begin: bad input, which was told in one line.
_REFUSED = 4


class Migration(Ends):
    """One call of ``migrate``: its steps."""

    _alone = 0
    """Objects that a repair left alone."""

    # --- the steps

    def plan(self) -> int:
        """Say what would move and what stands in the way; return the exit status."""
        found, file = self.planned()
        for line in plan_text(found, self.settings.redactor, file):
            say(line)
        return found.status

    def planned(self) -> tuple[Plan, Path]:
        """Return what would move and what stands in the way, and the file of it. The work folder stays as it is."""
        needed(self.settings, source=True)
        journal = None
        if self.settings.target is not None and self.settings.journal_path().exists():
            journal = Journal(self.settings.journal_path())
            self._stack.callback(journal.close)
        found = plan(self.settings, renames=self.renames, journal=journal, standing=self._standing("run"))
        file = self.settings.reports / "plan.json"
        write_plan(found, file, self.settings.redactor)
        return found, file

    def export(self) -> int:
        """Read the source whole; return the exit status."""
        needed(self.settings, source=True)
        if self._hindered("export"):
            return 2
        # from now on it is kept; and a run goes on with no export that this one replaces
        self.work.save(Progressed(backup=True))
        return self._ended("export", self._export)[0]

    def import_(self) -> int:
        """Bring the export to the target; return the exit status."""
        self.folder.take_back()
        if not self.folder.exists:
            raise UsageProblem(
                f"--work-dir: {self.settings.work} holds no export; run `{migrate_command()} export` first"
            )
        needed(self.settings, target=True)
        if self._hindered("import", exported=True):
            return 2
        return self._ended("import", self._import)[0]

    def run(self, *, check: bool) -> int:
        """Export, import and, with ``check``, audit; return the exit status."""
        needed(self.settings, source=True, target=True)
        if check:
            begin_reports(self.settings, self.settings.reports)
        if self._hindered("run", exported=self._progressed.exported):
            return 2
        status, lost = self._ended("run", self._discarding if self.settings.discard_export else self._keeping)
        # 2 would say that nothing was written
        return max(status, min(self.verify(from_export=False), 1)) if check and not lost else status

    def verify(self, *, from_export: bool) -> int:
        """Audit; return 0 when it is green, 2 when it was refused, else 1."""
        needed(self.settings, source=not from_export, target=True)
        begin_reports(self.settings, self.settings.reports)
        status, lacking = self._audit(from_export=from_export)
        if lacking:
            self._complain(lacking)
            return 1
        return 2 if status == _REFUSED else min(status, 1)

    def repair(self, report: Path) -> int:
        """Move again what a report calls missing, doubled or different; return the exit status."""
        needed(self.settings, target=True)
        assert self.settings.target is not None
        target, again = self.settings.target, self.settings.reports / "repair"
        damaged = read_damage(report, target)
        # it may be that of an earlier repair
        report = Path(begin_reports(self.settings, again).now(str(report)))
        options = as_judged(report, include_deleted=self.settings.include_deleted)
        if not self.folder.exists:
            raise UsageProblem(f"--work-dir: {self.settings.work} holds no export; give the folder of the migration")
        live = self.settings.source is not None
        if standing := self._standing("repair"):
            raise UsageProblem(line_of(standing, self.settings.work))
        # before anything is read again: what is there may be the only copy of another migration's source
        self._bind()
        if damaged.found and self._is_one_server():
            return 2
        status, left, lacking = 1, explained(self.journal, damaged), ""
        # the first audit says what is to be replaced: only where it is the last one is it the verdict
        outputs: list[Path | None] = [None, self.settings.logs / "audit.log"]
        last: Path | None = None

        def audit() -> tuple[int, Damaged | None]:
            nonlocal lacking, last
            last = outputs.pop()
            status, lacking = self._audit(
                from_export=not live, more=options, reports=again, rechecked=report, output=last
            )
            status = min(status, 1)
            judged = status and (again / "ledger.parquet").exists()
            return status, read_damage(again / "report.json", target, needed=False) if judged else None

        def repaired() -> list[Unread]:
            nonlocal status, left
            if live:
                self._anew()
            status, left, unread = repair(self.importing, damaged, self._import, audit, say)
            if last is not None:
                print(last.read_text(encoding="utf-8", errors="replace"), end="", flush=True)
            self._alone = len(left) + len(damaged.own)
            return unread

        if damaged.found:
            status = max(self._ended("run" if live else "import", repaired)[0], status)
        else:
            say("Nothing is known to be missing, doubled or different: nothing was written.")
        for line in left_text([*left, *damaged.own], self.settings):
            say(line)
        if lacking:
            self._complain(lacking)
        return 1 if lacking else status

    # --- what they consist of

    def _standing(self, step: str) -> list[Notice]:
        """Why what is in the work folder must not be replaced by this step."""
        backup = step != "import" and noted(self.settings.work).backup
        discards = step == "run" and self.settings.discard_export
        return standing(self.settings, self.folder, backup=backup, discards=discards)

    def _hindered(self, step: str, *, exported: bool = False) -> bool:
        """Look at both ends before anything is written; say all that was found, and whether it stands in the way."""
        # locked from here on: nobody else may begin the same migration meanwhile
        _ = self.work
        say("Looking at both ends")
        export = self.folder.snapshot if exported else None
        settings = replace(self.settings, source=None) if exported else self.settings
        journal = self.journal if settings.target is not None else None
        there = self._standing(step)
        checked = preflight(
            settings,
            renames=self.renames,
            journal=journal,
            export=export,
            standing=there,
            beside=self.settings.source if exported else None,
        )
        for line in notices_text(checked.found, self.settings.redactor):
            say(line)
        blocked = checked.blocked or (settings.target is not None and not self._hold())
        if blocked:
            say("Nothing was written.")
        elif checked.survey is not None:
            written = {} if journal is None else journal.counts()
            self.progress.whole(checked.survey, written.get(("run", "done"), 0))
        return blocked

    def _is_one_server(self) -> bool:
        """Look whether a repair would write to the source itself, or to where another migration writes; say so."""
        found = target_alone(self.settings, self.folder.snapshot)
        for line in notices_text(found, self.settings.redactor):
            say(line)
        if not found and self._hold():
            return False
        say("Nothing was written.")
        return True

    def _hold(self) -> bool:
        """Mark the target as being written to; say who else does, if it cannot be had."""
        found = self.mark.hold(take_over=self.settings.take_over)
        for line in notices_text(found, self.settings.redactor):
            say(line)
        return not found

    def _audit(
        self,
        *,
        from_export: bool,
        more: Sequence[str] = (),
        reports: Path | None = None,
        rechecked: Path | None = None,
        output: Path | None = None,
    ) -> tuple[int, str]:
        source = self.settings.source
        if from_export or source is None:
            source = parse_location(str(self.folder.snapshot_root), option="--work-dir")
        # the audit has a line of its own
        self.progress.close()
        say("Auditing")
        return verify(self.settings, source, more, reports=reports, rechecked=rechecked, output=output)

    def _complain(self, text: str) -> None:
        print(visible(self.settings.redactor(f"{migrate_command()}: {text}")), file=sys.stderr, flush=True)

    def _export(self) -> list[Unread]:
        exporter, experiments = self._exporter()
        say(f"Reading {counted(len(experiments), 'experiments')} of {self.source.location.display}")
        for batch in batches(experiments, self.settings.batch_size):
            exporter.batch(batch)
        exporter.server()
        return exporter.finish()

    def _anew(self) -> list[Unread]:
        """Export again; a run that was interrupted does not go on with what this one would leave half read."""
        self.work.save(replace(self.work.load(), exported=False))
        return self._export()

    def _import(self) -> list[Unread]:
        context = self.importing
        self._bind()
        experiments = context.experiments
        say(f"Writing {counted(len(experiments), 'experiments')} to {context.writer.location.display}")
        with PausedWebhooks(context):
            for batch in batches(experiments, self.settings.batch_size):
                self.mark.confirm()
                for experiment in batch:
                    write_tool_files(self.folder, experiment, self.settings.logs / "export.log")
                with tool_log(self.settings.logs / "import.log", self.folder.snapshot.origin.location):
                    import_batch(context, batch)
            self.mark.confirm()
            with tool_log(self.settings.logs / "import.log", self.folder.snapshot.origin.location):
                import_rest(context, experiments)
        return self._unread()

    def _keeping(self) -> list[Unread]:
        """Export, then import; an import that was interrupted goes on with the export that is there."""
        progressed = self._progressed
        if not progressed.exported:
            self._export()
            self.work.save(replace(progressed, exported=True, batches=[]))
        left = self._import()
        # whole: the next run reads what is new
        self.work.save(replace(progressed, exported=False, batches=[]))
        return left

    @property
    def _progressed(self) -> Progressed:
        """How far this very migration came: to this target, with these options."""
        needed(self.settings, source=True, target=True)
        assert self.settings.target is not None
        return self.work.load().of(self.settings.target.identity, self._scope)

    @property
    def _scope(self) -> str:
        settings, new = self.settings, self.renames
        names = [sorted(table.items()) for table in (new.experiments, new.models, new.prompts)]
        return json.dumps([settings.experiments, settings.models, settings.include_deleted, names])

    def _discarding(self) -> list[Unread]:
        """Batch by batch, so that the disk holds the files of one."""
        with PausedWebhooks(self.importing):
            return self._batch_by_batch()

    def _batch_by_batch(self) -> list[Unread]:
        progressed = self._progressed
        context = self.importing
        if progressed.exported and self._is_behind(progressed.batches):
            self._bind()
            left = self._unread()
        else:
            exporter, experiments = self._exporter(leave=context.reader.keeps_in_s3)
            self._bind()
            # those of an export that is not there any more are to be moved again
            progressed.batches = [one for one in progressed.batches if self.folder.snapshot.sidecar(one, "runs")]
            progressed.exported = False
            discard(self.folder, self.journal, progressed.batches)
            for batch in moved(self, exporter, experiments, progressed.batches):
                progressed.batches += [one.experiment_id for one in batch]
                self.work.save(progressed)
                discard(self.folder, self.journal, progressed.batches)
            exporter.server()
            left = exporter.finish()
            progressed.exported = True
            self.work.save(progressed)
        self.mark.confirm()
        import_rest(context, list(self.folder.snapshot.experiments))
        self.work.save(replace(progressed, exported=False, batches=[]))
        discard(self.folder, self.journal, [*progressed.batches, SERVER])
        if self.copied is not None and self.copied.told:
            say(f"{self.copied.told}.")
        return left

    def _is_behind(self, batches: Sequence[str]) -> bool:
        """Whether every experiment of the export is on the target."""
        return {one.experiment_id for one in self.folder.snapshot.experiments} <= set(batches)

    def _exporter(self, *, leave: bool = False) -> tuple[Exporter, list[Experiment]]:
        _ = self.work
        self.source.wanted, self.source.others = in_model_scope(self.settings), others_in_scope(self.settings)
        exporter = Exporter(
            self.source,
            self.folder,
            include_deleted=self.settings.include_deleted,
            log=self.settings.logs / "export.log",
            keep=not self.settings.discard_export,
            count=partial(self.progress.add, "source"),
            scope=json.dumps([self.settings.models, others_in_scope(self.settings)]),
            leave=leave,
            in_scope=partial(in_scope, self.settings),
        )
        experiments = in_scope(self.settings, self.source.experiments())
        self.progress.expect("source", len(experiments))
        exporter.begin(experiments)
        return exporter, experiments

    def _unread(self) -> list[Unread]:
        included = self.settings.include_deleted
        return unread(self.folder, include_deleted=included, in_scope=partial(in_scope, self.settings))

    def _bind(self) -> None:
        self.journal.bind(source=self.folder.snapshot.origin.location)

    def _ended(self, step: str, work: Callable[[], Sequence[Unread]]) -> tuple[int, bool]:
        """Do the work of a step and conclude; return the exit status, and whether an end was lost on the way.

        A server that stops responding ends the work, but not the account of it.
        """
        try:
            left, lost = work(), ""
        except ReadError as error:
            if not self.folder.exists:
                raise
            left, lost = self._unread(), str(error)
        return self._conclude(step, left, lost), bool(lost)

    def _conclude(self, step: str, left: Sequence[Unread], lost: str) -> int:
        """Say what was not moved, why, and how to try again; return the exit status."""
        self.progress.close()
        journal = self.journal if self.settings.target is not None else None
        wanted = in_model_scope(self.settings)
        outcome = settle(self.settings, step, left, self.folder.snapshot, journal, wanted=wanted, lost=lost)
        if journal is not None:
            if not lost:
                self._count_copies(outcome, step)
                outcome = self._with_disabled(outcome, step)
            self.release(self.mark)
        redact, file = self.settings.redactor, self.settings.work / "outcome.json"
        write_outcome(outcome, self.settings, step, file, redact)
        for line in outcome_text(outcome, redact, file, alone=self._alone):
            say(line)
        return outcome.status

    def _count_copies(self, outcome: Outcome, step: str) -> None:
        """Add what is on the target more than once, whoever made it."""
        names = {one.experiment_id: one.name for one in self.folder.snapshot.experiments}
        add_further_copies(outcome, self.settings, step, further_copies(self.importing), names)

    def _with_disabled(self, outcome: Outcome, step: str) -> Outcome:
        """Add the webhooks that wait for somebody to enable them."""
        return with_disabled(outcome, self.settings, step, lambda: disabled_webhooks(self.importing))
