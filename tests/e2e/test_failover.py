"""Providers that are down, over real sockets: who is asked next, what is sent again, who is left alone, and what it costs."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from broken import Broken

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import Proxy, Raw, Simulator, free_port, post

CHAT = "/v1/chat/completions"
DEAR = {"input": 1000, "output": 1000}
CHEAP = {"input": 1, "output": 1}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(autouse=True)
def fresh(sim: Simulator) -> None:
    sim.reset()


def served(sim: Simulator, first: str, behind: Any, *, first_more: Mapping[str, Any] | None = None, **settings: Any) -> Proxy:
    """A proxy whose model `m` is served by `first` (a base URL), and by the simulator's providers behind it."""
    own = {
        "providers": {"first": {"protocols": ["openai"], "base_url": first, "api_key": "env:SIM_PROVIDER_KEY", **(first_more or {})}},
        "models": {"m": {"provider": "first", "price": CHEAP, "failover": behind}},
        **settings,
    }
    return Proxy(sim, settings=own, budgets={"budgets": [{"name": "b", "scope": {"fleet": "*"}, "limit": {"usd": 1}, "window": "total"}]})


def ask(proxy: Proxy, model: str = "m", **more: Any) -> Raw:
    body = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}], **more}
    return post(proxy.url + CHAT, body, {"authorization": f"Bearer {proxy.key()}"})


def admin(proxy: Proxy, path: str) -> Any:
    with urllib.request.urlopen(proxy.admin_url + path, timeout=10) as reply:
        return reply.read()


def story(proxy: Proxy, reply: Raw) -> list[str]:
    """What the exchange's record says about the upstream, in order."""
    record = proxy.record(reply.headers["x-fleetgate-request-id"])
    return [words for stage, words in record["decisions"] if stage == "upstream"]


BEHIND = {"openai": {"upstream_model": "gpt-4o-mini", "price": {"input": 2, "output": 2}}}


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
def test_a_provider_that_cannot_be_reached_is_replaced_at_its_own_price(sim: Simulator, transport: str) -> None:
    dead = f"http://127.0.0.1:{free_port()}/v1"
    with served(sim, dead, BEHIND, upstream={"transport": transport}) as proxy:
        for stream in (False, True):
            sim.reset()
            reply = ask(proxy, stream=stream)
            assert (reply.status, reply.headers["x-fleetgate-route"], reply.headers["x-fleetgate-model"]) == (200, "fallback", "m")
            assert [call["body"]["model"] for call in sim.calls()] == ["gpt-4o-mini"]
            record = proxy.record(reply.headers["x-fleetgate-request-id"])
            assert (record["provider"], record["route"], record["outcome"]) == ("openai", "fallback", "ok")
            assert record["cost"] == 2000 * (record["input_tokens"] + record["output_tokens"])
            assert any("first could not be asked: no connection to first" in words for words in story(proxy, reply))
        assert len(proxy.records(2)) == 2, "one record each"
        budget = json.loads(admin(proxy, "/api/v1/budgets"))["budgets"][0]
        assert float(budget["held"]) == 0


def test_what_moves_on_and_what_is_the_clients_own_error(sim: Simulator) -> None:
    script = {503: True, 429: True, 500: True, 529: True, 408: True, 401: True, 400: False, 403: False, 404: False}
    with Broken(*script, headers={"retry-after": "0"}) as broken, served(sim, broken.url, BEHIND) as proxy:
        for n, (status, moves) in enumerate(script.items(), 1):
            sim.reset()
            assert ask(proxy).status == (200 if moves else status)
            assert len(broken.asked) == n, "with another target behind it nothing is sent again"
            assert sim.stats()["total"] == (1 if moves else 0)


def test_the_next_may_speak_another_dialect(sim: Simulator) -> None:
    with Broken(503) as broken, served(sim, broken.url, {"anthropic": "claude-sonnet-4-5"}) as proxy:
        reply = ask(proxy)
        assert (reply.status, reply.headers["x-fleetgate-route"]) == (200, "fallback")
        assert json.loads(reply.body)["object"] == "chat.completion"
        assert [(call["path"], call["body"]["model"]) for call in sim.calls()] == [("/v1/messages", "claude-sonnet-4-5")]


