"""Real processes for tests: the simulated provider, and Fleetgate in front of it.

    with Simulator() as sim, Proxy(sim, agents=AGENTS_MD) as proxy:
        ...  # proxy.url, proxy.key(), proxy.records(), sim.calls()

Both are subprocesses. Readiness is asked for, never slept for; a process that does not come up fails with its log. On the way out the
proxy must end by itself on SIGTERM, with exit code 0 and no traceback in its log, or the test fails.
Children measure coverage when COVERAGE_PROCESS_START is set (coverage installs the hook that reads it).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from raw import Raw as Raw
from raw import events as events
from raw import post as post
from simulating import ROOT as ROOT
from simulating import START_S, end, get
from simulating import Simulator as Simulator

PROVIDER_KEY = "sk-provider-key-that-no-client-may-see"
"""What the proxy holds for its providers; the simulator's record of keys shows its digest."""

AGENTS = """---
name: tester
description: May do everything
policy:
  models: {allow: ["*"]}
  tools: {allow: ["*"]}
---
Does what tests ask.
"""


def digest(key: str) -> str:
    """The SHA-256 of a key, as key files and `/sim/calls` write it."""
    return hashlib.sha256(key.encode()).hexdigest()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on top, section by section; a value of None takes a key away."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


@dataclass(slots=True)
class Files:
    """The folder of one proxy: what goes where. Text is written as it is, mappings as YAML."""

    agents: str = AGENTS
    budgets: Any = None
    policies: Mapping[str, Any] | None = None
    more: Mapping[str, str] | None = None


