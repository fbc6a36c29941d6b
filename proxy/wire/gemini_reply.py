"""Replies of Gemini: usage, texts and tool calls, from a whole body or from stream events as they pass, in either of its two framings.

Every event of a stream is a whole reply with what is new in it. Usage comes with each and is the sum so far, so the newest counts, and it
is exact once every candidate has finished. Prompt tokens include cached ones; thoughts stand beside the candidates' tokens and are output;
what a tool of Google's read is input. A part of a kind that we do not know counts as text as it stands.

Source: Gemini API reference, "GenerateContentResponse" and "UsageMetadata"; types of the `google-genai` Python SDK 3.4 (2026-11). The sums
were checked on recorded replies of Gemini 2.0 to 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.call import Event, ToolCall
from proxy.wire.gemini_chunk import Blob, Function, Loose, Part, Reply, looses, parts, replies, stencil
from proxy.wire.gemini_frame import SSE, Frame
from proxy.wire.modalities import media_of
from proxy.wire.openai_reply import BROKEN, CUT_SHORT, MAX_CALLS, MAX_CHOICES, MAX_COUNT, MAX_MODEL
from proxy.wire.repeating import RepeatingMeter

_NOTHING = msgspec.Raw(b"")
_LONG = 16
"""Letters of a token that is longer than most: an event holds many tokens here, and this tells how many at least."""
_IMAGE, _BLOB = 258, 4096
"""Tokens of the smallest image; letters of base64 for which sound takes a token at least."""


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: Any = None
    cache_tokens_details: Any = None
    candidates_tokens_details: Any = None


_usage_decoder = msgspec.json.Decoder(_Usage)


# --- usage -------------------------------------------------------------------------------------------------------------------------


def usage_of(raw: bytes | msgspec.Raw, final: bool = True) -> Usage | None:
    """Return the usage object `raw` as ours, None when it is none. Impossible numbers are clamped and make it inexact.

    Where the total is more than its parts, the rest is taken for output, which costs most. Some servers count thoughts among the
    candidates' tokens; the total tells.

    Args:
        raw: as in a reply.
        final: nothing can be added to it any more.
    """
    if len(raw) < 5:  # absent, null, {}
        return None
    try:
        found = _usage_decoder.decode(raw)
    except BROKEN:
        return None
    parts = [
        found.prompt_token_count,
        found.cached_content_token_count,
        found.candidates_token_count,
        found.thoughts_token_count,
        found.tool_use_prompt_token_count,
    ]
    if parts == _NO_PARTS:
        return None
    given = [value or 0 for value in parts]
    fits = min(given) >= 0 and max(given) <= MAX_COUNT
    if not fits:
        given = [max(0, min(value, MAX_COUNT)) for value in given]
    prompt, read, said, thought, fetched = given
    fits = fits and final
    output, total = said + thought, found.total_token_count
    if total is not None and total != prompt + fetched + output:
        inside = thought <= said and total == prompt + fetched + said
        fits = fits and inside
        output = said if inside else output + max(0, min(total, MAX_COUNT) - prompt - fetched - output)
    fits = fits and read <= prompt
    read = min(read, prompt)
    media = media_of(found.prompt_tokens_details, found.cache_tokens_details, found.candidates_tokens_details, (prompt - read, read, said))
    return Usage(prompt - read + fetched, output, read, 0, 0, min(thought, output), fits, media)


_NO_PARTS = [None] * 5


# --- the meter ---------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Said:
    """What one reply adds: texts, names of tools whose calls stand in it, whether anything but calls is said, what else it weighs."""

    texts: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    speaks: bool = False
    more: int = 0


class GenerateMeter(RepeatingMeter):
    """Reads one reply, or the replies of one stream.

    `finish` is set only while every candidate seen has finished and nothing else has to follow, so that it says that the stream may end.
    """

    def __init__(self, frame: Frame = SSE) -> None:
        super().__init__()
        self._frame = frame
        self._finished: dict[int, bool] = {}
        self._reason = self._id = ""
        self._blocked = False
        self._before = self._after = 0
        self._reported = b""
        self._numbers: dict[int, int] = {}

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        try:
            reply = jsonio.decoded(replies, body)
        except BROKEN:
            self.odd = True
            self._odd(body)
            return
        self.failed = len(reply.error) > 4 and not reply.candidates
        self._take(reply)
        self._report(reply.usage_metadata)
        self.finish = self._reason

    def _read(self, raw: bytes) -> Event:
        data = self._frame.data(raw)
        self._before = self._after
        try:
            reply = jsonio.decoded(replies, data)
        except BROKEN:
            return self._unread(raw, data)
        self._after += 1
        if len(reply.error) > 4:
            self.failed = True
            return Event(raw, "error")
        said = self._take(reply)
        done = self._done()
        self.finish = self._reason if done and not self._frame.closes else ""
        reported = self._report(reply.usage_metadata)
        text, tools = "".join(said.texts), "\n".join(said.tools)
        if text or tools or said.more:
            self.pieces += 1 + said.more + len(text) // _LONG
            opens = raw.lstrip().startswith(b"[")  # an array, as no other element of it may
            if text and not done and not opens and self._worth():
                self._repeats(partial(stencil, raw, text, reply, self._frame.data))
            return Event(raw, "text" if said.speaks else "tool", text, tools)
        return Event(raw, "end" if done else "usage" if reported else "other")

    def _repeat(self, raw: bytes, text: str) -> None:
        self._before = self._after
        self._after += 1
        self._latest = raw
        self.texts.append(text)
        self.pieces += 1 + len(text) // _LONG

    def _catch_up(self) -> None:
        """See `RepeatingMeter`: the usage."""
        newest, self._latest = self._latest, b""
        if newest:
            self._report(jsonio.decoded(replies, self._frame.data(newest)).usage_metadata)

    def _unread(self, raw: bytes, data: bytes) -> Event:
        if self._frame.closes and data == b"]":
            self.ended, self.finish = True, self._reason
            return Event(raw, "end")
        if not data:
            return Event(raw, "other")
        self.odd = True
        self._after += 1
        self.pieces += 1
        return Event(raw, "text", self._odd(data))

    def _odd(self, data: bytes) -> str:
        """Keep as text what does not read as a reply; its usage may still."""
        text = data.decode("utf-8", "replace")
        self.texts.append(text)
        try:
            found = looses.decode(data)
        except BROKEN:
            return text
        self._head(found)
        self._report(found.usage_metadata)
        return text

    def _head(self, reply: Reply | Loose) -> None:
        if isinstance(reply.model_version, str):
            self.model = reply.model_version[:MAX_MODEL]

    def _take(self, reply: Reply) -> _Said:
        """Keep what one reply says."""
        self._head(reply)
        if isinstance(reply.response_id, str):
            self._id = reply.response_id[:MAX_MODEL]
        said = _Said()
        for candidate in reply.candidates or ():
            index = candidate.index or 0
            for part in (candidate.content and candidate.content.parts) or ():
                self._part(part, said, index)
            if index in self._finished or len(self._finished) < MAX_CHOICES:
                self._finished[index] = self._finished.get(index, False) or bool(candidate.finish_reason)
            self._reason = str(candidate.finish_reason or self._reason)
        if reply.prompt_feedback is not None and reply.prompt_feedback.block_reason:
            self._reason, self._blocked = str(reply.prompt_feedback.block_reason), True
        self.texts += said.texts
        self.texts += said.tools
        return said

    def _done(self) -> bool:
        return self._blocked or (bool(self._finished) and all(self._finished.values()))

    def _report(self, raw: msgspec.Raw) -> bool:
        """Take the newest usage; until every candidate has finished it may still grow."""
        usage = usage_of(raw, self.ended or self._done())
        if usage is None:
            return False
        self._reported, self.usage = bytes(raw), usage
        return True

    def _part(self, raw: msgspec.Raw, said: _Said, index: int) -> None:
        try:
            part = parts.decode(raw)
        except BROKEN:
            part, self.odd = Part(), True
        if part == _EMPTY and len(raw) > 2:
            part = Part(text=bytes(raw).decode("utf-8", "replace"))
        for words in (part.executable_code, part.code_execution_result):
            if words is not None:
                said.texts.append((words.code or "") + (words.output or ""))
                said.speaks = True
        if part.text:
            said.texts.append(part.text)
            said.speaks = True
        if part.inline_data is not None:
            said.more += _weight(part.inline_data)
            said.speaks = True
        for call in (part.function_call, part.tool_call):
            if call is not None:
                self._call(call, said, index)

    def _call(self, call: Function, said: _Said, index: int) -> None:
        name = call.name or call.tool_type or ""
        # Pieces of arguments are kept as they stand: rules then see everything, though not as one object, so that nobody can judge it.
        arguments = _text(call.partial_args) if call.partial_args else _text(call.args) or "{}"
        said.tools.append(name.replace("\n", " "))
        said.texts.append(arguments)
        self.odd = self.odd or bool(call.partial_args) or len(self.tool_calls) >= MAX_CALLS
        if len(self.tool_calls) < MAX_CALLS:
            place = f"{index}/{self._numbers.get(index, 0)}"
            self._numbers[index] = self._numbers.get(index, 0) + 1
            self.tool_calls.append(ToolCall(call.id or "", name, arguments, jsonio.signature(name, arguments), place))

    def cut(self, deny: Deny | None) -> bytes:
        """See `Meter.cut`. An event that was withheld is not counted among those that went before."""
        before = self._before if self.withheld else self._after
        if self.ended and not self.withheld:
            return b""
        if deny is None or deny.reason not in CUT_SHORT:
            return self._frame.ending(refusals.refuse("gemini", deny or refusals.LOST, "").body, before)
        if self._done() and not self.withheld:
            return self._frame.ending(b"", before)
        still_open = [index for index, finished in self._finished.items() if not finished]
        chunk: dict[str, Any] = {
            "candidates": [_stopped(index) for index in still_open or [0]],
            "modelVersion": self.model,
            "responseId": self._id,
            "fleetgate": refusals.decision(deny),
        }
        self._catch_up()
        if self._reported:
            chunk["usageMetadata"] = jsonio.loads(self._reported)
        return self._frame.ending(jsonio.dumps(chunk), before)


_EMPTY = Part()


def _stopped(index: int) -> dict[str, Any]:
    return {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": index}


def _weight(blob: Blob) -> int:
    """Return the tokens that a file in the output is at least."""
    return _IMAGE if blob.mime_type.startswith("image/") else len(blob.data) // _BLOB


def _text(raw: msgspec.Raw) -> str:
    """Return JSON in one form, however it was spaced."""
    value = jsonio.loads(bytes(raw)) if raw else None
    return "" if value is None else jsonio.readable(value)
