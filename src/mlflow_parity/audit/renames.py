"""``--parity-rename FILE``: objects with other names on purpose; the target is read under its old names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlflow_parity.comparing.registry_fields import VERSIONS_TAG
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.json_text import parsed
from mlflow_parity.core.local import input_files
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Resolved, Run
from mlflow_parity.reading.around import AroundReader
from mlflow_parity.reading.asking import OF_NAMES, Answer, Question

if TYPE_CHECKING:
    from mlflow_parity.core.scope import Depth
    from mlflow_parity.reading import Reader
    from mlflow_parity.reading.artifacts.shared_listings import SharedListings
    from mlflow_parity.reading.artifacts.trees import Sure

#: What the report's note of the renames begins with.
NOTE = "read on the target under their names of the source (--parity-rename)"
_TABLES = ("experiments", "models", "prompts")
#: Names, in a tag of runs, logged models and traces (or a trace's metadata), of the versions of prompts that it used.
_PROMPTS_TAG = "mlflow.linkedPrompts"
#: What the source of a version begins with that is made of a logged model or of another version.
_MODELS = "models:/"


@dataclass(frozen=True, slots=True)
class Renames:
    """New names by old ones, per kind; ``digest`` is the file's SHA-256 (hex; empty without a file)."""

    experiments: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""

    def __bool__(self) -> bool:
        return bool(self.experiments or self.models or self.prompts)

    @property
    def note(self) -> str:
        """What the report says of it."""
        counts = ", ".join(f"{len(getattr(self, name))} {name}" for name in _TABLES if getattr(self, name))
        return f"{NOTE}: {counts} (SHA-256 {self.digest[:16]}…)"


def load_renames(path: str | None, option: str = "--parity-rename") -> Renames:
    """Read a TOML file with the tables ``[experiments]``, ``[models]``, ``[prompts]``: ``"old" = "new"``.

    Raises:
        UsageProblem: one line saying what is wrong with it.
    """
    if path is None:
        return Renames()
    try:
        content = input_files.content_of(path, input_files.TOML)
        document = input_files.parsed_toml(content)
    except input_files.Unusable as error:
        raise UsageProblem(f"{option}: {path} {error}; give a TOML file") from None
    known = ", ".join(f"[{name}]" for name in _TABLES)
    for name, table in document.items():
        if name not in _TABLES or not isinstance(table, Mapping):
            raise UsageProblem(f"{option}: {path} has {name!r}; it holds the tables {known} and nothing else")
        for old, new in table.items():
            if not isinstance(new, str) or not new.strip():
                raise UsageProblem(f"{option}: {path}: the new name of {old!r} in [{name}] is no text")
        if len(set(table.values())) < len(table):
            twice = next(new for new in table.values() if list(table.values()).count(new) > 1)
            raise UsageProblem(f"{option}: {path}: two objects in [{name}] are to be called {twice!r}")
    both = {**document.get("models", {}), **document.get("prompts", {})}
    if len(set(both.values())) < len(both):
        raise UsageProblem(f"{option}: {path}: a model and a prompt are to have the same name; they share one registry")
    if not any(document.values()):
        raise UsageProblem(f"{option}: {path} renames nothing; it holds the tables {known}")
    digest = hashlib.sha256(content).hexdigest()
    return Renames(**{name: dict(document.get(name, {})) for name in _TABLES}, digest=digest)


