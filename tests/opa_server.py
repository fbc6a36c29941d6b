"""A real OPA for tests, where one is here: `scripts/tools.py` says where."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from serving import free_port
from simulating import ROOT, START_S, end, get


@cache
def _asked() -> tuple[str, str]:
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "opa"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


def opa_bin() -> str:
    """The path of OPA; skips the test where there is none."""
    path, why = _asked()
    if not path:
        pytest.skip(why)
    return path


needs_opa = pytest.mark.skipif(not _asked()[0], reason=_asked()[1] or "no OPA")


class Opa:
    """`opa run --server --bundle FOLDER` in a process of its own; `more` arguments may stand in place of the bundle.

    It keeps its port over `kill` and `start`. `ready=False` does not wait for it.
    """

    def __init__(self, folder: Path, *more: str, ready: bool = True) -> None:
        self._what, self.port, self._ready = more or ("--bundle", str(folder)), free_port(), ready
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            end(self._process)
            self._log.close()
            raise
        return self

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [opa_bin(), "run", "--server", "--log-level=error", f"--addr=127.0.0.1:{self.port}", "--skip-version-check"]
        self._process = subprocess.Popen([*command, *self._what], stdout=self._log, stderr=subprocess.STDOUT)
        if self._ready:
            self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
            else:
                raise AssertionError(self.log())
            try:
                if get(f"{self.url}/health")[0] == 200:
                    return
            except OSError:
                continue
        raise AssertionError("OPA was not ready in time")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGCONT)
        end(self._process)
        self._log.close()

    def log(self) -> str:
        """What it wrote."""
        self._log.seek(0)
        return self._log.read().decode()
