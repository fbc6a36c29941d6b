"""What became of the beginning of a conversation is kept as a whole: found by what it is of, and bounded with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from carrying import CHAT, MESSAGES, PAIRS, TALK, read_by, same, talk

from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.call import Edit
from proxy.wire.translate import carried as module
from proxy.wire.translate.bridge import DIALECTS, TARGETS, Bridge, Origin
from proxy.wire.translate.calls import CallIds, Names
from proxy.wire.translate.carried import Beginning, Carried
from proxy.wire.translate.hub import Asked, Text, Turn


class Watched(Carried):
    """A memory that notes how many messages it is asked for."""

    def __init__(self, max_bytes: int = 12 << 20) -> None:
        super().__init__(max_bytes)
        self.asked: list[int] = []

    def find(self, sources: Iterable[module.Source], kind: str) -> list[module.Known[Any] | None]:
        found = super().find(sources, kind)
        self.asked += [len(found)] if kind in DIALECTS else []
        return found


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_known_beginning_is_not_looked_at_again(source: str, target: str) -> None:
    """However long it is: of each turn what is new is, and what stood at the end of the one before."""
    memos = Memos()
    memos.carried = watched = Watched()
    for turns in range(3, len(TALK) + 1, 2):
        asked = Asked("m", [*TALK[: turns - 1], Turn("user", (Text(f"turn {turns}"),))])
        same(source, target, jsonio.encoded(DIALECTS[source].write_request(asked)), memos, Edit())
    assert len(watched.asked) == 30
    assert max(watched.asked) == 3


@pytest.mark.parametrize("kind", [CallIds, Names])
def test_what_a_beginning_knows_of_calls_is_counted(kind: type[CallIds | Names]) -> None:
    things = [Turn("user", (Text(str(i)),)) for i in range(10)]
    sizes = list[int]()
    for count in (0, 1000):
        ties: CallIds | Names = kind()
        ties.calls(tuple([(f"id{i}", "get") for i in range(count)]))
        memory = Carried()
        new = Beginning(things, len(things), [], [], ties.copy())
        memory.begin("kind", new, memory.beginning("kind", things, None))
        assert memory.beginning("kind", things, None) is new
        sizes.append(memory._size)
    assert sizes[1] - sizes[0] == 1000 * module.TIE
    tracemalloc.start()
    kept = [ties.copy() for _ in range(4)]
    took = tracemalloc.get_traced_memory()[0] // len(kept)
    tracemalloc.stop()
    assert took <= 1000 * module.TIE


def test_a_beginning_is_found_by_what_it_is_of() -> None:
    memos = Memos()
    same(CHAT, MESSAGES, talk(CHAT, "one"), memos, Edit())
    messages = TARGETS[CHAT].decode(talk(CHAT, "two"), memos).messages
    begun = memos.carried.beginning(CHAT, messages, None)
    assert (begun.count, len(begun.found)) == (len(TALK) - 1, len(TALK) - 1)
    others = [[replace(messages[0]), *messages[1:]], messages[:-2], [*messages[:-1], *messages[:20]]]
    assert [memos.carried.beginning(CHAT, other, None).count for other in others] == [0, 0, 0]
    assert memos.carried.beginning(MESSAGES, messages, None).count == 0
    memos.carried.clear()
    assert memos.carried.beginning(CHAT, messages, None).count == 0


def test_beginnings_are_forgotten_with_what_they_are_made_of() -> None:
    memos = Memos()
    small = Carried(200_000)
    codec = TARGETS[CHAT]
    for number in range(80):
        call = codec.decode(talk(CHAT, "now").replace(b"word", b"%04d" % number), memos)
        Bridge(codec, MESSAGES, call, Edit(), Origin(carried=small))
        held = {id(known.value) for generation in ("_young", "_old") for known in read_by(small, generation)}
        assert all(id(turn) in held for (kind, _), begun in small._begun.items() if kind == CHAT for turn in begun.found)
        assert small._size <= 100_000


def test_what_is_too_long_to_keep_is_in_no_beginning() -> None:
    memos = Memos()
    small = Carried(60_000)
    large = [{"role": "user", "content": "x" * 60_000}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}]
    for more in ([], [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]):
        body = jsonio.encoded({"model": "m", "messages": [*large, *more]})
        found = Bridge(TARGETS[CHAT], MESSAGES, TARGETS[CHAT].decode(body, memos), Edit(), Origin("9", small))
        assert found.body == Bridge(TARGETS[CHAT], MESSAGES, TARGETS[CHAT].decode(body, Memos()), Edit(), Origin("9")).body
    assert small._begun == {}


def test_tools_that_are_too_long_to_keep_are_written_each_time() -> None:
    memos = Memos()
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 60_000, "parameters": {}}}]
    body = jsonio.encoded({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": tools})
    small = Carried(60_000)
    bodies = [Bridge(TARGETS[CHAT], MESSAGES, TARGETS[CHAT].decode(body, memos), Edit(), Origin("9", small)).body for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) > 60_000
    assert len(small) == 1


@pytest.mark.parametrize("target", [MESSAGES, "gemini.generate"])
def test_a_turn_without_content_stands_before_no_system_message(target: str) -> None:
    asked = Asked("m", [Turn("user", ()), Turn("system", (Text("A"),)), Turn("user", (Text("B"),))])
    body = DIALECTS[target].write_request(asked)
    assert asked.dropped == []
    assert b'"A"' in jsonio.encoded(body)
