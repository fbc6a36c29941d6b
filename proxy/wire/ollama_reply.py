"""Replies of Ollama's chat and generate: usage, texts and tool calls, from a whole body or line by line as they pass.

Every line is an object of the same shape as a whole body; the last has `done` and the counts. The server leaves a count out when it is
zero, and older ones leave out the prompt's when they had it cached: then there is output and no exact usage, and the engine charges its
own bound for the prompt. Tool calls come whole. An error inside a stream is a line `{"error": "..."}`.

What does not decode is still metered: it counts as text as it stands.

Source: Ollama API reference, "Generate a chat completion", "Generate a completion", "Errors"; types of the Python SDK 0.6.3 (2026-11).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.call import Event, ToolCall
from proxy.wire.openai_reply import BROKEN, CUT_SHORT, MAX_CALLS, MAX_COUNT, MAX_MODEL
from proxy.wire.repeating import RepeatingMeter
from proxy.wire.stencil import PROBE, Stencil, stencil_of

_NOTHING = msgspec.Raw(b"")
EPOCH = "1970-01-01T00:00:00Z"
"""The time of the lines that we write ourselves when the server gave none: nothing here reads a clock."""
MAX_TIME = 64
_WORDS = ("content", "response", "thinking")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = _NOTHING


class _Call(msgspec.Struct):
    id: Any = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Reply(msgspec.Struct):
    model: Any = None
    created_at: Any = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: msgspec.Raw = _NOTHING


class _Counts(msgspec.Struct):
    model: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None


_reply_decoder = msgspec.json.Decoder(_Reply)
_counts_decoder = msgspec.json.Decoder(_Counts)


def usage_of(prompt: object, output: object, said: bool = True) -> Usage | None:
    """Return the counts of a reply as ours, None when there are none. Impossible ones are clamped and make it inexact.

    Args:
        prompt: `prompt_eval_count` as it came.
        output: `eval_count` as it came.
        said: the model said something, so that no count of the output is a gap and not a zero.
    """
    if prompt is None and output is None:
        return None
    known = _fits(prompt) and (_fits(output) or (output is None and not said))
    return Usage(input=_bounded(prompt), output=_bounded(output), exact=known)


def _fits(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _bounded(value: object) -> int:
    return max(0, min(value, MAX_COUNT)) if type(value) is int else 0


class OllamaMeter(RepeatingMeter):
    """Reads one reply.

    Args:
        generate: it is `/api/generate`'s, whose text stands under `response`; for the lines that we write ourselves.
        model: the model that was asked for, for those lines too.
    """

    def __init__(self, generate: bool = False, model: str = "") -> None:
        super().__init__()
        self._generate = generate
        self._asked = model
        self._time = EPOCH

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        self.event(body)
        self.ended = True

    def _read(self, raw: bytes) -> Event:
        try:
            line = jsonio.decoded(_reply_decoder, raw)
        except BROKEN:
            return self._odd(raw)
        if isinstance(line.model, str):
            self.model = line.model[:MAX_MODEL]
        if isinstance(line.created_at, str):
            self._time = line.created_at[:MAX_TIME]
        text, tools = self._said(line)
        done = line.done is True
        if done:
            self._end(line)
        if text or tools:
            self.pieces += 1
            if text and not tools and not done and self._worth():
                self._repeats(partial(_stencil, raw, text, line), late=True)
            return Event(raw, "text" if text and not tools else "tool", text, tools)
        if len(line.error) > 4:
            self.failed = True
            return Event(raw, "error")
        return Event(raw, "end" if done else "other")

    def _catch_up(self) -> None:
        """See `RepeatingMeter`: the time."""
        newest, self._latest = self._latest, b""
        time = jsonio.decoded(_reply_decoder, newest).created_at if newest else None
        if isinstance(time, str):
            self._time = time[:MAX_TIME]

    def _said(self, line: _Reply) -> tuple[str, str]:
        """Keep what a line says; return its text, arguments included, and the names of the tools that it calls, one a line."""
        message = line.message
        pieces = [line.thinking or "", line.response or ""]
        calls = list(line.tool_calls or ())
        if message is not None:
            pieces += [message.thinking or "", message.content or ""]
            calls += message.tool_calls or ()
        names = []
        for call in calls:
            function = call.function or _Function()
            name, arguments = function.name or "", _arguments(function.arguments)
            names.append(name.replace("\n", " "))
            pieces.append(arguments)
            if len(self.tool_calls) < MAX_CALLS:
                id, place = call.id if isinstance(call.id, str) else "", str(len(self.tool_calls))
                self.tool_calls.append(ToolCall(id, name, arguments, jsonio.signature(name, arguments), place))
            else:
                self.odd = True
        text, tools = "".join(pieces), "\n".join(name for name in names if name)
        if text or tools:
            self.texts.append(tools + text)
        return text, tools

    def _end(self, line: _Reply | _Counts) -> None:
        reason = line.done_reason
        self.ended, self.finish = True, reason[:MAX_MODEL] if isinstance(reason, str) and reason else "stop"
        self.usage = usage_of(line.prompt_eval_count, line.eval_count, bool(self.texts))

    def _odd(self, raw: bytes) -> Event:
        text = raw.decode("utf-8", "replace").strip()
        if not text:
            return Event(raw, "other")
        self.odd = True
        self.texts.append(text)
        self.pieces += 1
        try:
            counts = _counts_decoder.decode(raw)
        except BROKEN:
            return Event(raw, "text", text)
        if counts.done is True:
            self._end(counts)
        return Event(raw, "text", text)

    def cut(self, deny: Deny | None) -> bytes:
        """See `Meter.cut`."""
        if self.ended:
            return b""
        self._catch_up()
        if deny is None or deny.reason not in CUT_SHORT:
            deny = deny or refusals.LOST
            return jsonio.dumps({"error": refusals.sentence(deny), "fleetgate": refusals.decision(deny)}) + b"\n"
        last = line_of(self.model or self._asked, self._time, "", self._generate)
        last |= {"done": True, "done_reason": "length", "eval_count": self.pieces, "fleetgate": refusals.decision(deny)}
        return jsonio.dumps(last) + b"\n"


def _stencil(raw: bytes, text: str, line: _Reply) -> Stencil | None:
    """Return the stencil of a line that says `text` and nothing else; its time may change. `line` is used up."""
    said = [(part, name) for part in (line, line.message) for name in _WORDS if getattr(part, name, None)]
    if len(said) != 1 or line.tool_calls or (line.message is not None and line.message.tool_calls):
        return None
    found = stencil_of(raw, text, (b'"%b":' % said[0][1].encode(),), letters=(b'"created_at":',))
    if found is None:
        return None
    other = jsonio.decoded(_reply_decoder, found.probe())
    setattr(*said[0], PROBE)
    line.created_at = other.created_at
    return found if other == line else None


def line_of(model: str, time: str, text: str, generate: bool) -> dict[str, Any]:
    """Return one line of a reply that says `text`, before the last."""
    said: dict[str, Any] = {"response": text} if generate else {"message": {"role": "assistant", "content": text}}
    return {"model": model, "created_at": time, **said, "done": False}


def _arguments(raw: bytes | msgspec.Raw) -> str:
    """Return the arguments of a call as compact JSON text; a text in their place (as some servers write them) is one already."""
    if len(raw) < 1:
        return ""
    data = bytes(raw)
    value = jsonio.loads(data)
    if value is None:
        return "" if data == b"null" else data.decode("utf-8", "replace")
    return jsonio.clean(value) if isinstance(value, str) else jsonio.readable(value)
