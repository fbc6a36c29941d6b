"""Reads one file that may describe agents: AGENTS.md and its neighbours, or a sidecar YAML.

Gives one `Declared` per agent, with the layer that the file adds to its policy, or the errors that make it void. A file without metadata
gives nothing. An agent whose part is wrong gives no layer at all, not a part of one: its name is kept, so that it falls back to the
operator's baseline. Nothing here raises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from proxy.config import ConfigError, Doc, KeyPath, read_text
from proxy.identity.aliases import DIALECTS, SIGNS, Item, tool_lists
from proxy.identity.carriers import MAX_BYTES, Block, blocks, names_in
from proxy.identity.fields import AGENT, BESIDE, MAX_ID, NOT_ENFORCED, SLUG
from proxy.identity.layers import UNITS, Bound, Layer
from proxy.model import IMPLIED, LADDER, Persona, Source
from proxy.patterns import PatternError
from proxy.shapes import quoted

REMEMBERED = 16384
"""Files whose reading is remembered from one reload to the next."""
_REQUEST: tuple[tuple[str, Bound], ...] = (("max_input_tokens", "max_input"), ("max_output_tokens", "max_output"))
_DEPTHS: tuple[Bound, ...] = ("max_depth", "fan_out")


@dataclass(frozen=True, slots=True)
class Declared:
    """One agent in one file. `layer` is None when its part of the file is wrong. `source` is where it is named."""

    id: str
    source: Source
    layer: Layer | None


@dataclass(frozen=True, slots=True)
class Read:
    """What one file gave: its agents, what is wrong in it, and the SHA-256 (hex) of its text."""

    file: str
    agents: tuple[Declared, ...] = ()
    errors: tuple[ConfigError, ...] = ()
    digest: str = ""


def read_agents(path: Path, file: str) -> Read:
    """Return what the file at `path` says; `file` is how messages name it."""
    try:
        text = read_text(path, file, MAX_BYTES)
    except ConfigError as e:
        return Read(file, errors=(e,))
    return parse_agents(text, file)


@lru_cache(maxsize=REMEMBERED)
def parse_agents(text: str, file: str) -> Read:
    """Return what `text`, the text of `file`, says. Remembered, so that a reload parses only what changed."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    try:
        found = blocks(text, file)
    except ConfigError as e:
        lost = tuple(Declared(n, Source(file, e.line), None) for n in names_in(text) if len(n) <= MAX_ID and re.fullmatch(SLUG, n))
        return Read(file, lost, (e,), digest)
    agents: list[Declared] = []
    errors: list[ConfigError] = []
    for block in found:
        own = agents[0].id if len(agents) == 1 else ""
        new, wrong = _block(block, digest, own)
        errors += wrong
        agents += new
    void = {agent.id for agent in agents if agent.layer is None}
    agents = [replace(agent, layer=None) if agent.id in void else agent for agent in agents]
    return Read(file, tuple(agents), tuple(errors), digest)


def _block(block: Block, digest: str, own: str) -> tuple[list[Declared], list[ConfigError]]:
    """Return the agents of one carrier; `own` is the one agent that earlier carriers of the file named, if it is one."""
    doc, value = block.doc, block.doc.value
    listed = value.get("agents")
    fleet = isinstance(listed, list) and bool(listed) and any(isinstance(a, dict) for a in listed)
    errors: list[ConfigError] = []
    agents: list[Declared] = []
    if not fleet:
        _agent(doc, (), value, (own or _stem(block), digest), agents, errors)
        return agents, errors
    lost = "policy" in value and not any(key in value for key in ("name", "agent_id", "id"))
    if lost:
        errors.append(
            doc.error(("policy",), "a policy beside the list of agents", "a policy in each item", "the baseline is for all of them")
        )
    elif "policy" in value:
        _agent(doc, (), value, ("", digest), agents, errors)
    for i, item in enumerate(listed):
        if isinstance(item, dict):
            _agent(doc, ("agents", i), item, ("", digest), agents, errors)
        else:
            errors.append(doc.error(("agents", i), quoted(item), "a mapping with a name"))
    if lost:
        agents = [replace(agent, layer=None) for agent in agents]
    return _without_twins(doc, agents, errors), errors


def _without_twins(doc: Doc, agents: list[Declared], errors: list[ConfigError]) -> list[Declared]:
    first: dict[str, Declared] = {}
    for agent in agents:
        if agent.id in first:
            hint = f"the other is on line {first[agent.id].source.line}"
            errors.append(ConfigError(doc.file, agent.source.line, f"agent {agent.id} stands here twice", "each agent once", hint))
            first[agent.id] = replace(agent, layer=None)
        else:
            first[agent.id] = agent
    return list(first.values())


