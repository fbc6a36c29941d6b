from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.wire.anthropic import MessagesCodec
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Call, WireError
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.prefix import MIN_BODY, Prefixes

codecs = st.sampled_from([ChatCodec(), MessagesCodec(), ResponsesCodec()])
_messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.sampled_from(["a", "zwölf", "], [", "x" * 90])}),
    min_size=1,
    max_size=7,
)


def body_of(messages: list[dict[str, Any]], indent: int | None = None, tools: str = "t") -> bytes:
    head = {"role": "system", "content": "rules " * 900}
    tail = {"model": "m", "tools": [{"type": "custom", "name": tools, "custom": {"name": tools}}], "user": "u", "n": 1}
    return json.dumps({"max_tokens": 5, "messages": [head, *messages], **tail}, indent=indent, ensure_ascii=False).encode()


def body_for(codec: Codec, messages: list[dict[str, Any]], indent: int | None = None, tools: str = "t") -> bytes:
    """Return the body with the history where `codec` has it."""
    body = body_of(messages, indent, tools)
    return body.replace(b'"messages"', b'"input"', 1) if isinstance(codec, ResponsesCodec) else body


def outcome(codec: Codec, body: bytes, memos: Memos) -> Call | str:
    """What a body says, or what is wrong with it, with the place."""
    try:
        return codec.decode(body, memos)
    except WireError as e:
        return str(e)


@given(codecs, _messages, _messages, st.sampled_from([None, 1]), st.sampled_from(["t", "other"]))
def test_a_longer_turn_reads_as_if_it_were_the_first(
    codec: Codec, old: list[dict[str, Any]], new: list[dict[str, Any]], indent: int | None, tools: str
) -> None:
    memos = Memos()
    first = codec.decode(body_for(codec, old, indent), memos)
    hits = memos.prefixes.hits
    longer = body_for(codec, old + new, indent, tools)
    second = codec.decode(longer, memos)
    assert memos.prefixes.hits == hits + 1
    assert second == codec.decode(longer, Memos())
    assert second.messages[: len(old) + 1] == first.messages
    assert codec.decode(longer, memos) == second


@settings(max_examples=400)
@given(codecs, _messages, _messages, st.data())
def test_no_damage_anywhere_makes_a_difference(
    codec: Codec, old: list[dict[str, Any]], new: list[dict[str, Any]], data: st.DataObject
) -> None:
    memos = Memos()
    codec.decode(body_for(codec, old), memos)
    body = body_for(codec, old + new)
    place = data.draw(st.integers(5300, len(body)))
    gone = data.draw(st.integers(0, 30))
    added = data.draw(
        st.sampled_from(
            [
                b"",
                b",",
                b"]",
                b"}",
                b'"',
                b" ",
                b'"messages":[],',
                b'"input":"a",',
                b"{},",
                b'"model":"x",',
                b"\xff",
                b"[",
                b"\\u0041",
                b"1",
                b"\x01",
                b"\n",
            ]
        )
    )
    damaged = body[:place] + added + body[place + gone :]
    assert outcome(codec, damaged, memos) == outcome(codec, damaged, Memos())


@pytest.mark.parametrize(
    "tail",
    [
        b",]",
        b"\x01,{}]",
        b" \x01]",
        b"\x0b,{}]",
        b"\n\t ,{}]",
        b"]",
        b"",
        b"}",
        b',"x"]',
        b',]"',
        b" ,  ]",
        b'],"messages":[{}]',
        b'],"mess\\u0061ges":[{}]',
    ],
)
def test_what_follows_the_known_part_is_read_as_strictly(tail: bytes) -> None:
    memos, codec = Memos(), ChatCodec()
    known = body_of([{"role": "user", "content": "hi"}])
    codec.decode(known, memos)
    start = known.index(b'], "model"')
    for rest in (b', "model": "m"}', b"}", b""):
        body = known[:start] + tail + rest
        assert outcome(codec, body, memos) == outcome(codec, body, Memos())
    assert (memos.prefixes.hits > 0) == (tail[:1] in b",] \n" and tail != b" \x01]")


@pytest.mark.parametrize(
    ("new", "what"), [(b"\xff", "not UTF-8 at byte {}"), (b'{"role":"user","content":1x}', "not JSON: JSON is malformed: .* \\(byte {}\\)")]
)
def test_a_place_is_counted_from_the_beginning_of_the_whole_body(new: bytes, what: str) -> None:
    memos, codec = Memos(), ChatCodec()
    known = body_of([{"role": "user", "content": "hi"}])
    codec.decode(known, memos)
    end = known.index(b'], "model"')
    bad = end + 1 + (new.index(b"x") if b"x" in new else 0)
    with pytest.raises(WireError, match=what.format(bad)):
        codec.decode(known[:end] + b"," + new + known[end:], memos)
    assert memos.prefixes.hits == 1