class Proxy:
    """Fleetgate in a process of its own, in front of `sim`.

    Args:
        sim: the upstream of every provider (`openai`, `anthropic`, `ollama`, `local`).
        sim: the upstream of every provider (`openai`, `anthropic`, `gemini`, `local`).
        agents: the text of AGENTS.md.
        budgets: content of budgets/test.yaml, text or data.
        policies: file name to content, text or data, below policies/.
        settings: laid over the default fleetgate.yaml; a None takes a key away. By default nothing is sent again and no provider is left
            alone, so that a test sees each attempt that it scripted.
        keys: agent patterns that get a key each; `key(pattern)` returns it.
        env: more environment variables.
    """

    def __init__(
        self,
        sim: Simulator,
        *,
        agents: str = AGENTS,
        budgets: Any = None,
        policies: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        keys: tuple[str, ...] = ("tester",),
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self._files = Files(agents, budgets, policies, files)
        self._env = dict(env or {})
        self._keys = {pattern: f"fg_{secrets.token_hex(20)}" for pattern in keys}
        self.port, self.admin_port = free_port(), free_port()
        self.folder = Path()
        self._settings = _merge(self._defaults(sim), settings or {})
        self.exit_code: int | None = None
        self.awaited = "/readyz"
        self.program: tuple[str, ...] = ("-m", "proxy")

    def _defaults(self, sim: Simulator) -> dict[str, Any]:
        key = {"api_key": "env:SIM_PROVIDER_KEY", "retries": 0}
        return {
            "listen": {"host": "127.0.0.1", "port": self.port, "admin_host": "127.0.0.1", "admin_port": self.admin_port},
            "agents": ["AGENTS.md"],
            "policies": "policies/",
            "budgets": "budgets/",
            "auth": {"mode": "keys", "keys": "keys.yaml"},
            "providers": {
                "openai": {"protocols": ["openai"], "base_url": f"{sim.url}/v1", **key},
                "anthropic": {"protocols": ["anthropic"], "base_url": sim.url, **key},
                "ollama": {"protocols": ["ollama"], "base_url": sim.url, **key, "local": True},
                "gemini": {"protocols": ["gemini"], "base_url": sim.url, **key},
                "local": {"protocols": ["openai"], "base_url": f"{sim.url}/v1", "local": True, "retries": 0},
            },
            "models": {
                "local/qwen3": {"provider": "local", "upstream_model": "qwen3:8b", "price": {"input": 0, "output": 0}},
                "gpt-*": {"provider": "openai"},
                "text-embedding-*": {"provider": "openai", "price": {"input": 0.02, "output": 0}},
                "claude-*": {"provider": "anthropic"},
                "qwen*": {"provider": "ollama"},
                "gemini-*": {"provider": "gemini"},
            },
            "upstream": {"breaker": {"failures": 0}},
            "store": "sqlite:fleetgate.db",
        }

    # --- life ------------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="fleetgate-test-"))
        self._write()
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def start(self) -> None:
        """Start the server on its folder, at first or again, and wait until it is ready. Its log goes on where it was."""
        command = [sys.executable, *self.program, "serve", "--config", str(self.config)]
        with self.folder.joinpath("server.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=log, stderr=subprocess.STDOUT)
        self.exit_code = None
        try:
            self._wait_ready()
        except BaseException:
            end(self._process)
            raise

    def signal(self, number: int) -> None:
        """Send the server a signal."""
        self._process.send_signal(number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        code = self.stop()
        log = self.log()
        self._close()
        if kind is None:
            assert code == 0, f"exit code {code}; log:\n{log[-4000:]}"
            assert "Traceback" not in log, log[max(0, log.find("Traceback") - 300) :][:3000]

    def stop(self) -> int:
        """End the server with SIGTERM; return its exit code. Records stay readable until the context ends."""
        self.exit_code = end(self._process)
        return self.exit_code

    def ended(self, within_s: float = 15.0) -> int:
        """Wait until the server ends by itself; return its exit code."""
        self.exit_code = self._process.wait(within_s)
        return self.exit_code

    def _close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        def put(name: str, content: Any) -> None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

        for name in ("policies", "budgets"):
            (self.folder / name).mkdir()
        put("AGENTS.md", self._files.agents)
        put("keys.yaml", {"keys": [{"agent": pattern, "sha256": digest(key)} for pattern, key in self._keys.items()]})
        if self._files.budgets is not None:
            put("budgets/test.yaml", self._files.budgets)
        for name, content in (self._files.policies or {}).items():
            put(f"policies/{name}", content)
        for name, content in (self._files.more or {}).items():
            put(name, content)
        put("fleetgate.yaml", self._settings)

    def environment(self) -> dict[str, str]:
        """What its processes see: our own environment without what would change them. `TEST_TRANSPORT` names their HTTP client."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("FLEETGATE_") and not k.lower().endswith("_proxy")}
        chosen = {"FLEETGATE_UPSTREAM_TRANSPORT": os.environ["TEST_TRANSPORT"]} if "TEST_TRANSPORT" in os.environ else {}
        return {**kept, **chosen, "SIM_PROVIDER_KEY": PROVIDER_KEY, **self._env}

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            code = None
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(0.05)
            if code is not None:
                raise AssertionError(f"the proxy ended with {code} at start:\n{self.log()[-4000:]}")
            with contextlib.suppress(OSError):
                if get(f"{self.admin_url}{self.awaited}")[0] == 200:
                    return
        raise AssertionError(f"the proxy was not ready within {START_S} s:\n{self.log()[-4000:]}")

    # --- what tests look at ----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The data plane's root; OpenAI's base URL is this + `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """The admin plane's root."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def config(self) -> Path:
        """The path of fleetgate.yaml."""
        return self.folder / "fleetgate.yaml"

    def key(self, pattern: str = "") -> str:
        """The key of an agent pattern; of the first one when none is named."""
        return self._keys[pattern] if pattern else next(iter(self._keys.values()))

    def log(self) -> str:
        """What the server wrote so far."""
        return self.folder.joinpath("server.log").read_text(encoding="utf-8", errors="replace")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `fleetgate ARGUMENTS --config FILE` and return what came of it."""
        command = [sys.executable, "-m", "proxy", *arguments, "--config", str(self.config)]
        return subprocess.run(command, cwd=ROOT, env=self.environment(), capture_output=True, text=True, timeout=60, check=False)

    def ledger(self, *arguments: str) -> list[dict[str, Any]]:
        """The rows of `fleetgate ledger --json`."""
        done = self.command("ledger", "--json", "--limit", "10000", *arguments)
        assert done.returncode == 0, done.stderr
        return rows(done.stdout)

    def record(self, request_id: str) -> dict[str, Any]:
        """The record of one exchange, from the admin plane, once it is there."""
        deadline = time.monotonic() + 20
        while True:
            status, body = get(f"{self.admin_url}/api/v1/decisions/{request_id}")
            if status == 200:
                found: dict[str, Any] = json.loads(body)["exchange"]
                return found
            assert status == 404, body
            assert time.monotonic() < deadline, f"no record {request_id}"

    def records(self, at_least: int = 0) -> list[dict[str, Any]]:
        """The ledger's records, oldest first, once there are `at_least` so many (they are written a moment after the reply)."""
        deadline = time.monotonic() + 20
        while True:
            found = sorted(self.ledger(), key=lambda r: str(r["id"]))
            if len(found) >= at_least or time.monotonic() > deadline:
                assert len(found) >= at_least, f"{len(found)} records, not {at_least}"
                return found


def rows(text: str) -> list[dict[str, Any]]:
    """Rows of JSON output: one array, or one object a line."""
    text = text.strip()
    found: list[dict[str, Any]] = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return found
