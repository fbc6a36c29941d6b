"""The arithmetic of counters and holds on plain dicts, shared by the stores.

Decides what a verb changes; keeps no file, reads no clock and takes no lock: its owner calls it from one place at a time. Whoever wants
to save the changes finds the keys touched in `dirty_counters` and `dirty_holds`, and clears them.

A book that nobody saves keeps at most about `most` counters. Sessions and runs are named by clients, who may name a new one with every
call: above that those that were quiet for longest are forgotten, and begin anew if they come back, as one of another name would. No other
counter ever is; where they alone are twice as many, reserves fail.
"""

from __future__ import annotations

import heapq
import operator
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from proxy.budget.counter import Counter, Rolling
from proxy.budget.port import TOMBSTONE_S, Balance, Claim, Ended, Exceeded, Held, taken_at_once
from proxy.engine.ports import StoreError

MOST_COUNTERS = 250_000
"""Counters in memory above which sessions and runs are forgotten: with their keys and a hold each now and then, some 100 MB."""
_TRIES, _LOOKED_AT = 16, 5000
"""How many sessions a reserve looks at to make room, and a sweep to find those that expired: a millisecond or two."""
_SESSION, _RUN = "session=", "run="
"""What the key of a counter that each session or run has for itself says (see `rules`); else nothing in a key has such a sign behind it."""

_name = operator.itemgetter(0)


def passing(counter: str) -> bool:
    """Return whether each session or run has a counter of this key for itself: of those there may be as many as there are calls."""
    return _SESSION in counter or _RUN in counter


class Hold:
    """One hold that stands. `parts` are its claims, or what was read of them: counter, unit, limit, amount and span are right.

    `about` is what its reserve said, `begun` the time of that, UTC seconds.
    """

    __slots__ = ("about", "begun", "expires", "parts")

    def __init__(self, parts: Sequence[Claim], expires: float, about: str = "", begun: float = 0.0) -> None:
        self.parts, self.expires, self.about, self.begun = parts, expires, about, begun


