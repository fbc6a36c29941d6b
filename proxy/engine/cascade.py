"""Asking a route's targets in order, and a local one on trial: what it cannot do well, the next does, and the client sees one clean reply.

A local target that routing chose, with another behind it, is on trial until its reply is known to be good:

    whole replies         read, and looked at (`engine.sound`)
    streams               held until their first piece of output; where tools are offered or JSON is asked for until their end, looked at as
                          a whole and passed on then, the server's own bytes
    either                within `first_byte_s` for a stream's first piece, `answer_s` for what is looked at whole

When the trial fails (also by an error of any status) the reply is closed, what it used is charged and kept on the exchange (`Left`), and
the next target is asked; each target once. Whoever cancels (the client, a kill, a spent budget) ends the trial like any other wait. A
target that is not on trial is replaced only where it surely did no work. Decides nothing about where a call goes. Fails closed: what
cannot be looked at within the bounds is not passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from proxy.engine.ask import hidden, request_for, uncarried, unreachable
from proxy.engine.exchange import Exchange, Left
from proxy.engine.ports import Take, UpstreamError, UpstreamReply, UpstreamRequest
from proxy.engine.sound import Cause, Flaw, flaw, heard, overheard, wanted
from proxy.model import FREE, Deny, Nanos, Reason, Route, Target, Usage
from proxy.wire.base import Framing, Meter
from proxy.wire.call import WireError
from proxy.wire.translate.bridge import Untranslatable

ANOTHER = frozenset({401, 408, 429, 500, 502, 503, 504, 529})
"""Upstream statuses after which the next target of a route is tried: the provider did no billable work."""
MAX_HELD = 8 << 20
"""Bytes of a local reply that may be held until it is known to be good."""
MAX_ERROR = 65_536
_DOWN = {"connect": "down", "timeout": "slow", "cut": "cut", "protocol": "foreign", "too_large": "foreign"}
_SILENT = frozenset({"slow", "cut"})
"""Causes that a server's circuit counts as failures, beside those that the transport sees."""

Settle = Callable[[Exchange], tuple[Usage, Nanos]]


def on_trial(route: Route) -> tuple[Target, ...]:
    """Return the targets of `route` that may do work and be replaced all the same: local ones that routing chose, but for the last."""
    return tuple([t for t in route.targets[:-1] if t.local]) if route.reason == "local" else ()


class Held:
    """A reply of which a part was read already (`ports.UpstreamReply`)."""

    __slots__ = ("_held", "_reply", "_rest", "headers", "status")

    def __init__(self, reply: UpstreamReply, held: list[bytes], rest: AsyncIterator[bytes] | None = None) -> None:
        self.status, self.headers = reply.status, reply.headers
        self._reply, self._held, self._rest = reply, held, rest

    async def read(self, limit: int) -> bytes:
        """See `ports.UpstreamReply`; what is read whole was held whole."""
        return b"".join(self._held)

    async def chunks(self, take: Take | None = None) -> AsyncIterator[bytes]:
        """See `ports.UpstreamReply`."""
        for chunk in self._held:
            yield chunk
        if self._rest is not None:
            async for chunk in self._rest:
                yield chunk

    def close(self) -> None:
        """See `ports.UpstreamReply`."""
        self._reply.close()


