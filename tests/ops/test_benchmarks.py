"""The benchmark's own honesty: sizes as promised, one new message a request, wrong replies counted, tables that hide nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import redis
from redis_server import needs_redis, shared_url

from benchmarks import (
    bodies,
    cases,
    dashboard,
    dialects,
    ledger,
    load,
    measure,
    plots,
    replies,
    report,
    scaling,
    sections,
    stores,
    stub,
    telemetry,
)
from benchmarks.process import ROOT
from proxy.engine.record import Record
from proxy.model import Usage
from proxy.telemetry import grouping, rolled
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.query import Filter
from proxy.wire import registry
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Call


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


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_every_dialect_carries_the_same_conversation(dialect: dialects.Dialect) -> None:
    def call(of: dialects.Dialect) -> Call:
        body = bodies.agent(dialect=of)
        assert 55_000 <= body.size() <= 66_000
        return _codec(of).decode(body.request(3).partition(b"\r\n\r\n")[2], Memos())

    def prose(call: Call) -> list[str]:
        return [text for m in (*call.system, *call.messages) for text in m.texts if " " in text and not m.tool_calls]

    one, other = call(dialects.CHAT), call(dialect)
    said = "\n".join(prose(other))
    assert all(text in said for text in prose(one))
    assert len(said) <= 1.01 * len("\n".join(prose(one)))
    assert [spec.name for spec in one.tools.specs] == [spec.name for spec in other.tools.specs]
    assert [c.signature for m in one.messages for c in m.tool_calls] == [c.signature for m in other.messages for c in m.tool_calls]
    assert (other.max_output, other.stream) == (1000, False)


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_every_answer_of_the_stub_is_metered_exactly(dialect: dialects.Dialect) -> None:
    answer = replies.answer_to(dialect.target(dialect.model, False).lower().encode())
    codec = _codec(dialect)
    whole = codec.meter(Call("chat", dialect.model, b""))
    whole.buffered(answer.whole.partition(b"\r\n\r\n")[2])
    assert (whole.usage, whole.texts) == (Usage(replies.IN, replies.OUT), [replies.WORDS])
    streaming = _codec(dialect, stream=True)
    kind = answer.head.partition(b"Content-Type: ")[2].partition(b"\r\n")[0].decode()
    meter, framing = streaming.meter(Call("chat", dialect.model, b"", stream=True)), streaming.streams[kind]()
    chunks = [chunk for piece in (answer.head.partition(b"\r\n\r\n")[2], *answer.events, answer.ending) for chunk in _unchunked(piece)]
    for event in framing.feed(b"".join(chunks)):
        meter.event(event)
    assert (meter.usage, meter.pieces) == (Usage(replies.IN, replies.EVENTS), replies.EVENTS)
    assert meter.ended or meter.finish


def _codec(dialect: dialects.Dialect, stream: bool = False) -> Codec:
    path, _, query = dialect.target(dialect.model, stream).partition("?")
    codec = registry.find("POST", path, {}, query)
    assert codec is not None
    return codec


def _unchunked(data: bytes) -> list[bytes]:
    found = []
    while data:
        size, _, data = data.partition(b"\r\n")
        found.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]
    return found


def test_memory_run_begins_a_session_with_each_request() -> None:
    body = bodies.fresh()
    assert _call(body.request(0))["messages"][0] != _call(body.request(1))["messages"][0]


async def _against(factory: Callable[[], asyncio.Protocol], run: Callable[[int], Awaitable[load.Run]]) -> load.Run:
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    async with server:
        return await run(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_the_stub_satisfies_the_load_generator(stream: bool, dialect: dialects.Dialect) -> None:
    async def main() -> load.Run:
        clocks = stub.Clocks(asyncio.get_running_loop())
        make = bodies.small(stream=stream, dialect=dialect).request
        return await _against(lambda: stub.Stub(clocks), lambda port: load.closed(port, make, 40, 4, load.Expected(stream, dialect)))

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
        return await _against(lambda: Answer(reply), lambda port: load.closed(port, bodies.small().request, 8, 2, load.Expected(stream)))

    run = asyncio.run(main())
    assert run.errors == run.requests == 8
    assert words in run.first_error


def test_a_row_with_an_error_shows_no_speed() -> None:
    row = measure.Row("400 B", "fleetgate", limit=1.6, cpu_us=[50.0], ratio=[0.5], rss_mb=[40.0])
    assert "met" in " ".join(report.cells(row))
    row.take(load.Run(requests=100, errors=1, first_error="HTTP/1.1 402"))
    shown = report.cells(row)
    assert "FAILED" in shown
    assert "50.0" not in " ".join(shown)
    assert "HTTP/1.1 402" in shown[-1]


def test_a_missed_target_says_so() -> None:
    row = measure.Row("400 B", "fleetgate", limit=1.6, cpu_us=[50.0], ratio=[1.5, 1.7, 1.8], rss_mb=[40.0])
    assert "≤ 1.6 MISSED" in report.cells(row)


def test_a_table_replaces_only_its_own_part(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    one, two = ("<!-- measured: one -->\n\nold\n\n<!-- /measured: one -->", "<!-- measured: two -->\n\nold\n\n<!-- /measured: two -->")
    page.write_text(f"before\n{one}\nbetween\n{two}\nafter\n")
    (tmp_path / "img").mkdir()
    plot = plots.bars("title", ["a"], {"x": [1.0]}, [None], "")
    section = report.Section("two", [report.Table(("a", "b"), [("1", "2|3")])], ["a note"], {"curve": ("what it shows", plot)})
    report.publish(tmp_path, [section], ["the machine"])
    text = page.read_text()
    assert text.startswith(f"before\n{one}\nbetween\n<!-- measured: two -->\n\n- the machine\n- a note\n")
    assert text.endswith("| a | b |\n|---|---|\n| 1 | 2\\|3 |\n\n<!-- /measured: two -->\nafter\n")
    assert "![what it shows](img/bench-curve.svg)" in text
    assert (tmp_path / "img" / "bench-curve.svg").read_text() == plot
    with pytest.raises(ValueError, match="has no <!-- measured: three -->"):
        report.write(page, "x", "three")


def test_the_page_has_a_place_for_every_part() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    assert re.findall(r"<!-- measured: (\w+) -->", text) == [*sections.ALL, *sections.MORE]
    assert re.findall(r"<!-- /measured: (\w+) -->", text) == [*sections.ALL, *sections.MORE]


def test_machines_get_every_cell() -> None:
    found = report.as_json([report.Section("one", [report.Table(("a", "b"), [("1", "2")])], errors=3)], ["the machine"])
    assert found == {"machine": ["the machine"], "sections": {"one": {"notes": [], "errors": 3, "tables": [[{"a": "1", "b": "2"}]]}}}
    for head in (report.HEAD, report.LATENCY_HEAD):
        assert len(set(head)) == len(head)


def test_a_latency_is_shown_where_the_rate_was_held() -> None:
    row = measure.Latency("fleetgate", [400.0, 600.0, 450.0], [1900.0, 2100.0, 2500.0], [100.0, 90.0, 80.0], [700.0], requests=900)
    assert report.latency_cells("60 KB", row, (500, 2000)) == (
        "60 KB", "fleetgate", "450 ±100", "≤ 500 met", "2,100 ±300", "≤ 2,000 MISSED", "900", "0"
    )  # fmt: skip
    late = dataclasses.replace(row, late_us=[100.0, 5000.0, 4000.0])
    told = "machine too busy: 4.0 ms late, 0.7 ms without a proxy at p99"
    assert report.latency_cells("60 KB", late, (500, 2000))[2:6] == (told, "", "", "")
    busy = dataclasses.replace(row, direct_p99_us=[900.0, 30_000.0, 20_000.0])
    assert "20.0 ms without a proxy" in report.latency_cells("60 KB", busy, (500, 2000))[2]
    wrong = dataclasses.replace(row, errors=1, first_error="HTTP/1.1 402")
    assert report.latency_cells("60 KB", wrong, None)[2:] == ("FAILED", "", "", "", "900", "1: HTTP/1.1 402")


@pytest.mark.parametrize(
    "svg",
    [
        plots.bars("a < b", ["x & y", "z"], {"bare": [1.0, None], "other": [30.0, -2.0]}, [0.6, None], "x"),
        plots.lines("grows", [1, 10, 1000], {"a": [1.0, 2.0, 3.0], "b": [None, None, None]}, "messages", 5.0),
        plots.lines("flat", [0, 10, 20], {"a": [1.0, 1.0, 1.0]}, "requests"),
    ],
)
def test_plots_are_svg_with_nothing_outside(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    wide, tall = (float(x) for x in root.attrib["viewBox"].split()[2:])
    for part in root.iter():
        for name, most in (("x", wide), ("cx", wide), ("x2", wide), ("y", tall), ("cy", tall), ("y2", tall)):
            assert 0 <= float(part.attrib.get(name, 0)) <= most


def test_all_is_new_in_each_request_and_its_length_is_right() -> None:
    body = bodies.all_new()
    assert 55_000 <= body.size() <= 66_000
    one, two = _call(body.request(1)), _call(body.request(2))
    assert len(one["messages"]) == 40
    assert not [m for m in one["messages"] if m in two["messages"]]


@pytest.mark.parametrize(("messages", "low", "high"), [(1, 200, 600), (2, 400, 900), (50, 8_000, 14_000)])
def test_a_talk_has_as_many_messages_as_it_says(messages: int, low: int, high: int) -> None:
    body = bodies.talk(messages)
    assert len(_call(body.request(0))["messages"]) == messages
    assert low <= body.size() <= high


def test_each_of_many_agents_has_a_key_that_its_requests_carry() -> None:
    fleet, body = cases.many_agents(900), bodies.of_agents(900)
    known = {entry["sha256"] for entry in json.loads(fleet.files["keys.yaml"])["keys"]}
    sent = {hashlib.sha256(re.findall(rb"Bearer (\S+)", body.request(n))[0]).hexdigest() for n in range(900)}
    assert sent == known
    assert sum(text.count("- {name: ") for text in fleet.files.values()) == 900
    assert max(len(text) for name, text in fleet.files.items() if name.startswith("agents/")) < 65_536


def test_events_are_as_far_apart_as_a_request_asks() -> None:
    assert b"X-Every-Ms: 4\r\n" in bodies.small(stream=True, every_ms=4).request(0)
    clock = stub.Clock(asyncio.new_event_loop(), 20)
    clock.loop.close()
    assert len(clock.ring) == 10
    assert [cases.every_ms(n) for n in cases.STREAM_COUNTS] == [20, 20, 20, 50, 100, 200]


def test_telemetry_is_measured_until_all_of_it_is_written_and_sent(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.main(200, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["sinks", "+ traces, 1 %", "+ traces, all", "+ GenAI metrics"]


def test_the_stores_are_measured_in_memory_and_in_a_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.stores", "--pairs", "80"])
    stores.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].partition(":")[0] for line in lines] == ["memory"] * 4 + ["sqlite"] * 4
    assert all("µs CPU" in line for line in lines)
    monkeypatch.setattr("benchmarks.stores.AGENTS", 20)
    monkeypatch.setattr("sys.argv", ["benchmarks.stores", "memory:", "--sessions", "50"])
    stores.main()
    assert "50 sessions more" in capsys.readouterr().out


def test_the_scale_law_is_arithmetic_on_what_was_measured() -> None:
    row = scaling.Row("1 of 1", 900.0, 700.0, 350.0, 2.0, 0.2, 40.0, 3000.0, 1000.0, 1000.0, 10.0, 0)
    found = scaling.law(row)
    assert (found.cores, found.tenant_rate, found.shards) == pytest.approx((100.0, 2000.0, 50.0))
    assert (found.commands, found.store_gbit, found.idle_share) == pytest.approx((4_000_000.0, 4.0, 0.00025))
    shown = scaling.table([row, dataclasses.replace(row, setting="2 of 1", proxy_us=10.0, errors=3)], ["a machine"])
    assert "| 1 of 1 | 900 | 700 | 350 | 2.00 | 0.20 | 40.0 | 3000 | 1000 | 1000 | 10.0 |" in shown
    assert "2 of 1 (3 FAILED)" in shown
    assert "by the dearest row (1 of 1)" in shown


@needs_redis
def test_what_the_store_did_is_read_from_the_store() -> None:
    with redis.Redis.from_url(shared_url().partition("?")[0]) as client:
        before = scaling.read(client)
        for _ in range(10):
            client.eval("redis.call('GET', KEYS[1]); return 1", 1, "x")
        done = scaling.read(client).since(before, scaling.NOTHING, 0)
    assert done.scripts >= 10
    assert done.commands >= 20, "those in scripts count"
    assert done.packets >= 10
    assert done.bytes_in > 0
    assert scaling.Setting(2, 2).processes == 6
    assert done.since(scaling.NOTHING, done, 1.0) == scaling.NOTHING


def test_a_ledger_that_is_made_is_one_that_servers_write_and_its_sums_agree(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    ledger.make(path, 3000, 2, 50)
    found = ledger.measured(path)
    assert (found["records"], found["added_up"]) == (3000, 3000)
    assert [name for name, value in found.items() if isinstance(value, str)] == []
    said, told = rolled.asking(path, 0.0)(("agent",), Filter(), None), grouping.grouped(path, ("agent",))
    assert said == told
    assert len(said) == 50
    appending = Ledger(path)
    appending.record(Record("one", 1.0))
    appending.stop()
    assert appending.lost == 0


def test_viewers_ask_what_pages_ask() -> None:
    web = Path(__file__).parents[2] / "proxy" / "admin" / "web" / "js" / "pages"
    asked = " ".join(path.read_text() for path in web.glob("*.js"))
    for page in dashboard.PAGES.values():
        for question, _ in page:
            assert re.search(rf"useApi\((?:[^,]*\? )?[\"`]{question.partition('?')[0].partition('/')[0]}\b", asked), question
