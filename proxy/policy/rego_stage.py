"""The policies' look at an exchange: at its request, at each tool call of the reply, and at the reply.

Refuses with `policy_denied` or `tool_call_blocked`, lowers the output ceiling, hides texts, chooses another model, or only leaves
findings. An engine that fails decides nothing: `policy_unavailable`, or with `on_error: observe` a finding and the exchange goes on. A
package in shadow mode, and nothing else, makes a refusal a dry run: policies are the operator's, and no agent's file softens them.
A reply is decided on whole, before the client sees it; of a stream its end, when all has passed and only a finding can be left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.engine.redaction import redactions_of
from proxy.engine.stage import Stage, Tap
from proxy.model import Approval, Deny, Reason
from proxy.policy.cache import Reads
from proxy.policy.decision import APPROVAL, Decision, Hook, Package, PolicyFault, Ruling, decide
from proxy.policy.embedded import Embedded
from proxy.policy.input import Facts, Subject, document
from proxy.policy.rego import Policies
from proxy.wire.call import Event, ToolCall

log = logging.getLogger("fleetgate.policy")
ASKED = ("chat", "embeddings", "count_tokens")
"""The operations that policies are asked about; the others read lists of models."""


class Engine(Protocol):
    """Evaluates policies.

    Attributes:
        reads: what the policies of each hook read.
    """

    reads: Mapping[Hook, Reads]

    async def ask(self, hook: Hook, document: Mapping[str, Any], tell: Callable[[str], None] | None = None) -> Any:
        """Return the document of `data.fleetgate.<hook>`; `tell` hears by what the decision can be found again. Raises PolicyFault."""
        ...


class Rego:
    """The policies of one snapshot with the engine that decides.

    Args:
        policies: which packages there are.
        engine: who evaluates them.
        facts: what is looked up elsewhere.
        on_error: what a failure of the engine means.
    """

    def __init__(self, policies: Policies, engine: Engine, facts: Facts, on_error: Literal["deny", "observe"] = "deny") -> None:
        self.policies, self.engine, self._facts, self._on_error = policies, engine, facts, on_error

    def has(self, hook: Hook) -> bool:
        """Return whether any package decides on `hook`."""
        return bool(self.policies.packages.get(hook))

    def packages(self, hook: Hook) -> Sequence[Package]:
        """Return the packages that decide on `hook`."""
        return self.policies.packages[hook]

    async def decide(self, hook: Hook, ex: Exchange, call: ToolCall | None = None, effects: Sequence[Effect] = ()) -> Decision | Deny:
        """Return what the policies say, or the refusal where they cannot be heard."""
        what = self.engine.reads[hook]
        subject = Subject(ex, self._facts.targets(ex) if what.covers("model") or what.covers("cost") else (), call, effects)
        if what.covers("budgets"):
            subject.budgets = await self._facts.budgets(ex)
        try:
            found = document(hook, subject, what)
            answer = await self.engine.ask(hook, found, lambda words: ex.note("rego", words))
            decision = decide(self.packages(hook), answer)
        except PolicyFault as e:
            return self._unavailable(ex, str(e.args[0]))
        for warning in decision.warnings:
            ex.find(f"policy/{warning.package.name}", warning.message)
        return decision

    def _unavailable(self, ex: Exchange, why: str) -> Deny | Decision:
        log.error("exchange %s: policies cannot be evaluated: %s", ex.id, why)
        if self._on_error == "observe":
            ex.find("policy/unavailable", why)
            ex.note("rego", f"policies were not heard, and policy.on_error is observe: {why}")
            return Decision()
        words = f"The policies cannot be evaluated, so nothing is let pass: {why}."
        return Deny(Reason.POLICY_UNAVAILABLE, words, rule="policy.engine", remedy="Try again; see the server log.", retry_after_s=2)


def deny_of(ruling: Ruling, reason: Reason) -> Deny:
    """Return the refusal that a ruling is."""
    message = ruling.message[:1].upper() + ruling.message[1:]
    remedy = ruling.remedy or f"Ask whoever keeps {ruling.package.source.file}."
    words = message if message.endswith((".", "!", "?")) else f"{message}."
    asked = Approval() if ruling.output == APPROVAL else None
    return Deny(reason, words, ruling.where, remedy, ruling.package.shadow, approval=asked)


class RegoStage(Stage):
    """See the module."""

    name: ClassVar[str] = "rego"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "grant", "session"})

    def __init__(self, rego: Rego) -> None:
        self.rego = rego

    async def request(self, ex: Exchange) -> Deny | None:
        """Hear the policies on the request and do what they ask."""
        if ex.call.operation not in ASKED or not self.rego.has("request"):
            return None
        found = await self.rego.decide("request", ex)
        if isinstance(found, Deny):
            return found
        refusal = found.refusal
        if refusal is not None and not refusal.package.shadow and refusal.output != APPROVAL:
            return deny_of(refusal, Reason.POLICY_DENIED)
        self._carry_out(ex, found)
        return None if refusal is None else deny_of(refusal, Reason.POLICY_DENIED)

    def _carry_out(self, ex: Exchange, found: Decision) -> None:
        if found.limit_output is not None and ex.call.operation == "chat":
            most, package = found.limit_output
            asked = ex.max_output if ex.max_output is not None else ex.call.max_output
            if asked is None or asked > most:
                ex.max_output = most
                ex.note(self.name, f"output ceiling {most} instead of {asked or 'none'}: {package.place('limit_output')}")
        if found.redact:
            redactions = redactions_of(ex)
            for text, _ in found.redact:
                redactions.hide(text, "POLICY")
            ex.redactions = {**ex.redactions, **redactions.forth}
            ex.note(self.name, f"{len(redactions.forth)} texts are hidden from the provider")
        if found.route is not None and ex.call.operation == "chat":
            ex.route_to, ex.route_rule = found.route[0], found.route[1].place("route")
            ex.note(self.name, f"to be routed to {ex.route_to}: {ex.route_rule}")

    async def reply(self, ex: Exchange) -> Deny | None:
        """Hear the policies on a whole reply."""
        if ex.call.operation != "chat" or not self.rego.has("response"):
            return None
        found = await self.rego.decide("response", ex)
        if isinstance(found, Deny):
            return found
        return None if found.refusal is None else deny_of(found.refusal, Reason.POLICY_DENIED)

    def tap(self, ex: Exchange) -> Tap | None:
        """Return what hears the policies at the end of a stream; an OPA server is not asked there."""
        if ex.call.operation != "chat" or not self.rego.has("response") or not isinstance(self.rego.engine, Embedded):
            return None

        def look(event: Event) -> None:
            if event.kind == "end":
                self._late(ex)

        return look

    def _late(self, ex: Exchange) -> None:
        """Leave findings of what would have refused the reply, had it not passed already."""
        if self.rego.engine.reads["response"].covers("budgets"):  # a stream does not wait for the store
            ex.find("policy/unheard", "policies on replies that read input.budgets are not asked about streams")
            return
        try:
            self.rego.decide("response", ex).send(None)  # the embedded engine answers without waiting
        except StopIteration as done:
            found = done.value
        refusal = found if isinstance(found, Deny) else None if found.refusal is None else deny_of(found.refusal, Reason.POLICY_DENIED)
        if refusal is not None:
            ex.find(f"late/{refusal.reason}", refusal.rule)
            ex.note(self.name, f"would have been refused, but had passed as a stream: {refusal.message} [{refusal.rule}]")


class RegoJudge:
    """Hears the policies on each tool call. Implements `engine.gate.CallJudge`."""

    def __init__(self, rego: Rego) -> None:
        self._rego = rego

    async def judge(self, ex: Exchange, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        """See `CallJudge`."""
        found = await self._rego.decide("tool_call", ex, call, effects)
        if isinstance(found, Deny):
            return found
        return None if found.refusal is None else deny_of(found.refusal, Reason.TOOL_CALL_BLOCKED)
