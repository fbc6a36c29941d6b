"""A real OPA for tests, where one is here: `scripts/tools.py` says where."""

from __future__ import annotations

import subprocess
import sys
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
    """`opa run --server --bundle FOLDER` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        command = [opa_bin(), "run", "--server", "--log-level=error", f"--addr=127.0.0.1:{self.port}", "--disable-telemetry"]
        self._process = subprocess.Popen([*command, "--bundle", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
            else:
                assert self._process.stderr is not None
                raise AssertionError(self._process.stderr.read().decode())
            try:
                if get(f"{self.url}/health")[0] == 200:
                    return self
            except OSError:
                continue
        raise AssertionError("OPA was not ready in time")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end(self._process)
        if self._process.stderr is not None:
            self._process.stderr.close()
