"""Requests of Ollama's chat as a dialect of the hub."""

from __future__ import annotations

from typing import Any

import pytest
from hub_cases import ANYWHERE, CITY, PIXEL, asked_again, request, requests
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.base import Memos
from proxy.wire.call import Edit
from proxy.wire.translate.bridge import TARGETS, Bridge
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
from proxy.wire.translate.ollama import OllamaDialect

OLLAMA = OllamaDialect()
USER: dict[str, Any] = {"role": "user", "content": "Hi"}


def asks(**members: Any) -> Asked:
    return request(OLLAMA, {"model": "llama3", "messages": [USER], **members}, "llama3")


def writes(**members: Any) -> dict[str, Any]:
    return OLLAMA.write_request(Asked("llama3", [Turn("user", (Text("Hi"),))], **members))


@given(requests(), st.integers(0, 9) | st.none(), st.lists(st.sampled_from(["a", "§§"]), max_size=2))
def test_a_request_written_reads_as_itself(asked: Asked, seed: int | None, stop: list[str]) -> None:
    asked.seed, asked.stop = seed, stop
    assert asked_again(OLLAMA, asked) == asked
    assert asked.dropped == []


def test_every_kind_of_message_is_read() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look", "images": [PIXEL]},
        {
            "role": "assistant",
            "thinking": "Hm.",
            "content": "Let me see.",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Zürich"}}},
                {"function": {"name": "time", "arguments": '{"zone": 1}'}},
                {"id": "given", "function": {"name": "weather"}},
            ],
        },
        {"role": "tool", "tool_name": "time", "content": "noon"},
        {"role": "tool", "tool_name": "weather", "content": "4 °C"},
        {"role": "tool", "tool_call_id": "given", "content": ""},
    ]
    assert asks(messages=messages).turns == [
        Turn("system", (Text("Be brief."),)),
        Turn("user", (Text("Look"), Image("image/png", PIXEL))),
        Turn(
            "assistant",
            (
                Thought("Hm."),
                Text("Let me see."),
                ToolUse("call_0", "weather", '{"city":"Zürich"}'),
                ToolUse("call_1", "time", '{"zone": 1}'),
                ToolUse("given", "weather", "{}"),
            ),
        ),
        Turn("user", (ToolOutput("call_1", "time", (Text("noon"),)),)),
        Turn("user", (ToolOutput("call_0", "weather", (Text("4 °C"),)),)),
        Turn("user", (ToolOutput("given", "weather", ()),)),
    ]


def test_an_output_of_no_call_keeps_what_it_has() -> None:
    (turn,) = asks(messages=[{"role": "tool", "content": "x", "tool_name": "lost"}]).turns
    assert turn == Turn("user", (ToolOutput("call_0", "lost", (Text("x"),)),))


def test_ids_that_are_made_differ_from_those_given() -> None:
    calls = [{"id": "call_0", "function": {"name": "a"}}, {"function": {"name": "b"}}]
    (turn,) = asks(messages=[{"role": "assistant", "tool_calls": calls}]).turns
    assert [part.id for part in turn.parts if isinstance(part, ToolUse)] == ["call_0", "call_1"]


@pytest.mark.parametrize("head", ["/9j/4AAQ", "R0lGODlh", "UklGRiQA", PIXEL])
def test_the_type_of_an_image_shows_in_how_it_begins(head: str) -> None:
    (turn,) = asks(messages=[{"role": "user", "images": [head]}]).turns
    assert isinstance(turn.parts[0], Image)
    assert turn.parts[0].mime in ("image/jpeg", "image/gif", "image/webp", "image/png")