class RenamedReader(AroundReader):
    """Reads a target as if nothing had been renamed; otherwise the reader that it wraps."""

    def __init__(self, reader: Reader, renames: Renames) -> None:
        super().__init__(reader)
        known = {new: old for old, new in renames.experiments.items()}
        self._experiments = {**_strangers(renames.experiments, known), **known}
        names = {new: old for old, new in {**renames.models, **renames.prompts}.items()}
        self._names = {**_strangers([*renames.models, *renames.prompts], names), **names}
        """Names under which models and prompts are read, by their own."""
        self._own = {told: own for own, told in self._names.items()}

    def experiments(self) -> list[Experiment]:
        """Every experiment, under its old name."""
        found = self._reader.experiments()
        return [replace(item, name=self._experiments.get(item.name, item.name)) for item in found]

    def names(self, kind: str) -> list[str]:
        """Names of registered models or prompts, the old ones."""
        return sorted(self._names.get(name, name) for name in self._reader.names(kind))

    def own_name(self, name: str) -> str:
        """Return the name that a registered model or prompt has on its server."""
        return self._own.get(name, name)

    def registry(self) -> Iterator[list[Entity]]:
        """Registered models, prompts and their versions, under their old names."""
        for batch in self._reader.registry():
            yield [_named(entity, self._names) for entity in batch]

    def with_storage(self, versions: Sequence[Entity]) -> list[Entity]:
        """Model versions with the place from which each is loaded, asked for by the names that they have."""
        found = self._reader.with_storage([_named(entity, self._own) for entity in versions])
        return [_named(entity, self._names) for entity in found]

    def resolve(self, aliases: Iterable[tuple[str, str]]) -> Iterator[Resolved]:
        """The version behind each alias, asked for by the names that models and prompts have."""
        wanted = list(aliases)
        real = {self.own_name(name): name for name, _ in wanted}
        for answer in self._reader.resolve([(self.own_name(name), alias) for name, alias in wanted]):
            yield replace(answer, name=real[answer.name])

    def answer(self, place: str, question: Question) -> Answer:
        """What people's clients ask, of models and prompts by the names that they have."""
        if question.about not in OF_NAMES:
            return self._reader.answer(place, question)
        own = self.own_name(place)
        found = self._reader.answer(own, question.called(place, own))
        return replace(
            found,
            ids=tuple(_version_id(one, self._names) for one in found.ids),
            versions={led: _version_id(one, self._names) for led, one in found.versions.items()},
        )

    def experiment_objects(
        self,
        experiment_id: str,
        kinds: Collection[str],
        run_ids: Collection[str] | None = None,
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[list[Entity]]:
        """Objects of an experiment; where they name models or prompts, by the old names."""
        for batch in self._reader.experiment_objects(experiment_id, kinds, run_ids, wanted):
            yield [self._linked(entity) for entity in batch]

    def trace_infos(self, experiment_id: str) -> Generator[list[Entity], None, None]:
        """Every trace of an experiment without its spans; where they name prompts, by the old names."""
        with closing(self._reader.trace_infos(experiment_id)) as batches:
            for batch in batches:
                yield [self._linked(entity) for entity in batch]

    def entity_files(
        self,
        entities: Sequence[Entity],
        depth: Depth,
        shared: SharedListings | None = None,
        sure: Sure | None = None,
    ) -> Iterator[ArtifactTree]:
        """Files of logged models and versions, asked for by the names that they have."""
        asked = [_named(entity, self._own) for entity in entities]
        real = {there.entity_id: entity.entity_id for there, entity in zip(asked, entities, strict=True)}
        if sure is not None:
            sure = {there: sure[entity_id] for there, entity_id in real.items() if entity_id in sure}
        for tree in self._reader.entity_files(asked, depth, shared, sure):
            yield replace(tree, run_id=real[tree.run_id])

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run of an experiment; where its tags name prompts, by the old names."""
        yield from self._told(self._reader.runs(experiment_id))

    def runs_of(self, experiment_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Every run of several experiments, in the same way."""
        yield from self._told(self._reader.runs_of(experiment_ids))

    def runs_by_id(self, experiment_id: str, run_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Those of some runs that an experiment has now, in the same way."""
        yield from self._told(self._reader.runs_by_id(experiment_id, run_ids))

    def _told(self, batches: Iterable[list[Run]]) -> Iterator[list[Run]]:
        for batch in batches:
            yield [
                replace(run, tags=renamed_links(run.tags, self._names)) if _PROMPTS_TAG in run.tags else run
                for run in batch
            ]

    def _linked(self, entity: Entity) -> Entity:
        facets = dict(entity.facets)
        for told in ("prompts", "linked_prompts") if entity.kind == "trace" else ():
            if facets.get(told):
                facets[told] = [_version_id(link, self._names) for link in facets[told]]
        for told in ("tags", "metadata") if entity.kind in ("trace", "logged_model") else ():
            if facets.get(told):
                facets[told] = renamed_links(facets[told], self._names)
        return replace(entity, facets=facets)


def renamed_links(tags: Mapping[str, str], names: Mapping[str, str]) -> Mapping[str, str]:
    """Return tags in which MLflow's lists of versions name them by other names; what is no such list stays as it is."""
    found = dict(tags)
    for key in {VERSIONS_TAG, _PROMPTS_TAG} & tags.keys():
        try:
            versions = parsed(tags[key])
            renamed = [{**one, "name": names.get(one["name"], one["name"])} for one in versions]
        except (ValueError, TypeError, KeyError):
            continue
        if renamed != versions:
            found[key] = json.dumps(renamed)
    return found


def _strangers(old_names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Return names for what has the old name of another object by itself: it is not that one's copy."""
    return {old: f"{old} (not renamed)" for old in old_names if old not in taken}


def _version_id(identity: str, names: Mapping[str, str]) -> str:
    name, slash, number = identity.rpartition("/")
    return f"{names.get(name, name)}{slash}{number}" if slash else names.get(identity, identity)


def _named(entity: Entity, names: Mapping[str, str]) -> Entity:
    """Return an entity of the registry under another name."""
    if entity.kind in ("registered_model", "prompt"):
        new = names.get(entity.entity_id, entity.entity_id)
        return replace(entity, entity_id=new, name=new) if new != entity.entity_id else entity
    if entity.kind not in ("model_version", "prompt_version"):
        return entity
    old = entity.container
    new = names.get(old, old)
    facets = dict(entity.facets)
    source = facets.get("source")
    if isinstance(source, str) and source.startswith(_MODELS):
        # a version may be made of another model's
        model, slash, number = source.removeprefix(_MODELS).partition("/")
        facets["source"] = f"{_MODELS}{names.get(model, model) if slash else model}{slash}{number}"
    return replace(
        entity,
        entity_id=f"{new}/{entity.entity_id.rpartition('/')[2]}",
        name=new + entity.name.removeprefix(old) if entity.name.startswith(old) else entity.name,
        container=new,
        facets=facets,
    )
