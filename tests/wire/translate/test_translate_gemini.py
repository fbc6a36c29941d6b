"""Gemini's generateContent as a dialect of the hub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub_cases import ANYWHERE, CITY, PIXEL, asked_again, gathered, read, replies, request, requests, streamed, there_and_back
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Deny, Reason, Usage
from proxy.wire.jsonarray import Elements
from proxy.wire.sse import Splitter, data_of
from proxy.wire.translate import draft
from proxy.wire.translate.gemini import UNSIGNED, GeminiDialect
from proxy.wire.translate.gemini_schema import MAX_DEPTH, json_schema
from proxy.wire.translate.hub import (
    Asked,
    Began,
    Ended,
    Failed,
    Image,
    Said,
    Step,
    Text,
    Thought,
    Tool,
    ToolBegan,
    ToolMore,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
    Words,
)

GEMINI = GeminiDialect()
SPENT = Deny(Reason.BUDGET_EXCEEDED, "The budget is spent.")
BLOCKED = Deny(Reason.CONTENT_BLOCKED, "No.", rule="guard")
USER: dict[str, Any] = {"role": "user", "parts": [{"text": "Hi"}]}
INLINE = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
ARRAY = Asked("asked", stream=True, framing="application/json")


def asks(**members: Any) -> Asked:
    return request(GEMINI, {"contents": [USER], **members}, "gemini-3-pro")


def parts(*found: dict[str, Any], role: str = "user") -> Asked:
    return asks(contents=[{"role": role, "parts": list(found)}])


# --- requests ----------------------------------------------------------------------------------------------------------------------


@given(requests(), st.integers(0, 9) | st.none(), st.sampled_from(["", "none", "minimal", "low", "medium", "high"]))
def test_a_request_written_reads_as_itself(asked: Asked, seed: int | None, effort: str) -> None:
    asked.seed, asked.effort, asked.stop = seed, effort, ["x"] if seed else []
    asked.choice = "any" if asked.tools and seed else ""
    called = any(isinstance(part, ToolUse) for turn in asked.turns for part in turn.parts)
    again = asked_again(GEMINI, asked)
    assert again.dropped == (["contents/parts/thoughtSignature"] if called else [])
    again.dropped = []
    assert again == asked


def test_every_kind_of_part_is_read() -> None:
    asked = asks(
        systemInstruction={"role": "system", "parts": [{"text": "Be brief."}, {"text": ""}]},
        contents=[
            {"parts": [{"text": "Look"}, {"text": ""}, INLINE]},
            {
                "role": "model",
                "parts": [
                    {"text": "Hm.", "thought": True},
                    {"text": "Let me see.", "thoughtSignature": "c2ln"},
                    {"functionCall": {"name": "weather", "args": {"city": "Zürich"}}},
                    {"functionCall": {"name": "time"}},
                    {"functionCall": {"id": "given", "name": "weather", "args": {}}},
                ],
            },
            {
                "role": "function",
                "parts": [
                    {"functionResponse": {"name": "time", "response": {"result": {"hour": 12}}}},
                    {"functionResponse": {"name": "weather", "response": {"output": "4 °C"}, "parts": [INLINE]}},
                    {"functionResponse": {"id": "given", "name": "weather", "response": {"error": "none"}}},
                    {"functionResponse": {"name": "weather", "response": {"output": 1, "more": 2}}},
                ],
            },
            {"role": "model", "parts": []},
        ],
    )
    image = Image("image/png", PIXEL)
    assert asked.turns == [
        Turn("system", (Text("Be brief."),)),
        Turn("user", (Text("Look"), image)),
        Turn(
            "assistant",
            (
                Thought("Hm."),
                Text("Let me see."),
                ToolUse("call_0", "weather", '{"city":"Zürich"}'),
                ToolUse("call_1", "time", "{}"),
                ToolUse("given", "weather", "{}"),
            ),
        ),
        Turn(
            "user",
            (
                ToolOutput("call_1", "time", (Text('{"hour":12}'),)),
                ToolOutput("call_0", "weather", (Text("4 °C"), image)),
                ToolOutput("given", "weather", (Text("none"),), error=True),
                ToolOutput("call_2", "weather", (Text('{"output":1,"more":2}'),)),
            ),
        ),
    ]
    assert asked.dropped == ["contents/parts/thoughtSignature"]
    assert asks(contents=USER).turns == [Turn("user", (Text("Hi"),))]
    assert asks(systemInstruction="Be kind.").turns[0] == Turn("system", (Text("Be kind."),))


def test_an_output_finds_the_first_open_call_when_it_names_none() -> None:
    calls = {"role": "model", "parts": [{"functionCall": {"id": "a", "name": "x"}}, {"functionCall": {"name": "y"}}]}
    answers = {"parts": [{"functionResponse": {"id": "a"}}, {"functionResponse": {}}, {"functionResponse": {}}]}
    found = [part for part in asks(contents=[calls, answers]).turns[1].parts if isinstance(part, ToolOutput)]
    assert [(output.id, output.name) for output in found] == [("a", "x"), ("call_0", "y"), ("call_1", "")]


def test_base64_of_urls_becomes_that_of_everybody() -> None:
    (turn,) = parts({"inlineData": {"mimeType": "image/webp", "data": "a-b_c+d/"}}).turns
    assert turn.parts == (Image("image/webp", "a+b/c+d/"),)


def test_both_spellings_are_read() -> None:
    asked = asks(
        system_instruction={"parts": [{"text": "Be brief."}]},
        tools=[{"function_declarations": [{"name": "now", "parameters_json_schema": CITY}]}],
        tool_config={"function_calling_config": {"mode": "any", "allowed_function_names": ["now"]}},
        generation_config={"max_output_tokens": 7, "top_p": 0.5, "stop_sequences": ["x"], "thinking_config": {"thinking_budget": 0}},
    )
    assert asked.turns[0].role == "system"
    assert asked.tools == [Tool("now", "", CITY)]
    assert (asked.choice, asked.max_output, asked.top_p, asked.stop, asked.effort) == ("tool:now", 7, 0.5, ["x"], "none")
    assert asked.dropped == []


def test_what_the_answer_must_look_like() -> None:
    schema = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    asked = asks(generationConfig={"responseMimeType": "application/json", "responseSchema": schema, "candidateCount": 1, "topK": 3})
    assert (asked.json, asked.schema, asked.dropped) == (False, CITY, ["generationConfig/topK"])
    assert asks(generationConfig={"responseMimeType": "application/json"}).json
    assert asks(generationConfig={"responseMimeType": "application/json", "_responseJsonSchema": CITY}).schema == CITY
    asked = asks(
        generationConfig={"responseMimeType": "text/plain", "responseModalities": ["TEXT"]}, safetySettings=[{"x": 1}], labels={"a": "b"}
    )
    assert (asked.json, asked.schema, asked.dropped) == (False, None, ["safetySettings", "labels"])


@pytest.mark.parametrize(
    ("config", "effort"),
    [
        ({"thinkingLevel": "HIGH", "thinkingBudget": 0}, "high"),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, ""),
        ({"thinkingBudget": -1}, ""),
        ({"thinkingBudget": 1}, "minimal"),
        ({"thinkingBudget": 8192, "includeThoughts": True}, "medium"),
        ({"thinkingBudget": 32768}, "high"),
        ({}, ""),
    ],
)
def test_a_budget_of_thinking_is_an_effort(config: dict[str, Any], effort: str) -> None:
    asked = asks(generationConfig={"thinkingConfig": config})
    assert asked.effort == effort
    assert asked.dropped == (["thinkingConfig/includeThoughts"] if "includeThoughts" in config else [])


@pytest.mark.parametrize(
    ("config", "choice", "offered"),
    [
        ({}, "", ["a", "b"]),
        ({"mode": "MODE_UNSPECIFIED"}, "", ["a", "b"]),
        ({"mode": "AUTO", "allowedFunctionNames": ["a"]}, "auto", ["a", "b"]),
        ({"mode": "NONE"}, "none", ["a", "b"]),
        ({"mode": "ANY"}, "any", ["a", "b"]),
        ({"mode": "ANY", "allowedFunctionNames": ["a"]}, "tool:a", ["a"]),
        ({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}, "any", ["a", "b"]),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["b"]}, "auto", ["b"]),
    ],
)
def test_which_tools_may_be_called(config: dict[str, Any], choice: str, offered: list[str]) -> None:
    tools = [{"functionDeclarations": [{"name": "a", "description": "A", "parameters": {"type": "OBJECT"}}, {"name": "b"}]}]
    asked = asks(tools=tools, toolConfig={"functionCallingConfig": config})
    assert (asked.choice, [tool.name for tool in asked.tools]) == (choice, offered)
    assert ("mode VALIDATED of function calls" in asked.dropped) == (config.get("mode") == "VALIDATED")


def test_a_tool_without_a_schema_takes_nothing() -> None:
    asked = asks(tools=[{"functionDeclarations": [{"name": "now", "description": "Time", "response": {"type": "STRING"}}]}])
    assert asked.tools == [Tool("now", "Time", ANYWHERE)]
    assert asked.dropped == ["tools/response"]


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"cachedContent": "cachedContents/1"}, "/cachedContent: a history that the provider keeps"),
        ({"contents": "Hi"}, "/contents: not a list of objects"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "/contents/0: a turn of the role system"),
        ({"contents": [{"role": "user", "parts": [{"functionCall": {"name": "x"}}]}]}, "/contents/0: a ToolUse in a turn of the user's"),
        ({"contents": [{"role": "model", "parts": [{"functionResponse": {"name": "x"}}]}]}, "/contents/0: a ToolOutput in a turn"),
        ({"contents": [{"role": "model", "parts": [INLINE]}]}, "/contents/0: a Image in a turn of the assistant's"),
        ({"contents": [{"parts": [{"text": "a", **INLINE}]}]}, "/contents/0/parts/0: several things in one part"),
        ({"contents": [{"parts": [{"text": 7}]}]}, "/contents/0/parts/0: not a text"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "x"}}]}]}, "/contents/parts/fileData: a file"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "application/pdf", "data": ""}}]}]}, "data of the type application/pdf"),
        ({"contents": [{"parts": [{"inlineData": {"data": ""}}]}]}, "data of the type unknown"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {"name": "x", "args": [1]}}]}]}, "arguments that are no object"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {"name": "x", "partialArgs": [1]}}]}]}, "arguments in pieces"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "x", "response": [1]}}]}]}, "a response that is no object"),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "x", "parts": [{"fileData": {}}]}}]}]},
            "a part of an output that is no image",
        ),
        ({"contents": [{"parts": [{"functionCall": "x"}]}]}, "/contents/0/parts/0: not an object"),
        ({"contents": [{"parts": [{"functionCall": {"name": "x"}, "function_call": {"name": "y"}}]}]}, "a member in two spellings"),
        ({"systemInstruction": {"parts": [INLINE]}}, "/systemInstruction/parts/0: a part that is not text"),
        ({"tools": [{"googleSearch": {}}]}, "/tools/0: a googleSearch tool"),
        ({"tools": [{"code_execution": {}}]}, "/tools/0: a codeExecution tool"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "a mode SOME"),
        ({"generationConfig": {"candidateCount": 2}}, "several answers"),
        ({"generationConfig": {"responseModalities": ["IMAGE"]}}, "an answer that is not text"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "an answer of the type text/x.enum"),
        ({"generationConfig": {"responseJsonSchema": [1]}}, "not a JSON Schema"),
        ({"generationConfig": {"speechConfig": {"a": 1}}}, "a spoken answer"),
        ({"generationConfig": [1]}, "/generationConfig: not an object"),
    ],
)
def test_what_cannot_be_carried_is_refused(members: dict[str, Any], what: str) -> None:
    with pytest.raises(Untranslatable, match=what):
        asks(**members)


def test_outputs_stand_first_and_neighbours_of_one_role_are_one() -> None:
    picture = Image("image/png", PIXEL)
    asked = Asked(
        "gemini-3-pro",
        [
            Turn("system", (Text("A"), Text("B"))),
            Turn("user", (Text("Hi"),)),
            Turn("system", (Text("C"),)),
            Turn("user", (picture, Text("there"))),
            Turn("assistant", (Thought("Hm."), Text("Well"), ToolUse("1", "now", ""), ToolUse("2", "then", "oops"))),
            Turn("user", (Text("So?"), ToolOutput("1", "", (Text("a"), Text("b"), picture)), ToolOutput("2", "then", (), error=True))),
            Turn("assistant", (Thought("Hm."),)),
            Turn("user", (Text("And?"),)),
        ],
    )
    body = GEMINI.write_request(asked)
    assert body["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}, {"text": "C"}]}
    signed = {"functionCall": {"id": "1", "name": "now", "args": {}}, "thoughtSignature": UNSIGNED}
    invalid = {"functionCall": {"id": "2", "name": "then", "args": {"INVALID_JSON": "oops"}}}
    answered: list[dict[str, Any]] = [
        {"functionResponse": {"id": "1", "name": "now", "response": {"output": "a\nb"}}},
        {"functionResponse": {"id": "2", "name": "then", "response": {"error": ""}}},
    ]
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Hi"}, INLINE, {"text": "there"}]},
        {"role": "model", "parts": [{"text": "Well"}, signed, invalid]},
        {"role": "user", "parts": [*answered, INLINE, {"text": "So?"}, {"text": "And?"}]},
    ]
    assert asked.dropped == ["the place of a system message", "reasoning of earlier turns"]


def test_only_newer_models_want_a_signature() -> None:
    turns = [Turn("assistant", (ToolUse("1", "now", "{}"),))]
    written = {
        model: GEMINI.write_request(Asked(model, turns)) for model in ("gemini-2.5-pro", "models/gemini-1.5", "gemini-21", "gemini-4")
    }
    signed = {model: "thoughtSignature" in body["contents"][0]["parts"][0] for model, body in written.items()}
    assert signed == {"gemini-2.5-pro": False, "models/gemini-1.5": False, "gemini-21": True, "gemini-4": True}


def test_what_only_others_can_say_is_written_or_dropped() -> None:
    asked = Asked(
        "m",
        [Turn("user", (Text("Hi"),))],
        [Tool("now", "", ANYWHERE, strict=True), Tool("then", "Past", CITY)],
        choice="tool:now",
        parallel=False,
        effort="xhigh",
        json=True,
    )
    body = GEMINI.write_request(asked)
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "now", "parametersJsonSchema": ANYWHERE},
                {"name": "then", "description": "Past", "parametersJsonSchema": CITY},
            ]
        }
    ]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["now"]}}
    assert body["generationConfig"] == {"responseMimeType": "application/json", "thinkingConfig": {"thinkingBudget": 24576}}
    assert asked.dropped == ["strict tools", "parallel tool calls off"]
    for choice, mode in (("auto", "AUTO"), ("none", "NONE"), ("any", "ANY")):
        config = GEMINI.write_request(Asked("m", tools=[Tool("now", "", CITY)], choice=choice))["toolConfig"]
        assert config == {"functionCallingConfig": {"mode": mode}}
    alone = Asked("m", choice="none")
    assert (GEMINI.write_request(alone), alone.dropped) == ({"contents": []}, ["tool_choice without tools"])


@pytest.mark.parametrize(
    ("turn", "what"),
    [
        (Turn("user", (Image(url="https://example.com/a.png"),)), "an image at an address"),
        (Turn("user", (ToolOutput("9", "", ()),)), "without the call"),
        (Turn("assistant", (Image("image/png", PIXEL),)), "an image in a turn of the assistant's"),
    ],
)
def test_what_it_has_no_words_for_is_refused(turn: Turn, what: str) -> None:
    with pytest.raises(Untranslatable, match=what):
        GEMINI.write_request(Asked("m", [turn]))


# --- schemas -----------------------------------------------------------------------------------------------------------------------


def test_a_schema_of_geminis_is_one_of_everybodys() -> None:
    given: dict[str, Any] = {
        "type": "OBJECT",
        "propertyOrdering": ["a"],
        "property_ordering": ["a"],
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["x"], "maxLength": "9", "minLength": "many"},
            "a": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "min_items": "1", "maxItems": 2, "nullable": False},
            "b": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": True},
            "c": {"type": "TYPE_UNSPECIFIED", "nullable": True, "description": "Any"},
            "d": {
                "type": "OBJECT",
                "additionalProperties": {"type": "STRING"},
                "defs": {"e": {"type": "NULL"}},
                "nullable": True,
                "enum": [None],
            },
            "f": True,
            "g": {"properties": 7, "anyOf": 7, "items": False},
        },
    }
    assert json_schema(given, "/x") == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["x", None], "maxLength": 9, "minLength": "many"},
            "a": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 1, "maxItems": 2},
            "b": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
            "c": {"description": "Any"},
            "d": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "string"},
                "$defs": {"e": {"type": "null"}},
                "enum": [None],
            },
            "f": True,
            "g": {"properties": 7, "anyOf": 7, "items": False},
        },
    }


def test_a_schema_is_read_to_a_depth() -> None:
    given: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        given = {"items": given}
    assert json_schema(given, "/x") == given
    with pytest.raises(Untranslatable, match="/x: a schema nested too deep"):
        json_schema({"items": given}, "/x")


# --- replies -----------------------------------------------------------------------------------------------------------------------


@given(replies("r1"))
def test_a_reply_written_reads_as_itself(said: Said) -> None:
    asked = Asked("asked", stream=True)
    assert GEMINI.read_reply(GEMINI.write_reply(said, asked)) == said
    assert there_and_back(GEMINI, said, Splitter()) == said
    assert there_and_back(GEMINI, said, Elements(), ARRAY) == said


TOLD: list[Step] = [
    Began("x", "gemini-3"),
    Words("Hm.", thought=True),
    Words(""),
    Words("Let me."),
    ToolBegan(0, "", "a"),
    ToolBegan(1, "two", "b"),
    ToolMore(0, '{"x":'),
    ToolMore(1, "{}"),
    ToolMore(7, "lost"),
    ToolMore(0, "1}"),
    Words("Late."),
    Ended("tool"),
    Ended(None, Usage(1, 5, cache_read=3, reasoning=2)),
]
CHUNKS = [
    [{"text": "Hm.", "thought": True}],
    [{"text": "Let me."}],
    [
        {"functionCall": {"id": "call_9_0", "name": "a", "args": {"x": 1}}},
        {"functionCall": {"id": "two", "name": "b", "args": {}}},
        {"text": "Late."},
    ],
]


@pytest.mark.parametrize("framing", ["", "text/event-stream", "application/json"])
def test_a_stream_is_events_or_an_array(framing: str) -> None:
    raw = streamed(GEMINI, Asked("asked", id="9", framing=framing), TOLD)
    chunks = json.loads(raw) if framing == "application/json" else [json.loads(data_of(event)) for event in Splitter().feed(raw)]
    assert [chunk["candidates"][0]["content"]["parts"] for chunk in chunks] == CHUNKS
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None, None, "STOP"]
    assert [chunk.get("usageMetadata") for chunk in chunks] == [
        None,
        None,
        {"promptTokenCount": 4, "cachedContentTokenCount": 3, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 9},
    ]
    assert {(chunk["modelVersion"], chunk["responseId"]) for chunk in chunks} == {("gemini-3", "x")}


@pytest.mark.parametrize("asked", [Asked("asked"), ARRAY])
def test_an_empty_stream_has_an_end(asked: Asked) -> None:
    raw = streamed(GEMINI, asked, [])
    (chunk,) = json.loads(raw) if asked.framing else [json.loads(data_of(raw))]
    assert (chunk["candidates"][0]["finishReason"], chunk["modelVersion"], "usageMetadata" in chunk) == ("STOP", "asked", False)


def test_a_call_that_was_cut_off_is_left_out() -> None:
    half: list[Step] = [ToolBegan(0, "1", "a"), ToolMore(0, '{"x":'), ToolBegan(1, "2", "b"), ToolMore(1, "{}"), Ended("length")]
    (chunk,) = json.loads(streamed(GEMINI, ARRAY, half))
    assert [part["functionCall"]["name"] for part in chunk["candidates"][0]["content"]["parts"]] == ["b"]
    said = Said("", "m", [ToolUse("1", "a", ""), ToolUse("2", "b", "{}")], "length", Usage())
    assert [p["functionCall"]["name"] for p in GEMINI.write_reply(said, ARRAY)["candidates"][0]["content"]["parts"]] == ["b"]


@pytest.mark.parametrize("asked", [Asked("asked"), ARRAY])
@pytest.mark.parametrize("spoken", [False, True])
def test_a_stream_is_cut_and_fails_in_its_own_words(asked: Asked, spoken: bool) -> None:
    def last(*acts: Any) -> dict[str, Any]:
        writer = GEMINI.writer(asked)
        raw = (writer.step(Words("a")) if spoken else b"") + writer.step(ToolBegan(0, "1", "x"))
        for act in acts:
            raw += act(writer)
        chunks = json.loads(raw) if asked.framing else [json.loads(data_of(event)) for event in Splitter().feed(raw)]
        assert len(chunks) == 1 + spoken
        found: dict[str, Any] = chunks[-1]
        return found

    cut = last(lambda w: w.cut(SPENT), lambda w: w.cut(SPENT), lambda w: w.end(), lambda w: w.step(Words("b")))
    assert (cut["candidates"][0]["finishReason"], cut["fleetgate"]["reason"]) == ("MAX_TOKENS", "budget_exceeded")
    assert cut["candidates"][0]["content"]["parts"] == []
    refused = last(lambda w: w.cut(BLOCKED), lambda w: w.cut(BLOCKED))
    assert (refused["error"]["code"], refused["fleetgate"]["reason"]) == (403, "content_blocked")
    failed = last(lambda w: w.step(Failed("overloaded")), lambda w: w.end(), lambda w: w.cut(BLOCKED))
    assert failed["error"] == {"code": 502, "message": "overloaded", "status": "UNAVAILABLE"}


def test_what_is_kept_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MAX_LETTERS", 100)
    writer = GEMINI.writer(ARRAY)
    assert writer.step(ToolBegan(0, "1", "x")) == b""
    told = json.loads(writer.step(ToolMore(0, "y" * 100)))
    assert "longer than can be carried" in told[0]["error"]["message"]
    assert writer.end() == b""


def test_a_stream_is_read_whatever_stands_in_it() -> None:
    reader = GEMINI.reader()
    assert reader.event(b": comment\n\n") == []
    assert reader.event(b"data: [1]\n\n") == []
    assert reader.event(b'data: {"candidates":7}\n\n') == []
    assert reader.event(b"data: " + json.dumps({"candidates": [{}], "usageMetadata": {"promptTokenCount": 4}}).encode() + b"\n\n") == [
        Began("", "", Usage(4)),
        Ended(None, Usage(4)),
    ]
    assert reader.event(b'data: {"candidates":[{"content":{}}]}\n\n') == []
    assert reader.event(b'data: {"promptFeedback":{}}\n\n') == []
    assert reader.event(b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n') == [Ended("filter", None)]
    assert reader.event(b'data: {"error":{"code":503,"message":"busy"}}\n\n') == [Failed("busy")]
    assert reader.event(b'data: {"error":"busy"}\n\n') == [Failed("busy")]
    assert reader.event(b'data: {"error":{"message":7}}\n\n') == [Failed("")]
    many = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "x"}}] * 1025}}]}
    assert len(reader.event(b"data: " + json.dumps(many).encode() + b"\n\n")) == 2048


def test_several_things_in_one_event_are_told_in_order() -> None:
    said = {
        "candidates": [
            {
                "content": {
                    "parts": [{"text": "a", "thought": True}, {"text": "b"}, {"functionCall": {"name": "x", "args": {"é": 1}}}, {}]
                },
                "finishReason": "STOP",
            },
            {"content": {"parts": [{"text": "another candidate"}]}},
        ],
        "responseId": "r",
        "modelVersion": "g",
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6},
    }
    for raw, framing in ((b"data: %b\r\n\r\n", Splitter()), (b"[%b\n]", Elements())):
        assert read(GEMINI, raw % json.dumps(said).encode(), framing) == [
            Began("r", "g", Usage(4, 2)),
            Words("a", thought=True),
            Words("b"),
            ToolBegan(0, "", "x"),
            ToolMore(0, '{"é":1}'),
            Ended("tool", Usage(4, 2)),
        ]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "filter"), ("MALFORMED_FUNCTION_CALL", "filter"), (None, "stop")],
)
def test_reasons_to_stop(reason: str | None, stop: str) -> None:
    assert GEMINI.read_reply({"candidates": [{"finishReason": reason}]}).stop == stop


def test_a_reply_is_read_whatever_is_missing() -> None:
    blocked = {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 4}}
    assert GEMINI.read_reply(blocked) == Said("", "", [], "filter", Usage(4))
    bodies: list[dict[str, Any]] = [{}, {"candidates": []}, {"candidates": {}}, {"usageMetadata": {}}]
    for body in bodies:
        with pytest.raises(Untranslatable):
            GEMINI.read_reply(body)


def test_usage_that_nobody_reported_is_not_made_up() -> None:
    said = Said("", "", [Text("a")], "filter", Usage(exact=False))
    written = GEMINI.write_reply(said, Asked("m", id="7"))
    assert ("usageMetadata" in written, written["responseId"], written["modelVersion"]) == (False, "7", "m")
    assert written["candidates"][0]["finishReason"] == "SAFETY"
    assert gathered([Ended("length")]).stop == "length"
