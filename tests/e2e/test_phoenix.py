"""Agents, sessions, tokens and cost in a real Arize Phoenix that gets the traces of a real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from phoenix_server import Phoenix, python
from serving import Proxy, Simulator, post

pytestmark = pytest.mark.timeout(500)
AGENTS = """---
agents:
  - name: triage
    policy: {models: {allow: ["*"]}, tools: {allow: ["*"]}, data: {secrets: warn, log_content: full}}
  - name: writer
    policy: {models: {allow: ["*"], deny: [gpt-4o-mini]}}
---
"""
PROJECT = "fleet"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]
SUMS = """{ projects { edges { node { name traceCount tokenCountPrompt tokenCountCompletion costSummary { total { cost } }
  sessions(first: 50) { edges { node { sessionId numTraces tokenUsage { total } costSummary { total { cost } } } } } } } } }"""


@pytest.fixture(scope="module")
def phoenix() -> Iterator[Phoenix]:
    program = python()
    if isinstance(program, str):
        pytest.skip(program)
    with Phoenix(program) as found:
        yield found


@pytest.fixture(scope="module")
def records(phoenix: Phoenix) -> list[dict[str, Any]]:
    """Some traffic, and what the ledger says of it, once Phoenix has it too."""
    telemetry = {"otlp_endpoint": phoenix.url, "resource": {"openinference.project.name": PROJECT}, "capture": True}
    with Simulator() as sim, Proxy(sim, agents=AGENTS, settings={"telemetry": telemetry}, keys=("triage", "writer")) as proxy:

        def ask(agent: str, session: str, content: str, **more: Any) -> int:
            headers = {"authorization": f"Bearer {proxy.key(agent)}", "x-fleetgate-session": session}
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}
            return post(f"{proxy.url}/v1/chat/completions", body, headers).status

        assert ask("triage", "t1", "What is 2 + 3?") == 200
        assert ask("triage", "t1", "Use get_weather please", tools=TOOLS, stream=True, stream_options={"include_usage": True}) == 200
        assert ask("triage", "t2", "My key is AKIAIOSFODNN7EXAMPLF") == 200
        assert ask("writer", "w1", "Write.", model="gpt-4o-mini") == 403
        found = proxy.records(4)
        phoenix.until(lambda: len({span["context"]["trace_id"] for span in phoenix.spans(PROJECT)}) == 4)
    return found


@pytest.fixture(scope="module")
def project(phoenix: Phoenix, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What Phoenix adds up, once it has worked out what things cost."""

    def look() -> dict[str, Any]:
        nodes = [edge["node"] for edge in phoenix.ask(SUMS)["projects"]["edges"]]
        found: dict[str, Any] = next(node for node in nodes if node["name"] == PROJECT)
        return found

    phoenix.until(
        lambda: all(s["node"]["costSummary"]["total"]["cost"] for s in look()["sessions"]["edges"] if s["node"]["tokenUsage"]["total"])
    )
    return look()


def test_each_exchange_is_a_trace_of_its_agent(phoenix: Phoenix, records: list[dict[str, Any]], project: dict[str, Any]) -> None:
    assert project["traceCount"] == 4
    own = {span["context"]["trace_id"]: span for span in phoenix.spans(PROJECT) if span["parent_id"] is None}
    assert {span["span_kind"] for span in own.values()} == {"AGENT"}
    assert {id: own[id]["attributes"]["agent.name"] for id in own} == {record["id"]: record["agent"] for record in records}


def test_sessions_appear_with_their_tokens(records: list[dict[str, Any]], project: dict[str, Any]) -> None:
    sessions = {edge["node"]["sessionId"]: edge["node"] for edge in project["sessions"]["edges"]}
    assert {name: node["numTraces"] for name, node in sessions.items()} == {"triage/t1": 2, "triage/t2": 1, "writer/w1": 1}
    for name, node in sessions.items():
        assert node["tokenUsage"]["total"] == sum(r["input_tokens"] + r["output_tokens"] for r in records if r["session"] == name), name


def test_tokens_and_cost_are_the_ledgers(phoenix: Phoenix, records: list[dict[str, Any]], project: dict[str, Any]) -> None:
    assert project["tokenCountPrompt"] == sum(record["input_tokens"] for record in records)
    assert project["tokenCountCompletion"] == sum(record["output_tokens"] for record in records)
    charged = sum(record["cost"] for record in records) / 1e9
    sent = [span["attributes"]["llm.cost.total"] for span in phoenix.spans(PROJECT) if span["span_kind"] == "LLM"]
    assert sum(sent) == pytest.approx(charged)
    assert project["costSummary"]["total"]["cost"] == pytest.approx(charged, rel=0.01), "by Phoenix' own prices"


def test_models_tools_and_guards_are_what_they_are(phoenix: Phoenix, records: list[dict[str, Any]]) -> None:
    spans = phoenix.spans(PROJECT)
    kinds = {kind: sorted(span["name"] for span in spans if span["span_kind"] == kind) for kind in {span["span_kind"] for span in spans}}
    assert kinds["LLM"] == ["chat gpt-4o"] * 3
    assert kinds["TOOL"] == ["execute_tool get_weather"]
    assert "run_guardrail secrets" in kinds["GUARDRAIL"]
    models = [span["attributes"] for span in spans if span["span_kind"] == "LLM"]
    assert all(said["output.value"] for said in models)
    heard = " ".join(said["input.value"] for said in models)
    assert "What is 2 + 3?" in heard
    assert "[AWS_KEY]" in heard
    assert "AKIAIOSFODNN7EXAMPLF" not in heard
    assert {(said["llm.model_name"], said["llm.provider"]) for said in models} == {("gpt-4o", "openai")}
