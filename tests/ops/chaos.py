"""Load on real replicas while parts of the house fall over, and networks that can be cut.

A `Load` asks from a few threads' worth of clients in one event loop and keeps what each call was told. Every answer is either what was
asked for or a refusal with a reason, in its protocol and in time; `unclear` are those that were neither.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import aiohttp
from serving import Proxy
from simulating import get

from proxy.money import NANOS

OUTPUT = 20
"""Tokens of each answer: with inputs that are free, a provider's bill is its calls times so many."""
PRICE = 10
"""Dollars for a million output tokens."""
NANOS_A_CALL = OUTPUT * PRICE * 1000
SLOWEST_S = 20.0
"""No call hangs longer, whatever is away: over all deadlines of the proxies in these tests, on a slow machine."""
LATEST_S = 15.0
"""The longest that calls may be refused after a part is back, on a machine that is busy; docs/operations.md has what it takes."""
BUDGETS = "budgets:\n  - {{name: cap, scope: {{fleet: '*'}}, limit: {{usd: {usd}}}, window: total}}\n"
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
MODELS = {"gpt-*": {"provider": "openai", "price": {"input": 0, "output": PRICE}}}
MODELS |= {"claude-*": {"provider": "anthropic", "price": {"input": 0, "output": PRICE}}}


@dataclass(slots=True)
class Told:
    """What one client was told: when it was asked and answered, by whom, and what."""

    at: float
    took: float
    proxy: Proxy
    status: int
    reason: str = ""


