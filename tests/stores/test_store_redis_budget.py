"""What only the Redis store has: exact large amounts, round trips, servers that break, and servers that must not be used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import RedisServer, needs_own_redis, needs_redis, shared_url
from store_cases import LATE, usd

from proxy.budget.port import BudgetStore, Claim, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores import Stores, open_store
from proxy.stores.faults import Unreachable
from proxy.stores.redis_budget import MOST, RedisBudget
from proxy.stores.redis_link import RedisLink
from proxy.stores.redis_place import Place, place_of


@contextlib.asynccontextmanager
async def opened(url: str, place: Place | None = None) -> AsyncIterator[Stores]:
    stores = open_store(url, place)
    try:
        yield stores
    finally:
        await stores.close()


def run(url: str, body: Callable[[Stores], Awaitable[None]], place: Place | None = None) -> None:
    async def main() -> None:
        async with opened(url, place) as stores:
            await body(stores)

    asyncio.run(main())


BIG = st.integers(0, MOST - 1) | st.sampled_from([0, 1, 10**15 - 1, 10**15, 10**15 + 1, 2**53, 2**53 + 1, 2**63, 10**27])


@needs_redis
@settings(max_examples=60)
@given(first=BIG, second=BIG, used=BIG, slack=st.integers(-2, 2))
def test_amounts_of_any_size_are_exact(first: int, second: int, used: int, slack: int) -> None:
    limit = min(MOST - 1, max(0, first + second + slack))

    async def body(stores: Stores) -> None:
        store = stores.budget
        assert await store.reserve("1", [Claim("a", "usd", None, first, LATE)], 1, 50) == Held(((0, first),))
        answer = await store.reserve("2", [Claim("a", "usd", limit, second, LATE)], 1, 50)
        if first + second <= limit:
            assert answer == Held(((0, first + second),))
        else:
            assert answer == Exceeded(0, ((0, first),))
        assert await store.settle("1", {"usd": used}, 2)
        rest = second if isinstance(answer, Held) else 0
        assert await store.balances(["a"], 2) == {"a": (used, rest)}

    run(shared_url(), body)


@needs_redis
def test_amounts_that_no_counter_holds_are_refused() -> None:
    async def body(stores: Stores) -> None:
        for claim in (usd("a", 5, MOST), usd("a", MOST, 5), usd("a", 5, -1)):
            with pytest.raises(StoreError, match="an amount outside"):
                await stores.budget.reserve("h", [claim], 1, 50)
        with pytest.raises(StoreError, match="not text"):
            await stores.budget.reserve("h", [usd("\ud800", 5, 1)], 1, 50)
        assert await stores.budget.balances(["a"], 1) == {"a": (0, 0)}

    run(shared_url(), body)


@needs_redis
def test_each_verb_is_one_round_trip_and_so_are_those_of_one_turn() -> None:
    async def body(stores: Stores) -> None:
        store, link = stores.budget, stores.link
        assert link is not None
        await store.reserve("0", [usd("a", None, 1)], 1, 50)
        before = link.round_trips
        claims = [usd(f"c{i}", 100, 1) for i in range(8)]
        await store.reserve("1", claims, 1, 50)
        await store.extend("1", {"usd": 2}, 1)
        await store.settle("1", {"usd": 2}, 1)
        assert link.round_trips == before + 3
        await asyncio.gather(*[store.reserve(f"n{i}", claims, 1, 50) for i in range(50)], store.settle("0", {}, 1))
        assert link.round_trips == before + 4

    run(shared_url(), body)


@needs_redis
def test_two_tenants_of_one_server_know_nothing_of_each_other() -> None:
    async def body(stores: Stores) -> None:
        await stores.budget.reserve("h", [usd("a", 10, 10)], 1, 50)
        async with opened(shared_url()) as other:
            assert isinstance(await other.budget.reserve("h", [usd("a", 10, 10)], 1, 50), Held)

    run(shared_url(), body)


@needs_redis
def test_all_keys_of_a_tenant_are_in_one_slot() -> None:
    url = shared_url()

    async def body(stores: Stores) -> None:
        await stores.budget.reserve("h{x}", [usd("counter{y}", 10, 1)], 1, 50)
        await stores.budget.settle("h{x}", {}, 1)
        link = stores.link
        assert link is not None
        tenant = f"{{{place_of(url).tenant}}}"
        found = await link.call("KEYS", f"*{place_of(url).tenant}*")
        assert len(found) >= 4
        assert all(key.decode().startswith(f"{tenant}:") for key in found)

    run(url, body)


@needs_own_redis
def test_a_socket_is_as_good_as_a_port(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer("--unixsocket", str(path)):

        async def body(stores: Stores) -> None:
            assert isinstance(await stores.budget.reserve("h", [usd("a", 10, 4)], 1, 50), Held)

        run(f"unix://{path}?db=2", body)
    with pytest.raises(ValueError, match="cannot be reached"):
        open_store(f"unix://{path}")


@needs_own_redis
def test_a_real_cluster_is_used_through_any_of_its_servers() -> None:
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with RedisServer(*options) as one, RedisServer(*options) as two, one.client() as first, two.client() as second:
        first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        first.execute_command("CLUSTER", "MEET", "127.0.0.1", two.port, two.bus)
        for client in (first, second):
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True):
                pass

        async def body(stores: Stores) -> None:
            assert await stores.budget.reserve("h", [usd("a", 10, 4), usd("b", 10, 4)], 1, 50) == Held(((0, 4), (0, 4)))
            await stores.budget.settle("h", {"usd": 3}, 1)
            assert await stores.budget.balances(["a"], 1) == {"a": (3, 0)}

        for tenant in ("a", "b", "c", "d"):  # some on this server, some on that
            run(f"redis+cluster://127.0.0.1:{one.port}?tenant={tenant}", body)
        assert first.dbsize() > 0
        assert second.dbsize() > 0


@needs_own_redis
def test_the_primary_that_sentinels_name_is_used_also_after_it_changed() -> None:
    with RedisServer() as one, RedisServer() as two, RedisServer(sentinel_of=one) as watch, watch.client() as sentinel:
        url = f"redis+sentinel://127.0.0.1:{watch.port}/main/0"

        async def body(stores: Stores) -> None:
            await stores.budget.reserve("h", [usd("a", 10, 4)], 1, 50)
            sentinel.execute_command("SENTINEL", "REMOVE", "main")
            sentinel.execute_command("SENTINEL", "MONITOR", "main", "127.0.0.1", two.port, 1)
            one.kill()
            await until_back(stores.budget)
            assert await stores.budget.balances(["a"], 1) == {"a": (0, 0)}, "this one has not got it"

        run(url, body)
        with pytest.raises(ValueError, match="no sentinel knows other"):
            open_store(url.replace("main", "other"))
        watch.stop()
        with pytest.raises(ValueError, match="no sentinel answers"):
            open_store(url)


@needs_own_redis
def test_scripts_flushed_connections_killed_and_a_restart_cost_no_call() -> None:
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server, server.client() as other:

        async def body(stores: Stores) -> None:
            store = stores.budget
            for i, command in enumerate(("SCRIPT FLUSH", "CLIENT KILL TYPE normal SKIPME yes")):
                await store.reserve(f"h{i}", [usd("a", 100, 10)], 1, 50)
                other.execute_command(*command.split())
                assert await store.settle(f"h{i}", {"usd": 5}, 2)
            await store.reserve("standing", [usd("a", 100, 10)], 1, 50)
            server.kill()
            with pytest.raises(Unreachable):
                await store.reserve("refused", [usd("a", 100, 10)], 1, 50)
            server.start()
            await until_back(store)
            assert await store.balances(["a"], 3) == {"a": (10, 10)}
            assert await store.settle("standing", {"usd": 7}, 4)
            assert await store.balances(["a"], 3) == {"a": (17, 0)}

        run(server.url, body)


async def until_back(store: BudgetStore) -> None:
    for _ in range(1000):
        try:
            await store.balances(["x"], 1)
        except Unreachable:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("it did not come back")


@needs_own_redis
def test_a_reserve_whose_answer_was_lost_is_let_go_of_by_its_release() -> None:
    with RedisServer() as server, server.client() as other:
        place = Place("single", (("127.0.0.1", server.port),), command_s=0.2)

        async def body(stores: Stores) -> None:
            store = stores.budget
            await until_back(store)
            other.execute_command("CLIENT", "PAUSE", "600")
            with pytest.raises(Unreachable, match=r"within 0\.2 s"):
                await store.reserve("h", [usd("a", 100, 60)], 1, 50)
            other.execute_command("CLIENT", "UNPAUSE")
            await until_back(store)
            await store.release("h", 2)
            assert await store.balances(["a"], 2) == {"a": (0, 0)}
            with pytest.raises(StoreError, match="settled before"):
                await store.reserve("h", [usd("a", 100, 60)], 1, 50)

        run("", body, place)


@needs_own_redis
def test_a_server_that_sleeps_is_waited_for_no_longer_than_allowed() -> None:
    with RedisServer() as server:
        place = Place("single", (("127.0.0.1", server.port),), command_s=0.2)

        async def body(stores: Stores) -> None:
            store, link = stores.budget, stores.link
            assert link is not None
            await until_back(store)
            asleep = asyncio.ensure_future(link.call("DEBUG", "SLEEP", "0.6"))
            both = await asyncio.gather(store.reserve("h", [usd("a", 100, 60)], 1, 50), asleep, return_exceptions=True)
            assert [type(e) for e in both] == [Unreachable, Unreachable]
            await until_back(store)
            await store.release("h", 2)
            assert await store.balances(["a"], 2) == {"a": (0, 0)}

        run("", body, place)


@needs_own_redis
def test_without_memory_nothing_is_reserved_and_money_still_comes_back() -> None:
    with RedisServer() as server, server.client() as other:

        async def body(stores: Stores) -> None:
            store = stores.budget
            await store.reserve("h", [usd("a", 100, 60)], 1, 50)
            other.config_set("maxmemory", "1")
            with pytest.raises(Unreachable, match="memory is full"):
                await store.reserve("i", [usd("a", 100, 10)], 1, 50)
            assert await store.balances(["a"], 1) == {"a": (0, 60)}, "not half a reserve"
            assert await store.settle("h", {"usd": 20}, 2)
            assert await store.balances(["a"], 1) == {"a": (20, 0)}
            other.config_set("maxmemory", "0")
            assert isinstance(await store.reserve("i", [usd("a", 100, 80)], 1, 50), Held)

        run(server.url, body)


@needs_own_redis
def test_a_user_who_may_do_no_more_than_the_documentation_says() -> None:
    rules = "reset on >pw ~{fleetgate}:* &{fleetgate}:* +@all -@dangerous +info +role"
    with RedisServer() as server, server.client() as other:
        other.execute_command("ACL", "SETUSER", "gate", *rules.split())

        async def body(stores: Stores) -> None:
            assert isinstance(await stores.budget.reserve("h", [usd("a", 9, 1)], 1, 50), Held)
            assert await stores.budget.settle("h", {"usd": 1}, 1)
            assert await stores.budget.sweep(1) == []
            link = stores.link
            assert link is not None
            with pytest.raises(Unreachable, match="may not do that"):
                await link.call("SET", "another", 1)

        run(f"redis://gate:pw@127.0.0.1:{server.port}/0", body)


@needs_redis
def test_a_key_of_the_wrong_type_refuses_the_call_and_changes_nothing() -> None:
    async def body(stores: Stores) -> None:
        store, link = stores.budget, stores.link
        assert link is not None
        await link.call("SET", link.key("c", "b"), "mine")
        with pytest.raises(StoreError, match="something else under one of our keys"):
            await store.reserve("h", [usd("a", 100, 60), usd("b", 100, 60)], 1, 50)
        assert await store.balances(["a"], 1) == {"a": (0, 0)}
        assert await link.call("ZCARD", link.key("holds")) == 0

    run(shared_url(), body)


@needs_redis
def test_a_sweep_of_many_is_done_in_parts() -> None:
    async def body(stores: Stores) -> None:
        store = stores.budget
        await asyncio.gather(*[store.reserve(f"h{i}", [usd(f"c{i}", 9, 2), usd("all", None, 1)], 1, 50) for i in range(450)])
        ended = await store.sweep(60)
        assert len(ended) == 450
        assert {e.charged[0][2] for e in ended} == {2}
        found = await store.balances([f"c{i}" for i in range(450)], 60)
        assert set(found.values()) == {(2, 0)}
        await store.recorded([e.hold_id for e in ended])
        assert await store.sweep(2 * LATE) == []
        assert await store.balances(["all"], 60) == {"all": (0, 0)}
        assert isinstance(store, RedisBudget)
        link = stores.link
        assert isinstance(link, RedisLink)
        assert await link.call("ZCARD", link.key("counters")) == 0

    run(shared_url(), body)
