"""A primary that dies under load: the sentinels name its replica, and the proxy goes on there with the counters that it had."""

from __future__ import annotations

import contextlib
import time

from chaos import BUDGETS, DURABLE, LATEST_S, MODELS, NANOS_A_CALL, Load, budget, clear, measured, ok, refused, until
from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Simulator

AWAY_MS = 500
"""After what silence the sentinel takes the primary for dead."""


@needs_own_redis
def test_a_primary_that_dies_is_replaced() -> None:
    with contextlib.ExitStack() as stack:
        sim, one = stack.enter_context(Simulator()), stack.enter_context(RedisServer(*DURABLE))
        two = stack.enter_context(RedisServer(*DURABLE, "--replicaof", "127.0.0.1", str(one.port)))
        watch = stack.enter_context(RedisServer(sentinel_of=one))
        settings = {"store": {"url": f"redis+sentinel://127.0.0.1:{watch.port}/main/0", "timeout_s": 1}, "models": MODELS}
        sentinel, other = stack.enter_context(watch.client()), stack.enter_context(two.client())
        sentinel.execute_command("SENTINEL", "SET", "main", "down-after-milliseconds", AWAY_MS)
        until(lambda: sentinel.execute_command("SENTINEL", "REPLICAS", "main"))
        until(lambda: other.info("replication")["master_link_status"] == "up")
        proxy = stack.enter_context(Proxy(sim, budgets=BUDGETS.format(usd=50), settings=settings))
        with Load([proxy]) as load:
            load.until(ok)
            until(lambda: len(load.told) > 50)
            one.kill()
            killed = time.monotonic()
            load.until(refused("store_unavailable"))
            until(lambda: other.info("replication")["role"] == "master")
            back = time.monotonic()
            assert measured("after a failover", load.until(ok, since=back)) < LATEST_S
            measured("the failover itself", back - killed)
        clear(load, "store_unavailable")
        sim.calls()
        until(lambda: budget(proxy)[1] == 0)
        lost = sim.stats()["total"] * NANOS_A_CALL - budget(proxy)[0]
        assert lost <= load.clients * NANOS_A_CALL, "no more than what was under way: what the old primary had not passed on"