@dataclass(frozen=True, slots=True)
class Cascade:
    """See the module. One an engine.

    Args:
        settle: as the engine's: what the exchange used at its present target.
        replies: those that are being read, which the engine may break off.
    """

    settle: Settle
    replies: set[UpstreamReply]

    async def ask(self, ex: Exchange) -> tuple[Target, UpstreamReply] | Deny:
        """Return the first target that answers with its reply, or why none did."""
        targets, tried = ex.route.targets, on_trial(ex.route) if ex.call.operation == "chat" else ()
        for target in targets:
            last = target is targets[-1]
            try:
                request, bridge = request_for(ex, target)
                if ex.redactions and request.body:
                    request.body = await hidden(request.body, ex.redactions, bridge is not None)
            except Untranslatable as e:
                ex.note("upstream", f"{target.provider} cannot be asked in {target.wire}: {e}")
                if last:
                    return uncarried(ex.codec.dialect, target, e)
                if target in tried:
                    self._leave(ex, target, Flaw("untranslatable", "it cannot be asked that"), 0)
                continue
            request.alone, request.note, request.spare = last, ex.note, target in tried
            before = (ex.target, ex.sent, ex.upstream_status)
            ex.target, ex.sent, ex.upstream_status, ex.bridge = target, True, 0, bridge
            ex.mark("sent")
            found = await (self._try(ex, target, request) if request.spare else self._send(ex, target, request, before))
            if found is not None:
                return found
        return Deny(Reason.UPSTREAM_ERROR, "No provider is left to ask.", rule="route")

    async def _send(
        self, ex: Exchange, target: Target, request: UpstreamRequest, before: tuple[Target | None, bool, int]
    ) -> tuple[Target, UpstreamReply] | Deny | None:
        """Return the reply of `target`, why there is none, or None where the next is to be asked."""
        try:
            reply = await ex.rt.transport.send(request)
        except (UpstreamError, asyncio.CancelledError) as e:
            if request.idle or (isinstance(e, UpstreamError) and e.kind == "connect"):
                ex.target, ex.sent, ex.upstream_status = before  # this one did no work; what an earlier one did or said stands
            if isinstance(e, asyncio.CancelledError):
                raise
            ex.note("upstream", f"{target.provider} could not be asked: {e}")
            if not request.alone and (e.retryable or target.local):
                return None
            return unreachable(target.provider, e)
        ex.mark("head")
        ex.upstream_status = reply.status
        if reply.status in ANOTHER and not request.alone:
            ex.note("upstream", f"{target.provider} answered {reply.status}; trying the next target")
            reply.close()
            return None
        return target, reply

    # --- on trial ----------------------------------------------------------------------------------------------------------------

    async def _try(self, ex: Exchange, target: Target, request: UpstreamRequest) -> tuple[Target, UpstreamReply] | None:
        """Return the reply of `target` once it is known to be good, or None where the next is to be asked."""
        began = ex.clock.ns()
        if ex.pace is not None and _priced(target) and (short := await ex.pace.rest(ex)) is not None:
            ex.sent = False
            found: Flaw | UpstreamReply = Flaw("budget", f"no hold for all that it may say: {short.message}")
        else:
            found = await self._examined(ex, request)
        if not isinstance(found, Flaw):
            return target, found
        ex.note("upstream", f"{target.provider} is replaced ({found.cause}): {found.words}")
        self._leave(ex, target, found, ex.clock.ns() - began)
        return None

    async def _examined(self, ex: Exchange, request: UpstreamRequest) -> Flaw | UpstreamReply:
        patience, whole = ex.rt.patience, not ex.call.stream or _looked_at_whole(ex)
        seconds = patience.answer_s if whole else patience.first_byte_s
        try:
            async with asyncio.timeout(seconds):
                found = await self._asked(ex, request, whole)
        except TimeoutError:
            if request.idle:
                ex.sent = False
                return Flaw("busy", f"no connection within {seconds:g} s")
            found = Flaw("slow", f"no {'answer' if whole else 'output'} within {seconds:g} s")
        except asyncio.CancelledError:
            if request.idle:
                ex.target, ex.sent = None, False
            raise
        except UpstreamError as e:
            ex.sent = ex.sent and not (request.idle or e.kind == "connect")
            return Flaw("busy" if e.busy else _DOWN[e.kind], str(e))  # type: ignore[arg-type]
        if ex.upstream_status < 500:  # the transport has seen those
            request.report(not (isinstance(found, Flaw) and found.cause in _SILENT))
        return found

    async def _asked(self, ex: Exchange, request: UpstreamRequest, whole: bool) -> Flaw | UpstreamReply:
        reply = await ex.rt.transport.send(request)
        ex.mark("head")
        ex.upstream_status = reply.status
        self.replies.add(reply)
        kept = False
        try:
            found = await self._judged(ex, reply, whole)
            kept = not isinstance(found, Flaw)
            return found
        except UpstreamError as e:
            return Flaw(_DOWN[e.kind], str(e))  # type: ignore[arg-type]
        except WireError as e:
            return Flaw("foreign", e.message)
        finally:
            self.replies.discard(reply)
            if not kept:
                reply.close()

    async def _judged(self, ex: Exchange, reply: UpstreamReply, whole: bool) -> Flaw | UpstreamReply:
        """Return `reply`, held as far as it was read, or why it cannot be passed on. Raises UpstreamError, WireError."""
        if not 200 <= reply.status < 300:
            return await _error(reply)
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        codec = ex.codec if ex.bridge is None else ex.bridge.codec
        meter = ex.meter = codec.meter(ex.call) if ex.bridge is None else ex.bridge.meter()
        if not ex.call.stream:
            return await _whole(ex, reply, meter, codec.dialect)
        framing = codec.streams.get(kind)
        if framing is None:
            return Flaw("foreign", f"{kind[:80] or 'no content type'} in place of a stream")
        return await _streamed(ex, reply, meter, framing(), codec.dialect if whole else "")

    def _leave(self, ex: Exchange, target: Target, found: Flaw, ns: int) -> None:
        """Keep what `target` used, and have the exchange as it was before it was asked."""
        usage, cost = self.settle(ex) if ex.sent else (Usage(), Nanos(0))
        ex.left = (*ex.left, Left(target.provider, target.model, found.cause, found.words, usage, cost, ns))
        ex.spent = Nanos(ex.spent + cost)
        if usage.total:
            bound = "" if usage.exact else "at most "
            ex.note("upstream", f"{target.provider} used {bound}{usage.total_input} tokens of input and {usage.output} of output")
        ex.target, ex.sent, ex.upstream_status, ex.meter = None, False, 0, None


