"""Gemini's generateContent as a dialect of the hub: its replies, whole and streamed.

A call is one part of a chunk here, never pieces of one. So once a call has begun the writer keeps back what follows and says it whole in
the last chunk; everything before passes word by word.

Source: Gemini API reference (v1beta), "GenerateContentResponse"; types of google-genai 3.6 (2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.gemini_frame import SSE
from proxy.wire.gemini_reply import usage_of
from proxy.wire.openai_reply import BROKEN, CUT_SHORT, MAX_CALLS, MAX_MODEL
from proxy.wire.sse import data_of
from proxy.wire.translate.draft import TOO_LONG, Draft, whole_parts
from proxy.wire.translate.given import arguments_of, arguments_text, call_name, reply_name
from proxy.wire.translate.hub import (
    Asked,
    Began,
    Ended,
    Failed,
    Said,
    Step,
    Stop,
    StreamReader,
    StreamWriter,
    Text,
    Thought,
    ToolBegan,
    ToolMore,
    ToolUse,
    Untranslatable,
    Words,
)

_NOTHING = msgspec.Raw(b"")


class _Camel(msgspec.Struct, rename="camel"):
    pass


class _Call(_Camel):
    id: str | None = None
    name: str | None = None
    args: dict[str, Any] | None = None


class _Part(_Camel):
    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None


class _Content(_Camel):
    parts: list[_Part] | None = None


class _Candidate(_Camel):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(_Camel):
    block_reason: str | None = None


class _Reply(_Camel):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw = _NOTHING
    model_version: Any = None
    response_id: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Reply)
REASONS: dict[Stop, str] = {"stop": "STOP", "tool": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}


# --- reading -----------------------------------------------------------------------------------------------------------------------


def stop_of(reason: str, called: bool) -> Stop:
    """Return why a reply ended. Any reason that is neither its own end nor the ceiling means that something was held back."""
    if reason == "STOP":
        return "tool" if called else "stop"
    return "length" if reason == "MAX_TOKENS" else "filter"


def _reason(reply: _Reply) -> str:
    """Return why the reply ended, or why nothing was answered at all; empty where it goes on."""
    feedback, candidate = reply.prompt_feedback, _first(reply)
    return (feedback.block_reason if feedback is not None else "") or (candidate.finish_reason if candidate is not None else "") or ""


def _first(reply: _Reply) -> _Candidate | None:
    return reply.candidates[0] if reply.candidates else None


def _parts(reply: _Reply) -> list[Text | Thought | ToolUse]:
    candidate, found = _first(reply), list[Text | Thought | ToolUse]()
    for part in (candidate.content and candidate.content.parts if candidate else None) or ():
        call = part.function_call
        if call is not None:
            found.append(ToolUse(call.id or "", call.name or "", arguments_text(call.args)))
        elif part.text:
            found.append(Thought(part.text) if part.thought else Text(part.text))
    return found


def _word(value: object) -> str:
    return value[:MAX_MODEL] if isinstance(value, str) else ""


def read_reply(body: dict[str, Any]) -> Said:
    """See `Dialect.read_reply`."""
    try:
        reply = jsonio.decoded(_decoder, jsonio.encoded(body))
    except BROKEN:
        raise Untranslatable("the reply is none of generateContent") from None
    reason = _reason(reply)
    if not reply.candidates and not reason:
        raise Untranslatable("the reply has no candidate")
    parts = _parts(reply)
    stop = stop_of(reason or "STOP", any(isinstance(part, ToolUse) for part in parts))
    usage = usage_of(reply.usage_metadata) or Usage(exact=False)
    return Said(_word(reply.response_id), _word(reply.model_version), parts, stop, usage)


class GeminiReader(StreamReader):
    """Reads one stream, framed as server-sent events or as the elements of a JSON array."""

    def __init__(self) -> None:
        self._began = False
        self._calls = 0

    def event(self, raw: bytes) -> list[Step]:
        """See `StreamReader.event`."""
        try:
            reply = jsonio.decoded(_decoder, data_of(raw) or raw.strip(b" \t\r\n[],"))
            parts = _parts(reply)
        except BROKEN:
            return []
        if reply.error:
            words = reply.error.get("message") if isinstance(reply.error, dict) else reply.error
            return [Failed(words if isinstance(words, str) else "")]
        steps: list[Step] = []
        usage, reason = usage_of(reply.usage_metadata), _reason(reply)
        if not self._began:
            self._began = True
            steps.append(Began(_word(reply.response_id), _word(reply.model_version), usage))
        for part in parts:
            if not isinstance(part, ToolUse):
                steps.append(Words(part.text, isinstance(part, Thought)))
            elif self._calls < MAX_CALLS:
                steps += [ToolBegan(self._calls, part.id, part.name), ToolMore(self._calls, part.arguments)]
                self._calls += 1
        if reason or usage is not None:
            steps.append(Ended(stop_of(reason, bool(self._calls)) if reason else None, usage))
        return steps


# --- writing -----------------------------------------------------------------------------------------------------------------------


def write_reply(said: Said, asked: Asked) -> dict[str, Any]:
    """See `Dialect.write_reply`."""
    return _chunk(asked, (said.id, said.model), whole_parts(said.parts, said.stop), said.stop, said.usage)


def _chunk(
    asked: Asked, name: tuple[str, str], parts: Sequence[Text | Thought | ToolUse], stop: Stop | None = None, usage: Usage | None = None
) -> dict[str, Any]:
    """Return a reply, or one chunk of it: the whole of `parts`, and at the end why it ended and what it took."""
    id, model = name
    written = [_part(asked, part, i) for i, part in enumerate(parts)]
    candidate: dict[str, Any] = {"content": {"parts": written, "role": "model"}, "index": 0}
    if stop is not None:
        candidate["finishReason"] = REASONS[stop]
    named = {"modelVersion": model or asked.model, "responseId": reply_name("", id, asked)}
    return {"candidates": [candidate], **_usage(usage), **named}


def _part(asked: Asked, part: Text | Thought | ToolUse, index: int) -> dict[str, Any]:
    if isinstance(part, ToolUse):
        id = call_name("call_", part.id, asked, index)
        return {"functionCall": {"id": id, "name": part.name, "args": arguments_of(part)}}
    return {"text": part.text, "thought": True} if isinstance(part, Thought) else {"text": part.text}


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Return the member `usageMetadata`, nothing where the provider said nothing."""
    if usage is None or (not usage.exact and not usage.total):
        return {}
    found = {"promptTokenCount": usage.total_input, "candidatesTokenCount": usage.output - usage.reasoning, "totalTokenCount": usage.total}
    if usage.cache_read:
        found["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        found["thoughtsTokenCount"] = usage.reasoning
    return {"usageMetadata": found}


class GeminiWriter(StreamWriter):
    """Writes one stream, in the framing that the client asked for."""

    def __init__(self, asked: Asked) -> None:
        self._array = asked.framing not in ("", SSE.content_type)
        self._first = True
        self._over = False
        self._draft = Draft()
        self._asked = asked

    def step(self, step: Step) -> bytes:
        """See `StreamWriter.step`."""
        if self._over:
            return b""
        if isinstance(step, Failed):
            told = jsonio.encoded({"error": {"message": step.message}})
            return self._failed(refusals.provider_error("gemini", 502, told))
        if isinstance(step, Words) and step.text and not self._draft.calling:
            part = Thought(step.text) if step.thought else Text(step.text)
            return self._event(_chunk(self._asked, self._name, [part]))
        self._draft.add(step)
        return self._failed(_refusal(TOO_LONG)) if self._draft.full else b""

    def end(self) -> bytes:
        """See `StreamWriter.end`."""
        return self._last(self._draft.parts(), self._draft.stop, {})

    def cut(self, deny: Deny) -> bytes:
        """See `StreamWriter.cut`. A call that is not whole is left out."""
        if self._over:
            return b""
        if deny.reason not in CUT_SHORT:
            return self._failed(_refusal(deny))
        return self._last((), "length", {"fleetgate": refusals.decision(deny)})

    @property
    def _name(self) -> tuple[str, str]:
        return self._draft.id, self._draft.model

    def _last(self, parts: Sequence[Text | Thought | ToolUse], stop: Stop, more: dict[str, Any]) -> bytes:
        if self._over:
            return b""
        said = self._event(_chunk(self._asked, self._name, parts, stop, self._draft.usage) | more)
        self._over = True
        return said + self._close()

    def _failed(self, body: bytes) -> bytes:
        self._over = True
        return self._framed(body) + self._close()

    def _close(self) -> bytes:
        return b"\n]" if self._array else b""

    def _event(self, chunk: dict[str, Any]) -> bytes:
        return self._framed(jsonio.line(chunk))

    def _framed(self, body: bytes) -> bytes:
        opening, self._first = b"[" if self._first else b",\n", False
        return opening + body if self._array else b"data: %b\n\n" % body


def _refusal(deny: Deny) -> bytes:
    return refusals.refuse("gemini", deny, "").body
