"""OpenAI's Responses as a dialect of the hub: its replies, read whole and streamed, and written whole. Streams: `openai_responses_writer`.

Source: OpenAI API reference, "The response object", "Streaming events"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.model import Usage
from proxy.wire import jsonio, openai_responses_write
from proxy.wire.openai_reply import BROKEN, MAX_CALLS, MAX_MODEL
from proxy.wire.openai_responses_output import usage_of
from proxy.wire.openai_responses_write import NO_USAGE, message
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
    Text,
    Thought,
    ToolBegan,
    ToolMore,
    ToolUse,
    Untranslatable,
    Words,
)

_NOTHING = msgspec.Raw(b"")
RESPONSE, CALL = "resp_", "call_"
_INCOMPLETE: dict[Stop, str] = {"length": "max_output_tokens", "filter": "content_filter"}


class _Text(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[_Text] | None = None
    summary: list[_Text] | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: Any = None
    model: Any = None
    status: str | None = None
    output: list[_Item] | None = None
    incomplete_details: _Incomplete | None = None
    usage: msgspec.Raw = _NOTHING
    error: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    response: _Response | None = None
    item: _Item | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    message: Any = None
    error: Any = None


_response_decoder = msgspec.json.Decoder(_Response)
_event_decoder = msgspec.json.Decoder(_Event)


# --- reading -----------------------------------------------------------------------------------------------------------------------


def _stop(response: _Response, called: bool) -> Stop:
    """Return why a reply ended. What is incomplete for a reason that we do not know was held back."""
    if response.status == "incomplete":
        details = response.incomplete_details
        return "length" if details is not None and details.reason == "max_output_tokens" else "filter"
    return "tool" if called else "stop"


def _failure(error: object) -> str:
    words = error.get("message") if isinstance(error, dict) else error
    return jsonio.clean(words) if isinstance(words, str) else ""


def _word(value: object) -> str:
    return value[:MAX_MODEL] if isinstance(value, str) else ""


def _parts(items: list[_Item]) -> list[Text | Thought | ToolUse]:
    found: list[Text | Thought | ToolUse] = []
    for item in items[:MAX_CALLS]:
        if item.type == "function_call":
            found.append(ToolUse(item.call_id or "", item.name or "", item.arguments or "{}"))
        elif item.type == "reasoning":
            thought = "\n\n".join([part.text for part in item.summary or item.content or () if part.text])
            found += [Thought(thought)] if thought else []
        elif item.type == "message":
            found += [Text(text) for part in item.content or () if (text := part.text or part.refusal)]
    return found


def read_reply(body: dict[str, Any]) -> Said:
    """See `Dialect.read_reply`."""
    try:
        response = jsonio.decoded(_response_decoder, jsonio.encoded(body))
    except BROKEN:
        raise Untranslatable("the reply is no response") from None
    if response.output is None or response.status not in (None, "completed", "incomplete"):
        raise Untranslatable(_failure(response.error) or "the reply is no response that has ended")
    parts = _parts(response.output)
    stop = _stop(response, any(isinstance(part, ToolUse) for part in parts))
    return Said(_word(response.id), _word(response.model), parts, stop, usage_of(response.usage) or Usage(exact=False))


@dataclass(slots=True)
class _Seen:
    """An output item of which something was read: its call's number in the hub, or -1, and whether any of its text came in pieces."""

    call: int = -1
    pieces: bool = False


