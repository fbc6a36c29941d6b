"""When what was written `soon` leaves: at the end of the turn, or with what comes for others right behind it."""

from __future__ import annotations

import asyncio

import pytest
from edge_wire import Wire, run

from proxy.server import flow
from proxy.server.flow import FEW, Flow, Outbox


def flows(count: int) -> list[tuple[Flow, Wire]]:
    outbox = Outbox(asyncio.get_running_loop())
    found = [(Flow(60, outbox), Wire()) for _ in range(count)]
    for made, wire in found:
        made.connection_made(wire)
    return found


def test_who_is_alone_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "MORE_S", 3600.0)

    async def work() -> None:
        ((made, wire),) = flows(1)
        for number in range(3):
            assert made.soon(b"a")
            assert made.soon(b"b")
            assert len(wire.writes) == number
            await asyncio.sleep(0)
            assert wire.writes[number:] == [b"ab"]

    run(work())


@pytest.mark.parametrize("for_s", [3600.0, 0.0])
def test_what_comes_for_many_leaves_when_a_turn_brings_no_more(for_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "MORE_S", for_s)

    async def work() -> None:
        found = flows(4)
        for again in range(2):
            left: list[int] = []
            for number, (made, _) in enumerate(found):
                if number != 1:  # the first two come in one turn
                    await asyncio.sleep(0)
                left.append(sum(len(wire.writes) - again for _, wire in found))
                assert made.soon(b"a")
            assert left == ([0, 0, 0, 0] if for_s else [0, 0, 2, 3])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [wire.writes[again:] for _, wire in found] == [[b"a"]] * 4

    run(work())


def test_much_leaves_at_once_so_that_a_slow_client_is_known_before_more_comes_in_the_same_turn() -> None:
    async def work() -> None:
        ((made, wire),) = flows(1)
        wire.on_write = made.pause_writing
        much = b"x" * (FEW + 1)
        assert made.soon(b"a")
        assert made.soon(much)
        assert not made.soon(much)
        assert wire.written == b"a" + much

    run(work())


def test_one_that_cannot_be_written_keeps_nobody_waiting() -> None:
    async def work() -> None:
        found = flows(3)
        failed = list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context["exception"]))
        found[1][1].write = broken  # type: ignore[method-assign]
        for made, _ in found:
            assert made.soon(b"a")
        for _ in range(4):
            await asyncio.sleep(0)
        assert [len(wire.writes) for _, wire in found] == [1, 0, 1]
        assert [type(fault) for fault in failed] == [ZeroDivisionError]

    def broken(data: bytes) -> None:
        raise ZeroDivisionError

    run(work())
