"""Budgets on a Redis or Valkey server, shared by all replicas: one Lua call a verb (`lua/budget.lua`), one round trip.

Decides nothing about who pays: the script does what `proxy.budget.book` does, atomically on the server. Every verb may be done twice, so
what was in flight when a connection ended is sent again once. Amounts travel as decimal strings and are exact up to `MOST`; what is
larger is refused. Time is the caller's.

Fails closed: no answer, or one that means "not now", is `Unreachable`; whoever calls then does not know whether the verb was done. A hold
whose reserve was not answered is let go of by its release, or by the sweep.

No key of ours expires by itself on the server, so that no eviction policy for such keys can take a counter; the sweep forgets them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from proxy.budget.port import OWED, Balance, Claim, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores.redis_link import RedisLink, Script

MOST = 10**28
"""Amounts and limits from here on are refused."""
AT_ONCE = 200
"""Most holds or counters that one script handles: the server does nothing else meanwhile."""
_SCRIPT = Script.of("budget")
_json = msgspec.json.Encoder().encode


class RedisBudget:
    """`BudgetStore` on the server behind `link`. For one loop at a time."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._keys = [link.key(name) for name in ("holds", "settled", "counters", *OWED)]
        self._prefix = link.key("")

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """See `BudgetStore.reserve`."""
        parts = [
            (counter, unit, "" if limit is None else _text(limit), _text(amount), repr(span) if span else "0.0")
            for counter, unit, limit, amount, _, _, _, _, span in claims
        ]
        expires = [repr(float(claim[4])) for claim in claims]
        found = await self._run("reserve", now, hold_id, repr(float(hold_expires)), _encoded((about, parts, repr(float(now)))), *expires)
        if found[0] == -1:
            raise StoreError("the hold was settled before")
        if found[0] == -2:
            raise StoreError("a hold of this id stands with other claims")
        return _answer(found)

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """See `BudgetStore.extend`."""
        expires = "" if hold_expires is None else repr(float(hold_expires))
        found = await self._run("extend", now, hold_id, expires, _amounts(amounts))
        if found[0] == -1:
            raise StoreError("there is no such hold, or it was settled")
        return _answer(found)

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        """See `BudgetStore.settle`."""
        return bool(await self._run("settle", now, hold_id, _amounts(amounts), _encoded(dict.fromkeys(refund, True))))

    async def release(self, hold_id: str, now: float) -> bool:
        """See `BudgetStore.release`."""
        return bool(await self._run("settle", now, hold_id, "{}", "{}"))

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        """See `BudgetStore.balances`."""
        found: dict[str, Balance] = {}
        for start in range(0, len(counters), AT_ONCE):
            some = list(counters[start : start + AT_ONCE])
            answer = await self._run("balances", now, _encoded(some))
            found.update(zip(some, _balances(answer), strict=True))
        return found

    async def sweep(self, now: float) -> list[Ended]:
        """See `BudgetStore.sweep`."""
        ended: list[Ended] = []
        more, first = 1, 1
        while more:
            more, *found = await self._run("sweep", now, AT_ONCE, first)
            first = 0
            ended += [_ended(found[i], found[i + 1]) for i in range(0, len(found), 2)]
        return ended

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        """See `BudgetStore.recorded`."""
        for start in range(0, len(hold_ids), AT_ONCE):
            await self._run("recorded", 0.0, *hold_ids[start : start + AT_ONCE])

    async def close(self) -> None:
        """See `BudgetStore.close`."""
        await self._link.close()

    async def _run(self, verb: str, now: float, *args: Any) -> Any:
        return await self._link.run(_SCRIPT, self._keys, [verb, self._prefix, repr(float(now)), *args], again=True)


def _text(amount: int) -> str:
    if not 0 <= amount < MOST:
        raise StoreError(f"an amount outside of 0 to {MOST:.0e} cannot be kept in the Redis store")
    return str(amount)


def _amounts(amounts: Mapping[str, int]) -> bytes:
    return _encoded({unit: _text(amount) for unit, amount in amounts.items()})


def _encoded(value: Any) -> bytes:
    try:
        return _json(value)
    except UnicodeEncodeError:
        raise StoreError("a name that is not text cannot be kept in the Redis store") from None


def _balances(found: Sequence[Any]) -> list[Balance]:
    return [(int(found[i]), int(found[i + 1])) for i in range(2, len(found), 2)]


def _answer(found: Sequence[Any]) -> Held | Exceeded:
    balances = tuple(_balances(found))
    if found[0] == 0:
        return Held(balances)
    return Exceeded(found[0] - 1, balances, float(found[1]) if found[1] else None)


def _ended(hold_id: bytes, text: bytes) -> Ended:
    about, parts = msgspec.json.decode(text[1:])
    charged = tuple([(counter, unit, int(amount)) for counter, unit, amount in parts])
    return Ended(hold_id.decode(), charged, about, settled=not text.startswith(b"u"))
