"""Whether the counters say what the records say, and the records of holds that nobody settled.

Every record holds what its settle charged to each counter, so the ledger alone can recompute every counter. A hold that a sweep ended
(its process died) has no exchange that could leave a record, nor has one whose process died between the settle and the record: they get
one here, with what was charged. The store keeps that until a record is durable, and the sweep returns it again until then.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.app.balances import AT_ONCE, Board
from proxy.app.drift import Difference, Sums, differences, possibly, surely, told, windows
from proxy.budget.left import SHARES
from proxy.budget.port import Balance, BudgetStore, Ended
from proxy.engine.ports import StoreError
from proxy.engine.record import EXPIRED, LOST, Record
from proxy.telemetry.charges import Charges
from proxy.telemetry.query import Journal
from proxy.telemetry.schema import SECOND

if TYPE_CHECKING:
    from proxy.app.house import House

log = logging.getLogger("fleetgate.audit")
EVERY_S = 60.0
"""How often the server compares."""
WAIT_S = 2.0
"""How long records and settles that are under way have to arrive."""
PAUSE_S = 0.01
MOST_PASSING = 5_000
"""Counters of sessions and runs that the server compares, about; each takes 400 bytes for as long as a session lasts."""
MOST_SECONDS = 4
"""Most records of one hold that are looked for."""
_ABOUT = {"agent": "agent", "key": "key_id", "session": "session", "run": "run", "model": "model", "provider": "provider"}
"""What a hold says of itself, and the field of the record that it is."""


class Swept(NamedTuple):
    """What is to be recorded, and the holds whose charges the ledger tells already."""

    records: list[Record]
    known: list[str]


def swept(ended: Sequence[Ended], journal: Journal, now: float) -> Swept:
    """Return what a sweep at `now` leaves to do. Reads the ledger, so call it in a thread.

    Where the exchange lived and has its record (its settle was lost, or came later), the new one holds what was charged beyond that. A
    hold of which the ledger cannot tell is left out: the store returns it again.
    """
    found = Swept([], [])
    for hold in ended:
        try:
            record = _record(hold, _known(journal, hold.hold_id), now)
        except StoreError as e:
            log.error("hold %s was charged, and the ledger cannot say whether it has a record: %s", hold.hold_id, e)
            continue
        if record is None:
            found.known.append(hold.hold_id)
        else:
            found.records.append(record)
    return found


def _known(journal: Journal, hold_id: str) -> dict[str, Record | None]:
    """Return the records of a hold, by each id that one may have. Raises StoreError."""
    return {name: journal.one(name) for name in (hold_id + SECOND * n for n in range(MOST_SECONDS))}


def _record(hold: Ended, known: Mapping[str, Record | None], now: float) -> Record | None:
    """Return the record that the ledger lacks, or None if it lacks nothing."""
    charges = dict[tuple[str, str], int]()
    told = [part for record in known.values() if record is not None for part in record.charges]
    for counter, unit, amount in (*hold.charged, *((c, u, -a) for c, u, a in told)):
        charges[counter, unit] = charges.get((counter, unit), 0) + amount
    owed = tuple([(counter, unit, amount) for (counter, unit), amount in charges.items() if amount])
    free = next((name for name, record in known.items() if record is None), "")
    if not free or (not owed and free != hold.hold_id):
        return None
    return Record(
        id=free,
        time=now,
        **_facts(hold.about),
        outcome=LOST if hold.settled else EXPIRED,
        message=(
            "The process that served this died, or could not write, before its record was kept: this is what it was charged."
            if hold.settled
            else "The process that held this died, or could not settle it: all that was held is charged."
        ),
        remedy="See the server's log of that time.",
        usage_exact=False,
        cost=max([0, *(amount for _, unit, amount in owed if unit == "usd")]),
        charges=owed,
    )


def _facts(about: str) -> dict[str, Any]:
    """Return what the reserve said that the hold is about; nothing where it said nothing that can be read."""
    try:
        found = json.loads(about) if about else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {field: found[name] for name, field in _ABOUT.items() if isinstance(found.get(name), str)}


class Audit:
    """Compares the counters of a store with the records of a ledger, without stopping either.

    Args:
        journal: the ledger.
        store: the counters.
        board: which counters exist besides those that records name.
        most: about how many counters of sessions and runs to compare, 0 for all.
    """

    def __init__(self, journal: Charges, store: BudgetStore, board: Callable[[], Board], most: int = 0) -> None:
        self._journal, self._store, self._board = journal, store, board
        self.sums = Sums(most=most)
        self.skipped: dict[str, int] = {}
        self.audited = 0
        self._rolling: set[str] = set()

    async def look(self, now: Callable[[], float], wait_s: float) -> list[Difference]:
        """Look once: at the records, the store, and the records again, `wait_s` apart. Raises StoreError."""
        await self.read()
        before, began = dict(self.sums.amounts), now()
        await asyncio.sleep(wait_s)
        counters = await self._counters(before, began)
        moved = await self._balances(counters, began, before)
        await asyncio.sleep(wait_s)
        await self.read()
        sure = self._sure(counters, now())
        self.audited = len(sure)
        return differences(before, moved, self.sums.amounts, [counter for counter in sure if counter in moved])

    async def look_rolling(self, now: Callable[[], float], wait_s: float, longest_s: float) -> list[Difference]:
        """Look once at the rolling windows that the last `look` knew of; no exchange takes longer than `longest_s`. Raises StoreError.

        Reads all their records, so it is for who asks, not for every minute.
        """
        journal = self._journal
        counters = told(self._rolling, await asyncio.to_thread(journal.charged_since), now(), longest_s)
        low = await asyncio.to_thread(surely, journal, counters, now() + 2 * wait_s)
        await asyncio.sleep(wait_s)
        began = now()
        balances = await self._balances(counters, began, {})
        await asyncio.sleep(wait_s)
        high = await asyncio.to_thread(possibly, journal, counters, began, longest_s)
        self.skipped.pop("rolling", None)
        if older := len(self._rolling) - len(counters):
            self.skipped["older"] = self.skipped.get("older", 0) + older
        self.audited += len(counters)
        return differences(low, balances, high, counters)

    async def read(self) -> None:
        """Read the records that were written since. Raises StoreError."""
        more = True
        while more:
            more = await asyncio.to_thread(self.sums.read, self._journal)
            await asyncio.sleep(PAUSE_S)

    async def _counters(self, charged: Mapping[str, int], now: float) -> list[str]:
        """Return the counters to compare: those that records name, and those that calls would touch now."""
        board = self._board()
        known = await board.fleet(list(board.files.directory.agents.values()), now)
        self._rolling = self.sums.rolling | {claim.counter for claim in known if claim.span and claim.unit != "concurrency"}
        self.skipped = {}
        more = dict.fromkeys(claim.counter for claim in known if claim.unit != "concurrency" and claim.counter not in charged)
        return self._sure(chain(charged, more), now)

    def _sure(self, counters: Iterable[str], now: float) -> list[str]:
        """Return those of which one can say what they should be, and count the others by the reason."""
        found, current = [], windows(now)
        for counter in counters:
            why = self.sums.why_not(counter, now, current)
            if not why:
                found.append(counter)
            else:
                self.skipped[why] = self.skipped.get(why, 0) + 1
        return found

    async def _balances(self, counters: Sequence[str], now: float, before: Mapping[str, int]) -> dict[str, Balance]:
        """Return what the store says, but for those counters of which it says what `before` does: they are right, and by far the most."""
        found: dict[str, Balance] = {}
        for start in range(0, len(counters), AT_ONCE):
            asked = counters[start : start + AT_ONCE]
            known = await self._store.balances(asked, now)
            found |= {c: b for c in asked if (b := known.get(c, (0, 0)))[0] != before.get(c, 0)}
        return found


async def watch(house: House) -> None:
    """Show the drift of `house` in its metrics, again and again until cancelled. Without any while nobody can say."""
    if not isinstance(house.journal, Charges):
        return
    audit = Audit(house.journal, house.stores.budget, lambda: house.board, MOST_PASSING)
    while True:
        try:
            found = await audit.look(house.clock.now, WAIT_S)
            known = not audit.sums.missing and not house.journal_problem()
            house.metrics.drift(drift(found) if known else {})
            audit.sums.forget(house.clock.now())
        except StoreError as e:
            house.metrics.drift({})
            log.error("counters and records cannot be compared: %s", e)
        await asyncio.sleep(EVERY_S)


def drift(found: Iterable[Difference]) -> dict[str, float]:
    """Return the sum of the absolute differences by unit, dollars for `usd`, grams for `gco2e`; 0 for the units that have none."""
    total = dict.fromkeys(("usd", "tokens", "input_tokens", "output_tokens", "requests"), 0)
    for difference in found:
        total[difference.unit] = total.get(difference.unit, 0) + abs(difference.over)
    return {unit: amount / SHARES.get(unit, 1) for unit, amount in total.items()}
