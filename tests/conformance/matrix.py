"""The matrix: every protocol operation by every outcome. The one table that tests and docs/conformance.md are made from.

A new protocol is a row, and gets every outcome or says why not (`Row.cannot`); a new outcome is a line here, and holds for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import dialect_anthropic
import dialect_gemini
import dialect_ollama
import dialect_openai
import dialect_responses
from outcomes import Cell, Outcome, Script, Want
from rows import Row
from world import MAX_BODY

from proxy.engine.reply import MAX_RETRY_AFTER_S

NATIVE: tuple[Row, ...] = (
    *dialect_openai.ROWS,
    *dialect_responses.ROWS,
    *dialect_anthropic.ROWS,
    *dialect_gemini.ROWS,
    *dialect_ollama.ROWS,
)
"""Rows that are served in their own dialect."""


TARGETS: Mapping[str, tuple[str, Row]] = {
    "openai.chat": ("chat", next(row for row in NATIVE if row.name == "chat")),
    "anthropic.messages": ("claude", next(row for row in NATIVE if row.name == "messages")),
    "gemini.generate": ("gemini", next(row for row in NATIVE if row.name == "gemini v1beta")),
    "ollama.chat": ("llama", next(row for row in NATIVE if row.name == "ollama chat")),
    "openai.responses": ("resp", next(row for row in NATIVE if row.name == "responses")),
}
"""What a target can be asked in: the family that is, and the row that speaks it."""
CLIENTS: Mapping[str, str] = {
    "openai.chat": "chat",
    "openai.responses": "responses",
    "anthropic.messages": "messages",
    "gemini.generate": "gemini v1beta",
    "ollama.chat": "ollama chat",
}
"""What a client can speak and be served in another dialect: the row that does."""


def translated(client: str, target: str) -> Row:
    """The row of a client's dialect, served by a target that speaks another one."""
    row, (family, spoken) = next(row for row in NATIVE if row.name == CLIENTS[client]), TARGETS[target]
    lost = {"own": "the provider is asked in its own dialect", "choices": "several answers are not carried into another dialect"}
    lost |= {"cached": spoken.cannot["cached"]} if "cached" in spoken.cannot else {}
    return replace(row, name=f"{row.name} -> {target}", family=family, target=spoken, usage=spoken.usage, cannot={**row.cannot, **lost})


ROWS: tuple[Row, ...] = (*NATIVE, *(translated(client, target) for client in CLIENTS for target in TARGETS if client != target))
"""Every row."""
NOT_ROUTES: Mapping[tuple[str, str], str] = {}
"""Routes of the registry that have no row, each with the reason."""

WORDS = "one two three MARK four five LAST end"
THEIRS = "what the provider itself says"
ONLY_STREAMS = "there is no stream to which it could happen"
ONE_WRITE = "a buffered reply leaves in one write: it is there, or it is not"


def always(**wishes: Any) -> Callable[[Row, bool], Script]:
    """The same script for every row and mode."""
    return lambda row, stream: wishes


def reported(tokens_in: int, tokens_out: int) -> Callable[[Row, bool], Script]:
    """A script whose usage is so many tokens."""
    return lambda row, stream: {"text": WORDS, "usage": row.usage(tokens_in, tokens_out)}


def either(buffered: Script, stream: Script) -> Callable[[Row, bool], Script]:
    """One script for bodies, one for streams."""
    return lambda row, streamed: stream if streamed else buffered


def both(name: str, group: str, want: Want, **more: Any) -> Outcome:
    """An outcome that is the same in both modes."""
    return Outcome(name, group, want, want, **more)


def doubled_key(body: bytes) -> bytes:
    """The body with its first member once more at the end."""
    first = body[1:].split(b":", 1)[0]
    return body[:-1] + b"," + first + b': "another"}'


def refused(status: int, reason: str, retry_after: str = "", outcome: str = "denied") -> Want:
    """A refusal before anything was held or sent."""
    return Want(status, "refused", "none", outcome, reason, 0, retry_after)


OK = Want(200, "stop", "exact")
BOUND = Want(200, "stop", "bound")
THEIR_ERROR = "upstream_error"
GONE = Want(0, "gone", "bound", "client_gone")
CUT = Want(200, "error", "bound", THEIR_ERROR, THEIR_ERROR)
LOST = Want(502, "refused", "bound", THEIR_ERROR, THEIR_ERROR)
LATE = Want(504, "refused", "bound", THEIR_ERROR, "upstream_timeout")
SAID = always(text=WORDS)

