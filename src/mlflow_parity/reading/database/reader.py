"""A server's reader that takes runs, metric histories and spans from the database, and all else by the API."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.errors import MalformedAnswer, ReadError, UsageProblem
from mlflow_parity.core.identity.digests import listed_digest, series_digest
from mlflow_parity.core.records import Beside, Entity, Experiment, Run, Series
from mlflow_parity.core.text import counted
from mlflow_parity.reading.around import AroundReader
from mlflow_parity.reading.database.connection import Database
from mlflow_parity.reading.database.histories import Sizes, read_histories
from mlflow_parity.reading.database.runs import read_runs, runs_of_ids
from mlflow_parity.reading.database.schema import columns_of
from mlflow_parity.reading.database.spans import SpansBeside
from mlflow_parity.reading.database.trust import BothWays, check_whole, contradiction, known_experiments
from mlflow_parity.reading.database.urls import DatabaseUrl
from mlflow_parity.reading.histories import CAP

if TYPE_CHECKING:
    from mlflow_parity.reading.server import ServerReader

#: Runs of an experiment about which database and API are asked at once where they seem to disagree.
_ASKED = 20
#: Runs that are tried beside those of which a history is to be read both ways.
_TRIED = 3
_CHANCE = random.SystemRandom()


class DatabaseReader(AroundReader):
    """Reads a server with its database beside it; otherwise the reader that it wraps.

    The first reading is of one instant, in one transaction. What is listed and read again after it comes by the API,
    so that each run that the database told is held against what the server answers.
    """

    _reader: ServerReader

    def __init__(self, reader: ServerReader, url: DatabaseUrl) -> None:
        super().__init__(reader)
        self._url = url
        self._known: dict[str, Any] = {}
        self._shown = BothWays()
        """Histories."""
        self._sizes = Sizes()
        self._lock, self._one_at_a_time = Lock(), Lock()
        # before anything is asked of the server: a wrong URL, a wrong password or a missing package show here
        self._database: Database | None = Database(url)
        self._began = time.time()
        self._trusted = False
        self._spans: SpansBeside | None = None

    @property
    def _instant(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began))

    @property
    def beside(self) -> Beside:
        """The database, and the instant of it that is read."""
        return Beside(self._url.display, self._url.digest, (self._instant,))

    @property
    def told(self) -> str:
        """What the report says of it."""
        told = (
            f"runs and metric histories of the {self._url.side} were read from its database ({self._url.display}) as "
            f"they were at {self._instant}, and its list of runs was read by the API after that; "
            f"{counted(self._shown.count, 'histories')} of {counted(self._shown.places, 'experiments')} were "
            "read by the API too, and are the same"
        )
        if self._spans is not None and self._spans.read:
            told += (
                f"; so were the spans of {counted(self._spans.read, 'traces')}, those of "
                f"{counted(self._spans.shown, 'traces')} by the API too"
            )
        return told

    def experiments(self) -> list[Experiment]:
        """Every experiment, as the API lists it; the first time the database is held against that list.

        Raises:
            UsageProblem: it is another server's, contradicts itself, or lacks what is read.
            ReadError: either cannot be read.
        """
        listed = self._reader.experiments()
        with self._lock:
            if not self._trusted and self._database is not None:
                self._trust(listed)
                self._trusted = True
        return listed

    def _trust(self, listed: list[Experiment]) -> None:
        problem = ""
        # a server in use may have renamed one between both lists: twice in a row is another server
        for again in (False, True):
            database = self._restarted() if again else self._open()
            columns = columns_of(database)
            known = known_experiments(database, columns, self._reader.location)
            problem = contradiction(known, self._reader.experiments() if again else listed, self._began)
            if not problem:
                self._known = dict(known)
                check_whole(database)
                self._spans = SpansBeside(columns, self._reader.spans_by_api, self._as_it_is_now)
                self._reader.spans_beside(self._spans_of)
                return
        raise UsageProblem(
            f"{self._url.option}: {self._url.display} is not the database of {self._reader.location.display}, or this "
            f"user may not see all of it: {problem}; give what that server has as --backend-store-uri"
        )

    def _restarted(self) -> Database:
        self._open().close()
        self._database = Database(self._url)
        self._began = time.time()
        return self._database

    def _open(self) -> Database:
        if self._database is None:
            raise ReadError("the database was read before")
        return self._database

    def _holds(self, experiment_id: str) -> bool:
        """Whether an experiment is read from the database: those that came since, or are read again, are not."""
        if self._database is None:
            return False
        if not self._trusted:
            self.experiments()
        return experiment_id in self._known

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run of an experiment in pages, deleted ones included, each once."""
        if self._holds(experiment_id):
            yield from read_runs(self._open(), experiment_id)
        else:
            yield from self._reader.runs(experiment_id)

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """The complete history of every metric key of ``runs`` (one experiment's), each (run, key) once."""
        if runs and self._holds(runs[0].experiment_id):
            self._read_both_ways(runs)
            yield from read_histories(self._open(), runs, self._reader.pool, self._sizes)
        else:
            yield from self._reader.histories(runs)

    def _spans_of(self, traces: Sequence[Entity]) -> Mapping[str, list[dict[str, Any]]]:
        """Return the spans of an experiment's traces that the database has, by trace id."""
        # what is read again comes by the API
        if not traces or self._spans is None or self._database is None or traces[0].container not in self._known:
            return {}
        return self._spans.of(self._database, traces)

    def runs_by_id(self, experiment_id: str, run_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Those of some runs that an experiment has now, by the API, as is all that is read of it from now on."""
        self._known.pop(experiment_id, None)
        yield from self._reader.runs_by_id(experiment_id, run_ids)

    def _read_both_ways(self, runs: Sequence[Run]) -> None:
        """Read some histories of an experiment by the API too: a list of runs tells nothing of earlier points.

        Raises:
            MalformedAnswer: the run did not change, and both hold different points.
            ReadError: none of those that were tried could be read by the API.
        """
        place = runs[0].experiment_id
        with_metrics = [one for one in runs if one.metrics]
        left = self._shown.wanted(place, len(with_metrics))
        if not left:
            return
        # those that have ended first; which of them, nobody knows beforehand
        tried = sorted(with_metrics, key=lambda one: (one.status == "RUNNING", _CHANCE.random()))[: left + _TRIED]
        problem = ""
        for run in tried:
            if left <= 0:
                return
            why = self._not_shown(run)
            if why is not None:
                problem = why or problem
                continue
            left -= 1
            self._shown.add(place)
        if problem and not self._shown.of(place):
            raise ReadError(f"no history of the experiment could be read by the API beside the database: {problem}")

    def _not_shown(self, run: Run) -> str | None:
        """Return why a history cannot be read both ways; empty: the run changed; ``None``: it was, and is the same.

        Raises:
            MalformedAnswer: the run did not change, and both hold different points.
        """
        # one request brings it
        keys = sorted(name for name, point in run.metrics.items() if point.step < CAP) or sorted(run.metrics)
        key = _CHANCE.choice(keys)
        run = replace(run, metrics={key: run.metrics[key]})
        by_api = [series for batch in self._reader.histories([run]) for series in batch]
        if problem := next((series.error for series in by_api if series.error is not None), None):
            return problem
        here = [one for batch in read_histories(self._open(), [run], self._reader.pool) for one in batch]
        if [*map(series_digest, here)] == [*map(series_digest, by_api)]:
            return None
        # runs that are listed otherwise are told of as such
        if not self.contradictions({run.experiment_id: [run.run_id]}):
            now = self._histories_now(run)
            if now is None or [*map(series_digest, now)] == [*map(series_digest, here)]:
                raise MalformedAnswer(
                    f"the database and the server disagree on the history of {key!r} of run {run.run_id}"
                )
        return ""

    def _histories_now(self, run: Run) -> list[Series] | None:
        database = self._as_it_is_now()
        try:
            return [one for batch in read_histories(database, [run], self._reader.pool) for one in batch]
        except ReadError:
            return None
        finally:
            database.close()

    def end_of_first_reading(self) -> None:
        """End the transaction: what is read from now on is read again, and comes by the API."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def contradictions(self, runs: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Return on which of these runs database and server disagree now, where neither changes, by experiment.

        They were read from the database, and the server lists them otherwise since. In a server in use they changed,
        came or went, and its database says so too.

        Raises:
            ReadError: one of both cannot be asked.
        """
        asked = {place: sorted(ids)[:_ASKED] for place, ids in runs.items()}
        every = [run_id for ids in asked.values() for run_id in ids]
        if not every:
            return {}
        # asked by several threads; a connection to SQLite is a copy of it
        with self._one_at_a_time:
            before = self._digests_now(every)
            by_api = {run_id: self._by_api(run_id) for run_id in every}
            wrong = {run_id for run_id in every if by_api[run_id] != before.get(run_id)}
            after = self._digests_now(sorted(wrong)) if wrong else {}
        still = {run_id for run_id in wrong if after.get(run_id) == before.get(run_id)}
        found: dict[str, str] = {}
        for place, ids in asked.items():
            if some := [run_id for run_id in ids if run_id in still]:
                more = f" and on {len(some) - 3} more of {len(ids)} that were asked for" if len(some) > 3 else ""
                found[place] = (
                    f"{self._url.option}: the database and the server disagree on run {', '.join(some[:3])}{more}; is "
                    "it that server's own, or an old copy?"
                )
        return found

    def _digests_now(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        database = self._as_it_is_now()
        try:
            return {run_id: listed_digest(run) for run_id, run in runs_of_ids(database, run_ids).items()}
        finally:
            database.close()

    def _as_it_is_now(self) -> Database:
        """Open the database in a transaction of its own.

        Raises:
            ReadError: it cannot be opened any more.
        """
        try:
            return Database(self._url)
        except UsageProblem as error:
            # it was there when the audit began
            raise ReadError(str(error)) from None

    def _by_api(self, run_id: str) -> bytes | None:
        run = self._reader.run_now(run_id)
        return None if run is None else listed_digest(run)

    def close(self) -> None:
        """Release both."""
        with suppress(Exception):
            self.end_of_first_reading()
        self._reader.close()
