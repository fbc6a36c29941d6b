"""A streamed reply of Anthropic Messages, written.

Blocks stand one after the other in this protocol, while others may tell of several tool calls at once: what belongs to a later block
waits until the one that is open can close, which with calls is the end of the reply. Input tokens stand at the start of a stream; where
the provider tells them at its end they are 0 there and right in `message_delta`, whose numbers clients take.

Source: Anthropic API documentation, "Streaming Messages"; types of the Python SDK 2.11 (2026-11).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals
from proxy.wire.openai_reply import CUT_SHORT, MAX_CALLS
from proxy.wire.translate.anthropic_reply import CALL, reason_of, usage_written, write_reply
from proxy.wire.translate.draft import MAX_LETTERS, PIECE, TOO_LONG
from proxy.wire.translate.given import call_name
from proxy.wire.translate.hub import Asked, Began, Ended, Failed, Said, Step, Stop, StreamWriter, ToolBegan, ToolMore, Words

Kind = Literal["text", "thinking", "tool_use"]
_DELTAS: dict[Kind, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


@dataclass(slots=True)
class _Later:
    """A block that cannot begin before the open one closes: `call` is its number in the hub, or -1."""

    kind: Kind
    call: int = -1
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)


class MessagesWriter(StreamWriter):
    """Writes one stream; see the module for its order."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._began = self._failed = False
        self._blocks = self._calls = 0
        self._open: _Later | None = None
        self._later: list[_Later] = []
        self._waiting = 0
        self._stop: Stop | None = None
        self._usage = Usage()

    def step(self, step: Step) -> bytes:
        """See `StreamWriter.step`."""
        if self._failed:
            return b""
        if isinstance(step, Began):
            return self._begin(step)
        if isinstance(step, Failed):
            self._failed = True
            told = jsonio.encoded({"error": {"message": step.message}})
            return b"event: error\ndata: %b\n\n" % refusals.provider_error("anthropic", 502, told)
        if isinstance(step, Ended):
            self._usage = step.usage or self._usage
            self._stop = step.stop or self._stop
            return b""  # some servers give a reason with every event: blocks stay open until the end
        started = b"" if self._began else self._begin(Began("", ""))
        if isinstance(step, Words):
            return started + self._words("thinking" if step.thought else "text", step.text)
        return started + (self._call(step) if isinstance(step, ToolBegan) else self._more(step))

    def _begin(self, step: Began) -> bytes:
        if self._began:
            return b""
        self._began = True
        self._usage = step.usage or self._usage
        message = write_reply(Said(step.id, step.model, [], "stop", self._usage), self._asked) | {"stop_reason": None}
        return _sse("message_start", {"message": message})

    def _words(self, kind: Kind, text: str) -> bytes:
        block = self._open
        if block is not None and block.kind == "tool_use":
            if not self._later or self._later[-1].kind != kind:
                self._later.append(_Later(kind))
            return self._wait(self._later[-1], text)
        if block is not None and block.kind == kind:
            return self._delta(kind, text)
        return self._close() + self._start(_Later(kind)) + self._delta(kind, text)

    def _call(self, step: ToolBegan) -> bytes:
        block = _Later("tool_use", step.index, call_name(CALL, step.id, self._asked, step.index), step.name)
        if self._open is not None and self._open.kind == "tool_use":
            self._later.append(block)
            return self._wait(block, "")
        return self._close() + self._start(block)

    def _wait(self, block: _Later, text: str) -> bytes:
        """Have `text` wait as a part of `block`. What waits is bounded; half of it must not pass for the whole."""
        block.pieces.append(text)
        self._waiting += len(text) + PIECE
        if self._waiting <= MAX_LETTERS and len(self._later) <= MAX_CALLS:
            return b""
        self._failed = True
        return refusals.error_event("anthropic", TOO_LONG)

    def _more(self, step: ToolMore) -> bytes:
        if self._open is not None and self._open.call == step.index:
            return self._delta("tool_use", step.arguments)
        found = next((block for block in self._later if block.call == step.index), None)
        return b"" if found is None else self._wait(found, step.arguments)

    def _start(self, block: _Later) -> bytes:
        self._open = block
        content: dict[str, Any] = {"type": block.kind}
        if block.kind == "tool_use":
            self._calls += 1
            content |= {"id": block.id, "name": block.name, "input": {}}
        elif block.kind == "thinking":
            content |= {"thinking": "", "signature": ""}
        else:
            content["text"] = ""
        return _sse("content_block_start", {"index": self._blocks, "content_block": content})

    def _delta(self, kind: Kind, text: str) -> bytes:
        name, key = _DELTAS[kind]
        return _sse("content_block_delta", {"index": self._blocks, "delta": {"type": name, key: text}})

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        self._blocks += 1
        return _sse("content_block_stop", {"index": self._blocks - 1})

    def _flush(self) -> bytes:
        """Close the open block and write those that waited."""
        found = [self._close()]
        for block in self._later:
            found += [self._start(block), self._delta(block.kind, "".join(block.pieces)), self._close()]
        self._later = []
        return b"".join(found)

    def end(self) -> bytes:
        """See `StreamWriter.end`."""
        if self._failed:
            return b""
        started = b"" if self._began else self._begin(Began("", ""))
        return started + self._flush() + self._ending(reason_of(self._stop or "stop", self._calls > 0), {})

    def _ending(self, reason: str, more: dict[str, Any]) -> bytes:
        delta = {"stop_reason": reason, "stop_sequence": None}
        return _sse("message_delta", {"delta": delta, "usage": usage_written(self._usage), **more}) + _sse("message_stop", {})

    def cut(self, deny: Deny) -> bytes:
        """See `StreamWriter.cut`. What waited for its place is not said any more."""
        if self._failed:
            return b""
        if deny.reason not in CUT_SHORT or not self._began:
            return refusals.error_event("anthropic", deny)
        if self._stop is not None:
            return self._flush() + self._ending(reason_of(self._stop, self._calls > 0), {})
        return self._close() + self._ending("max_tokens", {"fleetgate": refusals.decision(deny)})


def _sse(name: str, members: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), jsonio.line({"type": name, **members}))
