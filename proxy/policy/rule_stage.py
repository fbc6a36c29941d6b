"""The rules' look at a request: what is asked of whom and when, the tools it offers, and every text in it that is new.

Refuses with `policy_denied`, hides texts, lowers the output ceiling, chooses another model, or only leaves findings. What was found in a
message is remembered on it under the digest of the rules, so a turn costs what is new in it; forgetting changes cost, never a decision.
Whether the agent may use the model that a rule routes to is checked where routes are made. Fails closed: what raises is a refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from proxy.engine.exchange import Exchange
from proxy.engine.redaction import redactions_of
from proxy.engine.stage import Stage
from proxy.model import Deny, Reason
from proxy.policy.facts import TextFacts
from proxy.policy.judge import INLINE_CHARS, Providers, holds, label, note
from proxy.policy.rules import Direction, Rule, RuleSet, View, refusal, strictest
from proxy.wire.blocks import carried, unread
from proxy.wire.call import Call, Message

Hit = tuple[Rule, str, list[tuple[int, int]]]
"""A rule that holds for a text, the text, and what of it the rule is about."""


class RuleStage(Stage):
    """See the module.

    Args:
        rules: the rules of this snapshot.
        providers: which providers may serve a request.
    """

    name: ClassVar[str] = "rules"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "grant", "session"})

    def __init__(self, rules: RuleSet, providers: Providers) -> None:
        self._rules, self._providers = rules, providers
        self._key = f"rules:{rules.digest}"

    async def request(self, ex: Exchange) -> Deny | None:
        """Hear the rules that can hold, and do what the strictest of them say."""
        view, call = self._rules.view(ex.grant), ex.call
        if call.operation in ("models", "show") or not (view.asked or view.texts or view.offered):
            return None
        hits: list[Hit] = []
        if view.texts:
            if self._new_chars(call) > INLINE_CHARS:
                await asyncio.to_thread(lambda: sum(1 for _ in self._found(call)))
            hits = [hit for hit in self._found(call) if hit[0].id in view.texts]
        held = [*self._plain(ex, view), *dict.fromkeys(rule for rule, _, _ in hits)]
        held = [rule for rule in held if holds(rule, ex, self._providers)]
        return self._decided(ex, held, hits) if held else None

    def _plain(self, ex: Exchange, view: View) -> Iterator[Rule]:
        """Yield the rules that look at no text."""
        yield from view.asked
        if view.offered and (specs := ex.call.tools.specs):
            for rule in view.offered:
                if rule.when.tool is None or any(rule.when.tool(spec.name) for spec in specs):
                    yield rule

    def _decided(self, ex: Exchange, held: Sequence[Rule], hits: Sequence[Hit]) -> Deny | None:
        for rule in held:
            note(ex, rule)
        deny = refusal(held, Reason.POLICY_DENIED)
        if deny is not None and not deny.shadow and deny.approval is None:
            return deny
        firm = [rule for rule in strictest(held) if not rule.shadow]
        self._hide(ex, [hit for hit in hits if hit[0].action == "redact" and hit[0] in firm])
        for rule in firm:
            if rule.action == "limit":
                self._limit(ex, rule)
        route = next((rule for rule in firm if rule.action == "route"), None)
        if route is not None and ex.call.operation == "chat":
            ex.route_to, ex.route_rule = route.route_to, route.place
            ex.note(self.name, f"to be routed to {route.route_to}: {route.place}")
        return deny

    def _limit(self, ex: Exchange, rule: Rule) -> None:
        asked = ex.max_output if ex.max_output is not None else ex.call.max_output
        if ex.call.operation == "chat" and (asked is None or asked > rule.max_output):
            ex.max_output = rule.max_output
            ex.note(self.name, f"output ceiling {rule.max_output} instead of {'none' if asked is None else asked}: {rule.place}")

    def _hide(self, ex: Exchange, hits: Sequence[Hit]) -> None:
        if not hits:
            return
        redactions = redactions_of(ex)
        for rule, text, spans in hits:
            for start, end in spans:
                redactions.hide(text[start:end], label(rule), quoted=text.lstrip()[:1] in ("{", "["))
        ex.redactions = {**ex.redactions, **redactions.forth}
        ex.note(self.name, f"{len(redactions.forth)} texts are hidden from the provider")

    # --- texts -------------------------------------------------------------------------------------------------------------------

    def _new_chars(self, call: Call) -> int:
        new = sum([sum(map(len, m.texts)) for m in (*call.system, *unread(call.messages, self._key)) if self._key not in m.seen])
        return new + (0 if self._key in call.tools.seen else len(call.tools.text)) + sum(map(len, call.extra))

    def _found(self, call: Call) -> Iterator[Hit]:
        """Yield the rules that hold for texts of the request, whoever's rules they are: what is remembered is of the texts alone."""
        key = self._key
        yield from self._seen(call.system)
        for hits in carried(call.messages, key, self._seen):
            yield from hits
        if call.tools.text:
            seen = call.tools.seen.get(key)
            if seen is None:
                seen = call.tools.seen[key] = tuple(self._scan((call.tools.text,), "tool_definition"))
            for rule, text, spans in seen:
                if rule.when.tool is None or any(rule.when.tool(spec.name) for spec in call.tools.specs):
                    yield rule, text, spans
        if call.extra:
            yield from self._scan(call.extra, "request")

    def _seen(self, messages: Sequence[Message]) -> list[Hit]:
        key, found = self._key, list[Hit]()
        for message in messages:
            seen = message.seen.get(key)
            if seen is None:
                seen = message.seen[key] = tuple(self._scan(message.texts, _direction(message)))
            if seen:
                found += seen
        return found

    def _scan(self, texts: Iterable[str], direction: Direction) -> Iterator[Hit]:
        rules = self._rules.texts[direction]
        if not rules:
            return
        for text in texts:
            facts = TextFacts(text)
            for rule in rules:
                if rule.match is not None and rule.match.test(facts, True):
                    yield rule, text, rule.match.spans(text)


def _direction(message: Message) -> Direction:
    return "tool_result" if message.tool_results else "request"
