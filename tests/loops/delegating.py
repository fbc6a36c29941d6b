"""Agents of one run that call one another, and what was said to them."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import SystemClock
from proxy.globs import allower
from proxy.loops.stage import LoopStage
from proxy.model import Clause, Deny, Grant, Reason, Source
from proxy.wire.call import Call, Message
from proxy.wire.openai_chat import ChatCodec

AT = Source("AGENTS.md", 9, "policy.delegation")


def grant(agent: str, allow: tuple[str, ...] | None = None, shadow: bool = False, **more: Any) -> Grant:
    clauses = () if allow is None else (Clause(allow, (), AT, shadow, allower(allow, ())),)
    return Grant(agent, "", "", "", "", (), (), delegates=clauses, **more)


class Bench:
    """One process that sees calls of several agents in one run."""

    def __init__(self, *grants: Grant) -> None:
        self.grants = {one.agent: one for one in grants}
        self.stage = LoopStage(grant_of=self.grants.get)
        self.now = 0.0

    def call(
        self, agent: str, session: str, parent: str = "", text: str = "", depth: int = 0, run: str = "k/r", **more: Any
    ) -> tuple[Exchange, Deny | None]:
        missing: Any = None
        ex = Exchange(Runtime("", missing, missing, ()), SystemClock(), missing, "openai")
        ex.agent, ex.codec, ex.session, ex.run = agent, ChatCodec(), f"{agent}/{session}", run or f"{agent}/{session}"
        ex.parent, ex.depth, ex.wall = parent, depth, self.now
        ex.call = Call("chat", "m", b"{}", messages=more.get("messages") or (Message(b"", "user", (text or f"{agent} {session}",)),))
        ex.grant = self.grants.get(agent) or grant(agent)
        return ex, asyncio.run(self.stage.request(ex))

    def loop(self, agent: str, session: str, parent: str = "", **more: Any) -> str:
        ex, deny = self.call(agent, session, parent, **more)
        assert (deny is not None) == (ex.loop.level == "block")
        if deny is not None:
            assert deny.reason is Reason.LOOP_DETECTED
        return ex.loop.header()
