"""Where the files of a version's copy are: its run, its logged model, another version, or a place of its own."""

from __future__ import annotations

import json
import posixpath
import threading
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, urlsplit

from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.core.records import STORAGE, ArtifactTree, Entity
from mlflow_parity.migrating.write.files import put_tree
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.mlmodel import Place
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.snapshot.store import PlaceObjects

#: Folder, beside those of the experiments, of files that belong to no run and no logged model.
_OWN = "mlflow-parity-versions"


@dataclass(frozen=True, slots=True)
class Source:
    """A version's source on the target, with the run and the logged model that it is to be linked to.

    ``is_own``: its files belong to no run and no logged model, and are to be uploaded there.
    """

    uri: str
    run_id: str | None = None
    model_id: str | None = None
    is_own: bool = False


class Sources:
    """Finds the source of each version's copy; safe to use from many threads."""

    def __init__(self, context: Import, objects: PlaceObjects) -> None:
        self._context = context
        self._objects = objects
        self._lock = threading.Lock()

    def waits(self, version: Entity) -> bool:
        """Whether it is made of another version that is not on the target yet."""
        other = self._other(version)
        return other is not None and self._context.journal.target("model_version", other) is None

    def of(self, version: Entity) -> Source:
        """Return the source of a version's copy.

        Raises:
            NotMoved: there is no place for it on the target.
        """
        journal, facets = self._context.journal, version.facets
        uri = self._uri(version)
        run, model = facets.get("run"), facets.get("logged_model")
        run_copy = journal.target("run", run) if run else None
        model_copy = journal.target("logged_model", model) if model else None
        for kind, identity, copy in (("run", run, run_copy), ("logged_model", model, model_copy)):
            # one that is gone at the source leaves a version without it
            if identity and copy is None and journal.state(kind, identity) is not None:
                raise NotMoved(f"its {kind.replace('_', ' ')} {identity} is not on the target")
        other = self._other(version)
        if other is not None:
            version_copy = journal.target("model_version", other)
            if version_copy is None:
                raise NotMoved(f"version {other}, which it is made of, is not on the target")
            return Source(f"models:/{version_copy}", run_copy, model_copy)
        if model and model_copy:
            return Source(self._of_model(uri, model, model_copy), run_copy, model_copy)
        below = self._below_run(uri, run) if run and run_copy else None
        if below is not None and run_copy:
            root = self._run_uri(run_copy)
            return Source(posixpath.join(root, below) if below else root, run_copy)
        place = posixpath.join(self._root, _OWN, quote(version.container, safe=""), str(facets["number"]))
        self._tree(version)
        if urlsplit(place).scheme not in ("s3", "mlflow-artifacts"):
            raise NotMoved("its files belong to no run and no logged model, and the target has no place for such files")
        return Source(place, run_copy, is_own=True)

    def _other(self, version: Entity) -> str | None:
        """Return the id of the version that it is made of, when its source names one that the source still has."""
        other = _other_version(version)
        return other if other in self._versions else None

    def _uri(self, version: Entity) -> str:
        """Return where a version's files come from: of one whose model is gone the place that it is loaded from."""
        uri = str(version.facets.get("source") or "")
        gone = _other_version(version) not in (None, self._other(version))
        return str(version.facets.get(STORAGE) or "") if gone else uri

    @cached_property
    def _versions(self) -> frozenset[str]:
        with self._lock:
            return frozenset(key.entity_id for key in self._objects.keys("model_version"))

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
            return rest.strip("/") if owner == run else None
        root = self._exported_root(run)
        if root is not None and urlsplit(root)[:2] == urlsplit(uri)[:2]:
            inside = uri == root or uri.startswith(f"{root}/")
            return uri[len(root) :].strip("/") if inside else None
        # written with or without the server's name
        _, found, rest = uri.partition(f"/{run}/artifacts")
        return rest.strip("/") if found and (not rest or rest.startswith("/")) else None

    def _exported_root(self, run: str) -> str | None:
        entry = self._context.journal.entry("run", run)
        path = self._context.export.run_dir(entry.place if entry else "", run) / "run.json"
        try:
            return str(json.loads(path.read_bytes())["mlflow"]["info"]["artifact_uri"]).rstrip("/")
        except (OSError, ValueError, KeyError):
            return None

    def _run_uri(self, run_id: str) -> str:
        answer = self._context.reader.session.get(endpoints.RUN, {"run_id": run_id})
        return str(answer["run"]["info"]["artifact_uri"])

    # --- files that belong to no run and no logged model

    @cached_property
    def _root(self) -> str:
        """The target's artifact root: where its experiments have their folders."""
        experiments = sorted(self._context.reader.experiments(), key=lambda one: one.experiment_id)
        for one in experiments:
            if one.artifact_location.rstrip("/").endswith(f"/{one.experiment_id}"):
                return one.artifact_location.rstrip("/").rpartition("/")[0]
        raise NotMoved("the target does not tell where it keeps artifacts")

    def _tree(self, version: Entity) -> ArtifactTree:
        with self._lock:
            tree = self._objects.files("model_version", version.entity_id)
        if tree.error is not None or any(file.error for file in tree.files):
            raise NotMoved(f"its files could not be read at the source: {tree.error or 'see the export'}")
        return tree

    def fill(self, version: Entity, source: Source) -> None:
        """Upload a version's files to a place of its own.

        Raises:
            NotMoved: not all of them can be put there.
        """
        journal = self._context.journal
        put = put_tree(
            self._context.uploads,
            self._tree(version),
            Place(version.facets.get("run") or "", self._uri(version)),
            Place(source.run_id or "", source.uri),
            lambda run: journal.target("run", run),
            lambda model: journal.target("logged_model", model),
        )
        self._context.told(files=put.files, size=put.size)
        if put.failed or put.impossible:
            raise NotMoved("; ".join([*put.failed, *put.impossible]), for_good=not put.failed)

    @staticmethod
    def refused(source: Source, error: RequestRefused) -> NotMoved | RequestRefused:
        """Return what a refusal of a version means: newer servers take no proxied files outside of runs and models."""
        if source.is_own and error.status == 400 and source.uri.startswith("mlflow-artifacts:"):
            why = "its files belong to no run and no logged model, and the target's artifact proxy takes no others"
            return NotMoved(f"{why} ({error})", for_good=True)
        return error


def _other_version(version: Entity) -> str | None:
    """Return the id of the version that it is made of, when its source names one."""
    uri = str(version.facets.get("source") or "")
    if not uri.startswith("models:/") or uri.startswith("models:/m-"):
        return None
    name, _, number = uri.removeprefix("models:/").rpartition("/")
    return f"{name}/{number}" if name and number.isdigit() else None
