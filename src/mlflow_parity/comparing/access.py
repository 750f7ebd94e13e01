"""Whether what is on the target can be used: a version's files came, its ``MLmodel`` parses, aliases resolve."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.comparing.trees import parses
from mlflow_parity.core.records import ArtifactTree, Entity, Resolved
from mlflow_parity.core.verdict import State

RULE = "model_version.access"
_MLMODEL = "MLmodel"


def compare_access(source: ArtifactTree, target: ArtifactTree) -> list[Difference]:
    """Judge the target's files by themselves; the source's only tell whether a fault was there before.

    A file that could not be read is ``unverified``: the auditor may lack a right that others have.
    """
    if target.error is not None:
        note = f"its files could not be listed: {target.error}"
        return [Difference("", State.UNVERIFIED, RULE, note=note)]
    found = [
        Difference(file.path, State.UNVERIFIED, RULE, note=f"cannot be downloaded: {file.error}")
        for file in target.files
        if file.error is not None
    ]
    ours, theirs = ({file.path: file for file in tree.files}.get(_MLMODEL) for tree in (source, target))
    if theirs is None:
        if ours is not None:
            found.append(Difference(_MLMODEL, State.MISSING, RULE, note="a version without it cannot be loaded"))
    elif theirs.error is None:
        if theirs.content is None:
            found.append(Difference(_MLMODEL, State.UNVERIFIED, RULE, note="too large to be parsed"))
        elif (reason := parses(theirs.content)) is not None:
            before = ours is not None and ours.content is not None and parses(ours.content) is not None
            if not before:
                found.append(Difference(_MLMODEL, State.MISMATCH, RULE, note=f"does not parse: {reason}"))
    return found


def compare_resolved(source: Entity, target: Entity, answers: Iterable[Resolved]) -> list[Difference]:
    """Judge what the target answered for the aliases of one registered model or prompt; each must be asked for.

    An alias that the target does not list and does not resolve is missing, which the facet ``aliases`` says.
    """
    rule = f"{target.kind}.resolves"
    listed = target.facets.get("aliases") or {}
    found: list[Difference] = []
    told = {answer.alias: answer for answer in answers}
    for alias in sorted({*listed, *(source.facets.get("aliases") or {})}):
        wanted, answer = listed.get(alias), told.get(alias)
        if answer is None or answer.error is not None:
            why = "it was not asked for" if answer is None else f"it cannot be asked for: {answer.error}"
            found.append(Difference(alias, State.UNVERIFIED, rule, wanted, note=why))
        elif answer.version is None and wanted is not None:
            found.append(
                Difference(alias, State.MISSING, rule, wanted, note="the server lists it and does not resolve it")
            )
        elif answer.version != wanted:
            note = "the server resolves it to another version than its list says"
            found.append(Difference(alias, State.MISMATCH, rule, wanted, answer.version, note))
    return found
