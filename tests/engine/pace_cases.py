"""A budget whose amounts are tokens, and the stage that pays from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from engine_script import STREAM, Outcome, Says, play, says

from proxy.budget.extend import Steps
from proxy.budget.port import Claim, Exceeded, Held
from proxy.budget.settle import settle_usage
from proxy.budget.stage import BudgetStage
from proxy.engine.exchange import Exchange
from proxy.engine.ports import StoreError
from proxy.engine.stage import Stage
from proxy.model import BudgetRule, Deny, Grant, Price, Source, Target
from proxy.stores.memory import MemoryBudget

PRICE = Price(input=((0, 0),), output=((0, 1_000_000),), source="test")
"""A nano a token of output: amounts are tokens."""
TARGET = Target("openai", "gpt-4o", "gpt-4o", "openai", PRICE)
CAP = "cap|usd||total"


class Pay(Stage):
    """What identity and session give, then the budget."""

    name = "pay"
    needs = frozenset({"call", "route"})

    def __init__(self, limit: int, store: MemoryBudget | None = None, step: int = 256) -> None:
        rule = BudgetRule("cap", (), "usd", limit, "total", Source("budgets/a.yaml", 2))
        self.store = store or MemoryBudget()
        self.budget = BudgetStage([rule], self.store, step_output=step, default_max_output=4096)
        self.paced = False

    async def request(self, ex: Exchange) -> Deny | None:
        ex.grant = Grant("a", "t", "1", "", "", (), ())
        ex.session = "s"
        deny = await self.budget.request(ex)
        self.paced = isinstance(ex.pace, Steps)
        return deny

    def balance(self) -> tuple[int, int]:
        return self.store._book.balance(CAP, 0.0)


class Full(Pay):
    """Another call takes what is left of a thousand but for this one's step, or as much as is said."""

    def __init__(self, limit: int, store: MemoryBudget | None = None, left: int | None = None) -> None:
        super().__init__(limit, store)
        self.left = left

    async def request(self, ex: Exchange) -> Deny | None:
        deny = await super().request(ex)
        left = 1000 - sum(self.balance()) if self.left is None else self.left
        assert isinstance(await self.store.reserve("another", [Claim(CAP, "usd", 1000, left, 9e9)], 0, 9e9), Held)
        return deny


def chunks(count: int, each: int = 10) -> list[bytes]:
    """A stream of `count` tokens, in pieces of `each` events."""
    return [says(" word") * min(each, count - i) for i in range(0, count, each)]


def ask(pay: Pay, *lines: Says | Exception, **more: Any) -> Outcome:
    return play(more.pop("body", STREAM), *lines, stages=[pay], targets=[TARGET], settle=settle_usage, **more)


def tokens_got(out: Outcome) -> int:
    return out.caller.got.count(b'" word"')


def ceiling(out: Outcome) -> int | None:
    found = json.loads(out.upstream.asked[0].body).get("max_completion_tokens")
    return int(found) if found is not None else None


class Counted(MemoryBudget):
    """Counts what is asked of it; `fails` says from which extension on it does not answer."""

    def __init__(self, fails: int | None = None, hangs: bool = False) -> None:
        super().__init__()
        self.extended: list[int] = []
        self.fails, self.hangs = fails, hangs

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        self.extended.append(amounts["usd"])
        if self.fails is not None and len(self.extended) > self.fails:
            if self.hangs:
                await asyncio.Event().wait()
            raise StoreError("down")
        return await super().extend(hold_id, amounts, now, hold_expires)
