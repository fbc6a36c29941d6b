from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.model import Usage
from proxy.wire import jsonio
from proxy.wire.anthropic import CountTokensCodec, MessagesCodec
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, ToolSpec, WireError
from proxy.wire.fields import guarded
from proxy.wire.openai_chat import ChatCodec

GOLDEN = (Path(__file__).parent / "golden" / "messages_request.json").read_bytes()
codec, counter = MessagesCodec(), CountTokensCodec()


def decode(body: bytes | dict[str, Any]) -> Call:
    return codec.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), Memos())


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **more}


def test_the_golden_request() -> None:
    call = decode(GOLDEN)
    assert (call.operation, call.model, call.stream, call.max_output, call.choices) == ("chat", "claude-sonnet-4-5", True, 2048, 1)
    assert call.wants_usage
    assert [(m.role, m.texts) for m in call.system] == [("system", ("x-billing: cc_version=2",)), ("system", ("You sort invoices.",))]
    assert [m.role for m in call.messages] == ["user", "system", "user", "assistant", "user"]
    assert [m.texts for m in call.messages] == [
        ("Sort this.",),
        ("Be quick.",),
        ("Bill", "from May", "12 EUR", "page one"),
        (
            *("Look first.", "cmVk", "Looking.", "read_file", '{"path":"a.txt","b":[1,2]}', "web_search", '{"query":"vat"}'),
            '{"type":"web_search_result","url":"https://example.com","title":"VAT"}',
        ),
        ("no such file", "fine", '{"type":"novelty","payload":"surprise"}'),
    ]
    assert [(m.kind, m.width, m.height) for m in call.messages[2].media] == [("image", 640, 480), ("document", 0, 0)]
    assert [(c.id, c.name, c.arguments) for c in call.messages[3].tool_calls] == [
        ("toolu_1", "read_file", '{"path":"a.txt","b":[1,2]}'),
        ("srvtoolu_1", "web_search", '{"query":"vat"}'),
    ]
    assert call.messages[3].tool_calls[0].signature == jsonio.signature("read_file", '{"b": [1, 2], "path": "a.txt"}')
    assert [(r.id, r.error) for m in call.messages for r in m.tool_results] == [
        ("srvtoolu_1", False),
        ("toolu_1", True),
        ("toolu_2", False),
    ]
    assert call.tools.specs == (
        *(ToolSpec("read_file"), ToolSpec("pay")),
        *(ToolSpec("web_search", "web_search_20250305"), ToolSpec("mcp_toolset", "mcp_toolset")),
    )
    assert call.hints == {"metadata.user_id": '{"session_id":"s-1"}'}
    assert call.extra == ()
    assert codec.upstream_path(call, "m") == "/v1/messages"
    assert codec.meter(call).usage is None


def test_counting_tokens_reads_the_same_and_generates_nothing() -> None:
    call = counter.decode(GOLDEN, Memos())
    assert (call.operation, call.stream, call.max_output) == ("count_tokens", False, None)
    assert len(call.messages) == 5
    assert counter.upstream_path(call, "m") == "/v1/messages/count_tokens"
    assert counter.rewrite(call, Edit(model=call.model, max_output=5)) is GOLDEN
    assert json.loads(counter.rewrite(call, Edit(model="x")))["model"] == "x"
    meter = counter.meter(call)
    meter.buffered(b'{"input_tokens": 14}')
    assert (meter.usage, meter.ended) == (Usage(), True)
    assert meter.event(b"x").kind == "other"


