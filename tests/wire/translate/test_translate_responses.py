"""Requests of OpenAI's Responses as a dialect of the hub."""

from __future__ import annotations

from typing import Any

import pytest
from hub_cases import ANYWHERE, CITY, PIXEL, asked_again, request, requests
from hypothesis import given

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
from proxy.wire.translate.openai_responses import ResponsesDialect

RESPONSES = ResponsesDialect()
URL = f"data:image/png;base64,{PIXEL}"


def asks(**members: Any) -> Asked:
    return request(RESPONSES, {"model": "gpt-5", "input": "Hi", **members}, "gpt-5")


@given(requests())
def test_a_request_written_reads_as_itself(asked: Asked) -> None:
    asked.choice = "any" if asked.tools else ""
    asked.parallel = False if asked.tools else None
    asked.schema_name = "" if asked.schema is None else "answer"
    asked.tools = [Tool(tool.name, tool.description, tool.schema, strict=False) for tool in asked.tools]
    assert asked_again(RESPONSES, asked) == asked
    assert asked.dropped == []


def test_every_kind_of_item_is_read() -> None:
    asked = asks(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Be kind."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": URL, "detail": "low"}, {"type": "text", "text": ""}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "content": [{"type": "output_text", "text": "Well", "annotations": []}],
            },
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": '{"city":"Zürich"}', "id": "fc_1"},
            {"type": "function_call", "call_id": "b", "name": "time", "arguments": ""},
            {"type": "function_call_output", "call_id": "a", "output": "4 °C"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_image", "image_url": "https://x.org/a.png"}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": ""},
            {"type": "function_call_output", "call_id": "c", "output": None, "caller": "me"},
            {"role": "user", "content": "So?"},
            {"role": "user", "content": "Well?"},
        ],
    )
    assert [turn for turn in asked.turns if turn.parts] == [
        Turn("system", (Text("Be brief."),)),
        Turn("system", (Text("Be kind."),)),
        Turn("user", (Text("Look"),)),
        Turn("user", (Image("image/png", PIXEL, "", "low"),)),
        Turn("assistant", (Text("Well"),)),
        Turn("assistant", (ToolUse("a", "weather", '{"city":"Zürich"}'),)),
        Turn("assistant", (ToolUse("b", "time", "{}"),)),
        Turn("user", (ToolOutput("a", "", (Text("4 °C"),)),)),
        Turn("user", (ToolOutput("b", "", (Image(url="https://x.org/a.png"),)),)),
        Turn("assistant", (Text("No."),)),
        Turn("user", (ToolOutput("c", "", ()),)),
        Turn("user", (Text("So?"),)),
        Turn("user", (Text("Well?"),)),
    ]
    assert asked.dropped == ["reasoning of earlier turns", "input/function_call_output/caller"]
    assert asks(input="").turns == []


def test_what_else_is_asked() -> None:
    asked = asks(
        tools=[
            {"type": "function", "name": "now", "description": "Time", "parameters": CITY, "strict": True},
            {"type": "function", "name": "b"},
        ],
        tool_choice={"type": "function", "name": "now"},
        parallel_tool_calls=False,
        max_output_tokens=20,
        temperature=0.5,
        top_p=1,
        text={"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        store=True,
        metadata={"a": "b"},
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        client_metadata={"x": "y"},
        background=False,
        previous_response_id=None,
    )
    assert asked.tools == [Tool("now", "Time", CITY, True), Tool("b", "", ANYWHERE)]
    assert (asked.choice, asked.parallel, asked.max_output, asked.temperature, asked.top_p) == ("tool:now", False, 20, 0.5, 1)
    assert (asked.schema, asked.schema_name, asked.json, asked.effort) == (CITY, "city", False, "high")
    assert asked.dropped == [
        *("store", "metadata", "include", "prompt_cache_key", "client_metadata"),
        *("reasoning/summary", "text/verbosity"),
    ]
    assert asks(text={"format": {"type": "json_object"}}).json
    assert asks(text={"format": {"type": "text"}}).schema is None


@pytest.mark.parametrize(
    ("given", "choice", "offered"),
    [
        ("auto", "auto", ["a", "b"]),
        ("none", "none", ["a", "b"]),
        ("required", "any", ["a", "b"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}]}, "auto", ["b"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}]}, "any", ["a"]),
    ],
)
def test_which_tools_may_be_called(given: object, choice: str, offered: list[str]) -> None:
    asked = asks(tools=[{"type": "function", "name": name} for name in "ab"], tool_choice=given)
    assert (asked.choice, [tool.name for tool in asked.tools]) == (choice, offered)


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"previous_response_id": "resp_1"}, "/previous_response_id: what the provider keeps"),
        ({"conversation": "conv_1"}, "/conversation: what the provider keeps"),
        ({"prompt": {"id": "p"}}, "/prompt: what the provider keeps"),
        ({"background": True}, "/background: an answer to be fetched later"),
        ({"top_logprobs": 3}, "/top_logprobs: log probabilities"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "/input/0: a item_reference item"),
        ({"input": [{"type": "custom_tool_call", "name": "apply_patch"}]}, "/input/0: a custom_tool_call item"),
        ({"input": [{"role": "owner", "content": "x"}]}, "/input/0: a message of the role owner"),
        ({"input": [{"role": "system", "content": [{"type": "input_image", "image_url": URL}]}]}, "an image that is not the user's"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "/input/0/content/0: a input_file part"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]}, "/input/content/file_id: an image"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///a"}]}]}, "neither base64 nor"),
        ({"input": 7}, "/input: not a list of objects"),
        ({"instructions": ["x"]}, "/instructions: not a text"),
        ({"tools": [{"type": "web_search"}]}, "/tools/0: a web_search tool, which"),
        ({"tools": [{"type": "custom", "name": "apply_patch"}]}, r"/tools/0: a custom tool \(apply_patch\), which"),
        ({"tool_choice": "some"}, "/tool_choice: neither"),
        ({"tool_choice": {"type": "web_search"}}, "/tool_choice: neither"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}}, "/tool_choice/tools/0: a mcp tool"),
        ({"text": "x"}, "/text: not an object"),
        ({"text": {"format": {"type": "grammar"}}}, "/text/format: an answer of the type grammar"),
    ],
)
def test_what_cannot_be_carried_is_refused(members: dict[str, Any], what: str) -> None:
    with pytest.raises(Untranslatable, match=what):
        asks(**members)