ANSWERS = (
    both("an answer", "Answers", OK, script=SAID),
    Outcome(
        "usage that nobody asked for", "Answers", "a body always has it", OK, reported(100, 20), ("usage option",),
        ask={"usage": False}, known=(100, 20),
    ),
    both("a tool call", "Answers", Want(200, "tool", "exact"), needs=("tools",), ask={"tools": ("look",)},
         script=always(tool_calls=[{"name": "look", "arguments": {"at": "the door"}}])),
    both("several choices", "Answers", OK, script=SAID, needs=("choices",), ask={"choices": 3}),
    both("cut short by its ceiling", "Answers", Want(200, "length", "exact"), needs=("ceiling",), ask={"ceiling": 20},
         script=always(tokens=50)),
    both("no ceiling asked for", "Answers", OK, script=SAID, needs=("ceiling",), ask={"ceiling": None}),
    both("cached input", "Answers", OK, script=always(text=WORDS, cached=12), needs=("cached",)),
    both("compressed by the provider", "Answers", OK, script=always(text=WORDS, gzip=True)),
    both("members and events that nobody knows", "Answers", OK, script=always(text=WORDS, extra_field=True, extra_event=True),
         needs=("body", "unknown")),
    both("sent as text/plain", "Answers", OK, script=SAID, needs=("body",), headers={"content-type": "text/plain"}),
    both("asked for below the agent's own path", "Answers", OK, script=SAID, below=True),
    both("a provider that is down, and a fallback", "Answers", OK, script=SAID, needs=("text",), model="down", agent="{family}-backed"),
)  # fmt: skip

REFUSALS = (
    both("no key", "Refusals", refused(401, "unauthenticated"), needs=("anonymous",), agent="nobody", decoded=False),
    both("a key that nobody made", "Refusals", refused(401, "unauthenticated"), agent="stranger", decoded=False),
    both("two different keys", "Refusals", refused(401, "unauthenticated"), headers={"api-key": "another"}, decoded=False),
    both("an agent that no file defines", "Refusals", refused(403, "unknown_agent"), agent="ghost", decoded=False),
    both("JSON that does not end", "Refusals", refused(400, "malformed_request"), needs=("body",), body=lambda b: b[:-1], decoded=False),
    both("a key twice", "Refusals", refused(400, "malformed_request"), needs=("body",), body=doubled_key, decoded=False),
    both("a form", "Refusals", refused(400, "malformed_request"), needs=("body",), body=lambda b: b"model=x&input=y", decoded=False,
         headers={"content-type": "application/x-www-form-urlencoded"}),
    both("a body over the limit", "Refusals", refused(413, "request_too_large"), needs=("body",), decoded=False,
         body=lambda b: b + b" " * MAX_BODY),
    both("the same tool call again and again", "Refusals", refused(403, "loop_detected"), needs=("history",), ask={"steps": 5}),
    both("a model that the agent may not use", "Refusals", refused(403, "model_not_allowed"), needs=("model",), agent="narrow"),
    both("a refusal that the assistant says", "Refusals", Want(200, "stop", "none", "denied", "model_not_allowed", 0), needs=("text",),
         agent="narrow", spoken=True),
    both("a tool that the agent may not have", "Refusals", refused(403, "tool_not_allowed"), needs=("tools",), agent="handless",
         ask={"tools": ("look",)}),
    both("more input than the agent may send", "Refusals", refused(402, "request_too_costly"), needs=("cost",), agent="brief"),
    both("a model that nobody serves", "Refusals", refused(403, "model_not_allowed"), needs=("model",), model="nobody-serves-this"),
    both("a model without a price", "Refusals", refused(403, "unpriced_model"), needs=("cost",), model="unpriced"),
    both("a budget that is used up", "Refusals", refused(402, "budget_exceeded"), needs=("cost", "usage"), agent="spent",
         before=(99_990, 1)),
    both("a call that no budget could ever pay", "Refusals", refused(402, "request_too_costly"), needs=("cost",), agent="poor"),
    both("a step too many for its session", "Refusals", refused(403, "step_limit"), needs=("cost", "usage"), agent="stepper",
         before=(1, 1), headers={"x-fleetgate-session": "s"}),
    both("more than the client's own limit", "Refusals", refused(402, "request_too_costly"), needs=("cost",),
         headers={"x-fleetgate-limit-usd": "0.000001"}),
    both("a limit of its own that nobody can read", "Refusals", refused(400, "malformed_request"),
         headers={"x-fleetgate-limit-usd": "plenty"}),
    both("too many calls", "Refusals", refused(429, "rate_limited", str(MAX_RETRY_AFTER_S)), agent="rated", before=(1, 1)),
    both("the store is down", "Refusals", refused(503, "store_unavailable", "2"), fails=frozenset({"reserve"})),
)  # fmt: skip


