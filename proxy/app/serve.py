"""`fleetgate serve`: a process around the house, from start to SIGTERM.

Start: read and check all files (refuse on the first thing wrong), open the store, listen on both planes. Run: watch the files, poll
the key table, sweep expired holds. Stop: refuse new connections, let running exchanges finish up to `limits.drain_s`, settle, flush.
With `listen.workers` above 1 this process serves the admin plane, and starts others that serve the data plane (`crew`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from proxy import __version__
from proxy.app import audit, build, chores, quickstart, tuning
from proxy.app.build import Files
from proxy.app.chores import Options
from proxy.app.crew import Crew
from proxy.app.desk import Desk, crew_views, reserved
from proxy.app.house import House
from proxy.app.me import Me
from proxy.app.process import (
    Asked,
    bound,
    connect_ahead,
    in_url,
    listen_to_signals,
    on_loop,
    read_kills,
    simulate,
    start_admin,
    tls_of,
    until_stopped,
    url_of,
    warm,
)
from proxy.app.retention import Retention
from proxy.app.views import admin_views
from proxy.app.worker import Job, pack_held
from proxy.identity.keys import KeyEntry
from proxy.server import Server

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class First:
    """What `--quickstart` adds: where providers are simulated, and a key that lives as long as the process."""

    simulator: str | None = None
    key: str = ""
    entry: KeyEntry | None = None
    agent: str = ""
    model: str = ""

    @property
    def keys(self) -> list[KeyEntry]:
        """The key, where there is one."""
        return [self.entry] if self.entry is not None else []


async def serve(options: Options, env: Mapping[str, str], say: Say) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigErrors: something is wrong in the files.
        OSError, StoreError, ValueError: an address or the store cannot be used.
    """
    files = build.read(options.config, env, simulate=options.quickstart)
    asked = listen_to_signals()
    async with AsyncExitStack() as stack:
        first = await _first(files, stack) if options.quickstart else First()
        if files.settings.listen.workers > 1:
            await _supervise(Start(files, first, options, env, say, asked), stack)
        else:
            await _alone(Start(files, first, options, env, say, asked), stack)
    say("stopped")


@dataclass(frozen=True, slots=True)
class Start:
    """What a server begins with."""

    files: Files
    first: First
    options: Options
    env: Mapping[str, str]
    say: Say
    asked: Asked

    def up(self, port: int, admin_port: int, workers: str = "") -> None:
        """Say that it serves, and where."""
        files, first, listen = self.files, self.first, self.files.settings.listen
        url, admin = url_of(listen, port), f"http://{in_url(listen.admin_host)}:{admin_port}"
        self.say(f"Fleetgate {__version__} serves {len(files.directory.agents)} agents on {url}{workers} (admin: {admin})")
        if self.options.quickstart:
            example = quickstart.Example(url, first.key, first.agent, first.model)
            self.say(quickstart.banner(files.settings, example, first.simulator is not None))


async def _first(files: Files, stack: AsyncExitStack) -> First:
    root = await simulate(stack) if quickstart.needs_simulator(files.settings) else None
    agent, model = quickstart.first_agent(files, root is not None)
    key, entry = quickstart.temporary_key(agent)
    return First(root, key, entry, agent, model)


async def _alone(start: Start, stack: AsyncExitStack) -> None:
    """Serve both planes in this process."""
    settings, options, env = start.files.settings, start.options, start.env
    listen, warming = settings.listen, asyncio.ensure_future(warm())
    house = House(start.files, simulator=start.first.simulator, extra_keys=start.first.keys)
    stack.push_async_callback(house.close)
    await read_kills(house)
    server = Server(house.engine, lambda: house.runtime, Me(house).answer, house.clock, settings.limits.body_s)
    stack.push_async_callback(server.stop, 0)
    port = await bound("listen", listen.host, listen.port, server.start(listen.host, listen.port, tls_of(settings)))
    admin_port = await start_admin(stack, admin_views(house), listen, env)
    connect_ahead(house)
    await asyncio.gather(warming, house.opas.look())
    tuning.when_ready()
    house.warming = False
    start.up(port, admin_port)
    work: list[Coroutine[Any, Any, None]] = [
        chores.follow_files(house, options, env),
        chores.follow_orders(house, options, env, start.asked.reload),
        chores.follow_keys(house),
        chores.follow_control(house),
        chores.follow_tokens(house),
        chores.follow_prices(house),
        chores.follow_holds(house),
        chores.give_back(),
        chores.follow_ledger(house),
        house.gauges.run(),
        Retention(house).run(),
        house.opas.run(),
        audit.watch(house),
    ]
    await until_stopped(start.asked.stop, work)
    start.say("stopping: no new requests; running ones finish")
    house.drain()
    await server.stop(settings.limits.drain_s)


async def _supervise(start: Start, stack: AsyncExitStack) -> None:
    """Serve the admin plane in this process, and the data plane in others."""
    settings, first, options, env = start.files.settings, start.first, start.options, start.env
    listen = settings.listen
    tls_of(settings)  # before anybody is started who would fail with it
    desk = Desk(start.files, simulator=first.simulator, extra_keys=first.keys)
    stack.push_async_callback(desk.close)
    await read_kills(desk)
    port = stack.enter_context(reserved(listen))
    job = replace(Job.of(options, port, first.simulator, first.entry), held=pack_held(settings))
    crew = desk.crew = Crew(job, listen.workers, desk.metrics)
    admin_port = await start_admin(stack, crew_views(desk, crew), listen, env)
    stack.push_async_callback(crew.stop, 0.0)
    await asyncio.gather(crew.start(), desk.opas.look())
    tuning.when_ready()
    desk.warming = False
    start.up(port, admin_port, f" with {listen.workers} workers")
    work: list[Coroutine[Any, Any, None]] = [
        chores.follow_files(desk, options, env),
        desk.follow_orders(options, env, start.asked.reload),
        chores.follow_keys(desk),
        chores.follow_control(desk),
        chores.follow_holds(desk),
        chores.give_back(),
        chores.follow_ledger(desk),
        desk.gauges.run(),
        desk.share_pace(),
        Retention(desk).run(),
        desk.opas.run(),
        audit.watch(desk),
        crew.run(),
    ]
    await until_stopped(start.asked.stop, work)
    start.say("stopping: no new requests; running ones finish")
    desk.drain()
    await crew.stop(settings.limits.drain_s)


def run(options: Options) -> None:
    """Run `serve` on the fastest loop there is."""

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    tuning.at_start()
    on_loop(serve(options, os.environ, say))
