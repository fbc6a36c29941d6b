from __future__ import annotations

import base64
import struct

import pytest

from proxy.wire import media

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 640, 480)
GIF = b"GIF89a" + struct.pack("<HH", 20, 10)
JPEG = b"\xff\xd8" + b"\xff\xe0\0\x10" + b"\0" * 14 + b"\xff\xc2\0\x11\x08" + struct.pack(">HH", 300, 400) + b"\0" * 9
LOSSY = b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 0x4000 | 55, 66)
LOSSLESS = b"RIFF\0\0\0\0WEBPVP8L" + b"\0" * 5 + struct.pack("<I", 76 | 87 << 14) + b"\0" * 5
LARGE = b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + (1999).to_bytes(3, "little") + (999).to_bytes(3, "little")


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (PNG, (640, 480)),
        (GIF, (20, 10)),
        (JPEG, (400, 300)),
        (LOSSY, (55, 66)),
        (LOSSLESS, (77, 88)),
        (LARGE, (2000, 1000)),
        (LOSSY.replace(b"VP8 ", b"VP9 "), (0, 0)),
        (b"\xff\xd8\xff\xd9", (0, 0)),
        (b"\xff\xd8\xff\xe0\xff\xff" + b"\0" * 20, (0, 0)),
        (PNG[:20], (0, 0)),
        (b"GIF89a", (0, 0)),
        (b"BM", (0, 0)),
    ],
)
def test_the_header_tells_the_size(head: bytes, size: tuple[int, int]) -> None:
    text = base64.b64encode(head + b"\0" * (-len(head) % 3)).decode()
    assert media.of_url(f"data:image/x;base64,{text}") == size
    assert media.of_base64(text) == size


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "data:image/png",
        "data:image/png,abc",
        "data:;base64,A===",
        "data:;base64,####",
        "data:;base64,üüüü",
        "data:;base64,AAA=",
    ],
)
def test_everything_else_is_unknown(url: str) -> None:
    assert media.of_url(url) == media.UNKNOWN
