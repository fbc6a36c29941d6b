"""The writer of what is said: who is kept, what waits, what is dropped, and that nothing of it reaches an exchange."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app import capture as module
from proxy.app.capture import Bounds, Capture, open_capture
from proxy.app.sampler import Nowhere
from proxy.engine.capture import Heard
from proxy.engine.exchange import Exchange, new_id
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.model import Grant
from proxy.settings.telemetry import Telemetry
from proxy.telemetry.content import Content, Mark, MemoryContents
from proxy.telemetry.metrics import Metrics
from proxy.wire.base import Memos
from proxy.wire.registry import find

DAY = 86_400.0
SERVED = Record("x", 1_800_000_000.0)
ANSWER = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]}).encode()


class Slow(MemoryContents):
    """Waits in each write until it may go on; `fails` says what each write comes to."""

    def __init__(self, fails: Sequence[Exception | None] = ()) -> None:
        super().__init__()
        self.go, self.began = threading.Event(), threading.Event()
        self.fails = list(fails)
        self.batches: list[int] = []

    def keep(self, contents: Sequence[Content]) -> None:
        self.began.set()
        assert self.go.wait(30)
        self.batches.append(len(contents))
        fault = self.fails.pop(0) if self.fails else None
        if fault is not None:
            raise fault
        super().keep(contents)


def exchange(level: str | None = "full", words: str = "hi", path: str = "/v1/chat/completions", **more: Any) -> Exchange:
    """As much of one as is looked at when it has ended."""
    codec = find("POST", path, {}, "")
    assert codec is not None
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": words}]}).encode()
    ex = SimpleNamespace(id=new_id(SERVED.time), client="the client", codec=codec, body=body, sample_of="", redactions={})
    ex.call = codec.decode(body, Memos())
    if level is not None:
        ex.grant = Grant("a", "", "", "", "", (), (), data={"log_content": level})
    for name, value in more.items():
        setattr(ex, name, value)
    return cast(Exchange, ex)


def run(capture: Capture, ex: Exchange, session: str = "a/s") -> list[Content | None]:
    """Have an exchange begin and end; return what whoever waited for it is given."""
    told: list[Content | None] = []
    capture.begin(ex)
    heard = ex.client
    assert isinstance(heard, Heard)
    heard.status, heard.kind, heard.said = 200, "application/json", [ANSWER]
    heard.then = told.append
    capture.end(ex, replace(SERVED, id=ex.id, agent="a", session=session))
    assert ex.client == cast(object, "the client"), "nothing holds on to an exchange that is over"
    return told


def made(contents: MemoryContents, most: int = 1 << 16, days: float = 7.0) -> Capture:
    return Capture(contents, Bounds(most, days * DAY))


def test_what_is_said_is_kept_and_told_to_who_waits() -> None:
    contents = MemoryContents()
    capture = made(contents)
    exchanges = [exchange(), exchange("redacted"), exchange("hash")]
    told = [run(capture, ex) for ex in exchanges]
    capture.stop()
    assert [contents.one(ex.id) for ex in exchanges] == [one[0] for one in told]
    assert [one[0].level for one in told if one[0]] == ["full", "redacted", "hash"]
    assert capture.counts() == {"kept": 3, "dropped": 0, "failed": 0}


@pytest.mark.parametrize(
    "ex",
    [
        exchange("none"),
        exchange("off"),
        exchange(""),
        exchange(None),
        exchange(sample_of="another"),
        exchange(path="/v1/messages/count_tokens"),
    ],
)
def test_of_others_nothing_is_kept(ex: Exchange) -> None:
    contents = MemoryContents()
    capture = made(contents)
    assert run(capture, ex) == [None]
    capture.stop()
    assert contents.one(ex.id) is None
    assert capture.counts() == {"kept": 0, "dropped": 0, "failed": 0}


def test_an_exchange_that_never_had_a_body_leaves_nothing() -> None:
    capture, ex = made(MemoryContents()), exchange()
    del ex.call
    assert run(capture, ex) == [None]
    capture.end(ex, SERVED)  # it was not begun: nothing to do
    capture.stop()


def test_turns_of_one_session_see_one_another_whatever_gathers() -> None:
    slow = Slow()
    capture = made(slow)
    exchanges = [exchange(words="one")]
    run(capture, exchanges[0])
    assert slow.began.wait(30)
    for session in ("a/s", "a/s", "b/s", ""):
        exchanges.append(exchange(words="one"))
        run(capture, exchanges[-1], session)
    slow.go.set()
    capture.stop()
    assert sum(slow.batches) == 5
    marks = [found.mark for ex in exchanges if (found := slow.one(ex.id)) is not None]
    assert len(marks) == 5
    assert {mark.count for mark in marks} == {1}


@pytest.mark.parametrize(("level", "days", "kept"), [("1", 7.0, 1.0), ("30", 7.0, 7.0), ("0", 7.0, 0.0)])
def test_an_agent_can_only_shorten_the_time(level: str, days: float, kept: float) -> None:
    contents = MemoryContents()
    capture, ex = made(contents, days=days), exchange()
    ex.grant = Grant("a", "", "", "", "", (), (), data={"log_content": "full", "retention_days": level})
    (found,) = [run(capture, ex)]
    capture.stop()
    assert found[0] is not None
    assert found[0].until == SERVED.time + kept * DAY


@pytest.mark.parametrize("bound", ["MOST", "MOST_BYTES"])
def test_what_comes_on_top_is_dropped_and_said(bound: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, bound, 2 if bound == "MOST" else 3 * len(exchange().body))
    slow = Slow()
    capture = made(slow)
    run(capture, exchange())
    assert slow.began.wait(30)
    with caplog.at_level(logging.ERROR, "fleetgate.content"):
        told = [run(capture, exchange()) for _ in range(5)]
    assert [None] in told
    assert capture.counts()["dropped"] >= 3
    assert caplog.text.count("is not kept: there are more than can be written") == 1, "once a minute"
    slow.go.set()
    capture.stop()
    counts = capture.counts()
    assert counts["kept"] + counts["dropped"] == 6
    assert run(capture, exchange()) == [None], "it is over"


def test_a_store_that_does_not_take_it_costs_that_alone(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow([StoreError("the disk is full")])
    slow.go.set()
    capture = made(slow)
    first = exchange()
    with caplog.at_level(logging.ERROR, "fleetgate.content"):
        told = run(capture, first)
        capture.stop()
    assert told[0] is not None, "who waits for it has it all the same"
    assert slow.one(first.id) is None
    assert capture.counts() == {"kept": 0, "dropped": 0, "failed": 1}
    assert "1 exchanges so far is not kept: the disk is full" in caplog.text


@pytest.mark.parametrize("fault", [StoreError("away"), ZeroDivisionError("ours")])
def test_a_fault_while_reading_costs_one_exchange_and_never_the_thread(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(MemoryContents):
        left = 1

        def mark(self, session: str) -> Mark | None:
            if self.left:
                self.left -= 1
                raise fault
            return super().mark(session)

    contents = Faulty()
    capture = made(contents)
    first, second = exchange(), exchange()
    with caplog.at_level(logging.ERROR, "fleetgate.content"):
        told = run(capture, first)
        run(capture, second)
        capture.stop()
    assert told == [None]
    assert contents.one(second.id) is not None
    assert capture.counts() == {"kept": 1, "dropped": 0, "failed": 1}
    assert ("away" if isinstance(fault, StoreError) else first.id) in caplog.text


def test_a_store_that_hangs_does_not_keep_the_server_from_ending(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    slow = Slow()
    capture = made(slow)
    run(capture, exchange())
    assert slow.began.wait(30)
    run(capture, exchange())
    with caplog.at_level(logging.ERROR, "fleetgate.content"):
        capture.stop()
    assert "the server stopped" in caplog.text
    slow.go.set()


def test_it_is_there_only_where_it_is_asked_for() -> None:
    metrics = Metrics("1")
    assert open_capture(Telemetry(), MemoryContents(), metrics) is None
    assert metrics.contents is None
    capture = open_capture(Telemetry(capture=True, capture_kb=1), MemoryContents(), metrics)
    assert capture is not None
    capture.stop()
    assert b'fleetgate_contents_total{outcome="kept"} 0.0' in metrics.render("")[0]


def test_all_that_is_held_on_to_is_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)

    async def main() -> None:
        capture = made(MemoryContents())
        first, second, third = (exchange(client=Nowhere(b"")) for _ in range(3))
        cut: list[bool] = []
        for ex in (first, second, third):
            capture.begin(ex)
            heard = ex.client
            assert isinstance(heard, Heard)
            await heard.start(200, [])
            await heard.write(b"x" * 80)
            cut.append(heard.cut)
            if ex is second:
                first.sample_of = "nothing is kept of this one"
                capture.end(first, SERVED)
        assert cut == [False, True, False]
        capture.stop()

    asyncio.run(main())
