"""The one table of refusals: what a client gets when we say no, in the error shape of the protocol that it speaks.

Many clients show the message and nothing else, so the message carries the rule and the remedy; programs read the `fleetgate` object.
Most take the status of the public contract well. Those that would hide it, or repeat a call that cannot succeed, get what they show once:

| client | would | gets |
|---|---|---|
| Claude Code | repeat a 400, 413 or 422 six times with other bodies, or swap the message for its own | 403 |
| Codex, on Responses | repeat a 402, 403 or 413 six times | 200 and a `response.failed` event with the code `invalid_prompt` |
| Codex, opening a websocket | give the run up on a 400, try seven times on a 404 | 426, after which it posts |

Errors that the provider itself sent are not made here: they go through untouched.

Source: which body and status reach the user of which client was measured on 27 clients in 2026-11; `x-should-retry` and `retry-after` as
the OpenAI and Anthropic SDKs read them. A long `retry-after` makes several clients sleep it out, so none is over 30 seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from proxy.model import Deny, Reason
from proxy.wire import jsonio

MAX_RETRY_AFTER_S = 30
_RETRY_HELPS = frozenset({Reason.UPSTREAM_ERROR, Reason.UPSTREAM_TIMEOUT, Reason.STORE_UNAVAILABLE, Reason.POLICY_UNAVAILABLE})
_TYPES: Mapping[int, tuple[str, str, str]] = {
    400: ("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    401: ("authentication_error", "authentication_error", "UNAUTHENTICATED"),
    402: ("insufficient_quota", "billing_error", "RESOURCE_EXHAUSTED"),
    403: ("permission_error", "permission_error", "PERMISSION_DENIED"),
    404: ("invalid_request_error", "not_found_error", "NOT_FOUND"),
    413: ("invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
    429: ("rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    500: ("server_error", "api_error", "INTERNAL"),
    502: ("server_error", "api_error", "UNAVAILABLE"),
    503: ("server_error", "overloaded_error", "UNAVAILABLE"),
    504: ("server_error", "timeout_error", "DEADLINE_EXCEEDED"),
}
"""Status to the error type of OpenAI, of Anthropic and of Google (`google.rpc.Code`)."""

LOST = Deny(Reason.UPSTREAM_ERROR, "The provider's stream broke off before its end.", remedy="Send the request again.")

CLAUDE_CODE_403 = frozenset({400, 413, 422})
DECIDED = frozenset(
    {
        Reason.AGENT_KILLED,
        Reason.MODEL_NOT_ALLOWED,
        Reason.TOOL_NOT_ALLOWED,
        Reason.TOOL_CALL_BLOCKED,
        Reason.POLICY_DENIED,
        Reason.CONTENT_BLOCKED,
        Reason.APPROVAL_DENIED,
        Reason.APPROVAL_TIMEOUT,
        Reason.BUDGET_EXCEEDED,
        Reason.REQUEST_TOO_COSTLY,
        Reason.LOOP_DETECTED,
        Reason.STEP_LIMIT,
        Reason.UNPRICED_MODEL,
    }
)
"""Reasons that `refusal: message` puts into the assistant's mouth: decisions about a call that was understood. Faults, and callers who are
nobody, get an error always, and so does a rate limit, which clients wait out by themselves."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to send: status, headers beside the ones that every reply has, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Asker:
    """What of a request decides how it is refused.

    Attributes:
        protocol: whose error shape it gets: `anthropic`, `gemini`, `ollama`, or anything else for OpenAI's.
        client: a client with habits of its own, or nothing.
        operation: the codec's name, where the path has one.
        websocket: it asks to leave HTTP.
    """

    protocol: str
    client: Literal["", "claude-code", "codex"] = ""
    operation: str = ""
    websocket: bool = False


def asker(protocol: str, headers: Mapping[str, str], operation: str = "") -> Asker:
    """Return who asks, by `headers` (case-insensitive or in lower case): a client may lie, and then gets an answer that it cannot read."""
    agent = headers.get("user-agent", "")
    client: Literal["", "claude-code", "codex"] = ""
    if agent.startswith("claude-cli/") or "x-claude-code-session-id" in headers:
        client = "claude-code"
    elif agent.startswith("codex") or headers.get("originator", "").startswith("codex"):
        client = "codex"
    return Asker(protocol, client, operation, "websocket" in headers.get("upgrade", "").lower())


def dialect(path: str, headers: Mapping[str, str]) -> str:
    """Return the protocol whose error shape suits a request that no codec claims. `headers` is case-insensitive or in lower case."""
    if path.startswith("/api/"):
        return "ollama"
    if path.startswith("/v1beta/") or "x-goog-api-key" in headers:
        return "gemini"
    return "anthropic" if path.startswith("/v1/messages") or "anthropic-version" in headers else "openai"


