"""Replies of OpenAI Chat Completions: usage, texts and tool calls, from a whole body or from stream events as they pass.

Only the fields that we use are decoded. What does not decode is still metered: an event that is JSON but not of the expected shape
counts as text as it stands. Usage with impossible numbers is clamped and marked inexact, so that the engine charges its own bound.

Source: OpenAI API reference, "The chat completion chunk object"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from proxy.model import Deny, Reason, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.call import Event, EventKind, ToolCall
from proxy.wire.openai_chunk import Choice, Chunk, Function, Output, chunks, stencil
from proxy.wire.reading import thoughts
from proxy.wire.repeating import RepeatingMeter
from proxy.wire.sse import data_of

_NOTHING = msgspec.Raw(b"")
MAX_COUNT = 10**12
MAX_CHOICES, MAX_CALLS, MAX_MODEL = 128, 1024, 256
CUT_SHORT = frozenset({Reason.BUDGET_EXCEEDED, Reason.REQUEST_TOO_COSTLY})
DONE = b"data: [DONE]\n\n"


class _InDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _OutDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InDetails | None = None
    completion_tokens_details: _OutDetails | None = None


class Loose(msgspec.Struct):
    """What is read of a reply whose other parts are of no interest, or are not as expected."""

    model: Any = None
    usage: msgspec.Raw = _NOTHING


_NO_IN, _NO_OUT = _InDetails(), _OutDetails()
_usage_decoder = msgspec.json.Decoder(_Usage)
_loose_decoder = msgspec.json.Decoder(Loose)
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Started(msgspec.Struct):
    """A tool call of which pieces still come."""

    id: str = ""
    name: str = ""
    pieces: list[str] = msgspec.field(default_factory=list)


class _Answer(msgspec.Struct):
    """One choice while it streams: `at` maps an index to the call that it stands for now; `closed` calls are complete."""

    index: int = 0
    calls: list[_Started] = msgspec.field(default_factory=list)
    at: dict[int, _Started] = msgspec.field(default_factory=dict)
    closed: int = 0
    finished: bool = False


def loose(body: bytes) -> Loose:
    """Return model and usage of a reply, as far as they can be read."""
    try:
        return _loose_decoder.decode(body)
    except BROKEN:
        return Loose()


def usage_of(raw: bytes | msgspec.Raw) -> Usage | None:
    """Return the usage object `raw` as ours, None when it is none. Impossible numbers are clamped and make it inexact."""
    if len(raw) < 5:  # absent, null, {}
        return None
    try:
        found = _usage_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    inside, outside = found.prompt_tokens_details or _NO_IN, found.completion_tokens_details or _NO_OUT
    given = [
        found.prompt_tokens,
        found.completion_tokens or 0,
        inside.cached_tokens or 0,
        inside.cache_write_tokens or 0,
        outside.reasoning_tokens or 0,
    ]
    possible = min(given) >= 0 and max(given) <= MAX_COUNT
    prompt, output, read, write, reasoning = given if possible else [_bounded(value) for value in given]
    if reasoning > output and found.total_tokens == prompt + output + reasoning:
        output += reasoning  # some servers report reasoning beside the completion instead of inside it
    fits = possible and read + write <= prompt and reasoning <= output
    if not fits:
        read, reasoning = min(read, prompt), min(reasoning, output)
        write = min(write, prompt - read)
    media: tuple[tuple[str, int], ...] = ()
    if inside.audio_tokens or outside.audio_tokens:
        heard, said = min(_bounded(inside.audio_tokens or 0), prompt - read - write), min(_bounded(outside.audio_tokens or 0), output)
        media = (("input_audio", heard), ("output_audio", said)) if heard or said else ()
    return Usage(prompt - read - write, output, read, write, 0, reasoning, fits, media)


def _bounded(value: int) -> int:
    return max(0, min(value, MAX_COUNT))


class ChatMeter(RepeatingMeter):
    """Reads one reply. Usage of an unfinished stream is not exact until its last chunk or `[DONE]` came.

    `finish` is set only while every choice seen has finished, so that it says that the stream may end here.
    """

    turns: int = 0

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[int, _Answer] = {}
        self._id: Any = None
        self._created: Any = None
        self._newest: Usage | None = None
        self._reason = ""

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        try:
            reply = jsonio.decoded(chunks, body)
        except BROKEN:
            self.odd = True
            self.texts.append(body.decode("utf-8", "replace"))
            self._head(loose(body))
            return
        self._head(reply)
        self.failed = len(reply.error) > 4 and not reply.choices
        for position, choice in enumerate(reply.choices or ()):
            answer = self._answers.setdefault(position, _Answer(position))
            if choice.message is not None:
                self._output(answer, choice.message)
            self._close(answer)
            self.finish = choice.finish_reason or self.finish

    def _head(self, reply: Chunk | Loose) -> None:
        if isinstance(reply.model, str):
            self.model = reply.model[:MAX_MODEL]
        self.usage = usage_of(reply.usage)

    def _read(self, raw: bytes) -> Event:
        data = data_of(raw)
        try:
            chunk = jsonio.decoded(chunks, data)
        except BROKEN:
            return self._odd(raw, data)
        if len(chunk.error) > 4:
            self.failed = True
            return Event(raw, "error")
        if self._id is None:
            self._id, self._created = chunk.id, chunk.created
        if isinstance(chunk.model, str):
            self.model = chunk.model[:MAX_MODEL]
        choices = chunk.choices or ()
        text = tools = ""
        speaks = False
        for choice in choices:
            answer = self._answer(choice.index or 0)
            if choice.delta is not None:
                said, named = self._output(answer, choice.delta)
                speaks = speaks or bool(said and not (choice.delta.tool_calls or choice.delta.function_call))
                text += said
                tools = f"{tools}\n{named}" if tools and named else tools or named
            if choice.finish_reason is not None:
                self._reason = choice.finish_reason
                self._close(answer)
        if self._reason:
            self.finish = self._reason if self._all_finished() else ""
        reported = len(chunk.usage) > 4 and self._report(usage_of(chunk.usage), not choices)
        if text or tools:
            self.pieces += 1
            kind: EventKind = "text" if speaks else "tool"
            if text and not tools and len(choices) == 1 and self._worth():
                into = None if speaks else self._growing(choices[0])
                self._repeats(partial(stencil, raw, text, chunk, chunk.created != self._created), kind, into, reported)
            return Event(raw, kind, text, tools)
        return Event(raw, "usage" if reported and not choices else "other")

    def _growing(self, choice: Choice) -> list[str] | None:
        """Return where the arguments of the call go that `choice` says more of, None where it says more than that."""
        calls = choice.delta and choice.delta.tool_calls
        if not calls or len(calls) != 1:
            return None
        call = self._answer(choice.index or 0).at.get(calls[0].index or 0)
        return None if call is None else call.pieces

    def _catch_up(self) -> None:
        """See `RepeatingMeter`: the usage."""
        newest, self._latest = self._latest, b""
        self._report(usage_of(jsonio.decoded(chunks, data_of(newest)).usage), False)

    def _answer(self, index: int) -> _Answer:
        """Return the choice of that number; past what anybody can ask for, all share the last, so that no provider fills memory."""
        found = self._answers.get(index)
        if found is None:
            if len(self._answers) >= MAX_CHOICES:
                self.odd = True
                return next(reversed(self._answers.values()))
            found = self._answers[index] = _Answer(index)
            self.turns += 1
        return found

    @property
    def calling(self) -> bool:
        """See `Meter.calling`."""
        return any(answer.calls for answer in self._answers.values())

    def _all_finished(self) -> bool:
        return all(answer.finished for answer in self._answers.values())

    def _odd(self, raw: bytes, data: bytes) -> Event:
        if data.strip() == b"[DONE]":
            for answer in self._answers.values():
                self._close(answer)
            self.ended, self.usage = True, self._newest
            return Event(raw, "end")
        if not data.lstrip().startswith(b"{"):
            return Event(raw, "other")
        self.odd = True
        text = data.decode("utf-8", "replace")
        self.texts.append(text)
        self.pieces += 1
        self._report(usage_of(loose(data).usage), False)
        return Event(raw, "text", text)

    def _report(self, usage: Usage | None, last: bool) -> bool:
        """Take the newest usage. While a choice is open it may still grow, so it is exact only then when nothing can follow."""
        if usage is None:
            return False
        self._newest = usage
        done = last or self._all_finished()
        self.usage = usage if done else replace(usage, exact=False)
        return True

    def _output(self, answer: _Answer, output: Output) -> tuple[str, str]:
        """Keep one choice's output; return its text and the names of the tools whose calls start in it."""
        content = output.content
        pieces = [
            thoughts(output.reasoning_content or "", output.reasoning or "", output.reasoning_details),
            content if isinstance(content, str) else jsonio.readable(content) if content else "",
            output.refusal or "",
            (output.audio and output.audio.transcript) or "",
        ]
        names = []
        for call in output.tool_calls or ():
            function = call.function or call.custom or Function()
            self.odd = self.odd or len(answer.calls) >= MAX_CALLS
            names.append(_gather(answer, call.index, call.id or "", function))
            pieces.append(function.arguments or function.input or "")
        if output.function_call is not None:
            names.append(_gather(answer, -1, "", output.function_call))
            pieces.append(output.function_call.arguments or "")
        text = "".join(pieces)
        tools = "\n".join(name for name in names if name) if names else ""
        if text or tools:
            self.texts.append(tools + text)
        return text, tools

    def _close(self, answer: _Answer) -> None:
        answer.finished = True
        self.turns += 1
        for call in answer.calls:
            arguments, place = "".join(call.pieces), f"{answer.index}/{answer.closed}"
            self.tool_calls.append(ToolCall(call.id, call.name, arguments, jsonio.signature(call.name, arguments), place))
            answer.closed += 1
        answer.calls.clear()
        answer.at.clear()

    def cut(self, deny: Deny | None) -> bytes:
        """See `Meter.cut`."""
        if deny is None or deny.reason not in CUT_SHORT:
            return refusals.error_event("openai", deny or refusals.LOST) + DONE
        still_open = [index for index, answer in self._answers.items() if not answer.finished]
        if self._answers and not still_open:
            return DONE
        chunk = {
            "id": self._id or "chatcmpl-cut",
            "object": "chat.completion.chunk",
            "created": self._created or 0,
            "model": self.model,
            "choices": [{"index": index, "delta": {}, "finish_reason": "length"} for index in still_open or [0]],
            "fleetgate": refusals.decision(deny),
        }
        return b"data: %b\n\n" % jsonio.dumps(chunk) + DONE


def _gather(answer: _Answer, index: int | None, id: str, function: Function) -> str:
    """Add one piece of a tool call; return the tool's name as far as it comes with this piece.

    Some servers give no index, and some number every call 0: then a new id starts a new call.
    """
    name = (function.name or "").replace("\n", " ")
    key = 0 if index is None else index
    call = answer.at.get(key)
    if call is None or (id and call.id and id != call.id) or (index is None and name):
        if len(answer.calls) < MAX_CALLS:
            answer.calls.append(_Started())
            answer.at[key] = answer.calls[-1]
        call = answer.calls[-1]
    call.id = call.id or id
    call.name += name
    call.pieces.append(function.arguments or function.input or "")
    return name