def theirs(status: int, calls: int = 1, **wishes: Any) -> dict[str, Any]:
    """The provider's own error."""
    retry_after = str(MAX_RETRY_AFTER_S) if "retry_after" in wishes else ""
    want = Want(status, "theirs", "zero", THEIR_ERROR, THEIR_ERROR, calls, retry_after)
    return {"want": want, "script": always(status=status, message=THEIRS, **wishes)}


FAULTS = (
    both("400 from the provider", "Faults of the provider", **theirs(400)),
    both("401 from the provider: our key is not good", "Faults of the provider", script=always(status=401),
         want=Want(502, "refused", "zero", THEIR_ERROR, THEIR_ERROR, lasting=True)),
    both("404 from the provider", "Faults of the provider", **theirs(404)),
    both("429 from the provider, try again in an hour", "Faults of the provider", **theirs(429, retry_after=3600)),
    both("429 from a provider that is asked twice", "Faults of the provider", **theirs(429, 2), needs=("text", "own"), model="twice"),
    both("500 from the provider", "Faults of the provider", **theirs(500)),
    both("500 from both targets of a route", "Faults of the provider", **theirs(500, 2), needs=("text",), agent="{family}-backed"),
    both("an HTML page", "Faults of the provider", Want(502, "refused", "zero", THEIR_ERROR, THEIR_ERROR), script=always(html=True)),
    both("nobody listens", "Faults of the provider", Want(502, "refused", "released", THEIR_ERROR, THEIR_ERROR, 0, "2"), needs=("model",),
         model="down"),
    both("the connection closes without a word", "Faults of the provider", LOST, script=always(nothing=True)),
    both("no answer in time", "Faults of the provider", LATE, script=always(hang=True), hasty=True),
    Outcome("cut after a while", "Faults of the provider", LOST, CUT, either({"cut_after": 8}, {"tokens": 40, "cut_after": 12})),
    Outcome("cut inside an event", "Faults of the provider", LOST, CUT, either({"half_chunk": True}, {"tokens": 40, "half_chunk": 9})),
    Outcome("silence in the middle", "Faults of the provider", LATE, Want(200, "error", "bound", THEIR_ERROR, "upstream_timeout"),
            either({"stall_after": 8}, {"tokens": 40, "stall_after": 12}), hasty=True),
    Outcome("an error inside the stream", "Faults of the provider", ONLY_STREAMS, CUT,
            always(tokens=40, error_after=9, message=THEIRS), ("text",)),
    both("usage is missing", "Faults of the provider", BOUND, script=always(text=WORDS, usage=False), needs=("cost",)),
    both("usage is doubled", "Faults of the provider", OK, script=reported(220, 44), needs=("cost", "usage")),
    both("usage is negative", "Faults of the provider", BOUND, script=reported(-7, -7), needs=("cost", "usage")),
    both("usage is absurd", "Faults of the provider", BOUND, script=reported(10**12, 10**12), needs=("cost", "usage")),
    Outcome("the ceiling is ignored", "Faults of the provider", OK,
            Want(200, "length", "bound", "denied", "budget_exceeded"), always(tokens=300, ignore_max=True), ("ceiling",),
            ask={"ceiling": 40}),
    both("the settle is lost", "Faults of the store", Want(200, "stop", "expired"), script=SAID, fails=frozenset({"settle"})),
)  # fmt: skip

HANGING_UP = (
    both("hangs up in the middle of its request", "Clients that hang up", Want(0, "gone", "none", "client_gone", "", 0), needs=("body",),
         hang_up="sending", decoded=False),
    both("hangs up before the head", "Clients that hang up", GONE, script=always(hang=True), hang_up="asked"),
    Outcome("hangs up in the middle (buffered)", "Clients that hang up", GONE, "see the next line",
            either({"stall_after": 8}, {}), hang_up="head"),
    Outcome("hangs up in the middle (stream)", "Clients that hang up", "see the line above", Want(200, "gone", "bound", "client_gone"),
            always(text=WORDS, chunk_ms=15), hang_up=b"MARK"),
    Outcome("hangs up before the last event", "Clients that hang up", ONE_WRITE, Want(200, "gone", "bound", "client_gone"),
            always(text=WORDS, chunk_ms=15), hang_up=b"LAST"),
)  # fmt: skip

OUTCOMES: tuple[Outcome, ...] = (*ANSWERS, *REFUSALS, *FAULTS, *HANGING_UP)
"""Every outcome."""


def cells() -> list[Cell]:
    """Return every cell in which something must come about."""
    found = []
    for row in ROWS:
        for outcome in OUTCOMES:
            for stream in (False, True):
                want = outcome.want(row, stream)
                if isinstance(want, Want):
                    found.append(Cell(row, outcome, stream, want))
    return found
