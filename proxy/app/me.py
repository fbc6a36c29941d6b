"""`GET /fleetgate/v1/me`: what this key may do and has left, so that an agent can plan."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from proxy.app.balances import AMOUNTS, Caller, balance_json, balances
from proxy.budget.rules import Facts, RuleSet
from proxy.budget.stage import key_rules
from proxy.engine.exchange import Exchange
from proxy.engine.ports import StoreError
from proxy.identity.headers import present
from proxy.identity.lineage import place_of
from proxy.identity.sessions import session_named
from proxy.model import Clause, Deny, Grant, Limit, Reason
from proxy.wire.jsonio import dumps

if TYPE_CHECKING:
    from proxy.app.house import House

log = logging.getLogger("fleetgate.app")


class Me:
    """Answers for one exchange by running its identity stage alone."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def answer(self, ex: Exchange) -> tuple[int, bytes] | Deny:
        """Return status and body, or why the caller learns nothing."""
        for name, hook in ex.rt.plan.request:
            if name == "identity":
                deny = await hook(ex)
                if deny is not None:
                    return deny
                try:
                    return 200, dumps(await self._facts(ex))
                except StoreError as e:
                    log.error("exchange %s: what is left cannot be read: %s", ex.id, e)
                    words = "Shared state cannot be reached, so nobody can say what is left."
                    return Deny(Reason.STORE_UNAVAILABLE, words, rule="store", remedy="Try again.", retry_after_s=2)
        return Deny(Reason.INTERNAL, "No identity stage is configured.", rule="pipeline")

    async def _facts(self, ex: Exchange) -> dict[str, Any]:
        grant = ex.grant
        found = await self._left(ex)
        return {
            "key": {"id": ex.principal.key_id, "run": ex.principal.run or None},
            "agent": grant.agent,
            "version": grant.version,
            "description": grant.description,
            "mode": "shadow" if grant.shadow else "enforce",
            "models": [_clause(c) for c in grant.models],
            "default_model": grant.default_model,
            "tools": [_clause(c) for c in grant.tools],
            "max_input_tokens": _least(grant.max_input),
            "max_output_tokens": _least(grant.max_output),
            "max_turns": _least(grant.max_turns),
            "loops": {"warn": grant.loops.warn, "block": grant.loops.block},
            "local_ok": grant.local_ok,
            "budgets": [balance_json(b) for b in found],
        }

    async def _left(self, ex: Exchange) -> list[dict[str, Any]]:
        """Return what is left of each budget that a call like this request would draw from, of its session and run where it names them."""
        house, now = self._house, self._house.clock.now()
        ex.session = session_named(ex.headers, ex.agent)
        run = place_of(ex, present(ex.headers), house.lineage).run
        caller = Caller(ex.grant, ex.principal.key_id, ex.session, run)
        claims = house.board.claims(caller, now)
        if own := key_rules(ex.principal):
            facts = Facts(ex.grant.team, ex.grant.agent, caller.key_id, caller.session, caller.run)
            claims += RuleSet(own).claims(facts, now, AMOUNTS)
        return await balances(house.stores.budget, claims, now, house.gauges.recent)


def _clause(clause: Clause) -> dict[str, Any]:
    return {"allow": None if clause.allow is None else list(clause.allow), "deny": list(clause.deny), "source": str(clause.source)}


def _least(limits: tuple[Limit, ...]) -> int | None:
    return min((limit.value for limit in limits if not limit.shadow), default=None)


def grants_of(house: House) -> list[Grant]:
    """Return all grants, by agent."""
    return [grant for _, grant in sorted(house.files.directory.agents.items())]