def test_dialects_never_share_what_they_remember() -> None:
    body = json.dumps(ask(messages=[{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}])).encode()
    memos = Memos()
    assert ChatCodec().decode(body, memos).messages[0].tool_calls == ()
    assert codec.decode(body, memos).messages[0].tool_calls[0].name == "f"
    misses = memos.messages.misses
    assert codec.decode(body, memos).messages[0].tool_calls[0].name == "f"
    assert memos.messages.misses == misses


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("Be kind.", [("Be kind.",)]),
        (None, []),
        ([], []),
        (["bare"], [("bare",)]),
        ([{"type": "text", "text": "a"}, {"odd": 1}], [("a",), ('{"odd":1}',)]),
        ({"odd": 1}, [('{"odd":1}',)]),
    ],
)
def test_system_prompts(system: Any, said: list[tuple[str, ...]]) -> None:
    assert [m.texts for m in decode(ask(system=system)).system] == said


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("bare", ("bare",)),
        ({"no": "type"}, ('{"no":"type"}',)),
        ({"type": "text", "text": "a", "hidden": "b"}, ("a", '{"hidden":"b"}')),
        ({"type": "document", "source": "odd"}, ("odd",)),
        ({"type": "document", "source": {"type": "text", "data": {"odd": 1}}, "aside": "b"}, ('{"odd":1}', '{"aside":"b"}')),
        ({"type": "document", "content": [{"type": "text", "text": "inner"}]}, ("inner",)),
        ({"type": "tool_use", "id": 4, "name": "f", "input": "odd", "aside": 1}, ("f", "odd", '{"aside":1}')),
        ({"type": "tool_result", "content": {"odd": 1}, "aside": 1}, ('{"odd":1}', '{"aside":1}')),
        ({"type": "thinking", "thinking": "t", "signature": "s", "aside": 1}, ("t", '{"aside":1}')),
    ],
)
def test_nothing_escapes_the_texts(block: Any, said: tuple[str, ...]) -> None:
    assert decode(ask(messages=[{"role": "user", "content": [block]}])).messages[0].texts == said


def test_messages_of_odd_shape_count() -> None:
    found = decode(ask(messages=[{"role": "narrator", "content": "x", "mood": "dark"}, {"role": 7}, {}])).messages
    assert [(m.role, m.texts) for m in found] == [("narrator", ("narrator", "x", '{"mood":"dark"}')), ("", ("7",)), ("", ())]


def test_unread_members_that_may_hold_a_prompt_count() -> None:
    schema = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    call = decode(ask(output_config=schema, novel_member="x" * 70, small=1))
    assert [json.loads(text) for text in call.extra] == [schema, "x" * 70]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "JSON object"),
        (ask(messages=[]), "/messages: must be an array"),
        (ask(messages=["x"]), "each message must be an object"),
        (ask(messages=[{"ROLE": "user"}]), "in other letters"),
        (ask(model=None), "/model"),
        (ask(max_tokens=0), "/max_tokens"),
        (ask(stream=1), "/stream"),
        (ask(System="x"), "in other letters"),
        (ask(tools={}), "/tools: must be an array"),
        (ask(tools=[{"type": "custom"}]), "must have a name"),
        (ask(tools=[{"name": 5}]), "must have a name"),
        (b'{"model":"m","messages":[{"role":"user"}],"system":{"a":1,"a":2}}', "stands here twice"),
    ],
)
def test_what_we_rely_on_is_checked(body: bytes | dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(body)


def test_results_nested_in_results_have_an_end() -> None:
    inner: Any = "x"
    for _ in range(100):
        inner = [{"type": "tool_result", "tool_use_id": "t", "content": inner}]
    assert len(decode(ask(messages=[{"role": "user", "content": inner}])).messages[0].tool_results) == 100
    deep = b'[{"type":"tool_result","content":' * 5000 + b'"x"' + b"}]" * 5000
    with pytest.raises(WireError, match="nested too deep"):
        decode(b'{"model":"m","messages":[{"role":"user","content":' + deep + b"}]}")

    def endless(raw: bytes) -> bytes:
        return endless(raw)

    with pytest.raises(WireError, match="/messages: nested too deep"):
        guarded(endless, "anthropic", "messages")(b"")


@pytest.mark.parametrize(
    ("asked", "edit", "changed"),
    [
        ({}, Edit(ask_usage=True), {}),
        ({}, Edit(model="claude", max_output=50), {}),
        ({}, Edit(model="other", max_output=20, max_output_key="ignored"), {"model": "other", "max_tokens": 20}),
        ({"max_tokens": None}, Edit(max_output=20), {"max_tokens": 20}),
    ],
)
def test_rewriting_splices_and_nothing_else(asked: dict[str, Any], edit: Edit, changed: dict[str, Any]) -> None:
    body = json.dumps(ask(**asked)).encode()
    out = codec.rewrite(decode(body), edit)
    assert json.loads(out) == ask(**asked) | changed
    if not changed:
        call = decode(body)
        assert codec.rewrite(call, edit) is call.body


def test_a_ceiling_can_be_added() -> None:
    body = b'{"model":"claude","messages":[{"role":"user","content":"hi"}]}'
    call = decode(body)
    assert call.max_output is None
    assert codec.rewrite(call, Edit(max_output=7)) == b'{"max_tokens":7,"model":"claude","messages":[{"role":"user","content":"hi"}]}'
