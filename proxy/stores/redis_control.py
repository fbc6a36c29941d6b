"""Kills, questions to people and the log of human hands on a Redis or Valkey server: every replica and the command line see them.

One hash has the kills by their target, one the questions, one list the log, and one hash the numbers that change whenever something does;
each verb that writes is one script. Replicas look at the numbers several times a second, so nothing hangs on a message that gets lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.control.port import FORGOTTEN_S, Entry, Versions
from proxy.control.questions import Case
from proxy.control.rules import MAX_KILLS, Kill, clean
from proxy.stores.encoding import decoded, encoded, newest
from proxy.stores.redis_link import RedisLink, Script, Word

MOST_ENTRIES = 100_000
"""Lines of the log that the server keeps."""

_KILL = Script("""
local all, held = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
  local ends = cjson.decode(all[i + 1])['until']
  if all[i] == ARGV[1] or (type(ends) == 'number' and ends <= tonumber(ARGV[4])) then redis.call('HDEL', KEYS[1], all[i])
  else held = held + 1 end
end
if held >= tonumber(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[3])
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[6]) - 1)
redis.call('HINCRBY', KEYS[3], 'kills', 1)
return 1
""")
_RESUME = Script("""
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
local ends = cjson.decode(found)['until']
if type(ends) == 'number' and ends <= tonumber(ARGV[3]) then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[4]) - 1)
redis.call('HINCRBY', KEYS[3], 'kills', 1)
return 1
""")
_SAVE = Script("""
local old = redis.call('HGET', KEYS[4], ARGV[1])
if (old and cjson.decode(old).version or 0) ~= tonumber(ARGV[2]) then return 0 end
if not old then
  local all = redis.call('HGETALL', KEYS[4])
  for i = 1, #all, 2 do
    if cjson.decode(all[i + 1]).expires <= tonumber(ARGV[5]) then redis.call('HDEL', KEYS[4], all[i]) end
  end
end
redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('LPUSH', KEYS[2], ARGV[4])
  redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[6]) - 1)
end
redis.call('HINCRBY', KEYS[3], 'questions', 1)
return 1
""")
_NOTE = Script("""
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[2]) - 1)
return 1
""")


class RedisControl:
    """`ControlStore` on the server behind `link`, which is somebody else's to close."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._names = [link.key("control", name) for name in ("kills", "log", "versions", "questions")]

    async def versions(self) -> Versions:
        """See `ControlStore.versions`."""
        kills, questions = await self._link.call("HMGET", self._names[2], "kills", "questions", again=True)
        return Versions(int(kills or 0), int(questions or 0))

    async def kills(self, now: float) -> Sequence[Kill]:
        """See `ControlStore.kills`."""
        found = [decoded(text, Kill) for text in await self._link.call("HVALS", self._names[0], again=True)]
        return sorted((kill for kill in found if kill.holds(now)), key=lambda kill: (kill.since, kill.target))

    async def kill(self, kill: Kill) -> bool:
        """See `ControlStore.kill`. Doing it twice is the same as once, but for a line of the log."""
        entry = Entry(kill.since, kill.by, "kill", kill.target, kill.reason, kill.until)
        words: list[Word] = [kill.target, encoded(kill), encoded(entry), repr(kill.since), MAX_KILLS, MOST_ENTRIES]
        return bool(await self._link.run(_KILL, self._names, words, again=True))

    async def resume(self, target: str, by: str, reason: str, now: float) -> bool:
        """See `ControlStore.resume`."""
        entry = Entry(now, by, "resume", target, reason)
        return bool(await self._link.run(_RESUME, self._names, [target, encoded(entry), repr(now), MOST_ENTRIES]))

    async def case(self, name: str) -> Case | None:
        """See `ControlStore.case`."""
        found = await self._link.call("HGET", self._names[3], name, again=True)
        return None if found is None else decoded(found, Case)

    async def cases(self, now: float) -> Sequence[Case]:
        """See `ControlStore.cases`."""
        return newest([decoded(text, Case) for text in await self._link.call("HVALS", self._names[3], again=True)], now)

    async def waiting(self, agent: str, now: float) -> int:
        """See `ControlStore.waiting`."""
        name = clean(agent, 200)
        return sum(c.status == "pending" and now < c.expires and c.question.agent == name for c in await self.cases(now))

    async def save(self, case: Case, seen: int, entry: Entry | None = None) -> bool:
        """See `ControlStore.save`."""
        said = b"" if entry is None else encoded(entry)
        words: list[Word] = [case.id, seen, encoded(case), said, repr(case.asked - FORGOTTEN_S), MOST_ENTRIES]
        return bool(await self._link.run(_SAVE, self._names, words))

    async def note(self, entry: Entry) -> None:
        """See `ControlStore.note`. Doing it twice is the same as once, but for a line of the log."""
        await self._link.run(_NOTE, self._names, [encoded(entry), MOST_ENTRIES], again=True)

    async def log(self, limit: int) -> Sequence[Entry]:
        """See `ControlStore.log`."""
        return [decoded(text, Entry) for text in await self._link.call("LRANGE", self._names[1], 0, limit - 1, again=True)]

    async def close(self) -> None:
        """See `ControlStore.close`: the link is closed by whoever opened it."""