class Book:
    """Counters by key, holds by id, and until when each settled hold is remembered, in the order in which they were settled.

    Args:
        watched: keep what changed in the dirty sets and what settles charged in `charged`, as (about, [counter, unit, amount]), and no
            order of what expires: whoever saves it sweeps.
        most: see the module; for a book that is not watched.
    """

    __slots__ = (
        "_due",
        "_most",
        "_over",
        "_sessions",
        "_watched",
        "charged",
        "counters",
        "dirty_counters",
        "dirty_holds",
        "holds",
        "settled",
    )

    def __init__(self, *, watched: bool = True, most: int = MOST_COUNTERS) -> None:
        self._watched, self._most = watched, most
        self._due, self._over = list[tuple[float, str]](), list[tuple[float, str]]()
        self._sessions: OrderedDict[str, float] = OrderedDict()
        self.counters: dict[str, Counter] = {}
        self.holds: dict[str, Hold] = {}
        self.settled: dict[str, float] = {}
        self.charged: dict[str, tuple[str, list[tuple[str, str, int]]]] = {}
        self.dirty_counters: set[str] = set()
        self.dirty_holds: set[str] = set()

    def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """See `BudgetStore.reserve`."""
        if hold_id in self.settled:
            raise StoreError("the hold was settled before")
        if hold_id in self.holds:
            return self._again(self.holds[hold_id], claims, now)
        counters = self.counters
        if len(counters) > self._most and not self._watched:
            self._make_room()
        touched: list[Counter] = []
        for key, unit, limit, amount, expires, _, _, _, span in claims:
            counter = counters.get(key)
            if counter is None or span:
                counter = self._open(key, counter, span, now)
            held = counter.held + amount
            if limit is not None and counter.spent + held > limit:
                return self._undo(touched, claims, now)
            if span and taken_at_once(unit, span):
                counter.spend(now, amount)  # type: ignore[attr-defined]  # a span makes it a rolling one
            else:
                counter.held = held
            if expires > counter.expires:  # noqa: PLR1730 - a call less for each claim of every call
                counter.expires = expires
            touched.append(counter)
        self.holds[hold_id] = Hold(claims, hold_expires, about, now)
        if self._watched:
            self.dirty_holds.add(hold_id)
            self.dirty_counters.update(map(_name, claims))
        return Held(tuple([(counter.spent, counter.held) for counter in touched]))

    def _open(self, key: str, counter: Counter | None, span: float, now: float) -> Counter:
        """Return the counter of `key` for a reserve, a rolling one where there is a `span`, with what it has forgotten gone."""
        if counter is None and not self._watched:
            if _SESSION in key or _RUN in key:
                self._sessions[key] = 0.0
            else:
                heapq.heappush(self._due, (0.0, key))  # when it expires, the next sweep sees
        if not span:
            counter = self.counters[key] = Counter()
        elif not isinstance(counter, Rolling):  # nobody touched it; or it was none, then what it knows was spent just now
            before = counter or Counter()
            counter = self.counters[key] = Rolling(span, None, before.held, before.expires)
            counter.spend(now, before.spent)
        else:
            counter.roll(now)
        return counter

    def _make_room(self) -> None:
        """Forget sessions and runs in which nothing runs and nothing happened since they were last looked at."""
        for _ in range(min(_TRIES, len(self._sessions))):
            if len(self.counters) <= self._most:
                break
            key, seen = self._sessions.popitem(last=False)
            counter = self.counters[key]
            if counter.held or counter.expires != seen:
                self._sessions[key] = counter.expires
            else:
                del self.counters[key]
        if len(self.counters) > 2 * self._most:
            raise StoreError("there are more counters than the memory store keeps: use a store that is not in memory")

    def _again(self, hold: Hold, claims: Sequence[Claim], now: float) -> Held:
        """Return the balances of a hold that stands, if `claims` are its own: an id that means two calls would let one go free."""
        if [part[:4] for part in hold.parts] != [claim[:4] for claim in claims]:
            raise StoreError("a hold of this id stands with other claims")
        return self._held(hold, now)

    def _held(self, hold: Hold, now: float) -> Held:
        return Held(tuple([self.balance(part[0], now) for part in hold.parts]))

    def _undo(self, touched: Sequence[Counter], claims: Sequence[Claim], now: float) -> Exceeded:
        """Take back what was taken of the first claims, because the one behind them does not fit."""
        for counter, claim in zip(touched, claims, strict=False):
            if isinstance(counter, Rolling) and taken_at_once(claim.unit, claim.span):
                counter.spend(now, -claim.amount)
            else:
                counter.held -= claim.amount
        return self._exceeded(len(touched), claims, now)

    def _exceeded(self, index: int, claims: Sequence[Claim], now: float) -> Exceeded:
        short = self.counters[claims[index].counter]
        frees_at = short.frees_at() if isinstance(short, Rolling) else None
        return Exceeded(index, tuple([self.balance(claim[0], now) for claim in claims]), frees_at)

    def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """See `BudgetStore.extend`."""
        hold = self.holds.get(hold_id)
        if hold is None:
            raise StoreError("there is no such hold, or it was settled")
        wanted: dict[str, int] = {}
        for index, part in enumerate(hold.parts):
            key, limit = part.counter, part.limit
            counter, total = self._of(part, now), wanted.get(key, 0) + max(0, amounts.get(part.unit, 0) - part.amount)
            if isinstance(counter, Rolling):
                counter.roll(now)
            if limit is not None and counter.spent + counter.held + total > limit:
                return self._exceeded(index, hold.parts, now)
            wanted[key] = total
        for part in hold.parts:
            self._take(part, wanted.pop(part.counter, 0), hold.begun)
        hold.parts = [part._replace(amount=max(part.amount, amounts.get(part.unit, 0))) for part in hold.parts]
        hold.expires = max(hold.expires, hold_expires or 0.0)
        if self._watched:
            self.dirty_holds.add(hold_id)
            self.dirty_counters.update([part[0] for part in hold.parts])
        return self._held(hold, now)

    def _take(self, part: Claim, more: int, begun: float) -> None:
        counter = self.counters[part.counter]
        if isinstance(counter, Rolling) and taken_at_once(part.unit, part.span):
            counter.spend(begun, more)
        else:
            counter.held += more

    def settle(self, hold_id: str, amounts: Mapping[str, int] | None, now: float, refund: Collection[str] = ()) -> bool:
        """See `BudgetStore.settle`; `amounts` None charges all that is held."""
        if hold_id in self.settled:
            return False
        hold = self.holds.get(hold_id)
        parts = hold.parts if hold is not None else ()
        plain = self._plain(parts) if amounts and not refund and not self._watched else None
        found = plain or [self._of(part, now) for part in parts]
        # nothing is changed before all is at hand: a counter that is missing must not leave half a settle
        self.settled[hold_id] = now + TOMBSTONE_S
        if self._watched:
            self.dirty_holds.add(hold_id)
        else:
            heapq.heappush(self._over, (now + TOMBSTONE_S, hold_id))
        if hold is None:
            return False
        del self.holds[hold_id]
        if plain and amounts:
            _charge_plainly(parts, plain, amounts)
            return True
        bill = self._charge(hold, found, amounts, now, refund)
        if bill or (self._watched and amounts is None):
            self.charged[hold_id] = hold.about, bill
        return True

    def _charge(
        self, hold: Hold, counters: Sequence[Counter], amounts: Mapping[str, int] | None, now: float, refund: Collection[str]
    ) -> list[tuple[str, str, int]]:
        """Free what `hold` holds of its `counters`, spend what is charged, and return the bill where somebody watches."""
        watched, bill = self._watched, list[tuple[str, str, int]]()
        for part, counter in zip(hold.parts, counters, strict=True):
            key, unit, _, amount, _, _, _, _, span = part
            charged = 0
            if unit != "concurrency" and key not in refund:
                charged = amount if amounts is None else amounts.get(unit, 0)
            if not span:
                counter.held -= amount
                counter.spent += charged
            elif charged != amount or not taken_at_once(unit, span):
                _settle_rolling(counter, part, charged, (hold.begun, now))  # type: ignore[arg-type]  # a span makes it a rolling one
            else:  # what was taken at once stays as it is
                key = ""
            if watched:
                if key:
                    self.dirty_counters.add(key)
                if charged or (amounts is None and unit != "concurrency"):
                    bill.append((part[0], unit, charged))
        return bill

    def _plain(self, parts: Sequence[Claim]) -> list[Counter] | None:
        """Return the counter of each of `parts`, None where one is not there or rolls."""
        counters, found = self.counters, list[Counter]()
        for part in parts:
            counter = counters.get(part[0])
            if counter is None or part[8]:
                return None
            found.append(counter)
        return found

    def _of(self, part: Claim, now: float) -> Counter:
        """Return the counter of a hold's `part`. One of which nothing was held may have been forgotten, or looked up as one that nobody
        touched; no other may.
        """
        counter = self.counters.get(part[0])
        if counter is not None and (not part[8] or isinstance(counter, Rolling)):
            return counter
        if part.amount and not taken_at_once(part.unit, part.span):
            raise StoreError("a counter is missing, so the store does not say what it should")
        return self._open(part.counter, counter, part.span, now)

    def balance(self, key: str, now: float) -> Balance:
        """Return what is spent and held of `key` at `now`."""
        counter = self.counters.get(key)
        return counter.balance(now) if counter else (0, 0)

    def sweep(self, now: float) -> list[Ended]:
        """See `BudgetStore.sweep`."""
        over = [(hold_id, hold) for hold_id, hold in self.holds.items() if hold.expires <= now]
        for hold_id, _ in over:
            self.settle(hold_id, None, now)
        while self._over and self._over[0][0] <= now:
            del self.settled[heapq.heappop(self._over)[1]]
        self._forget(now)
        return [ended(hold_id, hold) for hold_id, hold in over]

    def _forget(self, now: float) -> None:
        """Forget the counters that expired. What `_due` says of one is never later than it does: one that stays is put in anew.

        Sessions may be many, so only some are looked at each time, in turn.
        """
        stay: list[tuple[float, str]] = []
        while self._due and self._due[0][0] <= now:
            key = heapq.heappop(self._due)[1]
            counter = self.counters[key]
            if counter.held or counter.expires > now:
                stay.append((counter.expires, key))
            else:
                del self.counters[key]
        for due in stay:
            heapq.heappush(self._due, due)
        for _ in range(min(_LOOKED_AT, len(self._sessions))):
            key, _ = self._sessions.popitem(last=False)
            counter = self.counters[key]
            if counter.held or counter.expires > now:
                self._sessions[key] = counter.expires
            else:
                del self.counters[key]


def _charge_plainly(parts: Sequence[Claim], counters: Sequence[Counter], amounts: Mapping[str, int]) -> None:
    """Free what `parts` hold of their `counters`, none of which rolls, and spend `amounts`."""
    for part, counter in zip(parts, counters, strict=True):
        unit = part[1]
        counter.held -= part[3]
        if unit in amounts and unit != "concurrency":
            counter.spent += amounts[unit]


def _settle_rolling(counter: Rolling, part: Claim, charged: int, times: tuple[float, float]) -> None:
    """Free what `part` holds of `counter` and spend `charged`; `times` are those of the reserve and of the settle."""
    begun, now = times
    if taken_at_once(part.unit, part.span):
        counter.spend(begun, charged - part.amount)
        return
    counter.held -= part.amount
    counter.roll(now)
    counter.spend(now, charged)


def ended(hold_id: str, hold: Hold) -> Ended:
    """Return what settling `hold` in full charges."""
    return Ended(hold_id, tuple([(p.counter, p.unit, p.amount) for p in hold.parts if p.unit != "concurrency"]), hold.about)
