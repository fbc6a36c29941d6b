"""Why a gate (`engine.gate`) stops a reply by itself, whatever an inspector says of it. Each is told to the client as it stands."""

from __future__ import annotations

from proxy.model import Deny, Reason

MAX_HELD = 64 << 20
"""Bytes that may wait at once."""


def _stop(reason: Reason, message: str, remedy: str) -> Deny:
    return Deny(reason, message, rule="gate", remedy=remedy)


ODD = _stop(
    Reason.UPSTREAM_ERROR,
    "The provider's reply could not be read as its protocol, so nobody could look at what stands in it.",
    "Try again; if it stays, check the provider.",
)
TOO_MUCH = _stop(
    Reason.CONTENT_BLOCKED,
    f"More than {MAX_HELD >> 20} MiB of the reply, or of texts side by side in it, would have to wait until it can be looked at.",
    "Have the model write less at once.",
)
UNFINISHED = _stop(Reason.TOOL_CALL_BLOCKED, "The reply ended inside of a tool call, which nobody could look at.", "Try again.")
SLIPPED = _stop(
    Reason.TOOL_CALL_BLOCKED,
    "The reply holds a tool call that could not be taken out of it alone, so it stops here.",
    "Try again; if it stays, check the provider.",
)
TORN = _stop(
    Reason.CONTENT_BLOCKED,
    "The reply says in pieces, with other words between them, what this agent must not be told.",
    "Try again.",
)
