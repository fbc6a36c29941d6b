"""The budget stage over a memory store, and what the engine does around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from proxy.budget.port import Balance
from proxy.budget.stage import BudgetStage
from proxy.engine.exchange import Exchange
from proxy.model import BudgetRule, Nanos, Target, Usage
from proxy.stores.memory import MemoryBudget


class Bench:
    """A stage over a memory store, and what the engine does around it."""

    def __init__(self, *rules: BudgetRule, **settings: Any) -> None:
        self.store = MemoryBudget()
        self.stage = BudgetStage(rules, self.store, **settings)

    async def close(self, ex: Exchange, usage: Usage | None, cost: int, *, sent: bool = True, target: Target | None = None) -> None:
        ex.sent, ex.usage, ex.cost = sent, usage, Nanos(cost)
        ex.target = (target or ex.route.targets[0]) if sent else None
        for _, release in reversed(ex.defers):
            await release(ex)

    async def balance(self, counter: str) -> Balance:
        return (await self.store.balances([counter], 0))[counter]


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    asyncio.run(main())


def headers(ex: Exchange) -> Mapping[str, str]:
    return dict(ex.reply_headers)


CAP = "cap|usd||total"
