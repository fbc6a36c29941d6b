"""Two replicas on one Redis store under load, while the store restarts, hangs and is cut off, and a replica is killed.

Every call is served or refused with a reason in its protocol, none hangs, calls pass again soon after the part is back, and in the end the
provider has billed no more than the budget allows.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from chaos import (
    BUDGETS,
    DURABLE,
    LATEST_S,
    MODELS,
    NANOS_A_CALL,
    Cable,
    Load,
    Namespace,
    Relay,
    budget,
    by,
    can_cut,
    clear,
    measured,
    metric,
    ok,
    ready,
    refused,
    until,
)
from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Simulator

from proxy.money import NANOS

pytestmark = needs_own_redis


@dataclass(slots=True)
class Fleet:
    """Replica `one` has a line to the store of its own, which can be cut; `two` has another."""

    sim: Simulator
    server: RedisServer
    line: Cable | Relay
    one: Proxy
    two: Proxy


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        sim = stack.enter_context(Simulator())
        if can_cut():
            space = stack.enter_context(Namespace())
            line, other = space.cable(), space.cable()
            server = stack.enter_context(RedisServer(*DURABLE, prefix=space.prefix, host=other.host))
            urls = [f"redis://{cable.host}:{server.port}/0" for cable in (line, other)]
            found: Cable | Relay = line
        else:
            server = stack.enter_context(RedisServer(*DURABLE))
            found = relay = Relay(server.port)
            stack.callback(relay.close)
            urls = [f"redis://127.0.0.1:{relay.port}/0", server.url]
        budgets = BUDGETS.format(usd=50)
        one, two = (
            stack.enter_context(Proxy(sim, budgets=budgets, settings={"store": {"url": url, "timeout_s": 1}, "models": MODELS}))
            for url in urls
        )
        yield Fleet(sim, server, found, one, two)


unheard = refused("store_unavailable")


def test_a_store_that_restarts(fleet: Fleet) -> None:
    with Load([fleet.one, fleet.two]) as load:
        for proxy in (fleet.one, fleet.two):
            load.until(by(proxy, ok))
        fleet.server.kill()
        for proxy in (fleet.one, fleet.two):
            load.until(by(proxy, unheard))
            assert ready(proxy)[1]["store"] != "ok"
            assert metric(proxy, "fleetgate_store_errors_total") > 0
        fleet.server.start()
        back = time.monotonic()
        took = [load.until(by(proxy, ok), since=back) for proxy in (fleet.one, fleet.two)]
        assert measured("after a restart", max(took)) < LATEST_S
    clear(load, "store_unavailable")
    assert {t.status for t in load.told} == {200, 503}, "nobody was left without an answer"
    until(lambda: ready(fleet.one)[1]["store"] == "ok")


def test_a_store_that_hangs(fleet: Fleet) -> None:
    with Load([fleet.one, fleet.two]) as load:
        load.until(ok)
        fleet.server.signal(signal.SIGSTOP)
        try:
            paused = time.monotonic()
            for proxy in (fleet.one, fleet.two):
                load.until(by(proxy, unheard))
            refused = [t for t in load.since(paused) if unheard(t)]
            measured("refused within", max(t.took for t in refused))
        finally:
            fleet.server.signal(signal.SIGCONT)
        back = time.monotonic()
        took = [load.until(by(proxy, ok), since=back) for proxy in (fleet.one, fleet.two)]
        assert measured("after a pause", max(took)) < LATEST_S
    clear(load, "store_unavailable")


def test_a_replica_that_is_cut_off(fleet: Fleet) -> None:
    before = fleet.sim.stats()["total"]
    with Load([fleet.one, fleet.two]) as load:
        for proxy in (fleet.one, fleet.two):
            load.until(by(proxy, ok))
        fleet.line.cut()
        try:
            cut = time.monotonic()
            load.until(by(fleet.one, unheard))
            alone = time.monotonic()
            load.until(by(fleet.two, ok))
            load.until(by(fleet.one, unheard), since=alone)
            assert not any(ok(t) for t in load.since(alone, fleet.one)), "who cannot see the budget spends nothing"
            assert not any(unheard(t) for t in load.since(cut, fleet.two)), "the other one does not notice"
        finally:
            fleet.line.mend()
        back = time.monotonic()
        took = load.until(by(fleet.one, ok), since=back)
        assert measured("after a cut", took) < LATEST_S
    clear(load, "store_unavailable")
    assert fleet.sim.stats()["total"] - before <= sum(map(ok, load.told)) + load.clients * 2, "what was refused was not sent"


def test_a_replica_that_is_killed(fleet: Fleet) -> None:
    with Load([fleet.one, fleet.two]) as load:
        load.until(by(fleet.one, ok))
        fleet.one.signal(signal.SIGKILL)
        assert fleet.one.ended() == -signal.SIGKILL
        dead = time.monotonic()
        load.until(by(fleet.two, ok), since=dead)
        fleet.one.start()
        back = time.monotonic()
        took = load.until(by(fleet.one, ok), since=back)
        assert measured("after a killed", took) < LATEST_S
        assert all(ok(t) for t in load.since(0, fleet.two)), "the other one does not notice"
    clear(load, "store_unavailable")


def test_after_all_that_the_provider_billed_no_more_than_the_budget_allows(fleet: Fleet) -> None:
    spent, held, _ = budget(fleet.two)
    limit = spent + held + 60 * NANOS_A_CALL
    for proxy in (fleet.one, fleet.two):
        proxy.folder.joinpath("budgets/test.yaml").write_text(BUDGETS.format(usd=Decimal(limit) / NANOS))
    for proxy in (fleet.one, fleet.two):
        until(lambda proxy=proxy: budget(proxy)[2] == limit)  # type: ignore[misc]
    with Load([fleet.one, fleet.two]) as load:
        for proxy in (fleet.one, fleet.two):
            load.until(by(proxy, lambda told: told.reason == "budget_exceeded"))
    assert load.unclear == []
    fleet.sim.calls()
    spent, held, _ = budget(fleet.two)
    billed = fleet.sim.stats()["total"] * NANOS_A_CALL
    assert billed <= spent + held <= limit
    assert spent + held > limit - NANOS_A_CALL, "else the budget was not what ended it"
