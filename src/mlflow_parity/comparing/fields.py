"""Fields, tags and links of one pair of experiments or runs, by the rules of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Set

from mlflow_parity.comparing.difference import Difference, compare_mappings, compare_values
from mlflow_parity.core.identity.digests import input_value
from mlflow_parity.core.identity.keys import SOURCE_EXPERIMENT_TAG, SOURCE_RUN_TAG, carried, is_hop
from mlflow_parity.core.records import EXIM_PREFIX, NOTE_TAG, PARENT_TAG, DatasetInput, Experiment, Run
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces, is_relative, same_place

RUN_INFO = EXIM_PREFIX + "run_info."
FIELD = EXIM_PREFIX + "field."
MLFLOW_TAG = EXIM_PREFIX + "mlflow_tag."
USER_TAG = "mlflow.user"
_NAME_TAG = "mlflow.runName"
#: Compared by facets of their own, not as plain tags.
RUN_SPECIAL = frozenset({NOTE_TAG, PARENT_TAG, USER_TAG})


def made_by_tool(source: Run, target: Run) -> bool:
    """Whether the tool made the target run from this source run, by its own word."""
    return target.tags.get(SOURCE_RUN_TAG) == source.run_id and target.run_id != source.run_id


def text(value: object) -> str:
    """Return a value as the tool writes it into a source tag."""
    return str(value)


# --- runs


def run_name(source: Run, target: Run) -> list[Difference]:
    """Compare run names."""
    if not source.name and target.name:
        return [Difference("run_name", State.EXPECTED, "run.name.generated", source.name, target.name)]
    return compare_values("run_name", source.name, target.name, "run.name")


def run_status(source: Run, target: Run) -> list[Difference]:
    """Compare statuses."""
    return compare_values("status", source.status, target.status, "run.status")


def run_lifecycle(source: Run, target: Run) -> list[Difference]:
    """Compare lifecycle stages."""
    return compare_values("lifecycle_stage", source.lifecycle_stage, target.lifecycle_stage, "run.lifecycle")


def run_times(source: Run, target: Run) -> list[Difference]:
    """Compare times: equal, or moved by the import with the original in the source tags."""
    found = []
    for field, rule in (("start_time", "run.times.start"), ("end_time", "run.times.end")):
        original, copy = getattr(source, field), getattr(target, field)
        if original == copy:
            continue
        kept = target.tags.get(RUN_INFO + field)
        if made_by_tool(source, target) and kept == text(original):
            found.append(Difference(field, State.EXPECTED, rule, original, copy, f"original kept in {RUN_INFO}{field}"))
        else:
            says = "no source tag keeps the original" if kept is None else f"source tag says {kept}"
            found.append(Difference(field, State.MISMATCH, "run.times", original, copy, says))
    return found


def run_user(source: Run, target: Run) -> list[Difference]:
    """Compare the user: equal, or the importer's with the original in the source tags."""
    found = []
    ours = source.tags.get(USER_TAG)
    for key, original, copy, tag in (
        ("user_id", source.user_id or None, target.user_id or None, RUN_INFO + "user_id"),
        (USER_TAG, ours, target.tags.get(USER_TAG), MLFLOW_TAG + "user"),
    ):
        if original == copy:
            continue
        kept = target.tags.get(tag)
        # a source without user has nothing to keep
        if made_by_tool(source, target) and (original is None or kept == text(original)):
            note = f"original kept in {tag}" if original is not None else "the source has none"
            found.append(Difference(key, State.EXPECTED, "run.user.import", original, copy, note))
        else:
            found.append(Difference(key, State.MISMATCH, "run.user", original, copy))
    return found


def run_params(source: Run, target: Run) -> list[Difference]:
    """Compare params exactly."""
    return compare_mappings(source.params, target.params, "run.params")


