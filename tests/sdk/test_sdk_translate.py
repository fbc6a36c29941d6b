"""The official SDKs before a provider of the other protocol: `anthropic` by an OpenAI-compatible server, `openai` by Anthropic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI
from sdk_cases import AGENTS, PIXEL, WEATHER, Fleet, say
from serving import Proxy, Simulator

CALLS: dict[str, Any] = {
    "tool_calls": [
        {"name": "get_weather", "arguments": {"city": "Zürich"}},
        {"name": "get_weather", "arguments": {"city": "Bern"}},
    ]
}
TOOLS: Any = [{"name": "get_weather", "description": "Weather", "input_schema": WEATHER, "cache_control": {"type": "ephemeral"}}]
FUNCTIONS: Any = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER}}]
LOCAL, CLAUDE = "local/qwen3", "claude-haiku-4-5"


@pytest.fixture(scope="module")
def served() -> Iterator[Fleet]:
    with Simulator() as sim, Proxy(sim, agents=AGENTS) as proxy:
        yield Fleet(sim, proxy)


@pytest.fixture
def claude(served: Fleet) -> Iterator[Anthropic]:
    target = served.target()
    served.sim.reset()
    with Anthropic(base_url=target.url, api_key=target.key, timeout=30, max_retries=0) as client:
        yield client


@pytest.fixture
def gpt(served: Fleet) -> Iterator[OpenAI]:
    target = served.target()
    served.sim.reset()
    with OpenAI(base_url=f"{target.url}/v1", api_key=target.key, timeout=30, max_retries=0) as client:
        yield client


def sent(served: Fleet) -> dict[str, Any]:
    """The body that the provider got last."""
    found: dict[str, Any] = served.sim.calls()[-1]["body"]
    return found


def user(text: str = "Hello", /, **wishes: Any) -> Any:
    return [{"role": "user", "content": say(text, **wishes)}]


# --- anthropic by an OpenAI-compatible server ------------------------------------------------------------------------------------


def test_a_message_with_a_system_prompt(served: Fleet, claude: Anthropic) -> None:
    done = claude.messages.create(
        model=LOCAL,
        max_tokens=100,
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        messages=user("What is 17 + 4?"),
        stop_sequences=["§"],
        extra_body={"temperature": 0.5},
    )
    assert [block.model_dump(include={"type", "text"}) for block in done.content] == [{"type": "text", "text": "17 + 4 = 21."}]
    assert (done.stop_reason, done.role, done.type, done.id[:4]) == ("end_turn", "assistant", "message", "msg_")
    assert done.usage.output_tokens == 5
    body = sent(served)
    assert body["model"] == "qwen3:8b"
    assert body["messages"][0] == {"role": "system", "content": [{"type": "text", "text": t} for t in ("Be brief.", "Be kind.")]}
    assert (body["max_tokens"], body["stop"], body["temperature"]) == (100, ["§"], 0.5)


def test_a_stream_with_thought_and_parallel_calls(claude: Anthropic) -> None:
    wishes: dict[str, Any] = {"text": "Let me look.", **CALLS}
    with claude.messages.stream(model=LOCAL, max_tokens=200, messages=user(**wishes), tools=TOOLS) as stream:
        built = stream.get_final_message()
    whole = claude.messages.create(model=LOCAL, max_tokens=200, messages=user(**wishes), tools=TOOLS)
    assert [b.type for b in whole.content] == ["text", "tool_use", "tool_use"]
    assert [b.input for b in whole.content if b.type == "tool_use"] == [{"city": "Zürich"}, {"city": "Bern"}]
    assert [b.model_dump(exclude={"parsed_output"}) for b in built.content] == [b.model_dump() for b in whole.content]
    assert (built.stop_reason, whole.stop_reason) == ("tool_use", "tool_use")
    assert built.usage.model_dump() == whole.usage.model_dump()
    assert whole.usage.input_tokens > 0


def test_tools_are_called_and_answered_with_an_error_and_an_image(served: Fleet, claude: Anthropic) -> None:
    asked = user("Weather?", **CALLS)
    done = claude.messages.create(model=LOCAL, max_tokens=200, messages=asked, tools=TOOLS, tool_choice={"type": "any"})
    one, two = [b for b in done.content if b.type == "tool_use"]
    assert one.id != two.id
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    results = [
        {"type": "tool_result", "tool_use_id": one.id, "content": "no such city", "is_error": True},
        {"type": "tool_result", "tool_use_id": two.id, "content": [{"type": "text", "text": "4 °C"}, image]},
    ]
    turn: Any = {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in done.content]}
    answered: Any = [*asked, turn, {"role": "user", "content": results}]
    after = claude.messages.create(model=LOCAL, max_tokens=200, messages=answered, tools=TOOLS)
    assert after.stop_reason == "end_turn"
    calls, first, second, shown = sent(served)["messages"][1:]
    assert [call["id"] for call in calls["tool_calls"]] == [one.id, two.id]
    assert first == {"role": "tool", "tool_call_id": one.id, "content": "Error: no such city"}
    assert second == {"role": "tool", "tool_call_id": two.id, "content": "4 °C"}
    assert shown["content"][1] == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


@pytest.mark.parametrize(("wish", "reason"), [({"tokens": 50}, "max_tokens"), ({"finish_reason": "content_filter"}, "refusal")])
def test_reasons_to_stop(claude: Anthropic, wish: dict[str, Any], reason: str) -> None:
    assert claude.messages.create(model=LOCAL, max_tokens=5, messages=user(**wish)).stop_reason == reason


def test_cached_and_reasoning_tokens(claude: Anthropic) -> None:
    wishes: dict[str, Any] = {"tokens": 3, "cached": 900, "reasoning": 6}
    usage = claude.messages.create(model="gpt-4o-mini", max_tokens=50, messages=user("word " * 1000, **wishes)).usage
    assert (usage.cache_read_input_tokens, usage.output_tokens) == (900, 9)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 6
    assert usage.input_tokens > 90


def test_what_is_left_out_shows_and_what_cannot_be_said_is_refused(served: Fleet, claude: Anthropic) -> None:
    raw = claude.messages.with_raw_response.create(model=LOCAL, max_tokens=9, messages=user(), tools=TOOLS, metadata={"user_id": "u"})
    assert raw.headers["x-fleetgate-findings"] == "translate/dropped"
    served.sim.reset()
    search: Any = [{"type": "web_search_20250305", "name": "web_search"}]
    with pytest.raises(anthropic.PermissionDeniedError) as refused:
        claude.messages.create(model=LOCAL, max_tokens=9, messages=user(), tools=search)
    assert "/tools/0: a web_search_20250305 tool" in str(refused.value)
    with pytest.raises(anthropic.PermissionDeniedError) as refused:
        claude.messages.count_tokens(model=LOCAL, messages=user())
    assert "count_tokens is not translated" in str(refused.value)
    assert served.sim.calls() == []


def test_errors_are_the_sdks_own(claude: Anthropic) -> None:
    with pytest.raises(anthropic.RateLimitError) as limited:
        claude.messages.create(model=LOCAL, max_tokens=9, messages=user(status=429, message="slow down"))
    assert limited.value.type == "rate_limit_error"
    with (
        pytest.raises(anthropic.APIStatusError),
        claude.messages.stream(model=LOCAL, max_tokens=99, messages=user(tokens=9, error_after=4)) as s,
    ):
        s.get_final_message()


# --- openai by Anthropic -----------------------------------------------------------------------------------------------------------


def test_a_chat_with_an_image(served: Fleet, gpt: OpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "What is 1 + 1?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    done = gpt.chat.completions.create(model=CLAUDE, messages=messages)
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("1 + 1 = 2.", "stop")
    assert (done.id[:9], done.object, done.model) == ("chatcmpl-", "chat.completion", CLAUDE)
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    body = sent(served)
    assert (body["system"], body["max_tokens"]) == ("Be brief.", 8192)
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert body["messages"][0]["content"][1] == {"type": "image", "source": source}


def test_a_stream_of_parallel_calls_and_their_answers(served: Fleet, gpt: OpenAI) -> None:
    asked = user("Weather?", text="Let me look.", **CALLS)
    with gpt.chat.completions.stream(model=CLAUDE, messages=asked, tools=FUNCTIONS, stream_options={"include_usage": True}) as stream:
        built = stream.get_final_completion()
    message = built.choices[0].message
    assert (message.content, built.choices[0].finish_reason) == ("Let me look.", "tool_calls")
    assert [json.loads(call.function.arguments) for call in message.tool_calls or ()] == [{"city": "Zürich"}, {"city": "Bern"}]
    whole = gpt.chat.completions.create(model=CLAUDE, messages=asked, tools=FUNCTIONS)
    assert [c.id for c in whole.choices[0].message.tool_calls or ()] == [c.id for c in message.tool_calls or ()]
    assert built.usage == whole.usage
    results = [{"role": "tool", "tool_call_id": call.id, "content": "4 °C"} for call in message.tool_calls or ()]
    turn: Any = [*asked, message.model_dump(exclude_none=True, exclude={"parsed"}), *results, {"role": "user", "content": "Well?"}]
    gpt.chat.completions.create(model=CLAUDE, messages=turn, tools=FUNCTIONS, parallel_tool_calls=False)
    body = sent(served)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert [b["type"] for b in body["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_a_stream_says_usage_only_where_it_was_asked(gpt: OpenAI) -> None:
    plain = list(gpt.chat.completions.create(model=CLAUDE, messages=user(tokens=3), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)
    asked = list(gpt.chat.completions.create(model=CLAUDE, messages=user(tokens=3), stream=True, stream_options={"include_usage": True}))
    assert asked[-1].usage is not None
    assert (asked[-1].usage.completion_tokens, asked[-2].choices[0].finish_reason) == (3, "stop")


def test_cached_tokens_are_part_of_the_prompt(gpt: OpenAI) -> None:
    usage = gpt.chat.completions.create(model=CLAUDE, messages=user(tokens=3, cached=900, cache_write=20, cache_write_1h=7)).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens) == (927, 900, 3)


def test_the_ceiling_is_kept(gpt: OpenAI) -> None:
    done = gpt.chat.completions.create(model=CLAUDE, messages=user(tokens=50), max_completion_tokens=5)
    assert done.choices[0].finish_reason == "length"


def test_a_chat_that_cannot_be_carried_is_refused(served: Fleet, gpt: OpenAI) -> None:
    custom: Any = [{"type": "custom", "custom": {"name": "shell"}}]
    prefill: Any = [*user(), {"role": "assistant", "content": "The answer is"}]
    for case in (
        {"tools": custom, "messages": user()},
        {"messages": user(), "n": 2},
        {"messages": user(), "logprobs": True},
        {"messages": prefill},
    ):
        with pytest.raises(openai.PermissionDeniedError) as refused:
            gpt.chat.completions.create(model=CLAUDE, **case)
        assert refused.value.code == "model_not_allowed"
    assert served.sim.calls() == []


def test_chat_errors_are_the_sdks_own(gpt: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        gpt.chat.completions.create(model=CLAUDE, messages=user(status=529))
    with pytest.raises(openai.APIError):
        list(gpt.chat.completions.create(model=CLAUDE, messages=user(tokens=9, error_after=4), stream=True))
