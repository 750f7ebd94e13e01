"""What each check's verdict rests on: one entry per check, by the name of its function.

The checks themselves are the ``test_*`` functions in ``checks/``: the sentence of a promise stands there alone. Its
kind and facets stand here: what has to be read and judged for a selection is known to rooms that know nothing of
pytest, and a check's file that is gone leaves its facets named as left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_parity.kinds import EVERY, LIVE, OPTIONAL, family_of
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.schema.base import Family


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise; ``name`` is that of its check without ``test_``, ``facets`` are those of ``kind``."""

    name: str
    kind: str
    facets: tuple[str, ...]

    @property
    def family(self) -> Family:
        """What its check is parametrized by."""
        return family_of(self.kind)


PROMISES: tuple[Promise, ...] = (
    Promise("experiment_arrived", "experiment", ("presence", "name", "lifecycle")),
    Promise("experiment_tags_and_note", "experiment", ("tags", "note", "other")),
    Promise("experiment_source_tags", "experiment", ("source_tags", "times")),
    Promise("experiment_artifact_location", "experiment", ("artifact_location",)),
    Promise("experiment_is_usable", "experiment", ("usable",)),
    Promise("runs_arrived_once", "run", ("presence",)),
    Promise("run_name_and_status", "run", ("name", "status")),
    Promise("run_times", "run", ("times",)),
    Promise("run_lifecycle", "run", ("lifecycle",)),
    Promise("run_user", "run", ("user",)),
    Promise("params", "run", ("params",)),
    Promise("metric_histories", "run", ("metrics",)),
    Promise("run_tags_and_note", "run", ("tags", "note", "other")),
    Promise("run_source_tags", "run", ("source_tags",)),
    Promise("parent_child_links", "run", ("parent",)),
    Promise("dataset_inputs", "run", ("inputs",)),
    Promise("artifacts", "run", ("artifacts",)),
    Promise("artifact_uri", "run", ("artifact_uri",)),
    Promise("run_model_links", "run", ("model_inputs", "model_outputs")),
    Promise("logged_models_arrived_once", "logged_model", ("presence",)),
    Promise("logged_model_content", "logged_model", ("name", "type", "status", "tags", "params", "times", "other")),
    Promise("logged_model_metrics", "logged_model", ("metrics",)),
    Promise("logged_model_run", "logged_model", ("run",)),
    Promise("logged_model_files", "logged_model", ("files",)),
    Promise("registered_models_arrived", "registered_model", ("presence",)),
    Promise("registered_model_content", "registered_model", ("description", "tags", "times", "other")),
    Promise("registered_model_aliases", "registered_model", ("aliases",)),
    Promise("model_versions_arrived_once", "model_version", ("presence",)),
    Promise("model_version_numbers", "model_version", ("number", "order")),
    Promise("model_version_content", "model_version",
            ("status", "description", "tags", "source_tags", "user", "stage", "times", "other")),
    Promise("model_version_links", "model_version", ("run", "run_link", "logged_model", "source", "storage")),
    Promise("model_version_files", "model_version", ("files",)),
    Promise("model_versions_are_accessible", "model_version", ("access",)),
    Promise("model_aliases_resolve", "registered_model", ("resolves",)),
    Promise("prompt_aliases_resolve", "prompt", ("resolves",)),
    Promise("registered_model_is_usable", "registered_model", ("usable",)),
    Promise("prompt_is_usable", "prompt", ("usable",)),
    Promise("model_versions_load", "model_version", ("loads",)),
    Promise("prompts_arrived", "prompt", ("presence",)),
    Promise("prompt_content", "prompt", ("description", "tags", "times", "other")),
    Promise("prompt_aliases", "prompt", ("aliases",)),
    Promise("prompt_versions_arrived_once", "prompt_version", ("presence", "number")),
    Promise("prompt_version_content", "prompt_version",
            ("template", "commit_message", "tags", "model_config", "response_format", "type", "times", "other")),
    Promise("traces_arrived_once", "trace", ("presence",)),
    Promise("trace_info", "trace", ("state", "times", "client_request_id", "previews", "tags", "metadata", "other")),
    Promise("trace_spans", "trace", ("spans",)),
    Promise("trace_attachments", "trace", ("attachments",)),
    Promise("trace_assessments", "trace", ("assessments",)),
    Promise("trace_links", "trace", ("run", "run_links", "logged_model", "prompts")),
    Promise("scorers", "scorer", ("presence", "number", "definition", "times", "other")),
    Promise("evaluation_datasets_arrived_once", "evaluation_dataset", ("presence",)),
    Promise("evaluation_dataset_content", "evaluation_dataset",
            ("name", "tags", "schema", "profile", "digest", "user", "last_updated_by", "times", "other")),
    Promise("evaluation_dataset_experiments", "evaluation_dataset", ("experiments",)),
    Promise("evaluation_dataset_records", "evaluation_dataset", ("records",)),
    Promise("webhooks", "webhook", ("presence", "name", "description", "url", "events", "status", "times", "other")),
    # of a kind that is one definition, one check judges all
    *(Promise(kind.plural.lower().replace(" ", "_"), kind.name, kind.facets) for kind in EVERY if kind.whole),
    Promise("users_see_everything", "server", ("visibility",)),
    Promise("releases_are_known", "server", ("release",)),
    Promise("workspaces", "workspace", ("presence", "content")),
)  # fmt: skip
#: Promises that only a server itself can keep.
ON_LIVE = frozenset(promise.name for promise in PROMISES if {(promise.kind, one) for one in promise.facets} & LIVE)
#: Promises that judge what is on the target only.
OWNERS = frozenset({"experiment_arrived", "registered_models_arrived", "prompts_arrived"})
#: The promise of each kind that names the objects which are missing, too many, or not to be told apart.
NAMES: Mapping[str, str] = {promise.kind: promise.name for promise in PROMISES if "presence" in promise.facets}
BY_NAME: Mapping[str, Promise] = {promise.name: promise for promise in PROMISES}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which promises are checked for which items (by key)."""

    promises: tuple[str, ...]
    items: tuple[str, ...]

    def facets(self, kind: str) -> frozenset[str]:
        """Return the facets of a kind that the selected promises rest on."""
        return frozenset(
            facet for name in self.promises if BY_NAME[name].kind == kind for facet in BY_NAME[name].facets
        )

    def left_out(self) -> tuple[str, ...]:
        """Return the facets that no selected promise rests on, as ``kind facet``."""
        return tuple(
            f"{kind} {facet}"
            for kind, facets in contract.FACETS.items()
            for facet in facets
            if facet not in self.facets(kind) and (kind, facet) not in OPTIONAL
        )


def collected(*, snapshot: bool, load_models: bool = False, usable: bool = False) -> tuple[str, ...]:
    """Return the promises that an audit collects by itself.

    Models are loaded, and servers asked what people ask, only where an option asks for it; a ``snapshot`` as the
    target does not answer for aliases.
    """
    chosen = {"loads": load_models, "usable": usable}
    asked = {(kind, facet) for kind, facet in OPTIONAL if not chosen[facet]}
    unjudged = {promise.name for promise in PROMISES if {(promise.kind, one) for one in promise.facets} & asked}
    return tuple(one.name for one in PROMISES if one.name not in unjudged and not (snapshot and one.name in ON_LIVE))


def select(promises: Iterable[str], items: Iterable[str]) -> Selection:
    """Return a selection in the order of :data:`PROMISES`."""
    wanted = set(promises)
    return Selection(tuple(one.name for one in PROMISES if one.name in wanted), tuple(dict.fromkeys(items)))
