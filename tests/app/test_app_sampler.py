"""The sampler: what begins, what is left out, and what the second request says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.app.sampler import AT_ONCE, Nowhere, Sampler, second
from proxy.budget.settle import settle_usage
from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import BodyTooLarge, StoreError, SystemClock
from proxy.engine.record import Record
from proxy.engine.run import Engine
from proxy.engine.stage import Plan
from proxy.model import FREE, Grant, Route, Target
from proxy.routing.pairs import Pair
from proxy.stores.pairs import MemoryPairs
from proxy.wire.base import Memos
from proxy.wire.registry import find

KEY = "AKIA" + "Q7XH2LMNB4ZKPD3T"
PATHS = {
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "ollama": "/api/chat",
    "gemini": "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
}
NO_TRANSPORT: Any = None


def exchange(kind: str = "openai", body: bytes = b'{"model":"m","stream":true,"stream_options":{}}', query: str = "") -> Exchange:
    codec = find("POST", PATHS[kind], {}, query)
    assert codec is not None
    ex = Exchange(Runtime("v", Plan((), (), ()), NO_TRANSPORT, ()), SystemClock(), Nowhere(body), codec.protocol)
    ex.codec, ex.method, ex.path, ex.query, ex.headers, ex.body = codec, "POST", PATHS[kind], query, CIMultiDict({"x-a": "b"}), body
    return ex


def asked_for(ex: Exchange) -> tuple[Exchange, Any]:
    made = second(ex, ex.rt)
    assert made is not None
    return made, json.loads(asyncio.run(made.client.read(1000)))


@pytest.mark.parametrize(
    ("kind", "more"), [("openai", {"stream": False}), ("responses", {"stream": False, "store": False}), ("ollama", {"stream": False})]
)
def test_the_second_request_is_the_first_in_the_buffered_form(kind: str, more: dict[str, Any]) -> None:
    ex = exchange(kind)
    made, body = asked_for(ex)
    assert body == {"model": "m"} | more
    assert (made.sample_of, made.path, made.headers, made.codec) == (ex.id, ex.path, ex.headers, ex.codec)
    assert made.id != ex.id
    assert made.decisions == [("sample", f"sample of {ex.id}")]


def test_gemini_says_it_in_the_path() -> None:
    made, body = asked_for(exchange("gemini", b'{"contents":[]}', "alt=sse&a=b"))
    assert (made.path, made.query) == ("/v1beta/models/gemini-2.5-pro:generateContent", "a=b")
    assert body == {"contents": []}


def test_what_has_no_second_form_is_not_asked() -> None:
    assert second(exchange(body=b"[]"), exchange().rt) is None


def test_the_client_of_a_sample_reads_within_the_limit_and_takes_anything() -> None:
    async def main() -> None:
        client = Nowhere(b"12345")
        with pytest.raises(BodyTooLarge):
            await client.read(4)
        await client.send(200, [], b"x")
        await client.start(200, [])
        await client.write(b"x")
        await client.end()

    asyncio.run(main())


class Held(Engine):
    """An engine whose exchanges end well once they may."""

    def __init__(self, outcome: str = "ok") -> None:
        super().__init__(settle_usage)
        self.go, self.more, self.seen, self.outcome = asyncio.Event(), asyncio.Event(), list[Exchange](), outcome

    async def began(self, number: int) -> None:
        while len(self.seen) < number:
            self.more.clear()
            await self.more.wait()

    async def handle(self, ex: Exchange, task: asyncio.Task[None] | None = None) -> None:
        self.seen.append(ex)
        self.more.set()
        await self.go.wait()
        ex.outcome, ex.upstream_status, ex.agent = self.outcome, 200, "a"
        ex.grant = Grant("a", "", "", "", "", (), ())
        ex.route, ex.call = Route((Target("cloud", "big", "big", "openai", FREE),)), ex.codec.decode(CALL, MEMOS)


CALL, MEMOS = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}', Memos()


def drawn(sampler: Sampler) -> Exchange:
    ex = exchange(body=CALL)
    ex.grant = Grant("a", "", "", "", "", (), ())
    ex.route, ex.call = Route((Target("here", "small", "small", "openai", FREE, local=True),), "local"), ex.codec.decode(CALL, MEMOS)
    sampler.take(ex)
    return ex


def ended(ex: Exchange, **more: Any) -> Record:
    fields: dict[str, Any] = {"outcome": "ok", "route": "local", "upstream_status": 200} | more
    return Record(ex.id, 0.0, **fields)


def test_so_many_run_at_once_and_more_are_left_out() -> None:
    async def main() -> None:
        engine, pairs = Held(), MemoryPairs()
        sampler = Sampler(engine, pairs)
        sampler.runtime = exchange().rt
        for _ in range(AT_ONCE + 1):
            sampler.record(ended(drawn(sampler)))
        await engine.began(AT_ONCE)
        assert len(engine.seen) == AT_ONCE
        engine.go.set()
        await engine.drain(5)
        assert len(pairs.all()) == AT_ONCE
        sampler.record(ended(drawn(sampler)))
        await engine.drain(5)
        assert len(pairs.all()) == AT_ONCE + 1

    asyncio.run(main())


@pytest.mark.parametrize("more", [{"outcome": "client_gone"}, {"route": "fallback"}, {"upstream_status": 400}])
def test_what_its_local_model_did_not_serve_to_the_end_is_left_out(more: dict[str, Any]) -> None:
    async def main() -> None:
        engine = Held()
        sampler = Sampler(engine, MemoryPairs())
        sampler.runtime = exchange().rt
        ex = drawn(sampler)
        assert sampler.listen(ex) is not None
        sampler.record(ended(ex, **more))
        sampler.record(ended(ex))  # it is forgotten
        await engine.drain(5)
        assert (engine.seen, sampler.listen(ex)) == ([], None)

    asyncio.run(main())


def test_a_stop_breaks_off_what_runs_and_nothing_begins_after_it() -> None:
    async def main() -> None:
        engine, pairs = Held(), MemoryPairs()
        sampler = Sampler(engine, pairs)
        sampler.runtime = exchange().rt
        sampler.record(ended(drawn(sampler)))
        await engine.began(1)
        sampler.stop()
        await engine.drain(5)
        sampler.record(ended(drawn(sampler)))
        await engine.drain(5)
        await sampler.close()
        assert (len(engine.seen), list(pairs.all())) == (1, [])

    asyncio.run(main())


class Full(MemoryPairs):
    """Pairs that cannot be kept."""

    def keep(self, pair: Pair) -> None:
        raise StoreError("the disk is full")


@pytest.mark.parametrize("outcome", ["ok", "denied"])
def test_what_cannot_be_kept_is_logged_and_what_failed_is_no_pair(outcome: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        engine = Held(outcome)
        sampler = Sampler(engine, Full())
        sampler.runtime = exchange().rt
        engine.go.set()
        sampler.record(ended(drawn(sampler)))
        await engine.drain(5)

    asyncio.run(main())
    assert ("the disk is full" in caplog.text) is (outcome == "ok")
