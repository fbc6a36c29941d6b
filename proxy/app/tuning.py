"""Process settings that the interpreter's defaults get wrong for a proxy. Measured; without effect where they do not apply.

Memory: glibc gives freed memory back and asks for it again on every large body, at the price of page faults (1 MB bodies cost four times
as much in a raw proxy). Keeping 16 MB, and few arenas, since there are few threads, costs nothing in the long run. That is for serving:
what start-up needs in passing (the vocabulary is read as a dict of 200,000) is mapped apart, so that it goes whole and leaves no holes.

Garbage: a request makes more than a thousand containers that reference counting frees; looking through them every 700 allocations finds
nothing. What start-up made stays for ever and need not be looked at again.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
"""Source: glibc, malloc.h."""
KEEP_BYTES = 16 << 20
APART_BYTES, BODY_BYTES = 64 << 10, 32 << 20
"""Blocks from so many bytes on are mapped apart: at the start, and while serving."""
YOUNG_OBJECTS = 20_000


def at_start() -> None:
    """Set the allocator and the collector; call it before anything large is made."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    _allocate((_M_ARENA_MAX, 2), (_M_TRIM_THRESHOLD, KEEP_BYTES), (_M_TOP_PAD, 1 << 20), (_M_MMAP_THRESHOLD, APART_BYTES))


def when_ready() -> None:
    """Set aside what start-up made, and give back what it needed in passing; call it once everything is loaded."""
    gc.collect()
    gc.freeze()
    _allocate((_M_MMAP_THRESHOLD, BODY_BYTES))
    give_back()


def give_back() -> None:
    """Give back the pages that nothing is on any more. Takes about a millisecond in which no thread gets memory."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _allocate(*options: tuple[int, int]) -> None:
    """Set options of the allocator; without effect with another C library."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in options:
            mallopt(option, value)
