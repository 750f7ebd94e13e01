"""What a step would do to the work folder: what is in it must not be replaced, and its disk must have room."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.notice import Notice, named
from mlflow_parity.core.text import counted
from mlflow_parity.kinds import of_family
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.settings import Settings, in_model_scope, in_scope, others_in_scope
from mlflow_parity.migrating.survey import Survey
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.store import Snapshot

_FIX = "pass a different --work-dir"


def standing(settings: Settings, folder: ExportFolder, *, backup: bool, discards: bool = False) -> list[Notice]:
    """Return why the export in a folder must not be replaced by one of these settings.

    ``backup``: it was made by ``export``, to be kept; ``discards``: its files would be removed on the way.

    Raises:
        SnapshotError: what is there is damaged.
    """
    if settings.source is None:
        return []
    found = []
    there = list(folder.snapshots())
    origins = {snapshot.origin.location for snapshot in there} - {settings.source.display}
    if origins:
        what = f"the work folder holds an export of {', '.join(sorted(origins))}, not of {settings.source.display}"
        found.append(Notice("error", "work-dir.origin", what, "it would be lost", _FIX))
    elif backup and discards and there:
        what = "the work folder holds a backup, whose files --discard-export would remove"
        found.append(Notice("error", "work-dir.discard", what, "", f"{_FIX}, or leave --discard-export out"))
    elif backup and (lost := [line for one in there if folder.is_over(one) for line in _lost(settings, one)]):
        what = f"the work folder holds a backup that is wider: it also has {'; '.join(dict.fromkeys(lost))}"
        fix = f"give the options that it was made with, or {_FIX.removeprefix('give ')}"
        found.append(Notice("error", "work-dir.scope", what, "that would be lost", fix))
    return found


def _lost(settings: Settings, snapshot: Snapshot) -> Iterator[str]:
    """Yield what a snapshot has and these settings leave out."""
    kept = {one.experiment_id for one in in_scope(settings, snapshot.experiments)}
    lost = [one.name for one in snapshot.experiments if one.experiment_id not in kept]
    if lost:
        yield f"{counted(len(lost), 'experiments')} ({named(lost)})"
    # of what cannot be read there is nothing to lose
    with suppress(SnapshotError):
        sidecars = (snapshot.sidecar(one.experiment_id, "metrics") for one in snapshot.experiments)
        if not settings.include_deleted and any(one is not None and one.get("deleted") for one in sidecars):
            yield "what is deleted (--include-deleted)"
    if not (settings.experiments or settings.models):
        return
    with suppress(SnapshotError):
        objects, wanted = snapshot.objects(SERVER), in_model_scope(settings)
        if objects.problem("registry") is None:
            keys = [*objects.keys("registered_model"), *objects.keys("prompt")]
            if names := [key.name for key in keys if not wanted(key.entity_id)]:
                yield f"{len(names):,} registered models and prompts ({named(names)})"
        # of another workspace an export holds the name alone
        for kind in (one for one in of_family("server") if one.name != "workspace"):
            if not others_in_scope(settings) and objects.problem(kind.part) is None and objects.keys(kind.name):
                yield kind.plural


def line_of(found: list[Notice], work: Path) -> str:
    """Return the first of these findings as one line, for a step without a preflight."""
    one = found[0]
    return f"--work-dir: {work}: {one.what}{f' ({one.why})' if one.why else ''}; {one.fix}"


#: What the records take on the disk, in bytes: a point (in the snapshot and in the tool's files), a run, an object.
_POINT, _RUN, _OBJECT = 100, 8_000, 8_000


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk on which ``folder`` is, or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def needed_bytes(settings: Settings, survey: Survey) -> int:
    """Return what the export takes on the disk at most, as far as listings tell; all records, and files of a batch.

    What is left in S3 takes none: copied there, or sent on as it is read.
    """
    points = sum(one.points for one in survey.extents.values())
    objects = sum(survey.objects.values()) + sum(sum(one.objects.values()) for one in survey.extents.values())
    records = points * _POINT + survey.count("run") * _RUN + objects * _OBJECT
    if not settings.discard_export:
        return records + survey.size
    sizes = [one.size - one.in_s3 * survey.leaves for one in survey.extents.values()]
    batch = settings.batch_size
    largest = max((sum(sizes[first : first + batch]) for first in range(0, len(sizes), batch)), default=0)
    return records + max(largest, survey.loose - survey.loose_in_s3 * survey.leaves)


def disk_findings(settings: Settings, survey: Survey, free: Callable[[Path], int]) -> list[Notice]:
    """Compare what the export needs with what is free."""
    kept = _folder_size(settings.export_root / "files") if not settings.discard_export else 0
    needs, has = max(needed_bytes(settings, survey) - kept, 0), free(settings.work)
    if needs <= has:
        return []
    what = f"the export needs about {in_units(needs)}, and {settings.work} has {in_units(has)} free"
    fix = "give a --work-dir on a larger disk" + (
        ", or a smaller --batch-size" if settings.discard_export else ", or --discard-export"
    )
    return [Notice("error", "disk", what, "files are kept on the way from source to target", fix)]


def _folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0


def in_units(size: int) -> str:
    """Return a size in bytes as people read it."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= of:
            return f"{size / of:,.1f} {unit}"
    return f"{size} B"
