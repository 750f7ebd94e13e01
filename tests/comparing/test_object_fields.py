"""Facets of objects beside experiments and runs, one by one: what is said of each difference, word for word."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support.records import (
    COPY,
    DEAD,
    OTHER,
    OTHER_COPY,
    RUN,
    an_entity,
    links,
    told,
)

from mlflow_parity.comparing.object_fields import compare_facet, through
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces

SPANS, ARTIFACTS, ARCHIVE = "mlflow.trace.spansLocation", "mlflow.artifactLocation", "mlflow.trace.archiveLocation"
IN_FILE = "its spans are in a file: no search by span name, type, attribute or text finds them"
STORE, FINALIZED, COST, USER = "TRACKING_STORE", "mlflow.trace.infoFinalized", "mlflow.trace.cost", "mlflow.trace.user"
SCHEMA, ENDPOINT = "evaluation_dataset.schema", "mlflow.gateway.endpointId"


def _compared(
    kind: str, facet: str, ours: Any, theirs: Any, *, itself: bool = False, **known: Any
) -> list[tuple[Any, ...]]:
    """Compare one facet; a mapping of ``facets`` gives other facets beside it."""
    sides = [one.facets if isinstance(one, _With) else {facet: one} for one in (ours, theirs)]
    copy = "x" if itself else "y"
    found = compare_facet(facet, an_entity(kind, "x", **sides[0]), an_entity(kind, copy, **sides[1]), links(**known))
    return told(found)


class _With:
    """Several facets of one object."""

    def __init__(self, **facets: Any) -> None:
        self.facets = facets


def _ready(status: str = "READY", message: str = "") -> dict[str, str]:
    return {"status": status, "message": message}


KEPT = {"mlflow_exim.field.status": "FAILED"}
MODEL_TAGS, READY = "logged_model.tags", "model_version.status.ready"


@pytest.mark.parametrize(
    ("kind", "facet", "ours", "theirs", "found"),
    [
        ("trace", "state", "OK", "OK", []),
        ("trace", "state", "OK", "ERROR", [("", "mismatch", "trace.state", "OK", "ERROR", "")]),
        ("trace", "previews", {"request": "q"}, None, [("", "mismatch", "trace.previews", {"request": "q"}, None, "")]),
        ("scorer", "definition", {"a": 1}, {"a": 2}, [("a", "mismatch", "scorer.definition", 1, 2, "")]),
        # lists, and ids in them
        ("evaluation_dataset", "records", ["a", "b"], ["b", "a"], []),
        ("evaluation_dataset", "records", ["a"], None,
         [("record", "missing", "evaluation_dataset.records", "a", None, "")]),
        ("evaluation_dataset", "records", None, ["a"],
         [("record", "extra", "evaluation_dataset.records", None, "a", "")]),
        ("evaluation_dataset", "records", [{"s": {"t": ["tr-1"]}}], [{"s": {"t": ["tr-a"]}}], []),
        ("evaluation_dataset", "records", [{"s": "tr-1", "n": 1}], [{"s": "tr-1", "n": 1}],
         [("record", "missing", "evaluation_dataset.records", {"s": "tr-a", "n": 1}, None, ""),
          ("record", "extra", "evaluation_dataset.records", None, {"s": "tr-1", "n": 1}, "")]),
        # links
        ("trace", "run", RUN, COPY, []),
        ("trace", "run", RUN, OTHER, [("run", "mismatch", "trace.run", RUN, OTHER, f"the run's copy is {COPY}")]),
        # times
        ("webhook", "times", {"creation": 1, "update": 2}, {"creation": 3, "update": 2},
         [("creation", "expected", "webhook.times", 1, 3, "")]),
        ("webhook", "times", {"creation": 1, "update": 2}, None,
         [("creation", "expected", "webhook.times", 1, None, ""), ("update", "expected", "webhook.times", 2, None,
          "")]),
        ("webhook", "times", {"creation": 1, "x": 1}, {"creation": 1, "x": 2},
         [("x", "mismatch", "webhook.times", 1, 2, "")]),
        ("webhook", "times", {"update": 1}, {"update": 1, "x": 2}, [("x", "extra", "webhook.times", None, 2, "")]),
        ("issue", "times", {"created_at": 1}, {"created_at": 2}, [("created_at", "expected", "issue.times", 1, 2, "")]),
        ("issue", "times", {"created_at": 1}, None, [("created_at", "expected", "issue.times", 1, None, "")]),
        ("issue", "times", {"status": 1}, {"status": 2}, [("status", "mismatch", "issue.times", 1, 2, "")]),
        ("issue", "times", {"parts": {"a": {"created_at": 1}}}, {"parts": {}},
         [("parts: a", "expected", "issue.times", {"created_at": 1}, None, "")]),
        ("issue", "times", {"parts": {"a": {"created_at": 1, "x": 1}}}, {"parts": {}},
         [("parts: a", "missing", "issue.times", {"created_at": 1, "x": 1}, None, "")]),
        ("issue", "times", {"parts": {}}, {"parts": {"a": {"created_at": 1, "x": 1}}},
         [("parts: a", "extra", "issue.times", None, {"created_at": 1, "x": 1}, "")]),
        # datasets
        ("evaluation_dataset", "digest", "a", "b", [("digest", "expected", "evaluation_dataset.digest", "a", "b", "")]),
        ("evaluation_dataset", "digest", None, "b",
         [("digest", "expected", "evaluation_dataset.digest", None, "b", "")]),
        ("evaluation_dataset", "digest", "a", None,
         [("digest", "missing", "evaluation_dataset.digest", "a", None, "")]),
        ("evaluation_dataset", "digest", "a", "a", []),
        ("evaluation_dataset", "digest", None, None, []),
        ("evaluation_dataset", "last_updated_by", "a", "b",
         [("last_updated_by", "expected", "evaluation_dataset.last_updated_by", "a", "b", "")]),
        ("evaluation_dataset", "last_updated_by", "a", "a", []),
        ("evaluation_dataset", "schema", {"inputs": 1}, {"inputs": 1, "outputs": {}},
         [("outputs", "expected", f"{SCHEMA}.outputs", None, {}, "")]),
        ("evaluation_dataset", "schema", {"inputs": 1, "outputs": {}}, {"inputs": 1},
         [("outputs", "expected", f"{SCHEMA}.outputs", {}, None, "")]),
        ("evaluation_dataset", "schema", {"inputs": 1}, {"inputs": 1, "outputs": {"a": 1}},
         [("outputs", "extra", SCHEMA, None, {"a": 1}, "")]),
        ("evaluation_dataset", "schema", {"inputs": 1, "outputs": {"a": 1}}, {"inputs": 1},
         [("outputs", "missing", SCHEMA, {"a": 1}, None, "")]),
        ("evaluation_dataset", "schema", {"inputs": 1}, {"inputs": 2, "outputs": {}},
         [("inputs", "mismatch", SCHEMA, 1, 2, ""), ("outputs", "extra", SCHEMA, None, {}, "")]),
        ("evaluation_dataset", "schema", {"outputs": {}}, {"outputs": {"a": 1}},
         [("outputs: a", "extra", SCHEMA, None, 1, "")]),
        ("evaluation_dataset", "schema", {"outputs": {}}, "s", [("", "mismatch", SCHEMA, {"outputs": {}}, "s", "")]),
        ("evaluation_dataset", "schema", None, {"outputs": {}}, [("", "mismatch", SCHEMA, None, {"outputs": {}}, "")]),
        # statuses
        ("logged_model", "status", _ready(message="m"), _ready(),
         [("message", "expected", "logged_model.status.message", "m", None, "")]),
        ("logged_model", "status", _ready(), _ready(message="m"),
         [("message", "mismatch", "logged_model.status", "", "m", "")]),
        ("logged_model", "status", _ready(message="m"), _ready(message="n"),
         [("message", "mismatch", "logged_model.status", "m", "n", "")]),
        ("logged_model", "status", _ready("FAILED", "m"), _ready(),
         [("message", "mismatch", "logged_model.status", "m", "", ""),
          ("status", "mismatch", "logged_model.status", "FAILED", "READY", "")]),
        ("model_version", "status", _With(status=_ready("FAILED")), _With(status=_ready(), tags=KEPT),
         [("", "expected", READY, _ready("FAILED"), _ready(), "original kept in mlflow_exim.field.status")]),
        ("model_version", "status", _With(status=_ready("FAILED", "m")), _With(status=_ready(), tags=KEPT),
         [("", "expected", READY, _ready("FAILED", "m"), _ready(), "original kept in mlflow_exim.field.status")]),
        ("model_version", "status", _With(status=_ready("READY", "m")),
         _With(status=_ready(), tags={"mlflow_exim.field.status": "READY"}),
         [("", "expected", READY, _ready("READY", "m"), _ready(), "original kept in mlflow_exim.field.status")]),
        ("model_version", "status", _With(status=_ready("FAILED")), _With(status=_ready("PENDING"), tags=KEPT),
         [("status", "mismatch", "model_version.status", "FAILED", "PENDING", "")]),
        ("model_version", "status", _With(status=_ready("FAILED")), _With(status=_ready(message="n"), tags=KEPT),
         [("message", "mismatch", "model_version.status", "", "n", ""),
          ("status", "mismatch", "model_version.status", "FAILED", "READY", "")]),
        ("model_version", "status", _With(status=_ready("PENDING")), _With(status=_ready(), tags=KEPT),
         [("status", "mismatch", "model_version.status", "PENDING", "READY", "")]),
        ("model_version", "status", _With(status=_ready("FAILED")), _With(status=_ready()),
         [("status", "mismatch", "model_version.status", "FAILED", "READY", "")]),
        ("model_version", "status", _With(status=_ready()),
         _With(status=_ready(), tags={"mlflow_exim.field.status": "READY"}), []),
        ("model_version", "status", _With(), _With(status=_ready()),
         [("", "mismatch", "model_version.status", None, _ready(), "")]),
        ("webhook", "status", "ACTIVE", "DISABLED",
         [("", "expected", "webhook.status.disabled", "ACTIVE", "DISABLED", "to be enabled by hand")]),
        ("webhook", "status", "DISABLED", "ACTIVE", [("", "mismatch", "webhook.status", "DISABLED", "ACTIVE", "")]),
        ("webhook", "status", "ACTIVE", "ACTIVE", []),
        # tags
        ("model_version", "tags", {"a": "1", "mlflow_exim.field.x": "1"}, {"a": "2", "mlflow_exim.field.x": "2"},
         [("a", "mismatch", "model_version.tags", "1", "2", "")]),
        ("registered_model", "tags", {"mlflow_exim.field.x": "1"}, None,
         [("mlflow_exim.field.x", "missing", "registered_model.tags", "1", None, "")]),
        ("registered_model", "tags", None, {"a": "1"}, [("a", "extra", "registered_model.tags", None, "1", "")]),
        ("logged_model", "tags", {"a": "1", "mlflow.modelVersions": "x"}, {"a": "1"},
         [("mlflow.modelVersions", "mismatch", MODEL_TAGS, "x", None, "")]),
        ("logged_model", "tags", {}, {"mlflow.modelVersions": "x"},
         [("mlflow.modelVersions", "mismatch", MODEL_TAGS, None, "x", "")]),
        ("registered_model", "tags", {"mlflow.modelVersions": "x"}, {},
         [("mlflow.modelVersions", "missing", "registered_model.tags", "x", None, "")]),
        *((kind, "tags", {"_mlflow_experiment_ids": ",1,"}, {"_mlflow_experiment_ids": ",1,"},
           [("_mlflow_experiment_ids", "mismatch", f"{kind}.tags", ",1,", ",1,",
            "not the copies of these experiments")])
          for kind in ("prompt", "prompt_version")),
        ("registered_model", "tags", {"_mlflow_experiment_ids": ",1,"}, {"_mlflow_experiment_ids": ",1,"}, []),
        *((kind, "tags", {"a": "1"}, {"a": "1"}, []) for kind in ("prompt", "prompt_version", "logged_model")),
        ("prompt", "tags", {}, {"_mlflow_experiment_ids": ",7,"},
         [("_mlflow_experiment_ids", "mismatch", "prompt.tags", None, ",7,", "not the copies of these experiments")]),
        ("prompt", "tags", {"_mlflow_experiment_ids": ",1,"}, {},
         [("_mlflow_experiment_ids", "mismatch", "prompt.tags", ",1,", None, "not the copies of these experiments")]),
        # spans that searches find
        ("trace", "tags", {SPANS: STORE}, {SPANS: STORE}, []),
        ("trace", "tags", {SPANS: STORE}, {}, [(SPANS, "expected", "trace.tags.spans", STORE, None, IN_FILE)]),
        ("trace", "tags", {SPANS: STORE}, {SPANS: "FILE"},
         [(SPANS, "expected", "trace.tags.spans", STORE, "FILE", IN_FILE)]),
        ("trace", "tags", _With(tags={SPANS: STORE}, spans=[]), {},
         [(SPANS, "expected", "trace.tags.place", STORE, None, "")]),
        ("trace", "tags", {SPANS: "FILE"}, {SPANS: STORE},
         [(SPANS, "expected", "trace.tags.place", "FILE", STORE, "")]),
        ("trace", "tags", {}, {SPANS: STORE}, [(SPANS, "expected", "trace.tags.place", None, STORE, "")]),
        ("trace", "tags", {ARTIFACTS: "s3://a", ARCHIVE: "s3://b", "k": "1"}, {ARTIFACTS: "s3://c", "k": "2"},
         [(ARTIFACTS, "expected", "trace.tags.place", "s3://a", "s3://c", ""),
          (ARCHIVE, "expected", "trace.tags.place", "s3://b", None, ""), ("k", "mismatch", "trace.tags", "1", "2",
           "")]),
        # metadata
        ("trace", "metadata", {}, {FINALIZED: "true"},
         [(FINALIZED, "expected", "trace.metadata.finalized", None, "true", "")]),
        ("trace", "metadata", None, {FINALIZED: "false"},
         [(FINALIZED, "extra", "trace.metadata", None, "false", "")]),
        ("trace", "metadata", {FINALIZED: "x"}, {FINALIZED: "true"},
         [(FINALIZED, "mismatch", "trace.metadata", "x", "true", "")]),
        ("trace", "metadata", {"a": "1"}, None, [("a", "missing", "trace.metadata", "1", None, "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_facet(kind: str, facet: str, ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """Which key, both values, under which rule it passes or does not, and why."""
    assert _compared(kind, facet, ours, theirs, entities={"trace": {"tr-1": "tr-a"}}) == found


def test_what_an_import_may_change_of_an_object_it_did_not_make() -> None:
    """Under its own id, nothing was written there by an import: the same differences are red."""
    assert _compared("webhook", "status", "ACTIVE", "DISABLED", itself=True) == [
        ("", "mismatch", "webhook.status", "ACTIVE", "DISABLED", "")
    ]
    assert _compared("evaluation_dataset", "last_updated_by", "a", "b", itself=True) == [
        ("last_updated_by", "mismatch", "evaluation_dataset.last_updated_by", "a", "b", "")
    ]


def test_spans_that_the_target_could_search() -> None:
    """Spans in a file, on a target whose database could hold them: no search finds them; migrate again."""
    note = f"{IN_FILE}. Run the migration again: the target's database can hold them"
    assert _compared("trace", "tags", {SPANS: STORE}, {SPANS: "FILE"}, keeps_spans=lambda: True) == [
        (SPANS, "mismatch", "trace.tags.spans", STORE, "FILE", note)
    ]


PLACES = CopyPlaces(frozenset({"s3://old/1"}))
GOES = "the copy's files are in the source's place: they go when the source goes"


@pytest.mark.parametrize(
    ("ours", "theirs", "itself", "note"),
    [
        ("s3://old/1/a", "s3://new/1", False, None),
        ("s3://old/1/a", "s3://old/1/b", False, GOES),
        ("s3://third/a", "s3://third/a", False, GOES),
        ("s3://third/a", "s3://third/a/", False, GOES),
        ("s3://third/a", "s3://third/a", True, None),
        ("s3://old/1/a", "s3://old/1/a", True, GOES),
        ("mlflow-artifacts:/a", "mlflow-artifacts:/a", False, None),
        (None, "s3://old/1/b", False, GOES),
        (None, "s3://new/1", False, None),
        (None, None, False, None),
    ],
)
def test_where_the_copy_of_a_trace_keeps_its_files(
    ours: str | None, theirs: str | None, itself: bool, note: str | None
) -> None:
    """Both of its places: in the source's they go with it."""
    for key in (ARTIFACTS, ARCHIVE):
        tags = [{} if one is None else {key: one} for one in (ours, theirs)]
        found = _compared("trace", "tags", *tags, itself=itself, copy_places=PLACES.apart())
        if note is None:
            assert found == ([] if ours == theirs else [(key, "expected", "trace.tags.place", ours, theirs, "")])
        else:
            assert found == [(key, "mismatch", "trace.tags.place", ours, theirs, note)]


