"""What is compared: the upstream itself, nginx where installed, the bare proxy, and Fleetgate with everything on.

A target is a name and a way to start. One that cannot start is left out with a line that says why; it never fails the others.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bodies import KEY
from benchmarks.process import NotReady, Process, free_port, start, wait_ready

NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log;
daemon off;
events {{ worker_connections 1024; }}
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


@dataclass(slots=True)
class Target:
    """One running target. `process` is None where there is nothing to measure."""

    name: str
    port: int
    process: Process | None


Start = Callable[[int, int, Path], Target]
"""Upstream port, core, folder for its files: the target, listening."""


def nginx(upstream: int, core: int, folder: Path) -> Target:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise NotReady("nginx is not installed")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
    return _started("nginx", port, start([binary, "-p", str(folder), "-c", str(config)], core, folder / "nginx.log"))


def bare(upstream: int, core: int, folder: Path) -> Target:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", str(port), str(upstream)]
    return _started("bare", port, start(command, core, folder / "bare.log"))


def fleetgate(upstream: int, core: int, folder: Path) -> Target:
    return _fleetgate("fleetgate", "sqlite:bench.db", upstream, core, folder)


def in_memory(upstream: int, core: int, folder: Path) -> Target:
    """The same with counters and ledger in memory: what the store on disk costs is the difference."""
    return _fleetgate("fleetgate (memory:)", "memory:", upstream, core, folder)


def _fleetgate(name: str, store: str, upstream: int, core: int, folder: Path) -> Target:
    home = folder / f"fleet-{store.partition(':')[0]}"
    (home / "budgets").mkdir(parents=True)
    port, admin = free_port(), free_port()
    (home / "fleetgate.yaml").write_text(FLEETGATE.format(port=port, admin=admin, upstream=upstream, store=store))
    (home / "AGENTS.md").write_text(AGENTS)
    (home / "budgets" / "bench.yaml").write_text(BUDGETS)
    key = {"agent": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    (home / "keys.yaml").write_text(json.dumps({"keys": [key]}))
    command = [sys.executable, "-m", "proxy", "serve", "--config", str(home / "fleetgate.yaml")]
    env = {"BENCH_PROVIDER_KEY": "stub-provider-key"}
    return _started(name, port, start(command, core, home / "serve.log", env))


def _started(name: str, port: int, process: Process) -> Target:
    try:
        wait_ready(process, port)
    except NotReady:
        process.stop()
        raise
    return Target(name, port, process)


PROXIES: dict[str, Start] = {"nginx": nginx, "bare": bare, "fleetgate": fleetgate, "memory": in_memory}
