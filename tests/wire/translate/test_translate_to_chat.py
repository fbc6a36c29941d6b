"""Requests of Anthropic messages as OpenAI chat: each rule of docs/translation.md in a line."""

from __future__ import annotations

from typing import Any

import pytest
from translating import CHAT, MESSAGES, USER, carried

from proxy.wire.call import Edit
from proxy.wire.translate.hub import Untranslatable

BASE = {"model": "m", "messages": USER}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**SCHEMA, "required": ["a"], "additionalProperties": False}
TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}
FUNCTION = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "é"}}
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":"é"}'}}
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def to(**body: Any) -> dict[str, Any]:
    """What the chat provider is asked, beside what every request has; nothing may be left out."""
    found, dropped = carried(MESSAGES, CHAT, body)
    assert dropped == []
    return {key: value for key, value in found.items() if BASE.get(key) != value}


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"temperature": 0.7, "top_p": 0.5}, {"temperature": 0.7, "top_p": 0.5}),
        ({"stop_sequences": ["x"]}, {"stop": ["x"]}),
        ({"system": "s"}, {"messages": [{"role": "system", "content": "s"}, *USER]}),
        ({"system": [{"type": "text", "text": "s"}]}, {"messages": [{"role": "system", "content": "s"}, *USER]}),
        ({"system": []}, {}),
        ({"system": [{"type": "text", "text": ""}]}, {}),
        (
            {"messages": [*USER, {"role": "system", "content": "s"}, *USER]},
            {"messages": [*USER, {"role": "system", "content": "s"}, *USER]},
        ),
        ({"tools": [TOOL]}, {"tools": [FUNCTION]}),
        ({"tools": [{**TOOL, "type": "custom"}]}, {"tools": [FUNCTION]}),
        (
            {"tools": [{"name": "g", "strict": True}]},
            {
                "tools": [
                    {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True}}
                ]
            },
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "auto"}}, {"tools": [FUNCTION], "tool_choice": "auto"}),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tools": [FUNCTION], "tool_choice": "required"}),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, {"tools": [FUNCTION], "tool_choice": "none"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False}}},
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": CLOSED, "strict": True}}},
        ),
        (
            {"output_format": {"type": "json_schema", "schema": SCHEMA}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False}}},
        ),
    ],
)
def test_members(body: dict[str, Any], more: dict[str, Any]) -> None:
    assert to(**body) == more


@pytest.mark.parametrize(
    ("content", "written"),
    [
        ("a", "a"),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": ""}, PIXEL], [{"type": "text", "text": "a"}, SHOWN]),
        ([PIXEL], [SHOWN]),
        (
            [{"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}],
            [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
        ),
    ],
)
def test_what_the_user_says(content: Any, written: Any) -> None:
    assert to(messages=[{"role": "user", "content": content}]).get("messages", USER) == [{"role": "user", "content": written}]


def test_empty_turns_are_left_out() -> None:
    assert to(messages=[{"role": "user", "content": ""}, *USER, {"role": "assistant", "content": []}]) == {}


def test_results_follow_their_calls_and_what_came_with_them_follows_both() -> None:
    results = [
        {"type": "text", "text": "see"},
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"type": "tool_result", "tool_use_id": "toolu_3", "content": [PIXEL]},
        {"type": "tool_result", "tool_use_id": "toolu_4"},
    ]
    calls = [{**USE, "id": f"toolu_{n}"} for n in (1, 2, 3, 4)]
    turn = {"role": "assistant", "content": [{"type": "text", "text": "let me"}, *calls]}
    found = to(messages=[*USER, turn, {"role": "user", "content": results}])["messages"]
    assert found[1] == {"role": "assistant", "content": "let me", "tool_calls": [{**CALL, "id": f"toolu_{n}"} for n in (1, 2, 3, 4)]}
    assert found[2:6] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "toolu_3", "content": "(The images of this result follow.)"},
        {"role": "tool", "tool_call_id": "toolu_4", "content": ""},
    ]
    shown = {"type": "text", "text": "The images of the tool result toolu_3:"}
    assert found[6:] == [{"role": "user", "content": [shown, SHOWN, {"type": "text", "text": "see"}]}]