def test_the_place_of_a_traces_files_is_lost() -> None:
    """Without it no client finds them; an archive may go."""
    mine = {ARTIFACTS: "s3://old/1/a", ARCHIVE: "s3://old/1/b"}
    assert _compared("trace", "tags", mine, {}, copy_places=PLACES.apart()) == [
        (
            ARTIFACTS,
            "missing",
            "trace.tags.place",
            "s3://old/1/a",
            None,
            "without it no client finds the trace's files",
        ),
        (ARCHIVE, "expected", "trace.tags.place", "s3://old/1/b", None, ""),
    ]
    sides = {SPANS: "s3://old/1/a"}, {SPANS: "s3://old/1/b"}
    assert [one[1] for one in _compared("trace", "tags", *sides, copy_places=PLACES)] == ["expected"]


def test_two_traces_in_one_place_are_told_unless_they_shared_one_before() -> None:
    """The files of one of them are the other's."""
    places = CopyPlaces()

    def judged(copy: str, ours: str) -> list[str]:
        sides = (
            an_entity("trace", "t", tags={ARTIFACTS: ours}),
            an_entity("trace", copy, tags={ARTIFACTS: "s3://new/x"}),
        )
        return [one.note for one in compare_facet("tags", *sides, links(copy_places=places))]

    assert judged("u", "s3://old/a") == judged("v", "s3://old/a") == [""]
    assert judged("w", "s3://old/b") == ["it is also the place of trace u, the copy of t"]


