"""What stands before replicas in tests: a TCP balancer that asks `/readyz`, and further servers on one folder of files.

It does what Kubernetes does: a server gets connections once it says that it is ready, and none after it was withdrawn, which comes before
its SIGTERM. A connection that a server refuses goes to the next one; what was connected is never moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Self, cast

from serving import ROOT, Proxy, free_port
from simulating import START_S, end, get

PROBE_S = 0.1


class Replica:
    """One more server on the files of `proxy`, with ports of its own."""

    def __init__(self, proxy: Proxy, **env: str) -> None:
        self.port, self.admin_port = free_port(), free_port()
        ports = {"FLEETGATE_LISTEN_PORT": str(self.port), "FLEETGATE_LISTEN_ADMIN_PORT": str(self.admin_port)}
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(proxy.config)]
        self._log = proxy.folder / f"replica-{self.port}.log"
        with self._log.open("ab") as log:
            whole = {**proxy.environment(), **ports, **env}
            self.process = subprocess.Popen(command, cwd=ROOT, env=whole, stdout=log, stderr=subprocess.STDOUT)

    @property
    def url(self) -> str:
        """The data plane's root."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """The admin plane's root."""
        return f"http://127.0.0.1:{self.admin_port}"

    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_ready(self) -> None:
        """Return once it says that it can serve."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(OSError):
                if get(f"{self.admin_url}/readyz")[0] == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready in time:\n{self.log()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        code = end(self.process)
        if kind is None:
            assert code == 0, self.log()
            assert "Traceback" not in self.log(), self.log()


class Balancer:
    """Spreads connections over the servers that are ready, on a thread of its own."""

    def __init__(self) -> None:
        self.port = 0
        self.served: dict[int, int] = {}
        """Connections by the port of the server that got them."""
        self._servers: dict[int, int] = {}
        self._ready: set[int] = set()
        self._turns = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._up, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    def add(self, port: int, admin_port: int) -> None:
        """Take a server in, once it is ready."""
        self._servers[port] = admin_port

    def withdraw(self, port: int) -> None:
        """Give a server no connection any more."""
        del self._servers[port]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(START_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(START_S)

    async def _run(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        async with server:
            while not self._over.is_set():
                for port, admin_port in list(self._servers.items()):
                    (self._ready.add if await _is_ready(admin_port) else self._ready.discard)(port)
                await asyncio.sleep(PROBE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := cast("asyncio.Task[None]", asyncio.current_task()))
        ends, ways = [writer], list[asyncio.Task[None]]()
        try:
            if (found := await self._connect()) is not None:
                ends.append(found[1])
                ways = [asyncio.ensure_future(_pass(reader, found[1])), asyncio.ensure_future(_pass(found[0], writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)  # who hangs up is done: HTTP has no half of a connection
        finally:
            for way in ways:
                way.cancel()
            for one in ends:
                one.close()
            await asyncio.gather(*ways, *(one.wait_closed() for one in ends), return_exceptions=True)
            self._tasks.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and not self._over.is_set():
            for port in self._order():
                with contextlib.suppress(OSError):
                    found = await asyncio.open_connection("127.0.0.1", port)
                    self.served[port] = self.served.get(port, 0) + 1
                    return found
            await asyncio.sleep(PROBE_S)
        return None

    def _order(self) -> list[int]:
        ready = [port for port in list(self._servers) if port in self._ready]
        first = next(self._turns) % len(ready) if ready else 0
        return ready[first:] + ready[:first]


async def _is_ready(admin_port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
