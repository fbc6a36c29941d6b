"""Running one exchange from its first stage to its record.

    admit: every stage's request hook, in order; the first refusal ends it
    ask:   the first target that answers (`engine.cascade`)
    move:  the reply to the client, buffered or streamed
    close: usage and cost, releases, one record to every sink

Nothing in here knows a protocol, a policy or a price: codecs, stages and the injected `settle` do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.engine.approval import asked
from proxy.engine.ask import asked_by, failed, foreign, keyless, outcome_of, said, store_down, unreachable
from proxy.engine.cascade import Cascade, Settle
from proxy.engine.exchange import Exchange
from proxy.engine.gate import gate_for
from proxy.engine.live import Live, stopped
from proxy.engine.ports import ClientGone, StoreError, UpstreamError, UpstreamReply
from proxy.engine.pump import Flow, pump
from proxy.engine.record import record_of
from proxy.engine.releases import Releases
from proxy.engine.reply import forwarded, ours, passed_on
from proxy.engine.stage import Hook, Tap
from proxy.model import Deny, Nanos, Reason, Target
from proxy.wire.base import Framing
from proxy.wire.refusals import error_event, provider_error, refuse
from proxy.wire.translate.bridge import Untranslatable

log = logging.getLogger("fleetgate.engine")


class Engine:
    """Runs exchanges. One a process; configuration reaches it only through each exchange's runtime snapshot.

    Args:
        settle: computes usage and cost of a finished exchange (pure; never raises for odd usage).
        on_lost: is told each time that a hold could not be released, which no refusal shows.
    """

    def __init__(self, settle: Settle, on_lost: Callable[[], None] = lambda: None) -> None:
        self._settle, self._releases = settle, Releases(self.spawn, on_lost)
        self._tasks: set[asyncio.Task[None]] = set()
        self.live, self._replies = Live(), set[UpstreamReply]()
        self._cascade = Cascade(settle, self._replies)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` on its own, tracked: `drain` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def idle(self, seconds: float) -> bool:
        """Wait until no exchange runs, at most `seconds`; return whether that came about."""
        return await self.live.idle(seconds)

    def cut_short(self) -> None:
        """Break off every reply that is still coming: clients get their protocol's own ending, and pay for what passed."""
        for reply in list(self._replies):
            reply.close()

    async def drain(self, seconds: float) -> None:
        """Wait for spawned work, at most `seconds`."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def handle(self, ex: Exchange, task: asyncio.Task[None] | None = None) -> None:
        """Run `ex` to its end. Raises nothing but the cancellation of its own task (`task`, where known); leaves one record."""
        self.live.enter(ex, task)
        try:
            if ex.rt.tracing is not None:
                ex.trace = ex.rt.tracing.begin(ex)
            if ex.rt.capture is not None:
                ex.rt.capture.begin(ex)
            await self._run(ex)
        except ClientGone:
            ex.outcome = "client_gone"
        except asyncio.CancelledError:
            ex.outcome = "client_gone"
            raise
        except Exception:
            log.exception("exchange %s failed", ex.id)
            await self._fault(ex)
        finally:
            self.live.leave(ex)
            self._close(ex)

    async def turn_away(self, ex: Exchange, deny: Deny) -> None:
        """Refuse `ex` before any stage: a path that nobody meters. Leaves a record like any other end."""
        self.live.enter(ex)
        try:
            if ex.rt.tracing is not None:
                ex.trace = ex.rt.tracing.begin(ex)
            await self._refuse(ex, deny)
        except ClientGone:
            pass
        finally:
            self.live.leave(ex)
            self._close(ex)

    async def _run(self, ex: Exchange) -> None:
        try:
            deny = await self._serve(ex)
        except asyncio.CancelledError:
            deny = stopped(ex)
            if deny is None:
                raise
        if deny is not None:
            await self._refuse(ex, deny)

    async def _serve(self, ex: Exchange) -> Deny | None:
        """Serve `ex` and return None, or why it is not served."""
        deny = await self._hooks(ex, ex.rt.plan.request)
        if deny is not None:
            return deny
        ex.mark("admitted")
        if ex.answer is not None:
            ex.outcome = "ok"
            self._settled(ex)
            await self._send(ex, 200, [("content-type", "application/json")], ex.answer)
            return None
        found = await self._cascade.ask(ex)
        if isinstance(found, Deny):
            return found
        target, reply = found
        self._replies.add(reply)
        try:
            return await self._move(ex, target, reply)
        finally:
            self._replies.discard(reply)
            reply.close()

    async def admit(self, ex: Exchange) -> Deny | None:
        """Run the request hooks in order and return the first refusal that is not a dry run."""
        return await self._hooks(ex, ex.rt.plan.request)

    async def _hooks(self, ex: Exchange, hooks: tuple[tuple[str, Hook], ...]) -> Deny | None:
        for name, hook in hooks:
            try:
                deny = await hook(ex)
                if deny is None:
                    continue
                if deny.approval is not None:
                    deny = await asked(ex, deny)
            except StoreError as e:
                log.error("exchange %s: stage %s: %s", ex.id, name, e)
                deny = store_down(name)
            except ClientGone:
                raise
            except Exception:
                log.exception("exchange %s: stage %s failed", ex.id, name)
                deny = failed(name)
            if deny is None:
                continue
            if deny.shadow:
                ex.find(f"shadow/{deny.reason}", deny.rule)
                ex.note(name, f"would refuse (shadow): {deny.message} [{deny.rule}]")
                continue
            ex.note(name, f"refused: {deny.message} [{deny.rule}]")
            return deny
        return None

    # --- moving -----------------------------------------------------------------------------------------------------------------

    async def _move(self, ex: Exchange, target: Target, reply: UpstreamReply) -> Deny | None:
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not 200 <= reply.status < 300:
            return await self._forward_error(ex, target, reply, kind)
        spoken = ex.codec if ex.bridge is None else ex.bridge.codec
        framing = spoken.streams.get(kind) if ex.call.stream else None
        if framing is not None:
            return await self._stream(ex, reply, framing())
        if ex.pace is not None and (deny := await ex.pace.rest(ex)) is not None:  # it comes in one piece, so nothing can be cut
            return deny
        return await self._buffered(ex, target, reply, kind)

    async def _forward_error(self, ex: Exchange, target: Target, reply: UpstreamReply, kind: str) -> Deny | None:
        """Pass the provider's own error on untouched, in another dialect its words; not one that is ours or none of the protocol's."""
        if reply.status == 401:
            return keyless(target.provider)
        if kind != "application/json" or reply.status < 400:
            return foreign(target.provider, reply.status, kind)
        try:
            body = await reply.read(ex.rt.limits.max_reply)
        except UpstreamError as e:
            return unreachable(target.provider, e)
        ex.outcome = "upstream_error"
        ex.note("upstream", f"{target.provider} answered {reply.status}; its error is passed on as it is")
        self._settled(ex)
        if ex.bridge is not None:
            body = provider_error(ex.protocol, reply.status, body)
        await self._send(ex, reply.status, forwarded(reply.headers), body)
        return None

    async def _buffered(self, ex: Exchange, target: Target, reply: UpstreamReply, kind: str) -> Deny | None:
        try:
            ex.reply_body = await reply.read(ex.rt.limits.max_reply)
        except UpstreamError as e:
            return unreachable(target.provider, e)
        ex.mark("last_byte")
        bridge = ex.bridge
        meter = ex.meter = ex.codec.meter(ex.call) if bridge is None else bridge.meter()
        meter.buffered(ex.reply_body)
        if not ex.reply_body.lstrip().startswith(b"{"):
            return foreign(target.provider, reply.status, kind)
        ex.served = True
        deny = await self._hooks(ex, ex.rt.plan.reply)
        if deny is not None:
            return deny
        gate = gate_for(ex, meter)
        if isinstance(gate, Deny):
            return gate
        if gate is not None:
            ex.reply_body, deny = await gate.whole(ex.reply_body)
            ex.gate = gate
            if deny is not None:
                return deny
        if bridge is not None:
            try:
                ex.reply_body = bridge.reply(ex.reply_body)
            except Untranslatable:
                return foreign(target.provider, reply.status, kind)
        ex.outcome = "ok"
        self._settled(ex)
        await self._send(ex, reply.status, passed_on(ex, reply.headers), ex.reply_body)
        return None

    async def _stream(self, ex: Exchange, reply: UpstreamReply, framing: Framing) -> Deny | None:
        back = None if ex.bridge is None else ex.bridge.back()
        meter = ex.meter = ex.codec.meter(ex.call) if ex.bridge is None else ex.bridge.meter()
        taps: list[Tap] = [tap for make in ex.rt.plan.taps if (tap := make(ex)) is not None]
        gate = gate_for(ex, meter)
        if isinstance(gate, Deny):
            return gate
        ex.gate = gate
        ex.served, ex.started, ex.status = True, True, reply.status
        flow = Flow(framing, meter, taps, not ex.call.wants_usage, back, gate)
        try:
            await ex.client.start(reply.status, [*passed_on(ex, reply.headers), *ours(ex)])
            cut = await pump(ex, reply, flow)
        except asyncio.CancelledError:
            cut = stopped(ex)
            if cut is None:
                raise
            cut = None if (ex.shown or meter).ended else cut  # all has been said already
        ex.mark("last_byte")
        ex.deny = cut
        ex.outcome = outcome_of(cut) if cut is not None else "upstream_error" if meter.failed else "ok"
        self._settled(ex)
        ending = b"".join(flow.unsent)
        if cut is not None:
            ex.note("reply", f"cut: {cut.message}")
            ending += (ex.shown or meter).cut(cut) if back is None else back.cut(cut)
        if ending:
            ex.sizes[1] += len(ending)
            await ex.client.write(ending)
        await ex.client.end()
        return None

    # --- ending -----------------------------------------------------------------------------------------------------------------

    async def _refuse(self, ex: Exchange, deny: Deny) -> None:
        ex.deny, ex.outcome = deny, outcome_of(deny)
        self._settled(ex)
        answer = said(ex, deny) or refuse(asked_by(ex), deny, ex.id)
        await self._send(ex, answer.status, list(answer.headers), answer.body)

    async def _fault(self, ex: Exchange) -> None:
        ex.outcome = "error"
        deny = Deny(Reason.INTERNAL, "Fleetgate failed while it handled this request.", rule="engine", remedy="See the server log.")
        ex.deny = ex.deny or deny
        try:
            if not ex.started:
                answer = refuse(asked_by(ex), deny, ex.id)
                await self._send(ex, answer.status, list(answer.headers), answer.body)
            elif ex.meter is not None and ex.call.stream:
                ending = (ex.shown or ex.meter).cut(deny) if ex.bridge is None else error_event(ex.protocol, deny)
                await ex.client.write(ending)
                await ex.client.end()
        except ClientGone:
            pass

    async def _send(self, ex: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        ex.started, ex.status = True, status
        ex.sizes[1] += len(body)
        await ex.client.send(status, [*headers, *ours(ex)], body)

    def _settled(self, ex: Exchange) -> None:
        """Fix usage and cost and start the releases, once; before the last bytes, so that a client's next call finds its budget settled."""
        self.live.settled(ex)
        if ex.usage is None:
            try:
                ex.usage, cost = self._settle(ex)
                ex.cost = Nanos(cost + ex.spent)
            except Exception:
                log.exception("exchange %s: its usage cannot be told; its holds are charged in full", ex.id)
        if ex.defers:
            defers, ex.defers = ex.defers, []
            self._releases.run(ex, defers)

    def _close(self, ex: Exchange) -> None:
        ex.mark("closed")
        self._settled(ex)
        record = record_of(ex)
        for sink in ex.rt.sinks:
            try:
                sink.record(record)
            except Exception:
                log.exception("exchange %s: sink %s failed", ex.id, sink.name)
        if ex.rt.tracing is not None:
            try:
                ex.rt.tracing.end(ex, record)
            except Exception:
                log.exception("exchange %s: its trace failed", ex.id)
        if ex.rt.capture is not None:
            try:
                ex.rt.capture.end(ex, record)
            except Exception:
                log.exception("exchange %s: what was said in it cannot be kept", ex.id)
        ex.gate = None  # it looks at its exchange: the two, and the bodies, would stay until a collection
