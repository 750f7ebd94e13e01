"""The look before a migration: both ends, what they can hold, what stands in the way; all findings at once.

Nothing is written but two markers on the target, which are removed again (see :mod:`.write_probe`); with
``write=False`` not even those.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mlflow_parity.copy_places import CopyPlaces, stores_of
from mlflow_parity.errors import ReadError, RequestRefused, UsageProblem
from mlflow_parity.kinds import KINDS
from mlflow_parity.locations import Location
from mlflow_parity.migrating.disk import disk_findings, free_bytes
from mlflow_parity.migrating.findings import Found, ordered
from mlflow_parity.migrating.limits import Oddities, limits_of
from mlflow_parity.migrating.scope import in_model_scope, in_scope, left_out, others_in_scope
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.migrating.source_state import export_findings, source_findings, unmatched
from mlflow_parity.migrating.survey import Extent, Survey, look_at_export
from mlflow_parity.migrating.surveying import look
from mlflow_parity.migrating.unwritten import unwritten
from mlflow_parity.model import Experiment
from mlflow_parity.reading.capabilities import release
from mlflow_parity.reading.support import FIRST
from mlflow_parity.renames import Renames

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Journal
    from mlflow_parity.reading.auth import Credentials, SideName
    from mlflow_parity.reading.server import ServerReader
    from mlflow_parity.snapshot.store import Snapshot

#: Oldest servers that were ever read.
_OLDEST = (2, 13)
_NEWEST = (99, 0)
#: The tool's import needs a client of MLflow 3.
_CLIENT = (3, 0)


@dataclass(slots=True)
class End:
    """One end, once it has answered."""

    reader: ServerReader
    credentials: Credentials
    experiments: list[Experiment]

    @property
    def version(self) -> str | None:
        """Its MLflow version, where it tells."""
        return self.reader.capabilities.version


@dataclass(slots=True)
class Checked:
    """What was found. ``survey`` is ``None`` when the source could not be looked at."""

    found: list[Found] = field(default_factory=list)
    survey: Survey | None = None
    versions: dict[str, str | None] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether both ends are one server: that says all that their places would."""
        return any(one.code == "same-server" for one in self.found)

    @property
    def blocked(self) -> bool:
        """Whether the migration must not begin."""
        return any(one.level == "error" for one in self.found)


def preflight(
    settings: Settings,
    *,
    renames: Renames,
    journal: Journal | None = None,
    export: Snapshot | None = None,
    write: bool = True,
    free: Callable[[Path], int] = free_bytes,
    told: Callable[[Extent], object] = lambda _: None,
    standing: Iterable[Found] = (),
) -> Checked:
    """Look at both ends, as far as they are given, and return everything that stands in the way.

    ``export`` is one that is whole and stands for the source; ``write=False`` sends reads only; ``standing`` is what
    the work folder itself says.
    """
    checked = Checked(list(standing))
    with ExitStack() as stack:
        source = target = None
        if settings.target is not None:
            if settings.target.is_arn:
                checked.found += _app(settings.target)
            target = _connect(settings.target, "target", settings.workers, checked, stack)
        if settings.source is not None:
            source = _connect(settings.source, "source", settings.workers, checked, stack)
        _versions(checked, source, target)
        if target is not None and settings.target is not None and write:
            checked.found += _probe(settings, settings.target, target, source)
        elif source is not None and target is not None:
            checked.found += _alike(source, target)
        if target is not None and settings.target is not None and not checked.same:
            origin = settings.source.address if settings.source is not None else ""
            ours: Sequence[Experiment] = source.experiments if source is not None else ()
            if export is not None:
                ours, origin = export.experiments, export.origin.location.partition(" ")[0]
            checked.found += _places(settings.target, target, ours, origin)
        if export is not None:
            checked.survey = look_at_export(
                export,
                experiments=in_scope(settings, export.experiments),
                wanted=in_model_scope(settings),
                others=others_in_scope(settings),
                include_deleted=settings.include_deleted,
            )
            checked.found += export_findings(settings, export)
        elif source is not None:
            checked.found += _looked(settings, source, target, renames, checked, told)
        survey = checked.survey
        if out := left_out(settings):
            why = "migrated and audited is what the options name"
            checked.found.append(Found("note", "scope.left-out", f"left out: {'; '.join(out)}", why))
        if target is not None:
            checked.found += _state(settings, target, journal, survey, renames)
        if survey is not None:
            checked.found += source_findings(survey, renames) + unwritten(survey) + _held(survey, target)
            if export is None:
                checked.found += disk_findings(settings, survey, free)
    checked.found = ordered(checked.found)
    return checked


# --- each end on its own


def _app(location: Location) -> list[Found]:
    from mlflow_parity.migrating.apps import check_app

    return [Found(one.level, "app", one.what, one.why, one.mend) for one in check_app(location)]


def _connect(location: Location, side: SideName, workers: int, checked: Checked, stack: ExitStack) -> End | None:
    from mlflow_parity.reading import open_reader
    from mlflow_parity.reading.auth import credentials

    try:
        reader = cast("ServerReader", open_reader(location, side, workers))
        stack.callback(reader.close)
        return End(reader, credentials(location, side), reader.experiments())
    except UsageProblem as problem:
        mend = "mend what it names"
        checked.found.append(Found("error", f"{side}.credentials", f"the {side} cannot be asked", str(problem), mend))
    except RequestRefused as error:
        refused = error.status in (401, 403)
        what = f"the {side} refuses these credentials" if refused else f"the {side} cannot be read"
        mend = (
            f"give others (the variables of MLflow or AWS, with {side.upper()}_ in front where the sides differ)"
            if refused
            else f"give the address of an MLflow tracking server to --{side}-uri"
        )
        code = f"{side}.refused" if refused else f"{side}.unreadable"
        checked.found.append(Found("error", code, what, str(error), mend))
    except ReadError as error:
        mend = f"check --{side}-uri or --{side}-arn, and that the server runs"
        checked.found.append(
            Found("error", f"{side}.unreachable", f"the {side} does not answer as MLflow does", str(error), mend)
        )
    return None


