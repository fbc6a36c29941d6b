"""What counts as an answer: tables of replies and of what the request wants."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.engine.sound import Heard, Wanted, flaw, heard, overheard, wanted
from proxy.model import Usage
from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.registry import find
from proxy.wire.translate import bridge
from proxy.wire.translate.bridge import Untranslatable

OBJECT = {"type": "object", "required": ["a", 7], "properties": {"a": {"type": ["integer", "null"]}, "l": {"items": {"type": "string"}}}}


def judged(text: str, **want: Any) -> str:
    found = flaw(Heard(text), Wanted(**want), None)
    return "" if found is None else found.cause


@pytest.mark.parametrize(
    ("text", "schema", "cause"),
    [
        ('{"a":1}', OBJECT, ""),
        ('{"a":null}', OBJECT, ""),
        ('{"a":2.0}', OBJECT, ""),
        ('{"a":2.5}', OBJECT, "json"),
        ('{"a":true}', OBJECT, "json"),
        ('{"a":"1"}', OBJECT, "json"),
        ("{}", OBJECT, "json"),
        ("[]", OBJECT, "json"),
        ('{"a":1,"l":["x","y"]}', OBJECT, ""),
        ('{"a":1,"l":["x",1]}', OBJECT, "json"),
        ('{"a":1,"l":"x"}', OBJECT, ""),
        ("true", {"type": "boolean"}, ""),
        ("true", {"type": "number"}, "json"),
        ("1.5", {"type": "NUMBER"}, ""),
        ('"x"', {"type": "whatever"}, ""),
        ('"x"', {"type": 7}, ""),
        ('"x"', {"enum": ["y"]}, "json"),
        ('"x"', {"enum": "x"}, ""),
        ("{}", {"properties": [], "required": "a"}, ""),
        ("[" * 40 + "1" + "]" * 40, {"type": "array"}, ""),
        ("[" * 5000, {}, "json"),
        ("{} {}", {}, "json"),
        ("nonsense", None, "json"),
    ],
)
def test_json_is_compared_with_its_schema(text: str, schema: dict[str, Any] | None, cause: str) -> None:
    assert judged(text, json=True, schema=schema) == cause


def test_a_schema_is_looked_at_within_bounds() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(20):
        deep = {"items": deep}
    assert judged("[" * 20 + "1" + "]" * 20, json=True, schema=deep) == ""
    many = json.dumps([1] * 3000 + ["x"])
    assert judged(many, json=True, schema={"items": {"type": "integer"}}) == ""
    assert judged(json.dumps([1] * 100 + ["x"]), json=True, schema={"items": {"type": "integer"}}) == "json"


@pytest.mark.parametrize(
    ("ceiling", "usage", "cause"),
    [
        (None, None, "length"),
        (None, Usage(5, 9), "length"),
        (10, Usage(5, 9), "length"),
        (10, Usage(5, 10), ""),
        (10, None, ""),
    ],
)
def test_a_cut_at_the_ceiling_that_was_asked_for_is_the_client_s_own(ceiling: int | None, usage: Usage | None, cause: str) -> None:
    found = flaw(Heard("and so", stop="length"), Wanted(ceiling=ceiling), usage)
    assert ("" if found is None else found.cause) == cause


def read(body: dict[str, Any], path: str = "/v1/chat/completions") -> Wanted:
    codec = find("POST", path, {}, "")
    assert codec is not None
    call = codec.decode(json.dumps(body).encode(), Memos())
    return wanted(call, codec.dialect, None, lambda text: False)


ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}


def test_what_a_request_wants() -> None:
    assert read(ASKED).tools == frozenset()
    assert read({**ASKED, "tools": [FUNCTION]}).tools == frozenset({"f"})
    assert read({**ASKED, "tools": [FUNCTION], "tool_choice": "required"}).choice == "any"
    assert read({**ASKED, "tools": [FUNCTION, {"type": "custom", "custom": {"name": "c"}}]}).tools is None
    assert read({**ASKED, "response_format": {"type": "json_object"}}).json
    spoken = {**ASKED, "messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}
    unread = read({**spoken, "tools": [FUNCTION], "tool_choice": "required"})
    assert (unread.tools, unread.choice) == (frozenset({"f"}), "any")
    unread = read({**ASKED, "tools": [FUNCTION], "tool_choice": "required", "logprobs": True})
    assert (unread.tools, unread.choice) == (frozenset({"f"}), "")


JSON: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**ASKED, "response_format": {"type": "json_object"}},
    "/v1/responses": {"model": "m", "input": "hi", "text": {"format": {"type": "json_object"}}},
    "/v1/messages": {**ASKED, "max_tokens": 9, "output_config": {"format": {"type": "json_schema", "schema": OBJECT}}},
    "/v1beta/models/m:generateContent": {
        "contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"responseMimeType": "application/json"}
    },
    "/api/chat": {**ASKED, "format": "json"},
}  # fmt: skip


@pytest.mark.parametrize("path", list(JSON))
def test_what_is_wanted_is_read_without_the_conversation_and_the_tools(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are most of a body, and say nothing of it."""
    seen: list[bytes] = []

    def parsed(raw: bytes) -> Any:
        seen.append(raw)
        return jsonio.parsed(raw)

    monkeypatch.setattr(bridge, "parsed", parsed)
    assert read(JSON[path], path).json
    assert seen
    assert not any(b"hi" in raw for raw in seen)


