"""Puts one object's files on the target, each on its own: a file that cannot be put does not keep back the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.migrating.write.files import NotUploaded, Uploads
from mlflow_parity.migrating.write.mlmodel import Lookup, Place, rewritten
from mlflow_parity.reading.artifacts.stores import is_faithful


@dataclass(slots=True)
class Put:
    """What came of it: how many files and bytes were sent, what may be tried again and what the target cannot hold."""

    files: int = 0
    size: int = 0
    failed: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)


def put_tree(uploads: Uploads, tree: ArtifactTree, source: Place, target: Place, runs: Lookup, models: Lookup) -> Put:
    """Put a tree of ``source`` below the place of ``target``; ids in each ``MLmodel`` become the target's."""
    done = Put()
    if tree.error is not None:
        done.failed.append(f"its files could not be listed at the source: {tree.error}")

    there = uploads.begin(target.artifact_uri, tree.files)

    def rewrite(file: Artifact, content: bytes) -> bytes:
        # one that the snapshot did not keep is too large to be an MLmodel, and is compared byte by byte
        return content if file.content is None else rewritten(content, source, target, runs, models)

    for file in tree.files:
        if not can_hold(target.artifact_uri, file.path):
            done.impossible.append(f"file {file.path!r}: the target's artifact proxy would store it under another name")
            continue
        try:
            done.size += uploads.upload(target.artifact_uri, [file], rewrite, there)
        except NotUploaded as error:
            done.failed.append(f"file {error}")
        else:
            done.files += 1
    return done


def can_hold(uri: str, path: str) -> bool:
    """Whether a store keeps a file under this very name: MLflow's artifact proxy decodes what is not to be decoded."""
    parts = urlsplit(uri)
    if parts.scheme != "mlflow-artifacts":
        return True
    return is_faithful(f"{unquote(parts.path).strip('/')}/{path}")
