"""Budgets on a Redis or Valkey server, shared by all replicas: the verbs of one turn of the loop are one Lua call (`lua/budget.lua`).

Decides nothing about who pays: the script does what `proxy.budget.book` does, atomically on the server. Every verb may be done twice, so
what was in flight when a connection ended is sent again once. Amounts travel as decimal strings and are exact up to `MOST`; what is
larger is refused. Time is the caller's.

Fails closed: no answer, or one that means "not now", is `Unreachable`; whoever calls then does not know whether the verb was done. A hold
whose reserve was not answered is let go of by its release, or by the sweep. A verb that fails takes no other of its call with it.

No key of ours expires by itself on the server, so that no eviction policy for such keys can take a counter; the sweep forgets them.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from proxy.budget.port import OWED, Balance, Claim, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores.faults import Lost, Moved
from proxy.stores.redis_link import RedisLink, Script, Word, packed, tell

MOST = 10**28
"""Amounts and limits from here on are refused."""
PLAIN = 10**15
"""Amounts from here on are no numbers in the script."""
AT_ONCE = 200
"""Most holds or counters that one verb handles: the server does nothing else meanwhile."""
MOST_VERBS = 64
"""Most verbs in one call, for the same reason."""
_TAKES = frozenset(("reserve", "extend"))
"""Verbs that a server without memory refuses."""
_NO_TEXT = "a name that is not text cannot be kept in the Redis store"
_SCRIPT = Script.of("amounts", "windows", "budget")
_json = msgspec.json.Encoder().encode
_balances = msgspec.json.Decoder(tuple[int, float | None, tuple[Balance, ...]]).decode
"""An answer: 0 for a hold that stands, the number of the claim that does not fit, or below 0 why there is none; when that claim's window
frees something; and what is spent and held of each counter."""


class Call:
    """Verbs that go to the server together, each with who waits for it. See `redis_link.Asked`."""

    __slots__ = ("_head", "verbs")

    def __init__(self, head: tuple[Word, ...]) -> None:
        self._head = head
        self.verbs: list[tuple[asyncio.Future[Any], tuple[Word, ...]]] = []

    def live(self) -> bool:
        """See `Asked.live`."""
        self.verbs = [verb for verb in self.verbs if not verb[0].done()]
        return bool(self.verbs)

    def packed(self, *, whole: bool = False) -> bytes:
        """See `Asked.packed`."""
        words: list[Word] = ["EVAL", _SCRIPT.text] if whole else ["EVALSHA", _SCRIPT.sha]
        words += self._head
        words.append(int(any(said[0] in _TAKES for _, said in self.verbs)))
        for _, said in self.verbs:
            words += said
        return packed(words)

    def answer(self, found: Any) -> None:
        """See `Asked.answer`."""
        if type(found) is list and len(found) == len(self.verbs):
            for (future, _), one in zip(self.verbs, found, strict=True):
                tell(future, one)
            return
        if not isinstance(found, Exception):
            found = StoreError("the Redis store answered what nobody asked")
        for future, _ in self.verbs:
            tell(future, found)


class RedisBudget:
    """`BudgetStore` on the server behind `link`. For one loop at a time."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        keys = [link.key(name) for name in ("holds", "settled", "counters", *OWED)]
        self._head: tuple[Word, ...] = (len(keys), *keys, link.key(""))
        self._call = Call(self._head)

    async def reserve(self, hold_id: str, claims: Sequence[Claim], now: float, hold_expires: float, about: str = "") -> Held | Exceeded:
        """See `BudgetStore.reserve`."""
        parts = [
            (
                counter,
                unit,
                "" if limit is None else _text(limit),
                _text(amount),
                repr(span) if span else 0,
                expires,
            )
            for counter, unit, limit, amount, expires, _, _, _, span in claims
        ]
        found = await self._do("reserve", now, hold_id, hold_expires, _encoded((about, parts, repr(now))))
        status, frees_at, balances = _balances(found)
        if status == 0:
            return Held(balances)
        if status < 0:
            raise StoreError("the hold was settled before" if status == -1 else "a hold of this id stands with other claims")
        return Exceeded(status - 1, balances, frees_at)

    async def extend(self, hold_id: str, amounts: Mapping[str, int], now: float, hold_expires: float | None = None) -> Held | Exceeded:
        """See `BudgetStore.extend`."""
        found = await self._do("extend", now, hold_id, "" if hold_expires is None else hold_expires, _amounts(amounts))
        status, frees_at, balances = _balances(found)
        if status < 0:
            raise StoreError("there is no such hold, or it was settled")
        return Held(balances) if status == 0 else Exceeded(status - 1, balances, frees_at)

    async def settle(self, hold_id: str, amounts: Mapping[str, int], now: float, refund: Collection[str] = ()) -> bool:
        """See `BudgetStore.settle`."""
        refunded = _encoded(dict.fromkeys(refund, True)) if refund else "{}"
        return bool(await self._do("settle", now, hold_id, _amounts(amounts), refunded))

    async def release(self, hold_id: str, now: float) -> bool:
        """See `BudgetStore.release`."""
        return bool(await self._do("settle", now, hold_id, "{}", "{}"))

    async def balances(self, counters: Sequence[str], now: float) -> dict[str, Balance]:
        """See `BudgetStore.balances`."""
        found: dict[str, Balance] = {}
        for start in range(0, len(counters), AT_ONCE):
            some = list(counters[start : start + AT_ONCE])
            found.update(zip(some, _balances(await self._do("balances", now, _encoded(some)))[2], strict=True))
        return found

    async def sweep(self, now: float) -> list[Ended]:
        """See `BudgetStore.sweep`."""
        ended: list[Ended] = []
        more, first = 1, 1
        while more:
            more, *found = await self._do("sweep", now, AT_ONCE, first)
            first = 0
            ended += [_ended(found[i], found[i + 1]) for i in range(0, len(found), 2)]
        return ended

    async def recorded(self, hold_ids: Sequence[str]) -> None:
        """See `BudgetStore.recorded`."""
        for start in range(0, len(hold_ids), AT_ONCE):
            await self._do("recorded", 0.0, _encoded(list(hold_ids[start : start + AT_ONCE])))

    async def close(self) -> None:
        """See `BudgetStore.close`."""
        await self._link.close()

    async def _do(self, verb: str, now: float, one: Word, two: Word = "", three: Word = "") -> Any:
        """Return the answer to a verb, which joins what this turn of the loop has submitted already."""
        if type(one) is str:
            one = _bytes(one)
        said = (verb, now, one, two, three)
        try:
            return await self._submit(said)
        except (Lost, Moved):
            return await self._submit(said)

    def _submit(self, said: tuple[Word, ...]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._link.here().create_future()
        call = self._call
        if self._link.last is not call or len(call.verbs) >= MOST_VERBS:
            call = self._call = Call(self._head)
            call.verbs.append((future, said))
            self._link.submit(call)
        else:
            call.verbs.append((future, said))
        return future


@functools.lru_cache(maxsize=4096)
def _text(amount: int) -> str:
    """Return an amount or a limit as the script has it: one call asks for the same on several counters."""
    if not 0 <= amount < MOST:
        raise StoreError(f"an amount outside of 0 to {MOST:.0e} cannot be kept in the Redis store")
    return str(amount)


def _bytes(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise StoreError(_NO_TEXT) from None


def _amounts(amounts: Mapping[str, int]) -> bytes:
    return _encoded({unit: amount if 0 <= amount < PLAIN else _text(amount) for unit, amount in amounts.items()})


def _encoded(value: Any) -> bytes:
    try:
        return _json(value)
    except UnicodeEncodeError:
        raise StoreError(_NO_TEXT) from None


def _ended(hold_id: bytes, text: bytes) -> Ended:
    about, parts = msgspec.json.decode(text[1:])
    charged = tuple([(counter, unit, int(amount)) for counter, unit, amount in parts])
    return Ended(hold_id.decode(), charged, about, settled=not text.startswith(b"u"))
