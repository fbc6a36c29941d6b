"""Keys on a Redis or Valkey server: the command line writes them, every replica reads them. Only hashes are kept.

One hash has the keys by their SHA-256, and one number changes whenever they do; a script writes both. Call these off the loop.
"""

from __future__ import annotations

import msgspec

from proxy.engine.ports import StoreError
from proxy.identity.keys import KeyEntry
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_link import Script

_ADD = Script("""
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 and redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('INCR', KEYS[2])
return 1
""")
_REVOKE = Script("""
local all = redis.call('HGETALL', KEYS[1])
local named, gone = {[ARGV[1]] = true}, 0
for i = 2, #all, 2 do
  all[i] = cjson.decode(all[i])
  if all[i].agent == ARGV[1] then named[all[i].id] = true end
end
for i = 1, #all, 2 do
  local entry = all[i + 1]
  local parent = string.match(entry.run, '^(%x%x%x%x%x%x%x%x)/')  -- a run of a key begins with the key's id
  if named[entry.id] or (parent and named[parent]) then gone = gone + redis.call('HDEL', KEYS[1], all[i]) end
end
if gone > 0 then redis.call('INCR', KEYS[2]) end
return gone
""")


class RedisKeys:
    """`KeyStore` on the server behind `link`. Safe to call from several threads."""

    def __init__(self, link: BlockingLink) -> None:
        self._link = link
        self._names = [link.key("keys"), link.key("keys", "version")]

    def keys(self) -> list[KeyEntry]:
        """Return all keys, oldest first."""
        found = self._link.call("HVALS", self._names[0], again=True)
        try:
            entries = [KeyEntry.from_dict(msgspec.json.decode(entry)) for entry in found]
        except (msgspec.MsgspecError, KeyError, TypeError):
            raise StoreError("the Redis store holds something else than keys where keys should be") from None
        return sorted(entries, key=lambda entry: (entry.created, entry.id))

    def add(self, entry: KeyEntry) -> None:
        """Keep `entry`."""
        if not self._link.run(_ADD, self._names, [entry.sha256, msgspec.json.encode(entry.to_dict())], again=True):
            raise StoreError("the key store has this key already")

    def revoke(self, id_or_agent: str) -> int:
        """Forget the key with that id, or all keys of that agent, and their children; return how many."""
        return int(self._link.run(_REVOKE, self._names, [id_or_agent]))

    def version(self) -> int:
        """Return a number that changes whenever the keys do."""
        return int(self._link.call("GET", self._names[1], again=True) or 0)

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()
