from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, Media, ToolSpec, WireError
from proxy.wire.openai_chat import ChatCodec

GOLDEN = (Path(__file__).parent / "golden" / "chat_request.json").read_bytes()
codec = ChatCodec()


def decode(body: bytes | dict[str, Any]) -> Call:
    return codec.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), Memos())


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}


def texts(message: dict[str, Any]) -> tuple[str, ...]:
    return decode({"model": "m", "messages": [message]}).messages[0].texts


def test_the_golden_request() -> None:
    call = decode(GOLDEN)
    assert (call.operation, call.model, call.stream, call.max_output, call.choices) == ("chat", "gpt-4o", True, 900, 2)
    assert not call.wants_usage
    assert [m.role for m in call.messages] == ["system", "user", "assistant", "tool", "tool", "assistant", "function", "narrator"]
    said = [m.texts for m in call.messages]
    assert said == [
        ("You sort invoices.",),
        ("anna", "What is on this invoice?", '{"type":"hologram","frames":["glim","mer"]}'),
        ("Better look it up.", "get_invoice", '{"id": 7, "full": true}', "shell", "ls -l"),
        ("Invoice 7: 12 EUR",),
        ("total 0",),
        ("I cannot pay it.", "old_style", "{}"),
        ("old_style", "done"),
        ("narrator", "Meanwhile ünderground", '{"mood":"dark"}'),
    ]
    image, audio = call.messages[1].media
    assert (image.kind, image.detail, image.width, image.height) == ("image_url", "high", 640, 480)
    assert audio == Media("input_audio", 71)
    assert [(c.id, c.name, c.arguments) for c in call.messages[2].tool_calls] == [
        ("call_1", "get_invoice", '{"id": 7, "full": true}'),
        ("call_2", "shell", "ls -l"),
    ]
    assert call.messages[2].tool_calls[0].signature == jsonio.signature("get_invoice", '{"full":true,"id":7}')
    assert [r.id for m in call.messages for r in m.tool_results] == ["call_1", "call_2", "old_style"]
    assert call.tools.specs == (ToolSpec("get_invoice"), ToolSpec("shell", "custom"), ToolSpec("web_search", "web_search"))
    assert '"Reads one"' in call.tools.text
    assert [json.loads(text) for text in call.extra] == [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        ["a document that some servers would put in front of the model, at length"],
    ]
    assert call.hints == {"user": "u-17", "prompt_cache_key": "k-1", "metadata.thread": "t-9"}
    assert codec.upstream_path(call, "m") == "/chat/completions"
    assert codec.meter(call).usage is None


