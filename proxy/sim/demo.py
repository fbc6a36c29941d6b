"""`fleetgate demo`: a small fleet of agents runs through a real proxy, in well under a minute.

Scenes are a list; each asks over HTTP, shows what Fleetgate answered, and says why that is useful. A scene whose answer is not the one
that it is about raises `DemoError`: the demo then prints the end of the server's log and exits with 1, so it doubles as a smoke test.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from proxy.sim.fleet import DemoError, Fleet, Heard
from proxy.sim.screen import Screen

REPORT = "This week the fleet answered 1,204 tickets, closed 87 reports and stayed inside its budget. Two agents need a look: see below."


class Asker(Protocol):
    """What a scene needs of the fleet."""

    def ask(self, agent: str, body: dict[str, Any], on_text: Callable[[str], None] | None = None) -> Heard:
        """Have `agent` send a chat request."""
        ...

    def bill(self) -> list[dict[str, Any]]:
        """Return the ledger by agent."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing to see: `play` asks and shows, `why` says what it is good for."""

    title: str
    why: str
    play: Callable[[Asker, Screen], None]


def chat(model: str, text: str, **more: Any) -> dict[str, Any]:
    """Return a chat request; `sim` scripts the simulated provider."""
    script = more.pop("sim", None)
    content = f"{text} [[sim: {json.dumps(script)}]]" if script else text
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def function(name: str) -> dict[str, Any]:
    """Return a tool of that name."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"file": {"type": "string"}}}}}


def expect(heard: Heard, status: int, reason: str = "") -> None:
    """Check that the answer is the one that the scene is about.

    Raises:
        DemoError: it is not.
    """
    if (heard.status, heard.decision.get("reason", "")) != (status, reason):
        got = f"{heard.status} {heard.decision.get('reason', '')} {heard.message}".strip()
        raise DemoError(f"expected {status} {reason}".strip() + f", got {got}")


def refused(screen: Screen, heard: Heard) -> None:
    """Show a refusal: status, reason, the message as the agent sees it, and what a program would read."""
    decision = heard.decision
    message = heard.message.partition(" Rule: ")[0]
    screen.stopped(f"{heard.status} {decision.get('reason', '')}: {message}")
    for name in ("rule", "remedy", "remaining"):
        if decision.get(name):
            screen.detail(name, str(decision[name]))
    if decision.get("resets_at"):
        screen.detail("resets", str(decision["resets_at"]))


def served(heard: Heard, what: str = "answered") -> str:
    """Return one line about a reply: who served it, why there, and what it cost."""
    parts = [f"{heard.status} {what} by {heard.headers.get('x-fleetgate-model', '?')}"]
    if heard.headers.get("x-fleetgate-route", "requested") != "requested":
        parts.append(f"route {heard.headers['x-fleetgate-route']}")
    if "x-fleetgate-difficulty" in heard.headers:
        parts.append(f"difficulty {heard.headers['x-fleetgate-difficulty']}")
    if "x-fleetgate-cost-usd" in heard.headers:
        parts.append(f"cost ${heard.headers['x-fleetgate-cost-usd']}")
    return ", ".join(parts)


# --- scenes --------------------------------------------------------------------------------------------------------------------


def _normal(fleet: Asker, screen: Screen) -> None:
    screen.asked("report-writer", "gpt-4o, streamed: Write the summary of the week.")
    screen.live("    ")
    body = chat(
        "gpt-4o", "Explain why the numbers of the week changed.", sim={"text": REPORT, "chunk_ms": 60, "first_byte_ms": 300}, stream=True
    )
    heard = fleet.ask("report-writer", body, screen.live)
    screen.live("\n")
    expect(heard, 200)
    if heard.text != REPORT:
        raise DemoError(f"the stream arrived as {heard.text[:60]!r}")
    screen.passed(served(heard, "streamed"))


def _model(fleet: Asker, screen: Screen) -> None:
    screen.asked("support-bot", "gpt-4o: Which plan should I buy?")
    heard = fleet.ask("support-bot", chat("gpt-4o", "Which plan should I buy?"))
    expect(heard, 403, "model_not_allowed")
    refused(screen, heard)


def _tool(fleet: Asker, screen: Screen) -> None:
    screen.asked("log-watcher", "gpt-4o-mini with the tools read_log and delete_log: Make room on the disk.")
    tools = [function("read_log"), function("delete_log")]
    heard = fleet.ask("log-watcher", chat("gpt-4o-mini", "Make room on the disk.", tools=tools))
    expect(heard, 403, "tool_not_allowed")
    refused(screen, heard)


def _route(fleet: Asker, screen: Screen) -> None:
    question = "Classify the sentiment of: Thanks, that worked!"
    screen.asked("support-bot", f"gpt-4o-mini: {question}")
    heard = fleet.ask("support-bot", chat("gpt-4o-mini", question, sim={"text": "positive"}, max_tokens=20))
    expect(heard, 200)
    if heard.headers.get("x-fleetgate-route") != "local":
        raise DemoError(f"expected the route local, got {heard.headers.get('x-fleetgate-route')}")
    screen.passed(f"{served(heard)}: {heard.text!r}")


def _loop(fleet: Asker, screen: Screen) -> None:
    screen.asked(
        "log-watcher", "gpt-4o-mini: Find out why app.log is growing. (It calls read_log, gets the same lines, and calls it again.)"
    )
    body = chat(
        "gpt-4o-mini", "Find out why app.log is growing.", sim={"repeat_tool": {"name": "read_log", "arguments": {"file": "app.log"}}}
    )
    body["tools"] = [function("read_log")]
    for turn in range(1, 9):
        heard = fleet.ask("log-watcher", body)
        signal = heard.headers.get("x-fleetgate-loop", "none")
        if heard.status != 200:
            expect(heard, 403, "loop_detected")
            refused(screen, heard)
            return
        tell = screen.passed if signal == "none" else screen.warned
        tell(f"turn {turn}: 200, x-fleetgate-loop: {signal}")
        message = heard.body["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        results = [{"role": "tool", "tool_call_id": c["id"], "content": "GET /health 200"} for c in calls]
        body = {**body, "messages": [*body["messages"], {"role": "assistant", "content": None, "tool_calls": calls}, *results]}
    raise DemoError("the loop was not stopped")


def _budget(fleet: Asker, screen: Screen) -> None:
    screen.asked("data-miner", "gpt-4o, again and again: Summarise the next document. (Its budget is $0.02 a day.)")
    for number in range(1, 13):
        body = chat("gpt-4o", f"Explain and summarise document {number}.", sim={"tokens": 450}, max_tokens=500)
        heard = fleet.ask("data-miner", body)
        if heard.status != 200:
            expect(heard, 402, "budget_exceeded")
            refused(screen, heard)
            return
        left = heard.headers.get("x-fleetgate-budget-remaining-usd", "0")
        tokens = heard.body.get("usage", {}).get("completion_tokens", 0)
        cost = heard.headers.get("x-fleetgate-cost-usd", "0")
        words = f"call {number}: 200, {tokens} tokens, cost ${float(cost):.4f}, at least ${float(left):.4f} left"
        if tokens < 450:
            screen.warned(f"{words} (the answer was cut to what the budget still allowed)")
        else:
            screen.passed(words)
    raise DemoError("the budget was not kept")


def _bill(fleet: Asker, screen: Screen) -> None:
    for text in bill_lines(fleet.bill()):
        screen.line(f"    {text}")


def bill_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the bill as a table, dearest agent first, with a total."""
    rows = sorted(rows, key=lambda r: -int(r["cost"]))
    if not rows:
        raise DemoError("the ledger is empty")
    total = {k: sum(int(r[k]) for r in rows) for k in ("calls", "refused", "input_tokens", "output_tokens", "cost")}
    head = f"{'agent':<16}{'calls':>7}{'refused':>9}{'tokens in':>11}{'tokens out':>12}{'cost':>13}"
    lines = [head, "-" * len(head)]
    for r in [*rows, {"key": "total", **total}]:
        cost = f"${int(r['cost']) / 1e9:.6f}"
        lines.append(f"{r['key']!s:<16}{r['calls']:>7}{r['refused']:>9}{r['input_tokens']:>11}{r['output_tokens']:>12}{cost:>13}")
    return lines


