"""The one table of refusals: what a client gets when we say no, in the error shape of the protocol that it speaks.

Many clients show the message and nothing else, so the message carries the rule and the remedy; programs read the `fleetgate` object.
Errors that the provider itself sent are not made here: they go through untouched.

Source: which body reaches the user of which SDK was measured on 27 clients in 2026-11; `x-should-retry` and `retry-after` as the OpenAI
and Anthropic SDKs read them. A long `retry-after` makes several clients sleep it out, so none is over 30 seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to send: status, headers beside the ones that every reply has, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def dialect(path: str, headers: Mapping[str, str]) -> str:
    """Return the protocol whose error shape suits a request that no codec claims. `headers` is case-insensitive or in lower case."""
    if path.startswith("/api/"):
        return "ollama"
    if path.startswith("/v1beta/") or "x-goog-api-key" in headers:
        return "gemini"
    return "anthropic" if path.startswith("/v1/messages") or "anthropic-version" in headers else "openai"


def refuse(codec_protocol: str, deny: Deny, request_id: str, streaming: bool = False) -> Refusal:
    """Return the refusal for `deny`.

    Args:
        codec_protocol: `anthropic`, `gemini`, `ollama`, or anything else for the OpenAI shape.
        deny: what was decided.
        request_id: the exchange's id, which is the decision's id too.
        streaming: the head of a stream is already out: the body is the protocol's error event (the status and headers are moot).
    """
    body = jsonio.dumps(_body(codec_protocol, deny, request_id))
    if streaming and codec_protocol == "ollama":
        return Refusal(200, (("content-type", "application/x-ndjson"),), body + b"\n")
    if streaming:
        name = b"event: error\n" if codec_protocol == "anthropic" else b""
        return Refusal(200, (("content-type", "text/event-stream"),), b"%bdata: %b\n\n" % (name, body))
    headers = [("content-type", "application/json")]
    if deny.retry_after_s is not None:
        headers.append(("retry-after", str(max(1, min(MAX_RETRY_AFTER_S, math.ceil(deny.retry_after_s))))))
    elif deny.reason not in _RETRY_HELPS:
        headers.append(("x-should-retry", "false"))
    return Refusal(deny.status, tuple(headers), body)


def _body(protocol: str, deny: Deny, request_id: str) -> dict[str, Any]:
    return _shaped(protocol, deny.status, sentence(deny), str(deny.reason), request_id) | {"fleetgate": decision(deny, request_id)}


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