def test_a_tool_that_a_search_found_is_named() -> None:
    found = [{"type": "tool_reference", "tool_name": name} for name in ("f", "g")]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": found}]}
    written = to(messages=[*USER, {"role": "assistant", "content": [USE]}, result])["messages"]
    assert written[2] == {"role": "tool", "tool_call_id": "toolu_1", "content": "f\ng"}


def test_a_call_alone_has_no_content() -> None:
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}
    found = to(messages=[*USER, {"role": "assistant", "content": [USE]}, result])["messages"]
    assert found[1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("body", "dropped"),
    [
        ({"metadata": {"user_id": "u"}, "top_k": 5, "service_tier": "auto"}, ["metadata", "top_k", "service_tier"]),
        ({"cache_control": {"type": "ephemeral"}, "context_management": {"edits": []}}, ["cache_control", "context_management"]),
        ({"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}, ["messages/content/cache_control"]),
        ({"thinking": {"type": "disabled"}}, ["thinking"]),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, ["thinking"]),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, ["reasoning effort"]),
        ({"output_config": {"effort": "high", "new": 1}}, ["output_config/new", "reasoning effort"]),
        ({"tool_choice": {"type": "auto"}}, ["tool_choice without tools"]),
        ({"tools": [{**TOOL, "input_examples": [{"a": "x"}], "defer_loading": True}]}, ["tools/input_examples", "tools/defer_loading"]),
        (
            {"messages": [*USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}]}, *USER]},
            ["reasoning of earlier turns"],
        ),
        (
            {"messages": [*USER, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}, *USER]},
            ["reasoning of earlier turns"],
        ),
        (
            {"messages": [{"role": "user", "id": "m1", "content": [{"type": "text", "text": "a", "citations": [{"a": 1}]}]}]},
            ["messages/id", "messages/content/citations"],
        ),
    ],
)
def test_what_is_left_out_is_named(body: dict[str, Any], dropped: list[str]) -> None:
    found, names = carried(MESSAGES, CHAT, body)
    assert names == dropped
    assert set(found) <= {"model", "messages", "tools"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"container": "c"}, "/container: a container"),
        ({"prefill": "x"}, "/prefill: words put into"),
        ({"mcp_servers": [{"url": "x"}]}, "/mcp_servers: switches on mcp_toolset"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "/tools/0: a web_search_20250305 tool"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "/tools/0: a bash_20250124 tool"),
        ({"tools": [TOOL, {"type": "computer_20250124", "name": "computer"}]}, "/tools/1: a computer_20250124 tool"),
        ({"tools": [{**TOOL, "input_schema": "x"}]}, "/tools/0: not a JSON Schema"),
        ({"tools": [{**TOOL, "strict": 1}]}, "/tools/0/strict: neither"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "/tool_choice: neither"),
        ({"tools": [TOOL], "tool_choice": {"type": "some"}}, "/tool_choice: neither"),
        ({"tools": [TOOL], "tool_choice": {"type": []}}, "/tool_choice: not a text"),
        ({"output_config": {"format": {"type": "grammar"}}}, "/output_config/format: not a JSON Schema"),
        ({"output_format": 5}, "/output_config/format: not a JSON Schema"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "/messages/0: a message of the role tool"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}, "/messages/0/content/0: a document block"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]}, "an image that the provider keeps"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
            "an image that is neither",
        ),
        (
            {"messages": [*USER, {"role": "assistant", "content": [{"type": "server_tool_use", "id": "1", "name": "web_search"}]}]},
            "/messages/1/content/0: a server_tool_use block",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "document"}]}]},
                ]
            },
            "/messages/0/content/0/0: a document block",
        ),
        ({"system": [PIXEL]}, "/system/0: a image block"),
        ({"messages": [*USER, {"role": "assistant", "content": "The answer is"}]}, "(prefill)"),
        ({"messages": [*USER, {"role": "assistant", "content": [USE]}]}, "(prefill)"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(body: dict[str, Any], words: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        carried(MESSAGES, CHAT, body)
    assert words in str(refused.value)


def test_the_house_decides_model_and_ceiling() -> None:
    found, _ = carried(MESSAGES, CHAT, {"max_tokens": 90}, Edit(model="small:8b", max_output=7, max_output_key="max_tokens"))
    assert (found["model"], found["max_tokens"], "max_completion_tokens" in found) == ("small:8b", 7, False)
