"""A request of which much is known becomes what it becomes whole, byte for byte, and nothing that is known is read or written again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from carrying import CHAT, MESSAGES, OLLAMA, PAIRS, RESPONSES, TALK, outcome, read_by, same, talk
from hub_cases import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, Message, Steer
from proxy.wire.translate import carried as module
from proxy.wire.translate.bridge import DIALECTS, TARGETS, Bridge, Origin, Untranslatable
from proxy.wire.translate.carried import Carried
from proxy.wire.translate.hub import PART, Asked, Text, Tool, Turn

EDITS = st.sampled_from(
    [
        Edit(),
        Edit(model="gemini-1.5-pro", max_output=7, max_output_key="max_tokens"),
        Edit(steer=Steer(note="Try something else.", system="Be calm.", temperature=0.5, no_tools=True)),
    ]
)


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """A dialect, and the requests of one conversation in it: it grows, is changed in its middle, and has what is dropped or odd."""
    source = draw(st.sampled_from(list(DIALECTS)))
    asked = draw(requests())
    asked.json = False
    body = json.loads(jsonio.encoded(DIALECTS[source].write_request(asked)))
    key = DIALECTS[source].history
    conversation: list[dict[str, Any]] = body[key]
    for message in conversation:
        if draw(st.integers(0, 3)) == 0:
            message[draw(st.sampled_from(["cache_control", "name", "odd"]))] = {"type": "ephemeral"}
        if draw(st.booleans()):
            forget_ids(message)
    bodies = [body | {key: conversation[:end]} for end in sorted(draw(st.sets(st.integers(1, len(conversation)), min_size=1, max_size=4)))]
    if draw(st.booleans()):
        at = draw(st.integers(0, len(conversation) - 1))
        other = [*conversation[:at], *draw(st.permutations(conversation[at:]))]
        bodies += [body | {key: other}, body | {key: [*other, *conversation]}]
    return source, bodies


def forget_ids(message: dict[str, Any]) -> None:
    """Leave out what ties calls and outputs together, where the dialect can do without."""
    for part in message.get("parts", []):
        for key in ("functionCall", "functionResponse"):
            part.get(key, {}).pop("id", None)
    if "tool_name" in message or ("tool_calls" in message and "type" not in message["tool_calls"][0]):
        message.pop("tool_call_id", None)
        for call in message.get("tool_calls", []):
            call.pop("id", None)


@given(spoiled(), st.lists(st.tuples(st.sampled_from(list(DIALECTS)), EDITS), min_size=1, max_size=3), st.booleans())
@settings(max_examples=150)
def test_what_is_known_becomes_what_it_becomes_whole(
    sent: tuple[str, list[dict[str, Any]]], route: list[tuple[str, Edit]], compact: bool
) -> None:
    source, bodies = sent
    memos = Memos()
    for body in [*bodies, *bodies]:
        raw = json.dumps(body, separators=(",", ":") if compact else None, ensure_ascii=compact).encode("utf-8", "replace")
        for target, edit in route:
            if target != source:
                same(source, target, raw, memos, edit)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_only_what_is_new_is_read(source: str, target: str) -> None:
    memos = Memos()
    same(source, target, talk(source, "one"), memos, Edit())
    known = memos.carried.misses
    for last in ("two", "three", "two"):
        same(source, target, talk(source, last), memos, Edit())
    assert memos.carried.misses == known + 2


@pytest.mark.parametrize("source", list(DIALECTS))
def test_targets_that_take_turns_are_told_what_they_were_told_before(source: str) -> None:
    """Each thing is written once for each of them: what they are asked holds the very pieces of the time before."""
    memos = Memos()
    tools = [Tool("f", "Does it.", {"type": "object", "properties": {}})]
    asked = Asked("m", [*TALK[:3], TALK[-1]], tools)
    body = jsonio.encoded(DIALECTS[source].write_request(asked))
    call = TARGETS[source].decode(body, memos)
    for target in [*DIALECTS, *DIALECTS]:
        if target != source:
            Bridge(TARGETS[source], target, call, Edit(), Origin("9", memos.carried))
    known = [known.value for known in read_by(memos.carried, "_young")]
    pieces = {id(value): dict(value.pieces) for value in known}
    others = set(DIALECTS) - {source}
    assert all(others >= set(held) for held in pieces.values())
    assert set.union(*[set(held) for held in pieces.values()]) == others
    for target in DIALECTS:
        if target != source:
            Bridge(TARGETS[source], target, call, Edit(), Origin("9", memos.carried))
    assert {id(value): dict(value.pieces) for value in known} == pieces
    assert all(value.pieces[target] is piece for value in known for target, piece in pieces[id(value)].items())


def prompted(source: str, system: str, last: str) -> bytes:
    """A conversation whose system prompt stands apart from it."""
    body = json.loads(talk(source, last))
    if source == RESPONSES:
        body["input"] = body["input"][1:]
    [key] = DIALECTS[source].prompts & {"system", "systemInstruction", "instructions"}
    body[key] = {"parts": [{"text": system}]} if key == "systemInstruction" else system
    return json.dumps(body).encode()


APART = [(source, target) for source, target in PAIRS if DIALECTS[source].prompts]


@pytest.mark.parametrize(("source", "target"), APART)
def test_a_system_prompt_that_stands_apart_is_known_by_its_bytes(source: str, target: str) -> None:
    memos = Memos()
    found = same(source, target, prompted(source, "Sort invoices.", "one"), memos, Edit())
    [prompt] = memos.carried._young[f"{source} system"].values()
    known = memos.carried.misses
    same(source, target, prompted(source, "Sort invoices.", "two"), memos, Edit())
    assert memos.carried.misses == known + 1
    assert [*memos.carried._young[f"{source} system"].values()] == [prompt]
    other = same(source, target, prompted(source, "Sort nothing.", "one"), memos, Edit())
    assert isinstance(other, tuple)
    assert b"Sort nothing." in other[0]
    assert same(source, target, prompted(source, "Sort invoices.", "one"), memos, Edit()) == found != other


@pytest.mark.parametrize("system", ["", [], None, [{"type": "text", "text": "A", "odd": 1}, {"type": "text", "text": "B"}]])
def test_a_system_prompt_of_any_form_is_carried_alike_each_time(system: object) -> None:
    memos = Memos()
    for _ in range(2):
        for target in (CHAT, OLLAMA):
            same(MESSAGES, target, asks(system=system), memos, Edit())
    first = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    found = same(MESSAGES, CHAT, asks(system=first), memos, Edit())
    assert same(MESSAGES, CHAT, asks(system=[first[0], {"type": "text", "text": "C"}]), memos, Edit()) != found
    image = {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}}
    assert isinstance(same(MESSAGES, CHAT, asks(system=[first[0], image]), memos, Edit()), str)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_dropping_the_memory_changes_nothing(source: str, target: str) -> None:
    memos = Memos()
    found = same(source, target, talk(source, "one"), memos, Edit())
    memos.carried.clear()
    assert len(memos.carried) == 0
    assert same(source, target, talk(source, "one"), memos, Edit()) == found
    memos.clear()
    assert same(source, target, talk(source, "one"), memos, Edit()) == found


TOOLS: list[dict[str, Any]] = [
    {"name": "a", "description": "A tool.", "input_schema": {"type": "object"}, "strict": True, "input_examples": [1]},
    {"name": "b", "input_schema": {"type": "object", "properties": {}}},
]


def asks(**more: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}).encode()


@pytest.mark.parametrize("target", [name for name in DIALECTS if name != MESSAGES])
def test_tools_are_known_by_their_bytes(target: str) -> None:
    memos = Memos()
    found = same(MESSAGES, target, asks(tools=TOOLS), memos, Edit())
    known = memos.carried.misses
    assert same(MESSAGES, target, asks(tools=TOOLS, temperature=1), memos, Edit()) != found
    assert memos.carried.misses == known
    assert same(MESSAGES, target, asks(tools=[*TOOLS, {**TOOLS[0], "name": "c"}]), memos, Edit()) != found
    assert same(MESSAGES, target, asks(tools=TOOLS), memos, Edit()) == found
    for odd in (None, [], [{"type": "bash_20250124", "name": "bash"}], [{"name": 1}]):
        same(MESSAGES, target, asks(tools=odd), memos, Edit())
        same(MESSAGES, target, asks(tools=odd), memos, Edit())


def test_tools_of_which_some_are_allowed_are_written_anew() -> None:
    memos = Memos()
    body: dict[str, Any] = {"model": "m", "input": "hi", "tools": [{"type": "function", "name": name, "parameters": {}} for name in "ab"]}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}]}
    for choice in (None, allowed, None):
        whole = same(RESPONSES, CHAT, json.dumps(body | {"tool_choice": choice}).encode(), memos, Edit())
        assert not isinstance(whole, str)
        assert len(json.loads(whole[0])["tools"]) == (2 if choice is None else 1)


def test_half_a_surrogate_has_all_of_it_written_by_the_other_encoder() -> None:
    memos = Memos()
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":"\\ud800"}'}}
    messages = [{"role": "assistant", "tool_calls": [call]}, {"role": "user", "content": "Zürich"}]
    for _ in range(2):
        found = same(CHAT, MESSAGES, jsonio.encoded({"model": "m", "messages": messages}), memos, Edit())
        assert isinstance(found, tuple)
        assert found[0].isascii()


@pytest.mark.parametrize(
    "content",
    ["1e999", "[" * 3000 + "]" * 3000, '[{"type":"document"}]', '[{"type":"tool_use","id":"x","name":"f","input":{}}]'],
    ids=["number", "deep", "document", "misplaced"],
)
def test_what_is_refused_is_refused_again(content: str) -> None:
    memos = Memos()
    body = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":%b}]}' % content.encode()
    first = outcome(MESSAGES, CHAT, body, memos, Origin("9", memos.carried), Edit())
    assert isinstance(first, str)
    assert same(MESSAGES, CHAT, body, memos, Edit()) == first
    assert len(memos.carried) == 0


def test_what_is_left_out_is_told_each_time() -> None:
    """When it is read, and when it is written."""
    memos = Memos()
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s", "odd": 1}
    messages = [{"role": "assistant", "content": [thought, {"type": "text", "text": "Well"}]}, {"role": "user", "content": "And?"}]
    for _ in range(2):
        found = same(MESSAGES, CHAT, asks(messages=messages), memos, Edit())
        assert isinstance(found, tuple)
        assert found[1] == ["messages/content/odd", "reasoning of earlier turns"]


def test_a_message_that_is_no_object_is_refused() -> None:
    """The codecs let none pass; a reader must not rely on that."""
    body = b'{"model":"m","messages":["hi"]}'
    call = Call("chat", "m", body, messages=(Message(b"", "user", ()),), members={"model": (9, 12), "messages": (24, 30)})
    with pytest.raises(Untranslatable, match="not a list of objects"):
        Bridge(TARGETS[CHAT], MESSAGES, call, Edit(), Origin(carried=Carried()))


def test_a_call_of_another_splitting_is_split_again() -> None:
    """Messages that another target's call made known to the codec alone: their bytes are found in the body."""
    memos = Memos()
    codec = TARGETS[CHAT]
    codec.decode(talk(CHAT, "one"), memos)
    assert len(codec.decode(talk(CHAT, "two"), memos).latest) < len(TALK)
    same(CHAT, MESSAGES, talk(CHAT, "two"), memos, Edit())


