"""`GET /fleetgate/v1/me`, `/v1/models` and the readiness of a real server: what a key may do and has left, and nothing to strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Proxy, Raw, Simulator, post

AGENTS = """---
agents:
  - name: clerk
    description: Files things
    version: 1.2.0
    maxTurns: 30
    policy:
      models: {allow: [gpt-4o-mini, "text-embedding-*"], default: gpt-4o-mini}
      tools: {allow: ["read_*"], deny: [read_secret]}
      budgets: {request: {max_output_tokens: 500}, day: {usd: 3}}
      loops: {identical: {warn: 2, block: 4}}
  - name: boss
    description: May do everything
    version: 1.0.0
    policy: {models: {allow: ["*"]}, mode: shadow}
---
"""
BUDGETS = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 10}, "window": "month"}]}


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with Simulator() as sim, Proxy(sim, agents=AGENTS, budgets=BUDGETS, keys=("clerk", "boss", "*")) as proxy:
        yield proxy


def get(proxy: Proxy, path: str, key: str = "clerk", **headers: str) -> Raw:
    auth = {"authorization": f"Bearer {proxy.key(key)}"} if key else {}
    return post(proxy.url + path, b"", auth | headers, method="GET")


def me(proxy: Proxy, *args: str, **headers: str) -> Any:
    reply = get(proxy, *args, **headers)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def test_me_says_what_this_key_may_do(proxy: Proxy) -> None:
    found = me(proxy, "/fleetgate/v1/me")
    assert (found["agent"], found["version"], found["mode"], found["default_model"]) == ("clerk", "1.2.0", "enforce", "gpt-4o-mini")
    assert (found["max_output_tokens"], found["max_turns"]) == (500, 30)
    assert found["loops"] == {"warn": 2, "block": 4}
    assert found["tools"][-1] == {"allow": ["read_*"], "deny": ["read_secret"], "source": "AGENTS.md:9 policy.tools.allow"}
    assert me(proxy, "/fleetgate/v1/me", "boss")["mode"] == "shadow"


def test_me_says_what_is_left_of_this_agents_budgets_alone(proxy: Proxy) -> None:
    def left() -> dict[str, float]:
        return {b["name"]: float(b["remaining"]) for b in me(proxy, "/fleetgate/v1/me")["budgets"] if b["unit"] == "usd"}

    before = left()
    assert set(before) == {"all", "agent:clerk/day/usd"}
    body = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    reply = post(proxy.url + "/v1/chat/completions", body, {"authorization": f"Bearer {proxy.key('clerk')}"})
    cost = float(reply.headers["x-fleetgate-cost-usd"])
    assert cost > 0
    after = left()
    assert {name: round((before[name] - after[name]) * 1e9) for name in before} == dict.fromkeys(before, round(cost * 1e9))


def test_me_by_prefix_and_by_header_with_a_fleet_key(proxy: Proxy) -> None:
    assert me(proxy, "/agent/clerk/fleetgate/v1/me", "*")["agent"] == "clerk"
    assert me(proxy, "/fleetgate/v1/me", "*", **{"x-fleetgate-agent": "boss"})["agent"] == "boss"
    assert get(proxy, "/agent/boss/fleetgate/v1/me", "clerk").status == 403, "a key cannot name another's agent"
    assert get(proxy, "/agent/nobody/fleetgate/v1/me", "*").status == 403


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer fg-clerk-wrong"}, {"x-api-key": "nonsense"}])
def test_me_tells_strangers_nothing(proxy: Proxy, headers: dict[str, str]) -> None:
    reply = get(proxy, "/fleetgate/v1/me", "", **headers)
    assert reply.status == 401
    assert json.loads(reply.body)["fleetgate"]["reason"] == "unauthenticated"
    assert b"clerk" not in reply.body
    assert proxy.record(reply.headers["x-fleetgate-request-id"])["reason"] == "unauthenticated"


def test_the_models_are_those_that_the_agent_may_use(proxy: Proxy) -> None:
    def names(key: str, **headers: str) -> set[str]:
        return {model["id"] for model in me(proxy, "/v1/models", key, **headers)["data"]}

    assert names("clerk") == {"gpt-4o-mini", "text-embedding-3-large", "text-embedding-3-small"}
    assert names("boss") > names("clerk")
    assert names("clerk", **{"anthropic-version": "2023-06-01"}) == set()
    assert any(name.startswith("claude-") for name in names("boss", **{"anthropic-version": "2023-06-01"}))


def test_readiness_and_health(proxy: Proxy) -> None:
    ready = json.loads(post(f"{proxy.admin_url}/readyz", b"", method="GET").body)
    assert (ready["ready"], ready["warming"], ready["draining"], ready["config_errors"]) == (True, False, False, [])
    foreign = json.loads(post(f"{proxy.admin_url}/readyz", b"", {"x-forwarded-for": "10.0.0.1"}, method="GET").body)
    assert foreign == {"ready": True}, "whoever is not authorised learns no more"
