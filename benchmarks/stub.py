"""The stub upstream: answers chat completions at once, buffered or as a paced stream of events, and does as little as can be.

A request whose first bytes ask for `"stream":true` gets 50 content events, one on each tick of a shared clock (so that a proxy wakes up
for each, as with a real model), then usage and `[DONE]`. Bodies are counted, not kept. Anything that is not `POST` with a content
length gets 400 and shows up as an error in the run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

EVENTS = 50
TICK_S = 0.002
PEEK = 400


def _reply() -> bytes:
    words = "The invoice was sorted into the queue of the payments team, since its total is above the limit. " * 2
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1760000000,
            "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": words}, "logprobs": None, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 40,
                "total_tokens": 140,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _event(delta: dict[str, str], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "gpt-4o-2024-08-06",
        "choices": [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}],
        "usage": usage,
    }
    return _chunk(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


REPLY = _reply()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTENT = [_event({"content": f" word{i}"}) for i in range(EVENTS)]
USAGE = {"prompt_tokens": 100, "completion_tokens": EVENTS, "total_tokens": 100 + EVENTS}
ENDING = _event({}, "stop") + _event({}, usage=USAGE) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class Clock:
    """Writes one event to each running stream, every `TICK_S`, while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.streams: dict[asyncio.Transport, int] = {}

    def add(self, transport: asyncio.Transport) -> None:
        transport.write(HEAD)
        self.streams[transport] = 0
        if len(self.streams) == 1:
            self.loop.call_later(TICK_S, self._tick)

    def drop(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            self.streams.pop(transport, None)

    def _tick(self) -> None:
        for transport, sent in list(self.streams.items()):
            if sent < EVENTS:
                transport.write(CONTENT[sent])
                self.streams[transport] = sent + 1
            else:
                del self.streams[transport]
                transport.write(ENDING)
        if self.streams:
            self.loop.call_later(TICK_S, self._tick)


class Stub(asyncio.Protocol):
    """One connection: counts the body down and answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.missing = -1
        self.start = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.clock.drop(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.missing < 0:
            data = self._head(data)
            if self.missing < 0:
                return
        if len(self.start) < PEEK:
            self.start += data[:PEEK]
        self.missing -= len(data)
        if self.missing <= 0:
            self._answer()

    def _head(self, data: bytes) -> bytes:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return b""
        head, rest = self.buffer[:end].lower(), self.buffer[end + 4 :]
        self.buffer = b""
        at = head.find(b"\r\ncontent-length:")
        if at < 0 or not head.startswith(b"post "):
            self.transport.write(BAD)  # type: ignore[union-attr]
            return b""
        self.missing = int(head[at + 17 :].split(b"\r\n", 1)[0])
        self.start = b""
        return rest

    def _answer(self) -> None:
        assert self.transport is not None
        stream = b'"stream":true' in self.start or b'"stream": true' in self.start
        self.missing = -1
        if stream:
            self.clock.add(self.transport)
        else:
            self.transport.write(REPLY)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    server = await loop.create_server(lambda: Stub(clock), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