SCENES = (
    Scene(
        "A normal call, streamed",
        "The agent kept its SDK and changed one thing, the base URL. The stream passes as it comes; the provider's key stays here.",
        _normal,
    ),
    Scene(
        "A model that this agent may not use",
        "What an agent may do stands in AGENTS.md, beside the instructions, and is enforced: nothing was sent and nothing was paid.",
        _model,
    ),
    Scene(
        "A tool that this agent may not have",
        "The tool was refused before the model could ever see it, let alone call it.",
        _tool,
    ),
    Scene(
        "A simple task goes to the local model",
        "Easy questions do not need the expensive model. This one cost nothing and never left the house.",
        _route,
    ),
    Scene(
        "An agent that goes in circles",
        "Fleetgate sees the same step again and again in the conversation itself, warns at 3, and stops paying for it at 5.",
        _loop,
    ),
    Scene(
        "A budget that holds",
        "The worst case of every call is reserved before it is sent, so spent plus running never passes the limit.",
        _budget,
    ),
    Scene(
        "The bill, by agent",
        "Every call and every refusal is in the ledger: who, which rule, how many tokens, what it cost.",
        _bill,
    ),
)


def play(fleet: Asker, screen: Screen, scenes: Iterable[Scene] = SCENES) -> None:
    """Play the scenes in order.

    Raises:
        DemoError: an answer was not the one that a scene is about.
    """
    scenes = tuple(scenes)
    for number, scene in enumerate(scenes, 1):
        screen.scene(number, len(scenes), scene.title)
        scene.play(fleet, screen)
        screen.why(scene.why)


def run(out: TextIO | None = None) -> int:
    """Run the demo and return the exit code: 0, 1 when something is wrong, 130 when it was interrupted."""
    out = out or sys.stdout
    screen = Screen(out, tty=out.isatty())
    began = time.monotonic()
    fleet = Fleet()
    screen.line("Fleetgate demo: four agents, one proxy, a simulated provider. Nothing leaves this machine.")
    screen.working("starting the proxy and the simulated provider")
    try:
        with fleet:
            try:
                play(fleet, screen)
            except DemoError as e:
                return _failed(screen, fleet, e)
    except DemoError as e:
        return _failed(screen, fleet, e)
    except KeyboardInterrupt:
        screen.line("\nstopped; everything is cleaned up")
        return 130
    screen.line(f"\nDone in {time.monotonic() - began:.0f} s. Try it with your own agents: make run")
    return 0


def _failed(screen: Screen, fleet: Fleet, error: DemoError) -> int:
    screen.line()
    screen.stopped(f"the demo failed: {error}")
    screen.line("The end of the server's log:")
    screen.line(fleet.log_tail())
    return 1