def test_options_format_and_thinking_are_read() -> None:
    asked = asks(
        options={"num_predict": 20, "temperature": 0, "top_p": 0.5, "stop": "x", "seed": 7.0, "num_ctx": 4096},
        format=CITY,
        think="low",
        tools=[{"type": "function", "function": {"name": "now", "description": "Time"}}],
        keep_alive="5m",
        whatever={"a": 1},
    )
    assert (asked.max_output, asked.temperature, asked.top_p, asked.stop, asked.seed) == (20, 0, 0.5, ["x"], 7)
    assert (asked.schema, asked.json, asked.effort) == (CITY, False, "low")
    assert asked.tools == [Tool("now", "Time", ANYWHERE)]
    assert asked.dropped == ["keep_alive", "whatever", "options/num_ctx"]
    assert asks(options={"num_predict": -1}).max_output is None
    assert asks(format="json").json
    assert (asks(format="").json, asks(format="").schema) == (False, None)
    assert (asks(think=True).effort, asks(think=False).effort) == ("medium", "none")


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"messages": "Hi"}, "/messages: not a list"),
        ({"messages": [{"role": "owner", "content": "x"}]}, "/messages/0: a message of the role owner"),
        ({"messages": [{"role": "system", "content": "x", "images": [PIXEL]}]}, "/messages/0: an image"),
        ({"messages": [{"role": "assistant", "images": [PIXEL]}]}, "/messages/0: an image"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "/messages/0: not a text"),
        ({"messages": [{"role": "user", "images": ["%%%"]}]}, "/messages/0: an image that is neither"),
        ({"messages": [{"role": "user", "images": ["AAAA"]}]}, "/messages/0: an image that is neither"),
        ({"messages": [{"role": "user", "images": PIXEL}]}, "/messages/0/images: not a list"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}, "/messages/0/tool_calls/0: a call of no function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": [1]}}]}]},
            "arguments that are no object",
        ),
        ({"tools": [{"type": "web_search"}]}, "/tools/0: a web_search tool"),
        ({"options": [1]}, "/options: not an object"),
        ({"options": {"seed": 1.5}}, "/seed: not a whole number"),
        ({"options": {"seed": 1e300}}, "/seed: not a whole number"),
        ({"options": {"temperature": "hot"}}, "/temperature: not a number"),
        ({"format": "xml"}, "/format: neither"),
        ({"think": 3}, "/think: not a text"),
        ({"logprobs": True}, "/logprobs: log probabilities"),
    ],
)
def test_what_cannot_be_carried_is_refused(members: dict[str, Any], what: str) -> None:
    with pytest.raises(Untranslatable, match=what.replace("[", r"\[")):
        asks(**members)


def test_a_request_without_messages_only_loads_a_model() -> None:
    codec = TARGETS["ollama.chat"]
    for body in (b'{"model":"m","messages":[]}', b'{"model":"m"}'):
        with pytest.raises(Untranslatable, match="/messages: none"):
            Bridge(codec, "openai.chat", codec.decode(body, Memos()), Edit())


def test_what_only_others_can_say_is_written_or_dropped() -> None:
    body = writes(
        tools=[Tool("now", "", ANYWHERE, strict=True), Tool("then", "Past", CITY)], choice="auto", parallel=False, effort="high", json=True
    )
    assert [tool["function"] for tool in body["tools"]] == [
        {"name": "now", "parameters": ANYWHERE},
        {"name": "then", "description": "Past", "parameters": CITY},
    ]
    assert (body["format"], body["stream"], "think" in body, "options" in body) == ("json", False, False, False)
    asked = Asked("llama3", tools=[Tool("now", "", ANYWHERE, strict=True)], parallel=False, effort="high")
    OLLAMA.write_request(asked)
    assert asked.dropped == ["strict tools", "parallel tool calls off", "reasoning effort"]
    assert "tools" not in writes(tools=[Tool("now", "", ANYWHERE)], choice="none")
    assert writes(effort="none")["think"] is False
    assert OLLAMA.write_request(Asked("gpt-oss:20b", effort="xhigh"))["think"] == "high"


@pytest.mark.parametrize("choice", ["any", "tool:now"])
def test_nobody_can_make_it_call_a_tool(choice: str) -> None:
    with pytest.raises(Untranslatable, match="tool_choice"):
        writes(tools=[Tool("now", "", ANYWHERE)], choice=choice)
    asked = Asked("m", [Turn("user", (Text("hi"),))], choice=choice)
    assert "tools" not in OllamaDialect().write_request(asked)
    assert asked.dropped == ["tool_choice without tools"]


def test_outputs_stand_before_what_the_user_says_and_their_images_after_them() -> None:
    picture = Image("image/png", PIXEL)
    outputs = (
        Text("And now?"),
        ToolOutput("1", "", (Text("a"), Text("b"), picture)),
        ToolOutput("2", "then", (Text("no"),), error=True),
        ToolOutput("", "", ()),
    )
    asked = Asked("m", [Turn("assistant", (Thought("Hm."), ToolUse("1", "now", "oops"))), Turn("user", outputs)])
    assert OLLAMA.write_request(asked)["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "function": {"name": "now", "arguments": {"INVALID_JSON": "oops"}}}],
        },
        {"role": "tool", "content": "a\nb", "tool_name": "now", "tool_call_id": "1"},
        {"role": "tool", "content": "Error: no", "tool_name": "then", "tool_call_id": "2"},
        {"role": "tool", "content": ""},
        {"role": "user", "content": "", "images": [PIXEL]},
        {"role": "user", "content": "And now?"},
    ]
    assert asked.dropped == ["reasoning of earlier turns"]
    assert OLLAMA.write_request(Asked("m", [Turn("assistant", (Thought("Hm."),))]))["messages"] == []
    with pytest.raises(Untranslatable, match="an image at an address"):
        OLLAMA.write_request(Asked("m", [Turn("user", (Image(url="https://example.com/a.png"),))]))
