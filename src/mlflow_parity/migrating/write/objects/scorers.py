"""Scorers: every version of one, in the order of their numbers. The Export Import tool moves none."""

from __future__ import annotations

from functools import partial
from typing import Any

from mlflow_parity.core.errors import NotMoved
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.json_text import written
from mlflow_parity.core.records import Entity
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.moving import API, Ending, Visit, Writing, carry, key_of
from mlflow_parity.reading.others import read_scorers


def _visit(visit: Visit) -> None:
    """Bring the scorers of an experiment; at the second visit, where one was refused."""
    context, source_id = visit.context, visit.here.experiment_id
    failed = context.journal.entries(kind="scorer", state="failed", place=source_id)
    objects = context.export.snapshot.objects(source_id)
    if objects.problem("scorers") is not None or (visit.again and next(failed, None) is None):
        return
    found = sorted(every(objects, "scorer", chunk=1), key=lambda one: (one.name, int(one.facets["number"])))
    writer = _Writer(context, source_id, found)
    for one in found:
        state = digest([one.entity_id, dict(one.facets)]).hex()
        carry(context, key_of(one), lambda state=state: state, partial(writer.write, one), may_lack=True)  # type: ignore[misc]


class _Writer:
    def __init__(self, context: Import, source_id: str, scorers: list[Entity]) -> None:
        self._context = context
        self._target = str(context.journal.target("experiment", source_id))
        self._ours = context.journal.ours("experiment", source_id)
        #: Definitions by name and number: the source's, and the target's as soon as they are asked for.
        self._own: dict[str, dict[int, Any]] = {}
        self._there: dict[str, dict[int, Any]] | None = None
        self._made: set[tuple[str, int]] = set()
        for one in scorers:
            self._own.setdefault(one.name, {})[int(one.facets["number"])] = one.facets["definition"]

    def write(self, scorer: Entity, _: Ending) -> None:
        """Make a version, or find it."""
        context, target, name = self._context, self._target, scorer.name
        if scorer.error is not None:
            raise NotMoved(f"it could not be read at the source: {scorer.error}")
        if self._there is None:
            self._there = _scorers(context, target)
        known, wanted = self._there.setdefault(name, {}), int(scorer.facets["number"])
        definition = scorer.facets["definition"]
        # numbers go on from the highest that is there: what the source has a gap for is made first, and deleted last
        while max(known, default=0) < wanted:
            number = _register(context, target, scorer, known)
            known[number] = definition
            self._made.add((name, number))
        if known.get(wanted) != definition:
            raise NotMoved("the target has another scorer of this name and version, or had one")
        for number in [one for one in known if one < wanted and one not in self._own[name]]:
            # in an experiment of others it may be theirs
            if (self._ours or (name, number) in self._made) and known[number] in self._own[name].values():
                body = {"experiment_id": target, "name": name, "version": number}
                context.writer.call("DELETE", f"{API}/scorers/delete", body)
                del known[number]
        made = self._ours or (name, wanted) in self._made
        note = context.journal.created if made else context.journal.found
        note(scorer.kind, scorer.entity_id, f"{target}/{name}/{wanted}")


def _scorers(context: Import, experiment: str) -> dict[str, dict[int, Any]]:
    there: dict[str, dict[int, Any]] = {}
    for batch in read_scorers(context.reader.session, experiment):
        for one in batch:
            there.setdefault(one.name, {})[int(one.facets["number"])] = one.facets["definition"]
    return there


def _register(context: Import, experiment: str, scorer: Entity, known: dict[int, Any]) -> int:
    definition = scorer.facets["definition"]
    text = definition if isinstance(definition, str) else written(definition)

    def find() -> int | None:
        there = _scorers(context, experiment).get(scorer.name, {})
        return max((number for number in there if number > max(known, default=0)), default=None)

    return context.writer.create(
        f"{API}/scorers/register",
        {"experiment_id": experiment, "name": scorer.name, "serialized_scorer": text},
        find=find,
        made=lambda answer: int(answer["version"]),
    )


#: A scorer that calls an endpoint of the gateway is refused before that is there.
SCORERS = Writing(("scorer",), links=("experiment",), again=("gateway_endpoint",), visit=_visit)
