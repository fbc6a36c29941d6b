"""The crew of workers: started, asked, restarted, ended. Its workers here are small programs that speak the same channel."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from proxy.app import crew as crewing
from proxy.app.channel import open_channel
from proxy.app.chores import Options
from proxy.app.crew import Crew
from proxy.app.quickstart import temporary_key
from proxy.app.worker import Job
from proxy.telemetry.merging import merge, pack, registry
from proxy.telemetry.metrics import Metrics

PROGRAM = """
import json, os, signal, socket, struct, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
def hear():
    head = line.recv(4, socket.MSG_WAITALL)
    return json.loads(line.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL)) if head else None
def say(message):
    body = json.dumps(message).encode()
    line.sendall(struct.pack(">I", len(body)) + body)
job = hear()
with open(job["config"], "a") as log:
    log.write(f"{job['number']} {os.getpid()}\\n")
lives = open(job["config"]).read().count(f"{job['number']} ")
%s
say({"up": True})
while (asked := hear()) is not None:
    if asked["ask"] == "metrics":
        say({"id": asked["id"], "value": [["fleetgate_requests", "w", "counter", [["fleetgate_requests_total", [], 5, None]]]]})
    elif asked["ask"] == "state":
        say({"id": asked["id"], "value": {"ready": True, "detail": {"lives": lives}}})
    else:
        %s
"""
JOB = Job(0, "", 0)
Play = Callable[[Crew], Awaitable[None]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crewing, "ASK_S", 0.01)
    monkeypatch.setattr(crewing, "SNAP_S", 0.0)
    monkeypatch.setattr(crewing, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a crew of small programs through a play; `first` is what they do before they are up, `other` with other questions."""

    def run(play: Play, count: int = 2, first: str = "", other: str = "os._exit(7)") -> Path:
        monkeypatch.setattr(crewing, "_CODE", PROGRAM % (first, other))
        log = tmp_path / "log"
        metrics = Metrics("1")
        metrics.serves(0)

        async def main() -> None:
            made = Crew(Job(0, str(log), 0), count, metrics)
            try:
                await asyncio.wait_for(play(made), 60)
            finally:
                await made.stop(0)
            assert made.workers == {}

        asyncio.run(main())
        return log

    return run