def test_the_memory_is_bounded_and_forgets_what_is_not_used() -> None:
    memos = Memos()
    small = Carried(200_000)
    codec = TARGETS[CHAT]
    for number in range(60):
        call = codec.decode(talk(CHAT, str(number)), memos)
        Bridge(codec, MESSAGES, call, Edit(), Origin(carried=small))
        other = codec.decode(talk(CHAT, str(number)).replace(b"word", b"%04d" % number), memos)
        Bridge(codec, MESSAGES, other, Edit(), Origin(carried=small))
        kept = [*read_by(small, "_young"), *read_by(small, "_old")]
        assert sum(known.letters + module.OVERHEAD + known.value.cost() for known in kept) < 300_000
    large = jsonio.encoded({"model": "m", "messages": [{"role": "user", "content": "x" * 200_000}]})
    before = len(small)
    Bridge(codec, MESSAGES, codec.decode(large, memos), Edit(), Origin(carried=small))
    assert len(small) == before


def test_one_reading_of_a_dialect_is_not_anothers() -> None:
    memos = Memos()
    message = TARGETS[CHAT].decode(talk(CHAT, "one"), memos).messages[0]
    known = module.Known(message, b"", Turn("user", (Text("x"),)), (), 9)
    memos.carried.keep(CHAT, known)
    assert memos.carried.find([message], CHAT) == [known]
    assert memos.carried.find([message], OLLAMA) == [None]
    memos.carried.keep(OLLAMA, replace(known, dropped=("odd",)))
    assert memos.carried.find([message], CHAT) == [known]
    assert len(memos.carried) == 2


