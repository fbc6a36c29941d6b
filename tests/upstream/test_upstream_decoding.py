"""Undoing a content encoding in bounded steps."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.decoding import STEP, Decoder
from proxy.upstream.http1 import Malformed

ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda data: zlib.compress(data, wbits=-15),
}


def decode(coding: str, *pieces: bytes) -> bytes:
    decoder = Decoder(coding)
    found = b""
    for piece in pieces:
        decoder.feed(piece)
        while step := decoder.step():
            assert len(step) <= STEP
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
    wire = gzip.compress(b"one") + gzip.compress(b"two")
    assert decode("gzip", wire) == b"onetwo"
    assert decode("gzip", *[wire[i : i + 1] for i in range(len(wire))]) == b"onetwo"


def test_nothing_is_nothing() -> None:
    assert decode("gzip") == decode("deflate") == b""


@pytest.mark.parametrize("coding", ENCODERS)
def test_broken_off(coding: str) -> None:
    wire = ENCODERS[coding](b"hello" * 100)
    with pytest.raises(Malformed, match="breaks off"):
        decode(coding, wire[:-1])


@pytest.mark.parametrize(
    ("coding", "wire"), [("gzip", b"hello"), ("gzip", gzip.compress(b"x") + b"junk"), ("deflate", zlib.compress(b"x") + b"y")]
)
def test_junk(coding: str, wire: bytes) -> None:
    with pytest.raises(Malformed):
        decode(coding, wire)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "", "compress"])
def test_not_ours(coding: str) -> None:
    with pytest.raises(Malformed):
        Decoder(coding)
