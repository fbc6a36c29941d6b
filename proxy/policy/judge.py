"""What the contract and the rules of files say of a model's reply: of each tool call before the agent has it, and of its texts.

Both implement `engine.inspector.CallJudge`, the rules `engine.inspector.TextJudge` too. A refusal is a value; what raises is turned into a
cut by the engine. Arguments too long to be read in passing are read in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.engine.inspector import Span
from proxy.model import Deny, Grant, Reason
from proxy.policy import contract
from proxy.policy.facts import CallFacts, TextFacts
from proxy.policy.rules import Rule, RuleSet, deny_of, refusal, strictest
from proxy.wire.call import ToolCall

INLINE_CHARS = 65_536
"""Arguments up to this length are judged on the loop (about a millisecond), longer ones in a thread."""
Providers = Callable[[Exchange], Sequence[str]]
"""Which providers may serve a request, by name."""


class ContractJudge:
    """Holds tool calls to the agent's contract: their names, their arguments, and what only a person may allow."""

    async def judge(self, ex: Exchange, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        """See `CallJudge`."""
        grant = ex.grant
        if not grant.tools and not grant.tool_args:
            return None
        facts = CallFacts(call)
        if len(call.arguments) > INLINE_CHARS and grant.tool_args:
            deny, noted = await asyncio.to_thread(contract.check_call, grant, facts)
        else:
            deny, noted = contract.check_call(grant, facts)
        for source in noted:
            found(ex, "contract/tools.args", str(source))
        return deny


class RuleJudge:
    """Holds replies to the rules of files.

    Args:
        rules: the rules of this snapshot.
        providers: which providers may serve a request, where none has been asked yet.
    """

    def __init__(self, rules: RuleSet, providers: Providers) -> None:
        self._rules, self._providers = rules, providers

    async def judge(self, ex: Exchange, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        """See `CallJudge`."""
        rules = self._rules.view(ex.grant).on_call(call.name, frozenset(effect.kind for effect in effects))
        if not rules:
            return None
        facts = CallFacts(call, effects)
        if len(call.arguments) > INLINE_CHARS:
            held = await asyncio.to_thread(self._held, ex, rules, facts)
        else:
            held = self._held(ex, rules, facts)
        return self._decided(ex, held)

    def _held(self, ex: Exchange, rules: Sequence[Rule], facts: CallFacts) -> list[Rule]:
        return [r for r in rules if (r.match is None or r.match.test(facts, True)) and holds(r, ex, self._providers)]

    def _decided(self, ex: Exchange, held: list[Rule]) -> Deny | None:
        if not held:
            return None
        for rule in held:
            note(ex, rule)
        return refusal(held, Reason.TOOL_CALL_BLOCKED)

    def reach(self, grant: Grant) -> int | None:
        """See `TextJudge`."""
        return self._rules.view(grant).reach

    def spans(self, ex: Exchange, text: str) -> list[Span]:
        """See `TextJudge`."""
        facts, spans = TextFacts(text), list[Span]()
        for rule in strictest(self._rules.view(ex.grant).replies):
            if rule.match is None or not rule.match.test(facts, True) or not holds(rule, ex, self._providers):
                continue
            for start, end in rule.match.spans(text):
                spans += _spans(rule, start, end)
        return spans


def _spans(rule: Rule, start: int, end: int) -> list[Span]:
    name, detail = f"rule/{rule.id}", told(rule)
    if rule.action == "warn" or (rule.shadow and rule.action == "redact"):
        return [Span(start, end, rule=name, detail=detail)]
    if rule.action == "redact":
        return [Span(start, end, f"[{label(rule)}]", None, name, detail)]
    deny = deny_of(rule, Reason.POLICY_DENIED)
    if deny.shadow:
        return [Span(start, end, rule=name, detail=detail), Span(start, end, rule=f"shadow/{deny.reason}", detail=deny.rule)]
    return [Span(start, end, None, deny, name, detail)]


def holds(rule: Rule, ex: Exchange, providers: Providers) -> bool:
    """Return whether the rule looks at this exchange: its model, its provider, the time. Agents and tools were looked at before."""
    when = rule.when
    if when.model is not None:
        names = {ex.call.model, *ex.call.aliases, *([ex.target.model] if ex.target is not None else [])}
        if not any(map(when.model, names)):
            return False
    if when.provider is not None:
        served = (ex.target.provider,) if ex.target is not None else providers(ex)
        if not any(map(when.provider, served)):
            return False
    return when.window is None or when.window.holds(ex.clock.now())


def note(ex: Exchange, rule: Rule) -> None:
    """Leave the finding of a rule that holds, once an exchange."""
    found(ex, f"rule/{rule.id}", told(rule))


def told(rule: Rule) -> str:
    """Return the detail of the rule's finding."""
    return f"dry run of {rule.action}: {rule.place}" if rule.shadow else f"{rule.action}: {rule.place}"


def found(ex: Exchange, rule: str, detail: str) -> None:
    """Leave a finding once."""
    if not any(f.rule == rule and f.detail == detail for f in ex.findings):
        ex.find(rule, detail)


def label(rule: Rule) -> str:
    """Return the word of the rule's placeholders."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in rule.id.upper()).lstrip("0123456789_") or "REDACTED"