def test_pieces_are_json_that_is_written_already() -> None:
    memos = Memos()
    codec = TARGETS[CHAT]
    Bridge(codec, MESSAGES, codec.decode(talk(CHAT, "one"), memos), Edit(), Origin(carried=memos.carried))
    items = [item for known in read_by(memos.carried, "_young") for piece in known.value.pieces.values() for item in piece.items]
    assert {type(item) for item in items} == {msgspec.Raw}
    assert len(items) == len(TALK) - 1


def test_what_a_turn_keeps_alive_of_its_neighbours_is_counted() -> None:
    memos = Memos()
    codec = TARGETS[CHAT]
    said = [{"role": "user", "content": f"{i}"} for i in range(500)]
    call = codec.decode(jsonio.encoded({"model": "m", "messages": said}), memos)
    Bridge(codec, MESSAGES, call, Edit(), Origin("9", memos.carried))
    [known] = memos.carried.find(call.messages[:1], CHAT)
    assert known is not None
    assert len(known.value.pieces[MESSAGES].rest) == 499
    assert known.value.cost() > 499 * PART


@pytest.mark.parametrize("target", [name for name in DIALECTS if name != MESSAGES])
def test_a_turn_of_nothing_but_reasoning_parts_nobody(target: str) -> None:
    """What stands before and behind it is one turn, since roles take turns."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    said = [{"role": role, "content": content} for role, content in (("user", "A"), ("assistant", [thought]), ("user", "B"))]
    memos = Memos()
    for _ in range(2):
        found = same(MESSAGES, target, asks(messages=said), memos, Edit())
        assert isinstance(found, tuple)
        assert found[1] == ["reasoning of earlier turns"]
        assert len(json.loads(found[0])[DIALECTS[target].history]) == 1
