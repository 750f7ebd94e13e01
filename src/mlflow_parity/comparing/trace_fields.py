"""Spans and assessments of one pair of traces, whose ids a tool may have given again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from mlflow_parity.comparing.difference import Difference, compare_json, compare_mappings, compare_multisets, same
from mlflow_parity.comparing.links import RunCopies, untold_runs
from mlflow_parity.core.identity.digests import digest, encode
from mlflow_parity.core.json_text import or_text
from mlflow_parity.core.records import ENDPOINT_KEY, Entity
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds.conventions.attachments import referring
from mlflow_parity.kinds.conventions.foreign_spans import MADE, is_made, may_be_made
from mlflow_parity.kinds.trace import DERIVED_OF_TRACE, IN_STORE, SPANS_LOCATION, SUMS_OF, TAKEN_OF, size_stat

if TYPE_CHECKING:
    from mlflow_parity.comparing.links import ObjectLinks

#: An assessment as it was read, and what it says.
_Judged = tuple[Mapping[str, Any], dict[str, Any]]
#: By how much sums of the same floats may differ.
_ROUNDED = 1e-9
_FINALIZED = "mlflow.trace.infoFinalized"
_DERIVED = "trace.spans.derived"
_ANOTHER_RELEASE = (
    "the source's span has none, and of its attributes no release of MLflow that is known here makes this; all of it "
    "stands in them, so another one may. Look at the span on both sides, and accept it with a waiver"
)


def compare_spans(source: Entity, target: Entity, links: ObjectLinks | None = None) -> list[Difference]:
    """Compare spans one by one in the order of their start; where ids were given again, by their place in the tree."""
    rule = "trace.spans"
    ours, theirs = list(source.facets.get("spans") or []), list(target.facets.get("spans") or [])
    lost = [] if source.error or target.error else _lost_before(source, len(ours), len(theirs))
    derived: list[Difference] = []
    if not any("trace" in span for span in theirs):
        # what the source's file says wrongly of its trace, and the target's does not, was put right
        ours = [{key: value for key, value in span.items() if key != "trace"} for span in ours]
    copies = {**(links.of("trace") if links is not None else {}), source.entity_id: target.entity_id}
    if any(trace != copy for trace, copy in copies.items()):
        # a reference to an attachment names the trace by whose id it is asked for
        ours = [referring(span, lambda trace: copies.get(trace, trace)) for span in ours]
    if (target.facets.get("tags") or {}).get(SPANS_LOCATION) == IN_STORE:
        theirs, derived = _less_derived(ours, theirs)
    mine_by_id, by_id = _by_id(ours, source.entity_id, target.entity_id), _by_id(theirs, target.entity_id, None)
    found: list[Difference] = []
    if mine_by_id.keys() & by_id.keys() or source.entity_id == target.entity_id:
        for span_id in sorted(mine_by_id.keys() | by_id.keys(), key=lambda one: str(one)):
            for mine, copy in _side_by_side(mine_by_id.get(span_id, []), by_id.get(span_id, [])):
                key = f"{(mine or copy or {}).get('name')} ({span_id})"
                if mine is None:
                    found.append(Difference(key, State.EXTRA, rule, target=copy))
                elif copy is None:
                    found.append(Difference(key, State.MISSING, rule, source=mine))
                else:
                    found += compare_json(key, mine, copy, rule)
        return found + lost + derived
    places = placed(ours, source.entity_id, target.entity_id), placed(theirs, target.entity_id, None)
    found = compare_multisets("", *places, rule, "place")
    if not found and (ours or theirs):
        found = [Difference("span_id", State.EXPECTED, "trace.spans.ids", note="span ids were given again")]
    return found + lost + derived


def _lost_before(source: Entity, ours: int, theirs: int) -> list[Difference]:
    """Tell of spans that are on neither side, though the trace was made with them; of traces that were read whole."""
    told = size_stat(source, "num_spans")
    if told is None or not 0 < ours < told or theirs >= told or source.facets.get("state") == "IN_PROGRESS":
        return []
    note = (
        f"made with {told} spans, the source gives {ours}: MLflow lost the others before, or its server does not give "
        "them; look at the trace on the source, and accept it with a waiver if they are gone"
    )
    return [Difference("number of spans", State.MISMATCH, "trace.spans", told, theirs, note)]


def _less_derived(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[Difference]]:
    """Take out of the copies what the target's server made of them, and the source's span of that id does not have.

    What it cannot have made of that span stays, and is one thing more than on the source.
    """
    by_id = {span["span_id"]: span for span in ours}
    found: list[Difference] = []
    left: list[Mapping[str, Any]] = []
    for copy in theirs:
        mine = by_id.get(copy["span_id"])
        if mine is not None:
            copy = {**copy, "attributes": dict(copy.get("attributes") or {})}
            for key in MADE:
                own, value = _of_span(mine, key), _of_span(copy, key)
                if value is None or not (own is None or (key == "type" and own == "UNKNOWN")) or value == own:
                    continue
                if is_made(key, value, mine):
                    state, note = State.EXPECTED, ""
                elif may_be_made(value, mine):
                    state, note = State.UNVERIFIED, _ANOTHER_RELEASE
                else:
                    continue
                found.append(
                    Difference(f"{copy.get('name')} ({copy['span_id']}).{key}", state, _DERIVED, own, value, note)
                )
                copy = _with(copy, key, own)
                # what is made of it is made of what the server made
                mine = _with(mine, key, value)
        left.append(copy)
    return left, found


def _of_span(span: Mapping[str, Any], key: str) -> Any:
    """Return a field of a span, or one of MLflow's attributes."""
    return ((span.get("attributes") or {}) if key.startswith("mlflow.") else span).get(key)


