"""Which session a call belongs to: correlation from what clients send anyway, never authority.

Order: our own header; the headers of known clients; the body's own signals; the reply or history that it goes on from, and the tool calls
whose results it brings, where they were seen here; a trace; else a hash of what stays the same in a conversation. A session id is always
namespaced by the agent that proved itself, so a forged one reaches no other agent's counters. Values from outside are bounded: what is
longer than 128 characters, or has control characters, counts by its hash. Nothing here can fail or refuse.

Not a signal: Codex's `traceparent` (one per connection), and the end user that OpenAI's `user` or Anthropic's plain `metadata.user_id`
names (one person has many conversations, and a budget per session would never start anew).

Source: names in the body as seen on the wire from each client, autumn 2026; those of headers are in `headers`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from proxy.identity.headers import TURN, Present, present
from proxy.identity.threads import Threads
from proxy.wire.call import Call, Message

BODY: tuple[str, ...] = (
    "metadata.session_id",
    "litellm_session_id",
    "session_id",
    "client_metadata.session_id",
    "client_metadata.thread_id",
    "prompt_cache_key",
)
"""Session signals of the body by the codec's name for them, after Claude Code's `metadata.user_id`."""

MAX_VALUE = 128
HASHED_TEXT = 2048
"""How much of each text the last-resort hash reads: conversations differ early, and a prompt may be megabytes."""

_legacy_user = re.compile(r"user_[0-9a-zA-Z]*_account_[0-9a-zA-Z-]*_session_([0-9a-fA-F-]{8,64})")


_traceparent = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
TRACE = "traceparent"
WEAK = frozenset({"derived", "previous_response_id", "conversation", "tool_call_id", TRACE})
"""Signals that a later call of the same session may lack, so that the ids of tool calls are remembered for them."""


class _CodexTurn(msgspec.Struct):
    session_id: str = ""
    thread_id: str = ""


_codex_turn = msgspec.json.Decoder(_CodexTurn)


class _ClaudeUser(msgspec.Struct):
    session_id: str = ""


_claude_user = msgspec.json.Decoder(_ClaudeUser)


def session_of(
    headers: Mapping[str, str], call: Call, agent: str, now: float, found: Present | None = None, threads: Threads | None = None
) -> tuple[str, str]:
    """Return (session id, which signal gave it) of `call` by `agent` at `now` (UTC seconds). The id is `agent/...`."""
    found = found or present(headers)
    value, source = _from_headers(headers, found)
    if not value and call.hints:
        value, source = _from_body(call.hints)
    if not value and threads is not None and (known := _continued(call, agent, threads)) is not None:
        return known
    if not value and found.trace is not None and not _is_codex(headers):
        value, source = _trace(headers[found.trace]), TRACE
    if not value:
        value, source = _derived(call, agent, now), "derived"
    return f"{agent}/{one_part(value)}", source


def session_named(headers: Mapping[str, str], agent: str) -> str:
    """Return the session that the headers alone name, as `session_of` would; nothing where they name none."""
    value, _ = _from_headers(headers, present(headers))
    return f"{agent}/{one_part(value)}" if value else ""


def _from_headers(headers: Mapping[str, str], found: Present) -> tuple[str, str]:
    for name, shown in found.sessions:
        if value := bounded(headers[name]):
            return value, bounded(shown)
    if found.turn is not None and (value := bounded(_codex_session(headers[found.turn]))):
        return value, TURN
    return "", ""


def _continued(call: Call, agent: str, threads: Threads) -> tuple[str, str] | None:
    """Return the session that the call goes on with: that of the reply, of the kept history or of the tool calls that it refers to."""
    for name in ("previous_response_id", "conversation"):
        id = call.hints.get(name, "")
        if id:
            known = threads.find(agent, id)
            return (known.session if known is not None else f"{agent}/{_hash(id)}"), name
    known = threads.of_results(agent, call)
    return None if known is None else (known.session, "tool_call_id")


def _is_codex(headers: Mapping[str, str]) -> bool:
    return headers.get("user-agent", "").startswith("codex") or headers.get("originator", "").startswith("codex")


def _trace(value: str) -> str:
    """Return the trace id of a `traceparent`, or nothing. Source: W3C Trace Context, 3.2."""
    match = _traceparent.fullmatch(value.strip())
    return "" if match is None or not match[1].strip("0") else match[1]


def _codex_session(value: str) -> str:
    """Return the session, or else the thread, that Codex's turn metadata names."""
    try:
        turn = _codex_turn.decode(value.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return ""
    return turn.session_id or turn.thread_id


def bounded(value: str) -> str:
    """Return `value` without outer space; long, or with anything that is not printable, as its hash."""
    value = value.strip()
    return value if len(value) <= MAX_VALUE and value.isprintable() else _hash(value)


def one_part(value: str) -> str:
    """Return `value`, or its hash where it has a slash: agent `a` in session `b/c` must not be agent `a/b` in session `c`."""
    return _hash(value) if "/" in value else value


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _from_body(hints: Mapping[str, str]) -> tuple[str, str]:
    user = hints.get("metadata.user_id", "")
    if user and (value := bounded(_claude_session(user))):
        return value, "metadata.user_id"
    for name in BODY:
        if name in hints and (value := bounded(hints[name])):
            return value, name
    return "", ""


def _claude_session(user: str) -> str:
    """Return the session inside Claude Code's user id (a JSON text, or the older `user_..._session_...`), or nothing."""
    if user.startswith("{"):
        try:
            return _claude_user.decode(user.encode("utf-8", "replace")).session_id
        except (msgspec.DecodeError, RecursionError):
            return ""
    match = _legacy_user.fullmatch(user) if len(user) < 512 else None
    return match.group(1) if match else ""


def _derived(call: Call, agent: str, now: float) -> str:
    """Return the hash of the agent, the UTC day, the system prompt and the first user message."""
    seen = [f"{agent}\0{int(now // 86400)}\0".encode()]
    for message in call.system:
        seen.append(message.opening or _opening(message))
    for message in call.messages:
        seen.append(message.opening or _opening(message))
        if message.role == "user":
            break
    return hashlib.blake2b(b"".join(seen), digest_size=16).hexdigest()


def _opening(message: Message) -> bytes:
    """Return the digest of how a message's texts begin, and keep it: raw bytes change when a client moves its cache marks, texts do not."""
    seen = hashlib.blake2b(digest_size=16)
    for text in message.texts:
        seen.update(f"\0{message.role}\0{len(text)}\0{text[:HASHED_TEXT]}".encode("utf-8", "surrogatepass"))
    message.opening = seen.digest()
    return message.opening
