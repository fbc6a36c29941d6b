"""Replies of OpenAI Chat Completions as a dialect: read into the hub and written from it, whole and in streams.

Only the first choice is read, since only one can be asked for through a bridge. A call of a tool begins in the hub when its name is
known; servers that number all calls 0, or none, begin a new one with a new id, as the meter has it. `created` is 0 in what we write: no
other dialect has it, and nothing here reads a clock.

Source: OpenAI API reference, "The chat completion chunk object"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.openai_reply import BROKEN, CUT_SHORT, DONE, MAX_CALLS, MAX_MODEL, usage_of
from proxy.wire.sse import data_of
from proxy.wire.translate.draft import whole_parts
from proxy.wire.translate.given import call_name, reply_name
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
_STOPS: dict[str, Stop] = {"length": "length", "tool_calls": "tool", "function_call": "tool", "content_filter": "filter"}
_WRITTEN: dict[Stop, str] = {"stop": "stop", "length": "length", "tool": "tool_calls", "filter": "content_filter"}
_PREFIX, _CALL = "chatcmpl-", "call_"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Output(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Output | None = None
    message: _Output | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NOTHING
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


def stop_of(reason: str | None) -> Stop:
    """Return why the model stopped; a word that we do not know is a stop."""
    return _STOPS.get(reason or "", "stop")


def text_of(content: str | list[Any] | None) -> str:
    """Return the text of `content`; some servers send parts."""
    if isinstance(content, list):
        return "".join([part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)])
    return content or ""


# --- reading -----------------------------------------------------------------------------------------------------------------------


def read_reply(body: dict[str, Any]) -> Said:
    """See `Dialect.read_reply`."""
    try:
        choice = msgspec.convert(body["choices"][0], _Choice)
    except (KeyError, IndexError, TypeError, msgspec.ValidationError):
        raise Untranslatable("the reply is no chat completion") from None
    message = choice.message or _Output()
    parts: list[Text | Thought | ToolUse] = []
    thought, text = message.reasoning_content or message.reasoning, text_of(message.content) + (message.refusal or "")
    parts += [Thought(thought)] if thought else []
    parts += [Text(text)] if text else []
    for call in (message.tool_calls or ())[:MAX_CALLS]:
        function = call.function or _Function()
        parts.append(ToolUse(call.id or "", function.name or "", function.arguments or "{}"))
    usage = usage_of(jsonio.encoded(body.get("usage"))) or Usage(exact=False)
    return Said(_word(body.get("id")), _word(body.get("model")), parts, stop_of(choice.finish_reason), usage)


def _word(value: object) -> str:
    return value[:MAX_MODEL] if isinstance(value, str) else ""


@dataclass(slots=True)
class _Open:
    """A tool call of which pieces still come; `index` is its number in the hub once it began."""

    id: str = ""
    name: str = ""
    index: int = -1
    held: str = ""


class ChatReader(StreamReader):
    """Reads one stream.

    A call begins for the hub when its name is whole, which is when something else comes: the meter puts a name together from its pieces,
    and the client must not be told another one.
    """

    def __init__(self) -> None:
        self._began = False
        self._at: dict[int, _Open] = {}
        self._newest: _Open | None = None
        self._waiting: list[_Open] = []
        self._calls = 0

    def event(self, raw: bytes) -> list[Step]:
        """See `StreamReader.event`."""
        steps: list[Step] = []
        data = data_of(raw)
        try:
            chunk = jsonio.decoded(_decoder, data)
        except BROKEN:
            if data.strip() == b"[DONE]":
                self._begin(steps)
            return steps
        if chunk.error:
            self._waiting = []
            words = chunk.error.get("message") if isinstance(chunk.error, dict) else chunk.error
            return [Failed(words if isinstance(words, str) else "")]
        if not self._began:
            self._began = True
            steps.append(Began(_word(chunk.id), _word(chunk.model)))
        stop: Stop | None = None
        for choice in chunk.choices or ():
            if choice.index:
                continue
            if choice.delta is not None:
                self._delta(choice.delta, steps)
            if choice.finish_reason is not None:
                stop = stop_of(choice.finish_reason)
        if stop is not None:
            self._begin(steps)
        usage = usage_of(chunk.usage)
        if stop is not None or usage is not None:
            steps.append(Ended(stop, usage))
        return steps

    def _delta(self, delta: _Output, steps: list[Step]) -> None:
        thought, text = delta.reasoning_content or delta.reasoning, text_of(delta.content) + (delta.refusal or "")
        if thought or text:
            self._begin(steps)
        if thought:
            steps.append(Words(thought, thought=True))
        if text:
            steps.append(Words(text))
        for call in delta.tool_calls or ():
            self._call(call, steps)

    def _call(self, piece: _Call, steps: list[Step]) -> None:
        function = piece.function or _Function()
        key, id, name = piece.index or 0, piece.id or "", function.name or ""
        call = self._newest if piece.index is None else self._at.get(key)
        if call is None or (id and call.id and id != call.id) or (piece.index is None and name):
            if self._calls + len(self._waiting) >= MAX_CALLS:
                return
            self._begin(steps)
            call = self._at[key] = _Open()
            self._waiting.append(call)
        self._newest = call
        call.id = call.id or id
        if call.index >= 0:
            steps += [ToolMore(call.index, function.arguments)] if function.arguments else []
            return
        call.name += name
        call.held += function.arguments or ""
        if call.held and call.name:
            self._begin(steps)

    def _begin(self, steps: list[Step]) -> None:
        """Begin the calls whose names are whole now. What has none yet waits for it, and is none without."""
        named = [call for call in self._waiting if call.name]
        self._waiting = [call for call in self._waiting if not call.name]
        for call in named:
            call.index, self._calls = self._calls, self._calls + 1
            steps.append(ToolBegan(call.index, call.id, call.name))
            steps += [ToolMore(call.index, call.held)] if call.held else []
            call.held = ""


# --- writing -----------------------------------------------------------------------------------------------------------------------


def write_reply(said: Said, asked: Asked) -> dict[str, Any]:
    """See `Dialect.write_reply`."""
    text = "".join([part.text for part in said.parts if isinstance(part, Text)])
    thought = "".join([part.text for part in said.parts if isinstance(part, Thought)])
    uses = [part for part in whole_parts(said.parts, said.stop) if isinstance(part, ToolUse)]
    calls = [
        {
            "id": call_name(_CALL, use.id, asked, i),
            "type": "function",
            "function": {"name": use.name, "arguments": use.arguments or "{}"},
        }
        for i, use in enumerate(uses)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_of(said.stop, bool(calls))}
    found = {
        "id": reply_name(_PREFIX, said.id, asked),
        "object": "chat.completion",
        "created": 0,
        "model": said.model or asked.model,
        "choices": [choice],
    }
    return found | {"usage": usage_written(said.usage)} if said.usage.exact or said.usage.total else found


def finish_of(stop: Stop, called: bool) -> str:
    """Return the reason in this dialect's words; some servers say `stop` where their reply is a call, on which clients would not act."""
    return _WRITTEN["tool" if called and stop == "stop" else stop]


