"""Replies of OpenAI Responses: usage, texts and tool calls, from a whole body or from stream events as they pass.

The same words come up to four times: piece by piece, in the events that finish a part and an item, and in the response that ends the
stream. Clients differ in which of these they believe, so all are read, and what differs from the pieces counts as more text. Usage comes
with the last event. Unknown events pass, but whatever calls itself a delta is text.

Source: OpenAI API reference, "Streaming events" of Responses; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from proxy.model import Deny, Reason
from proxy.wire import jsonio, refusals
from proxy.wire.call import Event, EventKind, ToolCall
from proxy.wire.openai_reply import CUT_SHORT, MAX_CALLS, MAX_MODEL
from proxy.wire.openai_responses_event import ReplyEvent, Response, event_of, response_of, stencil
from proxy.wire.openai_responses_items import GIVEN, called
from proxy.wire.openai_responses_output import leaves, listed, usage_of, words
from proxy.wire.openai_responses_write import NO_USAGE, Writer, message, response
from proxy.wire.repeating import RepeatingMeter
from proxy.wire.sse import data_of

SPOKEN = ("response.output_text", "response.content_part", "response.refusal", "response.reasoning", "response.audio")
"""Beginnings of the events whose texts are words; all others belong to tool calls."""
_WORDS = "response.output_text.delta"
SOUND = "response.audio.delta"
"""Its delta is sound in base64, of which the transcript says the words."""
MAX_PARTS = 128
"""Texts of one item that are kept apart; what comes beyond is one text, so that no provider has us sort through thousands."""
_REST = ("", 0)
_ENDS = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
LAST = _ENDS | {"response.failed"}
FAULTS = frozenset({Reason.UPSTREAM_ERROR, Reason.UPSTREAM_TIMEOUT, Reason.STORE_UNAVAILABLE, Reason.POLICY_UNAVAILABLE, Reason.INTERNAL})
"""Reasons for which sending the request again can help."""


@dataclass(slots=True)
class _Item:
    """One output item while it streams: its texts in pieces, how many of its parts are finished, and its bytes once it is itself."""

    head: dict[str, Any] = field(default_factory=dict)
    parts: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    closed: int = 0
    done: bytes = b""

    def reopen(self) -> None:
        """Take back that it is whole."""
        self.done = b""


class ResponsesMeter(RepeatingMeter):
    """Reads one reply.

    Args:
        keeps: the provider keeps the reply, so that a later call can refer to it.
    """

    def __init__(self, keeps: bool = True) -> None:
        super().__init__()
        self._keeps = keeps
        self._items: dict[int, _Item] = {}
        self._known: set[int] = set()
        self._calls: set[tuple[str, bytes]] = set()
        self._named: set[tuple[str, str]] = set()
        self._created = b""
        self._number = -1
        self._take_back: Callable[[], object] | None = None
        self._open: set[int] = set()

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        found = response_of(body)
        if found is None:
            self.odd = True
            self._text(body.decode("utf-8", "replace"))
            return
        self._end(found)
        self._tools(0)
        self.failed = len(found.error) > 4 and not listed(found.output)

    def _read(self, raw: bytes) -> Event:
        data, self._take_back = data_of(raw), None
        event = event_of(data)
        if event is None:
            return self._odd(raw, data)
        if isinstance(event.sequence_number, int):
            self._number = event.sequence_number
        name = event.type
        if name.endswith(".delta"):
            return self._delta(raw, event)
        if name == "response.output_item.added":
            return self._added(raw, event)
        if name == "response.output_item.done":
            index = _index(event.output_index)
            item, before = self._item(index), len(self.tool_calls)
            self._take_back = item.reopen
            text = self._whole(item, bytes(event.item), index)
            self._open.discard(index)
            tool = self._tools(before)
            return Event(raw, _kind(item.head) if text or tool else "other", text, tool)
        if name.endswith(".done"):
            return self._finished(raw, event)
        if name in LAST or name == "error":
            return self._last(raw, event)
        if name == "response.created":
            self._created = bytes(event.response)
            self._head(response_of(self._created) or Response())
        return Event(raw, "other")

    def _catch_up(self) -> None:
        """See `RepeatingMeter`: the number."""
        newest, self._latest = self._latest, b""
        event = event_of(data_of(newest)) if newest else None
        if event is not None and isinstance(event.sequence_number, int):
            self._number = event.sequence_number

    def _odd(self, raw: bytes, data: bytes) -> Event:
        if data.strip() == b"[DONE]":
            self.ended = True
            return Event(raw, "end")
        if not data.lstrip().startswith(b"{"):
            return Event(raw, "other")
        self.odd = True
        text = data.decode("utf-8", "replace")
        self._text(text)
        return Event(raw, "text", text)

    @property
    def calling(self) -> bool:
        """See `Meter.calling`."""
        return bool(self._open)

    def _text(self, text: str) -> None:
        if text:
            self.texts.append(text)
            self.pieces += 1

    def _head(self, found: Response) -> None:
        if isinstance(found.model, str):
            self.model = found.model[:MAX_MODEL]
        if self._keeps and isinstance(found.id, str):
            self.reply_id = found.id

    def _item(self, place: object) -> _Item:
        """Return the item at `place`; past what anybody can ask for, all share the last, so that no provider fills memory."""
        index = _index(place)
        found = self._items.get(index)
        if found is None:
            if len(self._items) >= MAX_CALLS:
                self.odd = True
                return next(reversed(self._items.values()))
            found = self._items[index] = _Item()
        return found

    def _added(self, raw: bytes, event: ReplyEvent) -> Event:
        head = jsonio.loads(bytes(event.item))
        if not isinstance(head, dict):
            self.odd = True
            return Event(raw, "other")
        self._item(event.output_index).head = head
        call = called(head)
        if call is not None:
            self._open.add(_index(event.output_index))
        name = self._name(call[0], call[1]) if call else ""
        return Event(raw, "tool" if name else "other", "", name)

    def _name(self, id: str, name: str) -> str:
        """Return the name of a call as one line, once for each call: where it is first heard of."""
        if (id, name) in self._named:
            return ""
        if len(self._named) < MAX_CALLS:
            self._named.add((id, name))
        self._text(name)
        return name.replace("\n", " ")

    def _tools(self, before: int) -> str:
        """Return the names of the calls that came since there were `before` and that no event announced."""
        return "\n".join([name for call in self.tool_calls[before:] if (name := self._name(call.id, call.name))])

    def _delta(self, raw: bytes, event: ReplyEvent) -> Event:
        text = event.delta
        if not isinstance(text, str) or event.type == SOUND:
            return Event(raw, "other")
        kind: EventKind = "text" if self._says(event) else "tool"
        if text:
            parts, place = self._item(event.output_index).parts, _place(event)
            pieces = parts.setdefault(place if place in parts or len(parts) < MAX_PARTS else _REST, [])
            pieces.append(text)
            self._take_back = pieces.pop
            self._text(text)
            if self._worth():
                self._repeats(partial(stencil, raw, text, event), kind, pieces, late=True)
        return Event(raw, kind, text)

    def _says(self, event: ReplyEvent) -> bool:
        """Tell whether an event's words are not those of a call."""
        head = self._item(event.output_index).head
        return event.type.startswith(SPOKEN) or (bool(head) and called(head) is None)

    def _finished(self, raw: bytes, event: ReplyEvent) -> Event:
        """Read an event that says one part in full."""
        item = self._item(event.output_index)
        item.closed += event.type == "response.content_part.done"
        self._know(item)
        found = [event.text, event.refusal, event.arguments, event.input, event.code, event.transcript]
        if isinstance(event.part, dict):
            found += [event.part.get("text"), event.part.get("refusal")]
        text = self._new(found)
        return Event(raw, ("text" if self._says(event) else "tool") if text else "other", text)

    def _know(self, item: _Item) -> None:
        """Take note of what the texts of `item` say as far as they came; each is put together once, however often this is asked."""
        for pieces in item.parts.values():
            if len(pieces) > 1:
                pieces[:] = ["".join(pieces)]
            self._known.add(hash(pieces[0]))

    def _new(self, texts: Iterable[object]) -> str:
        """Keep those of `texts` that were never said, piece by piece or whole; return them as one."""
        found = []
        for text in texts:
            if isinstance(text, str) and text and hash(text) not in self._known:
                self._known.add(hash(text))
                found.append(jsonio.clean(text))
        new = "".join(found)
        self._text(new)
        return new

    def _whole(self, item: _Item, raw: bytes, index: int) -> str:
        """Read a whole item; return what it says that its pieces did not."""
        if item.done == raw:
            return ""
        item.done = raw
        self._know(item)
        value = jsonio.parsed(raw) or jsonio.loads(raw)
        try:
            if isinstance(value, dict):
                return self._new(self._said(item, value, index))
        except RecursionError:  # what could just be parsed may be too deep to be written
            pass
        self.odd = True
        return self._new([raw.decode("utf-8", "replace")])

    def _said(self, item: _Item, value: dict[str, Any], index: int) -> list[object]:
        """Take in the call that the whole item `value` may be; return its texts."""
        item.head = item.head or value
        if self._keeps and isinstance(value.get("id"), str) and len(self.part_ids) < MAX_CALLS:
            self.part_ids.append(value["id"])
        call = called(value)
        if call is None:
            return words(value)
        self._call(*call, str(index))
        return leaves(jsonio.loads(call[2].encode())) if item.parts and value["type"] not in GIVEN else [call[2]]

    def _call(self, id: str, name: str, arguments: str, place: str) -> None:
        call = ToolCall(id, name, arguments, jsonio.signature(name, arguments), place)
        if (id, call.signature) in self._calls:
            return
        if len(self.tool_calls) >= MAX_CALLS:
            self.odd = True
            return
        self._calls.add((id, call.signature))
        self.tool_calls.append(call)

    def _last(self, raw: bytes, event: ReplyEvent) -> Event:
        before = len(self.tool_calls)
        text = self._end(response_of(bytes(event.response)) or Response())
        tool = self._tools(before)
        self.failed = event.type not in _ENDS
        self.ended = not self.failed
        if self.failed:
            return Event(raw, "error", text, tool)
        self.finish = self.finish or event.type.removeprefix("response.")
        return Event(raw, "end", text, tool)

    def _end(self, found: Response) -> str:
        """Read a response that is over; return what it says that nothing before it did."""
        self._head(found)
        self.usage = usage_of(found.usage)
        details = found.incomplete_details
        reason = details.get("reason") if isinstance(details, dict) else None
        self.finish = reason if isinstance(reason, str) else found.status if isinstance(found.status, str) else ""
        for item in self._items.values():
            self._know(item)
        text = ""
        for index, raw in enumerate(listed(found.output)):
            text += self._whole(self._item(index), bytes(raw), index)
            self._open.discard(index)
        return text

    def cut(self, deny: Deny | None) -> bytes:
        """See `Meter.cut`. Calls that are not whole are left out, not closed: a client would run what it takes for finished; and what
        was withheld is not said again in the events that close its item."""
        deny = deny or refusals.LOST
        self._catch_up()
        if self.withheld and self._take_back is not None:
            self._take_back()
        begun, writer = jsonio.loads(self._created), Writer(self._number + 1)
        if not isinstance(begun, dict):
            begun = response("cut", self.model)
            writer.add("response.created", response=begun)
        if deny.reason not in CUT_SHORT:
            code = "server_error" if deny.reason in FAULTS else "invalid_prompt"
            known = begun | {"output": [], "usage": NO_USAGE}
            return writer.bytes() + refusals.failed_response(deny, "", code, writer.number, known)
        change = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": self._output(writer)}
        writer.add("response.incomplete", response=begun | change | {"usage": NO_USAGE}, fleetgate=refusals.decision(deny))
        return writer.bytes()

    def _output(self, writer: Writer) -> list[Any]:
        """Finish the messages that are open, and return all items that are whole then."""
        output: list[Any] = []
        for index, item in sorted(self._items.items()):
            whole = jsonio.loads(item.done)
            if isinstance(whole, dict):
                output.append(whole)
            elif item.head.get("type") == "message":
                texts = ["".join(pieces) for (name, _), pieces in sorted(item.parts.items()) if name == _WORDS]
                output.append(message(str(item.head.get("id")), texts, "incomplete"))
                writer.close(index, output[-1], item.closed)
        return output


def _index(place: object) -> int:
    return place if isinstance(place, int) else 0


def _place(event: ReplyEvent) -> tuple[str, int]:
    """Return which text of its item an event belongs to."""
    index = event.content_index or event.summary_index or event.command_index
    return event.type, index if isinstance(index, int) else 0


def _kind(head: dict[str, Any]) -> EventKind:
    return "text" if head.get("type") in ("message", "reasoning") else "tool"
