"""The replies and events of OpenAI Responses that we write ourselves: a whole reply that says something, and the end of one that is cut.

Source: OpenAI API reference, "Streaming events" of Responses; types of the Python SDK 3.52 (2026-11), whose accumulator wants the first
event to be `response.created`. Members that some clients insist on are there even where they say nothing (`usage`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.wire import jsonio
from proxy.wire.base import created_of

NO_USAGE: Mapping[str, Any] = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


def response(id: str, model: str, created: int = 0) -> dict[str, Any]:
    """Return a response object that has only begun."""
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def text_part(text: str) -> dict[str, Any]:
    """Return a content part that says `text`."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message(id: str, texts: Iterable[str], status: str = "completed") -> dict[str, Any]:
    """Return a message item whose parts say `texts`."""
    return {"type": "message", "id": id, "status": status, "role": "assistant", "content": [text_part(text) for text in texts]}


class Writer:
    """Frames events and numbers them; `number` is that of the next."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self._events: list[bytes] = []

    def add(self, name: str, **members: Any) -> None:
        """Add the event `name`."""
        data = {"type": name, **members, "sequence_number": self.number}
        self.number += 1
        self._events.append(b"event: %b\ndata: %b\n\n" % (name.encode(), jsonio.dumps(data)))

    def close(self, index: int, item: Mapping[str, Any], first: int = 0) -> None:
        """Add the events that finish the message `item` at output `index`; parts below `first` are finished already."""
        for position, part in enumerate(item["content"][first:], first):
            place = {"item_id": item["id"], "output_index": index, "content_index": position}
            self.add("response.output_text.done", **place, text=part["text"], logprobs=[])
            self.add("response.content_part.done", **place, part=part)
        self.add("response.output_item.done", output_index=index, item=item)

    def bytes(self) -> bytes:
        """Return all that was added."""
        return b"".join(self._events)


def spoken(model: str, text: str, id: str, stream: bool) -> bytes:
    """Return a whole reply in which the assistant says `text`: a body, or all events of a stream."""
    begun, item = response(id, model, created_of(id)), message(f"msg_{id}", [text])
    whole = begun | {"status": "completed", "output": [item], "usage": NO_USAGE}
    if not stream:
        return jsonio.dumps(whole)
    writer, place = Writer(), {"item_id": item["id"], "output_index": 0, "content_index": 0}
    writer.add("response.created", response=begun)
    writer.add("response.in_progress", response=begun)
    writer.add("response.output_item.added", output_index=0, item=item | {"status": "in_progress", "content": []})
    writer.add("response.content_part.added", **place, part=text_part(""))
    writer.add("response.output_text.delta", **place, delta=text, logprobs=[])
    writer.close(0, item)
    writer.add("response.completed", response=whole)
    return writer.bytes()