class ResponsesReader(StreamReader):
    """Reads one stream. Servers that send an item's text or arguments only at its end are understood too."""

    def __init__(self) -> None:
        self._began = False
        self._calls = 0
        self._seen: dict[int, _Seen] = {}

    def event(self, raw: bytes) -> list[Step]:
        """See `StreamReader.event`."""
        try:
            event = jsonio.decoded(_event_decoder, data_of(raw))
        except BROKEN:
            return []
        kind = event.type.removeprefix("response.")
        if kind in ("error", "failed"):
            told = event.error or event.message or (event.response.error if event.response is not None else None)
            return [Failed(_failure(told))]
        response = event.response
        began: list[Step] = []
        if not self._began and response is not None:
            self._began = True
            began.append(Began(_word(response.id), _word(response.model)))
        if kind in ("completed", "incomplete") and response is not None:
            return [*began, Ended(_stop(response, self._calls > 0), usage_of(response.usage))]
        return began + self._output(kind, event)

    def _output(self, kind: str, event: _Event) -> list[Step]:
        item, seen = event.item, self._at(event.output_index)
        if kind in ("output_text.delta", "refusal.delta"):
            return self._words(seen, event.delta)
        if kind in ("reasoning_summary_text.delta", "reasoning_text.delta"):
            return self._words(seen, event.delta, thought=True)
        if kind == "reasoning_summary_part.added" and event.summary_index and seen.pieces:
            return [Words("\n\n", thought=True)]
        if kind == "function_call_arguments.delta":
            return self._arguments(seen, event.delta)
        if kind == "output_item.added" and item is not None and item.type == "function_call":
            return self._call(seen, item)
        if kind == "output_item.done" and item is not None:
            return self._whole(seen, item)
        return []

    def _at(self, index: int) -> _Seen:
        if index not in self._seen and len(self._seen) >= MAX_CALLS:
            return _Seen()
        return self._seen.setdefault(index, _Seen())

    def _words(self, seen: _Seen, text: str | None, thought: bool = False) -> list[Step]:
        seen.pieces = seen.pieces or bool(text)
        return [Words(text, thought)] if text else []

    def _call(self, seen: _Seen, item: _Item) -> list[Step]:
        if seen.call >= 0 or self._calls >= MAX_CALLS:
            return []
        seen.call, self._calls = self._calls, self._calls + 1
        return [ToolBegan(seen.call, item.call_id or "", item.name or ""), *self._arguments(seen, item.arguments)]

    def _arguments(self, seen: _Seen, text: str | None) -> list[Step]:
        if seen.call < 0 or not text:
            return []
        seen.pieces = True
        return [ToolMore(seen.call, text)]

    def _whole(self, seen: _Seen, item: _Item) -> list[Step]:
        """Return what an item says of which no piece came before."""
        if item.type == "function_call":
            return self._call(seen, item) if seen.call < 0 else [] if seen.pieces else self._arguments(seen, item.arguments)
        if seen.pieces:
            return []
        return [Words(part.text, isinstance(part, Thought)) for part in _parts([item]) if not isinstance(part, ToolUse)]


# --- writing -----------------------------------------------------------------------------------------------------------------------


def write_reply(said: Said, asked: Asked) -> dict[str, Any]:
    """See `Dialect.write_reply`."""
    name = reply_name(RESPONSE, said.id, asked)
    parts, suffix = whole_parts(said.parts, said.stop), name.removeprefix(RESPONSE)
    last = len(parts) - 1
    output = [item_of(part, f"{suffix}_{i}", asked, i, status_of(i == last, said.stop)) for i, part in enumerate(parts)]
    ended = {"status": "incomplete" if said.stop in _INCOMPLETE else "completed", "incomplete_details": incomplete(said.stop)}
    return response(name, said.model, asked) | ended | {"output": output, "usage": usage_written(said.usage)}


def response(name: str, model: str, asked: Asked) -> dict[str, Any]:
    """Return a response that has only begun. What the request said stands in it as far as it was carried over."""
    carried = {"max_output_tokens": asked.max_output, "temperature": asked.temperature, "top_p": asked.top_p}
    begun = openai_responses_write.response(name.removeprefix(RESPONSE), model or asked.model)
    return begun | carried | {"parallel_tool_calls": asked.parallel is not False, "store": False}


def incomplete(stop: Stop) -> dict[str, str] | None:
    """Return the member `incomplete_details`."""
    return {"reason": _INCOMPLETE[stop]} if stop in _INCOMPLETE else None


def status_of(last: bool, stop: Stop) -> str:
    """Return the status of an item of a reply that ended with `stop`: the last one is what it broke off in."""
    return "incomplete" if last and stop in _INCOMPLETE else "completed"


def item_of(part: Text | Thought | ToolUse, suffix: str, asked: Asked, index: int, status: str) -> dict[str, Any]:
    """Return a part of a reply as an output item; one without text has no content yet."""
    if isinstance(part, ToolUse):
        called = {"call_id": call_name(CALL, part.id, asked, index), "name": part.name, "arguments": part.arguments}
        return {"id": f"fc_{suffix}", "type": "function_call", "status": status, **called}
    if isinstance(part, Thought):
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        return {"id": f"rs_{suffix}", "type": "reasoning", "summary": summary}
    return message(f"msg_{suffix}", [part.text] if part.text else [], status)


def usage_written(usage: Usage | None) -> Mapping[str, Any]:
    """Return usage as this dialect counts: the prompt includes what was cached. Nothing at all where the provider said nothing."""
    if usage is None:
        return NO_USAGE
    return {
        "input_tokens": usage.total_input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write + usage.cache_write_1h},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
