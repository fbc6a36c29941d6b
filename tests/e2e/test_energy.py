"""Energy and carbon of a real server's calls: on the record, in the ledger, and in a budget that ends by grams."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ecologits.tracers.utils import llm_impacts

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import Proxy, Simulator, post

BUDGETS = """budgets:
  - {name: co2, scope: {agent: tester}, limit: {gco2e: 0.2}, window: month}
"""
AGENTS = """---
agents:
  - {name: tester, policy: {models: {allow: ["*"]}}}
  - name: frugal
    policy:
      models: {allow: ["*"]}
      budgets: {session: {gco2e: 0.02}}
---
"""
SETTINGS = {
    "energy": {"estimate": True, "zone": "FRA"},
    "models": {"ours": {"provider": "local", "price": {"input": 0, "output": 0}, "footprint": {"gco2e": 10}}},
}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as found:
        yield found


@pytest.fixture(scope="module")
def proxy(sim: Simulator) -> Iterator[Proxy]:
    with Proxy(sim, agents=AGENTS, budgets=BUDGETS, settings=SETTINGS, keys=("tester", "frugal")) as found:
        yield found


def ask(proxy: Proxy, model: str, max_tokens: int = 400, agent: str = "tester") -> Any:
    body = {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": '[[sim: {"tokens": 300}]]'}]}
    return post(f"{proxy.url}/v1/chat/completions", body, {"authorization": f"Bearer {proxy.key(agent)}"})


def test_calls_are_estimated_held_and_refused_by_grams(proxy: Proxy, sim: Simulator) -> None:
    first = ask(proxy, "gpt-4o")
    assert first.status == 200
    record = proxy.record(first.headers["x-fleetgate-request-id"])
    said: Any = llm_impacts("openai", "gpt-4o", record["output_tokens"], math.inf, "FRA")
    assert record["output_tokens"] == 300
    assert record["carbon_ug"] == pytest.approx(said.gwp.value.max * 1e9, rel=1e-3)
    assert 0 < record["carbon_ug_low"] < record["carbon_ug"]
    assert 0 < record["energy_uwh_low"] < record["energy_uwh"]
    assert [unit for _, unit, _ in record["charges"]] == ["gco2e"]
    assert record["charges"][0][2] == record["carbon_ug"]
    sim.reset()
    dear = ask(proxy, "ours")
    assert dear.status == 402
    assert "gCO2e" in json.loads(dear.body)["error"]["message"]
    unknown = ask(proxy, "local/qwen3")
    assert unknown.status == 403
    assert json.loads(unknown.body)["fleetgate"]["reason"] == "unpriced_model"
    assert not sim.calls()
    small = ask(proxy, "ours", 5)
    assert small.status == 200
    assert proxy.record(small.headers["x-fleetgate-request-id"])["carbon_ug"] == 5 * 10_000


def test_an_agent_is_held_to_the_grams_of_its_own_file(proxy: Proxy, sim: Simulator) -> None:
    sim.reset()
    dear = ask(proxy, "ours", agent="frugal")
    assert dear.status == 402
    said = json.loads(dear.body)["fleetgate"]
    assert (said["reason"], said["rule"]) == ("request_too_costly", "AGENTS.md:7 policy.budgets.session.gco2e (agent:frugal/session/gco2e)")
    assert not sim.calls()
    small = ask(proxy, "ours", 1, agent="frugal")
    assert small.status == 200
    assert [unit for _, unit, _ in proxy.record(small.headers["x-fleetgate-request-id"])["charges"]] == ["gco2e"]


def test_the_ledger_adds_up_and_check_warns(proxy: Proxy) -> None:
    table = proxy.command("ledger", "--by", "agent").stdout
    assert "GCO2E" in table
    assert " to " in table
    assert "GCO2E/H" in proxy.command("top", "--once").stdout
    (shown,) = [b for b in json.loads(proxy.command("budgets", "--json").stdout) if b["name"] == "co2"]
    assert (shown["unit"], shown["limit"]) == ("gco2e", "0.2")
    assert 0 < float(shown["spent"]) < 0.2
    checked = proxy.command("check")
    assert (
        "nobody knows what local/qwen3 emits, so budgets in gco2e (co2, agent:frugal/session/gco2e) refuse it"
        in checked.stdout + checked.stderr
    )
