"""What one agent may do, in values that a grant is made of, and who a caller proved to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.model.circles import HOUSE_LOOPS, LoopLimits
from proxy.model.costs import Nanos
from proxy.model.sources import Source
from proxy.model.verdicts import Reason


@dataclass(frozen=True, slots=True)
class Clause:
    """One layer's word on names (models or tools): `deny` wins over `allow`; `allow=None` lets every name pass this layer.

    A grant holds one clause a layer and a name must pass all of them, which is the intersection that tighten-only asks for.
    `allows` is the compiled predicate of both lists. A clause of a shadow layer refuses only dry.
    """

    allow: tuple[str, ...] | None
    deny: tuple[str, ...]
    source: Source
    shadow: bool
    allows: Callable[[str], bool] = field(compare=False, repr=False)
    deny_source: Source | None = None


@dataclass(frozen=True, slots=True)
class ArgumentClause:
    """One layer's word on the arguments of tools: a call of a tool that `tools` names and whose argument `key` (empty: any) holds
    `regex` (empty: whatever they are) is denied, needs a person, or is noted.
    """

    tools: tuple[str, ...]
    key: str
    regex: str
    action: Literal["deny", "require_approval", "warn"]
    source: Source
    shadow: bool
    names: Callable[[str], bool] = field(compare=False, repr=False)
    found: Callable[[str], bool] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Limit:
    """One layer's upper bound on a number; a grant keeps the smallest enforced and, when smaller still, the smallest shadow one."""

    value: int
    source: Source
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """One budget: who shares a counter, how much, over which window. From `budgets/*.yaml` or an agent's own `policy.budgets`.

    Attributes:
        name: unique name; the counter keys start with it.
        scope: pairs of (dimension, pattern), in order; dimension is one of fleet, team, agent, session, run, model, provider, key.
            A pattern `*` makes one counter for each value; any other name or glob selects which calls the rule sees, and shares one.
        unit: what is counted; `concurrency` counts calls in flight and is never spent.
        limit: in nanos for `usd`, in micrograms for `gco2e` (grams of CO2 equivalents), else a count.
        window: minute, hour, day, week, month (UTC calendar), session, run, total, or `rolling 24h`.
        on_exceed: `deny`, `warn`, `local` (a local model serves it), or `downgrade:MODEL` (that model does); both within the limit.
        reason: what a refusal is called: budget_exceeded, or step_limit for a bound on calls in a session.
        shadow: counts, and refuses only dry.
    """

    name: str
    scope: tuple[tuple[str, str], ...]
    unit: Literal["usd", "tokens", "input_tokens", "output_tokens", "requests", "concurrency", "gco2e"]
    limit: int
    window: str
    source: Source
    warn_at: tuple[float, ...] = ()
    on_exceed: str = "deny"
    reason: Reason = Reason.BUDGET_EXCEEDED
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class RoutingLimits:
    """How far an agent's simple requests may be moved: the highest threshold, the highest that pressure on a budget may raise it to
    (None: as the settings say), and `pinned` where only the model that was asked for may serve."""

    threshold: float | None = None
    max_threshold: float | None = None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What one agent may do: its file's policy attenuated by the operator baseline, never widened.

    Built once per snapshot; stages read it, none changes it. `digest` identifies the effective policy, `file_digest` (SHA-256, hex)
    the file that it came from; both go on every record.
    """

    agent: str
    team: str
    version: str
    file_digest: str
    digest: str
    models: tuple[Clause, ...]
    tools: tuple[Clause, ...]
    default_model: str | None = None
    fallback: tuple[str, ...] = ()
    max_input: tuple[Limit, ...] = ()
    max_output: tuple[Limit, ...] = ()
    max_turns: tuple[Limit, ...] = ()
    max_duration: tuple[Limit, ...] = ()
    """Most seconds of a session."""
    max_depth: tuple[Limit, ...] = ()
    """Most levels of sub-agents below this agent; `delegates` says which, `fan_out` how many of a run may begin in a minute."""
    delegates: tuple[Clause, ...] = ()
    fan_out: tuple[Limit, ...] = ()
    budgets: tuple[BudgetRule, ...] = ()
    loops: LoopLimits = HOUSE_LOOPS
    local_ok: bool = False
    local_ok_source: Source | None = None
    routing: RoutingLimits = RoutingLimits()
    shadow: bool = False
    description: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    tool_args: tuple[ArgumentClause, ...] = ()
    firm_data: Mapping[str, str] = field(default_factory=dict)
    """What of `data` the enforced layers say; it holds where all layers of the agent itself are shadow ones."""

    def may_use(self, model: str) -> bool:
        """Return whether every enforced layer lets this agent use `model`: for routing and for the list of models."""
        return all(c.shadow or c.allows(model) for c in self.models)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who the caller proved to be: the agent pattern of its key, the key's public id (never the key), and what the key is bound to.

    `run` is the run that all of its calls belong to, whatever they say; `limit` is what the key may spend in all, None for no bound.
    """

    agent: str
    key_id: str
    run: str = ""
    limit: Nanos | None = None
