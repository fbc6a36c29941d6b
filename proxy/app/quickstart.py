"""The first minute: a working proxy with nothing configured, and one command that proves it.

It makes a key that lives as long as the process, prints it, and stores it nowhere.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass

from proxy.app.build import Files
from proxy.app.served import table
from proxy.globs import is_glob
from proxy.identity.keys import KeyEntry, new_key
from proxy.settings import Settings

MODELS = ("gpt-4o-mini", "gpt-5-mini", "gpt-5-nano", "claude-sonnet-5", "claude-sonnet-4-5", "claude-haiku-4-5")
"""Tried in this order when the agent has no model of its own: known everywhere, and cheap."""


def needs_simulator(settings: Settings) -> bool:
    """Return whether no provider outside has a key, so that a simulated one must take its place."""
    outside = [p for p in settings.providers.values() if not p.local]
    return bool(outside) and not any(p.api_key is not None or not p.key_from for p in outside)


@dataclass(frozen=True, slots=True)
class Example:
    """What the printed command says: where, with which key, as which agent, with which model."""

    url: str
    key: str
    agent: str
    model: str


def first_agent(files: Files, simulated: bool) -> tuple[str, str]:
    """Return the agent and the model of the printed command: `demo` if there is one, else the first agent that can use some model.

    Raises:
        ValueError: no agent can use any model that is served and has a key.
    """
    models = table(files.settings)
    for name, grant in sorted(files.directory.agents.items(), key=lambda item: item[0] != "demo"):
        plain = (rule.pattern for rule in files.settings.models if not is_glob(rule.pattern))
        for model in filter(None, (grant.default_model, *MODELS, *plain)):
            target = models.target(model, _protocol(model)) if grant.may_use(model) else None
            if target and target.price is not None and (simulated or _usable(files.settings, target.provider)):
                return name, model
    raise ValueError("no agent of this configuration can use any model: see `agents:` and `models:`, or try `fleetgate check`")


def _usable(settings: Settings, provider: str) -> bool:
    known = settings.providers[provider]
    return known.local or known.api_key is not None or not known.key_from


def _protocol(model: str) -> str:
    return "anthropic" if model.startswith("claude") else "openai"


def temporary_key(agent: str) -> tuple[str, KeyEntry]:
    """Return a new key and its entry, which is never stored."""
    key = new_key(agent)
    digest = hashlib.sha256(key.encode()).hexdigest()
    return key, KeyEntry(agent=agent, sha256=digest, expires=None, created=time.time(), id=digest[:8])


def banner(settings: Settings, example: Example, simulated: bool) -> str:
    """Return the lines that `make run` ends with: one complete command, and how to get to the real thing."""
    missing = sorted({p.key_from for p in settings.providers.values() if not p.local and p.api_key is None and p.key_from})
    lines = ["", f"Try it (agent {example.agent}; this key works until you stop the server):", ""]
    lines.append(_curl(example))
    lines.append("")
    names = " or ".join(m.removeprefix("env:") for m in missing) or "a provider key"
    if simulated:
        lines.append(f"No provider key is set, so a simulated provider answers. For the real ones set {names} and run again.")
    elif missing:
        lines.append(f"Not set, so not usable: {', '.join(m.removeprefix('env:') for m in missing)}.")
    return "\n".join(lines)


def _curl(example: Example) -> str:
    key, model = example.key, example.model
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": "Say hello."}]}
    path, headers = "/v1/chat/completions", [f"Authorization: Bearer {key}"]
    if _protocol(model) == "anthropic":
        path, headers = "/v1/messages", [f"x-api-key: {key}", "anthropic-version: 2023-06-01"]
        body = {**body, "max_tokens": 100}
    shown = " ".join(f"-H '{header}'" for header in (*headers, "content-type: application/json"))
    return f"curl {example.url}{path} {shown} -d '{json.dumps(body)}'"
