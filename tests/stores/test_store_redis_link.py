"""The link to a Redis store, against a real server: order, round trips, reconnecting, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from redis.asyncio.connection import AbstractConnection
from redis_server import RedisServer, needs_own_redis, needs_redis, shared_url

from proxy.engine.ports import StoreError
from proxy.stores import redis_dial
from proxy.stores.faults import Unreachable, fault
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_link import RedisLink, Script
from proxy.stores.redis_place import Place, place_of

DOUBLE = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


def run(place: Place, body: Callable[[RedisLink], Awaitable[None]]) -> None:
    async def main() -> None:
        link = RedisLink(place)
        try:
            await body(link)
        finally:
            await link.close()

    asyncio.run(main())


@needs_redis
def test_what_one_turn_submits_goes_out_in_one_round_trip_and_in_order() -> None:
    async def body(link: RedisLink) -> None:
        await link.call("PING")
        before = link.round_trips
        work = [link.call("RPUSH", link.key("list"), i) for i in range(100)]
        assert await asyncio.gather(*work) == list(range(1, 101))
        assert link.round_trips == before + 1
        assert await link.call("LRANGE", link.key("list"), 0, -1) == [str(i).encode() for i in range(100)]

    run(place_of(shared_url()), body)


@needs_redis
def test_scripts_are_loaded_when_they_are_missing_and_keep_their_place() -> None:
    async def body(link: RedisLink) -> None:
        for _ in range(2):
            await link.call("SCRIPT", "FLUSH")
            work = [link.run(DOUBLE, [link.key("n")], [1]) for _ in range(20)]
            found = await asyncio.gather(*work)
            assert found == sorted(found)
        assert found[-1] == 40

    run(place_of(shared_url()), body)


@needs_own_redis
def test_a_connection_that_ends_is_made_again_and_only_what_may_be_is_sent_twice() -> None:
    with RedisServer() as server, server.client() as other:

        async def body(link: RedisLink) -> None:
            await link.call("PING")
            other.client_kill_filter(_type="normal", skipme=True)
            assert await link.call("SET", link.key("a"), 1, again=True) == b"OK"
            other.execute_command("CLIENT", "PAUSE", "60000")
            waiting = asyncio.ensure_future(link.call("INCR", link.key("n")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            server.kill()
            with pytest.raises(Unreachable, match="ended"):
                await waiting
            with pytest.raises(Unreachable, match="cannot be reached"):
                await link.call("PING", again=True)
            assert "cannot be reached" in link.problem
            server.start()
            await until_back(link)
            assert link.problem == ""

        run(place_of(server.url), body)


async def until_back(link: RedisLink) -> None:
    for _ in range(400):
        try:
            await link.call("PING")
        except Unreachable:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("it did not come back")


@needs_own_redis
def test_an_answer_that_is_overdue_fails_all_who_wait() -> None:
    with RedisServer() as server, server.client() as other:

        async def body(link: RedisLink) -> None:
            await link.call("PING")
            other.execute_command("CLIENT", "PAUSE", "1000")
            both = await asyncio.gather(link.call("PING"), link.call("PING"), return_exceptions=True)
            assert [type(e) for e in both] == [Unreachable, Unreachable]
            assert "did not answer within 0.2 s" in str(both[0])
            other.execute_command("CLIENT", "UNPAUSE")
            await until_back(link)

        run(Place("single", (("127.0.0.1", server.port),), command_s=0.2, connect_s=0.5), body)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_server_that_ends_the_connection_before_it_was_greeted(
    loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = redis_dial._role

    async def late(connection: AbstractConnection) -> object:
        assert connection._reader is not None
        with contextlib.suppress(ConnectionResetError):
            await connection._reader.read(1)
        return await role(connection)

    def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def main() -> None:
        async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
            link = RedisLink(place_of(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
            with pytest.raises(Unreachable) as refused:
                await link.call("PING")
            assert "reset" in str(refused.value) or "ended the connection" in str(refused.value)
            await link.close()

    monkeypatch.setattr(redis_dial, "_role", late)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@needs_redis
def test_it_runs_on_the_loop_that_servers_use() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        link = RedisLink(place_of(shared_url()))
        assert await link.call("PING") == b"PONG"
        await link.close()

    uvloop.run(main())


@needs_redis
def test_the_blocking_link_works_with_and_without_a_loop() -> None:
    link = BlockingLink(place_of(shared_url()))
    assert link.call("SET", link.key("a"), "1") == b"OK"

    async def inside() -> None:
        assert link.run(DOUBLE, [link.key("a")], [1]) == 2

    asyncio.run(inside())
    with pytest.raises(StoreError, match="something else"):
        link.call("LPUSH", link.key("a"), "x")
    with pytest.raises(StoreError, match="not text"):
        link.call("SET", link.key("a"), "\ud800")
    link.close()
    link.close()


@needs_own_redis
def test_the_blocking_link_hears_what_the_server_did_while_nobody_called() -> None:
    with RedisServer() as server, server.client() as other:
        link = BlockingLink(place_of(server.url))
        assert link.call("PING") == b"PONG"
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert link.call("PING") == b"PONG", "on a new connection: nothing was lost on the one that had ended"
        link.close()


@needs_redis
def test_many_threads_may_share_a_blocking_link() -> None:
    link = BlockingLink(place_of(shared_url()))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: link.call("INCR", link.key("n")), range(400)))
    assert sorted(found) == list(range(1, 401))
    link.close()


@needs_own_redis
def test_users_passwords_and_databases() -> None:
    with RedisServer("--requirepass", "s3cret") as server:
        good = f"redis://:s3cret@127.0.0.1:{server.port}/3"

        async def works(link: RedisLink) -> None:
            assert await link.call("SET", "a", "1") == b"OK"

        run(place_of(good), works)
        for url, words in (
            (server.url, "wants a password"),
            (good.replace("s3cret", "wrong"), "refuses the user or the password"),
            (good.replace(":s3cret", "nobody:s3cret"), "refuses the user or the password"),
            (good.replace("/3", "/999"), "DB index is out of range"),
        ):

            async def fails(link: RedisLink, words: str = words) -> None:
                with pytest.raises(Unreachable, match=words) as found:
                    await link.call("PING")
                assert "s3cret" not in str(found.value)

            run(place_of(url), fails)


@needs_own_redis
def test_a_replica_that_may_not_be_written_is_not_used() -> None:
    with RedisServer() as primary, RedisServer("--replicaof", "127.0.0.1", str(primary.port)) as replica:

        async def fails(link: RedisLink) -> None:
            with pytest.raises(Unreachable, match="read-only replica"):
                await link.call("PING")

        run(place_of(replica.url), fails)


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("redis://h", "single", "redis://h:6379/0"),
        ("rediss://user:p%40ss@h:1/2", "single", "rediss://h:1/2"),
        ("redis://[::1]:7/1", "single", "redis://[::1]:7/1"),
        ("redis+cluster://a:1,b:2", "cluster", "redis+cluster://a:1,b:2/0"),
        ("redis+sentinel://a,b/main/4", "sentinel", "redis+sentinel://a:26379,b:26379/main/4"),
        ("unix:///run/redis.sock?db=2", "unix", "unix:///run/redis.sock?db=2"),
    ],
)
def test_urls_of_stores(url: str, kind: str, shown: str) -> None:
    place = place_of(url)
    assert (place.kind, str(place)) == (kind, shown)
    if "user" in url:
        assert (place.username, place.password) == ("user", "p@ss")
        assert "p@ss" not in repr(place)


@pytest.mark.parametrize(
    "url",
    [
        "redis:h",
        "http://h",
        "redis://",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/x",
        "redis://a,b",
        "redis+cluster://a/1",
        "redis+sentinel://a",
        "unix://relative",
        "redis://h?x=1",
        "redis://h?tenant={}",
        "redis://h h",
    ],
)
def test_what_is_no_url_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|behind"):
        place_of(url)


def test_answers_that_mean_not_now_are_told_from_those_that_mean_never() -> None:
    for reply in ("LOADING x", "OOM x", "MISCONF x", "READONLY x", "CLUSTERDOWN x", "NOAUTH x", "MOVED 1 h:1"):
        assert isinstance(fault(reply), Unreachable)
    for reply in ("WRONGTYPE x", "ERR syntax error", "whatever"):
        assert not isinstance(fault(reply), Unreachable)
