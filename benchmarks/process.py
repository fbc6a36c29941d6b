"""Processes under measurement: start one pinned to a core, wait until it answers, read what its tree used, stop it.

All figures come from the kernel, so this needs Linux. CPU is user and system time of every process of the tree, all threads, dead
children too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2
"""The CPU clock of another process, as `clock_getcpuclockid` makes its number. Source: Linux, include/linux/posix-timers.h."""
ROOT = Path(__file__).parents[1]

MALLOC = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "67108864",
    "MALLOC_TOP_PAD_": "16777216",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
}
"""As in the Dockerfile; the bare proxy gets the same, so that the ratio compares proxies and not allocator settings."""


class NotReady(Exception):
    """The process ended or never answered; the text is its last output."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cores() -> tuple[int, int]:
    """Return the core for the proxies and the core for everything else; the same one where there is no second."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 % len(allowed)]


SPIN = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True:\n    pass"


@dataclass(slots=True)
class Process:
    """One started process tree."""

    popen: subprocess.Popen[bytes]
    log: Path

    def cpu_s(self) -> float:
        """Seconds of CPU so far: to the nanosecond for what runs, to a tick for children that have ended."""
        found = 0.0
        for pid in _tree(self.popen.pid):
            found += time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED) + sum(int(field) for field in _stat(pid)[13:15]) * TICK_S
        return found

    def rss_mb(self) -> float:
        total_kb = 0
        for pid in _tree(self.popen.pid):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total_kb += int(line.split()[1])
        return total_kb / 1024

    def stop(self) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


def start(command: Sequence[str], core: int | None, log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Process:
    """Start `command` on `core`, or on any; its output goes to `log`."""
    on = str(core) if core is not None else f"0-{(os.cpu_count() or 1) - 1}"
    pin = ["taskset", "-c", on] if shutil.which("taskset") else []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        popen = subprocess.Popen([*pin, *command], stdout=out, stderr=out, cwd=cwd, env={**os.environ, **MALLOC, **(env or {})})
    return Process(popen, log)


@contextlib.contextmanager
def awake(cores: Collection[int], folder: Path) -> Iterator[None]:
    """Keep `cores` from halting: on each a process spins whenever nothing else wants it, and gives way to whatever does."""
    spinning = [start([sys.executable, "-c", SPIN], core, folder / f"awake-{core}.log") for core in {*cores}]
    try:
        yield
    finally:
        for each in spinning:
            each.stop()


def wait_ready(process: Process, port: int, timeout_s: float = 30) -> None:
    """Return once something listens on `port`.

    Raises:
        NotReady: the process ended, or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise NotReady(process.tail())
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise NotReady(f"nothing listens on port {port} after {timeout_s:.0f} s\n{process.tail()}")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (the name before it may hold anything)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, ())
    return found
