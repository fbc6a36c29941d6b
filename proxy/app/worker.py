"""One of several processes that serve the data plane on one port, started and looked after by a supervisor (`crew`).

It is a server like any other, with its own snapshot of the files, but for three things: it has no admin plane, it answers its supervisor
over a channel, and it leaves to the supervisor what is to be said once for all (that a kill was made, that an edit was refused). Store,
sockets and traces are those that the supervisor started with, whatever the files say by now: one that is started again after an edit of
`store` would else have budgets of its own.

How it ends: SIGTERM lets running exchanges finish, as does a supervisor that is gone, however it went. Then a second clock runs, the
kernel's: a worker that hangs meanwhile is ended by SIGALRM.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import pickle
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from proxy.app import build, chores, tuning
from proxy.app.channel import Channel, open_channel
from proxy.app.chores import Options
from proxy.app.house import House
from proxy.app.me import Me
from proxy.app.process import connect_ahead, on_loop, read_kills, tls_of, until_stopped, warm
from proxy.app.retention import Retention
from proxy.app.views import admin_views
from proxy.config import ConfigErrors
from proxy.engine.notice import Notice
from proxy.engine.ports import StoreError
from proxy.identity.keys import KeyEntry
from proxy.server import Server
from proxy.settings import Settings
from proxy.settings.kinds import Secret
from proxy.settings.sections import AT_START
from proxy.telemetry.charges import Recent
from proxy.telemetry.logs import setup
from proxy.telemetry.merging import pack

LEAVE_S = 30
"""How long a worker without a supervisor may take after its exchanges had their time."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is started with, as JSON can hold it. `key` is the entry of a key that lives as long as the processes do, `held` is
    what `pack_held` made of the settings that the supervisor started with.
    """

    number: int
    config: str
    port: int
    quickstart: bool = False
    simulator: str | None = None
    key: Mapping[str, Any] | None = None
    log_level: str = "info"
    log_json: bool = False
    held: str = field(default="", repr=False)

    @classmethod
    def of(cls, options: Options, port: int, simulator: str | None, key: KeyEntry | None) -> Self:
        """Return the job of worker 0; the others differ in their number."""
        entry = None if key is None else asdict(key)
        return cls(0, str(options.config), port, options.quickstart, simulator, entry, options.log_level, options.log_json)

    @property
    def options(self) -> Options:
        """What its command line would have said."""
        return Options(Path(self.config), self.quickstart, self.log_level, self.log_json)

    @property
    def keys(self) -> list[KeyEntry]:
        """The key as an entry, where there is one."""
        return [] if self.key is None else [KeyEntry(**self.key)]


class _Held(pickle.Pickler):
    """Lets secrets pass, which no other pickler does: this one's text goes to a process of ours alone, and into no file."""

    def reducer_override(self, thing: Any) -> Any:
        """See `pickle.Pickler.reducer_override`."""
        return (Secret, (thing.reveal(), thing.origin)) if isinstance(thing, Secret) else NotImplemented


def pack_held(settings: Settings) -> str:
    """Return the sections of `settings` that hold until the next start, as `with_held` takes them; there are secrets in it."""
    out = io.BytesIO()
    _Held(out).dump({name: getattr(settings, name) for name in AT_START})
    return base64.b64encode(out.getvalue()).decode()


def with_held(settings: Settings, held: str) -> Settings:
    """Return `settings` with the sections that `pack_held` packed in place of its own; as it is where there are none."""
    return replace(settings, **pickle.loads(base64.b64decode(held))) if held else settings  # noqa: S301 - from our own supervisor


class WorkerHouse(House):
    """The house of a worker: what all workers see the supervisor tells."""

    def announce(self, notice: Notice) -> None:
        """Leave it to the supervisor."""


def main(descriptor: int) -> None:
    """Run a worker whose end of the channel is the file `descriptor`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends these to the whole group; the supervisor passes on what they mean
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    tuning.at_start()
    on_loop(_main(socket.socket(fileno=descriptor)))


async def _main(end: socket.socket) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    channel = await open_channel(end)
    job = Job(**(await channel.receive() or sys.exit(1)))
    setup(job.log_level.upper(), json_lines=job.log_json, worker=job.number)
    try:
        async with AsyncExitStack() as stack:
            await _serve(job, channel, stop, stack)
    except (ConfigErrors, OSError, StoreError, ValueError) as e:
        channel.send({"failed": str(e)})
        await channel.flush()
        sys.exit(1)
    finally:
        channel.close()


async def _serve(job: Job, channel: Channel, stop: asyncio.Event, stack: AsyncExitStack) -> None:
    env, warming = os.environ, asyncio.ensure_future(warm())
    files = build.read(job.options.config, env, simulate=job.quickstart or job.simulator is not None)
    settings = with_held(files.settings, job.held)
    house = WorkerHouse(files, simulator=job.simulator, extra_keys=job.keys, started=settings)
    stack.push_async_callback(house.close)
    await read_kills(house)
    server = Server(house.engine, lambda: house.runtime, Me(house).answer, house.clock, settings.limits.body_s)
    stack.push_async_callback(server.stop, 0)
    connect_ahead(house)
    await asyncio.gather(warming, house.opas.look())
    tuning.when_ready()
    if not stop.is_set():
        await server.start(settings.listen.host, job.port, tls_of(settings), shared=True)
    house.warming = False
    answers = asyncio.ensure_future(_Answers(house, job, channel, stop).run())
    stack.callback(answers.cancel)
    channel.send({"up": True})
    work: list[Coroutine[Any, Any, None]] = [
        chores.follow_files(house, job.options, env),
        chores.follow_keys(house),
        chores.follow_control(house),
        chores.follow_tokens(house),
        chores.follow_prices(house),
        chores.follow_holds(house),
        chores.give_back(),
        house.opas.run(),
        Retention(house).run_own(),
    ]
    await until_stopped(stop, work)
    house.drain()
    await server.stop(settings.limits.drain_s)


class _Answers:
    """What the supervisor is told. Each question is `{id, ask, told}`, each answer `{id, value}`."""

    def __init__(self, house: House, job: Job, channel: Channel, stop: asyncio.Event) -> None:
        self._house, self._job, self._channel, self._stop = house, job, channel, stop
        self._views = admin_views(house)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer until cancelled. A supervisor that is gone asks for the end."""
        while (question := await self._channel.receive()) is not None:
            task = asyncio.ensure_future(self._answer(question))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        signal.alarm(int(self._house.files.settings.limits.drain_s) + LEAVE_S)
        self._stop.set()

    async def _answer(self, question: Mapping[str, Any]) -> None:
        self._channel.send({"id": question["id"], "value": await self._value(question["ask"], question["told"])})

    async def _value(self, asked: str, told: Any) -> Any:
        house = self._house
        match asked:
            case "state":
                ready, detail = self._views.ready()
                return {"ready": ready, "detail": detail}
            case "metrics":
                return await asyncio.to_thread(lambda: pack(house.metrics.everything()))
            case "pairs":
                return await asyncio.to_thread(lambda: list(self._views.pairs()))
            case "recent":
                house.gauges.recent = Recent(*told)
            case "control":
                await house.refresh_control()
            case "reload":
                await chores.reload(house, self._job.options, os.environ)
        return None
