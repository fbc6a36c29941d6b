"""What a serving process does beside requests: sums follow the ledger when few calls run, and on a busy server too, in small portions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app import chores
from proxy.engine.ports import StoreError
from proxy.telemetry.rollup import Reach


def followed(monkeypatch: pytest.MonkeyPatch, busy: list[int], behind: int = 0) -> list[tuple[int, float]]:
    """Return in which rounds sums followed and for how long, with so many exchanges under way in each."""
    rounds, found, rests = iter(busy), list[tuple[int, float]](), list[float]()

    def inflight() -> int:
        count = next(rounds, None)
        if count is None:
            raise asyncio.CancelledError
        return count

    def follow(path: Path, now: float, most_s: float) -> Reach:
        found.append((len(rests) - 1, most_s))
        if behind < 0:
            raise StoreError("full")
        return Reach(1, behind, now)

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr("proxy.app.chores.asyncio.sleep", sleep)
    monkeypatch.setattr("proxy.app.chores.rollup.follow", follow)
    house: Any = SimpleNamespace(inflight=inflight, journal=SimpleNamespace(file=Path), clock=SimpleNamespace(now=float))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(chores.follow_ledger(house))
    assert rests[-1] == (chores.LEDGER_S if behind > 0 and busy[-1] <= chores.QUIET else chores.LEDGER_EVERY_S)
    return found


def test_sums_follow_in_quiet_rounds_and_faster_while_they_are_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed(monkeypatch, [0, 9, 4]) == [(0, chores.LEDGER_S), (2, chores.LEDGER_S)]
    assert followed(monkeypatch, [0], behind=5) == [(0, chores.LEDGER_S)]


def test_a_server_that_is_never_quiet_has_them_follow_in_small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [9] * (chores.BUSY_ROUNDS + 1)
    assert followed(monkeypatch, rounds, behind=5) == [(n, chores.LEDGER_BUSY_S) for n in (chores.BUSY_ROUNDS - 1, chores.BUSY_ROUNDS)]
    assert followed(monkeypatch, [*rounds[:-2], 0, *rounds[:-2]]) == [(chores.BUSY_ROUNDS - 1, chores.LEDGER_S)]


def test_a_ledger_that_cannot_be_read_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(followed(monkeypatch, [0, 0], behind=-1)) == 2


def test_prices_that_begin_on_a_day_are_taken_up_and_a_wrong_edit_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    times, told = iter([86_400.0, 86_460.0, 172_799.0, 172_800.0, 259_200.0]), list[object]()

    async def sleep(seconds: float) -> None:
        assert seconds == chores.PRICES_S

    def now() -> float:
        found = next(times, None)
        if found is None:
            raise asyncio.CancelledError
        return found

    outdated = iter([True, True, False])
    house: Any = SimpleNamespace(clock=SimpleNamespace(now=now), files="files", problems=(), reloading=asyncio.Lock(), keep_old=told.append)
    house.table = SimpleNamespace(outdated=lambda: next(outdated))

    def use(files: str) -> None:
        told.append(files)
        house.problems = () if len(told) > 1 else ("wrong",)

    house.use = use
    monkeypatch.setattr("proxy.app.chores.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(chores.follow_prices(house))
    assert told == ["files", "files", ("wrong",)], "once a day, and what people are told of their files stays"


@pytest.mark.parametrize("fails", ["outdated", "use"])
def test_prices_that_cannot_be_taken_up_stop_no_server(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times, told = iter([86_400.0, 172_800.0]), list[object]()

    async def sleep(seconds: float) -> None:
        return

    def now() -> float:
        found = next(times, None)
        if found is None:
            raise asyncio.CancelledError
        return found

    def fail(*_: object) -> bool:
        raise ValueError("a damaged list")

    house: Any = SimpleNamespace(
        clock=SimpleNamespace(now=now), files="", problems=("wrong",), reloading=asyncio.Lock(), keep_old=told.append
    )
    house.table = SimpleNamespace(outdated=fail if fails == "outdated" else lambda: True)
    house.use = fail
    monkeypatch.setattr("proxy.app.chores.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(chores.follow_prices(house))
    assert told == [("wrong", "prices that hold from today on cannot be taken up: a damaged list")] * 2


def test_memory_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rests, given = list[float](), list[int]()

    async def sleep(seconds: float) -> None:
        if len(rests) == 3:
            raise asyncio.CancelledError
        rests.append(seconds)

    monkeypatch.setattr("proxy.app.chores.asyncio.sleep", sleep)
    monkeypatch.setattr("proxy.app.chores.tuning.give_back", lambda: given.append(len(rests)))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(chores.give_back())
    assert (given, rests) == ([1, 2, 3], [chores.GIVE_BACK_S] * 3)