def refuse(asker: Asker | str, deny: Deny, request_id: str) -> Refusal:
    """Return the refusal for `deny`, before anything of a reply went out.

    Args:
        asker: who gets it; a protocol stands for a client without habits.
        deny: what was decided.
        request_id: the exchange's id, which is the decision's id too.
    """
    if isinstance(asker, str):
        asker = Asker(asker)
    retry = _retry(deny)
    if asker.websocket and deny.reason is Reason.UNMETERED_ROUTE:
        return Refusal(426, (("content-type", "application/json"), ("upgrade", "HTTP/1.1")), _body("openai", deny, request_id))
    if asker.client == "codex" and asker.operation == "responses" and retry == ("x-should-retry", "false"):
        return Refusal(200, (("content-type", "text/event-stream"),), failed_response(deny, request_id, "invalid_prompt"))
    headers = [("content-type", "application/json")] + ([retry] if retry else [])
    status = 403 if asker.client == "claude-code" and deny.status in CLAUDE_CODE_403 else deny.status
    return Refusal(status, tuple(headers), _body(asker.protocol, deny, request_id, status))


def _retry(deny: Deny) -> tuple[str, str] | None:
    """Return the header that says whether and when to try again."""
    if deny.retry_after_s is not None:
        return ("retry-after", str(max(1, min(MAX_RETRY_AFTER_S, math.ceil(deny.retry_after_s)))))
    return None if deny.reason in _RETRY_HELPS and not deny.lasting else ("x-should-retry", "false")


def error_event(protocol: str, deny: Deny, request_id: str = "") -> bytes:
    """Return the error event of `protocol` inside a stream that has begun (OpenAI chat, Anthropic, Gemini over SSE, Ollama)."""
    body = _body(protocol, deny, request_id)
    if protocol == "ollama":
        return body + b"\n"
    return b"%bdata: %b\n\n" % (b"event: error\n" if protocol == "anthropic" else b"", body)


def failed_response(deny: Deny, request_id: str, code: str, sequence: int = 0, response: Mapping[str, Any] | None = None) -> bytes:
    """Return the `response.failed` event of OpenAI Responses.

    Args:
        deny: what was decided.
        request_id: the exchange's id, empty where it is not known.
        code: `invalid_prompt` is the one that Codex shows as it is and does not repeat.
        sequence: the event's number.
        response: what is known of the response object.
    """
    failed = {
        "id": f"resp_{request_id or 'refused'}",
        "object": "response",
        "created_at": 0,
        "model": "",
        "output": [],
        **(response or {}),
        "status": "failed",
        "error": {"code": code, "message": sentence(deny)},
        "incomplete_details": None,
    }
    event = {"type": "response.failed", "sequence_number": sequence, "response": failed, "fleetgate": decision(deny, request_id)}
    return b"event: response.failed\ndata: %b\n\n" % jsonio.dumps(event)


def _body(protocol: str, deny: Deny, request_id: str, status: int = 0) -> bytes:
    shape = _shaped(protocol, status or deny.status, sentence(deny), str(deny.reason), request_id)
    return jsonio.dumps(shape | {"fleetgate": decision(deny, request_id)})


def _shaped(protocol: str, status: int, words: str, code: str | None, request_id: str) -> dict[str, Any]:
    """Return an error in the shape of `protocol`."""
    openai, anthropic, gemini = _TYPES.get(status) or _TYPES[500 if status >= 500 else 400]
    if protocol == "anthropic":
        return {"type": "error", "error": {"type": anthropic, "message": words}, "request_id": request_id or None}
    if protocol == "gemini":
        return {"error": {"code": status, "message": words, "status": gemini}}
    if protocol == "ollama":
        return {"error": words}
    return {"error": {"message": words, "type": openai, "param": None, "code": code}}


def provider_error(protocol: str, status: int, body: bytes) -> bytes:
    """Return a provider's own error, read in whatever dialect it is, in the shape of `protocol`."""
    value = jsonio.loads(body)
    error = value.get("error") if isinstance(value, dict) else None
    words = error if isinstance(error, str) else error.get("message") if isinstance(error, dict) else None
    if not isinstance(words, str) or not words:
        words = f"The provider answered {status}."
    return jsonio.dumps(_shaped(protocol, status, jsonio.clean(words), None, ""))


def decision(deny: Deny, request_id: str = "") -> dict[str, str]:
    """Return the machine-readable `fleetgate` object of `deny`; parts that it does not have are left out."""
    found = {"reason": str(deny.reason), "rule": deny.rule, "decision_id": request_id, "remedy": deny.remedy}
    if not request_id:
        del found["decision_id"]
    if deny.remaining is not None:
        found["remaining"] = deny.remaining
    if deny.resets_at is not None:
        found["resets_at"] = datetime.fromtimestamp(deny.resets_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return found


def sentence(deny: Deny) -> str:
    """Return what people read: what happened, which rule said so, what to do."""
    rule = f"Rule: {deny.rule}." if deny.rule else ""
    return " ".join(part for part in (deny.message, rule, deny.remedy) if part)
