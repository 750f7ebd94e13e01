"""Asks both servers what people's clients ask of an experiment, and compares the answers through the pairing.

The questions are made of what was read of the source, a bounded number for each experiment: values that few objects
have, so that an answer is one page. Only what is paired counts: what has no copy is told by the facet ``presence``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds.trace import IN_STORE, SPANS_LOCATION
from mlflow_parity.reading.asking import Answer, Question
from mlflow_parity.reading.traces.traces import BATCHES
from mlflow_parity.reading.transport.capabilities import release

if TYPE_CHECKING:
    from mlflow_parity.audit.side import Side, SideName
    from mlflow_parity.comparing.links import ObjectLinks
    from mlflow_parity.core.records import Entity, Experiment, Run

RULE = "experiment.usable"
#: Objects whose values questions are made of, and those that a finding names.
_SAMPLE, _NAMED = 200, 3
#: Objects of which an answer is made: fewer than a page, as some may be of the same time.
_ASKED = 400
#: Keys of whose values questions are made, for each sort.
_KEYS = 2
#: Names and types of spans that are asked for.
_NAMES = 5
_LONGEST = 80
_SESSION, _USER = "mlflow.trace.session", "mlflow.trace.user"


@dataclass(slots=True)
class Usable:
    """Asks both sides; ``links`` tell the pairs of the objects that were read."""

    sides: Mapping[SideName, Side]
    links: ObjectLinks
    _copies: dict[str, set[str]] = field(default_factory=dict)

    def __call__(self, source: Experiment, target: Experiment) -> list[Difference]:
        """Return what the answers about an experiment and its copy differ in."""
        ids = (source.experiment_id, target.experiment_id)
        if None in [self.sides[side].reader for side in ("source", "target")]:
            return [Difference("", State.UNVERIFIED, RULE, note="not asked: a snapshot stands for a server")]
        found: list[Difference] = []
        for question in self._questions(source):
            judged = self._judged(question, ids)
            # what came while the audit was running is not held against anybody
            found += self._judged(question, ids) if any(not one.state.green for one in judged) else judged
        return found

    # --- questions

    def _questions(self, source: Experiment) -> Iterator[Question]:
        view = self.sides["source"].view(source)
        if view.problem("runs") is None:
            keys = {key.entity_id: key.created for key in view.run_keys() if not key.deleted}
            newest, since = _newest(keys)
            yield from of_runs(view.runs(newest), since)
        objects = self.sides["source"].snapshot.objects(source.experiment_id)
        if objects.problem("traces") is None:
            newest, since = _newest({key.entity_id: key.created for key in objects.keys("trace")})
            yield from of_traces(objects.entities("trace", newest), since)
        if self.links.of("evaluation_dataset"):
            yield Question("evaluation_dataset", "the experiment's datasets")

    # --- answers

    def _judged(self, question: Question, ids: tuple[str, str]) -> list[Difference]:
        """Return what the two servers' answers differ in."""
        answers = []
        for side, experiment in zip(("source", "target"), ids, strict=True):
            reader = self.sides["source" if side == "source" else "target"].reader
            assert reader is not None
            answers.append(reader.answer(experiment, question))
        ours, theirs = answers
        for side, one in zip(("source", "target"), answers, strict=True):
            if one.error or not one.whole:
                why = one.error or "it has more than a page of answers"
                return [Difference(question.text, State.UNVERIFIED, RULE, note=f"the {side} was not asked: {why}")]
        if ours.unknown or theirs.unknown:
            return [self._unknown(question, "source" if ours.unknown else "target", ours.unknown or theirs.unknown)]
        if question.about == "figure":
            return self._figures(question, ours, theirs, ids[1])
        if question.metric:
            return self._sorted(question, ours, theirs)
        return self._ids(question, ours, theirs, ids[1])

    def _unknown(self, question: Question, side: SideName, why: str) -> Difference:
        """A release of the target that gave it up, or never had it; of the same release on both sides only both do."""
        releases = [self.sides[name].snapshot.origin.version for name in ("source", "target")]
        if side == "target" and releases[0] is not None and releases[0] == releases[1]:
            return Difference(question.text, State.UNVERIFIED, RULE, note=f"the target refuses it: {why}")
        note = f"the {side}'s release does not know this search: {why}"
        return Difference(question.text, State.EXPECTED, f"{RULE}.release", note=note)

    def _pairs(self, kind: str) -> tuple[Mapping[str, str], set[str]]:
        """Return the pairs of a kind and all that are copies, which are made into a set once."""
        pairs = self.links.of(kind)
        known = self._copies.get(kind)
        if known is None or len(known) != len(pairs):
            known = self._copies[kind] = {*pairs.values()}
        return pairs, known

    def _ids(self, question: Question, ours: Answer, theirs: Answer, experiment: str) -> list[Difference]:
        pairs, copies = self._pairs(question.about)
        wanted, there = {pairs[one] for one in ours.ids if one in pairs}, {one for one in theirs.ids if one in copies}
        found = []
        lost, more = sorted(wanted - there), sorted(there - wanted)
        what = _WORDS[question.about]
        if lost:
            state, rule = State.MISSING, RULE
            if question.of_spans and self._all_in_files(experiment, lost):
                state, rule = State.EXPECTED, f"{RULE}.spans"
            note = f"{counted(len(lost), what)} not found by this search on the target: {_some(lost)}"
            found.append(Difference(question.text, state, rule, f"{len(wanted)} found", f"{len(there)} found", note))
        if more:
            note = f"{counted(len(more), what)} found by this search on the target alone: {_some(more)}"
            sizes = f"{len(wanted)} found", f"{len(there)} found"
            found.append(Difference(question.text, State.EXTRA, RULE, *sizes, note))
        return found

    def _sorted(self, question: Question, ours: Answer, theirs: Answer) -> list[Difference]:
        pairs, every = self._pairs("run")
        copies = [pairs.get(one, "") for one in ours.ids]
        # those of one value come in any order
        if copies == [*theirs.ids] or ours.values == theirs.values:
            return []
        if "" in copies or not {*theirs.ids} <= every:
            note = "runs without a copy are among the first"
            return [Difference(question.text, State.UNVERIFIED, RULE, note=note)]
        note = "the first runs in this order are others on the target"
        return [Difference(question.text, State.MISMATCH, RULE, [*copies], [*theirs.ids], note)]

    def _figures(self, question: Question, ours: Answer, theirs: Answer, experiment: str) -> list[Difference]:
        found = []
        for name in sorted(ours.figures.keys() | theirs.figures.keys()):
            mine, copy = ours.figures.get(name, 0.0), theirs.figures.get(name, 0.0)
            if mine == copy:
                continue
            expected = copy < mine and self._all_in_files(experiment, None)
            state, rule = (State.EXPECTED, f"{RULE}.spans") if expected else (State.MISMATCH, RULE)
            note = f"charts count {copy:.0f} of {counted(int(mine), 'spans')} of this name"
            found.append(Difference(f"{question.text}: {name}", state, rule, mine, copy, note))
        return found

    def _all_in_files(self, experiment: str, traces: Sequence[str] | None) -> bool:
        """Whether the target cannot hold spans in its database, and these copies (all of them) are not in it."""
        if self.links.keeps_spans():
            return False
        view = self.sides["target"].snapshot.objects(experiment)
        known = [key.entity_id for key in view.keys("trace")]
        chosen = known if traces is None else sorted({*traces} & {*known})
        return bool(chosen) and not any(
            one.facets["tags"].get(SPANS_LOCATION) == IN_STORE
            for first in range(0, len(chosen), _SAMPLE)
            # whole traces, their spans included: some at a time
            for one in view.entities("trace", chosen[first : first + _SAMPLE])
        )


