"""Other dialects' words for what we enforce, added to a layer. They can only restrict.

Each dialect is one function. A key that a dialect gives another type than the one we know is an error where it would restrict (silence
would widen); keys that we do not know are the dialect's own business. What cannot be expressed yet becomes a warning.

Source: the shapes are those of Agent Skills, Claude Code and opencode agent files, GitHub Copilot custom agents, Agent Format
(`constraints`, `metadata`), the permissions and governance proposals to AGENTS.md, and gitagent's `compliance`, as of autumn 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config import ConfigError, Doc, KeyPath, dotted
from proxy.identity.fields import POLICY, calls, patterns, permission, tokens, turns
from proxy.identity.layers import Layer
from proxy.model import Source
from proxy.shapes import Shape, Table

NOT_MODELS = frozenset(("inherit", "default", "auto", "sonnet", "opus", "haiku"))
"""Values of `model` that a client resolves itself."""

LEVELS = POLICY.keys["data"].keys["classification"] if isinstance(POLICY.keys["data"], Table) else permission


@dataclass(slots=True)
class Item:
    """One agent's metadata while it is read: a mapping at `path` of `doc`, the layer it fills, and what is wrong with it."""

    doc: Doc
    path: KeyPath
    value: Mapping[str, Any]
    layer: Layer
    errors: list[ConfigError]

    def get(self, *keys: str) -> Any:
        """Return the value at `keys`, or None where any part is absent or not a mapping."""
        found: Any = self.value
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def at(self, *keys: str | int) -> Source:
        """Return where the value at `keys` is written."""
        return Source(self.doc.file, self.doc.line((*self.path, *keys)), dotted(keys))

    def take(self, shape: Shape, *keys: str) -> Any:
        """Return the value at `keys` if it is there and is of `shape`; a value of another shape is an error, kept."""
        value = self.get(*keys)
        if value is None:
            return None
        wrong = shape.check(self.doc, (*self.path, *keys), value)
        self.errors += wrong
        return None if wrong else value

    def warn(self, words: str, *keys: str) -> None:
        """Keep a warning about the value at `keys`."""
        self.layer.warnings += (f"{self.at(*keys)}: {words}",)


def split_names(text: str) -> list[str]:
    """Return the names of a comma string, or of a space string; separators inside brackets separate nothing."""
    names: list[str] = []
    depth, start = 0, 0
    commas = "," in re.sub(r"\([^()]*\)", "", text)
    for i, c in enumerate(text + ("," if commas else " ")):
        depth += (c == "(") - (c == ")" and depth > 0)
        if (c == "," if commas else c.isspace()) and (depth == 0 or i == len(text)):
            names.append(text[start:i].strip())
            start = i + 1
    return [n for n in names if n]


def tool_lists(value: Any) -> tuple[list[str] | None, list[str]]:
    """Return (allow, deny) of a neighbour's tools value: a list, a comma or space string, or {name: true|false|allow|ask|deny}.

    In a map, the names that are on form the allow-list; a map that only switches things off is a deny-list. `"*": false` means
    "nothing else" and is no deny of what is on.
    """
    if isinstance(value, str):
        return split_names(value), []
    if isinstance(value, list):
        return list(value), []
    on = [name for name, state in value.items() if state in (True, "allow", "ask")]
    off = [name for name, state in value.items() if state in (False, "deny")]
    if "*" in off:
        return on, [name for name in off if name != "*"]
    return (on or None), off


def permission_map(item: Item, key: str) -> None:
    """`permission: {edit: ask, bash: {"npm test*": allow}, webfetch: deny}`: a denied name is a denied tool; nothing here allows."""
    value = item.get(key)
    if not isinstance(value, dict):
        if value is not None:
            item.warn("is not a map of tool names and is ignored", key)
        return
    if value.get("*") in ("deny", False):
        named = [name for name, state in value.items() if state not in ("deny", False)]
        item.layer.restrict("tools", named, (), item.at(key, "*"))
    for name, state in value.items():
        if name == "*" and state in ("deny", False):
            continue
        states = list(state.values()) if isinstance(state, dict) else [state]
        if state in ("deny", False) or (states and isinstance(state, dict) and all(s == "deny" for s in states)):
            item.layer.restrict("tools", None, [name], item.at(key, name))
        elif isinstance(state, dict):
            item.warn("patterns on arguments are accepted, not enforced in this version", key, name)
        elif state == "ask":
            item.layer.unused += (item.at(key, name),)
        elif state not in ("allow", True):
            item.errors += permission.check(item.doc, (*item.path, key, name), state)


