"""What MLflow makes of spans in the words of others, when it takes them into its database.

It translates OpenTelemetry's ``gen_ai.*``, OpenInference, Traceloop and the like into attributes of its own. Its own
translator is not asked: to load it is to load all of MLflow, which writes into the user's home and fetches prices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from mlflow_parity.core.json_text import DEEP, or_text

#: A span as it is read.
Span: TypeAlias = "Mapping[str, Any]"
USAGE, MODEL, COST = "mlflow.chat.tokenUsage", "mlflow.llm.model", "mlflow.llm.cost"
FORMAT, PROVIDER, TOOLS = "mlflow.message.format", "mlflow.llm.provider", "mlflow.chat.tools"
#: What MLflow makes, each after what it is made of.
MADE = ("type", "inputs", "outputs", USAGE, FORMAT, TOOLS, MODEL, PROVIDER, COST)

#: Attributes that say what a span is: their values, and the types that these are; the others by their own names.
_VOLT_AGENT = {"agent": "AGENT", "llm": "LLM", "tool": "TOOL", "memory": "MEMORY"}
_CLAUDE = {"interaction": "AGENT", "llm_request": "LLM", "tool": "TOOL"}
_VERCEL_CHAT = frozenset({"ai.generateText.doGenerate", "ai.streamText.doStream"})
TYPES: Mapping[str, Mapping[str, str]] = {
    "openinference.span.kind": {
        **{one: one for one in ("TOOL", "CHAIN", "LLM", "RETRIEVER", "EMBEDDING", "AGENT", "RERANKER", "UNKNOWN")},
        **{one: one for one in ("GUARDRAIL", "EVALUATOR")},
    },
    "gen_ai.operation.name": {
        **dict.fromkeys(("create_agent", "invoke_agent", "agent_call"), "AGENT"),
        **dict.fromkeys(("generate_content", "text_completion", "response", "llm_call"), "LLM"),
        **dict.fromkeys(("execute_tool", "tool_call"), "TOOL"),
        "chat": "CHAT_MODEL",
        "embeddings": "EMBEDDING",
    },
    "traceloop.span.kind": {one: one.upper() for one in ("workflow", "task", "agent", "tool", "unknown")},
    "ai.operationId": {
        **{f"ai.{one}": "LLM" for one in ("generateText", "streamText", "generateObject", "streamObject")},
        **{f"ai.{one}.doGenerate": "LLM" for one in ("generateText", "generateObject")},
        **{f"ai.{one}.doStream": "LLM" for one in ("streamText", "streamObject")},
        **dict.fromkeys(("ai.embed", "ai.embed.doEmbed", "ai.embedMany"), "EMBEDDING"),
        "ai.toolCall": "TOOL",
    },
    "span.type": {**_VOLT_AGENT, **_CLAUDE, **{f"claude_code.{one}": kind for one, kind in _CLAUDE.items()}},
    "entity.type": _VOLT_AGENT,
    "lmnr.span.type": {
        **dict.fromkeys(("EVALUATOR", "HUMAN_EVALUATOR", "EVALUATION"), "EVALUATOR"),
        **dict.fromkeys(("DEFAULT", "PIPELINE"), "CHAIN"),
        **dict.fromkeys(("LLM", "CACHED"), "LLM"),
        "TOOL": "TOOL",
        "EXECUTOR": "AGENT",
    },
    "langfuse.observation.type": {
        **{one: one.upper() for one in ("embedding", "tool", "retriever", "agent", "chain", "evaluator", "guardrail")},
        "generation": "LLM",
        "span": "UNKNOWN",
    },
}  # fmt: skip
#: Attributes of which it is enough that they are there: of LiveKit, and the model of any request.
_TYPE_BY_KEY = (
    (re.compile(r"gen_ai\.request\.model|lk\.retry_count"), "LLM"),
    (re.compile(r"lk\.function_tool.*"), "TOOL"),
    (re.compile(r"lk\.(agent_name|instructions|generation_id)"), "AGENT"),
)

#: Attributes that are taken over as they are.
VALUES: Mapping[str, re.Pattern[str]] = {
    "inputs": re.compile(
        r"input|input\.value|gen_ai\.input\.messages|gen_ai\.tool\.call\.arguments|traceloop\.entity\.input"
        r"|gen_ai\.prompt\.\d+\.content|gen_ai\.completion\.\d+\.tool_calls\.\d+\.arguments"
        r"|gcp\.vertex\.agent\.(llm_request|tool_call_args)|ai\.(prompt|toolCall\.args|values?)"
        r"|(agent|llm)\.messages|lk\.(user_input|user_transcript|chat_ctx|input_text)|lmnr\.span\.input"
        r"|langfuse\.observation\.input|user_prompt|new_context|tool_input"
    ),
    "outputs": re.compile(
        r"output|output\.value|gen_ai\.output\.messages|gen_ai\.tool\.call\.result|traceloop\.entity\.output"
        r"|gen_ai\.completion\.\d+\.content|gcp\.vertex\.agent\.(llm_response|tool_response)"
        r"|ai\.(response\.text|toolCall\.result|response\.object|embeddings?)|lk\.response\.(text|function_calls)"
        r"|lmnr\.span\.output|langfuse\.observation\.output|response\.model_output|new_context"
    ),
    TOOLS: re.compile(r"gen_ai\.tool\.definitions"),
    MODEL: re.compile(
        r"gen_ai\.(response|request)\.model|llm\.(response\.|request\.)?model_name|embedding\.model_name"
    ),
    PROVIDER: re.compile(r"gen_ai\.provider\.name|gen_ai\.system|llm\.provider"),
}
#: Attributes that count tokens, by what MLflow calls the count.
COUNTS: Mapping[str, re.Pattern[str]] = {
    "input_tokens": re.compile(
        r"llm\.token_count\.prompt|gen_ai\.usage\.(input|prompt)_tokens|(llm\.)?usage\.prompt_tokens|input_tokens"
    ),
    "output_tokens": re.compile(
        r"llm\.token_count\.completion|gen_ai\.usage\.(output|completion)_tokens|(llm\.)?usage\.completion_tokens"
        r"|output_tokens"
    ),
    "total_tokens": re.compile(r"llm\.token_count\.total|(llm\.)?usage\.total_tokens"),
    "cache_read_input_tokens": re.compile(
        r"llm\.token_count\.prompt_details\.cache_read|gen_ai\.usage\.cache_read\.input_tokens|cache_read_tokens"
    ),
    "cache_creation_input_tokens": re.compile(
        r"llm\.token_count\.prompt_details\.cache_write|gen_ai\.usage\.cache_(write|creation)\.input_tokens"
        r"|cache_creation_tokens"
    ),
}
#: What a span of Claude Code tells of a tool, one by one.
_DETAILS = re.compile(r"full_command|file_path|sk\w+_name|subagent_type")
#: Events that hold one message each, and those that hold all: event, attribute.
_MESSAGES = {"inputs": ("system", "user", "assistant"), "outputs": ()}
_OF_EVENTS = {
    "inputs": (("gen_ai.content.prompt", "gen_ai.prompt"),),
    "outputs": (
        ("gen_ai.content.completion", "gen_ai.completion"),
        *(("tool.output", one) for one in ("output", "content", "diff")),
    ),
}
#: Words that MLflow sets itself.
_ROLES = frozenset({"system", "user", "assistant", "model"})
_COSTS = ("input_cost", "output_cost", "total_cost")
#: So few tokens cost a dollar nowhere: the dearest models take a tenth of a cent for each. And no span costs so much.
_TOKENS_A_DOLLAR, _MOST = 100, 1e12
_ROUNDED = 1e-9


def is_made(key: str, value: object, span: Span) -> bool:
    """Whether MLflow makes this of a span: ``span`` is the source's, with what was made of it before."""
    attributes = _attributes(span)
    value = _plain(value)
    if key == "type":
        return value in ("UNKNOWN", *_types(attributes))
    if key == FORMAT:
        return value in [*_formats(attributes)]
    if key == USAGE:
        return _is_usage(value, attributes)
    if key == COST:
        return _is_cost(value, attributes)
    return any(_alike(one, value) for one in _candidates(key, span, attributes))


