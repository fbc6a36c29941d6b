"""What is deleted because it is old enough: records by `telemetry.retention_days`, sampled texts by each agent's
`data.retention_days`, and what was said by that and `telemetry.capture_days`.

Decides when and how fast: every ten minutes, at most `MOST` records in steps with a rest between them, so that settles come through; a
backlog is worked off over many rounds. A clock that jumps ahead deletes early what it believes to be old, and a jump of more than a day
between two rounds deletes nothing in the round that saw it. What goes was added up before, so that sums stay, until they are old
themselves (`rollup_schema.KEPT`). Store and days are
those that the server started with: an edit of them waits for the next start, as it says, and until then nothing is deleted in a file that
is not in use.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.engine.ports import StoreError
from proxy.telemetry import rollup
from proxy.telemetry.retention import STEP, forget, forget_sums

if TYPE_CHECKING:
    from proxy.app.house import House

log = logging.getLogger("fleetgate.app")
EVERY_S, REST_S = 600.0, 0.25
MOST = 100_000
DAY_S = 86_400.0


class Retention:
    """Deletes what is old, for `house`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._seen: tuple[float, float] | None = None

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                await self.look(time.monotonic())
            except StoreError as e:
                log.error("%s", e)
            await asyncio.sleep(EVERY_S)

    async def run_own(self) -> None:
        """Look again and again until cancelled at what this process alone keeps: for a worker, whose supervisor does the rest."""
        while True:
            try:
                await asyncio.to_thread(self._house.sampler.pairs.forget, self._house.clock.now())
            except StoreError as e:
                log.error("%s", e)
            await asyncio.sleep(EVERY_S)

    async def look(self, monotonic: float) -> int:
        """Delete what is old now; return how many records. `monotonic` are seconds that only go on. Raises StoreError."""
        house, now = self._house, self._house.clock.now()
        before, self._seen = self._seen, (now, monotonic)
        if before is not None and abs((now - before[0]) - (monotonic - before[1])) > DAY_S:
            log.warning("the clock has jumped by more than a day: nothing is deleted in this round")
            return 0
        await asyncio.to_thread(house.sampler.pairs.forget, now)
        await self._contents(now)
        days, path = house.started.telemetry.retention_days, house.started.store.path
        if not days or path is None:
            return 0
        gone = await self._records(path, now - days * DAY_S) if await self._summed(path, now - days * DAY_S) else 0
        await asyncio.to_thread(forget_sums, path, now - days * DAY_S, now)
        return gone

    async def _contents(self, now: float) -> None:
        """Delete what may be kept no longer of what was said, also where nothing more is kept."""
        gone = 0
        try:
            while gone < MOST and (step := await asyncio.to_thread(self._house.contents.forget, now)):
                gone += step
                await asyncio.sleep(REST_S)
        except StoreError as e:
            log.error("%s", e)

    async def _summed(self, path: Path, before: float) -> bool:
        """Have the sums beside the ledger take what is older than `before`; return False where they need another round for it.

        Sums that cannot be written keep no record from being deleted.
        """
        for _ in range(MOST // STEP):
            try:
                reach = await asyncio.to_thread(rollup.follow, path, self._house.clock.now(), REST_S)
            except StoreError as e:
                log.warning("old records are deleted, and the dashboard's sums may lack them: %s", e)
                return True
            if reach.as_of >= before + DAY_S or reach.blocked:  # a long exchange is written after younger ones
                return True
            await asyncio.sleep(REST_S)
        return False

    async def _records(self, path: Path, before: float) -> int:
        gone = 0
        while gone < MOST and (step := await asyncio.to_thread(forget, path, before)):
            gone += step
            if step < STEP:
                break
            await asyncio.sleep(REST_S)
        if gone:
            log.info("%d records that were older than telemetry.retention_days are deleted", gone)
        return gone
