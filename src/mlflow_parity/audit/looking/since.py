"""What moved on a server since it was read into a snapshot: it stands in the snapshot, for every later audit.

Experiments and runs are told as an audit's second lists tell them; of logged models and traces which came and went.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mlflow_parity.audit.looking.looks import Looks
from mlflow_parity.audit.looking.second_look import GONE, SecondList, listed_now, of_experiment
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import Entity, Experiment
from mlflow_parity.kinds import KINDS
from mlflow_parity.reading import Reader
from mlflow_parity.snapshot.moved import LISTED_ALONE, Moved, changed, not_asked, objects_moved
from mlflow_parity.snapshot.store import Snapshot

_AT_ONCE = 4
#: Chooses of experiments.
InScope = Callable[[Iterable[Experiment]], Iterable[Experiment]]


def moved_since(reader: Reader, snapshot: Snapshot, *, include_deleted: bool, in_scope: InScope = iter) -> Moved:
    """List a server once more, of which a snapshot was just read: what came, went or changed is not in it.

    ``in_scope`` chooses of the experiments that came.
    """
    before = snapshot.experiments
    runs = SecondList(reader, snapshot, [one.experiment_id for one in before], include_deleted=include_deleted)
    now: dict[str, Experiment] | str
    try:
        try:
            now = listed_now(reader, before)
        except ReadError as error:
            now = str(error)
        return _between(reader, snapshot, now, runs, in_scope)
    finally:
        # whoever is interrupted waits for no list that was not begun
        runs.end()


def note_moved(looks: Looks) -> None:
    """Keep in the snapshots of both servers what the second lists of their audit told."""
    for name, side in looks.sides.items():
        if side.reader is not None:
            now = looks.listed.get(name, looks.unlisted.get(name, ""))
            side.snapshot.note_moved(_between(side.reader, side.snapshot, now, looks.lists.get(name)))


def _between(
    reader: Reader,
    snapshot: Snapshot,
    now: Mapping[str, Experiment] | str,
    runs: SecondList | None,
    in_scope: InScope = iter,
) -> Moved:
    """Return what moved; ``now`` may be why there is no second list, ``runs`` is ``None`` where none were read."""
    before = snapshot.experiments
    of: dict[str, dict[str, str]] = {one.experiment_id: {} for one in before}
    came: list[Experiment] = []
    if isinstance(now, str):
        for told in of.values():
            told["experiment"] = not_asked(now)
    else:
        came = [one for one in in_scope(now.values()) if one.experiment_id not in of]
        for old in before:
            there = now.get(old.experiment_id)
            found = () if there is None else of_experiment("", old, there)
            facets = [GONE] if there is None else [facet for change in found for facet in change.facets]
            if facets:
                of[old.experiment_id]["experiment"] = changed(facets)
    # those that are not there any more are told above
    places = [place for place in of if isinstance(now, str) or place in now]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parity-since") as pool:
        for place, more in zip(places, pool.map(partial(_objects, reader, snapshot), places), strict=True):
            of[place].update(more)
    for place, told in of.items():
        moved, unknown = (set[str](), "") if runs is None else runs.of(place)
        why = [*([objects_moved("run", moved)] if moved else []), *([unknown] if unknown else [])]
        if why:
            told["run"] = "; ".join(why)
    return Moved(tuple(came), {place: told for place, told in of.items() if told})


def _objects(reader: Reader, snapshot: Snapshot, place: str) -> dict[str, str]:
    """Return of logged models and traces of an experiment which came and went, by kind; only of what was read."""
    lists: Mapping[str, Callable[[], Iterator[Collection[Entity]]]] = {
        "logged_model": lambda: reader.experiment_objects(place, ["logged_model"]),
        "trace": lambda: reader.trace_infos(place),
    }
    assert lists.keys() == LISTED_ALONE
    objects = snapshot.objects(place)
    found: dict[str, str] = {}
    for kind, listing in lists.items():
        if objects.problem(KINDS[kind].part) is not None:
            continue
        before = {key.entity_id for key in objects.keys(kind)}
        try:
            moved = before ^ {one.entity_id for batch in listing() for one in batch}
        except ReadError as error:
            found[kind] = not_asked(str(error))
        else:
            if moved:
                found[kind] = objects_moved(kind, moved)
    return found