def run_tags(source: Run, target: Run) -> list[Difference]:
    """Compare every tag that has no facet of its own."""
    tool = made_by_tool(source, target)

    def plain(tags: Mapping[str, str]) -> dict[str, str]:
        return {
            key: value
            for key, value in tags.items()
            if key not in RUN_SPECIAL and not (tool and key.startswith(EXIM_PREFIX))
        }

    ours, theirs = plain(source.tags), plain(target.tags)
    if not tool:
        # source tags on the target alone belong to the facet source_tags
        theirs = {key: value for key, value in theirs.items() if key in ours or not key.startswith(EXIM_PREFIX)}
    found = []
    if not source.name and _NAME_TAG not in ours and target.name and theirs.get(_NAME_TAG) == target.name:
        # the invented name stands in this tag as well
        found.append(Difference(_NAME_TAG, State.EXPECTED, "run.name.generated", None, theirs.pop(_NAME_TAG)))
    mine, copy = ours.get(_NAME_TAG), theirs.get(_NAME_TAG)
    kept = mine is not None and tool and target.tags.get(MLFLOW_TAG + "runName") == mine
    if kept and mine != source.name and target.name == source.name == copy:
        note = f"original kept in {MLFLOW_TAG}runName"
        found.append(
            Difference(_NAME_TAG, State.EXPECTED, "run.name.tag", ours.pop(_NAME_TAG), theirs.pop(_NAME_TAG), note)
        )
    return found + compare_mappings(ours, theirs, "run.tags")


def run_note(source: Run, target: Run) -> list[Difference]:
    """Compare the notes."""
    return _note(source.tags, target.tags, "run.note")


def run_source_tags(source: Run, target: Run) -> list[Difference]:
    """Compare the source tags with what the source says: complete and true."""
    rule = "run.source_tags"
    own = {key: value for key, value in target.tags.items() if key.startswith(EXIM_PREFIX)}
    same_times = (source.start_time, source.end_time) == (target.start_time, target.end_time)
    if target.run_id == source.run_id or (same_times and own == exim_tags(source.tags)):
        # chained migrations: the source may carry tags of an earlier one, which are plain content here
        ours = exim_tags(source.tags)
        found = compare_mappings(ours, own, rule)
        return found or [Difference("", State.EXPECTED, "run.source_tags.not-created")]
    required = {
        RUN_INFO + field: text(getattr(source, field))
        for field in (
            "run_id",
            "experiment_id",
            "status",
            "start_time",
            "end_time",
            "lifecycle_stage",
            "artifact_uri",
        )
    }
    optional = {RUN_INFO + "user_id": source.user_id, RUN_INFO + "run_name": source.name}
    return _source_tags(rule, source.tags, own, required, optional)


#: Source type of a dataset input that is an evaluation dataset, told by its id.
_EVALUATION = "mlflow_evaluation_dataset"


def run_inputs(source: Run, target: Run) -> list[Difference]:
    """Compare dataset inputs as a multiset; what has the same name and context is shown together."""
    ours, theirs = list(source.inputs), list(target.inputs)
    matched = []
    for dataset in list(ours):
        twin = next((other for other in theirs if input_value(other) == input_value(dataset)), None)
        if twin is not None:
            ours.remove(dataset)
            theirs.remove(twin)
            matched.append(input_value(dataset))
    found = [
        Difference(_input_key(twin), State.EXPECTED, "run.inputs.evaluation-dataset", twin.source, twin.source)
        for twin in target.inputs
        if twin.source_type == _EVALUATION and source.run_id != target.run_id and input_value(twin) in matched
    ]
    for dataset in ours:
        if input_value(dataset) in matched:
            key, told = _input_key(dataset), _input_dict(dataset)
            found.append(Difference(key, State.EXPECTED, "run.inputs.repeated", source=told))
            continue
        twin = next((other for other in theirs if other.name == dataset.name), None)
        if twin is not None:
            theirs.remove(twin)
            found += _one_input(dataset, twin)
        else:
            found.append(Difference(_input_key(dataset), State.MISSING, "run.inputs", source=_input_dict(dataset)))
    found += [
        Difference(_input_key(dataset), State.EXTRA, "run.inputs", target=_input_dict(dataset)) for dataset in theirs
    ]
    return found


def _one_input(dataset: DatasetInput, twin: DatasetInput) -> list[Difference]:
    ours, theirs = _input_dict(dataset), _input_dict(twin)
    return [
        Difference(f"{_input_key(dataset)}: {field}", State.MISMATCH, "run.inputs", ours[field], theirs[field])
        for field in ours
        if ours[field] != theirs[field]
    ]


def _input_key(dataset: DatasetInput) -> str:
    return f"{dataset.name} ({dataset.context or 'no context'})"


def _input_dict(dataset: DatasetInput) -> dict[str, object]:
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
        "tags": dict(dataset.tags) if len(dict(dataset.tags)) == len(dataset.tags) else sorted(dataset.tags),
    }


