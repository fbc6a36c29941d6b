"""Budgets in the memory of one process: nothing survives it, nobody else sees it.

Decides nothing; `proxy.budget.book` does the arithmetic. No verb awaits, so each is atomic on the loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from proxy.budget.book import Book
from proxy.budget.port import Balance, Claim, Ended, Exceeded, Held


class MemoryBudget:
    """`BudgetStore` in memory."""

    def __init__(self) -> None:
        self._book = Book(watched=False)

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """See `BudgetStore.reserve`."""
        return self._book.reserve(hold_id, claims, now, hold_expires, about)

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """See `BudgetStore.extend`."""
        return self._book.extend(hold_id, amounts, now, hold_expires)

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        """See `BudgetStore.settle`."""
        return self._book.settle(hold_id, amounts, now, refund)

    async def release(self, hold_id: str, now: float) -> bool:
        """See `BudgetStore.release`."""
        return self._book.settle(hold_id, {}, now)

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        """See `BudgetStore.balances`."""
        return {key: self._book.balance(key, now) for key in counters}

    async def sweep(self, now: float) -> list[Ended]:
        """See `BudgetStore.sweep`."""
        return self._book.sweep(now)

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        """See `BudgetStore.recorded`: the ledger dies with this store, so neither can lack what the other has."""

    async def close(self) -> None:
        """Nothing to let go of."""
