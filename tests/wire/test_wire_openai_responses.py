from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, Media, ToolResult, ToolSpec, WireError
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_responses import ResponsesCodec

GOLDEN = (Path(__file__).parent / "golden" / "responses_request.json").read_bytes()
codec = ResponsesCodec()


def decode(body: bytes | dict[str, Any], memos: Memos | None = None) -> Call:
    return codec.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), memos or Memos())


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hi", **more}


def offered(**more: Any) -> list[str]:
    return [spec.name for spec in decode(ask(**more)).tools.specs]


def test_the_golden_request() -> None:
    call = decode(GOLDEN)
    assert (call.operation, call.model, call.stream, call.max_output, call.choices) == ("chat", "gpt-5.5", True, 800, 1)
    assert call.wants_usage
    assert call.wants_json
    assert call.thread == "msg_9 msg_10"
    assert [(m.role, m.texts) for m in call.system] == [("system", ("You keep the books.",))]
    assert [json.loads(text) for text in call.extra] == [
        {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        ["a document that some servers would put in front of the model, at length"],
    ]
    assert call.hints == {
        "user": "u-17",
        "prompt_cache_key": "k-1",
        "metadata.thread": "t-9",
        "client_metadata.session_id": "s-4",
        "store": "false",
    }
    assert codec.upstream_path(call, "m") == "/responses"
    assert codec.meter(call).usage is None


def test_the_golden_items() -> None:
    call = decode(GOLDEN)
    assert [(m.role, m.texts) for m in call.messages] == [
        ("developer", ("Amounts are in euros.",)),
        ("user", ("What is on this invoice?", '{"filename":"march.pdf"}', '{"type":"hologram","frames":["glim"]}')),
        ("reasoning", ("Better look it up.",)),
        ("assistant", ("One moment.", "I cannot pay it.")),
        ("assistant", ("get_invoice", '{"id": 7}', '{"namespace":"books"}')),
        ("assistant", ("run", "ls -l")),
        ("tool", ("Invoice 7: 12 EUR",)),
        ("tool", ("total 0",)),
        ("assistant", ("local_shell", '{"type":"exec","command":["pwd"],"env":{}}')),
        ("tool", ("/home",)),
        ("tool", ('{"stdout":"a","stderr":"","outcome":{"type":"exit","exit_code":0}}',)),
        ("assistant", ("apply_patch", '{"type":"delete_file","path":"a.txt"}')),
        ("tool", ("no such file",)),
        ("tool", ()),
        ("assistant", ("ask", "{}", '{"server_label":"docs"}', "an answer")),
        ("assistant", ("code_interpreter", '{"code":"print(1)"}', '{"type":"logs","logs":"1"}')),
        ("assistant", ("web_search", '{"type":"search","query":"rates"}')),
        ("assistant", ("image_generation", "{}")),
        ("developer", ('[{"type":"function","name":"pay","parameters":{}}]',)),
        ("tool", ('{"type":"custom","name":"refund"}',)),
        (
            "mcp_list_tools",
            ('{"type":"mcp_list_tools","id":"mcpl_1","server_label":"docs","tools":[{"name":"wipe","input_schema":{}}]}',),
        ),
        ("reasoning", ()),
        ("tool", ('{"approval_request_id":"mcpr_1","approve":true}',)),
        ("item_reference", ()),
        ("item_reference", ()),
        ("assistant", ("hologram", '{"beam":"wide","deep":{"x":1}}')),
        ("weather", ('{"type":"weather","wind":"strong"}',)),
    ]
    assert [(c.id, c.name) for m in call.messages for c in m.tool_calls] == [
        ("call_1", "get_invoice"),
        ("call_2", "run"),
        ("call_3", "local_shell"),
        ("call_5", "apply_patch"),
        ("mcp_1", "ask"),
        ("ci_1", "code_interpreter"),
        ("ws_1", "web_search"),
        ("ig_1", "image_generation"),
        ("h_1", "hologram"),
    ]
    assert call.messages[4].tool_calls[0].signature == jsonio.signature("get_invoice", '{"id":7}')
    results = [(r.id, r.error) for m in call.messages for r in m.tool_results]
    assert results == [
        ("call_1", False),
        ("call_2", False),
        ("call_3", False),
        ("call_4", False),
        ("call_5", True),
        ("call_6", False),
        ("mcp_1", False),
        ("ci_1", False),
        ("ig_1", False),
        ("call_7", False),
        ("", False),
    ]
    image, file = call.messages[1].media
    assert (image.kind, image.detail, image.width, image.height) == ("input_image", "high", 640, 480)
    assert file.kind == "input_file"
    assert call.messages[2].media == (Media("encrypted", 12),)
    assert [m.kind for message in call.messages[7:] for m in message.media] == ["input_image", "input_image", "input_image", "encrypted"]
    assert [m.refers for m in call.messages if m.refers] == ["msg_9", "msg_10"]


def test_the_golden_tools() -> None:
    call = decode(GOLDEN)
    assert call.tools.specs == (
        ToolSpec("get_invoice"),
        ToolSpec("run", "custom"),
        ToolSpec("books"),
        ToolSpec("close_month"),
        ToolSpec("web_search_preview", "web_search_preview_2025_03_11"),
        ToolSpec("web_search"),
        ToolSpec("mcp", "mcp"),
        ToolSpec("docs"),
        ToolSpec("connector_gmail"),
        ToolSpec("ask"),
        ToolSpec("image_generation", "image_generation", "gpt-image-2"),
        ToolSpec("image_generation", "image_generation", "gpt-6"),
        ToolSpec("local_shell", "local_shell"),
        ToolSpec("pay"),
        ToolSpec("refund", "custom"),
    )
    assert '"Reads one"' in call.tools.text


def test_a_second_turn_parses_only_what_is_new() -> None:
    memos = Memos()
    first = decode(GOLDEN, memos)
    known = memos.messages.misses
    body = GOLDEN.replace(b'"wind": "strong"}\n  ]', b'"wind": "strong"}, {"role": "user", "content": "and now?"}]')
    second = decode(body, memos)
    assert memos.messages.misses == known + 1
    assert memos.prefixes.hits == 1
    assert all(a is b for a, b in zip(first.messages, second.messages, strict=False))
    assert first.tools is second.tools
    assert second == decode(body)


def test_bytes_of_another_dialect_are_not_taken_for_known() -> None:
    memos = Memos()
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "role": "user", "content": "x" * 5000}
    body = json.dumps({"model": "m", "input": [item], "messages": [item]}).encode()
    assert not ChatCodec().decode(body, memos).messages[0].tool_calls
    assert decode(body, memos).messages[0].tool_calls
    assert memos.prefixes.hits == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "JSON object"),
        (ask(input={}), "/input: must be an array"),
        (ask(input=7), "/input: must be an array"),
        (ask(input=["hi"]), "each item must be an object"),
        (ask(input=[{"role": "user", "Content": "x"}]), "in other letters"),
        (b'{"model":"m","input":[{"role":"user","role":"system"}]}', "stands here twice"),
        (b'{"model":"m","input":"a","input":"b"}', "stands here twice"),
        (ask(Input="x"), "in other letters"),
        (ask(INSTRUCTIONS="x"), "in other letters"),
        (ask(model=7), "/model"),
        (ask(stream="true"), "/stream: must be true or false"),
        (ask(store=1), "/store: must be true or false"),
        (ask(max_output_tokens=0), "/max_output_tokens"),
        (ask(background=True), "/background: a background reply comes when its request is over"),
        (ask(background="yes"), "/background"),
        (ask(previous_response_id=7), "/previous_response_id: must be an id"),
        (ask(conversation=[]), "/conversation: must be an id"),
        (ask(conversation={"ID": "x"}), "in other letters"),
        (ask(prompt={}), "/prompt: must be an id"),
        (ask(moderation={"model": "gpt-6-pro"}), "/moderation: must name a moderation model"),
        (ask(moderation=[]), "/moderation"),
        (ask(tools={}), "/tools: must be an array of objects"),
        (ask(tools=["x"]), "/tools: must be an array of objects"),
        (ask(tools=[{"type": "function"}]), "/tools: each tool must have a name"),
        (ask(tools=[{"type": "custom", "name": ""}]), "/tools: each tool must have a name"),
        (ask(tools=[{"type": None}]), "/tools: each tool must have a name"),
        (ask(tools=[{"type": "namespace", "name": "n", "tools": [{}]}]), "/tools: each tool must have a name"),
        (ask(tools=[{"type": "namespace", "name": "n", "tools": {}}]), "/tools: must be an array"),
        (ask(tools=[{"type": "mcp", "Server_Label": "x"}]), "in other letters"),
        (ask(tools=[{"type": "mcp", "allowed_tools": {"Tool_Names": ["x"]}}]), "in other letters"),
        (ask(input=[{"type": "additional_tools", "tools": [{"type": "function"}]}]), "/input: each tool must have a name"),
        (ask(metadata={}) | {"models": ["x"]}, "/models: names other models"),
        (b'{"model":"m","input":[' + b'{"content":' * 3000, "not JSON|nested too deep"),
        (b'{"model":"m","input":[{"role":"user","content":' + b"[" * 3000 + b"]" * 3000 + b"}]}", "nested too deep"),
        (b'{"model":"m","tools":' + b'[{"type":"namespace","name":"n","tools":' * 400 + b"[]" + b"}]" * 400 + b"}", "nested too deep|^$"),
    ],
)
def test_what_is_refused(body: bytes | dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(body)


def test_a_request_without_input_continues_what_the_provider_keeps() -> None:
    asked: dict[str, Any] = {"model": "m", "previous_response_id": "resp_1"}
    for body in (asked, asked | {"input": None}, asked | {"input": []}):
        call = decode(body)
        assert (call.messages, call.thread) == ((), "resp_1")
        assert call.hints["previous_response_id"] == "resp_1"


def test_spaces_do_not_make_an_input_empty() -> None:
    body = b'{"model":"m","input":[' + b" " * 100 + b'{"role":"user","content":"hidden"}]}'
    assert decode(body).messages[0].texts == ("hidden",)
    with pytest.raises(WireError, match="/input"):
        decode(b'{"model":"m","input":[' + b" " * 100 + b"]}")


def test_what_the_provider_keeps_makes_a_thread() -> None:
    reference = [{"type": "item_reference", "id": "msg_1"}]
    assert decode(ask()).thread == ""
    assert decode(ask(conversation="conv_1")).thread == "conv_1"
    assert decode(ask(conversation={"id": "conv_2"})).hints["conversation"] == "conv_2"
    assert decode(ask(prompt={"id": "pmpt_1"})).thread == "pmpt_1"
    assert decode(ask(input=reference)).thread == "msg_1"
    assert decode(ask(input=reference, previous_response_id="resp_1")).thread == "resp_1 msg_1"
    assert decode(ask(input=reference * 2, previous_response_id="resp_1", prompt={"id": "pmpt_1"})).thread == "resp_1 pmpt_1 msg_1"
    assert decode(ask(input=[{"type": "item_reference", "id": 7}])).thread == ""


def test_texts_stand_in_the_simple_forms_too() -> None:
    call = decode(ask(input="späße", instructions=[{"role": "developer", "content": "list"}]))
    assert [(m.role, m.texts) for m in call.messages] == [("user", ("späße",))]
    assert call.system[0].texts == ('{"role":"developer","content":"list"}',)
    assert decode(ask(input=[{"role": "user", "content": "hi"}])).messages[0].texts == ("hi",)
    assert decode(ask(text={"verbosity": "low"})).wants_json is False
    assert decode(ask(text={"format": {"type": "json_object"}})).wants_json


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Edit(), {}),
        (Edit(model="m", max_output=9, ask_usage=True), {}),
        (Edit(model="other"), {"model": "other"}),
        (Edit(max_output=5), {"max_output_tokens": 5}),
    ],
)
def test_rewrite_changes_what_must_change(edit: Edit, expected: dict[str, Any]) -> None:
    body = {"model": "m", "input": "hi", "stream": True, "max_output_tokens": 9}
    call = decode(body)
    found = codec.rewrite(call, edit)
    assert json.loads(found) == body | expected
    assert (found is call.body) is not bool(expected)


