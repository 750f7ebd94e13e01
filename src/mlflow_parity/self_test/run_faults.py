"""Classes of faults in runs, but for their metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlflow_parity.comparing.fields import MLFLOW_TAG, RUN_INFO, RUN_SPECIAL, USER_TAG, exim_tags, made_by_tool
from mlflow_parity.core.identity.keys import SOURCE_RUN_TAG
from mlflow_parity.core.records import EXIM_PREFIX, NOTE_TAG, PARENT_TAG, DatasetInput, Run
from mlflow_parity.self_test.changes import without
from mlflow_parity.self_test.common_faults import file_faults, mapping_faults, text_faults
from mlflow_parity.self_test.fault import MADE_UP, MADE_UP_MODEL, Fault, Scene
from mlflow_parity.self_test.metric_faults import METRIC_FAULTS

_KIND = "run"
_STATUSES = ("FINISHED", "FAILED")


def _missing(scene: Scene) -> bool:
    scene.gone()
    return True


def _clone(scene: Scene, run: Run) -> bool:
    scene.target.runs[MADE_UP] = run = replace(run, run_id=MADE_UP)
    scene.target.stands_for[MADE_UP] = scene.copy
    return True


def _extra(scene: Scene) -> bool:
    theirs = scene.run[1]
    tags = {key: value for key, value in theirs.tags.items() if not key.startswith(EXIM_PREFIX)}
    return _clone(scene, replace(theirs, name=f"{theirs.name} (parity-self-test)", start_time=1, tags=tags))


def _twice(scene: Scene) -> bool:
    return _clone(scene, scene.run[1])


def _other_experiment(scene: Scene) -> bool:
    theirs = scene.run[1]
    tags = {**theirs.tags, SOURCE_RUN_TAG: MADE_UP}
    return SOURCE_RUN_TAG in theirs.tags and scene.run[0].run_id != theirs.run_id and scene.set_tags(tags)


def _forged(scene: Scene, tag: str) -> dict[str, str]:
    """The copy's tags, in which the one that would excuse a difference says something else."""
    ours, theirs = scene.run
    return {**theirs.tags, tag: "forged"} if made_by_tool(ours, theirs) else dict(theirs.tags)


def _time(name: str) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        ours = getattr(scene.run[0], name)
        return ours is not None and scene.change(**{name: ours + 1}, tags=_forged(scene, RUN_INFO + name))

    return plant


def _status(scene: Scene) -> bool:
    return scene.change(status=next(status for status in _STATUSES if status != scene.run[0].status))


def _stage(scene: Scene) -> bool:
    return scene.change(lifecycle_stage="active" if scene.run[0].lifecycle_stage == "deleted" else "deleted")


def _user(scene: Scene) -> bool:
    ours, theirs = scene.run
    if not ours.user_id and made_by_tool(ours, theirs):
        return False  # who ran it is not known, so it is not lost
    return scene.change(user_id="parity-self-test", tags=_forged(scene, RUN_INFO + "user_id"))


def _user_tag(scene: Scene) -> bool:
    ours = scene.run[0]
    tags = {**_forged(scene, MLFLOW_TAG + "user"), USER_TAG: "parity-self-test"}
    return USER_TAG in ours.tags and scene.set_tags(tags)


def _lost_source_tag(scene: Scene) -> bool:
    ours, theirs = scene.run
    key = RUN_INFO + "status"
    return made_by_tool(ours, theirs) and key in theirs.tags and scene.set_tags(without(theirs.tags, key))


def _forged_source_tag(scene: Scene) -> bool:
    ours, theirs = scene.run
    key = RUN_INFO + "status"
    return made_by_tool(ours, theirs) and key in theirs.tags and scene.set_tags({**theirs.tags, key: "forged"})


def _no_source_tags(scene: Scene) -> bool:
    ours, theirs = scene.run
    left = {key: value for key, value in theirs.tags.items() if not key.startswith(EXIM_PREFIX)}
    # a run with its own times may be one that the tool did not make: it needs no source tags
    own_times = (ours.start_time, ours.end_time) == (theirs.start_time, theirs.end_time)
    return made_by_tool(ours, theirs) and not own_times and scene.set_tags(left)


