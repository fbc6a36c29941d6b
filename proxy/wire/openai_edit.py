"""Changes replies of OpenAI chat and legacy completions: texts, tool calls that must not pass, and the finish reasons that follow.

A place is `choice/number`, the number counting the calls of a choice from 0 in the order in which they begin. A call that is taken out
leaves its words as content, and the calls behind it move up, so that clients that gather them by index see no hole.

Source: OpenAI API reference, "The chat completion object", "The chat completion chunk object", "The completion object" (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.wire import jsonio
from proxy.wire.base import Editor
from proxy.wire.editing import event_json, event_with

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
OLD = -1
"""The index under which the one call of the old `function_call` is gathered."""


@dataclass(slots=True)
class _Choice:
    """The calls of one choice: how many began, which index stands for which now, and what became of them."""

    started: int = 0
    at: dict[int, tuple[int, str]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def number(self, index: int | None, id: str, name: str) -> int:
        """Return the number of the call that a piece belongs to, by the rule by which the meter gathers it."""
        key = 0 if index is None else index
        known = self.at.get(key)
        if known is None or (id and known[1] and id != known[1]) or (index is None and name):
            known = (self.started, id)
            self.started += 1
        self.at[key] = (known[0], known[1] or id)
        return known[0]

    def index(self, number: int) -> int:
        """Return the index of a call that stayed, among those that stayed."""
        return number - sum(1 for n in self.gone if n < number)

    @property
    def empty(self) -> bool:
        """Every call was taken out."""
        return bool(self.gone) and len(self.gone) == self.started


class ChatEditor(Editor):
    """See the module."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._told: set[str] = set()

    def texts(self, raw: bytes) -> list[tuple[str, str]]:
        """See `Editor.texts`; a channel is a choice and the name of its member."""
        found = []
        for index, choice in _choices(event_json(raw)):
            said = choice.get("delta")
            holder = said if isinstance(said, dict) else choice
            for key in (*_TEXTS, "text"):
                piece = holder.get(key)
                if isinstance(piece, str) and piece:
                    found.append((f"{index}/{key}", piece))
        return found

    def retext(self, raw: bytes, texts: Mapping[str, str]) -> bytes:
        """See `Editor.retext`."""
        chunk = event_json(raw)
        for index, choice in _choices(chunk):
            said = choice.get("delta")
            holder = said if isinstance(said, dict) else choice
            for key in (*_TEXTS, "text"):
                if f"{index}/{key}" in texts:
                    holder[key] = texts[f"{index}/{key}"]
        return event_with(raw, chunk)

    def recall(self, raws: Sequence[bytes], refused: Mapping[str, str], arguments: Mapping[str, str]) -> list[bytes]:
        """See `Editor.recall`."""
        self._gone(refused)
        return [self._recalled(raw, refused, arguments) for raw in raws]

    def _recalled(self, raw: bytes, refused: Mapping[str, str], arguments: Mapping[str, str]) -> bytes:
        chunk = event_json(raw)
        changed = False
        for index, choice in _choices(chunk):
            said = choice.get("delta")
            if not isinstance(said, dict):
                continue
            listed, old = said.get("tool_calls"), said.get("function_call")
            if isinstance(listed, list):
                kept = [p for p in listed if not isinstance(p, dict) or self._keep(index, p, said, refused, arguments)]
                said["tool_calls"] = kept
                if not kept:
                    del said["tool_calls"]
                changed = True
            if isinstance(old, dict) and not self._keep(index, {"index": OLD, "function": old}, said, refused, arguments):
                del said["function_call"]
                changed = True
        return event_with(raw, chunk) if changed else raw

    def _keep(
        self, index: int, piece: dict[str, Any], said: dict[str, Any], refused: Mapping[str, str], arguments: Mapping[str, str]
    ) -> bool:
        """Tell whether a piece of a call stays; change it where its arguments or its index do, and say the words of one that goes."""
        choice = self._choice(index)
        function = piece.get("function") or piece.get("custom") or {}
        given = piece.get("index")
        number = choice.number(given if isinstance(given, int) else None, piece.get("id") or "", function.get("name") or "")
        place = f"{index}/{number}"
        if place in refused:
            if place not in self._told:
                said["content"] = (said.get("content") or "") + refused[place]
            self._told.add(place)
            return False
        if place in arguments:
            function["arguments"] = "" if place in self._told else arguments[place]
            self._told.add(place)
        if isinstance(given, int) and given != OLD:
            piece["index"] = choice.index(number)
        return True

    def later(self, raw: bytes) -> bytes:
        """See `Editor.later`: a choice that has no call left has stopped."""
        if b"finish_reason" not in raw:
            return raw
        chunk = event_json(raw)
        return event_with(raw, chunk) if self._stopped(chunk) else raw

    def _stopped(self, reply: Any) -> bool:
        changed = False
        for index, choice in _choices(reply):
            if choice.get("finish_reason") in ("tool_calls", "function_call") and self._choice(index).empty:
                choice["finish_reason"], changed = "stop", True
        return changed

    def whole(self, body: bytes, change: Callable[[str], str], refused: Mapping[str, str], arguments: Mapping[str, str]) -> bytes:
        """See `Editor.whole`."""
        reply = jsonio.loads(body)
        self._gone(refused)
        for index, choice in _choices(reply):
            message = choice.get("message")
            holder = message if isinstance(message, dict) else choice
            for key in (*_TEXTS, "text"):
                if isinstance(holder.get(key), str):
                    holder[key] = change(holder[key])
            self._calls(index, holder, refused, arguments)
        self._stopped(reply)
        return jsonio.dumps(reply)

    def _calls(self, index: int, message: dict[str, Any], refused: Mapping[str, str], arguments: Mapping[str, str]) -> None:
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            kept = [call for call in calls if not isinstance(call, dict) or self._keep(index, call, message, refused, arguments)]
            message["tool_calls"] = kept
            if not kept:
                del message["tool_calls"]
        old = message.get("function_call")
        if isinstance(old, dict) and not self._keep(index, {"index": OLD, "function": old}, message, refused, arguments):
            del message["function_call"]

    def _gone(self, places: Iterable[str]) -> None:
        for place in places:
            index, _, number = place.partition("/")
            self._choice(int(index)).gone.add(int(number))

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())


def _choices(reply: Any) -> list[tuple[int, dict[str, Any]]]:
    listed = reply.get("choices") if isinstance(reply, dict) else None
    found = []
    for position, choice in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(choice, dict):
            index = choice.get("index")
            found.append((index if isinstance(index, int) else position, choice))
    return found
