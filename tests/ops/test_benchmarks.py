"""The benchmark's own honesty: sizes as promised, one new message a request, wrong replies counted, tables that hide nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bodies, load, measure, report, stub


def _call(request: bytes) -> dict[str, Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    return dict(json.loads(body))


@pytest.mark.parametrize(
    ("make", "low", "high", "messages"),
    [(bodies.small, 300, 500, 4), (bodies.agent, 55_000, 66_000, 40), (bodies.large, 900_000, 1_100_000, 200)],
)
def test_sizes_and_only_the_last_message_is_new(make: Callable[[], bodies.Body], low: int, high: int, messages: int) -> None:
    body = make()
    assert low <= body.size() <= high
    sessions = len(body.sessions)
    one, two = _call(body.request(0)), _call(body.request(sessions))
    assert len(one["messages"]) == messages
    assert one["messages"][:-1] == two["messages"][:-1]
    assert one["messages"][-1] != two["messages"][-1]
    assert one["messages"][0] != _call(body.request(1))["messages"][0]


def test_memory_run_begins_a_session_with_each_request() -> None:
    body = bodies.fresh()
    assert _call(body.request(0))["messages"][0] != _call(body.request(1))["messages"][0]


async def _against(factory: Callable[[], asyncio.Protocol], run: Callable[[int], Awaitable[load.Run]]) -> load.Run:
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    async with server:
        return await run(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("stream", [False, True])
def test_the_stub_satisfies_the_load_generator(stream: bool) -> None:
    async def main() -> load.Run:
        clock = stub.Clock(asyncio.get_running_loop())
        make = bodies.small(stream=stream).request
        return await _against(lambda: stub.Stub(clock), lambda port: load.closed(port, make, 40, 4, stream))

    run = asyncio.run(main())
    assert (run.requests, run.errors, run.first_error) == (40, 0, "")


class Answer(asyncio.Protocol):
    """Answers every piece of data with the same bytes."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(self.reply)


@pytest.mark.parametrize(
    ("reply", "stream", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope", False, "403 Fo nope"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", False, "not complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n0\r\n\r\n", True, "stream is not complete"),
    ],
    ids=["refused", "empty", "short stream"],
)
def test_wrong_replies_are_errors(reply: bytes, stream: bool, words: str) -> None:
    async def main() -> load.Run:
        return await _against(lambda: Answer(reply), lambda port: load.closed(port, bodies.small().request, 8, 2, stream))

    run = asyncio.run(main())
    assert run.errors == run.requests == 8
    assert words in run.first_error


def test_a_row_with_an_error_shows_no_speed() -> None:
    row = measure.Row("400 B", "fleetgate", limit=1.6, cpu_us=[50.0], ratio=[0.5], added_p50_us=[1.0], added_p99_us=[2.0], rss_mb=[40.0])
    assert "met" in " ".join(report.cells(row))
    row.take(load.Run(requests=100, errors=1, first_error="HTTP/1.1 402"))
    shown = report.cells(row)
    assert "FAILED" in shown
    assert "50.0" not in " ".join(shown)
    assert "HTTP/1.1 402" in shown[-1]


def test_a_missed_target_says_so() -> None:
    row = measure.Row("400 B", "fleetgate", limit=1.6, cpu_us=[50.0], ratio=[1.5, 1.7, 1.8], rss_mb=[40.0])
    assert "≤ 1.6 MISSED" in report.cells(row)


def test_the_table_replaces_only_the_measured_part(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n")
    report.write(page, report.markdown([measure.Row("400 B", "bare")], ["note"]))
    text = page.read_text()
    assert text.startswith(f"before\n{report.START}")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert "- note" in text