def _made_up_source_tag(scene: Scene) -> bool:
    theirs = scene.run[1]
    return not exim_tags(theirs.tags) and scene.set_tags({**theirs.tags, RUN_INFO + "status": "forged"})


def _parent(scene: Scene) -> bool:
    return PARENT_TAG in scene.tags[0] and scene.set_tags({**scene.tags[1], PARENT_TAG: MADE_UP})


def _other_parent(scene: Scene) -> bool:
    ours = scene.tags[0].get(PARENT_TAG)
    right = None if ours is None else scene.links.runs.pairs.get(ours)
    if ours is None or scene.other is None or scene.other[1] in (right, ours):
        return False
    scene.set_tags({**scene.tags[1], PARENT_TAG: scene.other[1]})
    return True


def _stale_parent(scene: Scene) -> bool:
    ours = scene.tags[0].get(PARENT_TAG)
    if ours is None or scene.links.runs.pairs.get(ours, ours) == ours:
        return False
    scene.set_tags({**scene.tags[1], PARENT_TAG: ours})
    return True


def _no_parent(scene: Scene) -> bool:
    return PARENT_TAG in scene.tags[0] and scene.set_tags(without(scene.tags[1], PARENT_TAG))


def _made_up_parent(scene: Scene) -> bool:
    return PARENT_TAG not in scene.tags[0] and scene.set_tags({**scene.tags[1], PARENT_TAG: MADE_UP})


def _inputs(change: Callable[[tuple[DatasetInput, ...]], tuple[DatasetInput, ...]], *, some: bool = True,
            ) -> Callable[[Scene], bool]:  # fmt: skip
    def plant(scene: Scene) -> bool:
        ours = scene.run[0].inputs
        return (bool(ours) or not some) and scene.change(inputs=change(ours))

    return plant


def _first(change: Callable[[DatasetInput], DatasetInput]) -> Callable[[Scene], bool]:
    return _inputs(lambda inputs: (change(inputs[0]), *inputs[1:]))


_Links = tuple[tuple[str, int], ...]


def _links(facet: str, change: Callable[[_Links], _Links]) -> Callable[[Scene], bool]:
    """Alter the links, of which the first is to a model that has a copy."""

    def plant(scene: Scene) -> bool:
        ours, theirs = (getattr(run, facet) for run in scene.run)
        pairs = scene.links.of("logged_model")
        copies = [(pairs.get(model, ""), step) for model, step in ours or ()]
        first = next((link for link in theirs or () if link in copies), None)
        rest = tuple(link for link in theirs or () if link != first)
        return first is not None and scene.change(**{facet: tuple(sorted(change((first, *rest))))})

    return plant


def _model_faults(facet: str) -> list[Fault]:
    needs = "a run with such a link"
    return [
        Fault(_KIND, facet, "one lost", _links(facet, lambda links: links[1:]), needs),
        Fault(_KIND, facet, "to another model",
              _links(facet, lambda links: ((MADE_UP_MODEL, links[0][1]), *links[1:])), needs),
        Fault(_KIND, facet, "at another step",
              _links(facet, lambda links: ((links[0][0], links[0][1] + 1), *links[1:])), needs),
        Fault(_KIND, facet, "one too many",
              lambda scene: getattr(scene.run[0], facet) is not None and getattr(scene.run[1], facet) is not None
              and scene.change(**{facet: (*getattr(scene.run[1], facet), (MADE_UP_MODEL, 0))}),
              "a server that has logged models"),
    ]  # fmt: skip


def _source_place(scene: Scene) -> bool:
    ours, theirs = scene.run
    if ours.run_id == theirs.run_id:
        return scene.change(artifact_uri=f"{theirs.artifact_uri}/elsewhere")
    if ours.run_id not in ours.artifact_uri:
        return False
    scene.change(artifact_uri=ours.artifact_uri)
    return True


