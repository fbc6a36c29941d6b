"""The nouns that every layer shares: plain values without behaviour that could fail.

Nothing here does I/O, reads a clock or knows a protocol. All amounts of money are integer nano-dollars (`Nanos`), all times are UTC
seconds as float unless the name says otherwise, all sizes are tokens or bytes as named.
"""

from __future__ import annotations

from proxy.model.circles import IMPLIED, LADDER, NO_LOOP, LoopLimits, LoopSignal, Persona
from proxy.model.costs import FREE, MEDIA, Nanos, Price, Route, RouteReason, Target, Usage
from proxy.model.grants import ArgumentClause, BudgetRule, Clause, Grant, Limit, Principal, RoutingLimits
from proxy.model.sources import Source
from proxy.model.verdicts import STATUS, Approval, Deny, Finding, Reason

__all__ = [
    "FREE",
    "IMPLIED",
    "LADDER",
    "MEDIA",
    "NO_LOOP",
    "STATUS",
    "Approval",
    "ArgumentClause",
    "BudgetRule",
    "Clause",
    "Deny",
    "Finding",
    "Grant",
    "Limit",
    "LoopLimits",
    "LoopSignal",
    "Nanos",
    "Persona",
    "Price",
    "Principal",
    "Reason",
    "Route",
    "RouteReason",
    "RoutingLimits",
    "Source",
    "Target",
    "Usage",
]