def _looked_at_whole(ex: Exchange) -> bool:
    return ex.call.wants_json or bool(ex.call.tools.specs)


def _priced(target: Target) -> bool:
    price = target.price or FREE
    return any(rate for steps in (price.input, price.output) for _, rate in steps)


async def _error(reply: UpstreamReply) -> Flaw:
    """Return why a reply that is an error cannot be passed on; a context that is too small is told apart."""
    cause: Cause = "error"
    if reply.status in (400, 413, 422, 500):
        try:
            said = (await reply.read(MAX_ERROR)).lower()
        except UpstreamError:
            said = b""
        cause = "context" if b"context" in said else "error"
    return Flaw(cause, f"it answered {reply.status}")


async def _whole(ex: Exchange, reply: UpstreamReply, meter: Meter, dialect: str) -> Flaw | UpstreamReply:
    body = await reply.read(min(MAX_HELD, ex.rt.limits.max_reply))
    meter.buffered(body)
    if not body.lstrip().startswith(b"{"):
        return Flaw("foreign", "no JSON object")
    try:
        said = heard(dialect, body)
    except Untranslatable as e:
        return Flaw("foreign", str(e))
    if said is None:
        return Held(reply, [body]) if any(meter.texts) else Flaw("empty", "no answer in the reply")
    return flaw(said, wanted(ex.call, ex.codec.dialect, _ceiling(ex), ex.rt.patience.chants), meter.usage) or Held(reply, [body])


def _ceiling(ex: Exchange) -> int | None:
    return ex.max_output if ex.max_output is not None else ex.call.max_output


async def _streamed(ex: Exchange, reply: UpstreamReply, meter: Meter, framing: Framing, dialect: str) -> Flaw | UpstreamReply:
    """Hold a stream until its first piece of output, or with a `dialect` until its end, when it is looked at as a whole."""
    held, events, size = list[bytes](), list[bytes](), 0
    chunks = reply.chunks()
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        new = framing.feed(chunk)
        said = [event.text or event.tool for raw in new if (event := meter.event(raw)).kind in ("text", "tool")]
        if meter.failed:
            return Flaw("error", "an error event in the stream")
        if dialect:
            events += new
        elif any(word.strip() for word in said):
            return Held(reply, held, chunks)
        if size > MAX_HELD:
            return Flaw("foreign", f"more than {MAX_HELD >> 20} MiB before it could be passed on")
    rest = framing.rest()
    if rest:
        meter.event(rest)
        events.append(rest)
    if not meter.ended and not meter.finish:
        return Flaw("cut", "the stream ended without the protocol's own ending") if held else Flaw("empty", "no event in the stream")
    whole = overheard(dialect, events) if dialect else None
    if whole is None:
        return Held(reply, held) if any(text.strip() for text in meter.texts) else Flaw("empty", "no answer in the stream")
    return flaw(whole, wanted(ex.call, ex.codec.dialect, _ceiling(ex), ex.rt.patience.chants), meter.usage) or Held(reply, held)
