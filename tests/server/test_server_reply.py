"""The head of a reply: what a client wrote never becomes a line of its own."""

from __future__ import annotations

import asyncio

import pytest

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import SystemClock
from proxy.engine.run import Engine
from proxy.model import Deny, Reason
from proxy.server import Server, connection
from proxy.server.reply import head_of


def test_a_head_is_well_formed() -> None:
    lines = head_of(200, [("content-type", "application/json"), ("x", "ü")], "content-length: 3", kept=True).decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert lines[1:3] == ["content-type: application/json", "x: ü"]
    assert lines[-3:] == ["content-length: 3", "", ""]
    assert "connection: keep-alive" in lines


@pytest.mark.parametrize("value", ["gpt\r\nset-cookie: a=b", "gpt\nx: y", "gpt\rx: y", "gpt\x00"])
def test_a_line_break_in_a_value_stays_in_it(value: str) -> None:
    head = head_of(403, [("x-fleetgate-model", value), ("x", "1")], "", kept=False)
    lines = head.decode().split("\r\n")
    assert len(lines) == 8
    assert lines[1].startswith("x-fleetgate-model: gpt?")
    assert head.count(b"\n") == head.count(b"\r") == 7


def test_a_status_without_a_name_is_sent_as_it_is() -> None:
    assert head_of(529, [], "", kept=True).startswith(b"HTTP/1.1 529 \r\n")


def test_a_client_that_never_finishes_its_head_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)

    async def me(_: Exchange) -> Deny:
        return Deny(Reason.UNAUTHENTICATED, "no key")

    def runtime() -> Runtime:
        raise AssertionError("no request ever came")

    async def main() -> None:
        edge = Server(Engine(lambda ex: (_ for _ in ()).throw(AssertionError)), runtime, me, SystemClock(), 1.0)
        port = await edge.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await edge.stop(0)

    asyncio.run(main())