def test_a_request_without_a_hub_wants_no_shape() -> None:
    codec = find("POST", "/v1/chat/completions", {}, "")
    assert codec is not None
    call = codec.decode(json.dumps({**ASKED, "tools": [FUNCTION], "tool_choice": "required"}).encode(), Memos())
    assert wanted(call, "openai.completions", None, lambda text: False).choice == ""


def test_thoughts_are_no_answer() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "", "reasoning_content": "hm"}, "finish_reason": "stop"}]}
    said = heard("openai.chat", json.dumps(body).encode())
    assert said is not None
    found = flaw(said, Wanted(), None)
    assert found is not None
    assert found.cause == "empty"


@pytest.mark.parametrize(
    ("dialect", "body", "text"),
    [
        ("anthropic.messages", {"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "type": "message"}, "hi"),
        ("ollama.chat", {"message": {"role": "assistant", "content": "hi"}, "done": True, "done_reason": "stop"}, "hi"),
    ],
)
def test_replies_of_other_dialects(dialect: str, body: dict[str, Any], text: str) -> None:
    said = heard(dialect, json.dumps(body).encode())
    assert said is not None
    assert (said.text, said.refusal) == (text, False)
    assert flaw(said, Wanted(), None) is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"choices":[]}', b'{"choices":1}', b'{"error":{}}', b"\xff"])
def test_what_is_no_reply_says_so(body: bytes) -> None:
    with pytest.raises(Untranslatable):
        heard("openai.chat", body)


def test_a_stream_in_pieces() -> None:
    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"

    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"a"'}}
    more = {"index": 0, "function": {"arguments": ":1}"}}
    events = [event({"reasoning_content": "hm"}), event({"content": "so"}), event({"tool_calls": [call]}), event({"tool_calls": [more]})]
    said = overheard("openai.chat", [*events, event({}, "tool_calls"), b"data: [DONE]\n\n"])
    assert said == Heard("so", (("f", '{"a":1}'),), "tool")
    assert flaw(said, Wanted(frozenset({"f"}), "tool:f"), None) is None
    assert overheard("openai.completions", events) is None
    assert heard("openai.completions", b"{}") is None


def test_an_error_in_a_stream() -> None:
    said = overheard("anthropic.messages", [b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no"}}\n\n'])
    assert said is not None
    found = flaw(said, Wanted(), None)
    assert found is not None
    assert found.cause == "error"


def test_a_stream_nested_too_deep_is_no_answer() -> None:
    line = b'{"message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":%b}}}]},"done":true}\n'
    said = overheard("ollama.chat", [line % (b"[" * 5000 + b"]" * 5000)])
    assert said is not None
    assert flaw(said, Wanted(frozenset({"f"})), None) is not None
