"""OpenAI Responses in the simulated provider: what a request asks for, and the reply to it. Streams are in `openai_responses_stream`.

Replies are kept by id, as OpenAI does unless `store` is false, so that `previous_response_id` finds the whole history and is billed for
it. What is kept is bounded: the oldest goes first, and asking for it is OpenAI's own 400. There are no conversations and no stored prompts.

Source: OpenAI API reference ("Create a model response"), as typed in the `openai` Python SDK 3.52.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from proxy.sim import answer, openai
from proxy.sim.answer import Answer, ToolUse, Turn
from proxy.sim.openai import CREATED, headers
from proxy.sim.openai_responses_stream import stream, stream_error
from proxy.sim.reply import Given, Invalid, Operation, Reply, Vendor, dumps, extra, heedless, part_texts
from proxy.sim.script import Script, read_script

VENDOR = Vendor("openai", openai.VENDOR.error, stream_error, openai.VENDOR.invalid)
MAX_KEPT = 2_000
Items = list[dict[str, Any]]

_kept: OrderedDict[str, Items] = OrderedDict()
# fmt: off
_UNSEEDED = frozenset({
    "stream", "stream_options", "max_output_tokens", "metadata", "client_metadata", "user", "store", "service_tier", "include",
    "prompt_cache_key", "safety_identifier",
})
_ECHOED: Mapping[str, Any] = {
    "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "parallel_tool_calls": True, "previous_response_id": None,
    "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None}, "safety_identifier": None, "store": True,
    "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [],
    "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None, "metadata": {},
}
# fmt: on
_IMAGES = ("input_image", "computer_screenshot")


def responses(given: Given) -> tuple[Script, Reply]:
    """Return the script of a request and the reply to it.

    Raises:
        Invalid: OpenAI would answer 400.
        ScriptError: the script is wrong.
    """
    body = given.body
    items = _history(body) + _input(body)
    _check(body, items)
    script, turn = _turn(given, items)
    said = answer.compose(turn, script)
    begun = _begun(body, turn)
    output = _output(body, turn, said, str(begun["id"]))
    short = {"incomplete_details": {"reason": "max_output_tokens"}} if said.stopped == "length" else {}
    whole = begun | {"status": script.finish_reason or ("incomplete" if short else "completed"), "output": output} | short
    whole |= {"completed_at": CREATED + 1, "usage": _usage(turn, said, script), "service_tier": "default"}
    if body.get("store") is not False:
        _keep(str(begun["id"]), items + output)
    if body.get("stream"):
        events = stream(begun, whole, said, script)
        return script, Reply(200, {**headers(turn.seed), "content-type": "text/event-stream; charset=utf-8"}, events=events)
    sent = dumps(whole | extra(script.extra_field))
    return script, Reply(200, {**headers(turn.seed), "content-type": "application/json"}, sent, tokens=said.tokens)


def _keep(id: str, items: Items) -> None:
    _kept[id] = items
    _kept.move_to_end(id)
    while len(_kept) > MAX_KEPT:
        _kept.popitem(last=False)


def _history(body: dict[str, Any]) -> Items:
    """Return what was kept under the id that the request names."""
    id = body.get("previous_response_id")
    if body.get("conversation") is not None:
        raise Invalid("Conversation not found.", "conversation", status=404)
    if body.get("prompt") is not None:
        raise Invalid("Prompt not found.", "prompt", status=404)
    if id is None:
        return []
    if id not in _kept:
        raise Invalid(f"Previous response with id '{id}' not found.", "previous_response_id", "previous_response_not_found")
    return _kept[id]


def _input(body: dict[str, Any]) -> Items:
    value = body.get("input")
    if value is None and body.get("previous_response_id") is None:
        raise Invalid("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}]
    if value is not None and (not isinstance(value, list) or not all(isinstance(item, dict) for item in value)):
        raise Invalid("Invalid type for 'input': expected one of a string or array of objects.", "input", "invalid_type")
    return [item if "type" in item else {"type": "message", **item} for item in value or ()]


def _check(body: dict[str, Any], items: Items) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Invalid("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    ceiling = body.get("max_output_tokens")
    if ceiling is not None and (not isinstance(ceiling, int) or ceiling < 16):
        text = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {ceiling} instead."
        raise Invalid(text, "max_output_tokens", "integer_below_min_value")
    calls = {item.get("call_id") for item in items if str(item["type"]).endswith("_call")}
    for item in items:
        if item["type"] in ("function_call_output", "custom_tool_call_output") and item.get("call_id") not in calls:
            raise Invalid(f"No tool call found for function call output with call_id {item.get('call_id')}.", "input")


def _turn(given: Given, items: Items) -> tuple[Script, Turn]:
    body, items = given.body, heedless(items)
    at = max((i for i, item in enumerate(items) if item.get("role") == "user"), default=-1)
    script, question = read_script(given.script, " ".join(part_texts(items[at].get("content"))) if at >= 0 else "")
    choice = body.get("tool_choice")
    turn = Turn(
        seed=answer.seed_of([{k: v for k, v in body.items() if k not in _UNSEEDED}, items]),
        question=question,
        results=tuple(_result(item) for item in items[at + 1 :] if str(item["type"]).endswith("_output")),
        tools=tuple((t["name"], t.get("parameters") or {"properties": {"input": {}}}) for t in _tools(body) if "name" in t),
        force=str(choice.get("name", "")) if isinstance(choice, dict) else {"required": "*"}.get(str(choice), ""),
        prompt_tokens=_prompt_tokens(body, items),
        ceiling=body.get("max_output_tokens"),
    )
    return script, dataclasses.replace(turn, tools=()) if choice == "none" else turn


def _tools(body: dict[str, Any]) -> Items:
    """Return the tools offered, those in namespaces too."""
    found = [tool for tool in body.get("tools") or () if isinstance(tool, dict)]
    inner = [part for tool in found if tool.get("type") == "namespace" for part in tool.get("tools") or ()]
    return [tool for tool in found if tool.get("type") != "namespace"] + inner


def _result(item: dict[str, Any]) -> str:
    output = item.get("output")
    return " ".join(part_texts(output)) or (json.dumps(output) if isinstance(output, (dict, list)) else "")


def _prompt_tokens(body: dict[str, Any], items: Items) -> int:
    total = answer.PRIMING_TOKENS + answer.count(body.get("instructions") or "")
    for item in items:
        if item["type"] == "message":
            content = item.get("content")
            total += answer.MESSAGE_TOKENS + sum(answer.count(text) for text in part_texts(content))
            total += answer.IMAGE_TOKENS * sum(1 for p in content or () if isinstance(p, dict) and p.get("type") in _IMAGES)
        elif item["type"] != "reasoning":
            kept = (item.get(key) for key in ("name", "arguments", "input", "action", "output"))
            total += sum(answer.count(value if isinstance(value, str) else json.dumps(value)) for value in kept if value)
    return total + answer.count(json.dumps(body["tools"])) if body.get("tools") else total


def _usage(turn: Turn, said: Answer, script: Script) -> dict[str, Any] | None:
    if script.usage is False:
        return None
    prompt = max(turn.prompt_tokens, script.cached + script.cache_write)
    usage: dict[str, Any] = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": script.cached, "cache_write_tokens": script.cache_write},
        "output_tokens": said.tokens,
        "output_tokens_details": {"reasoning_tokens": said.reasoning},
        "total_tokens": prompt + said.tokens,
    }
    return usage | script.usage if isinstance(script.usage, dict) else usage


def _begun(body: dict[str, Any], turn: Turn) -> dict[str, Any]:
    head = {"id": f"resp_{answer.hex_id(turn.seed, 'response', 48)}", "object": "response", "created_at": CREATED, "status": "in_progress"}
    state = {"background": False, "completed_at": None, "error": None, "incomplete_details": None, "model": body["model"], "output": []}
    echoed = {key: usual if body.get(key) is None else body[key] for key, usual in _ECHOED.items()}
    return head | state | echoed | {"service_tier": "auto", "usage": None}


def _output(body: dict[str, Any], turn: Turn, said: Answer, seed: str) -> Items:
    """Return the items of the reply."""
    salt = seed.encode()
    output: Items = []
    if said.reasoning:
        item: dict[str, Any] = {"id": f"rs_{answer.hex_id(salt, 'reasoning', 48)}", "type": "reasoning", "summary": []}
        if (body.get("reasoning") or {}).get("summary"):
            item["summary"] = [{"type": "summary_text", "text": "Thinking about the question."}]
        if "reasoning.encrypted_content" in (body.get("include") or ()):
            item["encrypted_content"] = f"gAAAAA{answer.hex_id(salt, 'hidden', 60)}"
        output.append(item)
    ended = "incomplete" if said.stopped == "length" else "completed"
    if said.pieces or not said.tools:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said.text}
        message = {"id": f"msg_{answer.hex_id(salt, 'message', 48)}", "type": "message", "status": ended if not said.tools else "completed"}
        output.append(message | {"content": [part], "role": "assistant"})
    kinds = {str(t.get("name", t.get("type"))): str(t.get("type")) for t in _tools(body)}
    spaces = {part.get("name"): t["name"] for t in body.get("tools") or () if t.get("type") == "namespace" for part in t.get("tools") or ()}
    for i, tool in enumerate(said.tools):
        id, status = answer.hex_id(salt, f"call{i}", 24), ended if i == len(said.tools) - 1 else "completed"
        where = {"namespace": spaces[tool.name]} if tool.name in spaces else {}
        output.append(_call(tool, kinds.get(tool.name, "function"), id) | where | {"status": status})
    return output


def _call(tool: ToolUse, kind: str, id: str) -> dict[str, Any]:
    """Return one tool call in the shape that the kind of its tool has."""
    about = {"call_id": f"call_{id}"}
    if kind == "custom":
        return {"id": f"ctc_{id}", "type": "custom_tool_call", "input": tool.arguments, "name": tool.name, **about}
    if kind in _ACTIONS:
        try:
            given = json.loads(tool.arguments)
        except ValueError:
            given = {}
        type, key, usual = _ACTIONS[kind]
        return {"id": f"{type[:3]}_{id}", "type": type, key: usual | given, **about}
    return {"id": f"fc_{id}", "type": "function_call", "arguments": tool.arguments, "name": tool.name, **about}


_ACTIONS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "local_shell": ("local_shell_call", "action", {"type": "exec", "command": ["true"], "env": {}}),
    "shell": ("shell_call", "action", {"commands": ["true"], "timeout_ms": None, "max_output_length": None}),
    "apply_patch": ("apply_patch_call", "operation", {"type": "delete_file", "path": "a.txt"}),
}
"""Kind of a tool of the provider's own to its item type, where the item says what to do, and what it says unless told otherwise."""

OPERATIONS: Mapping[tuple[str, str], Operation] = {("POST", "/v1/responses"): responses}
