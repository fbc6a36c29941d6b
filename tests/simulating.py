"""The simulated provider in a process of its own, and what every test process needs: asking it, and ending it.

Tests import all of this from `serving`.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
START_S = 120.0
"""How long a process may take to come up on a busy machine."""


def get(url: str, method: str = "GET", timeout_s: float = 10.0) -> tuple[int, bytes]:
    """Status and body of what a URL answers, errors included."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return int(reply.status), reply.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()


def end(process: subprocess.Popen[bytes], within_s: float = 15.0) -> int:
    """Ask `process` to end; return its exit code, or kill it and return -9."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -9


class Simulator:
    """The simulated provider in a process of its own."""

    def __init__(self, *, require_key: bool = False) -> None:
        self._require_key = require_key
        self.port = 0

    def __enter__(self) -> Self:
        code = f"from proxy.sim.provider import run; run(port=0, require_key={self._require_key})"
        self._process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out = self._process.stdout
        assert out is not None
        ready, _, _ = select.select([out], [], [], START_S)
        line = out.readline().decode() if ready else ""
        if not line:
            end(self._process)
            raise AssertionError(f"the simulator did not start: {self._errors()}")
        self.port = int(line.rsplit(":", 1)[1])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        code = end(self._process)
        errors = self._errors()
        if kind is None:
            assert (code, errors) == (0, ""), f"exit code {code}: {errors}"

    def _errors(self) -> str:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout, self._process.stderr:
            return self._process.stderr.read().decode()

    @property
    def url(self) -> str:
        """The root; OpenAI's base URL is this + `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    def calls(self, idle_s: float = 10.0) -> list[dict[str, Any]]:
        """What arrived since the last reset, once nothing is running."""
        status, body = get(f"{self.url}/sim/calls?idle_s={idle_s}", timeout_s=idle_s + 10)
        assert status == 200
        found: list[dict[str, Any]] = json.loads(body)
        return found

    def stats(self) -> dict[str, int]:
        """Counts of calls: total, running, aborted."""
        found: dict[str, int] = json.loads(get(f"{self.url}/sim/stats")[1])
        return found

    def reset(self) -> None:
        """Forget what arrived."""
        assert get(f"{self.url}/sim/reset", "POST")[0] == 200