def test_a_second_turn_parses_only_what_is_new() -> None:
    memos = Memos()
    first = codec.decode(GOLDEN, memos)
    known = memos.messages.misses
    longer = json.loads(GOLDEN)["messages"]
    body = GOLDEN.replace(b'"mood": "dark"}\n  ]', b'"mood": "dark"}, {"role": "user", "content": "and now?"}]')
    second = codec.decode(body, memos)
    assert memos.messages.misses == known + 1
    assert all(a is b for a, b in zip(first.messages, second.messages, strict=False))
    assert first.tools is second.tools
    assert len(second.messages) == len(longer) + 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "JSON object"),
        (b'{"model":"m"}', "/messages: must be an array"),
        (b'{"messages":[{}]}', "/model: must be a text"),
        (ask(model=""), "/model"),
        (ask(model="m" * 257), "/model"),
        (ask(model=7), "/model"),
        (ask(messages=[]), "/messages: must be an array of 1 to"),
        (ask(messages=None), "/messages: must be an array"),
        (ask(messages={"role": "user"}), "/messages: must be an array"),
        (ask(messages=["hi"]), "each message must be an object"),
        (ask(messages=[{"Role": "user"}]), "in other letters"),
        (b'{"model":"m","messages":[{"role":"user","role":"system"}]}', "stands here twice"),
        (b'{"model":"m","messages":[{"role":"user"}],"Model":"x"}', "in other letters"),
        (b'{"model":"m","messages":[{"role":"user"}],"model":"x"}', "stands here twice"),
        (b'{"model":"m\xff","messages":[{"role":"user"}]}', "not UTF-8 at byte"),
        (b'{"model":"m\\udc00","messages":[{"role":"user"}]}', "surrogate"),
        (ask(stream="true"), "/stream: must be true or false"),
        (ask(n=0), "/n: must be an integer of 1 to 128"),
        (ask(n=129), "/n"),
        (ask(max_tokens=0), "/max_tokens"),
        (ask(max_tokens=1.5), "/max_tokens"),
        (ask(max_tokens=5, n_predict=-1), "/n_predict: is another name for the ceiling"),
        (ask(moderation={"model": "gpt-6-pro"}), "/moderation: must name a moderation model"),
        (ask(moderation=[]), "/moderation"),
        (ask(max_completion_tokens=-1), "/max_completion_tokens"),
        (ask(max_tokens=10**30), "/max_tokens"),
        (ask(stream=True, stream_options=[]), "JSON object"),
        (ask(stream=True, stream_options={"include_usage": 1}), "/include_usage"),
        (
            b'{"model":"m","messages":[{"role":"user"}],"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}',
            "twice",
        ),
        (ask(tools={}), "/tools: must be an array of objects"),
        (ask(tools=["x"]), "/tools: must be an array of objects"),
        (ask(tools=[{"type": "function"}]), "each tool must have a name"),
        (ask(tools=[{"type": "function", "function": {"name": ""}}]), "each tool must have a name"),
        (ask(tools=[{"type": 3}]), "each tool must have a name"),
        (ask(tools=[{"type": "function", "function": {"name": "ok", "Name": "rm"}}]), "in other letters"),
        (ask(tools=[{"type": "custom", "custom": {"name": "ok", "NAME": "rm"}}]), "in other letters"),
        (ask(functions=[{"name": "ok", "Name": "rm"}]), "in other letters"),
        (ask(functions=[{}]), "each tool must have a name"),
        (ask(messages=[{}] * 10_001), "1 to 10000"),
    ],
)
def test_what_we_rely_on_is_checked(body: bytes | dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(body)


def test_nulls_are_absent_and_defaults_hold() -> None:
    call = decode(ask(stream=None, n=None, max_tokens=None, tools=None, stream_options=None, metadata=None, user=5))
    assert (call.stream, call.choices, call.max_output, call.wants_usage) == (False, 1, None, True)
    assert call.tools.specs == ()
    assert call.hints == {}
    assert decode(ask(metadata="text")).hints == {}


@pytest.mark.parametrize(
    ("options", "wants"),
    [
        (None, False),
        ({}, False),
        ({"include_usage": True}, True),
        ({"include_usage": True, "x": 1}, True),
        ({"include_usage": False}, False),
    ],
)
def test_who_asked_for_usage(options: Any, wants: bool) -> None:
    assert decode(ask(stream=True, stream_options=options)).wants_usage is wants
    assert decode(ask(stream=False, stream_options=options)).wants_usage


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user", "content": ["bare", 7, {"no": "type"}]}, ("bare", "7", '{"no":"type"}')),
        ({"role": "user", "content": {"odd": 1}}, ('{"odd":1}',)),
        ({"role": "user", "content": [{"type": "text", "text": {"odd": 1}}]}, ('{"odd":1}',)),
        ({"role": "user", "content": [{"type": "text", "text": "a", "hidden": "b"}]}, ("a", '{"hidden":"b"}')),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}, ("no",)),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}, "aside": "b"}]}, ('{"aside":"b"}',)),
        ({"role": "assistant", "tool_calls": "odd"}, ("odd",)),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, ('{"id":"x"}',)),
        ({"role": "assistant", "tool_calls": ["x"]}, ("x",)),
        ({"role": "assistant", "function_call": "odd"}, ("odd",)),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}, "aside": 2}]},
            ("f", '{"a":1}', '{"aside":2}'),
        ),
        ({"role": "assistant", "tool_calls": [{"function": {"name": 7}, "custom": {"x": 1}}]}, ("7", '{"x":1}')),
        ({"role": "assistant", "tool_calls": [{"function": {"name": ["hidden"]}}]}, ('["hidden"]',)),
        ({"role": "user", "tool_call_id": "smuggled"}, ("smuggled",)),
        ({"role": 5, "content": "a"}, ("5", "a")),
        ({"content": "a\ud83d"}, ("a\ufffd",)),
    ],
)
def test_nothing_escapes_the_texts(message: dict[str, Any], said: tuple[str, ...]) -> None:
    if "\ud83d" in str(message.get("content")):
        from proxy.wire.openai_messages import parse_message

        assert parse_message(json.dumps(message).encode()).texts == said
    else:
        assert texts(message) == said


