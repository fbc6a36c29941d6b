"""Ollama's dialect of the simulated provider: chat and generate, streams as lines of JSON, and errors.

Streams are what the server does unless told otherwise. Each line has its own `created_at`, ten milliseconds after the last, from a fixed
beginning. A request without messages or prompt loads the model, or unloads it when `keep_alive` is zero.

Source: Ollama API reference (chat, generate, errors), as typed in the `ollama` Python SDK 0.6.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from proxy.sim import answer, ollama_other
from proxy.sim.answer import Answer, Turn
from proxy.sim.ollama_other import CREATED, JSON, checked_model
from proxy.sim.reply import Given, Invalid, Operation, Piece, Reply, Vendor, dumps, extra, heedless
from proxy.sim.script import Script, read_script

_UNSEEDED = ("stream", "keep_alive", "options")
_ERRORS = {
    400: "invalid request",
    401: "unauthorized",
    403: "forbidden",
    404: "model not found, try pulling it first",
    429: "too many requests",
    503: "server busy, please try again. maximum pending requests exceeded",
}


def _shape(message: str) -> dict[str, Any]:
    return {"error": message}


def error(status: int, kind: str | None, message: str | None, seed: bytes) -> Reply:
    """Return Ollama's error of `status`; it has no types."""
    words = message or _ERRORS.get(status, "internal server error" if status >= 500 else _ERRORS[400])
    return Reply(status, dict(JSON), dumps(_shape(words)))


def invalid(e: Invalid, seed: bytes) -> Reply:
    """Return the reply to a request that Ollama does not take."""
    return Reply(e.status, dict(JSON), dumps(_shape(e.message)))


def _stream_error(kind: str | None, message: str | None) -> bytes:
    return dumps(_shape(message or "an error was encountered while running the model")) + b"\n"


VENDOR = Vendor("ollama", error, _stream_error, invalid)


# --- chat and generate ---------------------------------------------------------------------------------------------------------


def chat(given: Given) -> tuple[Script, Reply]:
    """Return the script of a chat request and the reply to it.

    Raises:
        Invalid: Ollama would answer 400.
        ScriptError: the script is wrong.
    """
    body = given.body
    checked_model(body)
    messages = body.get("messages") or []
    if not messages:
        return Script(), _loaded(body, {"message": {"role": "assistant", "content": ""}})
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Invalid("json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message")
    messages = heedless(messages)
    at = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), -1)
    script, question = read_script(given.script, str(messages[at].get("content") or "") if at >= 0 else "")
    turn = Turn(
        seed=_seed(body),
        question=question,
        results=tuple(str(m.get("content") or "") for m in messages[at + 1 :] if m["role"] == "tool"),
        tools=tuple(_functions(body)),
        prompt_tokens=_chat_tokens(body, messages),
        **_limits(body),
    )
    return script, _reply(body, turn, script, "message")


def generate(given: Given) -> tuple[Script, Reply]:
    """Return the script of a generate request and the reply to it; raises as `chat` does."""
    body = given.body
    checked_model(body)
    prompt = body.get("prompt") or ""
    if not isinstance(prompt, str):
        raise Invalid("json: cannot unmarshal into Go struct field GenerateRequest.prompt of type string")
    if not prompt:
        return Script(), _loaded(body, {"response": ""})
    script, question = read_script(given.script, prompt)
    texts = [prompt, *(body[key] for key in ("system", "suffix") if isinstance(body.get(key), str))]
    tokens = answer.PRIMING_TOKENS + answer.MESSAGE_TOKENS + sum(map(answer.count, texts)) + len(body.get("context") or ())
    tokens += answer.IMAGE_TOKENS * len(body.get("images") or ())
    turn = Turn(seed=_seed(body), question=question, prompt_tokens=tokens, **_limits(body))
    return script, _reply(body, turn, script, "response")


def _seed(body: dict[str, Any]) -> bytes:
    return answer.seed_of({k: v for k, v in body.items() if k not in _UNSEEDED})


def _limits(body: dict[str, Any]) -> dict[str, Any]:
    """Return ceiling and stops of `options`; a ceiling of zero or less is none."""
    options = body.get("options") or {}
    ceiling, stop = options.get("num_predict"), options.get("stop") or ()
    if ceiling is not None and (isinstance(ceiling, bool) or not isinstance(ceiling, int | float)):
        raise Invalid('option "num_predict" must be of type integer')
    most = int(ceiling) if ceiling is not None and ceiling >= 1 else None
    return {"ceiling": most, "stop": tuple(s for s in ([stop] if isinstance(stop, str) else stop) if isinstance(s, str))}


