"""Sending a reply, well or badly: the only part of the simulated provider that touches a connection's bytes.

A reply that a script breaks off ends with the connection closed, never with a terminator that would make it look whole. When the client
closes first, the handler is cancelled at once and the call says so.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from proxy.sim.calls import Call
from proxy.sim.reply import Reply, Vendor
from proxy.sim.script import Script

HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n"


def scripted(script: Script, reply: Reply, vendor: Vendor, seed: bytes) -> Reply:
    """Return the reply that `script` wants in place of `reply`: an error, a page, or `reply` itself."""
    if script.html:
        return Reply(502, {"content-type": "text/html"}, HTML)
    if script.status is None:
        return reply
    failed = vendor.error(script.status, script.error_type, script.message, seed)
    if script.retry_after is not None:
        failed.headers["retry-after"] = str(script.retry_after)
    return failed


async def deliver(request: web.Request, script: Script, reply: Reply, vendor: Vendor, call: Call) -> web.StreamResponse:
    """Send `reply` as `script` says, noting in `call` what went out."""
    if script.delay_ms:
        await asyncio.sleep(script.delay_ms / 1000)
    if script.hang:
        await _silence()
    if script.nothing:
        return _drop(request, call, web.StreamResponse())
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    if script.gzip:
        response.headers["content-encoding"] = "gzip"
    if reply.events is None:
        return await _whole(request, script, reply, response, call)
    return await _stream(request, script, _events(script, reply, vendor, call), response, call)


async def _silence() -> None:
    """Wait until the client goes away, which cancels us."""
    await asyncio.Event().wait()


def _drop(request: web.Request, call: Call, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection once what was written is out."""
    call.cut = True
    if request.transport is not None:
        request.transport.close()
    return response


async def _whole(request: web.Request, script: Script, reply: Reply, response: web.StreamResponse, call: Call) -> web.StreamResponse:
    body = gzip.compress(reply.body, mtime=0) if script.gzip else reply.body
    half = script.half_chunk is not None and script.half_chunk is not False
    if half:
        response.enable_chunked_encoding()
    else:
        response.content_length = len(body)
    await response.prepare(request)
    call.status = reply.status
    if script.first_byte_ms:
        await asyncio.sleep(script.first_byte_ms / 1000)
    if half:
        return _half(request, call, response, body)
    ends = [n for n in (script.cut_after, script.stall_after) if n is not None and n < len(body)]
    await response.write(body[: min(ends, default=len(body))])
    if ends and min(ends) == script.stall_after:
        await _silence()
    if ends:
        return _drop(request, call, response)
    call.tokens = reply.tokens
    await response.write_eof()
    return response


def _half(request: web.Request, call: Call, response: web.StreamResponse, data: bytes) -> web.StreamResponse:
    """Send half of the chunk that was announced, then close."""
    if request.transport is not None:
        request.transport.write(b"%x\r\n" % len(data) + data[: len(data) // 2])
    return _drop(request, call, response)


async def _events(script: Script, reply: Reply, vendor: Vendor, call: Call) -> AsyncIterator[bytes]:
    """Yield the bytes of each event; what was taken was sent, so tokens are noted on the way back."""
    for number, piece in enumerate(reply.events or ()):
        if script.error_after is not None and number >= script.error_after:
            yield vendor.stream_error(script.error_type, script.message)
            return
        if number and script.chunk_ms:
            await asyncio.sleep(script.chunk_ms / 1000)
        yield piece.raw
        call.events, call.tokens = number + 1, call.tokens + piece.tokens


async def _stream(
    request: web.Request, script: Script, events: AsyncIterator[bytes], response: web.StreamResponse, call: Call
) -> web.StreamResponse:
    response.enable_chunked_encoding()
    await response.prepare(request)
    call.status = response.status
    if script.first_byte_ms:
        await asyncio.sleep(script.first_byte_ms / 1000)
    packer = zlib.compressobj(wbits=31) if script.gzip else None
    half_after = 1 if script.half_chunk is True else script.half_chunk
    sent = 0
    async for raw in events:
        if sent == script.stall_after:
            await _silence()
        if sent == script.cut_after:
            return _drop(request, call, response)
        if half_after is not None and half_after is not False and sent == half_after:
            return _half(request, call, response, raw)
        await response.write(packer.compress(raw) + packer.flush(zlib.Z_SYNC_FLUSH) if packer else raw)
        await asyncio.sleep(0)
        sent += 1
    if packer:
        await response.write(packer.flush())
    await response.write_eof()
    return response
