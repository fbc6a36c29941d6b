from __future__ import annotations

import pytest

from proxy.wire.base import PART, TEXT, Memos, weigh_message
from proxy.wire.call import Media, Message, ToolCall, ToolResult, Tools, ToolSpec
from proxy.wire.memo import OVERHEAD, Memo


def test_a_known_slice_is_not_parsed_again() -> None:
    memo: Memo[bytes] = Memo()
    assert memo.get_all([b"a", b"b", b"a"], bytes.upper) == (b"A", b"B", b"A")
    assert memo.get(b"a", bytes.upper) == b"A"
    assert (memo.misses, len(memo)) == (2, 2)


def test_it_stays_bounded_and_keeps_what_is_in_use() -> None:
    memo: Memo[bytes] = Memo(max_bytes=20 * OVERHEAD)
    for i in range(200):
        memo.get(b"%d" % i, bytes.upper)
        memo.get(b"used", bytes.upper)
    assert memo.misses == 201
    assert len(memo) <= 20
    memo.clear()
    assert len(memo) == 0


def test_what_is_larger_than_a_generation_is_not_kept() -> None:
    memo: Memo[bytes] = Memo(max_bytes=2000)
    memo.get(b"x" * 1000, bytes.upper)
    assert len(memo) == 0


def test_errors_pass_and_are_not_kept() -> None:
    memo: Memo[int] = Memo()
    with pytest.raises(ValueError, match="invalid literal"):
        memo.get(b"x", int)
    assert len(memo) == 0


def test_memos_are_cleared_together() -> None:
    memos = Memos()
    memos.messages.get(b"m", lambda raw: Message(b"", "user", ()))
    memos.tools.get(b"t", lambda raw: Tools())
    memos.clear()
    assert (len(memos.messages), len(memos.tools)) == (0, 0)


def test_what_is_cut_fine_weighs_more_than_its_json() -> None:
    calls = tuple(ToolCall("", "", "", b"") for _ in range(1000))
    memo: Memo[Message] = Memo(2 << 20, weigh_message)
    for n in range(100):
        memo.get(b"%d" % n, lambda raw: Message(b"", "assistant", (), calls))
    assert len(memo) <= (2 << 20) / (1000 * PART)
    assert weigh_message(Message(b"", "tool", ("a", "b"), (), (ToolResult("", b""),), (Media("file", 1),))) == 2 * (TEXT + PART)
    memos = Memos(1 << 20)
    for n in range(100):
        memos.tools.get(b"%d" % n, lambda raw: Tools((ToolSpec("a"),) * 100))
    assert len(memos.tools) <= (1 << 18) / (100 * PART)
