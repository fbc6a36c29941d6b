"""What the SDK tests share: one simulator, one proxy before it, and requests that both must answer alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from serving import Proxy, Simulator

MODES = ("direct", "proxy")
"""Every SDK test runs against the simulator itself and through Fleetgate: what differs is Fleetgate's doing."""

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
      models: {allow: [gpt-4o-mini, claude-haiku-*]}
      tools: {allow: ["read_*"]}
  - name: guided
    description: Is helped out of loops
    policy:
      models: {allow: ["*"]}
      loops: {on_detect: [warn, nudge, persona, strip_tools], persona: {system: You debug., temperature: 0.2}}
  - name: frugal
    description: Goes on with a cheaper model when it goes in circles
    policy:
      models: {allow: ["gpt-*"]}
      loops: {on_detect: [nudge, downgrade], downgrade: gpt-4o-mini}
---
Agents of the SDK tests.
"""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client is pointed, and with which key."""

    url: str
    key: str
    proxied: bool


@dataclass(frozen=True, slots=True)
class Fleet:
    """The two processes of one test module."""

    sim: Simulator
    proxy: Proxy | None

    def target(self, agent: str = "tester") -> Target:
        """The proxy with that agent's key where there is one, else the simulator."""
        if self.proxy is None:
            return Target(self.sim.url, "sk-any", proxied=False)
        return Target(self.proxy.url, self.proxy.key(agent), proxied=True)


@contextmanager
def fleet(mode: str) -> Iterator[Fleet]:
    """Start what `mode` needs."""
    with Simulator(require_key=True) as sim:
        if mode == "direct":
            yield Fleet(sim, None)
            return
        with Proxy(sim, agents=AGENTS, keys=("tester", "clerk", "guided", "frugal")) as proxy:
            yield Fleet(sim, proxy)


def say(text: str = "", /, **wishes: Any) -> str:
    """A user message with a directive for the simulator."""
    return f"{text} [[sim: {json.dumps(wishes)}]]" if wishes else text
