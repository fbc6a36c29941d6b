"""A desk where people decide at a time of the test's choosing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from proxy.control.approvals import Approvals, decide
from proxy.control.port import ControlStore
from proxy.control.questions import Case, Decision, Timing, id_of
from proxy.engine.notice import Notice
from proxy.engine.ports import Answer, Question
from proxy.stores.control import MemoryControl

NOW = 1_800_000_000.0
QUESTION = Question("tool_call", "clerk", "s1", "r1", "e1", "send_email", "d1", "policies/x.yaml:3 (mail)", "why", "{}", timeout_s=20.0)
ID = id_of(QUESTION)
YES, NO = Decision(True, "ann", "fine"), Decision(False, "bob", "no")


@dataclass
class Desk:
    """One process's approver, with a clock to wind and what it told."""

    store: ControlStore
    now: float = NOW
    buffered_s: float = 50.0
    told: list[Notice] = field(default_factory=list)
    spawned: list[Coroutine[Any, Any, None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def link(name: str, secret: str) -> str:
            return f"https://admin/approve/{name}?token={secret}"

        self.people = Approvals(
            self.store, lambda: self.now, lambda: (Timing(), self.buffered_s), self.told.append, link, self.spawned.append
        )

    async def decide(self, decision: Decision) -> Case | str:
        found = await decide(self.store, ID, decision, self.now, 3600)
        self.people.wake()
        return found

    async def asked(self, question: Question = QUESTION, **more: Any) -> asyncio.Task[Answer]:
        """Ask, and return once the question stands in the store."""
        task = asyncio.ensure_future(self.people.ask(question, **more))
        while not task.done() and await self.store.waiting(question.agent, self.now) == 0:
            await turns(1)
        await turns(5)
        return task

    async def settle(self) -> None:
        while self.spawned:
            await self.spawned.pop()


def run(work: Callable[[Desk], Awaitable[None]], store: ControlStore | None = None, **more: Any) -> None:
    async def main() -> None:
        desk = Desk(store or MemoryControl(), **more)
        await work(desk)
        await desk.settle()

    asyncio.run(main())


async def turns(count: int) -> None:
    """Let others have their turn."""
    for _ in range(count):
        await asyncio.sleep(0)
