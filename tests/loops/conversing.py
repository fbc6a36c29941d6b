"""Conversations of an agent, in few words, and what is found in them."""

from __future__ import annotations

from proxy.loops.rules import detect
from proxy.model import LoopLimits
from proxy.wire import jsonio
from proxy.wire.call import Message, ToolCall, ToolResult

LIMITS = LoopLimits()


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


def found(messages: list[Message], limits: LoopLimits = LIMITS) -> tuple[str, str, int]:
    detection = detect(messages, limits)
    return detection.level, detection.rule, detection.count


def told(messages: list[Message]) -> tuple[object, ...]:
    detection = detect(messages, LIMITS)
    return (detection.level, detection.rule, detection.count, detection.since, set(detection.tools))
