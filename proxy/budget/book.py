"""The arithmetic of counters and holds on plain dicts, shared by the stores.

Decides what a verb changes; keeps no file, reads no clock and takes no lock: its owner calls it from one place at a time. Whoever wants
to save the changes finds the keys touched in `dirty_counters` and `dirty_holds`, and clears them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from proxy.budget.port import TOMBSTONE_S, Balance, Claim, Ended, Exceeded, Held, Unit
from proxy.engine.ports import StoreError

Part = tuple[str, Unit, int | None, int, *tuple[Any, ...]]
"""What a hold has of one counter: its key, the unit, the counter's limit for this hold, the amount. A claim is one, with more behind."""


class Counter:
    """One counter."""

    __slots__ = ("expires", "held", "spent")

    def __init__(self, spent: int = 0, held: int = 0, expires: float = 0.0) -> None:
        self.spent, self.held, self.expires = spent, held, expires


class Hold:
    """One hold that stands. `parts` are its claims, or what was read of them; `about` is what its reserve said."""

    __slots__ = ("about", "expires", "parts")

    def __init__(self, parts: Sequence[Part], expires: float, about: str = "") -> None:
        self.parts, self.expires, self.about = parts, expires, about


class Book:
    """Counters by key, holds by id, and until when each settled hold is remembered, in the order in which they were settled.

    Args:
        watched: keep what changed in the dirty sets.
    """

    __slots__ = ("_watched", "counters", "dirty_counters", "dirty_holds", "holds", "settled")

    def __init__(self, *, watched: bool = True) -> None:
        self._watched = watched
        self.counters: dict[str, Counter] = {}
        self.holds: dict[str, Hold] = {}
        self.settled: dict[str, float] = {}
        self.dirty_counters: set[str] = set()
        self.dirty_holds: set[str] = set()

    def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """See `BudgetStore.reserve`."""
        if hold_id in self.settled:
            raise StoreError("the hold was settled before")
        if hold_id in self.holds:
            return self._again(self.holds[hold_id], claims)
        counters = self.counters
        touched: list[Counter] = []
        for key, _, limit, amount, expires, _, _, _, _ in claims:
            counter = counters.get(key)
            if counter is None:
                counter = counters[key] = Counter()
            if limit is not None and counter.spent + counter.held + amount > limit:
                return self._undo(touched, claims)
            counter.held += amount
            counter.expires = max(counter.expires, expires)
            touched.append(counter)
        self.holds[hold_id] = Hold(claims, hold_expires, about)
        if self._watched:
            self.dirty_holds.add(hold_id)
            self.dirty_counters.update([claim[0] for claim in claims])
        return Held(tuple([(counter.spent, counter.held) for counter in touched]))

    def _again(self, hold: Hold, claims: Sequence[Claim]) -> Held:
        """Return the balances of a hold that stands, if `claims` are its own: an id that means two calls would let one go free."""
        if [part[:4] for part in hold.parts] != [claim[:4] for claim in claims]:
            raise StoreError("a hold of this id stands with other claims")
        return Held(tuple([self.balance(part[0]) for part in hold.parts]))

    def _undo(self, touched: Sequence[Counter], claims: Sequence[Claim]) -> Exceeded:
        """Take back what was held of the first claims, because the one behind them does not fit."""
        for counter, claim in zip(touched, claims, strict=False):
            counter.held -= claim.amount
        return Exceeded(len(touched), tuple([self.balance(claim.counter) for claim in claims]))

    def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """See `BudgetStore.extend`."""
        hold = self.holds.get(hold_id)
        if hold is None:
            raise StoreError("there is no such hold, or it was settled")
        wanted: dict[str, int] = {}
        parts = [part[:4] for part in hold.parts]
        for index, (key, unit, limit, amount) in enumerate(parts):
            counter, total = self.counters[key], wanted.get(key, 0) + max(0, amounts.get(unit, 0) - amount)
            if limit is not None and counter.spent + counter.held + total > limit:
                return Exceeded(index, tuple([self.balance(part[0]) for part in hold.parts]))
            wanted[key] = total
        for key, more in wanted.items():
            self.counters[key].held += more
        hold.parts = [(key, unit, limit, max(amount, amounts.get(unit, 0))) for key, unit, limit, amount in parts]
        hold.expires = max(hold.expires, hold_expires or 0.0)
        if self._watched:
            self.dirty_holds.add(hold_id)
            self.dirty_counters.update(wanted)
        return Held(tuple([self.balance(part[0]) for part in hold.parts]))

    def settle(self, hold_id: str, amounts: Mapping[str, int] | None, now: float, refund: Collection[str] = ()) -> bool:
        """See `BudgetStore.settle`; `amounts` None charges all that is held."""
        if hold_id in self.settled:
            return False
        hold = self.holds.get(hold_id)
        found = [self.counters.get(part[0]) or self._missing(part) for part in hold.parts] if hold is not None else ()
        # nothing is changed before all is at hand: a counter that is missing must not leave half a settle
        self.settled[hold_id] = now + TOMBSTONE_S
        if self._watched:
            self.dirty_holds.add(hold_id)
        if hold is None:
            return False
        del self.holds[hold_id]
        for part, counter in zip(hold.parts, found, strict=True):
            unit, amount = part[1], part[3]
            counter.held -= amount
            if unit != "concurrency" and part[0] not in refund:
                counter.spent += amount if amounts is None else amounts.get(unit, 0)
        if self._watched:
            self.dirty_counters.update([part[0] for part in hold.parts])
        return True

    def _missing(self, part: Part) -> Counter:
        """Return a counter that is not there for `part`. One that held nothing may have been forgotten; no other may."""
        if part[3]:
            raise StoreError("a counter is missing, so the store does not say what it should")
        counter = self.counters[part[0]] = Counter()
        return counter

    def balance(self, key: str) -> Balance:
        """Return what is spent and held of `key`."""
        counter = self.counters.get(key)
        return (counter.spent, counter.held) if counter else (0, 0)

    def sweep(self, now: float) -> list[Ended]:
        """See `BudgetStore.sweep`."""
        over = [(hold_id, hold) for hold_id, hold in self.holds.items() if hold.expires <= now]
        for hold_id, _ in over:
            self.settle(hold_id, None, now)
        while self.settled and self.settled[first := next(iter(self.settled))] <= now:
            del self.settled[first]
        for key in [k for k, c in self.counters.items() if c.expires <= now and not c.held]:
            del self.counters[key]
        return [ended(hold_id, hold) for hold_id, hold in over]


def ended(hold_id: str, hold: Hold) -> Ended:
    """Return what settling `hold` in full charges."""
    parts = [part[:4] for part in hold.parts]
    return Ended(hold_id, tuple([(key, unit, amount) for key, unit, _, amount in parts if unit != "concurrency"]), hold.about)
