"""What becomes of an exchange and why: the closed list of reasons, refusals, findings."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


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