_WORDS = {"run": "runs", "trace": "traces", "evaluation_dataset": "evaluation datasets"}


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")


def _newest(times: Mapping[str, int | None]) -> tuple[list[str], int | None]:
    """Return a sample of the newest objects, and since when these are: what came before is asked for by nobody here.

    ``None``: they are few enough for all to be in one answer.
    """
    ordered = sorted(times, key=lambda one: (times[one] or 0, one))
    newest = ordered[-_ASKED:]
    since = times[newest[0]] if len(ordered) > len(newest) else None
    return newest[:: max(1, math.ceil(len(newest) / _SAMPLE))], since


def of_runs(runs: Sequence[Run], since: int | None = None) -> Iterator[Question]:
    """Yield the questions that people ask of such runs: by params, tags, name, time and metrics, and in an order."""
    also = "" if since is None else f" AND attributes.start_time >= {since}"
    for sort, maps in (("params", [run.params for run in runs]), ("tags", [run.tags for run in runs])):
        for key, value in _rare(maps):
            yield Question("run", f"{sort}.`{key}` = '{value}'{also}")
    for _, name in _rare([{"name": run.name} for run in runs]):
        yield Question("run", f"attributes.run_name = '{name}'{also}")
    times = sorted({run.start_time for run in runs if run.start_time is not None})
    if times:
        yield Question("run", f"attributes.start_time >= {times[-min(len(times), 5)]}")
    keys = Counter(key for run in runs for key in run.metrics if _plain(key))
    for key, _ in sorted(keys.items(), key=lambda one: (-one[1], one[0]))[:_KEYS]:
        values = sorted({run.metrics[key].value for run in runs if key in run.metrics})
        values = [one for one in values if math.isfinite(one) and abs(one) < 1e15]
        if len(values) > 1:
            # between two values: what databases make of a number's last digit decides nothing
            yield Question("run", f"metrics.`{key}` > {(values[-1] + values[-2]) / 2!r}{also}")
        if values:
            yield Question("run", f"metrics.`{key}` DESC", metric=key)


