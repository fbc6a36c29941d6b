"""Counts how often an agent repeated its last step: the same tool calls, with the same arguments, one after the other.

A step is one assistant message that calls tools; parallel calls in it are one step together, also where a protocol sends each as an item
of its own. The count is read from the end of the conversation and stops at the first step that differs or at a turn of the human, so it
costs what the repeat is long, not what the conversation is. Pure; it does not look at what the tools answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from proxy.loops.detection import NOTHING, Detection, capped
from proxy.model import LoopLimits
from proxy.wire.call import Message, ToolCall

RULE = "identical"


@dataclass(frozen=True, slots=True)
class Repeat:
    """The run of equal steps at the end of a conversation.

    Attributes:
        count: how many there are. tools: which they call (empty when none).
        step: what each of them is. ids: those of the calls of the newest.
        open: nothing ended the run but the beginning of what is known, so that it may have begun before.
    """

    count: int = 0
    tools: tuple[str, ...] = ()
    step: tuple[bytes, ...] = field(default=(), compare=False)
    ids: frozenset[str] = field(default=frozenset(), compare=False)
    open: bool = field(default=True, compare=False)


NO_REPEAT = Repeat()


def repeats(messages: Sequence[Message]) -> Repeat:
    """Return the run of identical steps that ends `messages`.

    A message that was sent twice (all of its call ids were seen once) counts once; ids that come again and again are no ids, as of servers
    that number every call 0. Only a turn of the human ends the run: results of tools
    do not, whichever role carries them, nor do words of the assistant, since reworded thoughts around one call are how loops look.
    """
    step: tuple[bytes, ...] = ()
    tools: tuple[str, ...] = ()
    count = 0
    open = True
    newest: frozenset[str] = frozenset()
    ids: dict[str, int] = {}
    for calls, human in _steps(messages):
        if calls:
            fresh = [call for call in calls if not call.id or ids.get(call.id, 0) != 1]
            ids.update({call.id: ids.get(call.id, 0) + 1 for call in calls if call.id})
            if not fresh:
                continue
            signature = tuple(sorted(call.signature for call in fresh)) if len(fresh) > 1 else (fresh[0].signature,)
            if not count:
                step, tools, newest = signature, tuple(dict.fromkeys(call.name for call in fresh)), _ids(fresh)
            elif signature != step:
                open = False
                break
            count += 1
        elif human:
            open = False
            break
    return Repeat(count, tools, step, newest, open)


def _ids(calls: Sequence[ToolCall]) -> frozenset[str]:
    return frozenset(call.id for call in calls if call.id)


def joined(before: Repeat, now: Repeat) -> Repeat:
    """Return the run that ends a conversation of which `before` is known from earlier and `now` was sent; a step in both counts once."""
    if not now.open or not before.count:
        return now
    if not now.count:
        return before
    if now.step != before.step:
        return now
    twice = now.count == 1 and bool(now.ids) and now.ids <= before.ids
    return replace(now, count=before.count + now.count - twice, open=before.open)


def answered(before: Repeat, calls: Sequence[ToolCall]) -> Repeat:
    """Return the run that ends a conversation once the model answered with `calls`; words alone end none."""
    if not calls:
        return before
    step = tuple(sorted(call.signature for call in calls))
    return replace(joined(before, Repeat(1, tuple(dict.fromkeys(call.name for call in calls)), step)), ids=_ids(calls))


def _steps(messages: Sequence[Message]) -> Iterator[tuple[tuple[ToolCall, ...], bool]]:
    """Yield from the end, for each message, its calls and whether it is a turn of the human; calls in neighbouring items come as one."""
    held: list[Message] = []
    for message in reversed(messages):
        if message.item and message.tool_calls:
            held.append(message)
            continue
        if message.item and message.role == "reasoning":
            continue
        if held:
            yield _together(held), False
            held = []
        yield message.tool_calls, message.role == "user" and not message.tool_results
    if held:
        yield _together(held), False


def _together(items: list[Message]) -> tuple[ToolCall, ...]:
    """Return the calls of `items`, which stand in it the newest first, in their own order."""
    return tuple(call for message in reversed(items) for call in message.tool_calls)


def judge(repeat: Repeat, limits: LoopLimits) -> Detection:
    """Return what `repeat` means under `limits`."""
    if repeat.count < min(limits.warn, limits.block):
        return NOTHING
    level = capped("block" if repeat.count >= limits.block else "warn", limits)
    return Detection(level, RULE, repeat.count, repeat.count - 1, repeat.tools, f"{repeat.count} times in a row with the same arguments")


def detect(messages: Sequence[Message], limits: LoopLimits, before: Repeat = NO_REPEAT) -> Detection:
    """Return what the detector makes of a conversation: `messages` as sent, `before` what is known from earlier and not in them."""
    return judge(joined(before, repeats(messages)), limits)
