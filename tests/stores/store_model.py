"""The simplest thing that keeps the contract of budget stores: every amount that was ever spent, with its time.

Clocks of stores differ, so what a rolling window has forgotten is known within bounds: the least that must be counted is what no clock
that was ever used would forget, the most what the clock of who asks would not. With one clock both are the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.budget.port import SLICES, TOMBSTONE_S, Balance, Claim, Ended, Exceeded, Held


@dataclass
class Spent:
    at: float
    amount: int


@dataclass
class Standing:
    claims: list[Claim]
    expires: float
    begun: float
    about: str
    taken: dict[str, Spent] = field(default_factory=dict)
    """What the reserve itself spent, by counter."""


def counted(claim: Claim) -> bool:
    """Requests in a rolling window are spent when they are made."""
    return claim.unit == "requests" and claim.span > 0


class Model:
    """`lasting`: what settles charged is kept until it is recorded."""

    def __init__(self, kinds: Mapping[str, Claim], *, lasting: bool = False) -> None:
        self.kinds, self.lasting = kinds, lasting
        self.owed: dict[str, Ended] = {}
        self.spent: dict[str, list[Spent]] = {key: [] for key in kinds}
        self.expires = dict.fromkeys(kinds, 0.0)
        self.holds: dict[str, Standing] = {}
        self.settled: dict[str, float] = {}
        self.fastest = 0.0

    def held(self, key: str) -> int:
        return sum(c.amount for hold in self.holds.values() for c in hold.claims if c.counter == key and not counted(c))

    def gone_at(self, key: str, spent: Spent) -> float:
        """When the window of `key` forgets `spent`: the end of its step and the whole span later."""
        span = self.kinds[key].span
        if not span:
            return math.inf
        step = span / SLICES
        return (spent.at // step + 1) * step + span

    def used(self, key: str, clock: float) -> int:
        return sum(s.amount for s in self.spent[key] if clock < self.gone_at(key, s))

    def bounds(self, key: str, now: float) -> tuple[int, int]:
        """The least and the most that a store may say is spent."""
        return self.used(key, max(now, self.fastest)), self.used(key, now)

    def says(self, key: str, balance: Balance, now: float) -> bool:
        least, most = self.bounds(key, now)
        return least <= balance[0] <= most and balance[1] == self.held(key)

    def verdict(self, claims: Sequence[Claim], now: float) -> bool | None:
        """Whether all of `claims` fit in addition, or None where clocks that differ may disagree."""
        limited = [(c, self.bounds(c.counter, now), c.limit) for c in claims]
        if all(limit is None or most + self.held(c.counter) + c.amount <= limit for c, (_, most), limit in limited):
            return True
        if any(limit is not None and least + self.held(c.counter) + c.amount > limit for c, (least, _), limit in limited):
            return False
        return None

    def refused_rightly(self, answer: Exceeded, claims: Sequence[Claim], now: float) -> bool:
        claim = claims[answer.index]
        spent, held = answer.balances[answer.index]
        right = claim.limit is not None and self.says(claim.counter, (spent, held), now) and spent + held + claim.amount > claim.limit
        least, most = self.bounds(claim.counter, now)
        if least != most or not claim.span:
            return right and (claim.span > 0 or answer.frees_at is None)
        live = [gone for s in self.spent[claim.counter] if s.amount and now < (gone := self.gone_at(claim.counter, s))]
        return right and answer.frees_at == min(live, default=None)

    def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str) -> None:
        hold = self.holds[hold_id] = Standing(list(claims), hold_expires, now, about)
        for claim in claims:
            self.expires[claim.counter] = max(self.expires[claim.counter], claim.expires)
            if counted(claim):
                hold.taken[claim.counter] = Spent(now, claim.amount)
                self.spent[claim.counter].append(hold.taken[claim.counter])

    def more(self, hold: Standing, amounts: Mapping[str, int]) -> list[Claim]:
        """What extending `hold` to `amounts` asks for in addition."""
        return [c._replace(amount=max(0, amounts.get(c.unit, 0) - c.amount)) for c in hold.claims]

    def extend(self, hold: Standing, amounts: Mapping[str, int], hold_expires: float | None) -> None:
        for claim in self.more(hold, amounts):
            if counted(claim):
                hold.taken[claim.counter].amount += claim.amount
        hold.claims = [c._replace(amount=max(c.amount, amounts.get(c.unit, 0))) for c in hold.claims]
        hold.expires = max(hold.expires, hold_expires or 0.0)

    def settle(self, hold_id: str, amounts: Mapping[str, int] | None, now: float, refund: Collection[str] = ()) -> bool:
        if hold_id in self.settled:
            return False
        self.settled[hold_id] = now + TOMBSTONE_S
        hold = self.holds.pop(hold_id, None)
        if hold is not None and self.lasting:
            bill = [(c.counter, c.unit, c.amount if amounts is None else amounts.get(c.unit, 0)) for c in hold.claims]
            kept = [b for b in bill if b[1] != "concurrency" and (amounts is None or (b[2] and b[0] not in refund))]
            if kept or amounts is None:
                self.owed[hold_id] = Ended(hold_id, tuple(kept), hold.about, settled=amounts is not None)
        for claim in hold.claims if hold else ():
            free = claim.unit == "concurrency" or claim.counter in refund
            charged = 0 if free else claim.amount if amounts is None else amounts.get(claim.unit, 0)
            if hold and counted(claim):
                hold.taken[claim.counter].amount = charged
            else:
                self.spent[claim.counter].append(Spent(now, charged))
        return hold is not None

    def sweep(self, now: float) -> list[Ended]:
        late = [ended for hold_id, ended in self.owed.items() if self.settled[hold_id] <= now]
        self.settled |= {ended.hold_id: now + TOMBSTONE_S for ended in late}
        over = [(hold_id, hold) for hold_id, hold in self.holds.items() if hold.expires <= now]
        for hold_id, _ in over:
            self.settle(hold_id, None, now)
        self.settled = {hold_id: until for hold_id, until in self.settled.items() if until > now}
        for key, expires in self.expires.items():
            if expires <= now and not self.held(key) and not self.kinds[key].span:
                self.spent[key], self.expires[key] = [], 0.0
        return sorted([*late, *(ended(hold_id, hold) for hold_id, hold in over)], key=lambda e: e.hold_id)

    def recorded(self, hold_ids: Sequence[str]) -> None:
        for hold_id in hold_ids:
            self.owed.pop(hold_id, None)


def ended(hold_id: str, hold: Standing) -> Ended:
    return Ended(hold_id, tuple([(c.counter, c.unit, c.amount) for c in hold.claims if c.unit != "concurrency"]), hold.about)


def alike(answers: Sequence[object]) -> bool:
    """Whether the same verb, sent more than once, got the same kind of answer each time."""
    return len({type(answer) for answer in answers}) == 1 and isinstance(answers[0], Held | Exceeded | Exception)
