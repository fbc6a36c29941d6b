"""The policy stage: holds a call against its agent's contract, and lowers an output ceiling that is too high.

It refuses models, tools and turns that the contract does not allow; it never refuses for an output ceiling, which it lowers instead. The
number of input tokens is not known yet here: the budget stage, which counts them, holds them to `Grant.max_input`.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.model import Deny, Grant, Limit
from proxy.policy import contract
from proxy.wire.call import Call, ToolSpec

REMEMBERED = 512
"""Verdicts on tool lists, and on models with ceilings, that are kept; when full they start anew. Each holds its grant, so that the id in
its key stays its own."""
REMEMBERED_TOOLS = 256
"""A longer list is judged each time: a verdict holds its list, and nobody may fill memory with lists."""


class _Said(NamedTuple):
    """What a contract says of a model and a ceiling: why not, the ceiling to hold the call to, the words for it, and a dry run's."""

    grant: Grant
    deny: Deny | None
    limit: Limit | None
    words: str
    dry: Limit | None


class ContractStage(Stage):
    """Checks models, tools, turns and the output ceiling against `ex.grant`."""

    name: ClassVar[str] = "policy"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "grant"})
    gives: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self._verdicts: dict[tuple[int, int], tuple[Grant, tuple[ToolSpec, ...], Deny | None]] = {}
        self._names: dict[tuple[int, str, tuple[str, ...], int | None], _Said] = {}

    async def request(self, ex: Exchange) -> Deny | None:
        """Refuse what the contract does not allow; set `max_output` where the contract's ceiling is lower than the request's."""
        grant, call = ex.grant, ex.call
        if call.operation == "models":
            deny = contract.check_spelling(grant, call.model)
        else:
            said = self._said(grant, call)
            deny = said.deny
            if call.operation == "chat":
                _lower(ex, said)
        for member in call.dearer:
            ex.find(f"billing/{member}", "the provider may charge more for it than the price that was reserved")
        specs = call.tools.specs
        if specs or grant.max_turns:
            turns = contract.check_turns(grant, call) if call.operation == "chat" and grant.max_turns else None
            deny = contract.firmest((deny, self._tools(grant, specs) if specs else None, turns))
        if deny is None:
            ex.note("policy", "the contract allows it")
        return deny

    def _said(self, grant: Grant, call: Call) -> _Said:
        """Return what the contract says of the model that is asked for and of the ceiling, the same for each such call of an agent."""
        asked = call.max_output
        key = (id(grant), call.model, call.aliases, asked)
        known = self._names.get(key)
        if known is not None and known.grant is grant:
            return known
        deny = contract.firmest((contract.check_model(grant, call.model, call.aliases), contract.check_spelling(grant, call.model)))
        limit, dry = contract.output_ceiling(grant, asked), contract.dry_ceiling(grant, asked)
        words = "" if limit is None else f"output ceiling {limit.value} instead of {'none' if asked is None else asked}: {limit.source}"
        if len(self._names) >= REMEMBERED:
            self._names.clear()
        known = self._names[key] = _Said(grant, deny, limit, words, dry)
        return known

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


def _lower(ex: Exchange, said: _Said) -> None:
    """Hold the call to the contract's ceiling, and report what a dry run's would be."""
    if said.limit is not None:
        ex.max_output = said.limit.value
        ex.note("policy", said.words)
    if said.dry is not None:
        ex.find("shadow/max_output", f"would be {said.dry.value}: {said.dry.source}")
