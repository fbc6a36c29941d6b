"""A streamed reply of OpenAI's Responses, written.

Every part is an output item with a place of its own: words go on in the item that is open, calls stay open until the end, since their
pieces may come mixed. Every item is said three times, as the protocol has it: in pieces, whole when it is done, and in the response that
ends the stream; so it is kept until then, within the bounds of the draft.

Source: OpenAI API reference, "Streaming events"; types of the Python SDK 3.52 (2026-11), and what its stream helper insists on.
"""

from __future__ import annotations

from typing import Any

from proxy.model import Deny
from proxy.wire import jsonio, refusals
from proxy.wire.openai_reply import CUT_SHORT
from proxy.wire.openai_responses_reply import FAULTS
from proxy.wire.openai_responses_write import text_part
from proxy.wire.translate.draft import TOO_LONG, Draft, Item, is_whole
from proxy.wire.translate.given import reply_name
from proxy.wire.translate.hub import Asked, Began, Ended, Failed, Step, Stop, StreamWriter, ToolUse
from proxy.wire.translate.openai_responses_reply import RESPONSE, incomplete, item_of, response, status_of, usage_written

_PREFIXES = {"tool": "fc", "thought": "rs", "text": "msg"}


class ResponsesWriter(StreamWriter):
    """Writes one stream."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._draft = Draft()
        self._name = ""
        self._number = 0
        self._open: Item | None = None
        self._over = False

    def step(self, step: Step) -> bytes:
        """See `StreamWriter.step`."""
        if self._over:
            return b""
        if isinstance(step, Failed):
            return self._failed(step.message)
        known = len(self._draft.items)
        item = self._draft.add(step)
        if self._draft.full:
            return self._refused(TOO_LONG)
        if isinstance(step, Ended):
            return b""
        found = self._begin()
        if isinstance(step, Began) or item is None:
            return found
        if len(self._draft.items) > known:
            found += self._close() + self._added(item)
        return found + (self._delta(item) if item.pieces else b"")

    def end(self) -> bytes:
        """See `StreamWriter.end`."""
        return b"" if self._over else self._last(self._draft.stop, {})

    def cut(self, deny: Deny) -> bytes:
        """See `StreamWriter.cut`."""
        if self._over:
            return b""
        return self._last("length", {"fleetgate": refusals.decision(deny)}) if deny.reason in CUT_SHORT else self._refused(deny)

    # --- the response ------------------------------------------------------------------------------------------------------------

    def _begin(self) -> bytes:
        if self._name:
            return b""
        self._name = reply_name(RESPONSE, self._draft.id, self._asked)
        shell = {"response": self._response()}
        return self._event("response.created", shell) + self._event("response.in_progress", shell)

    def _response(self) -> dict[str, Any]:
        return response(self._name, self._draft.model, self._asked)

    def _last(self, stop: Stop, more: dict[str, Any]) -> bytes:
        """End the items that are open, and the response. A call that was cut off is neither ended nor in the response."""
        found, details = self._begin(), incomplete(stop)
        whole = [item for item in self._draft.items if item.kind != "tool" or details is None or is_whole(item.text)]
        output = []
        for item in whole:
            status = status_of(item is whole[-1], stop)
            if item.kind == "tool" or item is self._open:
                found += self._done(item, status)
            output.append(self._written(item, status))
        status = "completed" if details is None else "incomplete"
        ended = self._response() | {"status": status, "incomplete_details": details}
        ended |= {"output": output, "usage": usage_written(self._draft.usage)}
        self._over = True
        return found + self._event(f"response.{status}", {"response": ended, **more})

    def _refused(self, deny: Deny) -> bytes:
        code, found = "server_error" if deny.reason in FAULTS else "invalid_prompt", self._begin()
        self._over = True
        return found + refusals.failed_response(deny, "", code, self._number, self._response())

    def _failed(self, words: str) -> bytes:
        found = self._begin()
        self._over = True
        error = {"code": "server_error", "message": words or "The provider failed."}
        return found + self._event("response.failed", {"response": self._response() | {"status": "failed", "error": error}})

    # --- its items ---------------------------------------------------------------------------------------------------------------

    def _at(self, item: Item) -> dict[str, Any]:
        """Return what ties an event to its item."""
        found: dict[str, Any] = {"item_id": f"{_PREFIXES[item.kind]}_{self._suffix(item)}", "output_index": item.place}
        if item.kind == "thought":
            found["summary_index"] = 0
        elif item.kind == "text":
            found["content_index"] = 0
        return found

    def _suffix(self, item: Item) -> str:
        return f"{self._name.removeprefix(RESPONSE)}_{item.place}"

    def _written(self, item: Item, status: str) -> dict[str, Any]:
        """Return an item as it stands: at its beginning it is empty, at its end a call has arguments, if only none."""
        part = item.part()
        if isinstance(part, ToolUse) and status != "in_progress":
            part = ToolUse(part.id, part.name, part.arguments or "{}")
        return item_of(part, self._suffix(item), self._asked, item.place, status)

    def _added(self, item: Item) -> bytes:
        shell = self._written(Item(item.kind, item.place, item.id, item.name), "in_progress")
        found = self._event("response.output_item.added", {"output_index": item.place, "item": shell})
        if item.kind == "tool":
            return found
        self._open = item
        if item.kind == "thought":
            part: dict[str, Any] = {"type": "summary_text", "text": ""}
            return found + self._event("response.reasoning_summary_part.added", self._at(item) | {"part": part})
        return found + self._event("response.content_part.added", self._at(item) | {"part": text_part("")})

    def _delta(self, item: Item) -> bytes:
        at = self._at(item) | {"delta": item.pieces[-1]}
        if item.kind == "tool":
            return self._event("response.function_call_arguments.delta", at)
        if item.kind == "thought":
            return self._event("response.reasoning_summary_text.delta", at)
        return self._event("response.output_text.delta", at | {"logprobs": []})

    def _close(self) -> bytes:
        """End the item of words that is open."""
        item, self._open = self._open, None
        return b"" if item is None else self._done(item, "completed")

    def _done(self, item: Item, status: str) -> bytes:
        at, text = self._at(item), item.text
        if item.kind == "tool":
            found = self._event("response.function_call_arguments.done", at | {"name": item.name, "arguments": text or "{}"})
        elif item.kind == "thought":
            found = self._event("response.reasoning_summary_text.done", at | {"text": text})
            found += self._event("response.reasoning_summary_part.done", at | {"part": {"type": "summary_text", "text": text}})
        else:
            found = self._event("response.output_text.done", at | {"text": text, "logprobs": []})
            found += self._event("response.content_part.done", at | {"part": text_part(text)})
        return found + self._event("response.output_item.done", {"output_index": item.place, "item": self._written(item, status)})

    def _event(self, kind: str, members: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), jsonio.line({"type": kind, "sequence_number": number, **members}))
