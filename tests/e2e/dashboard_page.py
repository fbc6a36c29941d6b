"""The fleet that the dashboard shows in tests, and what a person does on its pages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chromium import Page
from serving import Proxy, Raw, Simulator, post

TOKEN = "canary-admin-token-of-the-dashboard"
AXE = Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js"
AXE_DIGEST = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
AGENTS = """---
agents:
  - name: tester
    description: May do everything
    version: 1.2.0
    policy:
      {owner: {team: web}, models: {allow: ["*"]}, tools: {allow: ["*"], require_approval: [send_email]}, budgets: {day: {usd: 5}},
       data: {log_content: full}}
  - name: scout
    description: Only reads
    policy: {owner: {team: web}, models: {allow: [gpt-4o-mini]}, tools: {allow: ["read_*"]}}
---
"""
BUDGETS = {"budgets": [{"name": "fleet-month", "scope": {"fleet": "*"}, "limit": {"usd": 100}, "window": "month"}]}
SHADOW = "rules:\n  - id: dry\n    when: {direction: request}\n    match: {contains: moonshot}\n    action: deny\n    mode: shadow\n"
HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;</script>"
PAGES = {
    "fleet": ("Fleet", "tester"),
    "fleet/tester": ("tester", "Effective policy"),
    "sessions": ("Sessions", "first"),
    "sessions/tester/first": ("first", "Timeline"),
    "decisions": ("Decisions", "model not allowed"),
    "budgets": ("Budgets", "fleet-month"),
    "routing": ("Routing", "How calls were routed"),
    "approvals": ("Approvals", "Nothing to decide"),
    "kill": ("Kill switch", "Nothing is stopped"),
    "config": ("Config", "What would have been refused"),
}


def fleet(sim: Simulator) -> Proxy:
    """Return the proxy of two agents, with everything that a page could show turned on."""
    return Proxy(
        sim,
        agents=AGENTS,
        budgets=BUDGETS,
        policies={"dry.yaml": SHADOW},
        settings={"listen": {"admin_host": "0.0.0.0"}, "approvals": {"buffered_s": 45}, "telemetry": {"capture": True}},
        keys=("tester", "scout"),
        env={"FLEETGATE_ADMIN_TOKEN": TOKEN},
    )


def ask(
    proxy: Proxy, words: str = "hi", *, agent: str = "tester", model: str = "gpt-4o-mini", session: str = "first", **script: Any
) -> Raw:
    body = {"model": model, "messages": [{"role": "user", "content": words}], "max_tokens": 40}
    if "tool_calls" in script:
        tool = {"type": "function", "function": {"name": script["tool_calls"][0]["name"], "parameters": {"type": "object"}}}
        body["tools"] = [tool]
    headers = {"authorization": f"Bearer {proxy.key(agent)}", "x-fleetgate-session": session, "x-sim-script": json.dumps(script)}
    return post(f"{proxy.url}/v1/chat/completions", body, headers)


def sign_in(page: Page, token: str) -> None:
    page.click("input[type=password]")
    page.js("document.querySelector('input[type=password]').select()")
    page.type(token)
    page.press("Enter")


def go(page: Page, path: str, query: str = "") -> None:
    page.js(f"location.hash = {json.dumps('/' + '/'.join(quote(p, safe='') for p in path.split('/')) + query)}")


def offline(page: Page, on: bool) -> None:
    page.call("Network.emulateNetworkConditions", offline=on, latency=0, downloadThroughput=-1, uploadThroughput=-1)


def settled(page: Page) -> None:
    """Wait until nothing on the page is awaited any more."""
    page.wait("document.querySelector('h1') && !document.querySelector('.bone, [aria-busy=true]')")


def violations(page: Page) -> list[str]:
    """Return what axe finds against who reads with a screen reader or with weak eyes."""
    source = AXE.read_bytes()
    assert hashlib.sha256(source).hexdigest() == AXE_DIGEST
    page.js(f"{source.decode()}; 1")
    found: list[str] = page.js(
        "axe.run({preload: false, resultTypes: ['violations']}).then((r) =>"
        " r.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html).join(' ')}`))"
    )
    return found


def width_on_a_telephone(page: Page) -> int:
    """Return how wide the page is on a screen of 400 pixels."""
    page.size(400, 800)
    page.wait("innerWidth === 400")
    width: int = page.js("document.documentElement.scrollWidth")
    page.size(1280, 900)
    return width
