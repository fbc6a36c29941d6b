from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.anthropic import CountTokensCodec, MessagesCodec
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Call, WireError
from proxy.wire.frame import MAX_HEAD, MAX_MESSAGES, SMALL
from proxy.wire.gemini_generate import GenerateCodec
from proxy.wire.ollama import ChatCodec as OllamaCodec
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.prefix import MIN_BODY

CODECS = (ChatCodec(), MessagesCodec(), CountTokensCodec(), ResponsesCodec(), OllamaCodec(), GenerateCodec("v1beta", "m"))
Turn = tuple[str, str]
HISTORY = {"openai.responses": "input", "gemini.generate": "contents"}
turns = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.sampled_from(["a", "zwölf", '],"model":"m"}', "x" * 90])), min_size=1, max_size=5
)


def body_of(codec: Codec, conversation: list[Turn], indent: int | None = None, **more: Any) -> bytes:
    """Return a body of `codec`'s dialect with the conversation in the middle."""
    key = HISTORY.get(codec.dialect, "messages")
    messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in conversation]
    if key == "contents":
        messages = [{"role": role, "parts": [{"text": text}]} for role, text in conversation]
    front = {} if key == "contents" else {"model": "m"}
    separators = (",", ":") if indent is None else None
    return json.dumps({**front, key: messages, **more}, indent=indent, ensure_ascii=False, separators=separators).encode()


def outcome(codec: Codec, body: bytes, memos: Memos) -> Call | str:
    try:
        return codec.decode(body, memos)
    except WireError as e:
        return str(e)


@given(st.sampled_from(CODECS), turns, turns, st.sampled_from([None, 1]))
def test_another_conversation_in_a_known_frame_reads_as_if_it_were_the_first(
    codec: Codec, old: list[Turn], new: list[Turn], indent: int | None
) -> None:
    memos = Memos()
    first = codec.decode(body_of(codec, old, indent), memos)
    second = codec.decode(body_of(codec, new, indent), memos)
    assert memos.frames.hits == 1
    assert second == codec.decode(body_of(codec, new, indent), Memos())
    assert codec.decode(body_of(codec, old, indent), memos) == first


@settings(max_examples=250)
@given(st.sampled_from(CODECS), turns, turns, st.data())
def test_no_damage_anywhere_makes_a_difference(codec: Codec, old: list[Turn], new: list[Turn], data: st.DataObject) -> None:
    memos = Memos()
    more = {"tools": [], "metadata": {"a": "b"}, "stream": False} if not isinstance(codec, GenerateCodec) else {"labels": {"a": "b"}}
    codec.decode(body_of(codec, old, **more), memos)
    body = body_of(codec, new, **more)
    place, gone = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 20))
    key = HISTORY.get(codec.dialect, "messages").encode()
    added = data.draw(
        st.sampled_from(
            [
                b"",
                b",",
                b"]",
                b"[",
                b"}",
                b'"',
                b" ",
                b"\n",
                b'"%b":[],' % key,
                b"{},",
                b'"model":"x",',
                b"\xff",
                b"\\u0041",
                b"1",
                b"\x01",
                b"null",
            ]
        )
    )
    damaged = body[:place] + added + body[place + gone :]
    assert outcome(codec, damaged, memos) == outcome(codec, damaged, Memos())


@pytest.mark.parametrize(
    "middle",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"[1]",
        b"[{},]",
        b"[{}]]",
        b"[[{}]",
        b" [{}]",
        b"[{}] ",
        b'[{}],"a":[{}]',
        b'[{}],"messages":[{}]',
        b'["\xff"]',
        b"[NaN]",
    ],
)
def test_what_is_odd_in_the_middle_is_read_in_full(middle: bytes) -> None:
    memos, codec = Memos(), ChatCodec()
    codec.decode(b'{"model":"m","messages":[{"role":"user","content":"a"}],"n":1}', memos)
    body = b'{"model":"m","messages":%b,"n":1}' % middle
    assert outcome(codec, body, memos) == outcome(codec, body, Memos())
    assert memos.frames.hits == 0


