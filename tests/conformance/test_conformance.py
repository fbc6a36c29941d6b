"""Every cell of the matrix, and every request that should never have been sent, over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from asking import Line
from bad import BAD, BadCell, bad_cells
from matrix import CLIENTS, NOT_ROUTES, OUTCOMES, ROWS, TARGETS, cells
from outcomes import Cell, Want
from playing import play
from raw import Raw
from rows import Ask, Row
from world import WITHIN_S, World, key_of

from proxy.money import MILLION
from proxy.wire.registry import PATTERNS, ROUTES
from proxy.wire.translate.bridge import DIALECTS

try:
    from uvloop import new_event_loop
except ImportError:  # there is no uvloop for this platform
    from asyncio import new_event_loop  # type: ignore[assignment]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The loop that everything runs in."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="module")
def world(runner: asyncio.Runner) -> Iterator[World]:
    """The proxy and its provider."""
    opened = World.open()
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_a_cell(runner: asyncio.Runner, world: World, cell: Cell) -> None:
    runner.run(play(world, cell))


async def send_bad(world: World, cell: BadCell) -> None:
    """Send it, and see that it is refused or answered, recorded once, and that nothing stays held."""
    world.begin()
    row = cell.row
    body, over = BAD[cell.name](row)
    headers = {"content-type": "application/json", **row.headers, row.key[0]: row.key[1] + key_of("tester"), **over}
    path = row.route.replace("{model}", f"{row.family}-main")
    async with asyncio.timeout(WITHIN_S):
        reply = await (await Line.ask(world.port, row.method, path, headers, body)).reply()
    await world.rest()
    assert reply.whole
    assert reply.status < 500, (reply.status, reply.body[:500])
    (record,) = world.sink.records
    assert record.id == reply.headers["x-fleetgate-request-id"]
    assert record.status == reply.status
    if reply.status >= 400:
        assert row.error(reply.body)
        assert b"Traceback" not in reply.body
    if record.outcome == "denied":
        assert not world.calls.kept, "what is refused is not sent"
        assert [verb for verb, _, _ in world.store.ends] == ["release"] * len(world.store.held)
    else:
        assert len(world.calls.kept) == 1
        assert len(world.store.ends) == 1
        assert record.cost <= world.store.most("usd")
    for found in (await world.store.balances(list(world.store.counters), 0)).values():
        assert found[1] == 0, "nothing stays held"
    assert record.cost < MILLION**2


@pytest.mark.parametrize("cell", bad_cells(), ids=str)
def test_a_bad_request(runner: asyncio.Runner, world: World, cell: BadCell) -> None:
    runner.run(send_bad(world, cell))


@pytest.mark.parametrize("row", [row for row in ROWS if "text" not in row.cannot], ids=lambda row: row.name)
def test_a_reader_does_not_take_what_is_broken(runner: asyncio.Runner, world: World, row: Row) -> None:
    """What asserts that replies are well-formed must be able to fail."""
    for stream, read in ((False, row.whole), (True, row.stream)):
        if read is None or ("buffered" in row.cannot and not stream):
            continue
        good = runner.run(answered(world, row, stream)).body
        read(good)
        for broken in (b"", b"{}", b"[]", good[:-5], good[: len(good) // 2], *(_rearranged(good) if stream else ())):
            with pytest.raises(Exception):  # noqa: B017, PT011  whatever it stumbles over first
                read(broken)


async def answered(world: World, row: Row, stream: bool) -> Raw:
    """Return a good reply."""
    world.begin()
    ask = Ask('Speak. [[sim: {"text": "one two three"}]]', f"{row.family}-main", stream=stream)
    headers = {"content-type": "application/json", **row.headers, row.key[0]: row.key[1] + key_of("tester")}
    reply = await (await Line.ask(world.port, row.method, row.path(ask), headers, json.dumps(row.build(ask)).encode())).reply()
    await world.rest()
    return reply


def _rearranged(good: bytes) -> list[bytes]:
    """Return a stream without its last event, with that twice, and with its first event last."""
    end = next(end for end in (b"\r\n\r\n", b"\n\n", b"\n") if good.endswith(end))
    events = [event + end for event in good.split(end)[:-1]]
    return [b"".join(events[:-1]), b"".join([*events, events[-1]]), b"".join([*events[1:], events[0]])]


def test_every_record_was_counted(world: World) -> None:
    """Last in this file: the metrics saw as many exchanges as the cells did."""
    counted = re.findall(rb"^fleetgate_requests_total\{[^}]*\} ([0-9.]+)$", world.house.metrics.render()[0], re.MULTILINE)
    assert sum(float(number) for number in counted) == world.exchanges


def test_every_route_has_a_row_or_a_reason() -> None:
    taken = {route for row in ROWS for route in row.routes}
    known = {*ROUTES, *PATTERNS}
    assert taken | set(NOT_ROUTES) >= known, f"without a row: {known - taken}"
    also = {("GET", "/v1/models"), ("GET", "/v1/models/{model}")}  # with Google's key only, so that no pattern names them
    assert taken <= known | also, "a row for a route that is not there"
    assert not taken & set(NOT_ROUTES)
    assert all(NOT_ROUTES.values())


def test_every_dialect_that_is_translated_has_its_rows() -> None:
    assert set(CLIENTS) == set(TARGETS) == set(DIALECTS)


def test_what_cannot_be_says_why() -> None:
    for row in ROWS:
        for outcome in OUTCOMES:
            for stream in (False, True):
                want = outcome.want(row, stream)
                assert isinstance(want, Want) or len(want) > 10


def test_the_table_has_no_line_that_never_happens() -> None:
    happening = {cell.outcome.name for cell in cells()}
    assert [outcome.name for outcome in OUTCOMES if outcome.name not in happening] == []
    assert len({outcome.name for outcome in OUTCOMES}) == len(OUTCOMES)
    assert len({row.name for row in ROWS}) == len(ROWS)
