"""Changes replies of OpenAI chat and legacy completions: texts, tool calls that must not pass, and the finish reasons that follow.

A place is `choice/number`, the number counting the calls of a choice from 0 in the order in which they begin. A call that is taken out
leaves its words as content, and the calls behind it move up, so that clients that gather them by index see no hole.

Source: OpenAI API reference, "The chat completion object", "The chat completion chunk object", "The completion object" (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.wire.editing import JsonEditor, Words, as_it_stands, strings

_KEYS = frozenset({"reasoning_content", "reasoning", "content", "refusal", "text"})
_CALLED = ("tool_calls", "function_call")
OLD = -1
"""The index under which the one call of the old `function_call` is gathered."""


@dataclass(slots=True)
class _Choice:
    """The calls of one choice: how many began, and which number an index stands for now."""

    started: int = 0
    at: dict[int, tuple[int, str]] = field(default_factory=dict)

    def number(self, index: int | None, id: str, name: str) -> int:
        """Return the number of the call that a piece belongs to, by the rule by which the meter gathers it."""
        key = 0 if index is None else index
        known = self.at.get(key)
        if known is None or (id and known[1] and id != known[1]) or (index is None and name):
            known = (self.started, id)
            self.started += 1
        self.at[key] = (known[0], known[1] or id)
        return known[0]


class ChatEditor(JsonEditor):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _Choice] = {}
        self._told: set[str] = set()
        self._before = "\n"
        """What stands before words of ours: in a stream others may have been said already."""

    def spoken(self, value: dict[str, Any]) -> list[Words]:
        """See `JsonEditor.spoken`; a group is a choice."""
        found: list[Words] = []
        for choice in value.get("choices") or ():
            index, holder = choice.get("index") or 0, choice.get("delta") or choice.get("message") or choice
            for key, text in holder.items():
                if key in _KEYS and text.__class__ is str and text:
                    found.append((f"{index}/{key}", holder, key))
                elif key == "content" and isinstance(text, list):
                    found += _parts(f"{index}/content", text)
                elif key == "audio" and isinstance(text, dict):
                    found += strings(f"{index}/audio", text, "transcript")
        return found

    def over(self, value: dict[str, Any]) -> list[str]:
        """See `JsonEditor.over`."""
        choices = value.get("choices") or ()
        return [str(choice.get("index") or 0) for choice in choices if choice.get("finish_reason") is not None]

    def change(self, value: dict[str, Any]) -> list[dict[str, Any]] | None:
        """See `JsonEditor.change`: a choice that has no call left has stopped."""
        changed = False
        for index, choice in _choices(value):
            said = choice.get("delta")
            if isinstance(said, dict):
                changed = self._calls(index, said) or changed
            if choice.get("finish_reason") is not None:
                self._choice(index).at.clear()
                changed = self._stopped(index, choice) or changed
        return [value] if changed else None

    def recalled(self, reply: dict[str, Any]) -> bool:
        """See `JsonEditor.recalled`. The choices of a whole reply are told apart by where they stand."""
        changed, self._before = False, ""
        for index, choice in enumerate(reply.get("choices") or ()):
            message = choice.get("message")
            if isinstance(message, dict):
                changed = self._calls(index, message) or changed
                changed = self._stopped(index, choice) or changed
        return changed

    def _calls(self, index: int, said: dict[str, Any]) -> bool:
        changed = False
        listed, old = said.get("tool_calls"), said.get("function_call")
        if isinstance(listed, list):
            kept = [piece for piece in listed if self._keep(index, piece, said)]
            changed = any(place.startswith(f"{index}/") for place in (*self.refused, *self.arguments))
            said["tool_calls"] = kept
            if listed and not kept:
                del said["tool_calls"]
        if isinstance(old, dict):
            gone = not self._keep(index, {"index": OLD, "function": old}, said)
            changed = changed or gone or bool(self.arguments)
            if gone:
                del said["function_call"]
        return changed

    def _keep(self, index: int, piece: dict[str, Any], said: dict[str, Any]) -> bool:
        """Tell whether a piece of a call stays; change it where its arguments or its index do, and say the words of one that goes."""
        function = piece.get("function") or piece.get("custom") or {}
        given = piece.get("index")
        number = self._choice(index).number(given, piece.get("id") or "", function.get("name") or "")
        place = f"{index}/{number}"
        told = place in self._told
        self._told.add(place)
        if place in self.refused:
            if not told:
                _say(said, self.refused[place], self._before)
            return False
        if place in self.arguments:
            function["input" if "input" in function else "arguments"] = "" if told else self.arguments[place]
        if given is not None and given != OLD:
            piece["index"] = number - sum(1 for n in range(number) if f"{index}/{n}" in self.refused)
        return True

    def _stopped(self, index: int, choice: dict[str, Any]) -> bool:
        mine = f"{index}/"
        gone = any(place.startswith(mine) for place in self.refused)
        if choice.get("finish_reason") not in _CALLED or not gone or any(place.startswith(mine) for place in self.kept):
            return False
        choice["finish_reason"] = "stop"
        return True

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())


def _say(said: dict[str, Any], words: str, before: str) -> None:
    content = said.get("content")
    if isinstance(content, list):
        content.append({"type": "text", "text": words})
    else:
        said["content"] = f"{content}\n{words}" if content else before + words


def _choices(value: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Return the choices of a chunk with their numbers, as the meter counts them: 0 where there is none."""
    return [(choice.get("index") or 0, choice) for choice in value.get("choices") or () if isinstance(choice, dict)]


def _parts(name: str, parts: list[Any]) -> Iterator[Words]:
    """Yield the texts of content that comes in parts, as some servers write it."""
    for part in parts:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield from strings(name, part, "text")
        elif part:
            yield as_it_stands(f"{name}/part", part)
