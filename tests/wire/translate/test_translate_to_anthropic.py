"""Requests of OpenAI chat as Anthropic messages: each rule of docs/translation.md in a line."""

from __future__ import annotations

from typing import Any

import pytest
from translating import CHAT, MESSAGES, USER, carried

from proxy.wire.call import Edit
from proxy.wire.translate.hub import Untranslatable

BASE = {"model": "m", "max_tokens": 8192, "messages": [{"role": "user", "content": "hi"}]}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
TOOL = {"name": "f", "description": "d", "input_schema": FUNCTION["parameters"]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":"x"}'}}
USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": "x"}}


def to(**body: Any) -> dict[str, Any]:
    """What Anthropic is asked, beside what every request has; nothing may be left out."""
    found, dropped = carried(CHAT, MESSAGES, body)
    assert dropped == []
    return {key: value for key, value in found.items() if BASE.get(key) != value}


def said(*messages: Any) -> Any:
    return to(messages=[*messages])


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ({}, {}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 4}, {"max_tokens": 5}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"stop": "x"}, {"stop_sequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
        ({"stop": None, "seed": None, "tools": None, "tool_choice": None, "logprobs": False, "modalities": ["text"], "n": 1}, {}),
        ({"tools": TOOLS}, {"tools": [TOOL]}),
        (
            {"tools": [{"type": "function", "function": {"name": "g"}}]},
            {"tools": [{"name": "g", "input_schema": {"type": "object", "properties": {}}}]},
        ),
        (
            {"tools": [{"function": {"name": "g", "parameters": {"properties": {}}, "strict": True}}]},
            {"tools": [{"name": "g", "input_schema": {"type": "object", "properties": {}}, "strict": True}]},
        ),
        ({"tools": TOOLS, "tool_choice": "auto"}, {"tools": [TOOL], "tool_choice": {"type": "auto"}}),
        ({"tools": TOOLS, "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": {"type": "any"}}),
        ({"tools": TOOLS, "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": {"type": "none"}}),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
        ),
        (
            {"tools": TOOLS, "parallel_tool_calls": False},
            {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        (
            {"tools": TOOLS, "parallel_tool_calls": True, "tool_choice": "required"},
            {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": False}},
        ),
        ({"tools": TOOLS, "parallel_tool_calls": True, "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": {"type": "none"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
    ],
)
def test_members(body: dict[str, Any], more: dict[str, Any]) -> None:
    assert to(**body) == more


@pytest.mark.parametrize(
    ("messages", "system", "written"),
    [
        ([{"role": "system", "content": "s"}, *USER], "s", USER),
        ([{"role": "developer", "content": "s"}, *USER], "s", USER),
        (
            [{"role": "system", "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}]}, *USER],
            [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}],
            USER,
        ),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], None, USER),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], None, [[{"type": "text", "text": t} for t in "ab"]]),
        ([{"role": "user", "content": ""}, *USER, {"role": "assistant", "content": None}, {"role": "user", "content": []}], None, USER),
        ([*USER, {"role": "assistant", "content": "", "refusal": "no"}, *USER], None, ["hi", "no", "hi"]),
        ([*USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, *USER], None, ["hi", "no", "hi"]),
    ],
)
def test_messages(messages: Any, system: Any, written: Any) -> None:
    found = {"messages": USER, **said(*messages)}
    roles = ["user", "assistant", "user"]
    plain = [m if isinstance(m, dict) else {"role": role, "content": m} for m, role in zip(written, roles, strict=False)]
    assert (found.get("system"), found["messages"]) == (system, plain)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("data:image/png;base64,AAAA", {"type": "base64", "media_type": "image/png", "data": "AAAA"}),
        ("https://x.test/a.png", {"type": "url", "url": "https://x.test/a.png"}),
    ],
)
@pytest.mark.parametrize("inner", [True, False])
def test_images(url: str, source: Any, inner: bool) -> None:
    image = {"type": "image_url", "image_url": {"url": url, "detail": "auto"} if inner else url}
    found = said({"role": "user", "content": [{"type": "text", "text": "see"}, image]})
    assert found["messages"] == [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image", "source": source}]}]


def test_calls_and_their_results_are_two_turns() -> None:
    calls = [CALL, {**CALL, "id": "call_2", "function": {"name": "f", "arguments": ""}}]
    found = said(
        *USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
        {"role": "user", "content": "go on"},
    )
    assert found["messages"][1:] == [
        {"role": "assistant", "content": [USE, {**USE, "id": "call_2", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": t} for t in ("two", "three")]},
                {"type": "text", "text": "go on"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        ("{}", {}),
        (" ", {}),
        ({"a": "x"}, {"a": "x"}),
        ('{"a":', {"INVALID_JSON": '{"a":'}),
        ("[1]", {"INVALID_JSON": "[1]"}),
        ('{"a":"\\ud800"}', {"a": "\ud800"}),
    ],
)
def test_arguments_that_are_no_object_are_handed_on_as_a_text(arguments: Any, input: Any) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    found = said(*USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": ""})
    assert found["messages"][1]["content"] == [{**USE, "input": input}]
    assert found["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "call_1"}]


def test_ids_keep_to_the_letters_that_are_allowed() -> None:
    call = {**CALL, "id": "functions.f:0"}
    result = {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"}
    found = said(*USER, {"role": "assistant", "tool_calls": [call]}, result)
    assert found["messages"][1]["content"][0]["id"] == found["messages"][2]["content"][0]["tool_use_id"] == "functions_f_0"


@pytest.mark.parametrize(
    ("body", "dropped"),
    [
        ({"seed": 1}, ["seed"]),
        ({"temperature": 1.5}, ["temperature above 1"]),
        ({"temperature": 0.5, "top_p": 0.5}, ["top_p beside temperature"]),
        ({"reasoning_effort": "high"}, ["reasoning effort"]),
        ({"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "flex"}, ["user", "metadata", "store", "service_tier"]),
        ({"frequency_penalty": 0.1, "presence_penalty": 0.1, "verbosity": "low"}, ["frequency_penalty", "presence_penalty", "verbosity"]),
        ({"prompt_cache_key": "k", "prediction": {"type": "content", "content": "x"}}, ["prompt_cache_key", "prediction"]),
        ({"x_new": {"a": 1}}, ["x_new"]),
        ({"x" * 99: 1}, ["x" * 64]),
        ({"tool_choice": "auto"}, ["tool_choice without tools"]),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, ["stream_options/include_obfuscation"]),
        ({"messages": [{"role": "user", "name": "bob", "content": "hi"}]}, ["messages/name"]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]},
            ["messages/content/cache_control"],
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}, ["tools/x"]),
        (
            {"messages": [*USER, {"role": "assistant", "content": "a", "reasoning_content": "r"}, *USER]},
            ["reasoning of earlier turns"],
        ),
        (
            {"messages": [*USER, {"role": "assistant", "reasoning": "r"}, *USER]},
            ["reasoning of earlier turns"],
        ),
        ({"messages": [*USER, {"role": "system", "content": "s"}, *USER]}, ["the place of a system message"]),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a", "detail": "low"}}]},
                ]
            },
            ["image detail"],
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {}}}},
            ["response_format/description"],
        ),
    ],
)
def test_what_is_left_out_is_named(body: dict[str, Any], dropped: list[str]) -> None:
    found, names = carried(CHAT, MESSAGES, body)
    assert names == dropped
    assert not set(found) - {"model", "max_tokens", "messages", "temperature", "stream", "system", "tools", "output_config"}


