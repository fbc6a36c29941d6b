"""OpenAI's dialect of the simulated provider: chat completions and errors.

Source: OpenAI API reference (chat completions, streaming, error codes), as typed in the `openai` Python SDK 3.52.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from proxy.sim import answer
from proxy.sim.answer import Answer, Turn
from proxy.sim.reply import Given, Invalid, Piece, Reply, Vendor, dumps, extra, heedless, part_texts, unknown_event
from proxy.sim.script import Script, read_script

CREATED = 1_760_000_000
"""The `created` of every reply: fixed, so that the same request gives the same bytes."""

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_UNSEEDED = ("stream", "stream_options", "max_tokens", "max_completion_tokens", "metadata", "user", "store", "service_tier")
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", None, "The engine is currently overloaded, please try again later"),
}


def headers(seed: bytes) -> dict[str, str]:
    """Return the headers that OpenAI puts on every reply; the request id follows from `seed`."""
    return {
        "x-request-id": f"req_{answer.hex_id(seed, 'request', 32)}",
        "openai-version": "2020-10-01",
        "openai-organization": "sim-org",
        "openai-processing-ms": "12",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
    }


def _shape(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error(status: int, kind: str | None, message: str | None, seed: bytes) -> Reply:
    """Return OpenAI's error of `status`."""
    usual = _ERRORS.get(status, _ERRORS[500] if status >= 500 else _ERRORS[400])
    body = _shape(message or usual[2], kind or usual[0], None, usual[1])
    return Reply(status, {**headers(seed), "content-type": "application/json"}, json.dumps(body, indent=2).encode())


def invalid(e: Invalid, seed: bytes) -> Reply:
    """Return the reply to a request that OpenAI does not take."""
    body = _shape(e.message, "invalid_request_error", e.param, e.code)
    return Reply(e.status, {**headers(seed), "content-type": "application/json"}, json.dumps(body, indent=2).encode())


def _stream_error(kind: str | None, message: str | None) -> bytes:
    body = _shape(message or _ERRORS[500][2], kind or "server_error", None, None)
    return b"data: %b\n\n" % dumps(body)


VENDOR = Vendor("openai", error, _stream_error, invalid)


# --- chat completions ----------------------------------------------------------------------------------------------------------


def chat(given: Given) -> tuple[Script, Reply]:
    """Return the script of a chat request and the reply to it.

    Raises:
        Invalid: OpenAI would answer 400.
        ScriptError: the script is wrong.
    """
    body = given.body
    _check(body)
    script, turn = _turn(given)
    n = body.get("n") or 1
    choices = [answer.compose(turn, script, i) for i in range(n)]
    usage = _usage(turn, choices, script)
    base = {
        "id": f"chatcmpl-{answer.hex_id(turn.seed, 'completion', 29)}",
        "object": "chat.completion.chunk" if body.get("stream") else "chat.completion",
        "created": CREATED,
        "model": body["model"],
    }
    tail = {"service_tier": "default", "system_fingerprint": f"fp_{answer.hex_id(turn.seed[:1], 'system', 10)}"}
    if body.get("stream"):
        events = _stream(base | tail, choices, usage, body.get("stream_options") or {}, script)
        return script, Reply(200, {**headers(turn.seed), "content-type": "text/event-stream; charset=utf-8"}, events=events)
    seed = str(base["id"]).encode()
    whole = base | {"choices": [_choice(i, c, seed, script) for i, c in enumerate(choices)]}
    whole |= ({"usage": usage} if usage is not None else {}) | tail | extra(script.extra_field)
    tokens = sum(c.tokens for c in choices)
    return script, Reply(200, {**headers(turn.seed), "content-type": "application/json"}, dumps(whole), tokens=tokens)


def _check(body: dict[str, Any]) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Invalid("you must provide a model parameter")
    messages = body.get("messages")
    if messages is None:
        raise Invalid("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(messages, list):
        kind = type(messages).__name__
        raise Invalid(f"Invalid type for 'messages': expected an array of objects, but got {kind}.", "messages", "invalid_type")
    if not messages:
        text = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Invalid(text, "messages", "empty_array")
    called = False
    for i, m in enumerate(messages):
        role = m.get("role") if isinstance(m, dict) else None
        if role not in _ROLES:
            known = ", ".join(f"'{r}'" for r in _ROLES)
            raise Invalid(f"Invalid value: '{role}'. Supported values are: {known}.", f"messages[{i}].role", "invalid_value")
        called = called or bool(m.get("tool_calls"))
        if role == "tool" and not called:
            text = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            raise Invalid(text, f"messages[{i}].role")
    _check_numbers(body)


def _check_numbers(body: dict[str, Any]) -> None:
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Invalid(text, "max_tokens", "invalid_parameter_combination")
    for key, low, high in (("max_tokens", 1, 10**7), ("max_completion_tokens", 1, 10**7), ("n", 1, 128)):
        value = body.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise Invalid(f"Invalid type for '{key}': expected an integer.", key, "invalid_type")
        if not low <= value <= high:
            side = f">= {low}" if value < low else f"<= {high}"
            code = "integer_below_min_value" if value < low else "integer_above_max_value"
            raise Invalid(f"Invalid '{key}': expected a value {side}, but got {value} instead.", key, code)
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")


def _turn(given: Given) -> tuple[Script, Turn]:
    body, messages = given.body, heedless(given.body["messages"])
    at = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), -1)
    script, question = read_script(given.script, " ".join(part_texts(messages[at].get("content"))) if at >= 0 else "")
    stop = body.get("stop")
    ceiling = body.get("max_completion_tokens")
    tools = tuple((f["name"], f.get("parameters") or {}) for f in _functions(body))
    turn = Turn(
        seed=answer.seed_of({k: v for k, v in body.items() if k not in _UNSEEDED}),
        question=question,
        results=tuple(" ".join(part_texts(m.get("content"))) for m in messages[at + 1 :] if m["role"] == "tool"),
        tools=tools,
        force=_forced(body.get("tool_choice")),
        prompt_tokens=_prompt_tokens(body),
        ceiling=ceiling if ceiling is not None else body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(s for s in stop or () if isinstance(s, str)),
    )
    return script, dataclasses.replace(turn, tools=(), force="") if turn.force == "none" else turn


