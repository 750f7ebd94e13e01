"""Traces: info and assessments by one call of the V3 API; spans into the target's database, where the source has them
in its own, else as the file in which every server reads them.

The tool's import starts spans again by a client of its own, which needs MLflow before 3.6, and cannot take the ids,
times and overrides along.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import quote

from mlflow_parity.audit.renames import renamed_links
from mlflow_parity.comparing.object_fields import PLACE_TAGS
from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.core.identity.digests import artifacts_digest, digest
from mlflow_parity.core.records import ENDPOINT_KEY, ArtifactTree, Entity
from mlflow_parity.kinds.conventions.attachments import FOLDER
from mlflow_parity.kinds.trace import IN_STORE, SPANS_LOCATION
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.migrating.write.files import NotUploaded
from mlflow_parity.migrating.write.importing import Import, Problems
from mlflow_parity.migrating.write.moving import Ending, Visit, Writing, carry, key_of
from mlflow_parity.migrating.write.objects.trace_content import (
    assessment,
    moment,
    overridden,
    overridden_first,
    spans_file,
)
from mlflow_parity.migrating.write.otlp import Unfit
from mlflow_parity.migrating.write.span_store import SpanStore
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.traces.trace_infos import trace_v3
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.kind_support import is_absent
from mlflow_parity.snapshot.store import PlaceObjects

_API = "/api/3.0/mlflow/traces"
_CHUNK = 200
_FILE = "traces.json"
_RUN_ID = re.compile("[0-9a-f]{32}")
_RUN, _MODEL = "mlflow.sourceRun", "mlflow.modelId"
#: Servers of some versions say of every trace that it has the form which they know themselves.
_SCHEMA = "mlflow.trace_schema.version"
#: First release that keeps links to prompts beside the tag.
_LINKS = (3, 6)


def _visit(visit: Visit) -> None:
    """Bring the traces of an experiment, side by side; at the second visit those that name what came after them.

    What another process wrote, before this one went on with its work, is not known here: then all are looked at.
    """
    context, experiment = visit.context, visit.here
    only = context.late_traces.get(experiment.experiment_id) if visit.again else None
    objects = context.export.snapshot.objects(experiment.experiment_id)
    target = context.journal.target("experiment", experiment.experiment_id)
    if objects.problem("traces") is not None or target is None or (only is not None and not only):
        return
    ours = context.journal.ours("experiment", experiment.experiment_id)
    late = context.late_traces.setdefault(experiment.experiment_id, set())
    importer = _Importer(context, objects, target, late, ours=ours)
    with ThreadPoolExecutor(context.workers, thread_name_prefix="parity-traces") as pool:
        for _ in drained(pool, importer.one, every(objects, "trace", only=only, chunk=_CHUNK), 2 * context.workers):
            pass


class _Importer:
    def __init__(self, context: Import, objects: PlaceObjects, experiment: str, late: set[str], *, ours: bool) -> None:
        """``ours``: this migration made the experiment, so that nobody else's traces are in it.

        ``late`` gets the ids of traces that name what is not on the target yet.
        """
        self._context = context
        self._objects = objects
        self._late = late
        self._ours = ours
        # the table is opened by the first that asks
        self._opening = Lock()
        self._experiment = experiment
        self._links = release(context.reader.capabilities.version) >= _LINKS
        self._spans = SpanStore(context)

    def one(self, trace: Entity) -> None:
        """Bring one trace to the target, unless it is there as it is."""

        @cache
        def parts() -> tuple[dict[str, Any], ArtifactTree]:
            return self._info(trace), self._attachments(trace)

        carry(
            self._context,
            key_of(trace),
            lambda: self._state(trace, *parts()),
            lambda ending: self._write(trace, *parts(), ending),
        )

    def _state(self, trace: Entity, info: dict[str, Any], tree: ArtifactTree) -> str:
        """Return a digest of a trace as it is to be on the target."""
        if any(self._context.journal.target(*link) is None for link in _links(trace)):
            self._late.add(trace.entity_id)
        content = [trace.entity_id, dict(trace.facets), info["trace_metadata"]]
        judged = [self._judgement(one) for one in trace.facets["assessments"]]
        # those that name a run are others once it is on the target
        content += [judged] if judged != trace.facets["assessments"] else []
        linked = self._runs(trace)
        content += [linked] if linked else []
        content += [artifacts_digest(tree).hex()] if tree.files else []
        # what an earlier release of this tool wrote into a file goes into the database now
        content += ["in the store"] if self._spans.may_take(trace) else []
        return digest(content).hex()

    def _runs(self, trace: Entity) -> list[str]:
        """Return the copies, as far as they are there, of the runs that a trace was linked to after it was made."""
        copies = (self._context.journal.target("run", run) for run in trace.facets.get("run_links") or ())
        return sorted(copy for copy in copies if copy is not None)

    def _link_runs(self, trace: Entity, made: Entity, problems: Problems) -> None:
        journal = self._context.journal
        for run in self._runs(trace):
            body = {"trace_ids": [made.entity_id], "run_id": run}
            try:
                self._context.writer.call("POST", "/api/2.0/mlflow/traces/link-to-run", body)
            except RequestRefused as error:
                if not is_absent(error):
                    raise
                problems.impossible.append("its links to runs: the target's MLflow keeps none")
                return
        lost = [
            run
            for run in trace.facets.get("run_links") or ()
            if journal.target("run", run) is None and journal.state("run", run) is not None
        ]
        # one that is gone at the source is a dead link
        problems.failed += [f"its link to the run {run}: that run is not on the target" for run in lost]

    def _check_links(self, trace: Entity) -> None:
        for kind in ("run", "logged_model"):
            identity = trace.facets[kind]
            if not identity or self._context.journal.target(kind, identity) is not None:
                continue
            # one that is gone at the source is a dead link here as there
            if self._context.journal.state(kind, identity) is not None:
                raise NotMoved(f"its {kind.replace('_', ' ')} {identity} is not on the target")

    def _attachments(self, trace: Entity) -> ArtifactTree:
        with self._opening:
            return self._objects.files("trace", trace.entity_id)

    def _attach(self, trace: Entity, place: str, tree: ArtifactTree, problems: Problems) -> None:
        """Put the attachments beside the spans; what could not be read is told."""
        if tree.error is not None and trace.error is None:
            problems.failed.append(f"its attachments could not be read: {tree.error}")
        for file in tree.files:
            if file.error is not None:
                problems.failed.append(f"its attachment {file.path} could not be read: {file.error}")
                continue
            try:
                size = self._context.uploads.upload(posixpath.join(place, FOLDER), [file])
            except NotUploaded as error:
                problems.failed.append(f"its attachment {error}")
            else:
                self._context.told(files=1, size=size)

    def _write(self, trace: Entity, info: dict[str, Any], tree: ArtifactTree, ending: Ending) -> None:
        context, facets, problems = self._context, trace.facets, ending.problems
        self._check_links(trace)
        # always asked: a trace of this id in another experiment would be taken out of it
        there = self._present(trace.entity_id)
        if there is not None and there.container != self._experiment:
            raise NotMoved("the target has a trace of this id in another experiment")
        journal, key = context.journal, (trace.kind, trace.entity_id)
        if there is not None and not self._ours:
            journal.found(*key, there.entity_id)
        # what others made loses nothing
        ours = self._ours or there is None or journal.ours(*key)
        if there is not None and ours:
            self._remove(there, info)

        @contextmanager
        def making() -> Iterator[None]:
            with journal.making(*key):
                yield
            # its first spans have made it: a refusal of the rest does not take that back
            journal.created(*key, trace.entity_id)

        stored, new = self._spans.wants(trace), there is None
        why = self._spans.write(trace, self._experiment, making if new else nullcontext) if stored else None
        # a second call brings what is there up to date
        with journal.making(*key) if new and (not stored or why is not None) else nullcontext():
            made = self._start(info)
        if made.container != self._experiment:
            raise NotMoved("the target has a trace of this id in another experiment")
        journal.created(*key, made.entity_id)
        if stored and why is None:
            # the answer does not tell the tags of a trace that was there
            made = self._present(trace.entity_id) or made
            if ours:
                # spans bring tags along that were taken off at the source
                self._remove(made, info)
            if made.facets["tags"].get(SPANS_LOCATION) != IN_STORE:
                why = Unfit("the target says that its database does not hold them")
        if why is not None:
            self._spans.note(why, problems)
        self._compare(trace, info, made, problems)
        known = self._present(trace.entity_id) or made if there is not None else made
        self._assess(trace, known, problems, ours=ours)
        linked = facets.get("linked_prompts")
        # a source that keeps no links beside the tag has those of the tag
        linked = facets["prompts"] if linked is None else linked
        if linked and self._links:
            versions = [(self._prompt(name), number) for name, _, number in map(_parted, linked)]
            body = {"trace_id": made.entity_id, "prompt_versions": [{"name": n, "version": v} for n, v in versions]}
            context.writer.call("POST", "/api/2.0/mlflow/traces/link-prompts", body)
        self._link_runs(trace, made, problems)
        place = str(made.facets["tags"].get("mlflow.artifactLocation") or "")
        self._attach(trace, place, tree, problems)
        # the spans of a trace that goes on are written at its end
        in_store = stored and why is None
        if not in_store and (facets["spans"] or (trace.error is None and facets["state"] != "IN_PROGRESS")):
            content = spans_file(made.entity_id, facets["spans"], trace.entity_id)
            context.uploads.put(place, _FILE, content)
            context.told(size=len(content))
        if trace.error is not None:
            problems.failed.append(f"what could be read of it is there: {trace.error}")

    def _start(self, info: dict[str, Any]) -> Entity:
        """Make the trace; where the server refuses it with its assessments, without them: each is tried alone then."""
        try:
            answer = self._context.writer.call("POST", _API, {"trace": {"trace_info": info}})
        except RequestRefused as error:
            if error.status != 400 or not info["assessments"]:
                raise
            answer = self._context.writer.call("POST", _API, {"trace": {"trace_info": {**info, "assessments": []}}})
        return trace_v3(answer["trace"]["trace_info"])

    @staticmethod
    def _compare(trace: Entity, info: Mapping[str, Any], made: Entity, problems: Problems) -> None:
        """Note what the server changed without a word."""
        for key in ("state", "times", "client_request_id", "previews"):
            if made.facets[key] != trace.facets[key]:
                problems.impossible.append(f"its {key}: the target made {made.facets[key]!r} of {trace.facets[key]!r}")
        metadata = {**made.facets["metadata"], _RUN: made.facets["run"], _MODEL: made.facets["logged_model"]}
        for name, ours, theirs in (
            ("tag", info["tags"], made.facets["tags"]),
            ("metadata", info["trace_metadata"], metadata),
        ):
            for key, value in ours.items():
                if theirs.get(key) != value and key != _SCHEMA:
                    problems.impossible.append(f"{name} {key!r}: the target changed its {len(value)} characters")

    def _prompt(self, name: str) -> str:
        return self._context.renames.prompts.get(name, name)

    def _present(self, trace_id: str) -> Entity | None:
        try:
            answer = self._context.writer.call("GET", f"{_API}/{quote(trace_id, safe='')}")
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise
        return trace_v3(answer["trace"]["trace_info"])

    def _info(self, trace: Entity) -> dict[str, Any]:
        """Return the trace as V3's ``TraceInfo``."""
        facets, journal = trace.facets, self._context.journal
        times, previews = facets["times"], facets["previews"]
        metadata, tags = dict(facets["metadata"]), dict(facets["tags"])
        for kind, name in (("run", _RUN), ("logged_model", _MODEL)):
            if facets[kind]:
                metadata[name] = journal.target(kind, facets[kind]) or facets[kind]
        if ENDPOINT_KEY in metadata:
            called = metadata[ENDPOINT_KEY]
            metadata[ENDPOINT_KEY] = journal.target("gateway_endpoint", called) or called
        metadata, tags = (dict(renamed_links(told, self._context.renames.prompts)) for told in (metadata, tags))
        info: dict[str, Any] = {
            "trace_id": trace.entity_id,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": self._experiment}},
            "request_time": moment(times["request"]),
            "state": facets["state"],
            "trace_metadata": metadata,
            "tags": {key: value for key, value in tags.items() if key not in PLACE_TAGS},
            # one that overrides another comes later: only then does the server say of that other that it is not valid
            "assessments": [self._assessment(trace, one) for one in facets["assessments"] if not one["overrides"]],
        }
        if times["duration"] is not None:
            info["execution_duration"] = f"{Decimal(times['duration']) / 1000}s"
        given = {
            "client_request_id": facets["client_request_id"],
            "request_preview": previews["request"],
            "response_preview": previews["response"],
        }
        return {**info, **{key: value for key, value in given.items() if value is not None}}

    def _assessment(self, trace: Entity, one: Mapping[str, Any]) -> dict[str, Any]:
        return assessment(trace.entity_id, self._judgement(one))

    def _remove(self, there: Entity, info: Mapping[str, Any]) -> None:
        """Remove the tags that the source does not have (any more)."""
        for key in there.facets["tags"].keys() - info["tags"].keys() - set(PLACE_TAGS):
            path = f"{_API}/{quote(there.entity_id, safe='')}/tags"
            self._context.writer.call("DELETE", path, {"trace_id": there.entity_id, "key": key})

    def _assess(self, trace: Entity, there: Entity, problems: Problems, *, ours: bool) -> None:
        """Add the assessments that did not come with the trace, and make those again that differ; the older first."""
        has = {one["id"]: one for one in there.facets["assessments"]}
        wanted = [self._judgement(one) for one in trace.facets["assessments"]]
        path = f"{_API}/{quote(there.entity_id, safe='')}/assessments"
        by_id = {one["id"]: one for one in wanted}
        stale = [key for key, one in has.items() if by_id.get(key) != one] if ours else []
        # one that overrides another is made after it: only then does the server say of that other that it is not valid
        stale += [
            key for key in has if key not in stale and key in by_id and overridden(by_id[key], by_id) & set(stale)
        ]
        for identity in stale:
            self._context.writer.call("DELETE", f"{path}/{quote(str(identity), safe='')}")
            del has[identity]
        for one in overridden_first(wanted):
            if one["id"] in has:
                continue
            body = self._assessment(trace, one)

            def find(identity: object = one["id"]) -> str | None:
                found = self._present(there.entity_id)
                ids = {known["id"] for known in found.facets["assessments"]} if found else set()
                return str(identity) if identity in ids else None

            try:
                self._context.writer.create(path, {"assessment": body}, find=find, made=lambda _: "")
            except RequestRefused as error:
                # any other refusal says nothing of what it says, and may pass
                never = error.status == 400 or is_absent(error)
                (problems.impossible if never else problems.failed).append(f"assessment {one['name']!r}: {error}")

    def _judgement(self, one: Mapping[str, Any]) -> dict[str, Any]:
        """Return an assessment as it is to be read from the target."""
        target = self._context.journal.target
        # among others the run that judged
        metadata = {key: target("run", value) or value for key, value in one["metadata"].items()}
        # a reference to an issue has the id of that for its name
        name = target("issue", one["name"]) if one["kind"] == "issue" else None
        return {**one, "metadata": metadata, "name": name or one["name"]}


def _links(trace: Entity) -> Iterator[tuple[str, str]]:
    """Yield kind and id of all that a trace and its assessments may name, dead links among them."""
    yield from ((kind, trace.facets[kind]) for kind in ("run", "logged_model") if trace.facets[kind])
    yield from (("run", run) for run in trace.facets.get("run_links") or ())
    if ENDPOINT_KEY in trace.facets["metadata"]:
        yield "gateway_endpoint", trace.facets["metadata"][ENDPOINT_KEY]
    yield from (("issue", one["name"]) for one in trace.facets["assessments"] if one["kind"] == "issue")
    values = {value for one in trace.facets["assessments"] for value in one["metadata"].values()}
    yield from (("run", value) for value in values if isinstance(value, str) and _RUN_ID.fullmatch(value))


def _parted(version: str) -> tuple[str, str, str]:
    return version.rpartition("/")


TRACES = Writing(
    ("trace",),
    links=("experiment", "run", "logged_model"),
    again=("run again", "prompt", "issue", "gateway_endpoint"),
    visit=_visit,
)
