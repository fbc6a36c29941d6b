from __future__ import annotations

import json

import pytest

from proxy.model import STATUS, Deny, Reason
from proxy.wire.refusals import MAX_RETRY_AFTER_S, dialect, refuse

DENY = Deny(
    Reason.BUDGET_EXCEEDED,
    "The day's budget is spent.",
    rule="AGENTS.md:12 policy.budgets.day",
    remedy="Wait until tomorrow or ask ops@example.com.",
    remaining="0.00 USD",
    resets_at=1763769600.0,
)
SENTENCE = "The day's budget is spent. Rule: AGENTS.md:12 policy.budgets.day. Wait until tomorrow or ask ops@example.com."
OURS = {
    "reason": "budget_exceeded",
    "rule": "AGENTS.md:12 policy.budgets.day",
    "decision_id": "r1",
    "remedy": "Wait until tomorrow or ask ops@example.com.",
    "remaining": "0.00 USD",
    "resets_at": "2025-11-22T00:00:00Z",
}


def test_the_openai_shape() -> None:
    refusal = refuse("openai", DENY, "r1")
    assert refusal.status == 402
    assert refusal.headers == (("content-type", "application/json"), ("x-should-retry", "false"))
    assert json.loads(refusal.body) == {
        "error": {"message": SENTENCE, "type": "insufficient_quota", "param": None, "code": "budget_exceeded"},
        "fleetgate": OURS,
    }


def test_the_anthropic_shape() -> None:
    refusal = refuse("anthropic", DENY, "r1")
    assert json.loads(refusal.body) == {
        "type": "error",
        "error": {"type": "billing_error", "message": SENTENCE},
        "request_id": "r1",
        "fleetgate": OURS,
    }


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_body(protocol: str, reason: Reason) -> None:
    refusal = refuse(protocol, Deny(reason, "What happened."), "r1")
    said = json.loads(refusal.body)
    assert refusal.status == STATUS[reason]
    assert said["error"]["message"] == "What happened."
    assert said["error"]["type"]
    assert said["fleetgate"] == {"reason": str(reason), "rule": "", "decision_id": "r1", "remedy": ""}
    may_help = reason in {"upstream_error", "upstream_timeout", "store_unavailable", "policy_unavailable"}
    assert (("x-should-retry", "false") in refusal.headers) == (not may_help)


@pytest.mark.parametrize(("after", "header"), [(0.0, "1"), (1.2, "2"), (30.0, "30"), (3600.0, "30")])
def test_retry_after_is_short(after: float, header: str) -> None:
    headers = dict(refuse("openai", Deny(Reason.RATE_LIMITED, "Slow down.", retry_after_s=after), "r1").headers)
    assert headers["retry-after"] == header
    assert int(header) <= MAX_RETRY_AFTER_S
    assert "x-should-retry" not in headers


def test_inside_a_stream_it_is_an_event() -> None:
    assert refuse("openai", DENY, "r1", streaming=True).body.startswith(b'data: {"error":')
    refusal = refuse("anthropic", DENY, "r1", streaming=True)
    assert refusal.body.startswith(b'event: error\ndata: {"type":"error"')
    assert refusal.body.endswith(b"\n\n")
    assert refusal.headers == (("content-type", "text/event-stream"),)


@pytest.mark.parametrize(
    ("path", "headers", "protocol"),
    [
        ("/v1/messages/batches", {}, "anthropic"),
        ("/v1/files", {"anthropic-version": "2023-06-01"}, "anthropic"),
        ("/v1/files", {}, "openai"),
        ("/", {"x-api-key": "k"}, "openai"),
    ],
)
def test_the_shape_for_paths_that_nobody_claims(path: str, headers: dict[str, str], protocol: str) -> None:
    assert dialect(path, headers) == protocol
