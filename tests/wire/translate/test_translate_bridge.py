"""What carries one call over: for which dialects there is a bridge, and what it refuses and says whatever the dialects."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from translating import CHAT, CODECS, MESSAGES, bridge, events, sse

from proxy.wire.call import Call, Edit
from proxy.wire.openai_reply import ChatMeter
from proxy.wire.translate.bridge import DIALECTS, PREFERRED, TARGETS, Back, Bridge
from proxy.wire.translate.given import MAX_DEPTH, takes_strict
from proxy.wire.translate.hub import Untranslatable

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
USER: Any = {"role": "user", "content": "x"}
IMAGE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}


def test_each_dialect_has_the_codec_that_meters_it() -> None:
    assert DIALECTS.keys() == TARGETS.keys() <= set(PREFERRED)
    for name, codec in TARGETS.items():
        assert codec.dialect == name == DIALECTS[name].name


@pytest.mark.parametrize(
    ("wire", "call", "words"),
    [
        ("fax", Call("chat", "m", BODY), "openai.chat cannot be carried into fax"),
        (MESSAGES, Call("chat", "m", BODY, choices=2), "several answers to one request"),
        (MESSAGES, Call("chat", "m", BODY, thread="resp_1"), "a history that the provider keeps"),
        (MESSAGES, Call("chat", "m", b"[" * 9999 + b"]" * 9999), "nested too deep"),
        (MESSAGES, Call("chat", "m", b'{"temperature":1e999}'), "a number that nobody can"),
        (MESSAGES, Call("chat", "m", b"[]"), "nested too deep"),
    ],
)
def test_what_is_refused_whatever_the_dialects(wire: str, call: Call, words: str) -> None:
    with pytest.raises(Untranslatable, match=words):
        Bridge(CODECS[CHAT], wire, call, Edit())


@pytest.mark.parametrize(
    ("source", "messages", "words"),
    [
        (
            MESSAGES,
            [{"role": "user", "content": [{"type": "tool_use", "id": "x", "name": "f", "input": {}}]}],
            "a ToolUse in a turn of the user's",
        ),
        (MESSAGES, [{"role": "user", "content": [{"type": "thinking", "thinking": "x"}]}], "a Thought in a turn of the user's"),
        (MESSAGES, [{"role": "assistant", "content": [{"type": "image", "source": IMAGE}]}, USER], "a Image in a turn of the assistant's"),
        (MESSAGES, [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "x"}]}, USER], "a ToolOutput in a turn"),
    ],
)
def test_what_somebody_cannot_say_is_not_lost_on_the_way(source: str, messages: list[Any], words: str) -> None:
    for target in set(DIALECTS) - {source}:
        with pytest.raises(Untranslatable, match=words):
            bridge(source, target, {"messages": messages, "max_tokens": 5})


@pytest.mark.parametrize("target", ["gemini.generate", "ollama.chat", "openai.responses", MESSAGES])
def test_no_depth_of_nesting_breaks_anything(target: str) -> None:
    """Each way to write adds a few levels to what was read, and the last that fits is not the same everywhere."""
    for depth in (*range(60, 70), *range(700, 1000)):
        arguments = '{"a":' * depth + "1" + "}" * depth
        call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": arguments}}
        with contextlib.suppress(Untranslatable):
            bridge(CHAT, target, {"messages": [USER, {"role": "assistant", "tool_calls": [call]}, USER]})
        delta = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}, "finish_reason": "tool_calls"}]}
        back = Back(DIALECTS[CHAT], DIALECTS[target], bridge(MESSAGES, CHAT, {"stream": True}))
        assert back.event(sse(delta)) + back.end()
        said = {"choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
        with contextlib.suppress(Untranslatable):
            assert bridge(MESSAGES, CHAT, {}).reply(json.dumps(said).encode()).startswith(b"{")


@pytest.mark.parametrize("target", [CHAT, "gemini.generate", "ollama.chat", "openai.responses"])
def test_half_a_letter_in_a_reply_is_a_mark_and_no_fault(target: str) -> None:
    found = bridge(MESSAGES, target, {})
    half = "a\\ud83d"
    bodies = {
        CHAT: '{"choices":[{"message":{"content":"%s"}}]}',
        "gemini.generate": '{"candidates":[{"content":{"parts":[{"text":"%s"}]}}]}',
        "ollama.chat": '{"message":{"content":"%s"}}',
        "openai.responses": '{"output":[{"type":"message","content":[{"text":"%s"}]}]}',
    }
    said = json.loads(found.reply((bodies[target] % half).encode()))
    assert said["content"] == [{"type": "text", "text": "a\N{REPLACEMENT CHARACTER}"}]
    with pytest.raises(Untranslatable):
        found.reply(b'{"choices":["\\ud83d"]}')
    with pytest.raises(Untranslatable, match="no JSON object"):
        found.reply(b"[]")


def too_deep(*_: object) -> None:
    raise RecursionError


@pytest.mark.parametrize(("client", "module"), [(MESSAGES, "anthropic_reply"), ("gemini.generate", "gemini_reply")])
def test_a_reply_that_is_too_deep_to_write_is_an_error(monkeypatch: pytest.MonkeyPatch, client: str, module: str) -> None:
    found = bridge(MESSAGES, CHAT, {})
    monkeypatch.setattr(f"proxy.wire.translate.{module}.arguments_of", too_deep)
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    if client == MESSAGES:
        with pytest.raises(Untranslatable, match="nested too deep"):
            found.reply(json.dumps({"choices": [{"index": 0, "message": {"tool_calls": [call]}}]}).encode())
        return
    back = Back(DIALECTS[CHAT], DIALECTS[client], found)
    delta = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}, "finish_reason": "tool_calls"}]}
    assert back.event(sse(delta)) == b""
    assert json.loads(back.end())[-1]["error"]["message"] == "nested too deep"
    assert back.end() == b""


def test_an_event_that_is_too_deep_to_write_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    back = bridge(CHAT, MESSAGES, {"stream": True}).back()
    monkeypatch.setattr("proxy.wire.translate.anthropic_reply.arguments_text", too_deep)
    start = sse({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "x", "name": "f", "input": {}}})
    told = back.event(start) + back.event(sse({"type": "content_block_stop", "index": 0}))
    assert events(told)[-2]["error"]["message"] == "nested too deep"
    assert back.end() == b""


OPEN: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED: dict[str, Any] = {**OPEN, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({**CLOSED, "properties": {"a": CLOSED}}, True),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": CLOSED}}, "$defs": {"b": CLOSED}}, True),
        ({"anyOf": [CLOSED, {"type": "null"}, True]}, True),
        (OPEN, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "required": ["a", "b"]}, False),
        ({**CLOSED, "required": "a"}, False),
        ({**CLOSED, "properties": ["a"]}, False),
        ({"type": "object"}, False),
        ({"type": ["object", "null"]}, False),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": OPEN}}}, False),
        ({**CLOSED, "$defs": {"b": OPEN}}, False),
        ({"anyOf": [CLOSED, OPEN]}, False),
    ],
)
def test_which_schemas_strict_mode_takes(schema: dict[str, Any], strict: bool) -> None:
    assert takes_strict(schema) is strict


def test_strict_mode_is_looked_for_to_a_depth() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(MAX_DEPTH):
        schema = {"type": "array", "items": schema}
    assert takes_strict(schema)
    assert not takes_strict({"type": "array", "items": schema})


def test_what_the_target_is_told_beside_the_body() -> None:
    assert bridge(CHAT, MESSAGES, {}).headers == (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
    assert bridge(MESSAGES, CHAT, {}).headers == (("content-type", "application/json"),)
    assert isinstance(bridge(MESSAGES, CHAT, {}).meter(), ChatMeter)
