"""Verbs that go to a Redis store in one call: each is done or not for itself, in order, whatever becomes of those beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis_server import RedisServer, needs_own_redis, needs_redis, shared_url
from store_cases import rolling, usd

from proxy.budget.port import Claim, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores import Stores, open_store
from proxy.stores.faults import Lost, Moved, Unreachable
from proxy.stores.redis_budget import MOST_VERBS, Call
from proxy.stores.redis_link import MOST_AT_ONCE, RedisLink
from proxy.stores.redis_place import Place


def run(url: str, body: Callable[[Stores, RedisLink], Awaitable[None]]) -> None:
    async def main() -> None:
        stores = open_store(url)
        try:
            assert stores.link is not None
            await body(stores, stores.link)
        finally:
            await stores.close()

    asyncio.run(main())


@needs_redis
def test_each_sees_what_those_in_front_of_it_did() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store = stores.budget
        await store.reserve("old", [usd("a", 10, 8)], 1, 50)
        before = link.round_trips
        found = await asyncio.gather(
            store.reserve("early", [usd("a", 10, 5)], 1, 50),
            store.settle("old", {"usd": 3}, 1),
            store.balances(["a"], 1),
            store.reserve("late", [usd("a", 10, 5)], 1, 50),
            store.reserve("over", [usd("b", None, 1), usd("a", 10, 3)], 1, 50),
            store.extend("late", {"usd": 7}, 1),
            store.settle("late", {"usd": 6}, 1),
            store.settle("late", {"usd": 6}, 1),
            store.balances(["a", "b"], 1),
        )
        assert link.round_trips == before + 1
        assert found[:5] == [Exceeded(0, ((0, 8),)), True, {"a": (3, 0)}, Held(((3, 5),)), Exceeded(1, ((0, 0), (3, 5)))]
        assert found[5:] == [Held(((3, 7),)), True, False, {"a": (9, 0), "b": (0, 0)}]
        assert await store.balances(["a", "b"], 1) == {"a": (9, 0), "b": (0, 0)}

    run(shared_url(), body)


@needs_redis
def test_one_that_fails_takes_none_with_it() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store = stores.budget
        await link.call("SET", link.key("c", "mine"), "something else")
        await store.reserve("gone", [], 1, 50)
        await store.settle("gone", {}, 1)
        found = await asyncio.gather(
            store.reserve("1", [usd("a", 10, 4)], 1, 50),
            store.reserve("2", [usd("a", 10, 4), usd("mine", 10, 4)], 1, 50),
            store.reserve("gone", [usd("a", 10, 4)], 1, 50),
            store.extend("unknown", {"usd": 1}, 1),
            store.reserve("3", [usd("a", 10, 4)], 1, 50),
            return_exceptions=True,
        )
        assert [type(one) for one in found] == [Held, StoreError, StoreError, StoreError, Held]
        assert [str(found[i]) for i in (2, 3)] == ["the hold was settled before", "there is no such hold, or it was settled"]
        assert found[4] == Held(((0, 8),))
        assert await store.balances(["a"], 1) == {"a": (0, 8)}
        await link.call("DEL", link.key("c", "mine"))
        assert await store.reserve("2", [usd("mine", 10, 4)], 1, 50) == Held(((0, 4),)), "nothing of it stood"

    run(shared_url(), body)


@needs_redis
def test_more_verbs_than_a_call_takes_are_several_calls_in_one_packet() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store = stores.budget
        await store.balances(["a"], 1)
        before = link.round_trips
        found = await asyncio.gather(*[store.reserve(f"{i}", [usd("a", None, 1)], 1, 50) for i in range(2 * MOST_VERBS + 1)])
        assert found == [Held(((0, i + 1),)) for i in range(2 * MOST_VERBS + 1)]
        assert link.round_trips == before + 1

    run(shared_url(), body)


@needs_redis
def test_a_crowd_goes_in_packets_that_a_server_answers_in_time() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store = stores.budget
        await store.balances(["a"], 1)
        before = link.round_trips
        crowd = MOST_AT_ONCE * MOST_VERBS + 1
        found = await asyncio.gather(*[store.balances(["a"], 1) for _ in range(crowd)])
        assert found == [{"a": (0, 0)}] * crowd
        assert link.round_trips == before + 2
        assert crowd <= 10_000

    run(shared_url(), body)


@needs_redis
def test_one_that_nobody_waits_for_any_more_is_not_sent() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store = stores.budget
        await store.balances(["a"], 1)
        before = link.round_trips
        works = [asyncio.ensure_future(store.reserve(name, [usd("a", None, 1)], 1, 50)) for name in ("1", "2")]
        await asyncio.sleep(0)
        works[0].cancel()
        assert await works[1] == Held(((0, 1),))
        alone = asyncio.ensure_future(store.reserve("3", [usd("a", None, 1)], 1, 50))
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.gather(alone, return_exceptions=True)
        assert await store.balances(["a"], 1) == {"a": (0, 1)}
        assert link.round_trips == before + 2

    run(shared_url(), body)


@needs_redis
def test_a_command_between_verbs_keeps_its_place() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store, holds = stores.budget, link.key("holds")
        work = [store.reserve("1", [usd("a", None, 1)], 1, 50), link.call("ZCARD", holds), store.reserve("2", [usd("a", None, 1)], 1, 50)]
        found = await asyncio.gather(*work)
        assert found == [Held(((0, 1),)), 1, Held(((0, 2),))]

    run(shared_url(), body)


@needs_own_redis
def test_without_memory_a_settle_beside_it_lets_no_reserve_through() -> None:
    with RedisServer() as server, server.client() as other:

        async def body(stores: Stores, link: RedisLink) -> None:
            store = stores.budget
            await store.reserve("1", [usd("a", 100, 60)], 1, 50)
            await store.reserve("r", [rolling("r", 10, 5)], 1, 5000)
            other.config_set("maxmemory", "1")
            found = await asyncio.gather(
                store.settle("1", {"usd": 20}, 2),
                store.reserve("2", [usd("a", 100, 10)], 2, 50),
                store.extend("r", {"usd": 7}, 2),
                store.reserve("3", [usd("a", 100, 90)], 2, 50),
                return_exceptions=True,
            )
            assert found[0] is True
            assert [type(one) for one in found[1:3]] == [Unreachable, Unreachable]
            assert found[3] == Exceeded(0, ((20, 0),))
            assert await store.balances(["a", "r"], 2) == {"a": (20, 0), "r": (0, 5)}

        run(server.url, body)


@needs_own_redis
def test_without_memory_a_sweep_ends_what_expired_though_a_record_is_late() -> None:
    with RedisServer() as server, server.client() as other:

        async def body(stores: Stores, link: RedisLink) -> None:
            store = stores.budget
            await store.reserve("late", [usd("a", 100, 20)], 1, 50)
            await store.settle("late", {"usd": 20}, 2)
            await store.reserve("over", [usd("a", 100, 60)], 2, 50)
            other.config_set("maxmemory", "1")
            assert [ended.hold_id for ended in await store.sweep(500)] == ["late", "over"]
            assert await store.balances(["a"], 500) == {"a": (80, 0)}

        run(server.url, body)


@needs_redis
def test_a_counter_that_outlived_its_time_is_forgotten_whatever_the_time_of_the_verb_behind() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store = stores.budget
        await store.reserve("1", [Claim("short", "usd", 100, 10, 50.0)], 1, 1000)
        assert await store.sweep(100) == [], "the counter is over, but something is held in it"
        ended, _ = await asyncio.gather(store.settle("1", {"usd": 3}, 100), store.recorded(["another"]))
        assert ended
        await store.sweep(101)
        assert await link.call("EXISTS", link.key("c", "short")) == 0

    run(shared_url(), body)


@needs_redis
def test_names_that_are_no_text_are_refused_before_they_are_sent() -> None:
    async def body(stores: Stores, link: RedisLink) -> None:
        store = stores.budget
        found = await asyncio.gather(
            store.reserve("\ud800", [usd("a", 10, 4)], 1, 50), store.reserve("1", [usd("a", 10, 4)], 1, 50), return_exceptions=True
        )
        assert str(found[0]) == "a name that is not text cannot be kept in the Redis store"
        assert found[1] == Held(((0, 4),))

    run(shared_url(), body)


@pytest.mark.parametrize("odd", [[], [1, 1], b"OK", 1, None])
def test_answers_to_something_else_are_no_answers(odd: object) -> None:
    async def main() -> None:
        call = Call(())
        future = asyncio.get_running_loop().create_future()
        call.verbs.append((future, ("settle", 1.0, b"1", "{}", "{}")))
        call.answer(odd)
        with pytest.raises(StoreError, match="what nobody asked"):
            await future

    asyncio.run(main())


@pytest.mark.parametrize("odd", [b"+PONG\r\n+PONG\r\n", b"?what\r\n"])
def test_a_server_that_says_too_much_or_no_answer_at_all_is_left(odd: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while said := await reader.read(65536):
                writer.write(odd if b"PING" in said else b"+OK\r\n")
        except OSError:  # as the link left
            pass
        finally:
            writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            link = RedisLink(Place("cluster", (("127.0.0.1", server.sockets[0].getsockname()[1]),)))
            with pytest.raises(Lost, match="ended"):
                await link.call("PING")
            assert await link.call("SET", "a", 1) == b"OK", "on another connection"
            await link.close()

    asyncio.run(main())


def test_a_server_that_says_nonsense_of_where_the_keys_are_holds_up_nobody() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while said := await reader.read(65536):
                writer.write(b"".join([b"-MOVED 1 nowhere\r\n" if b"GET" in word else b"+OK\r\n" for word in said.split(b"*")[1:]]))
        except OSError:  # as the link left
            pass
        finally:
            writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(10):
            link = RedisLink(Place("cluster", (("127.0.0.1", server.sockets[0].getsockname()[1]),)))
            found = await asyncio.gather(link.call("GET", "a"), link.call("SET", "a", 1), return_exceptions=True)
            assert [type(found[0]), found[1]] == [Moved, b"OK"]
            await link.close()

    asyncio.run(main())
