"""A day of a fleet for the dashboard's pictures: real calls through a real proxy and the simulated provider, whose hours pass in seconds.

The proxy runs with a clock that is as far behind as a file says (`python picture_fleet.py serve …` is that proxy). So every number on the
pages comes from calls that were admitted, routed, charged and recorded, and none is painted. Names, prices and sums are made up; the same
seed draws the same fleet.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from raw import Raw, post  # noqa: E402
from serving import Proxy, Simulator  # noqa: E402

from proxy.app import house  # noqa: E402
from proxy.cli import main as cli  # noqa: E402

TOKEN = "the-admin-token-of-a-picture"  # noqa: S105 - of a proxy that lives for a minute on loopback
BEHIND = "FLEETGATE_PICTURE_BEHIND"
HOURS = 23
AFTERNOON_S = 16 * 3600 + 2400.0
"""The pictures are of yesterday, 16:40 UTC: at any hour of ours the day has then gone as far."""
WORKERS = 24

ROLES = {
    "payments": ("invoice-triage", "refund-checker", "ledger-matcher", "fraud-scout", "dunning-writer"),
    "support": ("ticket-router", "reply-drafter", "faq-keeper", "mood-reader", "escalation-writer"),
    "research": ("paper-scout", "trend-reader", "source-checker", "summariser", "citation-keeper"),
    "platform": ("code-reviewer", "release-notes", "test-writer", "dependency-watch", "migration-planner"),
    "ops": ("log-watcher", "alert-triage", "runbook-writer", "capacity-planner", "postmortem-drafter"),
}
DAY_USD = {
    "code-reviewer": 2.5,
    "paper-scout": 7,
    "log-watcher": 8,
    "refund-checker": 1.8,
    "trend-reader": 2.6,
    "ticket-router": 3.9,
    "invoice-triage": 6,
}
MODELS = ("claude-sonnet-4-5", "gpt-5-mini", "claude-opus-4-1", "gpt-5", "gemini-2.5-pro")
VOCABULARY = "invoice amount due supplier account line item total tax date order number credit note terms net days paid open".split()

BUDGETS = {
    "budgets": [
        {"name": "fleet-month", "scope": {"fleet": "*"}, "limit": {"usd": 250}, "window": "month", "warn_at": [0.5, 0.8]},
        {"name": "team-day", "scope": {"team": "*"}, "limit": {"usd": 12}, "window": "day"},
        {"name": "research-week", "scope": {"team": "research"}, "limit": {"usd": 40}, "window": "week"},
        {"name": "tokens-day", "scope": {"fleet": "*"}, "limit": {"tokens": 4_000_000}, "window": "day"},
    ]
}
RULES = """rules:
  - id: mail-leaves
    when: {tool: send_email}
    action: require_approval
    message: Mail leaves the house, so a person reads it first
  - id: no-deletes
    when: {tool: "delete_*"}
    action: deny
    message: Agents archive, they do not delete
  - id: customer-numbers
    when: {direction: request}
    match: {contains: customer number}
    action: deny
    mode: shadow
    message: Customer numbers stay in the house
"""
SETTINGS = {
    "models": {
        "local/qwen3": {"provider": "local", "upstream_model": "qwen3:8b", "price": {"input": 0, "output": 0}},
        "gpt-5-mini": {"provider": "openai", "price": {"input": 2, "output": 16}},
        "gpt-*": {"provider": "openai", "price": {"input": 10, "output": 80}},
        "claude-opus-*": {"provider": "anthropic", "price": {"input": 60, "output": 300}},
        "claude-*": {"provider": "anthropic", "price": {"input": 24, "output": 120}},
        "gemini-*": {"provider": "gemini", "price": {"input": 10, "output": 80}},
    },
    "routing": {"simple_to": "local/qwen3", "threshold": 0.5, "mode": "enforce"},
    "approvals": {"buffered_s": 120},
    "telemetry": {"capture": True},
    "auth": {"mode": "keys", "keys": "keys.yaml"},
}


class Behind:
    """The machine's clock, as many seconds behind as a file says."""

    ns = staticmethod(time.perf_counter_ns)

    def __init__(self) -> None:
        self._file, self._read, self._by = Path(os.environ[BEHIND]), -1.0, 0.0

    def now(self) -> float:
        """UTC seconds."""
        if time.monotonic() - self._read > 0.02:
            self._by, self._read = float(self._file.read_text() or self._by), time.monotonic()
        return time.time() - self._by