@pytest.mark.parametrize("middle", [b"", b",", b", ", b",{}", b"]", b"{}", b",{}]"])
def test_what_follows_a_known_beginning_is_read_as_strictly(middle: bytes) -> None:
    memos, codec = Memos(), ChatCodec()
    known = b'{"model":"m","messages":[{"role":"user","content":"%b"}' % (b"a" * MIN_BODY)
    codec.decode(known + b"]}", memos)
    body = known + middle + b"]}"
    found, expected = outcome(codec, body, memos), outcome(codec, body, Memos())
    assert (found == expected) if isinstance(expected, Call) else isinstance(found, str)
    assert memos.frames.hits == (middle in (b"", b",{}"))


@pytest.mark.parametrize(
    "item", [b'{"role":"user","role":"user"}', b'{"Role":"user"}', b"[" * 900 + b"]" * 900, b'{"role":"user","content":NaN}']
)
def test_a_message_that_cannot_be_read_is_refused_in_a_known_frame_too(item: bytes) -> None:
    memos, codec = Memos(), ChatCodec()
    codec.decode(b'{"model":"m","messages":[{"role":"user","content":"a"}]}', memos)
    with pytest.raises(WireError) as refused:
        codec.decode(b'{"model":"m","messages":[%b]}' % item, memos)
    assert refused.value.protocol == "openai"


def test_what_is_long_or_finely_divided_is_refused_in_a_known_frame_too() -> None:
    memos, codec = Memos(), ChatCodec()
    codec.decode(b'{"model":"m","messages":[{"role":"user","content":"a"}]}', memos)
    for item, times in (
        (b'{"role":"user","content":"a"}', MAX_MESSAGES + 1),
        (b'{"role":"user","content":[%b]}' % b",".join([b'"a"'] * 100_000), 1),
    ):
        body = b'{"model":"m","messages":[%b]}' % b",".join([item] * times)
        assert len(body) > SMALL
        assert outcome(codec, body, memos) == outcome(codec, body, Memos())
        assert isinstance(outcome(codec, body, memos), str)
    assert memos.frames.hits == 0


def test_nothing_of_the_frame_is_shared_by_two_calls_that_one_could_change() -> None:
    memos, codec = Memos(), ChatCodec()
    body = body_of(codec, [("user", "a")], max_tokens=5)
    first, second = codec.decode(body, memos), codec.decode(body, memos)
    second.overhead += 100
    assert (first.overhead, codec.decode(body, memos).overhead) == (0, 0)
    assert second.members is not codec.decode(body, memos).members


def test_edits_land_where_the_members_stand_in_the_new_body() -> None:
    memos, codec = Memos(), ChatCodec()
    codec.decode(body_of(codec, [("user", "a")], max_tokens=5, user="u"), memos)
    body = body_of(codec, [("user", "much longer"), ("assistant", "yes")], max_tokens=5, user="u")
    call = codec.decode(body, memos)
    assert memos.frames.hits == 1
    for key, (start, end) in call.members.items():
        assert json.loads(body[start:end]) == json.loads(body)[key]


def test_items_that_say_more_than_words_are_read_with_what_stands_around_them() -> None:
    memos, codec = Memos(), ResponsesCodec()
    codec.decode(body_of(codec, [("user", "a")]), memos)
    body = b'{"model":"m","input":[{"type":"item_reference","id":"rs_1"}]}'
    for _ in range(2):
        assert codec.decode(body, memos).thread == "rs_1"
    assert codec.decode(body_of(codec, [("user", "b")]), memos).thread == ""


def test_ollama_without_messages_only_loads_a_model() -> None:
    memos, codec = Memos(), OllamaCodec()
    assert codec.decode(b'{"model":"m","messages":[{"role":"user","content":"a"}]}', memos).operation == "chat"
    assert codec.decode(b'{"model":"m","messages":[]}', memos).operation == "show"


def test_dialects_and_models_in_the_path_never_share_a_frame() -> None:
    memos = Memos()
    body = b'{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":5}'
    found = [codec.decode(body, memos) for codec in (ChatCodec(), MessagesCodec(), CountTokensCodec())]
    assert [call.operation for call in found] == ["chat", "chat", "count_tokens"]
    assert found[2].max_output is None
    gemini = b'{"contents":[{"role":"user","parts":[{"text":"a"}]}]}'
    assert [GenerateCodec("v1beta", model).decode(gemini, memos).model for model in ("a", "b")] == ["a", "b"]
    assert memos.frames.hits == 0