def _with(span: Mapping[str, Any], key: str, value: object) -> Mapping[str, Any]:
    """Return a span with a field or an attribute; an attribute of None is none."""
    if not key.startswith("mlflow."):
        return {**span, key: value}
    rest = {name: one for name, one in (span.get("attributes") or {}).items() if name != key}
    return {**span, "attributes": rest if value is None else {**rest, key: value}}


def _by_id(spans: Sequence[Mapping[str, Any]], trace: str, copy: str | None) -> dict[Any, list[dict[str, Any]]]:
    """Return the spans of each id: a file may hold several of one."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for span in spans:
        found.setdefault(span["span_id"], []).append(_renamed(span, trace, copy))
    return found


def _side_by_side(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """Yield spans of one id with their copies: the equal ones, then the others in their order."""
    left = list(theirs)
    others = []
    for mine in ours:
        twin = next((number for number, copy in enumerate(left) if same(mine, copy)), None)
        if twin is None:
            others.append(mine)
        else:
            yield mine, left.pop(twin)
    yield from zip_longest(others, left)


def _renamed(span: Mapping[str, Any], trace: str, copy: str | None) -> dict[str, Any]:
    """The trace's own id inside a span's attributes becomes the copy's."""
    if copy is None or trace == copy:
        return dict(span)
    attributes = {key: copy if value == trace else value for key, value in (span.get("attributes") or {}).items()}
    return {**span, "attributes": attributes}


def placed(spans: Sequence[Mapping[str, Any]], trace: str, copy: str | None) -> list[dict[str, Any]]:
    """Name spans by their way from the root instead of by id."""
    return [{**_bare(span), "place": place} for span, place in _in_places(spans, trace, copy)]