def agents_md() -> str:
    """Return the fleet's AGENTS.md."""
    lines = ["---", "agents:"]
    for team, names in ROLES.items():
        for i, name in enumerate(names):
            about = name.replace("-", " ").capitalize()
            usd = DAY_USD.get(name, 4)
            lines += [
                f"  - name: {name}",
                f"    description: {about} of the {team} team",
                f"    version: 1.{i}.0",
                "    policy:",
                f"      owner: {{team: {team}, contact: {team}@example.com}}",
                '      models: {allow: ["claude-*", "gpt-*", "gemini-*", "local/*"], default: claude-sonnet-4-5}',
                '      tools: {allow: ["*"]}',
                f"      budgets: {{request: {{max_output_tokens: 4000}}, session: {{usd: 2}}, day: {{usd: {usd}}}}}",
                "      loops: {identical: {warn: 3, block: 5}}",
                "      data: {log_content: redacted}",
                f"      routing: {{local_ok: {'true' if i % 2 else 'false'}}}",
            ]
    return "\n".join([*lines, "---", "The fleet of the pictures.", ""])


@dataclass
class Fleet:
    """The agents, as one who asks for them all."""

    proxy: Proxy
    clock: Path
    draw: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - a picture, no secret

    def ask(self, agent: str, session: str, messages: list[dict[str, Any]], script: dict[str, Any], **more: Any) -> Raw:
        """Make one call."""
        body = {"model": more.pop("model", "claude-sonnet-4-5"), "messages": messages, "max_tokens": 900, "stream": True}
        tools = [{"type": "function", "function": {"name": n, "parameters": {"type": "object"}}} for n in more.pop("tools", ())]
        headers = {
            "authorization": f"Bearer {self.proxy.key('*')}",
            "x-fleetgate-agent": agent,
            "x-fleetgate-session": session,
            "x-sim-script": json.dumps(script),
        }
        headers |= {f"x-fleetgate-{name}": value for name, value in more.items()}
        return post(f"{self.proxy.url}/v1/chat/completions", body | ({"tools": tools} if tools else {}), headers)

    def hour(self, behind_s: float, busy: float) -> None:
        """Let one hour pass: each agent makes some calls, at moments that are spread over it."""
        for part in range(6):
            self.clock.write_text(str(behind_s - part * 600))
            time.sleep(0.05)
            jobs = [self._job(name) for names in ROLES.values() for i, name in enumerate(names) if self.draw.random() < busy / (i + 1)]
            run(jobs)

    def _job(self, agent: str) -> Callable[[], None]:
        draw = random.Random(self.draw.random())  # noqa: S311
        session = f"{draw.choice(('daily', 'batch', 'case', 'ticket'))}-{draw.randrange(100, 999)}"
        model = draw.choices(MODELS, (8, 6, 2, 3, 2))[0]
        words = draw.choice(("Sort these invoices.", "What is 2 + 2?", "Compare the two contracts and explain the differences in detail."))
        if draw.random() < 0.06:
            words += " The customer number is 4711."
        paper = document(session, draw.choice((0, 4, 9, 300, 900, 1800)))
        cached = draw.randrange(0, 1 + len(paper) // 16)
        script = {"tokens": draw.randrange(80, 700), "first_byte_ms": draw.randrange(40, 260), "cached": cached}

        def job() -> None:
            asked = f"{paper}\n\n{words} [[sim: {json.dumps(script)}]]"
            self.ask(agent, session, said(asked), {}, model=model)
            if draw.random() < 0.05:
                self.ask(agent, session, said("Tidy up."), calls("delete_rows", {}), tools=["delete_rows"], model="gpt-5")
            if draw.random() < 0.03:
                self.ask(agent, session, said("Think harder."), {}, model="o9-preview")

        return job

    def converse(self, agent: str, session: str, tools: list[str], **more: Any) -> None:
        """Work on one task with tools, turn by turn."""
        messages = said(f"{document(session, 900)}\n\nWork on {session}: compare every line, then decide. Explain why.")
        more = {"model": "gpt-5", **more}
        for i, tool in enumerate(tools):
            arguments = {"of": session, "part": 0 if tools.count(tool) > 2 else i}
            pace = {"first_byte_ms": 60 + 90 * (i % 4), "chunk_ms": 30 + 40 * (i % 3), "cached": 700 * bool(i)}
            self.ask(
                agent,
                session,
                messages,
                {"repeat_tool": {"name": tool, "arguments": arguments}} | pace,
                tools=sorted({*tools, "send_email"}),
                **more,
            )
            call = {"id": f"call_{i}", "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
            messages += [{"role": "assistant", "content": None, "tool_calls": [call]}]
            messages += [{"role": "tool", "tool_call_id": f"call_{i}", "content": document(tool, 120)}]
        self.ask(agent, session, messages, {"tokens": 300, "first_byte_ms": 200, "chunk_ms": 2, "cached": 1300}, **more)

    def refund(self) -> None:
        """A short case, for the picture of what was said."""
        asked = "Ms Doe (jane.doe@corp-mail.com, card 4111 1111 1111 1111) says that order 7012 came broken. May she have her money back?"
        first = [{"role": "system", "content": "You check refunds for the support team. Look things up before you answer."}, *said(asked)]
        more: dict[str, Any] = {"model": "gpt-5", "tools": ["read_order"]}
        self.ask("refund-checker", "case-207", first, calls("read_order", {"order": 7012, "customer": "jane.doe@corp-mail.com"}), **more)
        call = {"id": "call_1", "type": "function", "function": {"name": "read_order", "arguments": '{"order": 7012}'}}
        found = "order 7012, 3 days old, 48.00 EUR, paid by card 4111 1111 1111 1111, delivered to jane.doe@corp-mail.com"
        first += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": found},
        ]
        answer = (
            "Yes. The order is three days old and was paid in full, so 48.00 EUR go back to the card. I have told jane.doe@corp-mail.com."
        )
        self.ask("refund-checker", "case-207", first, {"text": answer, "first_byte_ms": 180}, **more)

    def admin(self, path: str, body: dict[str, Any]) -> None:
        """Do something by hand."""
        done = post(f"{self.proxy.admin_url}/api/v1/{path}", body, {"authorization": f"Bearer {TOKEN}"})
        if done.status != 200:
            raise SystemExit(done.body.decode())

    def close(self) -> None:
        """Answer what still waits, so that nothing is under way when the proxy ends."""
        asked = post(f"{self.proxy.admin_url}/api/v1/approvals", b"", {"authorization": f"Bearer {TOKEN}"}, "GET")
        for item in json.loads(asked.body)["approvals"]:
            if item["status"] == "pending":
                self.admin(f"approvals/{item['id']}", {"allow": False, "reason": "the picture is taken"})

    def day(self) -> None:
        """Let a day pass, and stop in the middle of the work of now."""
        for left in range(HOURS, 0, -1):
            noon = abs(12 - (time.gmtime(time.time() - base() - left * 3600).tm_hour or 24))
            self.hour(base() + left * 3600.0, 0.9 - noon * 0.05)
        for minute in range(15, 0, -1):
            self.clock.write_text(str(base() + minute * 60))
            time.sleep(0.05)
            run([self._job(name) for names in ROLES.values() for i, name in enumerate(names) if self.draw.random() < 0.4 / (i + 1)])
        self.clock.write_text(str(base()))
        time.sleep(0.1)
        self.now()

    def now(self) -> None:
        """What is under way in the moment of the picture."""
        root, more = "survey-41", {"parent": "paper-scout/survey-41"}
        self.converse("paper-scout", root, ["search", "read_file", "fetch_page"])
        run(
            [
                lambda: self.converse("trend-reader", "trends-41", ["fetch_page", "search"], **more),
                lambda: self.converse("source-checker", "sources-41", ["fetch_page"] * 5, **more),
                lambda: self.converse("summariser", "digest-41", ["read_file"], **more),
            ]
        )
        self.converse("citation-keeper", "cites-41", ["search"], parent="trend-reader/trends-41")
        self.converse("paper-scout", root, ["read_file", "delete_notes", "label_ticket"])
        self.refund()
        self.admin("kill", {"target": "agent:capacity-planner", "reason": "resizes the wrong cluster", "for": "1h", "by": "Ada"})
        self.admin("kill", {"target": "model:gemini-2.5-pro", "reason": "its contract ends today", "by": "Ada"})
        run([self._job(name) for names in ROLES.values() for name in names[:3] for _ in range(2)])
        mail = {"to": "billing@example.com", "subject": "Open invoices of November", "text": "Three of them are late. Shall we call?"}
        asked = ("invoice-triage", "case-318", said("Write to them."), calls("send_email", mail))
        threading.Thread(target=lambda: self.ask(*asked, tools=["send_email"], model="gpt-5"), daemon=True).start()


@cache
def base() -> float:
    """Return by how many seconds the moment of the pictures is behind ours."""
    now = time.time()
    return now - (now // 86_400 * 86_400 - 86_400 + AFTERNOON_S)


def document(name: str, words: int) -> str:
    """Return a paper of so many words."""
    draw = random.Random(name)  # noqa: S311
    return " ".join(draw.choice(VOCABULARY) for _ in range(words))


def said(words: str) -> list[dict[str, Any]]:
    """Return a conversation that begins so."""
    return [{"role": "user", "content": words}]


def calls(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the script of a reply that calls a tool."""
    return {"tool_calls": [{"name": tool, "arguments": arguments}]}


def run(jobs: list[Callable[[], None]]) -> None:
    """Run jobs side by side."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def proxy_of(sim: Simulator, clock: Path) -> Proxy:
    """Return the proxy of the pictures, not begun."""
    clock.write_text(str(base() + HOURS * 3600))
    env = {"FLEETGATE_ADMIN_TOKEN": TOKEN, BEHIND: str(clock)}
    proxy = Proxy(sim, agents=agents_md(), budgets=BUDGETS, policies={"house.yaml": RULES}, settings=SETTINGS, keys=("*",), env=env)
    proxy.program = (str(Path(__file__).resolve()),)
    return proxy


if __name__ == "__main__":
    setattr(house, "SystemClock", Behind)  # noqa: B010 - it is another by its type
    sys.exit(cli())