def governance(item: Item) -> None:
    """`governance` or `governance.policy`: allowed and blocked tools, most tokens of a request."""
    inner = ("governance", "policy") if isinstance(item.get("governance", "policy"), dict) else ("governance",)
    _tool_rules(item, *inner)
    most = item.take(tokens, *inner, "max_tokens_per_request")
    if most is not None:
        source = item.at(*inner, "max_tokens_per_request")
        item.layer.limit("max_input", most, source)
        item.layer.limit("max_output", max(most, 1), source)
    for key in ("max_tool_calls_per_request", "blocked_patterns"):
        if item.get(*inner, key) is not None:
            item.layer.unused += (item.at(*inner, key),)


def security(item: Item) -> None:
    """`security: {allowed_tools, blocked_tools}`."""
    _tool_rules(item, "security")


def _tool_rules(item: Item, *keys: str) -> None:
    for word in ("allowed_tools", "allowed-tools"):
        allow = item.take(patterns, *keys, word)
        if allow is not None:
            item.layer.restrict("tools", allow, (), item.at(*keys, word))
    for word in ("blocked_tools", "denied_tools"):
        item.layer.restrict("tools", None, item.take(patterns, *keys, word) or (), item.at(*keys, word))


def constraints(item: Item) -> None:
    """Agent Format: `constraints.budget` and `constraints.limits`, both per session, and how deep delegations may go."""
    for keys, window_key, shape in (
        (("constraints", "budget", "max_token_usage"), "tokens", tokens),
        (("constraints", "limits", "max_llm_calls"), "llm_calls", calls),
    ):
        value = item.take(shape, *keys)
        if value is not None:
            item.layer.amount("session", window_key, value, item.at(*keys))
    for keys in (
        ("constraints", "budget", "max_duration_seconds"),
        ("constraints", "limits", "max_tool_calls"),
        ("constraints", "limits", "max_delegation_depth"),
    ):
        most = item.take(calls, *keys)
        if most is not None and keys[-1] != "max_tool_calls":
            item.layer.limit("max_depth" if keys[-1] == "max_delegation_depth" else "max_duration", most, item.at(*keys))
        elif most is not None:
            item.layer.unused += (item.at(*keys),)


def metadata(item: Item) -> None:
    """`metadata: {owner, data_classification, version}`, and `compliance.data_classification`. Attribution only."""
    owner = item.get("metadata", "owner")
    if isinstance(owner, str) and 0 < len(owner) <= 128:
        item.layer.texts.setdefault("team", (owner, item.at("metadata", "owner")))
    version = item.get("metadata", "version")
    if isinstance(version, str) and 0 < len(version) <= 64:
        item.layer.texts.setdefault("version", (version, item.at("metadata", "version")))
    for keys in (("metadata", "data_classification"), ("compliance", "data_classification")):
        level = item.get(*keys)
        if isinstance(level, str) and not LEVELS.check(item.doc, (*item.path, *keys), level):
            item.layer.data.setdefault("classification", (level, item.at(*keys)))


def turn_limits(item: Item) -> None:
    """`maxTurns`, `steps`, `agent.max_turns`: each bounds the turns of a session."""
    for keys in (("maxTurns",), ("steps",), ("policy", "maxTurns"), ("agent", "max_turns")):
        value = item.take(turns, *keys) if keys[0] == "agent" else item.get(*keys)
        if value is not None:
            item.layer.turns(value, item.at(*keys))


def preferred_model(item: Item) -> None:
    """`model` (a name, or a list, first preferred) and `client: provider/model`: a default, not a restriction."""
    names = item.get("model")
    listed = [names] if isinstance(names, str) else list(names or ())
    listed = [n for n in listed if n not in NOT_MODELS]
    if listed:
        item.layer.texts.setdefault("default_model", (listed[0], item.at("model")))
        if listed[1:] and not item.layer.fallback:
            item.layer.fallback = tuple(listed[1:])
            item.layer.texts["fallback"] = (", ".join(listed[1:]), item.at("model"))
    client = item.get("client")
    if isinstance(client, str) and "/" in client:
        item.layer.texts.setdefault("default_model", (client.partition("/")[2], item.at("client")))


DIALECTS: tuple[Callable[[Item], None], ...] = (
    lambda item: permission_map(item, "permissions"),
    lambda item: permission_map(item, "permission"),
    governance,
    security,
    constraints,
    metadata,
    turn_limits,
    preferred_model,
)
"""Every alias that reads values outside `policy`, in no particular order: each only adds restrictions or fills an empty text."""

SIGNS = frozenset(("policy", "permissions", "permission", "governance", "security", "constraints"))
"""Keys whose presence means that the file wants to restrict an agent: without a name that is an error."""
