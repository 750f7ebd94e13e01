"""Classes of faults in what the target answers when it is asked what people's clients ask (``--parity-usable``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mlflow_parity.kinds import VERSIONS
from mlflow_parity.reading.asking import Answer, Question
from mlflow_parity.self_test.fault import Fault, Scene

#: Of a question with both answers and the pairs of what they name: another answer of the target, if there is one.
_Change = Callable[[Question, Answer, Answer, Mapping[str, str]], Answer | None]
_MADE_UP = "images/parity-self-test.png"


def _answered(change: _Change) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        key = scene.kind, scene.one
        told = scene.target.told.get(key)
        if told is None:
            return False
        # those first of which no waiver speaks
        order = sorted(range(len(told.answers)), key=lambda one: scene.waived("usable", told.answers[one][0].text))
        for number in order:
            question, ours, theirs = told.answers[number]
            if ours.error or theirs.error or ours.unknown or theirs.unknown:
                continue
            about: str = question.about
            if about in ("stage", "alias"):
                about = VERSIONS[scene.kind]
            new = change(question, ours, theirs, told.pairs.get(about, {}))
            if new is not None:
                changed = (question, ours, new)
                answers = (*told.answers[:number], changed, *told.answers[number + 1 :])
                scene.target.told[key] = replace(told, answers=answers)
                return True
        return False

    return plant


def _without(ids: tuple[str, ...], one: str) -> tuple[str, ...]:
    return tuple(each for each in ids if each != one)


def _less(question: Question, ours: Answer, theirs: Answer, pairs: Mapping[str, str]) -> Answer | None:
    if question.order:
        return None
    wanted = {*theirs.ids} if question.about == "image" else {pairs[one] for one in ours.ids if one in pairs}
    lost = next((one for one in theirs.ids if one in wanted), None)
    return None if lost is None else replace(theirs, ids=_without(theirs.ids, lost))


def _more(question: Question, ours: Answer, theirs: Answer, pairs: Mapping[str, str]) -> Answer | None:
    if question.order or question.about in ("figure", "stage", "alias"):
        return None
    wanted = {pairs[one] for one in ours.ids if one in pairs}
    others = sorted({*pairs.values()} - {*theirs.ids} - wanted)
    others = [_MADE_UP] if question.about == "image" else others
    return replace(theirs, ids=(*theirs.ids, others[0])) if others else None


def _reordered(question: Question, ours: Answer, theirs: Answer, _: Mapping[str, str]) -> Answer | None:
    if not question.order or len({*ours.values}) < 2 or len(theirs.ids) < 2:
        return None
    return replace(theirs, ids=theirs.ids[::-1], values=theirs.values[::-1])


def _counted(question: Question, _: Answer, theirs: Answer, __: Mapping[str, str]) -> Answer | None:
    if question.about != "figure" or not theirs.figures:
        return None
    return replace(theirs, figures={name: figure + 1 for name, figure in theirs.figures.items()})


def _leading(to: str | None) -> _Change:
    def change(_: Question, ours: Answer, theirs: Answer, pairs: Mapping[str, str]) -> Answer | None:
        name = next((one for one in theirs.versions if ours.versions.get(one) in pairs), None)
        if name is None:
            return None
        rest = {one: version for one, version in theirs.versions.items() if one != name}
        head = theirs.versions[name].rpartition("/")[0]
        return replace(theirs, versions=rest if to is None else {**rest, name: f"{head}/{to}"})

    return change


def _silent(_: Question, __: Answer, ___: Answer, ____: Mapping[str, str]) -> Answer | None:
    return Answer(error="the self-test says so")


def _faults(kind: str) -> list[Fault]:
    return [
        Fault(kind, "usable", "a search that finds one less", _answered(_less), "an answer"),
        Fault(kind, "usable", "a search that is not answered", _answered(_silent), "an answer"),
    ]


def _faults_of_names(kind: str) -> list[Fault]:
    return [
        *_faults(kind),
        Fault(kind, "usable", "what leads to another version", _answered(_leading(f"{10**6}")), "an alias or a stage"),
        Fault(kind, "usable", "what leads to nothing", _answered(_leading(None)), "an alias or a stage"),
    ]


USABLE_FAULTS: tuple[Fault, ...] = (
    *_faults("experiment"),
    Fault("experiment", "usable", "a search that finds one more", _answered(_more), "a search that finds some alone"),
    Fault("experiment", "usable", "runs in another order", _answered(_reordered), "runs with two values"),
    Fault("experiment", "usable", "another number of spans", _answered(_counted), "spans that the server counts"),
    *_faults_of_names("registered_model"),
    *_faults_of_names("prompt"),
)
