"""Classes of faults in experiments."""

from __future__ import annotations

from dataclasses import replace

from mlflow_parity.comparing.fields import FIELD, exim_tags
from mlflow_parity.core.identity.keys import SOURCE_EXPERIMENT_TAG
from mlflow_parity.core.records import EXIM_PREFIX, NOTE_TAG
from mlflow_parity.core.scope import SAME_STORE
from mlflow_parity.self_test.changes import without
from mlflow_parity.self_test.common_faults import mapping_faults, text_faults
from mlflow_parity.self_test.fault import Fault, Scene

_KIND = "experiment"


def _missing(scene: Scene) -> bool:
    scene.gone()
    return True


def _extra(scene: Scene) -> bool:
    theirs = scene.experiment[1]
    name = f"{theirs.name} (parity-self-test)"
    # what the scope does not name is none of the audit's business
    if not scene.in_scope(name):
        return False
    tags = {key: value for key, value in theirs.tags.items() if not key.startswith(EXIM_PREFIX)}
    scene.target.experiments["9" * 18] = replace(theirs, experiment_id="9" * 18, name=name, tags=tags, creation_time=1)
    return True


def _twice(scene: Scene) -> bool:
    theirs = scene.experiment[1]
    if SOURCE_EXPERIMENT_TAG not in theirs.tags:
        return False
    copy = replace(theirs, experiment_id="9" * 18, name=f"{theirs.name} (parity-self-test)", creation_time=1)
    scene.target.experiments[copy.experiment_id] = copy
    return True


def _stage(scene: Scene) -> bool:
    return scene.change(lifecycle_stage="active" if scene.experiment[0].lifecycle_stage == "deleted" else "deleted")


def _lost_source_tag(scene: Scene) -> bool:
    key = FIELD + "lifecycle_stage"
    theirs = scene.experiment[1]
    return key in theirs.tags and scene.set_tags(without(theirs.tags, key))


def _forged_source_tag(scene: Scene) -> bool:
    key = FIELD + "artifact_location"
    theirs = scene.experiment[1]
    return key in theirs.tags and scene.set_tags({**theirs.tags, key: "s3://elsewhere"})


def _made_up_source_tag(scene: Scene) -> bool:
    ours, theirs = scene.experiment
    key = FIELD + "lifecycle_stage"
    return not exim_tags(theirs.tags) and key not in ours.tags and scene.set_tags({**theirs.tags, key: "forged"})


def _forged_time(scene: Scene) -> bool:
    ours, theirs = scene.experiment
    key = FIELD + "creation_time"
    if scene.profile == "same-store":
        return ours.creation_time is not None and scene.change(creation_time=ours.creation_time + 1)
    if key not in theirs.tags or SOURCE_EXPERIMENT_TAG not in theirs.tags or ours.creation_time is None:
        return False
    late = (theirs.creation_time or 0) + 1
    return scene.change(creation_time=late, tags={**theirs.tags, key: str(ours.creation_time + 1)})


def _source_place(scene: Scene) -> bool:
    ours, theirs = scene.experiment
    if scene.profile == "same-store":
        return scene.change(artifact_location=f"{theirs.artifact_location}/elsewhere")
    itself = (ours.experiment_id, ours.creation_time) == (theirs.experiment_id, theirs.creation_time)
    if itself or ours.artifact_location.startswith("mlflow-artifacts:"):
        return False
    scene.change(artifact_location=ours.artifact_location)
    return True


def _later(scene: Scene) -> bool:
    ours = scene.experiment[0]
    return ours.last_update_time is not None and scene.change(last_update_time=ours.last_update_time + 1)


EXPERIMENT_FAULTS: tuple[Fault, ...] = (
    Fault(_KIND, "presence", "lost", _missing),
    Fault(_KIND, "presence", "one too many", _extra, "a scope that names others"),
    Fault(_KIND, "presence", "there twice", _twice, "source tags"),
    *(
        fault
        for fault in text_faults(
            _KIND, "name", lambda scene: scene.experiment[0].name, lambda scene, text: scene.change(name=text)
        )
        if fault.name != "lost"
    ),
    Fault(_KIND, "lifecycle", "the other stage", _stage),
    *mapping_faults(
        _KIND,
        "tags",
        lambda scene: scene.tags,
        lambda scene, tags: scene.set_tags(tags),
        lambda _, key: key != NOTE_TAG and not key.startswith(EXIM_PREFIX),
    ),
    *text_faults(
        _KIND,
        "note",
        lambda scene: scene.tags[0].get(NOTE_TAG),
        lambda scene, text: scene.set_tags({**scene.tags[1], NOTE_TAG: text}),
    ),
    Fault(_KIND, "note", "made up",
          lambda scene: NOTE_TAG not in scene.tags[0] and scene.set_tags({**scene.tags[1], NOTE_TAG: "x"}),
          "an experiment without note"),
    Fault(_KIND, "source_tags", "one lost", _lost_source_tag, "source tags"),
    Fault(_KIND, "source_tags", "one forged", _forged_source_tag, "source tags"),
    Fault(_KIND, "source_tags", "one made up", _made_up_source_tag, "an experiment that was not made by the tool"),
    Fault(_KIND, "times", "creation one millisecond later", _forged_time, "source tags"),
    Fault(_KIND, "times", "update one millisecond later", _later, "an update time", profiles=SAME_STORE),
    Fault(_KIND, "artifact_location", "another place, or the source's", _source_place,
          "a place that is not each server's own"),
)  # fmt: skip
