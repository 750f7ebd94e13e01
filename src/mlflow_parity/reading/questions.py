"""The questions that people's clients ask of objects, made of what was read of these: a bounded number for each.

Values that few objects have make them, so that an answer is one page.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from mlflow_parity.core.records import Entity, Run
from mlflow_parity.kinds import VERSIONS
from mlflow_parity.kinds.trace import IN_STORE, SPANS_LOCATION
from mlflow_parity.reading.asking import About, Question, quoted
from mlflow_parity.reading.registry import PROMPTS

#: Objects whose values questions are made of.
SAMPLE = 200
#: Objects of which an answer is made: fewer than a page, as some may be of the same time.
ASKED = 400
#: Keys of whose values questions are made, for each sort.
_KEYS = 2
#: Names and types of spans, runs with images, aliases of one name that are asked for.
_SOME = 5
#: Requests for one experiment, registered model and prompt on each side; those whose answers differ come again.
MOST = {"experiment": 34, "registered_model": 13, "prompt": 11}
#: Before the number of the first version that is asked for, where a name has many.
SINCE = " AND version_number >= "
_LONGEST = 80
#: What a server's database holds of a whole number.
_LARGEST = 2**63
_SESSION, _USER = "mlflow.trace.session", "mlflow.trace.user"
#: MLflow's own mark of a run whose images its web page shows.
_IMAGES = "mlflow.loggedImages"


def newest(times: Mapping[str, int | None]) -> tuple[list[str], int | None]:
    """Return a sample of the newest objects, and since when these are: what came before is asked for by nobody here.

    ``None``: they are few enough for all to be in one answer.
    """
    ordered = sorted(times, key=lambda one: (times[one] or 0, one))
    last = ordered[-ASKED:]
    since = times[last[0]] if len(ordered) > len(last) else None
    return last[:: max(1, math.ceil(len(last) / SAMPLE))], since


def of_runs(runs: Sequence[Run], pairs: Mapping[str, str], since: int | None = None) -> Iterator[Question]:
    """Yield what people ask of such runs: by params, tags, name, time and metrics, in an order, and their images.

    ``pairs`` are the runs that have a copy, with its id.
    """
    also = "" if since is None or not _whole(since) else f" AND attributes.start_time >= {since}"
    for sort, maps in (("params", [run.params for run in runs]), ("tags", [run.tags for run in runs])):
        for key, value in _rare(maps):
            yield Question("run", f"{sort}.`{key}` = '{value}'{also}")
    for _, name in _rare([{"name": run.name} for run in runs]):
        yield Question("run", f"attributes.run_name = '{name}'{also}")
    times = sorted({run.start_time for run in runs if run.start_time is not None and _whole(run.start_time)})
    if times:
        yield Question("run", f"attributes.start_time >= {times[-min(len(times), 5)]}")
        yield Question("run", "attributes.start_time DESC", order="start_time")
    keys = Counter(key for run in runs for key in run.metrics if _plain(key))
    for key, _ in sorted(keys.items(), key=lambda one: (-one[1], one[0]))[:_KEYS]:
        values = sorted({run.metrics[key].value for run in runs if key in run.metrics and _finite(run, key)})
        if len(values) > 1:
            yield Question("run", f"metrics.`{key}` {_beyond(values)}{also}")
        if values:
            yield Question("run", f"metrics.`{key}` DESC", order="metric", key=key)
    shown = [run.run_id for run in runs if run.tags.get(_IMAGES, "").lower() == "true" and run.run_id in pairs]
    for run_id in shown[-_SOME:]:
        yield Question("image", f"images of run {run_id}", run_id, pairs[run_id])


def of_traces(traces: Sequence[Entity], runs: Mapping[str, str], since: int | None = None) -> Iterator[Question]:
    """Yield what people ask of such traces: by tag, session, user and run, and by their spans.

    ``runs`` are those that have a copy, with its id.
    """
    also = "" if since is None or not _whole(since) else f" AND attributes.timestamp_ms >= {since}"
    for key, value in _rare([trace.facets["tags"] for trace in traces]):
        yield Question("trace", f"tags.`{key}` = '{value}'{also}")
    metadata = [trace.facets["metadata"] for trace in traces]
    for key in (_SESSION, _USER):
        for _, value in _rare([{"x": one[key]} for one in metadata if key in one]):
            yield Question("trace", f"metadata.`{key}` = '{value}'{also}")
    for _, run_id in _rare([{"x": run} for trace in traces if (run := trace.facets.get("run")) in runs]):
        yield Question("trace", f"attributes.run_id = '{run_id}'{also}", run_id, runs[run_id])
    stored = [one for one in traces if one.facets["tags"].get(SPANS_LOCATION) == IN_STORE]
    spans = [span for trace in stored for span in islice(trace.facets["spans"], SAMPLE)]
    for _, name in _rare(({"x": span["name"]} for span in spans), _SOME):
        yield Question("trace", f"span.name = '{name}'{also}", of_spans=True)
    for _, kind in _rare(({"x": span["type"]} for span in spans), _SOME):
        yield Question("trace", f"span.type = '{kind}'{also}", of_spans=True)
    for word in islice(_words(spans), 1):
        yield Question("trace", f"trace.text LIKE '%{word}%'{also}", of_spans=True)
    if stored:
        yield Question("figure", "number of spans by name", of_spans=True)


def of_name(
    entity: Entity,
    versions: Sequence[Entity],
    numbers: Sequence[int],
    pairs: Mapping[str, str],
    runs: Mapping[str, str],
) -> Iterator[Question]:
    """Yield what people ask of a registered model or prompt: it by name and tag, its versions, by stage and alias.

    ``versions`` are the newest ones, ``numbers`` those of all of them. ``pairs`` lead from their ids to their copies',
    ``runs`` from those of runs.
    """
    is_prompt = entity.kind == "prompt"
    kind: About = "prompt" if is_prompt else "registered_model"
    of: About = VERSIONS[kind]
    name = quoted(entity.entity_id)
    only = f" AND {PROMPTS}" if is_prompt else ""
    if name:
        yield Question(kind, f"name = {name}{only}")
        for key, value in _rare([entity.facets["tags"]]):
            yield Question(kind, f"name = {name} AND tags.`{key}` = '{value}'{only}")
        for since in _bounds(entity.entity_id, numbers, pairs):
            yield Question(of, f"name = {name}{since[0]}{only}", *since)
            for key, value in _rare([one.facets["tags"] for one in versions]):
                yield Question(of, f"name = {name} AND tags.`{key}` = '{value}'{since[0]}{only}", *since)
        made_by = [str(run) for one in versions if (run := one.facets.get("run")) in runs]
        for run_id in made_by[-1:]:
            yield Question(of, f"name = {name} AND run_id = '{run_id}'", run_id, runs[run_id])
    if not is_prompt:
        yield Question("stage", "latest version of each stage")
    for alias in sorted(entity.facets.get("aliases") or {})[:_SOME]:
        yield Question("alias", f"alias {alias}", key=alias)


def _bounds(name: str, numbers: Sequence[int], pairs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return from which version on there is one answer's worth, as each side is asked; none where none has a copy."""
    if len(numbers) <= ASKED:
        return [("", "")]
    last = sorted(numbers)[-ASKED:]
    copies = [int(pairs[one].rpartition("/")[2]) for number in last if (one := f"{name}/{number}") in pairs]
    return [(f"{SINCE}{last[0]}", f"{SINCE}{min(copies)}")] if copies else []


