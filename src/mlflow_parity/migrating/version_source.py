"""Where the files of a version's copy are: its run, its logged model, another version, or a place of its own."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, urlsplit

from mlflow_parity.migrating.importing import Import
from mlflow_parity.migrating.mlmodel import Place
from mlflow_parity.migrating.run_writing import NotMoved
from mlflow_parity.migrating.uploading import put_tree
from mlflow_parity.model import Entity
from mlflow_parity.reading import endpoints
from mlflow_parity.snapshot.store import PlaceObjects

#: Folder, beside those of the experiments, of files that belong to no run and no logged model.
_OWN = "mlflow-parity-versions"


@dataclass(frozen=True, slots=True)
class Source:
    """A version's source on the target, with the run and the logged model that it is to be linked to."""

    uri: str
    run_id: str | None = None
    model_id: str | None = None


class Sources:
    """Finds the source of each version's copy."""

    def __init__(self, context: Import, objects: PlaceObjects) -> None:
        self._context = context
        self._objects = objects

    def waits(self, version: Entity) -> bool:
        """Whether it is made of another version that is not on the target yet."""
        other = _other_version(version)
        return other is not None and self._context.journal.target("model_version", other) is None

    def of(self, version: Entity) -> Source:
        """Return the source of a version's copy; files without a home are uploaded to one.

        Raises:
            NotMoved: there is no place for it on the target.
        """
        journal, facets = self._context.journal, version.facets
        uri = str(facets.get("source") or "")
        run = facets.get("run")
        run_copy = journal.target("run", run) if run else None
        model = facets.get("logged_model")
        model_copy = journal.target("logged_model", model) if model else None
        if model and model_copy is None and journal.state("logged_model", model) is not None:
            raise NotMoved(f"its logged model {model} is not on the target")
        other = _other_version(version)
        if other is not None:
            copy = journal.target("model_version", other)
            if copy is None:
                raise NotMoved(f"version {other}, which it is made of, is not on the target")
            return Source(f"models:/{copy}", run_copy, model_copy)
        if model_copy is not None:
            assert model is not None
            return Source(self._of_model(uri, model, model_copy), run_copy, model_copy)
        if run_copy is not None:
            assert run is not None
            below = self._below_run(uri, run)
            if below is not None:
                return Source(
                    posixpath.join(self._run_uri(run_copy), below) if below else self._run_uri(run_copy), run_copy
                )
        return self._own_place(version, run_copy)

    def _of_model(self, uri: str, model: str, copy: str) -> str:
        if uri.startswith("models:/"):
            rest = uri.removeprefix("models:/").partition("/")[2]
            return f"models:/{copy}/{rest}" if rest else f"models:/{copy}"
        _, found, rest = uri.partition(f"/{model}/artifacts")
        if not found:
            return f"models:/{copy}"
        answer = self._context.reader.session.get(endpoints.LOGGED_MODEL, below=quote(copy, safe=""))
        return str(answer["model"]["info"]["artifact_uri"]) + rest

    def _below_run(self, uri: str, run: str) -> str | None:
        """Return the path below the run's own files, ``None`` when the source is elsewhere."""
        if uri.startswith("runs:/"):
            owner, _, rest = uri.removeprefix("runs:/").partition("/")
            return rest if owner == run else None
        _, found, rest = uri.partition(f"/{run}/artifacts")
        return rest.strip("/") if found and (not rest or rest.startswith("/")) else None

    def _run_uri(self, run_id: str) -> str:
        answer = self._context.reader.session.get(endpoints.RUN, {"run_id": run_id})
        return str(answer["run"]["info"]["artifact_uri"])

    @cached_property
    def _root(self) -> str:
        """The target's artifact root: where its experiments have their folders."""
        experiments = sorted(self._context.reader.experiments(), key=lambda one: one.experiment_id)
        for one in experiments:
            if one.artifact_location.rstrip("/").endswith(f"/{one.experiment_id}"):
                return one.artifact_location.rstrip("/").rpartition("/")[0]
        raise NotMoved("the target does not tell where it keeps artifacts")

    def _own_place(self, version: Entity, run_copy: str | None) -> Source:
        """Upload the files to a place that belongs to no run: an S3 root takes it, newer artifact proxies do not."""
        tree = self._objects.files("model_version", version.entity_id)
        if tree.error is not None or any(file.error for file in tree.files):
            raise NotMoved(f"its files could not be read at the source: {tree.error or 'see the export'}")
        name, number = version.container, version.facets["number"]
        uri = posixpath.join(self._root, _OWN, quote(name, safe=""), str(number))
        if urlsplit(uri).scheme not in ("s3", "mlflow-artifacts"):
            raise NotMoved(
                "its source belongs to no run and no logged model, and the target has no place for such files"
            )
        journal = self._context.journal
        put = put_tree(
            self._context.uploads,
            tree,
            Place(version.facets.get("run") or "", str(version.facets.get("source") or "")),
            Place(run_copy or "", uri),
            lambda source: journal.target("run", source),
            lambda source: journal.target("logged_model", source),
        )
        if put.failed or put.impossible:
            raise NotMoved("; ".join([*put.failed, *put.impossible]))
        return Source(uri, run_copy)


def _other_version(version: Entity) -> str | None:
    """Return the id of the version that it is made of, when its source names one."""
    uri = str(version.facets.get("source") or "")
    if not uri.startswith("models:/") or uri.startswith("models:/m-"):
        return None
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    return f"{name}/{number}" if name and number.isdigit() else None
