"""Whether a model version can be used from the target: its files came, and its ``MLmodel`` parses."""

from __future__ import annotations

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.comparing.trees import parses
from mlflow_parity.model import ArtifactTree
from mlflow_parity.verdict import State

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