def _functions(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for tool in body.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"], function.get("parameters") or {}


def _chat_tokens(body: dict[str, Any], messages: list[dict[str, Any]]) -> int:
    total = answer.PRIMING_TOKENS
    for message in messages:
        total += answer.MESSAGE_TOKENS + sum(answer.count(message[key]) for key in ("content", "thinking") if message.get(key))
        total += answer.IMAGE_TOKENS * len(message.get("images") or ())
        for call in message.get("tool_calls") or ():
            total += answer.count(json.dumps(call.get("function", {})))
    return total + answer.count(json.dumps(body["tools"])) if body.get("tools") else total


def _time(number: int) -> str:
    return f"{datetime.fromtimestamp(CREATED, UTC) + timedelta(milliseconds=10 * number):%Y-%m-%dT%H:%M:%S.%f}Z"


def _loaded(body: dict[str, Any], said: dict[str, Any]) -> Reply:
    reason = "unload" if body.get("keep_alive") in (0, "0", "0s") else "load"
    return Reply(200, dict(JSON), dumps({"model": body["model"], "created_at": _time(0), **said, "done": True, "done_reason": reason}))


def _reply(body: dict[str, Any], turn: Turn, script: Script, kind: str) -> Reply:
    found = answer.compose(turn, script)
    counts = _counts(turn, found, script)
    if kind == "response":
        counts = {"context": list(turn.seed[:8]), **counts}
    if body.get("stream") is not False:
        events = _stream(str(body["model"]), turn.seed, found, counts, script, kind)
        return Reply(200, {"content-type": "application/x-ndjson"}, events=events)
    said: dict[str, Any] = {"thinking": _thought(found)} if found.reasoning else {}
    if found.tools:
        said["tool_calls"] = [_call(turn.seed, i, found) for i in range(len(found.tools))]
    shaped = {"response": found.text, **said} if kind == "response" else {"message": {"role": "assistant", "content": found.text, **said}}
    whole = {"model": body["model"], "created_at": _time(0), **shaped, **counts}
    return Reply(200, dict(JSON), dumps(whole | extra(script.extra_field)), tokens=found.tokens)


def _counts(turn: Turn, found: Answer, script: Script) -> dict[str, Any]:
    """Return the end of a reply. The server counts no prompt that it had cached, and leaves out a count of zero."""
    end: dict[str, Any] = {"done": True, "done_reason": script.finish_reason or ("length" if found.stopped == "length" else "stop")}
    if script.usage is False:
        return end
    prompt = max(0, turn.prompt_tokens - script.cached)
    end |= {"total_duration": 10**7 * (prompt + found.tokens), "load_duration": 10**6}
    for key, count in (("prompt_eval", prompt), ("eval", found.tokens)):
        end |= {f"{key}_count": count, f"{key}_duration": 10**7 * count} if count else {}
    return end | script.usage if isinstance(script.usage, dict) else end


def _thought(found: Answer) -> str:
    return " ".join(["hm"] * found.reasoning)


def _call(seed: bytes, index: int, found: Answer) -> dict[str, Any]:
    """Return one call. Its arguments are an object; what a ceiling cut short is none, and goes out empty."""
    tool = found.tools[index]
    try:
        arguments = json.loads(tool.arguments)
    except ValueError:
        arguments = {}
    function = {"index": index, "name": tool.name, "arguments": arguments}
    return {"id": f"call_{answer.hex_id(seed, f'call{index}', 8)}", "function": function}


def _stream(model: str, seed: bytes, found: Answer, counts: dict[str, Any], script: Script, kind: str) -> Iterator[Piece]:
    number = 0
    more = extra(script.extra_field)

    def line(said: dict[str, Any], tokens: int, end: dict[str, Any] | None = None) -> Piece:
        nonlocal number
        number += 1
        shaped = said if kind == "response" else {"message": {"role": "assistant", **said}}
        whole = {"model": model, "created_at": _time(number), **shaped, **(end or {"done": False}), **more}
        return Piece(dumps(whole) + b"\n", tokens)

    text = "response" if kind == "response" else "content"
    for word in _thought(found).split():
        yield line({text: "", "thinking": f"{word} "}, 1)
    for piece in found.pieces:
        yield line({text: piece}, 1)
        if number == 1 and script.extra_event:
            wanted = script.extra_event if isinstance(script.extra_event, dict) else {"status": "sim.unknown"}
            yield Piece(dumps(wanted) + b"\n")
    for index, tool in enumerate(found.tools):
        yield line({text: "", "tool_calls": [_call(seed, index, found)]}, answer.TOOL_CALL_TOKENS + len(tool.pieces))
    yield line({text: ""}, 0, counts)


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/api/chat"): chat,
    ("POST", "/api/generate"): generate,
    **ollama_other.OPERATIONS,
}
