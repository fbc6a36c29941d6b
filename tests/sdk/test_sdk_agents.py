"""OpenAI's Agents SDK (`Runner`, a function tool) through Fleetgate, over chat completions and over the Responses protocol, its default."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from agents import (
    Agent,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from sdk_cases import fleet, say
from watching import Watched

ANSWER = "The tool returned: 4 °C in Zürich. That is all I needed."
CALL: dict[str, Any] = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}]}
KINDS: dict[str, Callable[..., Model]] = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


@function_tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"4 °C in {city}"


@pytest.fixture(scope="module", autouse=True)
def untraced() -> None:
    """Traces would go to the vendor, past any proxy."""
    set_tracing_disabled(True)


@pytest.fixture(scope="module")
def served() -> Iterator[Watched]:
    with fleet("proxy") as found:
        assert found.proxy is not None
        yield Watched(found.sim, found.proxy)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest, served: Watched) -> str:
    served.calls()
    found: str = request.param
    return found


def run(served: Watched, kind: str, prompt: str, who: str = "tester", *, stream: bool = False, max_turns: int = 10) -> str:
    """What the agent says in the end."""

    async def main() -> str:
        async with AsyncOpenAI(base_url=f"{served.proxy.url}/v1", api_key=served.proxy.key(who), timeout=30) as client:
            model = KINDS[kind](model="gpt-4o", openai_client=client)
            settings = ModelSettings(include_usage=True)
            agent = Agent(name="Clerk", instructions="Be brief.", model=model, tools=[get_weather], model_settings=settings)
            if not stream:
                return str((await Runner.run(agent, prompt, max_turns=max_turns)).final_output)
            streamed = Runner.run_streamed(agent, prompt, max_turns=max_turns)
            kinds = {event.type async for event in streamed.stream_events()}
            assert "raw_response_event" in kinds
            return str(streamed.final_output)

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_text(served: Watched, kind: str, stream: bool) -> None:
    assert run(served, kind, "What is 17 + 4?", stream=stream) == "17 + 4 = 21."
    (record,) = served.records(1)
    assert (record["agent"], record["protocol"], record["stream"], record["status"]) == ("tester", "openai", stream, 200)
    assert (record["output_tokens"], record["usage_exact"]) == (5, True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_round_of_a_tool_is_one_session(served: Watched, kind: str, stream: bool) -> None:
    assert run(served, kind, say("Weather?", **CALL), stream=stream) == ANSWER
    assert [c["status"] for c in served.calls()] == [200, 200]
    records = served.records(2)
    assert [r["operation"] for r in records] == ["chat", "chat"]
    assert len({r["session"] for r in records}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_shown_once_and_not_retried(served: Watched, kind: str, stream: bool) -> None:
    with pytest.raises(openai.APIStatusError, match=r"Agent clerk may not use model gpt-4o: .*AGENTS\.md") as e:
        run(served, kind, "Hello", "clerk", stream=stream)
    assert e.value.code == "model_not_allowed"
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["reason"]) == ("clerk", "model_not_allowed")


def test_an_agent_that_goes_in_circles_is_stopped_before_its_own_ceiling(served: Watched, kind: str) -> None:
    prompt = say("Weather?", repeat_tool={"name": "get_weather", "arguments": {"city": "Zürich"}})
    with pytest.raises(openai.APIStatusError, match="get_weather"):
        run(served, kind, prompt, max_turns=50)
    calls = served.calls()
    assert len(calls) < 50
    assert [r["reason"] for r in served.records(len(calls) + 1)] == [""] * len(calls) + ["loop_detected"]
