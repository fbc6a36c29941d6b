"""Changes replies of Ollama's chat and generate: texts, and tool calls that must not pass.

A place is the number of a call, counted over the whole reply in the order in which the meter reads them. A call that is taken out leaves
its words as content.

Source: Ollama API reference, "Generate a chat completion", "Generate a completion" (2026-11).
"""

from __future__ import annotations

from typing import Any, ClassVar

from proxy.wire import jsonio
from proxy.wire.editing import JsonEditor, Words

_KEYS = {"thinking": "0/thinking", "content": "0/content", "response": "0/response"}


class OllamaEditor(JsonEditor):
    """See the module."""

    sse: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._before = "\n"
        """What stands before words of ours: in a stream others may have been said already."""

    def spoken(self, value: dict[str, Any]) -> list[Words]:
        """See `JsonEditor.spoken`; there is one group."""
        found: list[Words] = []
        for holder in _holders(value):
            found += [(_KEYS[key], holder, key) for key in holder.keys() & _KEYS.keys() if holder[key]]
        return found

    def over(self, value: dict[str, Any]) -> list[str]:
        """See `JsonEditor.over`."""
        return ["0"] if value.get("done") is True else []

    def change(self, value: dict[str, Any]) -> list[dict[str, Any]] | None:
        """See `JsonEditor.change`."""
        changed = False
        for holder in _holders(value):
            changed = self._calls(holder) or changed
        if value.get("done_reason") == "tool_calls" and self.refused and not self.kept:
            value["done_reason"], changed = "stop", True
        return [value] if changed else None

    def recalled(self, reply: dict[str, Any]) -> bool:
        """See `JsonEditor.recalled`."""
        self._before = ""
        return self.change(reply) is not None

    def _calls(self, holder: dict[str, Any]) -> bool:
        calls, changed, kept = holder.get("tool_calls") or [], False, []
        for call in calls:
            place, self._number = str(self._number), self._number + 1
            if place in self.refused:
                key = "response" if "response" in holder else "content"
                holder[key] = f"{holder[key]}\n{self.refused[place]}" if holder.get(key) else self._before + self.refused[place]
            else:
                kept.append(call)
            if place in self.arguments:
                call["function"]["arguments"] = jsonio.loads(self.arguments[place].encode("utf-8", "surrogatepass"))
            changed = changed or place in self.refused or place in self.arguments
        if changed:
            holder["tool_calls"] = kept
        if changed and not kept:
            del holder["tool_calls"]
        return changed


def _holders(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what can hold words and calls, in the order in which the meter reads them: the line itself, then its message."""
    message = value.get("message")
    return [value, message] if isinstance(message, dict) else [value]
