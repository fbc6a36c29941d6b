"""Requests of Gemini's generateContent as a dialect of the hub."""

from __future__ import annotations

from typing import Any

import pytest
from hub_cases import ANYWHERE, CITY, PIXEL, asked_again, request, requests
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.translate.gemini import UNSIGNED, GeminiDialect
from proxy.wire.translate.hub import (
    Asked,
    Image,
    Text,
    Thought,
    Tool,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
)

GEMINI = GeminiDialect()
USER: dict[str, Any] = {"role": "user", "parts": [{"text": "Hi"}]}
INLINE = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}


def asks(**members: Any) -> Asked:
    return request(GEMINI, {"contents": [USER], **members}, "gemini-3-pro")


def parts(*found: dict[str, Any], role: str = "user") -> Asked:
    return asks(contents=[{"role": role, "parts": list(found)}])


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
    assert [turn for turn in asked.turns if turn.parts] == [
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