def usage_written(usage: Usage) -> dict[str, Any]:
    """Return `usage` as this dialect counts: the prompt includes what was cached."""
    inside = {"cached_tokens": usage.cache_read}
    written = usage.cache_write + usage.cache_write_1h
    return {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": inside | {"cache_write_tokens": written} if written else inside,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


class ChatWriter(StreamWriter):
    """Writes one stream: a chunk with the role, the output, a chunk with the reason, usage where the client asked for it, `[DONE]`.

    The reason waits for the end, since some servers give one with every chunk.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._head = self._headed("", "")
        self._began = self._called = self._failed = False
        self._stop: Stop | None = None
        self._usage: Usage | None = None

    def step(self, step: Step) -> bytes:
        """See `StreamWriter.step`."""
        if self._failed:
            return b""
        if isinstance(step, Began):
            if not self._began:
                self._head = self._headed(step.id, step.model)
            return self._begin()
        if isinstance(step, Failed):
            self._failed = True
            told = jsonio.encoded({"error": {"message": step.message}})
            return b"data: %b\n\n" % refusals.provider_error("openai", 502, told) + DONE
        if isinstance(step, Ended):
            self._usage, self._stop = step.usage or self._usage, step.stop or self._stop
            return b""
        return self._begin() + self._delta(self._said(step))

    def _said(self, step: Words | ToolBegan | ToolMore) -> dict[str, Any]:
        if isinstance(step, Words):
            return {"reasoning_content" if step.thought else "content": step.text}
        if isinstance(step, ToolMore):
            return {"tool_calls": [{"index": step.index, "function": {"arguments": step.arguments}}]}
        self._called = True
        id = call_name(_CALL, step.id, self._asked, step.index)
        function = {"name": step.name, "arguments": ""}
        return {"tool_calls": [{"index": step.index, "id": id, "type": "function", "function": function}]}

    def _headed(self, id: str, model: str) -> bytes:
        """Return how every chunk begins, without its last brace."""
        head = {"id": reply_name(_PREFIX, id, self._asked), "object": "chat.completion.chunk", "created": 0}
        return jsonio.line(head | {"model": model or self._asked.model})[:-1]

    def _begin(self) -> bytes:
        if self._began:
            return b""
        self._began = True
        return self._delta({"role": "assistant", "content": ""})

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return self._chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _chunk(self, members: dict[str, Any]) -> bytes:
        return b"data: %b,%b\n\n" % (self._head, jsonio.line(members)[1:])

    def end(self) -> bytes:
        """See `StreamWriter.end`."""
        if self._failed:
            return b""
        finish, usage = self._begin() + self._delta({}, finish_of(self._stop or "stop", self._called)), b""
        if self._asked.include_usage and self._usage is not None:
            usage = self._chunk({"choices": [], "usage": usage_written(self._usage)})
        return finish + usage + DONE

    def cut(self, deny: Deny) -> bytes:
        """See `StreamWriter.cut`."""
        if self._failed:
            return b""
        if deny.reason not in CUT_SHORT:
            return refusals.error_event("openai", deny) + DONE
        if self._stop is not None:
            return self._begin() + self._delta({}, finish_of(self._stop, self._called)) + DONE
        ending = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}], "fleetgate": refusals.decision(deny)}
        return self._begin() + self._chunk(ending) + DONE