def test_the_hold_covers_the_dearest_that_may_be_asked(sim: Simulator) -> None:
    dear = {"openai": {"upstream_model": "gpt-4o-mini", "price": {"input": 1, "output": 100_000}}}
    with Broken(200) as broken, served(sim, broken.url, dear) as proxy:
        reply = ask(proxy, max_tokens=1000)
        assert (reply.status, json.loads(reply.body)["fleetgate"]["reason"]) in ((402, "budget_exceeded"), (402, "request_too_costly"))
        assert broken.asked == []
        assert sim.stats()["total"] == 0


def test_what_did_no_work_is_sent_again_within_one_exchange(sim: Simulator) -> None:
    with Broken(503, 200) as broken, served(sim, broken.url, []) as proxy:
        reply = ask(proxy)
        assert (reply.status, reply.headers["x-fleetgate-route"]) == (200, "requested")
        assert len(broken.asked) == 2
        assert [words.partition(";")[0] for words in story(proxy, reply)] == ["first answered 503"]
        record = proxy.records(1)[0]
        assert (record["cost"], record["outcome"]) == (12 * 1000, "ok")
        assert len(proxy.records(1)) == 1


def test_a_long_wait_is_the_clients_and_capped(sim: Simulator) -> None:
    with Broken(429, headers={"retry-after": "3600"}) as broken, served(sim, broken.url, []) as proxy:
        reply = ask(proxy)
        assert (reply.status, reply.headers["retry-after"]) == (429, "30")
        assert len(broken.asked) == 1


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
def test_a_provider_that_fails_in_a_row_is_left_alone(sim: Simulator, transport: str) -> None:
    breaker = {"transport": transport, "breaker": {"failures": 3, "cooldown_s": 30}}
    with Broken(500) as broken, served(sim, broken.url, [], upstream=breaker) as proxy:
        assert json.loads(admin(proxy, "/readyz"))["circuits_open"] == []
        for _ in range(3):
            assert ask(proxy).status == 500
        reply = ask(proxy)
        body = json.loads(reply.body)
        assert (reply.status, body["fleetgate"]["reason"]) == (502, "upstream_error")
        assert "the circuit of first is open after 3 failures in a row" in body["error"]["message"]
        assert 1 <= int(reply.headers["retry-after"]) <= 30
        assert len(broken.asked) == 3, "nothing was sent"
        assert proxy.record(reply.headers["x-fleetgate-request-id"])["cost"] == 0
        assert json.loads(admin(proxy, "/readyz"))["circuits_open"] == ["first"]
        assert b'fleetgate_upstream_circuit_open{provider="first"} 1.0' in admin(proxy, "/metrics")
        assert b'fleetgate_upstream_circuit_open{provider="openai"} 0.0' in admin(proxy, "/metrics")
        assert ask(proxy, model="gpt-4o-mini").status == 200, "other providers are as they were"


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
def test_an_exchange_over_its_total_ends_in_the_protocols_own_way(sim: Simulator, transport: str) -> None:
    slow = '[[sim: {"tokens": 400, "chunk_ms": 20}]]'
    late = '[[sim: {"first_byte_ms": 5000}]]'
    limits = {"limits": {"total_s": 0.4}}
    with served(sim, f"{sim.url}/v1", [], first_more=limits, upstream={"transport": transport}) as proxy:
        stream = ask(proxy, max_tokens=500, stream=True, messages=[{"role": "user", "content": slow}])
        assert (stream.status, stream.whole) == (200, True)
        assert b"was not over within 0.4 s" in stream.body
        record = proxy.record(stream.headers["x-fleetgate-request-id"])
        assert (record["outcome"], record["reason"]) == ("upstream_error", "upstream_timeout")
        assert record["output_tokens"] > 0, "what passed is charged"
        buffered = ask(proxy, messages=[{"role": "user", "content": late}])
        assert (buffered.status, json.loads(buffered.body)["fleetgate"]["reason"]) == (504, "upstream_timeout")
