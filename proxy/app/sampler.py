"""Side-by-side pairs: asks the model that was asked for what a local one has answered already, and keeps both answers.

A call that was drawn (`routing.sample`) is remembered until its record is made. Where the local model served it to the end, the same
request goes through the pipeline once more as an exchange of ours, in the buffered form: same key, agent and session, its own budget hold
and record, under all that may refuse a call; loops are not counted from it, and nobody is asked to approve it. Its reply goes nowhere
but into the pair. The client's reply is out by then, so nothing of this delays or changes it.

Bounded: `AT_ONCE` run at a time and more are left out; none begins while the process stops, and those that run are broken off then. Fails
by keeping nothing: the record of a sample that was refused or failed says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import BodyTooLarge, StoreError
from proxy.engine.record import Record
from proxy.engine.run import Engine
from proxy.engine.stage import Tap
from proxy.guards.logged import AHEAD, logged
from proxy.identity.grants import STRICTER
from proxy.model import Deny
from proxy.routing.pairs import MOST_CHARS, Half, Pair, Pairs
from proxy.wire import jsonio
from proxy.wire.call import Event
from proxy.wire.registry import find

log = logging.getLogger("fleetgate.app")
AT_ONCE = 2
DAY_S = 86_400.0
_HEARD = MOST_CHARS + AHEAD
"""Characters of a text that are looked at for secrets: a secret at the end of what is kept is still seen whole."""
_STREAM_PATH, _WHOLE_PATH = ":streamGenerateContent", ":generateContent"


class Nowhere:
    """Implements the `Client` port for a request that nobody waits for."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, limit: int) -> bytes:
        """Return the body. Raises BodyTooLarge."""
        if len(self._body) > limit:
            raise BodyTooLarge
        return self._body

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Drop a whole reply."""

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Drop the head of a reply."""

    async def write(self, data: bytes) -> None:
        """Drop a piece of a reply."""

    def push(self, data: bytes) -> bool:
        """Take nothing at once."""
        return False

    async def end(self) -> None:
        """Know that it has ended."""


@dataclass(slots=True)
class _Drawn:
    ex: Exchange
    said: list[str] = field(default_factory=list)
    chars: int = 0

    def hear(self, event: Event) -> Deny | None:
        """Keep the beginning of what a stream says."""
        if event.kind == "text":
            if self.chars < _HEARD:
                self.said.append(event.text)
            self.chars += len(event.text)
        return None


class Sampler:
    """See the module. A sink, for it is told by the record that an exchange has ended.

    Args:
        engine: runs the samples.
        pairs: where pairs are kept.
    """

    name = "samples"

    def __init__(self, engine: Engine, pairs: Pairs) -> None:
        self._engine, self.pairs = engine, pairs
        self._drawn: dict[str, _Drawn] = {}
        self._running = set[asyncio.Task[object]]()
        self._begun = 0
        self._stopping = False
        self.runtime: Runtime | None = None
        """What samples run on: the present snapshot with the plan for them; None while sampling is off."""

    def take(self, ex: Exchange) -> None:
        """Remember a call that was drawn."""
        self._drawn[ex.id] = _Drawn(ex)

    def listen(self, ex: Exchange) -> Tap | None:
        """Return what hears the stream of a call that was drawn."""
        drawn = self._drawn.get(ex.id)
        return None if drawn is None else drawn.hear

    def record(self, record: Record) -> None:
        """See `Sink.record`: begin the sample of a call that was drawn and that its local model served."""
        drawn = self._drawn.pop(record.id, None)
        if drawn is None or record.outcome != "ok" or record.route != "local" or not 200 <= record.upstream_status < 300:
            return
        if self._stopping or self.runtime is None or self._begun >= AT_ONCE:
            log.debug("exchange %s was drawn, and %d samples run already or none may begin", record.id, self._begun)
            return
        self._begun += 1
        self._engine.spawn(self._counted(self._compare(drawn, self.runtime)))

    async def close(self) -> None:
        """See `Sink.close`: there is nothing to write out."""

    def stop(self) -> None:
        """Begin no more samples, and break off those that run: they pay for what passed, as any call does that its client leaves."""
        self._stopping = True
        for task in list(self._running):
            task.cancel()

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._running.add(task)
        try:
            await work
        finally:
            self._running.discard(task)
            self._begun -= 1

    async def _compare(self, drawn: _Drawn, rt: Runtime) -> None:
        sample = await asyncio.to_thread(second, drawn.ex, rt)
        if sample is None:
            return
        await self._engine.handle(sample)
        if sample.outcome != "ok" or not 200 <= sample.upstream_status < 300:
            return
        level = max((ex.grant.data.get("log_content", "none") for ex in (drawn.ex, sample)), key=STRICTER["log_content"].index)
        days = [float(ex.grant.data["retention_days"]) for ex in (drawn.ex, sample) if "retention_days" in ex.grant.data]
        until = sample.wall + min(days) * DAY_S if days else None
        pair = Pair(sample.wall, sample.agent, self._half(drawn, level), self._half(_Drawn(sample), level), until)
        try:
            await asyncio.to_thread(self.pairs.keep, pair)
            await asyncio.to_thread(self.pairs.forget, pair.time)
        except StoreError as e:
            log.error("exchange %s: %s", sample.id, e)

    def _half(self, drawn: _Drawn, level: str) -> Half:
        ex = drawn.ex
        meter, target = ex.meter, ex.target or ex.route.targets[0]
        said = drawn.said if ex.call.stream else [] if meter is None else meter.texts
        chars = drawn.chars if ex.call.stream else sum(map(len, said))
        finish = "" if meter is None else meter.finish
        text = logged("".join(said), level, MOST_CHARS)
        return Half(ex.id, target.provider, target.model, ex.cost, ex.marks.get("closed", 0), finish, chars, text)


def second(ex: Exchange, rt: Runtime) -> Exchange | None:
    """Return the request of `ex` as an exchange of ours in the buffered form, None where it has none."""
    body = jsonio.parsed(ex.body)
    path, query = ex.path.replace(_STREAM_PATH, _WHOLE_PATH), "&".join([part for part in ex.query.split("&") if part != "alt=sse"])
    codec = find(ex.method, path, ex.headers, query)
    if codec is None or codec.dialect != ex.codec.dialect or not isinstance(body, dict):
        return None
    made = Exchange(rt, ex.clock, Nowhere(_whole(body, ex.protocol, codec.dialect)), ex.protocol)
    made.method, made.path, made.query, made.headers, made.codec = ex.method, path, query, ex.headers, codec
    made.peer, made.named_agent, made.sample_of = ex.peer, ex.named_agent, ex.id
    made.note("sample", f"sample of {ex.id}")
    return made


def _whole(body: dict[str, Any], protocol: str, dialect: str) -> bytes:
    """Return `body` asking for a reply in one piece, which the provider is not to keep."""
    changed = {key: value for key, value in body.items() if key != "stream_options"}
    if protocol != "gemini":
        changed["stream"] = False
    if dialect == "openai.responses":
        changed["store"] = False
    return jsonio.dumps(changed)


__all__ = ["AT_ONCE", "Nowhere", "Sampler", "second"]