LINKS = "trace.run_links"
OUT_OF_SCOPE = "the run is outside this audit's scope"
GONE = "the run is not on the source, or deleted there"


@pytest.mark.parametrize(
    ("ours", "theirs", "known", "found"),
    [
        ([RUN], [COPY], {}, []),
        (None, [], {}, [("", "unverified", LINKS, None, None, "the source's were not read")]),
        ([], None, {}, [("", "unverified", LINKS, None, None, "the target's were not read")]),
        ([RUN], [], {}, [(RUN, "missing", LINKS, RUN, None, f"the run's copy is {COPY}")]),
        ([], [COPY], {}, [(COPY, "extra", LINKS, None, COPY, "")]),
        ([], [OTHER, COPY], {}, [(COPY, "extra", LINKS, None, COPY, ""), (OTHER, "extra", LINKS, None, OTHER, "")]),
        ([RUN], [RUN], {}, [(RUN, "missing", LINKS, RUN, None, f"the run's copy is {COPY}"),
                            (RUN, "extra", LINKS, None, RUN, "")]),
        ([RUN], [OTHER_COPY], {"copies": {RUN: {OTHER_COPY, "z"}}}, []),
        ([DEAD], [DEAD], {}, [(DEAD, "expected", f"{LINKS}.dangling", DEAD, DEAD, GONE)]),
        ([DEAD], [], {}, [(DEAD, "expected", f"{LINKS}.dangling", DEAD, None, GONE)]),
        (["z", DEAD], [], {}, [("z", "expected", f"{LINKS}.dangling", "z", None, GONE),
                               (DEAD, "expected", f"{LINKS}.dangling", DEAD, None, GONE)]),
        ([DEAD], [COPY], {}, [(DEAD, "expected", f"{LINKS}.dangling", DEAD, None, GONE),
                              (COPY, "extra", LINKS, None, COPY, "")]),
        ([DEAD], [DEAD], {"complete": False}, [(DEAD, "unverified", LINKS, DEAD, DEAD, OUT_OF_SCOPE)]),
        ([RUN], [COPY, OTHER], {"replaced": {OTHER: RUN}},
         [(OTHER, "expected", f"{LINKS}.replaced", None, OTHER, "")]),
        (_With(run_links=[], run=RUN), _With(run_links=[OTHER], run=COPY), {"replaced": {OTHER: RUN}},
         [(OTHER, "expected", f"{LINKS}.replaced", None, OTHER, "")]),
        ([], [OTHER], {"replaced": {OTHER: RUN}}, [(OTHER, "extra", LINKS, None, OTHER, "")]),
        ([RUN], [COPY, OTHER], {"replaced": {OTHER: DEAD}}, [(OTHER, "extra", LINKS, None, OTHER, "")]),
        ([RUN], [COPY, OTHER], {"replaced": {OTHER_COPY: RUN}}, [(OTHER, "extra", LINKS, None, OTHER, "")]),
        ([RUN], [OTHER], {"replaced": {OTHER: RUN}},
         [(RUN, "missing", LINKS, RUN, None, f"the run's copy is {COPY}"),
          (OTHER, "expected", f"{LINKS}.replaced", None, OTHER, "")]),
        ([RUN], _With(run_links=[], run=COPY), {}, []),
        ([DEAD], _With(run_links=[], run=COPY), {}, [(DEAD, "expected", f"{LINKS}.dangling", DEAD, None, GONE)]),
        ([RUN, DEAD], _With(run_links=[COPY], run=COPY), {},
         [(DEAD, "expected", f"{LINKS}.dangling", DEAD, None, GONE)]),
        ([RUN, OTHER], _With(run_links=[OTHER_COPY], run=COPY), {"pairs": {RUN: COPY, OTHER: OTHER_COPY}}, []),
    ],
)  # fmt: skip
def test_what_is_said_of_a_link_to_a_run(ours: Any, theirs: Any, known: Any, found: list[tuple[Any, ...]]) -> None:
    """An evaluation on existing traces is seen by these links: each leads to the copy of its run."""
    assert _compared("trace", "run_links", ours, theirs, **known) == found


