"""LangChain's agent (a LangGraph graph) through Fleetgate, over OpenAI's and Anthropic's protocols."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
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
from langgraph.errors import GraphRecursionError
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


def test_an_agent_that_polls_runs_on_while_what_it_gets_changes(served: Watched, kind: str) -> None:
    """Fifty turns of one call with the same arguments and another answer each time: that is waiting, and no loop."""
    done = 0

    @tool
    def job_status(job: str) -> str:
        """State of a job."""
        nonlocal done
        done += 1
        return f"Job {job}: step {done} of 60 is done, {done * 37 % 101} records were written and {1000 - done * 13} are left."

    agent: Any = create_agent(chat(served, kind), [job_status])
    wish = {"repeat_tool": {"name": "job_status", "arguments": {"job": "nightly"}}}
    with pytest.raises(GraphRecursionError):
        agent.invoke(asked("Wait for it.", **wish), {"recursion_limit": 101})
    records = served.records(51)
    assert {r["reason"] for r in records} == {""}
    assert not [r["loop"] for r in records if r["loop"] and not r["loop"].startswith("warn")]
    assert done == 50
    served.calls()


def test_an_agent_that_goes_in_circles_is_helped_step_by_step_and_sees_nothing_of_it(served: Watched, kind: str) -> None:
    agent: Any = create_agent(chat(served, kind, "guided"), TOOLS, system_prompt="Be brief.")
    wish = {"repeat_tool": {"name": "get_weather", "arguments": {"city": "Zürich"}}}
    states = agent.stream(asked("Weather?", **wish), {"recursion_limit": 16}, stream_mode="values")
    seen: list[Any] = []
    with pytest.raises(GraphRecursionError):
        seen.extend(state["messages"] for state in states)
    calls = served.calls()
    records = served.records(len(calls))
    assert {c["status"] for c in calls} == {r["status"] for r in records} == {200}
    done = [r["loop"].partition("action=")[2] or r["loop"].partition(";")[0] for r in records]
    assert [word for word, _ in groupby(done)] == ["", "warn", "nudge", "persona", "strip_tools"]
    noted = ["[Note from the gateway" in str(c["body"]) for c in calls]
    assert noted == [word not in ("", "warn") for word in done]
    assert ["You debug." in str(c["body"]) for c in calls] == [word in ("persona", "strip_tools") for word in done]
    assert ["Be brief." in str(c["body"]) for c in calls] == [word not in ("persona", "strip_tools") for word in done]
    choices = [c["body"].get("tool_choice") for c in calls]
    assert [choice in ("none", {"type": "none"}) for choice in choices] == [word == "strip_tools" for word in done]
    heat = [c["body"].get("temperature") for c in calls]
    assert (heat[0], heat[-1]) == (None, None if kind == "messages" else 0.2), "newer Claude models refuse one"
    assert len(seen) > len(calls)
    assert "gateway" not in str(seen)
