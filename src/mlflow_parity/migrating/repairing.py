"""``repair``: what a red audit names is moved again; what is replaced on the target must be ours by the journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlflow_parity.errors import RequestRefused, UsageProblem
from mlflow_parity.model import REPLACED_TAG
from mlflow_parity.snapshot.keys import SOURCE_RUN_TAG
from mlflow_parity.verdict import Row, State

if TYPE_CHECKING:
    from mlflow_parity.locations import Location
    from mlflow_parity.migrating.dependents import Dependents
    from mlflow_parity.migrating.journal import Journal
    from mlflow_parity.migrating.writing import Writer
    from mlflow_parity.reading.server import ServerReader

#: Versions cannot be replaced one by one, because a number is never given twice: their container is.
_CONTAINER = {"model_version": "registered_model", "prompt_version": "prompt"}
_SAYS_NOTHING = frozenset({State.MATCH, State.EXPECTED, State.WAIVED})


@dataclass(frozen=True, slots=True)
class Damage:
    """One source object of which something is not green, and the target objects that the audit names with it."""

    kind: str
    source_id: str
    experiment: str
    name: str
    states: frozenset[State]
    targets: frozenset[str]

    @property
    def missing(self) -> bool:
        """Whether there is no copy at all."""
        return not self.targets


@dataclass(frozen=True, slots=True)
class Left:
    """What a repair cannot touch, and why."""

    kind: str
    identity: str
    name: str
    why: str


def read_damage(report: Path, target: Location) -> tuple[list[Damage], list[Left]]:
    """Return what an audit found, object by object, from the ledger beside its report.

    Raises:
        UsageProblem: it is no report, of other servers, its ledger is gone, or nothing in it is red.
    """
    from mlflow_parity.drafting import read_report
    from mlflow_parity.reporting.ledger import read_rows

    content = read_report(str(report), "--report")
    # a snapshot may have stood for the source
    told = content["sides"]["target"]["location"]
    if told != target.display:
        raise UsageProblem(f"--report: {report} is of another target ({told}, not {target.display}); give its report")
    ledger = report.with_name("ledger.parquet")
    if not ledger.exists():
        raise UsageProblem(f"--report: {ledger} is not there; audit again, and give that report")
    found, left = gather(row for row in read_rows(ledger) if row.state not in _SAYS_NOTHING)
    if not found and not left:
        raise UsageProblem(f"--report: {report} has nothing that is not green: there is nothing to repair")
    return found, left


def gather(rows: Iterable[Row]) -> tuple[list[Damage], list[Left]]:
    """Gather rows that are not green by their source object; what has none is left."""
    states: dict[tuple[str, str], set[State]] = defaultdict(set)
    targets: dict[tuple[str, str], set[str]] = defaultdict(set)
    names: dict[tuple[str, str], tuple[str, str]] = {}
    left: dict[tuple[str, str], Left] = {}
    for row in rows:
        if row.source_id is None:
            identity = row.target_id or ""
            why = "it is only on the target: the source has no such object, so it is not ours to delete"
            left[row.kind, identity] = Left(row.kind, identity, row.name or row.experiment, why)
            continue
        key = row.kind, row.source_id
        states[key].add(row.state)
        names[key] = row.experiment, row.name
        if row.target_id is not None:
            targets[key].add(row.target_id)
    found = [
        Damage(
            kind,
            identity,
            *names[kind, identity],
            frozenset(states[kind, identity]),
            frozenset(targets[kind, identity]),
        )
        for kind, identity in sorted(states)
    ]
    return found, list(left.values())


def mend(journal: Journal, damage: Iterable[Damage]) -> None:
    """First try: what is there is gone on with, as after a kill; what is missing is made.

    A copy that somebody deleted is not gone on with: the journal forgets it.
    """
    for one in damage:
        if journal.entry(one.kind, one.source_id) is None:
            continue
        if one.missing:
            journal.forget(one.kind, one.source_id)
        else:
            journal.again(one.kind, one.source_id)


def replace(
    journal: Journal,
    writer: Writer,
    reader: ServerReader,
    damage: Iterable[Damage],
    experiments: Mapping[str, str],
    dependents: Dependents,
) -> list[Left]:
    """Second try: delete our copies of what is still not green, so that they are made anew; return what is not ours.

    What names one of them for good (a logged model its run, a run the logged models that it made, a version both) is
    made anew with it. Ours stays where somebody else's copy stands beside it, or somebody else's version in it: the one
    would not become green, and the other would be lost.

    Args:
        journal: of the migration.
        writer: writes to the target.
        reader: reads from the target.
        damage: what is not green.
        experiments: source experiment ids and those of the target.
        dependents: what hangs on what at the source.

    Raises:
        ReadError: the target does not answer.
    """
    left: list[Left] = []
    found: dict[tuple[str, str], str] = {}
    for one in damage:
        kind = _CONTAINER.get(one.kind, one.kind)
        identity = one.source_id if kind == one.kind else one.source_id.rpartition("/")[0]
        entry = journal.entry(kind, identity)
        ours = None if entry is None else entry.target_id
        foreign = {copy for copy in one.targets if kind == one.kind and copy != ours}
        left += [
            Left(kind, copy, one.name, "this copy was not made by this migration (its journal does not know it)")
            for copy in sorted(foreign)
        ]
        if ours is not None and not foreign:
            found[kind, identity] = one.name if kind == one.kind else identity
    anew = dependents.fixed(found)
    versions = _versions(reader) if any(kind in _CONTAINER.values() for kind, _ in anew) else {}
    for kind, identity in sorted(anew):
        entry = journal.entry(kind, identity)
        if entry is None or entry.target_id is None:
            continue
        ours = entry.target_id
        if kind == "experiment":
            # an experiment is mended in place: deleting it would take along what is in it
            journal.again(kind, identity)
            continue
        strange = versions.get(ours, set()) - _known(journal, kind, identity) if kind in _CONTAINER.values() else set()
        if strange:
            why = f"not ours are its versions {', '.join(sorted(strange))}, which would be deleted with it"
            left.append(Left(kind, ours, found.get((kind, identity), entry.name), why))
            continue
        if kind == "run":
            _mark(writer, ours, identity)
        _delete(writer, kind, ours, experiments.get(entry.place, ""))
        journal.forget(kind, identity)
        for child, container in _CONTAINER.items():
            if container == kind:
                for version in list(journal.entries(kind=child)):
                    if version.source_id.rpartition("/")[0] == identity:
                        journal.forget(child, version.source_id)
    for kind, identity in sorted(dependents.loose(anew) - anew):
        if journal.entry(kind, identity) is not None:
            journal.again(kind, identity)
    return left


def _versions(reader: ServerReader) -> dict[str, set[str]]:
    """Return the numbers of the versions of each registered model and prompt that is on the target."""
    found: dict[str, set[str]] = defaultdict(set)
    for batch in reader.registry():
        for entity in batch:
            if entity.container:
                found[entity.container].add(str(entity.facets["number"]))
    return found


def _known(journal: Journal, kind: str, identity: str) -> set[str]:
    """Return the numbers that the versions of one of ours were given on the target."""
    [child] = [child for child, container in _CONTAINER.items() if container == kind]
    ours = journal.ids(child).items()
    return {copy.rpartition("/")[2] for source, copy in ours if source.rpartition("/")[0] == identity}


def _mark(writer: Writer, run_id: str, source_id: str) -> None:
    """Say of a run that it is replaced: in the trash it stays visible, and must not pass for a second copy."""
    runs = "/api/2.0/mlflow/runs"
    with _gone():
        writer.call("POST", f"{runs}/set-tag", {"run_id": run_id, "key": REPLACED_TAG, "value": source_id})
        writer.call("POST", f"{runs}/delete-tag", {"run_id": run_id, "key": SOURCE_RUN_TAG})


@contextmanager
def _gone() -> Iterator[None]:
    """Pass over what somebody deleted already, or what was done before a kill."""
    try:
        yield
    except RequestRefused as error:
        if error.status != 404 and error.code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise


def _delete(writer: Writer, kind: str, identity: str, experiment: str) -> None:
    api, three = "/api/2.0/mlflow", "/api/3.0/mlflow"
    calls: dict[str, tuple[str, str, dict[str, object] | None]] = {
        "run": ("POST", f"{api}/runs/delete", {"run_id": identity}),
        "logged_model": ("DELETE", f"{api}/logged-models/{quote(identity, safe='')}", None),
        "trace": (
            "POST",
            f"{api}/traces/delete-traces",
            {"experiment_id": experiment, "request_ids": [identity]},
        ),
        "registered_model": ("DELETE", f"{api}/registered-models/delete", {"name": identity}),
        "prompt": ("DELETE", f"{api}/registered-models/delete", {"name": identity}),
        "evaluation_dataset": ("DELETE", f"{three}/datasets/{quote(identity, safe='')}", None),
        "webhook": ("DELETE", f"{api}/webhooks/{quote(identity, safe='')}", None),
        "scorer": (
            "DELETE",
            f"{three}/scorers/delete",
            {"experiment_id": experiment, "name": identity.rpartition("/")[0]},
        ),
    }
    method, path, body = calls[kind]
    with _gone():
        writer.call(method, path, body)
