"""The files of logged models that were read already, for the model versions that are made of them."""

from __future__ import annotations

from mlflow_parity.core.records import STORAGE, ArtifactTree, Entity
from mlflow_parity.snapshot.store import PlaceObjects, Snapshot


class ModelFiles:
    """The files of logged models that were read already, for the versions that are made of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._places: dict[str, tuple[PlaceObjects, str | None]] = {}
        for experiment in snapshot.experiments:
            objects = snapshot.objects(experiment.experiment_id)
            if objects.problem("logged_models") is None and objects.problem("logged_model_files") is None:
                keys = objects.keys("logged_model")
                self._places.update({key.entity_id: (objects, key.artifact_uri) for key in keys})

    def of(self, version: Entity) -> ArtifactTree | None:
        """Return the files of the logged model that is the version, where they were read without an error.

        Only if the version is loaded from that very place: what is loaded from elsewhere is read by itself.
        """
        model = str(version.facets.get("source") or "").removeprefix("models:/")
        objects, place = self._places.get(model, (None, None))
        if objects is None or not place or version.facets.get(STORAGE) != place:
            return None
        tree = objects.files("logged_model", model)
        whole = tree.error is None and all(file.error is None for file in tree.files)
        return tree if whole else None
