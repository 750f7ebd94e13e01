"""Asks both servers what people's clients ask, and compares the answers through the pairing.

The questions are made of what was read of the source, a bounded number for each experiment, registered model and
prompt. Only what is paired counts: what has no copy is told by the facet ``presence``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.identity.digests import encode
from mlflow_parity.core.records import Entity, Experiment
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import VERSIONS, plural_of
from mlflow_parity.kinds.conventions.logged_images import newer_names
from mlflow_parity.kinds.trace import IN_STORE, SPANS_LOCATION
from mlflow_parity.reading.asking import Answer, Question
from mlflow_parity.reading.questions import SAMPLE, SINCE, newest, of_name, of_runs, of_traces
from mlflow_parity.reading.traces.traces import BATCHES
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.audit.side import Side
    from mlflow_parity.comparing.links import ObjectLinks
    from mlflow_parity.reading.transport.auth import SideName

#: Objects that a finding names.
_NAMED = 3
#: Versions of whose tags and runs questions are made.
_VERSIONS = 50
#: Objects of each kind whose answers are kept for the self-test.
_KEPT = 10
#: Ids of copies by those of the objects, by kind.
Pairs = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Told:
    """What both servers answered about one object: questions with both answers, and the pairs that judge them."""

    answers: tuple[tuple[Question, Answer, Answer], ...]
    pairs: Pairs


@dataclass(slots=True)
class Usable:
    """Asks both sides, ``workers`` questions at once; ``links`` tell the pairs of the objects that were read.

    ``told``: what was answered about some objects, by kind and the source's id. ``keeps``: it is kept there;
    ``repeats``: it is taken from there, and nobody is asked.
    """

    sides: Mapping[SideName, Side]
    links: ObjectLinks
    workers: int = 1
    keeps: bool = False
    repeats: bool = False
    told: dict[tuple[str, str], Told] = field(default_factory=dict)
    _versions: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def __call__(self, source: Experiment | Entity, target: Experiment | Entity) -> list[Difference]:
        """Return what the answers about an experiment, registered model or prompt and its copy differ in."""
        rule, key = f"{source.kind}.usable", (source.kind, source.entity_id)
        if self.repeats:
            known = self.told.get(key)
            if known is None:
                return [Difference("", State.UNVERIFIED, rule, note="not asked")]
            judge = _Judge(self, rule, target.entity_id, known.pairs)
            return [found for question, *both in known.answers for found in judge(question, both[0], both[1])]
        if None in [self.sides[side].reader for side in ("source", "target")]:
            return [Difference("", State.UNVERIFIED, rule, note="not asked: a snapshot stands for a server")]
        pairs = self._pairs(source)
        judge = _Judge(self, rule, target.entity_id, pairs)
        found: list[Difference] = []
        answers = []
        for question, ours, theirs in self._asked([*self._questions(source, pairs)], source, target):
            judged = judge(question, ours, theirs)
            if any(not one.state.green for one in judged):
                # what came while the audit was running is not held against anybody
                [(_, ours, theirs)] = self._asked([question], source, target)
                judged = judge(question, ours, theirs)
            found += judged
            answers.append((question, ours, theirs))
        if self.keeps and sum(kind == source.kind for kind, _ in self.told) < _KEPT:
            self.told[key] = Told(tuple(answers), _named_in(answers, pairs))
        return found

    def _asked(
        self, asked: Sequence[Question], source: Experiment | Entity, target: Experiment | Entity
    ) -> list[tuple[Question, Answer, Answer]]:
        """Ask both servers, at the same time and some questions at once."""
        ours, theirs = self.sides["source"].reader, self.sides["target"].reader
        assert ours is not None
        assert theirs is not None
        with (
            ThreadPoolExecutor(self.workers, thread_name_prefix="parity-asking") as mine,
            ThreadPoolExecutor(self.workers, thread_name_prefix="parity-asking") as other,
        ):
            here = mine.map(partial(ours.answer, source.entity_id), asked)
            there = other.map(partial(theirs.answer, target.entity_id), [one.of_copy() for one in asked])
            return list(zip(asked, here, there, strict=True))

    # --- questions

    def _pairs(self, source: Experiment | Entity) -> Pairs:
        """Return the pairs of what the answers may hold, as they are known now."""
        of = self.links.of

        def paired(kind: str, ids: Sequence[str]) -> dict[str, str]:
            pairs = of(kind)
            return {one: pairs[one] for one in ids if one in pairs}

        if isinstance(source, Entity):
            versions = VERSIONS[source.kind]
            found = {source.kind: paired(source.kind, [source.entity_id])}
            return {**found, versions: paired(versions, self._of_name(versions, source.entity_id)), "run": of("run")}
        view, objects = self._views(source)
        runs = [] if view.problem("runs") else [key.entity_id for key in view.run_keys()]
        traces = [] if objects.problem("traces") else [key.entity_id for key in objects.keys("trace")]
        return {
            "run": paired("run", runs),
            "trace": paired("trace", traces),
            "evaluation_dataset": of("evaluation_dataset"),
        }

    def _views(self, source: Experiment) -> tuple[Any, Any]:
        side = self.sides["source"]
        return side.view(source), side.snapshot.objects(source.experiment_id)

    def _of_name(self, versions: str, name: str) -> list[str]:
        """Return the ids of the source's versions of one registered model or prompt, in their order."""
        groups = self._versions.get(versions)
        if groups is None:
            groups = self._versions[versions] = {}
            for key in self.sides["source"].snapshot.objects(SERVER).keys(versions):
                groups.setdefault(key.container, []).append(key.entity_id)
            for ids in groups.values():
                ids.sort(key=_number)
        return groups.get(name, [])

    def _questions(self, source: Experiment | Entity, pairs: Pairs) -> Iterator[Question]:
        if isinstance(source, Entity):
            versions = VERSIONS[source.kind]
            ids = self._of_name(versions, source.entity_id)
            some = self.sides["source"].snapshot.objects(SERVER).entities(versions, ids[-_VERSIONS:])
            yield from of_name(source, some, [_number(one) for one in ids], pairs[versions], pairs["run"])
            return
        view, objects = self._views(source)
        if view.problem("runs") is None:
            sample, since = newest({key.entity_id: key.created for key in view.run_keys() if not key.deleted})
            yield from of_runs(view.runs(sample), pairs["run"], since)
        if objects.problem("traces") is None:
            sample, since = newest({key.entity_id: key.created for key in objects.keys("trace")})
            yield from of_traces(objects.entities("trace", sample), pairs["run"], since)
        if pairs["evaluation_dataset"]:
            yield Question("evaluation_dataset", "the experiment's datasets")

    # --- what the judge asks

    def releases(self) -> list[str | None]:
        """Return the releases of both sides."""
        return [self.sides[name].snapshot.origin.version for name in ("source", "target")]

    def all_in_files(self, experiment: str, traces: Sequence[str] | None) -> bool:
        """Whether the target cannot hold spans in its database, and these copies (all of them) are not in it."""
        if self.links.keeps_spans():
            return False
        view = self.sides["target"].snapshot.objects(experiment)
        known = [key.entity_id for key in view.keys("trace")]
        chosen = known if traces is None else sorted({*traces} & {*known})
        return bool(chosen) and not any(
            one.facets["tags"].get(SPANS_LOCATION) == IN_STORE
            for first in range(0, len(chosen), SAMPLE)
            # whole traces, their spans included: some at a time
            for one in view.entities("trace", chosen[first : first + SAMPLE])
        )


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges what both servers answered about one object, of which ``copy`` is the target's id."""

    asked: Usable
    rule: str
    copy: str
    pairs: Pairs

    def __call__(self, question: Question, ours: Answer, theirs: Answer) -> list[Difference]:
        """Return what the two answers differ in."""
        for side, one in (("source", ours), ("target", theirs)):
            if one.error or not one.whole:
                why = one.error or "it has more than a page of answers"
                return [self._unasked(question, f"the {side} was not asked: {why}")]
        if ours.unknown or theirs.unknown:
            return [self._unknown(question, "source" if ours.unknown else "target", ours.unknown or theirs.unknown)]
        if question.about == "figure":
            return self._figures(question, ours, theirs)
        if question.about in ("stage", "alias"):
            return self._leads(question, ours, theirs)
        if question.order:
            return self._sorted(question, ours, theirs)
        if question.about == "image":
            return self._images(question, ours, theirs)
        return self._ids(question, ours, theirs)

    def _unasked(self, question: Question, note: str) -> Difference:
        return Difference(question.text, State.UNVERIFIED, self.rule, note=note)

    def _unknown(self, question: Question, side: str, why: str) -> Difference:
        """A release of the target that gave it up, or never had it; of the same release on both sides only both do."""
        ours, theirs = self.asked.releases()
        if side == "target" and ours is not None and ours == theirs:
            return self._unasked(question, f"the target refuses it: {why}")
        note = f"the {side}'s release does not know this search: {why}"
        return Difference(question.text, State.EXPECTED, f"{self.rule}.release", note=note)

    def _ids(self, question: Question, ours: Answer, theirs: Answer) -> list[Difference]:
        pairs = self.pairs[question.about]
        if question.here.startswith(SINCE):
            # a copy that was made late has a high number, whatever its source's is
            first = int(question.here.removeprefix(SINCE))
            pairs = {one: copy for one, copy in pairs.items() if _number(one) >= first}
        copies = {*pairs.values()}
        wanted, there = {pairs[one] for one in ours.ids if one in pairs}, {one for one in theirs.ids if one in copies}
        lost, more = sorted(wanted - there), sorted(there - wanted)
        state, rule = State.MISSING, self.rule
        if lost and question.of_spans and self.asked.all_in_files(self.copy, lost):
            state, rule = State.EXPECTED, f"{self.rule}.spans"
        sizes = f"{len(wanted)} found", f"{len(there)} found"
        # by the ids on the source, which another migration leaves as they are
        own = {copy: one for one, copy in sorted(pairs.items(), reverse=True)}
        bound = _listed([own[one] for one in lost]), _listed([own[one] for one in more])
        return self._differing(question, lost, more, sizes, bound, (state, rule), plural_of(question.about))

    def _images(self, question: Question, ours: Answer, theirs: Answer) -> list[Difference]:
        newer, there = newer_names(ours.ids), {*theirs.ids}
        wanted = {one if one in there else newer.get(one, one) for one in ours.ids}
        lost, more = sorted(wanted - there), sorted(there - wanted)
        sizes = f"{len(wanted)} listed", f"{len(there)} listed"
        bound = _listed(lost), _listed(more)
        return self._differing(question, lost, more, sizes, bound, (State.MISSING, self.rule), "images")

    def _differing(
        self,
        question: Question,
        lost: Sequence[str],
        more: Sequence[str],
        sizes: tuple[str, str],
        bound: tuple[str, str],
        of_lost: tuple[State, str],
        what: str,
    ) -> list[Difference]:
        found = []
        if lost:
            note = f"{counted(len(lost), what)} not found by this search on the target: {_some(lost)}"
            found.append(Difference(question.text, *of_lost, *sizes, note, (bound[0], None)))
        if more:
            note = f"{counted(len(more), what)} found by this search on the target alone: {_some(more)}"
            found.append(Difference(question.text, State.EXTRA, self.rule, *sizes, note, (None, bound[1])))
        return found

    def _sorted(self, question: Question, ours: Answer, theirs: Answer) -> list[Difference]:
        pairs = self.pairs["run"]
        copies = [pairs.get(one, "") for one in ours.ids]
        # those of one value come in any order
        if copies == [*theirs.ids] or ours.values == theirs.values:
            return []
        if "" in copies or not {*theirs.ids} <= {*pairs.values()}:
            return [self._unasked(question, "runs without a copy are among the first")]
        note = "the first runs in this order are others on the target"
        return [Difference(question.text, State.MISMATCH, self.rule, [*copies], [*theirs.ids], note)]

    def _figures(self, question: Question, ours: Answer, theirs: Answer) -> list[Difference]:
        found = []
        for name in sorted(ours.figures.keys() | theirs.figures.keys()):
            mine, copy = ours.figures.get(name, 0.0), theirs.figures.get(name, 0.0)
            if mine == copy:
                continue
            expected = copy < mine and self.asked.all_in_files(self.copy, None)
            state, rule = (State.EXPECTED, f"{self.rule}.spans") if expected else (State.MISMATCH, self.rule)
            note = f"charts count {copy:.0f} of {counted(int(mine), 'spans')} of this name"
            found.append(Difference(f"{question.text}: {name}", state, rule, mine, copy, note))
        return found

    def _leads(self, question: Question, ours: Answer, theirs: Answer) -> list[Difference]:
        """Compare the versions to which stages or an alias lead: what people load by them."""
        pairs = self.pairs[VERSIONS[self.rule.partition(".")[0]]]
        found = []
        for name in sorted(ours.versions.keys() | theirs.versions.keys()):
            mine, copy = ours.versions.get(name), theirs.versions.get(name)
            wanted = None if mine is None else pairs.get(mine)
            if wanted == copy or (mine is not None and wanted is None):
                continue
            what = f"{question.about} {name}"
            if copy is None:
                state, note = State.MISSING, f"whoever loads by this {question.about} gets nothing from the target"
            elif mine is None:
                state, note = State.EXTRA, f"the source has no version of this {question.about}"
            else:
                state, note = State.MISMATCH, f"whoever loads by this {question.about} gets another version"
            found.append(Difference(what, state, self.rule, wanted, copy, note))
        return found


def _named_in(answers: Sequence[tuple[Question, Answer, Answer]], pairs: Pairs) -> Pairs:
    """Return the pairs of what answers name."""
    named = {
        one for _, *both in answers for answer in both for one in (*answer.ids, *answer.versions.values())
    }  # fmt: skip
    return {
        kind: {mine: copy for mine, copy in some.items() if mine in named or copy in named}
        for kind, some in pairs.items()
    }


def _number(version: str) -> int:
    return int(version.rpartition("/")[2])


def _listed(names: Sequence[str]) -> str:
    """Return how many these are, and a digest of all of them."""
    return f"{len(names)} found, sha256 {hashlib.sha256(encode(sorted(names))).hexdigest()}"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")


def keeps_spans(side: Side) -> bool:
    """Whether it certainly can; of a snapshot's server the release tells it, of an ARN nothing does."""
    if side.reader is not None:
        return bool(side.reader.keeps_spans)
    origin = side.snapshot.origin
    return origin.kind == "http" and release(origin.version) >= BATCHES
