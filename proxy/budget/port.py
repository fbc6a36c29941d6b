"""The store that budgets need, whatever holds it: memory, one SQLite file, later a cluster.

Decides nothing about who pays; it keeps counters and holds. Every verb is atomic and ordered: a verb submitted before another by the
same process is seen by it. A store that cannot answer raises `StoreError`, never guesses.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

from proxy.model import BudgetRule

Unit = Literal["usd", "tokens", "input_tokens", "output_tokens", "requests", "concurrency", "gco2e"]

TOMBSTONE_S = 120.0
"""How long a settled hold is remembered, so that a doubled reserve cannot stand up again. Later settles find nothing to change."""
RECORD_S = TOMBSTONE_S
"""How long the record of a settled hold may take to become durable; after that a sweep takes it for lost and returns the hold, and
again as long after, since who was told may have died too. The hold is remembered as settled as long.
"""
OWED = ("unrecorded", "charged")
"""The keys of a Redis store where what settled holds were charged waits for their records; the ledger's script removes it from both."""
MOST_LATE = 1000
"""Most settled holds without a record that one sweep returns."""


class Claim(NamedTuple):
    """What one call wants of one counter. A tuple, because every call makes some.

    Attributes:
        counter: the counter's key, window included: a new window is a new counter.
        unit: what it counts; `concurrency` is never spent, it only counts while held.
        limit: the counter may never exceed this, or None to count only (rules that warn, or run dry).
        amount: the most that the call can use, in nanos for `usd`.
        expires: when a counter that nobody touched may be forgotten, UTC seconds.
        rule: the rule that asked, for whoever explains a refusal. Stores do not look at it.
        resets_at: when the window ends, UTC seconds, or None.
        target: which target of the route the claim stands for, as (provider, model); None when it holds whoever serves.
        span: length of a rolling window in seconds, 0 for a window that has a beginning. What was spent longer ago than that (and up to
            one `SLICES`-th of it longer) counts no more. All claims on one counter have the same span.
    """

    counter: str
    unit: Unit
    limit: int | None
    amount: int
    expires: float
    rule: BudgetRule | None = None
    resets_at: float | None = None
    target: tuple[str, str] | None = None
    span: float = 0.0


SLICES = 60
"""A rolling window forgets in so many steps: what was spent in one step is forgotten together, never early."""


def slice_of(now: float, span: float) -> int:
    """Return the number of the step of a rolling window of `span` seconds that holds `now`. Older than `SLICES` steps is forgotten.

    Every store computes exactly this (product, quotient, floor, in doubles), or two that share counters would disagree at the edge.
    """
    return math.floor(now * SLICES / span)


def forgotten_at(number: int, span: float) -> float:
    """Return when a rolling window of `span` seconds forgets its step `number`, UTC seconds: its end and the whole span later."""
    return (number + 1 + SLICES) * span / SLICES


def taken_at_once(unit: Unit, span: float) -> bool:
    """Return whether a claim is spent by the reserve itself: requests in a rolling window, which count from when they were made.

    Were they held until the call ends, long calls would fill a rate that they do not have. A settle or release corrects what was taken
    in the step in which it was; what that step has forgotten by then changes nothing.
    """
    return span > 0 and unit == "requests"


Balance = tuple[int, int]
"""What is spent and what is held of one counter."""


class Held(msgspec.Struct):
    """The hold stands. `balances` are those of its claims, in order, this hold included."""

    balances: tuple[Balance, ...]


@dataclass(slots=True)
class Exceeded:
    """Nothing is held: claim number `index` does not fit. `balances` are those of all claims, in order.

    `frees_at`: when that claim's rolling window next forgets something, UTC seconds; None where it has nothing to forget, or is none.
    """

    index: int
    balances: tuple[Balance, ...]
    frees_at: float | None = None


@dataclass(slots=True)
class Ended:
    """A hold whose record is missing: what it was charged, as (counter, unit, amount), and what the reserve said that it was about.

    `settled` if its process settled it, and its record has not come since; else the sweep settled it in full.
    """

    hold_id: str
    charged: tuple[tuple[str, Unit, int], ...]
    about: str = ""
    settled: bool = False


class BudgetStore(Protocol):
    """Counters and holds. All amounts are non-negative integers; `now` is UTC seconds.

    For every claim with a limit: spent + held ≤ limit, at all times, as long as no call is settled at more than it held. (A provider
    that bills more than the bound has spent the money: that is charged in full, and the counter then refuses.)

    In a rolling window, what a settle charges is spent at the settle's `now`: it was held until then. Clocks of replicas may differ, and
    may step back: what was spent is forgotten early, or late, by that difference at most.

    What a hold was charged is kept, in the same atomic step, until its record is durable, so that no death of a process can lose one
    without the other: `sweep` returns those whose record has not come. The ledger that shares the store's file or server clears it together
    with what it writes; who finds that there is nothing to write says `recorded`. A store that dies with its process keeps nothing.

    A verb that raises, or is cancelled, was done in full or not at all; the same verb again finds out.
    """

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """Hold all of `claims` or none. Of a hold that stands already with the same claims, return its balances and change nothing.

        `about` is a short text that is kept with the hold, for whoever finds it after its process died.

        Raises:
            StoreError: no answer, the hold was settled before, or one of that id stands with other claims.
        """
        ...

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """Have the hold cover `amounts` (by unit, in all, not in addition) on each of its counters, all or none, and perhaps for longer.

        A counter that holds that much already stays as it is, so a doubled or late call changes nothing; nor does a unit not named.

        Raises:
            StoreError: no answer, or no such hold.
        """
        ...

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        """End the hold: `amounts` (by unit) become spent, the rest is free. Counters in `refund` are charged nothing.

        Returns whether this call ended it; late and doubled calls change nothing. An unknown id is remembered as settled.
        """
        ...

    async def release(self, hold_id: str, now: float) -> bool:
        """End the hold at no charge: nothing was sent."""
        ...

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        """Return what is spent and held of each of `counters` at `now`; (0, 0) for one that nobody touched. Changes nothing."""
        ...

    async def sweep(self, now: float) -> list[Ended]:
        """Settle in full every hold whose time is over (its process died), forget what expired, and return those holds and the settled
        ones that are without a record after `RECORD_S` (`MOST_LATE` at most).

        Of several that sweep at once, one alone returns a hold, and none again within `RECORD_S`, nor once its record is durable.
        """
        ...

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        """Forget what these holds were charged: the ledger has it. What is unknown, or still stands, stays as it is."""
        ...

    async def close(self) -> None:
        """Finish what was submitted, then let go of the storage."""
        ...