@dataclass(slots=True)
class Load:
    """See the module. A context: the load runs inside it.

    Attributes:
        proxies: asked in turn; one that cannot be connected to is status 0, as a balancer would see it.
    """

    proxies: list[Proxy]
    clients: int = 4
    told: list[Told] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(SLOWEST_S * 2)
        assert not self._thread.is_alive(), "a call hangs"

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=SLOWEST_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(self._client(session, n) for n in range(self.clients)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            proxy, turn = self.proxies[turn % len(self.proxies)], turn + 1
            path, body, head = asked(proxy, number % 2 == 1, stream=random.random() < 0.5)
            began = time.monotonic()
            status, reason = 0, ""
            try:
                async with session.post(proxy.url + path, json=body, headers=head) as reply:
                    status, text = reply.status, await reply.read()
                    reason = self._clear(status, text, reply.headers)
            except TimeoutError:
                self.unclear.append(f"no answer within {SLOWEST_S} s")
            except aiohttp.ClientError:
                pass  # nobody there, or a process that died: a connection that ends is what a client can tell
            self.told.append(Told(began, time.monotonic() - began, proxy, status, reason))
            await asyncio.sleep(0.02 if status == 200 else 0.05)

    def _clear(self, status: int, text: bytes, headers: Mapping[str, str]) -> str:
        """Return the reason of a refusal, and note an answer that is neither one nor what was asked for."""
        if status == 200:
            whole = b"[DONE]" in text or b"message_stop" in text or text.endswith(b"}")
            if not whole:
                self.unclear.append(f"half an answer: {text[-200:]!r}")
            return ""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(text)
            if found["error"]["message"] and headers["content-type"].startswith("application/json"):
                return str(found["fleetgate"]["reason"])
        self.unclear.append(f"{status} {text[:300]!r}")
        return ""

    # --- what tests ask ---------------------------------------------------------------------------------------------------------

    def until(self, claim: Callable[[Told], bool], within_s: float = 30.0, since: float | None = None) -> float:
        """Wait until a call that was asked from now on (or `since`) is told what `claim` says; return the seconds from then to it."""
        since = time.monotonic() if since is None else since
        deadline = since + within_s
        while time.monotonic() < deadline:
            fitting = [t for t in self.told[-2000:] if t.at >= since and claim(t)]
            if fitting:
                return fitting[0].at + fitting[0].took - since
            time.sleep(0.02)
        raise AssertionError(f"not within {within_s} s: {self.counted(since)}")

    def counted(self, since: float = 0.0) -> dict[str, int]:
        """How often what was told since."""
        return dict(collections.Counter(f"{t.status} {t.reason}".strip() for t in self.told if t.at >= since))

    def since(self, since: float, proxy: Proxy | None = None) -> list[Told]:
        """What was asked since, of one proxy or of all."""
        return [t for t in self.told if t.at >= since and proxy in (None, t.proxy)]


def asked(proxy: Proxy, anthropic: bool, stream: bool) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return path, body and headers of a call whose answer has `OUTPUT` tokens."""
    head = {"authorization": f"Bearer {proxy.key()}", "x-sim-script": json.dumps({"tokens": OUTPUT}), "anthropic-version": "2023-06-01"}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": OUTPUT, "stream": stream}
    if anthropic:
        return "/v1/messages", {**body, "model": "claude-sonnet-4-5"}, head
    return "/v1/chat/completions", {**body, "model": "gpt-4o-mini"}, head


def can_cut() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    name = f"fg{os.getpid()}t"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return done.returncode == 0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


class Namespace:
    """A network namespace with a cable of its own for each who asks: `cable()` gives the address at the far end. As root on Linux."""

    def __init__(self) -> None:
        self.name = f"fg{os.getpid() % 100_000}"
        self._cables = 0
        self.prefix: tuple[str, ...] = ("ip", "netns", "exec", self.name)

    def __enter__(self) -> Self:
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True, timeout=20)

    def cable(self) -> Cable:
        """Lay one more cable."""
        self._cables += 1
        near, far = f"{self.name}n{self._cables}", f"{self.name}f{self._cables}"
        net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.{self._cables * 4}".rsplit(".", 1)
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        ip("addr", "add", f"{net[0]}.{int(net[1]) + 1}/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", self.name, "addr", "add", f"{net[0]}.{int(net[1]) + 2}/30", "dev", far)
        ip("-n", self.name, "link", "set", far, "up")
        return Cable(near, f"{net[0]}.{int(net[1]) + 2}")


@dataclass(slots=True)
class Cable:
    """One way into a namespace; what is sent while it is cut is lost without a word."""

    near: str
    host: str

    def cut(self) -> None:
        ip("link", "set", self.near, "down")

    def mend(self) -> None:
        ip("link", "set", self.near, "up")


class Relay:
    """Carries bytes to a port of this machine. `cut` holds them back without a word, new connections too; `slow_s` delays what comes back.

    It stands in for a cable where namespaces may not be made.
    """

    def __init__(self, port: int) -> None:
        self.host, self._to, self.slow_s = "127.0.0.1", port, 0.0
        self._open = threading.Event()
        self._open.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.set()
        for one in (self._listening, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listening.accept()[0]
                try:
                    far = socket.create_connection(("127.0.0.1", self._to), 10)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other, one is far), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self._open.wait()
                time.sleep(self.slow_s if back else 0)
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def until(claim: Callable[[], object], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def measured(what: str, seconds: float) -> float:
    """Say how long something took (seen with `pytest -s`); return it."""
    sys.stdout.write(f"\n{what}: {seconds:.2f} s\n")
    return seconds


def ok(told: Told) -> bool:
    return told.status == 200


def refused(reason: str) -> Callable[[Told], bool]:
    return lambda told: (told.status, told.reason) == (503, reason)


def by(proxy: Proxy, claim: Callable[[Told], bool]) -> Callable[[Told], bool]:
    return lambda told: told.proxy is proxy and claim(told)


def clear(load: Load, *reasons: str) -> None:
    """What all that was told must be: served, or refused with one of `reasons`; a process that died ends connections."""
    assert load.unclear == []
    assert {t.reason for t in load.told if t.status not in (0, 200)} <= set(reasons), load.counted()


def ready(proxy: Proxy) -> tuple[int, dict[str, Any]]:
    """Status and body of `/readyz`."""
    status, body = get(f"{proxy.admin_url}/readyz")
    return status, json.loads(body)


def metric(proxy: Proxy, name: str) -> float:
    """The sum of a metric's series."""
    lines = get(f"{proxy.admin_url}/metrics")[1].decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def budget(proxy: Proxy) -> tuple[int, int, int]:
    """Spent, held and limit of the one budget, in nanos."""
    (row,) = json.loads(get(f"{proxy.admin_url}/api/v1/budgets")[1])["budgets"]
    spent, held, limit = (round(Decimal(row[name]) * NANOS) for name in ("spent", "held", "limit"))
    return spent, held, limit
