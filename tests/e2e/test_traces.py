"""Traces of a real server at a real collector: one tree an exchange, the client's trace gone on with, providers told, nothing leaked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from collecting import Collector, Got
from serving import Proxy, Simulator, post

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = "AKIAIOSFODNN7CANARY2"
AGENTS = """---
name: tester
version: 2.1.0
policy:
  owner: {team: payments}
  models: {allow: ["*"], deny: ["gpt-4o-mini"]}
  tools: {allow: [get_weather], deny: [delete_all]}
  data: {secrets: redact}
---
"""
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as found:
        yield found


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as found:
        yield found


@pytest.fixture(scope="module")
def proxy(sim: Simulator, collector: Collector) -> Iterator[Proxy]:
    telemetry = {
        "otlp_endpoint": collector.url,
        "otlp_headers": {"x-api-key": "env:COLLECTOR_KEY"},
        "baggage": ["user.id"],
        "resource": {"deployment.environment.name": "test"},
    }
    with Proxy(sim, agents=AGENTS, settings={"telemetry": telemetry}, env={"COLLECTOR_KEY": "collector-secret"}) as found:
        yield found


def ask(proxy: Proxy, content: str = "What is 2 + 3?", headers: dict[str, str] | None = None, **more: Any) -> tuple[int, str]:
    """Ask for a chat completion; return the status and the request id."""
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": content}], **more}
    known = {"authorization": f"Bearer {proxy.key()}", "x-fleetgate-session": "s1"}
    got = post(f"{proxy.url}/v1/chat/completions", body, {**known, **(headers or {})})
    return got.status, got.headers["x-fleetgate-request-id"]


def by_kind(spans: list[Got]) -> dict[str, list[Got]]:
    found: dict[str, list[Got]] = {}
    for span in spans:
        found.setdefault(span.name.partition(" ")[0], []).append(span)
    return found


def test_an_exchange_is_one_tree_in_the_callers_trace(proxy: Proxy, sim: Simulator, collector: Collector) -> None:
    sim.reset()
    context = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1", "baggage": "user.id=ann,other=x"}
    status, request_id = ask(proxy, headers=context)
    assert status == 200
    spans = by_kind(collector.trace(request_id))
    (own,), (model,), (admit,) = spans["POST"], spans["chat"], spans["admit"]
    assert (own.kind, model.kind, admit.kind) == ("SERVER", "CLIENT", "INTERNAL")
    assert (own.trace_id, own.parent, model.parent, admit.parent) == (TRACE, SPAN, own.span_id, own.span_id)
    assert own.start <= admit.start <= admit.end <= model.start < model.end <= own.end
    said = own.attributes
    assert (said["gen_ai.agent.id"], said["gen_ai.agent.version"], said["fleetgate.team"]) == ("tester", "2.1.0", "payments")
    assert said["session.id"] == said["gen_ai.conversation.id"] == "tester/s1"
    assert (said["http.route"], said["http.response.status_code"], said["baggage.user.id"]) == ("/v1/chat/completions", 200, "ann")
    assert "baggage.other" not in said
    record = proxy.record(request_id)
    assert record["trace_id"] == TRACE
    assert model.attributes["gen_ai.usage.input_tokens"] == record["input_tokens"]
    assert model.attributes["gen_ai.usage.output_tokens"] == record["output_tokens"]
    assert model.attributes["llm.cost.total"] == pytest.approx(record["cost"] / 1e9)
    assert model.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert [(event["fleetgate.stage"], event["fleetgate.words"]) for _, event in own.events] == [tuple(d) for d in record["decisions"]]
    (call,) = sim.calls()
    assert call["headers"]["traceparent"] == f"00-{TRACE}-{model.span_id}-01"
    assert call["headers"]["tracestate"] == "vendor=1"
    assert "baggage" not in call["headers"]


def test_a_trace_that_begins_here_bears_the_request_id(proxy: Proxy, collector: Collector) -> None:
    _, request_id = ask(proxy, headers={"traceparent": "00-nonsense"})
    own = collector.trace(request_id)[0]
    assert (own.trace_id, own.parent) == (request_id, "")


def test_tool_calls_are_below_the_model_that_made_them(proxy: Proxy, collector: Collector) -> None:
    _, request_id = ask(proxy, "Use get_weather please", tools=TOOLS, stream=True)
    spans = by_kind(collector.trace(request_id))
    (tool,), (model,) = spans["execute_tool"], spans["chat"]
    assert tool.parent == model.span_id
    assert tool.attributes["gen_ai.tool.name"] == "get_weather"
    assert tool.attributes["fleetgate.tool.passed"] is True
    assert model.attributes["gen_ai.request.stream"] is True
    assert model.attributes["gen_ai.response.time_to_first_chunk"] > 0


def test_a_refusal_has_no_model_span_and_says_who_refused(proxy: Proxy, sim: Simulator, collector: Collector) -> None:
    sim.reset()
    status, request_id = ask(proxy, model="gpt-4o-mini")
    assert status == 403
    assert not sim.calls()
    spans = by_kind(collector.trace(request_id))
    assert set(spans) == {"POST", "admit", "run_guardrail"}
    (guard,) = spans["run_guardrail"]
    said = {key.removeprefix("gen_ai.guardrail."): value for key, value in guard.attributes.items()}
    assert (said["verdict.type"], said["action.type"]) == ("deny", "deny")
    assert said["security.policy.rule.id"] == "model_not_allowed"
    assert "AGENTS.md:" in said["security.policy.id"]
    assert not spans["POST"][0].error


def test_a_finding_says_what_was_done_about_it_and_no_secret_leaves(proxy: Proxy, collector: Collector) -> None:
    _, request_id = ask(proxy, f"My key is {CANARY}, what is 2 + 3?")
    spans = by_kind(collector.trace(request_id))
    (guard,) = [span for span in spans["run_guardrail"] if span.name == "run_guardrail secrets"]
    assert guard.attributes["gen_ai.guardrail.verdict.type"] == guard.attributes["gen_ai.guardrail.action.type"] == "modify"
    everything = json.dumps([(s.name, s.attributes, s.events) for s in collector.spans])
    assert CANARY not in everything
    assert proxy.key() not in everything
    assert "2 + 3" not in everything


def test_a_sub_agent_links_to_who_began_it(proxy: Proxy, collector: Collector) -> None:
    _, first = ask(proxy, headers={"x-fleetgate-session": "boss"})
    _, second = ask(proxy, headers={"x-fleetgate-session": "helper", "x-fleetgate-parent": "boss"})
    above = collector.trace(first)[0]
    assert collector.trace(second)[0].links == [(above.trace_id, above.span_id)]


def test_strangers_are_told_of_without_names(proxy: Proxy, collector: Collector) -> None:
    got = post(f"{proxy.url}/v1/chat/completions?key=fg_wrong", {"model": "x"}, {"authorization": "Bearer fg_nobodys_key"})
    assert got.status == 401
    own = collector.trace(got.headers["x-fleetgate-request-id"])[0]
    assert own.attributes["fleetgate.reason"] == "unauthenticated"
    assert "gen_ai.agent.id" not in own.attributes
    assert "fg_" not in json.dumps(own.attributes)
    got = post(f"{proxy.url}/nowhere/%E2%80%AE", {}, {})
    assert got.status == 404
    assert collector.trace(got.headers["x-fleetgate-request-id"])[0].name == "POST"


def test_the_collector_is_told_who_speaks(proxy: Proxy, collector: Collector) -> None:
    ask(proxy)
    collector.wait(lambda: bool(collector.resources))
    resource = collector.resources[0]
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("fleetgate", "test")
    assert collector.requests[0][1]["x-api-key"] == "collector-secret"
    assert "collector-secret" not in proxy.log()


def test_a_collector_that_hangs_changes_no_exchange_and_delays_the_end_by_a_bound(sim: Simulator) -> None:
    with Collector(hang=True) as there:
        telemetry = {"otlp_endpoint": there.url, "otlp_metrics_s": 1}
        with Proxy(sim, settings={"telemetry": telemetry}) as proxy:
            assert all(ask(proxy)[0] == 200 for _ in range(5))
        assert proxy.exit_code == 0
