"""Changes replies of OpenAI Responses: texts, in every place where they are said again, and tool calls that must not pass.

A place is an output index. A call that is taken out becomes a message at the same index, opened, filled and closed as the stream wants it;
its own events are left out, and events are numbered anew from there on. Words and arguments come up to four times, and clients differ in
which of these they believe: each is read and changed as a text of its own, so all of them say the same.

Source: OpenAI API reference, "Streaming events" of Responses; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.wire.editing import JsonEditor, Words, as_it_stands, strings
from proxy.wire.openai_responses_items import GIVEN, called
from proxy.wire.openai_responses_output import QUIET
from proxy.wire.openai_responses_reply import LAST, SOUND, SPOKEN
from proxy.wire.openai_responses_write import message, text_part

_FULL = ("text", "refusal", "transcript")
_INDEXES = ("output_index", "content_index", "summary_index")
Events = list[dict[str, Any]]


class ResponsesEditor(JsonEditor):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()
        self._gone: dict[str, str] = {}
        self._given: dict[str, str] = {}
        self._next: int | None = None

    # --- texts -------------------------------------------------------------------------------------------------------------------

    def spoken(self, value: dict[str, Any]) -> Iterator[Words]:
        """See `JsonEditor.spoken`; a group is one text as it grows, or one place where a text is said in full."""
        kind, group = str(value.get("type")), _group(value)
        if kind.endswith(".delta"):
            if kind.startswith(SPOKEN) and kind != SOUND:
                yield from strings(f"{group}/delta", value, "delta")
            return
        if kind.startswith(SPOKEN):
            yield from strings(f"{group}/full", value, *_FULL)
        if isinstance(value.get("part"), dict):
            yield from strings(f"{group}/part", value["part"], *_FULL)
        if isinstance(value.get("item"), dict):
            yield from _item(f"{group}/item", value["item"])
        reply = value.get("response") if "type" in value else value
        output = reply.get("output") if isinstance(reply, dict) else None
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                yield from _item(f"{kind}.{index}/item", item)

    def over(self, value: dict[str, Any]) -> list[str]:
        """See `JsonEditor.over`: a text is over when it is said in full, its item when it is done, and all with the last event."""
        kind, group = str(value.get("type")), _group(value)
        ended = [group.replace(kind, f"{kind[:-5]}.delta")] if kind.endswith(".done") else []
        if kind == "response.output_item.done":
            ended += [known for known in self._speaking if known.startswith(f"{value.get('output_index') or 0}.")]
        if kind in LAST:
            ended += list(self._speaking)
        return [group, *ended] if not kind.endswith(".delta") else []

    # --- calls -------------------------------------------------------------------------------------------------------------------

    def change(self, value: dict[str, Any]) -> Events | None:
        """See `JsonEditor.change`."""
        new = self._changed(value)
        if self._next is None and new is not None and new != [value]:
            self._next = value.get("sequence_number")
        if self._next is None:
            return new
        events = [value] if new is None else new
        for event in events:
            if event is not value or "sequence_number" in value:
                event["sequence_number"], self._next = self._next, self._next + 1
        return events

    def _changed(self, value: dict[str, Any]) -> Events | None:
        place, item = str(value.get("output_index") or 0), value.get("item")
        if "output_index" in value and place in self.refused:
            return self._withheld(place, value, item if isinstance(item, dict) else {})
        if "output_index" in value and place in self.arguments:
            return self._other(place, value, item)
        reply = value.get("response")
        return [value] if isinstance(reply, dict) and self.recalled(reply) else None

    def _withheld(self, place: str, value: dict[str, Any], item: dict[str, Any]) -> Events:
        words = self.refused[place]
        self._gone[_id(item) or place] = words
        if place in self._told:
            return []
        self._told.add(place)
        index, said = value["output_index"], _message(_id(item) or place, words)
        at = {"item_id": said["id"], "output_index": index, "content_index": 0}
        begun = said | {"status": "in_progress", "content": []}
        return [
            {"type": "response.output_item.added", "output_index": index, "item": begun},
            {"type": "response.content_part.added", **at, "part": text_part("")},
            {"type": "response.output_text.delta", **at, "delta": words, "logprobs": []},
            {"type": "response.output_text.done", **at, "text": words, "logprobs": []},
            {"type": "response.content_part.done", **at, "part": text_part(words)},
            {"type": "response.output_item.done", "output_index": index, "item": said},
        ]

    def _other(self, place: str, value: dict[str, Any], item: Any) -> Events | None:
        """Put other arguments into an event of a call."""
        arguments = self.arguments[place]
        if isinstance(item, dict):
            self._given[_id(item)] = arguments
            return [value] if _put(item, arguments) else None
        if str(value.get("type")).endswith(".delta"):
            value["delta"] = "" if place in self._told else arguments
            self._told.add(place)
            return [value]
        return [value] if _put(value, arguments) else None

    def recalled(self, reply: dict[str, Any]) -> bool:
        """See `JsonEditor.recalled`. An item that was streamed is known by its id, any other by where it stands."""
        changed = False
        output = reply.get("output") or []
        for index, item in enumerate(output):
            if not isinstance(item, dict) or called(item) is None:
                continue
            id, place = _id(item), str(index)
            words = self._gone.get(id) or ("" if place in self._told else self.refused.get(place))
            arguments = self._given.get(id) or self.arguments.get(place)
            if words:
                output[index], changed = _message(id or place, words), True
            elif arguments is not None:
                changed = _put(item, arguments) or changed
        return changed


def _group(value: dict[str, Any]) -> str:
    numbers = [value.get(key) or 0 for key in _INDEXES]
    return f"{numbers[0]}.{value.get('type')}.{numbers[1]}.{numbers[2]}"


def _item(name: str, item: dict[str, Any]) -> Iterator[Words]:
    """Yield the texts of an item, each in a channel of its own."""
    kind = str(item.get("type"))
    if kind in ("message", "reasoning"):
        parts = [part for key in ("summary", "content") for part in item.get(key) or ()]
        for number, part in enumerate(parts):
            if isinstance(part, dict):
                yield from strings(f"{name}{number}", part, *_FULL)
    elif called(item) is None and not kind.startswith(QUIET) and not kind.endswith("_output"):
        yield as_it_stands(name, item)


def _put(holder: dict[str, Any], arguments: str) -> bool:
    """Put other arguments where an event or an item has some; tell whether it does."""
    key = next((key for key in dict.fromkeys(GIVEN.values()) if holder.get(key)), None)
    if key is None:
        return False
    holder[key] = arguments
    return True


def _message(id: str, words: str) -> dict[str, Any]:
    return message(f"msg_{id}", [words])


def _id(item: dict[str, Any]) -> str:
    return str(item.get("call_id") or item.get("id") or "")
