from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import cast

from proxy.engine.exchange import Exchange
from proxy.engine.record import Record, record_of
from proxy.model import Usage

NAMES = [f.name for f in dataclasses.fields(Record)]


def test_each_field_holds_what_its_name_says() -> None:
    price = SimpleNamespace(source="a table", digest="0a1b2c3d")
    target = SimpleNamespace(model="served", provider="local", price=price, footprint=None)
    footprint = SimpleNamespace(emits=lambda output: (output, output + 1), uses=lambda output: (output + 2, output + 3))
    used = SimpleNamespace(**{**vars(target), "footprint": footprint})
    first = SimpleNamespace(**{**vars(used), "model": "first"})
    left = SimpleNamespace(provider="local", model="first", cause="slow", words="too slow", usage=Usage(30, 4), cost=5, ns=6)
    route = SimpleNamespace(targets=(first, used), other=None, reason="local", why="simple", difficulty=0.25)
    grant = SimpleNamespace(team="payments", version="1.2.3", file_digest="fd", digest="pd")
    deny = SimpleNamespace(reason="budget_exceeded", rule="budgets/a.yaml:3", message="spent", remedy="wait")
    loop = SimpleNamespace(level="warn", header=lambda: "warn;rule=x;count=3", wasted=21, fresh=22)
    shown, call = SimpleNamespace(tool_calls=[SimpleNamespace(id="1", name="read")]), SimpleNamespace(operation="chat", stream=True)
    calls = [SimpleNamespace(id="1", name="read"), SimpleNamespace(id="2", name="send")]
    ex = SimpleNamespace(
        id="i", wall=2.5, agent="a", grant=grant, principal=SimpleNamespace(key_id="k"), session="s", session_source="header", run="r",
        parent="p", protocol="openai", call=call, asked_model="asked", target=used, route=route, left=[left], status=402,
        upstream_status=200, outcome="denied", deny=deny, usage=Usage(1, 2, 3, 4, 5, 1, False, (("input_audio", 1),)), cost=77, loop=loop,
        findings=[SimpleNamespace(rule="pii/email", detail="2")], decisions=[("policy", "yes")], marks={"closed": 9}, sizes=[11, 12],
        rt=SimpleNamespace(version="c7"), bill=lambda ex: (("c", "usd", 77),), meter=SimpleNamespace(tool_calls=calls), shown=shown,
        trace=SimpleNamespace(sampled=True, trace_id="ab" * 16), headers={},
    )  # fmt: skip
    expected = {
        "id": "i", "time": 2.5, "agent": "a", "team": "payments", "version": "1.2.3", "file_digest": "fd", "policy_digest": "pd",
        "key_id": "k", "session": "s", "session_source": "header", "run": "r", "parent": "p", "protocol": "openai", "operation": "chat",
        "stream": True, "model_asked": "asked", "model": "served", "provider": "local", "route": "fallback",
        "route_why": "local first was replaced (slow): too slow; simple", "difficulty": 0.25, "status": 402, "upstream_status": 200,
        "outcome": "denied", "reason": "budget_exceeded", "rule": "budgets/a.yaml:3", "message": "spent", "remedy": "wait",
        "input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3, "cache_write_tokens": 4, "cache_write_1h_tokens": 5,
        "reasoning_tokens": 1, "usage_exact": False, "cost": 77, "price": "a table", "loop": "warn;rule=x;count=3", "wasted": 21,
        "wasted_new": 22, "findings": (("pii/email", "2"),), "decisions": (("policy", "yes"),), "marks": {"closed": 9}, "bytes_in": 11,
        "bytes_out": 12, "config": "c7", "price_digest": "0a1b2c3d", "media": (("input_audio", 1),), "charges": (("c", "usd", 77),),
        "repriced": None, "saved": 0, "would_save": 0, "fallbacks": (("local", "first", "slow", 30, 4, 5, 6),), "trace_id": "ab" * 16,
        "tools": (("read", "passed"), ("send", "withheld")), "carbon_ug": 3 + 5, "carbon_ug_low": 2 + 4, "energy_uwh": 5 + 7,
        "energy_uwh_low": 4 + 6,
    }  # fmt: skip
    assert list(expected) == NAMES
    assert dataclasses.asdict(record_of(cast(Exchange, ex))) == expected
