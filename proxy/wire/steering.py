"""How a `Steer` is written into a request by splicing, shared by the codecs: what it does not touch keeps its bytes.

The note stands behind all that the client sent, so that what a provider has cached of the conversation stays cached: in the last turn
where that is the user's, else in one of its own. A conversation whose last turn is the assistant's is to be gone on with, so there is no
place for it and it is left out. A system prompt takes the place of those that the conversation begins with. Whether a temperature may be
said is the model's to say: many refuse the whole request for one. Pure; the bodies were proved unambiguous before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from proxy.wire import jsonio
from proxy.wire.call import Call, Edit, Message, Span, Steer

SYSTEM = ("system", "developer")
_REFUSES = re.compile(r"(^|[/.])(o[1-9]\d*([-:]|$)|gpt-([5-9]|\d\d))")
_CLAUDE = re.compile(r"claude-(2|3|instant|(sonnet|haiku)-4|opus-4(-[0-6])?(-\d{8}|-latest|@|:|$))")

_ORDERED = re.compile(r"(mis|mix|minis|magis|codes|devs|pix)tral")


def answers_first(model: str) -> bool:
    """Return whether `model` must answer the results of tools before anybody else speaks: it refuses a user's message behind them.

    Source: Mistral's API and the chat templates of its models, error 3230 "Unexpected role 'user' after role 'tool'" (2025 to 2026).
    """
    return _ORDERED.search(model.lower()) is not None


def takes_temperature(model: str) -> bool:
    """Return whether `model` is known to take a temperature; of Claude's those that do are named, since newer ones refuse it.

    Source: OpenAI, "Reasoning models", unsupported parameters; Anthropic, "Migrating to Claude Opus 4.7" (2026-04), whose sampling
    parameters are gone.
    """
    name = model.lower()
    return _CLAUDE.search(name) is not None if "claude" in name else _REFUSES.search(name) is None


def temperature_for(call: Call, edit: Edit, own: bool) -> bytes | None:
    """Return the temperature to write, None for none; `own` says that the client named one itself, so its model takes one."""
    steer, model = edit.steer, edit.model or call.model
    if steer is None or steer.temperature is None or not (takes_temperature(model) or (own and edit.model in (None, call.model))):
        return None
    return jsonio.dumps(steer.temperature)


def value(call: Call, key: str) -> bytes:
    """Return the bytes of a member, none where it is not there or null."""
    start, end = call.members.get(key, (0, 0))
    raw = call.body[start:end]
    return b"" if raw == b"null" else raw


def conversation(call: Call, key: str, steer: Steer, part: str = "text", model: str = "") -> bytes:
    """Return the array of messages under `key` with the system prompt and the note in it; the same bytes where neither is asked for.

    Args:
        call: what was read; its messages are the items of the array, one for one.
        key: the member.
        steer: what to write.
        part: the type of a text part where content is a list of parts; empty where content is always a text.
        model: who reads it, where that is known.
    """
    array = value(call, key)
    changes = [] if steer.system is None else list(_system(array, call.messages, steer.system))
    within = ("user", "tool") if answers_first(model) else ("user",)
    if steer.note and (change := _note(array, call.messages[-1], steer.note, part, within)) is not None:
        changes.append(change)
    return written(array, changes)


def written(raw: bytes, changes: Sequence[tuple[Span, bytes]]) -> bytes:
    """Return `raw` with each span replaced; the spans stand in order and do not overlap."""
    parts, position = list[bytes](), 0
    for (start, end), new in changes:
        parts += [raw[position:start], new]
        position = end
    return b"".join([*parts, raw[position:]])


def _system(array: bytes, messages: Sequence[Message], words: str) -> Iterator[tuple[Span, bytes]]:
    """Yield what puts `words` in the place of the system's messages at the beginning, the first of which keeps its role."""
    role = messages[0].role if messages[0].role in SYSTEM else SYSTEM[0]
    new = jsonio.dumps({"role": role, "content": words})
    leading = next((i for i, message in enumerate(messages) if message.role not in SYSTEM), len(messages))
    start = jsonio.skip(array, 1)
    if not leading:
        yield (start, start), new + b","
        return
    end = start
    items = jsonio.elements(array, "", "")
    for i in range(leading):
        begin = end if i == 0 else jsonio.skip(array, jsonio.skip(array, end) + 1)
        end = begin + len(items[i])
    yield (start, end), new


def _note(array: bytes, last: Message, note: str, part: str, within: tuple[str, ...]) -> tuple[Span, bytes] | None:
    """Return what puts `note` behind the last message, in it where its role is one of `within`; None where that is the assistant's."""
    if last.role == "assistant":
        return None
    end = len(array[:-1].rstrip())
    if last.role in within:
        raw = jsonio.elements(array, "", "")[-1]
        inner = jsonio.members(raw, "").get("content", (0, 0))
        content = raw[inner[0] : inner[1]]
        if content.startswith(b'"') or (part and content.startswith(b"[")):
            start = end - len(raw)
            return (start + inner[0], start + inner[1]), with_words(content, note, part)
    return (end, end), b"," + jsonio.dumps({"role": "user", "content": note})


def with_words(content: bytes, note: str, part: str) -> bytes:
    """Return the content of a message, a text or a list of parts, with `note` behind what it says."""
    if content.startswith(b'"'):
        apart = "\n\n" if len(content) > 2 else ""
        return content[:-1] + jsonio.dumps(apart + note)[1:]
    return appended(content, jsonio.dumps({"type": part, "text": note}))


def appended(array: bytes, item: bytes) -> bytes:
    """Return the JSON array `array` with `item` behind its last one."""
    before = array[:-1].rstrip()
    return before + (b"," if len(before) > 1 else b"") + item + array[len(before) :]


def object_with(raw: bytes, changes: dict[str, bytes]) -> bytes:
    """Return the JSON object `raw`, or a new one where there is none, with `changes` spliced in."""
    return jsonio.splice(raw or b"{}", jsonio.members(raw, "") if raw else {}, changes)
