"""Ollama's chat as a dialect of the hub: its replies, whole and line by line.

A call is said whole in one line here, never in pieces. So once a call has begun the writer keeps back what follows and says it in a last
line but one; everything before passes word by word. Nothing here reads a clock: the times of the lines are the epoch.

Source: Ollama API reference, "Generate a chat completion", "Errors"; types of the Python SDK 0.6.3 (2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.ollama_reply import EPOCH, usage_of
from proxy.wire.openai_reply import BROKEN, CUT_SHORT, MAX_CALLS, MAX_MODEL
from proxy.wire.translate.draft import TOO_LONG, Draft, whole_parts
from proxy.wire.translate.given import arguments_of, arguments_text, call_name
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

_WRITTEN: dict[Stop, str] = {"stop": "stop", "tool": "stop", "length": "length", "filter": "stop"}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    id: Any = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Reply(msgspec.Struct):
    model: Any = None
    message: _Message | None = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Reply)


# --- reading -----------------------------------------------------------------------------------------------------------------------


def stop_of(reason: object, called: bool) -> Stop:
    """Return why a reply ended; this dialect has no word for calls."""
    return "length" if reason == "length" else "tool" if called else "stop"


def _word(value: object) -> str:
    return value[:MAX_MODEL] if isinstance(value, str) else ""


def _parts(message: _Message | None) -> list[Text | Thought | ToolUse]:
    found: list[Text | Thought | ToolUse] = []
    if message is None:
        return found
    found += [Thought(message.thinking)] if message.thinking else []
    found += [Text(message.content)] if message.content else []
    for call in (message.tool_calls or ())[:MAX_CALLS]:
        function = call.function or _Function()
        given = function.arguments
        arguments = given if isinstance(given, str) else arguments_text(given)
        found.append(ToolUse(_word(call.id), function.name or "", arguments or "{}"))
    return found


def read_reply(body: dict[str, Any]) -> Said:
    """See `Dialect.read_reply`."""
    try:
        reply = jsonio.decoded(_decoder, jsonio.encoded(body))
    except BROKEN:
        raise Untranslatable("the reply is none of Ollama's chat") from None
    if reply.message is None:
        raise Untranslatable("the reply has no message")
    parts = _parts(reply.message)
    usage = usage_of(reply.prompt_eval_count, reply.eval_count, bool(parts)) or Usage(exact=False)
    return Said("", _word(reply.model), parts, stop_of(reply.done_reason, any(isinstance(part, ToolUse) for part in parts)), usage)


class OllamaReader(StreamReader):
    """Reads one stream."""

    def __init__(self) -> None:
        self._began = self._spoke = False
        self._calls = 0

    def event(self, raw: bytes) -> list[Step]:
        """See `StreamReader.event`."""
        try:
            line = jsonio.decoded(_decoder, raw)
            parts = _parts(line.message)
        except BROKEN:
            return []
        if line.error:
            return [Failed(line.error if isinstance(line.error, str) else "")]
        steps: list[Step] = [] if self._began else [Began("", _word(line.model))]
        self._began = True
        self._spoke = self._spoke or bool(parts)
        for part in parts:
            if not isinstance(part, ToolUse):
                steps.append(Words(part.text, isinstance(part, Thought)))
            elif self._calls < MAX_CALLS:
                steps += [ToolBegan(self._calls, part.id, part.name), ToolMore(self._calls, part.arguments)]
                self._calls += 1
        if line.done is True:
            usage = usage_of(line.prompt_eval_count, line.eval_count, self._spoke)
            steps.append(Ended(stop_of(line.done_reason, bool(self._calls)), usage))
        return steps


# --- writing -----------------------------------------------------------------------------------------------------------------------


def write_reply(said: Said, asked: Asked) -> dict[str, Any]:
    """See `Dialect.write_reply`."""
    return _line(said.model or asked.model, _message(whole_parts(said.parts, said.stop), asked)) | _ending(said.stop, said.usage)


def _line(model: str, message: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "created_at": EPOCH, "message": message, "done": False}


def _message(parts: list[Text | Thought | ToolUse], asked: Asked) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join([part.text for part in parts if isinstance(part, Text)])}
    thought = "".join([part.text for part in parts if isinstance(part, Thought)])
    if thought:
        message["thinking"] = thought
    uses = [part for part in parts if isinstance(part, ToolUse)]
    if uses:
        message["tool_calls"] = [
            {"id": call_name("call_", use.id, asked, i), "function": {"index": i, "name": use.name, "arguments": arguments_of(use)}}
            for i, use in enumerate(uses)
        ]
    return message


def _ending(stop: Stop, usage: Usage | None) -> dict[str, Any]:
    """Return the members of the last line. Times are zero: what the provider took is not known here."""
    found: dict[str, Any] = {"done": True, "done_reason": _WRITTEN[stop]}
    found |= dict.fromkeys(("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"), 0)
    if usage is not None and (usage.exact or usage.total):
        found |= {"prompt_eval_count": usage.total_input, "eval_count": usage.output}
    return found


class OllamaWriter(StreamWriter):
    """Writes one stream."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._draft = Draft()
        self._over = False

    def step(self, step: Step) -> bytes:
        """See `StreamWriter.step`."""
        if self._over:
            return b""
        if isinstance(step, Failed):
            self._over = True
            return refusals.provider_error("ollama", 502, jsonio.encoded({"error": step.message})) + b"\n"
        if isinstance(step, Words) and step.text and not self._draft.calling:
            return self._say(_message([Thought(step.text) if step.thought else Text(step.text)], self._asked))
        self._draft.add(step)
        return self._refused(TOO_LONG) if self._draft.full else b""

    def end(self) -> bytes:
        """See `StreamWriter.end`."""
        parts = self._draft.parts()
        said = b"" if self._over or not parts else self._say(_message(parts, self._asked))
        return said + self._last(self._draft.stop, {})

    def cut(self, deny: Deny) -> bytes:
        """See `StreamWriter.cut`. A call that is not whole is left out."""
        return self._last("length", {"fleetgate": refusals.decision(deny)}) if deny.reason in CUT_SHORT else self._refused(deny)

    def _say(self, message: dict[str, Any], more: dict[str, Any] | None = None) -> bytes:
        return jsonio.line(_line(self._draft.model or self._asked.model, message) | (more or {})) + b"\n"

    def _last(self, stop: Stop, more: dict[str, Any]) -> bytes:
        if self._over:
            return b""
        self._over = True
        return self._say(_message([], self._asked), _ending(stop, self._draft.usage) | more)

    def _refused(self, deny: Deny) -> bytes:
        if self._over:
            return b""
        self._over = True
        return refusals.error_event("ollama", deny)
