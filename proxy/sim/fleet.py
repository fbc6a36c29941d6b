"""The demo's fleet: a simulated provider and a real proxy in processes of their own, and agents that ask over real HTTP.

Everything lives in a temporary folder and ends with the context: the configuration, the keys (made for this run), the ledger, the two
processes. What goes wrong is a `DemoError`; `log_tail` then says what the server wrote last.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_S = 30.0

AGENTS_MD = """---
agents:
  - name: report-writer
    description: Writes the weekly report
    policy:
      owner: {team: office}
      models: {allow: [gpt-4o, gpt-4o-mini]}
  - name: support-bot
    description: Answers short questions of customers
    policy:
      owner: {team: support}
      models: {allow: [gpt-4o-mini, "local/*"]}
      routing: {local_ok: true}
  - name: log-watcher
    description: Reads logs, changes nothing
    policy:
      owner: {team: ops}
      models: {allow: [gpt-4o-mini]}
      tools: {allow: ["read_*"]}
      loops: {identical: {warn: 3, block: 5}, on_detect: [warn, block]}
  - name: data-miner
    description: Digs through documents
    policy:
      owner: {team: ops}
      models: {allow: [gpt-4o]}
---
# The fleet of the demo
Four agents, each with its own rules. Fleetgate reads them from this file.
"""

BUDGETS = """budgets:
  - name: miner-day
    scope: {agent: data-miner}
    limit: {usd: 0.02}
    window: day
  - name: fleet-month
    scope: {fleet: "*"}
    limit: {usd: 100}
    window: month
"""

SETTINGS = """listen: {{host: 127.0.0.1, port: {port}, admin_host: 127.0.0.1, admin_port: {admin_port}}}
agents: [AGENTS.md]
budgets: budgets/
auth: {{mode: keys, keys: keys.yaml}}
providers:
  openai: {{protocols: [openai], base_url: "http://127.0.0.1:{sim_port}/v1", api_key: "env:DEMO_PROVIDER_KEY"}}
  local:  {{protocols: [openai], base_url: "http://127.0.0.1:{sim_port}/v1", local: true}}
models:
  local/qwen3: {{provider: local, upstream_model: "qwen3:8b", price: {{input: 0, output: 0}}}}
  gpt-4o-mini: {{provider: openai, price: {{input: 0.15, output: 0.60}}}}
  gpt-4o:      {{provider: openai, price: {{input: 2.50, output: 10.00}}}}
routing: {{simple_to: local/qwen3, threshold: 0.35, mode: enforce}}
store: "sqlite:fleetgate.db"
"""

AGENTS = ("report-writer", "support-bot", "log-watcher", "data-miner")


class DemoError(Exception):
    """The demo cannot go on: a process did not start, or the proxy did not answer as it must."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What an agent heard: the status, the headers in lower case, the JSON body (buffered), the text (streamed or not)."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def message(self) -> str:
        """The error message, if this is one."""
        error = self.body.get("error")
        return str(error.get("message", "")) if isinstance(error, dict) else ""

    @property
    def decision(self) -> dict[str, Any]:
        """The machine-readable part of a refusal."""
        found = self.body.get("fleetgate")
        return found if isinstance(found, dict) else {}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


