"""One counter: what is spent and held of it, and for a rolling window, when what was spent.

Decides what a rolling window has forgotten; knows no claims and no limits. Nothing here fails.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.budget.port import SLICES, Balance, forgotten_at, slice_of

_NEVER = 1 << 62
"""The first slice of a window in which nothing is spent."""


class Counter:
    """A counter that forgets nothing while it lives."""

    __slots__ = ("expires", "held", "spent")

    def __init__(self, spent: int = 0, held: int = 0, expires: float = 0.0) -> None:
        self.spent, self.held, self.expires = spent, held, expires

    def balance(self, now: float) -> Balance:
        """Return what is spent and held."""
        return self.spent, self.held


class Rolling(Counter):
    """A counter over the last `span` seconds. `slices` is what was spent by step (see `slice_of`), and `spent` their sum."""

    __slots__ = ("_first", "slices", "span")

    def __init__(self, span: float, slices: Mapping[int, int] | None = None, held: int = 0, expires: float = 0.0) -> None:
        self.span, self.slices = span, dict(slices or {})
        super().__init__(sum(self.slices.values()), held, expires)
        self._first = min(self.slices, default=_NEVER)

    def roll(self, now: float) -> None:
        """Forget what is older than the window."""
        oldest = slice_of(now, self.span) - SLICES
        if self._first < oldest:
            self.slices = {number: amount for number, amount in self.slices.items() if number >= oldest}
            self.spent = sum(self.slices.values())
            self._first = min(self.slices, default=_NEVER)

    def spend(self, at: float, amount: int) -> None:
        """Add `amount` to what was spent at `at`, and stay at least until it is forgotten. A negative one takes back what is there."""
        number = slice_of(at, self.span)
        before = self.slices.get(number, 0)
        after = max(0, before + amount)
        self.spent += after - before
        if after:
            self.slices[number] = after
            self._first = min(self._first, number)
            self.expires = max(self.expires, forgotten_at(number, self.span))
        else:
            self.slices.pop(number, None)

    def balance(self, now: float) -> Balance:
        """Return what is spent in the window that ends at `now`, and what is held. Forgets nothing: who only looks may have any clock."""
        oldest = slice_of(now, self.span) - SLICES
        if self._first >= oldest:
            return self.spent, self.held
        return sum([amount for number, amount in self.slices.items() if number >= oldest]), self.held

    def frees_at(self) -> float | None:
        """Return when the oldest that was spent is forgotten, UTC seconds, or None when nothing is."""
        return forgotten_at(min(self.slices), self.span) if self.slices else None