def _stem(block: Block) -> str:
    """Return the agent name that the file's own name gives: sidecars and `*.agent.md` have one, AGENTS.md has none."""
    name = PurePosixPath(block.doc.file).name
    stem = ""
    if block.carrier == "sidecar":
        stem = name.rpartition(".")[0].removesuffix(".policy")
    elif name.endswith(".agent.md"):
        stem = name.removesuffix(".agent.md")
    return stem if re.fullmatch(SLUG, stem) and len(stem) <= MAX_ID else ""


def _agent(
    doc: Doc, path: KeyPath, value: dict[str, Any], given: tuple[str, str], agents: list[Declared], errors: list[ConfigError]
) -> None:
    """Read one agent's mapping; `given` is (name if it has none itself, digest of the file)."""
    item = Item(doc, path, value, Layer(doc.file, given[1]), [])
    name, keys = _identity(item, given[0])
    if not name:
        if not item.errors and (path or SIGNS & value.keys()):
            item.errors.append(doc.error(path, "an agent without a name", "name: a-slug"))
        errors += item.errors
        return
    for key, shape in AGENT.items():
        if key in value and key not in ("name", "agent_id", "id"):
            item.errors += shape.check(doc, (*path, key), value[key])
    if not item.errors:
        _fill(item)
    errors += item.errors
    agents.append(Declared(name, item.at(*keys), None if item.errors else item.layer))


def _identity(item: Item, given: str) -> tuple[str, tuple[str, ...]]:
    """Return the agent's id and the keys where it is written: `policy.id`, else `agent_id`, `id`, `name`, else the given one."""
    for keys in (("policy", "id"), ("agent_id",), ("id",), ("name",)):
        found = item.get(*keys)
        if found is None:
            continue
        if isinstance(found, str) and len(found) <= MAX_ID and re.fullmatch(SLUG, found):
            return found, keys
        if keys == ("id",) and not isinstance(found, str):
            continue
        close = re.sub(r"[^a-z0-9._-]+", "-", str(found).lower()).strip("-._")[:MAX_ID]
        hint = f"write {'.'.join(keys)}: {close}" + (", or set policy.id" if keys == ("name",) else "") if close else ""
        expected = f"at most {MAX_ID} of a-z, 0-9, dot, dash and underscore"
        item.errors.append(item.doc.error((*item.path, *keys), quoted(found), expected, hint))
        return "", keys
    return given, ()


def _fill(item: Item) -> None:
    """Turn checked metadata into the item's layer."""
    layer = item.layer
    layer.shadow = item.get("policy", "mode") == "shadow"
    for key, text in (("version", "version"), ("description", "description"), ("display_name", "description")):
        if isinstance(item.get(key), str):
            layer.texts.setdefault(text, (item.get(key), item.at(key)))
    fill_policy(item)
    for dialect in DIALECTS:
        dialect(item)
    _compliance(item, "compliance")
    for key in sorted(BESIDE & item.value.keys()):
        item.warn("stands outside `policy` and has no effect; indent it below `policy:`", key)


def fill_policy(item: Item) -> None:
    """Turn a checked `policy` mapping into the item's layer; the baseline is read with this alone."""
    layer = item.layer
    policy: dict[str, Any] = item.value.get("policy", {})
    owner = policy.get("owner")
    team = owner.get("team") if isinstance(owner, dict) else owner
    if team:
        layer.texts.setdefault("team", (team, item.at("policy", "owner", *(["team"] if isinstance(owner, dict) else []))))
    _names(item)
    _budgets(item)
    _loops(item)
    _delegation(item)
    for key, value in (policy.get("routing") or {}).items():
        if value is not None and key == "local_ok":
            layer.local_ok = (value, item.at("policy", "routing", key))
        elif value is not None:
            layer.routing[key] = (value, item.at("policy", "routing", key))
    for key, value in policy.get("data", {}).items():
        text = "off" if value is False else ",".join(value) if isinstance(value, list) else str(value)
        layer.data[key] = (text, item.at("policy", "data", key))
    _compliance(item, "policy", "compliance")
    for dotted in NOT_ENFORCED:
        if item.get("policy", *dotted.split(".")) not in (None, []):
            layer.unused += (item.at("policy", *dotted.split(".")),)


