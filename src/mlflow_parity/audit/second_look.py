"""What moved behind an audit's back: all is listed once more when everything was read, and names reconciled.

Nothing tells that an ended run was changed or deleted, nor that one came and ended, but a second list: so it is made,
in the fewest requests (1,000 runs a page, small experiments together). What could not be listed again is no pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mlflow_parity.audit.objects import Objects
from mlflow_parity.audit.scope import Scope, Selected
from mlflow_parity.audit.side import SIDES, Side, SideName
from mlflow_parity.audit.test_items import NONE, Item, late_item
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.objects import unread_rows
from mlflow_parity.core.digests import listed_digest
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds import of_family
from mlflow_parity.kinds.base import Family
from mlflow_parity.reading import Reader
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.schema import Listed
from mlflow_parity.snapshot.store import Snapshot

#: Lists that are read at once, as at the first reading; runs and experiments that one list holds at most.
_AT_ONCE = 4
_RUNS, _EXPERIMENTS = 1_000, 500
_REGISTERED: tuple[tuple[Family, str], ...] = (("model", "registered_model"), ("prompt", "prompt"))


def moved_runs(
    reader: Reader, snapshot: Snapshot, experiments: Sequence[str], *, include_deleted: bool
) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Return, by experiment, the runs that came, went or are not as they were read; and why this is not known."""
    moved: dict[str, set[str]] = {}
    unknown: dict[str, str] = {}

    def one(group: Sequence[str]) -> dict[str, set[str]]:
        rest = {place: snapshot.listed(place) or {} for place in group}
        found: dict[str, set[str]] = {}
        for page in reader.runs_of(group):
            for run in page:
                now = Listed(run.lifecycle_stage, listed_digest(run))
                before = rest[run.experiment_id].pop(run.run_id, None)
                out_of_scope = not include_deleted and {now[0], before[0] if before else "deleted"} == {"deleted"}
                if now != before and not out_of_scope:
                    found.setdefault(run.experiment_id, set()).add(run.run_id)
        for place, gone in rest.items():
            ids = {one for one, before in gone.items() if include_deleted or before.lifecycle_stage != "deleted"}
            if ids:
                found.setdefault(place, set()).update(ids)
        return found

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parity-again") as pool:
        for group, future in [(group, pool.submit(one, group)) for group in _groups(snapshot, experiments)]:
            try:
                moved.update(future.result())
            except ReadError as error:
                unknown.update(dict.fromkeys(group, f"whether it changed since could not be asked: {error}"))
    return moved, unknown


def _groups(snapshot: Snapshot, experiments: Sequence[str]) -> Iterator[list[str]]:
    """Yield the experiments whose runs were read, as many together as make a page."""
    group: list[str] = []
    size = 0
    for place in experiments:
        sidecar = snapshot.sidecar(place, "runs")
        if sidecar is None or "error" in sidecar:
            continue
        runs = int(sidecar["counts"]["runs"])
        if group and (size + runs > _RUNS or len(group) == _EXPERIMENTS):
            yield group
            group, size = [], 0
        group.append(place)
        size += runs
    if group:
        yield group


def listed_now(side: Side) -> dict[str, Experiment]:
    """Return the experiments that a live side has now, by id.

    Raises:
        ReadError: when they cannot be listed.
    """
    assert side.reader is not None
    now = {one.experiment_id: one for one in side.reader.experiments()}
    if any(one.experiment_id not in now for one in side.experiments()):
        # pages shift under a list that is being written to: gone is what two lists do not hold
        now = {**{one.experiment_id: one for one in side.reader.experiments()}, **now}
    return now


def unread(item: Item, objects: Objects) -> Iterator[Outcome]:
    """Yield rows for a registered model or prompt that has a test, and of which nothing was read on either side."""
    known = _read(item.family, objects)
    if known is not None and item.name not in known:
        yield from _rows(item, objects, "it was listed when the audit began, and was not there when it was read")


def late(scope: Scope, selected: Selected, objects: Objects) -> Iterator[tuple[Item, Outcome]]:
    """Yield rows for what is in a registry and has no test, as it was not listed when the audit began."""
    chosen = {item.key for item in selected.others}
    for family, _ in _REGISTERED if chosen else ():
        items = [item for item in scope.items if item.family == family]
        # where only some were selected, all others are left out, and the report says so
        if any(item.key not in chosen or item.id == NONE for item in items):
            continue
        known = (_read(family, objects) or set()) - {item.name for item in items}
        ours = _read(family, objects, SIDES[:1]) or set()
        for name in sorted(name for name in known if scope.is_wanted(name)):
            item = late_item(family, name, surplus=name not in ours)
            for row in _rows(item, objects, "it was not listed when the audit began"):
                yield item, row


def _rows(item: Item, objects: Objects, why: str) -> Iterator[Outcome]:
    for kind in of_family(item.family):
        reason = f"{why}: it changed while the audit was running; repeat it"
        yield from unread_rows(item.label, kind.name, objects.facets[kind.name], reason)


def _read(family: Family, objects: Objects, sides: Sequence[SideName] = SIDES) -> set[str] | None:
    """Return the names in the registries at either look; ``None`` where one was not read, which is said elsewhere."""
    kind = dict(_REGISTERED)[family]
    names: set[str] = set()
    for side in sides:
        for view in objects.looks(side, SERVER):
            if view.problem("registry") is not None:
                return None
            names.update(key.entity_id for key in view.keys(kind))
    return names