def may_be_made(value: object, span: Span) -> bool:
    """Whether all that stands in a value stands in the span, so that another release may make it of that."""
    others = [one for key, one in _attributes(span).items() if not key.startswith("mlflow.")]
    there = {*_leaves([others, [event.get("attributes") for event in span.get("events") or []]])}
    parts = [*_leaves(value)]
    return bool({*parts} - _ROLES) and {*parts} <= there | _ROLES


def _attributes(span: Span) -> dict[str, Any]:
    return {key: value for key, value in (span.get("attributes") or {}).items() if isinstance(key, str)}


def _plain(value: object) -> Any:
    """Return what a text says that is JSON, also of a text within a text: clients and servers write them so."""
    for _ in range(3):
        value = or_text(value)
    return value


def _alike(left: object, right: object) -> bool:
    return [*_leaves(left, keys=True)] == [*_leaves(right, keys=True)]


def _leaves(value: object, *, keys: bool = False) -> Iterator[object]:
    """Yield what stands in a value, in order: texts in small letters; with ``keys`` as they are, and where they are."""
    waiting = [value]
    while waiting:
        one = _plain(waiting.pop())
        if isinstance(one, dict) and one.keys() == {DEEP}:
            # a text of JSON that is too deep to be taken apart is one leaf
            yield str(one[DEEP])
        elif isinstance(one, dict):
            names = sorted(one, reverse=True)
            waiting += [one[name] for name in names]
            if keys:
                yield ("{", *names)
        elif isinstance(one, list):
            waiting += one[::-1]
            if keys:
                yield ("[", len(one))
        elif keys:
            yield type(one).__name__, repr(one)
        elif one is not None:
            yield one.casefold() if isinstance(one, str) else one


def _types(attributes: Mapping[str, Any]) -> Iterator[str]:
    for key, value in attributes.items():
        yield from (kind for pattern, kind in _TYPE_BY_KEY if pattern.fullmatch(key))
        said = _plain(value)
        if key in TYPES and isinstance(said, str):
            yield from (TYPES[key][one] for one in (said, said.lower()) if one in TYPES[key])


