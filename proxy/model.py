"""The nouns that every layer shares: plain values without behaviour that could fail.

Nothing here does I/O, reads a clock or knows a protocol. All amounts of money are integer nano-dollars (`Nanos`), all times are UTC
seconds as float unless the name says otherwise, all sizes are tokens or bytes as named.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType

Nanos = NewType("Nanos", int)
"""Integer nano-dollars: 1 USD is 1_000_000_000."""


class Reason(enum.StrEnum):
    """Why an exchange was not served: the same word in the reply's body, the metric label, the log and the ledger."""

    UNAUTHENTICATED = "unauthenticated"
    UNKNOWN_AGENT = "unknown_agent"
    AGENT_KILLED = "agent_killed"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    TOOL_CALL_BLOCKED = "tool_call_blocked"
    POLICY_DENIED = "policy_denied"
    POLICY_UNAVAILABLE = "policy_unavailable"
    CONTENT_BLOCKED = "content_blocked"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_TIMEOUT = "approval_timeout"
    BUDGET_EXCEEDED = "budget_exceeded"
    REQUEST_TOO_COSTLY = "request_too_costly"
    RATE_LIMITED = "rate_limited"
    LOOP_DETECTED = "loop_detected"
    STEP_LIMIT = "step_limit"
    UNPRICED_MODEL = "unpriced_model"
    UNMETERED_ROUTE = "unmetered_route"
    MALFORMED_REQUEST = "malformed_request"
    REQUEST_TOO_LARGE = "request_too_large"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL = "internal"


STATUS: Mapping[Reason, int] = {
    Reason.UNAUTHENTICATED: 401,
    Reason.UNKNOWN_AGENT: 403,
    Reason.AGENT_KILLED: 403,
    Reason.MODEL_NOT_ALLOWED: 403,
    Reason.TOOL_NOT_ALLOWED: 403,
    Reason.TOOL_CALL_BLOCKED: 403,
    Reason.POLICY_DENIED: 403,
    Reason.POLICY_UNAVAILABLE: 503,
    Reason.CONTENT_BLOCKED: 403,
    Reason.APPROVAL_DENIED: 403,
    Reason.APPROVAL_TIMEOUT: 403,
    Reason.BUDGET_EXCEEDED: 402,
    Reason.REQUEST_TOO_COSTLY: 402,
    Reason.RATE_LIMITED: 429,
    Reason.LOOP_DETECTED: 403,
    Reason.STEP_LIMIT: 403,
    Reason.UNPRICED_MODEL: 403,
    Reason.UNMETERED_ROUTE: 404,
    Reason.MALFORMED_REQUEST: 400,
    Reason.REQUEST_TOO_LARGE: 413,
    Reason.UPSTREAM_ERROR: 502,
    Reason.UPSTREAM_TIMEOUT: 504,
    Reason.STORE_UNAVAILABLE: 503,
    Reason.INTERNAL: 500,
}
"""The HTTP status of each reason (public contract); `wire.refusals` may override it for a client that would mistake it."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A person may allow what is refused: how long one is waited for, and what follows when none decides; None for the settings'."""

    timeout_s: float | None = None
    default: Literal["deny", "allow"] | None = None

    def beside(self, other: Approval) -> Approval:
        """Return what holds where another one is asked for as well: one yes lifts both, and without one the stricter default follows."""
        defaults = (self.default, other.default)
        default: Literal["deny", "allow"] | None = "deny" if "deny" in defaults else None if None in defaults else "allow"
        return Approval(self.timeout_s, default)