_NEW = DatasetInput("parity-self-test", "x", "local", "x", "", "", ())
RUN_FAULTS: tuple[Fault, ...] = (
    Fault(_KIND, "presence", "lost", _missing),
    Fault(_KIND, "presence", "one too many", _extra),
    Fault(_KIND, "presence", "there twice", _twice),
    Fault(_KIND, "presence", "the source tag of another run", _other_experiment, "source tags"),
    *text_faults(_KIND, "name", lambda scene: scene.run[0].name, lambda scene, text: scene.change(name=text)),
    Fault(_KIND, "status", "another one", _status),
    Fault(_KIND, "times", "start one millisecond later", _time("start_time"), "a start time"),
    Fault(_KIND, "times", "end one millisecond later", _time("end_time"), "an end time"),
    Fault(_KIND, "lifecycle", "the other stage", _stage),
    Fault(_KIND, "user", "another one", _user, "a user"),
    Fault(_KIND, "user", "another one in the tag", _user_tag, "a tag mlflow.user"),
    *mapping_faults(_KIND, "params", lambda scene: (scene.run[0].params, scene.run[1].params),
                    lambda scene, params: scene.change(params=dict(params)), lambda scene, key: True),
    Fault(_KIND, "params", "those of another run",
          lambda scene: scene.other is not None
          and scene.change(params=scene.target.runs[scene.other[1]].params), "two runs with different params"),
    *METRIC_FAULTS,
    *mapping_faults(_KIND, "tags", lambda scene: scene.tags, lambda scene, tags: scene.set_tags(tags),
                    lambda scene, key: key not in RUN_SPECIAL and not key.startswith(EXIM_PREFIX)),
    *text_faults(_KIND, "note", lambda scene: scene.tags[0].get(NOTE_TAG),
                 lambda scene, text: scene.set_tags({**scene.tags[1], NOTE_TAG: text})),
    Fault(_KIND, "note", "made up",
          lambda scene: NOTE_TAG not in scene.tags[0] and scene.set_tags({**scene.tags[1], NOTE_TAG: "x"}),
          "a run without note"),
    Fault(_KIND, "source_tags", "one lost", _lost_source_tag, "source tags"),
    Fault(_KIND, "source_tags", "one forged", _forged_source_tag, "source tags"),
    Fault(_KIND, "source_tags", "all lost", _no_source_tags, "source tags"),
    Fault(_KIND, "source_tags", "one made up", _made_up_source_tag, "a run that was not made by the tool"),
    Fault(_KIND, "parent", "one that is not there", _parent, "a child run"),
    Fault(_KIND, "parent", "another run", _other_parent, "a child run, and another run that is not its parent"),
    Fault(_KIND, "parent", "still the source's", _stale_parent, "a child run whose parent has a new id"),
    Fault(_KIND, "parent", "lost", _no_parent, "a child run"),
    Fault(_KIND, "parent", "made up", _made_up_parent, "a run without parent"),
    Fault(_KIND, "inputs", "one lost", _inputs(lambda inputs: inputs[1:]), "a dataset input"),
    Fault(_KIND, "inputs", "one too many", _inputs(lambda inputs: (*inputs, _NEW), some=False)),
    Fault(_KIND, "inputs", "one there twice", _inputs(lambda inputs: (*inputs, inputs[0])), "a dataset input"),
    Fault(_KIND, "inputs", "another digest", _first(lambda one: replace(one, digest=one.digest + "x")),
          "a dataset input"),
    Fault(_KIND, "inputs", "another source", _first(lambda one: replace(one, source=one.source + "x")),
          "a dataset input"),
    Fault(_KIND, "inputs", "another schema", _first(lambda one: replace(one, schema=one.schema + "x")),
          "a dataset input"),
    Fault(_KIND, "inputs", "another profile", _first(lambda one: replace(one, profile=one.profile + "x")),
          "a dataset input"),
    Fault(_KIND, "inputs", "a tag more, or another context",
          _first(lambda one: replace(one, tags=(*one.tags, ("parity-self-test", "x")))), "a dataset input"),
    *_model_faults("model_inputs"),
    *_model_faults("model_outputs"),
    *file_faults(_KIND, "artifacts"),
    Fault(_KIND, "artifact_uri", "another place, or the source's", _source_place, "a place that names the run"),
)  # fmt: skip