def _versions(checked: Checked, source: End | None, target: End | None) -> None:
    from mlflow_parity.migrating.tool import require_tool

    client = importlib.metadata.version("mlflow")
    checked.versions["client"] = client
    if release(client) < _CLIENT:
        mend = "pip install 'mlflow>=3'"
        checked.found.append(
            Found("error", "client.version", f"the client is MLflow {client}", "the tool's import needs MLflow 3", mend)
        )
    try:
        checked.versions["tool"] = require_tool()
    except UsageProblem as problem:
        checked.found.append(
            Found("error", "tool", "the Export Import tool cannot be used", str(problem), "mend what it names")
        )
    for side, end in (("source", source), ("target", target)):
        if end is None:
            continue
        version = checked.versions[side] = end.version
        if version is None:
            why = "what it can hold is asked of it, and its limits are taken to be the smallest"
            checked.found.append(
                Found("warning", f"{side}.version", f"the {side} does not tell its MLflow version", why)
            )
        elif release(version) < _OLDEST:
            why = f"nothing older than {_OLDEST[0]}.{_OLDEST[1]} was ever tried"
            mend = "upgrade it first, or audit with great care"
            checked.found.append(Found("warning", f"{side}.version", f"the {side} is MLflow {version}", why, mend))
    told = ", ".join(f"{name} {version}" for name, version in checked.versions.items() if version is not None)
    checked.found.append(Found("note", "versions", f"MLflow and the tool: {told}"))


def _probe(settings: Settings, location: Location, target: End, source: End | None) -> list[Found]:
    from mlflow_parity.migrating.write_probe import probe_writes
    from mlflow_parity.migrating.writing import open_writer

    writer, credentials = open_writer(location, "target", settings.workers)
    try:
        asked = None if source is None else source.reader.session
        return probe_writes(writer, credentials, target.experiments, asked, target.reader.session)
    finally:
        writer.close()


def _places(location: Location, target: End, ours: Sequence[Experiment], origin: str) -> list[Found]:
    """Refuse a target whose new experiments keep their files in the source's store, or on another server."""
    from mlflow_parity.migrating.write_probe import root_of

    root = root_of(target.experiments) or ""
    places = CopyPlaces(stores_of(ours, ()), origin, location.address)
    if places.in_source(root):
        what = f"the target keeps its artifacts in the source's store: {root}"
        why = "copies would lie in the source's place, and go when the source goes"
    elif why := places.another_server(root):
        what = f"the target keeps its artifacts at another server: {root}"
    else:
        return []
    mend = "start the target with a --default-artifact-root (or --artifacts-destination) of its own"
    return [Found("error", "target.place", what, why, mend)]


def _alike(source: End, target: End) -> list[Found]:
    """Tell whether both ends seem to be one server, where nothing may be written to prove it."""

    def of(end: End) -> list[tuple[object, ...]]:
        return [(one.experiment_id, one.name, one.creation_time, one.artifact_location) for one in end.experiments]

    if not source.experiments or of(source) != of(target):
        return []
    why = "their experiments have the same ids, names, places and times to the millisecond"
    mend = "give two different servers; a restored copy of the source is no target either"
    return [Found("warning", "same-server", "source and target seem to be the same server", why, mend)]


# --- what is moved, and where it goes


def _looked(
    settings: Settings,
    source: End,
    target: End | None,
    renames: Renames,
    checked: Checked,
    told: Callable[[Extent], object],
) -> list[Found]:
    from mlflow_parity.migrating.write_probe import is_proxied

    # without a target nothing is too long for it
    limits = limits_of(_NEWEST if target is None else release(target.version))
    oddities = Oddities(limits, proxied=target is not None and is_proxied(target.experiments))
    checked.survey = look(
        source.reader,
        source.credentials,
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
    return found + (oddities.found() if target is not None else [])


def _held(survey: Survey, target: End | None) -> list[Found]:
    found = []
    for kind in KINDS.values() if target is not None else ():
        count = survey.count(kind.name)
        if target is not None and count and target.reader.supports(kind.name) is False:
            first = ".".join(map(str, FIRST[kind.name]))
            mend = f"upgrade the target to MLflow {first} or newer; else they are missing there, and listed at the end"
            found.append(
                Found(
                    "warning",
                    "target.kind",
                    f"the target cannot hold {kind.plural}, and the source has {count:,}",
                    f"MLflow {target.version or 'of an unknown version'} has none",
                    mend,
                )
            )
    return found


def _state(
    settings: Settings, target: End, journal: Journal | None, survey: Survey | None, renames: Renames
) -> list[Found]:
    from mlflow_parity.migrating.target_state import examine

    found = []
    if journal is not None and settings.source is not None:
        known = journal.about("source")
        if known not in (None, settings.source.display):
            found.append(
                Found(
                    "error",
                    "journal",
                    f"the work folder's journal is of another migration: its source is {known}",
                    "",
                    "give another --work-dir",
                )
            )
    planned = None if survey is None else survey.names
    return found + examine(
        target.reader, target.experiments, journal, planned, renames, into_existing=settings.into_existing
    )
