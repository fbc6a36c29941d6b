"""What every process that serves needs around its house: signals, addresses, the admin plane, and an end.

Says what is wrong with an address or a certificate in the words of its setting. Decides nothing of requests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from proxy.admin.api import AdminViews, build_admin
from proxy.app.house import House
from proxy.budget.catalogue import price_list
from proxy.budget.vocabulary import VocabularyError, load
from proxy.engine.ports import StoreError
from proxy.settings import Settings
from proxy.settings.sections import Listen
from proxy.sim import provider as simulator
from proxy.upstream.steady import SteadyTransport


@dataclass(frozen=True, slots=True)
class Asked:
    """What signals ask for: to stop, and to read the files again."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


def listen_to_signals() -> Asked:
    """Return what the process is asked from now on, also while it starts: SIGTERM and SIGINT stop it, SIGHUP has it read its files.

    A terminal that goes away sends SIGHUP too: who was started from it stops, unless `nohup` says otherwise.
    """
    loop, asked, terminal = asyncio.get_running_loop(), Asked(), _has_terminal()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.stop.set)

    def hung_up() -> None:
        (asked.stop if terminal and not _has_terminal() else asked.reload).set()

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, hung_up)
    return asked


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


async def warm() -> None:
    """Load what most models are counted with, so that the first request does not have to, and the list of prices. Raises ValueError."""
    try:
        price_list()
        await load("o200k_base")
    except VocabularyError as e:
        raise ValueError(str(e)) from None


def connect_ahead(house: House) -> None:
    """Begin to open the connections that providers want ahead; nobody waits for them."""
    transport = house.runtime.transport
    if isinstance(transport, SteadyTransport):
        house.engine.spawn(transport.warm())


async def read_kills(house: House) -> None:
    """Look for the first time who is stopped. Raises StoreError where nobody can say."""
    await house.refresh_control()
    if house.kills.problem:
        raise StoreError(f"kills cannot be read, and nobody may be served who was stopped: {house.kills.problem}")


async def until_stopped(stop: asyncio.Event, work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do `work` until the process is asked to stop; what fails in it is raised."""
    tasks = [asyncio.ensure_future(w) for w in work]
    waiter = asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in [waiter, *tasks]:
        task.cancel()
    await asyncio.gather(waiter, *tasks, return_exceptions=True)
    for task in done - {waiter}:
        task.result()


async def simulate(stack: AsyncExitStack) -> str:
    """Start a simulated provider for as long as `stack`, and return its root URL."""
    runner, port = await simulator.start("127.0.0.1", 0)
    stack.push_async_callback(runner.cleanup)
    return f"http://127.0.0.1:{port}"


async def bound(setting: str, host: str, port: int, start: Awaitable[int]) -> int:
    """Return the port that `start` listens on, or fail with the setting that is at fault."""
    try:
        return await start
    except OSError as e:
        why = os.strerror(e.errno).lower() if e.errno and e.errno > 0 else str(e.strerror or e)
        raise ValueError(f"{setting}: cannot listen on {in_url(host)}:{port}: {why}") from None


async def start_admin(stack: AsyncExitStack, views: AdminViews, listen: Listen, env: Mapping[str, str]) -> int:
    """Serve the admin plane for as long as `stack`, and return its port. Raises ValueError."""
    runner = web.AppRunner(build_admin(views, env.get("FLEETGATE_ADMIN_TOKEN"), listen.admin_host), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await bound("listen.admin", listen.admin_host, listen.admin_port, _start(web.TCPSite(runner, listen.admin_host, listen.admin_port)))
    return int(runner.addresses[0][1])


async def _start(site: web.TCPSite) -> int:
    await site.start()
    return 0


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return what the data plane encrypts with, None for plain HTTP. Raises ValueError."""
    tls = settings.listen.tls
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except OSError as e:
        raise ValueError(f"listen.tls: {tls.cert} and {tls.key} are no certificate and its key in PEM ({e.strerror or e})") from None
    return context


def in_url(host: str) -> str:
    """Return `host` as a URL writes it."""
    return f"[{host}]" if ":" in host else host


def url_of(listen: Listen, port: int) -> str:
    """Return the data plane's root."""
    return f"{'https' if listen.tls else 'http'}://{in_url(listen.host)}:{port}"


def on_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on the fastest loop there is."""
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
