"""Process settings that the interpreter's defaults get wrong for a proxy. Measured; without effect where they do not apply.

Memory: glibc gives freed memory back and asks for it again on every large body, at the price of page faults (1 MB bodies cost four times
as much in a raw proxy). Keeping 16 MB, and few arenas, since there are few threads, costs nothing in the long run.
Reading the vocabulary leaves 18 MB that nobody needs again: they are given back once.

Garbage: a request makes more than a thousand containers that reference counting frees; looking through them every 700 allocations finds
nothing. What start-up made stays for ever and need not be looked at again.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
"""Source: glibc, malloc.h."""
KEEP_BYTES = 16 << 20
YOUNG_OBJECTS = 20_000


def at_start() -> None:
    """Set the allocator and the collector; call it before anything large is made."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    for option, value in ((_M_ARENA_MAX, 2), (_M_TRIM_THRESHOLD, KEEP_BYTES), (_M_TOP_PAD, 1 << 20), (_M_MMAP_THRESHOLD, 32 << 20)):
        mallopt(option, value)


def when_ready() -> None:
    """Set aside what start-up made, and give back what it needed in passing; call it once everything is loaded."""
    gc.collect()
    gc.freeze()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
