"""Anthropic's dialect of the simulated provider: messages, count_tokens, models, errors.

Source: Anthropic API reference (Messages, streaming, token counting, models, errors), as typed in the `anthropic` Python SDK 2.11.
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

MODELS = {
    "claude-opus-5-5": "Claude Opus 5.5",
    "claude-sonnet-5-5": "Claude Sonnet 5.5",
    "claude-sonnet-5": "Claude Sonnet 5",
    "claude-haiku-5-5": "Claude Haiku 5.5",
    "claude-opus-4-5": "Claude Opus 4.5",
    "claude-sonnet-4-5": "Claude Sonnet 4.5",
    "claude-haiku-4-5": "Claude Haiku 4.5",
}
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
PING_EVERY = 50

_UNSEEDED = ("stream", "max_tokens", "metadata", "service_tier")
_ERRORS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed the rate limit for your organization."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


def _request_id(seed: bytes) -> str:
    return f"req_011C{answer.hex_id(seed, 'request', 20)}"


def headers(seed: bytes) -> dict[str, str]:
    """Return the headers that Anthropic puts on every reply; the request id follows from `seed`."""
    return {
        "request-id": _request_id(seed),
        "anthropic-organization-id": "5e0a7c4e-51b0-4d5e-8f5e-000000000001",
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
    }


def error(status: int, kind: str | None, message: str | None, seed: bytes) -> Reply:
    """Return Anthropic's error of `status`."""
    usual = _ERRORS.get(status, _ERRORS[500] if status >= 500 else _ERRORS[400])
    body = {"type": "error", "error": {"type": kind or usual[0], "message": message or usual[1]}, "request_id": _request_id(seed)}
    return Reply(status, {**headers(seed), "content-type": "application/json"}, dumps(body))


def invalid(e: Invalid, seed: bytes) -> Reply:
    """Return the reply to a request that Anthropic does not take."""
    return error(e.status, None, e.message, seed)


def _stream_error(kind: str | None, message: str | None) -> bytes:
    body = {"type": "error", "error": {"type": kind or "overloaded_error", "message": message or "Overloaded"}}
    return b"event: error\ndata: %b\n\n" % dumps(body)


VENDOR = Vendor("anthropic", error, _stream_error, invalid)


# --- messages ------------------------------------------------------------------------------------------------------------------


