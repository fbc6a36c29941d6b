"""Changes replies of Gemini, in either framing: texts, and function calls that must not pass.

A place is `candidate/number`, the number counting the calls of a candidate from 0. A call that is taken out becomes a part that says its
words, so that every part keeps its position. Thoughts are read but never rewritten. The signature of a call that is taken out goes to the
next one that stays without one: the provider wants it back with the first call of a step.

Source: Gemini API reference, "GenerateContentResponse"; Google's guide "Thought signatures" (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.wire import jsonio
from proxy.wire.base import THOUGHT
from proxy.wire.editing import JsonEditor, Words, as_it_stands, strings

_CALLS = ("functionCall", "toolCall")
_CODE = (("executableCode", "code"), ("codeExecutionResult", "output"))
_SILENT = ("text", "inlineData", "thoughtSignature", *_CALLS)
_SIGNED = "thoughtSignature"


class GenerateEditor(JsonEditor):
    """See the module.

    Args:
        sse: how the stream is framed.
    """

    def __init__(self, sse: bool = True) -> None:
        super().__init__()
        self.sse = sse  # type: ignore[misc]  # one class serves both framings
        self._numbers: dict[int, int] = {}
        self._signature: Any = None

    def spoken(self, value: dict[str, Any]) -> Iterator[Words]:
        """See `JsonEditor.spoken`; a group is a candidate."""
        for index, parts in _parts(value):
            for part in parts:
                yield from _texts(index, part)

    def over(self, value: dict[str, Any]) -> list[str]:
        """See `JsonEditor.over`."""
        return [str(c.get("index") or 0) for c in value.get("candidates") or () if c.get("finishReason")]

    def change(self, value: dict[str, Any]) -> list[dict[str, Any]] | None:
        """See `JsonEditor.change`."""
        changed = False
        for index, parts in _parts(value):
            for position, part in enumerate(parts):
                for key in _CALLS:
                    if isinstance(part.get(key), dict):
                        changed = self._call(index, parts, position, key) or changed
        return [value] if changed else None

    def recalled(self, reply: dict[str, Any]) -> bool:
        """See `JsonEditor.recalled`."""
        return self.change(reply) is not None

    def _call(self, index: int, parts: list[dict[str, Any]], position: int, key: str) -> bool:
        number = self._numbers.get(index, 0)
        self._numbers[index] = number + 1
        place, part = f"{index}/{number}", parts[position]
        if place in self.refused:
            self._signature = self._signature or part.get(_SIGNED)
            parts[position] = {"text": self.refused[place]}
            return True
        carried = self._signature is not None and _SIGNED not in part
        if carried:
            part[_SIGNED], self._signature = self._signature, None
        if place in self.arguments:
            part[key]["args"] = jsonio.loads(self.arguments[place].encode("utf-8", "surrogatepass"))
        return carried or place in self.arguments


def _parts(value: dict[str, Any]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    for candidate in value.get("candidates") or ():
        content = candidate.get("content")
        if isinstance(content, dict) and isinstance(content.get("parts"), list):
            yield candidate.get("index") or 0, content["parts"]


def _texts(index: int, part: dict[str, Any]) -> Iterator[Words]:
    silent = False
    for key, inner in _CODE:
        if isinstance(part.get(key), dict):
            silent = True
            yield from strings(f"{index}/{key}", part[key], inner)
    name = f"{THOUGHT}{index}/thought" if part.get("thought") is True else f"{index}/text"
    yield from strings(name, part, "text")
    if not silent and part and not any(key in part for key in _SILENT):
        yield as_it_stands(f"{index}/part", part)
