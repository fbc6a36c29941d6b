"""Moves records from the stream of a Redis store to where they are kept, then lets the stream forget them.

Decides nothing about records. At least once: an entry is acknowledged only after the target has it for good, and targets know again what
they have. Several may ship at once (a consumer group shares the work), and what one took and did not finish is taken over
by another after `IDLE_MS`. A group has one target, remembered beside the stream: two that shipped to different ones would each get a part.
Another group gets all records once more. The stream is cut only below the oldest entry that any group has not acknowledged.

How it fails: a target or stream that cannot be used raises StoreError; what was taken is written again by the next `step`. A group that is
gone (the server lost its data, or somebody removed it while we ship) is made anew, and gets what the stream has.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Protocol

from proxy.engine.ports import StoreError
from proxy.telemetry.stream import Entry, Link, entries_of

GROUP = "ship"
IDLE_MS = 60_000
# Cuts what every group has acknowledged.
_TRIM = """
local oldest_ms, oldest_n
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local found = {}
  for n = 1, #group, 2 do found[group[n]] = group[n + 1] end
  local pending = redis.call('XPENDING', KEYS[1], found.name)
  local ms, n = string.match(found['last-delivered-id'], '(%d+)-(%d+)')
  n = tonumber(n) + 1
  if pending[1] > 0 then ms, n = string.match(pending[2], '(%d+)-(%d+)') end
  ms, n = tonumber(ms), tonumber(n)
  if not oldest_ms or ms < oldest_ms or (ms == oldest_ms and n < oldest_n) then oldest_ms, oldest_n = ms, n end
end
if not oldest_ms then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-%.0f', oldest_ms, oldest_n))
"""


class Target(Protocol):
    """Where records are kept."""

    name: str
    """What it is and where, without a password."""
    most: int
    """Records that it takes best at once."""
    pause_s: float
    """How long to wait for more when there was little."""

    def write(self, entries: list[Entry]) -> int:
        """Keep the records of `entries` for good, once each whoever wrote them before; return how many were new.

        Raises:
            StoreError: it cannot be written now.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Shipment:
    """Records on their way from `link`'s stream to `target`, as one of the shippers of `group`."""

    def __init__(self, link: Link, target: Target, group: str = GROUP, *, moved: bool = False) -> None:
        """Join the group, which is made where there is none.

        Args:
            moved: the group's target is this one from now on.

        Raises:
            StoreError: the stream cannot be used, or the group has another target.
        """
        self._link, self._stream, self._target, self._group = link, link.key("ledger"), target, group
        self._consumer = f"{socket.gethostname()}.{os.getpid()}"
        self._taken: list[Entry] = []
        self._cursor: Any = "0-0"
        self._join(moved)

    def step(self) -> tuple[int, int]:
        """Move some entries; return how many were taken and how many of them were new to the target.

        Raises:
            StoreError: either end fails; what was not acknowledged is moved again later.
        """
        entries = self._taken = self._next()
        if not entries:
            return 0, 0
        new = self._target.write(entries)
        self._link.call("XACK", self._stream, self._group, *[entry[0] for entry in entries], again=True)
        self._taken = []
        self._link.call("EVAL", _TRIM, 1, self._stream, again=True)
        return len(entries), new

    def waiting(self) -> int:
        """Return how many entries other shippers of the group have taken and not finished; raises StoreError."""
        return int(self._link.call("XPENDING", self._stream, self._group, again=True)[0])

    def close(self) -> None:
        """Let go of the target, and of our name in the group once it has nothing left to do."""
        self._target.close()
        try:
            if not self._link.call("XPENDING", self._stream, self._group, "-", "+", 1, self._consumer):
                self._link.call("XGROUP", "DELCONSUMER", self._stream, self._group, self._consumer)
        except StoreError:
            pass

    def _next(self) -> list[Entry]:
        try:
            return self._kept() or self._taken_over() or self._fresh()
        except StoreError as e:
            if "NOGROUP" not in str(e):
                raise
        self._cursor = "0-0"
        self._join(moved=False)
        return self._taken or self._fresh()  # what we had taken may stand nowhere else by now

    def _join(self, moved: bool) -> None:
        self._claim(moved)
        try:
            self._link.call("XGROUP", "CREATE", self._stream, self._group, "0", "MKSTREAM")
        except StoreError as e:
            if "BUSYGROUP" not in str(e):
                raise

    def _claim(self, moved: bool) -> None:
        targets, name = self._link.key("ledger-targets"), self._target.name
        if moved:
            self._link.call("HSET", targets, self._group, name)
        elif not self._link.call("HSETNX", targets, self._group, name):
            known = self._link.call("HGET", targets, self._group, again=True).decode(errors="replace")
            if known != name:
                raise StoreError(
                    f"group {self._group} ships to {known}, and two targets would each get a part of the records: "
                    f"--group NAME for a second copy in {name}, --moved if it goes on there instead"
                )

    def _kept(self) -> list[Entry]:
        """Return what a step that failed had taken, without what others have taken over since."""
        if not self._taken:
            return []
        first, last = self._taken[0][0], self._taken[-1][0]
        found = self._link.call("XPENDING", self._stream, self._group, first, last, len(self._taken), self._consumer, again=True)
        ours = {entry[0] for entry in found}
        kept = [entry for entry in self._taken if entry[0] in ours]
        if kept:
            self._link.call("XCLAIM", self._stream, self._group, self._consumer, 0, *[entry[0] for entry in kept], "JUSTID", again=True)
        return kept

    def _taken_over(self) -> list[Entry]:
        words = ("XAUTOCLAIM", self._stream, self._group, self._consumer, IDLE_MS, self._cursor, "COUNT", self._target.most)
        answer = self._link.call(*words)
        self._cursor = answer[0]
        return entries_of(answer[1])

    def _fresh(self) -> list[Entry]:
        words = ("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", self._target.most, "STREAMS", self._stream, ">")
        answer = self._link.call(*words)
        return entries_of(answer[0][1]) if answer else []
