"""Conversations of an agent, in few words."""

from __future__ import annotations

from proxy.wire import jsonio
from proxy.wire.call import Message, ToolCall, ToolResult


def call(name: str, arguments: str = "{}", id: str = "") -> ToolCall:
    return ToolCall(id, name, arguments, jsonio.signature(name, arguments))


def asked(*calls: ToolCall, said: str = "", item: bool = False) -> Message:
    texts = (*([said] if said else []), *(text for one in calls for text in (one.name, one.arguments)))
    return Message(b"", "assistant", texts, calls, item=item)


def got(text: str, id: str = "", role: str = "tool", item: bool = False) -> Message:
    return Message(b"", role, (text,) if text else (), tool_results=(ToolResult(id, text.encode()),), item=item)


def human(text: str) -> Message:
    return Message(b"", "user", (text,))


def steps(*pairs: tuple[str, str], said: str = "") -> list[Message]:
    """Return a conversation of calls of `bash`, each with its result."""
    messages = [human("please")]
    for n, (command, result) in enumerate(pairs):
        messages += [asked(call("bash", command, f"c{n}"), said=said), got(result, f"c{n}")]
    return messages
