"""Draws the calls whose local answers are to be compared: the last look at a request, when all that could refuse it has passed it.

Decides by chance alone, and only for chats that routing itself sent to a local model with the asked one behind it. What a rule of files
sends to a local model may have to stay there, what builds on a conversation that a provider keeps would change it, and tools that a
provider runs have effects: none of those is drawn. Never refuses, and changes nothing of the exchange.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ClassVar

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage, Tap
from proxy.model import Deny

Take = Callable[[Exchange], None]
Listen = Callable[[Exchange], Tap | None]


class SampleStage(Stage):
    """See the module.

    Args:
        share: of those calls, 0..1.
        take: is given each call that was drawn.
        listen: returns what hears the stream of such a call.
        draw: a number from 0 up to 1.
    """

    name: ClassVar[str] = "sample"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "route"})

    def __init__(self, share: float, take: Take, listen: Listen, draw: Callable[[], float] = random.random) -> None:
        self._share, self._take, self._listen, self._draw = share, take, listen, draw

    async def request(self, ex: Exchange) -> Deny | None:
        """Hand `ex` on if it was drawn."""
        if comparable(ex) and self._draw() < self._share:
            self._take(ex)
        return None

    def tap(self, ex: Exchange) -> Tap | None:
        """Return what hears the stream, None for a call that was not drawn."""
        return self._listen(ex)


def comparable(ex: Exchange) -> bool:
    """Tell if the answer of `ex` could be compared with that of the asked model."""
    route, call = ex.route, ex.call
    if route.reason != "local" or ex.route_to or ex.sample_of or call.operation != "chat" or call.thread:
        return False
    return route.other in route.targets[1:] and all(spec.kind == "function" for spec in call.tools.specs)


__all__ = ["SampleStage", "comparable"]
