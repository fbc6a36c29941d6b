"""What a serving process does beside requests: follow its files, keys, kills and tokens, and sweep what expired.

Each is a loop that runs until it is cancelled and that outlives what goes wrong: a store that cannot be read is logged and asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.app import build, tuning
from proxy.app.house import House
from proxy.config import ConfigError, ConfigErrors
from proxy.engine.ports import StoreError
from proxy.settings.watch import changes, look
from proxy.telemetry import rollup

log = logging.getLogger("fleetgate.app")
KEYS_S, SWEEP_S = 0.5, 5.0
TOKENS_S = 0.5
LEDGER_EVERY_S, LEDGER_S, QUIET = 10.0, 1.0, 4
"""How often sums follow the ledger by themselves and for how long, while no more exchanges than that run."""
BUSY_ROUNDS, LEDGER_BUSY_S = 6, 0.3
"""After how many rounds with more of them sums follow all the same, and how long: 3 % of a core keep up with some 1,000 calls a second."""
CONTROL_S = 0.25
"""How often kills and decisions of people are looked for: each holds on every replica within a second."""
GIVE_BACK_S = 10.0
PRICES_S = 60.0
"""How often it is looked whether another day has begun."""
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds: `quickstart` makes a key and prints a command, and simulates providers where no key is set.

    `log_level` and `log_json` are how this process logs, for those that it starts.
    """

    config: Path
    quickstart: bool = False
    log_level: str = "info"
    log_json: bool = False


async def follow_files(house: House, options: Options, env: Mapping[str, str]) -> None:
    """Apply each edit of the files."""

    def inputs() -> Iterable[Path]:
        return house.files.settings.inputs()

    await house.note_files()
    seen = await asyncio.to_thread(look, inputs)
    await reload(house, options, env)  # what changed between reading the files and that look
    async for _ in changes(inputs, seen=seen):
        await reload(house, options, env)


async def reload(house: House, options: Options, env: Mapping[str, str]) -> None:
    """Build the snapshot that the files now describe and swap to it; keep the old one if anything is wrong.

    One at a time: what is read later is applied later.
    """
    async with house.reloading:
        try:
            if not house.problems and await asyncio.to_thread(build.unchanged, options.config, house.files):
                return  # without building a second snapshot beside the first: of 10,000 agents it takes two seconds and 50 MB
            files = await asyncio.to_thread(build.read, options.config, env, simulate=house.simulator is not None or options.quickstart)
            house.use(files)
        except ConfigErrors as e:
            house.keep_old(str(error) for error in e.errors)
            return await house.note_files()
        except (ConfigError, OSError, ValueError) as e:
            house.keep_old([str(e)])
            return await house.note_files()
        await house.note_files()
    log.info("configuration %s applied: %d agents, %d budgets", files.version, len(files.directory.agents), len(files.budgets))


async def follow_orders(house: House, options: Options, env: Mapping[str, str], again: asyncio.Event) -> None:
    """Read the files whenever `again` is set, whether or not they look changed."""
    while True:
        await again.wait()
        again.clear()
        log.info("asked to read the files again")
        await reload(house, options, env)


async def follow_keys(house: House) -> None:
    """Take up keys that are made and revoked."""
    while True:
        await asyncio.sleep(KEYS_S)
        try:
            await house.refresh_keys()
        except StoreError as e:
            log.error("keys cannot be read: %s", e)


async def follow_ledger(house: House) -> None:
    """Have the sums that the dashboard and reports show follow the ledger, mostly while there is time for it; whoever looks has them
    follow too.
    """
    rest, busy = LEDGER_EVERY_S, 0
    while True:
        await asyncio.sleep(rest)
        rest, busy = LEDGER_EVERY_S, busy + 1 if house.inflight() > QUIET else 0
        if 0 < busy < BUSY_ROUNDS:
            continue
        most_s = LEDGER_BUSY_S if busy else LEDGER_S
        try:
            reach = await asyncio.to_thread(lambda: rollup.follow(house.journal.file(), house.clock.now(), most_s))  # noqa: B023 - awaited
            rest = LEDGER_S if reach.behind and not reach.blocked and not busy else LEDGER_EVERY_S
        except StoreError as e:
            log.debug("the rollup does not follow the ledger: %s", e)


async def follow_control(house: House) -> None:
    """Take up kills and decisions of people."""
    while True:
        await asyncio.sleep(CONTROL_S)
        await house.refresh_control()


async def follow_tokens(house: House) -> None:
    """Keep the key document of the identity provider fresh."""
    while True:
        house.tokens.refresh()
        await asyncio.sleep(TOKENS_S)


async def follow_prices(house: House) -> None:
    """Take up prices that begin on a day: a snapshot has those of the days on which it was asked for them."""
    seen = 0
    while True:
        await asyncio.sleep(PRICES_S)
        today = int(house.clock.now() // DAY_S)
        if today == seen:
            continue
        seen = today
        async with house.reloading:
            problems = house.problems
            try:
                if not house.table.outdated():
                    continue
                house.use(house.files)
                log.info("prices that hold from today on are taken up")
            except (ConfigError, ConfigErrors, OSError, ValueError) as e:  # what serves goes on as it is
                problems = (*problems, f"prices that hold from today on cannot be taken up: {e}")
            if problems:  # of an edit, which is still not applied, or of this
                house.keep_old(problems)


async def give_back() -> None:
    """Give memory back that large bodies, the audit and the like took in passing."""
    while True:
        await asyncio.sleep(GIVE_BACK_S)
        await asyncio.to_thread(tuning.give_back)


async def sweep(house: House) -> None:
    """End what expired and leave the records that are missing. Raises StoreError."""
    found = await house.stores.budget.sweep(house.clock.now())
    lost = sum(hold.settled for hold in found)
    if len(found) > lost:
        log.warning("%d holds expired and were charged in full", len(found) - lost)
    if lost:
        log.warning("%d holds were settled and are without a record; those that the ledger lacks are recorded now", lost)
    if found:
        await house.keep(found)


async def follow_holds(house: House) -> None:
    """Sweep again and again."""
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await sweep(house)
        except StoreError as e:
            log.error("expired holds cannot be swept: %s", e)
