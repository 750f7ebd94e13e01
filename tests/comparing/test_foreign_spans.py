"""What MLflow makes of spans in the words of others: held against its own translator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow.tracing.otel import translation

from mlflow_parity.comparing.difference import same
from mlflow_parity.core.json_text import or_text
from mlflow_parity.kinds.conventions.foreign_spans import (
    COST,
    COUNTS,
    MADE,
    TYPES,
    USAGE,
    VALUES,
    is_made,
    may_be_made,
)  # fmt: skip

_FIELDS = {"type": "mlflow.spanType", "inputs": "mlflow.spanInputs", "outputs": "mlflow.spanOutputs"}
#: What is taken over as it is: of MLflow's translator, and here.
_KEYS = {
    "INPUT_VALUE_KEYS": VALUES["inputs"],
    "OUTPUT_VALUE_KEYS": VALUES["outputs"],
    "TOOL_DEFINITION_KEYS": VALUES["mlflow.chat.tools"],
    "MODEL_NAME_KEYS": VALUES["mlflow.llm.model"],
    "LLM_PROVIDER_KEY": VALUES["mlflow.llm.provider"],
    "INPUT_TOKEN_KEY": COUNTS["input_tokens"],
    "OUTPUT_TOKEN_KEY": COUNTS["output_tokens"],
    "TOTAL_TOKEN_KEY": COUNTS["total_tokens"],
    "CACHE_READ_INPUT_TOKEN_KEY": COUNTS["cache_read_input_tokens"],
    "CACHE_CREATION_INPUT_TOKEN_KEY": COUNTS["cache_creation_input_tokens"],
    "_LEGACY_CACHE_CREATION_INPUT_TOKEN_KEY": COUNTS["cache_creation_input_tokens"],
}


@pytest.fixture(autouse=True)
def _no_prices_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow fetches its list of prices; the one that it brings along will do."""
    monkeypatch.setenv("MLFLOW_MODEL_CATALOG_URI", "")


class _Span:
    """A span as a server takes it in: the values of its attributes are JSON texts."""

    def __init__(self, span: dict[str, Any]) -> None:
        attributes = {key: json.dumps(value) for key, value in span["attributes"].items()}
        self._told = {"attributes": attributes, "events": span["events"]}

    def to_dict(self) -> dict[str, Any]:
        return self._told


def _made(span: dict[str, Any]) -> dict[str, Any]:
    """What MLflow makes of a span, by the names that it has here."""
    made = translation.translate_span_when_storing(_Span(span))["attributes"]
    found = {key: or_text(made[_FIELDS.get(key, key)]) for key in MADE if _FIELDS.get(key, key) in made}
    return {key: value for key, value in found.items() if key not in span["attributes"]}


def _foreign(events: Any = (), **attributes: Any) -> dict[str, Any]:
    given = {key.replace("__", "."): value for key, value in attributes.items()}
    return {"type": None, "inputs": None, "outputs": None, "attributes": given, "events": list(events)}


def _event(name: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "attributes": {key.replace("__", "."): value for key, value in attributes.items()}}


