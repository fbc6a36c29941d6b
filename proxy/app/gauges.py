"""What the metrics show of budgets and of questions to people, looked up in the background every few seconds: never on a request's path.

Decides how often and how much: at most `MOST` counters are read and the `SHOWN` fullest shown, those of sessions and runs left out (each
would be a series of its own). Questions are read when one has changed, and once a minute, since they end by themselves. A look that took
long is followed by a longer rest. A store or ledger that cannot be read leaves the numbers as they were, and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proxy.app.balances import NOTHING, balances, passing
from proxy.budget.left import SHARES
from proxy.engine.ports import StoreError
from proxy.telemetry.charges import Charges, Recent
from proxy.telemetry.metrics import BudgetGauge

if TYPE_CHECKING:
    from proxy.app.house import House

log = logging.getLogger("fleetgate.app")
EVERY_S = 5.0
RECENT_EVERY_S = 60.0
REST = 20.0
"""The rest after a look is at least so many times as long as the look was."""
MOST = 10_000
SHOWN = 500
HOUR_S = 3600.0


class Gauges:
    """Looks up budgets for the metrics of `house`.

    Attributes:
        recent: what was charged in the last hour, a minute old at most; without what comes and goes, where that is much.
        found: the balances of the last look, fullest first; `looked_at` is when that was.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self.recent: Recent = NOTHING
        self.found: Sequence[Mapping[str, Any]] = ()
        self.looked_at = 0.0
        self._recent_at = 0.0
        self._asked: tuple[int, float] = (-1, 0.0)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            began = time.monotonic()
            try:
                await self.look()
            except StoreError as e:
                log.error("budgets cannot be looked up for the metrics: %s", e)
            await asyncio.sleep(max(EVERY_S, REST * (time.monotonic() - began)))

    async def look(self) -> None:
        """Look once. Raises StoreError."""
        house, now = self._house, self._house.clock.now()
        await self._questions(now)
        if not 0 <= now - self._recent_at < RECENT_EVERY_S:
            self._recent_at = now
            if isinstance(house.journal, Charges):
                self.recent = await asyncio.to_thread(house.journal.recent, now - HOUR_S, now)
        grants = list(house.files.directory.agents.values())[:MOST]
        claims = [c for c in await house.board.fleet(grants, now, self.recent) if not passing(c.counter)][:MOST]
        found = await balances(house.stores.budget, claims, now, self.recent)
        self.found, self.looked_at = found, now
        house.metrics.budgets([_gauge(b) for b in found[:SHOWN]])

    async def _questions(self, now: float) -> None:
        """Count the questions that nobody has decided. Raises StoreError."""
        house, (seen, at) = self._house, self._asked
        version = -1 if house.kills.versions is None else house.kills.versions.questions
        if version == seen and 0 <= now - at < RECENT_EVERY_S:
            return
        cases = await house.stores.control.cases(now)
        house.metrics.approvals(sum(case.status == "pending" and not case.over(now) for case in cases))
        self._asked = version, now


def _gauge(b: dict[str, Any]) -> BudgetGauge:
    remaining = b["remaining"] / SHARES.get(b["unit"], 1)
    return BudgetGauge(b["name"], b["scope"], b["unit"], b["used"], remaining, b["exhausted_in"])
