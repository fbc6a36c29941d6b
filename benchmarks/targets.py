"""What is compared: the upstream itself, nginx where installed, the bare proxy, and Fleetgate with everything on.

A target is a name and a way to start. One that cannot start is left out with a line that says why; it never fails the others.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bodies import KEY
from benchmarks.process import NotReady, Process, free_port, start, wait_ready

NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log;
daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 10000000;
  upstream stub {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ proxy_pass http://stub; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""

FLEETGATE = """
listen: {{host: 127.0.0.1, port: {port}, admin_host: 127.0.0.1, admin_port: {admin}}}
agents: [AGENTS.md]
budgets: budgets/
auth: {{mode: keys, keys: keys.yaml}}
providers:
  openai:    {{protocols: [openai], base_url: "http://127.0.0.1:{upstream}/v1", api_key: env:BENCH_PROVIDER_KEY}}
  anthropic: {{protocols: [anthropic], base_url: "http://127.0.0.1:{upstream}", api_key: env:BENCH_PROVIDER_KEY}}
  gemini:    {{protocols: [gemini], base_url: "http://127.0.0.1:{upstream}", api_key: env:BENCH_PROVIDER_KEY}}
  ollama:    {{protocols: [ollama], base_url: "http://127.0.0.1:{upstream}", local: true}}
models:
  "gpt-*":    {{provider: openai}}
  "claude-*": {{provider: anthropic}}
  "gemini-*": {{provider: gemini}}
  "qwen*":    {{provider: ollama, price: {{input: 1, output: 2}}}}
store: "{store}"
limits: {{connections: 10000}}
"""

AGENTS = """---
name: bench
description: The agent that the benchmark plays
version: 1.0.0
policy:
  models: {allow: ["gpt-*", "claude-*", "gemini-*", "qwen*"], deny: ["gpt-3*"]}
  tools: {allow: ["tool_*"], deny: ["delete_*"]}
  budgets:
    request: {max_input_tokens: 900000, max_output_tokens: 4000}
    session: {tokens: 900000000000, usd: 900000}
    day: {tokens: 900000000000, usd: 900000}
---
Sort invoices.
"""

BUDGETS = """budgets:
  - {name: fleet-month, scope: {fleet: "*"}, limit: {usd: 9000000}, window: month}
  - {name: agent-day, scope: {agent: "*"}, limit: {usd: 900000, tokens: 900000000000}, window: day}
"""


START_S = 120.0
"""How long a target may take to come up: one with thousands of agents reads them first."""


@dataclass(slots=True)
class Target:
    """One running target. `process` is None where there is nothing to measure; `headers` are lines that its requests need beside ours."""

    name: str
    port: int
    process: Process | None
    headers: bytes = b""


Start = Callable[[int, int, Path], Target]
"""Upstream port, core, folder for its files: the target, listening."""


def nginx(upstream: int, core: int, folder: Path) -> Target:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise NotReady("nginx is not installed")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
    return started("nginx", port, start([binary, "-p", str(folder), "-c", str(config)], core, folder / "nginx.log"))


def bare(upstream: int, core: int, folder: Path) -> Target:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", str(port), str(upstream)]
    return started("bare", port, start(command, core, folder / "bare.log"))


@dataclass(frozen=True, slots=True)
class Fleet:
    """One way to run Fleetgate: its files, and what is laid over its configuration.

    Attributes:
        store: the store's URL; a file's path is relative to the folder of the target.
        agents, budgets: the text of AGENTS.md and of a file of budgets. None: no budgets.
        more: more lines of fleetgate.yaml; `{upstream}` is the stub's port.
        policies: files whose copies it has as policies.
        files: more files, by their path.
        env: variables of its environment.
    """

    name: str
    store: str = "sqlite:bench.db"
    agents: str = AGENTS
    budgets: str | None = BUDGETS
    more: str = ""
    policies: tuple[Path, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    pinned: bool = True

    def __call__(self, upstream: int, core: int, folder: Path) -> Target:
        """Write the files into `folder` and start it: see `Start`."""
        port, admin = free_port(), free_port()
        config = FLEETGATE.format(port=port, admin=admin, upstream=upstream, store=self.store) + self.more.format(upstream=upstream)
        key = {"agent": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
        texts = {"fleetgate.yaml": config, "AGENTS.md": self.agents, "keys.yaml": json.dumps({"keys": [key]}), **self.files}
        if self.budgets is not None:
            texts["budgets/bench.yaml"] = self.budgets
        for name in ("budgets", "policies"):
            (folder / name).mkdir(parents=True)
        for name, text in texts.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        for policy in self.policies:
            (folder / "policies" / policy.name).write_bytes(policy.read_bytes())
        command = [sys.executable, "-m", "proxy", "serve", "--log-level", "warning", "--config", str(folder / "fleetgate.yaml")]
        env = {"BENCH_PROVIDER_KEY": "stub-provider-key", **self.env}
        return started(self.name, port, start(command, core if self.pinned else None, folder / "serve.log", env))


FLEETGATE_FILE = Fleet("fleetgate")
FLEETGATE_MEMORY = Fleet("fleetgate (memory:)", store="memory:")
"""The same with counters and ledger in memory: what the store on disk costs is the difference."""


def started(name: str, port: int, process: Process) -> Target:
    """Return the target once it listens. Raises NotReady."""
    try:
        wait_ready(process, port, START_S)
    except NotReady:
        process.stop()
        raise
    return Target(name, port, process)


PROXIES: dict[str, Start] = {"nginx": nginx, "bare": bare, "fleetgate": FLEETGATE_FILE, "memory": FLEETGATE_MEMORY}