@dataclass(frozen=True, slots=True)
class Deny:
    """A stage's refusal of an exchange.

    Attributes:
        reason: the closed word of it.
        message: what happened, for the person who reads the agent's log. Never a secret, never prompt text.
        rule: which rule said so and where it is written, as `AGENTS.md:12 policy.models.allow`, or the name of a built-in check.
        remedy: what to do next.
        shadow: the rule runs dry: the engine notes it as a finding and goes on.
        retry_after_s: set only where trying again can help.
        lasting: trying again cannot help, although with this reason it mostly may.
        remaining: what is left of the counter that refused, in its own unit, as text (`0.12 USD`).
        resets_at: when that counter starts anew, UTC seconds.
        approval: a person may allow it, and then the exchange goes on behind the stage that says so: that has done all else it does.
    """

    reason: Reason
    message: str
    rule: str = ""
    remedy: str = ""
    shadow: bool = False
    retry_after_s: float | None = None
    lasting: bool = False
    remaining: str | None = None
    resets_at: float | None = None
    approval: Approval | None = None

    @property
    def status(self) -> int:
        """The HTTP status that the public contract gives this reason."""
        return STATUS[self.reason]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a guard or a dry-run rule saw; `rule` is `guard/rule`, for example `secrets/aws-key` or `shadow/model_not_allowed`."""

    rule: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one upstream reply, in disjoint parts that add up: `input` excludes both cache parts, `output` includes `reasoning`.

    Attributes:
        input: prompt tokens billed at the full input price.
        output: generated tokens, reasoning included.
        cache_read: prompt tokens served from the provider's cache.
        cache_write: prompt tokens written to it (five-minute lifetime, or of no stated lifetime).
        cache_write_1h: prompt tokens written to it for an hour (Anthropic prices these apart).
        reasoning: the part of `output` that was hidden reasoning.
        exact: the provider reported it; else it is a bound that we computed.
        media: the parts of `input`, `cache_read` and `output` that are no text and may be priced apart, as (kind of `MEDIA`, tokens).
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    exact: bool = True
    media: tuple[tuple[str, int], ...] = ()

    @property
    def total_input(self) -> int:
        """All prompt tokens, cached or not."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def total(self) -> int:
        """All tokens in and out."""
        return self.total_input + self.output


MEDIA = tuple(f"{part}_{kind}" for part in ("input", "cache_read", "output") for kind in ("audio", "image", "video"))
"""Kinds of tokens that are no text: what they are a part of, and the medium."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in nano-dollars per million tokens, with steps by prompt size.

    Each rate is a tuple of `(from_total_input_tokens, nanos_per_million)` in rising order, the first step at 0. The step that holds
    the whole prompt's size prices all of its tokens (as vendors do for long-context tiers). None means the vendor names no rate of
    its own for that kind, and the input (or output) rate is charged.
    """

    input: tuple[tuple[int, int], ...]
    output: tuple[tuple[int, int], ...]
    cache_read: tuple[tuple[int, int], ...] | None = None
    cache_write: tuple[tuple[int, int], ...] | None = None
    cache_write_1h: tuple[tuple[int, int], ...] | None = None
    source: str = ""
    media: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    """The rates of kinds of `MEDIA` that have one of their own; the others cost what text does."""
    digest: str = field(default="", compare=False)
    """8 hex digits that identify the rates, whatever their source."""


FREE = Price(input=((0, 0),), output=((0, 0),), source="local", digest="d5df8b0a")


@dataclass(frozen=True, slots=True)
class Target:
    """One place where a call can be served: a provider's name, the model name that it knows, how we meter and what it costs.

    `wire` is the dialect that the provider is asked in (`openai.chat`), empty for the client's own. `context` is the most tokens that
    the model reads, where the configuration or the price table knows it. `region` is where the provider keeps data, empty for nowhere
    that anybody said. `tools`, `images` and `json` say what the model is able to do, None where nobody said.
    """

    provider: str
    model: str
    upstream_model: str
    protocol: str
    price: Price | None
    local: bool = False
    tokenizer: str = "o200k_base"
    wire: str = ""
    context: int | None = None
    region: str = ""
    tools: bool | None = None
    images: bool | None = None
    json: bool | None = None


