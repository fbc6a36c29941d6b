"""Plays one cell, and asserts the five things that the matrix is about.

1. The client saw a well-formed answer or error of its protocol.
2. One record is left, and it says what happened.
3. What was held is settled once, at the right amount.
4. Nothing stays held, and what is spent is what the records say.
5. The provider was called as often as it should be.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asking import Line
from matrix import THEIRS, WORDS
from outcomes import Cell
from raw import Raw
from rows import Ask, Seen, strict
from world import CACHE_READ, CACHE_WRITE, INPUT, OUTPUT, WITHIN_S, World, key_of

from proxy.engine.record import Record
from proxy.model import Usage
from proxy.money import dollars
from proxy.wire.registry import find

CLOSED_S = 0.25
"""How soon the provider's connection is closed after the client's."""


async def play(world: World, cell: Cell) -> None:
    """Play `cell` from an empty store to its end; see the module."""
    async with asyncio.timeout(2 * WITHIN_S):
        await _play(world, cell)


async def _play(world: World, cell: Cell) -> None:
    world.begin()
    row, outcome, want = cell.row, cell.outcome, cell.want
    earlier: list[Record] = []
    if outcome.before is not None:
        first = _ask(cell, {"usage": row.usage(*outcome.before)})
        assert (await (await _send(world, cell, first)).reply()).status == 200
        await world.rest()
        earlier = list(world.sink.records)
        world.forget()
    world.store.fails, world.hasty, world.spoken = outcome.fails, outcome.hasty, outcome.spoken
    ask = _ask(cell, outcome.script(row, cell.stream))
    line = await _send(world, cell, ask)
    reply = None
    if outcome.hang_up is None:
        reply = await line.reply()
    else:
        await _leave(world, cell, line)
    await world.rest()
    assert len(world.calls.kept) == want.calls, "(5) calls of the provider"
    for call in world.calls.kept:
        assert row.asked_at(ask).fullmatch(call.path), f"(5) {call.path} is not where this is asked"
    seen = Seen() if reply is None else _client(cell, ask, reply)
    record = _record(world, cell, ask, reply)
    if outcome.spoken:
        assert record.message in seen.texts[0], "the assistant says why"
    await _settled(world, cell, record, seen.usage if outcome.known is None else Usage(*outcome.known))
    await _balances(world, cell, [*earlier, record])


def _ask(cell: Cell, script: Mapping[str, Any]) -> Ask:
    outcome, row = cell.outcome, cell.row
    model = outcome.model if "-" in outcome.model else f"{row.family}-{outcome.model}"
    text = f"Speak. [[sim: {json.dumps(script)}]]" if script else "Speak."
    return replace(Ask(text, model, stream=cell.stream), **outcome.ask)


async def _send(world: World, cell: Cell, ask: Ask) -> Line:
    row, outcome = cell.row, cell.outcome
    body = json.dumps(row.build(ask)).encode() if "body" not in row.cannot else b""
    if outcome.body is not None:
        body = outcome.body(body)
    headers = dict(row.headers)
    if body:
        headers["content-type"] = "application/json"
    if "[[sim:" in ask.text and ("body" in row.cannot or "prompt" in row.cannot):
        headers["x-sim-script"] = ask.text.split("[[sim: ")[1].removesuffix("]]")
    agent = outcome.agent.replace("{family}", row.family)
    if agent != "nobody":
        name, before = row.key
        headers[name] = before + key_of(agent)
    path = f"/agent/{agent}{row.path(ask)}" if outcome.below else row.path(ask)
    sent = len(body) // 2 if outcome.hang_up == "sending" else len(body)
    return await Line.ask(world.port, row.method, path, {**headers, **outcome.headers}, body, sent)


async def _leave(world: World, cell: Cell, line: Line) -> None:
    """Hang up when the cell says so; the provider's connection must close at once."""
    at = cell.outcome.hang_up
    if at == "sending":
        await line.hang_up()
        async with asyncio.timeout(WITHIN_S):
            while not world.sink.records:  # noqa: ASYNC110  nothing tells that a record will come
                await asyncio.sleep(0)
        return
    async with asyncio.timeout(WITHIN_S):
        if isinstance(at, bytes):
            await line.until(at)
        else:
            while not world.calls.kept or (at == "head" and not world.calls.kept[0].status):  # noqa: ASYNC110  the provider has no event for it
                await asyncio.sleep(0)
    call = world.calls.kept[0]
    assert not call.done, "the provider is still at it"
    await line.hang_up()
    assert await world.calls.settled(CLOSED_S), "(1) the provider's connection is closed soon after the client's"
    assert call.aborted


# --- (1) what the client saw ---------------------------------------------------------------------------------------------------


def _client(cell: Cell, ask: Ask, reply: Raw) -> Seen:
    row, want = cell.row, cell.want
    assert reply.whole, "(1) the reply is not whole"
    assert reply.status == want.status, (reply.status, reply.body[:500])
    assert reply.headers["x-fleetgate-request-id"]
    kind = reply.headers["content-type"].partition(";")[0]
    if want.ending in ("refused", "theirs"):
        assert kind == "application/json"
        _error(cell, reply)
        return Seen()
    assert kind == (row.streamed if cell.stream else "application/json")
    read = row.stream if cell.stream else row.whole
    assert read is not None
    seen = read(reply.body)
    _said(cell, ask, seen)
    if cell.outcome.agent.endswith("-backed"):
        assert reply.headers["x-fleetgate-route"] == "fallback"
    return seen