def test_a_turn_that_touches_the_last_messages_again_is_found() -> None:
    memos, codec = Memos(), MessagesCodec()
    turns = [{"role": "user", "content": str(i)} for i in range(9)]
    codec.decode(body_of([*turns[:-1], turns[-1] | {"mark": True}]), memos)
    again = body_of([*turns, {"role": "user", "content": "new"}])
    assert codec.decode(again, memos) == codec.decode(again, Memos())
    assert memos.prefixes.hits == 1


def test_protocols_never_share_a_prefix() -> None:
    memos = Memos()
    body = body_of([{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}])
    ChatCodec().decode(body, memos)
    assert MessagesCodec().decode(body, memos).messages[1].tool_calls[0].name == "f"
    assert memos.prefixes.hits == 0


def test_small_bodies_are_not_worth_it() -> None:
    memos = Memos()
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    assert len(body) < MIN_BODY
    ChatCodec().decode(body, memos)
    ChatCodec().decode(body, memos)
    assert memos.prefixes.hits == 0


def test_it_stays_bounded_and_keeps_the_newest() -> None:
    prefixes = Prefixes(max_bytes=200_000)
    bodies = [b'{"messages":[' + b'"%b"' % (b"%05d" % i * 1000) + b"]}" for i in range(100)]
    for body in bodies:
        prefixes.keep("openai", body, (), (12, len(body) - 1), [5002])
    found = [prefixes.find("openai", body) is not None for body in bodies]
    assert found[-1]
    assert sum(found) < 20
    prefixes.clear()
    assert prefixes.find("openai", bodies[-1]) is None
    large = b'{"messages":["' + b"x" * 60_000 + b'"]}'
    prefixes.keep("openai", large, (), (12, len(large) - 1), [60_002])
    assert prefixes.find("openai", large) is None


def test_a_body_padded_with_spaces_is_not_walked() -> None:
    prefixes = Prefixes()
    for raw in (b'{"messages":["' + b"x" * 5000 + b'"' + b" " * 100 + b"]}", b'{"messages":["a"' + b" " * 5000 + b',"b"]}'):
        prefixes.keep("openai", raw, (), (12, len(raw) - 1), [3])
        assert prefixes.find("openai", raw) is None or raw.endswith(b'"b"]}')


def test_many_conversations_with_one_beginning() -> None:
    memos, codec = Memos(), ChatCodec()
    for i in range(40):
        codec.decode(body_of([{"role": "user", "content": f"question {i}"}]), memos)
    hits = memos.prefixes.hits
    for i in range(40):
        body = body_of([{"role": "user", "content": f"question {i}"}, {"role": "user", "content": "more"}])
        assert codec.decode(body, memos) == codec.decode(body, Memos())
    assert memos.prefixes.hits > hits


def test_a_conversation_with_the_same_beginning_takes_no_others_place() -> None:
    memos, codec = Memos(), ChatCodec()
    talks = [[{"role": "user", "content": f"question {n} " + "x" * 90}] for n in range(5)]
    for talk in talks:
        codec.decode(body_of(talk), memos)
    for talk in talks:
        misses = memos.messages.misses
        codec.decode(body_of([*talk, {"role": "user", "content": f"more of {talk}"}]), memos)
        assert memos.messages.misses == misses + 1
        assert len(memos.prefixes._kept) == 1
        assert len(next(iter(memos.prefixes._kept.values()))) == 5


def size_of(prefixes: Prefixes) -> int:
    return sum(kept.cost for bucket in prefixes._kept.values() for kept in bucket)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=40))
@example([(0, 1), (0, 1), *[(0, 4)] * 7])
@example([(0, 4)] * 40)
def test_what_is_kept_is_known_to_the_byte_and_found_after_each_turn(turns: list[tuple[int, int]]) -> None:
    memos, codec = Memos(300_000), ChatCodec()
    talks: list[list[dict[str, Any]]] = [[{"role": "user", "content": f"talk {n}"}] for n in range(4)]
    for turn, (talk, more) in enumerate(turns):
        if len(body_of(talks[talk])) > 20_000:  # what would take more than a quarter of the memory is not kept
            talks[talk] = [{"role": "user", "content": f"talk {talk} from turn {turn}"}]
        talks[talk] += [{"role": "user", "content": "x" * 300 * (n + 1)} for n in range(more)]
        body = body_of(talks[talk])
        call = codec.decode(body, memos)
        assert call == codec.decode(body, Memos())
        assert memos.prefixes._size == size_of(memos.prefixes) <= 300_000
        hits = memos.prefixes.hits
        codec.decode(body, memos)
        assert memos.prefixes.hits > hits


@pytest.mark.parametrize("back", range(5))
def test_a_conversation_is_found_from_each_of_its_last_messages(back: int) -> None:
    memos, codec = Memos(), ChatCodec()
    talk = [{"role": "user", "content": f"turn {n} " + "x" * 90} for n in range(12)]
    for length in range(7, 12):  # one new message each turn: where the others ended is known from the turn before
        codec.decode(body_of(talk[:length]), memos)
    known, misses = memos.prefixes.hits, memos.messages.misses
    codec.decode(body_of([*talk[: 11 - back], {"role": "user", "content": "another end"}]), memos)
    assert (memos.prefixes.hits, memos.messages.misses) == (known + 1, misses + 1)