RouteReason = Literal["requested", "local", "fallback", "downgrade"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call may go, first target first, and why the first was chosen. `difficulty` is 0..1 when the request was scored.

    `other` is where it would have gone else: what was asked for, of a call that goes to the simple model; the simple model, of one that
    would go there if scores did more than report.
    """

    targets: tuple[Target, ...]
    reason: RouteReason = "requested"
    why: str = ""
    difficulty: float | None = None
    other: Target | None = None


# --- what an agent may do ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value is written: file path as the user knows it, 1-based line, and the dotted key."""

    file: str
    line: int
    key: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.key}".rstrip()


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
        limit: in nanos for `usd`, else a count.
        window: minute, hour, day, week, month (UTC calendar), session, run, total, or `rolling 24h`.
        on_exceed: `deny`, `warn`, `local` (a local model serves it), or `downgrade:MODEL` (that model does); both within the limit.
        reason: what a refusal is called: budget_exceeded, or step_limit for a bound on calls in a session.
        shadow: counts, and refuses only dry.
    """

    name: str
    scope: tuple[tuple[str, str], ...]
    unit: Literal["usd", "tokens", "input_tokens", "output_tokens", "requests", "concurrency"]
    limit: int
    window: str
    source: Source
    warn_at: tuple[float, ...] = ()
    on_exceed: str = "deny"
    reason: Reason = Reason.BUDGET_EXCEEDED
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Persona:
    """Who an agent that goes in circles is asked to be: a system prompt in the place of its own, a temperature or None to leave it."""

    system: str
    temperature: float | None = None


LADDER = ("warn", "nudge", "persona", "downgrade", "strip_tools", "block", "escalate")
"""What can be done about a loop, the gentlest first."""
IMPLIED: Mapping[str, tuple[str, ...]] = {"warn": LADDER[:1], "nudge": LADDER[:2], "block": ("warn", "nudge", "block")}
"""The steps that one word for all of them (`on_detect: block`) means."""


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """What counts as a loop of an agent, and what is done about it.

    Attributes:
        warn, block: identical consecutive tool calls from which the detector warns and blocks.
        act: the strongest that may be done: `warn`, `nudge` (any step that lets the call go on) or `block`.
        source: where the file says so. shadow: it is only noted what would be done.
        steps: the steps of the ladder, in its order; empty for those that `act` implies.
        persona, downgrade: what those two steps switch to: None for the one of the house, and a model or empty.
        max_period: the longest cycle that is looked for.
    """

    warn: int = 3
    block: int = 5
    act: str = "block"
    source: Source | None = None
    shadow: bool = False
    steps: tuple[str, ...] = ()
    persona: Persona | None = None
    downgrade: str = ""
    max_period: int = 5

    @property
    def ladder(self) -> tuple[str, ...]:
        """The steps, also where only the strongest was named."""
        return self.steps or IMPLIED[self.act]


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
    loops: LoopLimits = LoopLimits()
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


@dataclass(frozen=True, slots=True)
class LoopSignal:
    """What the loop detector thinks of the request.

    Attributes:
        level: how sure it is and what that leads to: `warn` only says so, from `nudge` on something is done about it.
        rule: the rule that fired. count: how often it saw the repeat.
        action: what was done, where that is more than a nudge: persona, downgrade, strip_tools, escalate.
        since: how many steps ago the loop began. wasted: what was paid since, as far as it is known; fresh: what of it no earlier signal
            of the session had told.
    """

    level: Literal["none", "warn", "nudge", "block"] = "none"
    rule: str = ""
    count: int = 0
    action: str = ""
    since: int = 0
    wasted: Nanos = Nanos(0)
    fresh: Nanos = Nanos(0)

    def header(self) -> str:
        """The value of `x-fleetgate-loop`."""
        if self.level == "none":
            return "none"
        return f"{self.level};rule={self.rule};count={self.count}{f';action={self.action}' if self.action else ''}"


NO_LOOP = LoopSignal()