class Fleet:
    """The running demo. Use it as a context."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fleetgate-demo-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._keys = {agent: f"fg-{agent}-{secrets.token_hex(16)}" for agent in AGENTS}
        self._port = self._admin_port = 0
        self._last_words = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _start(self) -> None:
        self._port, self._admin_port = _free_ports(2)
        sim_port = self._start_simulator()
        names = {"port": self._port, "admin_port": self._admin_port, "sim_port": sim_port}
        hashes = [{"agent": agent, "sha256": hashlib.sha256(key.encode()).hexdigest()} for agent, key in self._keys.items()]
        (self._folder / "budgets").mkdir()
        for name, text in {
            "fleetgate.yaml": SETTINGS.format(**names),
            "AGENTS.md": AGENTS_MD,
            "budgets/fleet.yaml": BUDGETS,
            "keys.yaml": json.dumps({"keys": hashes}),
        }.items():
            (self._folder / name).write_text(text, encoding="utf-8")
        with (self._folder / "server.log").open("wb") as log:
            self._spawn(["serve", "--config", self.config], stdout=log, stderr=subprocess.STDOUT)
        self._wait_ready()

    def _start_simulator(self) -> int:
        with (self._folder / "sim.log").open("wb") as log:
            process = self._spawn(["sim", "--port", "0"], stdout=subprocess.PIPE, stderr=log)
        out = process.stdout
        ready = out is not None and bool(select.select([out], [], [], START_S)[0])
        line = out.readline().decode() if out is not None and ready else ""
        if not line.strip():
            raise DemoError("the simulated provider did not start")
        return int(line.rsplit(":", 1)[1])

    def _spawn(self, arguments: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the others in order.
        command = [sys.executable, "-m", "proxy", *arguments]
        process: subprocess.Popen[bytes] = subprocess.Popen(command, env=_environment(), start_new_session=True, **streams)  # noqa: S603
        self._processes.append(process)
        return process

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._processes[-1].poll() is not None:
                raise DemoError("the proxy ended while it was starting")
            try:
                if self._get_ready() == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise DemoError(f"the proxy was not ready within {START_S:g} s")

    def _get_ready(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        finally:
            connection.close()

    def _close(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._last_words = self.log_tail()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- what scenes use -------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> str:
        """The path of the configuration."""
        return str(self._folder / "fleetgate.yaml")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the proxy's log, or of the simulator's if the proxy wrote none."""
        for name in ("server.log", "sim.log"):
            path = self._folder / name
            found = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
            if found:
                return "\n".join(found[-lines:])
        return self._last_words or "(the log is empty)"

    def ask(self, agent: str, body: dict[str, Any], on_text: Callable[[str], None] | None = None) -> Heard:
        """Have `agent` send a chat request; `on_text` gets the pieces of a stream as they come.

        Raises:
            DemoError: the proxy closed the connection or sent something that is not HTTP.
        """
        headers = {
            "authorization": f"Bearer {self._keys[agent]}",
            "content-type": "application/json",
            "x-fleetgate-session": f"demo-{agent}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
            reply = connection.getresponse()
            found = {k.lower(): v for k, v in reply.getheaders()}
            if "event-stream" in found.get("content-type", ""):
                return Heard(reply.status, found, text=_read_stream(reply, on_text))
            return _heard(reply.status, found, reply.read())
        except (OSError, http.client.HTTPException) as e:
            raise DemoError(f"the proxy broke off: {type(e).__name__}") from None
        finally:
            connection.close()

    def bill(self) -> list[dict[str, Any]]:
        """The ledger by agent, from the command that an operator uses.

        Raises:
            DemoError: the command failed.
        """
        command = [sys.executable, "-m", "proxy", "ledger", "--config", self.config, "--json", "--by", "agent"]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
        if done.returncode != 0:
            raise DemoError(f"fleetgate ledger ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FLEETGATE_")}
    return {**kept, "DEMO_PROVIDER_KEY": "sk-demo-not-a-real-key"}


def _heard(status: int, headers: dict[str, str], body: bytes) -> Heard:
    try:
        value = json.loads(body)
    except ValueError:
        value = {}
    value = value if isinstance(value, dict) else {}
    choices = value.get("choices") or [{}]
    return Heard(status, headers, value, str((choices[0].get("message") or {}).get("content") or ""))


def _read_stream(reply: http.client.HTTPResponse, on_text: Callable[[str], None] | None) -> str:
    pieces: list[str] = []
    for line in reply:
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line[6:]).get("choices", ()):
            piece = choice.get("delta", {}).get("content")
            if piece:
                pieces.append(piece)
                if on_text is not None:
                    on_text(piece)
    return "".join(pieces)
