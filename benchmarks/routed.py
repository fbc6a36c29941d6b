"""How much of a fleet's traffic the simple model takes: `python -m benchmarks.routed [--rounds N]`.

A fleet of agents (classifiers, extractors, formatters, answerers, a coder with tools) asks a real proxy in front of the simulated provider,
once with routing off and once with it on. A task fails when any of its turns is not answered: another status than 200, an empty answer, or
no tool call where the task needs one. Printed: the share of calls that were moved, the share of dollars that they would have cost, and
the tasks that failed. The simulated provider answers anything, so this measures the decisions and the plumbing, not the quality of answers.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import sqlite3
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import Process, cores, free_port, start, wait_ready

KEY = "fg-bench-routing-0123456789abcdef0123456789abcdef"
AGENTS = """---
agents:
{agents}
---
"""
AGENT = '  - {{name: {name}, description: Plays, policy: {{models: {{allow: ["*"]}}, routing: {{local_ok: {local}}}}}}}'
CONFIG = """listen: {{host: 127.0.0.1, port: {port}, admin_host: 127.0.0.1, admin_port: {admin}}}
agents: [AGENTS.md]
auth: {{mode: keys, keys: keys.yaml}}
providers:
  openai: {{protocols: [openai], base_url: "http://127.0.0.1:{sim}/v1", api_key: "env:BENCH_PROVIDER_KEY"}}
  local:  {{protocols: [openai], base_url: "http://127.0.0.1:{sim}/v1", local: true}}
models:
  local/qwen3: {{provider: local, upstream_model: "qwen3:8b", price: {{input: 0, output: 0}}, context: 32768, tools: false}}
  gpt-4o:      {{provider: openai, price: {{input: 2.50, output: 10.00, cache_read: 1.25}}}}
routing: {{simple_to: local/qwen3, threshold: 0.35, mode: {mode}}}
store: "sqlite:fleetgate.db"
"""

MAILS = (
    "My parcel never came, I want my money back.",
    "Thank you, the new app is great!",
    "Where do I change the address on my invoice?",
    "The screen of the phone that I bought in May is broken, please tell me what to do about it.",
)
RECORDS = ("Jane Doe, 12 Main St, Springfield, born 1980-02-03", "Order 4711 of 2026-03-01: 3 lamps, 2 tables, total 412.50 EUR")
QUESTIONS = ("What is the capital of Portugal?", "How do I say good morning in Spanish?", "Which year did the Berlin wall fall?")
HARD = (
    "Design a lock-free queue for several producers and one consumer, prove that it is linearizable, and compare it with a ring buffer.",
    "Analyse why this query deadlocks under serializable isolation, derive the order of locks, and justify which index would prevent it.",
)
CODE = (
    "Fix the failing test in src/parser.py: the tokenizer drops the last token when the input ends without a newline. Use read_file first.",
    "Refactor the retry logic of the client so that it backs off with jitter, and debug why the second attempt hangs. Use read_file first.",
)
READ = {
    "type": "function",
    "function": {
        "name": "read_file",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}


@dataclass
class Tally:
    """What one play came to."""

    tasks: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """One task: who asks, how the request begins, how long the answer is, which hint it sends, and whether it works with tools."""

    agent: str
    messages: tuple[dict[str, Any], ...]
    tokens: int
    hint: str = ""
    tools: bool = False


def system(words: str, text: str) -> tuple[dict[str, Any], ...]:
    return ({"role": "system", "content": words}, {"role": "user", "content": text})


def tasks() -> list[Task]:
    """Return one round of the fleet's day."""
    found = [
        Task("classifier", system("You sort mail.", f"Classify as refund, praise or question: {mail}"), 8, "classification")
        for mail in MAILS
    ]
    found += [Task("validator", system("You check data.", f"Is this a complete address? Answer yes or no: {r}"), 8) for r in RECORDS]
    found += [
        Task("extractor", system("You extract data.", f"Extract name, date and total as JSON: {r}"), 90, "extraction") for r in RECORDS
    ]
    found += [Task("formatter", system("You format.", f"Format as a Markdown table:\n{r}\n{r}"), 120) for r in RECORDS]
    found += [Task("writer", system("You summarize.", f"Summarize in two sentences: {' '.join(MAILS)}"), 120, "summary")]
    found += [Task("answerer", system("You answer.", question), 60) for question in QUESTIONS]
    found += [Task("architect", system("You are a senior engineer.", text), 350, "reasoning") for text in HARD]
    return found + [Task("coder", system("You write code.", text), 200, tools=True) for text in CODE]