def messages(given: Given) -> tuple[Script, Reply]:
    """Return the script of a messages request and the reply to it.

    Raises:
        Invalid: Anthropic would answer 400.
        ScriptError: the script is wrong.
    """
    body = given.body
    _check(given)
    ceiling = body.get("max_tokens")
    if ceiling is None:
        raise Invalid("max_tokens: Field required")
    if not isinstance(ceiling, int) or isinstance(ceiling, bool):
        raise Invalid("max_tokens: Input should be a valid integer")
    if ceiling < 1:
        raise Invalid("max_tokens: Input should be greater than or equal to 1")
    script, turn = _turn(given)
    said = answer.compose(turn, script)
    usage = _usage(turn, said, script)
    base: dict[str, Any] = {"id": f"msg_01{answer.hex_id(turn.seed, 'message', 22)}", "type": "message", "role": "assistant"}
    base["model"] = body["model"]
    if body.get("stream"):
        head = {**headers(turn.seed), "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        return script, Reply(200, head, events=_stream(base, said, usage, script))
    base["content"] = _content(base["id"], said)
    base["stop_reason"], base["stop_sequence"] = _stopped(said, script)
    whole = base | ({} if usage is None else {"usage": usage}) | extra(script.extra_field)
    return script, Reply(200, {**headers(turn.seed), "content-type": "application/json"}, dumps(whole), tokens=said.tokens)


def count_tokens(given: Given) -> tuple[Script, Reply]:
    """Return the script of a count_tokens request and the reply to it; raises as `messages` does."""
    _check(given)
    script, turn = _turn(given)
    whole = {"input_tokens": turn.prompt_tokens} | extra(script.extra_field)
    return script, Reply(200, {**headers(turn.seed), "content-type": "application/json"}, dumps(whole))


def _check(given: Given) -> None:
    body = given.body
    if "anthropic-version" not in given.headers:
        raise Invalid("anthropic-version: header is required")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Invalid("model: Field required" if "model" not in body else "model: Input should be a valid string")
    turns = body.get("messages")
    if turns is None:
        raise Invalid("messages: Field required")
    if not isinstance(turns, list):
        raise Invalid("messages: Input should be a valid list")
    if not turns:
        raise Invalid("messages: at least one message is required")
    for i, m in enumerate(turns):
        if not isinstance(m, dict) or m.get("role") not in ("user", "assistant", "system"):
            raise Invalid(f"messages.{i}.role: Input should be 'user' or 'assistant'")
        if not isinstance(m.get("content"), str | list):
            raise Invalid(f"messages.{i}.content: Field required")
        if any(not text for text in part_texts(m["content"])):
            raise Invalid(f"messages.{i}: user messages must have non-empty content")


def _parts(message: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    content = message.get("content")
    return [p for p in content if isinstance(p, dict) and p.get("type") == kind] if isinstance(content, list) else []


def _turn(given: Given) -> tuple[Script, Turn]:
    body, turns = given.body, heedless(given.body["messages"])
    at = next((i for i in range(len(turns) - 1, -1, -1) if turns[i]["role"] == "user" and part_texts(turns[i]["content"])), -1)
    script, question = read_script(given.script, " ".join(part_texts(turns[at]["content"])) if at >= 0 else "")
    results = [p for m in turns[at + 1 :] for p in _parts(m, "tool_result")]
    choice = body.get("tool_choice")
    choice = choice if isinstance(choice, dict) else {}
    tools = [t for t in body.get("tools") or () if isinstance(t, dict) and isinstance(t.get("name"), str)]
    turn = Turn(
        seed=answer.seed_of({k: v for k, v in body.items() if k not in _UNSEEDED}),
        question=question,
        results=tuple(" ".join(part_texts(p.get("content"))) for p in results),
        tools=tuple((t["name"], t.get("input_schema") or {}) for t in tools),
        force={"any": "*", "tool": str(choice.get("name", ""))}.get(str(choice.get("type")), ""),
        prompt_tokens=_prompt_tokens(body),
        ceiling=body.get("max_tokens"),
        stop=tuple(s for s in body.get("stop_sequences") or () if isinstance(s, str)),
    )
    return script, dataclasses.replace(turn, tools=()) if choice.get("type") == "none" else turn


def _prompt_tokens(body: dict[str, Any]) -> int:
    total = answer.PRIMING_TOKENS + sum(answer.count(t) for t in part_texts(body.get("system")))
    for m in body["messages"]:
        total += answer.MESSAGE_TOKENS + sum(answer.count(t) for t in part_texts(m["content"]))
        total += answer.IMAGE_TOKENS * len(_parts(m, "image"))
        total += sum(answer.count(json.dumps(p.get("input"))) for p in _parts(m, "tool_use"))
        for p in _parts(m, "tool_result"):
            total += sum(answer.count(t) for t in part_texts(p.get("content"))) + answer.IMAGE_TOKENS * len(_parts(p, "image"))
    return total + answer.count(json.dumps(body["tools"])) if body.get("tools") else total


def _usage(turn: Turn, said: Answer, script: Script) -> dict[str, Any] | None:
    if script.usage is False:
        return None
    written = script.cache_write + script.cache_write_1h
    usage: dict[str, Any] = {
        "input_tokens": max(0, turn.prompt_tokens - script.cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": script.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": script.cache_write, "ephemeral_1h_input_tokens": script.cache_write_1h},
        "output_tokens": said.tokens,
        "service_tier": "standard",
    }
    if said.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": said.reasoning}
    return usage | script.usage if isinstance(script.usage, dict) else usage


def _stopped(said: Answer, script: Script) -> tuple[str, str | None]:
    if script.finish_reason:
        return script.finish_reason, None
    if said.stopped.startswith("sequence:"):
        return "stop_sequence", said.stopped.removeprefix("sequence:")
    return {"length": "max_tokens", "tool": "tool_use"}.get(said.stopped, "end_turn"), None


def _content(seed: str, said: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.reasoning:
        blocks.append({"type": "thinking", "thinking": _THOUGHT, "signature": answer.hex_id(seed.encode(), "signature", 64)})
    if said.pieces or not said.tools:
        blocks.append({"type": "text", "text": said.text})
    for i, tool in enumerate(said.tools):
        blocks.append({"type": "tool_use", "id": _tool_id(seed, i), "name": tool.name, "input": _input(tool.arguments)})
    return blocks


_THOUGHT = "Let me think about this for a moment."


def _tool_id(seed: str, i: int) -> str:
    return f"toolu_01{answer.hex_id(seed.encode(), f'tool{i}', 22)}"


def _input(arguments: str) -> Any:
    """Return the arguments as an object; an unfinished text counts as none."""
    try:
        return json.loads(arguments) if arguments else {}
    except ValueError:
        return {}


def _event(kind: str, members: dict[str, Any], tokens: int = 0) -> Piece:
    return Piece(b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, **members})), tokens)


