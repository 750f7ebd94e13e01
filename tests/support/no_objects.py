"""What a server without any object beside experiments and runs answers: a base of readers in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import replace

from mlflow_parity.core.records import STORAGE, ArtifactTree, Entity, Experiment, Resolved, Run
from mlflow_parity.core.scope import Depth
from mlflow_parity.kinds import KINDS
from mlflow_parity.reading.artifacts.own_way import OwnWay
from mlflow_parity.reading.artifacts.shared_listings import SharedListings
from mlflow_parity.reading.artifacts.stated.attributes import AttributesOfBuckets
from mlflow_parity.reading.artifacts.stated.checksums import EtagsOfPlaces
from mlflow_parity.reading.artifacts.trees import Sure
from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
from mlflow_parity.reading.probed import Probed
from mlflow_parity.reading.transport.visibility import Visibility


def stored(entity: Entity) -> Entity:
    """Return a version that is loaded from its source, unless it says otherwise."""
    if entity.kind != "model_version":
        return entity
    return replace(entity, facets={STORAGE: entity.facets.get("source") or entity.entity_id, **entity.facets})


class NoObjects:
    """A server that could hold every kind and holds none."""

    #: It asks for no login.
    visibility = Visibility()
    #: It names no place.
    trusted = TrustedPlaces((), list)
    own_way: OwnWay | None = None
    attributes = AttributesOfBuckets()
    etags = EtagsOfPlaces()

    def probe(
        self,
        experiments: Sequence[Experiment],
        parts: Collection[str],
        depth: Depth,
        *,
        include_deleted: bool,
        links: bool,
        brief: bool = False,
    ) -> Probed:
        """Nothing that is known."""
        return Probed(experiments=len(experiments), at_least=True)

    def supports(self, kind: str) -> bool | None:
        """Every kind."""
        return kind in KINDS

    def names(self, kind: str) -> list[str]:
        """None."""
        return []

    def registry(self) -> Iterator[list[Entity]]:
        """None."""
        return iter(())

    def workspaces(self) -> list[str]:
        """None."""
        return []

    def with_storage(self, versions: Sequence[Entity]) -> list[Entity]:
        """Versions, each of which is loaded from its source."""
        return [stored(entity) for entity in versions]

    def resolve(self, aliases: Iterable[tuple[str, str]]) -> Iterator[Resolved]:
        """None."""
        return (Resolved(name, alias, None) for name, alias in aliases)

    def server_objects(self, kind: str) -> Iterator[list[Entity]]:
        """None."""
        return iter(())

    def experiment_objects(
        self,
        experiment_id: str,
        kinds: Collection[str],
        run_ids: Collection[str] | None = None,
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[list[Entity]]:
        """None."""
        return iter(())

    def trace_infos(self, experiment_id: str) -> Generator[list[Entity], None, None]:
        """What is told of traces, and their spans too."""
        yield from self.experiment_objects(experiment_id, ["trace"])

    def first_runs(self, experiment_ids: Sequence[str]) -> set[str]:
        """None."""
        return set()

    def first_models(self) -> dict[str, int | None]:
        """None."""
        return {}

    def load_refusal(self, name: str, number: int) -> str:
        """Whatever it has may be loaded."""
        return ""

    def migration_at_work(self) -> str:
        """Nobody."""
        return ""

    def entity_files(
        self,
        entities: Sequence[Entity],
        depth: Depth,
        shared: SharedListings | None = None,
        sure: Sure | None = None,
    ) -> Iterator[ArtifactTree]:
        """None."""
        return iter(())

    def with_model_links(self, runs: Sequence[Run]) -> list[Run]:
        """Runs without links."""
        return [replace(run, model_inputs=(), model_outputs=()) for run in runs]
