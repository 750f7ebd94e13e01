"""What a look at the source says: what is unreadable, under way, renamed to nothing, linked to what is not moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from mlflow_parity.audit.renames import Renames
from mlflow_parity.core.notice import NAMED, Notice, named
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.scope import fits
from mlflow_parity.core.text import counted, taken_for_one
from mlflow_parity.kinds import plural_of
from mlflow_parity.migrating.plan.limits import ALIKE, ALIKE_FIX, ALIKE_WHY
from mlflow_parity.migrating.plan.write_probe import root_of
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.migrating.survey import Survey, planned_name
from mlflow_parity.reading.artifacts.trusted_places import MIGRATE_OPTION, MOST, TrustedPlaces
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.snapshot.store import Snapshot


def source_findings(survey: Survey, renames: Renames) -> list[Notice]:
    """Return what a survey says of the source itself."""
    alike = alike_names(survey, renames)
    return [*_missed(survey), *_renamed(survey, renames), *alike, *_running(survey), *_links(survey)]


def alike_names(survey: Survey, renames: Renames) -> list[Notice]:
    """Name objects whose names a MySQL or MariaDB target takes for one; prompts stand among the registered models."""
    found = []
    for kinds in (("experiment",), ("registered_model", "prompt")):
        planned = {
            planned_name(renames, kind, name): name
            for kind in kinds
            for name in sorted(survey.names.get(kind, {}).values())
        }
        for group in taken_for_one(planned):
            what = " and ".join(plural_of(kind) for kind in kinds)
            found.append(
                Notice(
                    "warning", "source.alike", f"{what} {ALIKE}: {named(group)}", ALIKE_WHY, f"{ALIKE_FIX}, or --rename"
                )
            )
    return found


def unmatched(option: str, patterns: Sequence[str], names: Iterable[str], there: str = "the source") -> list[Notice]:
    """Return the names and globs of an option that nothing has."""
    every = list(names)
    wrong = [pattern for pattern in patterns if not any(fits(name, [pattern]) for name in every)]
    if not wrong:
        return []
    what = f"{option} names what {there} does not have: {named(wrong)}"
    return [Notice("error", "scope", what, "", "correct the names; a glob must match something")]


def export_findings(settings: Settings, export: Snapshot) -> list[Notice]:
    """Return what the options name and an export does not hold."""
    found = unmatched("--experiments", settings.experiments, (one.name for one in export.experiments), "the export")
    sidecars = (export.sidecar(one.experiment_id, "metrics") for one in export.experiments)
    if settings.include_deleted and any(one is not None and one.get("deleted") is False for one in sidecars):
        what = "the export was made without --include-deleted"
        fix = "export again with it, or leave it out"
        found.append(Notice("error", "scope", what, "what is deleted on the source is not in it", fix))
    objects = export.objects(SERVER)
    if settings.models and objects.problem("registry") is None:
        keys = [*objects.keys("registered_model"), *objects.keys("prompt")]
        found += unmatched("--models", settings.models, (key.name for key in keys), "the export")
    return found


def _missed(survey: Survey) -> list[Notice]:
    found = []
    for refused in (True, False):
        missed = [one for one in survey.missed if one.refused is refused]
        if missed:
            what = "; ".join(one.what for one in missed[:NAMED])
            more = f" and {len(missed) - NAMED:,} more" if len(missed) > NAMED else ""
            found.append(
                Notice(
                    "error" if refused else "warning",
                    "source.rights" if refused else "source.unread",
                    f"the source {'refuses' if refused else 'does not give'} {what}{more}",
                    missed[0].why,
                    "give these credentials the right to read them"
                    if refused
                    else "fix it at the source; what cannot be read is not moved, and listed at the end",
                )
            )
    return found


def _running(survey: Survey) -> list[Notice]:
    running = [one for one in survey.extents.values() if one.running]
    if not running:
        return []
    count = sum(one.running for one in running)
    return [
        Notice(
            "warning",
            "source.running",
            f"under way at the source: {counted(count, 'runs')}, in {named([one.experiment.name for one in running])}",
            "what is logged after it was read is not moved",
            "wait for their end, or run the same command again then: it moves what is new; a run that died without an "
            "end is moved as it is",
        )
    ]


def _renamed(survey: Survey, renames: Renames) -> list[Notice]:
    found = []
    planned: dict[str, list[str]] = {}
    tables = (("experiment", renames.experiments), ("registered_model", renames.models), ("prompt", renames.prompts))
    for kind, table in tables:
        names = set(survey.names.get(kind, {}).values())
        planned[kind] = [table.get(name, name) for name in names]
        what = kind.replace("_", " ") + "s"
        unknown = sorted(set(table) - names)
        if unknown:
            wrong = f"--rename names {what} that the source does not have: {named(unknown)}"
            fix = "correct the file; its names are those of the source, and in scope"
            found.append(Notice("error", "rename.unknown", wrong, "", fix))
        found += _twice(f"two {what} would have the same name", planned[kind])
    both = [name for kind in ("registered_model", "prompt") for name in set(planned[kind])]
    return found + _twice("a model and a prompt, which share one registry, would have the same name", both)


def _twice(what: str, names: Sequence[str]) -> list[Notice]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    return [Notice("error", "rename.twice", f"{what}: {named(twice)}", "", "give names that are free")] if twice else []


def _links(survey: Survey) -> list[Notice]:
    if not survey.outside:
        return []
    told = ", ".join(f"{count:,} {label} is" for label, count in sorted(survey.outside.items()))
    return [
        Notice(
            "note",
            "links",
            f"links out of the scope: {told} not in it, or deleted",
            "such a link keeps the id of the source until its end is moved; what MLflow cannot change then is named",
        )
    ]


_WHY = "it lies outside of the server's own artifact root{root}, and would be {verb} with your AWS rights"


def named_places(trusted: TrustedPlaces) -> list[Notice]:
    """Return what the source's data names: one finding for each place, the source having been looked at."""
    found = [_refused("source", place, trusted, "read") for place in trusted.refused]
    if len(trusted.refused) >= MOST:
        what = f"the source names more than {MOST:,} places outside of its own artifact root: the others are not listed"
        found.append(
            Notice("error", "source.outside", what, "", f"pass {MIGRATE_OPTION} with a folder that holds several")
        )
    found += [
        Notice("note", "source.outside", f"allowed, and outside of the source's own artifact root: {place}")
        for place in trusted.used
    ]
    found += [
        Notice(
            "note", "source.outside", f"outside of the source's own artifact root, read by the server itself: {place}"
        )
        for place in trusted.others
    ]
    return found


def refused_root(trusted: TrustedPlaces, experiments: Sequence[Experiment]) -> list[Notice]:
    """Refuse a target that hands out places in S3 which are not shown to be its own."""
    root = root_of(experiments) or ""
    if not root.startswith("s3:") or not trusted.refusal(root):
        return []
    return [_refused("target", root, trusted, "written to")]


def refused_experiments(
    trusted: TrustedPlaces, experiments: Sequence[Experiment], names: Collection[str]
) -> list[Notice]:
    """Refuse experiments of the target into which files would go to a place that is not shown to be its own."""
    places = {
        one.artifact_location.rstrip("/"): None
        for one in experiments
        if one.name in names and one.artifact_location.startswith("s3:") and trusted.refusal(one.artifact_location)
    }
    return [_refused("target", place, trusted, "written to") for place in sorted(places)]


def _refused(side: str, place: str, trusted: TrustedPlaces, verb: str) -> Notice:
    root = f" ({trusted.root})" if trusted.root else ", which it does not show"
    return Notice(
        "error",
        f"{side}.outside",
        f"data of the {side} names {place}",
        _WHY.format(root=root, verb=verb),
        f"add {MIGRATE_OPTION} {place} if that may be; else correct it at the {side}",
    )
