"""The desk of several workers: when they are ready together, what they say as one, whose port it is, and what signals ask for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app import process
from proxy.app.crew import Crew
from proxy.app.desk import Desk, crew_ready, merged, reserved
from proxy.settings.sections import Listen

DETAIL: dict[str, Any] = {
    "warming": False,
    "draining": False,
    "config": "c1",
    "config_errors": [],
    "store": "ok",
    "ledger": "ok",
    "circuits_open": [],
    "policy": "none",
    "control": "ok",
    "tokens": {"state": "off"},
    "inflight": 0,
    "tasks": 1,
}


@dataclass
class Told:
    """What a worker said of itself."""

    ready: bool
    detail: Mapping[str, Any] = field(default_factory=lambda: DETAIL)
    is_up: bool = True

    @property
    def up(self) -> Any:
        return SimpleNamespace(done=lambda: self.is_up)

    @property
    def state(self) -> Any:
        return {"detail": self.detail} if self.detail else {}

    process = SimpleNamespace(pid=7)


def crew(*workers: Told) -> Crew:
    return cast("Crew", SimpleNamespace(workers=dict(enumerate(workers, 1))))


def house(draining: bool = False, warming: bool = False) -> Desk:
    return cast("Desk", SimpleNamespace(draining=draining, warming=warming))


def test_ready_when_whoever_gets_a_connection_can_be_served() -> None:
    assert crew_ready(house(), crew(Told(True), Told(True)))
    assert crew_ready(house(), crew(Told(True), Told(False, is_up=False))), "one that does not listen yet gets none"
    assert not crew_ready(house(), crew(Told(True), Told(False)))
    assert not crew_ready(house(), crew(Told(False, is_up=False)))
    assert not crew_ready(house(), crew())
    assert not crew_ready(house(draining=True), crew(Told(True)))
    assert not crew_ready(house(warming=True), crew(Told(True)))


def test_what_is_wrong_in_one_worker_is_said() -> None:
    away = DETAIL | {"store": "Valkey cannot be reached", "tokens": {"state": "down"}, "circuits_open": ["b", "a"], "inflight": 3}
    told = merged(DETAIL | {"config": "own"}, crew(Told(True, DETAIL | {"inflight": 2}), Told(False, away)))
    assert (told["store"], told["tokens"], told["ledger"]) == ("Valkey cannot be reached", {"state": "down"}, "ok")
    assert (told["circuits_open"], told["inflight"], told["config"], told["tasks"]) == (["a", "b"], 5, "own", 3)
    assert told["workers"] == [
        {"worker": 1, "pid": 7, "ready": True, "config": "c1", "inflight": 2},
        {"worker": 2, "pid": 7, "ready": False, "config": "c1", "inflight": 3},
    ]


def test_before_a_worker_has_spoken_the_supervisor_says_what_it_knows() -> None:
    told = merged(DETAIL | {"store": "away"}, crew(Told(False, {})))
    assert (told["store"], told["inflight"]) == ("away", 0)
    assert told["workers"][0]["config"] is None


def test_an_order_is_answered_once_all_workers_have_seen_it_whoever_told_them() -> None:
    async def main() -> None:
        told, seen, versions = asyncio.Event(), asyncio.Event(), iter([1, 1])
        kills = SimpleNamespace(versions=0)

        async def refresh(tell: object) -> bool:
            kills.versions = next(versions)
            return False

        async def ask(what: str) -> None:
            told.set()
            await seen.wait()

        kills.refresh = refresh
        desk = Desk.__new__(Desk)
        desk.kills, desk.crew = cast("Any", kills), cast("Any", SimpleNamespace(ask=ask, telling=asyncio.Lock()))
        loop = asyncio.ensure_future(desk.refresh_control())
        await told.wait()
        order = asyncio.ensure_future(desk.refresh_control())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not order.done(), "the workers are being asked still"
        seen.set()
        await asyncio.gather(loop, order)
        assert next(versions, None) is None

    asyncio.run(main())


@contextmanager
def listening(port: int, *, shared: bool) -> Iterator[int]:
    with socket.socket() as s:
        if shared:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.1", port))
        s.listen()
        yield s.getsockname()[1]


def test_a_reserved_port_is_for_those_who_share_it() -> None:
    with reserved(Listen(port=0)) as port:
        assert port
        with listening(port, shared=True), listening(port, shared=True):
            socket.create_connection(("127.0.0.1", port), 5).close()
        with pytest.raises(OSError, match="in use"), listening(port, shared=False):
            pass


@pytest.mark.parametrize("shared", [True, False])
def test_a_port_that_somebody_serves_is_refused_whoever_would_share(shared: bool) -> None:
    refusal = pytest.raises(ValueError, match=r"^listen: cannot listen on 127\.0\.0\.1:\d+: address already in use$")
    with listening(0, shared=shared) as port, refusal, reserved(Listen(port=port)):
        pass


def test_a_name_that_is_no_address_is_refused() -> None:
    with (
        pytest.raises(ValueError, match=r"^listen: cannot listen on no-such-name\.invalid:1: "),
        reserved(Listen(host="no-such-name.invalid", port=1)),
    ):
        pass


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(sysname="Darwin"))
    with pytest.raises(ValueError, match="only Linux spreads connections"), reserved(Listen(port=0)):
        pass


def asked(number: int) -> tuple[bool, bool]:
    """Whether a signal asks to stop, and to read the files again."""

    async def main() -> tuple[bool, bool]:
        found = process.listen_to_signals()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)
        return found.stop.is_set(), found.reload.is_set()

    return asyncio.run(main())


def test_signals_stop_or_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(signal.SIGTERM) == (True, False)
    assert asked(signal.SIGHUP) == (False, True)
    here = iter([True, False])
    monkeypatch.setattr(process, "_has_terminal", lambda: next(here))
    assert asked(signal.SIGHUP) == (True, False), "the terminal is gone"


def test_nohup_holds() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert asked(signal.SIGHUP) == (False, False)
    finally:
        signal.signal(signal.SIGHUP, old)
