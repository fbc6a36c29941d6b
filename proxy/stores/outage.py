"""What a replica does while its budget store is away: what it owes it keeps, and what it may let through is bounded.

Two things, around any store:

1. A settle or release that fails is kept (the latest `MOST_KEPT`) and done by a later sweep, until the hold has expired, so that a hiccup
   does not lock money until then. All verbs may be done twice, so one whose answer was lost is simply done again.
2. With a `lease` (nanos; by default there is none, and a store that cannot be reached refuses) calls go on: each is held at its worst case
   against the lease until it is settled, at what it used until that is posted to the store, and then no more. So whatever happens, what
   this replica has let through and the store does not know of is at most the lease, as long as no provider bills more than was held.

While it lends, what it last saw of a counter is still held to: a budget that was used up stays used up, and so do limits on requests,
tokens, steps and concurrency; what others did since, it cannot know. A call without a claim on money is refused: nothing bounds it.

Fails closed: no lease, or none left, raises the store's own `Unreachable`. The lease is one process's: a replica that is started again
has it anew, and what it had not posted is in the ledger alone. A hold that was extended on the lease and expired before its store came
back is charged at what it held before.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.budget.port import Balance, BudgetStore, Claim, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.money import dollars
from proxy.stores.faults import Unreachable

log = logging.getLogger("fleetgate.store")
MOST_KEPT = 10_000
MOST_SEEN = 50_000
POST_S = 60.0
"""How long a hold that only posts what was spent may stand."""


@dataclass(slots=True)
class _Due:
    """How a hold ended: `amounts` None for a release."""

    amounts: Mapping[str, int] | None
    refund: tuple[str, ...]


@dataclass(slots=True)
class _Lent:
    """What stands on the lease: `usd` is what it counts there, `counted` what it counts on each counter.

    `whole`: the store may know nothing of the hold at all; else it has the hold, and only what it was extended by is lent.
    """

    claims: tuple[Claim, ...]
    usd: int
    whole: bool
    counted: Sequence[Claim] = ()
    due: _Due | None = None
    about: str = ""


@dataclass(slots=True)
class _Seen:
    """What was last seen of each counter, and what stands on the lease there."""

    balances: dict[str, Balance] = field(default_factory=dict)
    lent: dict[str, int] = field(default_factory=dict)

    def note(self, claims: Sequence[Claim], balances: Sequence[Balance]) -> None:
        if len(self.balances) > MOST_SEEN:
            self.balances.clear()
        self.balances.update(zip([claim.counter for claim in claims], balances, strict=True))

    def balance(self, counter: str) -> Balance:
        spent, held = self.balances.get(counter, (0, 0))
        return spent, held + self.lent.get(counter, 0)

    def add(self, claims: Sequence[Claim], sign: int) -> None:
        for claim in claims:
            total = self.lent.get(claim.counter, 0) + sign * claim.amount
            if total:
                self.lent[claim.counter] = total
            else:
                self.lent.pop(claim.counter, None)


class Outage:
    """`BudgetStore` around `store`; see the module. `lease` is in nanos."""

    def __init__(self, store: BudgetStore, lease: int = 0) -> None:
        self._store, self._lease = store, lease
        self._holds: dict[str, tuple[Sequence[Claim], float, str]] = {}
        self._kept: dict[str, tuple[_Due, float]] = {}
        self._lent: dict[str, _Lent] = {}
        self._seen = _Seen()
        self._now = 0.0
        self.lent = 0

    @property
    def kept(self) -> int:
        """Settles and releases that the store does not have yet."""
        return len(self._kept) + sum(1 for lent in self._lent.values() if lent.due is not None)

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """See `BudgetStore.reserve`."""
        lent = self._lent.get(hold_id)
        if lent is not None and lent.whole:
            if lent.due is not None or [c[:4] for c in lent.claims] != [c[:4] for c in claims]:
                raise StoreError("the hold was settled before, or one of this id stands with other claims")
            return self._held(lent.claims)
        self._holds[hold_id] = (claims, hold_expires, about)
        try:
            answer = await self._store.reserve(hold_id, claims, now, hold_expires, about)
        except Unreachable as e:
            if not self._lease:
                raise
            return self._lend(hold_id, e)
        if isinstance(answer, Exceeded):
            self._holds.pop(hold_id, None)
        if self._lease:
            self._seen.note(claims, answer.balances)
        return answer

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """See `BudgetStore.extend`."""
        lent, hold = self._lent.get(hold_id), self._holds.get(hold_id)
        if lent is not None and lent.whole:
            return self._grow(hold_id, lent, amounts, Unreachable("the budget store was away when this hold began"))
        try:
            answer = await self._store.extend(hold_id, amounts, now, hold_expires)
        except Unreachable as e:
            if not self._lease or hold is None:
                raise
            return self._grow(hold_id, lent or _Lent(tuple(hold[0]), 0, whole=False), amounts, e)
        if hold is not None and isinstance(answer, Held):
            self._holds[hold_id] = (_grown(hold[0], amounts), max(hold[1], hold_expires or 0.0), hold[2])
        return answer

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        """See `BudgetStore.settle`. One that fails is kept, and is False for now."""
        return await self._end(hold_id, _Due(dict(amounts), tuple(refund)), now)

    async def release(self, hold_id: str, now: float) -> bool:
        """See `BudgetStore.release`. One that fails is kept, and is False for now."""
        return await self._end(hold_id, _Due(None, ()), now)

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        """See `BudgetStore.balances`."""
        return await self._store.balances(counters, now)

    async def sweep(self, now: float) -> list[Ended]:
        """See `BudgetStore.sweep`. What was kept goes first, so that a settle still counts before the sweep would charge in full."""
        self._now = max(self._now, now)
        await self._catch_up(self._now)
        ended = await self._store.sweep(now)
        for hold in ended:
            self._holds.pop(hold.hold_id, None)
        return ended

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        """See `BudgetStore.recorded`."""
        await self._store.recorded(hold_ids)

    async def close(self) -> None:
        """See `BudgetStore.close`. What is kept is tried a last time."""
        try:
            await self._catch_up(self._now)
        except StoreError as e:
            log.error("budget store: %d settles could not be done (%s); their holds expire and are charged in full", self.kept, e)
        await self._store.close()

    # --- ends -------------------------------------------------------------------------------------------------------------------

    async def _end(self, hold_id: str, due: _Due, now: float) -> bool:
        self._now = max(self._now, now)
        hold, lent = self._holds.pop(hold_id, None), self._lent.get(hold_id)
        if lent is not None and lent.whole:
            if lent.due is not None:
                return False
            lent.due, used = due, due.amounts or {}
            self._count(lent, used.get("usd", 0), _used(lent.claims, used, due.refund))
            return True
        try:
            done = await _do(self._store, hold_id, due, now)
        except StoreError as e:
            if len(self._kept) >= MOST_KEPT:
                raise
            self._kept[hold_id] = (due, hold[1] if hold is not None else now + POST_S)
            log.warning("budget store: a settle is kept and tried again (%d in all): %s", self.kept, e)
            return False
        self._forget(hold_id)
        return done

    async def _catch_up(self, now: float) -> None:
        """Do what is kept and post what was lent; stop at the first that fails, which then is the last in the row. Raises StoreError."""
        for hold_id, (due, expires) in list(self._kept.items()):
            if expires > now:
                try:
                    await _do(self._store, hold_id, due, now)
                except StoreError:
                    self._kept[hold_id] = self._kept.pop(hold_id)
                    raise
            del self._kept[hold_id]
            self._forget(hold_id)
        for hold_id, lent in list(self._lent.items()):
            if lent.whole and lent.due is not None:
                try:
                    await self._post(hold_id, lent, lent.due, now)
                except StoreError:
                    self._lent[hold_id] = self._lent.pop(hold_id)
                    raise
                self._forget(hold_id)

    async def _post(self, hold_id: str, lent: _Lent, due: _Due, now: float) -> None:
        """Have the store know what became of a hold that it may or may not have seen begin. May be done twice; raises Unreachable."""
        if due.amounts is not None:
            try:
                forced = [claim._replace(limit=None) for claim in lent.claims]
                await self._store.reserve(hold_id, forced, now, now + POST_S, lent.about)
            except Unreachable:
                raise
            except StoreError:  # it stands, as it was asked for, or was settled by an answer that got lost: the settle knows
                pass
        await _do(self._store, hold_id, due, now)

    def _forget(self, hold_id: str) -> None:
        lent = self._lent.pop(hold_id, None)
        if lent is not None:
            self._count(lent, 0, ())

    # --- the lease --------------------------------------------------------------------------------------------------------------

    def _lend(self, hold_id: str, why: Unreachable) -> Held | Exceeded:
        """Let a call through on the lease, if all that is known here allows it. Raises `why` when the lease does not."""
        claims, _, about = self._holds[hold_id]
        money = [claim.amount for claim in claims if claim.unit == "usd"]
        if not money:
            raise why
        self._afford(max(money), why)
        for index, claim in enumerate(claims):
            spent, held = self._seen.balance(claim.counter)
            if claim.limit is not None and spent + held + claim.amount > claim.limit:
                return Exceeded(index, self._held(claims).balances)
        lent = self._lent[hold_id] = _Lent(tuple(claims), 0, whole=True, about=about)
        self._count(lent, max(money), claims)
        return self._held(claims)

    def _grow(self, hold_id: str, lent: _Lent, amounts: Mapping[str, int], why: Unreachable) -> Held | Exceeded:
        """Have the lease cover what a hold is extended by; in a hold that the store has, only what is beyond it."""
        grown = _grown(lent.claims, amounts)
        more = [after.amount - before.amount for before, after in zip(lent.claims, grown, strict=True)]
        wanted = max((m for m, claim in zip(more, grown, strict=True) if claim.unit == "usd"), default=-1)
        if wanted < 0:
            raise why
        added = wanted if lent.whole else wanted - lent.usd
        self._afford(max(0, added), why)
        for index, (claim, extra) in enumerate(zip(grown, more, strict=True)):
            if claim.limit is not None and extra and sum(self._seen.balance(claim.counter)) + extra > claim.limit:
                return Exceeded(index, self._held(lent.claims).balances)
        if lent.whole:
            lent.claims = grown
        self._count(lent, lent.usd + max(0, added), grown if lent.whole else ())
        self._lent[hold_id] = lent
        return self._held(grown)

    def _afford(self, usd: int, why: Unreachable) -> None:
        if self.lent + usd > self._lease:
            left = dollars(self._lease - self.lent)
            raise Unreachable(f"{why}; of the lease of {dollars(self._lease)} USD {left} are left, too little for this call")

    def _count(self, lent: _Lent, usd: int, counted: Sequence[Claim]) -> None:
        """Have `lent` count `usd` on the lease, and `counted` on the counters."""
        self.lent += usd - lent.usd
        self._seen.add(lent.counted, -1)
        self._seen.add(counted, 1)
        lent.usd, lent.counted = usd, counted

    def _held(self, claims: Sequence[Claim]) -> Held:
        return Held(tuple([self._seen.balance(claim.counter) for claim in claims]))


async def _do(store: BudgetStore, hold_id: str, due: _Due, now: float) -> bool:
    if due.amounts is None:
        return await store.release(hold_id, now)
    return await store.settle(hold_id, due.amounts, now, due.refund)


def _used(claims: tuple[Claim, ...], used: Mapping[str, int], refund: Collection[str]) -> tuple[Claim, ...]:
    """Return `claims` at what a settle charges to them."""
    return tuple([c._replace(amount=0 if c.unit == "concurrency" or c.counter in refund else used.get(c.unit, 0)) for c in claims])


def _grown(claims: Sequence[Claim], amounts: Mapping[str, int]) -> tuple[Claim, ...]:
    return tuple([claim._replace(amount=max(claim.amount, amounts.get(claim.unit, 0))) for claim in claims])
