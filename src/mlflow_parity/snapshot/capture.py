"""Reads one side into a snapshot: experiments side by side, runs in pages, only the parts that are needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from mlflow_parity.core.errors import MalformedAnswer, ReadError
from mlflow_parity.core.local.files import make_inside
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.core.scope import DEPTHS, Depth
from mlflow_parity.kinds import KINDS, of_part
from mlflow_parity.reading import Reader
from mlflow_parity.reading.artifacts.shared_listings import SharedListings
from mlflow_parity.snapshot import FILES_PART, PARTS, SERVER, SERVER_PARTS, Part
from mlflow_parity.snapshot.model_files import ModelFiles
from mlflow_parity.snapshot.objects import ObjectsWriter
from mlflow_parity.snapshot.resuming import objects_agree, runs_agree
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.snapshot.wanted import Wanted
from mlflow_parity.snapshot.writer import ArtifactsWriter, MetricsWriter, RunsWriter, seal_failure

#: Experiments read side by side on one server; their requests share the session's connections.
_EXPERIMENTS_AT_ONCE = 4
_FILES_AT_ONCE = 500
#: What hangs on runs; it is read together, page by page.
RUN_PARTS: tuple[Part, ...] = ("runs", "metrics", "artifacts")
T = TypeVar("T")


class Count(Protocol):
    """Told what was read, for the progress line."""

    def __call__(
        self,
        *,
        experiments: int = 0,
        runs: int = 0,
        points: int = 0,
        artifacts: int = 0,
        size: int = 0,
        objects: int = 0,
    ) -> None:
        """Add to what was read."""
        ...


def capture(
    reader: Reader,
    snapshot: Snapshot,
    experiments: Sequence[Experiment],
    parts: Collection[Part],
    depth: Depth,
    *,
    include_deleted: bool,
    count: Count,
    model_links: bool = False,
    wanted: Wanted | None = None,
) -> int:
    """Read what is not in the snapshot yet; return how many parts an interrupted audit had left that still hold.

    Its parts are taken over where the server still lists what they are of; the others are read again. ``wanted``: read
    the lists first, then what hangs on some of the objects that they name; such a snapshot is not taken up again.

    What cannot be read becomes a part with its error, so that it is reported, and tried again when resumed.

    Raises:
        SnapshotError: when a part that is there is damaged.
    """
    parts = parts if wanted is None else wanted.parts(parts)
    # all of them, before anything is asked: what is damaged is refused, neither taken over nor read again
    for experiment in experiments:
        for part in PARTS:
            snapshot.check(experiment.experiment_id, part)
    for part in SERVER_PARTS:
        snapshot.check(SERVER, part)

    def one(experiment: Experiment) -> int:
        # what lies in its place is listed once, for its runs and for its logged models
        shared = SharedListings()
        resumed = _capture_experiment(
            reader, snapshot, experiment, parts, depth, include_deleted, count, model_links, shared, wanted
        )
        place = experiment.experiment_id
        # no server lists the scorers of a deleted experiment
        readable = set(parts) - ({"scorers"} if experiment.lifecycle_stage == "deleted" else set())
        resumed += capture_objects(reader, snapshot, place, readable, depth, count, shared, wanted)
        count(experiments=1 if wanted is None or not wanted.lists else 0)
        return resumed

    with ThreadPoolExecutor(_EXPERIMENTS_AT_ONCE, thread_name_prefix="parity-experiment") as pool:
        futures = [pool.submit(one, experiment) for experiment in experiments]
        try:
            resumed = sum(future.result() for future in futures)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    # last: a version's files may be those of a logged model, which were just read
    return resumed + capture_objects(reader, snapshot, SERVER, parts, depth, count, wanted=wanted)


def _capture_experiment(
    reader: Reader,
    snapshot: Snapshot,
    experiment: Experiment,
    parts: Collection[Part],
    depth: Depth,
    include_deleted: bool,
    count: Count,
    model_links: bool,
    shared: SharedListings,
    wanted_of: Wanted | None,
) -> int:
    experiment_id = experiment.experiment_id
    names = [part for part in RUN_PARTS if part == "runs" or part in parts]
    left: dict[Part, dict[str, Any]] = {}
    for part in names:
        sidecar = snapshot.check(experiment_id, part)
        whole = part != "runs" or not model_links or bool(sidecar and sidecar.get("model_links"))
        if sidecar is not None and whole and _is_good(sidecar, depth, include_deleted=include_deleted):
            left[part] = sidecar
    if wanted_of is not None:
        if not wanted_of.lists and "runs" not in left:
            return 0  # what hangs on a list that could not be read is not known
    else:
        if left and not runs_agree(reader, snapshot, experiment_id):
            left = {}
        snapshot.taken_over += [sidecar["read"] for sidecar in left.values()]
    resumed = len(left)
    wanted = [part for part in names if part not in left]
    if not wanted:
        return resumed
    home = snapshot.home(experiment_id)
    make_inside(home.folder)
    for part in wanted:
        # killed between a file and its sidecar, the old sidecar would not fit the new file
        snapshot.forget(experiment_id, part)
    runs = RunsWriter(home, model_links=model_links) if "runs" in wanted else None
    metrics = MetricsWriter(home, deleted=include_deleted) if "metrics" in wanted else None
    artifacts = ArtifactsWriter(home, depth, deleted=include_deleted) if "artifacts" in wanted else None
    failed: dict[Part, str] = {}
    links_error: str | None = None
    try:
        try:
            pages = _ahead(reader.runs(experiment_id)) if runs is not None else _stored_pages(snapshot, experiment)
            # left to the garbage collector, its pool would be shut down in any thread at any moment, and may hang
            with closing(pages):
                for page in pages:
                    if runs is not None:
                        linked, problem = _linked(reader, page) if model_links else (page, None)
                        links_error = links_error or problem
                        runs.add(linked)
                    count(runs=len(page) if runs is not None else 0)
                    scope = [run for run in page if include_deleted or run.lifecycle_stage != "deleted"]
                    if wanted_of is not None:
                        scope = [run for run in scope if wanted_of.has("run", experiment_id, run.run_id)]
                    if metrics is not None and "metrics" not in failed:
                        _guarded("metrics", failed, _read_metrics, reader, scope, metrics, count)
                    if artifacts is not None and "artifacts" not in failed:
                        _guarded("artifacts", failed, _read_artifacts, reader, scope, artifacts, depth, count, shared)
        except ReadError as error:
            # without the list of runs nothing that hangs on it is complete
            failed = {part: str(error) for part in wanted}
        for part, writer in (("runs", runs), ("metrics", metrics), ("artifacts", artifacts)):
            if writer is None:
                continue
            if part in failed:
                writer.abandon()
                seal_failure(home, _part(part), failed[_part(part)])
            elif isinstance(writer, RunsWriter):
                writer.finish(links_error)
            else:
                writer.finish()
    except BaseException:
        for unfinished in (runs, metrics, artifacts):
            if unfinished is not None:
                with suppress(Exception):
                    unfinished.abandon()
        raise
    return 0 if wanted_of is not None else resumed


def _linked(reader: Reader, page: list[Run]) -> tuple[list[Run], str | None]:
    """Return runs with their logged models; where these cannot be read, the runs without them and the cause."""
    try:
        return reader.with_model_links(page), None
    except ReadError as error:
        # the links are unverified then, and the runs themselves are not
        return page, str(error)


def _is_good(sidecar: dict[str, Any] | None, depth: Depth, *, include_deleted: bool) -> bool:
    """Whether a part of an interrupted audit can stay: whole, without errors, and not asked for less."""
    if sidecar is None or "error" in sidecar or sidecar["counts"].get("errors"):
        return False
    # that audit may have ended because a report, or what was known, was found to be wrong
    if sidecar.get("borrowed"):
        return False
    return not (_shallower(sidecar, depth) or (include_deleted and sidecar.get("deleted") is False))


def capture_objects(
    reader: Reader,
    snapshot: Snapshot,
    place: str,
    parts: Collection[Part],
    depth: Depth,
    count: Count,
    shared: SharedListings | None = None,
    wanted: Wanted | None = None,
) -> int:
    """Read the objects of an experiment (by id) or of the server; return how many parts were there already."""
    listings = SharedListings() if shared is None else shared
    names = SERVER_PARTS if place == SERVER else PARTS
    kept = 0
    anew: set[Part] = set()
    for part in (name for name in names if name in parts and name not in RUN_PARTS):
        files_of = next((kind for kind, files in FILES_PART.items() if files == part), None)
        sidecar = snapshot.check(place, part)
        if wanted is None and sidecar is not None and _is_good(sidecar, depth, include_deleted=False):
            if files_of is not None:
                agree = KINDS[files_of].part not in anew
            else:
                agree = objects_agree(reader, snapshot, place, part, _batches(reader, place, _kinds(part)))
            if agree:
                snapshot.taken_over.append(sidecar["read"])
                kept += 1
                continue
        anew.add(part)
        home = snapshot.home(place)
        make_inside(home.folder)
        snapshot.forget(place, part)
        writer: ObjectsWriter | ArtifactsWriter
        if files_of is not None:
            writer = ArtifactsWriter(home, depth, deleted=True, part=part)
        else:
            writer = ObjectsWriter(home, object_part(part))
        try:
            if isinstance(writer, ArtifactsWriter):
                problem = snapshot.objects(place).problem(KINDS[files_of or ""].part)
                if problem is not None:
                    raise MalformedAnswer(f"the objects could not be listed: {problem}")
                _read_files(reader, snapshot, place, files_of or "", writer, depth, count, listings, wanted)
                writer.finish()
            else:
                kinds = _kinds(part)
                # the runs were listed before: those to which traces may be linked need not be listed again
                run_ids = snapshot.listed(place) if part == "traces" else None
                for batch in _batches(reader, place, kinds, run_ids, wanted):
                    writer.add(batch)
                    # traces are listed before some of them are read
                    count(objects=0 if wanted is not None and wanted.lists and part == "traces" else len(batch))
                # asked afterwards: a listing tells what a version number may not
                writer.finish(unsupported=[kind for kind in kinds if reader.supports(kind) is False])
        except ReadError as error:
            writer.abandon()
            seal_failure(home, part, str(error))
        except BaseException:
            with suppress(Exception):
                writer.abandon()
            raise
    return kept


def _kinds(part: Part) -> list[str]:
    return [kind.name for kind in of_part(object_part(part))]


def object_part(part: Part) -> str:
    """Return a part as one that holds objects."""
    return next(kind.part for kind in KINDS.values() if kind.part == part)


def _batches(
    reader: Reader,
    place: str,
    kinds: Sequence[str],
    run_ids: Collection[str] | None = None,
    wanted: Wanted | None = None,
) -> Iterator[Sequence[Entity]]:
    """Yield what a part holds; an object that pages brought twice is there once."""
    batches: Iterator[Sequence[Entity]]
    if place != SERVER and kinds == ["trace"] and wanted is not None:
        if wanted.lists:
            batches = reader.trace_infos(place)
        else:
            batches = reader.experiment_objects(place, kinds, run_ids, partial(wanted.has, "trace", place))
    elif place != SERVER:
        batches = reader.experiment_objects(place, kinds, run_ids)
    elif KINDS[kinds[0]].family == "server":
        batches = reader.server_objects(kinds[0])
    else:
        batches = reader.registry()
    seen: set[tuple[str, str]] = set()
    for batch in batches:
        fresh = [entity for entity in batch if (entity.kind, entity.entity_id) not in seen]
        seen.update((entity.kind, entity.entity_id) for entity in fresh)
        # no list tells where a version is loaded from
        yield reader.with_storage(fresh) if place == SERVER and KINDS[kinds[0]].part == "registry" else fresh


def _read_files(
    reader: Reader,
    snapshot: Snapshot,
    place: str,
    kind: str,
    writer: ArtifactsWriter,
    depth: Depth,
    count: Count,
    shared: SharedListings,
    wanted: Wanted | None,
) -> None:
    objects = snapshot.objects(place)
    keys = objects.keys(kind)
    if wanted is not None:
        keys = [one for one in keys if wanted.has(kind, one.container if place == SERVER else place, one.entity_id)]
    ids = [key.entity_id for key in keys]
    # at depth listing files of versions are touched, which those of logged models are not
    models = ModelFiles(snapshot) if kind == "model_version" and depth != "listing" else None
    for start in range(0, len(ids), _FILES_AT_ONCE):
        entities = objects.entities(kind, ids[start : start + _FILES_AT_ONCE])
        known = {entity.entity_id: models.of(entity) for entity in entities} if models is not None else {}
        for entity_id, found in known.items():
            if found is not None:
                writer.add(replace(found, run_id=entity_id))
        rest = [entity for entity in entities if known.get(entity.entity_id) is None]
        for tree in reader.entity_files(rest, depth, shared) if rest else ():
            writer.add(tree)
            count(artifacts=len(tree.files), size=sum(file.size or 0 for file in tree.files))


def _part(name: str) -> Part:
    return next(part for part in PARTS if part == name)


def _shallower(sidecar: dict[str, object], depth: Depth) -> bool:
    stored = sidecar.get("depth")
    return stored in DEPTHS and DEPTHS.index(stored) < DEPTHS.index(depth)


def _guarded(
    part: Literal["metrics", "artifacts"], failed: dict[Part, str], step: Callable[..., None], *args: object
) -> None:
    try:
        step(*args)
    except ReadError as error:
        failed[part] = str(error)


def _read_metrics(reader: Reader, runs: Sequence[Run], writer: MetricsWriter, count: Count) -> None:
    seen: set[tuple[str, str]] = set()
    for histories in reader.histories(runs):
        for series in histories:
            if (series.run_id, series.key) in seen:
                raise MalformedAnswer(f"history of {series.key!r} of run {series.run_id} was delivered twice")
            seen.add((series.run_id, series.key))
        count(points=writer.add(histories))


def _read_artifacts(
    reader: Reader,
    runs: Sequence[Run],
    writer: ArtifactsWriter,
    depth: Depth,
    count: Count,
    shared: SharedListings,
) -> None:
    for tree in reader.artifacts(runs, depth, shared):
        writer.add(tree)
        count(artifacts=len(tree.files), size=sum(file.size or 0 for file in tree.files))


def _stored_pages(snapshot: Snapshot, experiment: Experiment, size: int = 1_000) -> Generator[list[Run], None, None]:
    page: list[Run] = []
    for run in snapshot.view(experiment).all_runs():
        page.append(run)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def _ahead(pages: Iterator[T]) -> Generator[T, None, None]:
    """Fetch the next page while this one's histories are read: the server is never left waiting for us."""
    nothing = object()
    with ThreadPoolExecutor(1, thread_name_prefix="parity-pages") as pool:
        coming = pool.submit(next, pages, nothing)
        while True:
            page = coming.result()
            if page is nothing:
                return
            coming = pool.submit(next, pages, nothing)
            yield page  # type: ignore[misc]  # the sentinel was sorted out above
