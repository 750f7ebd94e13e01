"""The look before a migration: both ends, what they can hold, what stands in the way; all findings at once.

Nothing is written but two markers on the target, which are removed again (see :mod:`.write_probe`); with
``write=False`` not even those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.audit.limits import experiments_of_both, held_by_both
from mlflow_parity.audit.renames import Renames
from mlflow_parity.comparing.unpaired import is_default
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.locations import Location
from mlflow_parity.core.notice import Notice, ordered
from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces, stores_of
from mlflow_parity.migrating.plan.ends import (
    Checked,
    End,
    app_findings,
    connect,
    hidden_findings,
    trust_findings,
    version_findings,
)
from mlflow_parity.migrating.plan.estimating import probed
from mlflow_parity.migrating.plan.limits import Oddities, limits_of, unwritten
from mlflow_parity.migrating.plan.source_state import (
    export_findings,
    named_places,
    refused_experiments,
    refused_root,
    source_findings,
    unmatched,
)
from mlflow_parity.migrating.plan.surveying import look
from mlflow_parity.migrating.plan.target_state import examine
from mlflow_parity.migrating.plan.workdir_guard import disk_findings, free_bytes
from mlflow_parity.migrating.plan.write_probe import is_proxied, is_seen_by, probe_writes, root_of
from mlflow_parity.migrating.settings import Settings, in_model_scope, in_scope, left_out, others_in_scope
from mlflow_parity.migrating.survey import Extent, Survey, look_at_export, planned_name
from mlflow_parity.migrating.workdir import identity_of
from mlflow_parity.migrating.write.target_mark import look_for_mark
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading.transport.capabilities import release

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Journal
    from mlflow_parity.snapshot.store import Snapshot


_NEWEST = (99, 0)


def preflight(
    settings: Settings,
    *,
    renames: Renames,
    journal: Journal | None = None,
    export: Snapshot | None = None,
    write: bool = True,
    free: Callable[[Path], int] = free_bytes,
    told: Callable[[Extent], object] = lambda _: None,
    standing: Iterable[Notice] = (),
    beside: Location | None = None,
) -> Checked:
    """Look at both ends, as far as they are given, and return everything that stands in the way.

    ``export`` is one that is whole and stands for the source; ``write=False`` sends reads only; ``standing`` is what
    the work folder itself says; ``beside`` is the source of an export, asked only whether it is the target.
    """
    checked = Checked(list(standing))
    with ExitStack() as stack:
        source = target = other = None
        if settings.target is not None:
            if settings.target.is_arn:
                checked.found += app_findings(settings.target)
            target = connect(settings.target, "target", settings, checked, stack)
        if settings.source is not None:
            source = other = connect(settings.source, "source", settings, checked, stack)
        elif beside is not None and beside.kind != "snapshot" and target is not None:
            # the export is whole: the source may be gone by now
            other = connect(beside, "source", settings, Checked(), stack)
        checked.found += trust_findings(settings)
        version_findings(checked, source, target)
        if target is not None:
            ours = identity_of(settings.work)
            checked.found += look_for_mark(target.reader.session, ours, take_over=settings.take_over)
        for side, end in (("source", source), ("target", target)):
            if end is not None:
                checked.found += hidden_findings(side, end.reader.visibility.hidden, settings)
        if export is not None:
            checked.found += hidden_findings("export's source", export.origin.hidden, settings)
        refused = [] if target is None else refused_root(target.reader.trusted, target.experiments)
        checked.found += refused
        if target is not None and settings.target is not None and write and not refused:
            checked.found += _probe(settings, settings.target, target, other)
        if source is not None and target is not None and not checked.same:
            checked.found += _alike(settings, source, target)
        # of one server all else would be said twice
        one_server = checked.same
        if target is not None and settings.target is not None and not one_server:
            origin = settings.source.address if settings.source is not None else ""
            theirs: Sequence[Experiment] = source.experiments if source is not None else ()
            if export is not None:
                theirs, origin = export.experiments, export.origin.location.partition(" ")[0]
            checked.found += _places(settings.target, target, theirs, origin)
        if export is not None:
            checked.survey = look_at_export(
                export,
                experiments=in_scope(settings, export.experiments),
                wanted=in_model_scope(settings),
                others=others_in_scope(settings),
                include_deleted=settings.include_deleted,
            )
            checked.found += export_findings(settings, export)
            if target is not None and not one_server:
                checked.found += exported_there(export, in_scope(settings, export.experiments), target)
        elif source is not None:
            checked.found += _looked(settings, source, target, renames, checked, told)
            if not write:
                known = in_scope(settings, source.experiments)
                checked.probed = probed(source.reader, known, include_deleted=settings.include_deleted)
        survey = checked.survey
        if out := left_out(settings):
            why = "migrated and audited is what the options name"
            checked.found.append(Notice("note", "scope.left-out", f"left out: {'; '.join(out)}", why))
        if target is not None:
            checked.found += _state(settings, target, journal, survey, renames)
        if source is not None:
            checked.found += named_places(source.reader.trusted)
        if target is not None and survey is not None:
            named = {planned_name(renames, "experiment", name) for name in survey.names["experiment"].values()}
            checked.found += refused_experiments(target.reader.trusted, target.experiments, named)
        if survey is not None:
            holds = target is None or target.reader.supports("webhook") is not False
            checked.found += source_findings(survey, renames) + _held(survey, target)
            checked.found += unwritten(survey, holds_webhooks=holds, enable_webhooks=settings.enable_webhooks)
            survey.leaves = settings.discard_export and target is not None and target.reader.keeps_in_s3
            if export is None:
                checked.found += disk_findings(settings, survey, free)
    checked.found = ordered(checked.found)
    return checked


# --- both ends


def _probe(settings: Settings, location: Location, target: End, source: End | None) -> list[Notice]:
    writer, credentials = open_writer(location, "target", settings.workers)
    try:
        asked = None if source is None else source.reader.session
        signed = target.reader.capabilities.presigned_only
        return probe_writes(writer, credentials, target.experiments, asked, target.reader.session, signed=signed)
    finally:
        writer.close()


def _places(location: Location, target: End, ours: Sequence[Experiment], origin: str) -> list[Notice]:
    """Refuse a target whose new experiments keep their files in the source's store, or on another server."""
    root = root_of(target.experiments) or ""
    places = CopyPlaces(stores_of(ours, ()), origin, location.address)
    if places.in_source(root):
        what = f"the target keeps its artifacts in the source's store: {root}"
        why = "copies would lie in the source's place, and go when the source goes"
    elif why := places.another_server(root):
        what = f"the target keeps its artifacts at another server: {root}"
    else:
        return []
    fix = "start the target with a --default-artifact-root (or --artifacts-destination) of its own"
    return [Notice("error", "target.place", what, why, fix)]


