"""What stops a start on a Redis store: a server that must not be used, one that cannot be had, a tenant that is another release's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis_server import RedisServer, needs_own_redis, needs_redis, shared_url

from proxy.stores import open_store
from proxy.stores.redis_place import place_of


@needs_own_redis
def test_servers_that_must_not_be_used_are_refused_at_the_start() -> None:
    with RedisServer() as server, server.client() as other:
        other.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ValueError, match="allkeys-lru, which would throw counters away"):
            open_store(server.url)
        other.config_set("maxmemory-policy", "volatile-lru")
        asyncio.run(open_store(server.url).close())
        other.set("{x}:holds", "mine")
        with pytest.raises(ValueError, match="is a string of somebody else"):
            open_store(f"{server.url}?tenant=x")
        other.hset("{y}:meta", "schema", "99")
        with pytest.raises(ValueError, match="newer version"):
            open_store(f"{server.url}?tenant=y")


@needs_redis
def test_a_tenant_belongs_to_the_release_that_took_it() -> None:
    url = shared_url()
    place = replace(place_of(url), release="prod/fleetgate")
    for same in (place, place, place_of(url)):
        asyncio.run(open_store(url, same).close())
    with pytest.raises(ValueError, match="belongs to release prod/fleetgate, and this is test/fleetgate: give each a tenant of its own"):
        open_store(url, replace(place, release="test/fleetgate"))
    asyncio.run(open_store(url, replace(place, release="test/fleetgate", tenant=f"{place.tenant}.b")).close())


@needs_own_redis
def test_a_server_that_cannot_be_had_says_why_at_the_start() -> None:
    with RedisServer("--requirepass", "s3cret") as primary, RedisServer("--replicaof", "127.0.0.1", str(primary.port)) as replica:
        with pytest.raises(ValueError, match=f"store redis://127.0.0.1:{primary.port}/0: .*wants a password: set store.password"):
            open_store(primary.url)
        with pytest.raises(ValueError, match="refuses the user or the password") as found:
            open_store(primary.url.replace("//", "//:wrong-one@"))
        assert "wrong-one" not in str(found.value)
        with pytest.raises(ValueError, match="it is a read-only replica"):
            open_store(replica.url)
