"""Requests in Gemini's words: what is read, what is refused, and what an edit changes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from gemini_asked import HI, PATH, ask, codec, decode, parts

from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.call import Edit, Media, ToolSpec, WireError
from proxy.wire.gemini_contents import CONTENT, parse_content, snake

GOLDEN = (Path(__file__).parent / "golden" / "gemini_request.json").read_bytes()


def test_the_golden_request() -> None:
    call = decode(GOLDEN)
    assert (call.operation, call.model, call.stream, call.max_output, call.choices) == ("chat", "gemini-2.5-flash", False, 800, 2)
    assert call.wants_usage
    assert call.wants_json
    assert [m.role for m in call.messages] == ["user", "assistant", "user", "assistant", "narrator"]
    assert [m.texts for m in call.messages] == [
        ("What is on this invoice?", '{"videoMetadata":{"fps":2}}', "speak üp\n"),
        ("Better look it up.", "get_invoice", '{"id":7,"full":true}', "shell", '{"command":"ls -l"}'),
        ("get_invoice", '{"output":"Invoice 7: 12 EUR"}', "shell", '{"error":"no such file"}'),
        ("print(1)", "1\n"),
        ("narrator", '{"hologram":{"frames":["glim","mer"]}}'),
    ]
    assert [m.texts for m in call.system] == [("You sort invoices.",)]
    assert call.system[0].role == "system"
    image, video = call.messages[0].media
    assert (image.kind, image.width, image.height) == ("image", 640, 480)
    assert (video.kind, video.size) == ("video", 58)
    assert [m.kind for m in call.messages[1].media] == ["encrypted"]
    assert [(c.id, c.name) for c in call.messages[1].tool_calls] == [("fc-1", "get_invoice"), ("", "shell")]
    assert call.messages[1].tool_calls[0].signature == jsonio.signature("get_invoice", '{"full":true,"id":7}')
    assert [(r.id, r.error) for r in call.messages[2].tool_results] == [("fc-1", False), ("shell", True)]
    assert call.tools.specs == (
        ToolSpec("get_invoice"),
        ToolSpec("shell"),
        ToolSpec("google_search", "google_search"),
        ToolSpec("code_execution", "code_execution"),
        ToolSpec("url_context", "url_context"),
    )
    assert '"Reads one"' in call.tools.text
    assert [json.loads(text) for text in call.extra] == [
        ["a document that some servers would put in front of the model, at length"],
        {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["shell"]}},
        {"type": "object", "title": "Invoice"},
    ]
    assert call.thread == "cachedContents/abc"
    assert call.hints == {"labels.team": "payments"}
    assert codec().meter(call).usage is None


def _snakes(value: Any) -> Any:
    if isinstance(value, list):
        return [_snakes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {snake(key): item if key in ("args", "response", "responseJsonSchema") else _snakes(item) for key, item in value.items()}


def test_the_other_spelling_reads_the_same() -> None:
    first, second = decode(GOLDEN), decode(_snakes(json.loads(GOLDEN)))
    assert [m.texts[:1] for m in second.messages] == [m.texts[:1] for m in first.messages]
    assert [m.tool_calls for m in second.messages] == [m.tool_calls for m in first.messages]
    assert [[r.id for r in m.tool_results] for m in second.messages] == [[r.id for r in m.tool_results] for m in first.messages]
    assert [[(p.kind, p.width) for p in m.media] for m in second.messages] == [[(p.kind, p.width) for p in m.media] for m in first.messages]
    assert second.system[0].texts == first.system[0].texts
    for name in ("max_output", "choices", "wants_json", "thread", "hints"):
        assert getattr(second, name) == getattr(first, name)
    assert second.tools.specs == first.tools.specs
    assert len(second.extra) == len(first.extra)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "JSON object"),
        (b"{}", "/contents: must be an array"),
        (ask(contents=None), "/contents: must be an array"),
        (ask(contents="hi"), "/contents: must be an array"),
        (ask(contents=[]), "/contents: must be an array of 1 to"),
        (ask(contents=["hi"]), "each content must be an object"),
        (ask(contents=[HI]), "each content must be an object"),
        (ask(contents=[{"role": "user", "Parts": []}]), "is parts in other letters"),
        (ask(model="gemini-2.5-pro"), "/model: is not gemini-2.5-flash"),
        (ask(model="tunedModels/gemini-2.5-flash"), "/model: is not gemini-2.5-flash"),
        (ask(model=7), "/model: is not gemini-2.5-flash"),
        (ask(Model="gemini-2.5-flash"), "in other letters"),
        (ask(models=["a"]), "names other models"),
        (ask(systemInstruction={}, system_instruction={}), "stands here twice, as systemInstruction and as system_instruction"),
        (ask(generationConfig={}, generation_config={}), "stands here twice"),
        (ask(GenerationConfig={}), "is generationConfig in other letters"),
        (ask(generationconfig={}), "is generationConfig in other letters"),
        (ask(generation_Config={}), "in other letters"),
        (ask(cachedContent="a", cached_content="b"), "stands here twice"),
        (ask(tool_Config={}), "in other letters"),
        (b'{"contents":[{}],"generationConfig":{},"generationConfig":{}}', "stands here twice"),
        (b'{"contents":[{"role":"user","role":"model"}]}', "stands here twice"),
        (b'{"contents":[{}],"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":9}}', "twice"),
        (ask(generationConfig={"maxOutputTokens": 1, "max_output_tokens": 9}), "stands here twice"),
        (ask(generationConfig={"MaxOutputTokens": 1}), "in other letters"),
        (ask(generationConfig={"maxOutputTokens": "100"}), "maxOutputTokens: must be an integer"),
        (ask(generationConfig={"max_output_tokens": 0}), "max_output_tokens: must be an integer"),
        (ask(generationConfig={"candidateCount": 129}), "candidateCount: must be an integer"),
        (ask(generationConfig=[]), "JSON object"),
        (ask(generationConfig={"routingConfig": {"manualMode": {"modelName": "x"}}}), "choose another model"),
        (ask(generation_config={"model_selection_config": {}}), "choose another model"),
        (ask(systemInstruction=["a"]), "/systemInstruction: must be a content"),
        (ask(systemInstruction={"parts": [], "PARTS": []}), "in other letters"),
        (ask(tools="x"), "/tools: must be an array of objects"),
        (ask(tools=[[]]), "/tools: must be an array of objects"),
        (ask(tools=[{"functionDeclarations": ["x"]}]), "must be an array of objects"),
        (ask(tools=[{"functionDeclarations": [{}]}]), "each tool must have a name"),
        (ask(tools=[{"functionDeclarations": [], "function_declarations": [{"name": "rm"}]}]), "stands here twice"),
        (ask(tools=[{"functiondeclarations": [{"name": "rm"}]}]), "in other letters"),
        (ask(tools=[{"functionDeclarations": [{"name": "ok", "Name": "rm"}]}]), "in other letters"),
        (ask(tools=[{"google_search": {}, "googleSearch": {}}]), "stands here twice"),
        (ask(tools=[{"": {}}]), "each tool must have a name"),
        (ask(toolConfig=[]), "/toolConfig: must be an object"),
        (ask(toolConfig={}, tool_config={}), "stands here twice"),
        (ask(toolConfig={"functionDeclarations": [{"name": "rm"}]}), "tools belong in `tools`"),
        (ask(tool_config={"google_search": {}}), "tools belong in `tools`"),
        (ask(toolConfig={"functionCallingConfig": {"stream_function_call_arguments": True}}), "come in pieces"),
        (parts({"text": "a", "Text": "b"}), "in other letters"),
        (parts({"functionCall": {"name": "a"}, "function_call": {"name": "b"}}), "stands here twice"),
        (parts({"functionCall": {"name": "a", "NAME": "b"}}), "in other letters"),
        (parts({"functionResponse": {"parts": [{"inlineData": {}, "inline_data": {}}]}}), "stands here twice"),
        (parts({"inlineData": {"mimeType": "a", "mime_type": "b"}}), "stands here twice"),
        (b'{"contents":[{"parts":[{"text":"a","text":"b"}]}]}', "twice"),
        (b'{"contents":[{"parts":' + b'[{"functionResponse":{"parts":' * 900 + b"1" + b"}]" * 900 + b"}]}", "nested too deep"),
        (b'{"contents":[{}],"labels":{"a":"b","a":"c"}}', "twice"),
    ],
)
def test_what_we_rely_on_is_checked(body: bytes | dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(body)
    with pytest.raises(WireError, match=words):
        decode(body, PATH.replace("generateContent", "countTokens"))


def test_nulls_are_absent_and_defaults_hold() -> None:
    nothing = dict.fromkeys(("model", "systemInstruction", "tools", "tool_config", "generationConfig", "cachedContent", "labels"))
    call = decode(ask(**nothing, generation_Config2=None))
    assert (call.max_output, call.choices, call.thread, call.hints, call.extra, call.system) == (None, 1, "", {}, (), ())
    assert call.tools.specs == ()
    assert not call.wants_json
    assert decode(ask(labels=[], model="models/gemini-2.5-flash", tools=[{"functionDeclarations": None, "googleSearch": None}])).hints == {}


def test_one_object_stands_for_a_list_of_one() -> None:
    content = {"role": "user", "parts": {"text": "hi"}}
    call = decode(ask(contents=content, systemInstruction="Be brief.", tools={"functionDeclarations": {"name": "f"}}))
    assert [m.texts for m in call.messages] == [("hi",)]
    assert call.system[0].texts == ("Be brief.",)
    assert call.tools.specs == (ToolSpec("f"),)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("bare", ("bare",)),
        ({"text": {"odd": 1}}, ('{"odd":1}',)),
        ({"text": "a", "hidden": "b"}, ("a", '{"hidden":"b"}')),
        ({"text": "a", "thought": "b"}, ("a", "b")),
        ({"thoughtSignature": "not base64!"}, ("not base64!",)),
        ({"thoughtSignature": {"a": 1}}, ('{"a":1}',)),
        ({"functionCall": "odd"}, ("odd",)),
        ({"functionCall": {"name": "f", "args": "text", "willContinue": True}}, ("f", "text", '{"willContinue":true}')),
        ({"functionCall": {"name": 7}}, ("7",)),
        (
            {"functionResponse": {"name": "f", "response": "text", "scheduling": "NOW", "parts": ["p"]}},
            ("f", "text", "p", '{"scheduling":"NOW"}'),
        ),
        ({"functionResponse": {"name": "f", "parts": {"inlineData": {"data": "aGk="}}}}, ("f", "hi")),
        ({"executableCode": {"code": "x", "note": "b"}}, ("x", '{"note":"b"}')),
        ({"codeExecutionResult": ["odd"]}, ('["odd"]',)),
        ({"inlineData": "odd"}, ("odd",)),
        ({"inlineData": {"mimeType": "image/png", "data": "aGk=", "displayName": "d", "more": "m"}}, ("d", '{"more":"m"}')),
        ({"inlineData": {"mimeType": " TEXT/markdown", "data": base64.urlsafe_b64encode("ÿ¿>?".encode()).decode().rstrip("=")}}, ("ÿ¿>?",)),
        ({"inlineData": {"mimeType": "application/pdf", "data": "aGk="}}, ()),
        ({"inlineData": {"mimeType": "application/octet-stream", "data": "/w=="}}, ()),
        ({"toolCall": {"toolType": "GOOGLE_SEARCH"}}, ('{"toolCall":{"toolType":"GOOGLE_SEARCH"}}',)),
    ],
)
def test_nothing_escapes_the_texts(part: Any, said: tuple[str, ...]) -> None:
    assert decode(parts(part)).messages[0].texts == said


def test_roles() -> None:
    roles = [None, "", "user", "model", "function", "system", 5]
    call = decode({"contents": [{"role": role, "parts": [{"text": "a"}], "aside": "b"} for role in roles]})
    assert [m.role for m in call.messages] == ["user", "user", "user", "assistant", "function", "system", ""]
    assert [m.texts for m in call.messages][-2:] == [("system", "a", '{"aside":"b"}'), ("5", "a", '{"aside":"b"}')]


@pytest.mark.parametrize(
    "content",
    [
        '{"role":"user","parts":[{"text":"hi"}]}',
        '{"role":"model","parts":[{"text":"Zürich \\ud83d\\ude00 \\ud800 \\"x\\""}]}',
        '{"parts":[{"text":"hi"}]}',
        '{"parts":[{"text":""}],"role":"model"}',
        '{"parts":[{"text":"hi"}],"role":"user"}',
        '{"parts":[{"text":"hi"}],"role":"owner"}',
        '{"role":"user","parts":[{"text":"hi"},{"text":"you"}]}',
        '{"role":"user","parts":[{"text":"hi","thought":true}]}',
        '{"aside":"x","parts":[{"text":"hi"}]}',
        '{"aside":"' + "x" * 40 + '","parts":[{"text":"hi"}]}',
        '{"role":"function","parts":[{"text":"hi"}]}',
        '{"role":"user","parts":[{"text":"\n"}]}',
        '{"role":"user","parts":[{"text":"hi"}],"role":"model"}',
        '{"role":"user","parts":[{"text":"hi"}]}x',
        '{"role":"user","parts":[{"text":"hi',
    ],
)
def test_a_plain_content_reads_the_same_with_spaces(content: str) -> None:
    def read(raw: str) -> tuple[str, tuple[str, ...]] | str:
        try:
            message = parse_content(CONTENT + raw.encode())
        except WireError as e:
            return str(e).partition(":")[0]
        assert message.fingerprint == jsonio.fingerprint(raw.encode())
        return message.role, message.texts

    assert read(content) == read(content.replace(",", " , ").replace(":", " :"))


def test_bytes_that_are_no_utf8_are_in_no_plain_content() -> None:
    with pytest.raises(WireError, match="not UTF-8"):
        parse_content(CONTENT + b'{"role":"user","parts":[{"text":"\xff"}]}')


def test_media_and_results() -> None:
    found = decode(parts({"fileData": {"fileUri": "files/x"}}, {"inlineData": {"mimeType": 7, "data": "/w=="}})).messages[0]
    assert [m.kind for m in found.media] == ["file", "file"]

    def digest(**response: Any) -> bytes:
        return decode(parts({"functionResponse": {"name": "f", **response}})).messages[0].tool_results[0].digest

    picture = [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
    assert digest(response={"a": 1}, id="1") == digest(response={"a": 1}, id="2")
    assert len({digest(response={"a": 1}), digest(response={"a": 2}), digest(), digest(parts=picture)}) == 4
    signed = decode(parts({"thoughtSignature": "abcd"})).messages[0]
    assert signed.media == (Media("encrypted", 4),)


def test_a_second_turn_parses_only_what_is_new() -> None:
    memos = Memos()
    turns = [{"role": "user" if i % 2 == 0 else "model", "parts": [{"text": f"turn {i} " + "x" * 300}]} for i in range(30)]
    first = decode({"contents": turns[:-1]}, memos=memos)
    known = memos.messages.misses
    second = decode({"contents": turns, "tools": []}, memos=memos)
    assert memos.messages.misses == known + 1
    assert memos.prefixes.hits >= 1
    assert all(a is b for a, b in zip(first.messages, second.messages, strict=False))
    assert len(second.messages) == 30
    counted = decode({"contents": turns}, PATH.replace("generateContent", "countTokens"), memos=memos)
    assert counted.messages == second.messages


@pytest.mark.parametrize(
    ("config", "dearer"),
    [
        ({"responseModalities": ["TEXT"]}, ()),
        ({"responseModalities": ["TEXT", "IMAGE"]}, ("response_modalities",)),
        ({"response_modalities": ["AUDIO"], "speechConfig": {"voiceConfig": {}}}, ("response_modalities", "speech_config")),
        ({"imageConfig": {"imageSize": "4K"}}, ("image_config",)),
        ({"imageConfig": {}}, ()),
    ],
)
def test_what_can_cost_more_is_told(config: dict[str, Any], dearer: tuple[str, ...]) -> None:
    assert decode(ask(generationConfig=config)).dearer == dearer
    assert decode(ask(serviceTier="priority", generationConfig=config)).dearer == ("service_tier", *dearer)
    assert decode(ask(serviceTier="flex", generationConfig=config)).dearer == dearer


@pytest.mark.parametrize(
    ("config", "wants"),
    [
        ({}, False),
        ({"responseMimeType": "text/plain"}, False),
        ({"responseMimeType": "application/json"}, True),
        ({"response_mime_type": "text/x.enum"}, True),
        ({"response_schema": {"type": "OBJECT"}}, True),
    ],
)
def test_who_wants_json(config: dict[str, Any], wants: bool) -> None:
    assert decode(ask(generationConfig=config)).wants_json is wants


def test_unknown_settings_that_could_hold_a_prompt_count() -> None:
    call = decode(ask(generationConfig={"persona": "p" * 80}, persona="q" * 80, continuation_token="c"))
    assert [text.strip('"') for text in call.extra] == ["q" * 80, "p" * 80]
    assert call.thread == "c"
    assert [s.name for s in decode(ask(plugins=[{"id": "web"}])).tools.specs] == ["plugins"]
    assert [s.name for s in decode(ask(tools=[{"newTool": {}, "mcpServers": [{"name": "x"}]}])).tools.specs] == ["new_tool", "mcp_servers"]


@pytest.mark.parametrize(
    ("asked", "edit", "changed"),
    [
        ({}, Edit(), {}),
        ({}, Edit(model="other", ask_usage=True), {}),
        ({"model": "models/gemini-2.5-flash"}, Edit(model="other"), {"model": "models/other"}),
        ({"model": "gemini-2.5-flash"}, Edit(model="other"), {"model": "other"}),
        ({"model": None}, Edit(model="other"), {}),
        ({}, Edit(max_output=9), {"generationConfig": {"maxOutputTokens": 9}}),
        ({"generationConfig": None}, Edit(max_output=9), {"generationConfig": {"maxOutputTokens": 9}}),
        ({"generation_config": None}, Edit(max_output=9), {"generation_config": {"maxOutputTokens": 9}}),
        ({"generationConfig": {}}, Edit(max_output=9), {"generationConfig": {"maxOutputTokens": 9}}),
        (
            {"generationConfig": {"maxOutputTokens": 50, "topK": 1}},
            Edit(max_output=9),
            {"generationConfig": {"maxOutputTokens": 9, "topK": 1}},
        ),
        ({"generation_config": {"max_output_tokens": 50}}, Edit(max_output=9), {"generation_config": {"max_output_tokens": 9}}),
        ({"generationConfig": {"maxOutputTokens": None}}, Edit(max_output=9), {"generationConfig": {"maxOutputTokens": 9}}),
        ({"generationConfig": {"maxOutputTokens": 9}}, Edit(max_output=9), {}),
    ],
)
def test_rewriting_splices_and_nothing_else(asked: dict[str, Any], edit: Edit, changed: dict[str, Any]) -> None:
    body = json.dumps(ask(**asked), indent=1).encode()
    call = decode(body)
    out = codec().rewrite(call, edit)
    assert json.loads(out) == ask(**asked) | changed
    assert (out is body) == (not changed)
