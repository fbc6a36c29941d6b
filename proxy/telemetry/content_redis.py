"""Contents on the Redis or Valkey server of the store, where every replica keeps and reads them.

One hash has them by the exchange's id, one by it how far its session is kept; three sorted sets say when each ends, of which session and
of which agent it is, and one number how many bytes there are. Each verb that writes is one script, bounded in what it deletes at once; so
the server never holds more than `most_mb` and one batch. Ids sort by time, so the oldest are the first.

How it fails: a server that is away is a `StoreError`; what was to be kept then is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from proxy.telemetry.content import Content, Mark, Whose, packed, packed_mark, unpacked

STEP = 200
"""Exchanges that one script deletes at most."""
_DROP = """
local function drop(id)
  local data, who = redis.call('HGET', KEYS[1], id), redis.call('HGET', KEYS[7], id)
  if not data then return 0 end
  redis.call('HDEL', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
  redis.call('HDEL', KEYS[7], id)
  redis.call('ZREM', KEYS[3], id)
  local session, agent = cjson.decode(who)[1], cjson.decode(who)[2]
  redis.call('ZREM', KEYS[4], session .. '\\0' .. id)
  redis.call('ZREM', KEYS[5], agent .. '\\0' .. id)
  redis.call('DECRBY', KEYS[6], #data)
  return 1
end
"""
# ARGV: the bound in bytes, then of each its id, when it ends, session, agent, data and mark.
_KEEP = (
    _DROP
    + """
for i = 2, #ARGV, 6 do
  local id = ARGV[i]
  drop(id)
  redis.call('HSET', KEYS[1], id, ARGV[i + 4])
  redis.call('HSET', KEYS[2], id, ARGV[i + 5])
  redis.call('HSET', KEYS[7], id, cjson.encode({ARGV[i + 2], ARGV[i + 3]}))
  redis.call('ZADD', KEYS[3], ARGV[i + 1], id)
  redis.call('ZADD', KEYS[4], 0, ARGV[i + 2] .. '\\0' .. id)
  redis.call('ZADD', KEYS[5], 0, ARGV[i + 3] .. '\\0' .. id)
  redis.call('INCRBY', KEYS[6], #ARGV[i + 4])
end
while tonumber(redis.call('GET', KEYS[6]) or 0) > tonumber(ARGV[1]) do
  local first = redis.call('ZRANGE', KEYS[3], 0, 0)
  if not first[1] or drop(first[1]) == 0 then break end
end
return 1
"""
)
# ARGV: until when, and how many.
_FORGET = (
    _DROP
    + """
local gone = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do gone = gone + drop(id) end
return gone
"""
)
# ARGV: which index (4 or 5), whose, and how many.
_ERASE = (
    _DROP
    + """
local gone, whose = 0, ARGV[2] .. '\\0'
for _, found in ipairs(redis.call('ZRANGEBYLEX', KEYS[tonumber(ARGV[1])], '[' .. whose, '(' .. ARGV[2] .. '\\1', 'LIMIT', 0, ARGV[3])) do
  gone = gone + drop(string.sub(found, #whose + 1))
end
return gone
"""
)
_NAMES = ("data", "marks", "ends", "sessions", "agents", "bytes", "whose")


class Link(Protocol):
    """The way to the server, from any thread; `stores.BlockingLink` is one."""

    def call(self, *words: Any, again: bool = False) -> Any:
        """Return the answer to one command; raises StoreError."""
        ...

    def run(self, script: Any, keys: Sequence[str], args: Sequence[Any], *, again: bool = False) -> Any:
        """Return what a script does; raises StoreError."""
        ...

    def key(self, *parts: str) -> str:
        """Return the name of a key of ours."""
        ...


class RedisContents:
    """`Contents` on the server behind `link`. Safe in any thread.

    Args:
        link: the way there.
        most_mb: megabytes that contents may take there.
        script: makes what `link` runs of a Lua text.
    """

    def __init__(self, link: Link, most_mb: int, script: Any) -> None:
        self._link, self._most = link, most_mb << 20
        self._keys = [link.key("contents", name) for name in _NAMES]
        self._keep, self._forget, self._erase = script(_KEEP), script(_FORGET), script(_ERASE)

    def keep(self, contents: Sequence[Content]) -> None:
        """See `Contents.keep`. Doing it twice is the same as once."""
        words: list[Any] = [self._most]
        for one in contents:
            words += [one.id, repr(one.until), _text(one.session), _text(one.agent), packed(one), packed_mark(one.mark)]
        self._link.run(self._keep, self._keys, words, again=True)

    def mark(self, session: str) -> Mark | None:
        """See `Contents.mark`."""
        name = _text(session)
        last = self._link.call("ZREVRANGEBYLEX", self._keys[3], f"({name}\1", f"[{name}\0", "LIMIT", 0, 1, again=True)
        found = self._link.call("HGET", self._keys[1], last[0][len(name.encode()) + 1 :], again=True) if last else None
        return None if found is None else unpacked(found, Mark)

    def one(self, name: str) -> Content | None:
        """See `Contents.one`."""
        found = self._link.call("HGET", self._keys[0], _text(name), again=True)
        return None if found is None else unpacked(found, Content)

    def forget(self, now: float) -> int:
        """See `Contents.forget`; at most `STEP`."""
        return int(self._link.run(self._forget, self._keys, [repr(now), STEP]))

    def erase(self, whose: Whose) -> int:
        """See `Contents.erase`."""
        gone = 0
        words = (4, _text(whose.session)) if whose.session else (5, _text(whose.agent))
        while step := int(self._link.run(self._erase, self._keys, [*words, STEP])):
            gone += step
        return gone


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
