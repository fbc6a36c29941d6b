"""A real Arize Phoenix for tests, in an environment of its own (scripts/tools.py installs it), on free ports and an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from serving import free_port
from simulating import ROOT, end, get

START_S = 240.0
"""Phoenix imports for half a minute on one idle core."""
WAIT_S = 60.0


def python() -> Path | str:
    """The Python that has Phoenix, or why there is none."""
    tools = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "phoenix"]
    done = subprocess.run(tools, capture_output=True, text=True, timeout=60, check=False)
    return Path(done.stdout.strip()) if done.returncode == 0 else done.stderr.strip()


class Phoenix:
    """See the module."""

    def __init__(self, program: Path) -> None:
        self._program, self._port = program, free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="fleetgate-phoenix-")
        settings = {"PORT": self._port, "GRPC_PORT": free_port(), "HOST": "127.0.0.1", "WORKING_DIR": self._folder.name}
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PHOENIX_", "COVERAGE_", "COV_"))}
        env |= {f"PHOENIX_{name}": str(value) for name, value in settings.items()} | {"PHOENIX_TELEMETRY_ENABLED": "false"}
        self._log = Path(self._folder.name, "server.log")
        with self._log.open("wb") as log:
            command = [str(self._program), "-m", "phoenix.server.main", "serve"]
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder.name)
        try:
            self._ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                code = self._process.wait(0.2)
            except subprocess.TimeoutExpired:
                code = None
            assert code is None, f"Phoenix ended with {code}: {self._log.read_text()[-3000:]}"
            try:
                if get(f"{self.url}/healthz")[0] == 200:
                    return
            except OSError:
                continue
        raise AssertionError(f"Phoenix was not ready within {START_S} s: {self._log.read_text()[-3000:]}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end(self._process)
        self._folder.cleanup()

    def ask(self, query: str) -> dict[str, Any]:
        """What its GraphQL API answers."""
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
            found: dict[str, Any] = json.load(reply)
        assert "errors" not in found, found
        data: dict[str, Any] = found["data"]
        return data

    def spans(self, project: str) -> list[dict[str, Any]]:
        """The spans of a project, from its REST API; none where it does not know the project yet."""
        try:
            status, body = get(f"{self.url}/v1/projects/{project}/spans?limit=1000")
        except urllib.error.HTTPError:
            return []
        found: list[dict[str, Any]] = json.loads(body)["data"] if status == 200 else []
        return found

    def until(self, so: Callable[[], bool]) -> None:
        """Wait until something is so: it writes what it got a moment later."""
        deadline = time.monotonic() + WAIT_S
        while not so():
            assert time.monotonic() < deadline
            try:
                self._process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
