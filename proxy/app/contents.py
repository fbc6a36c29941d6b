"""Reading and erasing what is kept of what was said, for the admin plane and for the command line: never without a line in the log.

The line is written first. Who reads an exchange of which nothing is kept leaves none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.control.port import ControlStore, Entry
from proxy.control.rules import clean
from proxy.guards.logged import LOGS
from proxy.routing.pairs import Pairs
from proxy.telemetry.content import Content, Contents, Whose
from proxy.telemetry.query import MAX_ROWS, Filter, Journal

if TYPE_CHECKING:
    from proxy.app.house import House

NOTHING = (
    "Nothing is kept of what was said in this exchange: `telemetry.capture` is off, the agent's `data.log_content` is none, its time is "
    "over, or it was erased. It is written a moment after the exchange ends."
)
WHY_READ = "read what was said"


async def read(contents: Contents, control: ControlStore, name: str, by: str, now: float) -> Content | None:
    """Return what is kept of the exchange with that id, once it is logged that `by` reads it. Raises StoreError."""
    found = await asyncio.to_thread(contents.one, name)
    if found is not None:
        target = f"exchange:{found.id} of {found.session or found.agent}"
        await control.note(Entry(now, clean(by, 120), "read", clean(target, 300), WHY_READ))
    return found


@dataclass(frozen=True, slots=True)
class Places:
    """Where texts of exchanges are: what was said, and sampled pairs; and the ledger, which knows the exchanges of a session."""

    contents: Contents
    pairs: Pairs
    journal: Journal

    def erase(self, whose: Whose) -> int:
        """Erase; return of how many exchanges what was said is gone. Raises StoreError."""
        ids = {record.id for record in self.journal.rows(Filter(session=whose.session, limit=MAX_ROWS))} if whose.session else ()
        self.pairs.erase(whose.agent, ids)
        return self.contents.erase(whose)


async def erase(places: Places, control: ControlStore, whose: Whose, who: tuple[str, str], now: float) -> int:
    """Erase all texts that are kept of `whose`, once it is logged; return of how many exchanges. `who` is by whom and why.

    Raises:
        StoreError: it cannot be done, or not all of it.
    """
    await control.note(Entry(now, clean(who[0], 120), "erase", clean(str(whose), 300), clean(who[1])))
    return await asyncio.to_thread(places.erase, whose)


class HouseContents:
    """What is kept by `house`. Implements `admin.contents.Reading`."""

    def __init__(self, house: House) -> None:
        self._house = house

    def level(self, agent: str) -> str:
        """See `Reading`."""
        grant = self._house.files.directory.grant(agent) if self._house.started.telemetry.capture else None
        level = "" if grant is None else grant.data.get("log_content", "")
        return level if level in LOGS else ""

    async def read(self, name: str, by: str) -> Mapping[str, Any]:
        """See `Reading`."""
        house = self._house
        found = await read(house.contents, house.stores.control, name, by, house.clock.now())
        if found is None:
            raise LookupError(NOTHING)
        return found.as_json()

    async def erase(self, session: str, agent: str, by: str, reason: str) -> int:
        """See `Reading`."""
        house = self._house
        return await erase(
            Places(house.contents, house.sampler.pairs, house.journal),
            house.stores.control,
            Whose(session, agent),
            (by, reason),
            house.clock.now(),
        )