def _error(cell: Cell, reply: Raw) -> None:
    want = cell.want
    message = cell.row.error(reply.body)
    assert reply.headers.get("retry-after", "") == want.retry_after
    if want.ending == "theirs":
        assert message == THEIRS
        return
    decision = strict(reply.body)["fleetgate"]
    assert decision["reason"] == want.reason
    assert decision["rule"]
    assert decision["remedy"]
    assert decision["remedy"] in message, "people are told what to do"
    assert decision["decision_id"] == reply.headers["x-fleetgate-request-id"]
    again = want.reason in ("upstream_error", "upstream_timeout", "store_unavailable", "rate_limited") and not want.lasting
    assert (reply.headers.get("x-should-retry") == "false") is not again


def _said(cell: Cell, ask: Ask, seen: Seen) -> None:
    want, script = cell.want, cell.outcome.script(cell.row, cell.stream)
    if want.ending == "error":
        assert seen.error
        assert (seen.error == THEIRS) == ("message" in script)
        return
    assert not seen.error
    if "text" in cell.row.cannot:
        return
    assert seen.stops == [want.ending] * ask.choices
    assert len(seen.texts) == ask.choices
    if "text" in script:
        assert seen.texts[0] == WORDS
    if want.ending == "tool":
        assert seen.tools == [("look", {"at": "the door"})]
    if not ask.usage:
        assert seen.usage is None, "what only we asked for stays with us"


# --- (2) the record ------------------------------------------------------------------------------------------------------------


def _record(world: World, cell: Cell, ask: Ask, reply: Raw | None) -> Record:
    row, outcome, want = cell.row, cell.outcome, cell.want
    assert len(world.sink.records) == 1, "(2) one exchange, one record"
    record = world.sink.records[0]
    assert world.house.journal.one(record.id) == record
    if reply is not None:
        assert record.id == reply.headers["x-fleetgate-request-id"]
        assert record.bytes_out == len(reply.body)
        if not cell.stream and want.ending in ("stop", "length", "tool") and not outcome.spoken:
            assert reply.headers["x-fleetgate-cost-usd"] == dollars(record.cost)
    assert (record.outcome, record.reason, record.status) == (want.outcome, want.reason, want.status), record
    assert record.protocol == row.protocol
    assert bool(record.upstream_status) == bool(want.calls and any(call.status for call in world.calls.kept))
    if not outcome.decoded:
        path, _, query = row.path(ask).partition("?")
        codec = find(row.method, path, {**row.headers, row.key[0]: ""}, query)
        assert codec is not None
        assert (record.operation, record.stream, record.model_asked) == (codec.name, False, "")
        return record
    assert (record.operation, record.stream) == (row.operation, cell.stream)
    asked = "" if "model" in row.cannot else ask.model
    assert record.model_asked == asked
    if want.amount not in ("none", "released"):
        assert record.provider == (f"{row.family}-twice" if outcome.model == "twice" else row.family)
        assert record.model == (f"{row.family}-second" if outcome.agent.endswith("-backed") else asked)
    return record


# --- (3) and (4) money ---------------------------------------------------------------------------------------------------------


def price(usage: Usage) -> int:
    """Return what `usage` costs in this world, in nanos."""
    written = usage.cache_write + usage.cache_write_1h
    return INPUT * usage.input + OUTPUT * usage.output + CACHE_READ * usage.cache_read + CACHE_WRITE * written


async def _settled(world: World, cell: Cell, record: Record, reported: Usage | None) -> None:
    store, want, free = world.store, cell.want, cell.row.free
    if want.amount == "none":
        assert not store.held
        told = ["release"] if "reserve" in cell.outcome.fails else []  # nobody knows whether a reserve that was lost did hold
        assert [verb for verb, _, _ in store.ends] == told, "(3) nothing was held, so nothing is settled"
        assert record.cost == 0
        return
    assert list(store.held) == [record.id], "(3) one exchange, one hold"
    if want.amount == "expired":
        assert not store.ends
        assert len(await store.sweep(store.expires + 1)) == 1
        return
    assert len(store.ends) == 1, f"(3) one settle, not {store.ends}"
    verb, hold, amounts = store.ends[0]
    assert hold == record.id
    assert verb == ("release" if want.amount == "released" else "settle")
    assert amounts.get("usd", 0) == record.cost, "the record says what is settled"
    if want.amount in ("released", "zero") or free:
        assert record.cost == 0
        assert record.usage_exact
    elif want.amount == "exact":
        assert reported is not None
        assert record.usage_exact
        assert record.cost == price(reported)
    else:
        _bound(world, cell, record)


def _bound(world: World, cell: Cell, record: Record) -> None:
    """Never below what the provider generated (or where it went past what was paid for, what was held), never above what was held."""
    most = world.store.most("usd")
    assert not record.usage_exact
    assert record.cost <= most, "(3) never above what was held"
    if cell.want.amount == "held":
        assert record.cost == most
    generated = sum(call.tokens for call in world.calls.kept)
    if cell.want.reason == "budget_exceeded":
        generated = min(generated, cell.outcome.ask["ceiling"])
    assert record.output_tokens >= generated, "(3) never below what was generated"
    used = Usage(record.input_tokens, record.output_tokens, record.cache_read_tokens, record.cache_write_tokens)
    assert record.cost == price(used) > 0


async def _balances(world: World, cell: Cell, records: list[Record]) -> None:
    store, want = world.store, cell.want
    spent = {
        "usd": sum(record.cost for record in records),
        "tokens": sum(record.input_tokens + record.output_tokens + record.cache_read_tokens for record in records),
        "requests": len(records) - (want.amount in ("none", "released")),
        "concurrency": 0,
    }
    if want.amount == "expired":
        spent = {unit: 0 if unit == "concurrency" else store.most(unit) for unit in spent}
        assert spent["requests"] == 1
    for counter, found in (await store.balances(list(store.counters), 0)).items():
        assert found == (spent[store.counters[counter]], 0), f"(4) {counter}: (spent, held) is {found}"
