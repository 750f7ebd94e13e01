"""A few probes of a server: how much there is to read, with how many requests, and how fast it answers.

Read are the lengths of lists, some runs of them from all over, histories of some of these runs and their folders. No
file is read, and no span.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Run
from mlflow_parity.core.scope import Depth
from mlflow_parity.reading import records
from mlflow_parity.reading.artifacts.shared_listings import FEWEST, SharedListings
from mlflow_parity.reading.histories import CAP, RUNS_PER_REQUEST, drained
from mlflow_parity.reading.logged_models import logged_model
from mlflow_parity.reading.probed import Probed
from mlflow_parity.reading.totals import NEAR, Ask, Paged, Total, spread
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.kind_support import is_absent
from mlflow_parity.reading.transport.listing import list_in, made

if TYPE_CHECKING:
    from mlflow_parity.reading.runs import RunReader

T = TypeVar("T")
_IN_STORE = (
    "requests to the artifact store itself, and files whose bytes need not be read, as it states their checksums"
)
#: Experiments that are named in one search, as by the lists; and in one of traces, which stands in an address.
_IDS, _IDS_OF_TRACES = 500, 100
#: Pages of runs from all over a list, and runs to a page.
_PAGES, _PAGE = 20, 15
#: Runs whose histories are read, with so many points at the most by their latest steps; and runs whose folders are.
_HISTORIES, _POINTS = 24, 30_000
_FOLDERS = 120
#: The share of these histories and folders that is enough to tell the time left, which is learnt from then on.
_BRIEF = 0.5
#: Small requests at once that show how fast the server answers, and how often: it may be busy for a moment.
_SMALL, _TIMES = 8, 3
#: Points that one bulk request brings, about.
_BULK = 6_000
#: Entries to a page of the lists that an audit reads: runs, traces, logged models.
_LISTED, _TRACES, _TRACE_BATCH = 1_000, 500, 60
#: Bytes that a point, a run and a trace take in an answer, and a file's entry in a list.
_POINT_BYTES, _TRACE_BYTES, _ENTRY_BYTES, _OBJECT_BYTES = 110, 4_000, 120, 1_500
#: What no probe shows: bytes of files that come in a second, and seconds that the spans of a trace take.
_BYTES_A_SECOND, _TRACE_SECONDS = 80e6, 0.002
#: Lists of the server itself, and of each experiment beside its runs: logged models, traces, scorers.
_OF_SERVER, _OF_EXPERIMENT = 20, 3
#: Pages that are turned where the tokens of a list cannot be moved.
_TURNED = 50


@dataclass(slots=True)
class _Clock:
    seconds: float = 0.0


@contextmanager
def _timed() -> Iterator[_Clock]:
    clock, began = _Clock(), time.monotonic()
    try:
        yield clock
    finally:
        clock.seconds = time.monotonic() - began


class Prober:
    """Probes one server; ``parts`` are what will be read of it, ``links``: which logged models each run used too.

    ``brief``: with fewer probes.
    """

    def __init__(
        self,
        reader: RunReader,
        experiments: Sequence[Experiment],
        parts: Collection[str],
        depth: Depth,
        *,
        include_deleted: bool,
        links: bool = False,
        brief: bool = False,
    ) -> None:
        self._reader, self._session = reader, reader.session
        self._ids = [one.experiment_id for one in experiments]
        self._parts, self._depth, self._links = parts, depth, links
        self._include_deleted = include_deleted
        self._share = _BRIEF if brief else 1.0
        self._answer = 0.01
        self.found = Probed(experiments=len(experiments))

    def probe(self) -> Probed:
        """Look, and return what was found; what cannot be looked at is ``missed``.

        Raises:
            ReadError: the runs cannot be listed.
        """
        before = self._session.sent
        found = self.found
        sample = self._runs()
        reached = [run for run in sample if self._include_deleted or run.lifecycle_stage != "deleted"]
        found.reached = len(reached) / len(sample) if sample else 1.0
        for part, look in (("metrics", self._histories), ("artifacts", self._folders)):
            if part in self._parts:
                with self._guarded(part):
                    look(reached)
        self._objects(reached)
        found.spent = self._session.sent - before
        return found

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except ReadError as error:
            self.found.missed.append(f"{what}: {error}")

    # --- runs

    def _runs(self) -> list[Run]:
        found, sample = self.found, []
        groups = list(_groups(self._ids, _IDS))
        for ids in groups:
            query = {
                "experiment_ids": ids,
                "run_view_type": "ALL",
                "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
            }
            paged = Paged(self._post(endpoints.RUNS, query, "runs"))
            total = paged.total(near=NEAR, most_pages=_TURNED)
            found.at_least |= total.at_least
            found.runs += total.count
            with _timed() as clock:
                entries = paged.some(total.count, max(_PAGES // len(groups), 2), _PAGE)
            wanted = set(ids)
            runs = [made(records.run, entry) for entry in entries]
            sample += [run for run in runs if run.experiment_id in wanted]
        if groups:
            self._answer = found.answer = self._pace(
                endpoints.RUNS, {"experiment_ids": groups[-1][:1], "max_results": 1}
            )
        n = found.runs
        # each list is read once to be compared, and once more to see what changed
        pages = 2 * math.ceil(n / _LISTED) + len(self._ids) + len(groups)
        each = clock.seconds / max(len(entries), 1) if groups and entries else 0.0
        found.needs("runs", pages, 2 * n * _OBJECT_BYTES, pages * self._answer + n * min(each, 0.01))
        if self._links:
            found.needs("links of runs to logged models", n, n * _OBJECT_BYTES, n * self._answer)
        return list({run.run_id: run for run in sample}.values())

    def _pace(self, endpoint: endpoints.Endpoint, query: Mapping[str, Any]) -> float:
        """Return the seconds for one small request where several are on their way."""
        took = []
        for _ in range(_TIMES):
            with _timed() as clock:
                list(drained(self._reader.pool, lambda _: self._session.post(endpoint, query), range(_SMALL), _SMALL))
            took.append(clock.seconds / _SMALL)
        return statistics.median(took)

    # --- what hangs on them

    def _histories(self, sample: Sequence[Run]) -> None:
        found = self.found
        scale = found.runs * found.reached / len(sample) if sample else 0.0
        guesses = {run.run_id: sum(_steps(point.step) for point in run.metrics.values()) for run in sample}
        taken: list[Run] = []
        room = int(_POINTS * self._share)
        for run in spread([run for run in sample if run.metrics], int(_HISTORIES * self._share)):
            if guesses[run.run_id] <= room:
                room -= guesses[run.run_id]
                taken.append(run)
        by_experiment: dict[str, list[Run]] = defaultdict(list)
        for run in taken:
            by_experiment[run.experiment_id].append(run)
        points = 0
        before = self._session.sent
        with _timed() as clock:
            for runs in by_experiment.values():
                for batch in self._reader.histories(runs):
                    points += sum(len(series.values) for series in batch)
        asked = self._session.sent - before
        guessed = sum(guesses[run.run_id] for run in taken)
        found.points = sum(guesses.values()) * scale * (points / guessed if guessed else 1.0)
        requests = self._history_requests(sample, scale, points / guessed if guessed else 1.0)
        # what the requests themselves took is no property of the points
        each = max(clock.seconds - asked * self._answer, clock.seconds / 3) / points if points else 0.0
        found.needs(
            "metric histories",
            requests,
            found.points * _POINT_BYTES,
            requests * self._answer + found.points * each,
        )

    def _history_requests(self, sample: Sequence[Run], scale: float, ratio: float) -> float:
        bulk = self._reader.capabilities.history_bulk
        series: Counter[tuple[str, str]] = Counter()
        points: Counter[tuple[str, str]] = Counter()
        for run in sample:
            for key, latest in run.metrics.items():
                series[run.experiment_id, key] += 1
                points[run.experiment_id, key] += min(_steps(latest.step), CAP)
        if not bulk:
            return sum(series.values()) * scale
        return sum(
            max(count * scale / RUNS_PER_REQUEST, points[one] * scale * ratio / _BULK, 1.0)
            for one, count in series.items()
        )

    def _folders(self, sample: Sequence[Run]) -> None:
        taken = spread(sample, int(_FOLDERS * self._share))
        owners = [(run.artifact_uri, run.experiment_id, run) for run in taken]
        scale = self.found.runs * self.found.reached / len(taken) if taken else 0.0
        self._trees(
            "folders of runs", owners, lambda some, shared: self._reader.artifacts(some, "listing", shared), scale
        )

    def _trees(
        self,
        what: str,
        owners: Sequence[tuple[str | None, str, T]],
        listed: Callable[[list[T], SharedListings], Iterable[ArtifactTree]],
        scale: float,
    ) -> None:
        """List some trees, each of which stands for ``scale`` of them; ``owners`` come with place and experiment."""
        found, before = self.found, self._session.sent
        proxied = all((uri or "").startswith("mlflow-artifacts:") for uri, _, _ in owners) and not self._reader.own_way
        wrong = files = size = 0
        with _timed() as clock:
            for some in [[one for _, _, one in owners]] if proxied else _few_of_each(owners):
                # a proxy lists one level for many; in S3 that would be every file of an experiment
                for tree in listed(some, SharedListings()):
                    wrong += tree.error is not None
                    files += len(tree.files)
                    size += sum(file.size or 0 for file in tree.files)
        if wrong:
            # the others tell enough, if there are any
            (found.missed if wrong == len(owners) else found.beside).append(f"{wrong} {what} that cannot be listed")
        found.files, found.size = found.files + files * scale, found.size + size * scale
        requests, took = (self._session.sent - before) * scale, clock.seconds * scale
        if not proxied:
            # the audit lists all of an experiment together, a thousand at once
            lists = files * scale / 1_000 + len(self._ids)
            took = min(took, lists * clock.seconds / max(len(owners), 1))
            requests = min(requests, lists)
            if _IN_STORE not in found.beside:
                found.beside.append(_IN_STORE)
        if owners:
            found.needs(what, requests, files * scale * _ENTRY_BYTES, took)
        if files and self._depth != "listing":
            took = files * scale * self._answer + size * scale / _BYTES_A_SECOND
            found.needs("files", files * scale, size * scale, took)

    # --- everything else

    def _objects(self, runs: Sequence[Run]) -> None:
        found = self.found
        if "traces" in self._parts:
            with self._guarded("traces"):
                self._traces(runs)
        if "logged_models" in self._parts:
            with self._guarded("logged models"):
                self._models()
        if "registry" in self._parts:
            with self._guarded("model versions"):
                self._versions()
        lists = _OF_SERVER + _OF_EXPERIMENT * len(self._ids)
        found.needs("other lists", lists, lists * _ENTRY_BYTES, lists * self._answer)

    def _versions(self) -> None:
        found = self.found
        query = self._get(endpoints.MODEL_VERSIONS, {}, "model_versions")
        total = Paged(query).total(near=NEAR, most_pages=_TURNED)
        found.versions, found.at_least = total.count, found.at_least or total.at_least
        if total.count:
            # of each its place, its folder, and its files
            asked = math.ceil(found.versions / 100) + 3 * found.versions
            found.needs("model versions", asked, found.versions * _OBJECT_BYTES, asked * self._answer)
            found.beside.append("the files of model versions that are no run's and no logged model's")

    def _traces(self, runs: Sequence[Run]) -> None:
        found, experiments = self.found, set()
        for ids in _groups(self._ids, _IDS_OF_TRACES):
            paged, total = self._trace_list(ids)
            found.traces += total.count
            found.at_least |= total.at_least
            if total.count:
                experiments |= {_experiment_of(entry) for entry in paged.some(total.count, 10, 10)}
        if not found.traces:
            return
        batches = math.ceil(found.traces / _TRACE_BATCH) + math.ceil(found.traces / _TRACES)
        # each run of an experiment that has traces is asked for those that are linked to it
        share = sum(run.experiment_id in experiments for run in runs) / len(runs) if runs else 0.0
        linked = found.runs * share
        found.needs(
            "traces",
            batches + linked,
            found.traces * _TRACE_BYTES,
            (batches + linked) * self._answer + found.traces * _TRACE_SECONDS,
        )

    def _trace_list(self, ids: Sequence[str]) -> tuple[Paged, Total]:
        places = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": one}} for one in ids]
        order = ["timestamp_ms ASC"]
        asks = (
            self._post(endpoints.TRACES, {"locations": places, "order_by": order}, "traces"),
            self._get(endpoints.TRACES_V2, {"experiment_ids": ids, "order_by": order}, "traces"),
        )
        for ask in asks:
            paged = Paged(ask, _TRACES)
            try:
                return paged, paged.total(near=NEAR, most_pages=_TURNED)
            except RequestRefused as error:
                if not is_absent(error):
                    raise
        return paged, Total(0)

    def _models(self) -> None:
        found = self.found
        order = [{"field_name": "creation_timestamp", "ascending": True}]
        sample: list[Entity] = []
        for ids in _groups(self._ids, _IDS):
            paged = Paged(self._post(endpoints.LOGGED_MODELS, {"experiment_ids": ids, "order_by": order}, "models"))
            try:
                total = paged.total(near=NEAR, most_pages=_TURNED)
                entries = paged.some(total.count, 8, int(8 * self._share))
            except RequestRefused as error:
                if not is_absent(error):
                    raise
                return
            found.models += total.count
            found.at_least |= total.at_least
            sample += [made(logged_model, entry) for entry in entries]
        if not sample:
            return
        asked = math.ceil(found.models / _LISTED) + len(self._ids)
        found.needs("logged models", asked, found.models * _OBJECT_BYTES, asked * self._answer)
        self._trees(
            "folders of logged models",
            [(model.artifact_uri, model.container, model) for model in sample],
            lambda some, shared: self._reader.entity_files(some, "listing", shared),
            found.models / len(sample),
        )

    def _post(self, endpoint: endpoints.Endpoint, query: Mapping[str, Any], name: str) -> Ask:
        return self._asking(lambda more: self._session.post(endpoint, {**query, **more}), name)

    def _get(self, endpoint: endpoints.Endpoint, query: Mapping[str, Any], name: str) -> Ask:
        return self._asking(lambda more: self._session.get(endpoint, {**query, **more}), name)

    @staticmethod
    def _asking(send: Callable[[Mapping[str, Any]], Mapping[str, Any]], name: str) -> Ask:
        def ask(token: str | None, most: int) -> tuple[Sequence[Any], str | None]:
            answer = send({"max_results": most, **({"page_token": token} if token else {})})
            entries = list_in(answer, name)
            token = answer.get("next_page_token") or None
            if not isinstance(token, str | None):
                raise MalformedAnswer(f"{name!r} is not a page of a list")
            return entries, token

        return ask


def _groups(ids: Sequence[str], most: int) -> Iterator[list[str]]:
    return (list(ids[first : first + most]) for first in range(0, len(ids), most))


def _few_of_each(owners: Sequence[tuple[str | None, str, T]]) -> Iterator[list[T]]:
    """Split owners, so that of no place there are so many that it would be listed for all of them."""
    of: dict[str, list[T]] = defaultdict(list)
    for _, experiment, owner in owners:
        of[experiment].append(owner)
    for first in range(0, max(map(len, of.values()), default=0), FEWEST - 1):
        yield [owner for some in of.values() for owner in some[first : first + FEWEST - 1]]


def _steps(step: int) -> int:
    return max(step, 0) + 1


def _experiment_of(entry: Any) -> str:
    def found(one: Any) -> str:
        if "trace_location" in one:
            return str(one["trace_location"]["mlflow_experiment"]["experiment_id"])
        return str(one["experiment_id"])

    return made(found, entry)