def target_alone(settings: Settings, export: Snapshot) -> list[Notice]:
    """Return whether the target is the source itself, or where the export was read from; a marker is written to it."""
    assert settings.target is not None
    checked = Checked()
    with ExitStack() as stack:
        target = connect(settings.target, "target", settings, checked, stack)
        if target is None:
            return checked.found
        found = exported_there(export, in_scope(settings, export.experiments), target)
        source = settings.source
        beside = None if source is None else connect(source, "source", settings, checked, stack)
        if beside is not None:
            writer, _ = open_writer(settings.target, "target", settings.workers)
            stack.callback(writer.close)
            found += is_seen_by(writer, beside.reader.session)
        return checked.found + found


def _alike(settings: Settings, source: End, target: End) -> list[Notice]:
    """Tell whether both ends are one server, where nothing may be written to prove it."""
    ours = in_scope(settings, source.experiments)
    wanted = in_model_scope(settings)
    try:
        shared = held_by_both(source.reader, target.reader, ours, target.experiments, wanted)
    except ReadError as error:
        what = "whether source and target are two servers cannot be told"
        return [Notice("error", "same-server", what, str(error), "run it again when both answer")]
    return same_server(shared)


def exported_there(export: Snapshot, experiments: Sequence[Experiment], target: End) -> list[Notice]:
    """Tell whether an export was read from the very target, or from a copy of its store, and is there still."""
    shared = experiments_of_both([one for one in experiments if not is_default(one)], target.experiments)
    for default in filter(is_default, experiments) if not shared else ():
        view = export.view(default)
        if view.problem("runs") is None and any(is_default(one) for one in target.experiments):
            there = target.reader.first_runs([default.experiment_id])
            shared = "the same runs in Default" if there & {key.entity_id for key in view.run_keys()} else ""
    return same_server(shared)


def same_server(shared: str) -> list[Notice]:
    """Return the finding of what both ends hold with the same ids and times; none where that is nothing."""
    if not shared:
        return []
    why = f"both hold {shared}, which no import makes: everything would be there twice"
    fix = "pass a different target; a restored copy of the source is no target either"
    return [Notice("error", "same-server", "source and target are one server, or copies of one store", why, fix)]


# --- what is moved, and where it goes


def _looked(
    settings: Settings,
    source: End,
    target: End | None,
    renames: Renames,
    checked: Checked,
    told: Callable[[Extent], object],
) -> list[Notice]:
    # without a target nothing is too long for it
    limits = limits_of(_NEWEST if target is None else release(target.version))
    oddities = Oddities(limits, proxied=target is not None and is_proxied(target.experiments))
    checked.survey = look(
        source.reader,
        in_scope(settings, source.experiments),
        renames=renames,
        oddities=oddities,
        wanted=in_model_scope(settings),
        others=others_in_scope(settings),
        include_deleted=settings.include_deleted,
        told=told,
    )
    found = unmatched("--experiments", settings.experiments, (one.name for one in source.experiments))
    # of a registry that could not be read nothing is known
    known = [name for kind in ("registered_model", "prompt") for name in checked.survey.names[kind].values()]
    if not any("registered models" in one.what for one in checked.survey.missed):
        found += unmatched("--models", settings.models, known)
    return found + oddities.found(of_target=target is not None)


def _held(survey: Survey, target: End | None) -> list[Notice]:
    found = []
    for kind in KINDS.values() if target is not None else ():
        count = survey.count(kind.name)
        if target is not None and count and target.reader.supports(kind.name) is False:
            first = ".".join(map(str, kind.first))
            fix = f"upgrade the target to MLflow {first} or newer; else they are missing there, and listed at the end"
            found.append(
                Notice(
                    "warning",
                    "target.kind",
                    f"the target cannot hold {kind.plural}, and the source has {count:,}",
                    f"MLflow {target.version or 'of an unknown version'} has none",
                    fix,
                )
            )
    return found


def _state(
    settings: Settings, target: End, journal: Journal | None, survey: Survey | None, renames: Renames
) -> list[Notice]:
    found = []
    if journal is not None and settings.source is not None:
        known = journal.about("source")
        if known not in (None, settings.source.display):
            found.append(
                Notice(
                    "error",
                    "journal",
                    f"the work folder's journal is of another migration: its source is {known}",
                    "",
                    "pass a different --work-dir",
                )
            )
    planned = None if survey is None else survey.names
    return found + examine(
        target.reader,
        target.experiments,
        journal,
        planned,
        renames,
        into_existing=settings.into_existing,
        whole=survey is not None and not survey.missed,
    )
