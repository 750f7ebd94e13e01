"""What the links of an object resolve to on the target: part of the state that tells whether it is moved.

A link to something that is not on the target keeps the id of the source. When that thing is moved later, by another
migration, the link is to be written. So the journal's digest of an object has two parts: of its content
and of its links. When the first is another, the object is written again; when only the second is, its links are.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.records import PARENT_TAG, ArtifactTree, Entity, Run
from mlflow_parity.migrating.journal import Entry
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.mlmodel import model_ids

#: Why a run is not done although its own content is there: what it points at comes later.
WAITS = "its parent, its logged models or their metrics are not written yet"
#: What is said of a link whose end is not on the target; it may come there later.
ABSENT = "which is not on the target"
#: What is said of a link that came too late: the object is to be made again.
FIXED = "MLflow cannot change that afterwards: `repair` makes it again"


def run_links(context: Import, run: Run, tree: ArtifactTree) -> str:
    """Return a digest of what the parent and the logged models of a run resolve to; empty where it names none."""
    models = {model for model, _ in (*(run.model_inputs or ()), *(run.model_outputs or ()))}
    models |= {model for file in tree.files if file.content is not None for model in model_ids(file.content)}
    parent = run.tags.get(PARENT_TAG)
    return _resolved(context, [("run", parent or ""), *(("logged_model", model) for model in sorted(models))])


def model_links(context: Import, model: Entity) -> str:
    """Return a digest of what the run of a logged model and those of its points resolve to; empty where it has none."""
    points = {point["run"] or "" for point in model.facets.get("metrics") or ()}
    return _resolved(context, [("run", model.facets.get("run") or ""), *(("run", run) for run in sorted(points))])


def version_links(context: Import, version: Entity) -> str:
    """Return a digest of what the run and the logged model of a version resolve to; empty where it has none."""
    return _resolved(context, [(kind, version.facets.get(kind) or "") for kind in ("run", "logged_model")])


def _resolved(context: Import, links: Iterable[tuple[str, str]]) -> str:
    named = [(kind, identity) for kind, identity in links if identity]
    copies = [(kind, identity, context.journal.target(kind, identity)) for kind, identity in named]
    # nothing resolved is as good as nothing named: such a link stays as it is on the source
    return digest(copies).hex() if any(copy for _, _, copy in copies) else ""


def joined(content: str, links: str) -> str:
    """Return both parts as the journal keeps them."""
    return f"{content}/{links}" if links else content


def content_of(entry: Entry) -> str:
    """Return the first part of what the journal keeps."""
    return (entry.digest or "").partition("/")[0]


def links_of(entry: Entry) -> str:
    """Return the second part of what the journal keeps."""
    return (entry.digest or "").partition("/")[2]


def waiting_again(entry: Entry) -> str:
    """Return the reason of an object whose links are to be written again: what was said of its content stays."""
    parts = (entry.reason or "").split("; ")
    return "; ".join([WAITS, *(part for part in parts if part and ABSENT not in part)])


def is_settled(entry: Entry, state: str) -> bool:
    """Whether this state of an object is on the target, as far as it can be before what it points at is there."""
    return content_of(entry) == state and (entry.state in ("done", "unmovable") or is_waiting(entry))


def is_stale(entry: Entry, links: str) -> bool:
    """Whether the links of an object that is on the target resolve to something else than when they were written."""
    return entry.state in ("done", "unmovable") and links_of(entry) != links


def is_waiting(entry: Entry) -> bool:
    """Whether an object is there, but for what it points at."""
    return entry.state == "failed" and (entry.reason or "").startswith(WAITS)
