"""Routing decisions through a real proxy: data that stays, hints, tasks that stay where they went, and what was saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from serving import Proxy, Raw, Simulator, post

AGENTS = """---
agents:
  - name: worker
    policy: {models: {allow: ["*"]}, routing: {local_ok: true}, budgets: {day: {usd: 0.01}}}
  - name: secret
    policy: {models: {allow: ["*"]}, data: {classification: restricted}}
  - name: european
    policy: {models: {allow: ["*"]}, data: {residency: [eu]}}
---
"""
SETTINGS = {
    "providers": {"anthropic": {"region": "eu"}, "openai": {"region": "us"}},
    "models": {"local/qwen3": {"context": 4096, "tools": True}},
    "routing": {"simple_to": "local/qwen3", "threshold": 0.35, "max_threshold": 0.9, "mode": "enforce", "local_only": ["restricted"]},
}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}
HARD = "Prove that the algorithm is correct, explain why, and derive its complexity: x^2 + 3x = 9. " * 20


@dataclass(frozen=True, slots=True)
class World:
    sim: Simulator
    proxy: Proxy

    def ask(self, agent: str, *messages: dict[str, Any], headers: dict[str, str] | None = None, **body: Any) -> Raw:
        given = {"authorization": f"Bearer {self.proxy.key(agent)}", **(headers or {})}
        full = {"model": "gpt-4o", "max_tokens": 20, "messages": list(messages), **body}
        return post(self.proxy.url + "/v1/chat/completions", full, given)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Simulator() as sim, Proxy(sim, agents=AGENTS, settings=SETTINGS, keys=("worker", "secret", "european")) as proxy:
        yield World(sim, proxy)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(("agent", "words"), [("secret", "restricted data stays on local models"), ("european", "data stays in eu")])
def test_data_that_must_stay_is_refused_and_sent_to_nobody(world: World, agent: str, words: str) -> None:
    before = world.sim.stats()["total"]
    reply = world.ask(agent, user("Hello"))
    assert reply.status == 403
    assert json.loads(reply.body)["fleetgate"]["reason"] == "policy_denied"
    assert words in json.loads(reply.body)["error"]["message"]
    assert world.sim.stats()["total"] == before


def test_data_goes_where_it_may(world: World) -> None:
    assert world.ask("secret", user("Hello"), model="local/qwen3").status == 200
    assert world.ask("european", user("Hello"), model="claude-sonnet-4-5").status == 200


def test_a_simple_task_goes_to_the_local_model_and_stays_there(world: World) -> None:
    session = {"x-fleetgate-session": "s-stays", "x-fleetgate-task": "classification"}
    begin = user("Classify as spam or not, with look: win a prize")
    first = world.ask("worker", begin, headers=session, tools=[LOOK], model="gpt-4o")
    assert first.status == 200
    score = first.headers["x-fleetgate-difficulty"]
    assert (first.headers["x-fleetgate-route"], first.headers["x-fleetgate-model"]) == ("local", "local/qwen3"), score
    said = json.loads(first.body)["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "seen"} for call in said["tool_calls"]]
    after = world.ask("worker", begin, said, *results, headers=session, tools=[LOOK])
    assert after.headers["x-fleetgate-route"] == "local"
    assert "x-fleetgate-difficulty" not in after.headers
    then = world.ask("worker", begin, said, *results, {"role": "assistant", "content": "spam"}, user(HARD), headers=session, tools=[LOOK])
    assert then.headers["x-fleetgate-route"] == "requested"


def test_what_does_not_fit_is_not_tried(world: World) -> None:
    reply = world.ask("worker", user("Translate into French: " + "good morning " * 3000), headers={"x-fleetgate-task": "translation"})
    assert reply.headers.get("x-fleetgate-route") != "local"


def test_the_record_says_what_was_saved_and_why(world: World) -> None:
    reply = world.ask("worker", user("Hello"), headers={"x-fleetgate-task": "question"})
    assert reply.headers["x-fleetgate-route"] == "local"
    record = next(r for r in world.proxy.records() if r["id"] == reply.headers["x-fleetgate-request-id"])
    assert record["saved"] > 0
    assert "hint question" in record["route_why"]