def _rare(maps: Iterable[Mapping[str, Any]], most: int = 1) -> list[tuple[str, str]]:
    """Return the rarest values of each of the commonest keys that can stand in a search."""
    values: dict[str, Counter[str]] = {}
    for one in maps:
        for key, value in one.items():
            if _plain(key) and isinstance(value, str) and _plain(value) and not key.startswith("mlflow"):
                values.setdefault(key, Counter())[value] += 1
    common = sorted(values.items(), key=lambda one: (-one[1].total(), one[0]))[:_KEYS]
    return [
        (key, value)
        for key, counter in common
        for value, _ in sorted(counter.items(), key=lambda one: (one[1], one[0]))[:most]
    ]


def _words(spans: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """Yield words of inputs that a text search looks for."""
    for span in spans:
        inputs = span["inputs"]
        texts = inputs.values() if isinstance(inputs, dict) else [inputs]
        for text in texts:
            for word in str(text).split() if isinstance(text, str) else ():
                if len(word) > 3 and word.isascii() and word.isalnum():
                    yield word[:_LONGEST]


def _plain(text: str) -> bool:
    """Whether a text can stand in a search as it is, on every release."""
    return 0 < len(text) <= _LONGEST and text.isprintable() and not {*text} & {*"'\"`\\%"} and text == text.strip()


def _whole(number: int) -> bool:
    """Whether a time can stand in a search: every database knows such a number, and no sign stands before it."""
    return 0 <= number < _LARGEST


def _beyond(values: Sequence[float]) -> str:
    """Return what finds the largest values, or the smallest, by a number between two of them.

    So what databases make of a last digit decides nothing, nor what is no number: older releases search it as 0.
    """
    most, least = (values[-1] + values[-2]) / 2, (values[0] + values[1]) / 2
    return f"> {_number(most)}" if most >= 0 else f"< {_number(least)}"


def _number(value: float) -> str:
    """Return a number as searches know it: without an exponent."""
    return format(Decimal(repr(value)), "f")


def _finite(run: Run, key: str) -> bool:
    value = run.metrics[key].value
    return math.isfinite(value) and abs(value) < 1e15
