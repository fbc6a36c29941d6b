"""Undoing a content encoding in bounded steps."""

from __future__ import annotations

import gzip
import os
import sys
import time
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.decoding import CODINGS, MAX_MEMBERS, STEP, Decoder, Undecodable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda data: zlib.compress(data, wbits=-15),
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def decode(coding: str, *pieces: bytes) -> bytes:
    decoder = Decoder(coding)
    found = b""
    for piece in pieces:
        decoder.feed(piece)
        while step := decoder.step():
            assert len(step) <= 2 * STEP
            found += step
    decoder.end()
    return found


@pytest.mark.parametrize("coding", ENCODERS)
@given(data=st.binary(max_size=3000), size=st.integers(1, 100))
def test_round_trip_in_any_pieces(coding: str, data: bytes, size: int) -> None:
    wire = ENCODERS[coding](data)
    assert decode(coding, *[wire[i : i + size] for i in range(0, len(wire), size)]) == data


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_bomb_comes_in_steps(coding: str) -> None:
    data = b"0" * (3 * STEP + 7)
    assert decode(coding, ENCODERS[coding](data)) == data


def test_gzip_members_follow_each_other() -> None:
    wire = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")
    assert decode("gzip", wire) == b"onetwo"
    assert decode("gzip", *[wire[i : i + 1] for i in range(len(wire))]) == b"onetwo"


def test_zstd_frames_follow_each_other() -> None:
    skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    wire = zstd.compress(b"one") + skipped + zstd.compress(b"two" * 200_000)
    assert decode("zstd", wire) == b"one" + b"two" * 200_000
    assert decode("zstd", *[wire[i : i + 1] for i in range(len(wire))]) == b"one" + b"two" * 200_000


@pytest.mark.parametrize(("coding", "member"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstd.compress(b""))])
def test_members_without_end_are_refused_soon(coding: str, member: bytes) -> None:
    assert decode(coding, member * MAX_MEMBERS) == b""
    began = time.process_time()
    with pytest.raises(Undecodable, match="more than 1024 members"):
        decode(coding, member * 1_000_000)
    assert time.process_time() - began < 5, "what is behind a member is not copied for each of them"


def test_a_frame_that_wants_much_memory_is_refused() -> None:
    made = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    wire = made.compress(os.urandom(100), made.FLUSH_BLOCK)
    with pytest.raises(Undecodable, match="cannot be undone"):
        decode("zstd", wire)


@pytest.mark.parametrize("coding", CODINGS)
def test_nothing_is_nothing(coding: str) -> None:
    assert decode(coding) == decode(coding, b"", b"") == b""


def test_what_was_not_stepped_through_stays() -> None:
    decoder, wire = Decoder("gzip"), gzip.compress(b"0" * (2 * STEP) + b"1")
    decoder.feed(wire[:100])
    found = decoder.step()
    decoder.feed(wire[100:200])
    decoder.feed(wire[200:])
    while step := decoder.step():
        found += step
    decoder.end()
    assert found == b"0" * (2 * STEP) + b"1"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_what_was_flushed_comes_out_at_once(coding: str) -> None:
    for part, found in flushed(coding, [b"data: one\n\n", b"data: two\n\n"]):
        assert found == part


def flushed(coding: str, parts: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Each part, and what a decoder makes of the bytes that its flush gave."""
    if coding == "br":
        brotlis = brotli.Compressor()
        wires = [brotlis.process(p) + brotlis.flush() for p in parts]
    elif coding == "zstd":
        frames = zstd.ZstdCompressor()
        wires = [frames.compress(p, frames.FLUSH_BLOCK) for p in parts]
    else:
        gzips = zlib.compressobj(wbits=31)
        wires = [gzips.compress(p) + gzips.flush(zlib.Z_SYNC_FLUSH) for p in parts]
    decoder, found = Decoder(coding), []
    for part, wire in zip(parts, wires, strict=True):
        decoder.feed(wire)
        out = b""
        while step := decoder.step():
            out += step
        found.append((part, out))
    return found


@pytest.mark.parametrize("coding", ENCODERS)
def test_broken_off(coding: str) -> None:
    wire = ENCODERS[coding](b"hello" * 100)
    with pytest.raises(Undecodable, match="breaks off"):
        decode(coding, wire[:-1])


@pytest.mark.parametrize(
    ("coding", "wire"),
    [
        ("gzip", b"hello"),
        ("gzip", gzip.compress(b"x", mtime=0) + b"junk"),
        ("deflate", zlib.compress(b"x") + b"y"),
        ("br", b"\xff" * 20),
        ("br", brotli.compress(b"x") + b"y"),
        ("zstd", b"hello"),
        ("zstd", zstd.compress(b"x") + b"junk"),
    ],
)
def test_junk(coding: str, wire: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(coding, wire)


@pytest.mark.parametrize("coding", ["gzip, gzip", "br,zstd", "", "compress", "zstandard", "identity"])
def test_not_ours(coding: str) -> None:
    with pytest.raises(Undecodable):
        Decoder(coding)
