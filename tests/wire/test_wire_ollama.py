"""Requests of Ollama's chat and generate: what is read, what is refused, what is spliced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, Media, ToolSpec, WireError
from proxy.wire.ollama import ChatCodec, GenerateCodec
from proxy.wire.ollama_messages import plain_name
from proxy.wire.openai_chat import ChatCodec as OpenAIChat

GOLDEN = (Path(__file__).parent / "golden" / "ollama_chat_request.json").read_bytes()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAoAAAAHgCAYAAAA="
chat, generate = ChatCodec(), GenerateCodec()


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}


def decode(body: bytes | dict[str, Any], memos: Memos | None = None) -> Call:
    return chat.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), memos or Memos())


def prompt(**members: Any) -> Call:
    return generate.decode(json.dumps({"model": "m", **members}).encode(), Memos())


def test_the_golden_request() -> None:
    call = decode(GOLDEN)
    assert (call.operation, call.model, call.stream, call.max_output, call.choices) == ("chat", "qwen3:8b", True, 800, 1)
    assert (call.wants_usage, call.wants_json, call.aliases) == (True, True, ())
    assert [m.role for m in call.messages] == ["system", "user", "assistant", "tool", "tool", "narrator"]
    assert [m.texts for m in call.messages] == [
        ("You sort invoices.",),
        ("What is on this invoice?", '{"odd":"picture"}'),
        ("Better look it up.", "get_invoice", '{"id":7,"full":true}', "shell", '{"command":"ls -l"}', '{"aside":"hm"}'),
        ("Invoice 7: 12 EUR", "get_invoice"),
        ("total 0", "shell"),
        ("narrator", "Meanwhile ünderground", '{"mood":"dark"}'),
    ]
    assert call.messages[1].media == (Media("image", len(PNG) + 2, "", 640, 480),)
    assert [(c.id, c.name) for c in call.messages[2].tool_calls] == [("call_1", "get_invoice"), ("", "shell")]
    assert call.messages[2].tool_calls[0].signature == jsonio.signature("get_invoice", '{"full":true,"id":7}')
    assert [r.id for m in call.messages for r in m.tool_results] == ["call_1", "shell"]
    assert call.tools.specs == (ToolSpec("get_invoice"),)
    assert '"Reads one"' in call.tools.text
    assert [json.loads(text) for text in call.extra] == [
        {"type": "object", "properties": {"total": {"type": "number"}}},
        "a text that some server would put in front of the model, at some length",
        ["a document that some servers would put in front of the model, at length"],
    ]
    assert chat.upstream_path(call, "m") == "/api/chat"
    assert chat.content_type(call) == "application/x-ndjson"
    assert chat.meter(call).usage is None


def test_a_second_turn_parses_only_what_is_new_and_no_other_dialect_reads_along() -> None:
    memos = Memos()
    first = decode(GOLDEN, memos)
    known = memos.messages.misses
    second = decode(GOLDEN.replace(b'"mood": "dark"}\n  ]', b'"mood": "dark"}, {"role": "user", "content": "and now?"}]'), memos)
    assert memos.messages.misses == known + 1
    assert all(a is b for a, b in zip(first.messages, second.messages, strict=False))
    assert first.tools is second.tools
    body = json.dumps(ask(messages=[{"role": "user", "content": "a", "images": [PNG]}])).encode()
    assert decode(body, memos).messages[0].media
    assert not OpenAIChat().decode(body, memos).messages[0].media


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "JSON object"),
        (b'{"messages":[{}]}', "/model: must be a text"),
        (ask(model=""), "/model"),
        (ask(model="m "), "/model"),
        (ask(messages={"role": "user"}), "/messages: must be an array"),
        (ask(messages="x"), "/messages: must be an array"),
        (ask(messages=["hi"]), "each message must be an object"),
        (ask(messages=[{"Role": "user"}]), "in other letters"),
        (ask(messages=[{"role": "user", "Images": []}]), "in other letters"),
        (b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}', "stands here twice"),
        (ask(Model="x"), "in other letters"),
        ('{"model":"m","messages":[{"role":"user"}],"\u017ftream":false}'.encode(), "in other letters"),
        (ask(name="n"), "/name: is not a member"),
        (ask(Name="n"), "in other letters"),
        (ask(stream="true"), "/stream: must be true or false"),
        (ask(options=[]), "JSON object"),
        (ask(options="x"), "JSON object"),
        (b'{"model":"m","messages":[{"role":"user"}],"options":{},"options":{"num_predict":9}}', "stands here twice"),
        (b'{"model":"m","messages":[{"role":"user"}],"options":{"num_predict":9,"num_predict":10}}', "twice"),
        (b'{"model":"m","messages":[{"role":"user"}],"options":{"num_pre\\u0064ict":9}}', "escapes"),
        (ask(Options={}), "in other letters"),
        (ask(options={"Num_Predict": 9}), "in other letters"),
        (ask(options={"num_predict": 1.5}), "/num_predict: must be an integer"),
        (ask(options={"num_predict": -1.5}), "/num_predict: must be an integer"),
        (ask(options={"num_predict": "9"}), "/num_predict: must be an integer"),
        (ask(options={"num_predict": True}), "/num_predict: must be an integer"),
        (ask(options={"num_predict": 10**12}), "/num_predict: must be an integer"),
        (ask(tools={}), "/tools: must be an array of objects"),
        (ask(tools=[{"type": "function"}]), "each tool must have a name"),
        (ask(tools=[{"type": "function", "function": {"name": "ok", "Name": "rm"}}]), "in other letters"),
        (ask(models=["dear"]), "names other models"),
    ],
)
def test_what_we_rely_on_is_checked(body: bytes | dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(body)


def test_nesting_without_end_is_refused_wherever_it_stands() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for member in (b"messages", b"tools", b"options", b"format"):
        with pytest.raises(WireError):
            chat.decode(b'{"model":"m","messages":[{"role":"user"}],"%b":%b}' % (member, deep), Memos())
    for member in (b"prompt", b"system", b"images"):
        with pytest.raises(WireError):
            generate.decode(b'{"model":"m","%b":%b}' % (member, deep), Memos())


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("llama3", "llama3"),
        ("llama3:latest", "llama3"),
        ("llama3:LATEST", "llama3"),
        ("Llama3:Latest", "Llama3"),
        ("qwen3:8b", "qwen3:8b"),
        ("me/llama3", "me/llama3"),
        ("me/llama3:latest", "me/llama3"),
        ("hf.co/bartowski/Llama-3.2:Q4_K_M", "hf.co/bartowski/Llama-3.2:Q4_K_M"),
        ("gpt-oss:120b-cloud", "gpt-oss:120b-cloud"),
        ("localhost:5000/me/llama3", "localhost:5000/me/llama3"),
    ],
)
def test_the_tag_latest_is_no_other_model(written: str, known: str) -> None:
    call = decode(ask(model=written))
    assert call.model == plain_name(written) == known
    assert chat.rewrite(call, Edit(model=known)) is call.body, "the server reads both alike"
    tagged = ":" in known.rpartition("/")[2]
    assert call.aliases == (() if tagged else (f"{known}:latest",))
    assert generate.decode(json.dumps({"model": written, "prompt": "x"}).encode(), Memos()).aliases == call.aliases


@pytest.mark.parametrize(
    "written",
    [
        "library/llama3",
        "Library/llama3:8b",
        "registry.ollama.ai/library/llama3",
        "Registry.Ollama.AI/Library/llama3:latest",
        "https://registry.ollama.ai/library/llama3",
        "http://llama3",
        "x://llama3",
        "llama3:local",
        "llama3:8b:local",
        "llama3:latest:local",
        "llama3:local:latest",
        "llama3:latest:latest",
        ":latest",
        "library/",
    ],
)
def test_other_spellings_of_a_short_name_are_refused(written: str) -> None:
    with pytest.raises(WireError, match=r"/model: is read as .* by the server"):
        decode(ask(model=written))


@pytest.mark.parametrize("written", ["llama3+Q4_0", "llama3@sha256-1", "llama3\\x", "my llama3", "lläma3", "llama3?x", "llama3%3alatest"])
def test_signs_that_no_name_has_are_refused(written: str) -> None:
    with pytest.raises(WireError, match="/model: a model's name has letters"):
        decode(ask(model=written))


def test_streams_are_the_default_and_nulls_are_absent() -> None:
    call = decode(ask(stream=None, tools=None, options=None, format=None, name=None, think=None))
    assert (call.stream, call.max_output, call.wants_json, call.tools.specs, call.extra) == (True, None, False, (), ())
    assert not decode(ask(stream=False)).stream
    assert chat.content_type(decode(ask(stream=False))) == "application/json"
    assert not decode(ask(format="")).wants_json
    asked = decode(ask(format="json"))
    assert (asked.wants_json, asked.extra) == (True, ())


@pytest.mark.parametrize(("ceiling", "read"), [(9, 9), (0, None), (-1, None), (-2, None), (None, None), (10**9, 10**9)])
def test_ceilings_of_zero_and_less_are_none(ceiling: int | None, read: int | None) -> None:
    assert decode(ask(options={"num_predict": ceiling})).max_output == read
    assert prompt(prompt="x", options={"num_predict": ceiling}).max_output == read


@pytest.mark.parametrize(
    ("asked", "edit", "changed"),
    [
        ({}, Edit(), {}),
        ({}, Edit(model="m", ask_usage=True), {}),
        ({}, Edit(model="qü"), {"model": "qü"}),
        ({}, Edit(max_output=9), {"options": {"num_predict": 9}}),
        ({"options": None}, Edit(max_output=9), {"options": {"num_predict": 9}}),
        ({"options": {}}, Edit(max_output=9), {"options": {"num_predict": 9}}),
        ({"options": {"num_ctx": 5}}, Edit(max_output=9), {"options": {"num_ctx": 5, "num_predict": 9}}),
        ({"options": {"num_predict": -1, "x": [1]}}, Edit(max_output=9), {"options": {"num_predict": 9, "x": [1]}}),
        ({"options": {"num_predict": 50}}, Edit(max_output=9), {"options": {"num_predict": 9}}),
        ({"options": {"num_predict": 9}}, Edit(max_output=9), {}),
        ({"options": {"num_predict": None}}, Edit(max_output=9), {"options": {"num_predict": 9}}),
    ],
)
def test_rewriting_splices_and_nothing_else(asked: dict[str, Any], edit: Edit, changed: dict[str, Any]) -> None:
    body = json.dumps(ask(**asked), indent=1).encode()
    call = decode(body)
    out = chat.rewrite(call, edit)
    assert json.loads(out) == ask(**asked) | changed
    assert (out is body) == (not changed)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user", "content": ["bare", 7]}, ('["bare",7]',)),
        ({"role": "user", "content": {"odd": 1}}, ('{"odd":1}',)),
        ({"role": "user", "images": "not a list"}, ("not a list",)),
        ({"role": "user", "images": [7]}, ("7",)),
        ({"role": "user", "tools": [{"function": {"name": "rm"}}]}, ('{"tools":[{"function":{"name":"rm"}}]}',)),
        ({"role": "assistant", "tool_calls": "odd"}, ("odd",)),
        ({"role": "assistant", "tool_calls": ["x", {"id": "y"}]}, ("x", '{"id":"y"}')),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f"}, "aside": 2}]}, ("f", '{"aside":2}')),
        ({"role": "assistant", "thinking": {"a": 1}}, ('{"a":1}',)),
        ({"role": "user", "tool_name": "smuggled", "tool_call_id": "too", "name": "anna"}, ("anna", "too", "smuggled")),
        ({"role": 5, "content": "a"}, ("5", "a")),
        ({"content": "a"}, ("a",)),
    ],
)
def test_nothing_escapes_the_texts(message: dict[str, Any], said: tuple[str, ...]) -> None:
    assert decode(ask(messages=[message])).messages[0].texts == said


def test_equal_results_have_equal_digests() -> None:
    def digest(**more: Any) -> bytes:
        return decode(ask(messages=[{"role": "tool", **more}])).messages[0].tool_results[0].digest

    assert digest(tool_name="a", content="same") == digest(tool_name="b", content="same", tool_call_id="c")
    assert len({digest(content="same"), digest(content="other"), digest(), digest(images=[PNG])}) == 4


def test_members_that_switch_on_a_tool_count_as_that_tool() -> None:
    tool = {"type": "function", "function": {"name": "read"}}
    assert [s.name for s in decode(ask(tools=[tool], enable_search=True)).tools.specs] == ["read", "web_search"]
    assert [s.name for s in prompt(prompt="x", enable_search=True).tools.specs] == ["web_search"]
    assert [s.name for s in prompt(prompt="x", tools=[tool]).tools.specs] == ["read"]


@pytest.mark.parametrize("messages", [None, []])
def test_a_chat_of_no_messages_only_loads(messages: Any) -> None:
    call = decode(ask(messages=messages, keep_alive=0))
    assert (call.operation, call.messages) == ("show", ())
    assert decode({"model": "m"}).operation == "show"


# --- speaking ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [chat, generate])
@pytest.mark.parametrize("stream", [True, False])
def test_what_we_say_is_read_as_a_reply(codec: ChatCodec, stream: bool) -> None:
    call = codec.decode(json.dumps({**ask(stream=stream), **({"prompt": "x"} if codec is generate else {})}).encode(), Memos())
    said = codec.speak(call, "Nö.", "id1")
    meter = codec.meter(call)
    if stream:
        for line in said.splitlines(keepends=True):
            meter.event(line)
        assert said.count(b"\n") == 2
    else:
        meter.buffered(said)
    assert ("".join(meter.texts), meter.finish, meter.ended, meter.failed, meter.model) == ("Nö.", "stop", True, False, "m")