def _functions(body: dict[str, Any]) -> list[dict[str, Any]]:
    found = [t.get("function") for t in body.get("tools") or () if isinstance(t, dict)]
    return [f for f in found if isinstance(f, dict) and isinstance(f.get("name"), str)]


def _forced(choice: object) -> str:
    if isinstance(choice, dict):
        return str((choice.get("function") or {}).get("name", ""))
    return {"required": "*", "none": "none"}.get(str(choice), "")


def _prompt_tokens(body: dict[str, Any]) -> int:
    total = answer.PRIMING_TOKENS
    for m in body["messages"]:
        content = m.get("content")
        total += answer.MESSAGE_TOKENS + sum(answer.count(t) for t in part_texts(content))
        if isinstance(content, list):
            total += answer.IMAGE_TOKENS * sum(1 for p in content if isinstance(p, dict) and p.get("type") == "image_url")
        for call in m.get("tool_calls") or ():
            total += answer.count(json.dumps(call.get("function", {})))
    return total + answer.count(json.dumps(body["tools"])) if body.get("tools") else total


def _usage(turn: Turn, choices: list[Answer], script: Script) -> dict[str, Any] | None:
    if script.usage is False:
        return None
    prompt = max(turn.prompt_tokens, script.cached + script.cache_write)
    completion = sum(c.tokens for c in choices)
    prompt_details = {"cached_tokens": script.cached, "audio_tokens": 0}
    if script.cache_write:
        prompt_details["cache_write_tokens"] = script.cache_write
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {
            "reasoning_tokens": sum(c.reasoning for c in choices),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return usage | script.usage if isinstance(script.usage, dict) else usage


def _finish(c: Answer, script: Script) -> str:
    return script.finish_reason or {"length": "length", "tool": "tool_calls"}.get(c.stopped, "stop")


def _call_id(seed: bytes, choice: int, i: int) -> str:
    return f"call_{answer.hex_id(seed, f'call{choice}.{i}')}"


def _choice(i: int, c: Answer, seed: bytes, script: Script) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": c.text if c.pieces or not c.tools else None}
    if c.tools:
        message["tool_calls"] = [
            {"id": _call_id(seed, i, k), "type": "function", "function": {"name": t.name, "arguments": t.arguments}}
            for k, t in enumerate(c.tools)
        ]
    message |= {"refusal": None, "annotations": []}
    return {"index": i, "message": message, "logprobs": None, "finish_reason": _finish(c, script)}


def _deltas(i: int, c: Answer, seed: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the deltas of one choice, each with the tokens that it carries; hidden reasoning rides on the first."""
    first: dict[str, Any] = {"role": "assistant", "content": None if c.tools and not c.pieces else "", "refusal": None}
    yield first, c.reasoning
    for piece in c.pieces:
        yield {"content": piece}, 1
    for k, tool in enumerate(c.tools):
        function = {"name": tool.name, "arguments": ""}
        head = {"index": k, "id": _call_id(seed, i, k), "type": "function", "function": function}
        yield {"tool_calls": [head]}, answer.TOOL_CALL_TOKENS
        for piece in tool.pieces:
            yield {"tool_calls": [{"index": k, "function": {"arguments": piece}}]}, 1


def _stream(
    base: dict[str, Any], choices: list[Answer], usage: dict[str, Any] | None, options: dict[str, Any], script: Script
) -> Iterator[Piece]:
    seed = str(base["id"]).encode()
    include, hide = bool(options.get("include_usage")) and usage is not None, options.get("include_obfuscation", True)
    more = extra(script.extra_field)
    number = 0

    def chunk(choice: list[dict[str, Any]], tokens: int) -> Piece:
        nonlocal number
        number += 1
        data = base | {"choices": choice} | ({"usage": None} if include else {})
        if hide and choice:
            data |= {"obfuscation": answer.hex_id(seed, str(number), 14 - len(str(choice)) % 12)}
        return Piece(b"data: %b\n\n" % dumps(data | more), tokens)

    running = {i: _deltas(i, c, seed) for i, c in enumerate(choices)}
    while running:
        for i in list(running):
            step = next(running[i], None)
            if step is None:
                del running[i]
                yield chunk([{"index": i, "delta": {}, "logprobs": None, "finish_reason": _finish(choices[i], script)}], 0)
                continue
            yield chunk([{"index": i, "delta": step[0], "logprobs": None, "finish_reason": None}], step[1])
            if number == 1 and script.extra_event:
                yield Piece(unknown_event(script.extra_event))
    if include:
        yield Piece(b"data: %b\n\n" % dumps(base | {"choices": [], "usage": usage} | more))
    yield Piece(b"data: [DONE]\n\n")
