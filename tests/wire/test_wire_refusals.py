from __future__ import annotations

import json

import pytest

from proxy.model import STATUS, Deny, Reason
from proxy.wire.refusals import MAX_RETRY_AFTER_S, Asker, asker, dialect, error_event, provider_error, refuse

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
    assert error_event("openai", DENY).startswith(b'data: {"error":')
    assert error_event("gemini", DENY).startswith(b'data: {"error":{"code":402')
    said = error_event("anthropic", DENY)
    assert said.startswith(b'event: error\ndata: {"type":"error"')
    assert said.endswith(b"\n\n")
    assert error_event("ollama", DENY).startswith(b'{"error":"The day')
    assert error_event("ollama", DENY).endswith(b"}\n")


def test_the_gemini_and_ollama_shapes() -> None:
    gemini = refuse("gemini", DENY, "r1")
    assert gemini.status == 402
    assert json.loads(gemini.body) == {"error": {"code": 402, "message": SENTENCE, "status": "RESOURCE_EXHAUSTED"}, "fleetgate": OURS}
    assert json.loads(refuse("ollama", DENY, "r1").body) == {"error": SENTENCE, "fleetgate": OURS}


CLAUDE = {"user-agent": "claude-cli/2.1.329 (external, sdk-cli)"}
CODEX = {"user-agent": "codex_exec/0.169.0", "originator": "codex_exec"}


@pytest.mark.parametrize("reason", Reason)
def test_claude_code_gets_no_status_that_it_repeats(reason: Reason) -> None:
    deny = Deny(reason, "What happened.")
    refusal = refuse(asker("anthropic", CLAUDE, "messages"), deny, "r1")
    assert refusal.status == (403 if deny.status in (400, 413, 422) else deny.status)
    error = json.loads(refusal.body)["error"]
    assert error["type"] == ("permission_error" if refusal.status == 403 else error["type"])
    assert refuse(asker("anthropic", {"x-claude-code-session-id": "s"}), deny, "r1").status == refusal.status


@pytest.mark.parametrize("reason", Reason)
def test_codex_gets_the_one_event_that_it_shows_and_does_not_repeat(reason: Reason) -> None:
    deny = Deny(reason, "What happened.")
    refusal = refuse(asker("openai", CODEX, "responses"), deny, "r1")
    if reason in {"upstream_error", "upstream_timeout", "store_unavailable", "policy_unavailable"}:
        assert refusal == refuse("openai", deny, "r1")
        return
    assert (refusal.status, refusal.headers) == (200, (("content-type", "text/event-stream"),))
    event = json.loads(refusal.body.removeprefix(b"event: response.failed\ndata: "))
    assert (event["type"], event["response"]["status"]) == ("response.failed", "failed")
    assert event["response"]["error"] == {"code": "invalid_prompt", "message": "What happened."}
    assert event["fleetgate"]["reason"] == reason
    assert refuse(asker("openai", CODEX, "chat"), deny, "r1") == refuse("openai", deny, "r1")


def test_a_websocket_is_told_to_use_http() -> None:
    deny = Deny(Reason.UNMETERED_ROUTE, "Websockets are not metered.")
    refusal = refuse(asker("openai", {**CODEX, "upgrade": "WebSocket"}), deny, "r1")
    assert refusal.status == 426
    assert ("upgrade", "HTTP/1.1") in refusal.headers
    assert refuse(asker("openai", {}), deny, "r1").status == 404


def test_other_clients_have_no_habits() -> None:
    assert asker("openai", {"user-agent": "OpenAI/Python 3.52.0"}, "chat") == Asker("openai", "", "chat")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":{"message":"no such model","type":"x"}}', "no such model"),
        (b'{"type":"error","error":{"type":"api_error","message":"down"}}', "down"),
        (b'{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}', "bad"),
        (b'{"error":"model not found"}', "model not found"),
        (b'{"error":{"message":7}}', "The provider answered 404."),
        (b'{"detail":"x"}', "The provider answered 404."),
        (b"[]", "The provider answered 404."),
        (b"<html>", "The provider answered 404."),
    ],
)
def test_a_providers_error_is_said_in_the_clients_shape(body: bytes, words: str) -> None:
    assert json.loads(provider_error("anthropic", 404, body))["error"] == {"type": "not_found_error", "message": words}
    assert json.loads(provider_error("gemini", 404, body)) == {"error": {"code": 404, "message": words, "status": "NOT_FOUND"}}
    assert json.loads(provider_error("ollama", 404, body)) == {"error": words}
    assert json.loads(provider_error("openai", 418, body))["error"]["type"] == "invalid_request_error"
    assert json.loads(provider_error("openai", 529, body))["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("path", "headers", "protocol"),
    [
        ("/v1/messages/batches", {}, "anthropic"),
        ("/v1/files", {"anthropic-version": "2023-06-01"}, "anthropic"),
        ("/v1/files", {}, "openai"),
        ("/", {"x-api-key": "k"}, "openai"),
        ("/v1beta/files", {}, "gemini"),
        ("/v1/files", {"x-goog-api-key": "k"}, "gemini"),
        ("/api/pull", {}, "ollama"),
    ],
)
def test_the_shape_for_paths_that_nobody_claims(path: str, headers: dict[str, str], protocol: str) -> None:
    assert dialect(path, headers) == protocol