SPANS = {
    "OpenInference": _foreign(
        openinference__span__kind="LLM", input__value="hi", output__value='{"n": 1}', llm__model_name="gpt-4o",
        llm__provider="openai", llm__token_count__prompt=3, llm__token_count__completion=4,
        llm__token_count__prompt_details__cache_read=1,
    ),
    "GenAI": _foreign(
        gen_ai__operation__name="chat", gen_ai__input__messages=[{"role": "user", "parts": ["hi"]}],
        gen_ai__output__messages='[{"role": "assistant"}]', gen_ai__request__model="gpt-4o",
        gen_ai__response__model="gpt-4o-mini", gen_ai__provider__name="openai", gen_ai__usage__input_tokens=3,
        gen_ai__usage__output_tokens=4, gen_ai__usage__cache_write__input_tokens=2,
        gen_ai__tool__definitions=[{"name": "t"}],
    ),
    "Gemini": _foreign(
        gen_ai__agent__name="gemini-cli", gen_ai__operation__name="llm_call", gen_ai__input__messages="hi",
        gen_ai__output__messages=[{"role": "model", "parts": [{"text": "a"}]}, {"parts": [{"text": "b"}]}],
    ),
    "Gemini's system": _foreign(
        gen_ai__agent__name="gemini-cli", gen_ai__operation__name="system_prompt",
        gen_ai__input__messages=[{"role": "user", "parts": [{"text": "a"}]}],
    ),
    "Traceloop": _foreign(**{
        "traceloop.span.kind": "task", "gen_ai.prompt.0.content": "hi", "gen_ai.completion.0.content": "ho",
        "gen_ai.usage.prompt_tokens": "3", "gen_ai.usage.completion_tokens": "4", "llm.usage.total_tokens": 9,
        "gen_ai.system": "openai",
    }),
    "Google": _foreign(gcp__vertex__agent__llm_request='{"model": "gemini-x"}', gcp__vertex__agent__llm_response="{}"),
    "Vercel": _foreign(**{
        "ai.operationId": "ai.generateText.doGenerate", "ai.prompt.messages": '[{"role": "user", "content": "hi"}]',
        "ai.prompt.tools": ['{"name": "t"}'], "ai.response.text": "ho", "ai.response.id": "7",
    }),
    "Vercel's text": _foreign(ai__operationId="ai.streamText", ai__prompt="hi", ai__response__text="ho"),
    "VoltAgent": _foreign(**{
        "span.type": "llm", "entity.type": "agent", "llm.messages": [{"role": "user"}], "output": "ho",
        "usage.prompt_tokens": 3, "llm.usage.completion_tokens": 4, "voltagent.operation_id": "x",
    }),
    "VoltAgent's root": _foreign(**{"entity.type": "agent", "input": "hi", "voltagent.conversation_id": "x"}),
    "LiveKit": _foreign(lk__agent_name="a", lk__chat_ctx='{"items": []}', lk__response__text="ho"),
    "LiveKit's tool": _foreign(lk__function_tool__name="t"),
    "LiveKit's speech": _foreign(lk__tts__label="t"),
    "LiveKit's events": _foreign(
        [_event("gen_ai.system.message", content="be"), _event("gen_ai.user.message", content='"hi"'),
         _event("gen_ai.assistant.message", content="hm"), _event("gen_ai.choice", content="ho", role="assistant")],
        gen_ai__request__model="m", lk__retry_count=0,
    ),
    "Spring": _foreign(
        [_event("gen_ai.content.prompt", gen_ai__prompt="hi"),
         _event("gen_ai.content.completion", gen_ai__completion='["ho"]')],
        gen_ai__operation__name="chat",
    ),
    "Laminar": _foreign(
        lmnr__span__type="PIPELINE", lmnr__span__input="hi", lmnr__span__output="ho", gen_ai__system="openai",
    ),
    "Langfuse": _foreign(**{
        "langfuse.observation.type": "generation", "langfuse.observation.input": "hi",
        "langfuse.observation.output": {"a": 1},
    }),
    "Claude": _foreign(**{
        "span.type": "claude_code.llm_request", "input_tokens": 3, "output_tokens": 4, "cache_read_tokens": 5,
        "cache_creation_tokens": 6, "new_context": "hi", "response.model_output": "ho",
    }),
    "Claude's tool": _foreign(
        [_event("tool.output", content="done")], span__type="tool", full_command="ls", file_path='"x"',
    ),
    "Claude's user": _foreign(span__type="interaction", user_prompt="hi"),
    "MLflow's own inputs": {**_foreign(), "inputs": {"model": "gpt-4o"}},
}  # fmt: skip


@pytest.mark.parametrize("name", SPANS)
def test_what_mlflow_makes_of_a_span_can_be_made_of_it(name: str) -> None:
    """Each part, of whatever convention; and none of it of a span that says nothing, nor another one."""
    span = dict(SPANS[name])
    given = {_FIELDS[key]: span[key] for key in _FIELDS if span[key] is not None}
    made = _made({**span, "attributes": {**span["attributes"], **given}})
    made = {key: value for key, value in made.items() if span.get(key) is None}
    assert made
    for key in [one for one in MADE if one in made]:
        value = made[key]
        assert is_made(key, value, span), (key, value)
        for other in _altered(value):
            assert not is_made(key, other, span), (key, other)
            assert not may_be_made(other, span), (key, other)
        if value != "UNKNOWN":
            assert not is_made(key, value, _foreign()), (key, value)
        if key != COST:
            assert not may_be_made(value, _foreign()), (key, value)
        span = {**span, key: value} if key in span else {**span, "attributes": {**span["attributes"], key: value}}


def _altered(value: Any) -> Iterator[Any]:
    """Values of which one part is nobody's."""
    yield {"made": "up", "of": value}
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: other} for other in _altered(inner) if not same(other, inner))
    elif isinstance(value, str):
        yield f"{value}, made up"
    elif isinstance(value, (int, float)):
        yield value + 1_000


def test_every_attribute_that_mlflow_translates_is_known() -> None:
    """A convention that a release of MLflow learns fails here: it is one more key, or one more kind."""
    missing = []
    for translator in translation._TRANSLATORS:
        for name, pattern in _KEYS.items():
            keys = getattr(translator, name, None) or []
            for key in [keys] if isinstance(keys, str) else keys:
                text = key if isinstance(key, str) else key.pattern.replace(r"\d+", "0").replace("\\", "")
                if not pattern.fullmatch(text):
                    missing.append((type(translator).__name__, name, text))
        kinds = getattr(translator, "SPAN_KIND_ATTRIBUTE_KEYS", None) or [translator.SPAN_KIND_ATTRIBUTE_KEY]
        for key in filter(None, kinds):
            for said, kind in (translator.SPAN_KIND_TO_MLFLOW_TYPE or {}).items():
                if TYPES.get(key, {}).get(said) != kind:
                    missing.append((type(translator).__name__, key, said))
    assert missing == []


