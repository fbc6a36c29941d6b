"""Scripts for the engine: a request goes in, the upstream says its lines, and the test reads what the client got and the ledger did.

No sockets: the ports are played by plain objects. Everything between them is the real engine, pump and codecs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from multidict import CIMultiDict

from proxy.engine.capture import Capturing
from proxy.engine.cascade import Settle
from proxy.engine.decode import DecodeStage
from proxy.engine.exchange import Count, Exchange, Limits, Patience, Runtime
from proxy.engine.ports import Approver, ClientGone, Sink, Take, UpstreamError, UpstreamReply, UpstreamRequest
from proxy.engine.record import Record
from proxy.engine.run import Engine
from proxy.engine.stage import Stage, compile_plan
from proxy.engine.trace import Tracing
from proxy.model import Deny, Nanos, Price, Principal, Route, RouteReason, Target, Usage
from proxy.money import cost
from proxy.wire.base import Memos
from proxy.wire.registry import find

PRICE = Price(input=((0, 1_000_000_000),), output=((0, 10_000_000_000),), source="test")
STRONG = Target("openai", "strong", "strong", "openai", PRICE)
LOCAL = Target("local", "small", "small:8b", "openai", Price(((0, 0),), ((0, 0),)), local=True)
CLAUDE = Target("anthropic", "claude", "claude", "anthropic", PRICE)


@dataclass
class Says:
    """One reply of the upstream: a status, headers, and body pieces, those in a tuple at once; an exception is raised in its place."""

    pieces: Sequence[bytes | Exception | tuple[bytes, ...]] = ()
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


class Reply:
    def __init__(self, says: Says) -> None:
        self.status, self.says, self.closed, self.over = says.status, says, 0, asyncio.Event()
        self.headers: Mapping[str, str] = CIMultiDict({"content-type": says.kind, **says.headers} if says.kind else says.headers)

    async def read(self, limit: int) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        if len(body) > limit:
            raise UpstreamError("too_large", "too large", self.status)
        return body

    async def chunks(self, take: Take | None = None) -> AsyncIterator[bytes]:
        for piece in self.says.pieces:
            await asyncio.sleep(0)
            if isinstance(piece, Exception):
                raise piece
            together = piece if isinstance(piece, tuple) else (piece,)
            taken = 0 if take is None else take(together)
            if together[taken:]:
                yield b"".join(together[taken:])
        if self.says.hang:
            await self.over.wait()
            raise UpstreamError("cut", "closed", self.status)

    def close(self) -> None:
        self.closed += 1
        self.over.set()


class Upstream:
    """Plays the transport: one line of the script for each send."""

    def __init__(self, lines: Sequence[Says | Exception]) -> None:
        self.lines: list[Says | Exception] = list(lines)
        self.asked, self.replies = list[UpstreamRequest](), list[Reply]()

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.asked.append(request)
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        reply = Reply(line)
        self.replies.append(reply)
        return reply

    async def close(self) -> None:
        """Nothing to close."""


class Caller:
    """Plays the client; `leaves_after` writes it is gone."""

    def __init__(self, body: bytes, leaves_after: int | None = None) -> None:
        self.body, self.leaves_after, self.heard = body, leaves_after, asyncio.Event()
        self.status, self.headers, self.got, self.ended, self.writes = 0, CIMultiDict[str](), b"", False, 0

    async def read(self, limit: int) -> bytes:
        return self.body

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)
        await self.end()

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        assert not self.status, "a second head"
        self.status, self.headers = status, CIMultiDict(headers)

    async def write(self, data: bytes) -> None:
        if self.leaves_after is not None and self.writes >= self.leaves_after:
            raise ClientGone
        self.writes += 1
        self.got += data
        self.heard.set()

    def push(self, data: bytes) -> bool:
        """As `write`, where that is this one: a test that watches `write` sees everything there."""
        if type(self).write is not Caller.write or not self.writes or self.writes == self.leaves_after:
            return False
        self.writes += 1
        self.got += data
        self.heard.set()
        return True

    async def end(self) -> None:
        self.ended = True


class Book:
    """A sink that keeps records."""

    name = "book"

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(record)

    async def close(self) -> None:
        """Nothing to write."""


class Clock:
    """A clock that a test winds by hand; each look at `ns` is one microsecond later."""

    def __init__(self, start: float = 1_760_000_000.0) -> None:
        self.time, self.tick = start, 0

    def now(self) -> float:
        return self.time

    def ns(self) -> int:
        self.tick += 1000
        return self.tick


class Admit(Stage):
    """Gives what identity, routing and budget would, and counts how often its hold was taken and given back."""

    name = "admit"
    gives = frozenset({"principal", "agent", "route", "held_output"})

    def __init__(self, targets: Sequence[Target], held: int = 100, reason: RouteReason = "requested") -> None:
        self.targets, self.held, self.taken, self.released = tuple(targets), held, 0, list[tuple[Usage | None, bool]]()
        self.reason: RouteReason = reason

    async def request(self, ex: Exchange) -> Deny | None:
        ex.principal, ex.agent = Principal("a", "k1"), "a"
        ex.route, ex.held_output = Route(self.targets, self.reason), self.held

        async def release(ex: Exchange) -> None:
            self.released.append((ex.usage, ex.sent))

        ex.defer("hold", release)
        self.taken += 1
        return None


def settle(ex: Exchange) -> tuple[Usage, Nanos]:
    """As the product settles, without a store: reported usage at the target's price, else what passed."""
    if not ex.sent or ex.meter is None or ex.target is None or ex.target.price is None:
        return Usage(), Nanos(0)
    usage = ex.meter.usage or Usage(output=ex.meter.pieces, exact=False)
    return usage, cost(usage, ex.target.price)


