"""Rules and what they are held against, for tests of policies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from proxy.config import parse_yaml
from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.engine.ports import Client
from proxy.identity.agents_md import parse_agents
from proxy.identity.grants import combine
from proxy.model import Grant
from proxy.policy.facts import CallFacts, TextFacts
from proxy.policy.rules import Rule, RuleSet
from proxy.policy.rules_yaml import read_rules
from proxy.wire.call import Call, ToolCall


class Clock:
    """Stands where it is put."""

    def __init__(self, now: float = 0.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def ns(self) -> int:
        return 0


def grant(policy: str = "{}", name: str = "a") -> Grant:
    layer = parse_agents(f"---\nname: {name}\npolicy: {policy}\n---\n", "AGENTS.md").agents[0].layer
    assert layer is not None
    return combine(name, None, [layer])


def rules(text: str) -> list[Rule]:
    return read_rules(parse_yaml(text, "r.yaml")).rules


def rule(body: str) -> Rule:
    """The rule whose keys beside `id` are `body`, in braces or not; it denies unless it says otherwise."""
    return rules(f"rules: [{{id: x, {body}{'' if 'action:' in body else ', action: deny'}}}]")[0]


def ruleset(*bodies: str) -> RuleSet:
    items = "\n".join(f"  - {{id: r{i}, {body}{'' if 'action:' in body else ', action: deny'}}}" for i, body in enumerate(bodies))
    return RuleSet(rules(f"rules:\n{items}\n"))


def tool_call(arguments: Any, name: str = "tool") -> ToolCall:
    return ToolCall("c", name, arguments if isinstance(arguments, str) else json.dumps(arguments), b"")


def call_holds(match: str, arguments: Any, *effects: Effect, doubt: bool = True) -> bool:
    found = rule(f"match: {match}, when: {{direction: tool_call}}").match
    assert found is not None
    return found.test(CallFacts(tool_call(arguments), effects), doubt)


def text_holds(match: str, text: str) -> bool:
    found = rule(f"match: {match}").match
    assert found is not None
    return found.test(TextFacts(text), True)


def exchange(found: Grant, call: Call | None = None, now: float = 0.0) -> Exchange:
    ex = Exchange(cast(Any, None), Clock(now), cast(Client, None), "openai")
    ex.grant, ex.call, ex.session = found, call or Call("chat", "m", b"{}"), "s"
    return ex


def effect(kind: str, *flags: str, subject: str = "", evidence: str = "") -> Effect:
    return Effect(kind, subject, frozenset(flags), evidence)


def names(found: Sequence[Rule]) -> list[str]:
    return [one.id for one in found]