PRICED = {"input_cost": 0.01, "output_cost": 0.02, "total_cost": 0.03}


@pytest.mark.parametrize(
    ("usage", "cost", "can_be"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, PRICED, True),
        ('{"input_tokens": 3, "output_tokens": 4}', json.dumps(PRICED), True),
        ({"input_tokens": 3}, {"input_cost": 0, "output_cost": 0, "total_cost": 0}, True),
        ({"input_tokens": 3}, PRICED, False),
        ({}, PRICED, False),
        (None, PRICED, False),
        ({"input_tokens": 3, "output_tokens": 4}, {**PRICED, "total_cost": 0.04}, False),
        ({"input_tokens": 3, "output_tokens": 4}, {**PRICED, "cached_cost": 0}, False),
        ({"input_tokens": 3, "output_tokens": 4}, {"input_cost": 1, "output_cost": 0, "total_cost": 1}, False),
        ({"input_tokens": 3, "output_tokens": 4}, {"input_cost": -1, "output_cost": 1, "total_cost": 0}, False),
        ({"input_tokens": 3, "output_tokens": 4}, {**PRICED, "total_cost": float("nan")}, False),
        ({"input_tokens": 10**400, "output_tokens": 4}, {**PRICED, "input_cost": 10**390}, False),
        ({"input_tokens": 3, "output_tokens": 4}, {"total_cost": 0.03}, False),
        ({"input_tokens": 300}, {"input_cost": True, "output_cost": False, "total_cost": True}, False),
        ({"input_tokens": 3, "output_tokens": 4}, 0.03, False),
    ],
)
def test_a_cost_is_one_of_usage(usage: Any, cost: Any, can_be: bool) -> None:
    """A cost has a model and its tokens, its parts make the total, and no token costs more than any model's."""
    span = _foreign(**{"mlflow.chat.tokenUsage": usage, "mlflow.llm.model": "m"})
    assert is_made(COST, cost, span) is can_be
    assert not is_made(COST, cost, _foreign(**{"mlflow.chat.tokenUsage": usage}))


def test_attributes_that_nobody_sends() -> None:
    """Of any type: they are no source of anything, and nothing fails over them."""
    odd: Any = {**_foreign(), "attributes": {
        5: "x", "ai.operationId": ["ai.generateText.doGenerate"], "span.type": {"a": 1}, "gen_ai.agent.name": [],
        "input_tokens": True, "gen_ai.input.messages": None, "lk.": None, "": "x",
    }, "events": [{"name": "gen_ai.choice", "attributes": None}, {"name": None}]}  # fmt: skip
    for key in MADE:
        values: list[Any] = ["x", {"total_tokens": 1}, [], {}, 1.5, True, {"input_tokens": [1]}]
        for value in values:
            assert not is_made(key, value, odd), (key, value)
    assert not may_be_made({}, odd)
    assert not may_be_made("user", odd)


@pytest.mark.parametrize(
    ("told", "usage", "can_be"),
    [
        ({"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50}, (100, 50, 150), True),
        ({"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50}, (0, 50, 50), False),
        ({"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50}, (0, None, None), False),
        ({"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50}, (None, None, 0), False),
        ({"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50}, (None, 50, 50), False),
        ({"span.type": "claude_code.llm_request", "input_tokens": 3, "cache_read_tokens": 5}, (8, None, None), True),
        ({"span.type": "claude_code.llm_request", "cache_read_tokens": 5}, (5, None, None), False),
    ],
)
def test_a_sum_is_one_of_what_is_there(told: dict[str, Any], usage: tuple[int | None, ...], can_be: bool) -> None:
    """A count that the source tells is not put aside for a sum of nothing."""
    names = ("input_tokens", "output_tokens", "total_tokens")
    value = {name: count for name, count in zip(names, usage, strict=True) if count is not None}
    assert is_made(USAGE, value, _foreign(**told)) is can_be


def test_a_text_that_is_too_deep_is_one_leaf() -> None:
    """Taken apart again and again, it would end no audit."""
    deep = "[" * 150 + "]" * 150
    assert is_made("inputs", deep, _foreign(**{"input.value": deep}))
    assert not is_made("inputs", deep, _foreign(**{"input.value": f"[{deep}]"}))
    assert may_be_made(deep, _foreign(note=deep))
    assert not may_be_made("made up", _foreign(note=deep))
    assert may_be_made({"said": ["x", deep]}, _foreign(note=deep, said="x"))