def _names(item: Item) -> None:
    """Models and tools. What a file lists as its tools beside `policy` and what `policy.tools.allow` lists add up to one allow-list."""
    layer = item.layer
    models, tools = item.get("policy", "models") or {}, item.get("policy", "tools") or {}
    at_deny = item.at("policy", "models", "deny")
    layer.restrict("models", models.get("allow"), models.get("deny", ()), item.at("policy", "models", "allow"), at_deny)
    if "default" in models:
        layer.texts["default_model"] = (models["default"], item.at("policy", "models", "default"))
    if models.get("fallback"):
        layer.fallback = tuple(models["fallback"])
        layer.texts["fallback"] = (", ".join(layer.fallback), item.at("policy", "models", "fallback"))
    _tools(item, tools.get("allow"), list(tools.get("deny", ())))
    layer.approve(tools.get("require_approval", ()), item.at("policy", "tools", "require_approval"))
    for i, clause in enumerate(tools.get("args", ())):
        at = ("policy", "tools", "args", i)
        names = clause["tool"] if isinstance(clause["tool"], list) else [clause["tool"]]
        try:
            layer.arguments(names, clause.get("field", ""), clause["regex"], clause["action"], item.at(*at))
        except PatternError as e:
            hint = "no back-references, no look-around"
            item.errors.append(item.doc.error((*item.path, *at, "regex"), str(e), "a regular expression that RE2 takes", hint))


def _tools(item: Item, allow: list[str] | None, deny: list[str]) -> None:
    """Add the tools clause of one file: the policy's lists (`allow`, `deny`), and those that neighbours keep beside `policy`."""
    keys: tuple[str, ...] = ("policy", "tools", "allow")
    for key in ("tools", "allowed-tools"):
        if item.get(key) is None:
            continue
        named, off = tool_lists(item.get(key))
        if named is not None:
            keys = keys if allow is not None else (key,)
            allow = [*(allow or ()), *(n for n in named if n not in (allow or ()))]
        item.layer.restrict("tools", None, off, item.at(key))
    item.layer.restrict("tools", allow, deny, item.at(*keys), item.at("policy", "tools", "deny"))
    if item.get("disallowedTools") is not None:
        named, off = tool_lists(item.get("disallowedTools"))
        item.layer.restrict("tools", None, [*(named or ()), *off], item.at("disallowedTools"))


def _budgets(item: Item) -> None:
    budgets = item.get("policy", "budgets") or {}
    layer = item.layer
    request = budgets.get("request") or {}
    for key, bound in _REQUEST:
        if key in request:
            layer.limit(bound, request[key], item.at("policy", "budgets", "request", key))
    warn_at = budgets.get("warn_at", ())
    steps = tuple(sorted(float(w) for w in (warn_at if isinstance(warn_at, (list, tuple)) else [warn_at])))
    asked = budgets.get("on_exceed", "deny")
    if isinstance(asked, Mapping):
        asked = f"downgrade:{asked['downgrade']}"
    elif asked == "downgrade":  # to nobody knows what
        layer.unused += (item.at("policy", "budgets", "on_exceed"),)
        asked = "deny"
    if "duration_s" in (budgets.get("session") or {}):
        layer.limit("max_duration", budgets["session"]["duration_s"], item.at("policy", "budgets", "session", "duration_s"))
    for window in ("session", "run", "day"):
        for key, value in (budgets.get(window) or {}).items():
            if key in UNITS:
                layer.amount(window, key, value, item.at("policy", "budgets", window, key), (asked, steps))


def _loops(item: Item) -> None:
    """What is a loop, and the steps against it: one word stands for the usual ones up to it."""
    loops, found = item.get("policy", "loops") or {}, item.layer.loops
    for key in ("warn", "block"):
        if key in (loops.get("identical") or {}):
            found[key] = (int(loops["identical"][key]), item.at("policy", "loops", "identical", key))
    act = loops.get("on_detect")
    if act:
        steps = IMPLIED[act] if isinstance(act, str) else tuple(step for step in LADDER if step in act)
        found["steps"] = (steps, item.at("policy", "loops", "on_detect"))
        if "downgrade" in steps and "downgrade" not in loops:
            item.warn("has the step `downgrade`, which does nothing unless some file names its model (loops.downgrade)", "policy", "loops")
    persona = loops.get("persona")
    if persona is not None:
        heat = persona.get("temperature")
        found["persona"] = (Persona(persona["system"], None if heat is None else float(heat)), item.at("policy", "loops", "persona"))
    for key in ("downgrade", "max_period"):
        if key in loops:
            found[key] = (loops[key], item.at("policy", "loops", key))


def _delegation(item: Item) -> None:
    """Which sub-agents an agent may call, how deep and how many."""
    said, layer = item.get("policy", "delegation") or {}, item.layer
    layer.restrict("delegates", said.get("allow"), (), item.at("policy", "delegation", "allow"))
    for bound in _DEPTHS:
        if bound in said:
            layer.limit(bound, said[bound], item.at("policy", "delegation", bound))


def _compliance(item: Item, *keys: str) -> None:
    day = item.get(*keys, "review_by")
    if isinstance(day, str):
        item.layer.review_by = item.layer.review_by or (day, item.at(*keys, "review_by"))