def of_traces(traces: Sequence[Entity], since: int | None = None) -> Iterator[Question]:
    """Yield the questions that people ask of such traces: by tag, session and user, and by their spans."""
    also = "" if since is None else f" AND attributes.timestamp_ms >= {since}"
    for key, value in _rare([trace.facets["tags"] for trace in traces]):
        yield Question("trace", f"tags.`{key}` = '{value}'{also}")
    metadata = [trace.facets["metadata"] for trace in traces]
    for key in (_SESSION, _USER):
        for _, value in _rare([{"x": one[key]} for one in metadata if key in one]):
            yield Question("trace", f"metadata.`{key}` = '{value}'{also}")
    stored = [one for one in traces if one.facets["tags"].get(SPANS_LOCATION) == IN_STORE]
    spans = [span for trace in stored for span in islice(trace.facets["spans"], _SAMPLE)]
    for _, name in _rare(({"x": span["name"]} for span in spans), _NAMES):
        yield Question("trace", f"span.name = '{name}'{also}", of_spans=True)
    for _, kind in _rare(({"x": span["type"]} for span in spans), _NAMES):
        yield Question("trace", f"span.type = '{kind}'{also}", of_spans=True)
    for word in islice(_words(spans), 1):
        yield Question("trace", f"trace.text LIKE '%{word}%'{also}", of_spans=True)
    if stored:
        yield Question("figure", "number of spans by name", of_spans=True)


def _rare(maps: Iterable[Mapping[str, Any]], most: int = 1) -> list[tuple[str, str]]:
    """Return the rarest values of each of the commonest keys that can stand in a search."""
    values: dict[str, Counter[str]] = {}
    for one in maps:
        for key, value in one.items():
            if _plain(key) and isinstance(value, str) and _plain(value) and not key.startswith("mlflow"):
                values.setdefault(key, Counter())[value] += 1
    common = sorted(values.items(), key=lambda one: (-one[1].total(), one[0]))[:_KEYS]
    return [
        (key, value)
        for key, counter in common
        for value, _ in sorted(counter.items(), key=lambda one: (one[1], one[0]))[:most]
    ]


def _words(spans: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """Yield words of inputs that a text search looks for."""
    for span in spans:
        inputs = span["inputs"]
        texts = inputs.values() if isinstance(inputs, dict) else [inputs]
        for text in texts:
            for word in str(text).split() if isinstance(text, str) else ():
                if len(word) > 3 and word.isascii() and word.isalnum():
                    yield word[:_LONGEST]


def _plain(text: str) -> bool:
    """Whether a text can stand in a search as it is, on every release."""
    return 0 < len(text) <= _LONGEST and text.isprintable() and not {*text} & {*"'\"`\\%"} and text == text.strip()


def keeps_spans(side: Side) -> bool:
    """Whether it certainly can; of a snapshot's server the release tells it, of an ARN nothing does."""
    if side.reader is not None:
        return bool(side.reader.keeps_spans)
    origin = side.snapshot.origin
    return origin.kind == "http" and release(origin.version) >= BATCHES
