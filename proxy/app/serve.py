"""`fleetgate serve`: a process around the house, from start to SIGTERM.

Start: read and check all files (refuse on the first thing wrong), open the store, listen on both planes. Run: watch the files, poll
the key table, sweep expired holds. Stop: refuse new connections, let running exchanges finish up to `limits.drain_s`, settle, flush.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy import __version__
from proxy.admin.api import build_admin
from proxy.app import audit, build, quickstart, tuning
from proxy.app.house import House
from proxy.app.me import Me
from proxy.app.views import admin_views
from proxy.budget.vocabulary import VocabularyError, vocabulary
from proxy.config import ConfigError, ConfigErrors
from proxy.engine.ports import StoreError
from proxy.server import Server
from proxy.settings import Settings
from proxy.settings.watch import changes, look
from proxy.sim import provider as simulator

log = logging.getLogger("fleetgate.app")
KEYS_S, SWEEP_S = 0.5, 5.0
TOKENS_S = 0.5
CONTROL_S = 0.25
"""How often kills and decisions of people are looked for: each holds on every replica within a second."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds: `quickstart` makes a key and prints a command, and simulates providers where no key is set."""

    config: Path
    quickstart: bool = False


async def serve(options: Options, env: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigErrors: something is wrong in the files.
        OSError, StoreError, ValueError: an address or the store cannot be used.
    """
    files = build.read(options.config, env, simulate=options.quickstart)
    stop = _stop_asked()
    warm = asyncio.ensure_future(_warm())
    async with AsyncExitStack() as stack:
        root = await _simulate(stack) if options.quickstart and quickstart.needs_simulator(files.settings) else None
        agent, model = quickstart.first_agent(files, root is not None) if options.quickstart else ("", "")
        key, entry = quickstart.temporary_key(agent) if options.quickstart else ("", None)
        house = House(files, simulator=root, extra_keys=[entry] if entry else [])
        stack.push_async_callback(house.close)
        await house.refresh_control()
        if house.kills.problem:
            raise StoreError(f"kills cannot be read, and nobody may be served who was stopped: {house.kills.problem}")
        server = Server(house.engine, lambda: house.runtime, Me(house).answer, house.clock, files.settings.limits.body_s)
        stack.push_async_callback(server.stop, 0)
        listen = files.settings.listen
        port = await _bound("listen", listen.host, listen.port, server.start(listen.host, listen.port, _tls(files.settings)))
        admin_port = await _bound("listen.admin", listen.admin_host, listen.admin_port, _start_admin(stack, house, env))
        url = f"{'https' if listen.tls else 'http'}://{_host(listen.host)}:{port}"
        await asyncio.gather(warm, house.opas.look())
        tuning.when_ready()
        house.warming = False
        say(
            f"Fleetgate {__version__} serves {len(files.directory.agents)} agents on {url} (admin: http://{_host(listen.admin_host)}:{admin_port})"
        )
        if options.quickstart:
            say(quickstart.banner(files.settings, quickstart.Example(url, key, agent, model), root is not None))
        work = [
            _watch(house, options, env),
            _keys(house),
            _control(house),
            _tokens(house),
            _sweep(house),
            house.gauges.run(),
            house.opas.run(),
            audit.watch(house),
        ]
        await _until_stopped(stop, work)
        say("stopping: no new requests; running ones finish")
        house.drain()
        await server.stop(files.settings.limits.drain_s)
    say("stopped")


async def _warm() -> None:
    """Load what most models are counted with, so that the first request does not have to."""
    try:
        await asyncio.to_thread(vocabulary, "o200k_base")
    except VocabularyError as e:
        raise ValueError(str(e)) from None


def _stop_asked() -> asyncio.Event:
    """Return what is set when the process is asked to stop, from now on: also while it starts."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until_stopped(stop: asyncio.Event, work: list[Coroutine[Any, Any, None]]) -> None:
    tasks = [asyncio.ensure_future(w) for w in work]
    waiter = asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in [waiter, *tasks]:
        task.cancel()
    await asyncio.gather(waiter, *tasks, return_exceptions=True)
    for task in done - {waiter}:
        task.result()


async def _watch(house: House, options: Options, env: Mapping[str, str]) -> None:
    def inputs() -> Iterable[Path]:
        return house.files.settings.inputs()

    seen = await asyncio.to_thread(look, inputs)
    await reload(house, options, env)  # what changed between reading the files and that look
    async for _ in changes(inputs, seen=seen):
        await reload(house, options, env)


async def reload(house: House, options: Options, env: Mapping[str, str]) -> None:
    """Build the snapshot that the files now describe and swap to it; keep the old one if anything is wrong."""
    try:
        files = await asyncio.to_thread(build.read, options.config, env, simulate=house.simulator is not None or options.quickstart)
        if files.version == house.files.version and not house.problems:
            return
        house.use(files)
    except ConfigErrors as e:
        house.keep_old(str(error) for error in e.errors)
        return
    except (ConfigError, OSError, ValueError) as e:
        house.keep_old([str(e)])
        return
    log.info("configuration %s applied: %d agents, %d budgets", files.version, len(files.directory.agents), len(files.budgets))


async def _keys(house: House) -> None:
    while True:
        await asyncio.sleep(KEYS_S)
        try:
            await house.refresh_keys()
        except StoreError as e:
            log.error("keys cannot be read: %s", e)


async def _control(house: House) -> None:
    while True:
        await asyncio.sleep(CONTROL_S)
        await house.refresh_control()


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


async def _tokens(house: House) -> None:
    while True:
        house.tokens.refresh()
        await asyncio.sleep(TOKENS_S)


async def _sweep(house: House) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await sweep(house)
        except StoreError as e:
            log.error("expired holds cannot be swept: %s", e)


async def _simulate(stack: AsyncExitStack) -> str:
    runner, port = await simulator.start("127.0.0.1", 0)
    stack.push_async_callback(runner.cleanup)
    return f"http://127.0.0.1:{port}"


async def _bound(setting: str, host: str, port: int, start: Awaitable[int]) -> int:
    """Return the port that `start` listens on, or fail with the setting that is at fault."""
    try:
        return await start
    except OSError as e:
        why = os.strerror(e.errno).lower() if e.errno and e.errno > 0 else str(e.strerror or e)
        raise ValueError(f"{setting}: cannot listen on {_host(host)}:{port}: {why}") from None


async def _start_admin(stack: AsyncExitStack, house: House, env: Mapping[str, str]) -> int:
    listen = house.files.settings.listen
    runner = web.AppRunner(build_admin(admin_views(house), env.get("FLEETGATE_ADMIN_TOKEN"), listen.admin_host), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, listen.admin_host, listen.admin_port)
    await site.start()
    return int(runner.addresses[0][1])


def _tls(settings: Settings) -> ssl.SSLContext | None:
    tls = settings.listen.tls
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except OSError as e:
        raise ValueError(f"listen.tls: {tls.cert} and {tls.key} are no certificate and its key in PEM ({e.strerror or e})") from None
    return context


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def run(options: Options) -> None:
    """Run `serve` on the fastest loop there is."""

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    tuning.at_start()
    work = serve(options, os.environ, say)
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
