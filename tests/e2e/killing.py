"""Fleetgate that ends by SIGKILL at one moment of its fourth call: `python killing.py MOMENT serve --config FILE`.

The moments are at the edges of the store and the ledger, so they are the same for every store.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from proxy.cli import main
from proxy.stores.outage import Outage
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.ledger_redis import RedisLedger

CALL = 4
MOMENTS = ("reserving", "reserved", "settling", "settled", "recorded", "both")
calls = {"reserve": 0, "settle": 0}
settled: list[bool] = []


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def arm(moment: str) -> None:
    reserve, settle = Outage.reserve, Outage.settle

    async def reserving(self: Outage, *args: Any) -> Any:
        calls["reserve"] += 1
        last = calls["reserve"] == CALL
        if last and moment == "reserving":
            task = asyncio.ensure_future(reserve(self, *args))  # it is on its way, and nobody is there for the answer
            await asyncio.sleep(0)
            die()
            await task
        answer = await reserve(self, *args)
        if last and moment == "reserved":
            die()
        return answer

    async def settling(self: Outage, *args: Any) -> bool:
        calls["settle"] += 1
        last = calls["settle"] == CALL
        if last and moment == "settling":
            die()
        if last and moment == "recorded":
            settled.append(True)
            await asyncio.sleep(60)  # the record is written, and the settle never is
        done = await settle(self, *args)
        if last:
            settled.append(True)
            if moment == "settled":
                die()
        return done

    setattr(Outage, "reserve", reserving)  # noqa: B010 - it is another by its type
    setattr(Outage, "settle", settling)  # noqa: B010
    for ledger, name in ((Ledger, "_drain"), (RedisLedger, "_send")):
        write = getattr(ledger, name)

        def writing(self: Any, *args: Any, write: Any = write) -> None:
            if settled and moment == "settled":
                die()
            write(self, *args)
            if settled and moment in ("recorded", "both"):
                die()

        setattr(ledger, name, writing)


if __name__ == "__main__":
    arm(sys.argv.pop(1))
    sys.exit(main())
