"""What a client is told is heard: as it left, up to a bound, of those alone of whom anything is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from engine_script import STRONG, Says, play

from proxy.engine.capture import Heard
from proxy.engine.exchange import Exchange
from proxy.engine.ports import ClientGone
from proxy.engine.record import Record


class Listener:
    """A client that may be gone."""

    def __init__(self, gone: bool = False) -> None:
        self.got: list[object] = []
        self._gone = gone

    async def read(self, limit: int) -> bytes:
        return b"x" * limit

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self._take((status, headers, body))

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self.got.append((status, headers))

    async def write(self, data: bytes) -> None:
        self._take(data)

    def push(self, data: bytes) -> bool:
        if not self._gone:
            self.got.append(data)
        return not self._gone

    async def end(self) -> None:
        self.got.append("end")

    def _take(self, what: object) -> None:
        if self._gone:
            raise ClientGone
        self.got.append(what)


def heard(client: Listener, wanted: bool = True, most: int = 10, room: bool = True) -> Heard:
    ex = cast(Exchange, SimpleNamespace(client=client))
    return Heard(ex, lambda _: wanted, most, lambda size: room)


HEADERS: Any = [("a", "b"), ("Content-Type", "Text/Event-Stream; charset=utf-8")]


def test_a_stream_is_heard_as_it_left() -> None:
    async def main() -> None:
        client = Listener()
        ears = heard(client)
        assert await ears.read(3) == b"xxx"
        await ears.start(200, HEADERS)
        await ears.write(b"abc")
        assert ears.push(b"def")
        await ears.end()
        assert client.got == [(200, HEADERS), b"abc", b"def", "end"]
        assert (ears.said, ears.size, ears.status, ears.kind, ears.cut) == ([b"abc", b"def"], 6, 200, "text/event-stream", False)

    asyncio.run(main())


def test_no_more_is_held_on_to_than_the_bound() -> None:
    async def main() -> None:
        ears = heard(Listener())
        await ears.start(200, [])
        for piece in (b"12345678", b"9abc", b"d"):
            await ears.write(piece)
        assert (b"".join(ears.said), ears.size, ears.cut, ears.kind) == (b"123456789a", 10, True, "")

    asyncio.run(main())


def test_what_was_not_taken_at_once_is_not_heard() -> None:
    ears = heard(Listener(gone=True))
    ears._begin(200, HEADERS)
    assert not ears.push(b"abc")
    assert ears.said == []


def test_where_there_is_no_room_among_all_nothing_more_is_held() -> None:
    async def main() -> None:
        client = Listener()
        ears = heard(client, room=False)
        await ears.start(200, [])
        await ears.write(b"abc")
        await ears.write(b"def")
        assert (ears.said, ears.size, ears.cut, client.got[1:]) == ([], 0, True, [b"abc", b"def"])

    asyncio.run(main())


def test_nothing_is_held_where_nothing_is_kept() -> None:
    async def main() -> None:
        client = Listener()
        ears = heard(client, wanted=False)
        await ears.send(403, [], b"no")
        assert (ears.said, ears.status, client.got) == ([], 403, [(403, [], b"no")])

    asyncio.run(main())


def test_what_nobody_took_was_not_heard() -> None:
    async def main() -> None:
        ears = heard(Listener(gone=True))
        with pytest.raises(ClientGone):
            await ears.send(200, [], b"yes")
        await ears.start(200, [])
        with pytest.raises(ClientGone):
            await ears.write(b"yes")
        assert ears.said == []

    asyncio.run(main())


def test_client_and_exchange_are_let_go_of() -> None:
    client = Listener()
    ears = heard(client)
    assert ears.client is client
    ears.leave()
    assert not hasattr(ears, "_client")


BODY = b'{"model":"strong","messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"id":"c","model":"strong","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}'


class Ears:
    """Hears each exchange, and may fail when it is over."""

    def __init__(self, fails: bool = False) -> None:
        self.heard: list[tuple[bytes, Record]] = []
        self.fails = fails

    def begin(self, ex: Exchange) -> None:
        ex.client = Heard(ex, lambda _: True, 1 << 20, lambda size: True)

    def end(self, ex: Exchange, record: Record) -> None:
        assert isinstance(ex.client, Heard)
        self.heard.append((b"".join(ex.client.said), record))
        if self.fails:
            raise ZeroDivisionError


@pytest.mark.parametrize("fails", [False, True])
def test_each_exchange_is_heard_and_a_fault_there_costs_it_nothing(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears(fails)
    out = play(BODY, Says([ANSWER]), capture=ears)
    assert (out.caller.status, out.caller.got, out.record.outcome) == (200, ANSWER, "ok")
    assert ears.heard == [(ANSWER, out.record)]
    assert ("cannot be kept" in caplog.text) == fails


def test_a_stream_is_heard_with_its_cut_ending() -> None:
    ears = Ears()
    piece = b'data: {"id":"c","model":"strong","choices":[{"index":0,"delta":{"content":"yes"}}]}\n\n'
    out = play(BODY.replace(b"{", b'{"stream":true,', 1), Says([piece], kind="text/event-stream"), capture=ears, targets=(STRONG,))
    assert ears.heard[0][0] == out.caller.got
    assert piece in out.caller.got
    assert len(out.caller.got) > len(piece)