def test_rewrite_adds_a_ceiling_where_there_is_none() -> None:
    body = GOLDEN.replace(b'"max_output_tokens": 800', b'"max_output_tokens": null')
    call = decode(body)
    assert call.max_output is None
    assert codec.rewrite(call, Edit(max_output=20)) == body.replace(b'_tokens": null', b'_tokens": 20')
    assert json.loads(codec.rewrite(decode(ask()), Edit(max_output=20)))["max_output_tokens"] == 20


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_kinds = st.sampled_from(
    ["message", "reasoning", "function_call", "function_call_output", "mcp_call", "shell_call", "x_output", "x_call", "program", "odd", ""]
)
_members = st.sampled_from(
    ["role", "content", "call_id", "name", "arguments", "input", "output", "summary", "id", "encrypted_content", "z"]
)


@given(_kinds, st.dictionaries(_members, _values, max_size=5), st.text("abcdef ", min_size=9, max_size=9))
def test_no_text_in_an_item_escapes(kind: str, members: dict[str, Any], secret: str) -> None:
    """Whatever an item is, a text that is put where a model could read it is among the texts, or makes the item a media part."""
    for key in ("content", "output", "input", "arguments", "summary", "z"):
        item = {"type": kind, **members, key: [{"type": "input_text", "text": secret}]}
        message = decode(ask(input=[item])).messages[0]
        assert secret in "\n".join(message.texts)


def test_a_result_differs_when_its_content_does() -> None:
    def result(output: Any) -> ToolResult:
        return decode(ask(input=[{"type": "function_call_output", "call_id": "c", "output": output}])).messages[0].tool_results[0]

    image = {"type": "input_image", "file_id": "f1"}
    assert result("a") == result("a")
    assert len({result(o).digest for o in ("a", "b", [image], [image, image], {"x": 1})}) == 5
