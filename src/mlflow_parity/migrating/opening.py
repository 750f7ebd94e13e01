"""Both ends of a migration, its work folder and its journal: opened as a step needs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from mlflow_parity.audit.renames import load_renames
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.progress import MigrationProgress
from mlflow_parity.migrating.settings import Settings, in_model_scope, in_scope, needed, others_in_scope
from mlflow_parity.migrating.workdir import WorkDir
from mlflow_parity.migrating.write.copying.copies import Copies
from mlflow_parity.migrating.write.files import Uploads
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.target_mark import TargetMark
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading import open_reader

if TYPE_CHECKING:
    from typing_extensions import Self

    from mlflow_parity.reading.server import ServerReader
    from mlflow_parity.reading.transport.auth import SideName


def say(text: str) -> None:
    """Print a line."""
    print(text, flush=True)


class Ends:
    """What the steps of ``migrate`` work with: opened when it is first asked for, closed at the end of a ``with``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = ExportFolder(settings.export_root)
        self.renames = load_renames(None if settings.rename is None else str(settings.rename), "--rename")
        self.copied: Copies | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def say(self, line: str) -> None:
        """Say what is to be known at once."""
        say(line)

    # --- what a step needs

    @cached_property
    def work(self) -> WorkDir:
        """The work folder, locked."""
        work = WorkDir(self.settings.work)
        self._stack.callback(work.close)
        return work

    @cached_property
    def source(self) -> ServerReader:
        """Reads the source."""
        needed(self.settings, source=True)
        assert self.settings.source is not None
        if self.settings.source.kind == "snapshot":
            raise UsageProblem("--source-uri: a folder cannot be exported; give a tracking server or an ARN")
        return self._reader(self.settings.source, "source")

    @cached_property
    def journal(self) -> Journal:
        """What was done on this target so far."""
        needed(self.settings, target=True)
        assert self.settings.target is not None
        _ = self.work
        journal = Journal(self.settings.journal_path())
        self._stack.callback(journal.close)
        return journal

    @cached_property
    def mark(self) -> TargetMark:
        """The mark of this migration on the target; not made yet."""
        assert self.settings.target is not None
        identity = self.work.identity
        writer, _ = open_writer(self.settings.target, "target", 1)
        self._stack.callback(writer.close)
        mark = TargetMark(writer, identity)
        # whatever ends the work, but for a kill
        self._stack.callback(self.release, mark)
        return mark

    def release(self, mark: TargetMark) -> None:
        """Remove the mark of this migration from the target; say so where it stays."""
        if problem := mark.release():
            say(self.settings.redactor(problem))

    @cached_property
    def importing(self) -> Import:
        """Both ends of the import."""
        needed(self.settings, target=True)
        assert self.settings.target is not None
        # made now: later the tool's output is sent to a log
        _ = self.progress
        reader = self._reader(self.settings.target, "target")
        writer, credentials = open_writer(self.settings.target, "target", self.settings.workers)
        self._stack.callback(writer.close)
        return Import(
            writer=writer,
            reader=reader,
            export=self.folder,
            journal=self.journal,
            uploads=Uploads(
                writer,
                credentials,
                self.folder.blobs,
                reader.trusted,
                signed=lambda: reader.capabilities.presigned_only,
                copies=self.copies(lambda: credentials.aws.s3),
            ),
            renames=self.renames,
            workers=self.settings.workers,
            include_deleted=self.settings.include_deleted,
            told=self._told,
            wanted=in_model_scope(self.settings),
            others=others_in_scope(self.settings),
            enable_webhooks=self.settings.enable_webhooks,
            selected=partial(in_scope, self.settings),
        )

    def copies(self, target: Callable[[], Any]) -> Copies | None:
        """Return what brings files of the source's S3 to the target; ``None`` where an export is kept, or none made."""
        if not self.settings.discard_export or self.settings.source is None:
            return None
        copies = Copies(
            lambda: self.source.places.s3,
            target,
            self.folder.blobs.root,
            lambda line: self.say(self.settings.redactor(line)),
            workers=self.settings.workers,
        )
        self._stack.callback(copies.close)
        self.copied = copies
        return copies

    def _told(self, *, runs: int = 0, points: int = 0, files: int = 0, size: int = 0, objects: int = 0) -> None:
        self.progress.add("target", runs=runs, points=points, artifacts=files, size=size, objects=objects)

    def _reader(self, location: Location, side: SideName) -> ServerReader:
        reader = cast("ServerReader", open_reader(location, side, self.settings.workers, self.settings.allow_place))
        self._stack.callback(reader.close)
        return reader

    @cached_property
    def progress(self) -> MigrationProgress:
        """The line on the terminal; elsewhere a line now and then."""
        return self._stack.enter_context(MigrationProgress(sys.stderr.write, isatty=sys.stderr.isatty()))
