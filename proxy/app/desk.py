"""The supervisor's house: the admin plane of several workers, and what is to be done once for all of them.

It has the files, the store and the ledger like any other, and no data plane. What the workers alone know (whether they are ready, what
runs, what they counted) it asks of them; what people order it has them look at before it answers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from proxy.admin.api import AdminViews
from proxy.app import chores
from proxy.app.chores import Options
from proxy.app.crew import ANSWER_S, Crew
from proxy.app.house import House
from proxy.app.process import in_url
from proxy.app.views import admin_views
from proxy.settings.sections import Listen
from proxy.telemetry.merging import merge, pack, registry
from proxy.telemetry.metrics import written

log = logging.getLogger("fleetgate.app")
RELOAD_S = 10.0
PACE_S = 5.0
_SHARED = ("store", "ledger", "control", "policy", "tokens")
_FINE = ("ok", "none", "off", "embedded")


class Desk(House):
    """See the module. `crew` are its workers, None before they are started."""

    crew: Crew | None = None

    def inflight(self) -> int:
        """Return how many exchanges the workers said last that they run."""
        workers = [] if self.crew is None else list(self.crew.workers.values())
        return sum(worker.state.get("detail", {}).get("inflight", 0) for worker in workers)

    async def refresh_control(self) -> None:
        """Look at kills and decisions, and have the workers do so when they changed.

        One at a time: who comes while the workers are being asked waits for them too, so that an order is answered once all have seen it.
        """
        if self.crew is None:
            return await super().refresh_control()
        async with self.crew.telling:
            before = self.kills.versions
            await super().refresh_control()
            if self.kills.versions != before:
                await self.crew.ask("control")

    async def share_pace(self) -> None:
        """Have the workers know what was charged lately, so that not each of them reads the ledger for it."""
        while True:
            await asyncio.sleep(PACE_S)
            recent = self.gauges.recent
            for worker in [] if self.crew is None else list(self.crew.workers.values()):
                if worker.up.done() and worker.told is not recent:
                    worker.told = recent
                    await worker.ask("recent", told=self.gauges.recent)

    async def follow_orders(self, options: Options, env: Mapping[str, str], again: asyncio.Event) -> None:
        """Read the files whenever `again` is set, and have the workers do so."""
        while True:
            await again.wait()
            again.clear()
            log.info("asked to read the files again")
            await chores.reload(self, options, env)
            if self.crew is not None:
                await self.crew.ask("reload", RELOAD_S)


def crew_views(desk: Desk, crew: Crew) -> AdminViews:
    """Return the admin plane's views of a crew; call it on the loop."""
    own, loop = admin_views(desk), asyncio.get_running_loop()
    desk.metrics.serves(0)

    def ready() -> tuple[bool, Mapping[str, Any]]:
        _, detail = own.ready()
        return crew_ready(desk, crew), merged(detail, crew)

    def metrics(accept: str) -> tuple[bytes, str]:
        parts = asyncio.run_coroutine_threadsafe(crew.counted(), loop).result(2 * ANSWER_S)
        return written(registry(merge([pack(desk.metrics.everything()), *parts])), accept)

    def pairs() -> Sequence[Mapping[str, Any]]:
        if desk.started.store.path is not None:
            return own.pairs()
        found = asyncio.run_coroutine_threadsafe(crew.ask("pairs"), loop).result(2 * ANSWER_S)
        return sorted((pair for part in found for pair in part), key=lambda pair: -pair.get("time", 0))

    return dataclasses.replace(own, ready=ready, metrics=metrics, pairs=pairs)


def crew_ready(desk: Desk, crew: Crew) -> bool:
    """Return whether whoever gets a connection can be served: one worker is up, and each that is up is ready."""
    up = [worker for worker in crew.workers.values() if worker.up.done()]
    return not (desk.draining or desk.warming) and bool(up) and all(worker.ready for worker in up)


def merged(own: Mapping[str, Any], crew: Crew) -> dict[str, Any]:
    """Return the detail of `/readyz`: that of the supervisor, with what the workers say where they know it, and each of them by itself."""
    states = {number: worker.state.get("detail", {}) for number, worker in sorted(crew.workers.items())}
    told = [detail for detail in states.values() if detail]
    found = dict(own)
    for name in _SHARED:
        said = [detail[name] for detail in told]
        found[name] = next((value for value in said if _state(value) not in _FINE), said[0] if said else own[name])
    found["circuits_open"] = sorted({name for detail in told for name in detail["circuits_open"]})
    for name in ("inflight", "tasks"):
        found[name] = sum(detail[name] for detail in (own, *told))
    found["workers"] = [
        {
            "worker": number,
            "pid": crew.workers[number].process.pid,
            "ready": crew.workers[number].ready,
            "config": detail.get("config"),
            "inflight": detail.get("inflight"),
        }
        for number, detail in states.items()
    ]
    return found


def _state(value: Any) -> Any:
    return value["state"] if isinstance(value, dict) else value


@contextmanager
def reserved(listen: Listen) -> Iterator[int]:
    """Keep the data plane's address for processes that share it, and give its port. It is bound and never listens.

    Raises:
        ValueError: it is taken, or processes cannot share one here.
    """
    if not hasattr(socket, "SO_REUSEPORT") or os.uname().sysname != "Linux":
        raise ValueError("listen.workers: only Linux spreads connections over several processes; use 1 here")
    with socket.socket(_family(listen), socket.SOCK_STREAM) as probe, socket.socket(_family(listen), socket.SOCK_STREAM) as kept:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((listen.host, listen.port))
            probe.listen()  # alone: fails where anybody listens, also who would share
            port = int(probe.getsockname()[1])
            probe.close()
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            kept.bind((listen.host, port))
        except OSError as e:
            why = os.strerror(e.errno).lower() if e.errno else str(e)
            raise ValueError(f"listen: cannot listen on {in_url(listen.host)}:{listen.port}: {why}") from None
        yield port


def _family(listen: Listen) -> socket.AddressFamily:
    try:
        return socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    except OSError as e:
        raise ValueError(f"listen: cannot listen on {in_url(listen.host)}:{listen.port}: {e.strerror}") from None