def _blocks(seed: str, said: Answer) -> Iterator[tuple[dict[str, Any], Iterator[tuple[dict[str, Any], int]]]]:
    """Yield each content block as it starts, with its deltas and the tokens of each."""
    if said.reasoning:
        signature = {"type": "signature_delta", "signature": answer.hex_id(seed.encode(), "signature", 64)}
        thoughts = [({"type": "thinking_delta", "thinking": _THOUGHT}, said.reasoning), (signature, 0)]
        yield {"type": "thinking", "thinking": "", "signature": ""}, iter(thoughts)
    if said.pieces or not said.tools:
        yield {"type": "text", "text": ""}, (({"type": "text_delta", "text": piece}, 1) for piece in said.pieces)
    for i, tool in enumerate(said.tools):
        first = ({"type": "input_json_delta", "partial_json": ""}, answer.TOOL_CALL_TOKENS)
        rest = [({"type": "input_json_delta", "partial_json": piece}, 1) for piece in tool.pieces]
        yield {"type": "tool_use", "id": _tool_id(seed, i), "name": tool.name, "input": {}}, iter([first, *rest])


def _stream(base: dict[str, Any], said: Answer, usage: dict[str, Any] | None, script: Script) -> Iterator[Piece]:
    # Anthropic reports input at the start with a token or so of output, and the running total of output at the end.
    reason, sequence = _stopped(said, script)
    opened = base | {"content": [], "stop_reason": None, "stop_sequence": None}
    scripted = isinstance(script.usage, dict) and "output_tokens" in script.usage
    if usage is not None:
        opened["usage"] = {k: v for k, v in usage.items() if k != "output_tokens_details"} | ({} if scripted else {"output_tokens": 1})
    yield _event("message_start", {"message": opened, **extra(script.extra_field)})
    if script.extra_event:
        yield Piece(unknown_event(script.extra_event))
    sent = 0
    for index, (block, deltas) in enumerate(_blocks(str(base["id"]), said)):
        yield _event("content_block_start", {"index": index, "content_block": block})
        if index == 0:
            yield Piece(PING)
        for delta, tokens in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta}, tokens)
            sent += 1
            if sent % PING_EVERY == 0:
                yield Piece(PING)
        yield _event("content_block_stop", {"index": index})
    end: dict[str, Any] = {"delta": {"stop_reason": reason, "stop_sequence": sequence}}
    if usage is not None:
        end["usage"] = {k: v for k, v in usage.items() if k not in ("cache_creation", "service_tier")}
    yield _event("message_delta", end)
    yield _event("message_stop", {})


# --- models --------------------------------------------------------------------------------------------------------------------


def _model(name: str) -> dict[str, Any]:
    shown = {"type": "model", "id": name, "display_name": MODELS[name], "created_at": "2025-09-29T00:00:00Z", "lifecycle": "active"}
    return shown | {"deprecated_at": None, "retires_at": None, "max_input_tokens": 200000, "max_tokens": 64000}


def models() -> Reply:
    """Return the list of models."""
    names = list(MODELS)
    whole = {"data": [_model(n) for n in names], "has_more": False, "first_id": names[0], "last_id": names[-1]}
    return Reply(200, {**headers(b"models"), "content-type": "application/json"}, dumps(whole))


def model(name: str) -> Reply:
    """Return one model.

    Raises:
        Invalid: there is none of that name (404).
    """
    if name not in MODELS:
        raise Invalid(f"model: {name}", status=404)
    return Reply(200, {**headers(b"model"), "content-type": "application/json"}, dumps(_model(name)))
