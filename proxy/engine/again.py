"""A stream that a decision cut, asked for again without streaming: the decision stands.

Claude Code throws an error event away and repeats the same request with `stream: false`. Answering that would ask the model again for what
was just refused, and might let it through. So what was cut is remembered for a while, and the repeat gets the same words, as an error that
it shows. A stream that ended for lack of budget ended well-formed and is not repeated; one that the provider broke off may be.

Bounded and of one process; forgetting means that the repeat passes all stages like any other request.

Source: Claude Code 2.1.329 on the wire, 2026-11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.model import Deny
from proxy.wire.blocks import carried
from proxy.wire.call import Message
from proxy.wire.openai_reply import CUT_SHORT

KEPT_S = 300.0
MOST = 1024
DIALECT = "anthropic.messages"


class AgainStage(Stage):
    """See the module."""

    name: ClassVar[str] = "again"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "agent", "session"})

    def __init__(self) -> None:
        self._cut: dict[tuple[str, bytes], tuple[float, Deny]] = {}

    async def request(self, ex: Exchange) -> Deny | None:
        """Refuse a repeat, or have a cut of this stream remembered."""
        if ex.codec.dialect != DIALECT:
            return None
        if ex.call.stream:
            ex.defer(self.name, self._remember)
            return None
        if not self._cut:
            return None
        kept = self._cut.get((ex.agent, digest_of(ex)))
        return kept[1] if kept is not None and ex.wall < kept[0] else None

    async def _remember(self, ex: Exchange) -> None:
        """Keep why the stream was cut, not why none came: such a refusal may be over by then, as a stop may be. See `Release`."""
        deny = ex.deny
        if deny is None or deny is ex.stopped or not ex.served or ex.outcome != "denied" or deny.reason in CUT_SHORT:
            return
        if len(self._cut) >= MOST:
            del self._cut[next(iter(self._cut))]
        self._cut[ex.agent, digest_of(ex)] = (ex.clock.now() + KEPT_S, deny)


def digest_of(ex: Exchange) -> bytes:
    """Return what two requests share that differ in `stream` alone."""
    call = ex.call
    seen = hashlib.blake2b(f"{call.model}\0{call.max_output}\0{call.tools.text}".encode("utf-8", "surrogatepass"), digest_size=16)
    for part in (_digest(call.system), *carried(call.messages, "again", _digest)):
        seen.update(part)
    return seen.digest()


def _digest(messages: Sequence[Message]) -> bytes:
    return hashlib.blake2b(b"".join([message.fingerprint for message in messages]), digest_size=16).digest()