def _is_vercel_chat(attributes: Mapping[str, Any]) -> bool:
    said = _plain(attributes.get("ai.operationId"))
    return isinstance(said, str) and said in _VERCEL_CHAT


def _formats(attributes: Mapping[str, Any]) -> Iterator[str]:
    if _plain(attributes.get("gen_ai.agent.name")) == "gemini-cli":
        yield "gemini"
    if "voltagent.operation_id" in attributes or "voltagent.conversation_id" in attributes:
        yield "voltagent"
    if any(key.startswith("lk.") for key in attributes):
        yield "livekit"
    if "lmnr.span.type" in attributes:
        yield "openai"
    if _is_vercel_chat(attributes):
        yield "vercel_ai"


def _is_usage(value: object, attributes: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict) or not value or not value.keys() <= COUNTS.keys():
        return False
    told = {name: {*_counted(name, attributes)} for name in COUNTS}
    sums = {}
    if _number(attributes.get("input_tokens")) is not None:
        # Claude Code counts what was in the cache apart
        sums["input_tokens"] = sum(
            _number(attributes.get(one)) or 0 for one in ("input_tokens", "cache_read_tokens", "cache_creation_tokens")
        )
    if {"input_tokens", "output_tokens"} <= value.keys():
        sums["total_tokens"] = sum(_number(value[one]) or 0 for one in ("input_tokens", "output_tokens"))
    return any(told.values()) and all(
        type(count) is int and (count in told[name] or count == sums.get(name)) for name, count in value.items()
    )


def _counted(name: str, attributes: Mapping[str, Any]) -> Iterator[int]:
    for key, value in attributes.items():
        if COUNTS[name].fullmatch(key) and (number := _number(value)) is not None:
            yield number


def _number(value: object) -> int | None:
    value = _plain(value)
    return value if type(value) is int else None


def _is_cost(value: object, attributes: Mapping[str, Any]) -> bool:
    """Whether a cost is one of the span's usage of a model: what a token costs stands in the server's list alone."""
    usage = _plain(attributes.get(USAGE))
    if not isinstance(value, dict) or not isinstance(usage, dict) or not attributes.get(MODEL):
        return False
    counts = [_number(usage.get(f"{one}_tokens")) or 0 for one in ("input", "output")]
    told = [None if isinstance(one := value.get(name), bool) else one for name in _COSTS]
    parts = [
        float(part)
        for part, count in zip(told, (*counts, sum(counts)), strict=True)
        if isinstance(part, (int, float)) and 0 <= part < _MOST and _TOKENS_A_DOLLAR * part <= count
    ]
    # one that fits no count is not among the parts
    return len(parts) == len(value) == len(_COSTS) and math.isclose(sum(parts[:2]), parts[2], rel_tol=_ROUNDED)


def _candidates(key: str, span: Span, attributes: Mapping[str, Any]) -> Iterator[object]:
    """Yield all that MLflow may take for inputs, outputs, tools, the model or its provider: which first, differs."""
    taken = [_plain(value) for name, value in attributes.items() if VALUES[key].fullmatch(name)]
    yield from taken
    if key == MODEL:
        for one in (_plain(span.get("inputs")), _plain(span.get("outputs"))):
            if isinstance(one, dict) and isinstance(one.get("model"), str):
                yield one["model"]
    if key in _OF_EVENTS:
        yield from _put_together(key, taken, attributes)
        yield from _in_events(key, span.get("events") or [])


def _put_together(key: str, taken: Sequence[Any], attributes: Mapping[str, Any]) -> Iterator[object]:
    """Yield inputs or outputs in another form than that of one attribute."""
    if _is_vercel_chat(attributes):
        prefix = "ai.prompt." if key == "inputs" else "ai.response."
        yield {name[len(prefix) :]: value for name, value in attributes.items() if name.startswith(prefix)}
    if key == "inputs" and (details := {k: v for k, v in attributes.items() if _DETAILS.fullmatch(k)}):
        yield details
    if _plain(attributes.get("gen_ai.agent.name")) != "gemini-cli":
        return
    for value in taken:
        items = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
        if key == "inputs":
            yield {"contents": value}
            if items:
                yield {"contents": [{**one, "role": "system"} if one.get("role") == "user" else one for one in value]}
        else:
            parts = [part for one in items if isinstance(one.get("parts"), list) for part in one["parts"]]
            yield {"candidates": [{"content": {"role": "model", "parts": parts}}]}


def _in_events(key: str, events: Sequence[Mapping[str, Any]]) -> Iterator[object]:
    messages = []
    for event in events:
        name, told = event.get("name"), event.get("attributes")
        if not isinstance(told, dict):
            continue
        yield from (told[one] for place, one in _OF_EVENTS[key] if name == place and one in told)
        role = next((one for one in _MESSAGES[key] if name == f"gen_ai.{one}.message"), None)
        if key == "outputs" and name == "gen_ai.choice":
            role = _plain(told.get("role", "assistant"))
        if role and told.get("content"):
            messages.append({"role": role, "content": told["content"]})
    if messages:
        yield messages
