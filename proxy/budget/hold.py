"""The hold of one exchange: what it claims, how it grows, and how it ends.

Decides no amounts; it carries out what the stage and the settled usage say. Fails as its store does: `StoreError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proxy.budget.port import BudgetStore, Claim, Exceeded, Held
from proxy.engine.emitted import emitted
from proxy.engine.exchange import Charges, Exchange
from proxy.model import Reason

_encode = msgspec.json.Encoder().encode


class Hold:
    """See the module. `claims` is empty while nothing may be held; `aimed`: some may stand for one target of the route alone."""

    __slots__ = ("_found", "aimed", "claims", "extended", "hold_id", "store")

    def __init__(self, store: BudgetStore, hold_id: str, aimed: bool = True) -> None:
        self.store, self.hold_id, self.aimed = store, hold_id, aimed
        self.claims: Sequence[Claim] = ()
        self.extended: Mapping[str, int] = {}
        self._found: tuple[dict[str, int], list[str]] | None = None

    async def extend(self, amounts: Mapping[str, int], now: float) -> Held | Exceeded:
        """Have the hold cover `amounts` by unit, in all. Raises StoreError."""
        answer = await self.store.extend(self.hold_id, amounts, now)
        if isinstance(answer, Held):
            self.extended = amounts
        return answer

    async def release(self, ex: Exchange) -> None:
        """Settle at what the exchange used; see `engine.exchange.Release`."""
        if not self.claims:
            return
        now = ex.clock.now()
        if not ex.sent and not ex.spent:
            await self.store.release(self.hold_id, now)
            return
        amounts, refund = self._due(ex)
        await self.store.settle(self.hold_id, amounts, now, refund)

    def bill(self, ex: Exchange) -> Charges:
        """Return what the settle charges to each counter, for the record."""
        if not self.claims or not (ex.sent or ex.spent):
            return ()
        amounts, refund = self._due(ex)
        return tuple([(c[0], c[1], due) for c in self.claims if (due := amounts.get(c[1])) and c[0] not in refund])

    def _due(self, ex: Exchange) -> tuple[dict[str, int], list[str]]:
        """Return what is charged by unit, and the counters that are charged nothing: found once, so that settle and record agree."""
        if self._found is not None:
            return self._found
        usage = ex.usage
        if usage is not None:
            read, made = usage.total_input, usage.output
            amounts = {"requests": 1, "usd": int(ex.cost), "tokens": read + made, "input_tokens": read, "output_tokens": made}
            amounts["gco2e"] = emitted(ex).carbon[1]
        else:
            amounts = (
                {"requests": 1} | {claim.unit: claim.amount for claim in self.claims if claim.unit != "concurrency"} | dict(self.extended)
            )
        refund = list[str]()
        if self.aimed:
            served = (ex.target.provider, ex.target.model) if ex.target is not None else None
            refund = [c[0] for c in self.claims if c[7] is not None and c[7] != served]
        if ex.outcome == "upstream_error" and not ex.served:  # a turn that failed is none: the client's SDK sends it again
            refund += [c.counter for c in self.claims if c.rule is not None and c.rule.reason is Reason.STEP_LIMIT]
        self._found = amounts, refund
        return self._found


def about(ex: Exchange) -> str:
    """Return what a hold is about, as JSON, for whoever finds it after its process died. Names only: no key, no prompt text."""
    facts = {"agent": ex.grant.agent, "key": ex.principal.key_id, "session": ex.session}
    if ex.run:
        facts["run"] = ex.run
    if ex.route.targets:
        target = ex.route.targets[0]
        facts["model"], facts["provider"] = target.model, target.provider
    return _encode(facts).decode()
