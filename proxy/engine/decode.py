"""The decode stage: take the body off the wire and let the codec read it.

It runs after identity, which needs headers only, so that nobody unauthenticated makes us read or parse a body.
"""

from __future__ import annotations

from typing import ClassVar

from proxy.engine.exchange import Exchange
from proxy.engine.ports import BodyTimeout, BodyTooLarge
from proxy.engine.stage import Stage
from proxy.model import Deny, Reason
from proxy.wire.base import Memos
from proxy.wire.call import WireError


class DecodeStage(Stage):
    """Reads and decodes the body; what is not the protocol's own JSON is refused before anything else looks at it."""

    name: ClassVar[str] = "decode"
    needs: ClassVar[frozenset[str]] = frozenset({"headers", "principal"})
    gives: ClassVar[frozenset[str]] = frozenset({"body", "call"})

    def __init__(self, memos: Memos) -> None:
        self._memos = memos

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `ex.body` and `ex.call`."""
        limit = ex.rt.limits.max_body
        try:
            ex.body = await ex.client.read(limit)
        except BodyTooLarge:
            return Deny(
                Reason.REQUEST_TOO_LARGE,
                f"The request body is over the limit of {limit >> 20} MiB.",
                rule="listen.max_body_mb",
                remedy="Send less, or raise listen.max_body_mb.",
            )
        except BodyTimeout:
            return Deny(
                Reason.MALFORMED_REQUEST,
                "The request body did not arrive in time.",
                rule="limits.body_s",
                remedy="Send it faster or again.",
            )
        except WireError as e:
            return _malformed(e)
        ex.sizes[0] = len(ex.body)
        ex.mark("body")
        try:
            ex.call = ex.codec.decode(ex.body, self._memos)
        except WireError as e:
            return _malformed(e)
        ex.asked_model = ex.call.model
        return None


def _malformed(e: WireError) -> Deny:
    where = f" at {e.pointer}" if e.pointer else ""
    return Deny(
        Reason.MALFORMED_REQUEST,
        f"The request is not valid{where}: {e.message}.",
        rule=f"wire.{e.protocol}",
        remedy="Correct the request body.",
    )