def _in_places(
    spans: Sequence[Mapping[str, Any]], trace: str, copy: str | None
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each span with its way from the root."""
    by_id: dict[str, dict[str, Any]] = {}
    for span_id, twins in _by_id(spans, trace, copy).items():
        # what is below an id is below the first of those that have it
        by_id |= {f"{span_id} {number}" if number else span_id: span for number, span in enumerate(twins)}
    children: dict[Any, list[str]] = {}
    for span_id, span in by_id.items():
        parent = span.get("parent_id")
        children.setdefault(parent if parent in by_id else None, []).append(span_id)
    looks = _looks(by_id, children)
    for siblings in children.values():
        siblings.sort(key=lambda one: (by_id[one].get("start_ns") or 0, by_id[one].get("name") or "", looks[one]))
    # one whose parent is in another process's trace is no root
    reached = [
        (span_id, f"{'^' if by_id[span_id].get('parent_id') else ''}{n}")
        for n, span_id in enumerate(children.get(None, []), 1)
    ]
    while reached:
        span_id, place = reached.pop()
        yield by_id.pop(span_id), place
        reached += [(child, f"{place}.{n}") for n, child in enumerate(children.get(span_id, []), 1)]
    # spans that are each other's parents hang on no root
    yield from ((span, "?") for span in by_id.values())


def _bare(span: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in span.items() if key not in ("span_id", "parent_id")}


def _looks(by_id: Mapping[str, Mapping[str, Any]], children: Mapping[Any, Sequence[str]]) -> dict[str, bytes]:
    """Return a digest of each span with all below it, without ids: siblings of one time and name are told by it."""
    looks: dict[str, bytes] = {}
    waiting = list(by_id)
    open_ones: set[str] = set()
    while waiting:
        span_id = waiting[-1]
        below = [child for child in children.get(span_id, []) if child not in looks and child not in open_ones]
        if below and span_id not in looks:
            open_ones.add(span_id)
            waiting += below
            continue
        waiting.pop()
        if span_id not in looks:
            parts = sorted(looks.get(child, b"") for child in children.get(span_id, []))
            looks[span_id] = digest([_bare(by_id[span_id]), parts])
    return looks


def compare_assessments(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Compare assessments by id; as a multiset those whose ids were given again."""
    rule = "trace.assessments"
    ours, theirs = list(source.facets.get("assessments") or []), list(target.facets.get("assessments") or [])
    same_spans = {span["span_id"] for span in source.facets.get("spans") or []} == {
        span["span_id"] for span in target.facets.get("spans") or []
    }
    issues = links.of("issue") if "issue" in links.known else None
    named = [sorted(str(one["name"]) for one in side if one.get("kind") == "issue") for side in (ours, theirs)]
    if issues is None and named[0] != named[1]:
        note = "which issues are referred to nobody can tell: they were not read"
        return [Difference("name", State.UNVERIFIED, rule, named[0], named[1], note)]
    said = judged(ours, source, same_spans, RunCopies(links.runs), issues)
    theirs_said = judged(theirs, target, same_spans, {}, None if issues is None else {})
    pairs, alone, added = _by_their_ids(zip(ours, said, strict=True), zip(theirs, theirs_said, strict=True))
    again = {one["id"] for one, _ in (*alone, *added)}
    found: list[Difference] = []
    for (mine, content), (copy, copied) in pairs:
        found += compare_multisets("", [content], [copied], rule, "name")
        if same(content.get("overrides"), copied.get("overrides")):
            found += _overridden(mine, copy, lambda one: one not in again)
        if mine.get("created") != copy.get("created"):
            found.append(_made_at(mine, copy, "the assessment has its id still, and was made at another time"))
    rest = compare_multisets("", [content for _, content in alone], [content for _, content in added], rule, "name")
    found += rest or _out_of_order(alone, added, {mine["id"] for (mine, _), _ in pairs})
    metadata = [one["metadata"] for one in ours if isinstance(one.get("metadata"), dict)]
    found = untold_runs(found, [value for one in metadata for value in one.values()], links)
    if not found and sorted(_stamps(ours)) != sorted(_stamps(theirs)):
        found = [Difference("ids, times", State.EXPECTED, "trace.assessments.ids", _stamps(ours), _stamps(theirs))]
    return found


def _by_their_ids(
    ours: Iterable[_Judged], theirs: Iterable[_Judged]
) -> tuple[list[tuple[_Judged, _Judged]], list[_Judged], list[_Judged]]:
    """Return the assessments whose id stands on both sides, pair by pair, and those of each side that are left."""
    left = list(theirs)
    places = {copy["id"]: place for place, (copy, _) in enumerate(left) if copy["id"]}
    pairs, alone = [], []
    for one in ours:
        place = places.pop(one[0]["id"], None)
        if place is None:
            alone.append(one)
        else:
            pairs.append((one, place))
    taken = {place for _, place in pairs}
    return [(one, left[at]) for one, at in pairs], alone, [one for at, one in enumerate(left) if at not in taken]


def _overridden(mine: Mapping[str, Any], copy: Mapping[str, Any], is_kept: Callable[[str], bool]) -> list[Difference]:
    """Compare the ids of what two assessments override, where that of either was not given again."""
    ours, theirs = mine.get("overrides"), copy.get("overrides")
    if not (ours and theirs) or ours == theirs or not (is_kept(ours) or is_kept(theirs)):
        return []
    note = "it overrides another one, which says the same or is not there"
    return [Difference(f"{mine['name']}: overrides", State.MISMATCH, "trace.assessments", ours, theirs, note)]


def _out_of_order(ours: list[_Judged], theirs: list[_Judged], kept_ids: set[str]) -> list[Difference]:
    """Compare when assessments were made whose ids were given again: in the same order, or at the same times."""
    copies: dict[bytes, list[Mapping[str, Any]]] = {}
    for copy, content in sorted(theirs, key=lambda one: _created(one[0])):
        copies.setdefault(encode(content), []).append(copy)
    pairs = [(one, copies[encode(content)].pop(0)) for one, content in sorted(ours, key=lambda one: _created(one[0]))]
    kept = sorted(_created(one) for one, _ in pairs) == sorted(_created(copy) for _, copy in pairs)
    latest: dict[tuple[Any, Any], int] = {}
    found: list[Difference] = []
    for one, copy in sorted(pairs, key=lambda pair: (_created(pair[0]), _created(pair[1]))):
        group = copy.get("kind"), copy["name"]
        if _created(copy) < latest.get(group, 0) or (kept and _created(one) != _created(copy)):
            found.append(_made_at(one, copy, "made before others on one side, after them on the other"))
        found += _overridden(one, copy, kept_ids.__contains__)
        latest[group] = max(_created(copy), latest.get(group, 0))
    return found


def _created(one: Mapping[str, Any]) -> int:
    return one.get("created") or 0


def _made_at(mine: Mapping[str, Any], copy: Mapping[str, Any], why: str) -> Difference:
    """MLflow keeps when an assessment was made, and it tells which is the latest."""
    times = mine.get("created"), copy.get("created")
    note = f"{why}: another one may be the latest"
    return Difference(f"{mine['name']}: created", State.MISMATCH, "trace.assessments", *times, note)


def _stamps(items: list[dict[str, Any]]) -> list[str]:
    return [f"{one['id']} {one.get('created')} {one.get('updated')}" for one in items]


def judged(
    items: list[dict[str, Any]],
    trace: Entity,
    same_spans: bool,
    runs: Mapping[str, str],
    issues: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Assessments without ids and times: an override is told by what it overrides, a span by its place.

    A reference to an issue is named by that one's id; where ``issues`` are not known, it is told by the issue's name.
    """
    places = _places(trace.facets.get("spans") or [], trace.entity_id)
    by_id = {one["id"]: one for one in items}

    def value(one: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
        rest = {key: item for key, item in one.items() if key not in ("id", "created", "updated", "overrides")}
        span = rest.get("span_id")
        if span and not same_spans:
            rest["span_id"] = places.get(span, span)
        metadata = rest.get("metadata")
        if isinstance(metadata, dict):
            rest["metadata"] = {key: runs.get(item, item) if isinstance(item, str) else item
                                for key, item in metadata.items()}  # fmt: skip
        if one.get("kind") == "issue":
            named = str(one["name"])
            rest["name"] = "an issue" if issues is None else issues.get(named, named)
        over = one.get("overrides")
        if over:
            known = by_id.get(over)
            rest["overrides"] = value(known, depth + 1) if known is not None and depth < 20 else "an unknown one"
        return rest

    return [value(one) for one in items]


def _places(spans: Sequence[Mapping[str, Any]], trace: str) -> dict[str, str]:
    """Return the place in the tree of each span, by its id: the same one for a copy, whatever ids it has."""
    return {span["span_id"]: place for span, place in _in_places(nameless(spans), trace, "")}


def nameless(spans: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return spans in which no reference to an attachment names a trace."""
    return [referring(span, lambda _: "") for span in spans]


def compare_metadata(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Compare what a trace tells of itself; a server that takes its spans in may tell more."""
    ours, theirs = dict(source.facets.get("metadata") or {}), dict(target.facets.get("metadata") or {})
    found = []
    if _FINALIZED not in ours and theirs.get(_FINALIZED) == "true":
        del theirs[_FINALIZED]
        found.append(Difference(_FINALIZED, State.EXPECTED, "trace.metadata.finalized", None, "true"))
    in_store = all((one.facets.get("tags") or {}).get(SPANS_LOCATION) == IN_STORE for one in (source, target))
    for key in sorted(DERIVED_OF_TRACE & theirs.keys() - ours.keys()) if in_store else ():
        if not _is_made_of_spans(key, theirs[key], target.facets.get("spans") or ()):
            continue
        found.append(Difference(key, State.EXPECTED, "trace.metadata.derived", None, theirs.pop(key)))
    called = ours.get(ENDPOINT_KEY)
    if called is not None and "gateway_endpoint" in links.known:
        ours[ENDPOINT_KEY] = links.of("gateway_endpoint").get(called, called)
    elif called is not None and called != theirs.get(ENDPOINT_KEY):
        note = "the gateway's endpoints were not read"
        told = ours.pop(ENDPOINT_KEY), theirs.pop(ENDPOINT_KEY, None)
        found.append(Difference(ENDPOINT_KEY, State.UNVERIFIED, "trace.metadata", *told, note))
    return found + compare_mappings(ours, theirs, "trace.metadata")


def _is_made_of_spans(key: str, value: object, spans: Sequence[Mapping[str, Any]]) -> bool:
    """Whether MLflow can have made a key of a trace's metadata of what stands in its spans."""
    attributes = [span.get("attributes") or {} for span in spans]
    if key in TAKEN_OF:
        return any(str(item) == value for one in attributes for name, item in one.items() if name in TAKEN_OF[key])
    # a span whose ancestor has one is not added, where the server knows that in time: never more than all together
    parts = [one[SUMS_OF[key]] for one in attributes if isinstance(one.get(SUMS_OF[key]), Mapping)]
    total = or_text(value)
    if not isinstance(total, Mapping) or not parts:
        return False
    try:
        most = {name: sum(one for part in parts if isinstance(one := part.get(name), int | float)) for name in total}
        return all(
            isinstance(count, int | float) and 0 <= count <= (1 + _ROUNDED) * most[name]
            for name, count in total.items()
        )
    except OverflowError:
        # whole numbers beyond all floats are no sums of the server's
        return False
