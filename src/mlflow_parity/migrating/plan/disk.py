"""Whether the work folder's disk has room for the export."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from mlflow_parity.core.notice import Notice
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.migrating.survey import Survey

#: What the records take on the disk, in bytes: a point (in the snapshot and in the tool's files), a run, an object.
_POINT, _RUN, _OBJECT = 100, 8_000, 8_000


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk on which ``folder`` is, or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def needed_bytes(settings: Settings, survey: Survey) -> int:
    """Return what the export takes on the disk at most, as far as listings tell; all records, and files of a batch."""
    points = sum(one.points for one in survey.extents.values())
    objects = sum(survey.objects.values()) + sum(sum(one.objects.values()) for one in survey.extents.values())
    records = points * _POINT + survey.count("run") * _RUN + objects * _OBJECT
    if not settings.discard_export:
        return records + survey.size
    sizes = [one.size for one in survey.extents.values()]
    batch = settings.batch_size
    largest = max((sum(sizes[first : first + batch]) for first in range(0, len(sizes), batch)), default=0)
    return records + max(largest, survey.loose)


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