def test_frames_stay_bounded_and_keep_the_newest() -> None:
    memos, codec = Memos(400_000), ChatCodec()
    bodies = [body_of(codec, [("user", "a")], user=f"{n:05d}" * 200) for n in range(100)]
    for body in bodies:
        codec.decode(body, memos)
    before = memos.frames.hits
    for body in bodies:
        memos.frames.find(codec.dialect, body)
    assert 10 < memos.frames.hits - before < 60
    assert memos.frames.find(codec.dialect, bodies[-1]) is not None
    codec.decode(large := body_of(codec, [("user", "a")], user="u" * 50_000), memos)
    assert memos.frames.find(codec.dialect, large) is None
    memos.clear()
    assert memos.frames.find(codec.dialect, bodies[-1]) is None


def framed(n: int, text: str) -> bytes:
    """Return a body that is told from others with the same beginning by what is in the middle of its end."""
    return b'{"model":"m","messages":[{"role":"user","content":"%b"}],"user":"%d","metadata":{"padding":"padding"}}' % (text.encode(), n)


def test_frames_that_begin_and_end_alike_stay_few() -> None:
    memos, codec = Memos(), ChatCodec()
    for n in range(20):
        codec.decode(framed(n, "a"), memos)
    assert [len(frames) for frames in memos.frames._kept.values()] == [8]
    assert memos.frames.hits == 0
    codec.decode(framed(19, "b"), memos)
    assert memos.frames.hits == 1


def test_many_sessions_with_words_of_their_own_around_are_each_known() -> None:
    memos, codec = Memos(), MessagesCodec()
    for n in range(60):
        codec.decode(body_of(codec, [("user", "a")], max_tokens=5, system=f"You are number {n}."), memos)
        codec.decode(b'{"system":"You are number %d.","messages":[{"role":"user","content":"a"}],"model":"m"}' % n, memos)
    assert memos.frames.hits == 0
    for n in range(60):
        body = b'{"system":"You are number %d.","messages":[{"role":"user","content":"b"}],"model":"m"}' % n
        assert codec.decode(body, memos) == codec.decode(body, Memos())
    assert memos.frames.hits == 60


def test_a_long_conversation_is_known_with_what_stood_around_it() -> None:
    memos, codec = Memos(), ChatCodec()
    for text in ("a", "b"):
        for n in range(12):
            talk = f'{n} {"x" * MIN_BODY}"}},{{"role":"user","content":"{text}'
            first = f"{n} {'x' * MIN_BODY}" if text == "a" else talk
            assert codec.decode(framed(n, first), memos) == codec.decode(framed(n, first), Memos())
    assert memos.frames.hits == 12
    memos.frames._kept.clear()
    assert codec.decode(framed(3, f"3 {'x' * MIN_BODY}"), memos).hints == {"user": "3", "metadata.padding": "padding"}
    assert memos.frames.hits == 13


def test_a_long_conversation_of_another_operation_is_read_in_full() -> None:
    memos = Memos()
    body = body_of(MessagesCodec(), [("user", "x" * MIN_BODY)])
    found = [codec.decode(body, memos).operation for codec in (MessagesCodec(), CountTokensCodec(), MessagesCodec(), CountTokensCodec())]
    assert found == ["chat", "count_tokens", "chat", "count_tokens"]
    assert memos.frames.hits == 2


def test_a_beginning_that_is_no_conversations_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    memos, codec = Memos(), ChatCodec()
    codec.decode(body_of(codec, [("user", "a")]), memos)
    for body in (b"{}", b"[", b'{"a":[1]}', b'{"user":"%b","messages":[{"role":"user","content":"a"}],"model":"m"}' % (b"u" * MAX_HEAD)):
        assert memos.frames.find(codec.dialect, body) is None
    monkeypatch.setattr("proxy.wire.frame.MAX_KINDS", 1)
    MessagesCodec().decode(body_of(codec, [("user", "a")]), memos)
    assert memos.frames.find(codec.dialect, body_of(codec, [("user", "a")])) is None