_NO_PLACE = "the copy has no place for files"


def run_artifact_uri(source: Run, target: Run, places: CopyPlaces) -> list[Difference]:
    """A copy keeps its files in a place of its own; the same run keeps its own place."""
    rule = "run.artifact_uri"
    ours, theirs = source.artifact_uri, target.artifact_uri
    if ours and not theirs:
        return [Difference("artifact_uri", State.MISSING, rule, ours, theirs, _NO_PLACE)]
    if source.run_id != target.run_id and source.run_id in theirs:
        note = "the copy's location names the source's run"
        return [Difference("artifact_uri", State.MISMATCH, rule, ours, theirs, note)]
    if not same_place(ours, theirs) or is_relative(ours):
        note = places.wrong("run", (source.run_id, target.run_id), ours, theirs)
        if note:
            return [Difference("artifact_uri", State.MISMATCH, rule, ours, theirs, note)]
    if source.run_id == target.run_id:
        # a restored store may stand elsewhere; what must stay is the part behind the root
        tail = f"/{source.run_id}/"
        same = ours == theirs or (
            tail in ours and ours.partition(tail)[2] == theirs.partition(tail)[2] and tail in theirs
        )
        return [] if same else [Difference("artifact_uri", State.MISMATCH, rule, ours, theirs)]
    if same_place(ours, theirs) and not is_relative(ours):
        note = "the copy keeps its files in the source's place: they go when the source goes"
        return [Difference("artifact_uri", State.MISMATCH, rule, ours, theirs, note)]
    return []


# --- experiments


def is_default(source: Experiment, target: Experiment) -> bool:
    """Whether both are the Default experiment that every server makes for itself."""
    return all(item.experiment_id == "0" and item.name == "Default" for item in (source, target))


def is_original(source: Experiment, target: Experiment) -> bool:
    """Whether the target's is no new one: the API cannot set a creation time, so equal ones are no accident."""
    alike = source.experiment_id == target.experiment_id or source.name == target.name
    return alike and source.creation_time is not None and source.creation_time == target.creation_time


def experiment_name(source: Experiment, target: Experiment) -> list[Difference]:
    """Compare names."""
    return compare_values("name", source.name, target.name, "experiment.name")


def experiment_lifecycle(source: Experiment, target: Experiment) -> list[Difference]:
    """Compare lifecycle stages."""
    return compare_values("lifecycle_stage", source.lifecycle_stage, target.lifecycle_stage, "experiment.lifecycle")


def experiment_tags(source: Experiment, target: Experiment) -> list[Difference]:
    """Compare user tags and mlflow.* tags."""
    ours = {key: value for key, value in source.tags.items() if key != NOTE_TAG and not key.startswith(EXIM_PREFIX)}
    theirs = {key: value for key, value in target.tags.items() if key != NOTE_TAG and not key.startswith(EXIM_PREFIX)}
    return compare_mappings(ours, theirs, "experiment.tags")


def experiment_note(source: Experiment, target: Experiment) -> list[Difference]:
    """Compare the notes."""
    return _note(source.tags, target.tags, "experiment.note")


def experiment_source_tags(source: Experiment, target: Experiment) -> list[Difference]:
    """Compare the source tags with what the source says."""
    rule = "experiment.source_tags"
    own = exim_tags(target.tags)
    if not own and is_default(source, target):
        return [Difference("", State.EXPECTED, "experiment.source_tags.default")]
    if is_original(source, target):
        found = compare_mappings(exim_tags(source.tags), own, rule)
        return found or [Difference("", State.EXPECTED, "experiment.source_tags.not-created")]
    required = {
        FIELD + field: text(getattr(source, field))
        for field in ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time")
    }
    optional = {FIELD + "last_update_time": text(source.last_update_time)}
    return _source_tags(rule, source.tags, own, required, optional)


