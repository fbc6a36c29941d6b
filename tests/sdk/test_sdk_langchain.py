"""LangChain's agent (a LangGraph graph) through Fleetgate, over OpenAI's and Anthropic's protocols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr
from sdk_cases import fleet, say
from watching import Watched

ANSWER = "The tool returned: 4 °C in Zürich. That is all I needed."
CALL: dict[str, Any] = {"tool_calls": [{"name": "get_weather", "arguments": {"city": "Zürich"}}]}
KINDS = ("chat", "responses", "messages")
PROTOCOLS = {"chat": ("openai", "chat"), "responses": ("openai", "chat"), "messages": ("anthropic", "chat")}
REFUSED = (openai.PermissionDeniedError, anthropic.PermissionDeniedError)


@tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"4 °C in {city}"


TOOLS: list[BaseTool] = [get_weather]


@pytest.fixture(scope="module")
def served() -> Iterator[Watched]:
    with fleet("proxy") as found:
        assert found.proxy is not None
        yield Watched(found.sim, found.proxy)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, served: Watched) -> str:
    served.calls()
    found: str = request.param
    return found


def chat(served: Watched, kind: str, agent: str = "tester", **more: Any) -> BaseChatModel:
    url, key = served.proxy.url, SecretStr(served.proxy.key(agent))
    if kind != "messages":
        return ChatOpenAI(model="gpt-4o", base_url=f"{url}/v1", api_key=key, use_responses_api=kind == "responses", **more)
    return ChatAnthropic(model_name="claude-sonnet-5", base_url=url, api_key=key, **more)


def asked(text: str = "Hello", /, **wishes: Any) -> Any:
    return {"messages": [{"role": "user", "content": say(text, **wishes)}]}


def test_text(served: Watched, kind: str) -> None:
    assert chat(served, kind).invoke(say("What is 17 + 4?")).text == "17 + 4 = 21."
    (record,) = served.records(1)
    assert (record["agent"], record["stream"], record["status"]) == ("tester", False, 200)
    assert (record["protocol"], record["operation"]) == PROTOCOLS[kind]


def test_a_stream(served: Watched, kind: str) -> None:
    pieces = [chunk.text for chunk in chat(served, kind).stream(say("What is 17 + 4?")) if chunk.text]
    assert ("".join(pieces), len(pieces)) == ("17 + 4 = 21.", 5)
    (record,) = served.records(1)
    assert (record["stream"], record["status"], record["output_tokens"]) == (True, 200, 5)


def test_an_agent_uses_its_tool(served: Watched, kind: str) -> None:
    agent: Any = create_agent(chat(served, kind), TOOLS, system_prompt="Be brief.")
    done = agent.invoke(asked("Weather?", **CALL))
    assert [m.type for m in done["messages"]] == ["human", "ai", "tool", "ai"]
    assert done["messages"][-1].text == ANSWER
    assert [c["status"] for c in served.calls()] == [200, 200]
    records = served.records(2)
    assert len({r["session"] for r in records}) == 1, "told apart by system prompt and first message, and it is one conversation"


def test_an_agent_streams_and_names_its_session(served: Watched, kind: str) -> None:
    model = chat(served, kind, streaming=True, default_headers={"x-fleetgate-session": "thread-7"})
    agent: Any = create_agent(model, TOOLS, checkpointer=InMemorySaver())

    thread = {"configurable": {"thread_id": "thread-7"}}
    stream = agent.stream(asked("Weather?", **CALL), thread, stream_mode="messages")
    assert "".join(message.text for message, _ in stream if message.type == "AIMessageChunk") == ANSWER
    records = served.records(2)
    assert [(r["session"], r["session_source"], r["stream"]) for r in records] == [("tester/thread-7", "x-fleetgate-session", True)] * 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_refusal_ends_the_agent_and_is_not_retried(served: Watched, kind: str, streaming: bool) -> None:
    agent: Any = create_agent(chat(served, kind, "clerk", streaming=streaming), TOOLS)
    with pytest.raises(REFUSED, match=r"Agent clerk may not use model (gpt-4o|claude-sonnet-5): .*AGENTS\.md"):
        agent.invoke(asked())
    assert served.calls() == []
    (record,) = served.records(1)
    assert (record["agent"], record["reason"]) == ("clerk", "model_not_allowed")


def test_an_agent_that_goes_in_circles_is_stopped(served: Watched, kind: str) -> None:
    """By itself it goes on until its graph's own ceiling, which is set far away here."""
    agent: Any = create_agent(chat(served, kind), TOOLS)
    wish = {"repeat_tool": {"name": "get_weather", "arguments": {"city": "Zürich"}}}
    with pytest.raises(REFUSED, match="get_weather"):
        agent.invoke(asked("Weather?", **wish), {"recursion_limit": 200})
    calls = served.calls()
    records = served.records(len(calls) + 1)
    assert [r["reason"] for r in records] == [""] * len(calls) + ["loop_detected"]
