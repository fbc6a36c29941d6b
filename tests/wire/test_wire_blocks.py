"""A conversation in blocks is the tuple of its messages, whatever was cut off and put on; what is carried is what would be read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.budget.estimate import FAMILIES, bound, bound_now
from proxy.loops.rules import detect
from proxy.model import LoopLimits
from proxy.policy.contract import turns
from proxy.wire.anthropic import MessagesCodec
from proxy.wire.base import Codec, Memos
from proxy.wire.blocks import SIZE, Blocks, carried, has_media, joined, unread
from proxy.wire.call import Call, Message
from proxy.wire.openai_chat import ChatCodec

ROWS = tuple(Message(b"%d" % n, "user", (str(n),)) for n in range(5 * SIZE))
sizes = st.sampled_from([0, 1, 2, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE + 3])


def conversation(count: int) -> Sequence[Message]:
    return joined((), ROWS[:count])


@given(st.lists(st.tuples(sizes, st.integers(0, 5 * SIZE)), max_size=6))
def test_what_is_put_on_and_cut_off_is_as_of_a_tuple(steps: list[tuple[int, int]]) -> None:
    plain: tuple[Message, ...] = ()
    found: Sequence[Message] = ()
    for add, keep in steps:
        new = ROWS[:add]
        plain, found = plain + new, joined(found, new)
        assert found == plain
        assert len(found) == len(plain)
        assert list(found) == list(plain)
        assert list(reversed(found)) == list(reversed(plain))
        plain, found = plain[:keep], found[:keep]
    assert found == plain


@given(st.integers(SIZE, 3 * SIZE), st.data())
def test_parts_are_as_of_a_tuple(count: int, data: st.DataObject) -> None:
    found, plain = conversation(count), ROWS[:count]
    assert isinstance(found, Blocks)
    ends = st.one_of(st.none(), st.integers(-4 * SIZE, 4 * SIZE))
    part = slice(data.draw(ends), data.draw(ends), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert found[part] == plain[part]
    at = data.draw(st.integers(-count, count - 1))
    assert found[at] is plain[at]


def test_what_is_not_there_is_an_error() -> None:
    found = conversation(SIZE)
    for at in (SIZE, -SIZE - 1):
        with pytest.raises(IndexError):
            found[at]


def test_it_equals_no_list_and_no_other_conversation() -> None:
    found = conversation(SIZE + 1)
    assert found != list(ROWS[: SIZE + 1])
    assert found != ROWS[1 : SIZE + 2]
    assert found == conversation(SIZE + 1)


def test_a_short_one_is_a_tuple() -> None:
    assert type(joined(ROWS[:3], ROWS[3:5])) is tuple


def test_a_block_is_read_once_for_all_conversations_that_share_it() -> None:
    first, seen = conversation(2 * SIZE + 5), list[int]()

    def read(part: Sequence[Message]) -> int:
        seen.append(len(part))
        return len(part)

    for turn in (first, joined(first, ROWS[:1]), joined(first[: 2 * SIZE + 2], ROWS[:2])):
        assert sum(carried(turn, "count", read)) == len(turn)
    assert seen == [SIZE, SIZE, 5, 6, 4]
    assert list(unread(first, "count")) == list(first[2 * SIZE :])
    assert list(unread(first, "other")) == list(first)
    assert list(unread(ROWS[:2], "count")) == list(ROWS[:2])


def test_what_fails_is_not_remembered() -> None:
    found = conversation(SIZE)

    def fails(part: Sequence[Message]) -> int:
        raise KeyError

    with pytest.raises(KeyError):
        carried(found, "count", fails)
    assert carried(found, "count", len) == [SIZE, 0]


# --- with and without what is carried -----------------------------------------------------------------------------------------------

Said = dict[str, Any]
_image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40, "detail": "high"}}
_pool: tuple[Said, ...] = (
    {"role": "user", "content": "please look into why this happens"},
    {"role": "assistant", "content": "zwölf Rechnungen"},
    {"role": "user", "content": [{"type": "text", "text": "see " + "=" * 300}, _image]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "no such file"},
)
_messages = st.lists(st.sampled_from(_pool), min_size=1, max_size=6)
_ways = st.sampled_from(["on", "short", "edit", "insert", "compact", "turned"])
_steps = st.lists(st.tuples(_ways, st.integers(0, 2 * SIZE), _messages), min_size=1, max_size=6)


def changed(history: list[Said], step: str, at: int, new: list[Said]) -> list[Said]:
    """Return what a client makes of a conversation from one turn to the next."""
    return {
        "on": history + new,
        "short": history[: max(1, len(history) - at)],
        "edit": history[:at] + new + history[at + 1 :],
        "insert": history[:at] + new + history[at:],
        "compact": history[:1] + new + history[-(at % SIZE) - 1 :],
        "turned": history[:at] + history[:at:-1] + new,
    }[step]


def body_of(history: list[Said]) -> bytes:
    call = {"model": "m", "max_tokens": 5, "messages": history, "metadata": {"user_id": "u" * 4096}}
    return json.dumps(call, separators=(",", ":")).encode()


def facts_of(call: Call) -> tuple[Any, ...]:
    """Return all that hangs on the whole conversation."""
    now = [bound_now(call, name) for name in FAMILIES]
    counted = [bound(call, name) for name in FAMILIES]
    assert all(one in (None, other) for one, other in zip(now, counted, strict=True))
    return counted, has_media(call.messages), turns(call.messages), detect(call.messages, LoopLimits())


@settings(max_examples=60)
@given(st.sampled_from([ChatCodec(), MessagesCodec()]), st.integers(0, 2 * SIZE), _steps, st.booleans())
def test_carried_facts_are_those_of_a_conversation_that_nobody_knows(
    codec: Codec, length: int, steps: list[tuple[str, int, list[Said]]], two: bool
) -> None:
    memos, texts = Memos(), _pool if isinstance(codec, ChatCodec) else _pool[:2]
    histories = [[texts[n % len(texts)] for n in range(length + 1)]] * (2 if two else 1)  # two agents begin alike
    for n, (step, at, new) in enumerate(steps):
        own = n % len(histories)
        histories[own] = changed(histories[own], step, at, [one for one in new if one in texts] or [texts[0]])
        body = body_of(histories[own])
        found, plain = codec.decode(body, memos), codec.decode(body, Memos())
        assert facts_of(found) == facts_of(plain)
        assert found == plain
        assert facts_of(found) == facts_of(replace(plain, messages=tuple(plain.messages)))


def test_a_long_conversation_goes_on_in_the_blocks_of_the_last_turn() -> None:
    codec, memos = ChatCodec(), Memos()
    history = [_pool[n % 2] | {"name": f"n{n}"} for n in range(100)]
    first = codec.decode(body_of(history), memos)
    second = codec.decode(body_of([*history, _pool[0]]), memos)
    assert isinstance(first.messages, Blocks)
    assert isinstance(second.messages, Blocks)
    assert second.messages.blocks == first.messages.blocks
    assert len(second.messages) == 101


def opcodes(turn: Callable[[], object]) -> int:
    """Return how many steps the interpreter takes for `turn`: the same on every machine, and more where messages are walked."""
    count, before = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        turn()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("codec", [ChatCodec(), MessagesCodec()])
def test_a_turn_takes_as_many_steps_however_long_what_is_known(codec: Codec) -> None:
    def turn(messages: int) -> int:
        memos = Memos()
        history = [{"role": "user" if n % 2 else "assistant", "content": f"word {n}"} for n in range(messages)]
        facts_of(codec.decode(body_of(history), memos))
        body = body_of([*history, {"role": "user", "content": "and now?"}])
        return opcodes(lambda: read(codec.decode(body, memos)))

    def read(call: Call) -> None:
        assert bound_now(call, "claude") is not None
        assert not has_media(call.messages)
        assert turns(call.messages) > 0
        assert detect(call.messages, LoopLimits()).level == "none"

    assert turn(SIZE * 16 + 9) < 1.5 * turn(SIZE + 9)