def experiment_times(source: Experiment, target: Experiment) -> list[Difference]:
    """Compare the creation time by the contract; the update time is expected to differ."""
    found = []
    if source.creation_time != target.creation_time:
        kept = target.tags.get(FIELD + "creation_time")
        values = ("creation_time", source.creation_time, target.creation_time)
        if kept is not None and target.tags.get(SOURCE_EXPERIMENT_TAG) == source.experiment_id:
            state = State.EXPECTED if kept == text(source.creation_time) else State.MISMATCH
            found.append(
                Difference(values[0], state, "experiment.times.creation", *values[1:], f"source tag says {kept}")
            )
        elif is_default(source, target):
            found.append(Difference(values[0], State.EXPECTED, "experiment.times.default", *values[1:]))
        elif exim_tags(target.tags):
            note = "its source tags do not keep the original"
            found.append(Difference(values[0], State.MISMATCH, "experiment.times.creation", *values[1:], note))
        else:
            found.append(Difference(values[0], State.EXPECTED, "experiment.times.untagged", *values[1:]))
    if source.last_update_time != target.last_update_time:
        updates = (source.last_update_time, target.last_update_time)
        found.append(Difference("last_update_time", State.EXPECTED, "experiment.times.update", *updates))
    return found


def experiment_location(source: Experiment, target: Experiment, places: CopyPlaces) -> list[Difference]:
    """The copy keeps its files in a place of its own."""
    same_object = (source.experiment_id, source.creation_time) == (target.experiment_id, target.creation_time)
    ours, theirs = source.artifact_location, target.artifact_location
    rule = "experiment.artifact_location"
    if ours and not theirs:
        return [Difference("artifact_location", State.MISSING, rule, ours, theirs, _NO_PLACE)]
    if same_place(ours, theirs) and not is_relative(ours):
        note = "" if same_object else "the copy keeps its files in the source's place: they go when the source goes"
    else:
        note = places.wrong("experiment", (source.experiment_id, target.experiment_id), ours, theirs)
    return [Difference("artifact_location", State.MISMATCH, rule, ours, theirs, note)] if note else []


# --- both


def _note(source: Mapping[str, str], target: Mapping[str, str], rule: str) -> list[Difference]:
    ours = {NOTE_TAG: source[NOTE_TAG]} if NOTE_TAG in source else {}
    theirs = {NOTE_TAG: target[NOTE_TAG]} if NOTE_TAG in target else {}
    return compare_mappings(ours, theirs, rule)


def exim_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the source tags that the Export Import tool wrote."""
    return {key: value for key, value in tags.items() if key.startswith(EXIM_PREFIX)}


def _source_tags(
    rule: str,
    source_tags: Mapping[str, str],
    own: Mapping[str, str],
    required: Mapping[str, str],
    optional: Mapping[str, str],
) -> list[Difference]:
    """Compare source tags: ``required`` must be there, ``optional`` may; all that are there must be true."""
    wanted = {
        **required,
        # the tool drops every occurrence of the prefix, not only the leading one
        **{
            MLFLOW_TAG + key.replace("mlflow.", ""): value
            for key, value in source_tags.items()
            if key.startswith("mlflow.")
        },
    }
    wanted.update({key: value for key, value in optional.items() if key in own})
    earlier = exim_tags(source_tags)
    found = []
    for key, value in sorted(wanted.items()):
        if key not in own:
            found.append(Difference(key, State.MISSING, rule, source=value))
        elif own[key] != value:
            found.append(Difference(key, State.MISMATCH, rule, value, own[key]))
    for key, value in sorted(own.items()):
        # a mlflow_tag.* that no tag of the source explains is a forgery or another run's; of run_info.* and
        # field.* the key set depends on the exporting client
        if key not in wanted and key.startswith(MLFLOW_TAG) and earlier.get(key) != value:
            found.append(Difference(key, State.EXTRA, rule, target=value))
    return found + compare_hops(earlier, own, rule, {one.key for one in found})


def compare_hops(source: Mapping[str, str], own: Mapping[str, str], rule: str, told: Set[str]) -> list[Difference]:
    """Compare the source tags that the source has itself, but for those of which something is ``told`` already."""
    kept = {key: value for key, value in own.items() if is_hop(key)}
    verbatim = {key: value for key, value in source.items() if is_hop(key)}
    if not kept.items() <= verbatim.items():
        return compare_mappings(carried(source), kept, rule)
    # a tool that knows nothing of hops copies all tags as they are, and writes its own over those with their names
    found = compare_mappings(verbatim, kept, rule)
    for key, value in sorted(source.items()):
        # formatted times are not carried: they are no evidence
        if key in verbatim or key in told or own.get(key) == value or not carried({key: value}):
            continue
        state, name = (State.EXPECTED, f"{rule}.hops") if key in own else (State.MISSING, rule)
        found.append(Difference(key, state, name, value, own.get(key)))
    return found