def test_names_of_what_is_left_out_are_bounded() -> None:
    assert len(carried(CHAT, MESSAGES, {f"x{i}": 1 for i in range(99)})[1]) == 32


def test_a_temperature_that_anthropic_does_not_have_is_lowered() -> None:
    assert carried(CHAT, MESSAGES, {"temperature": 1.5})[0]["temperature"] == 1


def test_a_system_message_that_moves_up_is_still_the_systems() -> None:
    found, _ = carried(CHAT, MESSAGES, {"messages": [{"role": "system", "content": "s"}, *USER, {"role": "system", "content": "t"}]})
    assert found["system"] == [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}]
    assert found["messages"] == USER


def test_a_conversation_of_the_system_alone_moves_nowhere() -> None:
    found, dropped = carried(CHAT, MESSAGES, {"messages": [{"role": "system", "content": "s"}]})
    assert (found["system"], found["messages"], dropped) == ("s", [], [])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"n": 2}, "several answers to one request"),
        ({"functions": [{"name": "f"}]}, "/functions: the old form of tools"),
        ({"function_call": "auto"}, "/function_call: the old form of tools"),
        ({"logprobs": True}, "/logprobs: log probabilities"),
        ({"top_logprobs": 2}, "/top_logprobs: log probabilities"),
        ({"logit_bias": {"5": 1}}, "/logit_bias: tokens"),
        ({"audio": {"voice": "a"}}, "/audio: a spoken answer"),
        ({"modalities": ["text", "audio"]}, "/modalities: an answer that is not text"),
        ({"moderation": {"model": "omni-moderation-latest"}}, "/moderation: "),
        ({"web_search_options": {"a": 1}}, "/web_search_options: switches on web_search"),
        ({"enable_search": True}, "/enable_search: switches on web_search"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "/tools/0: a custom tool, which"),
        ({"tools": [*TOOLS, {"type": "web_search"}]}, "/tools/1: a web_search tool, which"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "/tool_choice: neither"),
        ({"tools": TOOLS, "tool_choice": "always"}, "/tool_choice: neither"),
        ({"response_format": {"type": "json_object"}}, "/response_format: JSON of any shape"),
        ({"response_format": {"type": "grammar"}}, "/response_format: neither"),
        ({"response_format": "json"}, "/response_format: neither"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": 5}}}, "/response_format: not a JSON Schema"),
        ({"stop": ["\n"]}, "/stop: a stop sequence of white space alone"),
        ({"stop": [5]}, "/stop: not a text"),
        ({"temperature": "hot"}, "/temperature: not a number"),
        ({"temperature": True}, "/temperature: not a number"),
        ({"seed": 1.5}, "/seed: not a whole number"),
        ({"parallel_tool_calls": "yes"}, "/parallel_tool_calls: neither true nor false"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "/messages/0: a message of the role function"),
        ({"messages": [*USER, {"role": "assistant", "function_call": {"name": "f"}}]}, "/messages/function_call: the old form"),
        ({"messages": [*USER, {"role": "assistant", "audio": {"id": "a"}}]}, "/messages/audio: a spoken answer"),
        ({"messages": [{"role": "user", "content": 5}]}, "/messages/0/content: not a list of objects"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "/messages/0/content/0: not a text"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "/messages/0/content/0: a input_audio part"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "/messages/0/content/0: a file part"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url"}]}]}, "/messages/0/content/0: a image_url part"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
            "/messages/0/content/0: an image that is neither",
        ),
        (
            {"messages": [*USER, {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f"}}]}]},
            "/messages/1/tool_calls/0: a call of a custom tool",
        ),
        ({"messages": [*USER, {"role": "assistant", "content": "The answer is"}]}, "the last one is the assistant's (prefill)"),
        ({"messages": [*USER, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}]}, "(prefill)"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(body: dict[str, Any], words: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        carried(CHAT, MESSAGES, body)
    assert words in str(refused.value)


def test_the_house_decides_model_and_ceiling() -> None:
    found, _ = carried(CHAT, MESSAGES, {"max_tokens": 90}, Edit(model="claude", max_output=7, max_output_key="max_tokens"))
    assert (found["model"], found["max_tokens"]) == ("claude", 7)