async def until(claim: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not claim():  # noqa: ASYNC110  what is waited for happens in other processes
            await asyncio.sleep(0.005)


def text(crew: Crew, counted: list[Any]) -> str:
    return generate_latest(registry(merge([pack(crew._metrics.collect()), *counted]))).decode()


def test_all_are_up_and_answer(crew: Callable[..., Any]) -> None:
    async def play(made: Crew) -> None:
        await made.start()
        assert sorted(made.workers) == [1, 2]
        await until(lambda: all(worker.ready for worker in made.workers.values()))
        assert [answer["ready"] for answer in await made.ask("state")] == [True, True]
        assert "fleetgate_requests_total 10.0" in text(made, await made.counted())

    assert len(crew(play).read_text().split("\n")) == 3


def test_one_that_dies_is_started_again_and_what_it_counted_stays(crew: Callable[..., Any]) -> None:
    async def play(made: Crew) -> None:
        await made.start()
        await until(lambda: all(worker.counted for worker in made.workers.values()))
        old = made.workers[1]
        assert await old.ask("die") is None, "it is gone, and nobody waits for an answer"
        await until(lambda: 1 in made.workers and made.workers[1] is not old and made.workers[1].ready)
        shown = text(made, await made.counted())
        assert "fleetgate_requests_total 15.0" in shown, "two alive and one that was"
        assert "fleetgate_worker_restarts_total 1.0" in shown
        assert made.workers[2].state["detail"]["lives"] == 1, "the other was left alone"

    crew(play)


def test_the_wait_doubles_up_to_its_end(
    crew: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crewing, "LONGEST_WAIT_S", 0.04)

    async def dying(made: Crew) -> None:
        await made.start()
        await made.workers[1].ask("die")
        await until(lambda: caplog.text.count("is gone") >= 5)

    crew(dying, 1, "if lives > 1: sys.exit(3)")
    waits = [record.args[2] for record in caplog.records if "is gone" in record.msg and isinstance(record.args, tuple)]
    assert waits[:5] == [0.01, 0.02, 0.04, 0.04, 0.04]


def test_one_that_cannot_start_takes_the_start_back_in_its_own_words(crew: Callable[..., Any]) -> None:
    async def play(made: Crew) -> None:
        with pytest.raises(ValueError, match=r"^worker 2 cannot serve: the port is taken$"):
            await made.start()

    crew(play, 2, 'if job["number"] == 2:\n    say({"failed": "the port is taken"}); sys.exit(1)')

    async def silent(made: Crew) -> None:
        with pytest.raises(ValueError, match=r"^worker 1 cannot serve: it ended with 3$"):
            await made.start()

    crew(silent, 1, "sys.exit(3)")


def test_one_that_does_not_answer_is_killed(
    crew: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crewing, "ANSWER_S", 0.05)

    async def play(made: Crew) -> None:
        await made.start()
        old = made.workers[1]
        monkeypatch.setattr(crewing, "HUNG_S", 0.2)
        assert await old.ask("sleep", 0.01) is None
        await until(lambda: "killed" in caplog.text)
        monkeypatch.setattr(crewing, "HUNG_S", 60.0)
        await until(lambda: 1 in made.workers and made.workers[1] is not old and made.workers[1].ready)

    crew(play, 1, "", "time.sleep(600)")


def test_one_that_is_never_up_is_killed(
    crew: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crewing, "START_S", 0.2)

    async def play(made: Crew) -> None:
        with pytest.raises(ValueError, match=r"^worker 1 cannot serve: it ended with -9$"):
            await made.start()

    crew(play, 1, "time.sleep(600)")
    assert "worker 1 is not up after 0.2 s" in caplog.text


def test_one_that_does_not_stop_is_killed(
    crew: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crewing, "SETTLE_S", 0.2)

    async def play(made: Crew) -> None:
        await made.start()

    crew(play, 1, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert "1 workers did not end in time" in caplog.text


def test_a_stop_ends_a_pause_too(crew: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(crewing, "FIRST_WAIT_S", 600.0)
    monkeypatch.setattr(crewing, "LONGEST_WAIT_S", 600.0)

    async def play(made: Crew) -> None:
        await made.start()
        running = asyncio.ensure_future(made.run())
        await made.workers[1].ask("die")
        await until(lambda: "is gone" in caplog.text)
        running.cancel()

    crew(play, 1)


def test_a_process_that_cannot_be_made_is_a_reason_like_any_other(crew: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    async def play(made: Crew) -> None:
        with pytest.raises(ValueError, match="cannot be started: No such file"):
            await made.start()

    crew(play, 1)


def test_the_channel_ends_with_the_other_end_and_with_what_is_too_long() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        one, other = await open_channel(ours), await open_channel(theirs)
        one.send({"a": [1, "é"]})
        await one.flush()
        assert await other.receive() == {"a": [1, "é"]}
        other._writer.write(b"\xff\xff\xff\xff")
        assert await one.receive() is None
        other.close()
        await asyncio.sleep(0)
        one.send({"lost": True})
        await one.flush()
        one.close()
        one.send({"closed": True})

    asyncio.run(main())


def test_a_job_survives_json() -> None:
    _, entry = temporary_key("demo")
    job = Job.of(Options(Path("a.yaml"), True, "debug", True), 80, "http://sim", entry)
    again = Job(**json.loads(json.dumps(dataclasses.asdict(job))))
    assert (again.options, again.keys, again.port, again.simulator) == (job.options, [entry], 80, "http://sim")
    assert Job.of(Options(Path("a.yaml")), 1, None, None).keys == []
