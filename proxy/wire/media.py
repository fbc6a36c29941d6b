"""The size in pixels of an inline image, read from the first bytes of its base64. Zero by zero when it cannot be told cheaply."""

from __future__ import annotations

import base64
import struct

_HEAD = 64 << 10
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
UNKNOWN = (0, 0)


def of_url(url: str) -> tuple[int, int]:
    """Return (width, height) of the image in a base64 `data:` URL."""
    if not url.startswith("data:"):
        return UNKNOWN
    comma = url.find(",", 0, 200)
    if comma < 0 or not url.startswith(";base64", comma - 7):
        return UNKNOWN
    return of_base64(url[comma + 1 : comma + 1 + _HEAD])


def of_base64(text: str) -> tuple[int, int]:
    """Return (width, height) of the PNG, JPEG, GIF or WebP that `text` begins.

    Source: PNG (RFC 2083) 4.1.1; GIF89a 18; WebP container specification (RFC 9649) 2.3 to 2.5; JPEG (ITU T.81) B.2.2.
    """
    try:
        head = base64.b64decode(text[: min(len(text), _HEAD) & ~3])
    except ValueError:
        return UNKNOWN
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        width, height = struct.unpack_from(">II", head, 16)
        return width, height
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        width, height = struct.unpack_from("<HH", head, 6)
        return width, height
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp(head)
    if head.startswith(b"\xff\xd8"):
        return _jpeg(head)
    return UNKNOWN


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return UNKNOWN


def _jpeg(head: bytes) -> tuple[int, int]:
    position = 2
    while position + 9 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, position + 5)
            return width, height
        position += 2 + max(2, int.from_bytes(head[position + 2 : position + 4], "big"))
    return UNKNOWN