def test_of_two_ceilings_the_higher_is_held_since_servers_differ_in_which_they_heed() -> None:
    assert decode(ask(max_tokens=50, max_completion_tokens=60)).max_output == 60
    assert decode(ask(max_tokens=60, max_completion_tokens=50)).max_output == 60
    assert decode(ask(max_completion_tokens=50, moderation={"model": "omni-moderation-latest"})).max_output == 50


def test_media_without_a_readable_head() -> None:
    parts = [
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "image_url", "image_url": {"url": 5, "detail": 6}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
    message = decode(ask(messages=[{"role": "assistant", "audio": {"id": "a1"}, "content": parts}])).messages[0]
    assert [(m.kind, m.detail, m.width) for m in message.media] == [
        ("image_url", "", 0),
        ("image_url", "", 0),
        ("file", "", 0),
        ("audio", "", 0),
    ]
    assert message.texts == ()


def test_equal_results_have_equal_digests() -> None:
    def digest(content: Any) -> bytes:
        return decode(ask(messages=[{"role": "tool", "tool_call_id": "c", "content": content}])).messages[0].tool_results[0].digest

    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert digest("same") == digest([{"type": "text", "text": "same"}])
    assert len({digest("same"), digest("other"), digest(None), digest([picture])}) == 4


def test_old_functions_are_tools() -> None:
    memos = Memos()
    body = json.dumps(ask(functions=[{"name": "f"}])).encode()
    first = codec.decode(body, memos)
    assert first.tools.specs == (ToolSpec("f"),)
    assert codec.decode(body, memos).tools is first.tools
    both = decode(ask(functions=[{"name": "f"}], tools=[{"type": "function", "function": {"name": "g"}}]))
    assert both.tools.specs == (ToolSpec("g"), ToolSpec("f"))
    assert both.tools.text == '[{"type": "function", "function": {"name": "g"}}][{"name": "f"}]'


@pytest.mark.parametrize(
    ("asked", "edit", "changed"),
    [
        ({}, Edit(), {}),
        ({}, Edit(model="m", ask_usage=True), {}),
        ({}, Edit(model="local/q\u00fc"), {"model": "local/q\u00fc"}),
        ({}, Edit(max_output=9), {"max_completion_tokens": 9}),
        ({}, Edit(max_output=9, max_output_key="max_tokens"), {"max_tokens": 9}),
        ({"max_tokens": 50}, Edit(max_output=9), {"max_tokens": 9}),
        ({"max_tokens": 9}, Edit(max_output=9), {}),
        ({"max_tokens": None}, Edit(max_output=9, max_output_key="max_tokens"), {"max_tokens": 9}),
        ({"max_tokens": 50, "max_completion_tokens": 60}, Edit(max_output=9), {"max_tokens": 9, "max_completion_tokens": 9}),
        ({"stream": True}, Edit(ask_usage=True), {"stream_options": {"include_usage": True}}),
        ({"stream": True, "stream_options": None}, Edit(ask_usage=True), {"stream_options": {"include_usage": True}}),
        ({"stream": True, "stream_options": {}}, Edit(ask_usage=True), {"stream_options": {"include_usage": True}}),
        (
            {"stream": True, "stream_options": {"x": [1], "include_usage": False}},
            Edit(ask_usage=True),
            {"stream_options": {"x": [1], "include_usage": True}},
        ),
        ({"stream": True, "stream_options": {"x": 1}}, Edit(ask_usage=True), {"stream_options": {"x": 1, "include_usage": True}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, Edit(ask_usage=True), {}),
    ],
)
def test_rewriting_splices_and_nothing_else(asked: dict[str, Any], edit: Edit, changed: dict[str, Any]) -> None:
    body = json.dumps(ask(**asked), indent=1).encode()
    call = decode(body)
    out = codec.rewrite(call, edit)
    assert json.loads(out) == ask(**asked) | changed
    assert (out is body) == (not changed)


def test_a_long_conversation_costs_in_proportion() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": str(i)} for i in range(10_000)]}).encode()
    memos = Memos()
    assert len(codec.decode(body, memos).messages) == 10_000
    assert memos.messages.misses == 10_000