@dataclass
class Outcome:
    """Everything that a test may ask about afterwards."""

    caller: Caller
    upstream: Upstream
    record: Record
    admit: Admit
    exchange: Exchange


def play(
    body: bytes,
    *lines: Says | Exception,
    path: str = "/v1/chat/completions",
    targets: Sequence[Target] = (STRONG,),
    stages: Sequence[Stage] = (),
    headers: dict[str, str] | None = None,
    caller: Caller | None = None,
    cancel_after: int | None = None,
    held: int = 100,
    settle: Settle = settle,
    sinks: Sequence[Sink] = (),
    count: Count | None = None,
    cut_short: bool = False,
    refusal: Literal["error", "message"] = "error",
    query: str = "",
    upstream: Upstream | None = None,
    approver: Approver | None = None,
    patience: Patience | None = None,
    reason: RouteReason = "requested",
    tracing: Tracing | None = None,
    capture: Capturing | None = None,
) -> Outcome:
    """Run one exchange through the engine and check what must hold for every one: one record, one release of each hold, reply closed."""

    async def main() -> Outcome:
        book, provider, admit = Book(), upstream or Upstream(lines), Admit(targets, held, reason)
        client = caller or Caller(body)
        plan = compile_plan([admit, DecodeStage(Memos()), *stages], {"headers"})
        rt = Runtime("v1", plan, provider, (*sinks, book), Limits(), refusal)
        if count is not None:
            rt = dataclasses.replace(rt, count=count)
        if approver is not None:
            rt = dataclasses.replace(rt, approver=approver)
        if patience is not None:
            rt = dataclasses.replace(rt, patience=patience)
        if tracing is not None:
            rt = dataclasses.replace(rt, tracing=tracing)
        if capture is not None:
            rt = dataclasses.replace(rt, capture=capture)
        codec = find("POST", path, headers or {}, query)
        assert codec is not None
        ex = Exchange(rt, Clock(), client, codec.protocol)
        ex.codec, ex.method, ex.path, ex.headers = codec, "POST", path, CIMultiDict(headers or {})
        engine = Engine(settle)
        task = asyncio.ensure_future(engine.handle(ex))
        if cancel_after is not None:
            for _ in range(cancel_after):
                await asyncio.sleep(0)
            task.cancel()
        if cut_short:
            await asyncio.wait_for(client.heard.wait(), 5)
            assert not await engine.idle(0.01)
            engine.cut_short()
            assert await engine.idle(5)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        await engine.drain(1)
        assert len(book.records) == 1, "exactly one record"
        assert len(admit.released) == admit.taken, "each hold released once"
        assert all(reply.closed for reply in provider.replies), "no reply left open"
        assert engine.live.inflight == 0
        return Outcome(client, provider, book.records[0], admit, ex)

    return asyncio.run(main())


# --- what is asked and said --------------------------------------------------------------------------------------------------

ASK = json.dumps({"model": "strong", "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM = json.dumps({"model": "strong", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM_WITH_USAGE = STREAM[:-1] + b',"stream_options":{"include_usage":true}}'
ANSWER = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "model": "strong",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
        "unknown": {"kept": [1, 2]},
    }
).encode()


def chunk(**fields: object) -> bytes:
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "strong"}
    return b"data: " + json.dumps(base | fields).encode() + b"\n\n"


def says(text: str) -> bytes:
    return chunk(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


STOP = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE = chunk(choices=[], usage={"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12})
DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream"


def stream(*pieces: bytes | Exception | tuple[bytes, ...], hang: bool = False) -> Says:
    return Says(pieces, kind=SSE, hang=hang)
