"""Tells when a file of the configuration changed, however it was changed.

Files are edited in place, replaced by a rename, and swapped through a symbolic link to a new folder (a Kubernetes volume points `..data`
elsewhere); some lie on file systems that send no notifications. All of that shows in one look at the files (inode, size, times), so a
look twice a second is all there is. Notifications were measured and left: the system sends them for whole folders, and a ledger that is
written beside the configuration made each request pay for two threads that read and dropped them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path

from proxy.settings.kinds import GLOB
from proxy.settings.sections import expand

LOOK_S = 0.4
"""Time between two looks; longer where a look itself takes long (thousands of files)."""
SLOWEST_S = 0.8
SHARE = 10
"""A look may take at most one part in this many of the time, up to `SLOWEST_S`."""

Trace = tuple[tuple[str, int, int, int, int], ...]
"""What a look sees of one input: for each of its files path, inode, size, modification and change time in ns."""


async def changes(
    paths: Callable[[], Iterable[Path]], settle_s: float = 0.1, seen: dict[Path, Trace] | None = None
) -> AsyncGenerator[None, None]:
    """Yield after each change of the inputs that `paths()` names; changes that come within `settle_s` are one.

    `paths` is asked anew at every look, so what a reload brings in is watched from then on. An input may be a file, a folder (with all
    below it) or a glob; it need not exist yet. What changes while the consumer works on one change is yielded next.
    `seen` is an earlier look: what changed since then is yielded too.
    """
    if seen is None:
        seen = await asyncio.to_thread(look, paths)
    pause_s = LOOK_S
    while True:
        await asyncio.sleep(pause_s)
        began = time.monotonic()
        found = await asyncio.to_thread(look, paths)
        pause_s = min(max(LOOK_S, SHARE * (time.monotonic() - began)), max(LOOK_S, SLOWEST_S))
        if found == seen:
            continue
        await asyncio.sleep(settle_s)
        found = await asyncio.to_thread(look, paths)
        yield
        # What was already looked at keeps its look, so that an edit made meanwhile still counts.
        now = await asyncio.to_thread(look, paths)
        seen = {path: found.get(path, trace) for path, trace in now.items()}


def look(paths: Callable[[], Iterable[Path]]) -> dict[Path, Trace]:
    """Return what is there now of each input."""
    return {path: tuple(_trace(file) for file in _files(path)) for path in paths()}


def _files(path: Path) -> list[Path]:
    if GLOB.search(str(path)):
        return expand(path)
    return expand(path / "**" / "*") if path.is_dir() else [path]


def _trace(file: Path) -> tuple[str, int, int, int, int]:
    try:
        found = file.stat()
    except (OSError, RuntimeError):  # not there, or links in a circle
        return (str(file), 0, 0, 0, 0)
    return (str(file), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
