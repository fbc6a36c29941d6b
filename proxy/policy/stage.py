"""The policy stage: holds a call against its agent's contract, and lowers an output ceiling that is too high.

It refuses models, tools and turns that the contract does not allow; it never refuses for an output ceiling, which it lowers instead. The
number of input tokens is not known yet here: the budget stage, which counts them, holds them to `Grant.max_input`.
"""

from __future__ import annotations

from typing import ClassVar

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.model import Deny, Grant, Limit
from proxy.policy import contract
from proxy.wire.call import Call, ToolSpec

REMEMBERED = 512
"""Verdicts on tool lists, on models and on ceilings that are kept; when full they start anew. Each holds its grant, so that the id in
its key stays its own."""
REMEMBERED_TOOLS = 256
"""A longer list is judged each time: a verdict holds its list, and nobody may fill memory with lists."""


class ContractStage(Stage):
    """Checks models, tools, turns and the output ceiling against `ex.grant`."""

    name: ClassVar[str] = "policy"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "grant"})
    gives: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self._verdicts: dict[tuple[int, int], tuple[Grant, tuple[ToolSpec, ...], Deny | None]] = {}
        self._names: dict[tuple[int, str, tuple[str, ...]], tuple[Grant, Deny | None]] = {}
        self._ceilings: dict[tuple[int, int | None], tuple[Grant, Limit | None, str, Limit | None]] = {}

    async def request(self, ex: Exchange) -> Deny | None:
        """Refuse what the contract does not allow; set `max_output` where the contract's ceiling is lower than the request's."""
        grant, call = ex.grant, ex.call
        if call.operation == "chat":
            self._ceiling(ex)
        for member in call.dearer:
            ex.find(f"billing/{member}", "the provider may charge more for it than the price that was reserved")
        specs = call.tools.specs
        deny = contract.firmest(
            (
                self._model(grant, call) if call.operation != "models" else contract.check_spelling(grant, call.model),
                self._tools(grant, specs) if specs else None,
                contract.check_turns(grant, call) if call.operation == "chat" and grant.max_turns else None,
            )
        )
        if deny is None:
            ex.note("policy", "the contract allows it")
        return deny

    def _ceiling(self, ex: Exchange) -> None:
        grant, asked = ex.grant, ex.call.max_output
        if not grant.max_output:
            return
        key = (id(grant), asked)
        known = self._ceilings.get(key)
        if known is None or known[0] is not grant:
            limit, dry = contract.output_ceiling(grant, asked), contract.dry_ceiling(grant, asked)
            words = "" if limit is None else f"output ceiling {limit.value} instead of {'none' if asked is None else asked}: {limit.source}"
            if len(self._ceilings) >= REMEMBERED:
                self._ceilings.clear()
            known = self._ceilings[key] = (grant, limit, words, dry)
        _, limit, words, dry = known
        if limit is not None:
            ex.max_output = limit.value
            ex.note("policy", words)
        if dry is not None:
            ex.find("shadow/max_output", f"would be {dry.value}: {dry.source}")

    def _model(self, grant: Grant, call: Call) -> Deny | None:
        """Return the verdict on the model that is asked for, the same for each of an agent's calls."""
        key = (id(grant), call.model, call.aliases)
        known = self._names.get(key)
        if known is not None and known[0] is grant:
            return known[1]
        deny = contract.firmest((contract.check_model(grant, call.model, call.aliases), contract.check_spelling(grant, call.model)))
        if len(self._names) >= REMEMBERED:
            self._names.clear()
        self._names[key] = (grant, deny)
        return deny

    def _tools(self, grant: Grant, specs: tuple[ToolSpec, ...]) -> Deny | None:
        """Return the verdict on `specs`, the same object each turn by the memo. The entry holds both, so their ids stay theirs."""
        key = (id(grant), id(specs))
        known = self._verdicts.get(key)
        if known is not None and known[0] is grant and known[1] is specs:
            return known[2]
        deny = contract.check_tools(grant, specs)
        if len(specs) > REMEMBERED_TOOLS:
            return deny
        if len(self._verdicts) >= REMEMBERED:
            self._verdicts.clear()
        self._verdicts[key] = (grant, specs, deny)
        return deny