def test_outputs_stand_first_and_images_stay_with_them() -> None:
    picture = Image("image/png", PIXEL)
    asked = Asked(
        "gpt-5",
        [
            Turn("system", (Text("A"),)),
            Turn("user", (Text("Hi"), Image(url="https://x.org/a.png", detail="high"))),
            Turn("assistant", (Thought("Hm."), Text("Well"), ToolUse("1", "now", "{}"), ToolUse("2", "then", "{}"))),
            Turn("user", (Text("So?"), ToolOutput("1", "", (Text("a"), picture), error=True), ToolOutput("2", "", (Text("a"), Text("b"))))),
            Turn("assistant", (ToolUse("3", "now", "{}"),)),
            Turn("user", (ToolOutput("3", "", (picture,)), ToolOutput("4", "", (Text("no"),), error=True))),
        ],
    )
    body = RESPONSES.write_request(asked)
    shown = {"type": "input_image", "image_url": URL, "detail": "auto"}
    assert body["input"] == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "A"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hi"},
                {"type": "input_image", "image_url": "https://x.org/a.png", "detail": "high"},
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well"}]},
        {"type": "function_call", "call_id": "1", "name": "now", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "then", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "1",
            "output": [{"type": "input_text", "text": "Error:"}, {"type": "input_text", "text": "a"}, shown],
        },
        {"type": "function_call_output", "call_id": "2", "output": "a\nb"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So?"}]},
        {"type": "function_call", "call_id": "3", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "3", "output": [shown]},
        {"type": "function_call_output", "call_id": "4", "output": "Error: no"},
    ]
    assert (body["store"], asked.dropped) == (False, ["reasoning of earlier turns"])


def test_what_only_others_can_say_is_written_or_dropped() -> None:
    asked = Asked("gpt-5", tools=[Tool("now", "", CITY, strict=True)], choice="tool:now", parallel=True, stream=True, seed=1, effort="low")
    asked.schema = {**CITY, "additionalProperties": False}
    body = RESPONSES.write_request(asked)
    assert body["tools"] == [{"type": "function", "name": "now", "parameters": CITY, "strict": True}]
    assert (body["tool_choice"], body["parallel_tool_calls"], body["stream"]) == ({"type": "function", "name": "now"}, True, True)
    assert body["text"] == {"format": {"type": "json_schema", "name": "answer", "schema": asked.schema, "strict": True}}
    assert asked.dropped == ["seed", "reasoning effort"]
    alone = Asked("gpt-5", choice="auto")
    assert (RESPONSES.write_request(alone).get("tool_choice"), alone.dropped) == (None, ["tool_choice without tools"])
    assert RESPONSES.write_request(Asked("gpt-5", tools=[Tool("now", "", CITY)], choice="auto"))["tool_choice"] == "auto"
    assert "tool_choice" not in RESPONSES.write_request(Asked("gpt-5", tools=[Tool("now", "", CITY)]))
    with pytest.raises(Untranslatable, match="stop sequences"):
        RESPONSES.write_request(Asked("gpt-5", stop=["x"]))