class Fleet:
    """A simulated provider and a proxy in processes of their own, below `folder`."""

    def __init__(self, folder: Path, mode: str) -> None:
        self._folder, self._mode = folder, mode
        self._running: list[Process] = []
        self.port = free_port()

    def __enter__(self) -> Fleet:
        sim = free_port()
        names = sorted({task.agent for task in tasks()})
        agents = "\n".join(AGENT.format(name=name, local=str(name != "architect").lower()) for name in names)
        self._folder.mkdir()
        files = {
            "fleetgate.yaml": CONFIG.format(port=self.port, admin=free_port(), sim=sim, mode=self._mode),
            "AGENTS.md": AGENTS.format(agents=agents),
            "keys.yaml": json.dumps({"keys": [{"agent": "*", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}),
        }
        for name, text in files.items():
            (self._folder / name).write_text(text)
        core = cores()[1]
        for name, command, port in (
            ("sim", ["sim", "--port", str(sim)], sim),
            ("serve", ["serve", "--config", str(self._folder / "fleetgate.yaml")], self.port),
        ):
            process = start([sys.executable, "-m", "proxy", *command], core, self._folder / f"{name}.log", {"BENCH_PROVIDER_KEY": "stub"})
            self._running.append(process)
            wait_ready(process, port)
        return self

    def __exit__(self, *error: object) -> None:
        for process in reversed(self._running):
            process.stop()

    def moved(self) -> tuple[int, int, int, int]:
        """Return calls, calls moved, nanos charged, nanos saved, from the ledger; the proxy has stopped."""
        with sqlite3.connect(self._folder / "fleetgate.db") as db:
            row = db.execute(
                "SELECT count(*), sum(route = 'local'), sum(cost), sum(saved) FROM records WHERE operation = 'chat'"
            ).fetchone()
        return int(row[0]), int(row[1] or 0), int(row[2] or 0), int(row[3] or 0)


def ask(port: int, task: Task, messages: list[dict[str, Any]], session: str) -> tuple[int, dict[str, Any]]:
    """Return status and message of one turn."""
    headers = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "x-fleetgate-agent": task.agent,
        "x-fleetgate-session": session,
        **({"x-fleetgate-task": task.hint} if task.hint else {}),
        **({} if task.tools else {"x-sim-script": json.dumps({"tokens": task.tokens})}),
    }
    body = {"model": "gpt-4o", "max_tokens": 500, "messages": messages, **({"tools": [READ]} if task.tools else {})}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
        reply = connection.getresponse()
        value = json.loads(reply.read())
        return reply.status, (value.get("choices") or [{}])[0].get("message", {})
    finally:
        connection.close()


def play(port: int, rounds: int) -> Tally:
    """Play the fleet's day `rounds` times."""
    tally = Tally()
    for number in range(rounds):
        for at, task in enumerate(tasks()):
            tally.tasks += 1
            problem = _done(port, task, f"{task.agent}-{number}-{at}")
            if problem:
                tally.failed.append(f"{task.agent}: {problem}")
    return tally


def _done(port: int, task: Task, session: str) -> str:
    """Do one task to its end; return what went wrong."""
    messages = list(task.messages)
    status, message = ask(port, task, messages, session)
    if status != 200:
        return f"status {status}"
    if not task.tools:
        return "" if message.get("content") else "an empty answer"
    calls = message.get("tool_calls")
    if not calls:
        return "no tool call"
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "def parse(text): ...\n" * 20} for call in calls]
    status, message = ask(port, task, [*messages, message, *results], session)
    return "" if status == 200 and message.get("content") else f"status {status} after the tool"


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.routed")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for mode in ("off", "enforce"):
            with Fleet(Path(folder) / mode, mode) as fleet:
                tally = play(fleet.port, rounds)
            found[mode] = (tally, fleet.moved())
    _, (_, _, before, _) = found["off"]
    tally, (calls, moved, charged, saved) = found["enforce"]
    print(f"calls    {calls}, {moved} moved: {moved / calls:.1%}")
    less = 1 - charged / before
    print(f"dollars  {before / 1e9:.4f} without routing, {charged / 1e9:.4f} with: {less:.1%} less; the ledger: {saved / 1e9:.4f} saved")
    print(f"tasks    {tally.tasks}, {len(tally.failed)} failed; without routing {len(found['off'][0].failed)}")
    for problem in dict.fromkeys(tally.failed):
        print(f"         {problem}")
    return 1 if tally.failed or moved < 0.3 * calls or less < 0.2 else 0


if __name__ == "__main__":
    sys.exit(main())