def _point(run: str | None, key: str = "loss", value: float = 1.0) -> dict[str, Any]:
    return {"key": key, "value": value, "run": run}


METRICS = "logged_model.metrics"
INF, LARGEST = math.inf, 1.7976931348623157e308


@pytest.mark.parametrize(
    ("ours", "theirs", "known", "found"),
    [
        ([_point(RUN)], [_point(COPY)], {}, []),
        ([_point(RUN)], [_point(COPY), _point(COPY)], {}, [("loss", "extra", METRICS, None, _point(COPY), "")]),
        ([_point(RUN)], [], {}, [("loss", "missing", METRICS, _point(COPY), None, "")]),
        ([_point(RUN)], [_point(RUN)], {}, [("loss: run", "mismatch", METRICS, COPY, RUN, "")]),
        ([_point(None)], [_point(None)], {}, []),
        ([_point(None)], None, {}, [("loss", "missing", METRICS, _point(None), None, "")]),
        ([_point("")], [_point("")], {}, []),
        ([_point(RUN, "a"), _point(RUN, "b")], [_point(COPY, "b", 2.0), _point(COPY, "a")], {},
         [("b: value", "mismatch", METRICS, 1.0, 2.0, "")]),
        ([_point(DEAD), _point(DEAD), _point(RUN)], [_point(COPY)], {"include_deleted": False},
         [(DEAD, "expected", f"{METRICS}.left-out", "2 points", None, "its run is deleted")]),
        ([_point(DEAD)], [], {"include_deleted": False, "stages": {DEAD: "deleted"}},
         [(DEAD, "expected", f"{METRICS}.left-out", "1 points", None, "its run is deleted")]),
        ([_point(DEAD)], [_point(DEAD)], {"include_deleted": False}, []),
        ([_point(DEAD)], [], {"include_deleted": True}, [("loss", "missing", METRICS, _point(DEAD), None, "")]),
        ([_point(DEAD)], [], {"include_deleted": False, "stages": {DEAD: "active"}},
         [("loss", "missing", METRICS, _point(DEAD), None, "")]),
        ([_point(DEAD)], [], {"include_deleted": False, "complete": False},
         [("loss", "missing", METRICS, _point(DEAD), None, "")]),
        ([_point("z"), _point(DEAD)], [], {"include_deleted": False},
         [(DEAD, "expected", f"{METRICS}.left-out", "1 points", None, "its run is deleted"),
          ("z", "expected", f"{METRICS}.left-out", "1 points", None, "its run is deleted")]),
        ([_point("")], [], {"include_deleted": False}, [("loss", "missing", METRICS, _point(""), None, "")]),
        # as a SQL store keeps them, each for itself; what stands as it was is no other's copy
        ([_point(RUN, value=INF), _point(RUN, value=INF)], [_point(COPY, value=LARGEST)], {},
         [("loss", "expected", f"{METRICS}.infinity", INF, LARGEST, ""),
          ("loss", "missing", METRICS, _point(COPY, value=INF), None, "")]),
        ([_point(RUN, "a", -INF), _point(RUN, "b", -0.0)], [_point(COPY, "b", 0.0), _point(COPY, "a", -LARGEST)], {},
         [("a", "expected", f"{METRICS}.infinity", -INF, -LARGEST, ""),
          ("b", "expected", f"{METRICS}.negative-zero", -0.0, 0.0, "")]),
        ([_point(RUN, value=INF)], [_point(COPY, value=INF), _point(COPY, value=LARGEST)], {},
         [("loss", "extra", METRICS, None, _point(COPY, value=LARGEST), "")]),
        ([_point(RUN)], [], {"include_deleted": False, "stages": {RUN: "deleted"}},
         [("loss", "missing", METRICS, _point(COPY), None, "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_logged_models_metrics(
    ours: Any, theirs: Any, known: Any, found: list[tuple[Any, ...]]
) -> None:
    """Each point as often as it is there, of the copy of its run; only those of deleted runs may be left out."""
    assert _compared("logged_model", "metrics", ours, theirs, **known) == found


EXPERIMENTS = "evaluation_dataset.experiments"


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (["1"], ["7"], []),
        (None, None, []),
        (["1"], None, [("1", "missing", EXPERIMENTS, "1", None, "its experiment's copy is 7")]),
        (None, ["7"], [("7", "extra", EXPERIMENTS, None, "7", "")]),
        (["1"], ["1"], [("1", "missing", EXPERIMENTS, "1", None, "its experiment's copy is 7"),
                        ("1", "extra", EXPERIMENTS, None, "1", "")]),
        (["2"], [], [("2", "missing", EXPERIMENTS, "2", None, "its experiment has no copy")]),
        (["5"], [], [("5", "expected", f"{EXPERIMENTS}.dangling", "5", None, "the experiment is not on the source")]),
        (["3"], [], [("3", "expected", f"{EXPERIMENTS}.dangling", "3", None,
         "the experiment is deleted on the source")]),
        (["3"], ["3"], [("3", "expected", f"{EXPERIMENTS}.dangling", "3", None,
                         "the experiment is deleted on the source"), ("3", "extra", EXPERIMENTS, None, "3", "")]),
        (["3", "1"], ["9", "8"], [("1", "missing", EXPERIMENTS, "1", None, "its experiment's copy is 7"),
                                  ("3", "expected", f"{EXPERIMENTS}.dangling", "3", None,
                                   "the experiment is deleted on the source"),
                                  ("8", "extra", EXPERIMENTS, None, "8", ""),
                                  ("9", "extra", EXPERIMENTS, None, "9", "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_datasets_experiments(ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """A dataset is found in the experiments on which it hangs: in their copies."""
    known: dict[str, Any] = {"known": {"experiment": {"1", "2"}}, "deleted": ("3",)}
    assert _compared("evaluation_dataset", "experiments", ours, theirs, **known) == found


def test_an_experiment_out_of_scope_is_unverified() -> None:
    """Nobody looked there."""
    note = "the experiment is outside this audit's scope"
    found = _compared("evaluation_dataset", "experiments", ["6"], ["6"], whole=set())
    assert found == [("6", "unverified", EXPERIMENTS, "6", None, note)]
    note = "the experiment is deleted on the source"
    found = _compared("evaluation_dataset", "experiments", ["3"], [], whole=set(), deleted=("3",))
    assert found == [("3", "expected", f"{EXPERIMENTS}.dangling", "3", None, note)]


PROMPTS = "trace.prompts"
CANNOT = "the target cannot tell links that stand in no tag"
ONE_CANNOT = "one of the servers cannot tell them"


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        # by their tags alone
        (_With(prompts=["p/1"]), _With(prompts=["p/9"]), []),
        (_With(prompts=["p/1"]), _With(prompts=["p/1"]),
         [("", "missing", PROMPTS, "p/9", None, ""), ("", "extra", PROMPTS, None, "p/1", "")]),
        (_With(prompts=None), _With(prompts=None), []),
        (_With(prompts=["p/1"]), _With(prompts=None), [("", "unverified", PROMPTS, ["p/1"], None, ONE_CANNOT)]),
        (_With(prompts=None), _With(prompts=["p/1"]), [("", "unverified", PROMPTS, None, ["p/1"], ONE_CANNOT)]),
        # both servers tell associations: the tags say nothing more
        (_With(linked_prompts=["p/1"], prompts=["x"]), _With(linked_prompts=["p/9"], prompts=["y"]), []),
        (_With(linked_prompts=[]), _With(linked_prompts=["p/9"]), [("", "extra", PROMPTS, None, "p/9", "")]),
        # the target alone does
        (_With(prompts=["p/1"]), _With(linked_prompts=["p/9"], prompts=["p/9"]), []),
        (_With(prompts=["p/1"]), _With(linked_prompts=["p/9", "q/2", "q/1"], prompts=["p/9"]),
         [("q/1", "extra", PROMPTS, None, "q/1", ""), ("q/2", "extra", PROMPTS, None, "q/2", "")]),
        (_With(prompts=None), _With(linked_prompts=["q/1"], prompts=None),
         [("q/1", "extra", PROMPTS, None, "q/1", "")]),
        (_With(prompts=["p/1"]), _With(linked_prompts=["q/1"], prompts=[]),
         [("q/1", "extra", PROMPTS, None, "q/1", ""), ("", "missing", PROMPTS, "p/9", None, "")]),
        (_With(prompts=["gone/1"]), _With(linked_prompts=["gone/1"], prompts=["gone/1"]), []),
        # the source alone does
        (_With(linked_prompts=["gone/1"], prompts=["gone/1"]), _With(prompts=["gone/1"]), []),
        (_With(linked_prompts=["p/1"], prompts=["p/1"]), _With(prompts=["p/9"]), []),
        (_With(linked_prompts=["q/1", "p/1"], prompts=["p/1"]), _With(prompts=["p/9"]),
         [("", "unverified", PROMPTS, ["p/1", "q/1"], ["p/9"], CANNOT)]),
        (_With(linked_prompts=["p/1"], prompts=None), _With(prompts=None),
         [("", "unverified", PROMPTS, ["p/1"], None, CANNOT)]),
        (_With(linked_prompts=["p/1"], prompts=["p/2"]), _With(prompts=["p/9"]),
         [("", "missing", PROMPTS, "p/2", None, ""), ("", "extra", PROMPTS, None, "p/9", "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_link_to_a_prompt(ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """Which version of a prompt a trace used: by what servers can search for, else by the tag, and never guessed."""
    assert _compared("trace", "prompts", ours, theirs, entities={"prompt_version": {"p/1": "p/9"}}) == found


def _trace(metadata: Any, place: str | None = STORE, *spans: Any) -> _With:
    return _With(metadata=metadata, tags=None if place is None else {SPANS: place},
                 spans=[{"attributes": one} for one in spans] or None)  # fmt: skip


#: A whole number that no float holds.
HUGE = "9" * 400
USAGE, SESSION = "mlflow.trace.tokenUsage", "mlflow.trace.session"
SUM = f'{{"a": {0.1 + 0.2}}}'


def test_a_prompt_that_has_no_copy() -> None:
    """Its name leads nowhere on the target, though it is the same one."""
    known: Any = {"known": {"prompt_version": {"q/1"}}}
    note = "the prompt's version has no copy on the target"
    for facet in ("prompts", "linked_prompts"):
        sides = [_With(**{facet: ["q/1"]})] * 2
        assert _compared("trace", "prompts", *sides, **known) == [("q/1", "mismatch", PROMPTS, "q/1", "q/1", note)]


@pytest.mark.parametrize("facet", ["prompts", "linked_prompts"])
def test_a_prompt_of_which_nobody_can_tell(facet: str) -> None:
    """Where the source's prompts could not be read, an equal name may be that of another version's copy."""
    sides = [_With(**{facet: ["p/1", "q/1"]}), _With(**{facet: ["p/9", "q/1"]})]
    known: Any = {"entities": {"prompt_version": {"p/1": "p/9"}}, "whole": set()}
    note = "prompt version q/1, which it lists, was not read on the source"
    told_of = [("", "unverified", PROMPTS, ["p/1", "q/1"], ["p/9", "q/1"], note)]
    assert _compared("trace", "prompts", *sides, **known) == told_of
    # what the options leave out is not judged
    assert _compared("trace", "prompts", *sides, **known, is_wanted="p".__eq__) == []
    assert _compared("trace", "prompts", *sides, **known, is_wanted="q".__eq__) == told_of
    # what is paired is known, whatever else was not read
    assert _compared("trace", "prompts", _With(**{facet: ["p/1"]}), _With(**{facet: ["p/9"]}), **known) == []
    assert _compared("trace", "prompts", _With(**{facet: []}), _With(**{facet: []}), **known) == []
    assert _compared("trace", "prompts", *sides, **{**known, "whole": {"prompt_version"}}) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        *((_trace({}), _trace({COST: one}, STORE, {}, {"mlflow.llm.cost": {"a": 0.1}}, {"mlflow.llm.cost": {"a": 0.2}}),
           [(COST, state, rule, None, one, "")])
          for state, rule, told in (
              ("expected", "trace.metadata.derived", (SUM, '{"a": 0.2}', '{"a": 0}', "{}")),
              ("extra", "trace.metadata",
               ("1", '{"a": 0.31}', '{"b": 0.1}', '{"a": -0.1}', '{"a": "x"}', '{"a": NaN}')))
          for one in told),
        (_trace({}), _trace({USAGE: '{"a": 1}'}, STORE, {"mlflow.chat.tokenUsage": {"a": 1}}),
         [(USAGE, "expected", "trace.metadata.derived", None, '{"a": 1}', "")]),
        (_trace({}), _trace({USAGE: '{"a": 1}'}, STORE, {"mlflow.chat.tokenUsage": {"a": "x"}}),
         [(USAGE, "extra", "trace.metadata", None, '{"a": 1}', "")]),
        (_trace({}), _trace({USAGE: f'{{"a": {HUGE}}}'}, STORE, {"mlflow.chat.tokenUsage": {"a": int(HUGE)}}),
         [(USAGE, "extra", "trace.metadata", None, f'{{"a": {HUGE}}}', "")]),
        (_trace({}), _trace({USAGE: "{}"}, STORE, {"mlflow.chat.tokenUsage": 1}),
         [(USAGE, "extra", "trace.metadata", None, "{}", "")]),
        *((_trace({}), _trace({SESSION: "s"}, STORE, {name: "s"}), [(SESSION, state, rule, None, "s", "")])
          for state, rule, names in (
              ("expected", "trace.metadata.derived", ("session.id", "gen_ai.conversation.id")),
              ("extra", "trace.metadata", ("user.id", "s", "gen_ai.prompt")))
          for name in names),
        (_trace({}), _trace({COST: "1"}, STORE, {"mlflow.chat.tokenUsage": 1}),
         [(COST, "extra", "trace.metadata", None, "1", "")]),
        (_trace({}), _trace({COST: "1"}), [(COST, "extra", "trace.metadata", None, "1", "")]),
        (_trace({}), _trace({USER: "7"}, STORE, {"user.id": 7}),
         [(USER, "expected", "trace.metadata.derived", None, "7", "")]),
        (_trace({}), _trace({USER: "7"}, STORE, {"user.id": 8}), [(USER, "extra", "trace.metadata", None, "7", "")]),
        (_trace({}), _trace({USER: "7"}, STORE, None), [(USER, "extra", "trace.metadata", None, "7", "")]),
        (_trace({}), _trace({USER: "7", COST: '{"a": 1}'}, STORE, {"user.id": 8, "mlflow.llm.cost": {"a": 1}}),
         [(COST, "expected", "trace.metadata.derived", None, '{"a": 1}', ""),
          (USER, "extra", "trace.metadata", None, "7", "")]),
        (_trace({}), _trace({USER: "7", COST: "1"}, STORE, {"user.id": 7}),
         [(USER, "expected", "trace.metadata.derived", None, "7", ""),
          (COST, "extra", "trace.metadata", None, "1", "")]),
        (_trace({COST: "2"}), _trace({COST: "1"}, STORE, {"mlflow.llm.cost": 1}),
         [(COST, "mismatch", "trace.metadata", "2", "1", "")]),
        *((_trace({}, one), _trace({COST: "1"}, other, {"mlflow.llm.cost": 1}),
           [(COST, "extra", "trace.metadata", None, "1", "")])
          for one, other in (("x", STORE), (STORE, "x"), (None, STORE), (STORE, None))),
        (_trace({}), _trace({"other": "1"}, STORE, {"other": "1"}),
         [("other", "extra", "trace.metadata", None, "1", "")]),
    ],
)  # fmt: skip
def test_what_a_server_makes_of_spans_in_a_traces_metadata(
    ours: _With, theirs: _With, found: list[tuple[Any, ...]]
) -> None:
    """Only what can be made of what stands in the copy's spans passes: a cost out of nothing was not derived."""
    assert _compared("trace", "metadata", ours, theirs) == found


@pytest.mark.parametrize(
    ("ours", "theirs", "known", "found"),
    [
        ({ENDPOINT: "e"}, {ENDPOINT: "f"}, True, []),
        ({ENDPOINT: "e"}, {ENDPOINT: "e"}, True, [(ENDPOINT, "mismatch", "trace.metadata", "f", "e", "")]),
        ({ENDPOINT: "g"}, {ENDPOINT: "g"}, True, []),
        ({ENDPOINT: "e"}, {}, True, [(ENDPOINT, "missing", "trace.metadata", "f", None, "")]),
        ({}, {ENDPOINT: "f"}, True, [(ENDPOINT, "extra", "trace.metadata", None, "f", "")]),
        ({ENDPOINT: "e"}, {ENDPOINT: "e"}, False, []),
        ({ENDPOINT: "e", "k": "1"}, {ENDPOINT: "f", "k": "2"}, False,
         [(ENDPOINT, "unverified", "trace.metadata", "e", "f", "the gateway's endpoints were not read"),
          ("k", "mismatch", "trace.metadata", "1", "2", "")]),
        ({ENDPOINT: "e"}, {}, False,
         [(ENDPOINT, "unverified", "trace.metadata", "e", None, "the gateway's endpoints were not read")]),
    ],
)  # fmt: skip
def test_the_gateways_endpoint_in_a_traces_metadata(
    ours: Any, theirs: Any, known: bool, found: list[tuple[Any, ...]]
) -> None:
    """It names the copy of the endpoint that was called; where endpoints were not read, only an equal one passes."""
    given: dict[str, Any] = (
        {"known": {"gateway_endpoint": {"e"}}, "entities": {"gateway_endpoint": {"e": "f"}}} if known else {}
    )
    assert _compared("trace", "metadata", ours, theirs, **given) == found


def test_ids_at_any_depth_of_a_value() -> None:
    """Texts that are a source id become that of its copy; keys, numbers and other texts stay."""
    value = {"a": ["x", {"b": "x", "x": 1}], "c": "xx", "d": None, "e": 5}
    assert through(value, {"x": "y"}) == {"a": ["y", {"b": "y", "x": 1}], "c": "xx", "d": None, "e": 5}
